//! FindCoordinator (10), versions 0–6: answers COORDINATOR_NOT_AVAILABLE(15) to every key until groups and transactions
//! exist. It is offered because librdkafka enables lz4 only where version 0 of it is in range (contract 15).

use crate::context::RequestContext;
use crate::errors::ApiError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::ErrorCode;

const SHARE: i8 = 2;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    answer(ctx.api_version, request)
}

fn answer(version: i16, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let error = match request.key_type {
        0 | 1 => ApiError::new(
            ErrorCode::CoordinatorNotAvailable,
            "This broker has no coordinators yet.",
        ),
        SHARE if version >= 6 => ApiError::new(
            ErrorCode::CoordinatorNotAvailable,
            "This broker has no coordinators yet.",
        ),
        other => ApiError::new(ErrorCode::InvalidRequest, format!("Unknown coordinator type {other}.")),
    };
    let response = FindCoordinatorResponse::default();
    if version < 4 {
        return response
            .with_error_code(error.code.code())
            .with_error_message(error.wire_message())
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error.code.code())
            .with_error_message(error.wire_message())
    });
    response.with_coordinators(coordinators.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    #[test]
    fn every_version_encodes_and_answers_each_key() {
        // contract 15, 68
        for version in 0..=6 {
            let keys = vec![StrBytes::from_static_str("a"), StrBytes::from_static_str("b")];
            let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
            let response = answer(version, request);
            response.encode(&mut BytesMut::new(), version).expect("encodes");
            if version < 4 {
                assert_eq!(response.error_code, 15);
            } else {
                assert_eq!(
                    response.coordinators.iter().map(|c| c.error_code).collect::<Vec<_>>(),
                    [15, 15]
                );
            }
        }
    }

    #[test]
    fn coordinator_types_are_known_by_version() {
        // contract 68
        let code = |version, key_type| {
            let request = FindCoordinatorRequest::default()
                .with_key_type(key_type)
                .with_coordinator_keys(vec![StrBytes::from_static_str("a")]);
            answer(version, request).coordinators[0].error_code
        };
        assert_eq!(code(6, 2), 15);
        assert_eq!(code(5, 2), 42);
        assert_eq!(code(6, 3), 42);
    }
}
