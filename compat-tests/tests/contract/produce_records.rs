//! Produce (0): the checks of a batch and its records. Contract 29–34.

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_compat_tests::ops::code;
use streamhouse_compat_tests::records::{
    BatchSpec, Codec, NewRecord, encode_records, now_ms, put_varint, read_batches,
};
use streamhouse_compat_tests::{Broker, RawClient};

use super::{connect, start};

/// Produces to `t`-0 with acks=all and returns the error code.
fn error(client: &mut RawClient, batch: &BatchSpec) -> i16 {
    client.produce("t", 0, -1, batch.encode()).error_code
}

#[test]
fn the_order_of_the_checks() {
    // contract 29: size before CRC before records.
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("max.message.bytes", "2000")]);
    let mut batch = BatchSpec::of(&[&"x".repeat(3000)]);
    batch.crc = Some(1);
    batch.record_count = Some(9);
    assert_eq!(error(&mut client, &batch), code::MESSAGE_TOO_LARGE);
    batch.records = vec![NewRecord::value("x")];
    assert_eq!(error(&mut client, &batch), code::CORRUPT_MESSAGE);
    batch.crc = None;
    assert_eq!(error(&mut client, &batch), code::INVALID_RECORD);
    batch.record_count = None;
    assert_eq!(error(&mut client, &batch), code::NONE);
}

#[test]
fn the_default_size_limit_is_a_mebibyte_and_twelve() {
    // contract 29
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let spec = |bytes: usize| BatchSpec::of(&[&"x".repeat(bytes)]);
    let overhead = spec(1_000_000).encode().len() - 1_000_000;
    let limit = (1 << 20) + 12;
    assert_eq!(spec(limit - overhead).encode().len(), limit);
    assert_eq!(error(&mut client, &spec(limit - overhead)), code::NONE);
    assert_eq!(error(&mut client, &spec(limit - overhead + 1)), code::MESSAGE_TOO_LARGE);
}

#[test]
fn a_batch_must_fit_a_segment() {
    // contract 29
    let (_broker, mut client) = start();
    client.create_topic_with(
        "t",
        1,
        &[("max.message.bytes", "3000000"), ("segment.bytes", "1048576")],
    );
    assert_eq!(
        error(&mut client, &BatchSpec::of(&[&"x".repeat(1_500_000)])),
        code::RECORD_LIST_TOO_LARGE
    );
    assert_eq!(error(&mut client, &BatchSpec::of(&[&"x".repeat(900_000)])), code::NONE);
}

#[test]
fn every_flipped_bit_is_noticed() {
    // contract 29 and 30: behind the CRC any changed byte is 2; the header's own fields have errors of their own.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let good = BatchSpec::of(&["some value"]).encode();
    for at in (17..good.len()).step_by(3) {
        let mut bytes = BytesMut::from(&good[..]);
        bytes[at] ^= 0x40;
        assert_eq!(
            client.produce("t", 0, -1, bytes.freeze()).error_code,
            code::CORRUPT_MESSAGE,
            "byte {at}"
        );
    }
    assert_eq!(client.fetch("t", 0, 0).high_watermark, 0);
}

#[test]
fn offsets_and_epoch_are_stamped_in_place() {
    // contract 30 and 31: the batch comes back as it was sent, apart from base offset and leader epoch.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["before"]).encode());
    let epoch = client.describe_topic("t").partitions[0].leader_epoch;
    for codec in Codec::ALL {
        let record = NewRecord {
            headers: vec![("k".to_owned(), Some(Bytes::from_static(b"1"))), ("k".to_owned(), None)],
            ..NewRecord::keyed("key", "value")
        };
        let sent = BatchSpec::new(vec![record, NewRecord::default().at(-5)])
            .codec(codec)
            .encode();
        let base_offset = client.produce_ok("t", 0, sent.clone());
        let fetched = client.fetch("t", 0, base_offset).records.expect("never null");
        let got = read_batches(&fetched).remove(0);
        assert_eq!(got.header.base_offset.0, base_offset);
        assert_eq!(got.header.partition_leader_epoch, epoch);
        assert_eq!(got.bytes[8..12], sent[8..12], "{}", codec.name());
        assert_eq!(got.bytes[16..], sent[16..], "{}", codec.name());
    }
}

