//! Produce (0): what a request is answered with. Contract 24–28, 35–37; `produce_records` has the batches themselves.

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, CreateTopicsRequest};
use streamhouse_compat_tests::ops::{code, new_topic, produce_request, topic_name};
use streamhouse_compat_tests::records::{BatchSpec, Codec, now_ms};
use uuid::Uuid;

use super::{connect, start};

#[test]
fn acks_must_be_minus_one_zero_or_one() {
    // contract 24: on every partition, and nothing is written.
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    for acks in [2, -2, i16::MAX] {
        let batch = BatchSpec::of(&["x"]).encode();
        let request = produce_request("t", acks, &[(0, batch.clone()), (1, batch)]);
        for answer in client.call(9, &request).responses.remove(0).partition_responses {
            assert_eq!(answer.error_code, code::INVALID_REQUIRED_ACKS, "acks={acks}");
            assert_eq!(answer.base_offset, -1);
        }
    }
    assert_eq!(client.fetch("t", 0, 0).high_watermark, 0);
}

#[test]
fn acks_0_gets_no_bytes_back() {
    // contract 25: the next reply on the connection belongs to the next request.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for i in 0..50 {
        client.send(
            9,
            &produce_request("t", 0, &[(0, BatchSpec::of(&[&i.to_string()]).encode())]),
        );
    }
    let correlation_id = client.send(0, &ApiVersionsRequest::default());
    client.receive::<ApiVersionsRequest>(0, correlation_id);
    // One produce with acks=all behind them: everything before it is there, in order.
    assert_eq!(client.produce_ok("t", 0, BatchSpec::of(&["50"]).encode()), 50);
    let texts: Vec<String> = client.read_all("t", 0, 0).iter().map(|record| record.text()).collect();
    assert_eq!(texts, (0..=50).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn acks_0_that_fails_closes_the_connection() {
    // contract 25
    let (broker, mut client) = start();
    client.create_topic("t", 1);
    let mut unlucky = connect(&broker);
    let mut bad = BatchSpec::of(&["x"]);
    bad.crc = Some(1);
    unlucky.send(9, &produce_request("t", 0, &[(0, bad.encode())]));
    unlucky.expect_close();
    let mut unlucky = connect(&broker);
    unlucky.send(9, &produce_request("absent", 0, &[(0, BatchSpec::of(&["x"]).encode())]));
    unlucky.expect_close();
    assert_eq!(client.fetch("t", 0, 0).high_watermark, 0);
}

#[test]
fn min_insync_replicas_never_refuses() {
    // contract 26: one fsynced copy; the numbers are stored and described.
    let (_broker, mut client) = start();
    let topic = new_topic("t", 1, &[("min.insync.replicas", "2")]).with_replication_factor(3);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(9);
    assert_eq!(client.call(7, &request).topics[0].error_code, code::NONE);
    assert_eq!(client.produce_ok("t", 0, BatchSpec::of(&["x"]).encode()), 0);
}

#[test]
fn what_timed_out_stays() {
    // contract 27: with a timeout of 0 ms acks=all may or may not be in time; the data is there either way.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for expected in 0..10 {
        let request = produce_request("t", -1, &[(0, BatchSpec::of(&["x"]).encode())]).with_timeout_ms(0);
        let answer = client
            .call(9, &request)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        match answer.error_code {
            code::NONE => assert_eq!(answer.base_offset, expected),
            other => assert_eq!((other, answer.base_offset), (7, -1), "REQUEST_TIMED_OUT or success"),
        }
    }
    assert_eq!(client.produce_ok("t", 0, BatchSpec::of(&["x"]).encode()), 10);
    assert_eq!(client.read_all("t", 0, 0).len(), 11);
}

#[test]
fn a_partition_takes_exactly_one_batch() {
    // contract 28: none, null, two, and bytes behind the batch.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let one = BatchSpec::of(&["x"]).encode();
    let two = Bytes::from([one.clone(), one.clone()].concat());
    let trailing = Bytes::from([&one[..], &[0, 0, 0]].concat());
    for (what, records) in [
        ("empty", Bytes::new()),
        ("two", two),
        ("trailing", trailing),
        ("cut", one.slice(..one.len() - 1)),
    ] {
        let error = client.produce("t", 0, -1, records).error_code;
        // Kafka takes a batch that is longer than the records field for corrupt.
        assert!(
            error == code::INVALID_RECORD || (what == "cut" && error == code::CORRUPT_MESSAGE),
            "{what}: {error}"
        );
    }
    let mut request = produce_request("t", -1, &[(0, one)]);
    request.topic_data[0].partition_data[0].records = None;
    let answer = client
        .call(9, &request)
        .responses
        .remove(0)
        .partition_responses
        .remove(0);
    assert_eq!(answer.error_code, code::INVALID_RECORD, "null");
    assert_eq!(client.fetch("t", 0, 0).high_watermark, 0);
}

#[test]
fn old_magic_is_refused() {
    // contract 28
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for magic in [0, 1, 3, -1] {
        let mut batch = BatchSpec::of(&["x"]);
        batch.magic = magic;
        assert_eq!(
            client.produce("t", 0, -1, batch.encode()).error_code,
            code::INVALID_RECORD,
            "magic {magic}"
        );
    }
}

