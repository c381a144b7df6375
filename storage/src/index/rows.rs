//! The rows of the index: what they hold, and their bytes. Pure: no RocksDB, no IO.
//!
//! Keys of log rows start with the log's 20 bytes (topic id, partition as `i32` big-endian), so that a log's rows are
//! one range in every column family. Numbers in keys are big-endian, so that byte order is number order. Every value
//! starts with a version byte; integers are big-endian. `storage/FORMAT.md` has the table.
//!
//! Decoding never panics: bytes from a disk are not trusted.

use protocol::types::{Offset, TopicId};
use std::fmt;

/// Version byte of every value in this file.
const VERSION: u8 = 1;

/// Bytes of a log's key prefix.
pub(crate) const LOG_KEY_BYTES: usize = 20;

/// A producer's latest batches are kept for recognising retries (contract 38).
pub(crate) const PRODUCER_BATCHES_MAX: usize = 5;

/// One partition of one topic, as the engine knows it: topics that are created again are different logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The topic's identity.
    pub topic_id: TopicId,
    /// Partition number, from 0.
    pub partition: i32,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// How far a log's segments are complete and synced, and what recovery needs to go on from there (engine rule 7).
///
/// Worked example: a segment starts at offset 1000; batches of 3000 bytes each with 10 records were appended, and
/// two blocks (8192 bytes) are synced. The third batch starts at byte 6000 and straddles the synced position, so
/// `scan_position` is 6000 and `scan_offset` 1020: reading whole batches starts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Base offset of the active segment.
    pub(crate) segment_base: Offset,
    /// Bytes of the active segment that are complete and synced; block aligned.
    pub(crate) synced_position: u64,
    /// Where the batch starts that straddles `synced_position` (equal to it when none does).
    pub(crate) scan_position: u64,
    /// Base offset of that batch.
    pub(crate) scan_offset: Offset,
    /// First offset that can be read.
    pub(crate) log_start: Offset,
    /// The log's end that was known at the checkpoint.
    pub(crate) end_offset: Offset,
    /// Largest timestamp in the active segment below `scan_position`; −1 without records.
    pub(crate) max_timestamp: i64,
    /// First offset with that timestamp.
    pub(crate) max_timestamp_offset: Offset,
    /// When the active segment's first record was appended, milliseconds; −1 without records.
    pub(crate) first_append_ms: i64,
}

/// A segment that exists. Its base offset is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    /// Offset after the last record.
    pub(crate) end_offset: Offset,
    /// Logical length: bytes of records, without preallocation and padding.
    pub(crate) bytes: u64,
    /// Largest timestamp; −1 without records.
    pub(crate) max_timestamp: i64,
    /// First offset with that timestamp.
    pub(crate) max_timestamp_offset: Offset,
    /// When the first record was appended, milliseconds.
    pub(crate) first_append_ms: i64,
    /// Nothing is appended any more.
    pub(crate) sealed: bool,
}

/// Where the batch that starts at an offset lies. The offset is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetRow {
    /// Base offset of the segment.
    pub(crate) segment_base: Offset,
    /// First byte of the batch, from the start of the segment.
    pub(crate) position: u64,
}

/// The batch that made a segment's running maximum timestamp what it is. Segment and timestamp are in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRow {
    /// Base offset of the batch.
    pub(crate) offset: Offset,
    /// First byte of the batch, from the start of the segment.
    pub(crate) position: u64,
}

/// What a partition remembers of a producer (contract 38–44). The producer id is in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducerRow {
    /// The producer's epoch.
    pub(crate) epoch: i16,
    /// When it was last heard of, milliseconds.
    pub(crate) last_timestamp_ms: i64,
    /// Its latest batches, oldest first, at most [`PRODUCER_BATCHES_MAX`].
    pub(crate) batches: Vec<ProducerBatch>,
    /// Where its open transaction starts.
    pub(crate) current_txn_first_offset: Option<Offset>,
}

/// One batch of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerBatch {
    /// Sequence of the first record.
    pub(crate) first_sequence: i32,
    /// Sequence of the last record.
    pub(crate) last_sequence: i32,
    /// Offset given to the first record.
    pub(crate) base_offset: Offset,
    /// Offset of the last record less that of the first.
    pub(crate) last_offset_delta: i32,
    /// The batch's largest timestamp, milliseconds.
    pub(crate) timestamp: i64,
}

/// Why bytes are not a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowError(pub(crate) &'static str);

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for RowError {}

impl LogId {
    /// The prefix of all of the log's keys, and the whole key of its mark.
    pub(crate) fn key(&self) -> [u8; LOG_KEY_BYTES] {
        let mut key = [0; LOG_KEY_BYTES];
        key[..16].copy_from_slice(&self.topic_id.0);
        key[16..].copy_from_slice(&self.partition.to_be_bytes());
        key
    }

