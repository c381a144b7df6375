//! Record batches by hand: [`BatchSpec`] builds right and wrong ones to the byte, [`read_batches`] reads what a fetch
//! returned, decompressed and checked.

use std::io::{Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use protocol::batch::{self, BatchHeader};

/// The codecs of attribute bits 0–2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// Snappy, without framing (what librdkafka sends).
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their ids.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The id in attribute bits 0–2.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The name in `compression.type` and `compression.codec`.
    pub fn name(self) -> &'static str {
        ["none", "gzip", "snappy", "lz4", "zstd"][self as usize]
    }

    /// Compresses the records section of a batch.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => bytes.to_vec(),
            Codec::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                gzip.write_all(bytes)
                    .and_then(|()| gzip.finish())
                    .expect("gzip to memory")
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).expect("snappy to memory"),
            Codec::Lz4 => {
                let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
                lz4.write_all(bytes).expect("lz4 to memory");
                lz4.finish().expect("lz4 to memory")
            }
            Codec::Zstd => zstd::encode_all(bytes, 3).expect("zstd to memory"),
        }
    }

    /// Expands the records section of a batch.
    pub fn decompress(self, bytes: &[u8]) -> Vec<u8> {
        let mut expanded = Vec::new();
        match self {
            Codec::None => expanded.extend_from_slice(bytes),
            Codec::Gzip => {
                flate2::read::GzDecoder::new(bytes)
                    .read_to_end(&mut expanded)
                    .expect("valid gzip");
            }
            Codec::Snappy => expanded = unsnappy(bytes),
            Codec::Lz4 => {
                lz4_flex::frame::FrameDecoder::new(bytes)
                    .read_to_end(&mut expanded)
                    .expect("valid lz4");
            }
            Codec::Zstd => expanded = zstd::decode_all(bytes).expect("valid zstd"),
        }
        expanded
    }
}

/// Snappy comes bare (librdkafka) or in snappy-java's blocks (Java clients).
fn unsnappy(bytes: &[u8]) -> Vec<u8> {
    const JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
    let mut bare = snap::raw::Decoder::new();
    if !bytes.starts_with(JAVA_MAGIC) {
        return bare.decompress_vec(bytes).expect("valid snappy");
    }
    let mut rest = &bytes[16..];
    let mut expanded = Vec::new();
    while let Some((size, tail)) = rest.split_first_chunk::<4>() {
        let (block, tail) = tail.split_at(u32::from_be_bytes(*size) as usize);
        expanded.extend(bare.decompress_vec(block).expect("valid snappy"));
        rest = tail;
    }
    expanded
}

/// A record to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value; `None` is null (a tombstone).
    pub value: Option<Bytes>,
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Headers in order; keys may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl NewRecord {
    /// A record with a value alone.
    pub fn value(value: impl Into<Bytes>) -> NewRecord {
        NewRecord {
            value: Some(value.into()),
            ..NewRecord::default()
        }
    }

    /// A record with key and value.
    pub fn keyed(key: impl Into<Bytes>, value: impl Into<Bytes>) -> NewRecord {
        NewRecord {
            key: Some(key.into()),
            ..NewRecord::value(value)
        }
    }

    /// The same record at another time.
    pub fn at(mut self, timestamp_delta: i64) -> NewRecord {
        self.timestamp_delta = timestamp_delta;
        self
    }
}

/// A batch to write. What is `None` is computed from the records; what is `Some` is written as told, right or wrong.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    /// What producers send is 0.
    pub base_offset: i64,
    /// What producers send is −1.
    pub partition_leader_epoch: i32,
    /// 2.
    pub magic: i8,
    /// Flags above bit 2; the codec is added.
    pub attributes: i16,
    /// How the records are compressed.
    pub codec: Codec,
    /// Milliseconds since 1970 of timestamp delta 0.
    pub base_timestamp: i64,
    /// −1: not idempotent.
    pub producer_id: i64,
    /// −1: not idempotent.
    pub producer_epoch: i16,
    /// −1: not idempotent.
    pub base_sequence: i32,
    /// The records.
    pub records: Vec<NewRecord>,
    /// In place of the number of records − 1.
    pub last_offset_delta: Option<i32>,
    /// In place of the number of records.
    pub record_count: Option<i32>,
    /// In place of the largest record timestamp.
    pub max_timestamp: Option<i64>,
    /// In place of the encoded (not yet compressed) records.
    pub records_bytes: Option<Bytes>,
    /// In place of the real checksum.
    pub crc: Option<u32>,
}

