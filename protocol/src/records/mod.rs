//! The records inside a batch: walking their framing, reading them, building batches.
//!
//! [`walk`] reads a batch's records streaming, compressed or not, and keeps neither keys nor values (contract 32).
//! [`RecordIter`] reads decompressed records with keys and values. What makes a record acceptable is `validate.rs`.

mod builder;
mod fast;
mod iter;
mod lookup;
mod source;

pub use builder::{BatchBuilder, encode_batch, recompress};
pub use iter::{Record, RecordIter, decompressed};
pub use lookup::{TimestampAndOffset, first_at_or_after, first_with_max_timestamp};

use crate::batch::BatchHeader;
use crate::compression::{Compression, CompressionError, DecompressLimits, Decompressor};
use source::{Bounded, Buffered, SliceSource, Source, StreamSource};
use std::ops::ControlFlow;

/// Why the bytes of a batch are not its records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The codec refuses them, or they expand too far.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A codec id that Kafka has not assigned (contract 33).
    #[error("compression codec {0} is unknown")]
    UnknownCodec(u8),
    /// The bytes end inside a record.
    #[error("the records end inside a record")]
    Truncated,
    /// A field reaches over the end of its record.
    #[error("a field reaches over the end of its record")]
    RecordOverrun,
    /// A record is longer than its fields.
    #[error("a record has {0} bytes behind its last field")]
    RecordTrailing(usize),
    /// A length below what its field allows.
    #[error("a length in a record is {0}")]
    NegativeLength(i64),
    /// A varint beyond 32 or 64 bits.
    #[error("a varint in a record is longer than its type allows")]
    Varint,
    /// Offset deltas must grow from record to record.
    #[error("offset delta {delta} follows {previous}")]
    OffsetDelta {
        /// The delta before; −1 for the first record.
        previous: i32,
        /// The delta that does not grow.
        delta: i32,
    },
    /// Bytes behind the last record.
    #[error("bytes follow the last record")]
    Trailing,
    /// The header's count is negative.
    #[error("the record count is {0}")]
    Count(i32),
}

/// What the walk tells of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// The record's place in the batch, from 0.
    pub index: i32,
    /// Offset minus base offset.
    pub offset_delta: i32,
    /// Timestamp minus base timestamp, milliseconds.
    pub timestamp_delta: i64,
    /// `None` is a null key.
    pub key_bytes: Option<usize>,
    /// `None` is a null value: a tombstone.
    pub value_bytes: Option<usize>,
}

impl RecordMeta {
    /// The record's timestamp in a batch whose timestamps are the producer's.
    pub fn timestamp(&self, header: &BatchHeader) -> i64 {
        header.base_timestamp.saturating_add(self.timestamp_delta)
    }
}

/// Walks every record of a batch; `body` is what follows its 61 header bytes. Checks that the records are as many as the
/// header says, that each fills exactly its length, that offset deltas grow, and that nothing follows the last one.
///
/// `visit` may break off: the rest is then not looked at, and the result is `Ok`.
pub fn walk(
    header: &BatchHeader,
    body: &[u8],
    limits: &DecompressLimits,
    visit: impl FnMut(RecordMeta) -> ControlFlow<()>,
) -> Result<(), RecordsError> {
    let codec = codec_of(header)?;
    match codec {
        Compression::None => walk_source(&mut SliceSource::new(body), header.record_count, visit),
        _ => {
            let mut source = StreamSource::new(Decompressor::new(codec, body, limits)?);
            walk_source(&mut source, header.record_count, visit)
        }
    }
}

fn codec_of(header: &BatchHeader) -> Result<Compression, RecordsError> {
    let id = header.compression_id();
    Compression::from_id(id).ok_or(RecordsError::UnknownCodec(id))
}

fn walk_source<S: Buffered>(
    source: &mut S,
    record_count: i32,
    mut visit: impl FnMut(RecordMeta) -> ControlFlow<()>,
) -> Result<(), RecordsError> {
    if record_count < 0 {
        return Err(RecordsError::Count(record_count));
    }
    let mut previous = -1;
    for index in 0..record_count {
        let meta = match fast::record(source.available(), index) {
            Some((meta, bytes)) => {
                source.consume(bytes);
                meta
            }
            None => walk_record(source, index)?,
        };
        if meta.offset_delta <= previous {
            return Err(RecordsError::OffsetDelta {
                previous,
                delta: meta.offset_delta,
            });
        }
        previous = meta.offset_delta;
        if visit(meta).is_break() {
            return Ok(());
        }
    }
    if source.is_at_end()? {
        Ok(())
    } else {
        Err(RecordsError::Trailing)
    }
}

