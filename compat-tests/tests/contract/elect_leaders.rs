//! ElectLeaders (43).

use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};

use super::start;

const ELECTION_NOT_NEEDED: i16 = 84;

/// The error of the whole, and `(partition, error)`s.
fn elect(client: &mut RawClient, version: i16, kind: i8, asked: Option<(&str, &[i32])>) -> (i16, Vec<(i32, i16)>) {
    let topics = asked.map(|(topic, partitions)| {
        let topic = TopicPartitions::default()
            .with_topic(topic_name(topic))
            .with_partitions(partitions.to_vec());
        vec![topic]
    });
    // Version 0 has no election type and always means the preferred one.
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(topics)
        .with_timeout_ms(1000);
    let reply = client.call(version, &request);
    let results = reply.replica_election_results.iter().flat_map(|topic| {
        topic.partition_result.iter().map(|result| {
            assert!(result.error_message.is_some());
            (result.partition_id, result.error_code)
        })
    });
    (reply.error_code, results.collect())
}

#[test]
fn no_partition_needs_an_election() {
    let (_broker, mut client) = start();
    client.create_topic("t", 2);
    for (version, kind) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)] {
        let found = elect(&mut client, version, kind, Some(("t", &[0, 1, 2, -1])));
        let unknown = code::UNKNOWN_TOPIC_OR_PARTITION;
        let expected = vec![
            (0, ELECTION_NOT_NEEDED),
            (1, ELECTION_NOT_NEEDED),
            (2, unknown),
            (-1, unknown),
        ];
        assert_eq!(found, (code::NONE, expected), "version {version}, type {kind}");
        let absent = elect(&mut client, version, kind, Some(("absent", &[0])));
        assert_eq!(absent, (code::NONE, vec![(0, unknown)]));
        // Null: all partitions, of which those that need none are not listed.
        assert_eq!(elect(&mut client, version, kind, None), (code::NONE, vec![]));
    }
}

#[test]
fn a_type_that_nobody_knows() {
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for kind in [2, -1] {
        let refused = (code::INVALID_REQUEST, vec![(0, code::INVALID_REQUEST)]);
        assert_eq!(elect(&mut client, 2, kind, Some(("t", &[0]))), refused);
        assert_eq!(elect(&mut client, 2, kind, None), (code::INVALID_REQUEST, vec![]));
    }
}
