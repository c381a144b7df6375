//! librdkafka as a consumer, without a group.

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, RawClient};

use super::{PATIENCE, consumer, list, payload, read};

/// A broker whose topic `t` has 100 records a partition, one a batch, a second apart from 1,000,000 on.
fn filled(partitions: i32) -> Broker {
    let broker = Broker::start();
    let mut raw = RawClient::connect(broker.kafka_addr());
    raw.create_topic_with("t", partitions, &[("retention.ms", "-1")]);
    for partition in 0..partitions {
        for i in 0..100 {
            let value = format!("{partition}/{i}");
            let batch = BatchSpec::of(&[&value]).base_timestamp(1_000_000 + i * 1000).encode();
            // The last with acks=all: then all of them are durable, so that the high watermark is 100.
            let acks = if i == 99 { -1 } else { 1 };
            assert_eq!(raw.produce("t", partition, acks, batch).error_code, 0);
        }
    }
    broker
}

#[test]
fn from_every_kind_of_offset() {
    let broker = filled(1);
    for (from, first) in [
        (Offset::Beginning, 0),
        (Offset::Offset(37), 37),
        (Offset::OffsetTail(10), 90),
    ] {
        let messages = read(&consumer(&broker, "t", &[(0, from)], &[]), 100 - first);
        let offsets: Vec<i64> = messages.iter().map(Message::offset).collect();
        assert_eq!(offsets, (first as i64..100).collect::<Vec<_>>(), "{from:?}");
    }
    let at_end = consumer(&broker, "t", &[(0, Offset::End)], &[]);
    assert!(matches!(at_end.poll(PATIENCE), Some(Err(KafkaError::PartitionEOF(0)))));
    RawClient::connect(broker.kafka_addr()).produce_ok("t", 0, BatchSpec::of(&["new"]).encode());
    assert_eq!(payload(&read(&at_end, 1)[0]), "new");
}

