//! One partition of `__consumer_offsets` at work: a shard, its log, and who waits.
//!
//! An event is one short stay under the partition's lock: the machine runs, its records are appended, which never waits for the
//! disk, and replayed. So the log's order is the order of events. What is told to anybody is told after the lock is
//! released and everything appended so far is durable. What never lives here: what groups do (`groups`).

use super::World;
use super::batch;
use super::load;
use crate::groups::{Completion, Effects, Env, Reply, Shard, TimerKey, Waiter};
use parking_lot::{Mutex, MutexGuard};
use protocol::ErrorCode;
use protocol::batch::BatchHeader;
use protocol::group_records::GroupRecord;
use protocol::types::{Offset, TopicId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{Acks, AppendBatch, ErrorKind, Log};
use tokio::sync::oneshot;
use uuid::Uuid;

/// A timer whose records the log refused is tried again after so long.
const RETRY_TIMER_MS: i64 = 1_000;
/// A partition is read back so long after an event panicked.
const READ_BACK_AFTER: Duration = Duration::from_secs(1);

/// A partition.
pub(super) struct Partition {
    pub(super) number: usize,
    pub(super) topic_id: TopicId,
    pub(super) log: Arc<Log>,
    pub(super) world: Arc<World>,
    state: Mutex<State>,
}

/// Whether a partition serves its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its records are being read.
    Loading,
    /// It does.
    Loaded,
    /// Its records could not be read; that is tried again.
    Failed,
    /// The topic was deleted.
    Gone,
}

/// What the lock guards.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) shard: Shard,
    /// How many shards were taken over: one that was read back has its groups in other places.
    pub(super) shards_installed: u64,
    waiters: HashMap<Waiter, oneshot::Sender<Reply>>,
    next_waiter: u64,
    /// Where the log ends: state up to here is replayed, and may not be durable yet.
    appended_end: Offset,
    /// Records in the log since the last checkpoint began.
    pub(super) records_since_checkpoint: u64,
    /// Records that the last checkpoint wrote, or an estimate.
    pub(super) live_records: u64,
    /// A checkpoint is asked for or being written.
    pub(super) checkpoint_wanted: bool,
}

/// What events leave to be told once the log is durable up to `end`.
#[derive(Default)]
pub(super) struct After {
    end: Offset,
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    completions: Vec<Completion>,
}

/// A response that may be told once the log is durable up to `end`.
pub(super) struct Pending<R> {
    pub(super) response: R,
    pub(super) end: Offset,
}

/// Around an event: when it panics, a mistake of ours, the state may be half-changed, or behind the log. Nobody is shown that;
/// it is read back from the log. To be made before the lock is taken.
struct WhenItPanics<'a>(&'a Arc<Partition>);

impl Drop for WhenItPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.read_back();
        }
    }
}

impl Phase {
    /// The code for a request that comes in this phase (contract 69).
    pub(super) fn refusal(self) -> Option<ErrorCode> {
        match self {
            Phase::Loaded => None,
            Phase::Loading => Some(ErrorCode::CoordinatorLoadInProgress),
            Phase::Failed | Phase::Gone => Some(ErrorCode::NotCoordinator),
        }
    }
}

