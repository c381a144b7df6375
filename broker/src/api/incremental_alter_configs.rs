//! IncrementalAlterConfigs (44), versions 0–1: sets, deletes, appends to and subtracts from single configs of a
//! resource (contract 66).

use super::config_changes::{Alteration, Change, Changes, apply, check_entries};
use crate::context::RequestContext;
use crate::errors::ApiError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Answers; the configs are durable and in force when this returns.
pub async fn handle(ctx: &RequestContext, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn alteration(resource: AlterConfigsResource) -> Alteration {
    let has_value = |config: &AlterableConfig| config.value.is_some() || config.config_operation == DELETE;
    let entries = resource.configs.iter().map(|config| (&*config.name, has_value(config)));
    let changes = check_entries(entries).and_then(|()| {
        let changes: Result<Vec<_>, _> = resource.configs.iter().map(change).collect();
        changes.map(Changes::Incremental)
    });
    Alteration {
        resource_type: resource.resource_type,
        name: resource.resource_name.to_string(),
        changes,
    }
}

fn change(config: &AlterableConfig) -> Result<(String, Change), ApiError> {
    let value = || config.value.as_ref().map(|value| value.to_string()).unwrap_or_default();
    let change = match config.config_operation {
        SET => Change::Set(value()),
        DELETE => Change::Delete,
        APPEND => Change::Append(value()),
        SUBTRACT => Change::Subtract(value()),
        other => {
            let text = format!("Unknown operation {other} for config {}", &*config.name);
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
    };
    Ok((config.name.to_string(), change))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &'static str, operation: i8, value: Option<&'static str>) -> AlterableConfig {
        AlterableConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_config_operation(operation)
            .with_value(value.map(StrBytes::from_static_str))
    }

    fn changes(configs: Vec<AlterableConfig>) -> Result<Changes, ErrorCode> {
        alteration(AlterConfigsResource::default().with_configs(configs))
            .changes
            .map_err(|error| error.code)
    }

    #[test]
    fn the_four_operations_are_known() {
        // contract 66
        let made = changes(vec![
            config("a", SET, Some("1")),
            config("b", DELETE, None),
            config("c", APPEND, Some("2")),
            config("d", SUBTRACT, Some("3")),
        ]);
        let expected = vec![
            ("a".to_owned(), Change::Set("1".to_owned())),
            ("b".to_owned(), Change::Delete),
            ("c".to_owned(), Change::Append("2".to_owned())),
            ("d".to_owned(), Change::Subtract("3".to_owned())),
        ];
        assert_eq!(made, Ok(Changes::Incremental(expected)));
        assert_eq!(changes(vec![config("a", 4, Some("1"))]), Err(ErrorCode::InvalidRequest));
        assert_eq!(changes(vec![config("a", SET, None)]), Err(ErrorCode::InvalidRequest));
        let twice = vec![config("a", SET, Some("1")), config("a", DELETE, None)];
        assert_eq!(changes(twice), Err(ErrorCode::InvalidRequest));
    }
}
