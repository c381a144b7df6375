//! The machine with a clock, topics and a log that are plain data: what a shard does around a group, in small.

mod assignors;
mod classic;
mod commit;
mod heartbeat;
mod migration;
mod model;
mod reconcile;
mod regexes;
mod static_members;
mod timers;

use super::ConsumerGroup;
use crate::groups::classic::{ClassicGroup, ClassicState};
use crate::groups::{Client, Cluster, Effects, Env, GroupConfig, GroupOverrides, Reply, TimerKey, TopicInfo, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::group_records::{GroupMetadataValue, GroupRecord};
use protocol::types::TopicId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use uuid::Uuid;

const GROUP: &str = "group";
const SESSION_MS: i64 = 45_000;

/// A topic's name and a partition: how tests speak of partitions.
type Part = (String, i32);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<Arc<str>, TopicInfo>,
    version: u64,
    made: u8,
    overrides: GroupOverrides,
}

impl Topics {
    /// Makes a topic, or another one in its place.
    fn create(&mut self, name: &str, partitions: i32) {
        self.made += 1;
        let mut id = [0; 16];
        id[0] = self.made;
        let info = TopicInfo {
            id: TopicId(id),
            name: Arc::from(name),
            partitions,
        };
        self.by_name.insert(Arc::from(name), info);
        self.version += 1;
    }

    fn grow(&mut self, name: &str, partitions: i32) {
        self.by_name.get_mut(name).expect("a topic").partitions = partitions;
        self.version += 1;
    }

    fn delete(&mut self, name: &str) {
        self.by_name.remove(name).expect("a topic");
        self.version += 1;
    }

    fn all(&self, names: &[&str]) -> BTreeSet<Part> {
        let topics = names.iter().filter_map(|name| self.by_name.get(*name));
        topics
            .flat_map(|topic| (0..topic.partitions).map(|p| (topic.name.to_string(), p)))
            .collect()
    }
}

impl Cluster for Topics {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.by_name.get(name).cloned()
    }

    fn topic_by_id(&self, id: TopicId) -> Option<TopicInfo> {
        self.by_name.values().find(|topic| topic.id == id).cloned()
    }

    fn each_topic(&self, visit: &mut dyn FnMut(&str)) {
        self.by_name.keys().for_each(|name| visit(name));
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn overrides(&self, _group_id: &str) -> GroupOverrides {
        self.overrides
    }
}

#[derive(Debug, Default)]
enum Machine {
    #[default]
    None,
    Consumer(Box<ConsumerGroup>),
    Classic(Box<ClassicGroup>),
}

/// One group, its log, its timers.
#[derive(Debug, Default)]
struct Bench {
    topics: Topics,
    config: GroupConfig,
    now_ms: i64,
    ids: u128,
    machine: Machine,
    log: Vec<GroupRecord>,
    /// Records of the last event.
    last: Vec<GroupRecord>,
    timers: BTreeMap<TimerKey, i64>,
    replies: HashMap<Waiter, Reply>,
    waiters: u64,
    /// The log refuses records.
    refuses: bool,
    /// The classic group as last written.
    written: Option<GroupMetadataValue>,
}

impl Bench {
    fn new(topics: &[(&str, i32)]) -> Bench {
        let mut bench = Bench {
            now_ms: 1_000_000,
            ..Bench::default()
        };
        for (name, partitions) in topics {
            bench.topics.create(name, *partitions);
        }
        bench
    }

    fn group(&self) -> &ConsumerGroup {
        match &self.machine {
            Machine::Consumer(group) => group,
            other => panic!("no consumer group but {other:?}"),
        }
    }

    fn classic(&self) -> &ClassicGroup {
        match &self.machine {
            Machine::Classic(group) => group,
            other => panic!("no classic group but {other:?}"),
        }
    }

