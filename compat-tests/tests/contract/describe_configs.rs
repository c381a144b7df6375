//! DescribeConfigs (32): contract 66.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use streamhouse_compat_tests::ops::{code, text};
use streamhouse_compat_tests::{Broker, RawClient};

use super::{connect, start};

/// Resource types.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

pub(crate) fn describe(client: &mut RawClient, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    client.call(4, &request).results.remove(0)
}

pub(crate) fn config(client: &mut RawClient, kind: i8, name: &str, key: &str) -> DescribeConfigsResourceResult {
    let mut result = describe(client, kind, name, Some(&[key]));
    assert_eq!(result.error_code, code::NONE, "{:?}", result.error_message);
    assert_eq!(result.configs.len(), 1, "{key} of {name}");
    result.configs.remove(0)
}

#[test]
fn a_topic_config_tells_where_its_value_comes_from() {
    // contract 66: 1 = the topic's own, 4 = the broker's configuration, 5 = the default.
    let broker = Broker::builder().set("log.retention.ms", 777_777).start();
    let mut client = connect(&broker);
    client.create_topic_with("t", 1, &[("segment.bytes", "2097152")]);
    let own = config(&mut client, TOPIC, "t", "segment.bytes");
    assert_eq!((own.value.as_deref(), own.config_source), (Some("2097152"), 1));
    assert_eq!(&*own.synonyms[0].name, "segment.bytes");
    let synonym = own
        .synonyms
        .iter()
        .find(|synonym| &*synonym.name == "log.segment.bytes")
        .expect("a synonym");
    assert_eq!((synonym.value.as_deref(), synonym.source), (Some("1073741824"), 5));
    let of_broker = config(&mut client, TOPIC, "t", "retention.ms");
    assert_eq!(
        (of_broker.value.as_deref(), of_broker.config_source),
        (Some("777777"), 4)
    );
    let default = config(&mut client, TOPIC, "t", "max.message.bytes");
    assert_eq!((default.value.as_deref(), default.config_source), (Some("1048588"), 5));
    assert!(!default.is_sensitive && !default.read_only);
}

#[test]
fn all_topic_keys_of_kafka_are_described() {
    // contract 66
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let all = describe(&mut client, TOPIC, "t", None);
    let keys: Vec<&str> = all.configs.iter().map(|config| &*config.name).collect();
    for key in [
        "cleanup.policy",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "follower.replication.throttled.replicas",
        "index.interval.bytes",
        "leader.replication.throttled.replicas",
        "local.retention.bytes",
        "local.retention.ms",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "remote.storage.enable",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    ] {
        assert!(keys.contains(&key), "{key} is missing");
    }
    let selected = describe(
        &mut client,
        TOPIC,
        "t",
        Some(&["retention.ms", "segment.ms", "no.such.key"]),
    );
    let mut keys: Vec<&str> = selected.configs.iter().map(|config| &*config.name).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["retention.ms", "segment.ms"]);
}

#[test]
fn the_broker_is_described_by_its_id() {
    // contract 66
    let broker = Broker::builder().set("node.id", 3).set("num.partitions", 6).start();
    let mut client = connect(&broker);
    let all = describe(&mut client, BROKER, "3", None);
    assert_eq!(all.error_code, code::NONE);
    let value = |key: &str| {
        all.configs
            .iter()
            .find(|config| &*config.name == key)
            .and_then(|config| config.value.as_deref())
    };
    assert_eq!(value("num.partitions"), Some("6"));
    for key in [
        "default.replication.factor",
        "auto.create.topics.enable",
        "delete.topic.enable",
        "log.retention.ms",
        "log.retention.bytes",
        "min.insync.replicas",
    ] {
        assert!(
            all.configs.iter().any(|config| &*config.name == key),
            "{key} is missing"
        );
    }
    assert_eq!(
        describe(&mut client, BROKER, "4", None).error_code,
        code::INVALID_REQUEST
    );
    assert_eq!(
        describe(&mut client, BROKER, "three", None).error_code,
        code::INVALID_REQUEST
    );
    assert_eq!(
        describe(&mut client, BROKER, "", None).error_code,
        code::NONE,
        "the cluster default"
    );
}

#[test]
fn unknown_resources() {
    // contract 66
    let (_broker, mut client) = start();
    assert_eq!(
        describe(&mut client, TOPIC, "absent", None).error_code,
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        describe(&mut client, TOPIC, "a/b", None).error_code,
        code::INVALID_TOPIC_EXCEPTION
    );
    assert_eq!(describe(&mut client, 99, "x", None).error_code, code::INVALID_REQUEST);
}
