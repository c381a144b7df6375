//! OffsetForLeaderEpoch (23): contract 61.

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};
use streamhouse_compat_tests::records::BatchSpec;

use super::{connect, start};

/// `(error, epoch, end offset)`.
fn ask(client: &mut RawClient, partition: i32, epoch: i32, current: i32) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let answer = client.call(4, &request).topics.remove(0).partitions.remove(0);
    (answer.error_code, answer.leader_epoch, answer.end_offset)
}

#[test]
fn where_epochs_end() {
    // contract 61: records 0–1 of epoch a, none of b, 2–4 of c.
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    let a = client.describe_topic("t").partitions[0].leader_epoch;
    client.produce_ok("t", 0, BatchSpec::of(&["0", "1"]).encode());
    for _ in 0..2 {
        broker.kill9();
        broker.restart();
    }
    client = connect(&broker);
    let c = client.describe_topic("t").partitions[0].leader_epoch;
    assert!(c >= a + 2, "each start has an epoch of its own");
    client.produce_ok("t", 0, BatchSpec::of(&["2", "3", "4"]).encode());
    assert_eq!(
        ask(&mut client, 0, c, -1),
        (code::NONE, c, 5),
        "the latest: the log's end"
    );
    assert_eq!(ask(&mut client, 0, a, -1), (code::NONE, a, 2));
    assert_eq!(
        ask(&mut client, 0, a + 1, -1),
        (code::NONE, a, 2),
        "between: the largest epoch not above"
    );
    if a > 0 {
        assert_eq!(
            ask(&mut client, 0, a - 1, -1),
            (code::NONE, a - 1, 0),
            "below the first: the first's start"
        );
    }
    assert_eq!(ask(&mut client, 0, c + 1, -1), (code::NONE, -1, -1), "above");
    assert_eq!(ask(&mut client, 0, a, c - 1).0, code::FENCED_LEADER_EPOCH);
    assert_eq!(ask(&mut client, 0, a, c + 1).0, code::UNKNOWN_LEADER_EPOCH);
    assert_eq!(ask(&mut client, 9, a, -1).0, code::UNKNOWN_TOPIC_OR_PARTITION);
}
