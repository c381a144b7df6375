//! CreateTopics (19): contract 62–64.

use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, MetadataRequest};
use streamhouse_compat_tests::ops::{code, new_topic, topic_name};
use streamhouse_compat_tests::{Broker, RawClient};

use super::{connect, start};

fn create(client: &mut RawClient, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    client
        .call(
            7,
            &CreateTopicsRequest::default()
                .with_topics(topics)
                .with_timeout_ms(30_000),
        )
        .topics
}

fn create_one(client: &mut RawClient, topic: CreatableTopic) -> i16 {
    create(client, vec![topic]).remove(0).error_code
}

#[test]
fn names() {
    // contract 62
    let (_broker, mut client) = start();
    let longest = "x".repeat(249);
    for good in ["a", "A.b_c-9", "...", &longest] {
        assert_eq!(create_one(&mut client, new_topic(good, 1, &[])), code::NONE, "{good:?}");
    }
    let too_long = "x".repeat(250);
    for bad in ["", ".", "..", "a b", "a/b", "a\0", "ä", &too_long] {
        assert_eq!(
            create_one(&mut client, new_topic(bad, 1, &[])),
            code::INVALID_TOPIC_EXCEPTION,
            "{bad:?}"
        );
    }
}

#[test]
fn names_that_collide_in_metrics() {
    // contract 62: '.' and '_' are one character there.
    let (_broker, mut client) = start();
    assert_eq!(create_one(&mut client, new_topic("a.b", 1, &[])), code::NONE);
    assert_eq!(
        create_one(&mut client, new_topic("a_b", 1, &[])),
        code::INVALID_TOPIC_EXCEPTION
    );
    assert_eq!(
        create_one(&mut client, new_topic("a.b", 1, &[])),
        code::TOPIC_ALREADY_EXISTS
    );
}

#[test]
fn existing_and_duplicate_topics() {
    // contract 62
    let (_broker, mut client) = start();
    client.create_topic("a", 1);
    let results = create(
        &mut client,
        vec![
            new_topic("a", 1, &[]),
            new_topic("twice", 1, &[]),
            new_topic("twice", 2, &[]),
            new_topic("fine", 1, &[]),
        ],
    );
    for result in results {
        let expected = match &*result.name.0 {
            "a" => code::TOPIC_ALREADY_EXISTS,
            "twice" => code::INVALID_REQUEST,
            _ => code::NONE,
        };
        assert_eq!(result.error_code, expected, "{}", result.name.0.as_str());
    }
    assert_eq!(
        client.describe_topic("twice").error_code,
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(client.describe_topic("fine").error_code, code::NONE);
}

#[test]
fn partitions_and_replicas() {
    // contract 63: several copies are recorded, metadata lists the one live broker.
    let (_broker, mut client) = start();
    for partitions in [0, -2, i32::MIN] {
        assert_eq!(
            create_one(&mut client, new_topic("p", partitions, &[])),
            code::INVALID_PARTITIONS,
            "{partitions}"
        );
    }
    for factor in [0, -2] {
        let topic = new_topic("r", 1, &[]).with_replication_factor(factor);
        assert_eq!(
            create_one(&mut client, topic),
            code::INVALID_REPLICATION_FACTOR,
            "{factor}"
        );
    }
    let result = create(&mut client, vec![new_topic("three", 2, &[]).with_replication_factor(3)]).remove(0);
    assert_eq!(
        (result.error_code, result.replication_factor, result.num_partitions),
        (code::NONE, 3, 2)
    );
    assert_eq!(client.describe_topic("three").partitions[0].replica_nodes.len(), 1);
}

#[test]
fn an_absurd_number_of_partitions_is_refused() {
    // contract 63: everything has a limit. Kafka says POLICY_VIOLATION (44), too.
    let (broker, mut client) = start();
    assert_eq!(create_one(&mut client, new_topic("huge", i32::MAX, &[])), 44);
    assert_eq!(
        client.describe_topic("huge").error_code,
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert!(broker.rss_peak_bytes() < 200 << 20);
}

#[test]
fn defaults_come_from_the_broker() {
    // contract 63
    let broker = Broker::builder().set("num.partitions", 4).start();
    let mut client = connect(&broker);
    let result = create(&mut client, vec![new_topic("d", -1, &[]).with_replication_factor(-1)]).remove(0);
    assert_eq!(
        (result.error_code, result.num_partitions, result.replication_factor),
        (code::NONE, 4, 1)
    );
    assert_eq!(client.describe_topic("d").partitions.len(), 4);
}

#[test]
fn manual_assignments() {
    let (_broker, mut client) = start();
    let assigned = |partitions: &[(i32, &[i32])]| {
        let assignments = partitions.iter().map(|(index, brokers)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
        });
        CreatableTopic::default()
            .with_name(topic_name("assigned"))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect())
    };
    // INVALID_REPLICA_ASSIGNMENT (39): not consecutive from 0, no replicas, a broker twice.
    for bad in [assigned(&[(1, &[0])]), assigned(&[(0, &[])]), assigned(&[(0, &[0, 0])])] {
        assert_eq!(create_one(&mut client, bad), 39);
    }
    // Numbers beside assignments are a contradiction.
    assert_eq!(
        create_one(&mut client, assigned(&[(0, &[0])]).with_num_partitions(1)),
        code::INVALID_REQUEST
    );
    assert_eq!(create_one(&mut client, assigned(&[(0, &[0]), (1, &[0])])), code::NONE);
    assert_eq!(client.describe_topic("assigned").partitions.len(), 2);
}

