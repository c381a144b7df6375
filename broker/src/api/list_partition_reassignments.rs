//! ListPartitionReassignments (46), version 0: no replica ever moves between brokers, since there is one, so that the list is empty for
//! whatever topics are asked about (KIP-455).

use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};
use protocol::ErrorCode;

/// Answers.
pub async fn handle(
    ctx: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let response = ListPartitionReassignmentsResponse::default().with_error_message(None);
    if ctx.authorize(Operation::Describe, &Resource::Cluster) {
        response
    } else {
        response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code())
    }
}
