//! A cluster as the command line sees it: which brokers there are, who leads a partition, who coordinates a group.
//!
//! Requests go to the broker that is responsible, so that the commands work against clusters of any size.

use super::connection::Connection;
use super::error::{AdminError, Result};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::Duration;

/// A coordinator that is being made or loads its state is asked again after so long.
const COORDINATOR_PAUSE: Duration = Duration::from_millis(100);

/// A partition by topic name.
pub(crate) type TopicPartition = (String, i32);

/// A topic with its partitions' leaders.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: String,
    /// Its id; zeros from brokers without ids.
    pub(crate) id: uuid::Uuid,
    /// Whether the cluster keeps its own state in it.
    pub(crate) internal: bool,
    /// Its partitions, in order.
    pub(crate) partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// Its number.
    pub(crate) index: i32,
    /// Who leads it; negative when nobody does.
    pub(crate) leader: i32,
    /// Who has copies.
    pub(crate) replicas: Vec<i32>,
    /// Who has copies that are up to date.
    pub(crate) isr: Vec<i32>,
}

/// Connections to a cluster, opened when they are needed.
#[derive(Debug)]
pub(crate) struct Cluster {
    bootstrap: Connection,
    timeout: Duration,
    nodes: BTreeMap<i32, String>,
    controller: i32,
    connections: HashMap<String, Connection>,
}

