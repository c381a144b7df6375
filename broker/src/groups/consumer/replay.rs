//! The state of a group from its records, and its records from the state.

use super::member::{Member, Owned, Subscription, Tp, target_from_record, target_to_record};
use super::{ConsumerGroup, Resolved};
use protocol::group_records::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMetadataValue, GroupRecord,
};
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What can be counted from the members; kept so that no request has to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Members by what they want.
    pub(super) subscriptions: HashMap<Arc<Subscription>, usize>,
    /// Members by pattern.
    pub(super) regexes: BTreeMap<Arc<str>, usize>,
    /// Members by the assignor that they ask for.
    pub(super) assignors: BTreeMap<Arc<str>, usize>,
    /// Members that speak the classic protocol.
    pub(super) classic: usize,
    /// Those by the protocols that they support.
    pub(super) classic_protocols: HashMap<Arc<str>, usize>,
    /// Members that own a partition, or have not given it up yet. More than one only while a log is read that was compacted in
    /// between.
    pub(super) owners: HashMap<Tp, usize>,
}

impl Counts {
    fn add_metadata(&mut self, member: &Member) {
        *self.subscriptions.entry(Arc::clone(&member.subscription)).or_default() += 1;
        if let Some(regex) = &member.subscription.regex {
            *self.regexes.entry(Arc::clone(regex)).or_default() += 1;
        }
        if let Some(assignor) = &member.server_assignor {
            *self.assignors.entry(Arc::clone(assignor)).or_default() += 1;
        }
        if let Some(classic) = &member.classic {
            self.classic += 1;
            for (protocol, _) in &classic.supported_protocols {
                *self.classic_protocols.entry(Arc::clone(protocol)).or_default() += 1;
            }
        }
    }

    fn remove_metadata(&mut self, member: &Member) {
        decrement(&mut self.subscriptions, &member.subscription);
        if let Some(regex) = &member.subscription.regex {
            decrement_sorted(&mut self.regexes, regex);
        }
        if let Some(assignor) = &member.server_assignor {
            decrement_sorted(&mut self.assignors, assignor);
        }
        if let Some(classic) = &member.classic {
            self.classic -= 1;
            for (protocol, _) in &classic.supported_protocols {
                decrement(&mut self.classic_protocols, protocol);
            }
        }
    }

    fn add_partitions(&mut self, member: &Member) {
        for owned in partitions(member) {
            *self.owners.entry(owned.tp).or_default() += 1;
        }
    }

    fn remove_partitions(&mut self, member: &Member) {
        for owned in partitions(member) {
            decrement(&mut self.owners, &owned.tp);
        }
    }
}

