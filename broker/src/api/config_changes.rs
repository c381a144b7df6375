//! What AlterConfigs and IncrementalAlterConfigs share: which resources exist, how changes make new configs out of those
//! in force, what is refused (contract 66). Pure but for [`apply`], which asks the catalog to change.

use super::blocking;
use crate::broker::Broker;
use crate::config::client_metrics::{client_metrics_key, validate_client_metrics};
use crate::config::group::{group_config_key, validate_group_configs};
use crate::config::topic::{BrokerDefaults, ConfigType, effective, list_items, topic_config_key};
use crate::config::{KeySpec, UpdateMode, ValueType, broker_key};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::groups::GroupConfig;
use crate::partitions::check_topic_name;
use crate::resource_configs::Configs;
use protocol::ErrorCode;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Kafka's `ConfigResource.Type` of topics.
pub(super) const TOPIC: i8 = 2;
/// Kafka's `ConfigResource.Type` of brokers.
pub(super) const BROKER: i8 = 4;

/// Kafka's `ConfigResource.Type` of the log levels of a broker, which cannot be changed here.
pub(super) const BROKER_LOGGER: i8 = 8;
/// Kafka's `ConfigResource.Type` of client metrics subscriptions.
pub(super) const CLIENT_METRICS: i8 = 16;
/// Kafka's `ConfigResource.Type` of groups.
pub(super) const GROUP: i8 = 32;

/// A resource whose configs can be described and changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConfigResource {
    /// A topic.
    Topic(String),
    /// This broker (its id), or all brokers (`""`).
    Broker(String),
    /// A client metrics subscription; it is there when it has configs.
    ClientMetrics(String),
    /// A group, whether it has members or not.
    Group(String),
}

impl ConfigResource {
    /// Reads a resource as requests name it.
    pub(super) fn new(resource_type: i8, name: &str, node_id: i32) -> Result<ConfigResource, ApiError> {
        match resource_type {
            TOPIC => {
                check_topic_name(name).map_err(|text| ApiError::new(ErrorCode::InvalidTopicException, text))?;
                Ok(ConfigResource::Topic(name.to_owned()))
            }
            BROKER if name.is_empty() => Ok(ConfigResource::Broker(String::new())),
            BROKER => match name.parse::<i32>() {
                Ok(id) if id == node_id => Ok(ConfigResource::Broker(id.to_string())),
                Ok(id) => Err(ApiError::new(
                    ErrorCode::InvalidRequest,
                    format!("Unexpected broker id, expected {node_id} or empty string, but received {id}"),
                )),
                Err(_) => Err(ApiError::new(
                    ErrorCode::InvalidRequest,
                    format!("Broker id must be an integer, but it is: {name}"),
                )),
            },
            CLIENT_METRICS if name.is_empty() => Err(ApiError::new(
                ErrorCode::InvalidRequest,
                "The name of a client metrics subscription cannot be empty.",
            )),
            CLIENT_METRICS => Ok(ConfigResource::ClientMetrics(name.to_owned())),
            GROUP if name.is_empty() => Err(ApiError::new(
                ErrorCode::InvalidRequest,
                "The id of a group cannot be empty: there are no configs of all groups.",
            )),
            GROUP => Ok(ConfigResource::Group(name.to_owned())),
            other => Err(ApiError::new(
                ErrorCode::InvalidRequest,
                format!("Configs of resource type {other} cannot be described or altered here."),
            )),
        }
    }

    /// Whether the client may do `operation` to it.
    pub(super) fn authorize(&self, ctx: &RequestContext, operation: Operation) -> Result<(), ApiError> {
        match self {
            ConfigResource::Topic(name) if !ctx.authorize(operation, &Resource::Topic(name)) => {
                Err(ErrorCode::TopicAuthorizationFailed.into())
            }
            ConfigResource::Group(name) if !ctx.authorize(operation, &Resource::Group(name)) => {
                Err(ErrorCode::GroupAuthorizationFailed.into())
            }
            ConfigResource::Broker(_) | ConfigResource::ClientMetrics(_)
                if !ctx.authorize(operation, &Resource::Cluster) =>
            {
                Err(ErrorCode::ClusterAuthorizationFailed.into())
            }
            _ => Ok(()),
        }
    }
}

/// What to do with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Set it.
    Set(String),
    /// Back to the default.
    Delete,
    /// Add to a list what it lacks.
    Append(String),
    /// Take out of a list.
    Subtract(String),
}

/// How a request changes one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// All configs become these (AlterConfigs).
    Replace(BTreeMap<String, String>),
    /// Key by key (IncrementalAlterConfigs).
    Incremental(Vec<(String, Change)>),
}

/// One resource of a request.
pub(super) struct Alteration {
    /// As sent.
    pub(super) resource_type: i8,
    /// As sent.
    pub(super) name: String,
    /// What to do, or why not.
    pub(super) changes: Result<Changes, ApiError>,
}