impl BatchSpec {
    /// A batch of these records at time `now_ms()`, not idempotent, not compressed.
    pub fn new(records: Vec<NewRecord>) -> BatchSpec {
        BatchSpec {
            base_offset: 0,
            partition_leader_epoch: -1,
            magic: 2,
            attributes: 0,
            codec: Codec::None,
            base_timestamp: now_ms(),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records,
            last_offset_delta: None,
            record_count: None,
            max_timestamp: None,
            records_bytes: None,
            crc: None,
        }
    }

    /// A batch of records with these values.
    pub fn of(values: &[&str]) -> BatchSpec {
        BatchSpec::new(values.iter().map(|value| NewRecord::value(value.to_string())).collect())
    }

    /// As an idempotent producer sends it.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> BatchSpec {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (producer_id, producer_epoch, base_sequence);
        self
    }

    /// Compressed.
    pub fn codec(mut self, codec: Codec) -> BatchSpec {
        self.codec = codec;
        self
    }

    /// With this base timestamp.
    pub fn base_timestamp(mut self, base_timestamp: i64) -> BatchSpec {
        self.base_timestamp = base_timestamp;
        self
    }

    /// The batch's bytes.
    pub fn encode(&self) -> Bytes {
        let count = i32::try_from(self.records.len()).expect("few records");
        let max_delta = self
            .records
            .iter()
            .map(|record| record.timestamp_delta)
            .max()
            .unwrap_or(0);
        let records = self
            .records_bytes
            .clone()
            .unwrap_or_else(|| encode_records(&self.records));
        let records = self.codec.compress(&records);
        let mut after_crc = BytesMut::new();
        after_crc.put_i16(self.attributes | i16::from(self.codec.id()));
        after_crc.put_i32(self.last_offset_delta.unwrap_or(count - 1));
        after_crc.put_i64(self.base_timestamp);
        after_crc.put_i64(self.max_timestamp.unwrap_or(self.base_timestamp + max_delta));
        after_crc.put_i64(self.producer_id);
        after_crc.put_i16(self.producer_epoch);
        after_crc.put_i32(self.base_sequence);
        after_crc.put_i32(self.record_count.unwrap_or(count));
        after_crc.put_slice(&records);
        let mut bytes = BytesMut::new();
        bytes.put_i64(self.base_offset);
        bytes.put_i32(i32::try_from(after_crc.len() + 9).expect("below 2 GiB"));
        bytes.put_i32(self.partition_leader_epoch);
        bytes.put_i8(self.magic);
        bytes.put_u32(self.crc.unwrap_or_else(|| crc32c::crc32c(&after_crc)));
        bytes.put_slice(&after_crc);
        bytes.freeze()
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("the clock is past 1970").as_millis()).expect("fits for 292 million years")
}

/// The records section, not compressed; offset deltas count from 0.
pub fn encode_records(records: &[NewRecord]) -> Bytes {
    let mut bytes = BytesMut::new();
    for (delta, record) in (0i64..).zip(records) {
        let mut body = BytesMut::new();
        body.put_u8(0);
        put_varint(&mut body, record.timestamp_delta);
        put_varint(&mut body, delta);
        put_nullable(&mut body, record.key.as_deref());
        put_nullable(&mut body, record.value.as_deref());
        put_varint(&mut body, record.headers.len() as i64);
        for (key, value) in &record.headers {
            put_varint(&mut body, key.len() as i64);
            body.put_slice(key.as_bytes());
            put_nullable(&mut body, value.as_deref());
        }
        put_varint(&mut bytes, body.len() as i64);
        bytes.put_slice(&body);
    }
    bytes.freeze()
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.put_slice(bytes);
        }
    }
}

