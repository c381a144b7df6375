//! Idempotent producers: contract 38–44.

use kafka_protocol::messages::ProduceRequest;
use streamhouse_compat_tests::ops::{code, produce_request};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, RawClient, eventually};

use super::{connect, start};

/// Produces `count` records from `sequence` on to `t`-0: `(error, base offset)`.
fn send(client: &mut RawClient, producer: (i64, i16), sequence: i32, count: usize) -> (i16, i64) {
    let answer = client.produce("t", 0, -1, batch(producer, sequence, count));
    (answer.error_code, answer.base_offset)
}

fn batch(producer: (i64, i16), sequence: i32, count: usize) -> bytes::Bytes {
    let values: Vec<String> = (0..count)
        .map(|i| format!("{}/{}", producer.0, i64::from(sequence) + i as i64))
        .collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    BatchSpec::of(&values)
        .producer(producer.0, producer.1, sequence)
        .encode()
}

#[test]
fn a_repeated_batch_is_answered_and_not_appended() {
    // contract 38: exact ranges of the last five batches; older and other ranges are out of order.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    for i in 0..7 {
        assert_eq!(send(&mut client, producer, i * 2, 2), (code::NONE, i64::from(i) * 2));
    }
    for i in 2..7 {
        assert_eq!(
            send(&mut client, producer, i * 2, 2),
            (code::NONE, i64::from(i) * 2),
            "batch {i}"
        );
    }
    for i in 0..2 {
        assert_eq!(
            send(&mut client, producer, i * 2, 2).0,
            code::OUT_OF_ORDER_SEQUENCE_NUMBER,
            "batch {i}"
        );
    }
    assert_eq!(
        send(&mut client, producer, 12, 1).0,
        code::OUT_OF_ORDER_SEQUENCE_NUMBER,
        "another range"
    );
    assert_eq!(
        send(&mut client, producer, 12, 3).0,
        code::OUT_OF_ORDER_SEQUENCE_NUMBER,
        "another range"
    );
    assert_eq!(client.read_all("t", 0, 0).len(), 14);
}

#[test]
fn a_duplicate_that_races_its_original_has_the_same_answer() {
    // contract 38 and 39: on two connections at once, many times.
    let (broker, mut client) = start();
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    let mut other = connect(&broker);
    for sequence in 0..50 {
        let request = produce_request("t", -1, &[(0, batch(producer, sequence, 1))]);
        let first = client.send(9, &request);
        let second = other.send(9, &request);
        for mut reply in [
            client.receive::<ProduceRequest>(9, first),
            other.receive::<ProduceRequest>(9, second),
        ] {
            let answer = reply.responses.remove(0).partition_responses.remove(0);
            assert_eq!(
                (answer.error_code, answer.base_offset),
                (code::NONE, i64::from(sequence))
            );
        }
        // contract 39: once answered it is durable, so it is visible.
        assert!(client.fetch("t", 0, 0).high_watermark > i64::from(sequence));
    }
    assert_eq!(client.read_all("t", 0, 0).len(), 50);
}

#[test]
fn sequences_have_no_gaps() {
    // contract 40
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    assert_eq!(send(&mut client, producer, 0, 3), (code::NONE, 0));
    for wrong in [2, 4, 100, i32::MAX] {
        assert_eq!(
            send(&mut client, producer, wrong, 1).0,
            code::OUT_OF_ORDER_SEQUENCE_NUMBER,
            "{wrong}"
        );
    }
    assert_eq!(send(&mut client, producer, 3, 1), (code::NONE, 3));
}

