//! OffsetCommit and OffsetFetch: who may, what comes back.

use super::world::{World, client, commit_request, fetch_request, is_simple};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol::ErrorCode;

// contract 79, 80
#[test]
fn a_commit_without_membership_makes_an_empty_group_without_protocol() {
    let mut world = World::new();
    let request = commit_request("g", &[("t", 0, 10), ("t", 5, 11), ("u", 2, 12)]);
    assert_eq!(world.commit(9, &request), [ErrorCode::None; 3]);
    assert!(is_simple(&world.shard, "g"));
    assert_eq!(world.fetch("g", "t", 5), 11);
    world.crash();
    assert_eq!(world.fetch("g", "u", 2), 12);
    assert_eq!(world.fetch_all("g").len(), 3);
    let described = world.shard.describe_group(5, "g");
    assert_eq!((&*described.group_state, &*described.protocol_type), ("Empty", ""));
}

// contract 79
#[test]
fn the_empty_group_id_may_commit_and_fetch() {
    let mut world = World::new();
    assert_eq!(world.commit(9, &commit_request("", &[("t", 0, 1)])), [ErrorCode::None]);
    assert_eq!(world.fetch("", "t", 0), 1);
}

// contract 79
#[test]
fn unknown_topics_and_partitions_are_refused_one_by_one() {
    let mut world = World::new();
    let request = commit_request(
        "g",
        &[
            ("t", 0, 1),
            ("t", 6, 1),
            ("t", -1, 1),
            ("t", i32::MIN, 1),
            ("", 0, 1),
            ("gone", 0, 1),
        ],
    );
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        world.commit(9, &request),
        [ErrorCode::None, unknown, unknown, unknown, unknown, unknown]
    );
    assert_eq!(world.fetch_all("g").len(), 1);
}

// contract 79: nothing but refusals leaves no group behind.
#[test]
fn a_commit_that_is_refused_makes_no_group() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("gone", 0, 1)]));
    assert!(world.shard.find("g").is_none());
    assert!(world.log.is_empty());
}

// contract 79
#[test]
fn metadata_has_a_limit() {
    let mut world = World::new();
    let with = |metadata: String| {
        let mut request = commit_request("g", &[("t", 0, 1)]);
        request.topics[0].partitions[0].committed_metadata = Some(metadata.into());
        request
    };
    assert_eq!(world.commit(9, &with("m".repeat(4096))), [ErrorCode::None]);
    // As long for Java, though three times as many bytes.
    assert_eq!(world.commit(9, &with("\u{20ac}".repeat(4096))), [ErrorCode::None]);
    assert_eq!(
        world.commit(9, &with("m".repeat(4097))),
        [ErrorCode::OffsetMetadataTooLarge]
    );
    assert_eq!(
        world.commit(9, &with("m".repeat(10 << 20))),
        [ErrorCode::OffsetMetadataTooLarge]
    );
    let shard = &world.shard;
    let response = world
        .outside
        .with(|env| shard.offset_fetch(env, &fetch_request("g").with_topics(None), false));
    let metadata = response.topics[0].partitions[0].metadata.as_ref().expect("never null");
    assert_eq!(metadata.chars().count(), 4096);
}

// contract 87
#[test]
fn a_generation_of_an_unknown_group_is_an_error_by_version() {
    let mut world = World::new();
    let request = commit_request("g", &[("t", 0, 1)]).with_generation_id_or_member_epoch(3);
    assert_eq!(world.commit(8, &request), [ErrorCode::IllegalGeneration]);
    assert_eq!(world.commit(9, &request), [ErrorCode::GroupIdNotFound]);
    // A simple group exists and has no members.
    world.commit(9, &commit_request("g", &[("t", 0, 1)]));
    assert_eq!(world.commit(9, &request), [ErrorCode::UnknownMemberId]);
}

// contract 80
#[test]
fn what_is_unknown_has_no_offset_and_no_error() {
    let mut world = World::new();
    assert_eq!(world.fetch("nobody", "t", 0), -1);
    world.commit(9, &commit_request("g", &[("t", 0, 1)]));
    assert_eq!(world.fetch("g", "t", 1), -1);
    assert_eq!(world.fetch("g", "t", -5), -1);
    assert_eq!(world.fetch("g", "gone", 0), -1);
    assert!(world.fetch_all("nobody").is_empty());
}

// contract 65, 80
#[test]
fn a_topic_that_was_created_again_has_no_offset() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 7), ("u", 0, 8)]));
    world.outside.topics.delete("t");
    assert_eq!(world.fetch("g", "t", 0), -1);
    world.outside.topics.create("t", 6);
    assert_eq!(world.fetch("g", "t", 0), -1);
    assert_eq!(
        world.fetch_all("g").into_keys().collect::<Vec<_>>(),
        [("u".to_owned(), 0)]
    );
    world.commit(9, &commit_request("g", &[("t", 0, 1)]));
    assert_eq!(world.fetch("g", "t", 0), 1);
    assert_eq!(world.shard.counts().offsets, 2);
}

// contract 80: Kafka wrote no topic ids before 4.1.
#[test]
fn an_offset_without_topic_id_belongs_to_the_topic_of_its_name() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 7)]));
    for record in &mut world.log {
        if let protocol::group_records::GroupRecord::OffsetCommit { value: Some(value), .. } = record {
            value.topic_id = protocol::types::TopicId::ZERO;
        }
    }
    world.crash();
    assert_eq!(world.fetch("g", "t", 0), 7);
}

#[test]
fn the_last_of_two_commits_of_one_request_counts() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 7), ("t", 0, 5)]));
    assert_eq!(world.fetch("g", "t", 0), 5);
}

#[test]
fn a_hundred_thousand_partitions_are_answered_one_by_one() {
    let mut world = World::new();
    let partitions = (0..100_000).map(|p| OffsetCommitRequestPartition::default().with_partition_index(p));
    let mut request = commit_request("g", &[]);
    let topic = OffsetCommitRequestTopic::default().with_name(super::world::name("t"));
    request.topics.push(topic.with_partitions(partitions.collect()));
    let codes = world.commit(9, &request);
    assert_eq!(codes.len(), 100_000);
    assert_eq!(codes.iter().filter(|code| **code == ErrorCode::None).count(), 6);
    assert_eq!(world.log.len(), 6);
}

#[test]
fn a_commit_that_the_log_refused_changes_nothing() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 7)]));
    world.refuse_next = true;
    let request = commit_request("g", &[("t", 0, 8)]);
    let (_, taken) = world.event(|shard, env| shard.offset_commit(env, &client(9), &request));
    assert!(!taken);
    assert_eq!(world.fetch("g", "t", 0), 7);
}

#[test]
fn beyond_the_most_groups_new_ones_are_refused_and_old_ones_work() {
    let mut world = World::new();
    world.outside.config.group_coordinator_max_groups = 2;
    assert_eq!(world.commit(9, &commit_request("a", &[("t", 0, 1)])), [ErrorCode::None]);
    assert_eq!(world.commit(9, &commit_request("b", &[("t", 0, 1)])), [ErrorCode::None]);
    assert_eq!(
        world.commit(9, &commit_request("c", &[("t", 0, 1)])),
        [ErrorCode::GroupMaxSizeReached]
    );
    assert_eq!(world.commit(9, &commit_request("a", &[("t", 1, 1)])), [ErrorCode::None]);
    let (code, _) = world.event(|shard, _| shard.delete_group("a"));
    assert_eq!(code, ErrorCode::None);
    assert_eq!(world.commit(9, &commit_request("c", &[("t", 0, 1)])), [ErrorCode::None]);
}
