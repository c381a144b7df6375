//! Each rule of contract 28–34, broken one at a time.

use super::*;
use crate::records::BatchBuilder;
use crate::types::Offset;

const NOW: i64 = 1_700_000_000_000;
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new(NOW);
    for i in 0..3 {
        builder.push(NOW + i, Some(b"key"), Some(b"value"), &[]);
    }
    builder
}

fn batch_of(codec: Compression) -> Vec<u8> {
    builder().finish(codec, None).expect("builds")
}

/// The sample batch with header bytes changed, and a CRC that matches.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch_of(Compression::None);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch::seal(&mut batch);
    batch
}

fn validate(records: &[u8], rules: &BatchRules) -> Result<ValidBatch<'static>, InvalidBatch> {
    let valid = validate_batch(Some(records), 9, rules, NOW)?;
    Ok(ValidBatch {
        bytes: Cow::Owned(valid.bytes.into_owned()),
        header: valid.header,
    })
}

fn error_of(records: &[u8], rules: &BatchRules) -> ErrorCode {
    validate(records, rules).map_or_else(|invalid| invalid.error, |_| ErrorCode::None)
}

fn full() -> BatchRules {
    BatchRules {
        validation: RecordValidation::Full,
        ..BatchRules::default()
    }
}

#[test]
fn a_good_batch_is_not_touched() {
    for codec in CODECS {
        for rules in [BatchRules::default(), full()] {
            let batch = batch_of(codec);
            let valid = validate_batch(Some(&batch), 9, &rules, NOW).expect("valid");
            assert!(matches!(valid.bytes, Cow::Borrowed(_)), "{}", codec.name());
            assert_eq!(valid.bytes, batch);
            assert_eq!(valid.header, BatchHeader::read(&batch).expect("a header"));
        }
    }
}

#[test]
fn exactly_one_batch_of_magic_2() {
    // contract 28
    let rules = BatchRules::default();
    let batch = batch_of(Compression::None);
    assert_eq!(
        validate_batch(None, 9, &rules, NOW).map_err(|e| e.error),
        Err(ErrorCode::InvalidRecord)
    );
    assert_eq!(error_of(&[], &rules), ErrorCode::InvalidRecord);
    assert_eq!(
        error_of(&[&batch[..], &batch].concat(), &rules),
        ErrorCode::InvalidRecord
    );
    assert_eq!(error_of(&[&batch[..], &[0]].concat(), &rules), ErrorCode::InvalidRecord);
    assert_eq!(error_of(&batch[..batch.len() - 1], &rules), ErrorCode::InvalidRecord);
    assert_eq!(error_of(&changed(16, &[1]), &rules), ErrorCode::InvalidRecord);
    let mut short_length = batch;
    short_length[8..12].copy_from_slice(&40i32.to_be_bytes());
    assert_eq!(error_of(&short_length, &rules), ErrorCode::CorruptMessage);
}

#[test]
fn zstd_needs_version_7() {
    // contract 28
    let batch = batch_of(Compression::Zstd);
    let at = |version| validate_batch(Some(&batch), version, &BatchRules::default(), NOW).map_err(|e| e.error);
    assert_eq!(at(6).err(), Some(ErrorCode::UnsupportedCompressionType));
    assert!(at(7).is_ok());
}

#[test]
fn checks_come_in_kafkas_order() {
    // contract 29: a batch that breaks every rule, mended one rule at a time.
    let mut batch = changed(57, &0i32.to_be_bytes());
    batch[20] ^= 1;
    let mut rules = BatchRules {
        max_message_bytes: batch.len() - 1,
        segment_bytes: 10,
        ..BatchRules::default()
    };
    assert_eq!(error_of(&batch, &rules), ErrorCode::MessageTooLarge);
    rules.max_message_bytes = batch.len();
    assert_eq!(error_of(&batch, &rules), ErrorCode::CorruptMessage);
    batch[20] ^= 1;
    assert_eq!(error_of(&batch, &rules), ErrorCode::InvalidRecord);
    batch[57..61].copy_from_slice(&3i32.to_be_bytes());
    batch::seal(&mut batch);
    assert_eq!(error_of(&batch, &rules), ErrorCode::RecordListTooLarge);
    rules.segment_bytes = batch.len();
    assert_eq!(error_of(&batch, &rules), ErrorCode::None);
}

#[test]
fn a_flipped_bit_is_a_corrupt_message() {
    // contract 29
    let good = batch_of(Compression::None);
    for at in 17..good.len() {
        let mut batch = good.clone();
        batch[at] ^= 0x10;
        assert_eq!(
            error_of(&batch, &BatchRules::default()),
            ErrorCode::CorruptMessage,
            "byte {at}"
        );
    }
}

