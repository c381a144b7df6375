//! ConsumerGroupDescribe (69), versions 0–1: consumer groups (KIP-848) and their members. Classic and absent groups are
//! GROUP_ID_NOT_FOUND(69), upon which clients ask DescribeGroups (contract 87).
//!
//! Departures from Kafka: a group that is named twice is described once.

use super::group_request::{GROUP_OPERATIONS, consumer_protocol_is_on, given, may, once_each};
use super::{OPERATIONS_NOT_ASKED, authorized_operations, own};
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::future::Future;

/// Looks the groups up; the reply comes when all that it says is durable.
pub fn handle(
    ctx: &RequestContext,
    mut request: ConsumerGroupDescribeRequest,
) -> impl Future<Output = ConsumerGroupDescribeResponse> + Send + 'static + use<> {
    once_each(&mut request.group_ids);
    let with_operations = request.include_authorized_operations;
    let describe = |group_id: GroupId| {
        let operations = if with_operations {
            authorized_operations(ctx, &Resource::Group(&group_id), &GROUP_OPERATIONS)
        } else {
            OPERATIONS_NOT_ASKED
        };
        let answer = check(ctx, &group_id).map(|()| {
            let groups = &ctx.broker.groups;
            groups.look(&group_id, |shard, env| shard.consumer_group_describe(env, &group_id))
        });
        (GroupId(own(&group_id)), operations, answer)
    };
    let answers: Vec<_> = request.group_ids.into_iter().map(describe).collect();
    let ctx = ctx.clone();
    async move {
        let mut groups = Vec::with_capacity(answers.len());
        for (group_id, operations, answer) in answers {
            let given = given(answer).await;
            let group = match given {
                Ok(group) => group.with_authorized_operations(operations),
                Err(code) => refused(code).with_group_id(group_id),
            };
            ctx.count_error(group.error_code);
            groups.push(group);
        }
        ConsumerGroupDescribeResponse::default().with_groups(groups)
    }
}

fn check(ctx: &RequestContext, group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    may(ctx, Operation::Describe, group_id)?;
    consumer_protocol_is_on(ctx)
}

fn refused(code: ErrorCode) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(code.code())
        .with_error_message(Some(StrBytes::from_static_str(code.message())))
}
