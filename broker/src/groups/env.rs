//! What a group machine is told about the world: the time, the limits, the topics, who asks.

use protocol::types::TopicId;
use std::sync::Arc;
use uuid::Uuid;

/// The world at the moment of one event.
pub struct Env<'a> {
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Limits and defaults.
    pub config: &'a GroupConfig,
    /// Topics, and the configs of groups.
    pub cluster: &'a dyn Cluster,
    /// Makes an id that nobody had.
    pub new_id: &'a mut dyn FnMut() -> Uuid,
}

/// What groups need to know of topics. The broker's catalog is one, tests have another.
pub trait Cluster {
    /// The topic of that name.
    fn topic(&self, name: &str) -> Option<TopicInfo>;
    /// The topic of that id.
    fn topic_by_id(&self, id: TopicId) -> Option<TopicInfo>;
    /// Calls `visit` with each topic's name, internal ones included, in no particular order.
    fn each_topic(&self, visit: &mut dyn FnMut(&str));
    /// Grows with each change of the topics: created, deleted, more partitions.
    fn version(&self) -> u64;
    /// Configs that were set for a group.
    fn overrides(&self, group_id: &str) -> GroupOverrides;
}

/// A topic, as groups see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: i32,
}

/// Configs of one group (`GROUP` resource); `None`: the broker's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: Option<i64>,
    /// `consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: Option<i64>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// As it calls itself; `""` when it sent null.
    pub client_id: Arc<str>,
    /// Its address with a leading slash, as Kafka stores and shows it: `/127.0.0.1`.
    pub host: Arc<str>,
    /// Version of the API that it used.
    pub api_version: i16,
}

/// Which conversions between the two group protocols are allowed (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Both directions.
    Bidirectional,
    /// Classic groups become consumer groups.
    Upgrade,
    /// Consumer groups become classic groups.
    Downgrade,
    /// None.
    Disabled,
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    pub fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    /// Whether a consumer group may become a classic one.
    pub fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

/// Limits and defaults of groups. Each field is the config key of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented by its key in the table")]
pub struct GroupConfig {
    pub group_min_session_timeout_ms: i64,
    pub group_max_session_timeout_ms: i64,
    pub group_initial_rebalance_delay_ms: i64,
    pub group_max_size: usize,
    pub offset_metadata_max_bytes: usize,
    pub offsets_retention_ms: i64,
    pub group_consumer_session_timeout_ms: i64,
    pub group_consumer_min_session_timeout_ms: i64,
    pub group_consumer_max_session_timeout_ms: i64,
    pub group_consumer_heartbeat_interval_ms: i64,
    pub group_consumer_min_heartbeat_interval_ms: i64,
    pub group_consumer_max_heartbeat_interval_ms: i64,
    pub group_consumer_max_size: usize,
    /// By preference; the first is the default.
    pub group_consumer_assignors: Vec<Arc<str>>,
    pub group_consumer_migration_policy: MigrationPolicy,
    pub group_consumer_regex_refresh_interval_ms: i64,
    /// Groups that a broker holds at most, of all kinds; new ones beyond are refused.
    pub group_coordinator_max_groups: usize,
}

impl Default for GroupConfig {
    /// Kafka's defaults.
    fn default() -> GroupConfig {
        GroupConfig {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            group_consumer_session_timeout_ms: 45_000,
            group_consumer_min_session_timeout_ms: 45_000,
            group_consumer_max_session_timeout_ms: 60_000,
            group_consumer_heartbeat_interval_ms: 5_000,
            group_consumer_min_heartbeat_interval_ms: 5_000,
            group_consumer_max_heartbeat_interval_ms: 15_000,
            group_consumer_max_size: i32::MAX as usize,
            group_consumer_assignors: vec![Arc::from("uniform"), Arc::from("range")],
            group_consumer_migration_policy: MigrationPolicy::Bidirectional,
            group_consumer_regex_refresh_interval_ms: 600_000,
            group_coordinator_max_groups: 1_000_000,
        }
    }
}
