//! ApiVersions (18): contract 11–16.

use bytes::BufMut;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use streamhouse_compat_tests::ops::{code, text};
use streamhouse_compat_tests::raw::{decode_response, header_bytes};

use super::{connect, start};

fn named(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(text(name))
        .with_client_software_version(text(version))
}

/// `(min, max)` of an API; `None` when it is not offered.
fn range(versions: &ApiVersionsResponse, api_key: i16) -> Option<(i16, i16)> {
    versions
        .api_keys
        .iter()
        .find(|api| api.api_key == api_key)
        .map(|api| (api.min_version, api.max_version))
}

#[test]
fn a_version_above_ours_is_answered_in_version_0() {
    // contract 11: also with a body that nobody could parse, and the connection goes on.
    let (_broker, mut client) = start();
    for (version, body) in [
        (5, &b""[..]),
        (99, b"\xff\xff\xff\xff\xff"),
        (i16::MAX, b"no body of any known shape"),
    ] {
        let mut frame = header_bytes(18, version, 42, true);
        frame.put_slice(body);
        client.send_frame(&frame).expect("the broker reads");
        let reply = client.read_frame().expect("a reply").expect("an open connection");
        let reply = decode_response::<ApiVersionsRequest>(0, 42, reply);
        assert_eq!(reply.error_code, code::UNSUPPORTED_VERSION);
        assert_eq!(range(&reply, 18), Some((0, 4)));
    }
    assert_eq!(client.call(4, &named("a", "1")).error_code, code::NONE);
}

#[test]
fn software_names_are_checked() {
    // contract 12
    let (_broker, mut client) = start();
    for good in ["a", "apache-kafka-java", "librdkafka", "x.y-z", "A1"] {
        assert_eq!(
            client.call(3, &named(good, "2.12.1")).error_code,
            code::NONE,
            "{good:?}"
        );
    }
    for bad in ["", "-a", "a-", ".a", "a.", "a b", "a_b", "ä", "a\n"] {
        assert_eq!(
            client.call(3, &named(bad, "1")).error_code,
            code::INVALID_REQUEST,
            "name {bad:?}"
        );
        assert_eq!(
            client.call(4, &named("a", bad)).error_code,
            code::INVALID_REQUEST,
            "version {bad:?}"
        );
    }
}

#[test]
fn it_may_be_asked_repeatedly() {
    // contract 13
    let (broker, mut client) = start();
    let first = client.call(3, &named("a", "1"));
    for _ in 0..3 {
        assert_eq!(client.call(3, &named("a", "1")).api_keys, first.api_keys);
        assert_eq!(
            connect(&broker).call(0, &ApiVersionsRequest::default()).api_keys,
            first.api_keys
        );
    }
}

#[test]
fn features_do_not_confuse_old_clients() {
    // contract 14
    let (_broker, mut client) = start();
    for version in [3, 4] {
        let reply = client.call(version, &named("a", "1"));
        if version == 3 {
            let bad: Vec<_> = reply
                .supported_features
                .iter()
                .filter(|feature| feature.min_version == 0)
                .collect();
            assert!(bad.is_empty(), "v3 lists {bad:?}");
        }
        assert!(
            reply.finalized_features_epoch >= 0,
            "clients ignore features at epoch −1"
        );
        let transactions = reply
            .finalized_features
            .iter()
            .find(|feature| &*feature.name == "transaction.version");
        let offered = |key, version| range(&reply, key).is_some_and(|(_, max)| max >= version);
        if transactions.is_some_and(|feature| feature.max_version_level >= 2) {
            assert!(
                offered(0, 12) && offered(26, 5) && offered(28, 5),
                "transactions v2 without its APIs"
            );
        }
    }
}

#[test]
fn the_ranges_that_switch_on_compression_in_librdkafka() {
    // contract 15
    let (_broker, mut client) = start();
    let reply = client.call(0, &ApiVersionsRequest::default());
    assert_eq!(range(&reply, 0).map(|(min, _)| min), Some(0), "Produce from 0");
    assert_eq!(range(&reply, 10).map(|(min, _)| min), Some(0), "FindCoordinator from 0");
    assert!(range(&reply, 0).is_some_and(|(_, max)| max >= 7) && range(&reply, 1).is_some_and(|(_, max)| max >= 10));
}

#[test]
fn produce_below_3_is_refused() {
    // contract 15: offered for librdkafka's feature detection, closed when somebody really sends it.
    let (broker, _client) = start();
    for version in 0..3 {
        let mut client = connect(&broker);
        let mut frame = header_bytes(0, version, 1, false);
        frame.put_slice(&[0, 1, 0, 0, 3, 0xe8, 0, 0, 0, 0]); // acks 1, timeout 1000 ms, no topics
        client.send_frame(&frame).expect("the broker reads");
        client.expect_close();
    }
}

#[test]
fn the_ranges() {
    // contract 16: exactly these; what is not here is not offered.
    let expected: [(i16, i16, i16); 38] = [
        (0, 0, 13), // Produce
        (1, 4, 18), // Fetch
        (2, 1, 10), // ListOffsets
        (3, 0, 13), // Metadata
        (8, 2, 9),  // OffsetCommit
        (9, 1, 9),  // OffsetFetch
        (10, 0, 6), // FindCoordinator
        (11, 0, 9), // JoinGroup
        (12, 0, 4), // Heartbeat
        (13, 0, 5), // LeaveGroup
        (14, 0, 5), // SyncGroup
        (15, 0, 6), // DescribeGroups
        (16, 0, 5), // ListGroups
        (18, 0, 4), // ApiVersions
        (19, 2, 7), // CreateTopics
        (20, 1, 6), // DeleteTopics
        (21, 0, 2), // DeleteRecords
        (22, 0, 5), // InitProducerId
        (23, 2, 4), // OffsetForLeaderEpoch
        (32, 1, 4), // DescribeConfigs
        (33, 0, 2), // AlterConfigs
        (35, 1, 4), // DescribeLogDirs
        (37, 0, 3), // CreatePartitions
        (42, 0, 2), // DeleteGroups
        (43, 0, 2), // ElectLeaders
        (44, 0, 1), // IncrementalAlterConfigs
        (45, 0, 1), // AlterPartitionReassignments
        (46, 0, 0), // ListPartitionReassignments
        (47, 0, 0), // OffsetDelete
        (48, 0, 1), // DescribeClientQuotas
        (55, 0, 2), // DescribeQuorum
        (57, 0, 2), // UpdateFeatures
        (60, 0, 2), // DescribeCluster
        (61, 0, 0), // DescribeProducers
        (68, 0, 1), // ConsumerGroupHeartbeat
        (69, 0, 1), // ConsumerGroupDescribe
        (74, 0, 1), // ListConfigResources
        (75, 0, 0), // DescribeTopicPartitions
    ];
    let (_broker, mut client) = start();
    let reply = client.call(4, &named("a", "1"));
    let mut offered: Vec<_> = reply
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    offered.sort_unstable();
    assert_eq!(offered, expected);
}
