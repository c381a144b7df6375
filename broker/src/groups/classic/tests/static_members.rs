//! Static members, KIP-345 (contract 75).

use super::*;

fn statics(world: &mut World) -> (String, String) {
    let ids = world.stable(&[ask().instance("a"), ask().instance("b")]);
    assert!(ids[0].starts_with("a-") && ids[1].starts_with("b-"));
    assert_eq!(world.group.leader().map(|leader| &**leader), Some(&*ids[0]));
    (ids[0].clone(), ids[1].clone())
}

// contract 75
#[test]
fn a_static_member_joins_without_being_told_an_id() {
    let mut world = World::new();
    let waiter = world.join(&ask().instance("a"));
    assert!(world.is_waiting(waiter));
    world.advance(DELAY_MS);
    let response = world.joined(waiter);
    assert_eq!(response.members[0].group_instance_id.as_deref(), Some("a"));
    let member = world.group.static_member("a").expect("it is there");
    assert_eq!(**member.member_id(), *response.member_id);
}

// contract 75
#[test]
fn a_follower_that_comes_back_causes_no_rebalance() {
    for version in 5..=9 {
        let mut world = World::new();
        let (leader, old) = statics(&mut world);
        world.holds_writes = true;
        let waiter = world.join(&ask().instance("b").version(version));
        assert!(world.is_waiting(waiter), "its new id is not durable yet");
        world.settle(Ok(()));
        let response = world.joined(waiter);
        assert_eq!(
            (response.error_code, response.generation_id, response.skip_assignment),
            (0, 1, false)
        );
        assert_eq!((&*response.leader, response.members.len()), (&*leader, 0));
        assert_ne!(*response.member_id, *old);
        assert_eq!(world.state(), ClassicState::Stable);
        let record = world.last_record();
        let written = record
            .members
            .iter()
            .find(|member| member.group_instance_id.as_deref() == Some("b"));
        let written = written.expect("it is written");
        assert_eq!(
            (&*written.member_id, &written.assignment[..]),
            (&*response.member_id, old.as_bytes())
        );
        // It goes on with what it had; whoever has the old id is fenced.
        let synced = world.follow(&response.member_id);
        assert_eq!(world.synced(synced).assignment, old.as_bytes());
        world.beat(&response.member_id);
        let fenced = ErrorCode::FencedInstanceId;
        let waiter = world.join(&ask().instance("b").member(&old));
        assert_eq!(world.join_code(waiter), fenced.code());
        let waiter = world.sync(&sync_request(&old, 1).with_group_instance_id(Some(string("b"))));
        assert_eq!(world.sync_code(waiter), fenced.code());
        assert_eq!(world.commit(&old, Some("b"), 1), Err(fenced));
        assert_eq!(
            world.leave(4, &[(&old, Some("b"))]).members[0].error_code,
            fenced.code()
        );
        assert_eq!(world.heartbeat(&old, 1), ErrorCode::UnknownMemberId);
    }
}

// contract 75
#[test]
fn a_leader_that_comes_back_is_told_to_skip_the_assignment() {
    for version in 5..=9 {
        let mut world = World::new();
        let (old, _) = statics(&mut world);
        let waiter = world.join(&ask().instance("a").version(version));
        let response = world.joined(waiter);
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        assert_eq!(world.group.leader().map(|leader| &**leader), Some(&*response.member_id));
        if version >= 9 {
            assert!(response.skip_assignment);
            assert_eq!((&response.leader, response.members.len()), (&response.member_id, 2));
        } else {
            // It would assign if it took itself for the leader.
            assert!(!response.skip_assignment);
            assert_eq!((&*response.leader, response.members.len()), (&*old, 0));
        }
        let synced = world.lead();
        assert_eq!(world.synced(synced).assignment, old.as_bytes());
        assert_eq!(world.state(), ClassicState::Stable);
    }
}

