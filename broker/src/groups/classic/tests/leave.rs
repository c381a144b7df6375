//! LeaveGroup in each state (contract 78).

use super::*;

fn codes(response: &LeaveGroupResponse) -> Vec<i16> {
    response.members.iter().map(|member| member.error_code).collect()
}

// contract 78
#[test]
fn up_to_version_2_the_error_is_at_the_top() {
    for version in 0..=2 {
        let mut world = World::new();
        let ids = world.stable(&[ask()]);
        let response = world.leave(version, &[("nobody", None)]);
        assert_eq!(response.error_code, ErrorCode::UnknownMemberId.code());
        assert!(response.members.is_empty());
        let response = world.leave(version, &[(&ids[0], None)]);
        assert_eq!((response.error_code, response.members.len()), (0, 0));
        assert_eq!(world.state(), ClassicState::Empty);
    }
}

// contract 78
#[test]
fn from_version_3_on_each_member_has_its_error() {
    let mut world = World::new();
    let ids = world.stable(&[
        ask(),
        ask().instance("b"),
        ask().instance("c"),
        ask().instance("d"),
        ask(),
    ]);
    let told = world.join(&ask());
    let pending = world.joined(told).member_id.to_string();
    let response = world.leave(
        3,
        &[
            (&ids[0], None),
            ("nobody", None),
            ("", Some("b")),
            ("", Some("nobody")),
            ("", None),
            (&ids[2], Some("c")),
            ("other", Some("d")),
            (&ids[0], None),
            (&pending, None),
        ],
    );
    let (unknown, fenced) = (ErrorCode::UnknownMemberId.code(), ErrorCode::FencedInstanceId.code());
    assert_eq!(response.error_code, 0);
    assert_eq!(
        codes(&response),
        [0, unknown, 0, unknown, unknown, 0, fenced, unknown, 0]
    );
    assert_eq!(response.members[2].group_instance_id.as_deref(), Some("b"));
    assert_eq!(
        (
            response.members[2].member_id.as_str(),
            response.members[5].member_id.as_str()
        ),
        ("", &*ids[2])
    );
    let left: Vec<&str> = world.group.members().map(|member| &**member.member_id()).collect();
    assert_eq!(left.len(), 2);
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    let waiter = world.join(&ask().member(&pending));
    assert_eq!(world.join_code(waiter), unknown);
}

// contract 78
#[test]
fn nobody_known_left_means_no_rebalance() {
    let mut world = World::new();
    world.stable(&[ask()]);
    world.leave(4, &[("nobody", None)]);
    world.leave(4, &[]);
    assert_eq!(world.state(), ClassicState::Stable);
}

// contract 78
#[test]
fn who_leaves_while_it_waits_is_answered() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask(), ask()]);
    let (leader, follower) = world.leader_and_follower(&ids);
    let third = ids
        .iter()
        .find(|id| **id != leader && **id != follower)
        .expect("there are three")
        .clone();
    let parked = world.join(&ask().member(&leader));
    let second = world.join(&ask().member(&follower));
    let unknown = ErrorCode::UnknownMemberId.code();
    world.leave(4, &[(&leader, None)]);
    assert_eq!(
        (world.join_code(parked), world.joined(parked).member_id.as_str()),
        (unknown, "")
    );
    assert!(world.is_waiting(second));
    // Who was missing leaves, so that the round is complete.
    world.leave(4, &[(&third, None)]);
    assert_eq!(world.join_code(second), 0);
    assert_eq!(world.group.leader().map(|leader| &**leader), Some(&*follower));
    // In CompletingRebalance a parked sync is answered too.
    let (_, new) = world.join_dynamic(&ask());
    let again = world.join(&ask().member(&follower));
    assert_eq!((world.join_code(new), world.join_code(again)), (0, 0));
    let new = world.joined(new).member_id.to_string();
    let syncs = world.follow(&new);
    world.leave(4, &[(&new, None)]);
    assert_eq!(world.sync_code(syncs), unknown);
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
}

// contract 78
#[test]
fn the_last_one_to_leave_leaves_an_empty_group() {
    for in_state in [
        ClassicState::Stable,
        ClassicState::CompletingRebalance,
        ClassicState::PreparingRebalance,
    ] {
        let mut world = World::new();
        let ids = world.stable(&[ask(), ask()]);
        if in_state != ClassicState::Stable {
            world.join(&ask().member(&ids[0]));
        }
        if in_state == ClassicState::CompletingRebalance {
            world.join(&ask().member(&ids[1]));
        }
        assert_eq!(world.state(), in_state);
        world.leave(4, &[(&ids[0], None), (&ids[1], None)]);
        assert_eq!(world.state(), ClassicState::Empty);
        assert!(world.last_record().members.is_empty());
        let response = world.leave(4, &[(&ids[0], None)]);
        assert_eq!(codes(&response), [ErrorCode::UnknownMemberId.code()]);
        assert!(world.group.is_idle());
    }
}

#[test]
fn a_dead_group_answers_at_the_top() {
    let mut world = World::new();
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    let response = world.leave(4, &[("m", None)]);
    assert_eq!(
        (response.error_code, response.members.len()),
        (ErrorCode::CoordinatorNotAvailable.code(), 0)
    );
}

#[test]
fn leaving_a_group_that_is_not_there() {
    let members = vec![
        MemberIdentity::default().with_member_id(string("m")),
        MemberIdentity::default(),
    ];
    let request = LeaveGroupRequest::default()
        .with_member_id(string("m"))
        .with_members(members);
    let unknown = ErrorCode::UnknownMemberId.code();
    for version in 0..=5 {
        let response = super::super::leave_unknown_group(&request, version);
        if version < 3 {
            assert_eq!((response.error_code, response.members.len()), (unknown, 0));
        } else {
            assert_eq!((response.error_code, codes(&response)), (0, vec![unknown, unknown]));
        }
    }
}