#[test]
fn headers_that_no_client_sends() {
    // contract 31
    let rules = BatchRules::default();
    assert_eq!(
        error_of(&changed(0, &5i64.to_be_bytes()), &rules),
        ErrorCode::InvalidRecord,
        "base offset"
    );
    assert_eq!(
        error_of(&changed(57, &4i32.to_be_bytes()), &rules),
        ErrorCode::InvalidRecord,
        "count"
    );
    assert_eq!(
        error_of(&changed(23, &[0xff; 4]), &rules),
        ErrorCode::InvalidRecord,
        "last offset delta"
    );
    let none = [
        &(-1i32).to_be_bytes()[..],
        &batch_of(Compression::None)[27..57],
        &0i32.to_be_bytes(),
    ]
    .concat();
    assert_eq!(
        error_of(&changed(23, &none), &rules),
        ErrorCode::InvalidRecord,
        "no records"
    );
    assert_eq!(
        error_of(&changed(21, &[0, 0x20]), &rules),
        ErrorCode::InvalidRecord,
        "control"
    );
    assert_eq!(
        error_of(&changed(21, &[0, 0x40]), &rules),
        ErrorCode::InvalidRecord,
        "delete horizon"
    );
    assert_eq!(
        error_of(&changed(21, &[0, 0x10]), &rules),
        ErrorCode::InvalidRecord,
        "transactional without producer"
    );
    assert_eq!(
        error_of(&changed(43, &9i64.to_be_bytes()), &rules),
        ErrorCode::InvalidRecord,
        "no sequence"
    );
    let idempotent = builder()
        .producer(9, 0, 0)
        .finish(Compression::None, None)
        .expect("builds");
    assert_eq!(error_of(&idempotent, &rules), ErrorCode::None);
}

#[test]
fn unknown_codecs_are_76() {
    // contract 33
    for id in 5..8 {
        assert_eq!(
            error_of(&changed(21, &[0, id]), &BatchRules::default()),
            ErrorCode::UnsupportedCompressionType
        );
    }
}

#[test]
fn uncompressed_records_are_always_walked() {
    // contract 32: the first record's length, one too many and one too few.
    for delta in [2, -2i8] {
        let mut batch = batch_of(Compression::None);
        batch[61] = batch[61].wrapping_add_signed(delta);
        batch::seal(&mut batch);
        assert_eq!(error_of(&batch, &BatchRules::default()), ErrorCode::InvalidRecord);
    }
}

#[test]
fn compressed_records_are_walked_when_asked() {
    // contract 32: a record is missing.
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut batch = batch_of(codec);
        batch[23..27].copy_from_slice(&3i32.to_be_bytes());
        batch[57..61].copy_from_slice(&4i32.to_be_bytes());
        batch::seal(&mut batch);
        assert_eq!(
            error_of(&batch, &BatchRules::default()),
            ErrorCode::None,
            "{}",
            codec.name()
        );
        assert_eq!(error_of(&batch, &full()), ErrorCode::InvalidRecord, "{}", codec.name());
    }
}

#[test]
fn bombs_are_refused() {
    // contract 32
    let mut rules = full();
    rules.decompress.expanded_bytes_max = 1 << 20;
    let mut bomb = BatchBuilder::new(NOW);
    bomb.push(NOW, Some(b"k"), Some(&vec![0; 2 << 20]), &[]);
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let batch = bomb.clone().finish(codec, None).expect("builds");
        assert_eq!(error_of(&batch, &rules), ErrorCode::InvalidRecord, "{}", codec.name());
    }
}

