//! ListConfigResources (74), versions 0–1: the names of resources that have configs (KIP-1142). Version 0 asks for client metrics
//! subscriptions alone. An empty list of types means all.
//!
//! Departures from Kafka: there are no broker loggers whose levels could be set, so that asking for them gives an empty list.

use super::config_changes::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::context::{Operation, RequestContext, Resource};
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let response = ListConfigResourcesResponse::default();
    if !ctx.authorize(Operation::DescribeConfigs, &Resource::Cluster) {
        return response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
    }
    let types = match types(ctx.api_version, &request.resource_types) {
        Ok(types) => types,
        Err(error) => return response.with_error_code(error.code()),
    };
    let resources = types.into_iter().flat_map(|resource_type| {
        names(ctx, resource_type).into_iter().map(move |name| {
            ConfigResource::default()
                .with_resource_name(name)
                .with_resource_type(resource_type)
        })
    });
    response.with_config_resources(resources.collect())
}

/// The types to list, each once.
fn types(version: i16, asked: &[i8]) -> Result<Vec<i8>, ErrorCode> {
    const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    if version == 0 {
        return Ok(vec![CLIENT_METRICS]);
    }
    if asked.iter().any(|resource_type| !ALL.contains(resource_type)) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let wanted = |resource_type: &i8| asked.is_empty() || asked.contains(resource_type);
    Ok(ALL.into_iter().filter(wanted).collect())
}

fn names(ctx: &RequestContext, resource_type: i8) -> Vec<StrBytes> {
    let broker = &ctx.broker;
    let owned = |names: Vec<String>| names.into_iter().map(StrBytes::from_string).collect();
    match resource_type {
        TOPIC => broker
            .partitions
            .topics()
            .iter()
            .map(|topic| topic.name.clone())
            .collect(),
        BROKER => owned(vec![broker.node_id.to_string()]),
        CLIENT_METRICS => owned(broker.client_metrics.names()),
        GROUP => owned(broker.partitions.group_configs.names()),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_nobody_knows_are_refused_and_none_means_all() {
        assert_eq!(types(0, &[]), Ok(vec![16]));
        assert_eq!(types(1, &[]), Ok(vec![2, 4, 8, 16, 32]));
        assert_eq!(types(1, &[32, 2, 32]), Ok(vec![2, 32]));
        for unknown in [0, 1, 3, 64, -1] {
            assert_eq!(types(1, &[2, unknown]), Err(ErrorCode::UnsupportedVersion), "{unknown}");
        }
    }
}
