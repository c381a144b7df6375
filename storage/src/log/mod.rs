//! One partition's log: appends in order, reads by offset and by time, waits for promises to hold.
//!
//! `append` fixes the order under the log's lock and never touches the disk. Journal threads and IO threads carry bytes out and call
//! [`Log::advance`], which moves the written and the durable end and wakes whoever waits.
//! Lock order: a log's state, then the journal's queue. Nothing blocks on the disk while holding a log's state.

mod append;
mod boundaries;
mod checkpoint;
mod delete_records;
mod epochs;
mod io;
mod producers;
mod read;
mod recover;
mod recover_segment;
mod retention;
mod state;
mod time;

pub(crate) use boundaries::{WINDOWS_MAX, Window};
pub(crate) use checkpoint::{Frozen, WrittenOut};
pub(crate) use recover::LogStart;
pub(crate) use retention::Expired;

use crate::api_types::{Acks, EpochEnd, LogOffsets, ProducerState};
use crate::config::LogConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::index::LogId;
use crate::journal::JournalClient;
use crate::shared::Shared;
use parking_lot::Mutex;
use protocol::types::{Offset, TopicId};
use state::{Condition, LogState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// One partition's log.
pub struct Log {
    id: LogId,
    me: Weak<Log>,
    shared: Arc<Shared>,
    state: Mutex<LogState>,
    /// Copies of the state's ends, for waiting without the lock.
    written_end: AtomicI64,
    durable_end: AtomicI64,
    progress: Notify,
    watchers: Mutex<Vec<Arc<dyn Watcher>>>,
    /// The journal file that this log was last listed for.
    journal_file: AtomicU64,
}

/// Somebody who waits for a log to move: a parked fetch.
pub trait Watcher: Send + Sync {
    /// Called at most once a registration, from any thread, with no lock of the log held that a reader needs.
    fn wake(&self);
}

impl JournalClient for Arc<Log> {
    fn enter_file(&self, file: u64) -> bool {
        self.journal_file.swap(file, Ordering::AcqRel) != file
    }
}

impl Log {
    fn with_state(shared: Arc<Shared>, id: LogId, state: LogState) -> Arc<Log> {
        Arc::new_cyclic(|me| Log {
            id,
            me: me.clone(),
            shared,
            written_end: AtomicI64::new(state.written_end.0),
            durable_end: AtomicI64::new(state.durable_end.0),
            state: Mutex::new(state),
            progress: Notify::new(),
            watchers: Mutex::new(Vec::new()),
            journal_file: AtomicU64::new(0),
        })
    }

    /// A new log without records.
    pub(crate) fn create(shared: Arc<Shared>, id: LogId, config: LogConfig) -> Arc<Log> {
        let state = LogState::new(config, shared.leader_epoch, Offset(0));
        Log::with_state(shared, id, state)
    }

    fn arc(&self) -> Arc<Log> {
        self.me.upgrade().expect("a log that is used is held by somebody")
    }

    /// Topic id and partition.
    pub fn id(&self) -> (TopicId, i32) {
        (self.id.topic_id, self.id.partition)
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.id
    }

    /// Replaces the settings; applies from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        self.state.lock().config = config;
    }

    /// Epoch that the next batch is stamped with.
    pub fn leader_epoch(&self) -> i32 {
        self.state.lock().leader_epoch
    }

    /// Returns when everything below `end` has reached `acks`. Fails when the write failed or the log was deleted.
    /// Dropping the future loses nothing.
    pub async fn wait(&self, acks: Acks, end: Offset) -> Result<()> {
        let reached = match self.shared.effective(acks) {
            Acks::None => return Ok(()),
            Acks::Written => &self.written_end,
            Acks::Durable => &self.durable_end,
        };
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if reached.load(Ordering::Acquire) >= end.0 {
                return Ok(());
            }
            if self.shared.is_dead() {
                return Err(self.error(ErrorKind::Io, "the data directory cannot be written any more"));
            }
            if self.state.lock().condition == Condition::Deleted {
                return Err(self.error(ErrorKind::Deleted, "the topic was deleted"));
            }
            progress.await;
        }
    }

    /// The log's ends right now.
    pub fn offsets(&self) -> LogOffsets {
        let state = self.state.lock();
        let high_watermark = self.high_watermark(&state);
        LogOffsets {
            log_start: state.log_start,
            last_stable_offset: high_watermark,
            high_watermark,
            written_end: state.written_end,
            log_end: state.next_offset,
        }
    }

    fn high_watermark(&self, state: &LogState) -> Offset {
        if self.shared.fsyncs() {
            state.durable_end
        } else {
            state.written_end
        }
    }

    /// Calls `watcher.wake()` once when the high watermark moves, the log is deleted or truncated.
    pub fn watch(&self, watcher: &Arc<dyn Watcher>) {
        self.watchers.lock().push(watcher.clone());
    }

    /// Takes a watcher back.
    pub fn unwatch(&self, watcher: &Arc<dyn Watcher>) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        if watchers.is_empty() {
            watchers.shrink_to(4);
        }
    }

    fn is_watched(&self) -> bool {
        !self.watchers.lock().is_empty()
    }

    fn wake_watchers(&self) {
        let watchers = std::mem::take(&mut *self.watchers.lock());
        for watcher in watchers {
            watcher.wake();
        }
    }

    /// Asks for a sync soon: somebody waits to read what is written and not yet durable (design decision 4).
    pub fn request_flush(&self) {
        let mut state = self.state.lock();
        if !state.has_unsynced() || !self.shared.fsyncs() {
            return;
        }
        let queue = self.want_sync(&mut state);
        drop(state);
        if queue {
            self.shared.io.push(self.arc());
        }
        self.shared.journal.request(Acks::Durable);
    }

    /// Moves the ends on and wakes who waits for it. Called without locks.
    pub(crate) fn advance(&self) {
        let (written, synced) = (self.shared.journal.written(), self.shared.journal.synced());
        let mut state = self.state.lock();
        let before = self.high_watermark(&state);
        let ends = (state.written_end, state.durable_end);
        state.advance(written, synced);
        if ends == (state.written_end, state.durable_end) {
            return;
        }
        self.written_end.store(state.written_end.0, Ordering::Release);
        self.durable_end.store(state.durable_end.0, Ordering::Release);
        let moved = self.high_watermark(&state) > before;
        drop(state);
        self.progress.notify_waiters();
        if moved {
            self.wake_watchers();
        }
    }

    /// The epoch of the batch that holds `offset`, or the epoch of the last one before it; `None` without any.
    pub fn epoch_of(&self, offset: Offset) -> Option<i32> {
        self.state.lock().epochs.of(offset)
    }

    /// Where `leader_epoch` ends (contract 61). Never blocks.
    pub fn epoch_end(&self, leader_epoch: i32) -> EpochEnd {
        let state = self.state.lock();
        state.epochs.end_of(leader_epoch, state.leader_epoch, state.next_offset)
    }

    /// Bytes of records in segments and tail.
    pub fn size_bytes(&self) -> u64 {
        self.state.lock().size_bytes()
    }

    /// How many idempotent producers the partition remembers.
    pub fn producers(&self) -> usize {
        self.state.lock().producers.len()
    }

    /// What the partition remembers of each idempotent producer, by producer id.
    pub fn producer_states(&self) -> Vec<ProducerState> {
        let mut states = self.state.lock().producers.states();
        states.sort_unstable_by_key(|state| state.producer_id);
        states
    }

    /// Ends the log: waiters fail, appends are refused, nothing more is written.
    pub(crate) fn mark_deleted(&self) {
        let mut state = self.state.lock();
        state.condition = Condition::Deleted;
        state.writer = None;
        drop(state);
        self.progress.notify_waiters();
        self.wake_watchers();
    }

    /// Wakes everybody who waits, after the engine's condition changed.
    pub(crate) fn wake_all(&self) {
        self.progress.notify_waiters();
        self.wake_watchers();
    }

    /// Whether recovery found damage below what had been acknowledged: the log takes no appends, and its end is not to be trusted.
    pub fn is_damaged(&self) -> bool {
        matches!(self.state.lock().condition, Condition::Damaged(_))
    }

    /// Whether a segment write of this log failed and is still being tried.
    pub(crate) fn is_refusing(&self) -> bool {
        matches!(self.state.lock().condition, Condition::Refusing(_))
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, message).with_log(self.id.topic_id, self.id.partition)
    }
}
