//! The state of one partition of `__consumer_offsets`: its groups of both protocols and their committed offsets.
//!
//! One event is one call; it returns [`Effects`]. The records of an event are appended and [replayed](Shard::replay) before
//! the shard hears of the next event, so the log's order is the order of events. A group is one of three:
//! - classic: a [`ClassicGroup`], which changes at once, and beside it the record that was last written of it;
//! - consumer: a [`ConsumerGroup`], which changes only by replay;
//! - simple: nothing but offsets, committed without membership. It exists as long as it has some.
//!
//! What never lives here: how groups rebalance ([`super::classic`], [`super::consumer`]), clocks, the log.

mod admin;
mod checkpoint;
mod commit;
mod consumer_api;
mod delete;
mod expire;
mod fetch;
mod list;
mod membership;
#[cfg(test)]
mod tests;

pub use checkpoint::SnapshotCursor;
pub use expire::Progress;
pub use list::{Counts, ListFilter};

use super::classic::{ClassicGroup, ClassicState};
use super::consumer::ConsumerGroup;
use super::offsets::{GroupOffsets, OffsetTables};
use super::{Client, Completion, Effects, Env, TimerKey, Waiter};
use kafka_protocol::messages::JoinGroupRequest;
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::group_records::{GroupMetadataValue, GroupRecord, OffsetCommitValue};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The state of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Shard {
    /// Until [`Shard::loaded`] records are all there is; groups become machines then.
    loading: bool,
    slots_by_id: HashMap<Arc<str>, usize>,
    /// A slot that is freed is taken again, so a cursor over slots stays small and meets every group that stays.
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    tables: OffsetTables,
    /// Groups of all shards of this broker.
    groups_of_broker: Arc<AtomicUsize>,
    expiry: expire::Cursor,
    /// Joins that wait until the tombstones of an empty consumer group are durable, by completion token.
    joins_after_tombstones: HashMap<u64, ParkedJoin>,
    next_token: u64,
}

#[derive(Debug)]
struct Entry {
    group_id: Arc<str>,
    machine: Machine,
    /// What was last written of a classic group: what a crash would leave.
    written: Option<Box<GroupMetadataValue>>,
    offsets: GroupOffsets,
}

#[derive(Debug)]
enum Machine {
    /// Only offsets; while loading also a classic group.
    None,
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

#[derive(Debug)]
struct ParkedJoin {
    client: Client,
    waiter: Waiter,
    request: JoinGroupRequest,
}

/// Tokens of the shard itself have this bit, those of classic groups have not: they count from 0.
const SHARD_TOKEN: u64 = 1 << 63;

impl Default for Shard {
    fn default() -> Shard {
        Shard::new()
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.groups_of_broker
            .fetch_sub(self.slots_by_id.len(), Ordering::Relaxed);
    }
}

impl Shard {
    /// An empty shard that counts its groups alone.
    pub fn new() -> Shard {
        Shard::with_counter(Arc::new(AtomicUsize::new(0)))
    }

    /// An empty shard that counts its groups together with others: `group.coordinator.max.groups` is a limit of the broker.
    pub fn with_counter(groups_of_broker: Arc<AtomicUsize>) -> Shard {
        Shard {
            loading: true,
            slots_by_id: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            tables: OffsetTables::default(),
            groups_of_broker,
            expiry: expire::Cursor::default(),
            joins_after_tombstones: HashMap::new(),
            next_token: 0,
        }
    }

    /// Applies a record: each of the log while loading; later, those of an event after they were appended.
    pub fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit {
                group_id,
                topic,
                partition,
                value,
            } => self.replay_offset(group_id, topic, *partition, value.as_ref()),
            GroupRecord::GroupMetadata { group_id, value } => self.replay_classic(group_id, value.as_ref()),
            GroupRecord::ConsumerGroupMetadata { group_id, value } => {
                self.replay_consumer(group_id, record, value.is_some());
            }
            GroupRecord::ConsumerGroupMemberMetadata { group_id, value, .. } => {
                self.replay_consumer(group_id, record, value.is_some());
            }
            GroupRecord::ConsumerGroupTargetAssignmentMetadata { group_id, value } => {
                self.replay_consumer(group_id, record, value.is_some());
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember { group_id, value, .. } => {
                self.replay_consumer(group_id, record, value.is_some());
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment { group_id, value, .. } => {
                self.replay_consumer(group_id, record, value.is_some());
            }
            GroupRecord::ConsumerGroupRegularExpression { group_id, value, .. } => {
                self.replay_consumer(group_id, record, value.is_some());
            }
            GroupRecord::ConsumerGroupPartitionMetadata { .. } | GroupRecord::Unknown { .. } => {}
        }
    }

