//! Offsets, topics and groups that are deleted.

use super::world::{World, commit_request, name, text};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{GroupId, OffsetDeleteRequest};
use protocol::ErrorCode;

pub(super) fn delete_request(group: &str, topic: &str, partitions: &[i32]) -> OffsetDeleteRequest {
    let partitions = partitions
        .iter()
        .map(|p| OffsetDeleteRequestPartition::default().with_partition_index(*p));
    let topic = OffsetDeleteRequestTopic::default().with_name(name(topic));
    OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(vec![topic.with_partitions(partitions.collect())])
}

/// The error of the whole, then those of the partitions.
pub(super) fn delete_offsets(world: &mut World, request: &OffsetDeleteRequest) -> (i16, Vec<i16>) {
    let (response, _) = world.event(|shard, env| shard.offset_delete(env, request));
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    (response.error_code, partitions.map(|p| p.error_code).collect())
}

// contract 81
#[test]
fn offsets_are_deleted_by_partition() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1), ("t", 1, 2)]));
    assert_eq!(
        delete_offsets(&mut world, &delete_request("g", "t", &[0, 4, -1])),
        (0, vec![0, 0, 0])
    );
    assert_eq!((world.fetch("g", "t", 0), world.fetch("g", "t", 1)), (-1, 2));
    assert_eq!(world.log.len(), 3, "only what was there has a tombstone");
    assert_eq!(
        delete_offsets(&mut world, &delete_request("g", "gone", &[0])),
        (0, vec![3])
    );
    assert_eq!(
        delete_offsets(&mut world, &delete_request("nobody", "t", &[0])),
        (69, vec![])
    );
}

// contract 81
#[test]
fn a_simple_group_is_deleted_with_its_offsets() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1), ("t", 1, 2)]));
    let (code, _) = world.event(|shard, _| shard.delete_group("g"));
    assert_eq!(code, ErrorCode::None);
    assert_eq!(world.fetch("g", "t", 0), -1);
    let (code, _) = world.event(|shard, _| shard.delete_group("g"));
    assert_eq!(code, ErrorCode::GroupIdNotFound);
    world.crash();
    assert_eq!(world.shard.counts(), crate::groups::Counts::default());
}

// contract 65
#[test]
fn offsets_go_with_their_topic() {
    let mut world = World::new();
    for group in ["a", "b"] {
        world.commit(9, &commit_request(group, &[("t", 0, 1), ("u", 1, 2)]));
    }
    let id = world.outside.topics.delete("t").expect("was there");
    world.event(|shard, env| ((), shard.topics_deleted(env, &[id])));
    assert_eq!(world.shard.counts().offsets, 2);
    let before = world.log.len();
    world.event(|shard, env| ((), shard.topics_deleted(env, &[id])));
    assert_eq!(world.log.len(), before, "nothing is left to delete");
}

// contract 65: the broker was down, or the tombstones were not written, when the topic went.
#[test]
fn loading_drops_offsets_of_topics_that_are_gone() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1), ("u", 1, 2)]));
    world.outside.topics.delete("t");
    world.outside.topics.create("t", 6);
    world.crash();
    assert_eq!(world.shard.counts().offsets, 1);
    assert_eq!(world.fetch("g", "t", 0), -1);
    assert_eq!(world.fetch("g", "u", 1), 2);
}

#[test]
fn very_many_stale_offsets_go_by_and_by() {
    let mut world = World::new();
    world.outside.topics.create("wide", 25_000);
    let offsets: Vec<_> = (0..25_000).map(|partition| ("wide", partition, 1)).collect();
    world.commit(9, &commit_request("g", &offsets));
    let id = world.outside.topics.delete("wide").expect("was there");
    world.event(|shard, env| ((), shard.topics_deleted(env, &[id])));
    assert_eq!(world.shard.counts().offsets, 15_000);
    assert!(world.fetch_all("g").is_empty());
    world.expire();
    assert_eq!(world.shard.counts().offsets, 0);
}
