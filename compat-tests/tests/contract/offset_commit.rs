//! OffsetCommit (8) outside of membership: contract 65, 79, 80 and 87. Commits of members are with their groups.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, text, topic_name};

use super::{connect, start};

const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const GROUP_ID_NOT_FOUND: i16 = 69;

/// A commit without membership, of one partition.
pub(super) fn commit_request(group: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(text("")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

/// Commits one offset in version 8; its error.
pub(super) fn commit(client: &mut RawClient, group: &str, topic: &str, partition: i32, offset: i64) -> i16 {
    let reply = client.call(8, &commit_request(group, topic, partition, offset));
    reply.topics[0].partitions[0].error_code
}

/// What a group committed for one partition: its error and the offset.
pub(super) fn committed(client: &mut RawClient, group: &str, topic: &str, partition: i32) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![partition]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text(group).into())
        .with_topics(Some(vec![topic]));
    let reply = client.call(8, &OffsetFetchRequest::default().with_groups(vec![group]));
    let group = &reply.groups[0];
    match group.topics.first() {
        Some(topic) => (group.error_code, topic.partitions[0].committed_offset),
        None => (group.error_code, i64::MIN),
    }
}

#[test]
fn every_version_commits() {
    // contract 79
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    for version in 2..=9 {
        let offset = 100 + i64::from(version);
        let mut request = commit_request("g", "t", 1, offset);
        if version <= 4 {
            request.retention_time_ms = -1;
        }
        let reply = client.call(version, &request);
        assert_eq!(reply.topics[0].name, topic_name("t"));
        let partition = &reply.topics[0].partitions[0];
        assert_eq!(
            (partition.partition_index, partition.error_code),
            (1, code::NONE),
            "v{version}"
        );
        assert_eq!(committed(&mut client, "g", "t", 1), (code::NONE, offset), "v{version}");
    }
    // The empty group id is a group too (contract 69).
    assert_eq!(commit(&mut client, "", "t", 0, 5), code::NONE);
    assert_eq!(committed(&mut client, "", "t", 0), (code::NONE, 5));
}

#[test]
fn partitions_fail_each_for_itself() {
    // contract 79
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    assert_eq!(commit(&mut client, "g", "t", 1, 5), code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(commit(&mut client, "g", "t", -1, 5), code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(
        commit(&mut client, "g", "missing", 0, 5),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    let with_metadata = |bytes: usize| {
        let mut request = commit_request("g", "t", 0, 5);
        request.topics[0].partitions[0].committed_metadata = Some(text(&"m".repeat(bytes)));
        request
    };
    let mut two = with_metadata(4097);
    two.topics.push(with_metadata(4096).topics.remove(0));
    let reply = client.call(8, &two);
    let codes: Vec<i16> = reply
        .topics
        .iter()
        .map(|topic| topic.partitions[0].error_code)
        .collect();
    assert_eq!(codes, [OFFSET_METADATA_TOO_LARGE, code::NONE]);
}

#[test]
fn a_generation_of_a_group_that_does_not_exist_is_refused() {
    // contract 87
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let mut request = commit_request("none", "t", 0, 5).with_member_id(text("member"));
    request.generation_id_or_member_epoch = 3;
    let mut ask = |version| client.call(version, &request).topics[0].partitions[0].error_code;
    assert_eq!(ask(8), ILLEGAL_GENERATION);
    assert_eq!(ask(9), GROUP_ID_NOT_FOUND);
}

#[test]
fn commits_survive_kill_9_and_end() {
    // contract 69, 79
    let (mut broker, mut client) = start();
    client.create_topic("t", 8);
    for partition in 0..8 {
        for offset in 0..20 {
            assert_eq!(commit(&mut client, "g", "t", partition, offset), code::NONE);
        }
    }
    for end in ["kill -9", "stop"] {
        if end == "stop" {
            broker.terminate();
        } else {
            broker.kill9();
        }
        broker.restart();
        let mut client = connect(&broker);
        for partition in 0..8 {
            let found = super::offset_fetch::loaded(|| committed(&mut client, "g", "t", partition));
            assert_eq!(found, (code::NONE, 19), "after {end}");
        }
    }
}

#[test]
fn a_topic_that_is_made_again_has_no_offsets() {
    // contract 20, 65
    let (mut broker, mut client) = start();
    for name in ["t", "other"] {
        client.create_topic(name, 1);
        assert_eq!(commit(&mut client, "g", name, 0, 7), code::NONE);
    }
    client.delete_topic("t");
    assert_eq!(committed(&mut client, "g", "t", 0), (code::NONE, -1));
    client.create_topic("t", 1);
    assert_eq!(committed(&mut client, "g", "t", 0), (code::NONE, -1));
    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    assert_eq!(
        super::offset_fetch::loaded(|| committed(&mut client, "g", "t", 0)),
        (code::NONE, -1)
    );
    assert_eq!(committed(&mut client, "g", "other", 0), (code::NONE, 7));
}

#[test]
fn many_commits_in_flight_keep_their_order() {
    // contract 1, 2
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    assert_eq!(commit(&mut client, "g", "t", 0, 0), code::NONE);
    let sent: Vec<i32> = (1..=50)
        .map(|offset| client.send(8, &commit_request("g", "t", 0, offset)))
        .collect();
    for correlation_id in sent {
        let reply = client.receive::<OffsetCommitRequest>(8, correlation_id);
        assert_eq!(reply.topics[0].partitions[0].error_code, code::NONE);
    }
    assert_eq!(committed(&mut client, "g", "t", 0), (code::NONE, 50));
}