/// Refuses keys that occur twice and values that are missing (contract 66): the error that both APIs give.
pub(super) fn check_entries<'a>(entries: impl Iterator<Item = (&'a str, bool)>) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    for (name, has_value) in entries {
        if !seen.insert(name) {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                format!("Error due to duplicate config keys: {name}"),
            ));
        }
        if !has_value {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                format!("Null value not supported for : {name}"),
            ));
        }
    }
    Ok(())
}

/// Carries out a request; results are in its order. A resource that is listed twice is refused, each time.
pub(super) async fn apply(
    ctx: &RequestContext,
    alterations: Vec<Alteration>,
    validate_only: bool,
) -> Vec<Result<(), ApiError>> {
    let mut times: HashMap<(i8, &str), usize> = HashMap::new();
    for alteration in &alterations {
        *times.entry((alteration.resource_type, &alteration.name)).or_default() += 1;
    }
    let checked: Vec<_> = alterations
        .iter()
        .map(|alteration| {
            if times
                .get(&(alteration.resource_type, &alteration.name))
                .is_some_and(|times| *times > 1)
            {
                return Err(ApiError::new(
                    ErrorCode::InvalidRequest,
                    "Each resource must appear at most once.",
                ));
            }
            let resource = ConfigResource::new(alteration.resource_type, &alteration.name, ctx.broker.node_id)?;
            resource.authorize(ctx, Operation::AlterConfigs)?;
            Ok((resource, alteration.changes.clone()?))
        })
        .collect();
    let count = checked.len();
    let broker = Arc::clone(&ctx.broker);
    let work = move || {
        let alter = |(resource, changes)| alter(&broker, resource, changes, validate_only);
        checked
            .into_iter()
            .map(|checked| checked.and_then(alter))
            .collect::<Vec<_>>()
    };
    blocking(work).await.unwrap_or_else(|error| vec![Err(error); count])
}

/// Changes one resource; durable and in force when it returns. Blocks.
fn alter(broker: &Broker, resource: ConfigResource, changes: Changes, validate_only: bool) -> Result<(), ApiError> {
    let manager = &broker.partitions;
    match resource {
        ConfigResource::Topic(name) => {
            let settings = manager.settings();
            manager.alter_topic(&name, validate_only, |configs| {
                changed_topic(configs, changes, &settings.config)
            })
        }
        ConfigResource::Broker(name) => {
            manager.alter_broker(&name, validate_only, |configs| changed_broker(configs, changes))
        }
        ConfigResource::ClientMetrics(name) => {
            let change = |configs: &Configs| changed_client_metrics(configs, changes);
            broker.client_metrics.alter(&name, validate_only, change)
        }
        ConfigResource::Group(name) => {
            let change = |configs: &Configs| changed_group(configs, changes, &broker.config.group);
            manager.group_configs.alter(&name, validate_only, change)
        }
    }
}

/// A subscription's configs after a change, checked.
fn changed_client_metrics(configs: &Configs, changes: Changes) -> Result<Configs, ApiError> {
    let changed = change_all(configs, changes, |name| {
        let key = client_metrics_key(name).ok_or_else(|| unknown_key(name))?;
        let current = configs.get(name).map_or(key.default, String::as_str);
        Ok((key.config_type == ConfigType::List, current.to_owned()))
    })?;
    validate_client_metrics(&changed)?;
    Ok(changed)
}

/// A group's configs after a change, checked.
fn changed_group(configs: &Configs, changes: Changes, broker: &GroupConfig) -> Result<Configs, ApiError> {
    let changed = change_all(configs, changes, |name| {
        let key = group_config_key(name).ok_or_else(|| unknown_key(name))?;
        let current = configs.get(name).cloned().unwrap_or_default();
        Ok((key.config_type == ConfigType::List, current))
    })?;
    validate_group_configs(&changed, broker).map_err(|text| ApiError::new(ErrorCode::InvalidConfig, text))?;
    Ok(changed)
}

/// A topic's configs after a change. The catalog checks names and values of the outcome.
fn changed_topic(
    configs: &BTreeMap<String, String>,
    changes: Changes,
    broker: &impl BrokerDefaults,
) -> Result<BTreeMap<String, String>, ApiError> {
    change_all(configs, changes, |name| {
        let key = topic_config_key(name).ok_or_else(|| unknown_key(name))?;
        let is_list = key.config_type == ConfigType::List;
        Ok((is_list, effective(key, configs, broker).value))
    })
}

