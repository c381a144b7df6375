//! JoinGroup in each state (contract 70, 71, 72, 73).

use super::*;

fn code(code: ErrorCode) -> i16 {
    code.code()
}

// contract 70
#[test]
fn session_timeouts_out_of_range_are_refused() {
    let mut world = World::new();
    for session_ms in [i32::MIN, -1, 0, 5_999, 1_800_001, i32::MAX] {
        let waiter = world.join(&Ask { session_ms, ..ask() });
        assert_eq!(
            world.join_code(waiter),
            code(ErrorCode::InvalidSessionTimeout),
            "{session_ms}"
        );
    }
    for session_ms in [6_000, 1_800_000] {
        let waiter = world.join(&Ask { session_ms, ..ask() });
        assert_eq!(
            world.join_code(waiter),
            code(ErrorCode::MemberIdRequired),
            "{session_ms}"
        );
    }
    assert_eq!(world.state(), ClassicState::Empty);
}

// contract 70
#[test]
fn an_empty_group_id_is_refused() {
    let config = GroupConfig::default();
    let request = ask().request().with_group_id(GroupId(string("")));
    assert_eq!(
        super::super::check_join(&config, &request),
        Err(ErrorCode::InvalidGroupId)
    );
    assert_eq!(super::super::check_join(&config, &ask().request()), Ok(()));
}

// contract 70
#[test]
fn from_version_4_on_a_dynamic_member_is_told_its_id_first() {
    for version in 0..=9 {
        let mut world = World::new();
        let waiter = world.join(&ask().version(version));
        if version < 4 {
            assert!(world.is_waiting(waiter), "{version}");
            assert_eq!(world.state(), ClassicState::PreparingRebalance);
            continue;
        }
        let told = world.joined(waiter);
        assert_eq!(told.error_code, code(ErrorCode::MemberIdRequired));
        assert!(told.member_id.starts_with("client-") && told.member_id.len() == "client-".len() + 36);
        assert_eq!((world.state(), world.group.member_count()), (ClassicState::Empty, 0));
        assert!(!world.group.is_idle(), "somebody is about to join");
        let second = world.join(&ask().version(version).member(&told.member_id));
        assert!(world.is_waiting(second));
        world.advance(DELAY_MS);
        let response = world.joined(second);
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        assert_eq!(response.member_id, told.member_id);
    }
}

// contract 70
#[test]
fn an_unknown_member_is_refused_in_every_state() {
    let mut world = World::new();
    let refused = |world: &mut World| {
        let waiter = world.join(&ask().member("nobody"));
        assert_eq!(
            world.join_code(waiter),
            code(ErrorCode::UnknownMemberId),
            "{}",
            world.state()
        );
        assert_eq!(world.joined(waiter).member_id.as_str(), "nobody");
    };
    refused(&mut world);
    let (_, _) = world.join_dynamic(&ask());
    refused(&mut world);
    world.advance(DELAY_MS);
    assert_eq!(world.state(), ClassicState::CompletingRebalance);
    refused(&mut world);
    world.lead();
    assert_eq!(world.state(), ClassicState::Stable);
    refused(&mut world);
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    let waiter = world.join(&ask().member("nobody"));
    assert_eq!(world.join_code(waiter), code(ErrorCode::CoordinatorNotAvailable));
}

// contract 70
#[test]
fn an_id_that_was_given_out_is_for_dynamic_members() {
    let mut world = World::new();
    let waiter = world.join(&ask());
    let member_id = world.joined(waiter).member_id.to_string();
    let waiter = world.join(&ask().member(&member_id).instance("i"));
    assert_eq!(world.join_code(waiter), code(ErrorCode::UnknownServerError));
}

// contract 71
#[test]
fn protocol_types_and_protocols_must_match() {
    let mut world = World::new();
    let refused = |world: &mut World, ask: Ask| {
        let waiter = world.join(&ask);
        assert_eq!(world.join_code(waiter), code(ErrorCode::InconsistentGroupProtocol));
    };
    refused(
        &mut world,
        Ask {
            protocol_type: String::new(),
            ..ask()
        },
    );
    refused(&mut world, ask().protocols(&[]));
    world.stable(&[ask(), ask()]);
    refused(
        &mut world,
        Ask {
            protocol_type: "connect".to_owned(),
            ..ask()
        },
    );
    refused(&mut world, ask().protocols(&[]));
    refused(&mut world, ask().protocols(&[("unknown", b"")]));
    // One in common is enough.
    world.join_dynamic(&ask().protocols(&[("unknown", b""), ("sticky", b"")]));
}

