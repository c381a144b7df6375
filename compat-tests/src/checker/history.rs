//! What clients record: operations, what they did and saw, and who a record is.

use std::fmt;

/// A record's identity, carried in its value: the operation (from 1) and its index in the batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(u64);

const INDEX_BITS: u32 = 16;

impl RecordId {
    /// The record `index` (below 65,536) of operation `op` (above 0).
    pub fn new(op: u64, index: u32) -> RecordId {
        assert!(op > 0 && index < 1 << INDEX_BITS);
        RecordId(op << INDEX_BITS | u64::from(index))
    }

    /// The operation.
    pub fn op(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    /// The index in the operation's batch.
    pub fn index(self) -> u32 {
        (self.0 & ((1 << INDEX_BITS) - 1)) as u32
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op {} record {}", self.op(), self.index())
    }
}

/// One batch that a producer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produce {
    /// Number of the operation, from 1. A retry has the number of the original.
    pub op: u64,
    /// Index of the partition in the history; topics do not matter here.
    pub partition: usize,
    /// Records in the batch.
    pub records: u32,
    /// Who sends: one producer id, or one connection without idempotence. Its sequences order its records.
    pub writer: u64,
    /// Whether the broker deduplicates this writer.
    pub idempotent: bool,
    /// Records that this writer sent to this partition before; never wraps.
    pub sequence: u64,
    /// 0, 1 or −1.
    pub acks: i16,
}

/// A batch as a consumer got it. The offsets of its records are contiguous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// The records' identities; `None` where the value is not one that any producer made.
    pub records: Vec<Option<RecordId>>,
}

/// One thing that a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker gave out this producer id.
    ProducerId(i64),
    /// A batch is about to be sent, for the first time or again.
    ProduceInvoke(Produce),
    /// The batch was acknowledged.
    ProduceOk {
        /// The operation.
        op: u64,
        /// The acknowledged offset of its first record.
        base_offset: i64,
    },
    /// The batch was refused with an error that promises that nothing was appended.
    ProduceRefused {
        /// The operation.
        op: u64,
        /// Kafka's error code.
        code: i16,
    },
    /// No answer, or one that promises nothing: the batch may be there or not.
    ProduceUnknown {
        /// The operation.
        op: u64,
    },
    /// A fetch is about to be sent.
    FetchInvoke {
        /// Who reads. One reader has one fetch of a partition under way at a time.
        reader: u64,
        /// The partition.
        partition: usize,
    },
    /// A fetch was answered.
    FetchOk {
        /// Who reads.
        reader: u64,
        /// The partition.
        partition: usize,
        /// The offset asked for.
        fetch_offset: i64,
        /// The reply's high watermark.
        high_watermark: i64,
        /// The reply's log start.
        log_start_offset: i64,
        /// What came.
        batches: Vec<ReadBatch>,
    },
    /// A fetch of an offset that was visible once was answered with OFFSET_OUT_OF_RANGE.
    FetchOutOfRange {
        /// Who reads.
        reader: u64,
        /// The partition.
        partition: usize,
        /// The offset asked for.
        fetch_offset: i64,
    },
    /// Metadata gave this leader epoch.
    LeaderEpoch {
        /// The partition.
        partition: usize,
        /// The epoch.
        epoch: i32,
    },
    /// While nobody produced, after a restart, a reader read everything from `from` up to the high watermark `end`.
    Verified {
        /// The partition.
        partition: usize,
        /// First offset read.
        from: i64,
        /// The high watermark, exclusive end of what was read.
        end: i64,
    },
}
