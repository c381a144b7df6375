//! LeaveGroup (13): contract 78.

use super::group_member::*;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{DescribeGroupsRequest, GroupId, LeaveGroupRequest};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::text;

fn state(client: &mut RawClient, group: &str) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    client.call(5, &request).groups[0].group_state.to_string()
}

#[test]
fn every_version_leaves() {
    // contract 78
    let (_broker, mut client) = start_quick();
    for version in 0..=5 {
        let group = format!("g{version}");
        let joined = stable(&mut client, &join_request(&group, ""));
        let request = LeaveGroupRequest::default().with_group_id(GroupId(text(&group)));
        let request = match version {
            ..3 => request.with_member_id(joined.member_id.clone()),
            _ => request.with_members(vec![MemberIdentity::default().with_member_id(joined.member_id.clone())]),
        };
        let left = client.call(version, &request);
        assert_eq!(left.error_code, 0, "v{version}");
        assert!(left.members.iter().all(|member| member.error_code == 0), "v{version}");
        assert_eq!(state(&mut client, &group), "Empty", "v{version}");
        let again = client.call(version, &request);
        let code = again
            .members
            .first()
            .map_or(again.error_code, |member| member.error_code);
        assert_eq!(code, UNKNOWN_MEMBER_ID, "v{version}");
    }
    let nameless = LeaveGroupRequest::default().with_group_id(GroupId(text("")));
    assert_eq!(client.call(5, &nameless).error_code, INVALID_GROUP_ID);
}

#[test]
fn an_administrator_names_instances() {
    // contract 78
    let (_broker, mut client) = start_quick();
    let joined = stable(
        &mut client,
        &join_request("g", "").with_group_instance_id(Some(text("i1"))),
    );
    let member = |id: &str, instance: Option<&str>| {
        MemberIdentity::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
    };
    let mut ask = |members| {
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_members(members);
        let reply = client.call(5, &request);
        assert_eq!(reply.error_code, 0);
        reply.members.iter().map(|member| member.error_code).collect::<Vec<_>>()
    };
    let strangers = vec![member("", Some("i2")), member("old", Some("i1")), member("", None)];
    assert_eq!(
        ask(strangers),
        [UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, UNKNOWN_MEMBER_ID]
    );
    assert_eq!(
        ask(vec![member("", Some("i1")), member(&joined.member_id, None)]),
        [0, UNKNOWN_MEMBER_ID]
    );
    assert_eq!(state(&mut client, "g"), "Empty");
}

#[test]
fn a_hundred_thousand_members_are_answered() {
    // contract 78
    let (broker, mut client) = start_quick();
    stable(&mut client, &join_request("g", ""));
    let members = (0..100_000).map(|i| MemberIdentity::default().with_member_id(text(&format!("stranger-{i}"))));
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_members(members.collect());
    let reply = client.call(5, &request);
    assert_eq!(reply.members.len(), 100_000);
    assert!(
        reply
            .members
            .iter()
            .all(|member| member.error_code == UNKNOWN_MEMBER_ID)
    );
    assert_eq!(state(&mut client, "g"), "Stable");
    assert!(
        broker.rss_peak_bytes() < 300 << 20,
        "{} MiB",
        broker.rss_peak_bytes() >> 20
    );
}