#[test]
fn offsets_with_a_gap_are_refused() {
    let mut gap = BatchBuilder::new(NOW);
    gap.push(NOW, None, Some(b"v"), &[]);
    gap.push_at(2, NOW, None, Some(b"v"), &[]);
    let mut batch = gap.finish(Compression::None, None).expect("builds");
    batch[23..27].copy_from_slice(&1i32.to_be_bytes());
    batch::seal(&mut batch);
    let invalid = validate(&batch, &BatchRules::default()).expect_err("refused");
    assert_eq!(invalid.error, ErrorCode::InvalidRecord);
    assert_eq!(
        invalid.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn all_records_out_of_the_time_range_are_named() {
    // contract 34
    let rules = BatchRules {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 500,
        ..BatchRules::default()
    };
    let mut builder = BatchBuilder::new(NOW);
    for offset_ms in [-1001, -1000, 0, 500, 501] {
        builder.push(NOW + offset_ms, None, Some(b"v"), &[]);
    }
    builder.push(-1, None, Some(b"no timestamp"), &[]);
    for codec in CODECS {
        let batch = builder.clone().finish(codec, None).expect("builds");
        let invalid = validate(&batch, &rules).expect_err("refused");
        assert_eq!(invalid.error, ErrorCode::InvalidTimestamp);
        assert_eq!(
            invalid.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(),
            [0, 4],
            "{}",
            codec.name()
        );
    }
}

#[test]
fn the_header_alone_betrays_a_timestamp_from_the_future() {
    // contract 34: header validation, a compressed batch whose records are not read.
    let mut builder = BatchBuilder::new(NOW);
    builder.push(NOW + 3_600_001, None, Some(b"v"), &[]);
    let batch = builder.finish(Compression::Lz4, None).expect("builds");
    assert_eq!(error_of(&batch, &BatchRules::default()), ErrorCode::InvalidTimestamp);
}

#[test]
fn producers_may_not_send_log_append_time() {
    let mut batch = batch_of(Compression::None);
    batch::stamp_log_append_time(&mut batch, NOW);
    assert_eq!(error_of(&batch, &BatchRules::default()), ErrorCode::InvalidTimestamp);
}

#[test]
fn null_keys_on_a_compacted_topic_are_refused() {
    // contract 34
    let rules = BatchRules {
        compacted: true,
        ..BatchRules::default()
    };
    let mut builder = BatchBuilder::new(NOW);
    builder.push(NOW, Some(b""), Some(b"v"), &[]);
    builder.push(NOW, None, Some(b"v"), &[]);
    for codec in CODECS {
        let batch = builder.clone().finish(codec, None).expect("builds");
        let invalid = validate(&batch, &rules).expect_err("refused");
        assert_eq!(invalid.error, ErrorCode::InvalidRecord);
        assert_eq!(
            invalid.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(),
            [1],
            "{}",
            codec.name()
        );
    }
}

#[test]
fn log_append_time_is_stamped() {
    // contracts 30, 35
    let rules = BatchRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchRules::default()
    };
    let mut old = BatchBuilder::new(5);
    old.push(5, None, Some(b"v"), &[]);
    for codec in CODECS {
        let batch = old.clone().finish(codec, None).expect("builds");
        let valid = validate_batch(Some(&batch), 9, &rules, NOW).expect("valid");
        assert!(valid.header.is_log_append_time() && batch::crc_matches(&valid.bytes));
        assert_eq!((valid.header.max_timestamp, valid.header.base_timestamp), (NOW, 5));
        assert_eq!(valid.bytes[HEADER_BYTES..], batch[HEADER_BYTES..]);
    }
}

#[test]
fn a_wrong_max_timestamp_is_mended() {
    let batch = changed(35, &(NOW + 77).to_be_bytes());
    let valid = validate(&batch, &BatchRules::default()).expect("valid");
    assert_eq!(valid.header.max_timestamp, NOW + 2);
    assert!(batch::crc_matches(&valid.bytes));
}

#[test]
fn the_topics_codec_replaces_the_producers() {
    // contract 33
    for from in CODECS {
        for to in CODECS {
            let rules = BatchRules {
                compression: CompressionType::Codec(to, None),
                ..BatchRules::default()
            };
            let batch = batch_of(from);
            let valid = validate(&batch, &rules).expect("valid");
            assert_eq!(valid.header.compression_id(), to.id());
            assert_eq!(valid.bytes == batch, from == to);
            let plain = records::recompress(&valid.header, &valid.bytes, Compression::None, None, &rules.decompress);
            assert!(
                plain.expect("decompresses") == batch_of(Compression::None),
                "{} to {}",
                from.name(),
                to.name()
            );
        }
    }
}

#[test]
fn the_size_is_checked_again_after_recompression() {
    // contract 33
    let mut builder = BatchBuilder::new(NOW);
    builder.push(NOW, None, Some(&[0; 10_000]), &[]);
    let batch = builder.finish(Compression::Zstd, None).expect("builds");
    let mut rules = BatchRules {
        max_message_bytes: 5_000,
        ..BatchRules::default()
    };
    assert_eq!(error_of(&batch, &rules), ErrorCode::None);
    rules.compression = CompressionType::Codec(Compression::None, None);
    assert_eq!(error_of(&batch, &rules), ErrorCode::MessageTooLarge);
}

#[test]
fn a_recompressed_batch_keeps_its_producer() {
    let compression = CompressionType::Codec(Compression::Lz4, None);
    let rules = BatchRules {
        compression,
        timestamp_type: TimestampType::LogAppendTime,
        ..BatchRules::default()
    };
    let batch = builder()
        .producer(9, 2, 70)
        .attributes(0x10)
        .finish(Compression::Gzip, None)
        .expect("builds");
    let valid = validate(&batch, &rules).expect("valid");
    let header = valid.header;
    assert_eq!(
        (header.producer_id, header.producer_epoch, header.base_sequence),
        (9, 2, 70)
    );
    assert!(header.is_transactional() && header.is_log_append_time());
    assert_eq!((header.base_offset, header.max_timestamp), (Offset(0), NOW));
    assert!(batch::crc_matches(&valid.bytes));
}

#[test]
fn a_million_bad_records_are_not_all_named() {
    let rules = BatchRules {
        compacted: true,
        ..BatchRules::default()
    };
    let mut builder = BatchBuilder::new(NOW);
    for _ in 0..1_000_000 {
        builder.push(NOW, None, None, &[]);
    }
    let batch = builder.finish(Compression::Zstd, None).expect("builds");
    let invalid = validate_batch(Some(&batch), 9, &rules, NOW).expect_err("refused");
    assert_eq!(invalid.error, ErrorCode::InvalidRecord);
    assert_eq!(invalid.record_errors.len(), RECORD_ERRORS_MAX);
}