/// A zigzag varint, as records use them.
pub fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// A batch that was read.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    /// Its header.
    pub header: BatchHeader,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its records, expanded.
    pub records: Vec<ReadRecord>,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970, as a client computes it.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl ReadRecord {
    /// The value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// Reads the records field of a fetch reply: batches with a right CRC and record count. A last batch that the byte budget
/// cut off is left out, as clients leave it out.
pub fn read_batches(records: &Bytes) -> Vec<ReadBatch> {
    let mut batches = Vec::new();
    let mut at = 0;
    while at + batch::HEADER_BYTES <= records.len() {
        let header = BatchHeader::read(&records[at..]).unwrap_or_else(|e| panic!("batch at byte {at}: {e}"));
        let end = at + header.total_bytes();
        if end > records.len() {
            break;
        }
        let bytes = records.slice(at..end);
        assert!(
            batch::crc_matches(&bytes),
            "the CRC of the batch at offset {}",
            header.base_offset
        );
        let codec = Codec::ALL[usize::from(header.compression_id())];
        let section = codec.decompress(&bytes[batch::HEADER_BYTES..]);
        let records = read_records(&section, &header);
        batches.push(ReadBatch { header, bytes, records });
        at = end;
    }
    batches
}

/// All records of [`read_batches`], control batches left out.
pub fn read_records_of(records: &Bytes) -> Vec<ReadRecord> {
    let batches = read_batches(records)
        .into_iter()
        .filter(|batch| !batch.header.is_control());
    batches.flat_map(|batch| batch.records).collect()
}

fn read_records(section: &[u8], header: &BatchHeader) -> Vec<ReadRecord> {
    let mut from = section;
    let records = (0..header.record_count)
        .map(|_| read_record(&mut from, header))
        .collect();
    assert!(from.is_empty(), "{} bytes follow the last record", from.len());
    records
}

fn read_record(from: &mut &[u8], header: &BatchHeader) -> ReadRecord {
    let _length = take_varint(from);
    let _attributes = take(from, 1);
    let timestamp_delta = take_varint(from);
    let offset_delta = take_varint(from);
    let key = take_nullable(from);
    let value = take_nullable(from);
    let headers = (0..take_varint(from)).map(|_| {
        let key = take_nullable(from).expect("header keys are not null");
        (String::from_utf8_lossy(&key).into_owned(), take_nullable(from))
    });
    let headers = headers.collect();
    let timestamp = match header.is_log_append_time() {
        true => header.max_timestamp,
        false => header.base_timestamp + timestamp_delta,
    };
    ReadRecord {
        offset: header.base_offset.0 + offset_delta,
        timestamp,
        key,
        value,
        headers,
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, tail) = from.split_at(count);
    *from = tail;
    head
}

fn take_nullable(from: &mut &[u8]) -> Option<Bytes> {
    let length = usize::try_from(take_varint(from)).ok()?;
    Some(Bytes::copy_from_slice(take(from, length)))
}

fn take_varint(from: &mut &[u8]) -> i64 {
    let mut raw = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = take(from, 1)[0];
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    ((raw >> 1) as i64) ^ -((raw & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let record = NewRecord {
            headers: vec![("h".to_owned(), None), ("h".to_owned(), Some(Bytes::from_static(b"x")))],
            ..NewRecord::keyed("key", "value").at(7)
        };
        for codec in Codec::ALL {
            let batch = BatchSpec::new(vec![record.clone(), NewRecord::default()])
                .base_timestamp(1000)
                .codec(codec);
            let read = read_records_of(&batch.encode());
            let expected = ReadRecord {
                offset: 0,
                timestamp: 1007,
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
            };
            assert_eq!(read[0], expected, "{}", codec.name());
            assert_eq!(read[1].offset, 1);
            assert_eq!(read[1].value, None);
        }
    }

    #[test]
    fn varints_of_both_signs() {
        for value in [0, -1, 1, 63, -64, 64, i64::from(i32::MAX), i64::MIN, i64::MAX] {
            let mut bytes = BytesMut::new();
            put_varint(&mut bytes, value);
            let mut from = &bytes[..];
            assert_eq!(take_varint(&mut from), value);
            assert!(from.is_empty());
        }
    }
}
