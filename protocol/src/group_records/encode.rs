//! Group records to bytes, in the versions that Kafka 4.3.0 writes.

use super::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMetadataValue, GroupMetadataValue, GroupRecord,
    OffsetCommitValue, TopicPartitions,
};
use crate::wire::{put_length, put_nullable_str, put_str, put_unsigned_varint};
use bytes::BufMut;

/// The longest string of Kafka's formats, in bytes.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why a record cannot be written: nothing of it may be, since a cut string would be another group, member or topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than a string of Kafka's formats can be; requests of flexible versions can carry such strings.
    #[error("{what} of {bytes} bytes is longer than {STRING_BYTES_MAX}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
    },
}

impl GroupRecord {
    /// The record's key. Of an unknown record it is the version alone: such records are never written.
    pub fn key_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Out::new(self.key_version(), false);
        match self {
            GroupRecord::OffsetCommit {
                group_id,
                topic,
                partition,
                ..
            } => {
                out.str("a group id", group_id);
                out.str("a topic", topic);
                out.bytes.put_i32(*partition);
            }
            GroupRecord::GroupMetadata { group_id, .. }
            | GroupRecord::ConsumerGroupMetadata { group_id, .. }
            | GroupRecord::ConsumerGroupPartitionMetadata { group_id }
            | GroupRecord::ConsumerGroupTargetAssignmentMetadata { group_id, .. } => out.str("a group id", group_id),
            GroupRecord::ConsumerGroupMemberMetadata {
                group_id, member_id, ..
            }
            | GroupRecord::ConsumerGroupTargetAssignmentMember {
                group_id, member_id, ..
            }
            | GroupRecord::ConsumerGroupCurrentMemberAssignment {
                group_id, member_id, ..
            } => {
                out.str("a group id", group_id);
                out.str("a member id", member_id);
            }
            GroupRecord::ConsumerGroupRegularExpression {
                group_id,
                regular_expression,
                ..
            } => {
                out.str("a group id", group_id);
                out.str("a regular expression", regular_expression);
            }
            GroupRecord::Unknown { .. } => {}
        }
        out.finish()
    }

    /// The record's value; `None` is a tombstone, and so are records that are only read.
    pub fn value_bytes(&self) -> Result<Option<Vec<u8>>, EncodeError> {
        let out = match self {
            GroupRecord::OffsetCommit { value, .. } => value.as_ref().map(offset_commit),
            GroupRecord::GroupMetadata { value, .. } => value.as_ref().map(group_metadata),
            GroupRecord::ConsumerGroupMetadata { value, .. } => value.as_ref().map(consumer_group_metadata),
            GroupRecord::ConsumerGroupMemberMetadata { value, .. } => value.as_ref().map(member_metadata),
            GroupRecord::ConsumerGroupTargetAssignmentMetadata { value, .. } => value.as_ref().map(target_metadata),
            GroupRecord::ConsumerGroupTargetAssignmentMember { value, .. } => {
                value.as_ref().map(|topics| target_member(topics))
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment { value, .. } => value.as_ref().map(current_assignment),
            GroupRecord::ConsumerGroupRegularExpression { value, .. } => value.as_ref().map(regular_expression),
            GroupRecord::ConsumerGroupPartitionMetadata { .. } | GroupRecord::Unknown { .. } => None,
        };
        out.map(Out::finish).transpose()
    }

    /// The `i16` that begins the key.
    pub fn key_version(&self) -> i16 {
        match self {
            GroupRecord::OffsetCommit { .. } => 1,
            GroupRecord::GroupMetadata { .. } => 2,
            GroupRecord::ConsumerGroupMetadata { .. } => 3,
            GroupRecord::ConsumerGroupPartitionMetadata { .. } => 4,
            GroupRecord::ConsumerGroupMemberMetadata { .. } => 5,
            GroupRecord::ConsumerGroupTargetAssignmentMetadata { .. } => 6,
            GroupRecord::ConsumerGroupTargetAssignmentMember { .. } => 7,
            GroupRecord::ConsumerGroupCurrentMemberAssignment { .. } => 8,
            GroupRecord::ConsumerGroupRegularExpression { .. } => 16,
            GroupRecord::Unknown { key_version } => *key_version,
        }
    }
}

/// Version 4, or 1 when the offset has an expiry of its own: only that version has room for one, and none for the leader
/// epoch and the topic's id. Kafka chooses so too.
fn offset_commit(value: &OffsetCommitValue) -> Out {
    let expires = value.expire_timestamp != -1;
    let mut out = if expires { Out::new(1, false) } else { Out::new(4, true) };
    out.bytes.put_i64(value.offset);
    if !expires {
        out.bytes.put_i32(value.leader_epoch);
    }
    out.str("the metadata of an offset", &value.metadata);
    out.bytes.put_i64(value.commit_timestamp);
    if expires {
        out.bytes.put_i64(value.expire_timestamp);
    } else if value.topic_id.is_zero() {
        out.no_tags();
    } else {
        out.one_tag(&value.topic_id.0);
    }
    out
}

/// Version 3: what Kafka writes, although it reads 4.
fn group_metadata(value: &GroupMetadataValue) -> Out {
    let mut out = Out::new(3, false);
    out.str("a protocol type", &value.protocol_type);
    out.bytes.put_i32(value.generation);
    out.nullable_str("a protocol", value.protocol.as_deref());
    out.nullable_str("a member id", value.leader.as_deref());
    out.bytes.put_i64(value.current_state_timestamp);
    out.length(value.members.len());
    for member in &value.members {
        out.str("a member id", &member.member_id);
        out.nullable_str("a group instance id", member.group_instance_id.as_deref());
        out.str("a client id", &member.client_id);
        out.str("a client's host", &member.client_host);
        out.bytes.put_i32(member.rebalance_timeout_ms);
        out.bytes.put_i32(member.session_timeout_ms);
        out.blob(&member.subscription);
        out.blob(&member.assignment);
    }
    out
}

