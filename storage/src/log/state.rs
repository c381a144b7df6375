//! A log's state, all of it under one lock, and the pure changes to it.

use super::epochs::Epochs;
use super::producers::Producers;
use crate::config::LogConfig;
use crate::disk::{BLOCK_BYTES, DiskFile};
use crate::error::ErrorKind;
use crate::index::Mark;
use crate::segments::Segment;
use crate::tail::{ChunkPool, LogPosition, Tail};
use protocol::types::Offset;
use std::collections::VecDeque;
use std::sync::Arc;

/// A row for the sparse index at least every so many bytes.
pub(super) const INDEX_INTERVAL_BYTES: u64 = 16 << 10;
/// Appends of at least so many bytes go straight to the segment.
pub(super) const LARGE_APPEND_BYTES: usize = 64 << 10;
/// A tail of small appends is written to the segment when it has reached this.
pub(super) const SMALL_TAIL_BYTES: u64 = 1 << 20;
/// Recent bytes that stay in memory for readers although they are in the segment.
const KEEP_FOR_READERS_BYTES: u64 = 4 << 20;

/// An append that is not durable yet.
pub(super) struct Pending {
    pub(super) end_offset: Offset,
    pub(super) end: LogPosition,
    /// The journal entry that has to be written or synced.
    pub(super) journal_sequence: u64,
    /// Up to here the segment has to be written or synced; 0 when the journal has it all.
    pub(super) segment_upto: LogPosition,
}

/// A batch boundary that is known: for the sparse index and for finding batches in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) offset: Offset,
    pub(super) position: LogPosition,
    /// Largest timestamp of the segment up to and with this batch, and where it was reached.
    pub(super) max_timestamp: i64,
    pub(super) max_timestamp_offset: Offset,
}

/// Whether a log takes appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Open,
    /// A segment write failed; it is tried again, appends are refused meanwhile.
    Refusing(ErrorKind),
    /// Recovery found damage below what had been acknowledged.
    Damaged(String),
    Deleted,
}

/// The segment file being written.
pub(super) struct Writer {
    pub(super) base: Offset,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) allocated: u64,
}

pub(super) struct LogState {
    pub(super) config: LogConfig,
    pub(super) condition: Condition,
    pub(super) leader_epoch: i32,
    pub(super) log_start: Offset,
    pub(super) next_offset: Offset,
    pub(super) written_end: Offset,
    pub(super) durable_end: Offset,
    /// Log position of `durable_end`, resp. of the high watermark's batch boundary.
    pub(super) durable_position: LogPosition,
    pub(super) written_position: LogPosition,
    pub(super) tail: Tail,
    /// Ascending; the last is the active one.
    pub(super) segments: Vec<Segment>,
    /// Segment files hold everything below.
    pub(super) written_to: LogPosition,
    /// … and it is synced.
    pub(super) synced_to: LogPosition,
    /// Segments are asked to be written up to here; a block start.
    pub(super) write_wanted: LogPosition,
    pub(super) sync_wanted: bool,
    pub(super) io_queued: bool,
    pub(super) late_sync_queued: bool,
    pub(super) warm: bool,
    pub(super) writer: Option<Writer>,
    pub(super) pending: VecDeque<Pending>,
    /// How many of `pending`, from the front, are written.
    pub(super) pending_written: usize,
    pub(super) rows: VecDeque<Row>,
    /// How many of `rows`, from the front, the index has.
    pub(super) rows_saved: usize,
    pub(super) producers: Producers,
    pub(super) epochs: Epochs,
    /// The journal group this log was last listed in.
    pub(super) journal_group: u64,
    pub(super) last_append_ms: i64,
    /// Checkpoints in a row that carried this log's bytes along instead of writing them out.
    pub(super) laps_carried: u32,
    /// The mark that the index has.
    pub(super) mark: Option<Mark>,
}

impl LogState {
    /// An empty log that starts at `start`.
    pub(super) fn new(config: LogConfig, leader_epoch: i32, start: Offset) -> LogState {
        let origin = LogPosition(0);
        LogState {
            config,
            condition: Condition::Open,
            leader_epoch,
            log_start: start,
            next_offset: start,
            written_end: start,
            durable_end: start,
            durable_position: origin,
            written_position: origin,
            tail: Tail::new(origin),
            segments: vec![Segment::new(start, origin)],
            written_to: origin,
            synced_to: origin,
            write_wanted: origin,
            sync_wanted: false,
            io_queued: false,
            late_sync_queued: false,
            warm: false,
            writer: None,
            pending: VecDeque::new(),
            pending_written: 0,
            rows: VecDeque::new(),
            rows_saved: 0,
            producers: Producers::default(),
            epochs: Epochs::default(),
            journal_group: 0,
            last_append_ms: 0,
            laps_carried: 0,
            mark: None,
        }
    }

    /// Ends the log here; all of it is durable.
    pub(super) fn set_end(&mut self, end: Offset, position: LogPosition) {
        self.next_offset = end;
        self.written_end = end;
        self.durable_end = end;
        self.durable_position = position;
        self.written_position = position;
    }

    pub(super) fn active(&self) -> &Segment {
        self.segments.last().expect("a log has an active segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has an active segment")
    }

    /// Log position of the active segment's first byte.
    pub(super) fn active_start(&self) -> LogPosition {
        self.active().start.expect("the active segment began in this run")
    }

    /// Epochs of a log never fall (engine rule 11), even when the index is a copy from an earlier time and counts from there.
    pub(super) fn keep_epoch(&mut self) {
        self.leader_epoch = self.leader_epoch.max(self.epochs.latest().unwrap_or(0));
    }

