//! Cluster features (KIP-584): which levels this release supports, which the cluster has agreed on, and the change from one to
//! another (contract 14). Only what works is here: there is no `metadata.version`, because there is no metadata log, and no
//! `transaction.version` without transactions.

use crate::errors::ApiError;
use parking_lot::{Mutex, RwLock};
use protocol::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::metadata::{FinalizedFeatures, MetadataStore};

/// A feature of this release.
#[derive(Clone, Copy, Debug)]
pub struct SupportedFeature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level; 0 is "off".
    pub min_level: i16,
    /// Highest level.
    pub max_level: i16,
    /// What a new cluster starts with.
    pub default_level: i16,
}

/// Whether groups may use the protocol of KIP-848: 1 when they may.
pub const GROUP_VERSION: &str = "group.version";

/// All features, sorted by name.
pub const SUPPORTED_FEATURES: &[SupportedFeature] = &[SupportedFeature {
    name: GROUP_VERSION,
    min_level: 0,
    max_level: 1,
    default_level: 1,
}];

/// How a feature may change: Kafka's `FeatureUpdate.UpgradeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// To a higher level, or the same.
    Upgrade,
    /// To a lower level, or the same. With what is here, none loses anything.
    Downgrade,
}

/// A level that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature's name.
    pub name: String,
    /// The level it is to have; 0 turns it off.
    pub level: i16,
    /// In which direction; `None` is a type that nobody knows.
    pub upgrade_type: Option<UpgradeType>,
}

/// The cluster's features.
pub struct Features {
    metadata: Arc<dyn MetadataStore>,
    finalized: RwLock<Arc<FinalizedFeatures>>,
    /// Held across the write of a change; only on threads that may block.
    change: Mutex<()>,
}

impl Features {
    /// Reads the finalized levels; a new data directory gets the defaults, durably. `NewerFormat` when a level is above what this
    /// release supports. Blocks.
    pub fn open(metadata: Arc<dyn MetadataStore>) -> storage::Result<Features> {
        let finalized = match metadata.features()? {
            Some(finalized) => finalized,
            None => metadata.set_features(&default_levels())?,
        };
        for (name, level) in &finalized.levels {
            if !is_supported(name, *level) {
                let text =
                    format!("feature {name} was finalized at level {level}, which this release does not support");
                return Err(storage::Error::new(storage::ErrorKind::NewerFormat, text));
            }
        }
        Ok(Features {
            metadata,
            finalized: RwLock::new(Arc::new(finalized)),
            change: Mutex::new(()),
        })
    }

    /// Levels and epoch now.
    pub fn finalized(&self) -> Arc<FinalizedFeatures> {
        Arc::clone(&self.finalized.read())
    }

    /// A feature's level; 0 when it is off.
    pub fn level(&self, name: &str) -> i16 {
        self.finalized.read().levels.get(name).copied().unwrap_or(0)
    }

    /// Changes levels, all or none; durable when this returns, at a higher epoch. Blocks.
    pub fn update(&self, updates: &[FeatureUpdate], validate_only: bool) -> Result<(), ApiError> {
        let _change = self.change.lock();
        let levels = changed_levels(&self.finalized().levels, updates)?;
        if validate_only || updates.is_empty() {
            return Ok(());
        }
        let finalized = self
            .metadata
            .set_features(&levels)
            .map_err(|error| ApiError::storage("updating features", &error))?;
        tracing::info!(epoch = finalized.epoch, levels = ?finalized.levels, "features were updated");
        *self.finalized.write() = Arc::new(finalized);
        Ok(())
    }
}

fn default_levels() -> BTreeMap<String, i16> {
    let on = SUPPORTED_FEATURES.iter().filter(|feature| feature.default_level > 0);
    on.map(|feature| (feature.name.to_owned(), feature.default_level))
        .collect()
}

fn is_supported(name: &str, level: i16) -> bool {
    let feature = SUPPORTED_FEATURES.iter().find(|feature| feature.name == name);
    feature.is_some_and(|feature| (feature.min_level..=feature.max_level).contains(&level))
}