// contract 71
#[test]
fn an_empty_group_takes_another_protocol_type() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    world.leave(4, &[(&ids[0], None)]);
    assert_eq!(world.state(), ClassicState::Empty);
    assert_eq!(world.group.protocol_type().map(|name| &**name), Some("consumer"));
    let (_, waiter) = world.join_dynamic(&Ask {
        protocol_type: "connect".to_owned(),
        ..ask().protocols(&[("default", b"\xff\xff\xff")])
    });
    world.advance(DELAY_MS);
    let response = world.joined(waiter);
    assert_eq!(response.protocol_type.as_deref(), Some("connect"));
    assert_eq!(response.protocol_name.as_deref(), Some("default"));
    assert_eq!(response.generation_id, 3, "1 was the first, 2 the empty one");
    assert!(!world.group.is_subscribed("t"));
}

// contract 71
#[test]
fn the_protocol_with_most_votes_among_those_that_all_support_wins() {
    let mut world = World::new();
    let asks = [
        ask().protocols(&[("a", b""), ("b", b""), ("c", b"")]),
        ask().protocols(&[("c", b""), ("b", b"")]),
        ask().protocols(&[("c", b""), ("b", b"")]),
        // Would vote for `d`, which it alone supports.
        ask().protocols(&[("d", b""), ("c", b""), ("b", b"")]),
    ];
    world.stable_with(&asks, "c");
    let mut world = World::new();
    let asks = [
        ask().protocols(&[("a", b""), ("b", b""), ("c", b"")]),
        ask().protocols(&[("c", b""), ("b", b"")]),
        ask().protocols(&[("b", b""), ("c", b"")]),
        ask().protocols(&[("d", b""), ("b", b""), ("c", b"")]),
    ];
    world.stable_with(&asks, "b");
}

// contract 71
#[test]
fn with_equal_votes_the_leader_decides() {
    for (leads, other) in [("a", "b"), ("b", "a")] {
        let mut world = World::new();
        let asks = [
            ask().protocols(&[(leads, b""), (other, b"")]),
            ask().protocols(&[(other, b""), (leads, b"")]),
        ];
        world.stable_with(&asks, leads);
    }
}

// contract 71
#[test]
fn a_protocol_that_is_named_twice_counts_once() {
    let mut world = World::new();
    let twice = ask().protocols(&[("a", b"1"), ("a", b"2"), ("b", b"3")]);
    world.stable_with(&[twice, ask().protocols(&[("a", b"4")])], "a");
    let metadata: Vec<Bytes> = world.group.members().map(|member| member.metadata("a")).collect();
    assert_eq!(metadata, [&b"1"[..], &b"4"[..]]);
}

// contract 71
#[test]
fn subscriptions_are_read_where_they_can_be() {
    let mut world = World::new();
    let (one, two) = (subscription(&["x", "y"]), subscription(&["y", "z"]));
    world.stable_with(
        &[ask().protocols(&[("range", &one)]), ask().protocols(&[("range", &two)])],
        "range",
    );
    let topics = world.group.subscribed_topics().expect("all can be read");
    assert_eq!(topics.iter().map(|topic| &**topic).collect::<Vec<_>>(), ["x", "y", "z"]);
    assert!(world.group.is_subscribed("z") && !world.group.is_subscribed("other"));
    // Tolerated; then a group of consumers counts as subscribed to anything.
    let mut world = World::new();
    world.stable_with(
        &[
            ask().protocols(&[("range", &one)]),
            ask().protocols(&[("range", b"\x00")]),
        ],
        "range",
    );
    assert_eq!(world.group.subscribed_topics(), None);
    assert!(world.group.is_subscribed("other"));
    let mut world = World::new();
    world.stable_with(&[ask().protocols(&[("range", b"")])], "range");
    assert_eq!(world.group.subscribed_topics(), None);
}

