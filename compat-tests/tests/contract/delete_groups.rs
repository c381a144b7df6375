//! DeleteGroups (42): contract 81.

use super::connect;
use super::group_member::*;
use super::offset_commit::{commit, committed};
use kafka_protocol::messages::{DeleteGroupsRequest, GroupId};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::text;

fn delete(client: &mut RawClient, version: i16, groups: &[&str]) -> Vec<(String, i16)> {
    let request = DeleteGroupsRequest::default().with_groups_names(groups.iter().map(|g| GroupId(text(g))).collect());
    let results = client.call(version, &request).results;
    results
        .iter()
        .map(|result| (result.group_id.to_string(), result.error_code))
        .collect()
}

#[test]
fn empty_groups_go_with_their_offsets_for_good() {
    // contract 81
    let (mut broker, mut client) = start_quick();
    client.create_topic("t", 1);
    for version in 0..=2 {
        let group = format!("g{version}");
        let joined = stable(&mut client, &join_request(&group, ""));
        assert_eq!(commit(&mut client, &format!("simple{version}"), "t", 0, 7), 0);
        let simple = format!("simple{version}");
        let deleted = delete(&mut client, version, &[&group, &simple, "absent"]);
        let expected = [
            (group.clone(), NON_EMPTY_GROUP),
            (simple.clone(), 0),
            ("absent".to_owned(), GROUP_ID_NOT_FOUND),
        ];
        assert_eq!(deleted, expected, "v{version}");
        assert_eq!(committed(&mut client, &simple, "t", 0), (0, -1));
        assert_eq!(leave(&mut client, &group, &joined.member_id), 0);
        assert_eq!(delete(&mut client, version, &[&group]), [(group, 0)]);
    }
    // The empty id is a group like others here, as it can have offsets (contract 69).
    assert_eq!(delete(&mut client, 2, &[""]), [(String::new(), GROUP_ID_NOT_FOUND)]);
    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    loop {
        match delete(&mut client, 2, &["simple0", "g0"]).as_slice() {
            [(_, GROUP_ID_NOT_FOUND), (_, GROUP_ID_NOT_FOUND)] => break,
            loading => assert!(
                loading.iter().any(|(_, code)| *code == COORDINATOR_LOAD_IN_PROGRESS),
                "{loading:?}"
            ),
        }
    }
}

#[test]
fn a_consumer_group_is_deleted_when_its_members_are_gone() {
    // contract 81, 82
    let (_broker, mut client) = start_quick();
    client.create_topic("t", 1);
    modern_member(&mut client, "modern", "m", &["t"]);
    assert_eq!(
        delete(&mut client, 2, &["modern"]),
        [("modern".to_owned(), NON_EMPTY_GROUP)]
    );
    assert_eq!(client.call(1, &modern_beat("modern", "m", -1)).error_code, 0);
    assert_eq!(delete(&mut client, 2, &["modern"]), [("modern".to_owned(), 0)]);
    assert_eq!(
        delete(&mut client, 2, &["modern"]),
        [("modern".to_owned(), GROUP_ID_NOT_FOUND)]
    );
}