#[test]
fn sequences_wrap_to_zero() {
    // contract 40: inside a batch and between batches.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    assert_eq!(send(&mut client, producer, i32::MAX - 2, 2), (code::NONE, 0));
    assert_eq!(send(&mut client, producer, i32::MAX, 1), (code::NONE, 2));
    assert_eq!(send(&mut client, producer, 1, 1).0, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(send(&mut client, producer, 0, 1), (code::NONE, 3));
    let other = client.init_producer_id();
    assert_eq!(send(&mut client, other, i32::MAX - 1, 4), (code::NONE, 4));
    assert_eq!(
        send(&mut client, other, i32::MAX - 1, 4),
        (code::NONE, 4),
        "a duplicate over the wrap"
    );
    assert_eq!(send(&mut client, other, 2, 1), (code::NONE, 8));
}

#[test]
fn epochs_fence() {
    // contract 41
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let (producer_id, epoch) = client.init_producer_id();
    assert_eq!(send(&mut client, (producer_id, epoch), 0, 1), (code::NONE, 0));
    assert_eq!(
        send(&mut client, (producer_id, epoch + 1), 1, 1).0,
        code::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(send(&mut client, (producer_id, epoch + 1), 0, 1), (code::NONE, 1));
    assert_eq!(
        send(&mut client, (producer_id, epoch), 1, 1).0,
        code::INVALID_PRODUCER_EPOCH
    );
    assert_eq!(send(&mut client, (producer_id, epoch + 1), 1, 1), (code::NONE, 2));
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    // contract 42 (KIP-360)
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    assert_eq!(send(&mut client, producer, 1234, 1), (code::NONE, 0));
    assert_eq!(send(&mut client, producer, 1235, 1), (code::NONE, 1));
}

#[test]
fn partitions_know_producers_separately() {
    // contract 38
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    let producer = client.init_producer_id();
    for partition in 0..2 {
        let answer = client.produce("t", partition, -1, batch(producer, 0, 1));
        assert_eq!((answer.error_code, answer.base_offset), (code::NONE, 0));
    }
}

#[test]
fn producers_are_known_after_restarts() {
    // contract 43: after kill −9 (from the journal) and after a graceful stop (from the snapshot).
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    let mut next = 0;
    for round in 0..4 {
        for _ in 0..3 {
            assert_eq!(send(&mut client, producer, next, 1), (code::NONE, i64::from(next)));
            next += 1;
        }
        match round % 2 {
            0 => broker.kill9(),
            _ => assert!(broker.terminate().success()),
        }
        broker.restart();
        client = connect(&broker);
        for sequence in (next - 5).max(0)..next {
            assert_eq!(
                send(&mut client, producer, sequence, 1),
                (code::NONE, i64::from(sequence)),
                "round {round}"
            );
        }
        assert_eq!(
            send(&mut client, producer, next + 1, 1).0,
            code::OUT_OF_ORDER_SEQUENCE_NUMBER
        );
    }
    assert_eq!(client.read_all("t", 0, 0).len(), next as usize);
}

#[test]
fn producers_are_known_after_retention_took_their_records() {
    // contract 43: the records are gone, the sequence is not.
    let broker = Broker::builder().set("log.retention.check.interval.ms", 100).start();
    let mut client = connect(&broker);
    client.create_topic_with("t", 1, &[("retention.ms", "1000000"), ("segment.ms", "1")]);
    let producer = client.init_producer_id();
    let old = BatchSpec::of(&["old"])
        .base_timestamp(1_000)
        .producer(producer.0, producer.1, 0)
        .encode();
    assert_eq!(client.produce_ok("t", 0, old.clone()), 0);
    eventually("retention", || {
        (client.fetch("t", 0, 1).log_start_offset == 1).then_some(())
    });
    assert_eq!(client.produce_ok("t", 0, old), 0, "a duplicate");
    assert_eq!(send(&mut client, producer, 2, 1).0, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(send(&mut client, producer, 1, 1), (code::NONE, 1));
}

#[test]
fn silent_producers_are_forgotten() {
    // contract 43: then any sequence is a beginning (42).
    let broker = Broker::builder()
        .set("producer.id.expiration.ms", 300)
        .set("log.retention.check.interval.ms", 100)
        .start();
    let mut client = connect(&broker);
    client.create_topic("t", 1);
    let producer = client.init_producer_id();
    assert_eq!(send(&mut client, producer, 0, 1), (code::NONE, 0));
    assert_eq!(send(&mut client, producer, 10, 1).0, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    eventually("the producer to expire", || {
        (send(&mut client, producer, 10, 1).0 == code::NONE).then_some(())
    });
}

#[test]
fn a_refused_batch_leaves_no_trace() {
    // contract 44: refused by CRC, size, framing and sequence; then the right batch has the sequence.
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("max.message.bytes", "1000")]);
    let producer = client.init_producer_id();
    assert_eq!(send(&mut client, producer, 0, 1), (code::NONE, 0));
    let next = || BatchSpec::of(&["x"]).producer(producer.0, producer.1, 1);
    let large = "x".repeat(2000);
    let wrong = [
        (BatchSpec { crc: Some(1), ..next() }, code::CORRUPT_MESSAGE),
        (
            BatchSpec {
                records_bytes: Some(bytes::Bytes::from_static(&[9, 9])),
                ..next()
            },
            code::INVALID_RECORD,
        ),
        (
            BatchSpec::of(&[&large]).producer(producer.0, producer.1, 1),
            code::MESSAGE_TOO_LARGE,
        ),
    ];
    for (batch, error) in wrong {
        assert_eq!(client.produce("t", 0, -1, batch.encode()).error_code, error);
    }
    assert_eq!(send(&mut client, producer, 2, 1).0, code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(send(&mut client, producer, 1, 1), (code::NONE, 1));
}
