//! Tests of classic groups in mock time: the world that they run in. Contract 70–79.

mod bounds;
mod convert;
mod join;
mod leave;
mod model;
mod static_members;
mod sync;
mod timers;

use super::{ClassicGroup, ClassicState};
use crate::groups::{Client, Cluster, Effects, Env, GroupConfig, GroupOverrides, Reply, TimerKind, TopicInfo, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::group_records::{GroupMetadataValue, GroupRecord};
use protocol::types::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
const DELAY_MS: i64 = 3_000;

/// Classic groups know no topics.
struct NoTopics;

impl Cluster for NoTopics {
    fn topic(&self, _: &str) -> Option<TopicInfo> {
        None
    }
    fn topic_by_id(&self, _: TopicId) -> Option<TopicInfo> {
        None
    }
    fn each_topic(&self, _: &mut dyn FnMut(&str)) {}
    fn version(&self) -> u64 {
        0
    }
    fn overrides(&self, _: &str) -> GroupOverrides {
        GroupOverrides::default()
    }
}

/// Records on their way, with the replies that leave when they are durable.
struct InFlight {
    token: u64,
    records: Vec<GroupRecord>,
    replies: Vec<(Waiter, Reply)>,
}

/// A group, a clock, a log, and everybody who waits.
struct World {
    now_ms: i64,
    config: GroupConfig,
    group: ClassicGroup,
    ids: u128,
    waiters: u64,
    asked: BTreeSet<Waiter>,
    replies: BTreeMap<Waiter, Reply>,
    timers: BTreeMap<TimerKind, i64>,
    in_flight: Vec<InFlight>,
    log: Vec<GroupRecord>,
    /// Writes stay in flight until `settle`.
    holds_writes: bool,
}

/// A JoinGroup to be.
#[derive(Clone)]
struct Ask {
    member_id: String,
    instance: Option<String>,
    version: i16,
    protocol_type: String,
    protocols: Vec<(String, Vec<u8>)>,
    session_ms: i32,
    rebalance_ms: i32,
}

fn ask() -> Ask {
    Ask {
        member_id: String::new(),
        instance: None,
        version: 9,
        protocol_type: "consumer".to_owned(),
        protocols: vec![
            ("range".to_owned(), b"range".to_vec()),
            ("sticky".to_owned(), b"sticky".to_vec()),
        ],
        session_ms: SESSION_MS,
        rebalance_ms: REBALANCE_MS,
    }
}

impl Ask {
    fn member(mut self, member_id: &str) -> Ask {
        self.member_id = member_id.to_owned();
        self
    }
    fn instance(mut self, instance: &str) -> Ask {
        self.instance = Some(instance.to_owned());
        self
    }
    fn version(mut self, version: i16) -> Ask {
        self.version = version;
        self
    }
    fn protocols(mut self, protocols: &[(&str, &[u8])]) -> Ask {
        self.protocols = protocols
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect();
        self
    }
    fn request(&self) -> JoinGroupRequest {
        let protocols = self.protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default()
                .with_name(string(name))
                .with_metadata(Bytes::copy_from_slice(metadata))
        });
        JoinGroupRequest::default()
            .with_group_id(GroupId(string("g")))
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(self.rebalance_ms)
            .with_member_id(string(&self.member_id))
            .with_group_instance_id(self.instance.as_deref().map(string))
            .with_protocol_type(string(&self.protocol_type))
            .with_protocols(protocols.collect())
    }
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A SyncGroup of a follower.
fn sync_request(member_id: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(GroupId(string("g")))
        .with_member_id(string(member_id))
        .with_generation_id(generation_id)
        .with_protocol_type(Some(string("consumer")))
        .with_protocol_name(Some(string("range")))
}

/// The assignments of a leader: each member gets its own id as bytes.
fn assignments<'a>(members: impl IntoIterator<Item = &'a String>) -> Vec<SyncGroupRequestAssignment> {
    let one = |member: &String| {
        SyncGroupRequestAssignment::default()
            .with_member_id(string(member))
            .with_assignment(Bytes::copy_from_slice(member.as_bytes()))
    };
    members.into_iter().map(one).collect()
}

