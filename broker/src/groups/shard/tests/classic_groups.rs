//! Classic groups in a shard: deletion, expiry, and the change from a consumer group that is empty.

use super::deletion::{delete_offsets, delete_request};
use super::groups::{beat, join, join_request};
use super::world::{DAY_MS, World, client, commit_request, text};
use crate::groups::Reply;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, JoinGroupResponse, SyncGroupRequest};
use protocol::ErrorCode;

/// One member that joined and synced.
fn stable(world: &mut World, group: &str, protocol_type: &str) -> JoinGroupResponse {
    let joined = join(world, &join_request(group, "", protocol_type));
    assert_eq!(joined.error_code, 0);
    let assignment = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    let request = SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    let waiter = world.waiter();
    world.event(|shard, env| ((), shard.sync_group(env, &client(3), waiter, &request)));
    let Some((_, Reply::Sync(response))) = world.replies.last() else {
        panic!("an answer to a sync")
    };
    assert_eq!(response.error_code, 0);
    assert_eq!(&*world.shard.describe_group(5, group).group_state, "Stable");
    joined
}

// contract 81
#[test]
fn a_classic_group_with_members_is_not_deleted_and_nothing_of_it_expires() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1)]));
    stable(&mut world, "g", "connect");
    let (code, _) = world.event(|shard, _| shard.delete_group("g"));
    assert_eq!(code, ErrorCode::NonEmptyGroup);
    assert_eq!(
        delete_offsets(&mut world, &delete_request("g", "t", &[0])),
        (68, vec![])
    );
    world.timers.clear();
    world.advance(30 * DAY_MS);
    world.expire();
    assert_eq!(world.fetch("g", "t", 0), 1);
}

// contract 81: the clock runs from when the last member was gone.
#[test]
fn offsets_of_a_classic_group_expire_after_it_became_empty() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 1)]));
    stable(&mut world, "g", "consumer");
    world.timers.retain(|_, at_ms| {
        *at_ms += 8 * DAY_MS;
        true
    });
    world.advance(9 * DAY_MS);
    assert_eq!(&*world.shard.describe_group(5, "g").group_state, "Empty");
    world.expire();
    assert_eq!(world.fetch("g", "t", 0), 1, "empty for a day");
    world.crash();
    world.advance(5 * DAY_MS);
    world.expire();
    assert_eq!(world.fetch("g", "t", 0), 1, "empty for six days");
    world.advance(2 * DAY_MS);
    world.expire();
    assert!(world.shard.find("g").is_none());
    world.crash();
    assert!(world.shard.find("g").is_none());
}

// contract 87
#[test]
fn an_empty_consumer_group_becomes_a_classic_one_when_the_log_has_its_tombstones() {
    let mut world = World::new();
    beat(&mut world, "g", "m", 0);
    world.commit(9, &commit_request("u-is-read", &[("u", 0, 1)]));
    beat(&mut world, "g", "m", -1);
    world.commit(9, &commit_request("g", &[("t", 0, 5)]));
    world.refuse_next = true;
    assert_eq!(join(&mut world, &join_request("g", "", "consumer")).error_code, 15);
    assert_eq!(world.shard.describe_group(6, "g").error_code, 69, "nothing changed");
    stable(&mut world, "g", "consumer");
    assert_eq!(world.fetch("g", "t", 0), 5);
    world.crash();
    assert_eq!(&*world.shard.describe_group(5, "g").group_state, "Stable");
    assert_eq!(world.fetch("g", "t", 0), 5);
}

// contract 87: the classic group goes on when its end could not be written.
#[test]
fn a_classic_group_whose_conversion_was_refused_is_as_it_was() {
    let mut world = World::new();
    let joined = join(&mut world, &join_request("g", "", "consumer"));
    world.advance(100_000);
    assert_eq!(
        &*world.shard.describe_group(5, "g").group_state,
        "Empty",
        "{}",
        joined.error_code
    );
    world.refuse_next = true;
    beat(&mut world, "g", "m", 0);
    assert_eq!(beat(&mut world, "g", "m", 0).error_code, 0);
    assert_eq!(world.shard.describe_group(6, "g").error_code, 69);
}

#[test]
fn a_join_that_is_refused_for_what_it_asks_makes_no_group() {
    let mut world = World::new();
    let request = join_request("g", "", "consumer").with_session_timeout_ms(1);
    assert_eq!(join(&mut world, &request).error_code, 26);
    let request = join_request("g", "", "consumer").with_protocols(Vec::new());
    assert_eq!(join(&mut world, &request).error_code, 23);
    assert!(world.shard.find("g").is_none());
    world.outside.config.group_coordinator_max_groups = 0;
    assert_eq!(join(&mut world, &join_request("g", "", "consumer")).error_code, 81);
    assert_eq!(beat(&mut world, "g", "m", 0).error_code, 81);
}