// contract 72
#[test]
fn the_initial_delay_is_extended_by_joiners_up_to_the_rebalance_timeout() {
    let mut world = World::new();
    let patient = Ask {
        rebalance_ms: 10_000,
        ..ask()
    };
    let (_, first) = world.join_dynamic(&patient);
    let started_ms = world.now_ms;
    for _ in 0..3 {
        world.advance(DELAY_MS - 1);
        assert!(world.is_waiting(first));
        world.join_dynamic(&patient);
        world.advance(1);
        assert!(world.is_waiting(first), "another joined, the delay begins again");
    }
    // 3 × 3 s are over. One more step, of what is left of the 10 s, whoever joins.
    world.join_dynamic(&patient);
    while world.is_waiting(first) {
        world.advance(1);
    }
    assert_eq!(world.now_ms - started_ms, 10_000);
    assert_eq!(world.group.member_count(), 5);
}

// contract 72
#[test]
fn without_joiners_the_initial_delay_is_its_own() {
    let mut world = World::new();
    let (_, waiter) = world.join_dynamic(&ask());
    world.advance(DELAY_MS - 1);
    assert!(world.is_waiting(waiter));
    world.advance(1);
    assert_eq!(world.joined(waiter).generation_id, 1);
}

// contract 72
#[test]
fn a_delay_of_zero_ends_with_its_timer() {
    let mut world = World::new();
    world.config.group_initial_rebalance_delay_ms = 0;
    let (_, waiter) = world.join_dynamic(&ask());
    world.advance(0);
    assert_eq!(world.joined(waiter).generation_id, 1);
}

// contract 72
#[test]
fn later_rounds_end_when_all_joined() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    let (new, parked) = world.join_dynamic(&ask());
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    let first = world.join(&ask().member(&ids[0]));
    assert!(world.is_waiting(parked) && world.is_waiting(first));
    let second = world.join(&ask().member(&ids[1]));
    for waiter in [parked, first, second] {
        assert_eq!((world.join_code(waiter), world.joined(waiter).generation_id), (0, 2));
    }
    assert!(world.group.member(&new).is_some());
    assert_eq!(world.state(), ClassicState::CompletingRebalance);
}

// contract 72
#[test]
fn a_round_waits_for_ids_that_were_given_out() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    let told = world.join(&ask());
    assert_eq!(
        world.state(),
        ClassicState::Stable,
        "who asks for an id changes nothing yet"
    );
    let parked = world.join(&ask().member(&ids[0]));
    assert!(world.is_waiting(parked));
    let member_id = world.joined(told).member_id.to_string();
    let second = world.join(&ask().member(&member_id));
    assert_eq!((world.join_code(parked), world.join_code(second)), (0, 0));
}

// contract 73
#[test]
fn only_the_leader_gets_the_members() {
    let mut world = World::new();
    let mut parked = Vec::new();
    for at in 0..3 {
        let metadata = [at];
        parked.push(world.join_dynamic(&ask().protocols(&[("range", &metadata)])));
    }
    world.advance(DELAY_MS * 3);
    let leader = world.group.leader().expect("one leads").to_string();
    assert_eq!(leader, parked[0].0, "who came first");
    for (at, (member_id, waiter)) in parked.iter().enumerate() {
        let response = world.joined(*waiter);
        assert_eq!(*response.leader, *leader);
        assert_eq!(response.members.len(), if at == 0 { 3 } else { 0 });
        assert!(!response.skip_assignment);
        let listed = world.joined(parked[0].1).members;
        let listed = listed
            .iter()
            .find(|member| *member.member_id == **member_id)
            .expect("all are listed");
        assert_eq!(listed.metadata, [u8::try_from(at).expect("small")][..]);
    }
}

// contract 73
#[test]
fn in_stable_the_leader_rebalances_and_a_follower_only_with_new_metadata() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    let (leader, follower) = world.leader_and_follower(&ids);
    let again = world.join(&ask().member(&follower));
    let response = world.joined(again);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert!(response.members.is_empty() && *response.leader == *leader);
    assert_eq!(world.state(), ClassicState::Stable);
    // Then it syncs, and gets what it has.
    let waiter = world.follow(&follower);
    assert_eq!(world.synced(waiter).assignment, follower.as_bytes());

    let parked = world.join(&ask().member(&leader));
    assert!(world.is_waiting(parked));
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    world.join(&ask().member(&follower));
    world.follow(&follower);
    world.lead();
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Stable, 2));

    let parked = world.join(&ask().member(&follower).protocols(&[("range", b"other")]));
    assert!(world.is_waiting(parked));
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
}

