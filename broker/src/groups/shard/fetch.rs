//! OffsetFetch (contract 80).

use super::{Entry, Machine, Shard, str_bytes};
use crate::groups::offsets::{CommittedOffset, TopicKey};
use crate::groups::{Env, TopicInfo};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;

impl Shard {
    /// OffsetFetch of one group; null topics are all of them. What is unknown has offset −1 and no error, and so has what
    /// was committed for a topic that is gone or was created again.
    ///
    /// `require_stable` changes nothing: what is here was committed outside of transactions, or its transaction ended.
    pub fn offset_fetch(
        &self,
        env: &Env,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let _ = require_stable;
        let response = OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
        let entry = self.find(&request.group_id);
        if let Err(code) = check_fetch(entry, request) {
            return response.with_error_code(code.code());
        }
        let topics = match &request.topics {
            Some(topics) => topics.iter().map(|topic| self.fetch_topic(env, entry, topic)).collect(),
            None => entry.map_or_else(Vec::new, |entry| self.fetch_all(env, entry)),
        };
        response.with_topics(topics)
    }

    fn fetch_topic(
        &self,
        env: &Env,
        entry: Option<&Entry>,
        topic: &OffsetFetchRequestTopics,
    ) -> OffsetFetchResponseTopics {
        let info = env.cluster.topic(&topic.name);
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let found = entry.and_then(|entry| self.tables.get(&entry.offsets, &topic.name, *partition));
            match found.filter(|offset| is_of(info.as_ref(), offset)) {
                Some(offset) => committed(&offset),
                None => not_committed(*partition),
            }
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    }

    fn fetch_all(&self, env: &Env, entry: &Entry) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
        // Offsets of one topic follow each other; the topic is looked up once.
        let mut current: Option<(TopicKey, bool)> = None;
        for offset in self.tables.iter(&entry.offsets, None) {
            let is_live = match current {
                Some((key, is_live)) if key == offset.topic_key => is_live,
                _ => is_of(env.cluster.topic(offset.topic).as_ref(), &offset),
            };
            current = Some((offset.topic_key, is_live));
            if !is_live {
                continue;
            }
            let same_topic = topics.last_mut().filter(|topic| **topic.name == **offset.topic);
            match same_topic {
                Some(topic) => topic.partitions.push(committed(&offset)),
                None => topics.push(
                    OffsetFetchResponseTopics::default()
                        .with_name(str_bytes(offset.topic).into())
                        .with_partitions(vec![committed(&offset)]),
                ),
            }
        }
        topics
    }
}

/// Whether an offset was committed for this topic, not for one of the same name that is gone.
pub(super) fn is_of(topic: Option<&TopicInfo>, offset: &CommittedOffset<'_>) -> bool {
    topic.is_some_and(|topic| offset.topic_id.is_zero() || offset.topic_id == topic.id)
}

fn check_fetch(entry: Option<&Entry>, request: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
    match entry.map(|entry| &entry.machine) {
        Some(Machine::Consumer(group)) => group.check_fetch(request.member_id.as_deref(), request.member_epoch),
        // Classic groups tell their offsets to anybody.
        Some(Machine::Classic(_) | Machine::None) | None => Ok(()),
    }
}

fn committed(offset: &CommittedOffset<'_>) -> OffsetFetchResponsePartitions {
    let metadata = if offset.metadata.is_empty() {
        StrBytes::new()
    } else {
        str_bytes(offset.metadata)
    };
    OffsetFetchResponsePartitions::default()
        .with_partition_index(offset.partition)
        .with_committed_offset(offset.offset)
        .with_committed_leader_epoch(offset.leader_epoch)
        .with_metadata(Some(metadata))
}

fn not_committed(partition: i32) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::new()))
}
