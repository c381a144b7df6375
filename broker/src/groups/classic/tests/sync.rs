//! SyncGroup, Heartbeat and OffsetCommit in each state (contract 76, 77, 79), and what durable means.

use super::*;

/// A group in each state that has members, with one member that is asked about: its id.
fn in_state(world: &mut World, state: ClassicState) -> String {
    let ids = world.stable(&[ask(), ask()]);
    let (leader, follower) = world.leader_and_follower(&ids);
    if state != ClassicState::Stable {
        world.join(&ask().member(&leader));
        if state == ClassicState::CompletingRebalance {
            world.join(&ask().member(&follower));
        }
    }
    assert_eq!(world.state(), state);
    follower
}

const WITH_MEMBERS: [ClassicState; 3] = [
    ClassicState::PreparingRebalance,
    ClassicState::CompletingRebalance,
    ClassicState::Stable,
];

// contract 76
#[test]
fn a_sync_is_checked_in_every_state() {
    for state in WITH_MEMBERS {
        let mut world = World::new();
        let member_id = in_state(&mut world, state);
        let generation_id = world.group.generation_id();
        let good = sync_request(&member_id, generation_id);
        let refused = [
            (
                good.clone().with_member_id(string("nobody")),
                ErrorCode::UnknownMemberId,
            ),
            (good.clone().with_member_id(string("")), ErrorCode::UnknownMemberId),
            (
                good.clone().with_group_instance_id(Some(string("i"))),
                ErrorCode::UnknownMemberId,
            ),
            (
                good.clone().with_generation_id(generation_id + 1),
                ErrorCode::IllegalGeneration,
            ),
            (good.clone().with_generation_id(-1), ErrorCode::IllegalGeneration),
            (
                good.clone().with_protocol_type(Some(string("connect"))),
                ErrorCode::InconsistentGroupProtocol,
            ),
            (
                good.clone().with_protocol_name(Some(string("sticky"))),
                ErrorCode::InconsistentGroupProtocol,
            ),
            (
                good.clone().with_protocol_name(None),
                ErrorCode::InconsistentGroupProtocol,
            ),
            (
                good.clone().with_protocol_type(None),
                ErrorCode::InconsistentGroupProtocol,
            ),
        ];
        for (request, code) in refused {
            let waiter = world.sync(&request);
            assert_eq!(world.sync_code(waiter), code.code(), "{state}");
        }
        let waiter = world.sync(&good);
        match state {
            ClassicState::PreparingRebalance => {
                assert_eq!(world.sync_code(waiter), ErrorCode::RebalanceInProgress.code());
            }
            ClassicState::CompletingRebalance => assert!(world.is_waiting(waiter)),
            _ => assert_eq!(
                (world.sync_code(waiter), &world.synced(waiter).assignment[..]),
                (0, member_id.as_bytes())
            ),
        }
    }
    let mut world = World::new();
    let waiter = world.follow("nobody");
    assert_eq!(world.sync_code(waiter), ErrorCode::UnknownMemberId.code());
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    let waiter = world.follow("nobody");
    assert_eq!(world.sync_code(waiter), ErrorCode::CoordinatorNotAvailable.code());
}

// contract 76
#[test]
fn versions_before_5_do_not_name_the_protocol() {
    let mut world = World::new();
    let member_id = in_state(&mut world, ClassicState::Stable);
    let request = sync_request(&member_id, 1)
        .with_protocol_name(None)
        .with_protocol_type(None);
    let (waiter, client) = (world.waiter(), World::client(4));
    world.with(|group, env| ((), group.sync(env, &client, waiter, &request)));
    assert_eq!(world.sync_code(waiter), 0);
}