#[test]
fn validate_only_checks_everything_and_writes_nothing() {
    // contract 64
    let (_broker, mut client) = start();
    let request = CreateTopicsRequest::default()
        .with_topics(vec![
            new_topic("dry", 2, &[]),
            new_topic("bad", 0, &[]),
            new_topic("bad.key", 1, &[("no.such.key", "1")]),
        ])
        .with_timeout_ms(30_000)
        .with_validate_only(true);
    let codes: Vec<_> = client
        .call(7, &request)
        .topics
        .iter()
        .map(|t| (t.name.0.to_string(), t.error_code))
        .collect();
    for (name, error) in codes {
        let expected = match name.as_str() {
            "dry" => code::NONE,
            "bad" => code::INVALID_PARTITIONS,
            _ => code::INVALID_CONFIG,
        };
        assert_eq!(error, expected, "{name}");
    }
    assert!(
        client
            .call(9, &MetadataRequest::default().with_topics(None))
            .topics
            .is_empty()
    );
}

#[test]
fn the_reply_says_what_was_made() {
    // contract 64: configs and counts from v5, the id in v7.
    let (_broker, mut client) = start();
    let topic = new_topic(
        "made",
        3,
        &[("retention.ms", "12345"), ("cleanup.policy", "compact,delete")],
    );
    let result = create(&mut client, vec![topic]).remove(0);
    assert_eq!(
        (result.error_code, result.num_partitions, result.replication_factor),
        (code::NONE, 3, 1)
    );
    assert_eq!(result.topic_id, client.topic_id("made"));
    let configs = result.configs.expect("v5 and later have configs");
    let retention = configs
        .iter()
        .find(|config| &*config.name == "retention.ms")
        .expect("retention.ms is listed");
    assert_eq!(retention.value.as_deref(), Some("12345"));
    assert_eq!(retention.config_source, 1, "DYNAMIC_TOPIC_CONFIG");
    let segment = configs
        .iter()
        .find(|config| &*config.name == "segment.bytes")
        .expect("defaults are listed");
    assert_eq!(
        (segment.value.as_deref(), segment.config_source),
        (Some("1073741824"), 5),
        "DEFAULT_CONFIG"
    );
}

#[test]
fn bad_configs_make_no_topic() {
    // contract 66: unknown keys and values out of range.
    let (_broker, mut client) = start();
    let bad = [
        ("no.such.key", "1"),
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("segment.bytes", "1000"),
        ("cleanup.policy", "shred"),
        ("compression.type", "rar"),
        ("message.timestamp.type", "Never"),
        ("min.cleanable.dirty.ratio", "1.5"),
        ("max.message.bytes", "-1"),
        ("preallocate", "perhaps"),
    ];
    for (key, value) in bad {
        assert_eq!(
            create_one(&mut client, new_topic("c", 1, &[(key, value)])),
            code::INVALID_CONFIG,
            "{key}={value}"
        );
    }
    assert_eq!(client.describe_topic("c").error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn topics_survive_kill_9() {
    let (mut broker, mut client) = start();
    client.create_topic_with("kept", 5, &[("retention.ms", "99999999")]);
    let id = client.topic_id("kept");
    broker.kill9();
    broker.restart();
    let topic = connect(&broker).describe_topic("kept");
    assert_eq!((topic.topic_id, topic.partitions.len()), (id, 5));
}
