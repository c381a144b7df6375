//! The group coordinator: what runs the machines of [`crate::groups`] over the log of `__consumer_offsets`.
//!
//! A group id belongs to one partition of that topic (contract 17), and each partition has a shard of its own, behind a lock
//! that is held for microseconds: a group that is stuck or large delays nobody. An event runs under that lock and fixes
//! its place in the log; what it says is told when the log is durable. The topic is made when somebody first needs it.
//! State is read back in the background after a start; requests get COORDINATOR_LOAD_IN_PROGRESS until then (contract 69).
//!
//! What never lives here: what groups do (`groups`), bytes of records (`protocol::group_records`), bytes on the wire (`api`).

mod batch;
mod checkpoint;
mod load;
mod partition;
mod timers;
mod upkeep;

pub use timers::GroupClock;

use crate::clock::Clock;
use crate::config::BrokerConfig;
use crate::errors::ApiError;
use crate::groups::{Effects, Env, GroupConfig, Reply, Shard, Waiter};
use crate::metrics::{GroupMetrics, Metrics};
use crate::partitions::{CONSUMER_OFFSETS, PartitionManager, Topic};
use crate::server::limits::LogRate;
use parking_lot::{Mutex, MutexGuard, RwLock};
use partition::{Partition, Pending};
use protocol::ErrorCode;
use protocol::types::{Offset, TopicId};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use storage::Engine;
use timers::Timers;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Lines about a log that refuses: so many in each so long.
const FAULT_LINES: (u32, Duration) = (10, Duration::from_secs(10));

/// The coordinator of this broker's groups.
pub struct GroupCoordinator {
    world: Arc<World>,
    /// Once the topic exists.
    shards: RwLock<Option<Arc<Shards>>>,
}

/// The partitions of one `__consumer_offsets`.
struct Shards {
    topic_id: TopicId,
    partitions: Vec<Arc<Partition>>,
}

/// What all partitions share.
struct World {
    engine: Arc<Engine>,
    partitions: Arc<PartitionManager>,
    config: Arc<GroupConfig>,
    clock: GroupClock,
    timers: Timers,
    counters: GroupMetrics,
    /// Groups of all partitions.
    groups: Arc<AtomicUsize>,
    runtime: Handle,
    tasks: Mutex<JoinSet<()>>,
    /// Partitions that are still to be read.
    loading: AtomicUsize,
    stopping: watch::Receiver<bool>,
    checkpoints: mpsc::UnboundedSender<usize>,
    checkpoint_min_records: u64,
    commit_timeout: Duration,
    retention_check_interval: Duration,
    fault_lines: LogRate,
}

/// What an event answered. Its place in the order is fixed; [`Answer::given`] waits until it may be told.
#[must_use]
pub struct Answer<R> {
    response: Result<R, ErrorCode>,
    wait: Option<(Arc<Partition>, Offset)>,
    deadline: Instant,
    /// The code when the disk is slower than the deadline.
    late: ErrorCode,
}