impl Partition {
    pub(super) fn new(number: usize, topic_id: TopicId, log: Arc<Log>, world: Arc<World>) -> Partition {
        let state = State {
            phase: Phase::Loading,
            shard: Shard::with_counter(Arc::clone(&world.groups)),
            shards_installed: 0,
            waiters: HashMap::new(),
            next_waiter: 0,
            appended_end: log.offsets().log_end,
            records_since_checkpoint: 0,
            live_records: 0,
            checkpoint_wanted: false,
        };
        Partition {
            number,
            topic_id,
            log,
            world,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Runs an event that gives a response, which may be told when the records are durable. An error is the answer instead:
    /// the partition does not serve, or the log refused the records and nothing changed.
    pub(super) fn event<R>(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Shard, &mut Env<'_>) -> (R, Effects),
    ) -> Result<Pending<R>, ErrorCode> {
        self.run(run, |state, effects, after| self.apply(state, effects, after))
    }

    /// Runs an event whose reply comes later, by the waiter that it is given.
    pub(super) fn event_waiting(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Shard, &mut Env<'_>, Waiter) -> Effects,
    ) -> Result<oneshot::Receiver<Reply>, ErrorCode> {
        let _guard = WhenItPanics(self);
        let mut after = After::default();
        let receiver = {
            let mut state = self.state.lock();
            if let Some(code) = state.phase.refusal() {
                return Err(code);
            }
            let (sender, receiver) = oneshot::channel();
            let waiter = Waiter(state.next_waiter);
            state.next_waiter += 1;
            state.waiters.insert(waiter, sender);
            let effects = self.world.with_env(|env| run(&mut state.shard, env, waiter));
            // The replies say whether the log refused.
            let _ = self.apply(&mut state, effects, &mut after);
            receiver
        };
        self.settle(after);
        Ok(receiver)
    }

    /// Runs an event whose records need not be one batch: any first part of them makes sense.
    pub(super) fn housekeeping<R>(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Shard, &mut Env<'_>) -> (R, Effects),
    ) -> Result<Pending<R>, ErrorCode> {
        self.run(run, |state, mut effects, after| {
            let records = std::mem::take(&mut effects.records);
            let result = self.append_apart(state, &records);
            self.apply(state, effects, after).and(result)
        })
    }

    /// Runs an event and, still under the lock, what `apply` makes of its effects; then tells what can be told.
    fn run<R>(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Shard, &mut Env<'_>) -> (R, Effects),
        apply: impl FnOnce(&mut State, Effects, &mut After) -> Result<(), ErrorCode>,
    ) -> Result<Pending<R>, ErrorCode> {
        let _guard = WhenItPanics(self);
        let mut after = After::default();
        let result = {
            let mut state = self.state.lock();
            if let Some(code) = state.phase.refusal() {
                return Err(code);
            }
            let (response, effects) = self.world.with_env(|env| run(&mut state.shard, env));
            let result = apply(&mut state, effects, &mut after);
            result.map(|()| Pending {
                response,
                end: state.appended_end,
            })
        };
        self.settle(after);
        result
    }

    /// A timer of a group has come.
    pub(super) fn on_timer(self: &Arc<Self>, key: TimerKey) {
        let fired = self.event(|shard, env| ((), shard.on_timer(env, &key)));
        if fired.is_err_and(|code| code != ErrorCode::NotCoordinator || self.lock().phase == Phase::Loaded) {
            // The machine did not get to do what the time had come for: it is asked again.
            let at_ms = self.world.clock.now_ms() + RETRY_TIMER_MS;
            self.world.timers.set(self.number, crate::groups::Timer { key, at_ms });
        }
    }

    /// Looks at the state without changing it. What is seen may not be durable below `end`.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Shard, &Env<'_>) -> R) -> Result<Pending<R>, ErrorCode> {
        let state = self.state.lock();
        match state.phase.refusal() {
            Some(code) => Err(code),
            None => Ok(Pending {
                response: self.world.with_env(|env| look(&state.shard, env)),
                end: state.appended_end,
            }),
        }
    }

    /// Takes over a shard whose records were all replayed, and starts it.
    pub(super) fn install(self: &Arc<Self>, shard: Shard, records: u64) {
        let mut after = After::default();
        {
            let mut state = self.state.lock();
            if state.phase == Phase::Gone {
                return;
            }
            state.shard = shard;
            state.shards_installed += 1;
            let effects = self.world.with_env(|env| state.shard.loaded(env));
            state.phase = Phase::Loaded;
            state.records_since_checkpoint = records;
            let counts = state.shard.counts();
            let groups: usize = counts.classic.iter().map(|(_, n)| n).sum::<usize>()
                + counts.consumer.iter().map(|(_, n)| n).sum::<usize>();
            state.live_records = (counts.offsets + groups + counts.members) as u64;
            let Effects { records, .. } = &effects;
            let records = records.clone();
            let effects = Effects {
                records: Vec::new(),
                ..effects
            };
            if self.append_apart(&mut state, &records).is_err() {
                tracing::warn!(
                    partition = self.number,
                    "what loading cleans up could not be written; it is cleaned up again later"
                );
            }
            let _ = self.apply(&mut state, effects, &mut after);
            self.want_checkpoint(&mut state);
        }
        self.settle(after);
    }

    /// The topic was deleted: whoever waits is told to look elsewhere.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Gone;
        state.waiters.clear();
        state.shard = Shard::with_counter(Arc::clone(&self.world.groups));
    }

