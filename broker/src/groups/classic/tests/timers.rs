//! Who is given up, and when (contract 72, 74, 76), and what an empty group leaves (contract 81).

use super::*;

// contract 74
#[test]
fn a_new_member_that_is_parked_has_five_minutes() {
    let mut world = World::new();
    let patient = Ask {
        rebalance_ms: 1_000_000,
        ..ask()
    };
    let ids = world.stable(std::slice::from_ref(&patient));
    let (new, parked) = world.join_dynamic(&patient);
    // The one that is there keeps the round open, alive and without joining.
    for _ in 0..299 {
        world.advance(1_000);
        assert_eq!(world.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    }
    assert!(world.is_waiting(parked));
    world.advance(1_000);
    assert_eq!(world.join_code(parked), ErrorCode::UnknownMemberId.code());
    assert_eq!(world.joined(parked).member_id.as_str(), "");
    assert!(world.group.member(&new).is_none() && world.group.member(&ids[0]).is_some());
}

// contract 74
#[test]
fn an_older_member_that_is_parked_needs_no_heartbeat() {
    let mut world = World::new();
    let patient = Ask {
        rebalance_ms: 1_000_000,
        ..ask()
    };
    let ids = world.stable(&[patient.clone(), patient.clone()]);
    let parked = world.join(&patient.clone().member(&ids[0]));
    for _ in 0..900 {
        world.advance(1_000);
        assert_eq!(world.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    }
    assert!(world.is_waiting(parked));
    world.join(&patient.clone().member(&ids[1]));
    assert_eq!(world.join_code(parked), 0);
    // From now on it does.
    let follower = world.leader_and_follower(&ids).1;
    world.lead();
    world.follow(&follower);
    world.advance(i64::from(SESSION_MS));
    assert_eq!(world.group.member_count(), 0);
}

// contract 70
#[test]
fn an_id_that_is_not_used_is_forgotten_after_a_session_timeout() {
    let mut world = World::new();
    let told = world.join(&ask());
    let member_id = world.joined(told).member_id.to_string();
    world.advance(i64::from(SESSION_MS) - 1);
    assert!(!world.group.is_idle());
    world.advance(1);
    assert!(world.group.is_idle());
    let waiter = world.join(&ask().member(&member_id));
    assert_eq!(world.join_code(waiter), ErrorCode::UnknownMemberId.code());
}

// contract 72
#[test]
fn an_id_that_is_not_used_holds_a_round_up_no_longer() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    world.join(&ask());
    let parked = world.join(&ask().member(&ids[0]));
    world.advance(i64::from(SESSION_MS) - 1);
    assert!(world.is_waiting(parked));
    world.advance(1);
    assert_eq!(world.join_code(parked), 0);
}

#[test]
fn a_silent_member_is_removed_and_the_others_rebalance() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask(), ask()]);
    world.advance(5_000);
    world.beat(&ids[0]);
    world.beat(&ids[2]);
    world.advance(4_999);
    assert_eq!(world.state(), ClassicState::Stable);
    world.advance(1);
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    assert!(world.group.member(&ids[1]).is_none());
    let joins = [world.join(&ask().member(&ids[0])), world.join(&ask().member(&ids[2]))];
    assert_eq!(joins.map(|waiter| world.join_code(waiter)), [0, 0]);
}

#[test]
fn when_the_leader_falls_silent_another_leads() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    let (leader, follower) = world.leader_and_follower(&ids);
    world.advance(5_000);
    world.beat(&follower);
    world.advance(5_000);
    assert!(world.group.member(&leader).is_none());
    let waiter = world.join(&ask().member(&follower));
    let response = world.joined(waiter);
    assert_eq!(
        (response.error_code, &*response.leader, response.members.len()),
        (0, &*follower, 1)
    );
}

#[test]
fn when_all_fall_silent_the_group_is_empty_and_says_so_in_the_log() {
    let mut world = World::new();
    world.stable(&[ask(), ask(), ask()]);
    assert_eq!(world.group.empty_since_ms(), None);
    let writes = world.log.len();
    world.advance(i64::from(SESSION_MS));
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Empty, 2));
    assert_eq!(world.log.len(), writes + 1);
    let record = world.last_record().clone();
    assert_eq!(
        (record.generation, record.members.len(), &*record.protocol_type),
        (2, 0, "consumer")
    );
    assert_eq!((record.protocol.clone(), record.leader.clone()), (None, None));
    // contract 81
    assert_eq!(world.group.empty_since_ms(), Some(record.current_state_timestamp));
    assert_eq!(record.current_state_timestamp, world.now_ms);
    assert!(world.group.subscribed_topics().is_some_and(BTreeSet::is_empty));
    assert_eq!(world.group.can_be_deleted(), Ok(()));
}

#[test]
fn an_empty_group_whose_record_is_refused_goes_on() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    world.holds_writes = true;
    world.leave(4, &[(&ids[0], None)]);
    assert!(!world.group.is_idle(), "its record is on its way");
    world.settle(Err(ErrorCode::NotCoordinator));
    assert!(world.group.is_idle());
    world.holds_writes = false;
    world.stable(&[ask()]);
    assert_eq!(world.group.generation_id(), 3);
}