fn partitions(member: &Member) -> impl Iterator<Item = &Owned> {
    member.assigned.iter().chain(member.pending_revocation.iter())
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    let count = counts.get_mut(key).expect("what is taken away was counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

fn decrement_sorted(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    let count = counts.get_mut(key).expect("what is taken away was counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

impl ConsumerGroup {
    /// Applies a record of this group: at load, and after it was appended. Records of other kinds are ignored. After the
    /// tombstone of `ConsumerGroupMetadata` the group [is gone](ConsumerGroup::is_gone).
    pub fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::ConsumerGroupMetadata { value, .. } => self.replay_epoch(value.as_ref()),
            GroupRecord::ConsumerGroupMemberMetadata { member_id, value, .. } => match value {
                Some(value) => self.replay_metadata(member_id, value),
                None => self.replay_removal(member_id),
            },
            GroupRecord::ConsumerGroupTargetAssignmentMetadata { value, .. } => {
                self.assignment_epoch = value.map_or(0, |value| value.assignment_epoch);
                self.assignment_timestamp = value.map_or(0, |value| value.assignment_timestamp);
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember { member_id, value, .. } => match value {
                Some(topics) => {
                    let member_id = self.own_member_id(member_id);
                    self.targets.insert(member_id, Arc::new(target_from_record(topics)));
                }
                None => {
                    self.targets.remove(member_id);
                }
            },
            GroupRecord::ConsumerGroupCurrentMemberAssignment { member_id, value, .. } => {
                self.replay_assignment(member_id, value.as_ref());
            }
            GroupRecord::ConsumerGroupRegularExpression {
                regular_expression,
                value,
                ..
            } => self.replay_regex(regular_expression, value.as_ref()),
            GroupRecord::OffsetCommit { .. }
            | GroupRecord::GroupMetadata { .. }
            | GroupRecord::ConsumerGroupPartitionMetadata { .. }
            | GroupRecord::Unknown { .. } => {}
        }
    }

    fn replay_epoch(&mut self, value: Option<&ConsumerGroupMetadataValue>) {
        match value {
            Some(value) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
                self.is_gone = false;
            }
            None => {
                *self = ConsumerGroup::new(Arc::clone(&self.group_id));
                self.is_gone = true;
            }
        }
    }

    fn replay_metadata(&mut self, member_id: &Arc<str>, value: &ConsumerGroupMemberMetadataValue) {
        let mut member = match self.members.remove(member_id) {
            Some(member) => {
                self.counts.remove_metadata(&member);
                self.forget_instance(&member);
                member
            }
            None => Member::blank(Arc::clone(member_id)),
        };
        member.apply_metadata(value);
        let names = value.subscribed_topic_names.clone();
        member.subscription = self.share(Subscription::new(names, value.subscribed_topic_regex.clone()));
        self.counts.add_metadata(&member);
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(Arc::clone(instance_id), Arc::clone(&member.id));
        }
        self.members.insert(Arc::clone(&member.id), member);
    }

    fn replay_removal(&mut self, member_id: &Arc<str>) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        self.counts.remove_metadata(&member);
        self.counts.remove_partitions(&member);
        self.forget_instance(&member);
        self.targets.remove(member_id);
        self.soft.forget(member_id);
    }

    fn forget_instance(&mut self, member: &Member) {
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(&member.id)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn replay_assignment(&mut self, member_id: &Arc<str>, value: Option<&ConsumerGroupCurrentMemberAssignmentValue>) {
        let mut member = match (self.members.remove(member_id), value) {
            (Some(member), _) => {
                self.counts.remove_partitions(&member);
                member
            }
            (None, None) => return,
            (None, Some(_)) => {
                let mut member = Member::blank(Arc::clone(member_id));
                member.subscription = self.share(Subscription::default());
                self.counts.add_metadata(&member);
                member
            }
        };
        match value {
            Some(value) => member.apply_assignment(value),
            // The removal of the member itself follows.
            None => {
                member.epoch = super::LEAVES;
                member.previous_epoch = super::LEAVES;
                member.assigned = Arc::default();
                member.pending_revocation = Arc::default();
            }
        }
        self.counts.add_partitions(&member);
        self.members.insert(Arc::clone(&member.id), member);
    }

    fn replay_regex(&mut self, regex: &Arc<str>, value: Option<&ConsumerGroupRegularExpressionValue>) {
        match value {
            Some(value) => {
                let mut topics = value.topics.clone();
                topics.sort_unstable();
                topics.dedup();
                let resolved = Resolved {
                    topics: Arc::new(topics),
                    version: value.version,
                    timestamp_ms: value.timestamp,
                };
                self.regexes.insert(Arc::clone(regex), resolved);
            }
            None => {
                self.regexes.remove(regex);
            }
        }
    }

    /// The one that other members already have, when it is the same.
    fn share(&self, subscription: Subscription) -> Arc<Subscription> {
        match self.counts.subscriptions.get_key_value(&subscription) {
            Some((shared, _)) => Arc::clone(shared),
            None => Arc::new(subscription),
        }
    }

    /// The member's id as the group keeps it, so that one string serves all its tables.
    pub(super) fn own_member_id(&self, member_id: &str) -> Arc<str> {
        match self.members.get_key_value(member_id) {
            Some((id, _)) => Arc::clone(id),
            None => Arc::from(member_id),
        }
    }

    /// What deletes the group, its members included, in the order of writing.
    pub fn tombstones(&self) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        self.push_tombstones(self.members.keys(), &mut records);
        records
    }

    /// The same for a group whose members are these.
    pub(super) fn push_tombstones<'a>(
        &self,
        member_ids: impl Iterator<Item = &'a Arc<str>> + Clone,
        records: &mut Vec<GroupRecord>,
    ) {
        let group_id = &self.group_id;
        records.extend(member_ids.clone().map(|id| assignment_tombstone(group_id, id)));
        records.extend(member_ids.clone().map(|id| target_tombstone(group_id, id)));
        records.push(GroupRecord::ConsumerGroupTargetAssignmentMetadata {
            group_id: Arc::clone(group_id),
            value: None,
        });
        records.extend(member_ids.map(|id| metadata_tombstone(group_id, id)));
        records.extend(self.regexes.keys().map(|regex| regex_tombstone(group_id, regex)));
        records.push(GroupRecord::ConsumerGroupMetadata {
            group_id: Arc::clone(group_id),
            value: None,
        });
    }

    /// The group's whole state as records: replayed into a new group they make an equal one.
    pub fn live_records(&self, out: &mut Vec<GroupRecord>) {
        let group_id = &self.group_id;
        out.extend(self.members.values().map(|member| member.metadata_record(group_id)));
        out.push(self.epoch_record(self.epoch, self.metadata_hash));
        for (regex, resolved) in &self.regexes {
            out.push(regex_record(group_id, regex, resolved));
        }
        let targets = self
            .members
            .keys()
            .filter_map(|id| self.targets.get(id).map(|target| (id, target)));
        out.extend(targets.map(|(id, target)| target_record(group_id, id, target)));
        out.push(self.assignment_epoch_record(self.assignment_epoch, self.assignment_timestamp));
        out.extend(self.members.values().map(|member| member.assignment_record(group_id)));
    }

    pub(super) fn epoch_record(&self, epoch: i32, metadata_hash: i64) -> GroupRecord {
        GroupRecord::ConsumerGroupMetadata {
            group_id: Arc::clone(&self.group_id),
            value: Some(ConsumerGroupMetadataValue { epoch, metadata_hash }),
        }
    }

    pub(super) fn assignment_epoch_record(&self, assignment_epoch: i32, assignment_timestamp: i64) -> GroupRecord {
        GroupRecord::ConsumerGroupTargetAssignmentMetadata {
            group_id: Arc::clone(&self.group_id),
            value: Some(ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch,
                assignment_timestamp,
            }),
        }
    }
}

