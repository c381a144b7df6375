//! A log's part in a checkpoint: what it had when the journal was frozen, how that gets into synced segments or is carried
//! forward, and the index rows that say so (engine rule 7).

use super::Log;
use super::state::{Condition, LogState};
use crate::index::{IndexBatch, Mark, OffsetRow, ProducerRow, TimeRow};
use crate::journal::EntryKind;
use crate::tail::LogPosition;
use protocol::types::Offset;
use std::sync::Arc;

/// A tail of at least so many bytes is written out rather than carried along.
const WRITE_OUT_BYTES: u64 = 64 << 10;
/// Whole blocks are written out after so many checkpoints (engine rule 16).
const LAPS_MAX: u32 = 3;

/// A log as it was when a checkpoint passed by.
pub(crate) struct Frozen {
    pub(crate) log: Arc<Log>,
    /// Where its bytes ended.
    end: LogPosition,
    end_offset: Offset,
    /// Segments have to be synced to here before the journal can let go.
    target: LogPosition,
    producers: Vec<(i64, Option<ProducerRow>)>,
}

/// How far the segment writes of a frozen log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenOut {
    Yes,
    NotYet,
    /// They failed and are tried again; the checkpoint has to wait for a better time.
    Failed,
}

impl Log {
    /// Notes what the log holds now, and has it written out where it is too much to be carried. `may_carry`: how many
    /// bytes the checkpoint can still carry along.
    pub(crate) fn freeze(&self, may_carry: u64) -> Frozen {
        let mut state = self.state.lock();
        let end = state.tail.end();
        let whole = end.block_start();
        let unsynced = end - state.synced_to;
        let sealed_unsynced = state.synced_to < state.active_start();
        let too_much = unsynced >= WRITE_OUT_BYTES || unsynced > may_carry || state.laps_carried >= LAPS_MAX;
        let write_out = sealed_unsynced || (too_much && whole > state.synced_to);
        let mut queue = false;
        let mut target = LogPosition(0);
        if write_out && state.condition != Condition::Deleted {
            target = whole;
            state.write_wanted = state.write_wanted.max(whole);
            queue = self.want_sync(&mut state);
        }
        let frozen = Frozen {
            log: self.arc(),
            end,
            end_offset: state.next_offset,
            target,
            producers: state.producers.take_changes(),
        };
        drop(state);
        if queue {
            self.shared.io.push(self.arc());
        }
        frozen
    }
}

impl Frozen {
    /// Bytes that are not in synced segments: what carrying would cost.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let state = self.log.state.lock();
        self.end.0.saturating_sub(state.synced_to.0.max(self.target.0))
    }

    pub(crate) fn written_out(&self) -> WrittenOut {
        let mut state = self.log.state.lock();
        if state.synced_to >= self.target || state.condition == Condition::Deleted {
            return WrittenOut::Yes;
        }
        if matches!(state.condition, Condition::Refusing(_)) {
            return WrittenOut::Failed;
        }
        // Another sync may have been under way when this one was asked for.
        if self.log.want_sync(&mut state) {
            drop(state);
            self.log.shared.io.push(self.log.clone());
        }
        WrittenOut::NotYet
    }

    /// Puts what is not in synced segments into the journal again; returns the entry's sequence.
    pub(crate) fn carry(&self) -> Option<u64> {
        let mut state = self.log.state.lock();
        if state.condition == Condition::Deleted || state.synced_to >= self.end {
            state.laps_carried = 0;
            return None;
        }
        let from = state.synced_to;
        let whole_blocks = self.end.block_start() > from;
        state.laps_carried = if whole_blocks { state.laps_carried + 1 } else { 0 };
        let slices = state.tail.slices(from, self.end);
        let pieces: Vec<&[u8]> = slices.iter().map(|slice| slice.as_ref()).collect();
        Some(
            self.log
                .journal_entry(&mut state, EntryKind::Carried, from, self.end_offset, &pieces),
        )
    }

    /// Adds mark and rows to `batch`. All of what they describe is durable by now (engine rule 14).
    pub(crate) fn add_rows(&self, batch: &mut IndexBatch) {
        let id = self.log.id;
        let mut state = self.log.state.lock();
        if state.condition == Condition::Deleted {
            return;
        }
        let upto = state
            .rows
            .partition_point(|row| row.position < self.end)
            .max(state.rows_saved);
        for i in state.rows_saved..upto {
            let row = state.rows[i];
            let segment = &state.segments[state.segment_at(row.position)];
            let Some(position) = segment.start.map(|start| row.position - start) else {
                continue;
            };
            batch.put_offset(
                id,
                row.offset,
                &OffsetRow {
                    segment_base: segment.base,
                    position,
                },
            );
            batch.put_time(
                id,
                segment.base,
                row.max_timestamp,
                &TimeRow {
                    offset: row.offset,
                    position,
                },
            );
        }
        state.rows_saved = upto;
        let synced_to = state.synced_to.min(self.end.block_end());
        for segment in state.segments.iter_mut().filter(|s| s.sealed && !s.saved) {
            if segment
                .start
                .is_none_or(|start| (start + segment.bytes).block_end() <= synced_to)
            {
                batch.put_segment(id, segment.base, &segment.row());
                segment.saved = true;
            }
        }
        for (epoch, start) in state.epochs.take_unsaved(self.end_offset) {
            batch.put_epoch(id, epoch, start);
        }
        for (producer_id, row) in &self.producers {
            match row {
                Some(row) => batch.put_producer(id, *producer_id, row),
                None => batch.delete_producer(id, *producer_id),
            }
        }
        let mark = make_mark(&state, self.end, self.end_offset);
        batch.put_mark(id, &mark);
        state.mark = Some(mark);
        state.trim_rows(self.end);
    }

    /// The batch was not written: everything is due again.
    pub(crate) fn put_back(&self) {
        let mut state = self.log.state.lock();
        state.rows_saved = 0;
        state.epochs.put_back();
        state.producers.put_back(&self.producers);
        for segment in state.segments.iter_mut().filter(|s| s.start.is_some()) {
            segment.saved = false;
        }
    }
}

/// "Complete and synced to here", and where reading whole batches starts from there. The log may have gone on since it was frozen: the mark
/// stays below what it had then, because producers and epochs are saved as they were then and recovery replays what follows.
fn make_mark(state: &LogState, frozen_end: LogPosition, end_offset: Offset) -> Mark {
    let synced = state.synced_to.min(frozen_end.block_start());
    let segment = &state.segments[state.segment_at(synced)];
    let start = segment.start.expect("synced bytes end in a segment of this run");
    let after = state.rows.partition_point(|row| row.position <= synced);
    let row = after
        .checked_sub(1)
        .and_then(|i| state.rows.get(i))
        .filter(|row| row.position >= start);
    let (scan_position, scan_offset, max_timestamp, max_timestamp_offset) = match row {
        Some(row) => (
            row.position - start,
            row.offset,
            row.max_timestamp,
            row.max_timestamp_offset,
        ),
        None => (0, segment.base, -1, segment.base),
    };
    assert!(scan_offset <= end_offset, "a mark lies below the end that it names");
    Mark {
        segment_base: segment.base,
        synced_position: synced - start,
        scan_position,
        scan_offset,
        log_start: state.log_start,
        end_offset,
        max_timestamp,
        max_timestamp_offset,
        first_append_ms: segment.first_append_ms,
    }
}
