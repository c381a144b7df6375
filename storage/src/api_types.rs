//! The values that go into and come out of a log.

use crate::disk::DiskFile;
use bytes::Bytes;
use protocol::batch::BatchHeader;
use protocol::types::Offset;
use std::fmt;
use std::sync::Arc;

/// How far an append must have come before it is answered. Ordered: each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acks {
    /// In memory; nothing is promised.
    None,
    /// In the journal or a segment file: survives kill −9.
    Written,
    /// fdatasync'd: survives power loss. (`DurabilityMode::PageCache` makes it the same as `Written`.)
    Durable,
}

/// One batch to append. The bytes were validated: CRC, counts and record framing are right.
#[derive(Clone, Copy, Debug)]
pub struct AppendBatch<'a> {
    /// Exactly one whole batch as the producer sent it; copied, with base offset and leader epoch stamped on the copy.
    pub bytes: &'a [u8],
    /// The batch's header, as read from `bytes`.
    pub header: &'a BatchHeader,
    /// What the producer waits for; decides how soon the journal is written and synced.
    pub acks: Acks,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What an append did. The order is fixed; the promise holds after [`crate::Log::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset given to the first record (of the original, when it was a duplicate).
    pub base_offset: Offset,
    /// Offset after the last record: what to wait for.
    pub end_offset: Offset,
    /// First offset that the log still has.
    pub log_start_offset: Offset,
    /// The batch was a retry of one already appended; nothing was appended (contract 38).
    pub duplicate: bool,
    /// `max_timestamp` of the stored batch when it is `LogAppendTime`, else −1.
    pub log_append_time_ms: i64,
}

/// Where a log begins and ends. `log_start <= last_stable_offset <= high_watermark <= written_end <= log_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    /// First offset that can be read.
    pub log_start: Offset,
    /// First offset of an open transaction, else the high watermark.
    pub last_stable_offset: Offset,
    /// Records below are durable and visible.
    pub high_watermark: Offset,
    /// Records below survive kill −9.
    pub written_end: Offset,
    /// Offset that the next record gets.
    pub log_end: Offset,
}

/// What to read from a log.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// First offset wanted; the whole batch that contains it is returned.
    pub offset: Offset,
    /// Bytes at most (exceeded only by `min_one_batch`). The last batch may be cut short, as Kafka's may.
    pub max_bytes: usize,
    /// Return at least one whole batch when there is one, whatever its size (contract 47).
    pub min_one_batch: bool,
}

/// Records as they lie in memory or in a file; whole batches but for the last.
#[derive(Clone, Debug, Default)]
pub struct ReadResult {
    /// The bytes, in order.
    pub slices: Vec<RecordSlice>,
    /// Sum of the slices' lengths.
    pub bytes: usize,
}

/// A piece of record bytes that nobody changes any more.
#[derive(Clone)]
pub enum RecordSlice {
    /// From the tail.
    Mem(Bytes),
    /// From a segment, for sendfile.
    File {
        /// The segment; stays readable while held, even when retention removes it.
        file: Arc<dyn DiskFile>,
        /// Where the bytes start, from the start of the file.
        position: u64,
        /// How many.
        len: usize,
    },
}

impl RecordSlice {
    /// Bytes in this slice.
    pub fn len(&self) -> usize {
        match self {
            RecordSlice::Mem(bytes) => bytes.len(),
            RecordSlice::File { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for RecordSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordSlice::Mem(bytes) => write!(f, "Mem({} bytes)", bytes.len()),
            RecordSlice::File { position, len, .. } => write!(f, "File({position}, {len} bytes)"),
        }
    }
}

/// What a partition remembers of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its newest epoch.
    pub producer_epoch: i16,
    /// The last sequence of its last batch.
    pub last_sequence: i32,
    /// When its last batch was appended, milliseconds since 1970.
    pub last_timestamp_ms: i64,
    /// The epoch of the transaction coordinator that wrote its last marker; −1 without transactions.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub current_txn_start_offset: Option<Offset>,
}

/// An offset found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp, milliseconds since 1970.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: Offset,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
}

/// The end of a leader epoch (contract 61).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch at or below the one asked about; −1 when there is none.
    pub leader_epoch: i32,
    /// Where the next epoch starts, or the log end for the latest; −1 when unknown.
    pub end_offset: Offset,
}

/// Whether the engine takes appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// All is well.
    Healthy,
    /// The disk is full; appends are refused until it has space again.
    NoSpace,
    /// A write failed; some partitions are fenced.
    WriteError,
}