/// What removes a member; the order matters to readers.
pub(super) fn push_removal(group_id: &Arc<str>, member_id: &Arc<str>, records: &mut Vec<GroupRecord>) {
    records.push(assignment_tombstone(group_id, member_id));
    records.push(target_tombstone(group_id, member_id));
    records.push(metadata_tombstone(group_id, member_id));
}

pub(super) fn target_record(group_id: &Arc<str>, member_id: &Arc<str>, target: &[Tp]) -> GroupRecord {
    GroupRecord::ConsumerGroupTargetAssignmentMember {
        group_id: Arc::clone(group_id),
        member_id: Arc::clone(member_id),
        value: Some(target_to_record(target)),
    }
}

pub(super) fn regex_record(group_id: &Arc<str>, regex: &Arc<str>, resolved: &Resolved) -> GroupRecord {
    GroupRecord::ConsumerGroupRegularExpression {
        group_id: Arc::clone(group_id),
        regular_expression: Arc::clone(regex),
        value: Some(ConsumerGroupRegularExpressionValue {
            topics: resolved.topics.to_vec(),
            version: resolved.version,
            timestamp: resolved.timestamp_ms,
        }),
    }
}

pub(super) fn regex_tombstone(group_id: &Arc<str>, regex: &Arc<str>) -> GroupRecord {
    GroupRecord::ConsumerGroupRegularExpression {
        group_id: Arc::clone(group_id),
        regular_expression: Arc::clone(regex),
        value: None,
    }
}

fn assignment_tombstone(group_id: &Arc<str>, member_id: &Arc<str>) -> GroupRecord {
    GroupRecord::ConsumerGroupCurrentMemberAssignment {
        group_id: Arc::clone(group_id),
        member_id: Arc::clone(member_id),
        value: None,
    }
}

fn target_tombstone(group_id: &Arc<str>, member_id: &Arc<str>) -> GroupRecord {
    GroupRecord::ConsumerGroupTargetAssignmentMember {
        group_id: Arc::clone(group_id),
        member_id: Arc::clone(member_id),
        value: None,
    }
}

fn metadata_tombstone(group_id: &Arc<str>, member_id: &Arc<str>) -> GroupRecord {
    GroupRecord::ConsumerGroupMemberMetadata {
        group_id: Arc::clone(group_id),
        member_id: Arc::clone(member_id),
        value: None,
    }
}
