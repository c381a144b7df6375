//! Group configs: what one consumer group may have otherwise than the broker says (KIP-848, contract 66). Pure.
//!
//! Kafka's keys for share and streams groups are not here: nothing would obey them. What never lives here: who is in a group.

use super::topic::{ConfigType, Validator, validate_value};
use crate::groups::{GroupConfig, GroupOverrides};
use std::collections::BTreeMap;

/// One group config key.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfigKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub config_type: ConfigType,
    /// The broker key that is its default.
    pub broker_key: &'static str,
    /// A sentence for a person.
    pub documentation: &'static str,
}

const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

/// All keys, sorted by name.
pub const GROUP_CONFIG_KEYS: &[GroupConfigKey] = &[
    GroupConfigKey {
        name: HEARTBEAT_INTERVAL,
        config_type: ConfigType::Int,
        broker_key: "group.consumer.heartbeat.interval.ms",
        documentation: "Members of the group are told to send a heartbeat so often, milliseconds.",
    },
    GroupConfigKey {
        name: SESSION_TIMEOUT,
        config_type: ConfigType::Int,
        broker_key: "group.consumer.session.timeout.ms",
        documentation: "A member of the group that is silent for so long is removed, milliseconds.",
    },
];

/// Finds a key by Kafka's exact name.
pub fn group_config_key(name: &str) -> Option<&'static GroupConfigKey> {
    GROUP_CONFIG_KEYS.iter().find(|key| key.name == name)
}

/// What a group has otherwise than the broker, out of configs that were validated when they were set. A value that cannot be read, as
/// a newer release may have written it, counts as unset.
pub fn group_overrides(configs: &BTreeMap<String, String>) -> GroupOverrides {
    let number = |name: &str| configs.get(name)?.trim().parse().ok();
    GroupOverrides {
        consumer_session_timeout_ms: number(SESSION_TIMEOUT),
        consumer_heartbeat_interval_ms: number(HEARTBEAT_INTERVAL),
    }
}

/// Checks all configs of one group against the bounds that the broker sets; the error is the text for the client.
pub fn validate_group_configs(configs: &BTreeMap<String, String>, broker: &GroupConfig) -> Result<(), String> {
    for (name, value) in configs {
        let key = group_config_key(name).ok_or_else(|| format!("Unknown group config name: {name}"))?;
        validate_value(name, key.config_type, &Validator::AtLeast(1), value)?;
    }
    let overrides = group_overrides(configs);
    let in_range = |name: &str, value: Option<i64>, min: i64, max: i64| match value {
        Some(value) if value < min => Err(format!("{name} must be greater than or equal to {min}")),
        Some(value) if value > max => Err(format!("{name} must be less than or equal to {max}")),
        _ => Ok(()),
    };
    in_range(
        HEARTBEAT_INTERVAL,
        overrides.consumer_heartbeat_interval_ms,
        broker.group_consumer_min_heartbeat_interval_ms,
        broker.group_consumer_max_heartbeat_interval_ms,
    )?;
    in_range(
        SESSION_TIMEOUT,
        overrides.consumer_session_timeout_ms,
        broker.group_consumer_min_session_timeout_ms,
        broker.group_consumer_max_session_timeout_ms,
    )?;
    let session = overrides.consumer_session_timeout_ms;
    let heartbeat = overrides.consumer_heartbeat_interval_ms;
    if session.unwrap_or(broker.group_consumer_session_timeout_ms)
        <= heartbeat.unwrap_or(broker.group_consumer_heartbeat_interval_ms)
    {
        return Err(format!("{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker_key;

    fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn values_lie_within_the_brokers_bounds() {
        // contract 66
        let broker = GroupConfig::default();
        let check = |pairs: &[(&str, &str)]| validate_group_configs(&configs(pairs), &broker).is_ok();
        assert!(check(&[]));
        for (value, good) in [("44999", false), ("45000", true), ("60000", true), ("60001", false)] {
            assert_eq!(check(&[(SESSION_TIMEOUT, value)]), good, "{value}");
        }
        for (value, good) in [("4999", false), ("5000", true), (" 15000 ", true), ("15001", false)] {
            assert_eq!(check(&[(HEARTBEAT_INTERVAL, value)]), good, "{value}");
        }
        for value in ["", "x", "5000.5", "-1", "99999999999"] {
            assert!(!check(&[(HEARTBEAT_INTERVAL, value)]), "{value:?}");
        }
        assert!(!check(&[("share.session.timeout.ms", "45000")]), "nothing obeys it");
    }

    #[test]
    fn a_session_outlasts_the_heartbeat_whoever_sets_either() {
        // contract 66
        let broker = GroupConfig {
            group_consumer_min_session_timeout_ms: 1,
            group_consumer_session_timeout_ms: 10_000,
            ..GroupConfig::default()
        };
        let check = |pairs: &[(&str, &str)]| validate_group_configs(&configs(pairs), &broker).is_ok();
        assert!(check(&[(HEARTBEAT_INTERVAL, "9999")]));
        assert!(!check(&[(HEARTBEAT_INTERVAL, "10000")]));
        assert!(!check(&[(SESSION_TIMEOUT, "5000")]));
        assert!(check(&[(SESSION_TIMEOUT, "15001"), (HEARTBEAT_INTERVAL, "15000")]));
    }

    #[test]
    fn overrides_are_what_is_set() {
        let some = configs(&[(SESSION_TIMEOUT, " 50000"), ("from.the.future", "1")]);
        let expected = GroupOverrides {
            consumer_session_timeout_ms: Some(50_000),
            consumer_heartbeat_interval_ms: None,
        };
        assert_eq!(group_overrides(&some), expected);
        assert_eq!(group_overrides(&configs(&[])), GroupOverrides::default());
    }

    #[test]
    fn every_key_has_its_broker_key() {
        assert!(GROUP_CONFIG_KEYS.is_sorted_by(|a, b| a.name < b.name));
        for key in GROUP_CONFIG_KEYS {
            assert!(broker_key(key.broker_key).is_some(), "{}", key.name);
        }
    }
}
