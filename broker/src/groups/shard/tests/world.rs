//! A shard with its log, a clock that is set by hand, and topics that come and go.

use crate::groups::shard::{Machine, Shard, SnapshotCursor};
use crate::groups::{
    Client, Cluster, Completion, Effects, Env, GroupConfig, GroupOverrides, Reply, TimerKey, TopicInfo, Waiter,
};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use protocol::types::TopicId;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

pub(super) const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    pub by_name: BTreeMap<String, TopicInfo>,
    pub version: u64,
    ids: u8,
}

impl Topics {
    pub(super) fn create(&mut self, name: &str, partitions: i32) -> TopicId {
        self.ids += 1;
        self.version += 1;
        let id = TopicId([self.ids; 16]);
        let info = TopicInfo {
            id,
            name: Arc::from(name),
            partitions,
        };
        self.by_name.insert(name.to_owned(), info);
        id
    }

    pub(super) fn delete(&mut self, name: &str) -> Option<TopicId> {
        self.version += 1;
        self.by_name.remove(name).map(|topic| topic.id)
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
        GroupOverrides::default()
    }
}

/// What is not the shard.
pub(super) struct Outside {
    pub now_ms: i64,
    pub config: GroupConfig,
    pub topics: Topics,
    pub ids: u128,
}

impl Outside {
    pub(super) fn with<T>(&mut self, call: impl FnOnce(&mut Env) -> T) -> T {
        let ids = &mut self.ids;
        let mut new_id = || {
            *ids += 1;
            Uuid::from_u128(*ids)
        };
        call(&mut Env {
            now_ms: self.now_ms,
            config: &self.config,
            cluster: &self.topics,
            new_id: &mut new_id,
        })
    }
}

pub(super) struct World {
    pub shard: Shard,
    pub outside: Outside,
    pub log: Vec<GroupRecord>,
    pub timers: BTreeMap<TimerKey, i64>,
    pub replies: Vec<(Waiter, Reply)>,
    pub waiters: u64,
    /// Refuses the records of the next event that has any.
    pub refuse_next: bool,
}

impl World {
    pub(super) fn new() -> World {
        let mut outside = Outside {
            now_ms: 1_000_000,
            config: GroupConfig::default(),
            topics: Topics::default(),
            ids: 0,
        };
        outside.topics.create("t", 6);
        outside.topics.create("u", 3);
        let mut world = World {
            shard: Shard::new(),
            outside,
            log: Vec::new(),
            timers: BTreeMap::new(),
            replies: Vec::new(),
            waiters: 0,
            refuse_next: false,
        };
        world.event(|shard, env| ((), shard.loaded(env)));
        world
    }

    /// One event: its records are appended and replayed, then whoever waits for them is told. `true`: the log took them.
    pub(super) fn event<T>(&mut self, call: impl FnOnce(&mut Shard, &mut Env) -> (T, Effects)) -> (T, bool) {
        let shard = &mut self.shard;
        let (answer, effects) = self.outside.with(|env| call(shard, env));
        (answer, self.apply(effects))
    }

    pub(super) fn apply(&mut self, effects: Effects) -> bool {
        let refused = self.refuse_next && !effects.records.is_empty();
        for timer in effects.timers {
            self.timers.insert(timer.key, timer.at_ms);
        }
        if refused {
            self.refuse_next = false;
            let code = ErrorCode::CoordinatorNotAvailable;
            let replies = effects
                .replies
                .iter()
                .map(|(waiter, reply)| (*waiter, reply.refused(code)));
            self.replies.extend(replies);
            self.told(effects.completion, Err(code));
            return false;
        }
        for record in &effects.records {
            self.shard.replay(record);
        }
        self.log.extend(effects.records);
        if let Some(group) = effects.install {
            self.shard.install(group);
        }
        self.replies.extend(effects.replies);
        self.told(effects.completion, Ok(()));
        true
    }

    fn told(&mut self, completion: Option<Completion>, result: Result<(), ErrorCode>) {
        if let Some(completion) = completion {
            let shard = &mut self.shard;
            let effects = self.outside.with(|env| shard.written(env, &completion, result));
            self.apply(effects);
        }
    }

