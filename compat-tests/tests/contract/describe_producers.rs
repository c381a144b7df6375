//! DescribeProducers (61): contract 43.

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::PartitionResponse;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};
use streamhouse_compat_tests::records::{BatchSpec, now_ms};

use super::{connect, start};

fn describe(client: &mut RawClient, topic: &str, partitions: &[i32]) -> Vec<PartitionResponse> {
    let topic = TopicRequest::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(partitions.to_vec());
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    client.call(0, &request).topics.remove(0).partitions
}

/// `(id, epoch, last sequence)` of the producers of `t`-0.
fn producers(client: &mut RawClient) -> Vec<(i64, i32, i32)> {
    let part = describe(client, "t", &[0]).remove(0);
    assert_eq!((part.error_code, part.partition_index), (code::NONE, 0));
    let states = part.active_producers.iter().map(|state| {
        assert_eq!((state.coordinator_epoch, state.current_txn_start_offset), (-1, -1));
        assert!(
            (state.last_timestamp - now_ms()).abs() < 600_000,
            "{}",
            state.last_timestamp
        );
        (state.producer_id.0, state.producer_epoch, state.last_sequence)
    });
    states.collect()
}

#[test]
fn idempotent_producers_are_remembered_over_kill_9() {
    // contract 43
    let (mut broker, mut client) = start();
    client.create_topic("t", 2);
    assert!(producers(&mut client).is_empty());
    client.produce_ok("t", 0, BatchSpec::of(&["of nobody"]).encode());
    assert!(producers(&mut client).is_empty());
    let (first, _) = client.init_producer_id();
    let (second, _) = client.init_producer_id();
    client.produce_ok("t", 0, BatchSpec::of(&["a", "b"]).producer(first, 0, 0).encode());
    client.produce_ok("t", 0, BatchSpec::of(&["c"]).producer(first, 0, 2).encode());
    client.produce_ok("t", 0, BatchSpec::of(&["d"]).producer(second, 3, 0).encode());
    client.produce_ok("t", 1, BatchSpec::of(&["e"]).producer(second, 3, 0).encode());
    let mut expected = vec![(first, 0, 2), (second, 3, 0)];
    expected.sort_unstable();
    assert_eq!(producers(&mut client), expected);
    broker.kill9();
    broker.restart();
    assert_eq!(producers(&mut connect(&broker)), expected);
}

#[test]
fn unknown_partitions() {
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let codes: Vec<_> = describe(&mut client, "t", &[0, 1, -1])
        .iter()
        .map(|part| (part.partition_index, part.error_code))
        .collect();
    assert_eq!(codes, [(0, 0), (1, 3), (-1, 3)]);
    assert_eq!(describe(&mut client, "absent", &[0])[0].error_code, 3);
}
