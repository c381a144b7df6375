//! DescribeGroups (15), versions 0–6: classic groups and their members (contract 87). A group that does not exist is Dead, an
//! error only from version 6 on.
//!
//! Departures from Kafka: a group that is named twice is described once.

use super::group_request::{GROUP_OPERATIONS, given, may, once_each};
use super::{OPERATIONS_NOT_ASKED, authorized_operations, own};
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use protocol::ErrorCode;
use std::future::Future;

/// Looks the groups up; the reply comes when all that it says is durable.
pub fn handle(
    ctx: &RequestContext,
    mut request: DescribeGroupsRequest,
) -> impl Future<Output = DescribeGroupsResponse> + Send + 'static + use<> {
    once_each(&mut request.groups);
    let version = ctx.api_version;
    let with_operations = version >= 3 && request.include_authorized_operations;
    let describe = |group_id: GroupId| {
        let operations = if with_operations {
            authorized_operations(ctx, &Resource::Group(&group_id), &GROUP_OPERATIONS)
        } else {
            OPERATIONS_NOT_ASKED
        };
        let answer = may(ctx, Operation::Describe, &group_id).map(|()| {
            let groups = &ctx.broker.groups;
            groups.look(&group_id, |shard, _| shard.describe_group(version, &group_id))
        });
        (GroupId(own(&group_id)), operations, answer)
    };
    let answers: Vec<_> = request.groups.into_iter().map(describe).collect();
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
        DescribeGroupsResponse::default().with_groups(groups)
    }
}

fn refused(code: ErrorCode) -> DescribedGroup {
    DescribedGroup::default().with_error_code(code.code())
}
