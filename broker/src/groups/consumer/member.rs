//! A member of a consumer group, and what its records say of it.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as RequestPartitions;
use protocol::group_records::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, GroupRecord,
    TopicPartitions,
};
use protocol::types::TopicId;
use std::sync::Arc;

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tp {
    pub(super) topic_id: TopicId,
    pub(super) partition: i32,
}

/// A partition that a member owns, and the epoch at which it was assigned (KIP-1251).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) tp: Tp,
    pub(super) epoch: i32,
}

/// What a member wants to read. Members that want the same share one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Subscription {
    /// Topics by name, sorted, each once.
    pub(super) names: Vec<Arc<str>>,
    /// Topics by pattern; never an empty one.
    pub(super) regex: Option<Arc<str>>,
}

impl Subscription {
    pub(super) fn new(mut names: Vec<Arc<str>>, regex: Option<Arc<str>>) -> Subscription {
        names.sort_unstable();
        names.dedup();
        let regex = regex.filter(|regex| !regex.is_empty());
        Subscription { names, regex }
    }

    pub(super) fn has_name(&self, topic: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(topic)).is_ok()
    }
}

/// How far a member is on its way to the target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It has what its epoch's target gives it.
    Stable,
    /// It must give partitions up before it may go on.
    UnrevokedPartitions,
    /// It waits for partitions that others still have.
    UnreleasedPartitions,
    /// A release after this one wrote it.
    Unknown,
}

impl MemberState {
    fn from_number(number: i8) -> MemberState {
        match number {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }

    fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }
}

/// A member. Cheap to clone: what is long is shared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) rack_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) subscription: Arc<Subscription>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) server_assignor: Option<Arc<str>>,
    /// Of members that speak the classic protocol.
    pub(super) classic: Option<Arc<ClassicMemberMetadata>>,
    pub(super) epoch: i32,
    pub(super) previous_epoch: i32,
    pub(super) state: MemberState,
    /// What it was told to own, sorted.
    pub(super) assigned: Arc<Vec<Owned>>,
    /// What it was told to give up and has not yet, sorted.
    pub(super) pending_revocation: Arc<Vec<Owned>>,
}

impl Member {
    /// A member of which nothing is known but its id.
    pub(super) fn blank(id: Arc<str>) -> Member {
        Member {
            id,
            instance_id: None,
            rack_id: None,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            subscription: Arc::default(),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Arc::default(),
            pending_revocation: Arc::default(),
        }
    }

    pub(super) fn is_classic(&self) -> bool {
        self.classic.is_some()
    }

    /// Whether it has everything that the target assignment of that epoch gives it.
    pub(super) fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    /// Moves to an epoch. The previous one stays what it was when the epoch is the same: two replies in a row may get lost.
    pub(super) fn move_to_epoch(&mut self, epoch: i32) {
        if self.epoch != epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
    }

    /// Whether the other differs in what [`Member::metadata_record`] holds.
    pub(super) fn same_metadata(&self, other: &Member) -> bool {
        self.instance_id == other.instance_id
            && self.rack_id == other.rack_id
            && self.client_id == other.client_id
            && self.client_host == other.client_host
            && self.subscription == other.subscription
            && self.rebalance_timeout_ms == other.rebalance_timeout_ms
            && self.server_assignor == other.server_assignor
            && self.classic == other.classic
    }

    pub(super) fn metadata_record(&self, group_id: &Arc<str>) -> GroupRecord {
        GroupRecord::ConsumerGroupMemberMetadata {
            group_id: Arc::clone(group_id),
            member_id: Arc::clone(&self.id),
            value: Some(ConsumerGroupMemberMetadataValue {
                instance_id: self.instance_id.clone(),
                rack_id: self.rack_id.clone(),
                client_id: Arc::clone(&self.client_id),
                client_host: Arc::clone(&self.client_host),
                subscribed_topic_names: self.subscription.names.clone(),
                subscribed_topic_regex: self.subscription.regex.clone(),
                rebalance_timeout_ms: self.rebalance_timeout_ms,
                server_assignor: self.server_assignor.clone(),
                classic_member_metadata: self.classic.as_deref().cloned(),
            }),
        }
    }

