//! Bytes to group records. Every count is checked against the bytes that are left, and everything is copied out of them:
//! state that is built from records does not keep their batches alive.

use super::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMetadataValue,
    GroupMember, GroupMetadataValue, GroupRecord, OffsetCommitValue, TopicPartitions,
};
use crate::decode_error::DecodeError;
use crate::types::TopicId;
use crate::wire::Reader;
use bytes::Bytes;
use std::sync::Arc;

impl GroupRecord {
    /// Reads a record. A key version that is not known is [`GroupRecord::Unknown`]; a value version that is not known is an
    /// error ([`DecodeError::RecordVersion`]), since the state without that value would be wrong. Bytes behind the last
    /// field are ignored, as Kafka ignores them.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<GroupRecord, DecodeError> {
        let mut key = Reader::new(key);
        let key_version = key.i16("a key's version")?;
        if !matches!(key_version, 0..=8 | 16) {
            return Ok(GroupRecord::Unknown { key_version });
        }
        let group_id = text(&mut key, false, "a group id")?;
        Ok(match key_version {
            0 | 1 => GroupRecord::OffsetCommit {
                group_id,
                topic: text(&mut key, false, "a topic")?,
                partition: key.i32("a partition")?,
                value: value.map(offset_commit).transpose()?,
            },
            2 => GroupRecord::GroupMetadata {
                group_id,
                value: value.map(group_metadata).transpose()?,
            },
            3 => GroupRecord::ConsumerGroupMetadata {
                group_id,
                value: value.map(consumer_group_metadata).transpose()?,
            },
            5 => GroupRecord::ConsumerGroupMemberMetadata {
                group_id,
                member_id: text(&mut key, false, "a member id")?,
                value: value.map(member_metadata).transpose()?,
            },
            6 => GroupRecord::ConsumerGroupTargetAssignmentMetadata {
                group_id,
                value: value.map(target_metadata).transpose()?,
            },
            7 => GroupRecord::ConsumerGroupTargetAssignmentMember {
                group_id,
                member_id: text(&mut key, false, "a member id")?,
                value: value.map(target_member).transpose()?,
            },
            8 => GroupRecord::ConsumerGroupCurrentMemberAssignment {
                group_id,
                member_id: text(&mut key, false, "a member id")?,
                value: value.map(current_assignment).transpose()?,
            },
            16 => GroupRecord::ConsumerGroupRegularExpression {
                group_id,
                regular_expression: text(&mut key, false, "a regular expression")?,
                value: value.map(regular_expression).transpose()?,
            },
            // 4: all others are gone by now. Its value is of no use to anybody, so that it is not even looked at.
            _ => GroupRecord::ConsumerGroupPartitionMetadata { group_id },
        })
    }
}

/// Opens a value and checks its version.
fn versioned<'a>(value: &'a [u8], version_max: i16, what: &'static str) -> Result<(Reader<'a>, i16), DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.i16("a value's version")?;
    if !(0..=version_max).contains(&version) {
        return Err(DecodeError::RecordVersion { what, version });
    }
    Ok((reader, version))
}

fn offset_commit(value: &[u8]) -> Result<OffsetCommitValue, DecodeError> {
    let (mut r, version) = versioned(value, 4, "OffsetCommitValue")?;
    let offset = r.i64("an offset")?;
    let leader_epoch = if version >= 3 { r.i32("a leader epoch")? } else { -1 };
    let metadata = text(&mut r, version >= 4, "an offset's metadata")?;
    let commit_timestamp = r.i64("a commit timestamp")?;
    let expire_timestamp = if version == 1 {
        r.i64("an expire timestamp")?
    } else {
        -1
    };
    let mut topic_id = TopicId::ZERO;
    if version >= 4 {
        tags(&mut r, |tag, field| {
            if tag == 0 {
                topic_id = field.topic_id("a topic id")?;
            }
            Ok(())
        })?;
    }
    Ok(OffsetCommitValue {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp,
        expire_timestamp,
        topic_id,
    })
}

fn group_metadata(value: &[u8]) -> Result<GroupMetadataValue, DecodeError> {
    let (mut r, version) = versioned(value, 4, "GroupMetadataValue")?;
    let compact = version >= 4;
    let group = GroupMetadataValue {
        protocol_type: text(&mut r, compact, "a protocol type")?,
        generation: r.i32("a generation")?,
        protocol: nullable_text(&mut r, compact, "a protocol")?,
        leader: nullable_text(&mut r, compact, "a leader")?,
        current_state_timestamp: if version >= 2 {
            r.i64("a state's timestamp")?
        } else {
            -1
        },
        members: array(&mut r, compact, MEMBER_BYTES_MIN, |r| member(r, version))?,
    };
    if compact {
        r.skip_tags()?;
    }
    Ok(group)
}