    /// Calls with the machine and the world; takes its effects in. Whether the log took the records.
    fn event<T>(&mut self, call: impl FnOnce(&mut Machine, &mut Env) -> (T, Effects)) -> (T, bool) {
        let mut machine = std::mem::take(&mut self.machine);
        let ids = &mut self.ids;
        let mut new_id = || {
            *ids += 1;
            Uuid::from_u128(*ids)
        };
        let mut env = Env {
            now_ms: self.now_ms,
            config: &self.config,
            cluster: &self.topics,
            new_id: &mut new_id,
        };
        let (answer, effects) = call(&mut machine, &mut env);
        self.machine = machine;
        self.last.clear();
        let done = self.take_in(effects);
        (answer, done)
    }

    fn take_in(&mut self, effects: Effects) -> bool {
        for timer in effects.timers {
            self.timers.insert(timer.key, timer.at_ms);
        }
        let refused = self.refuses && !effects.records.is_empty();
        for (waiter, reply) in effects.replies {
            let reply = if refused {
                reply.refused(ErrorCode::CoordinatorNotAvailable)
            } else {
                reply
            };
            self.replies.insert(waiter, reply);
        }
        if !refused {
            effects.records.iter().for_each(|record| self.replay(record));
            self.log.extend(effects.records.iter().cloned());
            self.last.extend(effects.records);
            if let Some(group) = effects.install {
                self.machine = Machine::Classic(group);
            }
        }
        if let Some(completion) = effects.completion {
            let result = if refused {
                Err(ErrorCode::CoordinatorNotAvailable)
            } else {
                Ok(())
            };
            let last = self.last.clone();
            self.event(|machine, env| match machine {
                Machine::Classic(group) => ((), group.written(env, completion.token, result)),
                _ => ((), Effects::none()),
            });
            self.last = last;
        }
        if refused {
            self.revive();
        }
        !refused
    }

    /// A classic group that was dissolved for an upgrade that the log refused: what a shard does when it meets a dead group.
    fn revive(&mut self) {
        if !matches!(&self.machine, Machine::Classic(group) if group.state() == ClassicState::Dead) {
            return;
        }
        self.machine = Machine::None;
        if let Some(written) = self.written.clone() {
            self.event(|machine, env| {
                let (group, effects) = ClassicGroup::from_record(env, Arc::from(GROUP), &written);
                *machine = Machine::Classic(Box::new(group));
                ((), effects)
            });
        }
    }

    fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::GroupMetadata { value, .. } => {
                self.written.clone_from(value);
                if value.is_none() && matches!(self.machine, Machine::Classic(_)) {
                    self.machine = Machine::None;
                }
            }
            _ => {
                if !matches!(self.machine, Machine::Consumer(_)) {
                    self.machine = Machine::Consumer(Box::new(ConsumerGroup::new(Arc::from(GROUP))));
                }
                if let Machine::Consumer(group) = &mut self.machine {
                    group.replay(record);
                    if group.is_gone() {
                        self.machine = Machine::None;
                    }
                }
            }
        }
    }

    /// Moves the clock; timers fire on the way.
    fn advance(&mut self, ms: i64) {
        let end_ms = self.now_ms + ms;
        while let Some(key) = self.next_timer(end_ms) {
            let at_ms = self.timers.remove(&key).expect("a timer");
            self.now_ms = self.now_ms.max(at_ms);
            self.event(|machine, env| match machine {
                Machine::Consumer(group) => ((), group.on_timer(env, &key.kind)),
                Machine::Classic(group) => ((), group.on_timer(env, &key.kind)),
                Machine::None => ((), Effects::none()),
            });
        }
        self.now_ms = end_ms;
    }

    fn next_timer(&self, end_ms: i64) -> Option<TimerKey> {
        let due = self.timers.iter().filter(|(_, at_ms)| **at_ms <= end_ms);
        due.min_by_key(|(_, at_ms)| **at_ms).map(|(key, _)| key.clone())
    }

    fn heartbeat_as(
        &mut self,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, bool) {
        self.event(|machine, env| match machine {
            Machine::Consumer(group) => group.heartbeat(env, client, request),
            Machine::Classic(group) => ConsumerGroup::upgrade(env, client, group, request),
            Machine::None => ConsumerGroup::new(Arc::from(GROUP)).heartbeat(env, client, request),
        })
    }

    /// A heartbeat that the log takes.
    fn beat(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.heartbeat_as(&client(1), request).0
    }

    /// The error of a heartbeat, and that it changed nothing.
    fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ErrorCode {
        let response = self.beat(request);
        assert!(
            self.last.is_empty(),
            "records of a request that is refused: {:?}",
            self.last
        );
        assert!(
            response.error_message.is_some_and(|message| !message.is_empty()),
            "an error without words"
        );
        ErrorCode::from_code(response.error_code).expect("a code of Kafka's")
    }

    fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        Waiter(self.waiters)
    }

    fn join(&mut self, client: &Client, request: &JoinGroupRequest) -> Waiter {
        let waiter = self.waiter();
        self.event(|machine, env| {
            if matches!(machine, Machine::None) {
                *machine = Machine::Classic(Box::new(ClassicGroup::new(Arc::from(GROUP), env.now_ms)));
            }
            match machine {
                Machine::Classic(group) => ((), group.join(env, client, waiter, request)),
                Machine::Consumer(group) => ((), group.join(env, client, waiter, request)),
                Machine::None => unreachable!(),
            }
        });
        waiter
    }

    fn sync(&mut self, request: &SyncGroupRequest) -> Waiter {
        let waiter = self.waiter();
        self.event(|machine, env| match machine {
            Machine::Classic(group) => ((), group.sync(env, &client(5), waiter, request)),
            Machine::Consumer(group) => ((), group.sync(env, &client(5), waiter, request)),
            Machine::None => {
                let mut effects = Effects::none();
                let code = ErrorCode::UnknownMemberId.code();
                effects.sync_reply(waiter, SyncGroupResponse::default().with_error_code(code));
                ((), effects)
            }
        });
        waiter
    }

    fn classic_beat(&mut self, request: &HeartbeatRequest) -> (ErrorCode, bool) {
        self.event(|machine, env| match machine {
            Machine::Classic(group) => group.heartbeat(env, &client(4), request),
            Machine::Consumer(group) => group.classic_heartbeat(env, &client(4), request),
            Machine::None => (ErrorCode::UnknownMemberId, Effects::none()),
        })
    }

    fn leave(&mut self, api_version: i16, request: &LeaveGroupRequest) -> (LeaveGroupResponse, bool) {
        self.event(|machine, env| match machine {
            Machine::Classic(group) => group.leave(env, &client(api_version), request),
            Machine::Consumer(group) => group.leave(env, &client(api_version), request),
            Machine::None => (LeaveGroupResponse::default(), Effects::none()),
        })
    }

    fn join_reply(&mut self, waiter: Waiter) -> Option<JoinGroupResponse> {
        match self.replies.remove(&waiter)? {
            Reply::Join(response) => Some(response),
            other => panic!("{other:?}"),
        }
    }

    fn sync_reply(&mut self, waiter: Waiter) -> Option<SyncGroupResponse> {
        match self.replies.remove(&waiter)? {
            Reply::Sync(response) => Some(response),
            other => panic!("{other:?}"),
        }
    }

    /// Partitions of a heartbeat's reply; `None`: it has none.
    fn assigned(&self, response: &ConsumerGroupHeartbeatResponse) -> Option<BTreeSet<Part>> {
        let assignment = response.assignment.as_ref()?;
        let topics = assignment.topic_partitions.iter();
        let parts = topics.flat_map(|topic| {
            let name = self
                .topics
                .topic_by_id(TopicId(topic.topic_id.into_bytes()))
                .map(|info| info.name);
            let name = name.map_or_else(|| "(gone)".to_owned(), |name| name.to_string());
            topic.partitions.iter().map(move |partition| (name.clone(), *partition))
        });
        Some(parts.collect())
    }

    /// A list of owned partitions, as a request has it.
    fn owned(&self, parts: &BTreeSet<Part>) -> Vec<TopicPartitions> {
        let mut by_name: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (name, partition) in parts {
            by_name.entry(name).or_default().push(*partition);
        }
        let known = by_name.into_iter().filter_map(|(name, partitions)| {
            let id = self.topics.topic(name)?.id;
            Some(
                TopicPartitions::default()
                    .with_topic_id(Uuid::from_bytes(id.0))
                    .with_partitions(partitions),
            )
        });
        known.collect()
    }

    /// A heartbeat of a member that says what it owns.
    fn owning(&self, id: &str, epoch: i32, parts: &[(&str, i32)]) -> ConsumerGroupHeartbeatRequest {
        let parts = parts
            .iter()
            .map(|(name, partition)| ((*name).to_owned(), *partition))
            .collect();
        living(id, epoch).with_topic_partitions(Some(self.owned(&parts)))
    }

    /// Joins members one by one, each to its end: everybody has what it is to have.
    fn joined(&mut self, members: &[(&str, &[&str])]) {
        for (id, names) in members {
            assert_eq!(self.beat(&joining(id, names)).error_code, 0);
        }
        self.settle(members.iter().map(|(id, _)| *id));
    }

    /// Members heartbeat, obey and report until nothing is left to do.
    fn settle<'a>(&mut self, ids: impl Iterator<Item = &'a str> + Clone) {
        for _ in 0..5 {
            for id in ids.clone() {
                let member = self.group().members.get(id).expect("a member");
                let (epoch, owned) = (
                    member.epoch,
                    member.assigned.iter().map(|owned| owned.tp).collect::<Vec<_>>(),
                );
                let owned = owned.iter().map(|tp| {
                    let name = self
                        .topics
                        .topic_by_id(tp.topic_id)
                        .map_or("(gone)".into(), |info| info.name);
                    (name.to_string(), tp.partition)
                });
                let owned = self.owned(&owned.collect());
                let response = self.beat(&living(id, epoch).with_topic_partitions(Some(owned)));
                assert_eq!(response.error_code, 0, "{response:?}");
            }
        }
        assert_eq!(self.group().state(), super::ConsumerState::Stable);
    }

    fn has(&self, id: &str) -> BTreeSet<Part> {
        let member = self.group().members.get(id).expect("a member");
        let name = |id| {
            self.topics
                .topic_by_id(id)
                .map_or("(gone)".to_owned(), |info| info.name.to_string())
        };
        member
            .assigned
            .iter()
            .map(|owned| (name(owned.tp.topic_id), owned.tp.partition))
            .collect()
    }

    /// A group that reads the same records has the same state; so has one that reads the live records alone.
    fn assert_replayable(&self) {
        let Machine::Consumer(group) = &self.machine else {
            return;
        };
        let mut live = Vec::new();
        group.live_records(&mut live);
        for records in [&live, &self.log] {
            let mut other = Bench::default();
            records.iter().for_each(|record| other.replay(record));
            let other = other.group();
            let mut other_live = Vec::new();
            other.live_records(&mut other_live);
            assert_eq!(other_live, live);
            assert_eq!(other.counts, group.counts);
            assert_eq!(other.static_members, group.static_members);
            assert_eq!(other.targets, group.targets);
            assert_eq!(other.state(), group.state());
        }
    }
}