#[test]
fn log_append_time_is_stamped_with_a_new_crc() {
    // contract 30: read_batches checks the CRC.
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now_ms();
    for codec in Codec::ALL {
        let base_offset = client.produce_ok(
            "t",
            0,
            BatchSpec::of(&["a", "b"]).base_timestamp(1).codec(codec).encode(),
        );
        let batch = read_batches(&client.fetch("t", 0, base_offset).records.expect("never null")).remove(0);
        assert!(batch.header.is_log_append_time(), "{}", codec.name());
        assert!(batch.header.max_timestamp >= before, "{}", codec.name());
        assert_eq!(batch.records.len(), 2);
    }
}

#[test]
fn what_a_client_may_not_send() {
    // contract 31
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let good = || BatchSpec::of(&["a", "b"]);
    let wrong: [(&str, BatchSpec); 9] = [
        (
            "base offset",
            BatchSpec {
                base_offset: 5,
                ..good()
            },
        ),
        (
            "last offset delta above",
            BatchSpec {
                last_offset_delta: Some(2),
                ..good()
            },
        ),
        (
            "last offset delta below",
            BatchSpec {
                last_offset_delta: Some(0),
                ..good()
            },
        ),
        (
            "negative last offset delta",
            BatchSpec {
                last_offset_delta: Some(-1),
                record_count: Some(0),
                ..good()
            },
        ),
        (
            "no records",
            BatchSpec {
                records: vec![],
                ..good()
            },
        ),
        (
            "negative count",
            BatchSpec {
                record_count: Some(-1),
                ..good()
            },
        ),
        (
            "control",
            BatchSpec {
                attributes: 0x20,
                ..good()
            },
        ),
        ("producer without sequence", good().producer(5, 0, -1)),
        (
            "huge count",
            BatchSpec {
                record_count: Some(i32::MAX),
                last_offset_delta: Some(i32::MAX - 1),
                ..good()
            },
        ),
    ];
    for (what, batch) in wrong {
        assert_eq!(error(&mut client, &batch), code::INVALID_RECORD, "{what}");
    }
    assert_eq!(error(&mut client, &good()), code::NONE);
    assert_eq!(client.fetch("t", 0, 0).high_watermark, 2);
}

/// One record by hand: the fields in order, so that a test can write any of them wrong.
fn raw_record(length_delta: i64, offset_delta: i64, key_length: i64, value: &[u8], header_count: i64) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(0);
    put_varint(&mut body, 0);
    put_varint(&mut body, offset_delta);
    put_varint(&mut body, key_length);
    put_varint(&mut body, value.len() as i64);
    body.put_slice(value);
    put_varint(&mut body, header_count);
    let mut record = BytesMut::new();
    put_varint(&mut record, body.len() as i64 + length_delta);
    record.put_slice(&body);
    record.freeze()
}

fn wrong_framings() -> Vec<(&'static str, Bytes)> {
    let good = raw_record(0, 0, -1, b"value", 0);
    vec![
        ("record longer than the batch", raw_record(1, 0, -1, b"value", 0)),
        ("record shorter than its fields", raw_record(-1, 0, -1, b"value", 0)),
        ("negative record length", raw_record(-100, 0, -1, b"value", 0)),
        ("offset delta", raw_record(0, 1, -1, b"value", 0)),
        ("key length below −1", raw_record(0, 0, -2, b"value", 0)),
        ("key longer than the record", raw_record(0, 0, 1 << 30, b"value", 0)),
        ("negative header count", raw_record(0, 0, -1, b"value", -1)),
        ("headers that are not there", raw_record(0, 0, -1, b"value", 1 << 30)),
        ("trailing bytes", Bytes::from([&good[..], b"x"].concat())),
        ("no record at all", Bytes::new()),
        ("endless varint", Bytes::from_static(&[0xff; 20])),
    ]
}

