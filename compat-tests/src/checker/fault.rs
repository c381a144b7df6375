//! What must not be, and how it is told.

use std::fmt;

use super::RecordId;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are named for what they hold, Display says the rest"
)]
pub enum Fault {
    /// Acknowledged, and not there.
    Lost {
        op: u64,
        partition: usize,
        base_offset: i64,
        acks: i16,
        end: i64,
    },
    /// There twice.
    Duplicate {
        record: RecordId,
        partition: usize,
        first: i64,
        second: i64,
    },
    /// Acknowledged at one offset, found at another (or acknowledged again at another).
    Moved {
        op: u64,
        partition: usize,
        acked: i64,
        found: i64,
    },
    /// Two acknowledged batches share offsets.
    OffsetGivenTwice {
        partition: usize,
        base_offset: i64,
        op: u64,
        other: u64,
    },
    /// An offset gave one record and later another.
    Changed {
        partition: usize,
        offset: i64,
        was: RecordId,
        now: RecordId,
    },
    /// Offsets without records.
    Gap {
        partition: usize,
        expected: i64,
        found: i64,
    },
    /// A writer's records are not in the order in which it sent them.
    Reordered {
        partition: usize,
        writer: u64,
        offset: i64,
        sequence: u64,
        after: u64,
    },
    /// An idempotent writer's sequence has a hole in the log.
    SequenceHole {
        partition: usize,
        writer: u64,
        offset: i64,
        expected: u64,
        sequence: u64,
    },
    /// A later answer gave a smaller high watermark, or one below an acks=all acknowledgement.
    HighWatermarkWentBack { partition: usize, was: i64, now: i64 },
    /// A consumer got records at or above the high watermark of the same answer.
    AboveHighWatermark {
        partition: usize,
        high_watermark: i64,
        offset: i64,
    },
    /// Nothing was deleted, and still the log start moved.
    LogStartMoved { partition: usize, log_start_offset: i64 },
    /// What was visible is out of range now.
    Disappeared { partition: usize, fetch_offset: i64 },
    /// A leader epoch, of a batch or of metadata, below an earlier one.
    EpochWentBack { partition: usize, was: i32, now: i32 },
    /// A value that nobody wrote.
    Garbled { partition: usize, offset: i64 },
    /// A record of an operation that was never sent to this partition.
    Foreign {
        partition: usize,
        offset: i64,
        record: RecordId,
    },
    /// A batch that is not one operation's records in their order.
    Torn {
        partition: usize,
        base_offset: i64,
        op: u64,
    },
    /// Refused, and there.
    RefusedButThere {
        op: u64,
        partition: usize,
        offset: i64,
        code: i16,
    },
    /// A retry under the original sequence was refused: the broker forgot what it knew of the producer.
    RetryRefused { op: u64, partition: usize, code: i16 },
    /// A producer id was given out twice.
    ProducerIdReused(i64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
