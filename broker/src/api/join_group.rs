//! JoinGroup (11), versions 0–9: a member of a classic group joins, or joins again (contract 70–75). The reply comes when
//! the group's next generation begins; the connection's next requests are read meanwhile.

use super::group_request::{client, may};
use super::own;
use crate::context::{Operation, RequestContext};
use crate::groups::{Env, Reply, Shard};
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use protocol::ErrorCode;
use std::future::Future;

/// Joins; the reply comes later.
pub fn handle(
    ctx: &RequestContext,
    request: JoinGroupRequest,
) -> impl Future<Output = JoinGroupResponse> + Send + 'static + use<> {
    let client = client(ctx);
    let parked = may(ctx, Operation::Read, &request.group_id).map(|()| {
        let join = |shard: &mut Shard, env: &mut Env<'_>, waiter| shard.join_group(env, &client, waiter, &request);
        ctx.broker.groups.park(&request.group_id, join)
    });
    let member_id = own(&request.member_id);
    let ctx = ctx.clone();
    async move {
        let reply = match parked {
            Ok(parked) => parked.given().await,
            Err(code) => Err(code),
        };
        let response = match reply {
            Ok(Reply::Join(response)) => response,
            Ok(Reply::Sync(_)) => refused(ErrorCode::UnknownServerError).with_member_id(member_id),
            Err(code) => refused(code).with_member_id(member_id),
        };
        ctx.count_error(response.error_code);
        response
    }
}

fn refused(code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code.code())
        .with_generation_id(-1)
}