// contract 75
#[test]
fn new_metadata_of_a_static_member_changes_nothing_while_the_protocol_stays() {
    let mut world = World::new();
    statics(&mut world);
    let waiter = world.join(&ask().instance("b").protocols(&[("sticky", b"new"), ("range", b"new")]));
    // One vote for each now; the leader likes range better, as before.
    assert_eq!((world.join_code(waiter), world.state()), (0, ClassicState::Stable));
    let member = world.group.static_member("b").expect("it is there");
    assert_eq!(member.metadata("range"), b"new"[..]);
}

// contract 75
#[test]
fn a_static_member_that_changes_the_protocol_causes_a_rebalance() {
    let mut world = World::new();
    let (leader, _) = statics(&mut world);
    let waiter = world.join(&ask().instance("b").protocols(&[("sticky", b"new")]));
    assert!(world.is_waiting(waiter));
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    world.join(&ask().instance("a").member(&leader));
    assert_eq!(world.joined(waiter).protocol_name.as_deref(), Some("sticky"));
}

// contract 75
#[test]
fn a_static_member_that_comes_back_while_assigning_causes_a_rebalance() {
    let mut world = World::new();
    let leads = world.join(&ask().instance("a"));
    world.join(&ask().instance("b"));
    world.advance(DELAY_MS * 2);
    let leader = world.joined(leads).member_id.to_string();
    let follows = world
        .group
        .static_member("b")
        .expect("it is there")
        .member_id()
        .to_string();
    let parked = world.follow(&follows);
    let waiter = world.join(&ask().instance("b"));
    assert_eq!(world.sync_code(parked), ErrorCode::FencedInstanceId.code());
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    assert!(world.is_waiting(waiter));
    world.join(&ask().instance("a").member(&leader));
    assert_eq!((world.join_code(waiter), world.joined(waiter).generation_id), (0, 2));
}

// contract 75
#[test]
fn a_static_member_that_comes_back_while_joins_are_collected_takes_its_place() {
    let mut world = World::new();
    let (leader, _) = statics(&mut world);
    world.join(&ask().instance("a").member(&leader));
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    let waiter = world.join(&ask().instance("b"));
    assert_eq!((world.join_code(waiter), world.joined(waiter).generation_id), (0, 2));
    // And when its older join is parked, that one is fenced.
    let mut world = World::new();
    let older = world.join(&ask().instance("a"));
    let newer = world.join(&ask().instance("a"));
    assert_eq!(world.join_code(older), ErrorCode::FencedInstanceId.code());
    assert!(world.is_waiting(newer));
    world.advance(DELAY_MS * 2);
    assert_eq!((world.join_code(newer), world.group.member_count()), (0, 1));
}