/// How many groups there are of which kind.
#[derive(Debug, Default)]
pub struct Census {
    /// By type and state.
    pub groups: BTreeMap<(&'static str, String), usize>,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets.
    pub offsets: usize,
    /// Partitions whose groups are still to be read.
    pub loading: usize,
    /// Partitions whose groups could not be read.
    pub failed: usize,
    /// Timers that are set.
    pub timers: usize,
}

impl<R> Answer<R> {
    /// The response, once everything that it says is durable. An error is to be told instead; the client tries again.
    pub async fn given(self) -> Result<R, ErrorCode> {
        if let Some((partition, end)) = self.wait {
            match tokio::time::timeout_at(self.deadline, partition.durable(end)).await {
                Ok(durable) => durable?,
                // It may still become durable: what the client asked for has an unknown outcome, as with a produce (contract 27).
                Err(_) => return Err(self.late),
            }
        }
        self.response
    }
}

/// A reply that a machine gives later.
#[must_use]
pub struct Parked {
    reply: Result<oneshot::Receiver<Reply>, ErrorCode>,
    stopping: watch::Receiver<bool>,
}

impl Parked {
    /// The reply, whenever it comes. A broker that stops does not keep members waiting.
    pub async fn given(mut self) -> Result<Reply, ErrorCode> {
        let reply = self.reply?;
        tokio::select! {
            biased;
            reply = reply => reply.map_err(|_| ErrorCode::NotCoordinator),
            _ = self.stopping.wait_for(|stopping| *stopping) => Err(ErrorCode::NotCoordinator),
        }
    }
}

impl GroupCoordinator {
    /// The coordinator of a broker that starts; reads existing groups in the background. Needs the runtime around it.
    pub fn start(
        engine: &Arc<Engine>,
        partitions: &Arc<PartitionManager>,
        config: &BrokerConfig,
        metrics: &Arc<Metrics>,
        stopping: watch::Receiver<bool>,
    ) -> Arc<GroupCoordinator> {
        let (checkpoints, wanted) = mpsc::unbounded_channel();
        let world = Arc::new(World {
            engine: Arc::clone(engine),
            partitions: Arc::clone(partitions),
            config: Arc::clone(&config.group),
            clock: GroupClock::start(Clock),
            timers: Timers::default(),
            counters: metrics.groups(),
            groups: Arc::default(),
            runtime: Handle::current(),
            tasks: Mutex::default(),
            loading: AtomicUsize::new(0),
            stopping,
            checkpoints,
            checkpoint_min_records: config.offsets_topic_checkpoint_min_records,
            commit_timeout: config.offsets_commit_timeout,
            retention_check_interval: config.offsets_retention_check_interval,
            fault_lines: LogRate::new(FAULT_LINES.0, FAULT_LINES.1),
        });
        let coordinator = Arc::new(GroupCoordinator {
            world: Arc::clone(&world),
            shards: RwLock::new(None),
        });
        let weak = Arc::downgrade(&coordinator);
        partitions.on_delete(Box::new(move |topic| {
            if let Some(coordinator) = weak.upgrade() {
                coordinator.topic_deleted(topic);
            }
        }));
        world.spawn(upkeep::run_timers(Arc::clone(&coordinator)));
        world.spawn(upkeep::run_expiry(Arc::clone(&coordinator)));
        world.spawn(checkpoint::run(Arc::clone(&coordinator), wanted));
        if let Some(topic) = partitions.topic(CONSUMER_OFFSETS) {
            coordinator.attach(&topic);
        }
        coordinator
    }

    /// Ends every task; when it returns nothing of the data directory is held by them.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.world.tasks.lock());
        tasks.shutdown().await;
    }

    /// Makes `__consumer_offsets` when it does not exist; several callers share one creation.
    pub async fn ready(&self) -> Result<(), ApiError> {
        if self.shards.read().is_some() {
            return Ok(());
        }
        let mut made = self
            .world
            .partitions
            .auto_create(vec![CONSUMER_OFFSETS.to_owned()])
            .await;
        let topic = made.pop().unwrap_or_else(|| Err(ApiError::unknown()))?;
        self.attach(&topic);
        Ok(())
    }

    /// Waits until the log has room for what a request of so many bytes may append.
    pub async fn admit(&self, bytes: usize) {
        self.world.engine.admit(bytes).await;
    }

    /// When an answer that is asked for now is late.
    fn deadline(&self) -> Instant {
        Instant::from_std(self.world.clock.instant()) + self.world.commit_timeout
    }

