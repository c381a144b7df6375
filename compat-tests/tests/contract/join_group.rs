//! JoinGroup (11): contract 69–75.

use super::group_member::*;
use super::{connect, start};
use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, JoinGroupRequest};
use streamhouse_compat_tests::Broker;
use streamhouse_compat_tests::ops::text;

#[test]
fn every_version_joins_and_leads() {
    // contract 70, 72, 73
    let (_broker, mut client) = start_quick();
    for version in 0..=9 {
        let group = format!("g{version}");
        let mut request = join_request(&group, "");
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let mut joined = client.call(version, &request);
        if version >= 4 {
            assert_eq!((joined.error_code, joined.generation_id), (MEMBER_ID_REQUIRED, -1));
            request.member_id = joined.member_id.clone();
            joined = client.call(version, &request);
        }
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "v{version}");
        assert_eq!(joined.leader, joined.member_id, "v{version}");
        assert!(
            joined.member_id.starts_with("raw-"),
            "an id begins with the client id: {}",
            &*joined.member_id
        );
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(
            joined.protocol_type.as_deref(),
            (version >= 7).then_some("consumer"),
            "v{version}"
        );
        assert_eq!(joined.members.len(), 1);
        assert_eq!(
            (&joined.members[0].member_id, &joined.members[0].metadata[..]),
            (&joined.member_id, &b"m"[..])
        );
    }
}

