//! What all logs of a data directory share: journal, memory, disk, index, the queue of segment writes, the engine's condition.

use crate::api_types::{Acks, EngineState};
use crate::by_segment::BySegment;
use crate::config::{DurabilityMode, EngineConfig};
use crate::disk::Disk;
use crate::error::ErrorKind;
use crate::index::Index;
use crate::journal::Journal;
use crate::log::{Log, Window};
use crate::segments::ReadFiles;
use crate::tail::ChunkPool;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Called with a last message when the process cannot go on: a sync failed (engine rule 4). Does not return in production.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) index: Arc<Index>,
    pub(crate) journal: Journal<Arc<Log>>,
    pub(crate) pool: Arc<ChunkPool>,
    pub(crate) read_files: ReadFiles,
    /// Known batch boundaries of segments that are being read from disk.
    pub(crate) boundaries: BySegment<Arc<Window>>,
    pub(crate) io: IoQueue,
    /// Logs whose segment holds unsynced data of acks 0 and 1.
    pub(crate) late_syncs: Mutex<Vec<Arc<Log>>>,
    /// Logs that hold more memory than a quiet log needs.
    pub(crate) warm: Mutex<Vec<Arc<Log>>>,
    /// Logs whose segment write failed and is tried again.
    pub(crate) failed: Mutex<Vec<Arc<Log>>>,
    pub(crate) admission: Notify,
    pub(crate) disk_full: AtomicBool,
    pub(crate) journal_failed: AtomicU8,
    pub(crate) checkpoint: CheckpointSignal,
    /// Held while marks are made and written: a checkpoint and retention never overtake each other.
    pub(crate) marks: Mutex<()>,
    pub(crate) leader_epoch: i32,
    pub(crate) on_fatal: OnFatal,
    /// Without threads, tests drive the engine step by step.
    pub(crate) has_threads: bool,
    pub(crate) closed: AtomicBool,
    pub(crate) dead: AtomicBool,
    /// Journal bytes used, in files; read by admission without a lock.
    pub(crate) journal_files_used: AtomicU64,
    /// Bytes written to segments since marks were last brought up to date: what recovery would have to read.
    pub(crate) unmarked_bytes: AtomicU64,
    pub(crate) partitions: AtomicU64,
}

/// Marks are brought up to date when segments have grown by so much, so that recovery stays quick.
const UNMARKED_BYTES_MAX: u64 = 512 << 20;

/// Wakes the checkpoint thread.
#[derive(Default)]
pub(crate) struct CheckpointSignal {
    pub(crate) wanted: Mutex<Wanted>,
    pub(crate) wakes: Condvar,
}

/// What the checkpoint thread is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A checkpoint.
    pub(crate) any: bool,
    /// One that includes what went to the journal file being filled.
    pub(crate) close: bool,
}

impl CheckpointSignal {
    pub(crate) fn request(&self, close: bool) {
        let mut wanted = self.wanted.lock();
        wanted.close |= close;
        if !std::mem::replace(&mut wanted.any, true) {
            self.wakes.notify_one();
        }
    }
}

/// Logs with segment writes or syncs to do, each at most once.
#[derive(Default)]
pub(crate) struct IoQueue {
    queue: Mutex<IoState>,
    wakes: Condvar,
    progressed: Condvar,
}

#[derive(Default)]
struct IoState {
    logs: VecDeque<Arc<Log>>,
    running: usize,
    stopping: bool,
}

impl IoQueue {
    pub(crate) fn push(&self, log: Arc<Log>) {
        self.queue.lock().logs.push_back(log);
        self.wakes.notify_one();
    }

    /// The next log; blocks. `None` when the engine stops.
    pub(crate) fn next(&self) -> Option<Arc<Log>> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(log) = queue.logs.pop_front() {
                queue.running += 1;
                return Some(log);
            }
            if queue.stopping {
                return None;
            }
            self.wakes.wait(&mut queue);
        }
    }

    /// The next log, without waiting.
    pub(crate) fn try_next(&self) -> Option<Arc<Log>> {
        let mut queue = self.queue.lock();
        let log = queue.logs.pop_front()?;
        queue.running += 1;
        Some(log)
    }

    /// Says that a log taken from the queue was served.
    pub(crate) fn done(&self) {
        self.queue.lock().running -= 1;
        self.progressed.notify_all();
    }

    /// Blocks until some log was served or a moment has passed.
    pub(crate) fn wait_for_progress(&self) {
        let mut queue = self.queue.lock();
        self.progressed
            .wait_for(&mut queue, std::time::Duration::from_millis(20));
    }

    pub(crate) fn clear(&self) {
        self.queue.lock().logs.clear();
    }

    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.wakes.notify_all();
    }
}

impl Shared {
    /// Whether visibility and acks=all wait for fdatasync.
    pub(crate) fn fsyncs(&self) -> bool {
        self.config.durability == DurabilityMode::Fsync
    }

    /// What `acks` means under the configured durability.
    pub(crate) fn effective(&self, acks: Acks) -> Acks {
        if acks == Acks::Durable && !self.fsyncs() {
            Acks::Written
        } else {
            acks
        }
    }