// contract 72
#[test]
fn a_round_ends_at_the_longest_rebalance_timeout_without_those_who_are_absent() {
    let mut world = World::new();
    let short = Ask {
        rebalance_ms: 20_000,
        session_ms: 1_800_000,
        ..ask()
    };
    let long = Ask {
        rebalance_ms: 40_000,
        ..short.clone()
    };
    let ids = world.stable(&[short.clone(), long.clone(), short.clone()]);
    let parked = [
        world.join(&short.clone().member(&ids[0])),
        world.join(&long.clone().member(&ids[1])),
    ];
    let (_, new) = world.join_dynamic(&short);
    world.advance(39_999);
    assert!(parked.iter().all(|waiter| world.is_waiting(*waiter)));
    world.advance(1);
    assert_eq!(parked.map(|waiter| world.join_code(waiter)), [0, 0]);
    assert_eq!(world.join_code(new), 0);
    assert!(world.group.member(&ids[2]).is_none());
    assert_eq!(world.heartbeat(&ids[2], 2), ErrorCode::UnknownMemberId);
}

// contract 72
#[test]
fn a_leader_that_is_absent_is_replaced_by_one_who_joined() {
    let mut world = World::new();
    let quiet = Ask {
        session_ms: 1_800_000,
        ..ask()
    };
    let ids = world.stable(&[quiet.clone(), quiet.clone()]);
    let (_, follower) = world.leader_and_follower(&ids);
    let parked = world.join(&quiet.member(&follower).protocols(&[("range", b"new")]));
    world.advance(i64::from(REBALANCE_MS));
    let response = world.joined(parked);
    assert_eq!(
        (response.error_code, &*response.leader, response.members.len()),
        (0, &*follower, 1)
    );
}

// contract 72
#[test]
fn when_nobody_joins_the_group_is_empty() {
    let mut world = World::new();
    let quiet = Ask {
        session_ms: 1_800_000,
        ..ask()
    };
    let ids = world.stable(&[quiet.clone(), quiet.clone(), quiet.clone()]);
    world.leave(4, &[(&ids[0], None)]);
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    world.advance(i64::from(REBALANCE_MS));
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Empty, 2));
}

// contract 72
#[test]
fn a_group_that_everybody_leaves_during_its_first_delay_is_empty() {
    let mut world = World::new();
    let (member_id, parked) = world.join_dynamic(&ask());
    world.leave(4, &[(&member_id, None)]);
    assert_eq!(world.join_code(parked), ErrorCode::UnknownMemberId.code());
    // The delay goes on; whoever comes now is part of it.
    let (_, second) = world.join_dynamic(&ask());
    world.advance(DELAY_MS * 2);
    assert_eq!(world.joined(second).generation_id, 1);
    let mut world = World::new();
    let (member_id, _) = world.join_dynamic(&ask());
    world.leave(4, &[(&member_id, None)]);
    world.advance(DELAY_MS);
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Empty, 1));
}

// contract 76
#[test]
fn who_joins_and_does_not_sync_is_removed_after_the_rebalance_timeout() {
    for leader_syncs in [true, false] {
        let mut world = World::new();
        let (one, _) = world.join_dynamic(&ask());
        let (two, _) = world.join_dynamic(&ask());
        world.advance(DELAY_MS * 2);
        let syncs = if leader_syncs { world.lead() } else { world.follow(&two) };
        let (stays, goes) = if leader_syncs { (&one, &two) } else { (&two, &one) };
        let started_ms = world.now_ms;
        while world.group.member_count() == 2 {
            world.advance(5_000);
            for member_id in [&one, &two] {
                world.heartbeat(member_id, 1);
            }
        }
        // The generation began a delay after the second join, that is at most a delay before the sync.
        let waited_ms = world.now_ms - started_ms;
        assert!((55_000..=60_000).contains(&waited_ms), "{waited_ms}");
        assert!(world.group.member(stays).is_some() && world.group.member(goes).is_none());
        assert_eq!(world.state(), ClassicState::PreparingRebalance);
        let expected = if leader_syncs {
            ErrorCode::None
        } else {
            ErrorCode::RebalanceInProgress
        };
        assert_eq!(world.sync_code(syncs), expected.code());
    }
}

// contract 76
#[test]
fn when_all_have_synced_the_sync_timer_means_nothing() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    for _ in 0..20 {
        world.advance(5_000);
        ids.iter().for_each(|member_id| world.beat(member_id));
    }
    assert_eq!((world.state(), world.group.member_count()), (ClassicState::Stable, 2));
}

/// One timer a group, whatever its size: a heartbeat sets none.
#[test]
fn heartbeats_set_no_timers() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask(), ask()]);
    world.advance(1_000);
    let client = World::client(4);
    for member_id in &ids {
        let request = HeartbeatRequest::default()
            .with_member_id(string(member_id))
            .with_generation_id(1);
        let timers = world.with(|group, env| {
            let (code, effects) = group.heartbeat(env, &client, &request);
            assert_eq!(code, ErrorCode::None);
            (effects.timers.len(), effects)
        });
        assert_eq!(timers, 0);
    }
}

/// A timer may fire late, early or for nothing.
#[test]
fn a_timer_that_fires_early_is_set_again() {
    let mut world = World::new();
    world.stable(&[ask()]);
    let at_ms = world.timers[&TimerKind::Sessions];
    for kind in [
        TimerKind::Sessions,
        TimerKind::Join,
        TimerKind::Sync,
        TimerKind::Regex,
        TimerKind::Rebalance,
    ] {
        world.timers.remove(&kind);
        world.with(|group, env| ((), group.on_timer(env, &kind)));
    }
    assert_eq!(world.timers, BTreeMap::from([(TimerKind::Sessions, at_ms)]));
    assert_eq!(world.state(), ClassicState::Stable);
    let (_, parked) = world.join_dynamic(&ask());
    let at_ms = world.timers[&TimerKind::Join];
    world.timers.remove(&TimerKind::Join);
    world.with(|group, env| ((), group.on_timer(env, &TimerKind::Join)));
    assert_eq!(world.timers.get(&TimerKind::Join), Some(&at_ms));
    assert!(world.is_waiting(parked));
}
