//! Appending: the one place where a batch gets its offsets.

use super::Log;
use super::producers::Check;
use super::state::{Condition, LARGE_APPEND_BYTES, LogState, Pending, SMALL_TAIL_BYTES};
use crate::api_types::{Acks, AppendBatch, Appended};
use crate::error::{ErrorKind, Result};
use crate::journal::{EntryKind, NewEntry};
use crate::tail::LogPosition;
use protocol::types::Offset;

/// Bytes at the start of a batch that appending stamps: base offset, length, leader epoch.
const STAMPED_BYTES: usize = 16;

/// What has to be woken after the log's lock is released.
struct Wake {
    io: bool,
    late_sync: bool,
    warm: bool,
}

impl Log {
    /// Fixes the batch's place in the log: checks the producer's sequence, gives offsets, copies into the tail and
    /// queues for the journal or the segment. Does not block on the disk. Nothing has changed when it fails.
    /// A batch larger than `segment_bytes` is the caller's to refuse.
    pub fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended> {
        assert!(
            batch.bytes.len() == batch.header.total_bytes(),
            "an append is exactly one batch"
        );
        let mut acks = self.shared.effective(batch.acks);
        if self.shared.fsyncs() && self.is_watched() {
            // Whoever waits to read is as good a reason to sync as a waiting producer.
            acks = Acks::Durable;
        }
        let mut state = self.state.lock();
        self.check_open(&state)?;
        if let Some(duplicate) = self.check_producer(&state, batch)? {
            drop(state);
            // Its promise may not hold yet (contract 39): ask again on behalf of this request.
            self.shared.journal.request(acks);
            return Ok(duplicate);
        }
        let (appended, wake) = self.place(&mut state, batch, acks);
        drop(state);
        if wake.io {
            self.shared.io.push(self.arc());
        }
        if wake.late_sync {
            self.shared.late_syncs.lock().push(self.arc());
        }
        if wake.warm {
            self.shared.warm.lock().push(self.arc());
        }
        self.shared.journal.request(acks);
        if acks == Acks::Durable && batch.acks == Acks::Written {
            self.shared.journal.request(Acks::Written);
        }
        Ok(appended)
    }

    fn check_open(&self, state: &LogState) -> Result<()> {
        match &state.condition {
            Condition::Open => {}
            Condition::Refusing(kind) => {
                return Err(self.error(
                    *kind,
                    "writing the segment failed; it is tried again, appends are refused meanwhile",
                ));
            }
            Condition::Damaged(what) => return Err(self.error(ErrorKind::Corrupt, what.clone())),
            Condition::Deleted => return Err(self.error(ErrorKind::Deleted, "the topic was deleted")),
        }
        match self.shared.refusal() {
            Some((kind, message)) => Err(self.error(kind, message)),
            None => Ok(()),
        }
    }

    fn check_producer(&self, state: &LogState, batch: &AppendBatch<'_>) -> Result<Option<Appended>> {
        let header = batch.header;
        if !header.has_producer() {
            return Ok(None);
        }
        match state.producers.check(header) {
            Check::Append => Ok(None),
            Check::Duplicate {
                base_offset,
                end_offset,
            } => Ok(Some(Appended {
                base_offset,
                end_offset,
                log_start_offset: state.log_start,
                duplicate: true,
                log_append_time_ms: if header.is_log_append_time() {
                    header.max_timestamp
                } else {
                    -1
                },
            })),
            Check::OutOfOrder { expected } => {
                let (id, got) = (header.producer_id, header.base_sequence);
                let message = format!("producer {id} sent sequence {got} where {expected} follows");
                Err(self.error(ErrorKind::OutOfOrderSequence, message))
            }
            Check::Fenced { current } => {
                let (id, got) = (header.producer_id, header.producer_epoch);
                let message = format!("producer {id} sent epoch {got}, the current one is {current}");
                Err(self.error(ErrorKind::InvalidProducerEpoch, message))
            }
        }
    }

