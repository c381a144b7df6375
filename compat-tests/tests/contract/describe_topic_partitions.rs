//! DescribeTopicPartitions (75): contract 17.

use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use streamhouse_compat_tests::ops::{code, topic_name};

use super::start;

fn request(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    let topics = names
        .iter()
        .map(|name| TopicRequest::default().with_name(topic_name(name)));
    let cursor = cursor.map(|(name, index)| {
        Cursor::default()
            .with_topic_name(topic_name(name))
            .with_partition_index(index)
    });
    DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor)
}

/// `(topic, partition)` of each partition in the reply, in its order.
fn listed(reply: &DescribeTopicPartitionsResponse) -> Vec<(String, i32)> {
    let topics = reply.topics.iter();
    topics
        .flat_map(|topic| {
            let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
            topic
                .partitions
                .iter()
                .map(move |partition| (name.clone(), partition.partition_index))
        })
        .collect()
}

#[test]
fn an_empty_list_is_all_sorted_by_name() {
    // contract 17
    let (_broker, mut client) = start();
    for (name, partitions) in [("b", 1), ("c", 2), ("a", 1)] {
        client.create_topic(name, partitions);
    }
    let expected = [("a", 0), ("b", 0), ("c", 0), ("c", 1)].map(|(name, index)| (name.to_owned(), index));
    let reply = client.call(0, &request(&[], 2000, None));
    assert_eq!(listed(&reply), expected);
    assert_eq!(reply.next_cursor, None);
    assert_eq!(
        listed(&client.call(0, &request(&["c", "b", "a"], 2000, None))),
        expected
    );
}

#[test]
fn the_cursor_walks_over_everything_once() {
    // contract 17
    let (_broker, mut client) = start();
    client.create_topic("a", 3);
    client.create_topic("b", 2);
    client.create_topic("c", 4);
    let mut walked = Vec::new();
    let mut cursor = None;
    for _ in 0..10 {
        let at = cursor
            .as_ref()
            .map(|(name, index): &(String, i32)| (name.as_str(), *index));
        let reply = client.call(0, &request(&[], 2, at));
        let page = listed(&reply);
        assert!(page.len() <= 2, "{page:?}");
        walked.extend(page);
        match reply.next_cursor {
            None => break,
            Some(next) => cursor = Some((next.topic_name.0.to_string(), next.partition_index)),
        }
    }
    let all = [("a", 3), ("b", 2), ("c", 4)].into_iter();
    let all: Vec<_> = all
        .flat_map(|(name, count)| (0..count).map(move |index| (name.to_owned(), index)))
        .collect();
    assert_eq!(walked, all);
}

#[test]
fn an_unknown_topic_is_an_error_of_its_own() {
    let (_broker, mut client) = start();
    client.create_topic("a", 1);
    let mut reply = client.call(0, &request(&["a", "nope"], 2000, None));
    reply.topics.sort_by_key(|topic| topic.error_code);
    assert_eq!(reply.topics[0].error_code, code::NONE);
    assert_eq!(reply.topics[1].error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
    let bad = client.call(0, &request(&["a/b"], 2000, None));
    assert_eq!(bad.topics[0].error_code, code::INVALID_TOPIC_EXCEPTION);
}
