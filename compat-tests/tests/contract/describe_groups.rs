//! DescribeGroups (15): contract 87 for groups that are absent or of the newer protocol.

use super::group_member::*;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, GroupId};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::text;

fn describe(client: &mut RawClient, version: i16, group: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    client.call(version, &request).groups.remove(0)
}

#[test]
fn a_stable_group_is_shown_in_every_version() {
    // contract 76
    let (_broker, mut client) = start_quick();
    let joined = stable(&mut client, &join_request("g", ""));
    for version in 0..=6 {
        let group = describe(&mut client, version, "g");
        assert_eq!((group.error_code, &*group.group_state), (0, "Stable"), "v{version}");
        assert_eq!((&*group.protocol_type, &*group.protocol_data), ("consumer", "range"));
        let member = &group.members[0];
        assert_eq!((&member.member_id, &*member.client_id), (&joined.member_id, "raw"));
        assert_eq!(&*member.client_host, "/127.0.0.1");
        assert_eq!(
            (&member.member_metadata[..], &member.member_assignment[..]),
            (&b"m"[..], &b"all"[..])
        );
        assert_eq!(group.authorized_operations, i32::MIN, "nobody asked");
    }
    let asked = DescribeGroupsRequest::default()
        .with_groups(vec![GroupId(text("g"))])
        .with_include_authorized_operations(true);
    let operations = client.call(5, &asked).groups[0].authorized_operations;
    // Read, delete, describe.
    assert_eq!(operations & (1 << 3 | 1 << 6 | 1 << 8), 1 << 3 | 1 << 6 | 1 << 8);
}

#[test]
fn a_group_that_is_not_there_or_newer_is_dead() {
    // contract 87
    let (_broker, mut client) = start_quick();
    client.create_topic("t", 1);
    modern_member(&mut client, "modern", "m", &["t"]);
    for group in ["absent", "modern"] {
        for version in 0..=5 {
            let described = describe(&mut client, version, group);
            assert_eq!(
                (described.error_code, &*described.group_state),
                (0, "Dead"),
                "{group} v{version}"
            );
        }
        let described = describe(&mut client, 6, group);
        assert_eq!(described.error_code, GROUP_ID_NOT_FOUND, "{group}");
        assert!(described.error_message.is_some_and(|text| text.contains(group)));
    }
}
