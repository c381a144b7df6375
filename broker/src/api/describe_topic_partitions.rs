//! DescribeTopicPartitions (75), version 0: topics by name, a page at a time (contract 17). An empty list is all topics;
//! they come sorted by name, at most `max.request.partition.size.limit` partitions a page, and a cursor says where the
//! next page begins.

use super::{TOPIC_OPERATIONS, authorized_operations, uuid_of};
use crate::context::{Operation, RequestContext, Resource};
use crate::partitions::{Topic, check_topic_name, is_internal};
use kafka_protocol::messages::describe_topic_partitions_request::Cursor as Start;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use protocol::ErrorCode;
use std::ops::Range;
use std::sync::Arc;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let mut names: Vec<TopicName> = request.topics.into_iter().map(|topic| topic.name).collect();
    if request.cursor.as_ref().is_some_and(|cursor| cursor.partition_index < 0) {
        let refused = names
            .into_iter()
            .map(|name| refused(name, ErrorCode::InvalidRequest))
            .collect();
        return DescribeTopicPartitionsResponse::default().with_topics(refused);
    }
    let found = if names.is_empty() {
        let all = ctx.broker.partitions.topics().into_iter();
        all.filter(|topic| ctx.authorize(Operation::Describe, &Resource::Topic(&topic.name)))
            .map(|topic| (topic.wire_name(), Ok(topic)))
            .collect()
    } else {
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .map(|name| (name.clone(), find(ctx, &name)))
            .collect::<Vec<_>>()
    };
    let limit_max = ctx.broker.config.max_request_partition_size_limit;
    let limit = usize::try_from(request.response_partition_limit)
        .unwrap_or(0)
        .min(limit_max)
        .max(1);
    let counts: Vec<_> = found
        .iter()
        .map(|(name, topic)| (name, topic.as_ref().map_or(0, |topic: &Arc<Topic>| topic.partitions())))
        .collect();
    let page = page(&counts, request.cursor.as_ref(), limit);
    let next_cursor = page.next.and_then(|(at, partition)| {
        let (name, _) = found.get(at)?;
        Some(
            Cursor::default()
                .with_topic_name(name.clone())
                .with_partition_index(partition),
        )
    });
    let topics = page.topics.into_iter().filter_map(|(at, partitions)| {
        let (name, topic) = found.get(at)?;
        Some(match topic {
            Ok(topic) => describe(ctx, topic, partitions),
            Err(error) => refused(name.clone(), *error),
        })
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics.collect())
        .with_next_cursor(next_cursor)
}

fn find(ctx: &RequestContext, name: &TopicName) -> Result<Arc<Topic>, ErrorCode> {
    if !ctx.authorize(Operation::Describe, &Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let missing = || match check_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    ctx.broker.partitions.topic(name).ok_or_else(missing)
}

/// What a page holds, by position in the list of topics.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// Topic and its partitions, the end exclusive.
    topics: Vec<(usize, Range<i32>)>,
    /// Topic and partition that the next page begins with.
    next: Option<(usize, i32)>,
}

/// Cuts a page out of topics that are sorted by name. Topics with errors count nothing. A cursor to a topic that is gone
/// continues with the one after it.
fn page(topics: &[(&TopicName, i32)], start: Option<&Start>, limit: usize) -> Page {
    let mut page = Page {
        topics: Vec::new(),
        next: None,
    };
    let mut left = i32::try_from(limit).unwrap_or(i32::MAX);
    for (at, (name, partitions)) in topics.iter().enumerate() {
        let first = match start {
            Some(start) if **name < start.topic_name => continue,
            Some(start) if **name == start.topic_name => start.partition_index.min(*partitions),
            _ => 0,
        };
        if left == 0 {
            page.next = Some((at, first));
            break;
        }
        let end = partitions.min(&first.saturating_add(left)).to_owned();
        page.topics.push((at, first..end));
        left -= end - first;
        if end < *partitions {
            page.next = Some((at, end));
            break;
        }
    }
    page
}

fn refused(name: TopicName, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    let internal = is_internal(&name);
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(name))
        .with_error_code(error.code())
        .with_is_internal(internal)
}

fn describe(ctx: &RequestContext, topic: &Topic, partitions: Range<i32>) -> DescribeTopicPartitionsResponseTopic {
    let node = BrokerId(ctx.broker.node_id);
    let leader_epoch = ctx.broker.engine.leader_epoch();
    let partitions = partitions.map(|partition| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(partition)
            .with_leader_id(node)
            .with_leader_epoch(leader_epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic.wire_name()))
        .with_topic_id(uuid_of(topic.id))
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(authorized_operations(
            ctx,
            &Resource::Topic(&topic.name),
            &TOPIC_OPERATIONS,
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::StrBytes;

    fn name(text: &'static str) -> TopicName {
        TopicName(StrBytes::from_static_str(text))
    }

    fn start(topic: &'static str, partition: i32) -> Start {
        Start::default()
            .with_topic_name(name(topic))
            .with_partition_index(partition)
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        // contract 17
        let (a, b, c) = (name("a"), name("b"), name("c"));
        let topics = [(&a, 3), (&b, 0), (&c, 4)];
        let first = page(&topics, None, 5);
        assert_eq!(
            first,
            Page {
                topics: vec![(0, 0..3), (1, 0..0), (2, 0..2)],
                next: Some((2, 2))
            }
        );
        let second = page(&topics, Some(&start("c", 2)), 5);
        assert_eq!(
            second,
            Page {
                topics: vec![(2, 2..4)],
                next: None
            }
        );
    }

    #[test]
    fn a_page_that_is_full_at_a_topics_end_continues_with_the_next() {
        let (a, b) = (name("a"), name("b"));
        let full = page(&[(&a, 2), (&b, 1)], None, 2);
        assert_eq!(
            full,
            Page {
                topics: vec![(0, 0..2)],
                next: Some((1, 0))
            }
        );
    }

    #[test]
    fn cursors_to_what_is_gone_do_no_harm() {
        let (a, c) = (name("a"), name("c"));
        let topics = [(&a, 2), (&c, 2)];
        assert_eq!(page(&topics, Some(&start("b", 7)), 9).topics, [(1, 0..2)]);
        assert_eq!(page(&topics, Some(&start("a", 7)), 9).topics, [(0, 2..2), (1, 0..2)]);
        assert_eq!(
            page(&topics, Some(&start("d", 0)), 9),
            Page {
                topics: Vec::new(),
                next: None
            }
        );
    }
}
