//! Building batches: from records, or from the records of another batch, byte for byte.

use super::{RecordsError, decompressed};
use crate::batch::{self, BatchHeader, HEADER_BYTES};
use crate::compression::{Compression, CompressionError, DecompressLimits, compress};
use crate::types::Offset;
use bytes::BufMut;

/// Collects records and makes a batch of them, base offset 0, as a producer would.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// `base_timestamp` is what the records' timestamps are written against: usually that of the first record.
    pub fn new(base_timestamp: i64) -> BatchBuilder {
        let header = BatchHeader {
            base_offset: Offset(0),
            batch_length: 0,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: -1,
            base_timestamp,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        BatchBuilder {
            header,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Makes it the batch of an idempotent producer.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = producer_id;
        self.header.producer_epoch = producer_epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Sets attribute bits beside those of the codec, for example 0x10: transactional.
    pub fn attributes(mut self, bits: i16) -> BatchBuilder {
        self.header.attributes = bits;
        self
    }

    /// Appends a record with the next offset delta.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        self.push_at(self.header.last_offset_delta + 1, timestamp, key, value, headers);
    }

    /// Appends a record with an offset delta of its own: it must be larger than the one before.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let record = &mut self.scratch;
        record.clear();
        record.put_u8(0);
        put_varlong(record, timestamp - self.header.base_timestamp);
        put_varlong(record, i64::from(offset_delta));
        put_nullable(record, key);
        put_nullable(record, value);
        put_varlong(record, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(record, Some(key.as_bytes()));
            put_nullable(record, *value);
        }
        put_varlong(&mut self.records, record.len() as i64);
        self.records.extend_from_slice(record);
        self.header.record_count += 1;
        self.header.last_offset_delta = offset_delta;
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
    }

    /// The whole batch.
    pub fn finish(self, codec: Compression, level: Option<i32>) -> Result<Vec<u8>, CompressionError> {
        encode_batch(&self.header, codec, level, &self.records)
    }
}

/// A batch of decompressed `records` under `header`, whose codec bits, length and CRC are made new.
pub fn encode_batch(
    header: &BatchHeader,
    codec: Compression,
    level: Option<i32>,
    records: &[u8],
) -> Result<Vec<u8>, CompressionError> {
    let compressed;
    let body = match codec {
        Compression::None => records,
        _ => {
            compressed = compress(codec, level, records)?;
            &compressed
        }
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    header.with_compression_id(codec.id()).put(&mut bytes);
    bytes.extend_from_slice(body);
    batch::seal(&mut bytes);
    Ok(bytes)
}

/// The same records under another codec; `batch` is a whole batch. The records' bytes stay as they are.
pub fn recompress(
    header: &BatchHeader,
    batch: &[u8],
    codec: Compression,
    level: Option<i32>,
    limits: &DecompressLimits,
) -> Result<Vec<u8>, RecordsError> {
    let records = decompressed(header, batch.get(HEADER_BYTES..).unwrap_or_default(), limits)?;
    Ok(encode_batch(header, codec, level, &records)?)
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_varlong(out, -1),
    }
}

/// A zigzag varint. 32-bit values have the same bytes in both widths.
fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8((zigzag as u8) | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Record, RecordIter};

    fn sample() -> BatchBuilder {
        let mut builder = BatchBuilder::new(1_700_000_000_000).producer(7, 1, 40).attributes(0x10);
        builder.push(
            1_700_000_000_000,
            Some(b"k"),
            Some(b"v"),
            &[("h", Some(b"1")), ("h", None), ("h", Some(b""))],
        );
        builder.push(1_700_000_000_005, None, None, &[]);
        builder.push_at(9, 1_699_999_999_999, Some(b""), Some(&[7; 300]), &[]);
        builder
    }

    #[test]
    fn a_built_batch_reads_back() {
        let bytes = sample().finish(Compression::None, None).expect("builds");
        let header = BatchHeader::read(&bytes).expect("a header");
        assert!(batch::crc_matches(&bytes));
        assert_eq!(header.total_bytes(), bytes.len());
        assert_eq!((header.record_count, header.last_offset_delta), (3, 9));
        assert_eq!(header.max_timestamp, 1_700_000_000_005);
        assert_eq!(
            (header.producer_id, header.producer_epoch, header.base_sequence),
            (7, 1, 40)
        );
        assert!(header.is_transactional());
        let records: Result<Vec<Record<'_>>, _> = RecordIter::new(&bytes[HEADER_BYTES..]).collect();
        let records = records.expect("reads");
        assert_eq!(
            records[0].headers,
            [(&b"h"[..], Some(&b"1"[..])), (b"h", None), (b"h", Some(b""))]
        );
        assert_eq!((records[0].key, records[0].value), (Some(&b"k"[..]), Some(&b"v"[..])));
        assert_eq!(
            (records[1].key, records[1].value, records[1].timestamp_delta),
            (None, None, 5)
        );
        assert_eq!((records[2].offset_delta, records[2].timestamp_delta), (9, -1));
    }

    #[test]
    fn the_codec_reads_what_is_built() {
        use kafka_protocol::records::RecordBatchDecoder;
        let bytes = sample().finish(Compression::None, None).expect("builds");
        let set = RecordBatchDecoder::decode(&mut bytes::Bytes::from(bytes)).expect("decodes");
        assert_eq!(set.records.len(), 3);
        assert_eq!(set.records[2].timestamp, 1_699_999_999_999);
        assert_eq!(set.records[2].offset, 9);
    }

    #[test]
    fn recompression_keeps_the_records_byte_for_byte() {
        let codecs = [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ];
        let plain = sample().finish(Compression::None, None).expect("builds");
        let limits = DecompressLimits::default();
        for from in codecs {
            let batch = sample().finish(from, None).expect("builds");
            let header = BatchHeader::read(&batch).expect("a header");
            for to in codecs {
                let there = recompress(&header, &batch, to, None, &limits).expect("recompresses");
                let there_header = BatchHeader::read(&there).expect("a header");
                assert_eq!(there_header.compression_id(), to.id());
                assert!(batch::crc_matches(&there));
                let back = recompress(&there_header, &there, Compression::None, None, &limits).expect("recompresses");
                assert!(back == plain, "{} to {}", from.name(), to.name());
            }
        }
    }
}
