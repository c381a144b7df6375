//! CreateTopics (19), versions 2–7 (contract 62–64).
//!
//! Departures from Kafka: a replication factor above the number of brokers is accepted and recorded, one copy is kept
//! (contract 63); the topics exist when the reply leaves, so `timeout_ms` has nothing to wait for.

use super::{blocking, uuid_of};
use crate::config::topic::{TOPIC_CONFIG_KEYS, effective};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::partitions::{BrokerSettings, NewTopic, Topic};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Defaults of a topic that is created without saying more.
struct Defaults {
    partitions: i32,
    replication_factor: i16,
    node_id: i32,
}

/// Answers; the topics are durable when this returns.
pub async fn handle(ctx: &RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let manager = &ctx.broker.partitions;
    let settings = manager.settings();
    let defaults = Defaults {
        partitions: settings.config.num_partitions,
        replication_factor: settings.config.default_replication_factor,
        node_id: ctx.broker.node_id,
    };
    let mut named: HashMap<TopicName, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut answered = HashSet::new();
    let mut results: Vec<(TopicName, Result<usize, ApiError>)> = Vec::new();
    let mut wanted = Vec::new();
    for topic in request.topics {
        let name = topic.name.clone();
        if named.get(&name).is_some_and(|times| *times > 1) {
            if answered.insert(name.clone()) {
                results.push((
                    name,
                    Err(ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.")),
                ));
            }
            continue;
        }
        let checked = authorize(ctx, &name).and_then(|()| new_topic(topic, &defaults));
        results.push((
            name,
            checked.map(|topic| {
                wanted.push(topic);
                wanted.len() - 1
            }),
        ));
    }
    let manager = std::sync::Arc::clone(manager);
    let validate_only = request.validate_only;
    let specs: Vec<_> = wanted
        .iter()
        .map(|topic| (topic.partitions, topic.replication_factor))
        .collect();
    let created = blocking(move || manager.create(wanted, validate_only)).await;
    let results = results.into_iter().map(|(name, result)| {
        let result = result.and_then(|at| match &created {
            Ok(created) => created[at].clone().map(|topic| (topic, specs[at])),
            Err(error) => Err(error.clone()),
        });
        let answer = CreatableTopicResult::default().with_name(name);
        match result {
            Ok((topic, (partitions, replication_factor))) => answer
                .with_topic_id(if validate_only {
                    uuid::Uuid::nil()
                } else {
                    uuid_of(topic.id)
                })
                .with_num_partitions(partitions)
                .with_replication_factor(replication_factor)
                .with_configs(Some(configs_of(&topic, &settings))),
            Err(error) => answer
                .with_error_code(error.code.code())
                .with_error_message(error.wire_message())
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(Some(Vec::new())),
        }
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

fn authorize(ctx: &RequestContext, name: &TopicName) -> Result<(), ApiError> {
    let may = ctx.authorize(Operation::Create, &Resource::Cluster)
        || ctx.authorize(Operation::Create, &Resource::Topic(name));
    if may {
        Ok(())
    } else {
        Err(ErrorCode::TopicAuthorizationFailed.into())
    }
}

/// Works out what a request asks for. Name, configs and limits are checked by the catalog, together with what is there.
fn new_topic(topic: CreatableTopic, defaults: &Defaults) -> Result<NewTopic, ApiError> {
    let refuse = |code: ErrorCode, text: String| Err(ApiError::new(code, text));
    let (partitions, replication_factor) = if topic.assignments.is_empty() {
        let partitions = match topic.num_partitions {
            -1 => defaults.partitions,
            bad if bad <= 0 => {
                let text = "Number of partitions was set to an invalid non-positive value.";
                return refuse(ErrorCode::InvalidPartitions, text.to_owned());
            }
            count => count,
        };
        let replication_factor = match topic.replication_factor {
            -1 => defaults.replication_factor,
            bad if bad <= 0 => {
                let text = "Replication factor must be larger than 0, or -1 to use the default value.";
                return refuse(ErrorCode::InvalidReplicationFactor, text.to_owned());
            }
            count => count,
        };
        (partitions, replication_factor)
    } else {
        if topic.replication_factor != -1 {
            let text = "A manual partition assignment was specified, but replication factor was not set to -1.";
            return refuse(ErrorCode::InvalidRequest, text.to_owned());
        }
        if topic.num_partitions != -1 {
            let text = "A manual partition assignment was specified, but numPartitions was not set to -1.";
            return refuse(ErrorCode::InvalidRequest, text.to_owned());
        }
        check_assignments(&topic.assignments, defaults.node_id)?
    };
    let mut configs = BTreeMap::new();
    for config in topic.configs {
        let Some(value) = config.value else {
            let text = format!("Null value not supported for topic configs: {}", &*config.name);
            return refuse(ErrorCode::InvalidConfig, text);
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    Ok(NewTopic {
        name: topic.name.to_string(),
        partitions,
        replication_factor,
        configs,
    })
}

/// Checks a manual assignment: partitions 0, 1, 2, … once each, every one on brokers that exist.
fn check_assignments(assignments: &[CreatableReplicaAssignment], node_id: i32) -> Result<(i32, i16), ApiError> {
    let refuse = |text: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
    let mut partitions: Vec<i32> = assignments
        .iter()
        .map(|assignment| assignment.partition_index)
        .collect();
    partitions.sort_unstable();
    if partitions
        .iter()
        .zip(0..)
        .any(|(partition, expected)| *partition != expected)
    {
        return refuse("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    for assignment in assignments {
        let brokers: Vec<i32> = assignment.broker_ids.iter().map(|broker| broker.0).collect();
        check_replicas(&brokers, node_id)?;
    }
    // Each list is [node_id], so that all have the same length.
    Ok((partitions.len() as i32, 1))
}

/// Checks one partition's list of brokers.
pub(super) fn check_replicas(brokers: &[i32], node_id: i32) -> Result<(), ApiError> {
    let refuse = |text: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
    if brokers.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".to_owned());
    }
    if let Some(stranger) = brokers.iter().find(|broker| **broker != node_id) {
        return refuse(format!(
            "The manual partition assignment includes broker {stranger}, but no such broker is registered."
        ));
    }
    if brokers.len() > 1 {
        return refuse(format!(
            "The manual partition assignment includes the broker {node_id} more than once."
        ));
    }
    Ok(())
}

fn configs_of(topic: &Topic, settings: &BrokerSettings) -> Vec<CreatableTopicConfigs> {
    TOPIC_CONFIG_KEYS
        .iter()
        .map(|key| {
            let value = effective(key, &topic.configs, &settings.config);
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_static_str(key.name))
                .with_value(Some(StrBytes::from_string(value.value)))
                .with_config_source(value.source as i8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;

    const DEFAULTS: Defaults = Defaults {
        partitions: 4,
        replication_factor: 2,
        node_id: 7,
    };

    fn topic(partitions: i32, replication_factor: i16) -> CreatableTopic {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor)
    }

    fn assignment(partition: i32, brokers: &[i32]) -> CreatableReplicaAssignment {
        CreatableReplicaAssignment::default()
            .with_partition_index(partition)
            .with_broker_ids(brokers.iter().map(|broker| BrokerId(*broker)).collect())
    }

    fn code(topic: CreatableTopic) -> Option<ErrorCode> {
        new_topic(topic, &DEFAULTS).err().map(|error| error.code)
    }

    #[test]
    fn counts_are_checked_and_defaulted() {
        // contract 63
        let made = new_topic(topic(-1, -1), &DEFAULTS).expect("defaults");
        assert_eq!((made.partitions, made.replication_factor), (4, 2));
        let made = new_topic(topic(9, 3), &DEFAULTS).expect("more replicas than brokers");
        assert_eq!((made.partitions, made.replication_factor), (9, 3));
        for partitions in [0, -2, i32::MIN] {
            assert_eq!(code(topic(partitions, 1)), Some(ErrorCode::InvalidPartitions));
        }
        for replication_factor in [0, -2, i16::MIN] {
            assert_eq!(
                code(topic(1, replication_factor)),
                Some(ErrorCode::InvalidReplicationFactor)
            );
        }
    }

    #[test]
    fn assignments_must_be_sensible() {
        let made = new_topic(
            topic(-1, -1).with_assignments(vec![assignment(1, &[7]), assignment(0, &[7])]),
            &DEFAULTS,
        );
        let made = made.expect("two partitions here");
        assert_eq!((made.partitions, made.replication_factor), (2, 1));
        let refused = |assignments| code(topic(-1, -1).with_assignments(assignments));
        assert_eq!(
            refused(vec![assignment(1, &[7])]),
            Some(ErrorCode::InvalidReplicaAssignment)
        );
        assert_eq!(
            refused(vec![assignment(0, &[7]), assignment(0, &[7])]),
            Some(ErrorCode::InvalidReplicaAssignment)
        );
        assert_eq!(
            refused(vec![assignment(0, &[])]),
            Some(ErrorCode::InvalidReplicaAssignment)
        );
        assert_eq!(
            refused(vec![assignment(0, &[8])]),
            Some(ErrorCode::InvalidReplicaAssignment)
        );
        assert_eq!(
            refused(vec![assignment(0, &[7, 7])]),
            Some(ErrorCode::InvalidReplicaAssignment)
        );
        let both = topic(1, -1).with_assignments(vec![assignment(0, &[7])]);
        assert_eq!(code(both), Some(ErrorCode::InvalidRequest));
        let both = topic(-1, 1).with_assignments(vec![assignment(0, &[7])]);
        assert_eq!(code(both), Some(ErrorCode::InvalidRequest));
    }

    #[test]
    fn configs_without_value_are_refused() {
        let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str("retention.ms"));
        let refused = code(topic(1, 1).with_configs(vec![config.clone().with_value(None)]));
        assert_eq!(refused, Some(ErrorCode::InvalidConfig));
        let made = new_topic(
            topic(1, 1).with_configs(vec![config.with_value(Some(StrBytes::from_static_str("1")))]),
            &DEFAULTS,
        );
        assert_eq!(
            made.expect("a value").configs.get("retention.ms").map(String::as_str),
            Some("1")
        );
    }
}
