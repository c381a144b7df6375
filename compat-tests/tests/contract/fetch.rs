//! Fetch (1) without sessions: contract 45–54.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use streamhouse_compat_tests::ops::{code, fetch_partition, fetch_request, topic_name};
use streamhouse_compat_tests::records::{BatchSpec, read_batches, read_records_of};
use streamhouse_compat_tests::{Broker, RawClient};
use uuid::Uuid;

use super::{connect, start};

/// Waits that a test cannot survive: who is parked in error never answers.
const FOREVER_MS: i32 = i32::MAX;

fn patient(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    fetch_request(topic, vec![fetch_partition(partition, offset)]).with_max_wait_ms(FOREVER_MS)
}

fn only(mut reply: FetchResponse) -> PartitionData {
    assert_eq!((reply.error_code, reply.responses.len()), (code::NONE, 1));
    reply.responses.remove(0).partitions.remove(0)
}

fn texts(part: &PartitionData) -> Vec<String> {
    let records = part.records.clone().expect("contract 50: never null");
    read_records_of(&records).iter().map(|record| record.text()).collect()
}

#[test]
fn what_is_answered_at_once() {
    // contract 45: each of these would park forever otherwise.
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    client.produce_ok("t", 0, BatchSpec::of(&["a"]).encode());
    assert_eq!(
        texts(&only(client.call(12, &patient("t", 0, 1).with_max_wait_ms(0)))),
        [""; 0],
        "max_wait 0"
    );
    assert_eq!(
        texts(&only(client.call(12, &patient("t", 0, 1).with_max_wait_ms(-5)))),
        [""; 0],
        "max_wait below 0"
    );
    assert_eq!(
        texts(&only(client.call(12, &patient("t", 1, 0).with_min_bytes(0)))),
        [""; 0],
        "min_bytes 0"
    );
    assert_eq!(
        texts(&only(client.call(12, &patient("t", 0, 0)))),
        ["a"],
        "enough bytes"
    );
    let mut nothing = patient("t", 0, 0).with_min_bytes(FOREVER_MS);
    nothing.topics.clear();
    assert!(client.call(12, &nothing).responses.is_empty(), "no partitions");
    for (what, partition, offset) in [("out of range", 0, 99), ("no such partition", 9, 0)] {
        let part = only(client.call(12, &patient("t", partition, offset).with_min_bytes(FOREVER_MS)));
        assert_ne!(part.error_code, code::NONE, "{what}");
    }
    let part = only(client.call(12, &patient("absent", 0, 0)));
    assert_eq!(part.error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn appends_wake_it() {
    // contract 46 and 49: also records that nobody asked to make durable (acks 0 and 1).
    let (broker, mut producer) = start();
    producer.create_topic("t", 1);
    let mut consumer = connect(&broker);
    for (offset, acks) in (0i64..).zip([-1, 1, 0, 1, -1, 0]) {
        let correlation_id = consumer.send(12, &patient("t", 0, offset));
        let value = format!("acks={acks}");
        let request =
            streamhouse_compat_tests::ops::produce_request("t", acks, &[(0, BatchSpec::of(&[&value]).encode())]);
        let produced = producer.send(9, &request);
        if acks != 0 {
            producer.receive::<kafka_protocol::messages::ProduceRequest>(9, produced);
        }
        assert_eq!(
            texts(&only(consumer.receive::<FetchRequest>(12, correlation_id))),
            [value]
        );
    }
}

#[test]
fn it_waits_for_min_bytes() {
    // contract 45 and 46: the sum over partitions counts.
    let (broker, mut producer) = start();
    producer.create_topic("t", 2);
    let mut consumer = connect(&broker);
    let batch = BatchSpec::of(&[&"x".repeat(100)]).encode();
    let partitions = vec![fetch_partition(0, 0), fetch_partition(1, 0)];
    let request = fetch_request("t", partitions)
        .with_max_wait_ms(FOREVER_MS)
        .with_min_bytes(3 * batch.len() as i32);
    let correlation_id = consumer.send(12, &request);
    for partition in [0, 1, 1] {
        producer.produce_ok("t", partition, batch.clone());
    }
    let reply = consumer.receive::<FetchRequest>(12, correlation_id);
    let bytes: usize = reply.responses[0]
        .partitions
        .iter()
        .map(|p| p.records.as_ref().map_or(0, Bytes::len))
        .sum();
    assert_eq!(bytes, 3 * batch.len());
}

#[test]
fn it_gives_up_after_max_wait() {
    // contract 46
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["a"]).encode());
    let request = patient("t", 0, 0).with_min_bytes(1 << 20).with_max_wait_ms(200);
    assert_eq!(
        texts(&only(client.call(12, &request))),
        ["a"],
        "it returns what is there"
    );
}