    /// Refuses everybody until the state was read back from the log.
    fn read_back(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.phase != Phase::Loaded {
            return;
        }
        state.phase = Phase::Failed;
        state.waiters.clear();
        drop(state);
        tracing::error!(
            partition = self.number,
            "an event of a group panicked; the partition's groups are refused until they were read back"
        );
        load::retry_later(&self.world, self, READ_BACK_AFTER);
    }

    /// Does what an event wants done, under the lock. An error: the log refused, and nothing was replayed.
    fn apply(&self, state: &mut State, effects: Effects, after: &mut After) -> Result<(), ErrorCode> {
        let result = if effects.records.is_empty() {
            Ok(())
        } else {
            self.append_as_one(state, &effects.records)
        };
        if result.is_ok() {
            effects.records.iter().for_each(|record| state.shard.replay(record));
            if let Some(group) = effects.install {
                state.shard.install(group);
            }
        }
        for timer in effects.timers {
            self.world.timers.set(self.number, timer);
        }
        for (waiter, reply) in effects.replies {
            if let Some(sender) = state.waiters.remove(&waiter) {
                let reply = match result {
                    Ok(()) => reply,
                    Err(code) => reply.refused(code),
                };
                after.replies.push((sender, reply));
            }
        }
        match (effects.completion, result) {
            (Some(completion), Ok(())) => after.completions.push(completion),
            (Some(completion), Err(code)) => self.complete(state, &completion, Err(code), after),
            (None, _) => {}
        }
        after.end = state.appended_end;
        result
    }

    fn complete(&self, state: &mut State, completion: &Completion, result: Result<(), ErrorCode>, after: &mut After) {
        let effects = self.world.with_env(|env| state.shard.written(env, completion, result));
        // What was refused is in the replies, or in the next completion.
        let _ = self.apply(state, effects, after);
    }

    /// Tells what can be told once the log is durable: at once if it is, else by a task, whatever becomes of the clients.
    fn settle(self: &Arc<Self>, after: After) {
        if after.replies.is_empty() && after.completions.is_empty() {
            return;
        }
        if after.completions.is_empty() && self.is_durable(after.end) {
            for (sender, reply) in after.replies {
                // Whoever asked may be gone.
                let _ = sender.send(reply);
            }
            return;
        }
        let partition = Arc::clone(self);
        self.world.runtime.spawn(async move { partition.finish(after).await });
    }

    async fn finish(self: Arc<Self>, mut after: After) {
        while !(after.replies.is_empty() && after.completions.is_empty()) {
            let result = self.durable(after.end).await;
            for (sender, reply) in after.replies {
                let _ = sender.send(match result {
                    Ok(()) => reply,
                    Err(code) => reply.refused(code),
                });
            }
            let mut next = After::default();
            let _guard = WhenItPanics(&self);
            let mut state = self.state.lock();
            if state.phase != Phase::Loaded {
                return;
            }
            for completion in &after.completions {
                self.complete(&mut state, completion, result, &mut next);
            }
            drop(state);
            after = next;
        }
    }

    /// Whether everything below `end` is durable.
    pub(super) fn is_durable(&self, end: Offset) -> bool {
        self.log.offsets().high_watermark >= end
    }

    /// Waits until everything below `end` is durable.
    pub(super) async fn durable(&self, end: Offset) -> Result<(), ErrorCode> {
        self.log.wait(Acks::Durable, end).await.map_err(|error| {
            self.log_storage_error("waiting for the disk", &error);
            ErrorCode::NotCoordinator
        })
    }