impl World {
    fn new() -> World {
        World {
            now_ms: 1_000_000,
            config: GroupConfig::default(),
            group: ClassicGroup::new(Arc::from("g"), 1_000_000),
            ids: 0,
            waiters: 0,
            asked: BTreeSet::new(),
            replies: BTreeMap::new(),
            timers: BTreeMap::new(),
            in_flight: Vec::new(),
            log: Vec::new(),
            holds_writes: false,
        }
    }

    /// Calls the group with the world of now; takes what it wants done.
    fn with<T>(&mut self, call: impl FnOnce(&mut ClassicGroup, &mut Env) -> (T, Effects)) -> T {
        let mut new_id = || {
            self.ids += 1;
            Uuid::from_u128(self.ids)
        };
        let mut env = Env {
            now_ms: self.now_ms,
            config: &self.config,
            cluster: &NoTopics,
            new_id: &mut new_id,
        };
        let (result, effects) = call(&mut self.group, &mut env);
        self.take(effects);
        result
    }

    fn take(&mut self, effects: Effects) {
        self.group.check();
        for timer in effects.timers {
            assert_eq!(*timer.key.group_id, *"g");
            self.timers.insert(timer.key.kind, timer.at_ms);
        }
        assert_eq!(
            effects.records.is_empty(),
            effects.completion.is_none(),
            "each write is followed up"
        );
        match effects.completion {
            None => self.deliver(effects.replies),
            Some(completion) => {
                self.in_flight.push(InFlight {
                    token: completion.token,
                    records: effects.records,
                    replies: effects.replies,
                });
                if !self.holds_writes {
                    self.settle(Ok(()));
                }
            }
        }
    }

    fn deliver(&mut self, replies: Vec<(Waiter, Reply)>) {
        for (waiter, reply) in replies {
            assert!(self.asked.contains(&waiter), "nobody asked");
            let before = self.replies.insert(waiter, reply);
            assert!(before.is_none(), "one reply a request");
        }
    }

    /// The oldest write is durable, or was refused.
    fn settle(&mut self, result: Result<(), ErrorCode>) {
        let write = self.in_flight.remove(0);
        let replies = match result {
            Ok(()) => {
                self.log.extend(write.records);
                write.replies
            }
            Err(code) => write
                .replies
                .into_iter()
                .map(|(waiter, reply)| (waiter, reply.refused(code)))
                .collect(),
        };
        self.deliver(replies);
        self.with(|group, env| ((), group.written(env, write.token, result)));
    }

    fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        self.asked.insert(Waiter(self.waiters));
        Waiter(self.waiters)
    }

    fn client(version: i16) -> Client {
        Client {
            client_id: Arc::from("client"),
            host: Arc::from("/127.0.0.1"),
            api_version: version,
        }
    }

    fn join(&mut self, ask: &Ask) -> Waiter {
        let (waiter, client, request) = (self.waiter(), World::client(ask.version), ask.request());
        self.with(|group, env| ((), group.join(env, &client, waiter, &request)));
        waiter
    }

    fn sync(&mut self, request: &SyncGroupRequest) -> Waiter {
        let (waiter, client) = (self.waiter(), World::client(5));
        self.with(|group, env| ((), group.sync(env, &client, waiter, request)));
        waiter
    }

    fn follow(&mut self, member_id: &str) -> Waiter {
        self.sync(&sync_request(member_id, self.group.generation_id()))
    }

    /// The leader syncs; everybody gets something.
    fn lead(&mut self) -> Waiter {
        let members: Vec<String> = self
            .group
            .members()
            .map(|member| member.member_id().to_string())
            .collect();
        let leader = self.group.leader().expect("there is a leader").to_string();
        let generation_id = self.group.generation_id();
        self.sync(&sync_request(&leader, generation_id).with_assignments(assignments(&members)))
    }

    fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> ErrorCode {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(string("g")))
            .with_member_id(string(member_id))
            .with_generation_id(generation_id);
        self.with(|group, env| group.heartbeat(env, &World::client(4), &request))
    }

    /// A heartbeat that must be fine, of the generation of now.
    fn beat(&mut self, member_id: &str) {
        let generation_id = self.group.generation_id();
        assert_eq!(self.heartbeat(member_id, generation_id), ErrorCode::None);
    }

    fn leave(&mut self, version: i16, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let mut request = LeaveGroupRequest::default().with_group_id(GroupId(string("g")));
        if version < 3 {
            request.member_id = string(members[0].0);
        } else {
            let identity = |(member_id, instance): &(&str, Option<&str>)| {
                MemberIdentity::default()
                    .with_member_id(string(member_id))
                    .with_group_instance_id(instance.map(string))
            };
            request.members = members.iter().map(identity).collect();
        }
        self.with(|group, env| group.leave(env, &World::client(version), &request))
    }

    fn commit(&mut self, member_id: &str, instance: Option<&str>, generation_id: i32) -> Result<(), ErrorCode> {
        self.with(|group, env| {
            (
                group.check_commit(env, member_id, instance, generation_id),
                Effects::none(),
            )
        })
    }

    /// Lets time pass; timers fire when they are due.
    fn advance(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        while let Some((kind, at_ms)) = self.next_timer().filter(|(_, at_ms)| *at_ms <= end) {
            self.now_ms = self.now_ms.max(at_ms);
            self.timers.remove(&kind);
            self.with(|group, env| ((), group.on_timer(env, &kind)));
        }
        self.now_ms = end;
    }

    fn next_timer(&self) -> Option<(TimerKind, i64)> {
        let next = self.timers.iter().min_by_key(|(_, at_ms)| **at_ms);
        next.map(|(kind, at_ms)| (kind.clone(), *at_ms))
    }

    fn is_waiting(&self, waiter: Waiter) -> bool {
        !self.replies.contains_key(&waiter)
    }

    fn joined(&self, waiter: Waiter) -> JoinGroupResponse {
        match self.replies.get(&waiter) {
            Some(Reply::Join(response)) => response.clone(),
            other => panic!("no reply to a join: {other:?}"),
        }
    }

    fn join_code(&self, waiter: Waiter) -> i16 {
        self.joined(waiter).error_code
    }

    fn synced(&self, waiter: Waiter) -> SyncGroupResponse {
        match self.replies.get(&waiter) {
            Some(Reply::Sync(response)) => response.clone(),
            other => panic!("no reply to a sync: {other:?}"),
        }
    }

    fn sync_code(&self, waiter: Waiter) -> i16 {
        self.synced(waiter).error_code
    }

    fn state(&self) -> ClassicState {
        self.group.state()
    }

    /// A dynamic member's first join, with the detour for its id. Gives its id, and its parked join.
    fn join_dynamic(&mut self, ask: &Ask) -> (String, Waiter) {
        let first = self.join(ask);
        let response = self.joined(first);
        assert_eq!(response.error_code, ErrorCode::MemberIdRequired.code());
        let member_id = response.member_id.to_string();
        let second = self.join(&ask.clone().member(&member_id));
        (member_id, second)
    }

    /// A group of these members that has assigned: ids in the order of `asks`. Static members have instance ids in theirs.
    fn stable(&mut self, asks: &[Ask]) -> Vec<String> {
        let mut parked = Vec::new();
        for ask in asks {
            let waiter = if ask.instance.is_some() {
                self.join(ask)
            } else {
                self.join_dynamic(ask).1
            };
            parked.push(waiter);
        }
        self.advance(DELAY_MS * 2);
        let ids: Vec<String> = parked
            .iter()
            .map(|waiter| self.joined(*waiter).member_id.to_string())
            .collect();
        let leader = self.group.leader().expect("there is a leader").to_string();
        for member_id in ids.iter().filter(|member_id| **member_id != leader) {
            self.follow(member_id);
        }
        self.lead();
        assert_eq!(self.state(), ClassicState::Stable);
        ids
    }

    /// The last record of the group.
    fn last_record(&self) -> &GroupMetadataValue {
        match self.log.last() {
            Some(GroupRecord::GroupMetadata { value: Some(value), .. }) => value,
            other => panic!("no record of the group: {other:?}"),
        }
    }

    /// The leader and the first of the others.
    fn leader_and_follower(&self, ids: &[String]) -> (String, String) {
        let leader = self.group.leader().expect("there is a leader").to_string();
        let follower = ids
            .iter()
            .find(|member_id| **member_id != leader)
            .expect("there is a follower");
        (leader.clone(), follower.clone())
    }
}

/// A consumer's metadata for some topics.
fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(i32::try_from(topics.len()).expect("few").to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).expect("short").to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}
