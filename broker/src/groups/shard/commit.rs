//! OffsetCommit (contract 79, 87).

use super::{Entry, Machine, Shard, own_id};
use crate::groups::consumer::{CommitCheck, Committer};
use crate::groups::{Client, Effects, Env, TopicInfo};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::ErrorCode;
use protocol::group_records::{GroupRecord, OffsetCommitValue};
use std::sync::Arc;

/// What a committer may commit.
enum Right<'a> {
    Everything,
    /// Each partition is asked for.
    Checked(CommitCheck<'a>),
}

/// What all partitions of one request share.
struct Commit<'a> {
    group_id: Arc<str>,
    right: Right<'a>,
    no_metadata: &'a Arc<str>,
    metadata_max: usize,
    now_ms: i64,
    expire_timestamp: i64,
    records: Vec<GroupRecord>,
}

impl Shard {
    /// OffsetCommit. A commit without membership (generation −1) to a group that does not exist makes a simple group.
    pub fn offset_commit(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &OffsetCommitRequest,
    ) -> (OffsetCommitResponse, Effects) {
        if let Err(code) = self.check_classic_commit(env, client, request) {
            return (refused(request, code), Effects::none());
        }
        let entry = self.find(&request.group_id);
        let right = match right(entry, client, request) {
            Ok(right) => right,
            Err(code) => return (refused(request, code), Effects::none()),
        };
        let mut commit = Commit {
            group_id: own_id(entry, &request.group_id),
            right,
            no_metadata: self.tables.no_metadata(),
            metadata_max: env.config.offset_metadata_max_bytes,
            now_ms: env.now_ms,
            expire_timestamp: expire_timestamp(client.api_version, request.retention_time_ms, env.now_ms),
            records: Vec::new(),
        };
        let topics = request.topics.iter().map(|topic| commit.topic(env, topic)).collect();
        let effects = Effects {
            records: commit.records,
            ..Effects::none()
        };
        (OffsetCommitResponse::default().with_topics(topics), effects)
    }

    /// Everything that needs no look at a consumer group. Renews the session of a classic member.
    fn check_classic_commit(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let generation_id = request.generation_id_or_member_epoch;
        let has_room = self.find(&request.group_id).is_some() || generation_id >= 0;
        let has_room = has_room || self.has_room(env, &request.group_id);
        match self.machine(&request.group_id) {
            Some(Machine::Classic(group)) => {
                let instance_id = request.group_instance_id.as_deref();
                group.check_commit(env, &request.member_id, instance_id, generation_id)
            }
            Some(Machine::Consumer(_)) => Ok(()),
            // A simple group has no members.
            Some(Machine::None) if generation_id >= 0 => Err(ErrorCode::UnknownMemberId),
            Some(Machine::None) => Ok(()),
            None if generation_id >= 0 && client.api_version >= 9 => Err(ErrorCode::GroupIdNotFound),
            None if generation_id >= 0 => Err(ErrorCode::IllegalGeneration),
            None if !has_room => Err(ErrorCode::GroupMaxSizeReached),
            None => Ok(()),
        }
    }
}

fn right<'a>(entry: Option<&'a Entry>, client: &Client, request: &OffsetCommitRequest) -> Result<Right<'a>, ErrorCode> {
    let Some(Machine::Consumer(group)) = entry.map(|entry| &entry.machine) else {
        return Ok(Right::Everything);
    };
    let check = group.check_commit(&Committer {
        member_id: &request.member_id,
        group_instance_id: request.group_instance_id.as_deref(),
        member_epoch: request.generation_id_or_member_epoch,
        api_version: client.api_version,
        transactional: false,
    })?;
    Ok(Right::Checked(check))
}

impl Commit<'_> {
    fn topic(&mut self, env: &Env, topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
        let info = env.cluster.topic(&topic.name);
        let partitions = topic.partitions.iter().map(|partition| {
            let code = match self.partition(info.as_ref(), partition) {
                Ok(record) => {
                    self.records.push(record);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            answer(partition, code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    }

    fn partition(
        &self,
        topic: Option<&TopicInfo>,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<GroupRecord, ErrorCode> {
        let index = partition.partition_index;
        let topic = topic
            .filter(|topic| (0..topic.partitions).contains(&index))
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        // Kafka counts UTF-16 units, in spite of the config's name.
        if metadata.encode_utf16().nth(self.metadata_max).is_some() {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        if let Right::Checked(check) = &self.right {
            check.partition(topic.id, index)?;
        }
        Ok(GroupRecord::OffsetCommit {
            group_id: Arc::clone(&self.group_id),
            topic: Arc::clone(&topic.name),
            partition: index,
            value: Some(OffsetCommitValue {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: if metadata.is_empty() {
                    Arc::clone(self.no_metadata)
                } else {
                    Arc::from(metadata)
                },
                commit_timestamp: self.now_ms,
                expire_timestamp: self.expire_timestamp,
                topic_id: topic.id,
            }),
        })
    }
}

/// Versions 2 to 4 may say how long an offset is kept; −1, and every other version, leave it to the broker.
fn expire_timestamp(api_version: i16, retention_time_ms: i64, now_ms: i64) -> i64 {
    if !(2..=4).contains(&api_version) || retention_time_ms == -1 {
        return -1;
    }
    now_ms.saturating_add(retention_time_ms).max(0)
}

fn refused(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| answer(partition, code));
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn answer(partition: &OffsetCommitRequestPartition, code: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default()
        .with_partition_index(partition.partition_index)
        .with_error_code(code.code())
}
