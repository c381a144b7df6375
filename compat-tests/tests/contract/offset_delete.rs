//! OffsetDelete (47): contract 81.

use super::group_member::*;
use super::offset_commit::{commit, commit_request, committed};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{GroupId, OffsetDeleteRequest, OffsetDeleteResponse};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, text, topic_name};

const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

fn delete(client: &mut RawClient, group: &str, topics: &[(&str, &[i32])]) -> OffsetDeleteResponse {
    let topic = |(name, partitions): &(&str, &[i32])| {
        let partition = |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.iter().map(topic).collect());
    client.call(0, &request)
}

fn codes(reply: &OffsetDeleteResponse) -> Vec<i16> {
    assert_eq!(reply.error_code, 0);
    reply
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| p.error_code))
        .collect()
}

#[test]
fn offsets_of_a_group_without_members_go() {
    // contract 81
    let (_broker, mut client) = start_quick();
    client.create_topic("t", 2);
    for partition in 0..2 {
        assert_eq!(commit(&mut client, "g", "t", partition, 7), 0);
    }
    let reply = delete(&mut client, "g", &[("t", &[0, 9]), ("missing", &[0])]);
    assert_eq!(codes(&reply)[0], 0);
    assert_eq!(codes(&reply)[2], code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(committed(&mut client, "g", "t", 0), (0, -1));
    assert_eq!(committed(&mut client, "g", "t", 1), (0, 7));
    assert_eq!(
        delete(&mut client, "absent", &[("t", &[0])]).error_code,
        GROUP_ID_NOT_FOUND
    );
    // contract 69: only commits and fetches know a group without a name.
    assert_eq!(commit(&mut client, "", "t", 0, 7), 0);
    assert_eq!(delete(&mut client, "", &[("t", &[0])]).error_code, INVALID_GROUP_ID);
    assert_eq!(committed(&mut client, "", "t", 0), (0, 7));
}

#[test]
fn offsets_of_subscribed_topics_stay() {
    // contract 81, 86: in both protocols.
    let (_broker, mut client) = start_quick();
    client.create_topic("t", 1);
    client.create_topic("other", 1);
    let mut request = join_request("classic", "");
    request.protocols[0].metadata = subscription(&["t"]);
    let joined = stable(&mut client, &request);
    let modern = modern_member(&mut client, "modern", "m", &["t"]);
    let groups = [
        ("classic", joined.member_id.to_string(), 1),
        ("modern", "m".to_owned(), modern.member_epoch),
    ];
    for (group, member_id, epoch) in groups {
        for topic in ["t", "other"] {
            let request = commit_request(group, topic, 0, 7)
                .with_member_id(text(&member_id))
                .with_generation_id_or_member_epoch(epoch);
            assert_eq!(
                client.call(9, &request).topics[0].partitions[0].error_code,
                0,
                "{group} {topic}"
            );
        }
        let reply = delete(&mut client, group, &[("t", &[0]), ("other", &[0])]);
        assert_eq!(codes(&reply), [GROUP_SUBSCRIBED_TO_TOPIC, 0], "{group}");
        assert_eq!(committed(&mut client, group, "t", 0), (0, 7));
        assert_eq!(committed(&mut client, group, "other", 0), (0, -1));
    }
    let mut opaque = join_request("connect", "");
    opaque.protocol_type = text("connect");
    stable(&mut client, &opaque);
    assert_eq!(
        delete(&mut client, "connect", &[("t", &[0])]).error_code,
        NON_EMPTY_GROUP
    );
}
