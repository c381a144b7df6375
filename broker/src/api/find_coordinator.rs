//! FindCoordinator (10), versions 0–6: where groups are coordinated, which is here, by the address of the listener that the
//! client came in by (contract 15, 22, 68). A list of keys from version 4 on, each with its own error.
//!
//! Departures from Kafka: `__consumer_offsets` is made before the reply leaves, so that the first reply already names the
//! coordinator. There are no transaction and share coordinators yet: COORDINATOR_NOT_AVAILABLE(15).

use super::own;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let keys = if ctx.api_version < 4 {
        vec![request.key]
    } else {
        request.coordinator_keys
    };
    let may = |key: &str| ctx.authorize(Operation::Describe, &Resource::Group(key));
    let ready = match check_type(ctx.api_version, request.key_type) {
        // Who may ask nothing does not make the topic.
        Ok(()) if !keys.iter().any(|key| may(key)) => Ok(()),
        Ok(()) => ctx.broker.groups.ready().await.map_err(|error| {
            let text = format!(
                "__consumer_offsets cannot be made: {}",
                error.message.unwrap_or_default()
            );
            ApiError::new(ErrorCode::CoordinatorNotAvailable, text)
        }),
        Err(error) => Err(error),
    };
    let mut answers = keys.into_iter().map(|key| {
        let found = ready.clone().and_then(|()| {
            may(&key)
                .then_some(())
                .ok_or_else(|| ErrorCode::GroupAuthorizationFailed.into())
        });
        if let Err(error) = &found {
            ctx.count_error(error.code.code());
        }
        (key, found)
    });
    if ctx.api_version < 4 {
        let found = answers.next().map_or(Ok(()), |(_, found)| found);
        return single(ctx, found);
    }
    let coordinators = answers.map(|(key, found)| coordinator(ctx, &key, found));
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

/// Whether coordinators of this type are here.
fn check_type(version: i16, key_type: i8) -> Result<(), ApiError> {
    match key_type {
        GROUP => Ok(()),
        TRANSACTION => Err(ApiError::new(
            ErrorCode::CoordinatorNotAvailable,
            "This broker has no transactions yet.",
        )),
        SHARE if version >= 6 => Err(ApiError::new(
            ErrorCode::CoordinatorNotAvailable,
            "This broker has no share groups yet.",
        )),
        other => Err(ApiError::new(
            ErrorCode::InvalidRequest,
            format!("Unknown coordinator type {other}."),
        )),
    }
}

fn single(ctx: &RequestContext, found: Result<(), ApiError>) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default();
    match found {
        Ok(()) => response
            .with_node_id(BrokerId(ctx.broker.node_id))
            .with_host(StrBytes::from_string(ctx.listener.advertised_host.clone()))
            .with_port(i32::from(ctx.listener.advertised_port)),
        Err(error) => response
            .with_error_code(error.code.code())
            .with_error_message(error.wire_message())
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

fn coordinator(ctx: &RequestContext, key: &StrBytes, found: Result<(), ApiError>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(own(key));
    match found {
        Ok(()) => coordinator
            .with_node_id(BrokerId(ctx.broker.node_id))
            .with_host(StrBytes::from_string(ctx.listener.advertised_host.clone()))
            .with_port(i32::from(ctx.listener.advertised_port)),
        Err(error) => coordinator
            .with_error_code(error.code.code())
            .with_error_message(error.wire_message())
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinator_types_are_known_by_version() {
        // contract 68
        let code = |version, key_type| check_type(version, key_type).map_err(|error| error.code as i16);
        assert_eq!(code(0, GROUP), Ok(()));
        assert_eq!(code(6, TRANSACTION), Err(15));
        assert_eq!(code(6, SHARE), Err(15));
        assert_eq!(code(5, SHARE), Err(42));
        assert_eq!(code(6, 3), Err(42));
    }
}