    fn append_as_one(&self, state: &mut State, records: &[GroupRecord]) -> Result<(), ErrorCode> {
        // What is refused is what clients sent: they must not fill the log.
        let may_tell = || self.world.fault_lines.allow(self.world.clock.instant());
        let bytes = batch::encode(records, self.world.clock.now_ms()).map_err(|error| {
            if may_tell() {
                tracing::warn!(partition = self.number, error, "a change of a group cannot be written");
            }
            ErrorCode::UnknownServerError
        })?;
        let bytes_max = self.world.batch_bytes_max(self.topic_id)?;
        if bytes.len() > bytes_max {
            // Kafka's answer, too: the request is refused as a whole.
            if may_tell() {
                tracing::warn!(
                    partition = self.number,
                    bytes = bytes.len(),
                    bytes_max,
                    "a change of a group is larger than max.message.bytes of __consumer_offsets and was refused; raise it there if groups of this size are wanted"
                );
            }
            return Err(ErrorCode::UnknownServerError);
        }
        self.append(state, &bytes, records.len())?;
        self.world.counters.appended(records);
        self.want_checkpoint(state);
        Ok(())
    }

    /// Appends and replays records in as many batches as it takes. Stops at the first that the log refuses.
    fn append_apart(&self, state: &mut State, records: &[GroupRecord]) -> Result<(), ErrorCode> {
        let mut rest = records;
        for encoded in self.encode_apart(records)? {
            self.append(state, &encoded.bytes, encoded.records)?;
            let (now, later) = rest.split_at_checked(encoded.records).unwrap_or((rest, &[]));
            now.iter().for_each(|record| state.shard.replay(record));
            self.world.counters.appended(now);
            rest = later;
        }
        self.want_checkpoint(state);
        Ok(())
    }

    /// Appends records of a checkpoint: the state already is what they say. Gives their bytes.
    pub(super) fn append_snapshot(&self, state: &mut State, records: &[GroupRecord]) -> Result<usize, ErrorCode> {
        let mut bytes = 0;
        for encoded in self.encode_apart(records)? {
            self.append(state, &encoded.bytes, encoded.records)?;
            bytes += encoded.bytes.len();
        }
        Ok(bytes)
    }

    fn encode_apart(&self, records: &[GroupRecord]) -> Result<Vec<batch::Encoded>, ErrorCode> {
        let bytes_max = self.world.batch_bytes_max(self.topic_id)?;
        batch::encode_split(records, bytes_max, self.world.clock.now_ms()).map_err(|error| {
            tracing::error!(partition = self.number, error, "records of groups cannot be written");
            ErrorCode::UnknownServerError
        })
    }

    fn append(&self, state: &mut State, bytes: &[u8], records: usize) -> Result<(), ErrorCode> {
        let header = BatchHeader::read(bytes).map_err(|_| ErrorCode::UnknownServerError)?;
        let append = AppendBatch {
            bytes,
            header: &header,
            acks: Acks::Durable,
            now_ms: self.world.clock.now_ms(),
        };
        let appended = self.log.append(&append).map_err(|error| {
            self.log_storage_error("an append", &error);
            // Clients look for the coordinator and try again.
            ErrorCode::NotCoordinator
        })?;
        state.appended_end = appended.end_offset;
        state.records_since_checkpoint += records as u64;
        Ok(())
    }

    /// The offset that the next record gets.
    pub(super) fn end_of(&self, state: &State) -> Offset {
        state.appended_end
    }

    fn want_checkpoint(&self, state: &mut State) {
        let enough = self.world.checkpoint_min_records.max(2 * state.live_records);
        if !state.checkpoint_wanted && state.records_since_checkpoint > enough {
            state.checkpoint_wanted = true;
            self.world.want_checkpoint(self.number);
        }
    }

    fn log_storage_error(&self, doing: &str, error: &storage::Error) {
        if matches!(error.kind, ErrorKind::Closed | ErrorKind::Deleted) {
            tracing::debug!(%error, "{doing} of a group ended");
        } else if self.world.fault_lines.allow(self.world.clock.instant()) {
            tracing::error!(%error, "{doing} of a group failed");
        }
    }
}

impl World {
    /// Runs `body` with the world as groups see it at this moment.
    pub(super) fn with_env<R>(&self, body: impl FnOnce(&mut Env<'_>) -> R) -> R {
        let mut env = Env {
            now_ms: self.clock.now_ms(),
            config: &self.config,
            cluster: &*self.partitions,
            new_id: &mut Uuid::new_v4,
        };
        body(&mut env)
    }
}
