//! A topic of the catalog, and the rules for its name. What never lives here: changing the catalog.

use crate::config::topic::TopicSettings;
use crate::metrics::{Metrics, TopicMetrics};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use protocol::types::TopicId;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use storage::Log;
use storage::metadata::TopicRecord;

/// Where consumer groups and their offsets live.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Topics that belong to the coordinators. Clients do not write to them (contract 37).
pub const INTERNAL_TOPICS: [&str; 3] = [CONSUMER_OFFSETS, "__share_group_state", "__transaction_state"];

/// Bytes of a topic name at most (contract 62).
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A topic as it is at one moment; a change makes a new one. Cheap to share and to hold on to.
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// Its name, in memory of its own.
    pub name: StrBytes,
    /// As asked for at creation; one copy is kept (contract 63).
    pub replication_factor: i16,
    /// Its own configs.
    pub configs: Arc<BTreeMap<String, String>>,
    /// What is in effect, broker defaults included.
    pub settings: Arc<TopicSettings>,
    pub(super) logs: Box<[Arc<Log>]>,
    pub(super) metrics: OnceLock<Arc<TopicMetrics>>,
}

impl Topic {
    /// Its counters, looked up once.
    pub fn metrics(&self, all: &Metrics) -> &TopicMetrics {
        self.metrics.get_or_init(|| all.topic(&self.name))
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> i32 {
        self.logs.len() as i32
    }

    /// The log of a partition; `None` for numbers that the topic does not have, negative ones included.
    pub fn log(&self, partition: i32) -> Option<&Arc<Log>> {
        self.logs.get(usize::try_from(partition).ok()?)
    }

    /// All logs, by partition.
    pub fn logs(&self) -> &[Arc<Log>] {
        &self.logs
    }

    /// Whether it belongs to a coordinator.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// The name as replies carry it.
    pub fn wire_name(&self) -> TopicName {
        TopicName(self.name.clone())
    }

    pub(super) fn record(&self) -> TopicRecord {
        TopicRecord {
            id: self.id,
            name: self.name.to_string(),
            partitions: self.partitions(),
            replication_factor: self.replication_factor,
            configs: BTreeMap::clone(&self.configs),
        }
    }
}

/// Whether a topic of that name belongs to a coordinator.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Checks a topic name (contract 62); the error is the text that goes with INVALID_TOPIC_EXCEPTION(17).
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}"
        ));
    }
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// The form in which names collide: metrics of Kafka's tools do not tell `.` from `_`. `None` when the name has neither.
pub(super) fn collision_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafkas_rules() {
        // contract 62
        let longest = "a".repeat(249);
        for name in [
            "a",
            "Z",
            "0",
            "a.b_c-d",
            "...",
            "-",
            "_",
            "__consumer_offsets",
            &longest,
        ] {
            assert_eq!(check_topic_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", "a:b", "日本", &too_long] {
            assert!(check_topic_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        // contract 62
        assert_eq!(collision_form("a.b"), collision_form("a_b"));
        assert_eq!(collision_form("a.b_c"), collision_form("a_b.c"));
        assert_ne!(collision_form("a.b"), collision_form("a.c"));
        assert_eq!(collision_form("a-b"), None);
    }

    #[test]
    fn internal_topics_are_known() {
        // contract 17, 37
        assert!(is_internal("__consumer_offsets") && is_internal("__transaction_state"));
        assert!(!is_internal("__mine"));
    }
}
