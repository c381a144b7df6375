//! Which topics a subscription means, and when they changed.

use super::assignor::TopicSpec;
use super::member::{Member, Subscription};
use super::{ConsumerGroup, Resolved};
use crate::groups::Env;
use protocol::types::TopicId;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What patterns match, by pattern.
pub(super) type Regexes = BTreeMap<Arc<str>, Resolved>;

/// The names of a subscription, those that its pattern matched included; some may be there twice.
pub(super) fn names<'a>(subscription: &'a Subscription, regexes: &'a Regexes) -> impl Iterator<Item = &'a Arc<str>> {
    let matched = subscription.regex.as_ref().and_then(|regex| regexes.get(regex));
    let matched = matched.map_or(&[][..], |resolved| resolved.topics.as_slice());
    subscription.names.iter().chain(matched)
}

/// The existing topics of a subscription, sorted by id.
pub(super) fn existing(env: &Env, subscription: &Subscription, regexes: &Regexes) -> Vec<TopicSpec> {
    let infos = names(subscription, regexes).filter_map(|name| env.cluster.topic(name));
    let mut topics: Vec<TopicSpec> = infos
        .map(|info| TopicSpec {
            topic_id: info.id,
            partitions: info.partitions,
        })
        .collect();
    topics.sort_unstable();
    topics.dedup_by_key(|topic| topic.topic_id);
    topics
}

/// The ids of the existing topics of a subscription.
pub(super) fn existing_ids(env: &Env, subscription: &Subscription, regexes: &Regexes) -> BTreeSet<TopicId> {
    existing(env, subscription, regexes)
        .iter()
        .map(|topic| topic.topic_id)
        .collect()
}

/// A number that changes when one of the topics that these members are subscribed to is created, deleted or grows; 0 when
/// there are none. It is stored, so it must stay the same over releases: FNV-1a, 64 bits, over name, id and size.
pub(super) fn metadata_hash<'a>(env: &Env, members: impl Iterator<Item = &'a Member>, regexes: &'a Regexes) -> i64 {
    let mut seen = HashSet::new();
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for member in members {
        // Members share their subscriptions, so that most of this is one look at a pointer.
        if seen.insert(Arc::as_ptr(&member.subscription)) {
            all.extend(names(&member.subscription, regexes).map(|name| &**name));
        }
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let mut any = false;
    for topic in all.into_iter().filter_map(|name| env.cluster.topic(name)) {
        any = true;
        add(topic.name.as_bytes());
        add(&[0]);
        add(&topic.id.0);
        add(&topic.partitions.to_le_bytes());
    }
    if any { hash.cast_signed() } else { 0 }
}

impl ConsumerGroup {
    /// Whether some member is subscribed to the topic, by name or pattern (contract 81, 86).
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let by_name = self
            .counts
            .subscriptions
            .keys()
            .any(|subscription| subscription.has_name(topic));
        let matches = |regex: &Arc<str>| self.regexes.get(regex).is_some_and(|resolved| resolved.has(topic));
        by_name || self.counts.regexes.keys().any(matches)
    }
}
