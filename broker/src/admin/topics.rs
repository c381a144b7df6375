//! `streamhouse topics`: list, describe, create, delete, add partitions.

use super::cluster::{Cluster, Topic, text, topic_name};
use super::configs::{RESOURCE_TOPIC, describe as describe_configs, parse_assignment};
use super::error::{AdminError, Result};
use super::output::Table;
use clap::{Args, Subcommand};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use protocol::ErrorCode;
use serde_json::json;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// Lists topics.
    List {
        /// Also those in which the cluster keeps its own state.
        #[arg(long)]
        internal: bool,
    },
    /// Shows partitions, leaders and replicas, a line each.
    Describe {
        /// Topics [default: all]
        names: Vec<String>,
        /// Shows the configs that were set for the topics instead.
        #[arg(long)]
        configs: bool,
    },
    /// Creates topics.
    Create(Create),
    /// Deletes topics with all their records.
    Delete {
        /// Topics
        #[arg(required = true)]
        names: Vec<String>,
        /// Says what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
    /// Adds partitions. (Configs of topics: streamhouse configs alter topic NAME.)
    Alter {
        /// The topic
        name: String,
        /// How many it is to have: more than it has.
        #[arg(long)]
        partitions: i32,
        /// Lets the broker check, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Topics to create.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Topics
    #[arg(required = true)]
    names: Vec<String>,
    /// How many partitions each gets [default: the broker's num.partitions]
    #[arg(long, default_value_t = -1, hide_default_value = true)]
    partitions: i32,
    /// Replication factor [default: the broker's default.replication.factor]
    #[arg(long, default_value_t = -1, hide_default_value = true)]
    replication_factor: i16,
    /// A config of the topics; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// Nothing is said of topics that exist already.
    #[arg(long)]
    if_not_exists: bool,
    /// Lets the broker check, and creates nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Topics {
    /// Does it.
    pub(crate) fn run(&self, cluster: &mut Cluster) -> Result<Table> {
        match self {
            Topics::List { internal } => list(cluster, *internal),
            Topics::Describe { names, configs: true } => describe_own_configs(cluster, names),
            Topics::Describe { names, configs: false } => describe(cluster, names),
            Topics::Create(create) => create.run(cluster),
            Topics::Delete { names, dry_run } => delete(cluster, names, *dry_run),
            Topics::Alter {
                name,
                partitions,
                dry_run,
            } => grow(cluster, name, *partitions, *dry_run),
        }
    }
}

fn list(cluster: &mut Cluster, internal: bool) -> Result<Table> {
    let mut table = Table::new(&["topic", "partitions", "replication_factor", "id"]);
    for topic in cluster.topics()?.iter().filter(|topic| internal || !topic.internal) {
        let factor = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
        table.row([
            json!(topic.name),
            json!(topic.partitions.len()),
            json!(factor),
            json!(id_of(topic)),
        ]);
    }
    Ok(table)
}

/// Kafka prints topic ids in base64, so that they can be compared with its tools' output.
fn id_of(topic: &Topic) -> String {
    protocol::types::TopicId(*topic.id.as_bytes()).to_string()
}

fn described(cluster: &mut Cluster, names: &[String]) -> Result<Vec<Topic>> {
    match names {
        [] => cluster.topics(),
        names => cluster.topics_named(names),
    }
}

fn describe(cluster: &mut Cluster, names: &[String]) -> Result<Table> {
    let mut table = Table::new(&["topic", "partition", "leader", "replicas", "isr"]);
    for topic in described(cluster, names)? {
        for partition in &topic.partitions {
            let leader = (partition.leader >= 0).then_some(partition.leader);
            table.row([
                json!(topic.name),
                json!(partition.index),
                json!(leader),
                json!(partition.replicas),
                json!(partition.isr),
            ]);
        }
    }
    Ok(table)
}

fn describe_own_configs(cluster: &mut Cluster, names: &[String]) -> Result<Table> {
    let names: Vec<String> = described(cluster, names)?.into_iter().map(|topic| topic.name).collect();
    describe_configs(cluster, RESOURCE_TOPIC, &names, false)
}

impl Create {
    fn run(&self, cluster: &mut Cluster) -> Result<Table> {
        let configs = self.config.iter().map(|assignment| {
            let (name, value) = parse_assignment(assignment)?;
            Ok(CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value))))
        });
        let configs = configs.collect::<Result<Vec<_>>>()?;
        let topic = |name: &String| {
            CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(self.partitions)
                .with_replication_factor(self.replication_factor)
                .with_configs(configs.clone())
        };
        let request = CreateTopicsRequest::default()
            .with_topics(self.names.iter().map(topic).collect())
            .with_timeout_ms(cluster.timeout_ms())
            .with_validate_only(self.dry_run);
        let answer = cluster.controller()?.call("CreateTopics", &request)?;
        let mut table = Table::new(&["topic", "partitions", "result"]);
        for topic in &answer.topics {
            let exists = topic.error_code == ErrorCode::TopicAlreadyExists.code() && self.if_not_exists;
            let (code, done) = match (exists, self.dry_run) {
                (true, _) => (0, "exists"),
                (false, true) => (topic.error_code, "would be created"),
                (false, false) => (topic.error_code, "created"),
            };
            let name = topic.name.as_str();
            let checked = AdminError::check(
                || format!("creating topic {name}"),
                code,
                topic.error_message.as_deref(),
            );
            let result = table.outcome(done, checked);
            let partitions = (topic.num_partitions > 0).then_some(topic.num_partitions);
            table.row([json!(name), json!(partitions), result]);
        }
        Ok(table)
    }
}

fn delete(cluster: &mut Cluster, names: &[String], dry_run: bool) -> Result<Table> {
    let mut table = Table::new(&["topic", "result"]);
    if dry_run {
        for topic in cluster.topics_named(names)? {
            table.row([json!(topic.name), json!("would be deleted")]);
        }
        return Ok(table);
    }
    let state = |name: &String| DeleteTopicState::default().with_name(Some(topic_name(name)));
    let timeout_ms = cluster.timeout_ms();
    let controller = cluster.controller()?;
    let version = controller.version::<DeleteTopicsRequest>("DeleteTopics", i16::MAX)?;
    let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
    let request = match version {
        ..6 => request.with_topic_names(names.iter().map(|name| topic_name(name)).collect()),
        _ => request.with_topics(names.iter().map(state).collect()),
    };
    let answer = controller.call_in("DeleteTopics", version, &request)?;
    for topic in &answer.responses {
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let what = || format!("deleting topic {name}");
        let result = table.outcome(
            "deleted",
            AdminError::check(what, topic.error_code, topic.error_message.as_deref()),
        );
        table.row([json!(name), result]);
    }
    Ok(table)
}

fn grow(cluster: &mut Cluster, name: &str, partitions: i32, dry_run: bool) -> Result<Table> {
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(cluster.timeout_ms())
        .with_validate_only(dry_run);
    let answer = cluster.controller()?.call("CreatePartitions", &request)?;
    for topic in &answer.results {
        let what = || format!("adding partitions to topic {name}");
        AdminError::check(what, topic.error_code, topic.error_message.as_deref())?;
    }
    let mut table = Table::new(&["topic", "partitions", "result"]);
    let result = if dry_run { "would be altered" } else { "altered" };
    table.row([json!(name), json!(partitions), json!(result)]);
    Ok(table)
}
