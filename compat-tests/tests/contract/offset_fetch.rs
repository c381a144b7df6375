//! OffsetFetch (9): contract 69 and 80.

use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use streamhouse_compat_tests::eventually;
use streamhouse_compat_tests::ops::{code, text, topic_name};

use super::offset_commit::{commit, commit_request};
use super::start;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// Asks until the groups are loaded: until then it is that code and never "no offset" (contract 69).
pub(super) fn loaded(mut ask: impl FnMut() -> (i16, i64)) -> (i16, i64) {
    eventually("the groups to be loaded", || {
        let found = ask();
        (found.0 != COORDINATOR_LOAD_IN_PROGRESS).then_some(found)
    })
}

fn one_group(topics: Option<Vec<(&str, Vec<i32>)>>) -> OffsetFetchRequest {
    let topics = topics.map(|topics| {
        let named = topics.into_iter().map(|(name, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions)
        });
        named.collect()
    });
    OffsetFetchRequest::default()
        .with_group_id(text("g").into())
        .with_topics(topics)
}

#[test]
fn one_group_in_the_older_versions() {
    // contract 80
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    let mut request = commit_request("g", "t", 1, 42);
    request.topics[0].partitions[0].committed_metadata = Some(text("note"));
    request.topics[0].partitions[0].committed_leader_epoch = 3;
    assert_eq!(client.call(8, &request).topics[0].partitions[0].error_code, code::NONE);
    for version in 1..=7 {
        let reply = client.call(version, &one_group(Some(vec![("t", vec![0, 1, 9]), ("none", vec![0])])));
        assert_eq!(reply.error_code, code::NONE, "v{version}");
        let offsets: Vec<(i32, i64, i16)> = reply
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|p| (p.partition_index, p.committed_offset, p.error_code))
            .collect();
        assert_eq!(offsets, [(0, -1, 0), (1, 42, 0), (9, -1, 0), (0, -1, 0)], "v{version}");
        let found = &reply.topics[0].partitions[1];
        assert_eq!(found.metadata.as_deref(), Some("note"), "v{version}");
        if version >= 5 {
            assert_eq!(found.committed_leader_epoch, 3, "v{version}");
        }
        if version >= 2 {
            let all = client.call(version, &one_group(None));
            assert_eq!((all.topics.len(), all.topics[0].partitions.len()), (1, 1), "v{version}");
        }
        let none = client.call(version, &one_group(Some(Vec::new())));
        assert!(none.topics.is_empty(), "v{version}");
    }
}

#[test]
fn many_groups_in_the_newer_versions() {
    // contract 80
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    for (group, offset) in [("a", 1), ("b", 2)] {
        assert_eq!(commit(&mut client, group, "t", 0, offset), code::NONE);
    }
    let group = |id: &str, topics| {
        OffsetFetchRequestGroup::default()
            .with_group_id(text(id).into())
            .with_topics(topics)
    };
    let named = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![1, 0]);
    for version in 8..=9 {
        let groups = vec![
            group("a", None),
            group("b", Some(vec![named.clone()])),
            group("unknown", Some(vec![named.clone()])),
            group("unknown", None),
        ];
        let request = OffsetFetchRequest::default()
            .with_groups(groups)
            .with_require_stable(true);
        let reply = client.call(version, &request);
        let found: Vec<(String, i16, Vec<i64>)> = reply
            .groups
            .iter()
            .map(|group| {
                let offsets = group.topics.iter().flat_map(|topic| &topic.partitions);
                let offsets = offsets.map(|partition| partition.committed_offset).collect();
                (group.group_id.to_string(), group.error_code, offsets)
            })
            .collect();
        let expected = [
            ("a", vec![1]),
            ("b", vec![-1, 2]),
            ("unknown", vec![-1, -1]),
            ("unknown", vec![]),
        ];
        let expected = expected.map(|(id, offsets)| (id.to_owned(), code::NONE, offsets));
        assert_eq!(found, expected, "v{version}");
    }
}
