//! The state written in chunks, with events in between, replays to the same state.

use super::world::{World, commit_request, durable, replayed, snapshot};
use crate::groups::SnapshotCursor;
use protocol::group_records::GroupRecord;

#[test]
fn a_snapshot_replays_to_the_same_state() {
    let mut world = World::new();
    for group in ["a", "b", "c"] {
        world.commit(9, &commit_request(group, &[("t", 0, 1), ("t", 1, 2), ("u", 1, 3)]));
    }
    let again = replayed(&snapshot(&world.shard));
    assert_eq!(durable(&again), durable(&world.shard));
    assert_eq!(again.counts().offsets, 9);
}

#[test]
fn chunks_are_bounded_and_end() {
    let mut world = World::new();
    let offsets: Vec<_> = (0..6).map(|partition| ("t", partition, 1)).collect();
    for group in 0..10 {
        world.commit(9, &commit_request(&format!("g{group}"), &offsets));
    }
    for records_max in [0, 1, 2, 6, 7, 1_000] {
        let (mut chunks, mut records, mut cursor) = (0, 0, Some(SnapshotCursor::default()));
        while let Some(at) = cursor {
            let (chunk, next) = world.shard.snapshot_chunk(at, records_max);
            assert!(chunk.len() <= records_max.max(1), "{} of {records_max}", chunk.len());
            records += chunk.len();
            chunks += 1;
            cursor = next;
        }
        assert_eq!(records, 60);
        assert!(chunks <= 60 / records_max.max(1) + 1);
    }
    let (chunk, next) = replayed(&[]).snapshot_chunk(SnapshotCursor::default(), 10);
    assert!(chunk.is_empty() && next.is_none());
}

// Each place where something can change: before, in and behind the part of the state that was written.
#[test]
fn changes_between_chunks_are_in_the_checkpoint() {
    let all: Vec<_> = (0..6).map(|partition| ("t", partition, 1)).collect();
    for chunks_before in 0..9 {
        for group in ["a", "b", "c", "new"] {
            for partition in 0..6 {
                let mut world = World::new();
                for group in ["a", "b", "c"] {
                    world.commit(9, &commit_request(group, &all));
                }
                let mut checkpoint: Vec<GroupRecord> = Vec::new();
                let mut cursor = Some(SnapshotCursor::default());
                for _ in 0..chunks_before {
                    cursor = take_chunk(&world, cursor, &mut checkpoint);
                }
                let before = world.log.len();
                world.commit(9, &commit_request(group, &[("t", partition, 99)]));
                let request = super::deletion::delete_request("b", "t", &[partition]);
                super::deletion::delete_offsets(&mut world, &request);
                world.event(|shard, _| shard.delete_group("c"));
                checkpoint.extend(world.log.iter().skip(before).cloned());
                while cursor.is_some() {
                    cursor = take_chunk(&world, cursor, &mut checkpoint);
                }
                assert_eq!(durable(&replayed(&checkpoint)), durable(&world.shard));
            }
        }
    }
}

fn take_chunk(
    world: &World,
    cursor: Option<SnapshotCursor>,
    checkpoint: &mut Vec<GroupRecord>,
) -> Option<SnapshotCursor> {
    let (chunk, next) = world.shard.snapshot_chunk(cursor?, 2);
    checkpoint.extend(chunk);
    next
}
