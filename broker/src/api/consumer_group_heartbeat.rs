//! ConsumerGroupHeartbeat (68), versions 0–1: the whole life of a member of a consumer group, KIP-848 (contract 82–86). The
//! reply comes when what it says is durable.

use super::group_request::{client, consumer_protocol_is_on, given, may};
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::future::Future;

/// Takes the heartbeat; the reply comes later.
pub fn handle(
    ctx: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> impl Future<Output = ConsumerGroupHeartbeatResponse> + Send + 'static + use<> {
    let client = client(ctx);
    let describes = |name: &TopicName| ctx.authorize(Operation::Describe, &Resource::Topic(name));
    let allowed = may(ctx, Operation::Read, &request.group_id)
        .and_then(|()| consumer_protocol_is_on(ctx))
        .and_then(|()| match &request.subscribed_topic_names {
            Some(names) if !names.iter().all(describes) => Err(ErrorCode::TopicAuthorizationFailed),
            _ => Ok(()),
        });
    let answer = allowed.map(|()| {
        let groups = &ctx.broker.groups;
        groups.change(&request.group_id, |shard, env| {
            shard.consumer_group_heartbeat(env, &client, &request)
        })
    });
    let ctx = ctx.clone();
    async move {
        let given = given(answer).await;
        let response = given.unwrap_or_else(refused);
        ctx.count_error(response.error_code);
        response
    }
}

fn refused(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(StrBytes::from_static_str(code.message())))
}
