//! What time takes: retention of offsets and of groups.

use super::world::{DAY_MS, World, commit_request};
use protocol::ErrorCode;

// contract 81: simple groups expire by partition, from the commit.
#[test]
fn offsets_of_simple_groups_expire_one_by_one() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1)]));
    world.advance(DAY_MS);
    world.commit(9, &commit_request("g", &[("t", 1, 2)]));
    world.advance(6 * DAY_MS - 1);
    world.expire();
    assert_eq!(world.fetch_all("g").len(), 2);
    world.advance(1);
    world.expire();
    assert_eq!((world.fetch("g", "t", 0), world.fetch("g", "t", 1)), (-1, 2));
    world.advance(DAY_MS);
    world.expire();
    assert!(world.shard.find("g").is_none());
    world.crash();
    assert!(world.shard.find("g").is_none());
}

// contract 81: OffsetCommit 2 to 4 may say how long.
#[test]
fn a_retention_of_the_client_goes_before_the_brokers() {
    let mut world = World::new();
    let request = commit_request("g", &[("t", 0, 1)]).with_retention_time_ms(1_000);
    world.commit(4, &request);
    let request = commit_request("g", &[("t", 1, 1)]).with_retention_time_ms(30 * DAY_MS);
    world.commit(2, &request);
    // Later versions have no such field.
    let request = commit_request("g", &[("t", 2, 1)]).with_retention_time_ms(1_000);
    world.commit(5, &request);
    world.advance(999);
    world.expire();
    assert_eq!(world.fetch_all("g").len(), 3);
    world.advance(1);
    world.expire();
    assert_eq!(world.fetch("g", "t", 0), -1);
    assert_eq!(world.fetch("g", "t", 2), 1);
    world.advance(8 * DAY_MS);
    world.expire();
    assert_eq!((world.fetch("g", "t", 1), world.fetch("g", "t", 2)), (1, -1));
    world.advance(30 * DAY_MS);
    world.expire();
    assert!(world.shard.find("g").is_none());
}

#[test]
fn absurd_retentions_neither_overflow_nor_last() {
    let mut world = World::new();
    for (partition, retention) in [(0, i64::MAX), (1, i64::MIN), (2, -2)] {
        let request = commit_request("g", &[("t", partition, 1)]).with_retention_time_ms(retention);
        assert_eq!(world.commit(3, &request), [ErrorCode::None]);
    }
    world.expire();
    assert_eq!(
        world.fetch_all("g").into_keys().collect::<Vec<_>>(),
        [("t".to_owned(), 0)]
    );
}

// contract 65
#[test]
fn offsets_of_topics_that_are_gone_go_too() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1), ("u", 0, 2)]));
    world.outside.topics.delete("t");
    world.expire();
    assert_eq!(world.shard.counts().offsets, 1);
}

#[test]
fn a_pass_over_many_offsets_is_done_in_parts() {
    let mut world = World::new();
    world.outside.topics.create("wide", 5_000);
    for group in ["a", "b", "c", "d", "e", "f"] {
        let offsets: Vec<_> = (0..5_000).map(|partition| ("wide", partition, 1)).collect();
        world.commit(9, &commit_request(group, &offsets));
    }
    let shard = &mut world.shard;
    let (effects, progress) = world.outside.with(|env| shard.expire(env));
    assert!(effects.records.is_empty());
    assert_eq!(progress, crate::groups::Progress::More);
    world.advance(7 * DAY_MS);
    let before = world.log.len();
    let shard = &mut world.shard;
    let (effects, progress) = world.outside.with(|env| shard.expire(env));
    assert_eq!(
        (effects.records.len(), progress),
        (1_000, crate::groups::Progress::More)
    );
    world.apply(effects);
    world.expire();
    // The first pass began in the middle.
    world.expire();
    assert_eq!(world.log.len() - before, 30_000);
    assert_eq!(world.shard.counts(), crate::groups::Counts::default());
}