/// The careful path: records that reach over a piece's end, and those that are wrong.
#[inline(never)]
fn walk_record<S: Source>(source: &mut S, index: i32) -> Result<RecordMeta, RecordsError> {
    let length = length_of(source.varint()?)?;
    let mut record = Bounded::new(source, length);
    record.byte()?; // attributes, unused so far
    let timestamp_delta = record.varlong()?;
    let offset_delta = record.varint()?;
    let key_bytes = skip_nullable(&mut record)?;
    let value_bytes = skip_nullable(&mut record)?;
    for _ in 0..length_of(record.varint()?)? {
        let key = length_of(record.varint()?)?;
        record.skip(key)?;
        skip_nullable(&mut record)?;
    }
    match record.left() {
        0 => Ok(RecordMeta {
            index,
            offset_delta,
            timestamp_delta,
            key_bytes,
            value_bytes,
        }),
        left => Err(RecordsError::RecordTrailing(left)),
    }
}

fn skip_nullable<S: Source>(record: &mut Bounded<'_, S>) -> Result<Option<usize>, RecordsError> {
    let length = nullable_length_of(record.varint()?)?;
    if let Some(length) = length {
        record.skip(length)?;
    }
    Ok(length)
}

fn length_of(length: i32) -> Result<usize, RecordsError> {
    usize::try_from(length).map_err(|_| RecordsError::NegativeLength(i64::from(length)))
}