    /// Nothing below can fail: from here on the batch is part of the log.
    fn place(&self, state: &mut LogState, batch: &AppendBatch<'_>, acks: Acks) -> (Appended, Wake) {
        let (header, len) = (batch.header, batch.bytes.len());
        let active = state.active();
        let full = active.bytes + len as u64 > state.config.segment_bytes;
        let old = batch.now_ms.saturating_sub(active.first_append_ms) >= state.config.segment_ms;
        let rolled = active.bytes > 0 && (full || old);
        if rolled {
            state.roll(&self.shared.pool);
        }

        let base_offset = state.next_offset;
        let end_offset = base_offset + (i64::from(header.last_offset_delta) + 1);
        let start = state.tail.end();
        let mut head = [0; STAMPED_BYTES];
        head.copy_from_slice(&batch.bytes[..STAMPED_BYTES]);
        head[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        head[12..].copy_from_slice(&state.leader_epoch.to_be_bytes());
        let body = &batch.bytes[STAMPED_BYTES..];
        state.tail.push_all(&self.shared.pool, &[&head, body]);

        state
            .active_mut()
            .add(len as u64, base_offset, end_offset, header.max_timestamp, batch.now_ms);
        state.note_row(base_offset, start, len as u64);
        state.epochs.assign(state.leader_epoch, base_offset);
        if header.has_producer() {
            state.producers.update(header, base_offset, batch.now_ms);
        }
        state.next_offset = end_offset;
        state.last_append_ms = batch.now_ms;

        let large = len >= LARGE_APPEND_BYTES;
        if large {
            self.queue_large(state, end_offset)
        } else {
            self.queue_small(state, start, end_offset, &[&head, body])
        }
        let wake = self.after_append(state, large, acks, rolled);
        let appended = Appended {
            base_offset,
            end_offset,
            log_start_offset: state.log_start,
            duplicate: false,
            log_append_time_ms: if header.is_log_append_time() {
                header.max_timestamp
            } else {
                -1
            },
        };
        (appended, wake)
    }

    /// A small append is a journal entry; the segment follows.
    fn queue_small(&self, state: &mut LogState, start: LogPosition, end_offset: Offset, pieces: &[&[u8]]) {
        let journal_sequence = self.journal_entry(state, EntryKind::Append, start, end_offset, pieces);
        let end = state.tail.end();
        state.pending.push_back(Pending {
            end_offset,
            end,
            journal_sequence,
            segment_upto: LogPosition(0),
        });
    }

    /// Whole blocks of a large append go straight to the segment; what is left, and the note that recovery
    /// has to look there (engine rule 15), to the journal.
    fn queue_large(&self, state: &mut LogState, end_offset: Offset) {
        let end = state.tail.end();
        let whole = end.block_start();
        let rest = state.tail.slices(whole, end);
        let pieces: Vec<&[u8]> = rest.iter().map(|slice| slice.as_ref()).collect();
        let journal_sequence = self.journal_entry(state, EntryKind::Remainder, whole, end_offset, &pieces);
        state.write_wanted = state.write_wanted.max(whole);
        state.pending.push_back(Pending {
            end_offset,
            end,
            journal_sequence,
            segment_upto: whole,
        });
    }

    /// Puts bytes of the active segment that start at `position` into the journal.
    pub(super) fn journal_entry(
        &self,
        state: &mut LogState,
        kind: EntryKind,
        position: LogPosition,
        end_offset: Offset,
        pieces: &[&[u8]],
    ) -> u64 {
        let segment = &state.segments[state.segment_at(position)];
        let start = segment.start.expect("journaled bytes belong to a segment of this run");
        let entry = NewEntry {
            kind,
            log: self.id,
            segment_base: segment.base,
            position: position - start,
            end_offset,
            pieces,
        };
        self.shared
            .journal
            .append(&entry, &mut state.journal_group, &|| self.arc())
    }

    fn after_append(&self, state: &mut LogState, large: bool, acks: Acks, rolled: bool) -> Wake {
        let unwritten = state.tail.end() - state.written_to;
        let crowded = self.shared.pool.is_tight() && unwritten >= LARGE_APPEND_BYTES as u64;
        if unwritten >= SMALL_TAIL_BYTES || crowded {
            state.write_wanted = state.write_wanted.max(state.tail.end().block_start());
        }
        if large && acks == Acks::Durable {
            state.sync_wanted = true;
        }
        let late_sync = large && acks != Acks::Durable && self.shared.fsyncs() && !state.late_sync_queued;
        state.late_sync_queued |= late_sync;
        let warm = !state.warm && (large || state.tail.is_large());
        state.warm |= warm;
        let work = rolled || state.write_wanted > state.written_to;
        let io = work && !std::mem::replace(&mut state.io_queued, true);
        Wake { io, late_sync, warm }
    }
}