/// Three strings, a number and two byte fields, in the encoding that makes them smallest.
const MEMBER_BYTES_MIN: usize = 3 + 4 + 2;

fn member(r: &mut Reader<'_>, version: i16) -> Result<GroupMember, DecodeError> {
    let compact = version >= 4;
    let member_id = text(r, compact, "a member id")?;
    let group_instance_id = if version >= 3 {
        nullable_text(r, compact, "a group instance id")?
    } else {
        None
    };
    let client_id = text(r, compact, "a client id")?;
    let client_host = text(r, compact, "a client's host")?;
    let rebalance_timeout_ms = if version >= 1 {
        Some(r.i32("a rebalance timeout")?)
    } else {
        None
    };
    let session_timeout_ms = r.i32("a session timeout")?;
    let member = GroupMember {
        member_id,
        group_instance_id,
        client_id,
        client_host,
        // Clients of that time had one timeout for both.
        rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription: blob(r, compact, "a subscription")?,
        assignment: blob(r, compact, "an assignment")?,
    };
    if compact {
        r.skip_tags()?;
    }
    Ok(member)
}

fn consumer_group_metadata(value: &[u8]) -> Result<ConsumerGroupMetadataValue, DecodeError> {
    let (mut r, _) = versioned(value, 0, "ConsumerGroupMetadataValue")?;
    let epoch = r.i32("a group epoch")?;
    let metadata_hash = i64_tag(&mut r, "a metadata hash")?;
    Ok(ConsumerGroupMetadataValue { epoch, metadata_hash })
}

fn member_metadata(value: &[u8]) -> Result<ConsumerGroupMemberMetadataValue, DecodeError> {
    let (mut r, _) = versioned(value, 0, "ConsumerGroupMemberMetadataValue")?;
    let mut member = ConsumerGroupMemberMetadataValue {
        instance_id: nullable_text(&mut r, true, "a group instance id")?,
        rack_id: nullable_text(&mut r, true, "a rack")?,
        client_id: text(&mut r, true, "a client id")?,
        client_host: text(&mut r, true, "a client's host")?,
        subscribed_topic_names: array(&mut r, true, 1, |r| text(r, true, "a topic"))?,
        subscribed_topic_regex: nullable_text(&mut r, true, "a regular expression")?,
        rebalance_timeout_ms: r.i32("a rebalance timeout")?,
        server_assignor: nullable_text(&mut r, true, "an assignor")?,
        classic_member_metadata: None,
    };
    tags(&mut r, |tag, field| {
        if tag == 0 {
            member.classic_member_metadata = classic_member_metadata(field)?;
        }
        Ok(())
    })?;
    Ok(member)
}

fn classic_member_metadata(r: &mut Reader<'_>) -> Result<Option<ClassicMemberMetadata>, DecodeError> {
    if r.i8("a struct's presence")? < 0 {
        return Ok(None);
    }
    let classic = ClassicMemberMetadata {
        session_timeout_ms: r.i32("a session timeout")?,
        supported_protocols: array(r, true, 3, |r| {
            let name = text(r, true, "a protocol")?;
            let metadata = blob(r, true, "a protocol's metadata")?;
            r.skip_tags()?;
            Ok((name, metadata))
        })?,
    };
    r.skip_tags()?;
    Ok(Some(classic))
}

fn target_metadata(value: &[u8]) -> Result<ConsumerGroupTargetAssignmentMetadataValue, DecodeError> {
    let (mut r, _) = versioned(value, 0, "ConsumerGroupTargetAssignmentMetadataValue")?;
    let assignment_epoch = r.i32("an assignment epoch")?;
    let assignment_timestamp = i64_tag(&mut r, "an assignment's timestamp")?;
    Ok(ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch,
        assignment_timestamp,
    })
}

fn target_member(value: &[u8]) -> Result<Vec<TopicPartitions>, DecodeError> {
    let (mut r, _) = versioned(value, 0, "ConsumerGroupTargetAssignmentMemberValue")?;
    let topics = array(&mut r, true, TOPIC_BYTES_MIN, |r| {
        let topic = topic_partitions(r)?;
        r.skip_tags()?;
        Ok(topic)
    })?;
    r.skip_tags()?;
    Ok(topics)
}