fn consumer_group_metadata(value: &ConsumerGroupMetadataValue) -> Out {
    let mut out = Out::new(0, true);
    out.bytes.put_i32(value.epoch);
    out.tag_unless_zero(value.metadata_hash);
    out
}

fn member_metadata(value: &ConsumerGroupMemberMetadataValue) -> Out {
    let mut out = Out::new(0, true);
    out.nullable_str("a group instance id", value.instance_id.as_deref());
    out.nullable_str("a rack", value.rack_id.as_deref());
    out.str("a client id", &value.client_id);
    out.str("a client's host", &value.client_host);
    out.length(value.subscribed_topic_names.len());
    for topic in &value.subscribed_topic_names {
        out.str("a topic", topic);
    }
    out.nullable_str("a regular expression", value.subscribed_topic_regex.as_deref());
    out.bytes.put_i32(value.rebalance_timeout_ms);
    out.nullable_str("an assignor", value.server_assignor.as_deref());
    let Some(classic) = &value.classic_member_metadata else {
        out.no_tags();
        return out;
    };
    let mut tag = Out::empty(true);
    // The struct may be null on the wire: 1 says that it is not.
    tag.bytes.put_i8(1);
    tag.bytes.put_i32(classic.session_timeout_ms);
    tag.length(classic.supported_protocols.len());
    for (name, metadata) in &classic.supported_protocols {
        tag.str("a protocol", name);
        tag.blob(metadata);
        tag.no_tags();
    }
    tag.no_tags();
    out.one_tag(&tag.bytes);
    out.error = out.error.or(tag.error);
    out
}

fn target_metadata(value: &ConsumerGroupTargetAssignmentMetadataValue) -> Out {
    let mut out = Out::new(0, true);
    out.bytes.put_i32(value.assignment_epoch);
    out.tag_unless_zero(value.assignment_timestamp);
    out
}

fn target_member(topics: &[TopicPartitions]) -> Out {
    let mut out = Out::new(0, true);
    out.length(topics.len());
    for topic in topics {
        out.topic_partitions(topic);
        out.no_tags();
    }
    out.no_tags();
    out
}

fn current_assignment(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Out {
    let mut out = Out::new(0, true);
    out.bytes.put_i32(value.member_epoch);
    out.bytes.put_i32(value.previous_member_epoch);
    out.bytes.put_i8(value.state);
    for topics in [&value.assigned_partitions, &value.partitions_pending_revocation] {
        out.length(topics.len());
        for topic in topics {
            out.topic_partitions(topic);
            if topic.assignment_epochs.is_empty() {
                out.no_tags();
                continue;
            }
            let mut tag = Out::empty(true);
            tag.i32s(&topic.assignment_epochs);
            out.one_tag(&tag.bytes);
        }
    }
    out.no_tags();
    out
}

fn regular_expression(value: &ConsumerGroupRegularExpressionValue) -> Out {
    let mut out = Out::new(0, true);
    out.length(value.topics.len());
    for topic in &value.topics {
        out.str("a topic", topic);
    }
    out.bytes.put_i64(value.version);
    out.bytes.put_i64(value.timestamp);
    out.no_tags();
    out
}

/// Bytes in the making, and the first string that was too long.
struct Out {
    bytes: Vec<u8>,
    compact: bool,
    error: Option<EncodeError>,
}

impl Out {
    fn new(version: i16, compact: bool) -> Out {
        let mut out = Out::empty(compact);
        out.bytes.put_i16(version);
        out
    }

    fn empty(compact: bool) -> Out {
        Out {
            bytes: Vec::with_capacity(64),
            compact,
            error: None,
        }
    }

    fn finish(self) -> Result<Vec<u8>, EncodeError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.bytes),
        }
    }

    fn str(&mut self, what: &'static str, text: &str) {
        self.nullable_str(what, Some(text));
    }

    fn nullable_str(&mut self, what: &'static str, text: Option<&str>) {
        let bytes = text.map_or(0, str::len);
        if bytes > STRING_BYTES_MAX && self.error.is_none() {
            self.error = Some(EncodeError::TooLong { what, bytes });
        }
        match text {
            Some(text) => put_str(&mut self.bytes, self.compact, text),
            None => put_nullable_str(&mut self.bytes, self.compact, None),
        }
    }

    fn length(&mut self, length: usize) {
        put_length(&mut self.bytes, self.compact, length);
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.put_slice(bytes);
    }

    fn i32s(&mut self, numbers: &[i32]) {
        self.length(numbers.len());
        numbers.iter().for_each(|number| self.bytes.put_i32(*number));
    }

    fn topic_partitions(&mut self, topic: &TopicPartitions) {
        self.bytes.put_slice(&topic.topic_id.0);
        self.i32s(&topic.partitions);
    }

    fn no_tags(&mut self) {
        self.bytes.put_u8(0);
    }

    /// The tagged field 0 and no other: no struct here has more.
    fn one_tag(&mut self, content: &[u8]) {
        self.bytes.put_slice(&[1, 0]);
        let size = u32::try_from(content.len()).expect("a record is far below 4 GiB");
        put_unsigned_varint(&mut self.bytes, size);
        self.bytes.put_slice(content);
    }

    fn tag_unless_zero(&mut self, number: i64) {
        match number {
            0 => self.no_tags(),
            _ => self.one_tag(&number.to_be_bytes()),
        }
    }
}