    pub(super) fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        Waiter(self.waiters)
    }

    /// Lets time pass; timers fire in their order.
    pub(super) fn advance(&mut self, ms: i64) {
        let until = self.outside.now_ms + ms;
        while let Some((key, at)) = self
            .timers
            .iter()
            .min_by_key(|(_, at)| **at)
            .map(|(key, at)| (key.clone(), *at))
        {
            if at > until {
                break;
            }
            self.outside.now_ms = self.outside.now_ms.max(at);
            self.timers.remove(&key);
            self.event(|shard, env| ((), shard.on_timer(env, &key)));
        }
        self.outside.now_ms = until;
    }

    /// A crash: what is in the log is all there is.
    pub(super) fn crash(&mut self) {
        self.shard = replayed(&self.log);
        self.timers.clear();
        self.replies.clear();
        self.event(|shard, env| ((), shard.loaded(env)));
    }

    pub(super) fn expire(&mut self) {
        loop {
            let (progress, _) = self.event(|shard, env| {
                let (effects, progress) = shard.expire(env);
                (progress, effects)
            });
            if progress == crate::groups::Progress::Done {
                return;
            }
        }
    }

    pub(super) fn commit(&mut self, version: i16, request: &OffsetCommitRequest) -> Vec<ErrorCode> {
        let client = client(version);
        let (response, taken) = self.event(|shard, env| shard.offset_commit(env, &client, request));
        assert!(taken, "the log takes everything unless told otherwise");
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions
            .map(|p| ErrorCode::from_code(p.error_code).expect("a code"))
            .collect()
    }

    /// −1: none.
    pub(super) fn fetch(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let topics = OffsetFetchRequestTopics::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![partition]);
        let request = fetch_request(group).with_topics(Some(vec![topics]));
        let shard = &self.shard;
        let response = self.outside.with(|env| shard.offset_fetch(env, &request, true));
        assert_eq!(response.error_code, 0);
        let answer = &response.topics[0].partitions[0];
        assert_eq!((answer.partition_index, answer.error_code), (partition, 0));
        answer.committed_offset
    }

    /// Everything of a group, as `topic-partition` to offset.
    pub(super) fn fetch_all(&mut self, group: &str) -> BTreeMap<(String, i32), i64> {
        let request = fetch_request(group).with_topics(None);
        let shard = &self.shard;
        let response = self.outside.with(|env| shard.offset_fetch(env, &request, false));
        assert_eq!(response.error_code, 0);
        let topics = response.topics.iter();
        let flat = topics.flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
        flat.map(|(topic, p)| ((topic.name.to_string(), p.partition_index), p.committed_offset))
            .collect()
    }
}

pub(super) fn replayed(log: &[GroupRecord]) -> Shard {
    let mut shard = Shard::new();
    log.iter().for_each(|record| shard.replay(record));
    shard
}

/// What a crash leaves: every record of the state, in an order that does not depend on how it came about.
pub(super) fn durable(shard: &Shard) -> Vec<String> {
    let mut records = snapshot(shard);
    for record in &mut records {
        normalise(record);
    }
    let mut texts: Vec<String> = records.iter().map(|record| format!("{record:?}")).collect();
    texts.sort();
    texts
}

fn normalise(record: &mut GroupRecord) {
    if let GroupRecord::GroupMetadata { value: Some(value), .. } = record {
        value.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    }
}

pub(super) fn snapshot(shard: &Shard) -> Vec<GroupRecord> {
    let (mut records, mut cursor) = (Vec::new(), Some(SnapshotCursor::default()));
    while let Some(at) = cursor {
        let (chunk, next) = shard.snapshot_chunk(at, 3);
        records.extend(chunk);
        cursor = next;
    }
    records
}

pub(super) fn is_simple(shard: &Shard, group: &str) -> bool {
    matches!(shard.find(group), Some(entry) if matches!(entry.machine, Machine::None) && entry.written.is_none())
}

pub(super) fn client(api_version: i16) -> Client {
    Client {
        client_id: Arc::from("tester"),
        host: Arc::from("/127.0.0.1"),
        api_version,
    }
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

pub(super) fn fetch_request(group: &str) -> OffsetFetchRequestGroup {
    OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_member_epoch(-1)
}

/// A commit without membership.
pub(super) fn commit_request(group: &str, offsets: &[(&str, i32, i64)]) -> OffsetCommitRequest {
    let topics = offsets.iter().map(|(topic, partition, offset)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset);
        OffsetCommitRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![partition])
    });
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(-1)
        .with_topics(topics.collect())
}
