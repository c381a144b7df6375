//! Random life of a whole shard: groups of both protocols and of none, crashes, logs that refuse, checkpoints meanwhile.
//!
//! After each step: all records since the beginning, and a checkpoint with what lay between its chunks and after it, both
//! replay to what the shard would leave; and every offset whose commit was acknowledged, and nothing else, is what a fresh
//! shard returns. `SHARD_SEED=n` replays one run.

use super::deletion::delete_request;
use super::world::{World, client, commit_request, durable, name, replayed, text};
use crate::groups::classic::ClassicState;
use crate::groups::shard::Machine;
use crate::groups::{Reply, SnapshotCursor, Waiter};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
const TOPICS: [(&str, i32); 3] = [("t", 6), ("u", 3), ("v", 2)];
const STEPS: usize = 400;
const RUNS: u64 = 25;

/// A client of a group that speaks both protocols, one at a time.
#[derive(Clone, Default)]
struct Member {
    id: String,
    epoch: i32,
    is_leader: bool,
    others: Vec<StrBytes>,
    owned: Vec<TopicPartitions>,
}

struct Model {
    world: World,
    random: StdRng,
    members: BTreeMap<(usize, usize), Member>,
    waiting: BTreeMap<Waiter, (usize, usize)>,
    acknowledged: BTreeMap<(String, String, i32), i64>,
    /// Records since the checkpoint began, its own included.
    checkpoint: Vec<GroupRecord>,
    cursor: Option<SnapshotCursor>,
    logged: usize,
    /// How often something worth it happened, so that a model that does nothing fails.
    seen: BTreeMap<&'static str, usize>,
}

