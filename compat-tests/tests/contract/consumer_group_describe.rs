//! ConsumerGroupDescribe (69): contract 87.

use super::group_member::*;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, GroupId};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::text;

fn describe(client: &mut RawClient, version: i16, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
    client.call(version, &request).groups.remove(0)
}

#[test]
fn members_are_shown_with_what_they_own_and_are_to_own() {
    // contract 85
    let (_broker, mut client) = start_quick();
    client.create_topic("t", 2);
    modern_member(&mut client, "g", "a", &["t"]);
    modern_member(&mut client, "g", "b", &["t"]);
    for version in 0..=1 {
        let group = describe(&mut client, version, "g");
        assert_eq!((group.error_code, &*group.group_state), (0, "Reconciling"));
        assert_eq!(
            (group.group_epoch, group.assignment_epoch, &*group.assignor_name),
            (2, 2, "uniform")
        );
        let of = |id: &str| {
            group
                .members
                .iter()
                .find(|member| &*member.member_id == id)
                .expect("a member")
        };
        let (a, b) = (of("a"), of("b"));
        let owned = |member: &kafka_protocol::messages::consumer_group_describe_response::Member| {
            let count = |assignment: &kafka_protocol::messages::consumer_group_describe_response::Assignment| {
                assignment
                    .topic_partitions
                    .iter()
                    .map(|topic| topic.partitions.len())
                    .sum::<usize>()
            };
            (count(&member.assignment), count(&member.target_assignment))
        };
        assert_eq!((owned(a), owned(b)), ((2, 1), (0, 1)), "v{version}");
        assert_eq!(&*a.target_assignment.topic_partitions[0].topic_name.0, "t");
        assert_eq!((&*a.client_id, &*a.client_host), ("raw", "/127.0.0.1"));
        assert_eq!(a.member_type, if version >= 1 { 1 } else { -1 });
    }
}

#[test]
fn other_groups_are_not_found() {
    // contract 87: Java falls back to DescribeGroups on this code alone.
    let (_broker, mut client) = start_quick();
    stable(&mut client, &join_request("classic", ""));
    for group in ["classic", "absent"] {
        for version in 0..=1 {
            let described = describe(&mut client, version, group);
            assert_eq!(described.error_code, GROUP_ID_NOT_FOUND, "{group}");
            assert!(
                described.error_message.is_some_and(|text| text.contains(group)),
                "{group}"
            );
        }
    }
}
