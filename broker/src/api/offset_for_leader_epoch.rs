//! OffsetForLeaderEpoch (23), versions 2–4: where a leader epoch ends, by which consumers notice that a log was cut
//! (contract 61).

use super::check_leader_epoch;
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName};
use protocol::ErrorCode;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match epoch_end(ctx, &topic.topic, partition) {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => answer
                    .with_error_code(error.code())
                    .with_leader_epoch(-1)
                    .with_end_offset(-1),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic)
            .with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn epoch_end(
    ctx: &RequestContext,
    topic: &TopicName,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    if !ctx.authorize(Operation::Describe, &Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let topic = ctx
        .broker
        .partitions
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let log = topic.log(asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.current_leader_epoch, ctx.broker.engine.leader_epoch())?;
    let end = log.epoch_end(asked.leader_epoch);
    Ok((end.leader_epoch, end.end_offset.0))
}