/// `CONSUMER_GROUP_SEED` of the environment's, or a new one; tests print it.
fn seed(what: &str) -> u64 {
    let given = std::env::var("CONSUMER_GROUP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
    println!("{what}: CONSUMER_GROUP_SEED={seed}");
    seed
}

fn client(api_version: i16) -> Client {
    Client {
        client_id: Arc::from("client"),
        host: Arc::from("/127.0.0.1"),
        api_version,
    }
}

fn request(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

/// A heartbeat that says nothing but that the member lives.
fn living(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    request(id, epoch)
}

/// A full request of a member that joins.
fn joining(id: &str, names: &[&str]) -> ConsumerGroupHeartbeatRequest {
    request(id, 0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(names.iter().map(|name| text(name).into()).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

fn parts(parts: &[(&str, i32)]) -> BTreeSet<Part> {
    parts
        .iter()
        .map(|(name, partition)| ((*name).to_owned(), *partition))
        .collect()
}

/// What kinds of records, in their order.
fn kinds(records: &[GroupRecord]) -> Vec<&'static str> {
    let kind = |record: &GroupRecord| match record {
        GroupRecord::ConsumerGroupMetadata { value: Some(_), .. } => "epoch",
        GroupRecord::ConsumerGroupMetadata { value: None, .. } => "-epoch",
        GroupRecord::ConsumerGroupMemberMetadata { value: Some(_), .. } => "member",
        GroupRecord::ConsumerGroupMemberMetadata { value: None, .. } => "-member",
        GroupRecord::ConsumerGroupTargetAssignmentMetadata { value: Some(_), .. } => "target epoch",
        GroupRecord::ConsumerGroupTargetAssignmentMetadata { value: None, .. } => "-target epoch",
        GroupRecord::ConsumerGroupTargetAssignmentMember { value: Some(_), .. } => "target",
        GroupRecord::ConsumerGroupTargetAssignmentMember { value: None, .. } => "-target",
        GroupRecord::ConsumerGroupCurrentMemberAssignment { value: Some(_), .. } => "current",
        GroupRecord::ConsumerGroupCurrentMemberAssignment { value: None, .. } => "-current",
        GroupRecord::ConsumerGroupRegularExpression { value: Some(_), .. } => "regex",
        GroupRecord::ConsumerGroupRegularExpression { value: None, .. } => "-regex",
        GroupRecord::GroupMetadata { value: Some(_), .. } => "classic",
        GroupRecord::GroupMetadata { value: None, .. } => "-classic",
        _ => "other",
    };
    records.iter().map(kind).collect()
}

/// A subscription of a consumer of the classic protocol, version 1.
fn classic_subscription(names: &[&str], owned: &BTreeSet<Part>) -> Bytes {
    let mut out = Vec::new();
    let short = |out: &mut Vec<u8>, value: i16| out.extend(value.to_be_bytes());
    let int = |out: &mut Vec<u8>, value: usize| out.extend((value as i32).to_be_bytes());
    let string = |out: &mut Vec<u8>, value: &str| {
        short(out, value.len() as i16);
        out.extend(value.as_bytes());
    };
    short(&mut out, 1);
    int(&mut out, names.len());
    names.iter().for_each(|name| string(&mut out, name));
    out.extend((-1_i32).to_be_bytes());
    let mut by_name: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (name, partition) in owned {
        by_name.entry(name).or_default().push(*partition);
    }
    int(&mut out, by_name.len());
    for (name, partitions) in by_name {
        string(&mut out, name);
        int(&mut out, partitions.len());
        partitions
            .iter()
            .for_each(|partition| out.extend(partition.to_be_bytes()));
    }
    Bytes::from(out)
}

/// The partitions in an assignment of the classic protocol.
fn classic_assignment(bytes: &[u8]) -> BTreeSet<Part> {
    let assignment = protocol::consumer_protocol::Assignment::decode(bytes).expect("an assignment");
    let topics = assignment.assigned_partitions.into_iter();
    topics
        .flat_map(|topic| {
            topic
                .partitions
                .into_iter()
                .map(move |partition| (topic.topic.to_string(), partition))
        })
        .collect()
}
