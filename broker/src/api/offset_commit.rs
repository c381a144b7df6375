//! OffsetCommit (8), versions 2–9: offsets of a group, durable when the reply leaves (contract 79, 81, 87). Several commits of
//! one connection share a sync of the disk.
//!
//! Departures from Kafka: with `durability = "fsync"` the promise survives power loss.

use super::group_request::{client, given, may};
use super::own;
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use protocol::ErrorCode;
use std::future::Future;

/// Commits; the order of commits is fixed when this returns, the reply comes when they are durable.
pub fn handle(
    ctx: &RequestContext,
    mut request: OffsetCommitRequest,
) -> impl Future<Output = OffsetCommitResponse> + Send + 'static + use<> {
    let client = client(ctx);
    // What every error looks like: kept without the request's memory.
    let refused = refused(&request.topics);
    let answer = may(ctx, Operation::Read, &request.group_id).map(|()| {
        let may_read = |topic: &OffsetCommitRequestTopic| ctx.authorize(Operation::Read, &Resource::Topic(&topic.name));
        let (allowed, denied) = std::mem::take(&mut request.topics).into_iter().partition(may_read);
        request.topics = allowed;
        let denied: Vec<OffsetCommitRequestTopic> = denied;
        let groups = &ctx.broker.groups;
        groups.change(&request.group_id, |shard, env| {
            let (mut response, effects) = shard.offset_commit(env, &client, &request);
            for topic in &mut response.topics {
                topic.name = TopicName(own(&topic.name));
            }
            response
                .topics
                .extend(with_error(self::refused(&denied), ErrorCode::TopicAuthorizationFailed));
            (response, effects)
        })
    });
    let ctx = ctx.clone();
    async move {
        let given = given(answer).await;
        let response =
            given.unwrap_or_else(|code| OffsetCommitResponse::default().with_topics(with_error(refused, code)));
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            ctx.count_error(partition.error_code);
        }
        response
    }
}

fn refused(topics: &[OffsetCommitRequestTopic]) -> Vec<OffsetCommitResponseTopic> {
    let answer = |topic: &OffsetCommitRequestTopic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions
            .map(|partition| OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index));
        OffsetCommitResponseTopic::default()
            .with_name(TopicName(own(&topic.name)))
            .with_partitions(partitions.collect())
    };
    topics.iter().map(answer).collect()
}

fn with_error(mut topics: Vec<OffsetCommitResponseTopic>, code: ErrorCode) -> Vec<OffsetCommitResponseTopic> {
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = code.code();
    }
    topics
}