#[test]
fn the_framing_of_records_is_walked() {
    // contract 32: of uncompressed batches always.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for (what, records) in wrong_framings() {
        let batch = BatchSpec {
            records_bytes: Some(records),
            ..BatchSpec::of(&["x"])
        };
        assert_eq!(error(&mut client, &batch), code::INVALID_RECORD, "{what}");
    }
    let batch = BatchSpec {
        records_bytes: Some(raw_record(0, 0, -1, b"value", 0)),
        ..BatchSpec::of(&["x"])
    };
    assert_eq!(error(&mut client, &batch), code::NONE);
}

#[test]
fn full_validation_walks_compressed_records_too() {
    // contract 32
    let broker = Broker::builder().set("record.validation", "full").start();
    let mut client = connect(&broker);
    client.create_topic("t", 1);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for (what, records) in wrong_framings() {
            let batch = BatchSpec {
                records_bytes: Some(records),
                ..BatchSpec::of(&["x"])
            }
            .codec(codec);
            assert_eq!(
                error(&mut client, &batch),
                code::INVALID_RECORD,
                "{what}, {}",
                codec.name()
            );
        }
        assert_eq!(
            error(&mut client, &BatchSpec::of(&["x"]).codec(codec)),
            code::NONE,
            "{}",
            codec.name()
        );
    }
}

#[test]
fn a_decompression_bomb_costs_little() {
    // contract 32: 256 MiB of zeros in a batch of some hundred KiB, where records must be read.
    let broker = Broker::builder().set("record.validation", "full").start();
    let mut client = connect(&broker);
    client.create_topic("t", 1);
    client.create_topic_with("recompressed", 1, &[("compression.type", "uncompressed")]);
    let before = broker.rss_peak_bytes();
    let value = Bytes::from(vec![0u8; 256 << 20]);
    let records = encode_records(&[NewRecord::value(value)]);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let batch = BatchSpec {
            records_bytes: Some(records.clone()),
            ..BatchSpec::of(&["x"])
        }
        .codec(codec)
        .encode();
        assert!(batch.len() < 1 << 20, "the batch itself is within the limit");
        for topic in ["t", "recompressed"] {
            let error = client.produce(topic, 0, -1, batch.clone()).error_code;
            assert!(
                [code::INVALID_RECORD, code::MESSAGE_TOO_LARGE].contains(&error),
                "{topic} {}: {error}",
                codec.name()
            );
        }
    }
    let grown = broker.rss_peak_bytes() - before;
    assert!(grown < 200 << 20, "memory grew by {} MiB", grown >> 20);
}

#[test]
fn unknown_codecs() {
    // contract 33
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for id in 5..8 {
        let batch = BatchSpec {
            attributes: id,
            ..BatchSpec::of(&["x"])
        };
        assert_eq!(
            error(&mut client, &batch),
            code::UNSUPPORTED_COMPRESSION_TYPE,
            "codec {id}"
        );
    }
}

#[test]
fn a_topic_may_choose_its_codec() {
    // contract 33: whatever comes in, it is stored in the topic's codec; records stay what they were.
    let (_broker, mut client) = start();
    for stored in Codec::ALL {
        let topic = format!("stored-{}", stored.name());
        let config = if stored == Codec::None {
            "uncompressed"
        } else {
            stored.name()
        };
        client.create_topic_with(&topic, 1, &[("compression.type", config)]);
        for sent in Codec::ALL {
            let record = NewRecord {
                headers: vec![("h".to_owned(), None), ("h".to_owned(), Some(Bytes::from_static(b"v")))],
                ..NewRecord::keyed("key", "value".repeat(100)).at(3)
            };
            let spec = BatchSpec::new(vec![record.clone(), NewRecord::default()])
                .codec(sent)
                .base_timestamp(now_ms());
            let base_offset = client.produce_ok(&topic, 0, spec.encode());
            let batch = read_batches(&client.fetch(&topic, 0, base_offset).records.expect("never null")).remove(0);
            assert_eq!(
                batch.header.compression_id(),
                stored.id(),
                "{} → {}",
                sent.name(),
                stored.name()
            );
            assert_eq!(
                (&batch.records[0].key, &batch.records[0].value),
                (&record.key, &record.value)
            );
            assert_eq!(batch.records[0].headers, record.headers);
            assert_eq!(batch.records[0].timestamp, spec.base_timestamp + 3);
            assert_eq!(
                (batch.records[1].offset, &batch.records[1].value),
                (base_offset + 1, &None)
            );
        }
    }
}

