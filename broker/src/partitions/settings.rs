//! The broker's settings as they are at one moment: those of the start, and what AlterConfigs set since. What never lives here: changing
//! them.

use crate::config::BrokerConfig;
use std::collections::BTreeMap;

/// What is set for broker keys at one moment.
pub struct BrokerSettings {
    /// The configuration of the start with the dynamic configs on top: what is in effect.
    pub config: BrokerConfig,
    /// Dynamic configs by resource name: `""` for all brokers, this broker's id for it alone.
    pub(super) dynamic: BTreeMap<String, BTreeMap<String, String>>,
}

impl BrokerSettings {
    pub(super) fn new(at_start: &BrokerConfig, dynamic: BTreeMap<String, BTreeMap<String, String>>) -> BrokerSettings {
        let empty = BTreeMap::new();
        let of = |resource: &str| dynamic.get(resource).unwrap_or(&empty);
        let config = at_start.with_dynamic(of(""), of(&at_start.node_id.to_string())).unwrap_or_else(|error| {
            tracing::error!(%error, "dynamic broker configs are left out: they contradict the configuration of the start");
            at_start.clone()
        });
        BrokerSettings { config, dynamic }
    }

    /// The dynamic configs of a resource name.
    pub fn dynamic(&self, resource: &str) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.dynamic.get(resource).unwrap_or(&NONE)
    }
}