/// A broker's dynamic configs after a change, checked.
fn changed_broker(configs: &BTreeMap<String, String>, changes: Changes) -> Result<BTreeMap<String, String>, ApiError> {
    let changed = change_all(configs, changes, |name| {
        let key = broker_key(name).ok_or_else(|| unknown_key(name))?;
        let current = configs
            .get(name)
            .map(String::as_str)
            .or(key.default)
            .unwrap_or_default();
        Ok((key.value_type == ValueType::List, current.to_owned()))
    })?;
    for (name, value) in changed
        .iter()
        .filter(|(name, value)| configs.get(*name) != Some(*value))
    {
        check_broker_value(broker_key(name).ok_or_else(|| unknown_key(name))?, value)?;
    }
    Ok(changed)
}

fn check_broker_value(key: &KeySpec, value: &str) -> Result<(), ApiError> {
    if key.update != UpdateMode::Dynamic {
        let text = format!("Cannot update these configs dynamically: {}", key.name);
        return Err(ApiError::new(ErrorCode::InvalidRequest, text));
    }
    match key.normalize(value) {
        Some(_) => Ok(()),
        None => {
            let text = format!(
                "Invalid value {value} for configuration {}: must be {}",
                key.name,
                key.expected()
            );
            Err(ApiError::new(ErrorCode::InvalidConfig, text))
        }
    }
}

fn unknown_key(name: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidConfig, format!("Unknown config name: {name}"))
}

/// Configs after a change. `list_of` tells whether a key is a list and its value in effect, from which appending and
/// subtracting start. Deleting a key that is not set, or does not even exist, changes nothing, as in Kafka.
fn change_all(
    configs: &BTreeMap<String, String>,
    changes: Changes,
    list_of: impl Fn(&str) -> Result<(bool, String), ApiError>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let changes = match changes {
        Changes::Replace(all) => return Ok(all),
        Changes::Incremental(changes) => changes,
    };
    let mut changed = configs.clone();
    for (name, change) in changes {
        match change {
            Change::Set(value) => {
                changed.insert(name, value);
            }
            Change::Delete => {
                changed.remove(&name);
            }
            Change::Append(items) => {
                let value = change_list(&name, "APPEND", list_of(&name)?, |list| {
                    for item in list_items(&items) {
                        if !list.iter().any(|have| have == item) {
                            list.push(item.to_owned());
                        }
                    }
                })?;
                changed.insert(name, value);
            }
            Change::Subtract(items) => {
                let value = change_list(&name, "SUBTRACT", list_of(&name)?, |list| {
                    let gone = list_items(&items);
                    list.retain(|have| !gone.contains(&have.as_str()));
                })?;
                changed.insert(name, value);
            }
        }
    }
    Ok(changed)
}

