//! What a broker must not forget besides records: topics, configs, producer-id blocks, its identity.
//! Every write is synchronous: when a call returns, it survives power loss.

mod rocks;

pub(crate) use rocks::RocksMetadata;

use crate::error::Result;
use protocol::types::TopicId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// A topic as created and altered by users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Identity; a new one each time a name is created.
    #[serde(with = "topic_id_serde")]
    pub id: TopicId,
    /// Name, unique among live topics.
    pub name: String,
    /// Number of partitions; grows only.
    pub partitions: i32,
    /// As asked for; recorded and described, one copy is kept (contract 63).
    pub replication_factor: i16,
    /// Config overrides of this topic, Kafka's keys.
    pub configs: BTreeMap<String, String>,
}

/// A kind of resource that has configs of its own, besides topics and brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigKind {
    /// A consumer group, by id; it need not exist.
    Group,
    /// A client metrics subscription, by name.
    ClientMetrics,
}

/// The levels that the cluster's features were finalized at (KIP-584).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalizedFeatures {
    /// Grows with each change (contract 14).
    pub epoch: i64,
    /// By feature name.
    pub levels: BTreeMap<String, i16>,
}

/// Durable facts of a broker or a cluster. RocksDB is the first implementation, a shared store the planned second.
pub trait MetadataStore: Send + Sync {
    /// The cluster's id: 22 characters of URL-safe base64, made once.
    fn cluster_id(&self) -> String;

    /// The bytes of the cluster's id: the data directory is made with it, so that it names the directory as well.
    fn directory_id(&self) -> TopicId;

    /// All live topics, in no particular order.
    fn topics(&self) -> Result<Vec<TopicRecord>>;

    /// Adds topics, all or none. `AlreadyExists` when a name is taken.
    fn create_topics(&self, topics: &[TopicRecord]) -> Result<()>;

    /// Replaces the record of a live topic (same id). `NotFound` when it is gone.
    fn update_topic(&self, topic: &TopicRecord) -> Result<()>;

    /// Removes a topic and leaves a tombstone of its id, so that journal entries of it are dropped (engine rule 10).
    fn delete_topic(&self, id: TopicId) -> Result<()>;

    /// Dynamic broker configs by resource name: `""` is the cluster default, else a broker id.
    fn broker_configs(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>>;

    /// Replaces the dynamic configs of one resource name.
    fn set_broker_configs(&self, resource: &str, configs: &BTreeMap<String, String>) -> Result<()>;

    /// Configs of all resources of a kind that have any, by resource name.
    fn resource_configs(&self, kind: ConfigKind) -> Result<BTreeMap<String, BTreeMap<String, String>>>;

    /// Replaces the configs of one resource.
    fn set_resource_configs(&self, kind: ConfigKind, name: &str, configs: &BTreeMap<String, String>) -> Result<()>;

    /// The finalized features; `None` until they are set for the first time.
    fn features(&self) -> Result<Option<FinalizedFeatures>>;

    /// Replaces the levels of all features. The epoch is one more than before, 0 the first time.
    fn set_features(&self, levels: &BTreeMap<String, i16>) -> Result<FinalizedFeatures>;

    /// A fresh block of producer ids, never handed out before or again, restarts included (contract 89).
    fn allocate_producer_ids(&self, count: i64) -> Result<Range<i64>>;
}

mod topic_id_serde {
    use super::TopicId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &TopicId, serializer: S) -> Result<S::Ok, S::Error> {
        id.0.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TopicId, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(TopicId)
    }
}
