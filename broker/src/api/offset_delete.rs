//! OffsetDelete (47), version 0: forgets offsets of topics that nobody in the group is subscribed to (contract 81).

use super::group_request::{given, may};
use super::own;
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};
use protocol::ErrorCode;
use std::future::Future;

/// Deletes; answers when they are gone for good.
pub fn handle(
    ctx: &RequestContext,
    mut request: OffsetDeleteRequest,
) -> impl Future<Output = OffsetDeleteResponse> + Send + 'static + use<> {
    let answer = may(ctx, Operation::Delete, &request.group_id).map(|()| {
        let may_read = |topic: &OffsetDeleteRequestTopic| ctx.authorize(Operation::Read, &Resource::Topic(&topic.name));
        let (allowed, denied) = std::mem::take(&mut request.topics).into_iter().partition(may_read);
        request.topics = allowed;
        let denied: Vec<OffsetDeleteRequestTopic> = denied;
        let groups = &ctx.broker.groups;
        groups.change(&request.group_id, |shard, env| {
            let (mut response, effects) = shard.offset_delete(env, &request);
            for topic in &mut response.topics {
                topic.name = TopicName(own(&topic.name));
            }
            if response.error_code == 0 {
                response.topics.extend(denied.iter().map(unauthorized));
            }
            (response, effects)
        })
    });
    let ctx = ctx.clone();
    async move {
        let given = given(answer).await;
        let response = given.unwrap_or_else(|code| OffsetDeleteResponse::default().with_error_code(code.code()));
        ctx.count_error(response.error_code);
        response
    }
}

fn unauthorized(topic: &OffsetDeleteRequestTopic) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetDeleteResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(ErrorCode::TopicAuthorizationFailed.code())
    });
    OffsetDeleteResponseTopic::default()
        .with_name(TopicName(own(&topic.name)))
        .with_partitions(partitions.collect())
}
