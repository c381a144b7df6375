//! The brokers that are compared, each started fresh in a directory of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest};
use streamhouse_compat_tests::apache_kafka::ApacheKafka;
use streamhouse_compat_tests::java::Java;
use streamhouse_compat_tests::ops::{LATEST, text, topic_name};
use streamhouse_compat_tests::{Broker, RawClient};

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    StreamHouse,
    Kafka,
}

/// A running broker.
pub(crate) enum Target {
    StreamHouse(Box<Broker>),
    Kafka(Box<ApacheKafka>),
}

impl Target {
    /// Starts a broker on an empty `dir` with these settings, and waits until it answers. Gives the time from the start of the
    /// process to that.
    pub(crate) fn start(
        kind: Kind,
        dir: &Path,
        java: Option<&Java>,
        settings: &[(&str, &str)],
    ) -> Result<(Target, Duration), String> {
        let (target, started) = match kind {
            Kind::StreamHouse => {
                let started = Instant::now();
                let builder = settings
                    .iter()
                    .fold(Broker::builder(), |builder, (key, value)| builder.set(key, value));
                let broker = builder.data_dir(dir).start();
                (Target::StreamHouse(Box::new(broker)), started)
            }
            Kind::Kafka => {
                let java = java.ok_or("Kafka's jars are not installed")?;
                let kafka = ApacheKafka::start(java, dir, settings)?;
                let started = kafka.spawned();
                (Target::Kafka(Box::new(kafka)), started)
            }
        };
        target.wait_until_it_answers()?;
        Ok((target, started.elapsed()))
    }

    /// A listening broker is not yet a working one: Kafka registers with its controller first.
    fn wait_until_it_answers(&self) -> Result<(), String> {
        let mut client = RawClient::try_connect(self.addr()).map_err(|e| e.to_string())?;
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        while client
            .try_call(9, &request)
            .map_err(|e| e.to_string())?
            .brokers
            .is_empty()
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Target::StreamHouse(broker) => broker.kafka_addr(),
            Target::Kafka(kafka) => kafka.addr(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Target::StreamHouse(broker) => broker.pid(),
            Target::Kafka(kafka) => kafka.pid(),
        }
    }

    /// Creates a topic. A durable one is fsynced before each answer: StreamHouse does so for acks=all, Kafka for
    /// `flush.messages=1`.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32, durable: bool) {
        // Deleted topics shall give their disk space back at once, not after a minute.
        let mut configs = vec![("file.delete.delay.ms", "100")];
        if durable && matches!(self, Target::Kafka(_)) {
            configs.push(("flush.messages", "1"));
        }
        let mut client = RawClient::connect(self.addr());
        client.create_topic_with(topic, partitions, &configs);
        // Kafka answers before its partitions have leaders that know of it.
        let partition = |index: i32| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(LATEST)
        };
        let asked = ListOffsetsTopic::default().with_name(topic_name(topic));
        let asked = asked.with_partitions((0..partitions).map(partition).collect());
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![asked]);
        while client
            .call(5, &request)
            .topics
            .iter()
            .flat_map(|t| &t.partitions)
            .any(|p| p.error_code != 0)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills with SIGKILL and starts again on the same data and ports; returns when it listens.
    pub(crate) fn crash(&mut self) -> Result<(), String> {
        match self {
            Target::StreamHouse(broker) => {
                broker.kill9();
                broker.restart();
                Ok(())
            }
            Target::Kafka(kafka) => {
                kafka.kill9();
                kafka.restart()
            }
        }
    }

    /// Asks for a group's coordinator until there is one: that makes the offsets topic, where none is yet.
    pub(crate) fn wait_for_coordinator(&self) {
        let mut client = RawClient::connect(self.addr());
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("bench")]);
        while client
            .call(4, &request)
            .coordinators
            .iter()
            .any(|coordinator| coordinator.error_code != 0)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn delete_topic(&self, topic: &str) {
        RawClient::connect(self.addr()).delete_topic(topic);
    }
}
