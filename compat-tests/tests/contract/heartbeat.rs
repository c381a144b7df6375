//! Heartbeat (12): contract 77.

use super::connect;
use super::group_member::*;
use kafka_protocol::messages::{GroupId, HeartbeatRequest};
use streamhouse_compat_tests::ops::text;

#[test]
fn every_version_beats() {
    // contract 77
    let (_broker, mut client) = start_quick();
    let joined = stable(&mut client, &join_request("g", ""));
    for version in 0..=4 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(1)
            .with_member_id(joined.member_id.clone());
        assert_eq!(client.call(version, &request).error_code, 0, "v{version}");
    }
}

#[test]
fn the_answer_depends_on_the_state() {
    // contract 69, 77
    let (broker, mut client) = start_quick();
    let joined = join(&mut client, &join_request("g", ""));
    let id = &*joined.member_id;
    assert_eq!(heartbeat(&mut client, "g", 1, id), 0, "CompletingRebalance");
    client.call(SYNC, &sync_request("g", &joined, &[]));
    assert_eq!(heartbeat(&mut client, "g", 1, id), 0, "Stable");
    assert_eq!(heartbeat(&mut client, "g", 2, id), ILLEGAL_GENERATION);
    assert_eq!(heartbeat(&mut client, "g", 1, "stranger"), UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut client, "nobody", 1, id), UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut client, "", 1, id), INVALID_GROUP_ID);
    let mut other = connect(&broker);
    let request = with_id(&mut other, &join_request("g", ""));
    other.send(JOIN, &request);
    while heartbeat(&mut client, "g", 1, id) != REBALANCE_IN_PROGRESS {}
    assert_eq!(
        heartbeat(&mut client, "g", 7, id),
        ILLEGAL_GENERATION,
        "PreparingRebalance"
    );
    assert_eq!(leave(&mut client, "g", id), 0);
    assert_eq!(heartbeat(&mut client, "g", 1, id), UNKNOWN_MEMBER_ID);
}

#[test]
fn silence_ends_a_session() {
    // contract 72, 77
    let (broker, mut client) = start_quick();
    let silent = stable(&mut client, &join_request("g", "").with_session_timeout_ms(6_000));
    // A second member's round ends when the first is dropped: by its session or by the rebalance timeout.
    let mut other = connect(&broker);
    let joined = join(&mut other, &join_request("g", ""));
    assert_eq!((joined.error_code, &joined.leader), (0, &joined.member_id));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(heartbeat(&mut client, "g", 1, &silent.member_id), UNKNOWN_MEMBER_ID);
}
