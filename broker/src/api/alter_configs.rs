//! AlterConfigs (33), versions 0–2: replaces all configs of a resource (contract 66). Kafka deprecates it in favour
//! of IncrementalAlterConfigs, because what it does not name goes back to the default.

use super::config_changes::{Alteration, Changes, apply, check_entries};
use crate::context::RequestContext;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

/// Answers; the configs are durable and in force when this returns.
pub async fn handle(ctx: &RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let named: Vec<(i8, StrBytes)> = request
        .resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.clone()))
        .collect();
    let alterations = request.resources.into_iter().map(alteration).collect();
    let results = apply(ctx, alterations, request.validate_only).await;
    let responses = named.into_iter().zip(results).map(|((resource_type, name), result)| {
        let answer = AlterConfigsResourceResponse::default()
            .with_resource_type(resource_type)
            .with_resource_name(name)
            .with_error_message(None);
        match result {
            Ok(()) => answer,
            Err(error) => answer
                .with_error_code(error.code.code())
                .with_error_message(error.wire_message()),
        }
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn alteration(resource: AlterConfigsResource) -> Alteration {
    let entries = resource
        .configs
        .iter()
        .map(|config| (&*config.name, config.value.is_some()));
    let changes = check_entries(entries).map(|()| {
        let values = resource.configs.iter().filter_map(|config| {
            config
                .value
                .as_ref()
                .map(|value| (config.name.to_string(), value.to_string()))
        });
        Changes::Replace(values.collect())
    });
    Alteration {
        resource_type: resource.resource_type,
        name: resource.resource_name.to_string(),
        changes,
    }
}
