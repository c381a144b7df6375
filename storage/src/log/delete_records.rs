//! Moving a log's start on, for DeleteRecords (contract 67) and for retention.
//!
//! Order: the mark with the new start and the removal of rows are durable; then readers lose sight of what lies below; then files go.

use super::Log;
use super::state::{Condition, LogState};
use crate::error::{ErrorKind, Result};
use crate::index::{IndexBatch, Mark};
use crate::segments::segment_path;
use protocol::types::Offset;

impl Log {
    /// Makes `before` the first offset that can be read, unless the log starts later already, and returns where it starts. Durable
    /// when it returns. Blocks; costs one synchronous write of the index, or nothing when the start does not move.
    ///
    /// The start may lie inside a batch: that batch is still returned whole to who reads from there on. Segments wholly below the
    /// start go now if the last checkpoint has passed them, else with a later retention pass. `OffsetOutOfRange` above the high
    /// watermark.
    ///
    /// Worked example: segments 0–99, 100–199 and the active one from 200 on, checkpointed at 210. Deleting before 150 removes the first
    /// file; offsets below 150 are out of range; a reader of 150 gets the batch that holds it, perhaps 140–159.
    pub fn delete_records(&self, before: Offset) -> Result<Offset> {
        if let Some(log_start) = self.check_deletion(before)? {
            return Ok(log_start);
        }
        let _marks = self.shared.marks.lock();
        // A topic's deletion removes rows under this lock, after it has marked its logs.
        if let Some(log_start) = self.check_deletion(before)? {
            return Ok(log_start);
        }
        let segments = self.advance_log_start(before)?;
        tracing::debug!(log = %self.id, log_start = %before, segments, "records were deleted");
        Ok(self.state.lock().log_start)
    }

    /// The log start when it need not move; an error when it must not.
    fn check_deletion(&self, before: Offset) -> Result<Option<Offset>> {
        let state = self.state.lock();
        match &state.condition {
            Condition::Open | Condition::Refusing(_) => {}
            Condition::Damaged(what) => return Err(self.error(ErrorKind::Corrupt, what.clone())),
            Condition::Deleted => return Err(self.error(ErrorKind::Deleted, "the topic was deleted")),
        }
        if let Some((ErrorKind::Closed, message)) = self.shared.refusal() {
            return Err(self.error(ErrorKind::Closed, message));
        }
        let high_watermark = self.high_watermark(&state);
        if before > high_watermark {
            let message = format!("records before {before} are to be deleted, the high watermark is {high_watermark}");
            return Err(self.error(ErrorKind::OffsetOutOfRange, message).with_offset(before));
        }
        Ok((before <= state.log_start).then_some(state.log_start))
    }

    /// Moves the log's start on to `start` and removes the segments wholly below that recovery does not need; returns how many.
    /// The caller holds the lock for marks, and has made sure that `start` is not above the high watermark.
    pub(super) fn advance_log_start(&self, start: Offset) -> Result<usize> {
        // The index's own mark: the one in memory may come from a checkpoint whose rows could not be written.
        let saved = self.shared.index.mark(self.id)?;
        let mut batch = IndexBatch::new();
        let mark = {
            let state = self.state.lock();
            let mark = saved.unwrap_or_else(|| first_mark(&state));
            Mark {
                log_start: mark.log_start.max(start),
                ..mark
            }
        };
        let below = self.removable_end(&mark);
        batch.put_mark(self.id, &mark);
        if let Some(below) = below {
            batch.delete_rows_below(self.id, below);
        }
        self.shared.index.write(batch, true)?;
        let gone = self.let_go(&mark, below);
        if let Some(below) = below {
            self.shared.read_files.forget(self.id, below);
            self.shared.boundaries.forget(self.id, below);
        }
        for base in &gone {
            let path = segment_path(self.id, *base);
            if let Err(error) = self.shared.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "removing a segment below the log's start failed; the next start removes it");
            }
        }
        self.wake_watchers();
        Ok(gone.len())
    }

    /// Where the segments end that lie below the mark's log start, that the index has complete, and that recovery would not read.
    fn removable_end(&self, mark: &Mark) -> Option<Offset> {
        let state = self.state.lock();
        let limit = mark.log_start.min(mark.segment_base);
        let going = state
            .segments
            .iter()
            .take_while(|s| s.sealed && s.saved && s.end_offset <= limit);
        going.last().map(|s| s.end_offset)
    }

    /// Takes the durable start over, and forgets the segments below `below`; returns their base offsets.
    fn let_go(&self, mark: &Mark, below: Option<Offset>) -> Vec<Offset> {
        let mut state = self.state.lock();
        state.log_start = state.log_start.max(mark.log_start);
        match state.mark.as_mut() {
            Some(known) => known.log_start = known.log_start.max(mark.log_start),
            None => state.mark = Some(*mark),
        }
        let Some(below) = below else { return Vec::new() };
        let count = state.segments.partition_point(|s| s.base < below);
        let gone = state.segments.drain(..count).map(|s| s.base).collect();
        let rows = state
            .rows
            .partition_point(|row| row.offset < below)
            .min(state.rows_saved);
        state.rows.drain(..rows);
        state.rows_saved -= rows;
        gone
    }
}

/// The mark of a log that no checkpoint has passed yet: nothing of it is known to be synced, and all of it is in the journal or noted
/// there. Recovery reads from its first segment on, as it does without a mark.
fn first_mark(state: &LogState) -> Mark {
    let base = state.segments.first().expect("a log has an active segment").base;
    Mark {
        segment_base: base,
        synced_position: 0,
        scan_position: 0,
        scan_offset: base,
        log_start: state.log_start,
        end_offset: base,
        max_timestamp: -1,
        max_timestamp_offset: base,
        first_append_ms: -1,
    }
}