/// A topic of two partitions with five batches of about 1,000 bytes each.
fn ten_batches(client: &mut RawClient) -> usize {
    client.create_topic("t", 2);
    let batch = BatchSpec::of(&[&"x".repeat(930)]).encode();
    for partition in [0, 1] {
        for _ in 0..5 {
            client.produce_ok("t", partition, batch.clone());
        }
    }
    batch.len()
}

/// `(partition, bytes of records, whole batches among them)` of a reply.
fn sizes(reply: &FetchResponse) -> Vec<(i32, usize, usize)> {
    let partitions = reply.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|part| {
            let records = part.records.clone().expect("never null");
            (part.partition_index, records.len(), read_batches(&records).len())
        })
        .collect()
}

fn batch_counts(reply: &FetchResponse) -> Vec<(i32, usize)> {
    sizes(reply)
        .into_iter()
        .map(|(partition, _, batches)| (partition, batches))
        .collect()
}

#[test]
fn byte_budgets() {
    // contract 47: the request's budget, then the partition's. Only the first batch of all may go beyond them.
    let (_broker, mut client) = start();
    let batch = ten_batches(&mut client);
    for request_max in (0..14 * batch).step_by(batch / 3) {
        for partition_max in (0..7 * batch).step_by(batch / 3) {
            let limit = i32::try_from(partition_max).expect("small");
            let partitions = [0, 1].map(|partition| fetch_partition(partition, 0).with_partition_max_bytes(limit));
            let request =
                fetch_request("t", partitions.to_vec()).with_max_bytes(i32::try_from(request_max).expect("small"));
            let found = sizes(&client.call(12, &request));
            let what = format!("request {request_max}, partition {partition_max}, a batch {batch}: {found:?}");
            assert!(found[0].2 >= 1, "the first returns a batch: {what}");
            let total: usize = found.iter().map(|(_, bytes, _)| bytes).sum();
            assert!(total <= request_max.max(batch), "{what}");
            assert!(
                found.iter().all(|(_, bytes, _)| *bytes <= partition_max.max(batch)),
                "{what}"
            );
            assert!(
                found[1].1 == 0 || found[1].1 <= partition_max,
                "only the first may exceed its limit: {what}"
            );
        }
    }
    let unlimited = fetch_request("t", vec![fetch_partition(0, 0), fetch_partition(1, 0)]);
    assert_eq!(batch_counts(&client.call(12, &unlimited)), [(0, 5), (1, 5)]);
}

#[test]
fn any_budget_makes_progress() {
    // contract 47: whoever reads with a tiny budget gets everything in the end, from memory and from files.
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    let values: Vec<String> = (0..60).map(|i| format!("{i} {}", "x".repeat(i * i * 20))).collect();
    for value in &values {
        client.produce_ok("t", 0, BatchSpec::of(&[value]).encode());
    }
    for restarted in [false, true] {
        if restarted {
            broker.kill9();
            broker.restart();
            client = connect(&broker);
        }
        for budget in [0, 1, 100, 5_000, 100_000] {
            let mut found = Vec::new();
            while found.len() < values.len() {
                let partition = fetch_partition(0, found.len() as i64).with_partition_max_bytes(budget);
                let part = only(client.call(12, &fetch_request("t", vec![partition])));
                let new = texts(&part);
                assert!(!new.is_empty(), "budget {budget}: nothing at offset {}", found.len());
                found.extend(new);
            }
            assert!(found == values, "budget {budget}");
        }
    }
}

