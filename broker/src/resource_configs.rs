//! Configs of groups and of client metrics subscriptions, by name: a copy in memory of what the metadata store has.
//!
//! Names are anybody's: a group has configs before it has members, and keeps them after. What never lives here: which keys and
//! values are allowed (`config/group.rs`, `config/client_metrics.rs`), what a group does.

use crate::config::BrokerConfig;
use crate::config::group::group_overrides;
use crate::errors::ApiError;
use crate::groups::GroupOverrides;
use parking_lot::{Mutex, RwLock};
use protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::metadata::{ConfigKind, MetadataStore};

/// Configs of one resource.
pub type Configs = BTreeMap<String, String>;

/// The configs of all resources of one kind.
pub struct ResourceConfigs {
    kind: ConfigKind,
    metadata: Arc<dyn MetadataStore>,
    /// Resources that may have configs.
    names_max: usize,
    live: RwLock<BTreeMap<String, Arc<Configs>>>,
    /// Held across the write of a change; only on threads that may block.
    change: Mutex<()>,
}

impl ResourceConfigs {
    /// Reads what is there. `names_max` bounds what is added later.
    pub fn open(
        kind: ConfigKind,
        metadata: Arc<dyn MetadataStore>,
        names_max: usize,
    ) -> storage::Result<ResourceConfigs> {
        let all = metadata.resource_configs(kind)?;
        let live = all.into_iter().map(|(name, configs)| (name, Arc::new(configs)));
        Ok(ResourceConfigs {
            kind,
            names_max,
            live: RwLock::new(live.collect()),
            metadata,
            change: Mutex::new(()),
        })
    }

    /// The configs of groups: of as many as there may be groups.
    pub fn of_groups(metadata: &Arc<dyn MetadataStore>, config: &BrokerConfig) -> storage::Result<ResourceConfigs> {
        let names_max = config.group.group_coordinator_max_groups;
        ResourceConfigs::open(ConfigKind::Group, Arc::clone(metadata), names_max)
    }

    /// What is set for a resource; empty when nothing is.
    pub fn of(&self, name: &str) -> Arc<Configs> {
        self.live.read().get(name).cloned().unwrap_or_default()
    }

    /// What a group has otherwise than the broker. A look-up, mostly in vain; never waits for the disk.
    pub fn overrides(&self, group_id: &str) -> GroupOverrides {
        let live = self.live.read();
        live.get(group_id)
            .map(|configs| group_overrides(configs))
            .unwrap_or_default()
    }

    /// Names of all resources that have configs, sorted.
    pub fn names(&self) -> Vec<String> {
        self.live.read().keys().cloned().collect()
    }

    /// Changes a resource's configs: `change` gets those in force and gives the new ones, which it has checked. They are durable
    /// and in force when this returns. Blocks.
    pub fn alter(
        &self,
        name: &str,
        validate_only: bool,
        change: impl FnOnce(&Configs) -> Result<Configs, ApiError>,
    ) -> Result<(), ApiError> {
        let _change = self.change.lock();
        let current = self.of(name);
        let configs = change(&current)?;
        if current.is_empty() && !configs.is_empty() && self.live.read().len() >= self.names_max {
            let text = format!(
                "{} resources of this kind have configs; there cannot be more",
                self.names_max
            );
            return Err(ApiError::new(ErrorCode::PolicyViolation, text));
        }
        if validate_only || configs == *current {
            return Ok(());
        }
        self.metadata
            .set_resource_configs(self.kind, name, &configs)
            .map_err(|error| ApiError::storage("altering configs", &error))?;
        let mut live = self.live.write();
        if configs.is_empty() {
            live.remove(name);
        } else {
            live.insert(name.to_owned(), Arc::new(configs));
        }
        Ok(())
    }
}
