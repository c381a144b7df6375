//! librdkafka as a producer.

use rdkafka::Offset;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureRecord, Producer};
use streamhouse_compat_tests::records::read_batches;
use streamhouse_compat_tests::{Broker, RawClient};

use super::{CODECS, PATIENCE, consumer, delivered, payload, producer, read, runtime, send};

#[test]
fn every_codec_with_and_without_idempotence() {
    // contract 15: librdkafka really compresses, which it does only when the API table lets it.
    let broker = Broker::start();
    let mut raw = RawClient::connect(broker.kafka_addr());
    for (id, codec) in (0..).zip(CODECS) {
        for idempotence in ["false", "true"] {
            let topic = format!("{codec}-{idempotence}");
            let settings = [
                ("compression.codec", codec),
                ("enable.idempotence", idempotence),
                ("linger.ms", "20"),
                ("acks", "all"),
            ];
            let producer = producer(&broker, &settings);
            let values: Vec<String> = (0..2_000)
                .map(|i| format!("{topic} {i} {}", "abc".repeat(50)))
                .collect();
            runtime().block_on(async {
                let queued: Vec<_> = values
                    .iter()
                    .map(|value| {
                        send(
                            &producer,
                            FutureRecord::to(&topic).partition(0).payload(value.as_bytes()),
                        )
                    })
                    .collect();
                for (expected, future) in (0..).zip(queued) {
                    assert_eq!(delivered(future).await, (0, expected), "{topic}");
                }
            });
            let messages = read(&consumer(&broker, &topic, &[(0, Offset::Beginning)], &[]), values.len());
            assert!(messages.iter().map(payload).eq(values.iter().cloned()), "{topic}");
            let batches = read_batches(&raw.fetch(&topic, 0, 0).records.expect("never null"));
            assert!(
                batches.iter().all(|batch| batch.header.compression_id() == id),
                "{topic} is stored as it was sent"
            );
            assert!(
                batches
                    .iter()
                    .all(|batch| batch.header.has_producer() == (idempotence == "true")),
                "{topic}"
            );
        }
    }
}

#[test]
fn every_acks() {
    let broker = Broker::start();
    for acks in ["0", "1", "all"] {
        let topic = format!("acks-{acks}");
        let producer = producer(&broker, &[("acks", acks)]);
        runtime().block_on(async {
            let queued: Vec<_> = (0..500)
                .map(|i| {
                    let value = i.to_string();
                    send(
                        &producer,
                        FutureRecord::to(&topic).partition(0).payload(value.as_bytes()),
                    )
                })
                .collect();
            for (expected, future) in (0..).zip(queued) {
                let (_, offset) = delivered(future).await;
                // Without acks nobody tells the client its offset.
                assert!(acks == "0" || offset == expected, "acks={acks}: {offset}");
            }
        });
        let messages = read(&consumer(&broker, &topic, &[(0, Offset::Beginning)], &[]), 500);
        assert!(
            messages.iter().map(payload).eq((0..500).map(|i| i.to_string())),
            "acks={acks}"
        );
    }
}

#[test]
fn keys_headers_timestamps_and_nulls_come_back() {
    let broker = Broker::start();
    let producer = producer(&broker, &[]);
    runtime().block_on(async {
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "a",
                value: Some("1"),
            })
            .insert(Header {
                key: "a",
                value: Some("2"),
            })
            .insert(Header {
                key: "null",
                value: None::<&str>,
            })
            .insert(Header {
                key: "",
                value: Some(""),
            });
        let full = FutureRecord::to("t")
            .partition(0)
            .key(&b"key"[..])
            .payload(&b"value"[..])
            .timestamp(1_234_567);
        delivered(send(&producer, full.headers(headers))).await;
        delivered(send(&producer, FutureRecord::to("t").partition(0))).await;
        delivered(send(
            &producer,
            FutureRecord::to("t").partition(0).key(&b""[..]).payload(&b""[..]),
        ))
        .await;
    });
    let messages = read(&consumer(&broker, "t", &[(0, Offset::Beginning)], &[]), 3);
    assert_eq!(
        (messages[0].key(), messages[0].payload()),
        (Some(&b"key"[..]), Some(&b"value"[..]))
    );
    assert_eq!(messages[0].timestamp().to_millis(), Some(1_234_567));
    let headers = messages[0].headers().expect("headers");
    let headers: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
    assert_eq!(
        headers,
        [
            ("a", Some(&b"1"[..])),
            ("a", Some(&b"2"[..])),
            ("null", None),
            ("", Some(&b""[..]))
        ]
    );
    assert_eq!((messages[1].key(), messages[1].payload()), (None, None));
    assert_eq!(
        (messages[2].key(), messages[2].payload()),
        (Some(&b""[..]), Some(&b""[..]))
    );
}