impl Cluster {
    /// Connects to the first of `addresses` (`host:port`) that answers.
    pub(crate) fn connect(addresses: &[String], timeout: Duration) -> Result<Cluster> {
        let mut failed = AdminError::Usage("--bootstrap is empty".to_owned());
        for address in addresses {
            match Connection::open(address, timeout) {
                Ok(bootstrap) => {
                    let mut cluster = Cluster {
                        bootstrap,
                        timeout,
                        nodes: BTreeMap::new(),
                        controller: -1,
                        connections: HashMap::new(),
                    };
                    cluster.metadata(Some(&[]))?;
                    return Ok(cluster);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Any broker.
    pub(crate) fn any(&mut self) -> &mut Connection {
        &mut self.bootstrap
    }

    /// How long a broker may take.
    pub(crate) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Ids of all brokers.
    pub(crate) fn node_ids(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    /// The broker of that id.
    pub(crate) fn node(&mut self, id: i32) -> Result<&mut Connection> {
        let Some(address) = self.nodes.get(&id).cloned() else {
            return Err(AdminError::Usage(format!(
                "broker {id} is not in the cluster's metadata"
            )));
        };
        self.connection(address)
    }

    fn connection(&mut self, address: String) -> Result<&mut Connection> {
        if !self.connections.contains_key(&address) {
            let connection = Connection::open(&address, self.timeout)?;
            self.connections.insert(address.clone(), connection);
        }
        Ok(self.connections.get_mut(&address).expect("it was inserted above"))
    }

    /// The broker that changes topics and configs. Brokers of new clusters pass such requests on themselves.
    pub(crate) fn controller(&mut self) -> Result<&mut Connection> {
        match self.nodes.contains_key(&self.controller) {
            true => self.node(self.controller),
            false => Ok(&mut self.bootstrap),
        }
    }

    /// `None` is all topics. Also learns who the brokers are.
    fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse> {
        let version = self.bootstrap.version::<MetadataRequest>("Metadata", i16::MAX)?;
        let wanted = topics.map(|topics| {
            let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            topics.iter().map(topic).collect()
        });
        // Version 0 has no null: there an empty list is all.
        let wanted = if version == 0 {
            wanted.or(Some(Vec::new()))
        } else {
            wanted
        };
        let request = MetadataRequest::default()
            .with_topics(wanted)
            .with_allow_auto_topic_creation(version < 4);
        let answer = self.bootstrap.call_in("Metadata", version, &request)?;
        let address = |host: &str, port: i32| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        self.nodes = answer
            .brokers
            .iter()
            .map(|b| (b.node_id.0, address(&b.host, b.port)))
            .collect();
        self.controller = answer.controller_id.0;
        Ok(answer)
    }

    /// All topics, by name.
    pub(crate) fn topics(&mut self) -> Result<Vec<Topic>> {
        let answer = self.metadata(None)?;
        let mut topics: Vec<Topic> = answer
            .topics
            .iter()
            .filter(|topic| topic.error_code == 0)
            .map(topic)
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The named topics, in that order. The first that does not exist is an error.
    pub(crate) fn topics_named(&mut self, names: &[String]) -> Result<Vec<Topic>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.metadata(Some(names))?;
        let mut found: HashMap<String, Topic> = HashMap::new();
        for each in &answer.topics {
            let name = each.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
            AdminError::check(|| format!("topic {name}"), each.error_code, None)?;
            found.insert(name, topic(each));
        }
        let take = |name: &String| {
            found
                .get(name)
                .cloned()
                .ok_or_else(|| AdminError::Usage(format!("the broker said nothing of topic {name}")))
        };
        names.iter().map(take).collect()
    }

    /// The broker that coordinates a group. Waits, within the timeout, while the coordinator is being made.
    pub(crate) fn coordinator(&mut self, group_id: &str) -> Result<&mut Connection> {
        let address = self.patiently(|cluster| cluster.find_coordinator(group_id))?;
        self.connection(address)
    }

    /// Runs `ask` again while it says that a coordinator is not ready, until the timeout.
    pub(crate) fn patiently<T>(&mut self, mut ask: impl FnMut(&mut Cluster) -> Result<T>) -> Result<T> {
        let mut waited = Duration::ZERO;
        loop {
            match ask(self) {
                Err(error) if error.is_about_coordinator() && waited < self.timeout => {
                    thread::sleep(COORDINATOR_PAUSE);
                    waited += COORDINATOR_PAUSE;
                }
                result => return result,
            }
        }
    }

    fn find_coordinator(&mut self, group_id: &str) -> Result<String> {
        let version = self
            .bootstrap
            .version::<FindCoordinatorRequest>("FindCoordinator", i16::MAX)?;
        let request = match version {
            ..4 => FindCoordinatorRequest::default().with_key(text(group_id)),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group_id)]),
        };
        let answer: FindCoordinatorResponse = self.bootstrap.call_in("FindCoordinator", version, &request)?;
        let (code, message, host, port) = match answer.coordinators.first() {
            Some(found) => (
                found.error_code,
                found.error_message.clone(),
                found.host.clone(),
                found.port,
            ),
            None => (answer.error_code, answer.error_message, answer.host, answer.port),
        };
        AdminError::check(|| format!("coordinator of group {group_id}"), code, message.as_deref())?;
        Ok(match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    }

    /// Offsets by time of the given partitions: −1 the end, −2 the start, −3 that of the largest timestamp, else the first
    /// record at or after a time in milliseconds (`None` when there is none). Also the timestamp found, −1 if unknown.
    pub(crate) fn offsets(
        &mut self,
        wanted: &[(TopicPartition, i64)],
        topics: &[Topic],
    ) -> Result<BTreeMap<TopicPartition, FoundOffset>> {
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
        for ((name, index), timestamp) in wanted {
            let leader = leader_of(topics, name, *index)?;
            let partition = ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_current_leader_epoch(-1)
                .with_timestamp(*timestamp);
            by_leader
                .entry(leader)
                .or_default()
                .entry(name)
                .or_default()
                .push(partition);
        }
        let timeout_ms = self.timeout_ms();
        let mut found = BTreeMap::new();
        for (leader, topics) in by_leader {
            let topic = |(name, partitions): (&str, Vec<ListOffsetsPartition>)| {
                ListOffsetsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(partitions)
            };
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_timeout_ms(timeout_ms)
                .with_topics(topics.into_iter().map(topic).collect());
            let answer = self.node(leader)?.call("ListOffsets", &request)?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    let key = (topic.name.to_string(), partition.partition_index);
                    AdminError::check(|| format!("offsets of {} {}", key.0, key.1), partition.error_code, None)?;
                    let offset = (partition.offset >= 0).then_some(partition.offset);
                    found.insert(
                        key,
                        FoundOffset {
                            offset,
                            timestamp: partition.timestamp,
                        },
                    );
                }
            }
        }
        Ok(found)
    }
}

/// What ListOffsets found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundOffset {
    /// The offset; `None`: no record is that young.
    pub(crate) offset: Option<i64>,
    /// Its record's timestamp, where one was looked for; −1 otherwise.
    pub(crate) timestamp: i64,
}

/// Who leads a partition of topics that were described.
pub(crate) fn leader_of(topics: &[Topic], name: &str, index: i32) -> Result<i32> {
    let topic = topics.iter().find(|topic| topic.name == name);
    let partition = topic.and_then(|topic| topic.partitions.iter().find(|partition| partition.index == index));
    match partition {
        Some(partition) if partition.leader >= 0 => Ok(partition.leader),
        Some(_) => Err(AdminError::Usage(format!(
            "{name} {index} has no leader at the moment; try again"
        ))),
        None => Err(AdminError::Usage(format!("topic {name} has no partition {index}"))),
    }
}

fn topic(topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic) -> Topic {
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    let mut partitions: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: partition.leader_id.0,
            replicas: ids(&partition.replica_nodes),
            isr: ids(&partition.isr_nodes),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Topic {
        name: topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}

/// A string as the codec wants it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic name as the codec wants it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
