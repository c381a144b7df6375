//! ApiVersions (18), versions 0–4: what this broker offers (contract 11–16).
//!
//! A version above ours is answered in the format of version 0 with UNSUPPORTED_VERSION(35) and ApiVersions' own range; its
//! body is never looked at. No features exist yet: none are listed, at epoch 0, since clients ignore all features at −1.

use crate::context::RequestContext;
use crate::dispatch::{CloseReason, Outcome, Piece, Staged, ready};
use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::ErrorCode;
use protocol::api::{APIS, ApiKey};
use protocol::header::encode_response;
use protocol::shape::decode_request;

/// Answers.
pub fn handle(ctx: RequestContext, body: Bytes) -> Result<Staged, CloseReason> {
    let api = ApiKey::ApiVersions.api();
    let (version, response) = if api.serves(ctx.api_version) {
        let request: ApiVersionsRequest =
            decode_request(ctx.api_version, body).map_err(|error| CloseReason::malformed(&ctx, error))?;
        (ctx.api_version, answer(ctx.api_version, &request))
    } else {
        (0, unsupported())
    };
    ctx.count_error(response.error_code);
    let frame = encode_response(api, version, ctx.correlation_id, &response)
        .map_err(|error| CloseReason::Encode(error.to_string()))?;
    Ok(ready(Outcome::Reply(vec![Piece::Mem(frame)])))
}

fn answer(version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    ApiVersionsResponse::default()
        .with_api_keys(APIS.iter().map(row).collect())
        .with_finalized_features_epoch(0)
}

/// What a client that is newer than we are needs to ask again (KIP-511).
fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(vec![row(ApiKey::ApiVersions.api())])
}

fn row(api: &protocol::api::Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.min_version)
        .with_max_version(api.max_version)
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (contract 12).
fn is_software_name(text: &str) -> bool {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    fn request(name: &'static str, version: &'static str) -> ApiVersionsRequest {
        ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(name))
            .with_client_software_version(StrBytes::from_static_str(version))
    }

    #[test]
    fn software_names_are_checked_from_version_3_on() {
        // contract 12
        for name in ["a", "apache-kafka-java", "v1.2.3", "0"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a-", ".a", "a.", "a b", "a_b", "ä", "a\n"] {
            assert!(!is_software_name(name), "{name:?}");
        }
        assert_eq!(answer(3, &request("kcat", "")).error_code, 42);
        assert_eq!(answer(3, &request("kcat", "1.0")).error_code, 0);
        assert_eq!(answer(2, &request("", "")).error_code, 0);
    }

    #[test]
    fn newer_clients_learn_our_range_in_version_0() {
        // contract 11
        let response = unsupported();
        assert_eq!((response.error_code, response.api_keys.len()), (35, 1));
        let row = &response.api_keys[0];
        assert_eq!((row.api_key, row.min_version, row.max_version), (18, 0, 4));
        response.encode(&mut BytesMut::new(), 0).expect("encodes in version 0");
    }

    #[test]
    fn all_that_is_offered_is_listed_in_every_version() {
        // contract 14, 15, 16
        for version in 0..=4 {
            let response = answer(version, &request("kcat", "1.0"));
            response.encode(&mut BytesMut::new(), version).expect("encodes");
            let range = |key| {
                let row = response.api_keys.iter().find(|row| row.api_key == key).expect("listed");
                (row.min_version, row.max_version)
            };
            assert_eq!((range(0), range(1), range(10)), ((0, 13), (4, 18), (0, 6)));
            assert!(response.finalized_features.is_empty() && response.finalized_features_epoch >= 0);
        }
    }
}
