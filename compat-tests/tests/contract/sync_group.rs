//! SyncGroup (14): contract 76.

use super::connect;
use super::group_member::*;
use bytes::Bytes;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, JoinGroupRequest, SyncGroupRequest};
use streamhouse_compat_tests::ops::text;

#[test]
fn every_version_gets_its_assignment() {
    // contract 76
    let (_broker, mut client) = start_quick();
    for version in 0..=5 {
        let group = format!("g{version}");
        let joined = join(&mut client, &join_request(&group, ""));
        let synced = client.call(version, &sync_request(&group, &joined, &[(&joined.member_id, "mine")]));
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (0, &b"mine"[..]),
            "v{version}"
        );
        // Once more, as after a lost reply.
        let synced = client.call(version, &sync_request(&group, &joined, &[]));
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (0, &b"mine"[..]),
            "v{version}"
        );
        if version == 5 {
            assert_eq!(synced.protocol_name.as_deref(), Some("range"));
            let other = sync_request(&group, &joined, &[]).with_protocol_name(Some(text("other")));
            assert_eq!(client.call(5, &other).error_code, INCONSISTENT_GROUP_PROTOCOL);
            let other = sync_request(&group, &joined, &[]).with_protocol_type(Some(text("connect")));
            assert_eq!(client.call(5, &other).error_code, INCONSISTENT_GROUP_PROTOCOL);
        }
    }
}

#[test]
fn who_is_not_in_the_generation_is_refused() {
    // contract 69, 76
    let (broker, mut client) = start_quick();
    let joined = stable(&mut client, &join_request("g", ""));
    let sync = |client: &mut _, change: &dyn Fn(&mut SyncGroupRequest)| {
        let mut request = sync_request("g", &joined, &[]);
        change(&mut request);
        let client: &mut streamhouse_compat_tests::RawClient = client;
        client.call(SYNC, &request).error_code
    };
    assert_eq!(sync(&mut client, &|r| r.generation_id = 2), ILLEGAL_GENERATION);
    assert_eq!(
        sync(&mut client, &|r| r.member_id = text("stranger")),
        UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        sync(&mut client, &|r| r.group_id = GroupId(text("nobody"))),
        UNKNOWN_MEMBER_ID
    );
    assert_eq!(sync(&mut client, &|r| r.group_id = GroupId(text(""))), INVALID_GROUP_ID);
    let mut other = connect(&broker);
    let request = with_id(&mut other, &join_request("g", ""));
    other.send(JOIN, &request);
    while heartbeat(&mut client, "g", 1, &joined.member_id) != REBALANCE_IN_PROGRESS {}
    assert_eq!(sync(&mut client, &|_| ()), REBALANCE_IN_PROGRESS);
}

#[test]
fn a_follower_gets_what_the_leader_gave_and_it_survives_a_crash() {
    // contract 76: durable before anyone is answered; who is not named gets empty bytes.
    let (mut broker, mut leader) = start_quick();
    let first = stable(&mut leader, &join_request("g", ""));
    let mut followers = [connect(&broker), connect(&broker)];
    let sent = followers.each_mut().map(|follower| {
        let request = with_id(follower, &join_request("g", ""));
        follower.send(JOIN, &request)
    });
    while heartbeat(&mut leader, "g", 1, &first.member_id) != REBALANCE_IN_PROGRESS {}
    let lead = leader.call(JOIN, &join_request("g", &first.member_id));
    let [mut named, mut left_out] = followers;
    let named_join = named.receive::<JoinGroupRequest>(JOIN, sent[0]);
    let left_out_join = left_out.receive::<JoinGroupRequest>(JOIN, sent[1]);
    // They ask before the leader has said anything.
    let named_sync = named.send(SYNC, &sync_request("g", &named_join, &[]));
    let left_out_sync = left_out.send(SYNC, &sync_request("g", &left_out_join, &[]));
    let assignments = [
        (&lead.member_id, "L"),
        (&named_join.member_id, "F"),
        (&text("stranger"), "S"),
    ];
    assert_eq!(
        &leader.call(SYNC, &sync_request("g", &lead, &assignments)).assignment[..],
        b"L"
    );
    assert_eq!(
        &named.receive::<SyncGroupRequest>(SYNC, named_sync).assignment[..],
        b"F"
    );
    assert!(
        left_out
            .receive::<SyncGroupRequest>(SYNC, left_out_sync)
            .assignment
            .is_empty()
    );

    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    let describe = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]);
    let group = loop {
        let group = client.call(5, &describe).groups.remove(0);
        if group.error_code != COORDINATOR_LOAD_IN_PROGRESS {
            break group;
        }
    };
    assert_eq!(
        (&*group.group_state, &*group.protocol_data, group.members.len()),
        ("Stable", "range", 3)
    );
    let of = |id: &str| {
        group
            .members
            .iter()
            .find(|m| &*m.member_id == id)
            .map(|m| m.member_assignment.clone())
    };
    assert_eq!(of(&named_join.member_id).as_deref(), Some(&b"F"[..]));
    // The group goes on where it was.
    assert_eq!(
        heartbeat(&mut client, "g", lead.generation_id, &named_join.member_id),
        0
    );
}

#[test]
fn an_assignment_that_no_batch_can_hold_is_refused_and_the_group_goes_on() {
    // contract 76
    let (_broker, mut client) = start_quick();
    let joined = join(&mut client, &join_request("g", ""));
    let mut request = sync_request("g", &joined, &[]);
    request.assignments = vec![
        SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from(vec![7; 10 << 20])),
    ];
    assert_eq!(client.call(SYNC, &request).error_code, -1);
    let again = client.call(JOIN, &join_request("g", &joined.member_id));
    assert_eq!(again.error_code, 0);
    let synced = client.call(SYNC, &sync_request("g", &again, &[(&again.member_id, "small")]));
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"small"[..]));
}

#[test]
fn a_hundred_thousand_members_that_do_not_exist_are_left_out() {
    // contract 76
    let (broker, mut client) = start_quick();
    let joined = join(&mut client, &join_request("g", ""));
    let strangers: Vec<_> = (0..100_000).map(|i| text(&format!("stranger-{i}"))).collect();
    let assignments: Vec<_> = strangers.iter().map(|id| (id, "x")).collect();
    let synced = client.call(SYNC, &sync_request("g", &joined, &assignments));
    assert_eq!((synced.error_code, synced.assignment.len()), (0, 0));
    assert!(
        broker.rss_peak_bytes() < 300 << 20,
        "{} MiB",
        broker.rss_peak_bytes() >> 20
    );
}