fn current_assignment(value: &[u8]) -> Result<ConsumerGroupCurrentMemberAssignmentValue, DecodeError> {
    let (mut r, _) = versioned(value, 0, "ConsumerGroupCurrentMemberAssignmentValue")?;
    let assignment = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: r.i32("a member epoch")?,
        previous_member_epoch: r.i32("a member epoch")?,
        state: r.i8("a member's state")?,
        assigned_partitions: array(&mut r, true, TOPIC_BYTES_MIN, topic_with_epochs)?,
        partitions_pending_revocation: array(&mut r, true, TOPIC_BYTES_MIN, topic_with_epochs)?,
    };
    r.skip_tags()?;
    Ok(assignment)
}

/// An id, a count, tags.
const TOPIC_BYTES_MIN: usize = 16 + 1 + 1;

fn topic_partitions(r: &mut Reader<'_>) -> Result<TopicPartitions, DecodeError> {
    Ok(TopicPartitions {
        topic_id: r.topic_id("a topic id")?,
        partitions: array(r, true, 4, |r| r.i32("a partition"))?,
        assignment_epochs: Vec::new(),
    })
}

/// Epochs that are not as many as the partitions say nothing about them; Kafka takes the member's epoch then.
fn topic_with_epochs(r: &mut Reader<'_>) -> Result<TopicPartitions, DecodeError> {
    let mut topic = topic_partitions(r)?;
    tags(r, |tag, field| {
        if tag == 0 {
            let epochs = nullable_array(field, true, 4, |r| r.i32("an assignment epoch"))?;
            topic.assignment_epochs = epochs
                .filter(|epochs| epochs.len() == topic.partitions.len())
                .unwrap_or_default();
        }
        Ok(())
    })?;
    Ok(topic)
}

fn regular_expression(value: &[u8]) -> Result<ConsumerGroupRegularExpressionValue, DecodeError> {
    let (mut r, _) = versioned(value, 0, "ConsumerGroupRegularExpressionValue")?;
    let found = ConsumerGroupRegularExpressionValue {
        topics: array(&mut r, true, 1, |r| text(r, true, "a topic"))?,
        version: r.i64("a version")?,
        timestamp: r.i64("a timestamp")?,
    };
    r.skip_tags()?;
    Ok(found)
}

fn text(r: &mut Reader<'_>, compact: bool, what: &'static str) -> Result<Arc<str>, DecodeError> {
    r.str(compact, what).map(Arc::from)
}

fn nullable_text(r: &mut Reader<'_>, compact: bool, what: &'static str) -> Result<Option<Arc<str>>, DecodeError> {
    Ok(r.nullable_str(compact, what)?.map(Arc::from))
}

fn blob(r: &mut Reader<'_>, compact: bool, what: &'static str) -> Result<Bytes, DecodeError> {
    let bytes = r.nullable_bytes(compact, what)?;
    bytes.map(Bytes::copy_from_slice).ok_or(DecodeError::Null { what })
}

/// An array whose elements take at least `bytes_min` each: its count is checked against the bytes that are left.
fn array<'a, T>(
    r: &mut Reader<'a>,
    compact: bool,
    bytes_min: usize,
    element: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    nullable_array(r, compact, bytes_min, element)?.ok_or(DecodeError::Null { what: "an array" })
}

fn nullable_array<'a, T>(
    r: &mut Reader<'a>,
    compact: bool,
    bytes_min: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<Vec<T>>, DecodeError> {
    match r.count(compact, bytes_min)? {
        Some(count) => (0..count).map(|_| element(r)).collect::<Result<_, _>>().map(Some),
        None => Ok(None),
    }
}

/// The tagged field 0 when it is a number; 0 when it is absent.
fn i64_tag(r: &mut Reader<'_>, what: &'static str) -> Result<i64, DecodeError> {
    let mut number = 0;
    tags(r, |tag, field| {
        if tag == 0 {
            number = field.i64(what)?;
        }
        Ok(())
    })?;
    Ok(number)
}

/// Walks a struct's tagged fields; `field` looks at those that it knows.
fn tags<'a>(
    r: &mut Reader<'a>,
    mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for _ in 0..r.unsigned_varint()? {
        let tag = r.unsigned_varint()?;
        let size = r.unsigned_varint()? as usize;
        field(tag, &mut Reader::new(r.take(size, "a tagged field")?))?;
    }
    Ok(())
}
