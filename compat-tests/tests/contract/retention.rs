//! Retention by time and size: contract 101.

use streamhouse_compat_tests::ops::{EARLIEST, code};
use streamhouse_compat_tests::records::{BatchSpec, now_ms};
use streamhouse_compat_tests::{Broker, RawClient, eventually};

use super::connect;

fn start() -> (Broker, RawClient) {
    let broker = Broker::builder().set("log.retention.check.interval.ms", 100).start();
    let client = connect(&broker);
    (broker, client)
}

fn log_start(client: &mut RawClient) -> i64 {
    client.list_offset("t", 0, EARLIEST).2
}

/// Appends one record of 600,000 bytes: two do not fit into a segment of 1 MiB.
fn append(client: &mut RawClient, timestamp: i64) -> i64 {
    client.produce_ok(
        "t",
        0,
        BatchSpec::of(&[&"x".repeat(600_000)])
            .base_timestamp(timestamp)
            .encode(),
    )
}

#[test]
fn by_time_the_largest_timestamp_counts() {
    // contract 101: segments 0–1 are old, 2 has one fresh record among old ones and holds back what follows.
    let (mut broker, mut client) = start();
    let configs = [
        ("segment.bytes", "1048576"),
        ("retention.ms", "3600000"),
        ("message.timestamp.before.max.ms", "9223372036854775807"),
    ];
    client.create_topic_with("t", 1, &configs);
    let old = now_ms() - 7_200_000;
    append(&mut client, old);
    append(&mut client, old);
    append(&mut client, now_ms());
    append(&mut client, old);
    eventually("two segments to go", || (log_start(&mut client) == 2).then_some(()));
    assert_eq!(client.fetch("t", 0, 1).error_code, code::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("t", 0, 2).error_code, code::NONE);
    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    assert_eq!(log_start(&mut client), 2, "the log start is durable");
    assert_eq!(client.read_all("t", 0, 2).len(), 2);
}

#[test]
fn an_expired_active_segment_is_rolled_and_deleted() {
    // contract 101: never past the high watermark, and offsets go on.
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("retention.ms", "60000")]);
    for offset in 0..3 {
        assert_eq!(append(&mut client, now_ms() - 120_000), offset);
    }
    eventually("everything to go", || (log_start(&mut client) == 3).then_some(()));
    let part = client.fetch("t", 0, 3);
    assert_eq!(
        (part.error_code, part.high_watermark, part.log_start_offset),
        (code::NONE, 3, 3)
    );
    assert_eq!(append(&mut client, now_ms()), 3);
    assert_eq!(client.read_all("t", 0, 3).len(), 1);
}

#[test]
fn by_size_the_oldest_go_while_the_rest_is_enough() {
    // contract 101: ten segments of 600 kB; 2.5 MB must stay: 5 segments are 3 MB, 4 would be 2.4 MB.
    let (_broker, mut client) = start();
    client.create_topic_with(
        "t",
        1,
        &[
            ("segment.bytes", "1048576"),
            ("retention.bytes", "2500000"),
            ("retention.ms", "-1"),
        ],
    );
    for _ in 0..10 {
        append(&mut client, now_ms());
    }
    eventually("five segments to go", || (log_start(&mut client) == 5).then_some(()));
    assert_eq!(client.read_all("t", 0, 5).len(), 5);
    append(&mut client, now_ms());
    eventually("one more to go", || (log_start(&mut client) == 6).then_some(()));
}

#[test]
fn a_compacted_topic_is_kept_whole() {
    // contract 101: beside it a topic with the same data shows that retention ran.
    let (_broker, mut client) = start();
    let configs = |policy| {
        [
            ("segment.bytes", "1048576"),
            ("retention.ms", "60000"),
            ("retention.bytes", "1"),
            ("cleanup.policy", policy),
        ]
    };
    client.create_topic_with("kept", 1, &configs("compact"));
    client.create_topic_with("t", 1, &configs("compact,delete"));
    let value = "x".repeat(600_000);
    let record = streamhouse_compat_tests::records::NewRecord::keyed("k", value);
    for _ in 0..4 {
        let batch = BatchSpec::new(vec![record.clone()])
            .base_timestamp(now_ms() - 120_000)
            .encode();
        client.produce_ok("kept", 0, batch.clone());
        client.produce_ok("t", 0, batch);
    }
    eventually("retention of the other topic", || {
        (log_start(&mut client) == 4).then_some(())
    });
    assert_eq!(client.list_offset("kept", 0, EARLIEST).2, 0);
    assert_eq!(client.read_all("kept", 0, 0).len(), 4);
}

#[test]
fn retention_can_be_shortened_while_running() {
    // contract 101 and 66
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("segment.bytes", "1048576")]);
    for _ in 0..4 {
        append(&mut client, now_ms() - 120_000);
    }
    assert_eq!(log_start(&mut client), 0);
    let entry = kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig::default()
        .with_name(streamhouse_compat_tests::ops::text("retention.ms"))
        .with_value(Some(streamhouse_compat_tests::ops::text("60000")));
    let resource = kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(streamhouse_compat_tests::ops::text("t"))
        .with_configs(vec![entry]);
    let request = kafka_protocol::messages::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(client.call(1, &request).responses[0].error_code, code::NONE);
    eventually("everything to go", || (log_start(&mut client) == 4).then_some(()));
}
