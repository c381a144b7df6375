//! Metadata (3), versions 0–13: brokers, topics, partitions; makes topics that are named and missing (contract 17–23).
//!
//! Departures from Kafka: an automatic creation is finished before the reply, so that the first reply already has the
//! partitions, never an error that makes the client ask again. Replicas and ISR list live brokers only (contract 63).

use super::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, authorized_operations, topic_id_of, uuid_of};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::partitions::{Topic, check_topic_name, is_internal};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::collections::HashSet;
use std::sync::Arc;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    let version = ctx.api_version;
    let broker = &ctx.broker;
    let with_operations = version >= 8 && request.include_topic_authorized_operations;
    let topics = match request.topics {
        Some(named) if !(version == 0 && named.is_empty()) => {
            let wanted = named
                .into_iter()
                .map(|topic| Wanted::new(topic.name, &topic_id_of(&topic.topic_id), version));
            let auto_create = request.allow_auto_topic_creation;
            describe_named(ctx, wanted.collect(), auto_create, with_operations).await
        }
        // null; or no names in version 0 (contract 17)
        _ => {
            let all = broker.partitions.topics();
            let seen = all
                .iter()
                .filter(|topic| ctx.authorize(Operation::Describe, &Resource::Topic(&topic.name)));
            seen.map(|topic| describe(ctx, topic, with_operations)).collect()
        }
    };
    let cluster_operations = if (8..=10).contains(&version) && request.include_cluster_authorized_operations {
        authorized_operations(ctx, &Resource::Cluster, &CLUSTER_OPERATIONS)
    } else {
        OPERATIONS_NOT_ASKED
    };
    MetadataResponse::default()
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.node_id))
                .with_host(StrBytes::from_string(ctx.listener.advertised_host.clone()))
                .with_port(i32::from(ctx.listener.advertised_port)),
        ])
        .with_cluster_id(Some(StrBytes::from_string(broker.cluster_id.clone())))
        .with_controller_id(BrokerId(broker.node_id))
        .with_topics(topics)
        .with_cluster_authorized_operations(cluster_operations)
}

/// A topic that a request names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    Id(protocol::types::TopicId),
    Name(TopicName),
    /// Neither a name nor, from version 12 on, an id.
    Nothing,
}

impl Wanted {
    fn new(name: Option<TopicName>, id: &protocol::types::TopicId, version: i16) -> Wanted {
        match name {
            _ if version >= 12 && !id.is_zero() => Wanted::Id(*id),
            Some(name) => Wanted::Name(name),
            None => Wanted::Nothing,
        }
    }
}

async fn describe_named(
    ctx: &RequestContext,
    wanted: Vec<Wanted>,
    auto_create: bool,
    with_operations: bool,
) -> Vec<MetadataResponseTopic> {
    let broker = &ctx.broker;
    let auto_create = auto_create && broker.partitions.settings().config.auto_create_topics_enable;
    let mut seen = HashSet::with_capacity(wanted.len());
    let mut described = Vec::with_capacity(wanted.len());
    // Names to be made, each with its place in `described`.
    let mut missing: Vec<(usize, TopicName)> = Vec::new();
    for want in wanted {
        if !seen.insert(want.clone()) {
            continue;
        }
        described.push(match want {
            Wanted::Id(id) => match broker.partitions.topic_by_id(id) {
                None => refused(None, &ErrorCode::UnknownTopicId.into()).with_topic_id(uuid_of(id)),
                Some(topic) if ctx.authorize(Operation::Describe, &Resource::Topic(&topic.name)) => {
                    describe(ctx, &topic, with_operations)
                }
                Some(_) => refused(None, &ErrorCode::TopicAuthorizationFailed.into()).with_topic_id(uuid_of(id)),
            },
            Wanted::Name(name) => match find(ctx, &name) {
                Ok(topic) => describe(ctx, &topic, with_operations),
                Err(error) => {
                    if auto_create && error.code == ErrorCode::UnknownTopicOrPartition && !is_internal(&name) {
                        missing.push((described.len(), name.clone()));
                    }
                    refused(Some(name), &error)
                }
            },
            Wanted::Nothing => refused(Some(TopicName::default()), &ErrorCode::InvalidRequest.into()),
        });
    }
    missing.retain(|(at, name)| {
        let may = ctx.authorize(Operation::Create, &Resource::Cluster)
            || ctx.authorize(Operation::Create, &Resource::Topic(name));
        if !may {
            described[*at].error_code = ErrorCode::TopicAuthorizationFailed.code();
        }
        may
    });
    if !missing.is_empty() {
        let names = missing.iter().map(|(_, name)| name.to_string()).collect();
        let created = broker.partitions.auto_create(names).await;
        for ((at, name), creation) in missing.into_iter().zip(created) {
            described[at] = match creation {
                Ok(topic) => describe(ctx, &topic, with_operations),
                Err(error) => refused(Some(name), &error),
            };
        }
    }
    described
}

fn find(ctx: &RequestContext, name: &TopicName) -> Result<Arc<Topic>, ApiError> {
    if !ctx.authorize(Operation::Describe, &Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    if let Some(topic) = ctx.broker.partitions.topic(name) {
        return Ok(topic);
    }
    check_topic_name(name).map_err(|text| ApiError::new(ErrorCode::InvalidTopicException, text))?;
    Err(ErrorCode::UnknownTopicOrPartition.into())
}

fn refused(name: Option<TopicName>, error: &ApiError) -> MetadataResponseTopic {
    let internal = name.as_ref().is_some_and(|name| is_internal(name));
    MetadataResponseTopic::default()
        .with_name(name)
        .with_error_code(error.code.code())
        .with_is_internal(internal)
}

fn describe(ctx: &RequestContext, topic: &Topic, with_operations: bool) -> MetadataResponseTopic {
    let node = BrokerId(ctx.broker.node_id);
    let leader_epoch = ctx.broker.engine.leader_epoch();
    let partitions = (0..topic.partitions())
        .map(|partition| {
            MetadataResponsePartition::default()
                .with_partition_index(partition)
                .with_leader_id(node)
                .with_leader_epoch(leader_epoch)
                .with_replica_nodes(vec![node])
                .with_isr_nodes(vec![node])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic.wire_name()))
        .with_topic_id(uuid_of(topic.id))
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions)
        .with_topic_authorized_operations(if with_operations {
            authorized_operations(ctx, &Resource::Topic(&topic.name), &TOPIC_OPERATIONS)
        } else {
            OPERATIONS_NOT_ASKED
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::types::TopicId;

    #[test]
    fn ids_count_from_version_12_on() {
        // contract 20
        let name = || Some(TopicName(StrBytes::from_static_str("t")));
        let id = TopicId([7; 16]);
        assert_eq!(Wanted::new(name(), &id, 12), Wanted::Id(id));
        assert_eq!(Wanted::new(None, &id, 13), Wanted::Id(id));
        assert_eq!(
            Wanted::new(name(), &id, 11),
            Wanted::Name(TopicName(StrBytes::from_static_str("t")))
        );
        assert_eq!(
            Wanted::new(name(), &TopicId::ZERO, 13),
            Wanted::Name(TopicName(StrBytes::from_static_str("t")))
        );
        assert_eq!(Wanted::new(None, &id, 10), Wanted::Nothing);
        assert_eq!(Wanted::new(None, &TopicId::ZERO, 12), Wanted::Nothing);
    }
}
