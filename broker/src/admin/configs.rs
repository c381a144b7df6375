//! `streamhouse configs`: what is set for topics, brokers, groups and client metrics, and changing it.

use super::cluster::{Cluster, text};
use super::error::{AdminError, Result};
use super::output::Table;
use clap::{Subcommand, ValueEnum};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest};
use serde_json::json;
use std::borrow::Cow;

/// Kafka's number of topics among config resources.
pub(crate) const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const RESOURCE_CLIENT_METRICS: i8 = 16;
const RESOURCE_GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
/// Config sources that somebody set, of Kafka's numbers: not the static file's (4), not defaults (5).
const SET_BY_SOMEBODY: [i8; 5] = [1, 2, 3, 7, 8];

/// What has configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A topic, by name
    Topic,
    /// A broker, by id; "" is the default of all
    Broker,
    /// A consumer group, by id
    Group,
    /// A subscription of client metrics, by name
    ClientMetrics,
}

impl Kind {
    fn number(self) -> i8 {
        match self {
            Kind::Topic => RESOURCE_TOPIC,
            Kind::Broker => RESOURCE_BROKER,
            Kind::Group => RESOURCE_GROUP,
            Kind::ClientMetrics => RESOURCE_CLIENT_METRICS,
        }
    }
}

fn kind_name(number: i8) -> Cow<'static, str> {
    match number {
        RESOURCE_TOPIC => "topic".into(),
        RESOURCE_BROKER => "broker".into(),
        8 => "broker-logger".into(),
        RESOURCE_CLIENT_METRICS => "client-metrics".into(),
        RESOURCE_GROUP => "group".into(),
        other => other.to_string().into(),
    }
}

/// What to do with configs.
#[derive(Debug, Subcommand)]
pub(crate) enum Configs {
    /// Lists what has configs.
    List,
    /// Shows the configs of something: those that were set, or all.
    Describe {
        /// Of what kind
        #[arg(value_enum)]
        kind: Kind,
        /// Which
        name: String,
        /// Also what is on its default.
        #[arg(long)]
        all: bool,
    },
    /// Sets configs, or takes them back to their defaults.
    Alter {
        /// Of what kind
        #[arg(value_enum)]
        kind: Kind,
        /// Which
        name: String,
        /// A config to set; may be repeated
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// A config to take back; may be repeated
        #[arg(long, value_name = "KEY")]
        delete: Vec<String>,
        /// Lets the broker check, and changes nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

impl Configs {
    /// Does it.
    pub(crate) fn run(&self, cluster: &mut Cluster) -> Result<Table> {
        match self {
            Configs::List => list(cluster),
            Configs::Describe { kind, name, all } => describe(cluster, kind.number(), std::slice::from_ref(name), *all),
            Configs::Alter {
                kind,
                name,
                set,
                delete,
                dry_run,
            } => alter(cluster, (*kind, name), (set, delete), *dry_run),
        }
    }
}

fn list(cluster: &mut Cluster) -> Result<Table> {
    let answer = cluster
        .any()
        .call("ListConfigResources", &ListConfigResourcesRequest::default())?;
    AdminError::check(|| "listing what has configs".to_owned(), answer.error_code, None)?;
    let mut table = Table::new(&["kind", "name"]);
    let mut resources = answer.config_resources;
    resources.sort_by(|a, b| (a.resource_type, &a.resource_name).cmp(&(b.resource_type, &b.resource_name)));
    for resource in resources {
        table.row([
            json!(kind_name(resource.resource_type)),
            json!(resource.resource_name.as_str()),
        ]);
    }
    Ok(table)
}

/// Configs of several resources of one kind; only those that somebody set unless `all`.
pub(crate) fn describe(cluster: &mut Cluster, kind: i8, names: &[String], all: bool) -> Result<Table> {
    let resource = |name: &String| {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(names.iter().map(resource).collect());
    let answer = responsible(cluster, kind, names)?.call("DescribeConfigs", &request)?;
    let mut table = Table::new(&["kind", "name", "key", "value", "source"]);
    for result in answer.results {
        let what = || format!("configs of {} {}", kind_name(kind), result.resource_name.as_str());
        AdminError::check(what, result.error_code, result.error_message.as_deref())?;
        let mut configs = result.configs;
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        for config in configs
            .iter()
            .filter(|config| all || SET_BY_SOMEBODY.contains(&config.config_source))
        {
            table.row([
                json!(kind_name(kind)),
                json!(result.resource_name.as_str()),
                json!(config.name.as_str()),
                json!(config.value.as_deref()),
                json!(source_name(config.config_source)),
            ]);
        }
    }
    Ok(table)
}

/// Configs of one broker are that broker's to tell; everything else is anybody's.
fn responsible<'a>(
    cluster: &'a mut Cluster,
    kind: i8,
    names: &[String],
) -> Result<&'a mut super::connection::Connection> {
    match (kind, names) {
        (RESOURCE_BROKER, [name]) if !name.is_empty() => {
            let id = name
                .parse()
                .map_err(|_| AdminError::Usage(format!("a broker's name is its number, not {name}")))?;
            cluster.node(id)
        }
        _ => Ok(cluster.any()),
    }
}

fn source_name(source: i8) -> String {
    match source {
        1 => "topic".to_owned(),
        2 => "broker, dynamic".to_owned(),
        3 => "all brokers, dynamic".to_owned(),
        4 => "broker, static".to_owned(),
        5 => "default".to_owned(),
        7 => "client-metrics".to_owned(),
        8 => "group".to_owned(),
        other => other.to_string(),
    }
}

fn alter(
    cluster: &mut Cluster,
    (kind, name): (Kind, &str),
    (set, delete): (&[String], &[String]),
    dry_run: bool,
) -> Result<Table> {
    if set.is_empty() && delete.is_empty() {
        return Err(AdminError::Usage(
            "nothing to alter: --set KEY=VALUE or --delete KEY".to_owned(),
        ));
    }
    let mut configs = Vec::new();
    let mut table = Table::new(&["kind", "name", "key", "value", "result"]);
    let done = if dry_run { "would be altered" } else { "altered" };
    let mut add = |key: &str, value: Option<&str>, operation: i8| {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.map(text));
        configs.push(config);
        table.row([
            json!(kind_name(kind.number())),
            json!(name),
            json!(key),
            json!(value),
            json!(done),
        ]);
    };
    for assignment in set {
        let (key, value) = parse_assignment(assignment)?;
        add(key, Some(value), SET);
    }
    delete.iter().for_each(|key| add(key, None, DELETE));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind.number())
        .with_resource_name(text(name))
        .with_configs(configs);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(dry_run);
    let names = [name.to_owned()];
    let answer = responsible(cluster, kind.number(), &names)?.call("IncrementalAlterConfigs", &request)?;
    for result in &answer.responses {
        let what = || format!("altering configs of {} {name}", kind_name(kind.number()));
        AdminError::check(what, result.error_code, result.error_message.as_deref())?;
    }
    Ok(table)
}

/// `key=value`; the value may be empty and may hold further `=`.
pub(crate) fn parse_assignment(assignment: &str) -> Result<(&str, &str)> {
    match assignment.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key, value)),
        _ => Err(AdminError::Usage(format!("`{assignment}` is no KEY=VALUE"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_have_a_key() {
        assert_eq!(parse_assignment("a=b").expect("good"), ("a", "b"));
        assert_eq!(parse_assignment("a=b=c").expect("good"), ("a", "b=c"));
        assert_eq!(parse_assignment("a=").expect("good"), ("a", ""));
        assert!(parse_assignment("a").is_err() && parse_assignment("=b").is_err());
    }
}
