//! InitProducerId (22), versions 0–5: a producer id for idempotent producers (contract 89).
//!
//! There is no transaction coordinator yet: a transactional id gets COORDINATOR_NOT_AVAILABLE(15).

use super::blocking;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use protocol::ErrorCode;
use std::sync::Arc;

/// Answers; the id was nobody's before and will be nobody else's.
pub async fn handle(ctx: &RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let answer = InitProducerIdResponse::default();
    match producer_id(ctx, &request).await {
        Ok(id) => answer.with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => answer
            .with_error_code(error.code.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

async fn producer_id(ctx: &RequestContext, request: &InitProducerIdRequest) -> Result<i64, ApiError> {
    check_transactional_id(request.transactional_id.as_ref().map(|id| &***id))?;
    let may = ctx.authorize(Operation::IdempotentWrite, &Resource::Cluster);
    if !may {
        return Err(ErrorCode::ClusterAuthorizationFailed.into());
    }
    if let Some(id) = ctx.broker.producer_ids.next_of_block() {
        return Ok(id);
    }
    let broker = Arc::clone(&ctx.broker);
    let next = blocking(move || broker.producer_ids.next_blocking()).await?;
    // Loading is what clients retry; a storage error would end an idempotent producer.
    next.map_err(|error| {
        let error = ApiError::storage("allocating producer ids", &error);
        ApiError {
            code: ErrorCode::CoordinatorLoadInProgress,
            ..error
        }
    })
}

/// `None` is an idempotent producer; a transactional one needs a coordinator.
fn check_transactional_id(id: Option<&str>) -> Result<(), ErrorCode> {
    match id {
        None => Ok(()),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactional_ids_find_no_coordinator() {
        // contract 89
        assert_eq!(check_transactional_id(None), Ok(()));
        assert_eq!(check_transactional_id(Some("")), Err(ErrorCode::InvalidRequest));
        assert_eq!(
            check_transactional_id(Some("t")),
            Err(ErrorCode::CoordinatorNotAvailable)
        );
    }
}
