//! DescribeClientQuotas (48), versions 0–1: there are no quotas yet, so that nothing matches any filter. Filters are checked as Kafka
//! checks them (KIP-546): INVALID_REQUEST(42) for those that make no sense.

use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use protocol::ErrorCode;
use std::collections::HashSet;

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    let response = DescribeClientQuotasResponse::default().with_error_message(None);
    let allowed = if ctx.authorize(Operation::DescribeConfigs, &Resource::Cluster) {
        Ok(())
    } else {
        Err(ErrorCode::ClusterAuthorizationFailed.into())
    };
    match allowed.and_then(|()| check(&request.components)) {
        Ok(()) => response.with_entries(Some(Vec::new())),
        Err(error) => response
            .with_error_code(error.code.code())
            .with_error_message(error.wire_message())
            .with_entries(None),
    }
}

fn check(components: &[ComponentData]) -> Result<(), ApiError> {
    let refuse = |text: String| Err(ApiError::new(ErrorCode::InvalidRequest, text));
    let mut types = HashSet::new();
    for component in components {
        let entity_type = &*component.entity_type;
        if entity_type.is_empty() {
            return refuse("Invalid empty entity type.".to_owned());
        }
        if !types.insert(entity_type) {
            return refuse(format!(
                "Entity type {entity_type} cannot appear more than once in the filter."
            ));
        }
        match (component.match_type, &component._match) {
            (EXACT, Some(_)) | (DEFAULT | ANY, None) => {}
            (EXACT, None) => return refuse("An exact match needs a name to match.".to_owned()),
            (DEFAULT | ANY, Some(_)) => return refuse("Only an exact match has a name to match.".to_owned()),
            (unknown, _) => return refuse(format!("Unknown match type {unknown}")),
        }
    }
    if types.contains("ip") && (types.contains("user") || types.contains("client-id")) {
        return refuse("An IP filter cannot be combined with a user or client id filter.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::StrBytes;

    fn part(entity_type: &'static str, match_type: i8, name: Option<&'static str>) -> ComponentData {
        ComponentData::default()
            .with_entity_type(StrBytes::from_static_str(entity_type))
            .with_match_type(match_type)
            .with_match(name.map(StrBytes::from_static_str))
    }

    #[test]
    fn filters_that_make_no_sense_are_refused() {
        let bad = [
            vec![part("", EXACT, Some("a"))],
            vec![part("user", ANY, None), part("user", EXACT, Some("a"))],
            vec![part("user", EXACT, None)],
            vec![part("user", DEFAULT, Some("a"))],
            vec![part("user", ANY, Some("a"))],
            vec![part("user", 3, None)],
            vec![part("user", -1, Some("a"))],
            vec![part("ip", ANY, None), part("client-id", ANY, None)],
        ];
        for filter in bad {
            let code = check(&filter).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::InvalidRequest), "{filter:?}");
        }
        let good = [
            vec![],
            vec![part("user", ANY, None), part("client-id", DEFAULT, None)],
            vec![part("ip", EXACT, Some("127.0.0.1"))],
        ];
        for filter in good {
            assert_eq!(check(&filter), Ok(()), "{filter:?}");
        }
    }
}