    /// Takes everything but the subscription, which the group shares out.
    pub(super) fn apply_metadata(&mut self, value: &ConsumerGroupMemberMetadataValue) {
        self.instance_id.clone_from(&value.instance_id);
        self.rack_id.clone_from(&value.rack_id);
        self.client_id = Arc::clone(&value.client_id);
        self.client_host = Arc::clone(&value.client_host);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor.clone_from(&value.server_assignor);
        self.classic = value.classic_member_metadata.clone().map(Arc::new);
    }

    pub(super) fn assignment_record(&self, group_id: &Arc<str>) -> GroupRecord {
        GroupRecord::ConsumerGroupCurrentMemberAssignment {
            group_id: Arc::clone(group_id),
            member_id: Arc::clone(&self.id),
            value: Some(ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: self.epoch,
                previous_member_epoch: self.previous_epoch,
                state: self.state.number(),
                assigned_partitions: owned_to_record(&self.assigned),
                partitions_pending_revocation: owned_to_record(&self.pending_revocation),
            }),
        }
    }

    pub(super) fn apply_assignment(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_number(value.state);
        self.assigned = Arc::new(owned_from_record(&value.assigned_partitions, value.member_epoch));
        self.pending_revocation = Arc::new(owned_from_record(
            &value.partitions_pending_revocation,
            value.member_epoch,
        ));
    }
}

/// Whether a sorted list has the partition.
pub(super) fn owns(owned: &[Owned], tp: Tp) -> bool {
    owned.binary_search_by(|owned| owned.tp.cmp(&tp)).is_ok()
}

/// The partitions that a request names, in its order.
pub(super) fn from_request(topics: &[RequestPartitions]) -> Vec<Tp> {
    let partitions = |topic: &RequestPartitions| {
        let topic_id = TopicId(topic.topic_id.into_bytes());
        let partitions = topic.partitions.iter();
        partitions
            .map(move |partition| Tp {
                topic_id,
                partition: *partition,
            })
            .collect::<Vec<_>>()
    };
    topics.iter().flat_map(partitions).collect()
}

/// A sorted list by topic, as records of target assignments have it.
pub(super) fn target_to_record(target: &[Tp]) -> Vec<TopicPartitions> {
    let chunks = target.chunk_by(|left, right| left.topic_id == right.topic_id);
    let topics = chunks.filter_map(|chunk| {
        Some(TopicPartitions {
            topic_id: chunk.first()?.topic_id,
            partitions: chunk.iter().map(|tp| tp.partition).collect(),
            assignment_epochs: Vec::new(),
        })
    });
    topics.collect()
}

/// The other way, sorted.
pub(super) fn target_from_record(topics: &[TopicPartitions]) -> Vec<Tp> {
    let mut target: Vec<Tp> = topics
        .iter()
        .flat_map(|topic| {
            let topic_id = topic.topic_id;
            topic.partitions.iter().map(move |partition| Tp {
                topic_id,
                partition: *partition,
            })
        })
        .collect();
    target.sort_unstable();
    target.dedup();
    target
}

/// A sorted list by topic, as records of current assignments have it.
pub(super) fn owned_to_record(owned: &[Owned]) -> Vec<TopicPartitions> {
    let chunks = owned.chunk_by(|left, right| left.tp.topic_id == right.tp.topic_id);
    let topics = chunks.filter_map(|chunk| {
        Some(TopicPartitions {
            topic_id: chunk.first()?.tp.topic_id,
            partitions: chunk.iter().map(|owned| owned.tp.partition).collect(),
            assignment_epochs: chunk.iter().map(|owned| owned.epoch).collect(),
        })
    });
    topics.collect()
}

/// The other way, sorted. Records of releases without assignment epochs mean the member's own.
fn owned_from_record(topics: &[TopicPartitions], member_epoch: i32) -> Vec<Owned> {
    let partitions = |topic: &TopicPartitions| {
        let with_index = topic.partitions.iter().enumerate();
        let owned = with_index.map(|(index, partition)| Owned {
            tp: Tp {
                topic_id: topic.topic_id,
                partition: *partition,
            },
            epoch: topic.assignment_epochs.get(index).copied().unwrap_or(member_epoch),
        });
        owned.collect::<Vec<_>>()
    };
    let mut owned: Vec<Owned> = topics.iter().flat_map(partitions).collect();
    owned.sort_unstable_by_key(|owned| owned.tp);
    owned.dedup_by_key(|owned| owned.tp);
    owned
}
