//! Heartbeat (12), versions 0–4: a member of a classic group lives (contract 77).
//!
//! While groups load the answer is 0, as Kafka's is: clients take LOAD_IN_PROGRESS here for a mistake.

use super::group_request::{client, may};
use crate::context::{Operation, RequestContext};
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use protocol::ErrorCode;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let client = client(ctx);
    let answered = may(ctx, Operation::Read, &request.group_id).and_then(|()| {
        let groups = &ctx.broker.groups;
        groups.change_at_once(&request.group_id, |shard, env| shard.heartbeat(env, &client, &request))
    });
    let response = match answered {
        Ok(response) => response,
        Err(ErrorCode::CoordinatorLoadInProgress) => HeartbeatResponse::default(),
        Err(code) => HeartbeatResponse::default().with_error_code(code.code()),
    };
    ctx.count_error(response.error_code);
    response
}