    /// Why appends are refused at the moment, if they are.
    pub(crate) fn refusal(&self) -> Option<(ErrorKind, &'static str)> {
        if self.closed.load(Ordering::Acquire) {
            return Some((ErrorKind::Closed, "the storage engine is stopping"));
        }
        if self.disk_full.load(Ordering::Acquire) {
            return Some((
                ErrorKind::NoSpace,
                "the disk is full; appends go on when space has been freed",
            ));
        }
        match self.journal_failed.load(Ordering::Acquire) {
            0 => None,
            1 => Some((
                ErrorKind::NoSpace,
                "writing the journal failed for lack of space; it is tried again",
            )),
            _ => Some((ErrorKind::Io, "writing the journal failed; it is tried again")),
        }
    }

    pub(crate) fn state(&self) -> EngineState {
        let failed = self.failed.lock().iter().any(|log| log.is_refusing());
        match self.refusal() {
            Some((ErrorKind::NoSpace, _)) => EngineState::NoSpace,
            Some((ErrorKind::Io, _)) => EngineState::WriteError,
            _ if failed => EngineState::WriteError,
            _ => EngineState::Healthy,
        }
    }

    /// Ends the process' use of this data directory: what was synced is known, what was not is not (engine rule 4).
    pub(crate) fn fatal(&self, message: &str) {
        self.dead.store(true, Ordering::Release);
        self.closed.store(true, Ordering::Release);
        self.journal.stop();
        self.io.stop();
        (self.on_fatal)(message);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Writes what the journal has queued and tells the logs; false when writing failed (it is tried again).
    pub(crate) fn write_journal(&self) -> bool {
        match self.journal.write_queued() {
            Ok(told) => {
                if self.journal_failed.swap(0, Ordering::AcqRel) != 0 {
                    tracing::info!("the journal can be written again");
                }
                for log in &told {
                    log.advance();
                }
                let (used, _) = self.journal.usage();
                self.journal_files_used.store(used as u64, Ordering::Relaxed);
                if used * 8 >= self.nominal_journal_files() * 3 {
                    self.checkpoint.request(false);
                }
                true
            }
            Err(error) => {
                let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
                if self.journal_failed.swap(if full { 1 } else { 2 }, Ordering::AcqRel) == 0 {
                    tracing::error!(%error, "writing the journal failed; appends are refused until it succeeds");
                    metrics::counter!("streamhouse_journal_write_errors_total").increment(1);
                }
                false
            }
        }
    }

    /// Syncs what was written to the journal and tells the logs; false when the engine is dead.
    pub(crate) fn sync_journal(&self) -> bool {
        match self.journal.sync_written() {
            Ok(told) => {
                for log in &told {
                    log.advance();
                }
                true
            }
            Err(error) => {
                self.fatal(&format!("syncing the journal failed: {error}"));
                false
            }
        }
    }

    /// Serves the IO queue in this thread until it is empty.
    pub(crate) fn run_io_inline(&self) {
        while let Some(log) = self.io.try_next() {
            log.run_io();
            self.io.done();
        }
    }

    /// Lets go of all logs: they refer to this, and this must not refer to them for ever.
    pub(crate) fn release(&self) {
        self.journal.forget_clients();
        self.io.clear();
        self.warm.lock().clear();
        self.failed.lock().clear();
        self.late_syncs.lock().clear();
    }

    /// Queues segment writes again that failed. A log stays listed until one succeeds, so that the state tells of it all the while.
    pub(crate) fn retry_failed(&self) {
        let failed = {
            let mut failed = self.failed.lock();
            failed.retain(|log| log.is_refusing());
            failed.clone()
        };
        for log in failed {
            log.retry_io();
        }
    }

    /// Queues the segment syncs that are due for acks 0 and 1.
    pub(crate) fn queue_late_syncs(&self) {
        let due = std::mem::take(&mut *self.late_syncs.lock());
        for log in due {
            log.late_sync();
        }
    }

    /// The ring's size: as configured, and so large that the unfinished blocks of all partitions take a quarter of it (engine rule 16).
    pub(crate) fn nominal_journal_files(&self) -> usize {
        let carried = self.partitions.load(Ordering::Relaxed) * crate::disk::BLOCK_BYTES as u64;
        let for_partitions = (4 * carried).div_ceil(self.config.journal_file_bytes);
        self.config.journal_files.max(4).max(for_partitions as usize)
    }

    /// Counts bytes that went to a segment past its mark.
    pub(crate) fn count_unmarked(&self, bytes: u64) {
        if self.unmarked_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= UNMARKED_BYTES_MAX {
            self.checkpoint.request(true);
        }
    }

    /// Whether an append of `bytes` may be made now. Disks that are far behind hold appends back here.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let tails = self.pool.used() + bytes <= self.pool.limit() || self.pool.used() == 0;
        let queued = self.journal.queued_bytes() < 16 << 20;
        let nominal = self.nominal_journal_files() as u64;
        let ring = self.journal_files_used.load(Ordering::Relaxed) <= nominal - nominal / 4;
        tails && queued && ring
    }
}
