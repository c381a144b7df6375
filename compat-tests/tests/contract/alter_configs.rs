//! AlterConfigs (33) and IncrementalAlterConfigs (44): contract 66.

use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{AlterConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_request as whole};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, text};
use streamhouse_compat_tests::records::BatchSpec;

use super::describe_configs::{BROKER, CLIENT_METRICS, GROUP, TOPIC, config, describe};
use super::{connect, start};

pub(crate) const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn replace(client: &mut RawClient, kind: i8, name: &str, entries: &[(&str, &str)]) -> i16 {
    let entries = entries.iter().map(|(key, value)| {
        whole::AlterableConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    });
    let resource = whole::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(entries.collect());
    client
        .call(2, &AlterConfigsRequest::default().with_resources(vec![resource]))
        .responses[0]
        .error_code
}

pub(crate) type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change<'_>]) -> incremental::AlterConfigsResource {
    let entries = changes.iter().map(|(key, operation, value)| {
        incremental::AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(entries.collect())
}

pub(crate) fn change(client: &mut RawClient, kind: i8, name: &str, changes: &[Change<'_>]) -> i16 {
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource(kind, name, changes)]);
    client.call(1, &request).responses[0].error_code
}

fn value(client: &mut RawClient, key: &str) -> (Option<String>, i8) {
    let config = config(client, TOPIC, "t", key);
    (config.value.map(|value| value.to_string()), config.config_source)
}

#[test]
fn alter_replaces_the_whole_set() {
    // contract 66
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("retention.ms", "1000"), ("segment.ms", "2000")]);
    assert_eq!(
        replace(&mut client, TOPIC, "t", &[("retention.ms", "3000")]),
        code::NONE
    );
    assert_eq!(value(&mut client, "retention.ms"), (Some("3000".to_owned()), 1));
    assert_eq!(
        value(&mut client, "segment.ms").1,
        5,
        "what is not named goes back to its default"
    );
    assert_eq!(
        replace(&mut client, TOPIC, "t", &[("no.such.key", "1")]),
        code::INVALID_CONFIG
    );
    assert_eq!(
        replace(&mut client, TOPIC, "t", &[("retention.ms", "x")]),
        code::INVALID_CONFIG
    );
    assert_eq!(
        replace(&mut client, TOPIC, "absent", &[]),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        value(&mut client, "retention.ms").0.as_deref(),
        Some("3000"),
        "failed changes change nothing"
    );
}

#[test]
fn incremental_operations() {
    // contract 66
    let (mut broker, mut client) = start();
    client.create_topic_with("t", 1, &[("segment.ms", "2000")]);
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("retention.ms", SET, Some("3000"))]),
        code::NONE
    );
    assert_eq!(
        value(&mut client, "segment.ms").0.as_deref(),
        Some("2000"),
        "what is not named stays"
    );
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("cleanup.policy", APPEND, Some("compact"))]),
        code::NONE
    );
    assert_eq!(
        value(&mut client, "cleanup.policy").0.as_deref(),
        Some("delete,compact")
    );
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("delete"))]),
        code::NONE
    );
    assert_eq!(value(&mut client, "cleanup.policy").0.as_deref(), Some("compact"));
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("segment.ms", DELETE, None)]),
        code::NONE
    );
    assert_eq!(value(&mut client, "segment.ms").1, 5);
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    assert_eq!(
        value(&mut client, "retention.ms").0.as_deref(),
        Some("3000"),
        "changes are durable"
    );
    assert_eq!(value(&mut client, "cleanup.policy").0.as_deref(), Some("compact"));
}

