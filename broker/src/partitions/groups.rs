//! The catalog as consumer groups see it. What never lives here: what groups make of it.

use super::{PartitionManager, Topic};
use crate::groups::{Cluster, GroupOverrides, TopicInfo};
use protocol::types::TopicId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Cluster for PartitionManager {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        PartitionManager::topic(self, name).map(|topic| info(&topic))
    }

    fn topic_by_id(&self, id: TopicId) -> Option<TopicInfo> {
        PartitionManager::topic_by_id(self, id).map(|topic| info(&topic))
    }

    fn each_topic(&self, visit: &mut dyn FnMut(&str)) {
        self.catalog.read().by_name.keys().for_each(|name| visit(name));
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn overrides(&self, group_id: &str) -> GroupOverrides {
        self.group_configs.overrides(group_id)
    }
}

fn info(topic: &Topic) -> TopicInfo {
    TopicInfo {
        id: topic.id,
        name: Arc::from(&*topic.name),
        partitions: topic.partitions(),
    }
}