#[test]
fn an_offset_out_of_range_follows_the_policy() {
    // contract 48: 1 is what makes clients reset, so it must come for these offsets and no others.
    let broker = filled(1);
    let reset = consumer(
        &broker,
        "t",
        &[(0, Offset::Offset(5_000))],
        &[("auto.offset.reset", "earliest")],
    );
    assert_eq!(payload(&read(&reset, 1)[0]), "0/0");
    let strict = consumer(
        &broker,
        "t",
        &[(0, Offset::Offset(5_000))],
        &[("auto.offset.reset", "error")],
    );
    match strict.poll(PATIENCE).expect("an error") {
        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn seek_pause_and_position() {
    let broker = filled(3);
    let all: Vec<_> = (0..3).map(|partition| (partition, Offset::Beginning)).collect();
    let consumer = consumer(&broker, "t", &all, &[]);
    assert_eq!(read(&consumer, 300).len(), 300);
    for partition in 0..3 {
        consumer
            .seek("t", partition, Offset::Offset(90 + i64::from(partition)), PATIENCE)
            .expect("a seek");
    }
    let mut offsets: Vec<_> = read(&consumer, 27)
        .iter()
        .map(|m| (m.partition(), m.offset()))
        .collect();
    offsets.sort_unstable();
    let expected: Vec<_> = (0..3)
        .flat_map(|p| (90 + i64::from(p)..100).map(move |offset| (p, offset)))
        .collect();
    assert_eq!(offsets, expected);
    let position = consumer.position().expect("positions");
    assert!(
        position
            .elements()
            .iter()
            .all(|element| element.offset() == Offset::Offset(100))
    );
    consumer.pause(&list("t", &[(0, Offset::Invalid)])).expect("a pause");
    consumer.seek("t", 1, Offset::Offset(99), PATIENCE).expect("a seek");
    assert_eq!(payload(&read(&consumer, 1)[0]), "1/99");
}

#[test]
fn watermarks_and_offsets_for_times() {
    // contract 58 and 59
    let broker = filled(2);
    let both = [(0, Offset::Beginning), (1, Offset::Beginning)];
    let consumer = consumer(&broker, "t", &both, &[]);
    for partition in [0, 1] {
        assert_eq!(
            consumer.fetch_watermarks("t", partition, PATIENCE).expect("watermarks"),
            (0, 100)
        );
    }
    for (time, expected) in [
        (0, Offset::Offset(0)),
        (1_000_000, Offset::Offset(0)),
        (1_000_001, Offset::Offset(1)),
        (1_050_000, Offset::Offset(50)),
        (1_099_000, Offset::Offset(99)),
        (1_099_001, Offset::End),
    ] {
        let asked = list("t", &[(0, Offset::Offset(time)), (1, Offset::Offset(time))]);
        let found = consumer.offsets_for_times(asked, PATIENCE).expect("offsets");
        for element in found.elements() {
            assert_eq!(
                element.offset(),
                expected,
                "at {time}, partition {}",
                element.partition()
            );
        }
    }
}

#[test]
fn metadata() {
    let broker = filled(4);
    let consumer = consumer(&broker, "t", &[], &[]);
    let metadata = consumer.fetch_metadata(None, PATIENCE).expect("metadata");
    assert_eq!(metadata.brokers().len(), 1);
    assert_eq!(
        format!("{}:{}", metadata.brokers()[0].host(), metadata.brokers()[0].port()),
        broker.bootstrap()
    );
    assert_eq!(
        metadata
            .topics()
            .iter()
            .map(|t| (t.name(), t.partitions().len()))
            .collect::<Vec<_>>(),
        [("t", 4)]
    );
    let absent = consumer.fetch_metadata(Some("absent"), PATIENCE).expect("metadata");
    assert!(absent.topics()[0].error().is_some(), "consumers create no topics");
}

#[test]
fn a_consumer_survives_restarts() {
    // In the middle of a partition, by kill −9 and by SIGTERM; then it waits at the end for what is new.
    let mut broker = filled(1);
    let small = [
        ("fetch.message.max.bytes", "1000"),
        ("queued.min.messages", "1"),
        ("reconnect.backoff.max.ms", "200"),
    ];
    let consumer = consumer(&broker, "t", &[(0, Offset::Beginning)], &small);
    let mut offsets = Vec::new();
    let mut read_on = |count: usize| {
        while offsets.len() < count {
            match consumer.poll(PATIENCE).expect("a record") {
                Ok(message) => offsets.push(message.offset()),
                // The broker is away; the client connects again by itself.
                Err(KafkaError::MessageConsumption(_) | KafkaError::PartitionEOF(_)) => {}
                Err(e) => panic!("{e}"),
            }
        }
    };
    read_on(30);
    broker.kill9();
    broker.restart();
    read_on(60);
    assert!(broker.terminate().success());
    broker.restart();
    read_on(100);
    RawClient::connect(broker.kafka_addr()).produce_ok("t", 0, BatchSpec::of(&["new"]).encode());
    read_on(101);
    assert_eq!(offsets, (0..101).collect::<Vec<_>>());
}

#[test]
fn many_partitions_in_one_fetch() {
    // contract 55 and 56: librdkafka fetches all partitions of a broker in one request.
    let broker = Broker::start();
    let mut raw = RawClient::connect(broker.kafka_addr());
    raw.create_topic("wide", 500);
    for partition in 0..500 {
        let value = partition.to_string();
        assert_eq!(
            raw.produce("wide", partition, 1, BatchSpec::of(&[&value]).encode())
                .error_code,
            0
        );
    }
    let all: Vec<_> = (0..500).map(|partition| (partition, Offset::Beginning)).collect();
    let mut found: Vec<_> = read(&consumer(&broker, "wide", &all, &[]), 500)
        .iter()
        .map(|message| (message.partition(), payload(message)))
        .collect();
    found.sort_unstable();
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(i, (partition, value))| *partition == i as i32 && *value == i.to_string())
    );
}