fn change_list(
    name: &str,
    operation: &str,
    (is_list, value): (bool, String),
    change: impl FnOnce(&mut Vec<String>),
) -> Result<String, ApiError> {
    if !is_list {
        let text = format!("Can't {operation} to key {name} because its type is not LIST.");
        return Err(ApiError::new(ErrorCode::InvalidConfig, text));
    }
    let mut list = list_items(&value).into_iter().map(str::to_owned).collect();
    change(&mut list);
    Ok(list.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::topic::ConfigSource;

    /// A broker that sets nothing.
    struct Nothing;

    impl BrokerDefaults for Nothing {
        fn set_values(&self, _: &str) -> Vec<(String, ConfigSource)> {
            Vec::new()
        }
    }

    fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn incremental(changes: &[(&str, Change)]) -> Changes {
        Changes::Incremental(
            changes
                .iter()
                .map(|(name, change)| ((*name).to_owned(), change.clone()))
                .collect(),
        )
    }

    #[test]
    fn alter_configs_replaces_the_whole_set() {
        // contract 66
        let before = configs(&[("retention.ms", "1"), ("segment.ms", "2")]);
        let after = configs(&[("segment.ms", "3")]);
        assert_eq!(
            changed_topic(&before, Changes::Replace(after.clone()), &Nothing),
            Ok(after)
        );
    }

    #[test]
    fn incremental_changes_touch_only_what_they_name() {
        // contract 66
        let before = configs(&[("retention.ms", "1"), ("segment.ms", "2")]);
        let changes = [
            ("retention.ms", Change::Delete),
            ("segment.bytes", Change::Set("2000000".to_owned())),
            ("preallocate", Change::Delete),
            ("no.such.key", Change::Delete),
        ];
        assert_eq!(
            changed_topic(&before, incremental(&changes), &Nothing),
            Ok(configs(&[("segment.ms", "2"), ("segment.bytes", "2000000")]))
        );
    }

    #[test]
    fn lists_grow_and_shrink_from_the_value_in_effect() {
        // contract 66
        let append = [("cleanup.policy", Change::Append("compact,delete".to_owned()))];
        let changed = changed_topic(&BTreeMap::new(), incremental(&append), &Nothing);
        assert_eq!(
            changed,
            Ok(configs(&[("cleanup.policy", "delete,compact")])),
            "the default is delete"
        );
        let subtract = [("cleanup.policy", Change::Subtract("delete,nothing".to_owned()))];
        let before = configs(&[("cleanup.policy", "delete,compact")]);
        let changed = changed_topic(&before, incremental(&subtract), &Nothing);
        assert_eq!(changed, Ok(configs(&[("cleanup.policy", "compact")])));
        for change in [Change::Append("1".to_owned()), Change::Subtract("1".to_owned())] {
            let refused = changed_topic(&before, incremental(&[("retention.ms", change)]), &Nothing);
            assert_eq!(refused.map_err(|error| error.code), Err(ErrorCode::InvalidConfig));
        }
    }

    #[test]
    fn configs_of_groups_and_subscriptions_are_checked_after_the_change() {
        // contract 66
        let defaults = GroupConfig::default();
        let group = |before: &[(&str, &str)], changes: &[(&str, Change)]| {
            changed_group(&configs(before), incremental(changes), &defaults).map_err(|error| error.code)
        };
        let (session, heartbeat) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
        let set = |value: &str| Change::Set(value.to_owned());
        assert_eq!(
            group(&[], &[(session, set("50000"))]),
            Ok(configs(&[(session, "50000")]))
        );
        assert_eq!(
            group(&[(session, "50000")], &[(session, Change::Delete)]),
            Ok(configs(&[]))
        );
        for change in [set("1"), set("x"), Change::Append("50000".to_owned())] {
            assert_eq!(group(&[], &[(heartbeat, change)]), Err(ErrorCode::InvalidConfig));
        }
        assert_eq!(group(&[], &[("no.such.key", set("1"))]), Err(ErrorCode::InvalidConfig));
        let metrics = |before: &[(&str, &str)], name: &str, change| {
            changed_client_metrics(&configs(before), incremental(&[(name, change)])).map_err(|error| error.code)
        };
        let appended = metrics(&[("metrics", "a")], "metrics", Change::Append("b".to_owned()));
        assert_eq!(appended, Ok(configs(&[("metrics", "a,b")])));
        assert_eq!(metrics(&[], "interval.ms", set("1")), Err(ErrorCode::InvalidRequest));
        assert_eq!(metrics(&[], "match", set("nothing")), Err(ErrorCode::InvalidConfig));
    }

    #[test]
    fn duplicate_keys_and_null_values_are_refused() {
        // contract 66
        let code = |entries: &[(&str, bool)]| check_entries(entries.iter().copied()).map_err(|error| error.code);
        assert_eq!(code(&[("a", true), ("b", true)]), Ok(()));
        assert_eq!(code(&[("a", true), ("a", true)]), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(&[("a", false)]), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn broker_configs_change_only_where_they_can() {
        // contract 66
        let set = |name: &str, value: &str| {
            let changes = incremental(&[(name, Change::Set(value.to_owned()))]);
            changed_broker(&BTreeMap::new(), changes).map_err(|error| error.code)
        };
        assert_eq!(
            set("log.retention.ms", "1000"),
            Ok(configs(&[("log.retention.ms", "1000")]))
        );
        assert_eq!(set("log.retention.ms", "soon"), Err(ErrorCode::InvalidConfig));
        assert_eq!(set("no.such.key", "1"), Err(ErrorCode::InvalidConfig));
        assert_eq!(set("node.id", "1"), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn throttled_rates_can_be_deleted() {
        // contract 66: kafka-reassign-partitions does it
        for name in [
            "leader.replication.throttled.rate",
            "follower.replication.throttled.rate",
            "replica.alter.log.dirs.io.max.bytes.per.second",
        ] {
            assert_eq!(
                changed_broker(&BTreeMap::new(), incremental(&[(name, Change::Delete)])),
                Ok(BTreeMap::new())
            );
        }
    }

    #[test]
    fn resources_are_topics_this_broker_groups_and_subscriptions() {
        // contract 66
        let code = |kind, name| ConfigResource::new(kind, name, 3).map_err(|error| error.code);
        assert_eq!(code(2, "t"), Ok(ConfigResource::Topic("t".to_owned())));
        assert_eq!(code(2, "a b"), Err(ErrorCode::InvalidTopicException));
        assert_eq!(code(4, ""), Ok(ConfigResource::Broker(String::new())));
        assert_eq!(code(4, "3"), Ok(ConfigResource::Broker("3".to_owned())));
        assert_eq!(code(4, "4"), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(4, "x"), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(8, "3"), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(16, "s"), Ok(ConfigResource::ClientMetrics("s".to_owned())));
        assert_eq!(code(32, "g h"), Ok(ConfigResource::Group("g h".to_owned())));
        assert_eq!(code(16, ""), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(32, ""), Err(ErrorCode::InvalidRequest));
        assert_eq!(code(64, "x"), Err(ErrorCode::InvalidRequest));
    }
}