    /// All records of the log were replayed: sessions and timers start, and offsets of topics that are gone, or that were
    /// created again under another id, are dropped (many of them: the rest by [`Shard::expire`]; none is ever returned).
    pub fn loaded(&mut self, env: &mut Env) -> Effects {
        assert!(self.loading, "a shard is loaded once");
        self.loading = false;
        let mut effects = Effects::none();
        for entry in self.slots.iter_mut().flatten() {
            if let Some(written) = &entry.written {
                let (group, started) = ClassicGroup::from_record(env, Arc::clone(&entry.group_id), written);
                entry.machine = Machine::Classic(Box::new(group));
                effects.append(started);
            } else if let Machine::Consumer(group) = &mut entry.machine {
                effects.append(group.loaded(env));
            }
        }
        effects.records.append(&mut self.stale_offsets(env));
        effects
    }

    /// Puts a classic group in the place of a consumer group: [`Effects::install`], after the records were replayed.
    pub fn install(&mut self, group: Box<ClassicGroup>) {
        let group_id = Arc::clone(group.group_id());
        self.entry(&group_id).machine = Machine::Classic(group);
    }

    /// A timer fired.
    pub fn on_timer(&mut self, env: &mut Env, key: &TimerKey) -> Effects {
        match self.machine(&key.group_id) {
            Some(Machine::Classic(group)) => group.on_timer(env, &key.kind),
            Some(Machine::Consumer(group)) => group.on_timer(env, &key.kind),
            Some(Machine::None) | None => Effects::none(),
        }
    }

    /// The records of the effects that had this completion are durable, or were refused and nothing of them was replayed.
    pub fn written(&mut self, env: &mut Env, completion: &Completion, result: Result<(), ErrorCode>) -> Effects {
        if completion.token & SHARD_TOKEN != 0 {
            return self.tombstones_written(env, completion.token, result);
        }
        match self.machine(&completion.group_id) {
            Some(Machine::Classic(group)) => group.written(env, completion.token, result),
            // The group was deleted or converted since; whoever did that answered those who waited.
            Some(Machine::Consumer(_) | Machine::None) | None => Effects::none(),
        }
    }

    fn replay_offset(
        &mut self,
        group_id: &Arc<str>,
        topic: &Arc<str>,
        partition: i32,
        value: Option<&OffsetCommitValue>,
    ) {
        match value {
            Some(value) => {
                let slot = self.slot(group_id);
                let entry = self
                    .slots
                    .get_mut(slot)
                    .and_then(Option::as_mut)
                    .expect("slots of ids are taken");
                self.tables.put(&mut entry.offsets, topic, partition, value);
            }
            None => {
                let Some(slot) = self.slots_by_id.get(&**group_id).copied() else {
                    return;
                };
                let entry = self
                    .slots
                    .get_mut(slot)
                    .and_then(Option::as_mut)
                    .expect("slots of ids are taken");
                self.tables.remove(&mut entry.offsets, topic, partition);
                self.free_if_nothing_is_left(slot);
            }
        }
    }

    fn replay_classic(&mut self, group_id: &Arc<str>, value: Option<&GroupMetadataValue>) {
        match value {
            Some(value) => {
                let loading = self.loading;
                let entry = self.entry(group_id);
                entry.written = Some(Box::new(value.clone()));
                // Outside of loading the machine is ahead of its record.
                if loading {
                    entry.machine = Machine::None;
                }
            }
            None => {
                let Some(slot) = self.slots_by_id.get(&**group_id).copied() else {
                    return;
                };
                let entry = self
                    .slots
                    .get_mut(slot)
                    .and_then(Option::as_mut)
                    .expect("slots of ids are taken");
                entry.written = None;
                if matches!(entry.machine, Machine::Classic(_)) {
                    entry.machine = Machine::None;
                }
                self.free_if_nothing_is_left(slot);
            }
        }
    }

