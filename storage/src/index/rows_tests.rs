//! Golden bytes of every row, and bytes that are no rows.

use super::*;

const LOG: LogId = LogId {
    topic_id: TopicId([0xab; 16]),
    partition: 258,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes are these, they decode to the row, and no other length does.
fn golden<T: PartialEq + fmt::Debug>(
    row: &T,
    encoded: &[u8],
    bytes: &str,
    decode: impl Fn(&[u8]) -> Result<T, RowError>,
) {
    assert_eq!(hex(encoded), bytes.replace(' ', ""));
    assert_eq!(decode(encoded).as_ref(), Ok(row));
    for len in 0..encoded.len() {
        assert!(decode(&encoded[..len]).is_err(), "{len} bytes of {}", encoded.len());
    }
    assert_eq!(decode(&[encoded, &[0]].concat()), Err(RowError("the row is too long")));
    for version in [0, 2, 255] {
        let mut other = encoded.to_vec();
        other[0] = version;
        assert_eq!(decode(&other), Err(RowError("the row's version is unknown")));
    }
}

#[test]
fn golden_keys() {
    let prefix = "abababababababababababababababab00000102";
    assert_eq!(hex(&LOG.key()), prefix);
    assert_eq!(hex(&LOG.key_end()), "abababababababababababababababab00000103");
    assert_eq!(
        hex(&LOG.key_with(&offset_suffix(Offset(1000)))),
        format!("{prefix}00000000000003e8")
    );
    assert_eq!(
        hex(&LOG.key_with(&time_suffix(Offset(1000), -2))),
        format!("{prefix}00000000000003e87ffffffffffffffe")
    );
    let key = LOG.key_with(b"rest");
    let (log, suffix) = LogId::split_key(&key).expect("it is a key");
    assert_eq!((log, suffix), (LOG, b"rest".as_slice()));
}

#[test]
fn golden_mark() {
    let mark = Mark {
        segment_base: Offset(1000),
        synced_position: 8192,
        scan_position: 6000,
        scan_offset: Offset(1020),
        log_start: Offset(7),
        end_offset: Offset(1030),
        max_timestamp: -1,
        max_timestamp_offset: Offset(-1),
        first_append_ms: 1_700_000_000_000,
    };
    let bytes = "01 00000000000003e8 0000000000002000 0000000000001770 00000000000003fc 0000000000000007 \
                 0000000000000406 ffffffffffffffff ffffffffffffffff 0000018bcfe56800";
    golden(&mark, &mark.encode(), bytes, Mark::decode);
}

#[test]
fn golden_segment_row() {
    let row = SegmentRow {
        end_offset: Offset(2000),
        bytes: 1 << 30,
        max_timestamp: 5,
        max_timestamp_offset: Offset(1999),
        first_append_ms: 6,
        sealed: true,
    };
    let bytes = "01 00000000000007d0 0000000040000000 0000000000000005 00000000000007cf 0000000000000006 01";
    golden(&row, &row.encode(), bytes, SegmentRow::decode);
    let mut other = row.encode();
    *other.last_mut().expect("it is not empty") = 2;
    assert_eq!(SegmentRow::decode(&other), Err(RowError("sealed is neither 0 nor 1")));
}

#[test]
fn golden_offset_row() {
    let row = OffsetRow {
        segment_base: Offset(1000),
        position: 6000,
    };
    golden(
        &row,
        &row.encode(),
        "01 00000000000003e8 0000000000001770",
        OffsetRow::decode,
    );
}

#[test]
fn golden_time_row() {
    let row = TimeRow {
        offset: Offset(1020),
        position: 6000,
    };
    golden(
        &row,
        &row.encode(),
        "01 00000000000003fc 0000000000001770",
        TimeRow::decode,
    );
}

#[test]
fn golden_producer_row() {
    let batch = ProducerBatch {
        first_sequence: 10,
        last_sequence: 19,
        base_offset: Offset(500),
        last_offset_delta: 9,
        timestamp: 77,
    };
    let row = ProducerRow {
        epoch: 3,
        last_timestamp_ms: 99,
        batches: vec![
            batch,
            ProducerBatch {
                first_sequence: 20,
                last_sequence: i32::MAX,
                ..batch
            },
        ],
        current_txn_first_offset: Some(Offset(400)),
    };
    let bytes = "01 0003 0000000000000063 0000000000000190 02 \
                 0000000a 00000013 00000000000001f4 00000009 000000000000004d \
                 00000014 7fffffff 00000000000001f4 00000009 000000000000004d";
    golden(&row, &row.encode(), bytes, ProducerRow::decode);

    let idle = ProducerRow {
        epoch: -1,
        ..ProducerRow::default()
    };
    golden(
        &idle,
        &idle.encode(),
        "01 ffff 0000000000000000 ffffffffffffffff 00",
        ProducerRow::decode,
    );
}

#[test]
fn golden_epoch_start_and_counter() {
    let start = encode_epoch_start(Offset(1234));
    golden(&Offset(1234), &start, "01 00000000000004d2", decode_epoch_start);
    golden(
        &u64::MAX,
        &encode_counter(u64::MAX),
        "01 ffffffffffffffff",
        decode_counter,
    );
}

#[test]
fn a_producer_row_of_six_batches_is_no_row() {
    let mut row = ProducerRow {
        batches: Vec::new(),
        ..ProducerRow::default()
    };
    let batch = ProducerBatch {
        first_sequence: 0,
        last_sequence: 0,
        base_offset: Offset(0),
        last_offset_delta: 0,
        timestamp: 0,
    };
    row.batches = vec![batch; PRODUCER_BATCHES_MAX];
    let mut bytes = row.encode();
    assert_eq!(ProducerRow::decode(&bytes), Ok(row));
    bytes[19] = 6;
    bytes.extend_from_within(bytes.len() - 28..);
    assert_eq!(
        ProducerRow::decode(&bytes),
        Err(RowError("more batches than a producer's state keeps"))
    );
}

#[test]
fn negative_numbers_are_refused_where_there_are_none() {
    let negative = RowError("an offset is negative");
    let row = OffsetRow {
        segment_base: Offset(-1),
        position: 0,
    };
    assert_eq!(OffsetRow::decode(&row.encode()), Err(negative));
    assert_eq!(TimeRow::decode(&row.encode()), Err(negative));
    assert_eq!(decode_epoch_start(&encode_epoch_start(Offset(i64::MIN))), Err(negative));
    assert_eq!(decode_offset_suffix(&[0xff; 8]), Err(negative));
    assert_eq!(decode_time_suffix(&[0xff; 16]), Err(negative));
    assert!(decode_epoch_suffix(&[0xff; 4]).is_err());
    assert!(LogId::split_key(&[0xff; 20]).is_err());
    let row = ProducerRow {
        current_txn_first_offset: Some(Offset(-2)),
        ..ProducerRow::default()
    };
    assert!(ProducerRow::decode(&row.encode()).is_err());
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for len in (0..40).filter(|len| *len != 20) {
        if len < 20 {
            assert!(LogId::split_key(&vec![0; len]).is_err());
        }
        assert_eq!(decode_offset_suffix(&vec![0; len]).is_ok(), len == 8);
        assert_eq!(decode_time_suffix(&vec![0; len]).is_ok(), len == 16);
        assert_eq!(decode_producer_suffix(&vec![0; len]).is_ok(), len == 8);
        assert_eq!(decode_epoch_suffix(&vec![0; len]).is_ok(), len == 4);
    }
}

#[test]
fn time_keys_sort_as_timestamps_do() {
    let timestamps = [i64::MIN, -1000, -1, 0, 1, 1_700_000_000_000, i64::MAX];
    let keys: Vec<_> = timestamps
        .iter()
        .map(|timestamp| time_suffix(Offset(5), *timestamp))
        .collect();
    assert!(keys.is_sorted());
    for (key, timestamp) in keys.iter().zip(timestamps) {
        assert_eq!(decode_time_suffix(key), Ok((Offset(5), timestamp)));
    }
    assert!(time_suffix(Offset(5), i64::MAX) < time_suffix(Offset(6), i64::MIN));
}

#[test]
fn the_successor_of_a_prefix_ends_its_range() {
    assert_eq!(successor(b"ab"), b"ac");
    assert_eq!(successor(&[7, 0xff, 0xff]), [8]);
    assert!(successor(&[0xff, 0xff]).is_empty());
}

/// Random bytes give errors, never panics; what they decode to encodes to the same bytes.
#[test]
fn random_bytes_do_not_panic() {
    use rand::{Rng, RngExt, SeedableRng};
    let seed = 0x5eed;
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for _ in 0..100_000 {
        let mut bytes = vec![0; random.random_range(0..180)];
        random.fill_bytes(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let same =
            |encoded: Option<Vec<u8>>| assert!(encoded.is_none_or(|encoded| encoded == bytes), "{}", hex(&bytes));
        same(Mark::decode(&bytes).ok().map(|row| row.encode()));
        same(SegmentRow::decode(&bytes).ok().map(|row| row.encode()));
        same(OffsetRow::decode(&bytes).ok().map(|row| row.encode()));
        same(TimeRow::decode(&bytes).ok().map(|row| row.encode()));
        same(ProducerRow::decode(&bytes).ok().map(|row| row.encode()));
        same(decode_epoch_start(&bytes).ok().map(encode_epoch_start));
        same(decode_counter(&bytes).ok().map(encode_counter));
        let _ = LogId::split_key(&bytes);
    }
}