    /// Seals the active segment and begins the next one. The sealed one's last block is filled with zeros.
    pub(super) fn roll(&mut self, pool: &Arc<ChunkPool>) {
        self.tail.pad_to_block(pool);
        self.active_mut().sealed = true;
        self.segments.push(Segment::new(self.next_offset, self.tail.end()));
        self.write_wanted = self.tail.end();
        self.sync_wanted = true;
    }

    /// The index in `segments` of the segment that `position` lies in; a boundary belongs to the later one.
    pub(super) fn segment_at(&self, position: LogPosition) -> usize {
        let after = self
            .segments
            .partition_point(|s| s.start.is_none_or(|start| start <= position));
        after.saturating_sub(1)
    }

    /// Notes a batch of `bytes` in the sparse index when enough bytes have gone by since the last one, or when it is large: what lies
    /// between two rows is either one large batch or little.
    pub(super) fn note_row(&mut self, offset: Offset, position: LogPosition, bytes: u64) {
        let due = match self.rows.back() {
            Some(last) => {
                last.position < self.active_start()
                    || position - last.position >= INDEX_INTERVAL_BYTES
                    || bytes >= INDEX_INTERVAL_BYTES
            }
            None => true,
        };
        if due {
            let active = self.active();
            let (max_timestamp, max_timestamp_offset) = (active.max_timestamp, active.max_timestamp_offset);
            self.rows.push_back(Row {
                offset,
                position,
                max_timestamp,
                max_timestamp_offset,
            });
        }
    }

    /// The last known batch boundary at or below `offset`.
    pub(super) fn row_below(&self, offset: Offset) -> Option<Row> {
        let after = self.rows.partition_point(|row| row.offset <= offset);
        self.rows.get(after.checked_sub(1)?).copied()
    }

    /// Drops rows that the index has and that lie below the tail, the synced position and `upto`; the last such one stays.
    pub(super) fn trim_rows(&mut self, upto: LogPosition) {
        let limit = self.tail.start().min(self.synced_to).min(upto);
        while self.rows_saved > 1 && self.rows.get(1).is_some_and(|row| row.position <= limit) {
            self.rows.pop_front();
            self.rows_saved -= 1;
        }
        if self.rows.capacity() > 64 && self.rows.len() < self.rows.capacity() / 4 {
            self.rows.shrink_to_fit();
        }
    }

    /// Gives up tail memory of what is safely in segments. `quiet`: nothing is kept for readers.
    pub(super) fn trim_tail(&mut self, pool: &Arc<ChunkPool>, quiet: bool) {
        let keep = if quiet || pool.is_tight() {
            0
        } else {
            KEEP_FOR_READERS_BYTES
        };
        let upto = LogPosition(self.tail.end().0.saturating_sub(keep)).min(self.synced_to);
        if upto > self.tail.start() || quiet {
            self.tail.trim(pool, upto, quiet);
        }
    }

    /// Moves written and durable ends on as far as journal and segments have come.
    pub(super) fn advance(&mut self, journal_written: u64, journal_synced: u64) {
        while let Some(next) = self.pending.get(self.pending_written) {
            if next.journal_sequence > journal_written || next.segment_upto > self.written_to {
                break;
            }
            self.written_end = next.end_offset;
            self.written_position = next.end;
            self.pending_written += 1;
        }
        while let Some(next) = self.pending.front() {
            // Contiguous over journal and segment (engine rule 1).
            if next.journal_sequence > journal_synced || next.segment_upto > self.synced_to {
                break;
            }
            assert!(next.end_offset > self.durable_end, "durable ends grow");
            self.durable_end = next.end_offset;
            self.durable_position = next.end;
            if self.pending_written == 0 {
                self.written_end = next.end_offset;
                self.written_position = next.end;
            } else {
                self.pending_written -= 1;
            }
            self.pending.pop_front();
        }
        if self.pending.is_empty() && self.pending.capacity() > 64 {
            self.pending.shrink_to(8);
        }
    }

    /// Whether something is durable in no other place than memory and the journal's unsynced part or an unsynced segment.
    pub(super) fn has_unsynced(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes in segments and tail.
    pub(super) fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }
}

/// How far to preallocate a segment of which `upto` bytes are to be written (engine rule 17): nothing for the first small
/// writes, then steps that grow with the file, never past the segment's limit or half of the free disk.
pub(super) fn preallocation(allocated: u64, upto: u64, segment_bytes: u64, free_bytes: u64) -> u64 {
    const FIRST_STEP: u64 = 1 << 20;
    const LAST_STEP: u64 = 64 << 20;
    let block = BLOCK_BYTES as u64;
    if upto < FIRST_STEP / 2 {
        return upto;
    }
    let step = allocated
        .max(upto)
        .clamp(FIRST_STEP, LAST_STEP)
        .min(free_bytes / 2 / block * block);
    let limit = segment_bytes.div_ceil(block) * block;
    (upto + step).min(limit).max(upto)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preallocation_grows_in_steps() {
        // engine 17
        let gib = 1 << 30;
        assert_eq!(preallocation(0, 8192, gib, 100 * gib), 8192, "none for a quiet log");
        assert_eq!(preallocation(0, 1 << 20, gib, 100 * gib), 2 << 20);
        assert_eq!(preallocation(32 << 20, 33 << 20, gib, 100 * gib), 66 << 20);
        assert_eq!(
            preallocation(900 << 20, 1000 << 20, gib, 100 * gib),
            gib,
            "not past the segment"
        );
        assert_eq!(
            preallocation(32 << 20, 33 << 20, gib, 8 << 20),
            37 << 20,
            "half of the free disk"
        );
        assert_eq!(
            preallocation(gib, gib + 4096, gib, 100 * gib),
            gib + 4096,
            "an oversized batch"
        );
    }
}