fn nullable_length_of(length: i32) -> Result<Option<usize>, RecordsError> {
    if length == -1 {
        Ok(None)
    } else {
        length_of(length).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HEADER_BYTES;

    fn header(record_count: i32) -> BatchHeader {
        let batch = BatchBuilder::new(1000).finish(Compression::None, None).expect("builds");
        BatchHeader {
            record_count,
            ..BatchHeader::read(&batch).expect("a header")
        }
    }

    fn walk_all(record_count: i32, body: &[u8]) -> Result<Vec<RecordMeta>, RecordsError> {
        let mut metas = Vec::new();
        walk(&header(record_count), body, &DecompressLimits::default(), |meta| {
            metas.push(meta);
            ControlFlow::Continue(())
        })?;
        Ok(metas)
    }

    /// attributes, timestamp delta 0, offset delta 0, null key, value "v", no headers
    const RECORD: [u8; 8] = [14, 0, 0, 0, 1, 2, b'v', 0];

    #[test]
    fn a_record_is_walked_to_its_last_byte() {
        let metas = walk_all(1, &RECORD).expect("walks");
        let meta = RecordMeta {
            index: 0,
            offset_delta: 0,
            timestamp_delta: 0,
            key_bytes: None,
            value_bytes: Some(1),
        };
        assert_eq!(metas, [meta]);
    }

    #[test]
    fn every_cut_and_every_surplus_is_an_error() {
        // contract 32
        for cut in 0..RECORD.len() {
            assert_eq!(walk_all(1, &RECORD[..cut]), Err(RecordsError::Truncated), "{cut}");
        }
        assert_eq!(walk_all(1, &[&RECORD[..], &[0]].concat()), Err(RecordsError::Trailing));
        assert_eq!(walk_all(2, &RECORD), Err(RecordsError::Truncated));
        assert_eq!(walk_all(0, &RECORD), Err(RecordsError::Trailing));
        assert_eq!(walk_all(-1, &[]), Err(RecordsError::Count(-1)));
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        // contract 32
        let mut longer = RECORD.to_vec();
        longer[0] = 16;
        longer.push(0);
        assert_eq!(walk_all(1, &longer), Err(RecordsError::RecordTrailing(1)));
        let mut shorter = RECORD;
        shorter[0] = 12;
        assert_eq!(walk_all(1, &shorter), Err(RecordsError::RecordOverrun));
        let mut negative_record = RECORD;
        negative_record[0] = 1;
        assert_eq!(walk_all(1, &negative_record), Err(RecordsError::NegativeLength(-1)));
        let mut negative_value = RECORD;
        negative_value[5] = 3;
        assert_eq!(walk_all(1, &negative_value), Err(RecordsError::NegativeLength(-2)));
        let mut negative_headers = RECORD;
        negative_headers[7] = 1;
        assert_eq!(walk_all(1, &negative_headers), Err(RecordsError::NegativeLength(-1)));
        // A value of 2 GiB in eight bytes.
        assert_eq!(
            walk_all(1, &[30, 0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0]),
            Err(RecordsError::RecordOverrun)
        );
    }

    #[test]
    fn varints_beyond_their_type_are_errors() {
        assert_eq!(walk_all(1, &[0xff, 0xff, 0xff, 0xff, 0x7f]), Err(RecordsError::Varint));
        let mut long_timestamp = vec![30, 0];
        long_timestamp.extend([0xff; 9]);
        long_timestamp.extend([0x02, 0, 1, 1, 0]);
        assert_eq!(walk_all(1, &long_timestamp), Err(RecordsError::Varint));
    }

    #[test]
    fn offset_deltas_must_grow() {
        let twice = [RECORD, RECORD].concat();
        assert_eq!(
            walk_all(2, &twice),
            Err(RecordsError::OffsetDelta { previous: 0, delta: 0 })
        );
    }

    #[test]
    fn the_visitor_may_break_off() {
        let body = [&RECORD[..], &[1, 2, 3]].concat();
        let result = walk(&header(2), &body, &DecompressLimits::default(), |_| {
            ControlFlow::Break(())
        });
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn compressed_records_are_walked_streaming() {
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let mut builder = BatchBuilder::new(1000);
            for i in 0..2000u32 {
                let value = vec![i as u8; (i % 300) as usize];
                builder.push(
                    1000 + i64::from(i),
                    Some(&i.to_be_bytes()),
                    Some(&value),
                    &[("h", None)],
                );
            }
            let batch = builder.finish(codec, None).expect("builds");
            let header = BatchHeader::read(&batch).expect("a header");
            let mut seen = 0;
            walk(&header, &batch[HEADER_BYTES..], &DecompressLimits::default(), |meta| {
                assert_eq!((meta.index, meta.offset_delta), (seen, seen));
                assert_eq!(meta.timestamp(&header), 1000 + i64::from(seen));
                assert_eq!(meta.value_bytes, Some((seen % 300) as usize));
                seen += 1;
                ControlFlow::Continue(())
            })
            .expect("walks");
            assert_eq!(seen, 2000, "{}", codec.name());
        }
    }

    /// The fast path must never accept what the careful one refuses, nor read it otherwise.
    #[test]
    fn the_fast_path_agrees_with_the_careful_one() {
        let mut builder = BatchBuilder::new(0);
        builder.push(
            i64::from(i32::MAX) * 40,
            Some(b"key"),
            Some(&[1; 70]),
            &[("h", None), ("g", Some(b"v"))],
        );
        builder.push(-5, None, None, &[]);
        builder.push(200, Some(&[2; 9000]), Some(b""), &[]);
        let batch = builder.finish(Compression::None, None).expect("builds");
        let good = &batch[HEADER_BYTES..];
        let agree = |bytes: &[u8]| {
            let mut source = SliceSource::new(bytes);
            let careful = walk_record(&mut source, 0)
                .map(|meta| (meta, bytes.len() - source.left()))
                .ok();
            assert_eq!(fast::record(bytes, 0), careful, "{bytes:02x?}");
            careful.map(|(_, used)| used)
        };
        let mut at = 0;
        while at < good.len() {
            let used = agree(&good[at..]).expect("a good record");
            let record = &good[at..at + used.min(120)];
            for i in 0..record.len() {
                agree(&record[..i]);
                for value in [0, 1, 2, 3, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff] {
                    let mut bytes = good[at..at + used].to_vec();
                    bytes[i] = value;
                    agree(&bytes);
                    bytes.insert(i, 0xff);
                    agree(&bytes);
                }
            }
            at += used;
        }
    }
}
