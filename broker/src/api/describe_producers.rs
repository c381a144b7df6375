//! DescribeProducers (61), version 0: what partitions remember of idempotent producers (KIP-664, contract 43).
//!
//! Departures from Kafka: `last_timestamp` is when the producer's last batch was appended, not what that batch says. There are no
//! transactions: coordinator epoch and start of the open transaction are −1.

use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId, TopicName};
use protocol::ErrorCode;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let answer = PartitionResponse::default()
                .with_partition_index(*partition)
                .with_error_message(None);
            match describe(ctx, &topic.name, *partition) {
                Ok(producers) => answer.with_active_producers(producers),
                Err(error) => answer
                    .with_error_code(error.code.code())
                    .with_error_message(error.wire_message()),
            }
        });
        let partitions = partitions.collect();
        TopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn describe(ctx: &RequestContext, name: &TopicName, partition: i32) -> Result<Vec<ProducerState>, ApiError> {
    if !ctx.authorize(Operation::Read, &Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    let topic = ctx.broker.partitions.topic(name);
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let log = topic.log(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let states = log.producer_states().into_iter().map(|state| {
        ProducerState::default()
            .with_producer_id(ProducerId(state.producer_id))
            .with_producer_epoch(i32::from(state.producer_epoch))
            .with_last_sequence(state.last_sequence)
            .with_last_timestamp(state.last_timestamp_ms)
            .with_coordinator_epoch(state.coordinator_epoch)
            .with_current_txn_start_offset(state.current_txn_start_offset.map_or(-1, |offset| offset.0))
    });
    Ok(states.collect())
}
