//! DeleteRecords (21): contract 67.

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use streamhouse_compat_tests::ops::{EARLIEST, LATEST, code, topic_name};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, RawClient, eventually};

use super::{connect, start};

const POLICY_VIOLATION: i16 = 44;

/// `(error, low watermark)` of one partition.
fn delete(client: &mut RawClient, topic: &str, partition: i32, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(partition)
        .with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let result = client.call(2, &request).topics.remove(0).partitions.remove(0);
    (result.error_code, result.low_watermark)
}

/// Two batches of five records: offsets 0–4 and 5–9.
fn ten(client: &mut RawClient) {
    client.create_topic("t", 1);
    for _ in 0..2 {
        client.produce_ok("t", 0, BatchSpec::of(&["a", "b", "c", "d", "e"]).encode());
    }
}

fn earliest(client: &mut RawClient) -> i64 {
    client.list_offset("t", 0, EARLIEST).2
}

#[test]
fn the_log_start_moves_and_what_lies_below_is_out_of_range() {
    // contract 67, contract 48
    let (_broker, mut client) = start();
    ten(&mut client);
    assert_eq!(delete(&mut client, "t", 0, 7), (code::NONE, 7));
    assert_eq!(earliest(&mut client), 7);
    assert_eq!(client.fetch("t", 0, 6).error_code, code::OFFSET_OUT_OF_RANGE);
    let part = client.fetch("t", 0, 7);
    assert_eq!((part.error_code, part.log_start_offset), (code::NONE, 7));
    // contract 47: the whole batch that holds offset 7 is returned; clients skip what they did not ask for.
    let texts: Vec<i64> = client.read_all("t", 0, 7).iter().map(|record| record.offset).collect();
    assert_eq!(texts, [7, 8, 9]);
    // Produce tells, too (contract 35).
    let answer = client.produce("t", 0, -1, BatchSpec::of(&["f"]).encode());
    assert_eq!((answer.base_offset, answer.log_start_offset), (10, 7));
    // Again, or lower: nothing changes, and the low watermark is told.
    assert_eq!(delete(&mut client, "t", 0, 7), (code::NONE, 7));
    assert_eq!(delete(&mut client, "t", 0, 0), (code::NONE, 7));
}

#[test]
fn minus_one_is_the_high_watermark() {
    // contract 67: what was acknowledged with acks=1 a moment ago is included.
    let (_broker, mut client) = start();
    ten(&mut client);
    let answer = client.produce("t", 0, 1, BatchSpec::of(&["f"]).encode());
    assert_eq!(answer.error_code, code::NONE);
    assert_eq!(delete(&mut client, "t", 0, -1), (code::NONE, 11));
    assert_eq!((earliest(&mut client), client.list_offset("t", 0, LATEST).2), (11, 11));
    assert_eq!(delete(&mut client, "t", 0, -1), (code::NONE, 11));
    assert_eq!(client.produce_ok("t", 0, BatchSpec::of(&["g"]).encode()), 11);
}

#[test]
fn refusals() {
    // contract 67
    let (_broker, mut client) = start();
    ten(&mut client);
    client.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]);
    client.create_topic_with("both", 1, &[("cleanup.policy", "compact,delete")]);
    for offset in [11, i64::MAX, -2, i64::MIN] {
        assert_eq!(
            delete(&mut client, "t", 0, offset),
            (code::OFFSET_OUT_OF_RANGE, -1),
            "{offset}"
        );
    }
    for (topic, partition) in [("t", 1), ("t", -1), ("absent", 0)] {
        let unknown = (code::UNKNOWN_TOPIC_OR_PARTITION, -1);
        assert_eq!(delete(&mut client, topic, partition, 0), unknown, "{topic}-{partition}");
    }
    assert_eq!(delete(&mut client, "compacted", 0, 0), (POLICY_VIOLATION, -1));
    assert_eq!(delete(&mut client, "both", 0, 0), (code::NONE, 0));
    assert_eq!(earliest(&mut client), 0, "nothing was deleted");
}

#[test]
fn partitions_fail_on_their_own_in_every_version() {
    // contract 67
    let (_broker, mut client) = start();
    ten(&mut client);
    for (version, offset) in [(0, 1), (1, 2), (2, 3)] {
        let partitions = [(0, offset), (5, 0)].map(|(index, offset)| {
            DeleteRecordsPartition::default()
                .with_partition_index(index)
                .with_offset(offset)
        });
        let topics = ["absent", "t"].map(|name| {
            DeleteRecordsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.to_vec())
        });
        let reply = client.call(version, &DeleteRecordsRequest::default().with_topics(topics.to_vec()));
        let results: Vec<_> = reply
            .topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|part| (part.error_code, part.low_watermark))
            })
            .collect();
        assert_eq!(results, [(3, -1), (3, -1), (0, offset), (3, -1)], "version {version}");
    }
}

#[test]
fn a_log_start_that_was_told_survives_kill_9() {
    // contract 67: durable before the reply, whether the log was checkpointed or not.
    let (mut broker, mut client) = start();
    ten(&mut client);
    for offset in [3, 8, 10] {
        assert_eq!(delete(&mut client, "t", 0, offset), (code::NONE, offset));
        broker.kill9();
        broker.restart();
        client = connect(&broker);
        assert_eq!(earliest(&mut client), offset);
        if offset > 0 {
            assert_eq!(client.fetch("t", 0, offset - 1).error_code, code::OFFSET_OUT_OF_RANGE);
        }
        assert_eq!(client.read_all("t", 0, offset).len() as i64, 10 - offset);
    }
    assert_eq!(
        client.produce_ok("t", 0, BatchSpec::of(&["f"]).encode()),
        10,
        "offsets go on"
    );
    broker.terminate();
    broker.restart();
    client = connect(&broker);
    assert_eq!((earliest(&mut client), client.read_all("t", 0, 10).len()), (10, 1));
}

#[test]
fn space_comes_back() {
    // contract 67: segments wholly below go, the active one too when nothing of it is left.
    let broker = Broker::builder().set("log.retention.check.interval.ms", 100).start();
    let mut client = connect(&broker);
    client.create_topic_with("t", 1, &[("segment.bytes", "1048576")]);
    for _ in 0..8 {
        client.produce_ok("t", 0, BatchSpec::of(&[&"x".repeat(600_000)]).encode());
    }
    assert_eq!(delete(&mut client, "t", 0, 5), (code::NONE, 5));
    let log_bytes = || {
        let logs = std::fs::read_dir(broker.data_dir().join("segments"))
            .expect("segments")
            .flat_map(|dir| std::fs::read_dir(dir.expect("an entry").path()).expect("a folder"));
        logs.map(|file| file.expect("an entry").metadata().map_or(0, |found| found.len()))
            .sum::<u64>()
    };
    eventually("five segments to go", || (log_bytes() <= 3 * 1_048_576).then_some(()));
    assert_eq!(client.read_all("t", 0, 5).len(), 3);
    assert_eq!(delete(&mut client, "t", 0, -1), (code::NONE, 8));
    eventually("the rest to go", || (log_bytes() == 0).then_some(()));
    assert_eq!(client.produce_ok("t", 0, BatchSpec::of(&["y"]).encode()), 8);
}
