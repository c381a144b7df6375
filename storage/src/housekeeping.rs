//! The engine's threads: journal writer, syncer, segment writers, checkpoints, and a housekeeper that ticks.

use crate::checkpoint::{self, CheckpointStep, Outcome};
use crate::journal::SyncerTask;
use crate::log::Log;
use crate::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the housekeeper looks around.
const TICK: Duration = Duration::from_millis(250);
/// A log without appends for so long gives memory back.
const QUIET_MS: i64 = 2_000;
/// Below so much free disk appends are refused, so that checkpoints and metadata still find room.
const FREE_BYTES_MIN: u64 = 32 << 20;

/// Handles of the running threads.
pub(crate) struct Threads {
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Waits for all threads to end; they were told to.
    pub(crate) fn join(self) {
        for handle in self.handles {
            if handle.join().is_err() {
                tracing::error!("a storage thread panicked");
            }
        }
    }
}

fn spawn(name: &str, shared: &Arc<Shared>, body: impl Fn(&Arc<Shared>) + Send + 'static) -> JoinHandle<()> {
    let shared = shared.clone();
    let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10);
    builder
        .spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| body(&shared));
            if std::panic::catch_unwind(run).is_err() {
                // Our own state is not what we think it is: stop before it reaches the disk.
                shared.fatal("a storage thread panicked");
            }
        })
        .expect("the process may start a few threads")
}

/// Starts them.
pub(crate) fn start(shared: &Arc<Shared>) -> Threads {
    let mut handles = vec![
        spawn("journal-write", shared, |shared| {
            while shared.journal.wait_for_write() {
                if !shared.write_journal() {
                    std::thread::sleep(TICK);
                    shared.journal.request(crate::api_types::Acks::Written);
                }
            }
        }),
        spawn("journal-sync", shared, |shared| {
            while shared.journal.wait_for_sync() == SyncerTask::Sync {
                shared.queue_late_syncs();
                shared.write_journal();
                if !shared.sync_journal() {
                    return;
                }
            }
        }),
        spawn("checkpoint", shared, run_checkpoints),
        spawn("housekeeper", shared, |shared| {
            let mut ticks = 0u64;
            while !shared.closed.load(Ordering::Acquire) {
                std::thread::sleep(TICK);
                tick(shared, ticks);
                ticks += 1;
            }
        }),
    ];
    for n in 0..shared.config.io_threads.max(1) {
        handles.push(spawn(&format!("segment-io-{n}"), shared, |shared| {
            while let Some(log) = shared.io.next() {
                log.run_io();
                shared.io.done();
            }
        }));
    }
    Threads { handles }
}

fn run_checkpoints(shared: &Arc<Shared>) {
    loop {
        let wanted = {
            let mut wanted = shared.checkpoint.wanted.lock();
            while !wanted.any && !shared.closed.load(Ordering::Acquire) {
                shared.checkpoint.wakes.wait(&mut wanted);
            }
            std::mem::take(&mut *wanted)
        };
        if shared.closed.load(Ordering::Acquire) {
            return;
        }
        match checkpoint::run(shared, wanted.close, CheckpointStep::Freed) {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Postponed) => std::thread::sleep(TICK),
            Err(error) => {
                tracing::error!(%error, "a checkpoint failed; it is tried again");
                std::thread::sleep(TICK);
            }
        }
    }
}

fn tick(shared: &Arc<Shared>, ticks: u64) {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64);
    let before_ms = if shared.pool.is_tight() {
        i64::MAX
    } else {
        now_ms - QUIET_MS
    };
    cool_down(shared, before_ms);
    shared.retry_failed();
    if shared.journal_failed.load(Ordering::Acquire) != 0 {
        shared.journal.request(crate::api_types::Acks::Written);
    }
    if let Err(error) = shared.journal.prepare_ahead(shared.nominal_journal_files()) {
        tracing::warn!(%error, "preparing a journal file failed; it is made when it is needed");
    }
    if ticks.is_multiple_of(4) {
        watch_free_space(shared);
        metrics::gauge!("streamhouse_tail_memory_bytes").set(shared.pool.used() as f64);
        metrics::gauge!("streamhouse_journal_files_used").set(shared.journal_files_used.load(Ordering::Relaxed) as f64);
    }
    shared.admission.notify_waiters();
}

/// Lets logs without appends since `before_ms` give memory and files back.
pub(crate) fn cool_down(shared: &Shared, before_ms: i64) {
    let warm = std::mem::take(&mut *shared.warm.lock());
    let still: Vec<Arc<Log>> = warm.into_iter().filter(|log| !log.cool_down(before_ms)).collect();
    let idle = still.is_empty();
    shared.warm.lock().extend(still);
    if idle {
        shared.pool.release_spare();
    }
}

fn watch_free_space(shared: &Shared) {
    let Ok(free) = shared.disk.free_bytes() else { return };
    let was_full = shared.disk_full.load(Ordering::Acquire);
    let full = free
        < if was_full {
            FREE_BYTES_MIN + FREE_BYTES_MIN / 4
        } else {
            FREE_BYTES_MIN
        };
    if full != was_full {
        shared.disk_full.store(full, Ordering::Release);
        if full {
            tracing::error!(
                free_bytes = free,
                "the disk is full: appends are refused until there is space again"
            );
        } else {
            tracing::info!(free_bytes = free, "the disk has space again: appends are taken");
        }
    }
}