    fn replay_consumer(&mut self, group_id: &Arc<str>, record: &GroupRecord, makes_group: bool) {
        let slot = match self.slots_by_id.get(&**group_id) {
            Some(slot) => *slot,
            None if makes_group => self.slot(group_id),
            // Removes something of a group that is gone.
            None => return,
        };
        let entry = self
            .slots
            .get_mut(slot)
            .and_then(Option::as_mut)
            .expect("slots of ids are taken");
        if makes_group && !matches!(entry.machine, Machine::Consumer(_)) {
            entry.written = None;
            entry.machine = Machine::Consumer(Box::new(ConsumerGroup::new(Arc::clone(&entry.group_id))));
        }
        if let Machine::Consumer(group) = &mut entry.machine {
            group.replay(record);
            if group.is_gone() {
                entry.machine = Machine::None;
            }
        }
        self.free_if_nothing_is_left(slot);
    }

    /// A classic group that was converted ends before its tombstone is written. When the log refused that, the group is
    /// found dead: it starts again from what the log has of it.
    fn revive(&mut self, env: &mut Env, group_id: &str) -> Effects {
        let Some(slot) = self.slots_by_id.get(group_id).copied() else {
            return Effects::none();
        };
        let Some(entry) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return Effects::none();
        };
        if !matches!(&entry.machine, Machine::Classic(group) if group.state() == ClassicState::Dead) {
            return Effects::none();
        }
        entry.machine = Machine::None;
        if let Some(written) = &entry.written {
            let (group, effects) = ClassicGroup::from_record(env, Arc::clone(&entry.group_id), written);
            entry.machine = Machine::Classic(Box::new(group));
            return effects;
        }
        self.free_if_nothing_is_left(slot);
        Effects::none()
    }

    fn find(&self, group_id: &str) -> Option<&Entry> {
        let slot = self.slots_by_id.get(group_id)?;
        self.slots.get(*slot)?.as_ref()
    }

    fn find_mut(&mut self, group_id: &str) -> Option<&mut Entry> {
        let slot = self.slots_by_id.get(group_id)?;
        self.slots.get_mut(*slot)?.as_mut()
    }

    fn machine(&mut self, group_id: &str) -> Option<&mut Machine> {
        self.find_mut(group_id).map(|entry| &mut entry.machine)
    }

    /// The slot of a group, which is made when there is none.
    fn slot(&mut self, group_id: &Arc<str>) -> usize {
        if let Some(slot) = self.slots_by_id.get(&**group_id) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let entry = Entry {
            group_id: Arc::clone(group_id),
            machine: Machine::None,
            written: None,
            offsets: GroupOffsets::default(),
        };
        *self.slots.get_mut(slot).expect("free slots exist") = Some(entry);
        self.slots_by_id.insert(Arc::clone(group_id), slot);
        self.groups_of_broker.fetch_add(1, Ordering::Relaxed);
        slot
    }

    fn entry(&mut self, group_id: &Arc<str>) -> &mut Entry {
        let slot = self.slot(group_id);
        let entry = self.slots.get_mut(slot).and_then(Option::as_mut);
        entry.expect("slots of ids are taken")
    }

    fn free_if_nothing_is_left(&mut self, slot: usize) {
        let Some(taken) = self.slots.get_mut(slot) else { return };
        let nothing_left = |entry: &mut Entry| {
            matches!(entry.machine, Machine::None) && entry.written.is_none() && entry.offsets.is_empty()
        };
        if let Some(entry) = taken.take_if(nothing_left) {
            self.slots_by_id.remove(&entry.group_id);
            self.free.push(slot);
            self.groups_of_broker.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a group that does not exist yet may.
    fn has_room(&self, env: &Env, group_id: &str) -> bool {
        let groups = self.groups_of_broker.load(Ordering::Relaxed);
        let groups_max = env.config.group_coordinator_max_groups;
        if groups >= groups_max {
            tracing::warn!(
                group_id,
                groups_max,
                "group refused: the broker has as many as group.coordinator.max.groups allows; delete groups or raise it"
            );
        }
        groups < groups_max
    }
}

/// The id as kept by the group, or a copy that does not pin the request's frame.
fn own_id(entry: Option<&Entry>, group_id: &str) -> Arc<str> {
    entry.map_or_else(|| Arc::from(group_id), |entry| Arc::clone(&entry.group_id))
}

/// A copy for a response.
fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