    /// The prefix followed by `suffix`.
    pub(crate) fn key_with(&self, suffix: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(LOG_KEY_BYTES + suffix.len());
        key.extend_from_slice(&self.key());
        key.extend_from_slice(suffix);
        key
    }

    /// The first key after all of the log's keys, exclusive end of its range.
    pub(crate) fn key_end(&self) -> Vec<u8> {
        successor(&self.key())
    }

    /// Takes the log off the front of a key.
    pub(crate) fn split_key(key: &[u8]) -> Result<(LogId, &[u8]), RowError> {
        let mut fields = Fields { rest: key };
        let topic_id = TopicId(fields.array()?);
        let partition = fields.i32()?;
        if partition < 0 {
            return Err(RowError("the key's partition is negative"));
        }
        Ok((LogId { topic_id, partition }, fields.rest))
    }
}

/// The smallest key that is greater than every key with this prefix. Empty when there is none (all bytes 0xff).
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The key part of an offset (segments, offset index).
pub(crate) fn offset_suffix(offset: Offset) -> [u8; 8] {
    offset.0.to_be_bytes()
}

/// Reads [`offset_suffix`].
pub(crate) fn decode_offset_suffix(suffix: &[u8]) -> Result<Offset, RowError> {
    let mut fields = Fields { rest: suffix };
    let offset = fields.offset()?;
    fields.end()?;
    Ok(offset)
}

/// The key part of a time row. The timestamp's sign bit is turned round, so that byte order is time order.
pub(crate) fn time_suffix(segment_base: Offset, running_max_timestamp: i64) -> [u8; 16] {
    let mut suffix = [0; 16];
    suffix[..8].copy_from_slice(&segment_base.0.to_be_bytes());
    suffix[8..].copy_from_slice(&(running_max_timestamp ^ i64::MIN).to_be_bytes());
    suffix
}

/// Reads [`time_suffix`].
pub(crate) fn decode_time_suffix(suffix: &[u8]) -> Result<(Offset, i64), RowError> {
    let mut fields = Fields { rest: suffix };
    let segment_base = fields.offset()?;
    let timestamp = fields.i64()? ^ i64::MIN;
    fields.end()?;
    Ok((segment_base, timestamp))
}

/// Reads the key part of a producer row: the producer id, big-endian.
pub(crate) fn decode_producer_suffix(suffix: &[u8]) -> Result<i64, RowError> {
    let mut fields = Fields { rest: suffix };
    let producer_id = fields.i64()?;
    fields.end()?;
    Ok(producer_id)
}

/// Reads the key part of an epoch row: the leader epoch, big-endian.
pub(crate) fn decode_epoch_suffix(suffix: &[u8]) -> Result<i32, RowError> {
    let mut fields = Fields { rest: suffix };
    let epoch = fields.i32()?;
    fields.end()?;
    if epoch < 0 {
        return Err(RowError("the key's leader epoch is negative"));
    }
    Ok(epoch)
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = value(73);
        put_i64(&mut out, self.segment_base.0);
        put_u64(&mut out, self.synced_position);
        put_u64(&mut out, self.scan_position);
        put_i64(&mut out, self.scan_offset.0);
        put_i64(&mut out, self.log_start.0);
        put_i64(&mut out, self.end_offset.0);
        put_i64(&mut out, self.max_timestamp);
        put_i64(&mut out, self.max_timestamp_offset.0);
        put_i64(&mut out, self.first_append_ms);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Mark, RowError> {
        let mut fields = Fields::value(bytes)?;
        let mark = Mark {
            segment_base: fields.offset()?,
            synced_position: fields.u64()?,
            scan_position: fields.u64()?,
            scan_offset: fields.offset()?,
            log_start: fields.offset()?,
            end_offset: fields.offset()?,
            max_timestamp: fields.i64()?,
            max_timestamp_offset: Offset(fields.i64()?),
            first_append_ms: fields.i64()?,
        };
        fields.end()?;
        Ok(mark)
    }
}

impl SegmentRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = value(42);
        put_i64(&mut out, self.end_offset.0);
        put_u64(&mut out, self.bytes);
        put_i64(&mut out, self.max_timestamp);
        put_i64(&mut out, self.max_timestamp_offset.0);
        put_i64(&mut out, self.first_append_ms);
        out.push(u8::from(self.sealed));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentRow, RowError> {
        let mut fields = Fields::value(bytes)?;
        let row = SegmentRow {
            end_offset: fields.offset()?,
            bytes: fields.u64()?,
            max_timestamp: fields.i64()?,
            max_timestamp_offset: Offset(fields.i64()?),
            first_append_ms: fields.i64()?,
            sealed: match fields.u8()? {
                0 => false,
                1 => true,
                _ => return Err(RowError("sealed is neither 0 nor 1")),
            },
        };
        fields.end()?;
        Ok(row)
    }
}

