//! UpdateFeatures (57), versions 0–2: sets the levels of cluster features, all or none (KIP-584, contract 14). The levels are durable and
//! in force when the reply leaves, at a higher epoch.

use super::blocking;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::features::{FeatureUpdate, UpgradeType};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use protocol::ErrorCode;
use std::sync::Arc;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let updated = update(ctx, &request).await;
    let (code, message) = match &updated {
        Ok(()) => (0, None),
        Err(error) => (error.code.code(), error.wire_message()),
    };
    let response = UpdateFeaturesResponse::default()
        .with_error_code(code)
        .with_error_message(message.clone());
    if ctx.api_version >= 2 {
        return response;
    }
    let results = request.feature_updates.iter().map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_code(code)
            .with_error_message(message.clone())
    });
    response.with_results(results.collect())
}

async fn update(ctx: &RequestContext, request: &UpdateFeaturesRequest) -> Result<(), ApiError> {
    if !ctx.authorize(Operation::Alter, &Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed.into());
    }
    let version = ctx.api_version;
    let updates: Vec<FeatureUpdate> = request
        .feature_updates
        .iter()
        .map(|update| FeatureUpdate {
            name: update.feature.to_string(),
            level: update.max_version_level,
            upgrade_type: upgrade_type(version, update),
        })
        .collect();
    let validate_only = version >= 1 && request.validate_only;
    let features = Arc::clone(&ctx.broker.features);
    blocking(move || features.update(&updates, validate_only)).await?
}

/// Version 0 says whether a downgrade is allowed, later ones which change is meant: 1 upgrade, 2 safe and 3 unsafe downgrade.
fn upgrade_type(version: i16, update: &FeatureUpdateKey) -> Option<UpgradeType> {
    match (version, update.upgrade_type) {
        (0, _) if update.allow_downgrade => Some(UpgradeType::Downgrade),
        (0, _) | (_, 1) => Some(UpgradeType::Upgrade),
        (_, 2 | 3) => Some(UpgradeType::Downgrade),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_is_a_flag_and_later_a_number() {
        let of = |version, allow_downgrade, upgrade_type_code| {
            let update = FeatureUpdateKey::default()
                .with_allow_downgrade(allow_downgrade)
                .with_upgrade_type(upgrade_type_code);
            upgrade_type(version, &update)
        };
        assert_eq!(of(0, false, 1), Some(UpgradeType::Upgrade));
        assert_eq!(of(0, true, 1), Some(UpgradeType::Downgrade));
        for version in [1, 2] {
            assert_eq!(of(version, false, 1), Some(UpgradeType::Upgrade));
            assert_eq!(of(version, false, 2), Some(UpgradeType::Downgrade));
            assert_eq!(of(version, false, 3), Some(UpgradeType::Downgrade));
            for unknown in [0, 4, -1] {
                assert_eq!(of(version, false, unknown), None);
            }
        }
    }
}