#[test]
fn incremental_refusals() {
    // contract 66
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let twice: [Change<'_>; 2] = [("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)];
    assert_eq!(change(&mut client, TOPIC, "t", &twice), code::INVALID_REQUEST);
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("no.such.key", SET, Some("1"))]),
        code::INVALID_CONFIG
    );
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("retention.ms", 9, Some("1"))]),
        code::INVALID_REQUEST
    );
    // APPEND is for lists.
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("retention.ms", APPEND, Some("1"))]),
        code::INVALID_CONFIG
    );
    assert_eq!(
        change(&mut client, TOPIC, "absent", &[("retention.ms", SET, Some("1"))]),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    let both = IncrementalAlterConfigsRequest::default().with_resources(vec![
        resource(TOPIC, "t", &[("retention.ms", SET, Some("5"))]),
        resource(TOPIC, "t", &[("retention.ms", SET, Some("6"))]),
    ]);
    for response in client.call(1, &both).responses {
        assert_eq!(response.error_code, code::INVALID_REQUEST, "one resource twice");
    }
    assert_eq!(value(&mut client, "retention.ms").1, 5);
}

#[test]
fn validate_only_writes_nothing() {
    // contract 64
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource(TOPIC, "t", &[("retention.ms", SET, Some("5"))])])
        .with_validate_only(true);
    assert_eq!(client.call(1, &request).responses[0].error_code, code::NONE);
    assert_eq!(value(&mut client, "retention.ms").1, 5);
}

#[test]
fn what_is_altered_is_obeyed() {
    // contract 66: at once, without a restart.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let batch = BatchSpec::of(&[&"x".repeat(5000)]).encode();
    assert_eq!(client.produce("t", 0, 1, batch.clone()).error_code, code::NONE);
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("max.message.bytes", SET, Some("1000"))]),
        code::NONE
    );
    assert_eq!(
        client.produce("t", 0, 1, batch.clone()).error_code,
        code::MESSAGE_TOO_LARGE
    );
    assert_eq!(
        change(&mut client, TOPIC, "t", &[("max.message.bytes", DELETE, None)]),
        code::NONE
    );
    assert_eq!(client.produce("t", 0, 1, batch).error_code, code::NONE);
}

#[test]
fn keys_that_do_nothing_here_are_stored() {
    // contract 66: Streams, MirrorMaker and Terraform set them.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let keys: [(&str, &str); 14] = [
        ("flush.messages", "100"),
        ("flush.ms", "1000"),
        ("file.delete.delay.ms", "1"),
        ("index.interval.bytes", "8192"),
        ("segment.index.bytes", "1048576"),
        ("segment.jitter.ms", "5"),
        ("preallocate", "true"),
        ("unclean.leader.election.enable", "true"),
        ("compression.gzip.level", "9"),
        ("compression.zstd.level", "7"),
        ("local.retention.ms", "-2"),
        ("local.retention.bytes", "-2"),
        ("leader.replication.throttled.replicas", "0:1"),
        ("follower.replication.throttled.replicas", "*"),
    ];
    for (key, wanted) in keys {
        assert_eq!(
            change(&mut client, TOPIC, "t", &[(key, SET, Some(wanted))]),
            code::NONE,
            "{key}"
        );
        assert_eq!(value(&mut client, key), (Some(wanted.to_owned()), 1), "{key}");
    }
}

#[test]
fn broker_configs() {
    // contract 66: tools delete throttles that nobody set; another broker's id is an error.
    let (_broker, mut client) = start();
    for key in [
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ] {
        assert_eq!(
            change(&mut client, BROKER, "0", &[(key, DELETE, None)]),
            code::NONE,
            "{key}"
        );
    }
    assert_eq!(
        change(&mut client, BROKER, "5", &[("num.partitions", SET, Some("2"))]),
        code::INVALID_REQUEST
    );
    assert_eq!(
        change(&mut client, BROKER, "0", &[("no.such.key", SET, Some("2"))]),
        code::INVALID_CONFIG
    );
    assert_eq!(describe(&mut client, BROKER, "0", None).error_code, code::NONE);
}