#[test]
fn shards_come_back_as_they_were() {
    let only = std::env::var("SHARD_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().expect("SHARD_SEED is a number"));
    let seeds = only.map_or(0..RUNS, |seed| seed..seed + 1);
    let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
    for seed in seeds {
        println!("SHARD_SEED={seed}");
        let mut model = Model::new(seed);
        for _ in 0..STEPS {
            model.step();
            model.check();
        }
        for (what, times) in model.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    if only.is_none() {
        for what in [
            "commit",
            "member commit",
            "joined",
            "synced",
            "beat",
            "crash",
            "refused",
            "checkpoint",
            "deleted",
        ] {
            assert!(
                seen.get(what).is_some_and(|times| *times > 10),
                "{what} hardly ever happens: {seen:?}"
            );
        }
    }
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut world = World::new();
        world.outside.topics.create("v", 2);
        world.outside.config.group_initial_rebalance_delay_ms = 100;
        Model {
            world,
            random: StdRng::seed_from_u64(seed),
            members: BTreeMap::new(),
            waiting: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            checkpoint: Vec::new(),
            cursor: Some(SnapshotCursor::default()),
            logged: 0,
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn step(&mut self) {
        let key = (self.below(GROUPS.len()), self.below(3));
        let mut member = self.members.get(&key).cloned().unwrap_or_default();
        self.world.refuse_next = self.below(25) == 0;
        match self.below(100) {
            0..15 => self.join(key, &member),
            15..30 => self.sync(key, &member),
            30..38 => self.classic_heartbeat(key, &mut member),
            38..58 => self.beat(key, &mut member),
            58..63 => self.leave(key, &mut member),
            63..73 => self.commit(key, &member, false),
            73..83 => self.commit(key, &member, true),
            83..86 => self.delete_offsets(key),
            86..88 => self.delete_group(key),
            88..90 => self.create_topic_again(),
            90..97 => {
                let ms = [50, 150, 3_000, 50_000][self.below(4)];
                self.world.advance(ms);
            }
            97..98 => self.world.expire(),
            _ => self.crash(),
        }
        self.world.refuse_next = false;
        self.take_replies();
        self.write_checkpoint();
    }

    /// After everything: is all where it is to be?
    fn check(&mut self) {
        let live = durable(&self.world.shard);
        let mut fresh = replayed(&self.world.log);
        assert_eq!(durable(&fresh), live, "all records since the beginning");
        if self.cursor.is_none() {
            assert_eq!(
                durable(&replayed(&self.checkpoint)),
                live,
                "the checkpoint and what followed"
            );
        }
        for entry in self.world.shard.slots.iter().flatten() {
            if let Machine::Classic(group) = &entry.machine {
                let written = entry.written.as_deref().map(|value| GroupRecord::GroupMetadata {
                    group_id: entry.group_id.clone(),
                    value: Some(value.clone()),
                });
                // In a rebalance the group is ahead of its record; else it is what its record says.
                let record = group.record();
                // A first write that was refused may leave it too careful: a tombstone too many does no harm.
                assert!(record.is_some() || written.is_none(), "the log has something to delete");
                if group.state() == ClassicState::Stable {
                    assert_eq!(
                        record.map(without_time),
                        written.map(without_time),
                        "a stable group is as the log has it"
                    );
                }
            }
        }
        std::mem::swap(&mut self.world.shard, &mut fresh);
        let mut found = BTreeMap::new();
        for group in GROUPS {
            let offsets = self.world.fetch_all(group).into_iter();
            found.extend(offsets.map(|((topic, partition), offset)| ((group.to_owned(), topic, partition), offset)));
        }
        std::mem::swap(&mut self.world.shard, &mut fresh);
        assert_eq!(found, self.acknowledged, "acknowledged commits");
    }

    fn join(&mut self, key: (usize, usize), member: &Member) {
        let subscription = ConsumerProtocolSubscription::default().with_topics(vec![text(TOPICS[key.1].0)]);
        let mut metadata = bytes::BytesMut::from(&[0, 1][..]);
        subscription.encode(&mut metadata, 1).expect("a subscription");
        let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(key))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(20_000)
            .with_member_id(text(&member.id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol.with_metadata(metadata.freeze())]);
        let waiter = self.world.waiter();
        self.waiting.insert(waiter, key);
        self.world
            .event(|shard, env| ((), shard.join_group(env, &client(9), waiter, &request)));
    }

    fn sync(&mut self, key: (usize, usize), member: &Member) {
        let assignments = member.others.iter().filter(|_| member.is_leader).map(|id| {
            SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(bytes::Bytes::from_static(&[0, 1, 0, 0, 0, 0, 255, 255, 255, 255]))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(key))
            .with_generation_id(member.epoch)
            .with_member_id(text(&member.id))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.collect());
        let waiter = self.world.waiter();
        self.waiting.insert(waiter, key);
        self.world
            .event(|shard, env| ((), shard.sync_group(env, &client(5), waiter, &request)));
    }

    fn classic_heartbeat(&mut self, key: (usize, usize), member: &mut Member) {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(key))
            .with_generation_id(member.epoch)
            .with_member_id(text(&member.id));
        let (response, _) = self
            .world
            .event(|shard, env| shard.heartbeat(env, &client(4), &request));
        if response.error_code == ErrorCode::UnknownMemberId.code() {
            self.members.remove(&key);
        }
    }

    fn beat(&mut self, key: (usize, usize), member: &mut Member) {
        if member.id.is_empty() {
            member.id = format!("new-{}-{}", key.0, key.1);
            member.epoch = 0;
        }
        let joins = member.epoch == 0;
        let topic = TOPICS[self.below(TOPICS.len())].0;
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(key))
            .with_member_id(text(&member.id))
            .with_member_epoch(member.epoch)
            .with_rebalance_timeout_ms(20_000)
            .with_subscribed_topic_names((joins || topic == "v").then(|| vec![name(topic)]))
            .with_topic_partitions(Some(if joins { Vec::new() } else { member.owned.clone() }));
        let event = self
            .world
            .event(|shard, env| shard.consumer_group_heartbeat(env, &client(1), &request));
        let (response, taken) = event;
        if !taken {
            return self.saw("refused");
        }
        if response.error_code != 0 {
            member.epoch = 0;
            member.owned.clear();
        } else {
            self.saw("beat");
            member.epoch = response.member_epoch;
            if let Some(assignment) = response.assignment {
                let owned = assignment.topic_partitions.into_iter().map(|topic| {
                    TopicPartitions::default()
                        .with_topic_id(topic.topic_id)
                        .with_partitions(topic.partitions)
                });
                member.owned = owned.collect();
            }
        }
        self.members.insert(key, member.clone());
    }

    fn leave(&mut self, key: (usize, usize), member: &mut Member) {
        if self.below(2) == 0 {
            member.epoch = -1;
            self.beat(key, member);
        } else {
            let identity = MemberIdentity::default().with_member_id(text(&member.id));
            let request = LeaveGroupRequest::default()
                .with_group_id(group_id(key))
                .with_members(vec![identity]);
            self.world
                .event(|shard, env| shard.leave_group(env, &client(5), &request));
        }
        self.members.remove(&key);
    }

    fn commit(&mut self, key: (usize, usize), member: &Member, as_member: bool) {
        let (topic, partitions) = TOPICS[self.below(TOPICS.len())];
        // Now and then a partition that does not exist.
        let partition = i32::try_from(self.below(8)).expect("small") % (partitions + 1);
        let offset = i64::from(self.random.random_range(0..1_000_000));
        let mut request = commit_request(GROUPS[key.0], &[(topic, partition, offset)]);
        if as_member {
            request.member_id = text(&member.id);
            request.generation_id_or_member_epoch = member.epoch;
        }
        let (response, taken) = self
            .world
            .event(|shard, env| shard.offset_commit(env, &client(9), &request));
        let code = response.topics[0].partitions[0].error_code;
        if taken && code == 0 {
            self.saw(if as_member { "member commit" } else { "commit" });
            self.acknowledged
                .insert((GROUPS[key.0].to_owned(), topic.to_owned(), partition), offset);
        }
        assert!(code != 0 || partition < partitions, "a partition that does not exist");
    }

    fn delete_offsets(&mut self, key: (usize, usize)) {
        let topic = TOPICS[self.below(TOPICS.len())].0;
        let request = delete_request(GROUPS[key.0], topic, &[0, 1]);
        let (response, taken) = self.world.event(|shard, env| shard.offset_delete(env, &request));
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if taken && partition.error_code == 0 {
                let key = (GROUPS[key.0].to_owned(), topic.to_owned(), partition.partition_index);
                self.acknowledged.remove(&key);
            }
        }
    }

    fn delete_group(&mut self, key: (usize, usize)) {
        let (code, taken) = self.world.event(|shard, _| shard.delete_group(GROUPS[key.0]));
        if taken && code == ErrorCode::None {
            self.saw("deleted");
            self.acknowledged.retain(|(group, _, _), _| group != GROUPS[key.0]);
            assert!(
                self.world.shard.find(GROUPS[key.0]).is_none(),
                "deleted groups are gone"
            );
        }
    }

    fn create_topic_again(&mut self) {
        let (topic, partitions) = TOPICS[self.below(TOPICS.len())];
        let id = self.world.outside.topics.delete(topic).expect("always there");
        let tells = self.below(2) == 0;
        if tells {
            self.world.event(|shard, env| ((), shard.topics_deleted(env, &[id])));
        }
        self.world.outside.topics.create(topic, partitions);
        self.acknowledged.retain(|(_, of, _), _| of != topic);
    }

    fn crash(&mut self) {
        self.saw("crash");
        // Half of the time from the checkpoint, as a start would.
        let all = std::mem::take(&mut self.world.log);
        let from_checkpoint = self.cursor.is_none() && self.below(2) == 0;
        self.world.log = if from_checkpoint { self.checkpoint.clone() } else { all };
        self.logged = self.world.log.len();
        // A checkpoint that is not done is worth nothing after a start; its cursor means nothing to another shard.
        if self.cursor.is_some() {
            self.checkpoint.clear();
            self.cursor = Some(SnapshotCursor::default());
        }
        self.world.refuse_next = false;
        self.waiting.clear();
        self.world.crash();
    }

    fn take_replies(&mut self) {
        for (waiter, reply) in std::mem::take(&mut self.world.replies) {
            let key = self.waiting.remove(&waiter).expect("each waiter gets one reply");
            let mut member = self.members.get(&key).cloned().unwrap_or_default();
            match reply {
                Reply::Join(response) => {
                    self.saw("joined");
                    member.id = response.member_id.to_string();
                    member.is_leader = response.leader == response.member_id;
                    member.others = response.members.iter().map(|member| member.member_id.clone()).collect();
                    if response.error_code == 0 {
                        member.epoch = response.generation_id;
                    } else if response.error_code != ErrorCode::MemberIdRequired.code() {
                        member = Member::default();
                    }
                }
                Reply::Sync(response) if response.error_code == 0 => self.saw("synced"),
                Reply::Sync(_) => {}
            }
            self.members.insert(key, member);
        }
    }

    /// What was appended goes behind the chunks that were taken; now and then another chunk, or a new checkpoint.
    fn write_checkpoint(&mut self) {
        self.checkpoint.extend(self.world.log.iter().skip(self.logged).cloned());
        self.logged = self.world.log.len();
        let chance = self.below(12);
        match self.cursor {
            Some(cursor) if chance < 4 => {
                let records_max = 1 + chance;
                let (chunk, next) = self.world.shard.snapshot_chunk(cursor, records_max);
                self.checkpoint.extend(chunk);
                self.cursor = next;
                if next.is_none() {
                    self.saw("checkpoint");
                }
            }
            None if chance == 0 => {
                self.checkpoint.clear();
                self.cursor = Some(SnapshotCursor::default());
            }
            _ => {}
        }
    }
}

fn group_id(key: (usize, usize)) -> GroupId {
    GroupId(text(GROUPS[key.0]))
}

/// Since when a group is in its state matters only once it is empty.
fn without_time(mut record: GroupRecord) -> GroupRecord {
    if let GroupRecord::GroupMetadata { value: Some(value), .. } = &mut record {
        value.current_state_timestamp = -1;
    }
    record
}