    /// Runs an event of a group. Its place is fixed when this returns.
    pub fn change<R>(&self, group_id: &str, run: impl FnOnce(&mut Shard, &mut Env<'_>) -> (R, Effects)) -> Answer<R> {
        let pending = self
            .partition_of(group_id)
            .and_then(|partition| partition.event(run).map(|pending| (partition, pending)));
        self.answer(pending, ErrorCode::CoordinatorNotAvailable)
    }

    /// As [`GroupCoordinator::change`], for events with many records, of which any first part makes sense by itself.
    pub fn change_in_parts<R>(
        &self,
        group_id: &str,
        run: impl FnOnce(&mut Shard, &mut Env<'_>) -> (R, Effects),
    ) -> Answer<R> {
        let pending = self
            .partition_of(group_id)
            .and_then(|partition| partition.housekeeping(run).map(|pending| (partition, pending)));
        self.answer(pending, ErrorCode::CoordinatorNotAvailable)
    }

    /// As [`GroupCoordinator::change`], for events whose response says nothing that a crash could take back.
    pub fn change_at_once<R>(
        &self,
        group_id: &str,
        run: impl FnOnce(&mut Shard, &mut Env<'_>) -> (R, Effects),
    ) -> Result<R, ErrorCode> {
        let pending = self.partition_of(group_id)?.event(run)?;
        Ok(pending.response)
    }

    /// Runs an event of a group whose reply comes later.
    pub fn park(&self, group_id: &str, run: impl FnOnce(&mut Shard, &mut Env<'_>, Waiter) -> Effects) -> Parked {
        Parked {
            reply: self
                .partition_of(group_id)
                .and_then(|partition| partition.event_waiting(run)),
            stopping: self.world.stopping.clone(),
        }
    }

    /// Looks at a group.
    pub fn look<R>(&self, group_id: &str, look: impl FnOnce(&Shard, &Env<'_>) -> R) -> Answer<R> {
        let pending = self
            .partition_of(group_id)
            .and_then(|partition| partition.look(look).map(|pending| (partition, pending)));
        self.answer(pending, ErrorCode::NotCoordinator)
    }

    /// Looks at all groups, partition by partition. Before the topic exists there are none; partitions that do not serve
    /// are left out, but while one loads that is the answer.
    pub fn look_at_all(&self, mut look: impl FnMut(&Shard)) -> Vec<Answer<()>> {
        let Some(shards) = self.shards() else {
            return Vec::new();
        };
        let looks = shards.partitions.iter().map(|partition| {
            let seen = partition.look(|shard, _| look(shard));
            self.answer(
                seen.map(|pending| (Arc::clone(partition), pending)),
                ErrorCode::NotCoordinator,
            )
        });
        looks
            .filter(|answer| !matches!(answer.response, Err(ErrorCode::NotCoordinator)))
            .collect()
    }

    fn answer<R>(&self, pending: Result<(Arc<Partition>, Pending<R>), ErrorCode>, late: ErrorCode) -> Answer<R> {
        let (response, wait) = match pending {
            Ok((partition, pending)) => {
                let wait = (!partition.is_durable(pending.end)).then_some((partition, pending.end));
                (Ok(pending.response), wait)
            }
            Err(code) => (Err(code), None),
        };
        Answer {
            response,
            wait,
            deadline: self.deadline(),
            late,
        }
    }

    /// What there is at this moment, for metrics: groups by type and state, members, committed offsets, partitions that
    /// still load. Looks at each group; for threads that may take some milliseconds.
    pub fn census(&self) -> Census {
        let mut census = Census {
            loading: self.world.loading.load(Ordering::Relaxed),
            timers: self.world.timers.len(),
            ..Census::default()
        };
        let partitions = self.shards();
        for partition in partitions.iter().flat_map(|shards| &shards.partitions) {
            let counts = match partition.look(|shard, _| shard.counts()) {
                Ok(seen) => seen.response,
                Err(ErrorCode::NotCoordinator) => {
                    census.failed += 1;
                    continue;
                }
                Err(_) => continue,
            };
            census.members += counts.members;
            census.offsets += counts.offsets;
            for (state, groups) in counts.classic {
                *census.groups.entry(("classic", state.to_string())).or_default() += groups;
            }
            for (state, groups) in counts.consumer {
                *census.groups.entry(("consumer", state.to_string())).or_default() += groups;
            }
        }
        census
    }

    fn shards(&self) -> Option<Arc<Shards>> {
        self.shards.read().clone()
    }

    fn partition_of(&self, group_id: &str) -> Result<Arc<Partition>, ErrorCode> {
        let shards = self.shards().ok_or(ErrorCode::NotCoordinator)?;
        let number = partition_for(group_id, shards.partitions.len());
        shards.partitions.get(number).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// Takes the topic on: partitions with records are read in the background, the others serve at once.
    fn attach(self: &GroupCoordinator, topic: &Topic) {
        let mut shards = self.shards.write();
        if shards.as_ref().is_some_and(|shards| shards.topic_id == topic.id) {
            return;
        }
        // Deleted since it was made: its deletion was told already, and nothing would ever let go of it again. Later
        // deletions wait for the lock.
        if self.world.partitions.topic_by_id(topic.id).is_none() {
            return;
        }
        let partitions = topic.logs().iter().enumerate().map(|(number, log)| {
            Arc::new(Partition::new(
                number,
                topic.id,
                Arc::clone(log),
                Arc::clone(&self.world),
            ))
        });
        let partitions: Vec<_> = partitions.collect();
        *shards = Some(Arc::new(Shards {
            topic_id: topic.id,
            partitions: partitions.clone(),
        }));
        drop(shards);
        load::start(&self.world, partitions);
    }

    /// A topic is gone from the catalog: its offsets go, and with `__consumer_offsets` all groups. Blocks for a moment.
    fn topic_deleted(&self, topic: &Topic) {
        let Some(shards) = self.shards() else { return };
        if shards.topic_id == topic.id {
            *self.shards.write() = None;
            shards.partitions.iter().for_each(|partition| partition.end());
            // Nothing sets timers any more, and the next topic of this name is not made before this returns.
            self.world.timers.clear();
            return;
        }
        for partition in &shards.partitions {
            let forgotten = partition.housekeeping(|shard, env| ((), shard.topics_deleted(env, &[topic.id])));
            match forgotten {
                // A partition that loads finds out when it has loaded.
                Ok(_) | Err(ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator) => {}
                Err(code) => {
                    tracing::warn!(
                        topic = &*topic.name,
                        partition = partition.number,
                        ?code,
                        "offsets of a deleted topic could not be removed; nobody sees them, and they are removed later"
                    );
                }
            }
        }
    }
}

impl World {
    /// Starts a task that ends with the coordinator at the latest.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(mut tasks) = self.tasks() {
            tasks.spawn_on(task, &self.runtime);
        }
    }

    /// As [`World::spawn`], on a thread that may wait for the disk. It has to look at `is_stopping` itself.
    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(mut tasks) = self.tasks() {
            tasks.spawn_blocking_on(work, &self.runtime);
        }
    }

    /// Where tasks are put, while the broker does not stop.
    fn tasks(&self) -> Option<MutexGuard<'_, JoinSet<()>>> {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        (!self.is_stopping()).then_some(tasks)
    }

    fn want_checkpoint(&self, partition: usize) {
        // The receiver is gone when the broker stops.
        let _ = self.checkpoints.send(partition);
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// The largest batch that the topic takes. An error: it is being deleted.
    fn batch_bytes_max(&self, topic_id: TopicId) -> Result<usize, ErrorCode> {
        let topic = self.partitions.topic_by_id(topic_id).ok_or(ErrorCode::NotCoordinator)?;
        let segment_bytes = usize::try_from(topic.settings.log.segment_bytes).unwrap_or(usize::MAX);
        Ok(topic.settings.max_message_bytes.min(segment_bytes))
    }
}

/// The partition of a group: Java's hash of its id, made positive, modulo the number of partitions (contract 17).
fn partition_for(group_id: &str, partitions: usize) -> usize {
    let hash = group_id
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's abs() makes 0 of the one number that has no positive counterpart.
    let positive = usize::try_from(hash.checked_abs().unwrap_or(0)).unwrap_or(0);
    positive.checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_partition_is_kafkas() {
        // contract 17: numbers from Java, Utils.abs(id.hashCode()) % 50
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("a", 50), 47);
        assert_eq!(partition_for("abc", 50), 4);
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        // UTF-16 units, not bytes: "é" is one, a character beyond the first plane two.
        assert_eq!(partition_for("é", 50), 33);
        assert_eq!(partition_for("😀", 50), 49);
        // A negative hash: its absolute value, not its low 31 bits.
        assert_eq!(partition_for("my-group", 50), 12);
        assert_eq!(partition_for("a", 0), 0);
    }
}
