//! One data directory: opens and recovers it, owns its logs, its threads and its metadata.

use crate::api_types::EngineState;
use crate::by_segment::BySegment;
use crate::checkpoint::{self, CheckpointStep};
use crate::config::{EngineConfig, LogConfig};
use crate::directory::DataDirectory;
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::housekeeping::{self, Threads};
use crate::index::{Index, IndexBatch, LogId};
use crate::journal::{self, Journal, Ring};
use crate::log::{Expired, Log, WINDOWS_MAX};
use crate::metadata::{MetadataStore, RocksMetadata};
use crate::recovery::{Opened, recover_logs};
use crate::segments::{ReadFiles, SEGMENTS_DIR, log_dir, parse_log_dir};
use crate::shared::{CheckpointSignal, IoQueue, OnFatal, Shared};
use crate::tail::ChunkPool;
use parking_lot::{Mutex, RwLock};
use protocol::types::TopicId;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The folder of RocksDB in the data directory.
const INDEX_DIR: &str = "index";

/// What [`Engine::open_with`] takes from outside: disk, time, randomness, the end of the process.
pub struct Environment {
    /// The file layer for journal and segments.
    pub disk: Arc<dyn Disk>,
    /// Goes into the journal's salts; any number that differs from start to start.
    pub seed: u64,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Called when a sync failed (engine rule 4).
    pub on_fatal: OnFatal,
    /// Whether to start threads. Without, nothing happens but by [`Engine::step`].
    pub threads: bool,
}

/// An open data directory. Shared; dropping the last reference after [`Engine::shutdown`] releases the directory lock.
pub struct Engine {
    shared: Arc<Shared>,
    logs: RwLock<HashMap<LogId, Arc<Log>>>,
    metadata: Arc<dyn MetadataStore>,
    threads: Mutex<Option<Threads>>,
    _directory: DataDirectory,
}

