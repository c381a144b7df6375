//! SyncGroup (14), versions 0–5: members of a classic group get what the leader assigned (contract 76). The reply comes when
//! the assignment is durable.

use super::group_request::{client, may};
use crate::context::{Operation, RequestContext};
use crate::groups::{Env, Reply, Shard};
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use protocol::ErrorCode;
use std::future::Future;

/// Syncs; the reply comes later.
pub fn handle(
    ctx: &RequestContext,
    request: SyncGroupRequest,
) -> impl Future<Output = SyncGroupResponse> + Send + 'static + use<> {
    let client = client(ctx);
    let parked = may(ctx, Operation::Read, &request.group_id).and_then(|()| {
        // From version 5 on both are there; one that is missing is not what was joined.
        let missing = ctx.api_version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none());
        if missing {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let sync = |shard: &mut Shard, env: &mut Env<'_>, waiter| shard.sync_group(env, &client, waiter, &request);
        Ok(ctx.broker.groups.park(&request.group_id, sync))
    });
    let ctx = ctx.clone();
    async move {
        let reply = match parked {
            Ok(parked) => parked.given().await,
            Err(code) => Err(code),
        };
        let response = match reply {
            Ok(Reply::Sync(response)) => response,
            Ok(Reply::Join(_)) => SyncGroupResponse::default().with_error_code(ErrorCode::UnknownServerError.code()),
            Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
        };
        ctx.count_error(response.error_code);
        response
    }
}
