//! ApiVersions (18), versions 0–4: what this broker offers (contract 11–16).
//!
//! A version above ours is answered in the format of version 0 with UNSUPPORTED_VERSION(35) and ApiVersions' own range; its
//! body is never looked at. Versions below 4 do not list features that can be off (lowest level 0): clients of that time cannot read
//! them. The features' epoch is never −1, at which clients ignore them all.

use crate::context::RequestContext;
use crate::dispatch::{CloseReason, Outcome, Piece, Staged, ready};
use crate::features::SUPPORTED_FEATURES;
use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::api::{APIS, ApiKey};
use protocol::header::encode_response;
use protocol::shape::decode_request;
use storage::metadata::FinalizedFeatures;

/// Answers.
pub fn handle(ctx: RequestContext, body: Bytes) -> Result<Staged, CloseReason> {
    let api = ApiKey::ApiVersions.api();
    let (version, response) = if api.serves(ctx.api_version) {
        let request: ApiVersionsRequest =
            decode_request(ctx.api_version, body).map_err(|error| CloseReason::malformed(&ctx, error))?;
        let features = ctx.broker.features.finalized();
        (ctx.api_version, answer(ctx.api_version, &request, &features))
    } else {
        (0, unsupported())
    };
    ctx.count_error(response.error_code);
    let frame = encode_response(api, version, ctx.correlation_id, &response)
        .map_err(|error| CloseReason::Encode(error.to_string()))?;
    Ok(ready(Outcome::Reply(vec![Piece::Mem(frame)])))
}

fn answer(version: i16, request: &ApiVersionsRequest, features: &FinalizedFeatures) -> ApiVersionsResponse {
    let named = is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    ApiVersionsResponse::default()
        .with_api_keys(APIS.iter().map(row).collect())
        .with_supported_features(supported_features(version))
        .with_finalized_features_epoch(features.epoch)
        .with_finalized_features(finalized_features(features))
}

/// What this release supports (contract 14).
fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    let readable = |min_level: i16| version >= 4 || min_level > 0;
    let listed = SUPPORTED_FEATURES.iter().filter(|feature| readable(feature.min_level));
    listed
        .map(|feature| {
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(feature.name))
                .with_min_version(feature.min_level)
                .with_max_version(feature.max_level)
        })
        .collect()
}

/// What the cluster has agreed on; features that are off are not listed.
fn finalized_features(features: &FinalizedFeatures) -> Vec<FinalizedFeatureKey> {
    let levels = features.levels.iter();
    levels
        .map(|(name, level)| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_min_version_level(*level)
                .with_max_version_level(*level)
        })
        .collect()
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

    fn features() -> FinalizedFeatures {
        FinalizedFeatures {
            epoch: 7,
            levels: [("group.version".to_owned(), 1)].into(),
        }
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
        let code = |version, name, number| answer(version, &request(name, number), &features()).error_code;
        assert_eq!(code(3, "kcat", ""), 42);
        assert_eq!(code(3, "kcat", "1.0"), 0);
        assert_eq!(code(2, "", ""), 0);
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
            let response = answer(version, &request("kcat", "1.0"), &features());
            response.encode(&mut BytesMut::new(), version).expect("encodes");
            let range = |key| {
                let row = response.api_keys.iter().find(|row| row.api_key == key).expect("listed");
                (row.min_version, row.max_version)
            };
            assert_eq!((range(0), range(1), range(10)), ((0, 13), (4, 18), (0, 6)));
            let supported: Vec<_> = response
                .supported_features
                .iter()
                .map(|feature| (feature.name.as_str(), feature.min_version, feature.max_version))
                .collect();
            let expected: &[_] = if version >= 4 { &[("group.version", 0, 1)] } else { &[] };
            assert_eq!(supported, expected, "version {version}");
            let finalized = &response.finalized_features[0];
            assert_eq!(
                (finalized.name.as_str(), finalized.min_version_level),
                ("group.version", 1)
            );
            assert_eq!((finalized.max_version_level, response.finalized_features_epoch), (1, 7));
        }
    }
}