/// The levels after the updates, or why not.
fn changed_levels(
    levels: &BTreeMap<String, i16>,
    updates: &[FeatureUpdate],
) -> Result<BTreeMap<String, i16>, ApiError> {
    let mut changed = levels.clone();
    let mut names = BTreeSet::new();
    for update in updates {
        if !names.insert(&update.name) {
            let text = format!("Feature {} occurs more than once.", update.name);
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        let current = levels.get(&update.name).copied().unwrap_or(0);
        if let Err(why) = check_update(update, current) {
            let text = format!(
                "Invalid update version {} for feature {}. {why}",
                update.level, update.name
            );
            return Err(ApiError::new(ErrorCode::InvalidUpdateVersion, text));
        }
        if update.level == 0 {
            changed.remove(&update.name);
        } else {
            changed.insert(update.name.clone(), update.level);
        }
    }
    Ok(changed)
}

fn check_update(update: &FeatureUpdate, current: i16) -> Result<(), String> {
    let Some(upgrade_type) = update.upgrade_type else {
        return Err("The controller does not support the given upgrade type.".to_owned());
    };
    if update.level < 0 {
        return Err("A feature version cannot be less than 0.".to_owned());
    }
    let Some(feature) = SUPPORTED_FEATURES.iter().find(|feature| feature.name == update.name) else {
        return Err("This broker does not support the feature.".to_owned());
    };
    if !is_supported(feature.name, update.level) {
        let (min, max) = (feature.min_level, feature.max_level);
        return Err(format!("This broker only supports versions {min}-{max}."));
    }
    match upgrade_type {
        UpgradeType::Upgrade if update.level < current => Err(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
                .to_owned(),
        ),
        UpgradeType::Downgrade if update.level > current => Err("Can't downgrade to a newer version.".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(name: &str, level: i16, upgrade_type: Option<UpgradeType>) -> FeatureUpdate {
        FeatureUpdate {
            name: name.to_owned(),
            level,
            upgrade_type,
        }
    }

    #[test]
    fn levels_go_up_and_down_only_as_asked() {
        // contract 14
        let on = default_levels();
        let off = BTreeMap::new();
        assert_eq!(on, BTreeMap::from([("group.version".to_owned(), 1)]));
        let (up, down) = (Some(UpgradeType::Upgrade), Some(UpgradeType::Downgrade));
        let change = |levels, level, upgrade_type| {
            changed_levels(levels, &[update(GROUP_VERSION, level, upgrade_type)]).map_err(|error| error.code)
        };
        let refused = Err(ErrorCode::InvalidUpdateVersion);
        assert_eq!(change(&on, 1, up), Ok(on.clone()));
        assert_eq!(change(&on, 1, down), Ok(on.clone()));
        assert_eq!(change(&on, 0, down), Ok(off.clone()));
        assert_eq!(change(&on, 0, up), refused);
        assert_eq!(change(&off, 1, up), Ok(on.clone()));
        assert_eq!(change(&off, 1, down), refused);
        for level in [2, -1, i16::MIN, i16::MAX] {
            assert_eq!(change(&on, level, up), refused, "{level}");
        }
        assert_eq!(change(&on, 1, None), refused);
    }

    #[test]
    fn one_bad_update_spoils_all() {
        // contract 14
        let up = Some(UpgradeType::Upgrade);
        let both = [update(GROUP_VERSION, 1, up), update("metadata.version", 29, up)];
        let refused = changed_levels(&BTreeMap::new(), &both).expect_err("there is no metadata.version");
        assert_eq!(refused.code, ErrorCode::InvalidUpdateVersion);
        let twice = [update(GROUP_VERSION, 1, up), update(GROUP_VERSION, 1, up)];
        let refused = changed_levels(&BTreeMap::new(), &twice).expect_err("named twice");
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn what_is_supported_is_sorted_and_its_default_lies_within() {
        assert!(SUPPORTED_FEATURES.is_sorted_by(|a, b| a.name < b.name));
        for feature in SUPPORTED_FEATURES {
            assert!(is_supported(feature.name, feature.default_level));
        }
    }
}