#[test]
fn large_messages() {
    // Of 900 kB by default, of 20 MB where topic and client allow it.
    let broker = Broker::start();
    let mut raw = RawClient::connect(broker.kafka_addr());
    raw.create_topic_with("large", 1, &[("max.message.bytes", "30000000")]);
    raw.create_topic("default", 1);
    let producer = producer(&broker, &[("message.max.bytes", "30000000")]);
    let of_size = |bytes: usize| (0..bytes).map(|i| (i * 31 % 251) as u8).collect::<Vec<u8>>();
    runtime().block_on(async {
        delivered(send(
            &producer,
            FutureRecord::to("default").partition(0).payload(&of_size(900_000)),
        ))
        .await;
        for bytes in [20_000_000, 1, 5_000_000] {
            delivered(send(
                &producer,
                FutureRecord::to("large").partition(0).payload(&of_size(bytes)),
            ))
            .await;
        }
        let too_large = of_size(1_100_000);
        let refused = send(
            &producer,
            FutureRecord::to("default").partition(0).payload(&too_large[..]),
        )
        .await;
        let (error, _) = refused
            .expect("the producer lives")
            .expect_err("above the topic's limit");
        assert_eq!(
            error,
            KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)
        );
    });
    let sizes = |topic: &str, count: usize| -> Vec<usize> {
        let consumer = consumer(
            &broker,
            topic,
            &[(0, Offset::Beginning)],
            &[("fetch.message.max.bytes", "1000000")],
        );
        let messages = read(&consumer, count);
        let payloads = messages.iter().map(|message| message.payload().expect("a value"));
        payloads
            .inspect(|payload| assert!(*payload == of_size(payload.len())))
            .map(<[u8]>::len)
            .collect()
    };
    assert_eq!(sizes("default", 1), [900_000]);
    assert_eq!(sizes("large", 3), [20_000_000, 1, 5_000_000]);
}

#[test]
fn records_spread_over_partitions_and_a_topic_made_on_the_way() {
    let broker = Broker::builder().set("num.partitions", 5).start();
    let producer = producer(&broker, &[("enable.idempotence", "true")]);
    let mut counts = [0usize; 5];
    runtime().block_on(async {
        let queued: Vec<_> = (0..5_000)
            .map(|i| {
                let key = format!("key {i}");
                send(
                    &producer,
                    FutureRecord::to("made-on-the-way")
                        .key(key.as_bytes())
                        .payload(key.as_bytes()),
                )
            })
            .collect();
        for future in queued {
            let (partition, offset) = delivered(future).await;
            assert_eq!(offset, counts[partition as usize] as i64);
            counts[partition as usize] += 1;
        }
    });
    assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
    let all: Vec<_> = (0..5).map(|partition| (partition, Offset::Beginning)).collect();
    let messages = read(&consumer(&broker, "made-on-the-way", &all, &[]), 5_000);
    assert!(messages.iter().all(|message| message.key() == message.payload()));
}

#[test]
fn idempotent_production_goes_on_across_kill_9() {
    // contract 38–43: the client retries what was in flight; nothing is lost, repeated or reordered.
    let mut broker = Broker::start();
    RawClient::connect(broker.kafka_addr()).create_topic("t", 1);
    let settings = [
        ("enable.idempotence", "true"),
        ("message.timeout.ms", "60000"),
        ("reconnect.backoff.max.ms", "200"),
    ];
    let producer = producer(&broker, &settings);
    let mut queued = Vec::new();
    for round in 0..3 {
        for i in 0..3_000 {
            let value = format!("{round}/{i}");
            queued.push((
                send(&producer, FutureRecord::to("t").partition(0).payload(value.as_bytes())),
                value,
            ));
        }
        // Some are acknowledged, the others under way.
        let (first, _) = &mut queued[round * 3_000];
        let _ = runtime().block_on(first);
        broker.kill9();
        broker.restart();
    }
    producer.flush(PATIENCE).expect("everything is delivered");
    let messages = read(&consumer(&broker, "t", &[(0, Offset::Beginning)], &[]), 9_000);
    assert!(
        messages
            .iter()
            .map(payload)
            .eq(queued.iter().map(|(_, value)| value.clone()))
    );
    assert_eq!(RawClient::connect(broker.kafka_addr()).list_offset("t", 0, -1).2, 9_000);
}
