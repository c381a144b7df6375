//! DescribeCluster (60), versions 0–2: the brokers, the controller, the cluster's id (contract 22).
//!
//! There is one broker and no controller listener: asking for controllers gives MISMATCHED_ENDPOINT_TYPE(114).

use super::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, authorized_operations};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let endpoint_type = if ctx.api_version >= 1 {
        request.endpoint_type
    } else {
        BROKERS
    };
    let response = DescribeClusterResponse::default().with_endpoint_type(endpoint_type);
    if let Err(error) = check_endpoint_type(endpoint_type) {
        return response
            .with_error_code(error.code.code())
            .with_error_message(error.wire_message());
    }
    if !ctx.authorize(Operation::Describe, &Resource::Cluster) {
        return response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
    }
    let broker = &ctx.broker;
    response
        .with_cluster_id(StrBytes::from_string(broker.cluster_id.clone()))
        .with_controller_id(BrokerId(broker.node_id))
        .with_brokers(vec![
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.node_id))
                .with_host(StrBytes::from_string(ctx.listener.advertised_host.clone()))
                .with_port(i32::from(ctx.listener.advertised_port)),
        ])
        .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
            authorized_operations(ctx, &Resource::Cluster, &CLUSTER_OPERATIONS)
        } else {
            OPERATIONS_NOT_ASKED
        })
}

fn check_endpoint_type(endpoint_type: i8) -> Result<(), ApiError> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => {
            let text =
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            Err(ApiError::new(ErrorCode::MismatchedEndpointType, text))
        }
        other => Err(ApiError::new(
            ErrorCode::UnsupportedEndpointType,
            format!("Unsupported endpoint type {other}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brokers_can_be_asked_for() {
        assert_eq!(check_endpoint_type(1), Ok(()));
        assert_eq!(
            check_endpoint_type(2).map_err(|error| error.code),
            Err(ErrorCode::MismatchedEndpointType)
        );
        assert_eq!(
            check_endpoint_type(0).map_err(|error| error.code),
            Err(ErrorCode::UnsupportedEndpointType)
        );
    }
}
