//! The records of `__consumer_offsets`, in Kafka's formats: what consumer groups and their offsets are made of.
//!
//! A record's key begins with an `i16` that says what it is; its value with an `i16` that is the value's own version. What
//! a record means for a group lives in the broker; here are bytes and types. Source: the message definitions of Kafka's
//! `group-coordinator` module, release 4.3.0.
//!
//! The types are here, [`GroupRecord::key_bytes`] and [`GroupRecord::value_bytes`] in `encode.rs`, [`GroupRecord::decode`]
//! in `decode.rs`.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use encode::EncodeError;

use crate::types::TopicId;
use bytes::Bytes;
use std::sync::Arc;

/// One record: its key's type with the key's fields, and a value; `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// Key version 1 (0 is read too): an offset that a group committed.
    OffsetCommit {
        /// The group.
        group_id: Arc<str>,
        /// The topic's name.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// What was committed.
        value: Option<OffsetCommitValue>,
    },
    /// Key version 2: a whole classic group.
    GroupMetadata {
        /// The group.
        group_id: Arc<str>,
        /// The group as its last generation left it.
        value: Option<GroupMetadataValue>,
    },
    /// Key version 3: a consumer group (KIP-848) and its epoch.
    ConsumerGroupMetadata {
        /// The group.
        group_id: Arc<str>,
        /// Its epoch.
        value: Option<ConsumerGroupMetadataValue>,
    },
    /// Key version 4: written by Kafka up to 4.0 only; read and ignored.
    ConsumerGroupPartitionMetadata {
        /// The group.
        group_id: Arc<str>,
    },
    /// Key version 5: a member of a consumer group and what it asked for.
    ConsumerGroupMemberMetadata {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
        /// Its subscription.
        value: Option<ConsumerGroupMemberMetadataValue>,
    },
    /// Key version 6: the epoch of a consumer group's target assignment.
    ConsumerGroupTargetAssignmentMetadata {
        /// The group.
        group_id: Arc<str>,
        /// The epoch.
        value: Option<ConsumerGroupTargetAssignmentMetadataValue>,
    },
    /// Key version 7: what a member is to own.
    ConsumerGroupTargetAssignmentMember {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
        /// Partitions by topic.
        value: Option<Vec<TopicPartitions>>,
    },
    /// Key version 8: what a member owns, and how far it has come.
    ConsumerGroupCurrentMemberAssignment {
        /// The group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
        /// Its state.
        value: Option<ConsumerGroupCurrentMemberAssignmentValue>,
    },
    /// Key version 16: the topics that a regular expression of a group matched.
    ConsumerGroupRegularExpression {
        /// The group.
        group_id: Arc<str>,
        /// The expression.
        regular_expression: Arc<str>,
        /// Its topics.
        value: Option<ConsumerGroupRegularExpressionValue>,
    },
    /// A key version that this release does not know. Kept out of the state, never an error.
    Unknown {
        /// The key's version.
        key_version: i16,
    },
}

/// An offset that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitValue {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read; −1 when the client gave none.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: Arc<str>,
    /// When it was committed, milliseconds since 1970.
    pub commit_timestamp: i64,
    /// When it expires, of clients up to OffsetCommit version 4; −1: by the broker's retention.
    pub expire_timestamp: i64,
    /// The topic it was committed for; zero in records that Kafka wrote before 4.1.
    pub topic_id: TopicId,
}

/// A classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadataValue {
    /// `consumer`, `connect`, …; empty: no protocol.
    pub protocol_type: Arc<str>,
    /// Counts rebalances.
    pub generation: i32,
    /// The protocol (assignor) that was chosen.
    pub protocol: Option<Arc<str>>,
    /// Member id of the leader.
    pub leader: Option<Arc<str>>,
    /// When the group came into its state, milliseconds since 1970; −1: unknown.
    pub current_state_timestamp: i64,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub member_id: Arc<str>,
    /// Of static members.
    pub group_instance_id: Option<Arc<str>>,
    /// As the client calls itself.
    pub client_id: Arc<str>,
    /// Its address, with a leading slash as Java prints it.
    pub client_host: Arc<str>,
    /// How long it may take to rejoin, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, milliseconds.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

/// A consumer group's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMetadataValue {
    /// Grows with each change of members, subscriptions or topics.
    pub epoch: i32,
    /// Hash of the topics that the group is subscribed to; 0 in records of releases without it.
    pub metadata_hash: i64,
}

/// A member of a consumer group and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConsumerGroupMemberMetadataValue {
    /// Of static members.
    pub instance_id: Option<Arc<str>>,
    /// Its rack.
    pub rack_id: Option<Arc<str>>,
    /// As the client calls itself.
    pub client_id: Arc<str>,
    /// Its address, with a leading slash as Java prints it.
    pub client_host: Arc<str>,
    /// Topics by name.
    pub subscribed_topic_names: Vec<Arc<str>>,
    /// Topics by pattern.
    pub subscribed_topic_regex: Option<Arc<str>>,
    /// How long it may take to give partitions up, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it wants; `None` leaves it to the broker.
    pub server_assignor: Option<Arc<str>>,
    /// Of members that speak the classic protocol.
    pub classic_member_metadata: Option<ClassicMemberMetadata>,
}

/// What a member that speaks the classic protocol adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberMetadata {
    /// How long it may be silent, milliseconds.
    pub session_timeout_ms: i32,
    /// The protocols it supports, by preference: name and metadata.
    pub supported_protocols: Vec<(Arc<str>, Bytes)>,
}

/// The epoch of a target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    /// The group epoch it was made for.
    pub assignment_epoch: i32,
    /// When it was made, milliseconds since 1970; 0 in records of releases without it.
    pub assignment_timestamp: i64,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic_id: TopicId,
    /// Partition numbers.
    pub partitions: Vec<i32>,
    /// The epoch at which each partition was assigned, in the order of `partitions` (KIP-1251); empty where the format
    /// has none.
    pub assignment_epochs: Vec<i32>,
}

/// What a member owns, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    /// The member's epoch.
    pub member_epoch: i32,
    /// The one before; with it a retry of the last heartbeat is recognised.
    pub previous_member_epoch: i32,
    /// 0 stable, 1 unrevoked partitions, 2 unreleased partitions, 127 unknown.
    pub state: i8,
    /// What it owns.
    pub assigned_partitions: Vec<TopicPartitions>,
    /// What it must give up.
    pub partitions_pending_revocation: Vec<TopicPartitions>,
}

/// The topics that a regular expression matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupRegularExpressionValue {
    /// Topics by name, sorted.
    pub topics: Vec<Arc<str>>,
    /// Counts changes of the topics; says which look-up this is.
    pub version: i64,
    /// When it was looked up, milliseconds since 1970.
    pub timestamp: i64,
}
