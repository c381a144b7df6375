//! The committed offsets of a shard, packed: a million of them are a common size.
//!
//! Names and ids of topics are kept once a shard and counted; an offset is a key of 8 bytes and a value of 32, in one tree
//! a group. What never lives here: who may commit, what expires (`super::shard`), records' bytes.

mod interner;
#[cfg(test)]
mod tests;

use interner::{Interner, Key};
use protocol::group_records::OffsetCommitValue;
use protocol::types::TopicId;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The names and ids that the offsets of all groups of a shard refer to.
#[derive(Debug)]
pub struct OffsetTables {
    topics: Interner<Arc<str>>,
    ids: Interner<TopicId>,
    offsets: usize,
    /// Shared by all offsets without metadata.
    no_metadata: Arc<str>,
}

/// The offsets of one group. They mean something only together with the [`OffsetTables`] that they were put in by; before
/// one is dropped it is [cleared](OffsetTables::clear), or the tables count references that are gone.
#[derive(Debug, Default)]
pub struct GroupOffsets {
    offsets: BTreeMap<OffsetKey, Stored>,
}

/// Where an offset is kept: by topic, then partition. An order for cursors, which nothing else may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    topic: Key,
    partition: i32,
}

/// Which topic and which id of it an offset is for: equal for offsets of the same topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicKey {
    topic: Key,
    id: Key,
}

#[derive(Debug)]
struct Stored {
    offset: i64,
    commit_timestamp: i64,
    /// What few offsets have.
    extra: Option<Box<Extra>>,
    leader_epoch: i32,
    id: Key,
}

#[derive(Debug)]
struct Extra {
    metadata: Arc<str>,
    expire_timestamp: i64,
}

/// An offset as it was committed.
#[derive(Clone, Copy, Debug)]
pub struct CommittedOffset<'a> {
    /// The topic's name.
    pub topic: &'a Arc<str>,
    /// The topic's id when it was committed; zero when the record had none.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// −1: the client gave none.
    pub leader_epoch: i32,
    /// Milliseconds since 1970.
    pub commit_timestamp: i64,
    /// Milliseconds since 1970; −1: by the broker's retention.
    pub expire_timestamp: i64,
    /// The client's own text.
    pub metadata: &'a Arc<str>,
    /// Where it is kept.
    pub key: OffsetKey,
    /// Whose it is.
    pub topic_key: TopicKey,
}

impl CommittedOffset<'_> {
    /// As a record has it.
    pub fn to_value(&self) -> OffsetCommitValue {
        OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: Arc::clone(self.metadata),
            commit_timestamp: self.commit_timestamp,
            expire_timestamp: self.expire_timestamp,
            topic_id: self.topic_id,
        }
    }
}

impl Default for OffsetTables {
    fn default() -> OffsetTables {
        OffsetTables {
            topics: Interner::default(),
            ids: Interner::default(),
            offsets: 0,
            no_metadata: Arc::from(""),
        }
    }
}

impl OffsetTables {
    /// How many offsets all groups have.
    pub fn total(&self) -> usize {
        self.offsets
    }

    /// An empty text that costs nothing.
    pub fn no_metadata(&self) -> &Arc<str> {
        &self.no_metadata
    }

    /// Whether an offset of this topic is kept.
    pub fn has_topic_id(&self, id: &TopicId) -> bool {
        self.ids.find(id).is_some()
    }

    /// Keeps an offset, in place of the one that its partition had.
    pub fn put(&mut self, group: &mut GroupOffsets, topic: &Arc<str>, partition: i32, value: &OffsetCommitValue) {
        let extra = (!value.metadata.is_empty() || value.expire_timestamp != -1).then(|| {
            let metadata = if value.metadata.is_empty() {
                Arc::clone(&self.no_metadata)
            } else {
                Arc::clone(&value.metadata)
            };
            Box::new(Extra {
                metadata,
                expire_timestamp: value.expire_timestamp,
            })
        });
        let topic = self.topics.acquire(topic);
        let id = self.ids.acquire(&value.topic_id);
        let stored = Stored {
            offset: value.offset,
            commit_timestamp: value.commit_timestamp,
            extra,
            leader_epoch: value.leader_epoch,
            id,
        };
        match group.offsets.insert(OffsetKey { topic, partition }, stored) {
            None => self.offsets += 1,
            Some(old) => {
                self.topics.release(topic);
                self.ids.release(old.id);
            }
        }
    }

    /// Forgets an offset; nothing happens when there is none.
    pub fn remove(&mut self, group: &mut GroupOffsets, topic: &str, partition: i32) {
        let Some(topic) = self.topics.find(topic) else { return };
        if let Some(old) = group.offsets.remove(&OffsetKey { topic, partition }) {
            self.offsets -= 1;
            self.topics.release(topic);
            self.ids.release(old.id);
        }
    }

    /// Forgets all offsets of a group.
    pub fn clear(&mut self, group: &mut GroupOffsets) {
        for (key, old) in std::mem::take(&mut group.offsets) {
            self.offsets -= 1;
            self.topics.release(key.topic);
            self.ids.release(old.id);
        }
    }

    /// The offset of a partition.
    pub fn get<'a>(&'a self, group: &'a GroupOffsets, topic: &str, partition: i32) -> Option<CommittedOffset<'a>> {
        let topic = self.topics.find(topic)?;
        let (key, stored) = group.offsets.get_key_value(&OffsetKey { topic, partition })?;
        Some(self.view(key, stored))
    }

    /// All offsets of a group, those of one topic together, by partition. `after`: only those behind that one.
    pub fn iter<'a>(
        &'a self,
        group: &'a GroupOffsets,
        after: Option<OffsetKey>,
    ) -> impl Iterator<Item = CommittedOffset<'a>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let offsets = group.offsets.range((from, Bound::Unbounded));
        offsets.map(|(key, stored)| self.view(key, stored))
    }

    fn view<'a>(&'a self, key: &OffsetKey, stored: &'a Stored) -> CommittedOffset<'a> {
        let extra = stored.extra.as_deref();
        CommittedOffset {
            topic: self.topics.get(key.topic),
            topic_id: *self.ids.get(stored.id),
            partition: key.partition,
            offset: stored.offset,
            leader_epoch: stored.leader_epoch,
            commit_timestamp: stored.commit_timestamp,
            expire_timestamp: extra.map_or(-1, |extra| extra.expire_timestamp),
            metadata: extra.map_or(&self.no_metadata, |extra| &extra.metadata),
            key: *key,
            topic_key: TopicKey {
                topic: key.topic,
                id: stored.id,
            },
        }
    }
}

impl GroupOffsets {
    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }
}