#[test]
fn what_a_join_asks_for_must_make_sense() {
    // contract 69, 70, 71
    let (_broker, mut client) = start_quick();
    let mut code = |request: JoinGroupRequest| client.call(JOIN, &request).error_code;
    assert_eq!(code(join_request("", "")), INVALID_GROUP_ID);
    assert_eq!(
        code(join_request("g", "").with_session_timeout_ms(5_999)),
        INVALID_SESSION_TIMEOUT
    );
    assert_eq!(
        code(join_request("g", "").with_session_timeout_ms(1_800_001)),
        INVALID_SESSION_TIMEOUT
    );
    assert_eq!(code(join_request("g", "stranger")), UNKNOWN_MEMBER_ID);
    assert_eq!(
        code(join_request("g", "").with_protocols(vec![])),
        INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(
        code(join_request("g", "").with_protocol_type(text(""))),
        INCONSISTENT_GROUP_PROTOCOL
    );
}

#[test]
fn members_share_a_protocol_and_the_favourite_wins() {
    // contract 71
    let (broker, mut client) = start_quick();
    let both = |first: &str, second: &str| vec![protocol(first, "1"), protocol(second, "2")];
    let first = stable(&mut client, &join_request("g", "").with_protocols(both("a", "b")));
    let code = |request: JoinGroupRequest| connect(&broker).call(JOIN, &request).error_code;
    assert_eq!(
        code(join_request("g", "").with_protocols(vec![protocol("c", "")])),
        INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(
        code(join_request("g", "").with_protocol_type(text("connect"))),
        INCONSISTENT_GROUP_PROTOCOL
    );

    // Two like b best, one likes a: a round with all three chooses b.
    let mut others = [connect(&broker), connect(&broker)];
    let sent = others.each_mut().map(|other| {
        let request = with_id(other, &join_request("g", "").with_protocols(both("b", "a")));
        other.send(JOIN, &request)
    });
    while heartbeat(&mut client, "g", 1, &first.member_id) != REBALANCE_IN_PROGRESS {}
    let again = join_request("g", &first.member_id).with_protocols(both("a", "b"));
    let mine = client.call(JOIN, &again);
    assert_eq!((mine.error_code, mine.protocol_name.as_deref()), (0, Some("b")));
    for (other, sent) in others.iter_mut().zip(sent) {
        let reply = other.receive::<JoinGroupRequest>(JOIN, sent);
        assert_eq!(
            (reply.generation_id, reply.protocol_name.as_deref()),
            (mine.generation_id, Some("b"))
        );
    }
}

#[test]
fn a_round_waits_for_its_members_and_only_the_leader_learns_who_they_are() {
    // contract 72, 73
    let (broker, mut leader) = start_quick();
    let first = stable(&mut leader, &join_request("g", ""));
    let mut follower = connect(&broker);
    let request = with_id(&mut follower, &join_request("g", ""));
    let sent = follower.send(JOIN, &request);
    while heartbeat(&mut leader, "g", 1, &first.member_id) != REBALANCE_IN_PROGRESS {}
    let second = leader.call(JOIN, &join_request("g", &first.member_id));
    let reply = follower.receive::<JoinGroupRequest>(JOIN, sent);
    assert_eq!((second.generation_id, reply.generation_id), (2, 2));
    assert_eq!((&second.leader, &reply.leader), (&first.member_id, &first.member_id));
    let mut members: Vec<_> = second.members.iter().map(|member| member.member_id.clone()).collect();
    let mut expected = vec![first.member_id.clone(), reply.member_id.clone()];
    members.sort();
    expected.sort();
    assert_eq!((members, reply.members.len()), (expected, 0));

    // In CompletingRebalance a join that says the same is answered the same (contract 73).
    let repeated = follower.call(JOIN, &join_request("g", &reply.member_id));
    assert_eq!((repeated.error_code, repeated.generation_id), (0, 2));
    // In Stable a follower's too; changed metadata begins a round.
    leader.send(SYNC, &sync_request("g", &second, &[]));
    follower.call(SYNC, &sync_request("g", &reply, &[]));
    let mut follower = connect(&broker);
    assert_eq!(
        follower.call(JOIN, &join_request("g", &reply.member_id)).generation_id,
        2
    );
    let changed = join_request("g", &reply.member_id).with_protocols(vec![protocol("range", "other")]);
    follower.send(JOIN, &changed);
    let mut leader = connect(&broker);
    while heartbeat(&mut leader, "g", 2, &first.member_id) != REBALANCE_IN_PROGRESS {}
}

#[test]
fn the_first_round_waits_for_company() {
    // contract 72: both are in generation 1, although the first could have had one alone.
    let broker = Broker::builder().set("group.initial.rebalance.delay.ms", 1000).start();
    let mut clients = [connect(&broker), connect(&broker)];
    let sent = clients.each_mut().map(|client| {
        let request = with_id(client, &join_request("g", ""));
        client.send(JOIN, &request)
    });
    let [mut a, mut b] = clients;
    let a = a.receive::<JoinGroupRequest>(JOIN, sent[0]);
    let b = b.receive::<JoinGroupRequest>(JOIN, sent[1]);
    assert_eq!((a.generation_id, b.generation_id), (1, 1));
    assert_eq!(a.members.len() + b.members.len(), 2);
}

#[test]
fn a_full_group_takes_nobody() {
    // contract 70
    let broker = Broker::builder()
        .set("group.initial.rebalance.delay.ms", 0)
        .set("group.max.size", 1)
        .start();
    let mut client = connect(&broker);
    stable(&mut client, &join_request("g", ""));
    let refused = connect(&broker).call(JOIN, &join_request("g", ""));
    assert_eq!(refused.error_code, GROUP_MAX_SIZE_REACHED);
}

#[test]
fn a_static_member_comes_back_without_a_round() {
    // contract 75
    let (broker, mut client) = start_quick();
    let request = join_request("g", "").with_group_instance_id(Some(text("i1")));
    let first = stable(&mut client, &request);
    let mut again = connect(&broker);
    let back = again.call(JOIN, &request);
    assert_eq!((back.error_code, back.generation_id), (0, 1));
    assert_ne!(back.member_id, first.member_id);
    assert!(back.skip_assignment, "the leader leaves the assignment as it is");
    assert_eq!(back.members.len(), 1);
    let sync = sync_request("g", &back, &[]).with_group_instance_id(Some(text("i1")));
    assert_eq!(&again.call(SYNC, &sync).assignment[..], b"all");
    let fenced = join_request("g", &first.member_id).with_group_instance_id(Some(text("i1")));
    assert_eq!(client.call(JOIN, &fenced).error_code, FENCED_INSTANCE_ID);

    // It survives a crash, with its new id.
    let mut broker = broker;
    broker.kill9();
    broker.restart();
    let describe = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]);
    let mut client = connect(&broker);
    let described = loop {
        let group = client.call(5, &describe).groups.remove(0);
        if group.error_code != COORDINATOR_LOAD_IN_PROGRESS {
            break group;
        }
    };
    assert_eq!(described.members[0].member_id, back.member_id);
    assert_eq!(described.members[0].group_instance_id.as_deref(), Some("i1"));
}

#[test]
fn a_connection_with_a_parked_join_can_close() {
    // contract 7, 74: nobody is held up by a client that went away in the middle of a round.
    let (broker, mut client) = start();
    let request = with_id(&mut client, &join_request("g", ""));
    client.send(JOIN, &request);
    drop(client);
    let joined = join(&mut connect(&broker), &join_request("other", ""));
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
}