// contract 75
#[test]
fn a_new_id_that_is_refused_is_taken_back() {
    let mut world = World::new();
    let (old, _) = statics(&mut world);
    world.holds_writes = true;
    let changed = Ask {
        session_ms: 20_000,
        rebalance_ms: 1,
        ..ask().instance("a").protocols(&[("range", b"new")])
    };
    let waiter = world.join(&changed);
    world.settle(Err(ErrorCode::RequestTimedOut));
    let response = world.joined(waiter);
    assert_eq!(response.error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!((response.member_id.as_str(), &*response.leader), ("", &*old));
    let member = world.group.static_member("a").expect("it is there");
    assert_eq!(**member.member_id(), *old);
    assert_eq!(
        (member.session_timeout_ms(), member.rebalance_timeout_ms()),
        (SESSION_MS, REBALANCE_MS)
    );
    assert_eq!(
        (member.metadata("range"), member.assignment()),
        (Bytes::from("range"), &Bytes::from(old.clone()))
    );
    assert_eq!(world.group.leader().map(|leader| &**leader), Some(&*old));
    world.beat(&old);
}

// contract 75
#[test]
fn who_comes_back_twice_before_it_is_written_is_answered_twice() {
    for result in [Ok(()), Err(ErrorCode::NotCoordinator)] {
        let mut world = World::new();
        statics(&mut world);
        world.holds_writes = true;
        let older = world.join(&ask().instance("b"));
        let newer = world.join(&ask().instance("b"));
        world.settle(result);
        assert!(world.is_waiting(newer));
        world.settle(Ok(()));
        assert_eq!(world.join_code(older), ErrorCode::FencedInstanceId.code());
        assert_eq!(world.join_code(newer), 0);
        assert_eq!((world.state(), world.group.member_count()), (ClassicState::Stable, 2));
        world.beat(&world.joined(newer).member_id.clone());
    }
}

// contract 75
#[test]
fn who_comes_back_while_a_rebalance_begins_is_part_of_it() {
    for result in [Ok(()), Err(ErrorCode::NotCoordinator)] {
        let mut world = World::new();
        let (leader, _) = statics(&mut world);
        world.holds_writes = true;
        let waiter = world.join(&ask().instance("b"));
        let (_, new) = world.join_dynamic(&ask());
        assert_eq!(world.state(), ClassicState::PreparingRebalance);
        world.settle(result);
        assert!(world.is_waiting(waiter));
        world.join(&ask().instance("a").member(&leader));
        assert_eq!((world.join_code(waiter), world.joined(waiter).generation_id), (0, 2));
        assert_eq!(world.join_code(new), 0);
    }
}

// contract 72 and 75
#[test]
fn absent_static_members_stay_until_they_do_not_sync() {
    let mut world = World::new();
    let quiet = Ask {
        session_ms: 1_800_000,
        ..ask()
    };
    let ids = world.stable(&[quiet.clone().instance("a"), quiet.clone()]);
    let (_, dynamic) = (&ids[0], &ids[1]);
    let parked = world.join(&quiet.clone().member(dynamic).protocols(&[("range", b"new")]));
    world.advance(i64::from(REBALANCE_MS));
    let response = world.joined(parked);
    assert_eq!(
        (response.error_code, &*response.leader, response.members.len()),
        (0, &**dynamic, 2)
    );
    world.lead();
    assert_eq!((world.state(), world.group.member_count()), (ClassicState::Stable, 2));
    world.advance(i64::from(REBALANCE_MS));
    assert!(world.group.static_member("a").is_none());
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
}

// contract 75
#[test]
fn a_static_member_that_is_silent_loses_its_session() {
    let mut world = World::new();
    let (_, follower) = statics(&mut world);
    world.advance(i64::from(SESSION_MS) - 1);
    world.beat(&follower);
    world.advance(1);
    assert!(world.group.static_member("a").is_none());
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    // Its instance id is free: it is a new member now.
    let waiter = world.join(&ask().instance("a"));
    assert!(world.is_waiting(waiter));
}

// contract 72
#[test]
fn when_only_absent_static_members_are_there_the_round_waits_for_their_sessions() {
    let mut world = World::new();
    let quiet = Ask {
        session_ms: 200_000,
        ..ask()
    };
    let ids = world.stable(&[quiet.clone().instance("a"), quiet.clone()]);
    world.leave(4, &[(&ids[1], None)]);
    world.advance(i64::from(REBALANCE_MS));
    assert_eq!(
        (world.state(), world.group.generation_id()),
        (ClassicState::PreparingRebalance, 1)
    );
    world.advance(i64::from(REBALANCE_MS));
    assert_eq!(
        (world.state(), world.group.generation_id()),
        (ClassicState::PreparingRebalance, 1)
    );
    world.advance(200_000);
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Empty, 2));
}

// contract 75
#[test]
fn the_duty_to_sync_goes_with_the_place() {
    let mut world = World::new();
    let quiet = Ask {
        session_ms: 1_800_000,
        ..ask()
    };
    world.join(&quiet.clone().instance("a"));
    world.join(&quiet.clone().instance("b"));
    world.advance(DELAY_MS * 2);
    world.lead();
    assert_eq!(world.state(), ClassicState::Stable);
    let waiter = world.join(&quiet.instance("b"));
    let new = world.joined(waiter).member_id.to_string();
    world.follow(&new);
    world.advance(i64::from(REBALANCE_MS) * 2);
    assert_eq!((world.state(), world.group.member_count()), (ClassicState::Stable, 2));
}