impl Engine {
    /// Opens `config.data_dir`, creating it if absent, and recovers every log of every topic in the metadata store.
    /// Blocks. `Locked` when another process has it, `NewerFormat` when a newer release wrote it. A failed sync ends the process with exit
    /// code 70 after a last log line.
    pub fn open(config: EngineConfig) -> Result<Arc<Engine>> {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let environment = Environment {
            disk: Arc::new(RealDisk::new(config.data_dir.clone())),
            seed: now.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32),
            now_ms: now.as_millis() as i64,
            on_fatal: Arc::new(|message| {
                tracing::error!("{message}; what was acknowledged is safe, the process ends, its restart recovers");
                std::process::exit(70);
            }),
            threads: true,
        };
        Engine::open_with(config, environment)
    }

    /// As [`Engine::open`], with everything that varies as an argument.
    pub fn open_with(config: EngineConfig, environment: Environment) -> Result<Arc<Engine>> {
        let directory = DataDirectory::open(&config.data_dir)?;
        let index = Arc::new(Index::open(
            &config.data_dir.join(INDEX_DIR),
            config.index_memory_bytes,
        )?);
        let metadata = Arc::new(RocksMetadata::new(index.clone())?);
        let leader_epoch = metadata.next_leader_epoch()?;
        let disk = environment.disk;
        let checkpoint_sequence = index.checkpoint_sequence()?.unwrap_or(0);
        let mut found = journal::recover(&disk, checkpoint_sequence)?;
        // The journal is gone although it once was there, or knows of a younger checkpoint: trust the segments alone.
        let journal_lost = found.ring.slots.is_empty() && checkpoint_sequence > 0;
        let scan = found.index_is_stale || journal_lost;
        let ring_start = std::mem::take(&mut found.ring);
        let ring = Ring::new(disk.clone(), config.journal_file_bytes, environment.seed, ring_start);
        let journal = Journal::new(
            ring,
            found.next_sequence,
            Duration::from_millis(config.flush_interval_ms),
        );
        let shared = Arc::new(Shared {
            journal,
            index,
            pool: ChunkPool::new(config.tail_bytes_max),
            read_files: ReadFiles::new(config.open_files_max),
            boundaries: BySegment::new(WINDOWS_MAX),
            io: IoQueue::default(),
            late_syncs: Mutex::default(),
            warm: Mutex::default(),
            failed: Mutex::default(),
            admission: Notify::new(),
            disk_full: AtomicBool::new(false),
            journal_failed: AtomicU8::new(0),
            checkpoint: CheckpointSignal::default(),
            marks: Mutex::new(()),
            leader_epoch,
            on_fatal: environment.on_fatal,
            has_threads: environment.threads,
            closed: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            journal_files_used: AtomicU64::new(0),
            unmarked_bytes: AtomicU64::new(0),
            partitions: AtomicU64::new(0),
            config,
            disk,
        });
        let tombstones = metadata.tombstones();
        let recovered = recover(&shared, &metadata, found, scan, environment.now_ms).and_then(|opened| {
            let mut removed = remove_deleted(&shared, &tombstones);
            removed.retain(|topic_id| !opened.journaled_topics.contains(topic_id));
            removed
                .into_iter()
                .try_for_each(|topic_id| metadata.forget_tombstone(topic_id))?;
            Ok(opened.logs)
        });
        let logs = match recovered {
            Ok(logs) => logs,
            Err(error) => {
                shared.release();
                return Err(error);
            }
        };
        shared.partitions.store(logs.len() as u64, Ordering::Relaxed);
        let (used, _) = shared.journal.usage();
        shared.journal_files_used.store(used as u64, Ordering::Relaxed);
        let engine = Arc::new(Engine {
            logs: RwLock::new(logs),
            metadata,
            threads: Mutex::new(None),
            _directory: directory,
            shared,
        });
        if environment.threads {
            *engine.threads.lock() = Some(housekeeping::start(&engine.shared));
        }
        Ok(engine)
    }

    /// Topics, configs, identity.
    pub fn metadata(&self) -> &Arc<dyn MetadataStore> {
        &self.metadata
    }

    /// The leader epoch of every partition in this run: one more than in the run before (contract 21).
    pub fn leader_epoch(&self) -> i32 {
        self.shared.leader_epoch
    }

    /// Makes logs for `partitions` (first inclusive, last exclusive) of a topic that the metadata store has. Cheap: no files.
    pub fn create_logs(&self, topic_id: TopicId, partitions: std::ops::Range<i32>, config: &LogConfig) -> Result<()> {
        let mut logs = self.logs.write();
        for partition in partitions {
            let id = LogId { topic_id, partition };
            logs.entry(id)
                .or_insert_with(|| Log::create(self.shared.clone(), id, config.clone()));
        }
        self.shared.partitions.store(logs.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The log of a partition, if there is one.
    pub fn log(&self, topic_id: TopicId, partition: i32) -> Option<Arc<Log>> {
        self.logs.read().get(&LogId { topic_id, partition }).cloned()
    }

    /// Drops all logs of a topic whose tombstone is in the metadata store and removes their files. Waiters get `Deleted`.
    pub fn delete_logs(&self, topic_id: TopicId) -> Result<()> {
        let gone: Vec<Arc<Log>> = {
            let mut logs = self.logs.write();
            let ids: Vec<LogId> = logs.keys().filter(|id| id.topic_id == topic_id).copied().collect();
            let gone = ids.iter().filter_map(|id| logs.remove(id)).collect();
            self.shared.partitions.store(logs.len() as u64, Ordering::Relaxed);
            gone
        };
        for log in &gone {
            log.mark_deleted();
            while !log.is_io_idle() && self.shared.has_threads {
                self.shared.io.wait_for_progress();
            }
            let everything = protocol::types::Offset(i64::MAX);
            self.shared.read_files.forget(log.log_id(), everything);
            self.shared.boundaries.forget(log.log_id(), everything);
        }
        let _marks = self.shared.marks.lock();
        let mut batch = IndexBatch::new();
        batch.delete_topic_logs(topic_id);
        self.shared.index.write(batch, false)?;
        for log in &gone {
            let dir = log_dir(log.log_id());
            self.shared
                .disk
                .remove_dir(&dir)
                .map_err(|source| Error::io(format!("removing {} failed", dir.display()), source))?;
        }
        Ok(())
    }

    /// Waits until there is room for an append of `bytes` in tail memory and journal. Appends call it before
    /// they take any lock; it returns at once unless disks are far behind.
    pub async fn admit(&self, bytes: usize) {
        const RECHECK: Duration = Duration::from_millis(20);
        while !self.shared.has_room(bytes) && self.shared.refusal().is_none() {
            self.shared.checkpoint.request(false);
            let admitted = self.shared.admission.notified();
            let freed = self.shared.pool.freed().notified();
            tokio::select! {
                () = admitted => {}
                () = freed => {}
                () = tokio::time::sleep(RECHECK) => {}
            }
        }
    }

    /// Applies retention to every log (contract 101) and forgets idle producers. Blocks; called on a schedule by the broker.
    pub fn run_retention(&self, now_ms: i64) {
        let logs: Vec<Arc<Log>> = self.logs.read().values().cloned().collect();
        let mut unsaved = Vec::new();
        for log in &logs {
            log.expire_producers(now_ms.saturating_sub(self.shared.config.producer_id_expiration_ms));
            match log.find_expired(now_ms) {
                Expired::Nothing => {}
                Expired::NeedsCheckpoint => unsaved.push(log.clone()),
                Expired::Below(offset) => self.remove_expired(log, offset),
            }
        }
        if unsaved.is_empty() {
            return;
        }
        if !self.shared.has_threads {
            self.shared.run_io_inline();
        }
        for log in &unsaved {
            self.shared.journal.touch_for_checkpoint(log);
        }
        if let Err(error) = checkpoint::run(&self.shared, true, CheckpointStep::Freed) {
            tracing::error!(%error, "a checkpoint before retention failed; segments past their retention stay for now");
            return;
        }
        for log in &unsaved {
            if let Expired::Below(offset) = log.find_expired(now_ms) {
                self.remove_expired(log, offset);
            }
        }
    }

    fn remove_expired(&self, log: &Arc<Log>, below: protocol::types::Offset) {
        let _marks = self.shared.marks.lock();
        match log.remove_below(below) {
            Ok(segments) => {
                tracing::info!(log = %log.log_id(), segments, log_start = %below, "removed segments past their retention")
            }
            Err(error) => tracing::error!(%error, "removing segments past their retention failed; they stay for now"),
        }
    }

    /// Whether appends are taken.
    pub fn state(&self) -> EngineState {
        self.shared.state()
    }

    /// How many partitions recovery found damaged; each was named in the log.
    pub fn damaged_partitions(&self) -> usize {
        self.logs.read().values().filter(|log| log.is_damaged()).count()
    }

    /// Size of the file system that the data directory is on, and what of it is free for us, in bytes. May wait for the disk.
    pub fn disk_space(&self) -> Result<(u64, u64)> {
        let dir = &self.shared.config.data_dir;
        let stat = rustix::fs::statvfs(dir)
            .map_err(|e| Error::io(format!("measuring the disk of {} failed", dir.display()), e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok((bytes(stat.f_blocks), bytes(stat.f_bavail)))
    }

    /// How many changes the index, which has the metadata too, has seen; grows, over restarts as well.
    pub fn index_sequence(&self) -> Result<u64> {
        self.shared.index.sequence()
    }

    /// Bytes of tail memory in use.
    pub fn tail_bytes(&self) -> usize {
        self.shared.pool.used()
    }

    /// Syncs the journal, writes a checkpoint and stops the threads. Blocks. Later appends fail with `Closed`.
    pub fn shutdown(&self) {
        // A failed sync closes the engine, too: then only the threads have to be ended and waiters told.
        let was_closed = self.shared.closed.swap(true, Ordering::AcqRel);
        if !was_closed && !self.shared.is_dead() {
            self.shared.write_journal();
            self.shared.sync_journal();
            match checkpoint::run(&self.shared, true, CheckpointStep::Freed) {
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the last checkpoint failed; the next start reads the journal instead")
                }
            }
            housekeeping::cool_down(&self.shared, i64::MAX);
        }
        self.shared.journal.stop();
        self.shared.io.stop();
        self.shared.checkpoint.request(false);
        if let Some(threads) = self.threads.lock().take() {
            threads.join();
        }
        for log in self.logs.read().values() {
            log.wake_all();
        }
    }

    /// One step of an engine without threads.
    pub fn step(&self, step: Step) -> Result<()> {
        let failed = || Error::new(ErrorKind::Io, "the step failed");
        match step {
            Step::WriteJournal => self.shared.write_journal().then_some(()).ok_or_else(failed),
            Step::SyncJournal => self.shared.sync_journal().then_some(()).ok_or_else(failed),
            Step::SegmentIo => {
                self.shared.queue_late_syncs();
                self.shared.run_io_inline();
                self.shared.retry_failed();
                Ok(())
            }
            Step::Checkpoint { close, last } => checkpoint::run(&self.shared, close, last).map(|_| ()),
            Step::CoolDown => {
                housekeeping::cool_down(&self.shared, i64::MAX);
                self.shared.run_io_inline();
                Ok(())
            }
        }
    }
}

/// Rebuilds the logs from what the journal and the index have. When it returns, all of it is durable.
fn recover(
    shared: &Arc<Shared>,
    metadata: &Arc<RocksMetadata>,
    found: journal::Recovered,
    scan: bool,
    now_ms: i64,
) -> Result<Opened> {
    // Folders and files that the run before had just made may exist in memory alone, too.
    for dir in [SEGMENTS_DIR, journal::JOURNAL_DIR] {
        let synced = shared
            .disk
            .create_dir(Path::new(dir))
            .and_then(|()| shared.disk.sync_dir(Path::new(dir)));
        synced.map_err(|source| Error::io(format!("syncing the folder {dir} failed"), source))?;
    }
    shared
        .disk
        .sync_dir(Path::new(""))
        .map_err(|source| Error::io("syncing the data directory failed", source))?;
    for file in &found.unsynced {
        // What was read may exist in the page cache alone (engine rule 12).
        file.sync_data()
            .map_err(|source| Error::io("syncing the journal after reading it back failed", source))?;
    }
    let entries = found.entries.len();
    let opened = recover_logs(
        shared,
        &metadata.topics()?,
        &metadata.tombstones(),
        found.entries,
        scan,
        now_ms,
    )?;
    tracing::debug!(partitions = opened.logs.len(), entries, scan, "storage recovered");
    Ok(opened)
}

/// Removes the segments of topics that were deleted while their files could not be removed; returns the topics of which
/// nothing is left. Segments of unknown topics stay: with an index from a copy they may be all that is left of a topic (engine rule 10).
fn remove_deleted(shared: &Shared, tombstones: &[TopicId]) -> Vec<TopicId> {
    let mut gone = tombstones.to_vec();
    let names = match shared.disk.list(Path::new(SEGMENTS_DIR)) {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(%error, "listing the segments failed; those of deleted topics stay for now");
            return Vec::new();
        }
    };
    for id in names.iter().filter_map(|name| parse_log_dir(name)) {
        if !tombstones.contains(&id.topic_id) {
            continue;
        }
        tracing::info!(log = %id, "removing the segments of a deleted topic");
        let dir = log_dir(id);
        let removed = shared
            .disk
            .remove_dir(&dir)
            .and_then(|()| shared.disk.sync_dir(Path::new(SEGMENTS_DIR)));
        if let Err(error) = removed {
            tracing::warn!(log = %id, %error, "removing a deleted topic's folder failed; it is tried again at the next start");
            gone.retain(|topic_id| *topic_id != id.topic_id);
        }
    }
    gone
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.journal.stop();
        self.shared.io.stop();
        self.shared.checkpoint.wakes.notify_all();
        if let Some(threads) = self.threads.lock().take() {
            threads.join();
        }
        self.shared.release();
    }
}

/// What an engine without threads can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write what the journal has queued.
    WriteJournal,
    /// Sync what was written.
    SyncJournal,
    /// Do all segment writes and syncs that are due.
    SegmentIo,
    /// Make a checkpoint.
    Checkpoint {
        /// Everything appended so far is included.
        close: bool,
        /// Where to stop, for tests of crashes.
        last: CheckpointStep,
    },
    /// Give memory back as after a while of quiet.
    CoolDown,
}
