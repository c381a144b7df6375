//! OffsetFetch (9), versions 1–9: what groups committed (contract 80). One group up to version 7, a list of groups with an
//! error each from version 8 on. What was never committed has offset −1 and no error; while groups load the answer is
//! COORDINATOR_LOAD_IN_PROGRESS(14), never "no offset" (contract 69).
//!
//! Departures from Kafka: what is asked for twice, all topics of a group or a partition of a topic, is answered once.

use super::group_request::{given, may, once_each};
use super::own;
use crate::context::{Operation, RequestContext, Resource};
use crate::coordinator::Answer;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::collections::HashSet;
use std::future::Future;

/// First version that asks for many groups.
const MANY_GROUPS: i16 = 8;

/// Looks the offsets up; the reply comes when all of them are durable.
pub fn handle(
    ctx: &RequestContext,
    mut request: OffsetFetchRequest,
) -> impl Future<Output = OffsetFetchResponse> + Send + 'static + use<> {
    let version = ctx.api_version;
    let mut groups = if version < MANY_GROUPS {
        vec![the_group(&mut request)]
    } else {
        std::mem::take(&mut request.groups)
    };
    asked_once(&mut groups);
    // Version 1 has no place for an error of the group but its partitions.
    let asked = if version < 2 {
        named(
            groups
                .first()
                .and_then(|group| group.topics.as_deref())
                .unwrap_or_default(),
            ErrorCode::None,
        )
    } else {
        Vec::new()
    };
    let answers: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let group_id = GroupId(own(&group.group_id));
            (group_id, fetch(ctx, group, request.require_stable))
        })
        .collect();
    let ctx = ctx.clone();
    async move {
        let mut groups = Vec::with_capacity(answers.len());
        for (group_id, answer) in answers {
            let given = given(answer).await;
            let refused = |code: ErrorCode| OffsetFetchResponseGroup::default().with_error_code(code.code());
            let group = given.unwrap_or_else(refused).with_group_id(group_id);
            ctx.count_error(group.error_code);
            groups.push(group);
        }
        if version >= MANY_GROUPS {
            return OffsetFetchResponse::default().with_groups(groups);
        }
        one_group(version, groups.pop().unwrap_or_default(), asked)
    }
}

/// Takes out what is asked for again in few bytes.
fn asked_once(groups: &mut Vec<OffsetFetchRequestGroup>) {
    let mut seen = HashSet::new();
    groups.retain(|group| group.topics.is_some() || seen.insert(group.group_id.clone()));
    let topics = groups.iter_mut().flat_map(|group| group.topics.iter_mut().flatten());
    topics.for_each(|topic| once_each(&mut topic.partition_indexes));
}

/// The group of a request up to version 7.
fn the_group(request: &mut OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.take().map(|topics| {
        let named = topics.into_iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name)
                .with_partition_indexes(topic.partition_indexes)
        });
        named.collect()
    });
    OffsetFetchRequestGroup::default()
        .with_group_id(std::mem::take(&mut request.group_id))
        .with_member_epoch(-1)
        .with_topics(topics)
}

type Fetched = Result<Answer<OffsetFetchResponseGroup>, ErrorCode>;

fn fetch(ctx: &RequestContext, mut group: OffsetFetchRequestGroup, require_stable: bool) -> Fetched {
    may(ctx, Operation::Describe, &group.group_id)?;
    let describes = |name: &str| ctx.authorize(Operation::Describe, &Resource::Topic(name));
    let mut denied = Vec::new();
    if let Some(topics) = group.topics.take() {
        let (allowed, others): (Vec<_>, Vec<_>) = topics.into_iter().partition(|topic| describes(&topic.name));
        group.topics = Some(allowed);
        denied = others;
    }
    Ok(ctx.broker.groups.look(&group.group_id, |shard, env| {
        let mut response = shard.offset_fetch(env, &group, require_stable);
        if response.error_code == 0 {
            response.topics.retain(|topic| describes(&topic.name));
            response
                .topics
                .extend(named(&denied, ErrorCode::TopicAuthorizationFailed));
        }
        for topic in &mut response.topics {
            topic.name = TopicName(own(&topic.name));
        }
        response.group_id = GroupId::default();
        response
    }))
}

/// Topics as they were asked for, without offsets.
fn named(topics: &[OffsetFetchRequestTopics], code: ErrorCode) -> Vec<OffsetFetchResponseTopics> {
    let answer = |topic: &OffsetFetchRequestTopics| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(*index)
                .with_committed_offset(-1)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(StrBytes::new()))
                .with_error_code(code.code())
        });
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(own(&topic.name)))
            .with_partitions(partitions.collect())
    };
    topics.iter().map(answer).collect()
}

/// The reply up to version 7.
fn one_group(
    version: i16,
    group: OffsetFetchResponseGroup,
    asked: Vec<OffsetFetchResponseTopics>,
) -> OffsetFetchResponse {
    let error_code = group.error_code;
    let topics = if version < 2 && error_code != 0 {
        asked
    } else {
        group.topics
    };
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(if version < 2 && error_code != 0 {
                    error_code
                } else {
                    partition.error_code
                })
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default()
        .with_error_code(if version < 2 { 0 } else { error_code })
        .with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    fn asked() -> Vec<OffsetFetchResponseTopics> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_indexes(vec![3, 4]);
        named(&[topic], ErrorCode::None)
    }

    #[test]
    fn an_error_of_the_group_finds_its_place_in_every_version() {
        // contract 69
        let group = || OffsetFetchResponseGroup::default().with_error_code(14);
        for version in 1..MANY_GROUPS {
            let asked = if version < 2 { asked() } else { Vec::new() };
            let response = one_group(version, group(), asked);
            response.encode(&mut BytesMut::new(), version).expect("encodes");
            if version < 2 {
                let codes: Vec<i16> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
                assert_eq!((response.error_code, codes), (0, vec![14, 14]));
            } else {
                assert_eq!((response.error_code, response.topics.len()), (14, 0));
            }
        }
    }

    #[test]
    fn what_is_asked_for_twice_is_answered_once() {
        let topic = OffsetFetchRequestTopics::default().with_partition_indexes(vec![4, 3, 4]);
        let group = |id: &'static str, topics| {
            OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(StrBytes::from_static_str(id)))
                .with_topics(topics)
        };
        let some = Some(vec![topic]);
        let mut groups = vec![group("b", None), group("a", None), group("b", some), group("b", None)];
        asked_once(&mut groups);
        let ids: Vec<&str> = groups.iter().map(|group| &**group.group_id).collect();
        assert_eq!(ids, ["b", "a", "b"]);
        let topics = groups[2].topics.as_deref().expect("some were named");
        assert_eq!(topics[0].partition_indexes, [4, 3]);
    }

    #[test]
    fn older_requests_are_one_group() {
        // contract 80
        let mut all = OffsetFetchRequest::default().with_topics(None);
        assert_eq!(the_group(&mut all).topics, None);
        let mut none = OffsetFetchRequest::default().with_topics(Some(Vec::new()));
        assert_eq!(the_group(&mut none).topics, Some(Vec::new()));
        assert_eq!(the_group(&mut none).member_epoch, -1);
    }
}
