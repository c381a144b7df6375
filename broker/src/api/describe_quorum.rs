//! DescribeQuorum (55), versions 0–2: who keeps the cluster's metadata (KIP-595, KIP-853). That is this broker alone: one voter, which
//! leads, no observers.
//!
//! Departures from Kafka: there is no metadata log. The epoch is the broker's leader epoch, one more at each start; offsets are
//! the number of the metadata store's last change, which grows. The directory has the id of the cluster, which is made
//! together with it. The node's listeners are those that clients use.

use super::uuid_of;
use crate::broker::Broker;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::describe_quorum_request::TopicData as AskedTopic;
use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

/// The name that Kafka's metadata log has.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let response = DescribeQuorumResponse::default().with_error_message(None);
    if !ctx.authorize(Operation::Describe, &Resource::Cluster) {
        return response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
    }
    if !asks_for_metadata(&request.topics) {
        return response.with_topics(request.topics.into_iter().map(unknown).collect());
    }
    let partition = match describe(ctx) {
        Ok(partition) => partition,
        Err(error) => {
            let message = if ctx.api_version >= 2 {
                error.wire_message()
            } else {
                None
            };
            return response.with_error_code(error.code.code()).with_error_message(message);
        }
    };
    let topics = request.topics.into_iter().map(|topic| {
        TopicData::default()
            .with_topic_name(topic.topic_name)
            .with_partitions(vec![partition.clone()])
    });
    let response = response.with_topics(topics.collect());
    if ctx.api_version >= 2 {
        response.with_nodes(vec![node(&ctx.broker)])
    } else {
        response
    }
}

/// Exactly one partition can be asked about.
fn asks_for_metadata(topics: &[AskedTopic]) -> bool {
    let [topic] = topics else { return false };
    let [partition] = &topic.partitions[..] else {
        return false;
    };
    topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0
}

fn unknown(topic: AskedTopic) -> TopicData {
    let partitions = topic.partitions.iter().map(|partition| {
        PartitionData::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
            .with_error_message(None)
            .with_leader_id(BrokerId(-1))
            .with_leader_epoch(-1)
            .with_high_watermark(-1)
    });
    let partitions = partitions.collect();
    TopicData::default()
        .with_topic_name(topic.topic_name)
        .with_partitions(partitions)
}

fn describe(ctx: &RequestContext) -> Result<PartitionData, ApiError> {
    let broker = &ctx.broker;
    let sequence = broker
        .engine
        .index_sequence()
        .map_err(|error| ApiError::storage("describing the metadata store", &error))?;
    let end = i64::try_from(sequence).unwrap_or(i64::MAX);
    let mut voter = ReplicaState::default()
        .with_replica_id(BrokerId(broker.node_id))
        .with_log_end_offset(end);
    // The fields came with these versions, and the codec refuses them in older ones.
    if ctx.api_version >= 1 {
        voter = voter
            .with_last_fetch_timestamp(ctx.now_ms)
            .with_last_caught_up_timestamp(ctx.now_ms);
    }
    if ctx.api_version >= 2 {
        voter = voter.with_replica_directory_id(uuid_of(broker.engine.metadata().directory_id()));
    }
    Ok(PartitionData::default()
        .with_error_message(None)
        .with_leader_id(BrokerId(broker.node_id))
        .with_leader_epoch(broker.engine.leader_epoch())
        .with_high_watermark(end)
        .with_current_voters(vec![voter]))
}

fn node(broker: &Broker) -> Node {
    let listeners = broker.listeners.iter().map(|listener| {
        Listener::default()
            .with_name(StrBytes::from_string(listener.name.clone()))
            .with_host(StrBytes::from_string(listener.advertised_host.clone()))
            .with_port(listener.advertised_port)
    });
    Node::default()
        .with_node_id(BrokerId(broker.node_id))
        .with_listeners(listeners.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::describe_quorum_request::PartitionData as AskedPartition;

    #[test]
    fn one_partition_can_be_asked_about() {
        let topic = |name, partitions: &[i32]| {
            let partitions = partitions
                .iter()
                .map(|index| AskedPartition::default().with_partition_index(*index));
            AskedTopic::default()
                .with_topic_name(TopicName(StrBytes::from_static_str(name)))
                .with_partitions(partitions.collect())
        };
        assert!(asks_for_metadata(&[topic(METADATA_TOPIC, &[0])]));
        for bad in [
            vec![],
            vec![topic(METADATA_TOPIC, &[])],
            vec![topic(METADATA_TOPIC, &[1])],
            vec![topic(METADATA_TOPIC, &[0, 0])],
            vec![topic("t", &[0])],
            vec![topic(METADATA_TOPIC, &[0]), topic("t", &[0])],
        ] {
            assert!(!asks_for_metadata(&bad), "{bad:?}");
        }
    }
}