#[test]
fn the_size_is_checked_again_after_recompression() {
    // contract 33
    let (_broker, mut client) = start();
    client.create_topic_with(
        "t",
        1,
        &[("compression.type", "uncompressed"), ("max.message.bytes", "10000")],
    );
    let batch = BatchSpec::of(&[&"x".repeat(50_000)]).codec(Codec::Gzip);
    assert!(batch.encode().len() < 10_000);
    assert_eq!(error(&mut client, &batch), code::MESSAGE_TOO_LARGE);
}

#[test]
fn recompressed_batches_stay_idempotent() {
    // contract 33 and 38
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("compression.type", "gzip")]);
    let (producer_id, epoch) = client.init_producer_id();
    let batch = BatchSpec::of(&["a", "b"]).producer(producer_id, epoch, 0).encode();
    assert_eq!(client.produce_ok("t", 0, batch.clone()), 0);
    assert_eq!(client.produce_ok("t", 0, batch), 0);
    assert_eq!(client.read_all("t", 0, 0).len(), 2);
}

#[test]
fn timestamps_out_of_range() {
    // contract 34
    let (_broker, mut client) = start();
    client.create_topic_with(
        "t",
        1,
        &[
            ("message.timestamp.before.max.ms", "60000"),
            ("message.timestamp.after.max.ms", "60000"),
        ],
    );
    let at = |delta: i64| BatchSpec::of(&["x"]).base_timestamp(now_ms() + delta);
    assert_eq!(error(&mut client, &at(0)), code::NONE);
    assert_eq!(error(&mut client, &at(-30_000)), code::NONE);
    assert_eq!(error(&mut client, &at(30_000)), code::NONE);
    assert_eq!(error(&mut client, &at(-120_000)), code::INVALID_TIMESTAMP);
    assert_eq!(error(&mut client, &at(120_000)), code::INVALID_TIMESTAMP);
}

#[test]
fn by_default_an_hour_in_the_future_is_the_limit() {
    // contract 34
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let at = |time: i64| BatchSpec::of(&["x"]).base_timestamp(time);
    assert_eq!(error(&mut client, &at(now_ms() + 3_500_000)), code::NONE);
    assert_eq!(error(&mut client, &at(now_ms() + 3_700_000)), code::INVALID_TIMESTAMP);
    assert_eq!(error(&mut client, &at(0)), code::NONE, "the past is not limited");
}

#[test]
fn compacted_topics_need_keys_and_all_bad_records_are_named() {
    // contract 34
    let (_broker, mut client) = start();
    client.create_topic_with("t", 1, &[("cleanup.policy", "compact")]);
    let records = vec![
        NewRecord::keyed("k", "v"),
        NewRecord::value("v"),
        NewRecord::keyed("k", "v"),
        NewRecord::value("v"),
    ];
    for codec in [Codec::None, Codec::Gzip] {
        let answer = client.produce("t", 0, -1, BatchSpec::new(records.clone()).codec(codec).encode());
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (code::INVALID_RECORD, -1),
            "{}",
            codec.name()
        );
        let named: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!(named, [1, 3], "{}", codec.name());
        assert!(answer.error_message.is_some());
    }
    assert_eq!(
        client.fetch("t", 0, 0).high_watermark,
        0,
        "one bad record fails the batch"
    );
    assert_eq!(
        error(&mut client, &BatchSpec::new(vec![NewRecord::keyed("k", "v")])),
        code::NONE
    );
}
