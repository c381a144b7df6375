//! UpdateFeatures (57), and the features that ApiVersions tells: contract 14.

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{ApiVersionsRequest, UpdateFeaturesRequest};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, text};

use super::{connect, start};

const INVALID_UPDATE_VERSION: i16 = 95;
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

fn update(feature: &str, level: i16, upgrade_type: i8) -> FeatureUpdateKey {
    FeatureUpdateKey::default()
        .with_feature(text(feature))
        .with_max_version_level(level)
        .with_upgrade_type(upgrade_type)
}

fn send(client: &mut RawClient, updates: &[FeatureUpdateKey]) -> i16 {
    let request = UpdateFeaturesRequest::default()
        .with_feature_updates(updates.to_vec())
        .with_timeout_ms(1000);
    let reply = client.call(2, &request);
    assert_eq!(reply.error_message.is_some(), reply.error_code != code::NONE);
    reply.error_code
}

/// The epoch, and the level of `group.version`; `None` when it is off.
fn finalized(client: &mut RawClient) -> (i64, Option<i16>) {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("a"))
        .with_client_software_version(text("1"));
    let reply = client.call(4, &request);
    let supported: Vec<_> = reply
        .supported_features
        .iter()
        .map(|feature| (&*feature.name, feature.min_version, feature.max_version))
        .collect();
    assert_eq!(supported, [("group.version", 0, 1)]);
    let levels: Vec<_> = reply
        .finalized_features
        .iter()
        .map(|feature| {
            assert_eq!(&*feature.name, "group.version");
            assert_eq!(feature.min_version_level, feature.max_version_level);
            feature.max_version_level
        })
        .collect();
    assert!(levels.len() <= 1);
    (reply.finalized_features_epoch, levels.first().copied())
}

#[test]
fn levels_are_durable_and_the_epoch_grows() {
    // contract 14
    let (mut broker, mut client) = start();
    let (first, level) = finalized(&mut client);
    assert!(first >= 0, "clients ignore features at epoch −1");
    assert_eq!(level, Some(1), "KIP-848 is on from the start");
    assert_eq!(
        send(&mut client, &[update("group.version", 0, SAFE_DOWNGRADE)]),
        code::NONE
    );
    assert_eq!(finalized(&mut client), (first + 1, None));
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    assert_eq!(finalized(&mut client), (first + 1, None), "a restart changes nothing");
    assert_eq!(send(&mut client, &[update("group.version", 1, UPGRADE)]), code::NONE);
    assert_eq!(finalized(&mut client), (first + 2, Some(1)));
    assert_eq!(send(&mut client, &[update("group.version", 1, UPGRADE)]), code::NONE);
    assert_eq!(finalized(&mut client), (first + 3, Some(1)), "the same level again");
    assert_eq!(send(&mut client, &[]), code::NONE);
    assert_eq!(finalized(&mut client), (first + 3, Some(1)), "nothing was asked for");
}

#[test]
fn refusals_change_nothing() {
    // contract 14
    let (_broker, mut client) = start();
    let before = finalized(&mut client);
    for bad in [
        update("group.version", 2, UPGRADE),
        update("group.version", -1, UPGRADE),
        update("group.version", 0, UPGRADE),
        update("group.version", 1, 0),
        update("group.version", 1, 9),
        update("metadata.version", 29, UPGRADE),
        update("transaction.version", 2, UPGRADE),
        update("", 1, UPGRADE),
    ] {
        let what = format!("{bad:?}");
        assert_eq!(
            send(&mut client, std::slice::from_ref(&bad)),
            INVALID_UPDATE_VERSION,
            "{what}"
        );
        let good = update("group.version", 0, UNSAFE_DOWNGRADE);
        if &*bad.feature != "group.version" {
            assert_eq!(
                send(&mut client, &[good, bad]),
                INVALID_UPDATE_VERSION,
                "all or none: {what}"
            );
        }
    }
    let twice = [update("group.version", 1, UPGRADE), update("group.version", 1, UPGRADE)];
    assert_eq!(send(&mut client, &twice), code::INVALID_REQUEST);
    assert_eq!(finalized(&mut client), before);
}

#[test]
fn older_versions_list_the_features() {
    // contract 14: version 0 has a flag in place of the type and cannot only validate.
    let (_broker, mut client) = start();
    let before = finalized(&mut client);
    let validate = UpdateFeaturesRequest::default()
        .with_feature_updates(vec![update("group.version", 0, SAFE_DOWNGRADE)])
        .with_validate_only(true);
    let reply = client.call(1, &validate);
    assert_eq!(
        (reply.error_code, reply.results.len(), reply.results[0].error_code),
        (0, 1, 0)
    );
    assert_eq!(client.call(2, &validate).error_code, code::NONE);
    assert_eq!(finalized(&mut client), before, "validated only");
    let version_0 = |allow_downgrade| {
        let update = FeatureUpdateKey::default()
            .with_feature(text("group.version"))
            .with_max_version_level(0)
            .with_allow_downgrade(allow_downgrade);
        UpdateFeaturesRequest::default().with_feature_updates(vec![update])
    };
    let reply = client.call(0, &version_0(false));
    assert_eq!((reply.error_code, reply.results[0].error_code), (95, 95));
    let reply = client.call(0, &version_0(true));
    assert_eq!((reply.error_code, &*reply.results[0].feature), (0, "group.version"));
    assert_eq!(finalized(&mut client), (before.0 + 1, None));
}