#[test]
fn group_configs() {
    // contract 66: a group's own value is source 8; the broker's bounds hold; what nothing obeys is unknown.
    let (mut broker, mut client) = start();
    let (session, heartbeat) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    let seen = |client: &mut RawClient, key: &str| {
        let config = config(client, GROUP, "g", key);
        (config.value.map(|value| value.to_string()), config.config_source)
    };
    assert_eq!(seen(&mut client, session), (Some("45000".to_owned()), 5));
    assert_eq!(
        change(&mut client, GROUP, "g", &[(session, SET, Some("50000"))]),
        code::NONE
    );
    for (key, value, expected) in [
        (session, "44999", code::INVALID_CONFIG),
        (session, "60001", code::INVALID_CONFIG),
        (heartbeat, "4999", code::INVALID_CONFIG),
        (heartbeat, "often", code::INVALID_CONFIG),
        ("share.session.timeout.ms", "50000", code::INVALID_CONFIG),
        (heartbeat, "6000", code::NONE),
    ] {
        let refused = change(&mut client, GROUP, "g", &[(key, SET, Some(value))]);
        assert_eq!(refused, expected, "{key}={value}");
    }
    assert_eq!(
        replace(&mut client, GROUP, "", &[(session, "50000")]),
        code::INVALID_REQUEST
    );
    assert_eq!(describe(&mut client, GROUP, "", None).error_code, code::INVALID_REQUEST);
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    assert_eq!(seen(&mut client, session), (Some("50000".to_owned()), 8));
    assert_eq!(seen(&mut client, heartbeat), (Some("6000".to_owned()), 8));
    assert_eq!(replace(&mut client, GROUP, "g", &[(session, "55000")]), code::NONE);
    assert_eq!(seen(&mut client, session), (Some("55000".to_owned()), 8));
    assert_eq!(seen(&mut client, heartbeat), (Some("5000".to_owned()), 5), "not named");
    assert_eq!(describe(&mut client, GROUP, "g", None).configs.len(), 2);
}

#[test]
fn client_metrics_configs() {
    // contract 66: validated as Kafka does, an unknown key and an interval out of range as 42.
    let (mut broker, mut client) = start();
    let set = [
        ("interval.ms", SET, Some("1000")),
        ("metrics", SET, Some("org.apache.kafka.producer.")),
        ("match", SET, Some("client_id=app-.*")),
    ];
    assert_eq!(change(&mut client, CLIENT_METRICS, "s", &set), code::NONE);
    assert_eq!(
        change(&mut client, CLIENT_METRICS, "s", &[("metrics", APPEND, Some("b."))]),
        code::NONE
    );
    for (key, value, expected) in [
        ("interval.ms", "99", code::INVALID_REQUEST),
        ("interval.ms", "x", code::INVALID_CONFIG),
        ("match", "client_id", code::INVALID_CONFIG),
        ("match", "client_id=(", code::INVALID_CONFIG),
        ("no.such.key", "1", code::INVALID_REQUEST),
    ] {
        let refused = change(&mut client, CLIENT_METRICS, "s", &[(key, SET, Some(value))]);
        assert_eq!(refused, expected, "{key}={value}");
    }
    assert_eq!(replace(&mut client, CLIENT_METRICS, "", &[]), code::INVALID_REQUEST);
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    let mut seen = |key: &str| {
        let config = config(&mut client, CLIENT_METRICS, "s", key);
        (config.value.map(|value| value.to_string()), config.config_source)
    };
    assert_eq!(seen("interval.ms"), (Some("1000".to_owned()), 7));
    assert_eq!(seen("metrics"), (Some("org.apache.kafka.producer.,b.".to_owned()), 7));
    assert_eq!(seen("match"), (Some("client_id=app-.*".to_owned()), 7));
    let default = config(&mut client, CLIENT_METRICS, "absent", "interval.ms");
    assert_eq!((default.value.as_deref(), default.config_source), (Some("300000"), 5));
}
