//! LeaveGroup (13), versions 0–5: members leave, or are removed; a list with an error each from version 3 on (contract 78).

use super::group_request::{client, given, may};
use super::own;
use crate::context::{Operation, RequestContext};
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use std::future::Future;

/// Removes them; answers when that is durable where it has to be.
pub fn handle(
    ctx: &RequestContext,
    request: LeaveGroupRequest,
) -> impl Future<Output = LeaveGroupResponse> + Send + 'static + use<> {
    let client = client(ctx);
    let answer = may(ctx, Operation::Read, &request.group_id).map(|()| {
        let groups = &ctx.broker.groups;
        groups.change(&request.group_id, |shard, env| {
            let (mut response, effects) = shard.leave_group(env, &client, &request);
            for member in &mut response.members {
                member.member_id = own(&member.member_id);
                member.group_instance_id = member.group_instance_id.as_ref().map(own);
            }
            (response, effects)
        })
    });
    let ctx = ctx.clone();
    async move {
        let given = given(answer).await;
        let response = given.unwrap_or_else(|code| LeaveGroupResponse::default().with_error_code(code.code()));
        ctx.count_error(response.error_code);
        response
    }
}