// contract 76
#[test]
fn nobody_is_answered_before_the_assignment_is_durable() {
    let mut world = World::new();
    let follower = in_state(&mut world, ClassicState::CompletingRebalance);
    world.holds_writes = true;
    let follows = world.follow(&follower);
    let leads = world.lead();
    assert!(world.is_waiting(follows) && world.is_waiting(leads));
    assert_eq!(world.state(), ClassicState::CompletingRebalance);
    let late = world.follow(&follower);
    assert_eq!(
        world.sync_code(follows),
        ErrorCode::RebalanceInProgress.code(),
        "replaced by the later one"
    );
    // The leader repeats itself: nothing is written twice.
    let repeats = world.lead();
    assert_eq!(world.sync_code(leads), ErrorCode::RebalanceInProgress.code());
    assert_eq!(world.in_flight.len(), 1);
    world.settle(Ok(()));
    assert_eq!(world.synced(late).assignment, follower.as_bytes());
    assert_eq!(world.sync_code(repeats), 0);
    assert_eq!(world.synced(late).protocol_name.as_deref(), Some("range"));
    assert_eq!(world.state(), ClassicState::Stable);
    let record = world.last_record();
    assert_eq!((record.generation, record.members.len()), (2, 2));
    assert!(
        record
            .members
            .iter()
            .all(|member| member.assignment == member.member_id.as_bytes())
    );
    assert!(record.members.iter().all(|member| member.subscription == b"range"[..]));
}

// contract 76
#[test]
fn members_that_the_leader_leaves_out_get_nothing() {
    let mut world = World::new();
    let follower = in_state(&mut world, ClassicState::CompletingRebalance);
    let follows = world.follow(&follower);
    let leader = world.group.leader().expect("one leads").to_string();
    let given = assignments([&leader, &"nobody".to_owned()]);
    let leads = world.sync(&sync_request(&leader, 2).with_assignments(given));
    assert_eq!(world.synced(leads).assignment, leader.as_bytes());
    assert_eq!(
        (world.sync_code(follows), world.synced(follows).assignment.len()),
        (0, 0)
    );
    assert_eq!(world.last_record().members.len(), 2);
}

// contract 76
#[test]
fn a_refused_assignment_fails_everybody_and_begins_anew() {
    let cases = [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorNotAvailable),
    ];
    for (refused, told) in cases {
        let mut world = World::new();
        let follower = in_state(&mut world, ClassicState::CompletingRebalance);
        world.holds_writes = true;
        let follows = world.follow(&follower);
        let leads = world.lead();
        world.settle(Err(refused));
        assert_eq!(
            (world.sync_code(follows), world.sync_code(leads)),
            (told.code(), told.code())
        );
        assert_eq!(world.state(), ClassicState::PreparingRebalance);
        assert!(world.group.members().all(|member| member.assignment().is_empty()));
        let leader = world.group.leader().expect("one leads").to_string();
        let joins = [world.join(&ask().member(&leader)), world.join(&ask().member(&follower))];
        assert_eq!(joins.map(|waiter| world.joined(waiter).generation_id), [3, 3]);
    }
}

// contract 76
#[test]
fn what_a_later_generation_overtakes_is_not_assigned() {
    for result in [Ok(()), Err(ErrorCode::NotCoordinator)] {
        let mut world = World::new();
        let follower = in_state(&mut world, ClassicState::CompletingRebalance);
        world.holds_writes = true;
        let leads = world.lead();
        let joins = world.join(&ask().member(&follower).protocols(&[("range", b"new")]));
        assert_eq!(world.sync_code(leads), ErrorCode::RebalanceInProgress.code());
        world.settle(result);
        assert_eq!(world.state(), ClassicState::PreparingRebalance);
        assert!(world.is_waiting(joins));
        assert!(world.group.members().all(|member| member.assignment().is_empty()));
    }
}