impl OffsetRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = value(17);
        put_i64(&mut out, self.segment_base.0);
        put_u64(&mut out, self.position);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<OffsetRow, RowError> {
        let mut fields = Fields::value(bytes)?;
        let row = OffsetRow {
            segment_base: fields.offset()?,
            position: fields.u64()?,
        };
        fields.end()?;
        Ok(row)
    }
}

impl TimeRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = value(17);
        put_i64(&mut out, self.offset.0);
        put_u64(&mut out, self.position);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<TimeRow, RowError> {
        let mut fields = Fields::value(bytes)?;
        let row = TimeRow {
            offset: fields.offset()?,
            position: fields.u64()?,
        };
        fields.end()?;
        Ok(row)
    }
}

impl ProducerRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(
            self.batches.len() <= PRODUCER_BATCHES_MAX,
            "a producer's state keeps {PRODUCER_BATCHES_MAX} batches"
        );
        let mut out = value(20 + 28 * self.batches.len());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        put_i64(&mut out, self.last_timestamp_ms);
        put_i64(&mut out, self.current_txn_first_offset.map_or(-1, |offset| offset.0));
        out.push(self.batches.len() as u8);
        for batch in &self.batches {
            out.extend_from_slice(&batch.first_sequence.to_be_bytes());
            out.extend_from_slice(&batch.last_sequence.to_be_bytes());
            put_i64(&mut out, batch.base_offset.0);
            out.extend_from_slice(&batch.last_offset_delta.to_be_bytes());
            put_i64(&mut out, batch.timestamp);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<ProducerRow, RowError> {
        let mut fields = Fields::value(bytes)?;
        let epoch = i16::from_be_bytes(fields.array()?);
        let last_timestamp_ms = fields.i64()?;
        let current_txn_first_offset = match fields.i64()? {
            -1 => None,
            offset if offset >= 0 => Some(Offset(offset)),
            _ => return Err(RowError("the transaction's first offset is negative")),
        };
        let count = usize::from(fields.u8()?);
        if count > PRODUCER_BATCHES_MAX {
            return Err(RowError("more batches than a producer's state keeps"));
        }
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            batches.push(ProducerBatch {
                first_sequence: fields.i32()?,
                last_sequence: fields.i32()?,
                base_offset: fields.offset()?,
                last_offset_delta: fields.i32()?,
                timestamp: fields.i64()?,
            });
        }
        fields.end()?;
        Ok(ProducerRow {
            epoch,
            last_timestamp_ms,
            batches,
            current_txn_first_offset,
        })
    }
}

/// The value of an epoch row: where the epoch starts.
pub(crate) fn encode_epoch_start(start_offset: Offset) -> Vec<u8> {
    let mut out = value(9);
    put_i64(&mut out, start_offset.0);
    out
}

/// Reads [`encode_epoch_start`].
pub(crate) fn decode_epoch_start(bytes: &[u8]) -> Result<Offset, RowError> {
    let mut fields = Fields::value(bytes)?;
    let start_offset = fields.offset()?;
    fields.end()?;
    Ok(start_offset)
}

/// The value of a counter (checkpoint sequence, next producer id, next leader epoch).
pub(crate) fn encode_counter(counter: u64) -> Vec<u8> {
    let mut out = value(9);
    put_u64(&mut out, counter);
    out
}

/// Reads [`encode_counter`].
pub(crate) fn decode_counter(bytes: &[u8]) -> Result<u64, RowError> {
    let mut fields = Fields::value(bytes)?;
    let counter = fields.u64()?;
    fields.end()?;
    Ok(counter)
}

/// An empty value with its version byte.
fn value(capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.push(VERSION);
    out
}

fn put_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// What is left of a key or value that is being read.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// A value: checks its version byte.
    fn value(bytes: &'a [u8]) -> Result<Fields<'a>, RowError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Fields { rest }),
            Some(_) => Err(RowError("the row's version is unknown")),
            None => Err(RowError("the row is empty")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(RowError("the row is too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, RowError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn i32(&mut self) -> Result<i32, RowError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, RowError> {
        self.array().map(i64::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RowError> {
        self.array().map(u64::from_be_bytes)
    }

    fn offset(&mut self) -> Result<Offset, RowError> {
        match self.i64()? {
            offset if offset >= 0 => Ok(Offset(offset)),
            _ => Err(RowError("an offset is negative")),
        }
    }

    fn end(&self) -> Result<(), RowError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(RowError("the row is too long"))
        }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