#[test]
fn zstd_needs_version_7() {
    // contract 28
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let request = produce_request("t", -1, &[(0, BatchSpec::of(&["x"]).codec(Codec::Zstd).encode())]);
    for version in 3..=10 {
        let answer = client
            .call(version, &request)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        let expected = if version < 7 {
            code::UNSUPPORTED_COMPRESSION_TYPE
        } else {
            code::NONE
        };
        assert_eq!(answer.error_code, expected, "v{version}");
    }
}

#[test]
fn the_reply() {
    // contract 35: base offset, log start, no log append time; −1 on error.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for expected in [0, 3, 6] {
        let answer = client.produce("t", 0, -1, BatchSpec::of(&["a", "b", "c"]).encode());
        assert_eq!((answer.error_code, answer.base_offset), (code::NONE, expected));
        assert_eq!((answer.log_append_time_ms, answer.log_start_offset), (-1, 0));
    }
    let mut bad = BatchSpec::of(&["x"]);
    bad.crc = Some(7);
    let answer = client.produce("t", 0, -1, bad.encode());
    assert_eq!(
        (answer.error_code, answer.base_offset, answer.log_append_time_ms),
        (code::CORRUPT_MESSAGE, -1, -1)
    );
}

#[test]
fn the_reply_with_log_append_time() {
    // contract 35 and 30
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now_ms();
    let answer = client.produce("t", 0, -1, BatchSpec::of(&["a"]).base_timestamp(5).encode());
    assert_eq!(answer.error_code, code::NONE);
    assert!(
        (before..=now_ms()).contains(&answer.log_append_time_ms),
        "{}",
        answer.log_append_time_ms
    );
    assert_eq!(client.read_all("t", 0, 0)[0].timestamp, answer.log_append_time_ms);
}

#[test]
fn partitions_fail_independently() {
    // contract 35: in one request a good one, a corrupt one, an absent one and an absent topic.
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    let good = BatchSpec::of(&["x"]).encode();
    let mut bad = BatchSpec::of(&["x"]);
    bad.crc = Some(1);
    let mut request = produce_request("t", -1, &[(0, bad.encode()), (1, good.clone()), (7, good.clone())]);
    let absent = PartitionProduceData::default().with_index(0).with_records(Some(good));
    request.topic_data.push(
        TopicProduceData::default()
            .with_name(topic_name("absent"))
            .with_partition_data(vec![absent]),
    );
    let mut codes = Vec::new();
    for topic in client.call(9, &request).responses {
        for answer in topic.partition_responses {
            codes.push((topic.name.0.to_string(), answer.index, answer.error_code));
        }
    }
    codes.sort();
    let expected = [
        ("absent", 0, code::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 0, code::CORRUPT_MESSAGE),
        ("t", 1, code::NONE),
        ("t", 7, code::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    assert_eq!(
        codes,
        expected.map(|(name, index, error)| (name.to_owned(), index, error))
    );
}

#[test]
fn version_13_names_topics_by_id() {
    // contract 36
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let id = client.topic_id("t");
    let by_id = |id: Uuid| -> ProduceRequest {
        let mut request = produce_request("", -1, &[(0, BatchSpec::of(&["x"]).encode())]);
        request.topic_data[0].topic_id = id;
        request
    };
    let reply = client.call(13, &by_id(id)).responses.remove(0);
    assert_eq!(
        (reply.topic_id, reply.partition_responses[0].error_code),
        (id, code::NONE)
    );
    let unknown = Uuid::from_u128(99);
    let reply = client.call(13, &by_id(unknown)).responses.remove(0);
    assert_eq!(
        (reply.topic_id, reply.partition_responses[0].error_code),
        (unknown, code::UNKNOWN_TOPIC_ID)
    );
    // A topic that was created again is another one.
    client.delete_topic("t");
    client.create_topic("t", 1);
    let reply = client.call(13, &by_id(id)).responses.remove(0);
    assert_eq!(reply.partition_responses[0].error_code, code::UNKNOWN_TOPIC_ID);
}

#[test]
fn internal_topics_are_closed_to_clients() {
    // contract 37
    let (_broker, mut client) = start();
    for name in ["__consumer_offsets", "__transaction_state"] {
        client.create_topic(name, 1);
        let answer = client.produce(name, 0, -1, BatchSpec::of(&["x"]).encode());
        assert_eq!(answer.error_code, code::INVALID_TOPIC_EXCEPTION, "{name}");
    }
}

#[test]
fn acknowledged_records_survive_kill_9() {
    // contract 26: acks=1 and acks=all, small and large, over two restarts.
    let (mut broker, mut client) = start();
    client.create_topic("t", 3);
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); 3];
    for round in 0..3 {
        for i in 0..30usize {
            let value = format!("{round}/{i}/{}", "x".repeat(if i % 5 == 0 { 200_000 } else { 20 }));
            let partition = i % 3;
            let acks = if i % 2 == 0 { 1 } else { -1 };
            let answer = client.produce("t", partition as i32, acks, BatchSpec::of(&[&value]).encode());
            assert_eq!(answer.error_code, code::NONE);
            assert_eq!(answer.base_offset, expected[partition].len() as i64);
            expected[partition].push(value);
        }
        broker.kill9();
        broker.restart();
        client = connect(&broker);
        for (partition, expected) in expected.iter().enumerate() {
            let found: Vec<String> = client
                .read_all("t", partition as i32, 0)
                .iter()
                .map(|r| r.text())
                .collect();
            assert_eq!(&found, expected, "round {round}, partition {partition}");
        }
    }
}
