//! ListGroups (16): every group, or those of a state or type.

use super::group_member::*;
use super::offset_commit::commit;
use kafka_protocol::messages::ListGroupsRequest;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::text;

fn list(
    client: &mut RawClient,
    version: i16,
    states: &[&str],
    types: &[&str],
) -> Vec<(String, String, String, String)> {
    let request = ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|s| text(s)).collect())
        .with_types_filter(types.iter().map(|t| text(t)).collect());
    let reply = client.call(version, &request);
    assert_eq!(reply.error_code, 0);
    let mut groups: Vec<_> = reply
        .groups
        .iter()
        .map(|group| {
            let [id, kind] = [group.group_id.to_string(), group.group_type.to_string()];
            (id, kind, group.group_state.to_string(), group.protocol_type.to_string())
        })
        .collect();
    groups.sort();
    groups
}

fn ids(groups: &[(String, String, String, String)]) -> Vec<&str> {
    groups.iter().map(|(id, ..)| id.as_str()).collect()
}

#[test]
fn groups_are_listed_by_state_and_type() {
    // contract 80, 87
    let (_broker, mut client) = start_quick();
    assert!(list(&mut client, 5, &[], &[]).is_empty(), "before there is any group");
    client.create_topic("t", 1);
    stable(&mut client, &join_request("classic", ""));
    modern_member(&mut client, "modern", "m", &["t"]);
    assert_eq!(commit(&mut client, "simple", "t", 0, 1), 0);

    let all = list(&mut client, 5, &[], &[]);
    let row = |id: &str, kind: &str, state: &str, protocol: &str| {
        let [id, kind] = [id.to_owned(), kind.to_owned()];
        (id, kind, state.to_owned(), protocol.to_owned())
    };
    assert_eq!(all[0], row("classic", "classic", "Stable", "consumer"));
    assert_eq!(
        (&all[1].0, &all[1].1, &all[1].3),
        (&"modern".to_owned(), &"consumer".to_owned(), &"consumer".to_owned())
    );
    assert_eq!(all[2], row("simple", "classic", "Empty", ""));
    assert_eq!(ids(&list(&mut client, 5, &["empty"], &[])), ["simple"]);
    assert_eq!(
        ids(&list(&mut client, 5, &["Stable", "Empty"], &["Classic"])),
        ["classic", "simple"]
    );
    assert_eq!(ids(&list(&mut client, 5, &[], &["consumer"])), ["modern"]);
    assert!(list(&mut client, 5, &["nonsense"], &[]).is_empty());
    for version in 0..=4 {
        let listed = list(&mut client, version, &[], &[]);
        assert_eq!(ids(&listed), ["classic", "modern", "simple"], "v{version}");
        assert_eq!(listed[0].2, if version >= 4 { "Stable" } else { "" }, "v{version}");
    }
}