#[test]
fn the_first_partition_that_has_data_returns_it() {
    // contract 47: an empty one before it does not use the privilege up, and the request's order counts.
    let (_broker, mut client) = start();
    ten_batches(&mut client);
    let tight = |partitions: Vec<_>| fetch_request("t", partitions).with_max_bytes(1);
    let reply = client.call(12, &tight(vec![fetch_partition(0, 5), fetch_partition(1, 0)]));
    assert_eq!(batch_counts(&reply), [(0, 0), (1, 1)]);
    let reply = client.call(12, &tight(vec![fetch_partition(1, 0), fetch_partition(0, 0)]));
    assert_eq!(batch_counts(&reply), [(1, 1), (0, 0)]);
}

#[test]
fn the_brokers_own_limit_counts_too() {
    // contract 47
    let broker = Broker::builder().set("fetch.max.bytes", 4096).start();
    let mut client = connect(&broker);
    ten_batches(&mut client);
    let request = fetch_request("t", vec![fetch_partition(0, 0), fetch_partition(1, 0)]);
    let bytes: usize = sizes(&client.call(12, &request))
        .iter()
        .map(|(_, bytes, _)| bytes)
        .sum();
    assert!((900..=4096).contains(&bytes), "{bytes}");
}

#[test]
fn a_batch_is_returned_whole() {
    // contract 47: even if it begins before the fetch offset.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["0", "1", "2"]).encode());
    client.produce_ok("t", 0, BatchSpec::of(&["3", "4", "5"]).encode());
    assert_eq!(texts(&client.fetch("t", 0, 1)), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(texts(&client.fetch("t", 0, 3)), ["3", "4", "5"]);
    assert_eq!(texts(&client.fetch("t", 0, 5)), ["3", "4", "5"]);
}

#[test]
fn offsets_out_of_range() {
    // contract 48: at the end is empty, above is an error.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["0", "1", "2"]).encode());
    let end = client.fetch("t", 0, 3);
    assert_eq!(
        (end.error_code, end.high_watermark, end.log_start_offset),
        (code::NONE, 3, 0)
    );
    for offset in [4, 1000, -1, i64::MAX, i64::MIN] {
        let part = client.fetch("t", 0, offset);
        assert_eq!(part.error_code, code::OFFSET_OUT_OF_RANGE, "{offset}");
        assert!(part.records.unwrap_or_default().is_empty());
    }
}

#[test]
fn what_is_not_yet_durable_is_empty_and_no_error() {
    // contract 48 and 49: a fetch at an offset that an acks=1 reply named is never out of range.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for _ in 0..100 {
        let offset = client.produce("t", 0, 1, BatchSpec::of(&["x"]).encode()).base_offset;
        let part = client.fetch("t", 0, offset);
        assert_eq!(part.error_code, code::NONE);
        let end = client.fetch("t", 0, offset + 1);
        assert_eq!(end.error_code, code::NONE);
        assert!(end.high_watermark <= offset + 1);
    }
}

#[test]
fn nothing_is_a_zero_length_and_not_null() {
    // contract 50
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for version in 4..=12 {
        for isolation in [0, 1] {
            let mut request = fetch_request("t", vec![fetch_partition(0, 0)]).with_isolation_level(isolation);
            if version < 7 {
                request.session_epoch = 0;
            }
            let part = only(client.call(version, &request));
            assert_eq!(part.records, Some(Bytes::new()), "v{version}");
            assert_eq!(
                part.aborted_transactions.is_some(),
                isolation == 1,
                "v{version}, isolation {isolation}"
            );
        }
    }
}

#[test]
fn without_transactions_the_last_stable_offset_is_the_high_watermark() {
    // contract 51
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["0", "1"]).encode());
    let request = fetch_request("t", vec![fetch_partition(0, 0)]).with_isolation_level(1);
    let part = only(client.call(12, &request));
    assert_eq!((part.last_stable_offset, part.high_watermark), (2, 2));
    assert_eq!(texts(&part), ["0", "1"]);
}

