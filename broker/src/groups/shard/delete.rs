//! Offsets that go: OffsetDelete, deleted topics (contract 65, 81).

use super::{Entry, Machine, Shard};
use crate::groups::offsets::CommittedOffset;
use crate::groups::{Effects, Env};
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use protocol::types::TopicId;
use std::collections::HashMap;
use std::sync::Arc;

/// Offsets of topics that are gone are deleted by so many at a time: nobody can see them anyway.
pub(super) const STALE_OFFSETS_MAX: usize = 10_000;

impl Shard {
    /// OffsetDelete: of topics that no member is subscribed to.
    pub fn offset_delete(&mut self, env: &Env, request: &OffsetDeleteRequest) -> (OffsetDeleteResponse, Effects) {
        if request.group_id.is_empty() {
            return refused(ErrorCode::InvalidGroupId);
        }
        let Some(entry) = self.find(&request.group_id) else {
            return refused(ErrorCode::GroupIdNotFound);
        };
        // Only a group of consumers can be asked what it reads.
        if let Machine::Classic(group) = &entry.machine
            && let Err(code) = group.check_offset_delete()
        {
            return refused(code);
        }
        let mut effects = Effects::none();
        let topics = request.topics.iter().map(|topic| {
            let code = delete_error(env, entry, topic);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let found = self.tables.get(&entry.offsets, &topic.name, index);
                if let Some(offset) = found.filter(|_| code == ErrorCode::None) {
                    effects.records.push(tombstone(entry, &offset));
                }
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code.code())
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let topics = topics.collect();
        (OffsetDeleteResponse::default().with_topics(topics), effects)
    }

    /// Topics were deleted: their offsets go. To be called when the cluster no longer has them: from that moment no fetch
    /// returns these offsets and nobody can commit for them, so when they are many the rest is left to
    /// [`Shard::expire`].
    pub fn topics_deleted(&mut self, env: &Env, topics: &[TopicId]) -> Effects {
        if !topics.iter().any(|id| self.tables.has_topic_id(id)) {
            return Effects::none();
        }
        Effects {
            records: self.stale_offsets(env),
            ..Effects::none()
        }
    }

    /// Tombstones of offsets of topics that are gone, or were created again.
    pub(super) fn stale_offsets(&self, env: &Env) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        let mut is_stale = HashMap::new();
        for entry in self.slots.iter().flatten() {
            for offset in self.tables.iter(&entry.offsets, None) {
                let stale = is_stale
                    .entry(offset.topic_key)
                    .or_insert_with(|| !super::fetch::is_of(env.cluster.topic(offset.topic).as_ref(), &offset));
                if *stale {
                    records.push(tombstone(entry, &offset));
                }
                if records.len() >= STALE_OFFSETS_MAX {
                    return records;
                }
            }
        }
        records
    }
}

pub(super) fn tombstone(entry: &Entry, offset: &CommittedOffset<'_>) -> GroupRecord {
    GroupRecord::OffsetCommit {
        group_id: Arc::clone(&entry.group_id),
        topic: Arc::clone(offset.topic),
        partition: offset.partition,
        value: None,
    }
}

/// Whether some member of the group reads the topic.
pub(super) fn is_subscribed(entry: &Entry, topic: &str) -> bool {
    match &entry.machine {
        Machine::Classic(group) => group.is_subscribed(topic),
        Machine::Consumer(group) => group.is_subscribed(topic),
        Machine::None => false,
    }
}

fn delete_error(env: &Env, entry: &Entry, topic: &OffsetDeleteRequestTopic) -> ErrorCode {
    if env.cluster.topic(&topic.name).is_none() {
        ErrorCode::UnknownTopicOrPartition
    } else if is_subscribed(entry, &topic.name) {
        ErrorCode::GroupSubscribedToTopic
    } else {
        ErrorCode::None
    }
}

fn refused(code: ErrorCode) -> (OffsetDeleteResponse, Effects) {
    (
        OffsetDeleteResponse::default().with_error_code(code.code()),
        Effects::none(),
    )
}
