//! Configs of client metrics subscriptions (KIP-714): validated, stored and described, so that tools which manage them work.
//! Clients are not asked for metrics here, so that they change nothing. Pure.

use super::topic::{ConfigType, Validator, list_items, validate_value};
use crate::errors::ApiError;
use protocol::ErrorCode;
use std::collections::BTreeMap;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct ClientMetricsKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub config_type: ConfigType,
    /// The default as text.
    pub default: &'static str,
    /// A sentence for a person.
    pub documentation: &'static str,
}

const INTERVAL: &str = "interval.ms";
const MATCH: &str = "match";

/// All keys, sorted by name.
pub const CLIENT_METRICS_KEYS: &[ClientMetricsKey] = &[
    ClientMetricsKey {
        name: INTERVAL,
        config_type: ConfigType::Int,
        default: "300000",
        documentation: "How often a client is to push its metrics, milliseconds.",
    },
    ClientMetricsKey {
        name: MATCH,
        config_type: ConfigType::List,
        default: "",
        documentation: "Which clients are meant: `name=pattern` pairs, all of which have to match; none means every client.",
    },
    ClientMetricsKey {
        name: "metrics",
        config_type: ConfigType::List,
        default: "",
        documentation: "Prefixes of the names of metrics that are wanted; `*` means all.",
    },
];

/// What `match` may look at.
const MATCH_NAMES: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Milliseconds between pushes that may be asked for, inclusive.
const INTERVAL_MS: (i64, i64) = (100, 3_600_000);

/// Finds a key by Kafka's exact name.
pub fn client_metrics_key(name: &str) -> Option<&'static ClientMetricsKey> {
    CLIENT_METRICS_KEYS.iter().find(|key| key.name == name)
}

/// Checks all configs of one subscription. Kafka gives INVALID_REQUEST(42) for an unknown key and an interval out of range, and
/// INVALID_CONFIG(40) for what does not parse.
pub fn validate_client_metrics(configs: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let request = |text: String| ApiError::new(ErrorCode::InvalidRequest, text);
    let config = |text: String| ApiError::new(ErrorCode::InvalidConfig, text);
    for (name, value) in configs {
        let key =
            client_metrics_key(name).ok_or_else(|| request(format!("Unknown client metrics configuration: {name}")))?;
        validate_value(name, key.config_type, &Validator::Any, value).map_err(config)?;
    }
    if let Some(interval) = configs.get(INTERVAL) {
        let (min, max) = INTERVAL_MS;
        if !interval
            .trim()
            .parse()
            .is_ok_and(|interval: i64| (min..=max).contains(&interval))
        {
            let text =
                format!("Invalid value {interval} for {INTERVAL}, interval must be between {min} and {max} (1 hour)");
            return Err(request(text));
        }
    }
    for pattern in configs.get(MATCH).map(|value| list_items(value)).unwrap_or_default() {
        if !is_match(pattern) {
            return Err(config(format!("Illegal client matching pattern: {pattern}")));
        }
    }
    Ok(())
}

/// Whether it is `name=regular expression`.
fn is_match(pattern: &str) -> bool {
    match pattern.split_once('=') {
        Some((name, expression)) => {
            let expression = expression.trim();
            let plain = !expression.is_empty() && !expression.contains('=');
            MATCH_NAMES.contains(&name.trim()) && plain && regex::Regex::new(expression).is_ok()
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> i16 {
        let configs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        validate_client_metrics(&configs).map_or_else(|error| error.code.code(), |()| 0)
    }

    #[test]
    fn keys_and_intervals() {
        // contract 66
        assert_eq!(check(&[]), 0);
        assert_eq!(check(&[("metrics", "*"), ("interval.ms", "1000")]), 0);
        assert_eq!(check(&[("metrics", "")]), 0);
        assert_eq!(check(&[("push.interval", "1000")]), 42);
        for (value, code) in [
            ("99", 42),
            ("100", 0),
            ("3600000", 0),
            ("3600001", 42),
            ("x", 40),
            ("", 40),
        ] {
            assert_eq!(check(&[("interval.ms", value)]), code, "{value:?}");
        }
    }

    #[test]
    fn matches_are_names_and_expressions() {
        // contract 66
        for good in [
            "",
            "client_id=a",
            "client_software_name = apache.* , client_source_port=90[0-9]+",
        ] {
            assert_eq!(check(&[("match", good)]), 0, "{good:?}");
        }
        for bad in [
            "client_id",
            "client_id=",
            "=a",
            "host=a",
            "client_id=a=b",
            "client_id=(",
            "client_id=a,x=1",
        ] {
            assert_eq!(check(&[("match", bad)]), 40, "{bad:?}");
        }
    }

    #[test]
    fn keys_are_sorted_and_their_defaults_pass() {
        assert!(CLIENT_METRICS_KEYS.is_sorted_by(|a, b| a.name < b.name));
        let defaults: Vec<_> = CLIENT_METRICS_KEYS.iter().map(|key| (key.name, key.default)).collect();
        assert_eq!(check(&defaults), 0);
    }
}