#[test]
fn leader_epochs_are_compared() {
    // contract 53
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["0", "1"]).encode());
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    let ours = client.describe_topic("t").partitions[0].leader_epoch;
    assert!(ours > 0);
    for (epoch, expected) in [
        (ours, code::NONE),
        (-1, code::NONE),
        (ours - 1, code::FENCED_LEADER_EPOCH),
        (ours + 1, code::UNKNOWN_LEADER_EPOCH),
    ] {
        let partition = fetch_partition(0, 0).with_current_leader_epoch(epoch);
        for version in [9, 12] {
            let part = only(client.call(version, &fetch_request("t", vec![partition.clone()])));
            assert_eq!(part.error_code, expected, "v{version}, epoch {epoch}");
        }
    }
}

#[test]
fn a_diverging_epoch_is_told() {
    // contract 53: records 0–2 of one epoch, 3–4 of the next. Who has fetched five records of the first is told where it ended.
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    let old = client.describe_topic("t").partitions[0].leader_epoch;
    client.produce_ok("t", 0, BatchSpec::of(&["0", "1", "2"]).encode());
    broker.kill9();
    broker.restart();
    client = connect(&broker);
    client.produce_ok("t", 0, BatchSpec::of(&["3", "4"]).encode());
    let new = client.describe_topic("t").partitions[0].leader_epoch;
    let fetched = |offset: i64, epoch: i32| {
        fetch_request("t", vec![fetch_partition(0, offset).with_last_fetched_epoch(epoch)]).with_max_wait_ms(FOREVER_MS)
    };
    let part = only(client.call(12, &fetched(5, old).with_min_bytes(FOREVER_MS)));
    assert_eq!((part.diverging_epoch.epoch, part.diverging_epoch.end_offset), (old, 3));
    assert!(part.records.unwrap_or_default().is_empty());
    let part = only(client.call(12, &fetched(3, old)));
    assert_eq!(
        (part.diverging_epoch.epoch, texts(&part)),
        (-1, vec!["3".to_owned(), "4".to_owned()])
    );
    let part = only(client.call(12, &fetched(4, new)));
    assert_eq!(part.diverging_epoch.epoch, -1);
}

#[test]
fn topics_by_id() {
    // contract 54
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["x"]).encode());
    let by_id = |id: Uuid| {
        let mut request = patient("", 0, 0);
        request.topics[0].topic = topic_name("");
        request.topics[0].topic_id = id;
        request
    };
    let id = client.topic_id("t");
    for version in 13..=18 {
        assert_eq!(texts(&only(client.call(version, &by_id(id)))), ["x"], "v{version}");
        let mut reply = client.call(version, &by_id(Uuid::from_u128(5)));
        assert_eq!(reply.responses[0].topic_id, Uuid::from_u128(5));
        let part = reply.responses.remove(0).partitions.remove(0);
        assert_eq!(part.error_code, code::UNKNOWN_TOPIC_ID, "v{version}");
    }
}

#[test]
fn a_large_log_is_read_from_everywhere() {
    // contract 47: memory, journal and segments; before and after a restart; from every tenth offset.
    let (mut broker, mut client) = start();
    client.create_topic_with("t", 1, &[("segment.bytes", "1048576")]);
    let mut expected = Vec::new();
    for i in 0..120 {
        let size = if i % 4 == 0 { 90_000 } else { 300 };
        let values: Vec<String> = (0..2).map(|j| format!("{i}.{j} {}", "x".repeat(size))).collect();
        client.produce_ok(
            "t",
            0,
            BatchSpec::of(&values.iter().map(String::as_str).collect::<Vec<_>>()).encode(),
        );
        expected.extend(values);
    }
    for round in 0..3 {
        for offset in (0..240).step_by(10) {
            let found: Vec<String> = client
                .read_all("t", 0, offset)
                .iter()
                .map(|record| record.text())
                .collect();
            assert!(
                found == expected[offset as usize..],
                "round {round}, from offset {offset}"
            );
        }
        match round {
            0 => broker.kill9(),
            _ => assert!(broker.terminate().success()),
        }
        broker.restart();
        client = connect(&broker);
    }
}