// contract 73
#[test]
fn in_completing_the_same_metadata_gets_the_same_answer_and_other_begins_anew() {
    let mut world = World::new();
    let (one, _) = world.join_dynamic(&ask());
    let (two, _) = world.join_dynamic(&ask());
    world.advance(DELAY_MS * 2);
    assert_eq!(world.state(), ClassicState::CompletingRebalance);
    for (member_id, listed) in [(&one, 2), (&two, 0)] {
        let waiter = world.join(&ask().member(member_id));
        let response = world.joined(waiter);
        assert_eq!(
            (response.error_code, response.generation_id, response.members.len()),
            (0, 1, listed)
        );
    }
    let syncing = world.follow(&two);
    let changed = world.join(&ask().member(&one).protocols(&[("range", b"other")]));
    assert!(world.is_waiting(changed));
    assert_eq!(world.sync_code(syncing), code(ErrorCode::RebalanceInProgress));
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
}

#[test]
fn a_join_that_replaces_a_parked_one_answers_it() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    let (leader, follower) = world.leader_and_follower(&ids);
    let older = world.join(&ask().member(&leader));
    let newer = world.join(&ask().member(&leader));
    assert_eq!(world.join_code(older), code(ErrorCode::RebalanceInProgress));
    assert_eq!(*world.joined(older).member_id, *leader);
    assert!(world.is_waiting(newer));
    world.join(&ask().member(&follower));
    assert_eq!((world.join_code(newer), world.joined(newer).generation_id), (0, 2));
}

#[test]
fn the_rebalance_timeout_of_version_0_is_its_session_timeout() {
    for (version, timeout_ms) in [(0, SESSION_MS), (1, REBALANCE_MS)] {
        let mut world = World::new();
        world.join(&ask().version(version));
        let timeouts: Vec<i32> = world
            .group
            .members()
            .map(|member| member.rebalance_timeout_ms())
            .collect();
        assert_eq!(timeouts, [timeout_ms]);
    }
}

// contract 70: the group is full
#[test]
fn a_full_group_turns_new_members_away() {
    let mut world = World::new();
    world.config.group_max_size = 2;
    let ids = world.stable(&[ask(), ask()]);
    let refused = |world: &mut World, ask: &Ask| {
        let waiter = world.join(ask);
        assert_eq!(world.join_code(waiter), code(ErrorCode::GroupMaxSizeReached));
        assert_eq!(world.joined(waiter).member_id.as_str(), "");
    };
    refused(&mut world, &ask());
    let (leader, follower) = world.leader_and_follower(&ids);
    world.join(&ask().member(&leader));
    // While joins are collected the first that come stay; here one of two has come, so that an id is given out.
    let told = world.join(&ask());
    let new = world.joined(told).member_id.to_string();
    let parked = world.join(&ask().member(&new));
    assert!(world.is_waiting(parked));
    // The one that was there before comes too late, and keeps nobody waiting.
    refused(&mut world, &ask().member(&follower));
    assert_eq!((world.join_code(parked), world.group.member_count()), (0, 2));
    assert!(world.group.member(&follower).is_none());
}

// contract 70: the group is full, an empty one never is
#[test]
fn of_too_many_first_joiners_those_who_come_first_stay() {
    let mut world = World::new();
    world.config.group_max_size = 2;
    let told: Vec<Waiter> = (0..4).map(|_| world.join(&ask())).collect();
    let ids: Vec<String> = told
        .iter()
        .map(|waiter| world.joined(*waiter).member_id.to_string())
        .collect();
    let parked: Vec<Waiter> = ids
        .iter()
        .map(|member_id| world.join(&ask().member(member_id)))
        .collect();
    world.advance(DELAY_MS * 3);
    let codes: Vec<i16> = parked.iter().map(|waiter| world.join_code(*waiter)).collect();
    let full = code(ErrorCode::GroupMaxSizeReached);
    assert_eq!(codes, [0, 0, full, full]);
}

impl World {
    /// A stable group, whose members chose this protocol.
    fn stable_with(&mut self, asks: &[Ask], protocol: &str) {
        let parked: Vec<Waiter> = asks.iter().map(|ask| self.join_dynamic(ask).1).collect();
        self.advance(DELAY_MS * 3);
        for waiter in parked {
            assert_eq!(self.joined(waiter).protocol_name.as_deref(), Some(protocol));
        }
        let leader = self.group.leader().expect("one leads").to_string();
        let request = sync_request(&leader, self.group.generation_id()).with_protocol_name(Some(string(protocol)));
        let waiter = self.sync(&request);
        assert_eq!(self.sync_code(waiter), 0);
        assert_eq!(self.state(), ClassicState::Stable);
    }
}