// contract 77
#[test]
fn a_heartbeat_is_answered_by_state() {
    for state in WITH_MEMBERS {
        let mut world = World::new();
        let member_id = in_state(&mut world, state);
        let generation_id = world.group.generation_id();
        assert_eq!(world.heartbeat("nobody", generation_id), ErrorCode::UnknownMemberId);
        assert_eq!(
            world.heartbeat(&member_id, generation_id - 1),
            ErrorCode::IllegalGeneration
        );
        let expected = match state {
            ClassicState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        };
        // Each renews the session, in all three states.
        for _ in 0..4 {
            world.advance(i64::from(SESSION_MS) - 1);
            if world.group.state() != state {
                break;
            }
            assert_eq!(world.heartbeat(&member_id, generation_id), expected, "{state}");
        }
        assert!(world.group.member(&member_id).is_some());
    }
    let mut world = World::new();
    assert_eq!(world.heartbeat("nobody", 0), ErrorCode::UnknownMemberId);
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    assert_eq!(world.heartbeat("nobody", 0), ErrorCode::CoordinatorNotAvailable);
}

// contract 77
#[test]
fn an_id_that_was_given_out_has_no_heartbeats() {
    let mut world = World::new();
    let told = world.join(&ask());
    let member_id = world.joined(told).member_id.to_string();
    assert_eq!(world.heartbeat(&member_id, 0), ErrorCode::UnknownMemberId);
}

// contract 79
#[test]
fn commits_are_checked_by_state() {
    let mut world = World::new();
    assert_eq!(world.commit("", None, -1), Ok(()));
    assert_eq!(
        world.commit("nobody", None, -1),
        Ok(()),
        "a tool, or a consumer of assigned partitions"
    );
    assert_eq!(world.commit("nobody", None, 0), Err(ErrorCode::UnknownMemberId));
    for state in WITH_MEMBERS {
        let mut world = World::new();
        let member_id = in_state(&mut world, state);
        let generation_id = world.group.generation_id();
        assert_eq!(world.commit("", None, -1), Err(ErrorCode::UnknownMemberId), "{state}");
        assert_eq!(world.commit(&member_id, None, -1), Err(ErrorCode::IllegalGeneration));
        assert_eq!(
            world.commit(&member_id, None, generation_id - 1),
            Err(ErrorCode::IllegalGeneration)
        );
        assert_eq!(
            world.commit(&member_id, Some("i"), generation_id),
            Err(ErrorCode::UnknownMemberId)
        );
        assert_eq!(
            world.commit("nobody", None, generation_id),
            Err(ErrorCode::UnknownMemberId)
        );
        let expected = match state {
            ClassicState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        };
        assert_eq!(world.commit(&member_id, None, generation_id), expected, "{state}");
    }
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    assert_eq!(world.commit("", None, -1), Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(world.group.check_fetch(), Err(ErrorCode::GroupIdNotFound));
}

// contract 79
#[test]
fn commits_renew_the_session() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    for _ in 0..5 {
        world.advance(i64::from(SESSION_MS) - 1);
        assert_eq!(world.commit(&ids[0], None, 1), Ok(()));
    }
    assert_eq!(world.state(), ClassicState::Stable);
    world.advance(i64::from(SESSION_MS));
    assert_eq!(world.state(), ClassicState::Empty);
}

#[test]
fn deletions_are_checked_by_state() {
    let mut world = World::new();
    assert_eq!(
        (world.group.can_be_deleted(), world.group.check_offset_delete()),
        (Ok(()), Ok(()))
    );
    assert!(world.group.is_idle() && world.group.record().is_none());
    in_state(&mut world, ClassicState::Stable);
    assert_eq!(world.group.can_be_deleted(), Err(ErrorCode::NonEmptyGroup));
    assert_eq!(world.group.check_offset_delete(), Ok(()), "then topic by topic");
    let mut world = World::new();
    world.join_dynamic(&Ask {
        protocol_type: "connect".to_owned(),
        ..ask()
    });
    assert_eq!(world.group.check_offset_delete(), Err(ErrorCode::NonEmptyGroup));
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    assert_eq!(world.group.can_be_deleted(), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(world.group.check_offset_delete(), Err(ErrorCode::GroupIdNotFound));
}
