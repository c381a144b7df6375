//! Which segments of a log have had their time (contract 101), or lie below its start (contract 67), and letting go of them.

use super::Log;
use super::state::{Condition, LogState};
use crate::error::Result;
use protocol::types::Offset;

/// What a retention pass over one log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    Nothing,
    /// Some segments can go, but the index does not know of them yet: a checkpoint has to come first.
    NeedsCheckpoint,
    /// Segments below this offset can go.
    Below(Offset),
}

impl Log {
    /// Decides what is past its retention or below the log's start. An active segment of which nothing is to stay is sealed first.
    /// Never past the high watermark.
    pub(crate) fn find_expired(&self, now_ms: i64) -> Expired {
        let mut state = self.state.lock();
        if state.condition != Condition::Open {
            return Expired::Nothing;
        }
        let cutoff = if state.config.retention_ms < 0 || !state.config.delete_policy {
            i64::MIN
        } else {
            now_ms.saturating_sub(state.config.retention_ms)
        };
        let active = state.active();
        let age_ms = if active.max_timestamp >= 0 {
            active.max_timestamp
        } else {
            active.first_append_ms
        };
        let over = age_ms < cutoff || active.end_offset <= state.log_start;
        if active.bytes > 0 && over && !state.has_unsynced() {
            state.roll(&self.shared.pool);
            let queue = self.want_sync(&mut state);
            drop(state);
            if queue {
                self.shared.io.push(self.arc());
            }
            return Expired::NeedsCheckpoint;
        }
        let count = expired_count(&state, cutoff).min(state.segments.len() - 1);
        let high_watermark = self.high_watermark(&state);
        let going = state.segments[..count]
            .iter()
            .take_while(|s| s.end_offset <= high_watermark);
        let Some(last) = going.last() else {
            return Expired::Nothing;
        };
        let below = last.end_offset;
        let saved = state.segments.iter().take_while(|s| s.base < below).all(|s| s.saved);
        if saved && state.mark.is_some_and(|mark| mark.segment_base >= below) {
            Expired::Below(below)
        } else {
            Expired::NeedsCheckpoint
        }
    }

    /// Removes all segments below `below`, the end of a segment. The caller holds the lock for marks.
    pub(crate) fn remove_below(&self, below: Offset) -> Result<usize> {
        let removed = self.advance_log_start(below)?;
        metrics::counter!("streamhouse_retention_segments_total").increment(removed as u64);
        Ok(removed)
    }

    /// Forgets idempotent producers of which nothing was heard since `before_ms` (contract 43).
    pub(crate) fn expire_producers(&self, before_ms: i64) {
        self.state.lock().producers.expire(before_ms);
    }
}

/// How many segments, from the oldest, are below the log's start or past time or size. Size: the oldest goes while the rest is at
/// least the limit.
fn expired_count(state: &LogState, cutoff_ms: i64) -> usize {
    let mut rest = state.size_bytes();
    let limit = if state.config.delete_policy {
        state.config.retention_bytes
    } else {
        -1
    };
    let mut count = 0;
    for segment in &state.segments {
        let age_ms = if segment.max_timestamp >= 0 {
            segment.max_timestamp
        } else {
            segment.first_append_ms
        };
        let too_old = age_ms < cutoff_ms;
        let too_much = limit >= 0 && rest.saturating_sub(segment.bytes) >= limit.cast_unsigned();
        let deleted = segment.end_offset <= state.log_start;
        if !segment.sealed || !(too_old || too_much || deleted) {
            break;
        }
        rest -= segment.bytes;
        count += 1;
    }
    count
}
