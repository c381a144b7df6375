//! The checkpoint: moves what the journal holds into segments, or forward, so that journal files can be used again.
//!
//! Order (engine rule 7), each step safe to crash after: freeze a journal position → write tails → fdatasync them → carry
//! small rests forward and sync the journal → marks and index rows, synchronous → free the files before the position.

use crate::error::Result;
use crate::index::IndexBatch;
use crate::log::{Frozen, WrittenOut};
use crate::shared::Shared;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// A segment write failed; the journal keeps what it has. To be tried again.
    Postponed,
}

/// Where a test may stop a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckpointStep {
    /// Tails are written and synced.
    TailsSynced,
    /// Small rests are in the journal again, synced.
    Carried,
    /// Marks and rows are in the index.
    Marked,
    /// Files are free.
    Freed,
}

/// Makes a checkpoint up to `last`. With `close`, everything appended so far is included, else what is in files before the
/// current one. Blocks.
pub(crate) fn run(shared: &Shared, close: bool, last: CheckpointStep) -> Result<Outcome> {
    let started = Instant::now();
    let _marks = shared.marks.lock();
    let unmarked = shared.unmarked_bytes.load(Ordering::Relaxed);
    let (file, touched) = shared.journal.freeze(close);
    if touched.is_empty() {
        release(shared, file);
        return Ok(Outcome::Done);
    }
    let frozen = freeze_logs(shared, touched);
    let postponed = |frozen: &[Frozen]| {
        for one in frozen {
            one.put_back();
        }
        shared
            .journal
            .unfreeze(file, frozen.iter().map(|one| one.log.clone()).collect());
        Ok(Outcome::Postponed)
    };
    if !wait_for_segments(shared, &frozen) {
        return postponed(&frozen);
    }
    if last == CheckpointStep::TailsSynced {
        return postponed(&frozen);
    }

    for one in &frozen {
        one.carry();
    }
    if !sync_journal(shared) {
        return postponed(&frozen);
    }
    if last == CheckpointStep::Carried {
        return postponed(&frozen);
    }

    let mut batch = IndexBatch::new();
    for one in &frozen {
        one.add_rows(&mut batch);
    }
    batch.put_checkpoint_sequence(file);
    if let Err(error) = shared.index.write(batch, true) {
        let _ = postponed(&frozen);
        return Err(error);
    }
    if last == CheckpointStep::Marked {
        return Ok(Outcome::Done);
    }
    release(shared, file);
    if close {
        shared.unmarked_bytes.fetch_sub(unmarked, Ordering::Relaxed);
    }
    metrics::histogram!("streamhouse_checkpoint_seconds").record(started.elapsed().as_secs_f64());
    metrics::counter!("streamhouse_checkpoint_partitions_total").increment(frozen.len() as u64);
    Ok(Outcome::Done)
}

fn freeze_logs(shared: &Shared, touched: Vec<std::sync::Arc<crate::log::Log>>) -> Vec<Frozen> {
    // Carried bytes take at most a quarter of the ring (engine rule 16).
    let (used, file_bytes) = shared.journal.usage();
    let ring_bytes = (used.max(shared.nominal_journal_files()) as u64) * file_bytes;
    let mut may_carry = ring_bytes / 4;
    let mut frozen = Vec::with_capacity(touched.len());
    for log in touched {
        let one = log.freeze(may_carry);
        may_carry = may_carry.saturating_sub(one.unsynced_bytes());
        frozen.push(one);
    }
    frozen
}

/// Waits until everything that is to be written out is synced; false when a write failed.
fn wait_for_segments(shared: &Shared, frozen: &[Frozen]) -> bool {
    for one in frozen {
        loop {
            match one.written_out() {
                WrittenOut::Yes => break,
                WrittenOut::Failed => return false,
                WrittenOut::NotYet => {}
            }
            if shared.is_dead() {
                return false;
            }
            if shared.has_threads {
                shared.io.wait_for_progress();
            } else {
                shared.run_io_inline();
            }
        }
    }
    true
}

/// Writes and syncs the journal here; false when that failed.
fn sync_journal(shared: &Shared) -> bool {
    shared.write_journal() && shared.sync_journal()
}

fn release(shared: &Shared, file: u64) {
    shared.journal.release_below(file, shared.nominal_journal_files());
    let (used, _) = shared.journal.usage();
    shared.journal_files_used.store(used as u64, Ordering::Relaxed);
    shared.admission.notify_waiters();
}
