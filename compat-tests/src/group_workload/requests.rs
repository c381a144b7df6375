//! The requests that several kinds of members send, and what is read out of their answers.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, OffsetCommitRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{Shared, TOPICS, place_of, topic_partition};
use crate::group_checker::{Claim, Event, leader_epoch_of, metadata_of};
use crate::ops::{text, topic_name};
use crate::raw::RawClient;

/// A commit that was timed out or could not be written may still take effect.
const SAYS_NOTHING: [i16; 3] = [7, 15, -1];

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Who commits, as the request says it.
pub(super) struct Committing<'a> {
    pub(super) group: &'a str,
    pub(super) claim: Claim,
    pub(super) generation_or_epoch: i32,
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    pub(super) version: i16,
    /// Error codes that such a member may well get.
    pub(super) expected: &'a [i16],
}

/// Commits the next operation for each of these places of one group, in one request. Gives the error codes that came back.
pub(super) fn commit(
    client: &mut RawClient,
    shared: &Shared,
    who: &Committing<'_>,
    places: &[usize],
) -> io::Result<Vec<i16>> {
    let ops: Vec<(usize, i64)> = places.iter().map(|place| (*place, shared.next_op())).collect();
    for (place, op) in &ops {
        let (op, place, claim) = (*op, *place, who.claim);
        shared.record(&Event::CommitInvoke { op, place, claim });
    }
    let request = commit_request(who, &ops);
    let answer = match client.try_call(who.version, &request) {
        Ok(answer) => answer,
        Err(e) => {
            ops.iter()
                .for_each(|(_, op)| shared.record(&Event::CommitUnknown { op: *op }));
            return Err(e);
        }
    };
    let mut codes = Vec::new();
    for (place, op) in ops {
        let (topic, partition) = topic_partition(place);
        let answered = answer.topics.iter().filter(|t| t.name.0.as_str() == TOPICS[topic].0);
        let answered = answered
            .flat_map(|t| &t.partitions)
            .find(|p| p.partition_index == partition);
        let Some(answered) = answered else {
            shared.record(&Event::CommitUnknown { op });
            shared.surprise(format!("OffsetCommit v{}: no answer for a partition", who.version));
            continue;
        };
        let code = answered.error_code;
        codes.push(code);
        if code == 0 {
            shared.record(&Event::CommitOk { op });
            shared.count_step();
        } else if SAYS_NOTHING.contains(&code) {
            shared.record(&Event::CommitUnknown { op });
        } else {
            shared.record(&Event::CommitRefused { op, code });
        }
        if code != 0 && !who.expected.contains(&code) {
            shared.surprise(format!("OffsetCommit v{}: error {code}", who.version));
        }
    }
    Ok(codes)
}

fn commit_request(who: &Committing<'_>, ops: &[(usize, i64)]) -> OffsetCommitRequest {
    let partitions = |topic: usize| {
        let of_topic = ops.iter().filter(move |(place, _)| topic_partition(*place).0 == topic);
        of_topic.map(|(place, op)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(topic_partition(*place).1)
                .with_committed_offset(*op)
                .with_committed_leader_epoch(leader_epoch_of(*op))
                .with_committed_metadata(Some(text(&metadata_of(*op))))
        })
    };
    let topics = TOPICS.iter().enumerate().map(|(index, (name, _))| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions(index).collect())
    });
    OffsetCommitRequest::default()
        .with_group_id(group_id(who.group))
        .with_generation_id_or_member_epoch(who.generation_or_epoch)
        .with_member_id(text(who.member_id))
        .with_group_instance_id(who.instance_id.map(text))
        .with_topics(topics.filter(|topic| !topic.partitions.is_empty()).collect())
}

/// What a member of a classic group subscribes to: the first topic, or both. `changes` makes it different from before.
pub(super) fn subscription(topics: usize, changes: u32) -> Bytes {
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(TOPICS.iter().take(topics).map(|(name, _)| text(name)).collect())
        .with_user_data(Some(Bytes::copy_from_slice(&changes.to_be_bytes())));
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    subscription.encode(&mut bytes, 0).expect("a subscription encodes");
    bytes.freeze()
}

/// How many topics a subscription names.
pub(super) fn subscribed_topics(mut bytes: Bytes) -> io::Result<usize> {
    if bytes.remaining() < 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.advance(2);
    let subscription = ConsumerProtocolSubscription::decode(&mut bytes, 0).map_err(io::Error::other)?;
    Ok(subscription.topics.len())
}

/// An assignment of these places.
pub(super) fn assignment(places: &[usize]) -> Bytes {
    let topics = TOPICS.iter().enumerate().map(|(index, (name, _))| {
        let here = places.iter().map(|place| topic_partition(*place));
        let partitions = here
            .filter(|(topic, _)| *topic == index)
            .map(|(_, partition)| partition);
        TopicPartition::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions.collect())
    });
    let assignment = ConsumerProtocolAssignment::default()
        .with_assigned_partitions(topics.filter(|topic| !topic.partitions.is_empty()).collect());
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    assignment.encode(&mut bytes, 0).expect("an assignment encodes");
    bytes.freeze()
}

/// The places in an assignment; no bytes are none.
pub(super) fn assigned_places(mut bytes: Bytes, group: usize) -> io::Result<Vec<usize>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if bytes.remaining() < 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.advance(2);
    let assignment = ConsumerProtocolAssignment::decode(&mut bytes, 0).map_err(io::Error::other)?;
    let mut places = Vec::new();
    for topic in assignment.assigned_partitions {
        let index = TOPICS.iter().position(|(name, _)| *name == topic.topic.0.as_str());
        for partition in topic.partitions {
            let place = index.and_then(|index| place_of(group, index, partition));
            places.push(place.ok_or_else(|| io::Error::other("an assignment of what nobody has"))?);
        }
    }
    places.sort_unstable();
    Ok(places)
}

#[test]
fn assignments_are_read_as_they_were_written() {
    let places = vec![6, 9, 10, 11];
    assert_eq!(assigned_places(assignment(&places), 1).expect("an assignment"), places);
    assert_eq!(
        assigned_places(Bytes::new(), 1).expect("no assignment"),
        Vec::<usize>::new()
    );
    assert_eq!(subscribed_topics(subscription(2, 7)).expect("a subscription"), 2);
}
