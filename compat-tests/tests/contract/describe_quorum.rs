//! DescribeQuorum (55).

use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};
use streamhouse_compat_tests::records::now_ms;

use super::{connect, start};

fn describe(client: &mut RawClient, version: i16, topic: &str, partitions: &[i32]) -> DescribeQuorumResponse {
    let partitions = partitions
        .iter()
        .map(|index| PartitionData::default().with_partition_index(*index));
    let topic = TopicData::default()
        .with_topic_name(topic_name(topic))
        .with_partitions(partitions.collect());
    client.call(version, &DescribeQuorumRequest::default().with_topics(vec![topic]))
}

#[test]
fn one_voter_leads() {
    let (mut broker, mut client) = start();
    let mut last = (-1, -1);
    for start in 0..2 {
        let mut directory = None;
        for version in 0..=2 {
            let reply = describe(&mut client, version, "__cluster_metadata", &[0]);
            assert_eq!((reply.error_code, reply.topics.len()), (code::NONE, 1));
            assert_eq!(&*reply.topics[0].topic_name.0, "__cluster_metadata");
            let part = &reply.topics[0].partitions[0];
            assert_eq!(
                (part.error_code, part.leader_id, part.partition_index),
                (code::NONE, BrokerId(0), 0)
            );
            assert_eq!((part.current_voters.len(), part.observers.len()), (1, 0));
            let voter = &part.current_voters[0];
            assert_eq!(
                (voter.replica_id, voter.log_end_offset),
                (BrokerId(0), part.high_watermark)
            );
            assert!(
                (part.leader_epoch, part.high_watermark) >= last,
                "epochs and offsets grow"
            );
            last = (part.leader_epoch, part.high_watermark);
            if version >= 1 {
                assert!((voter.last_caught_up_timestamp - now_ms()).abs() < 600_000);
            }
            if version >= 2 {
                assert!(!voter.replica_directory_id.is_nil());
                directory = Some(voter.replica_directory_id);
                let node = &reply.nodes[0];
                assert_eq!((reply.nodes.len(), node.node_id), (1, BrokerId(0)));
                assert_eq!(node.listeners[0].port, broker.kafka_addr().port());
            }
        }
        client.create_topic(&format!("t{start}"), 1);
        let part = describe(&mut client, 2, "__cluster_metadata", &[0])
            .topics
            .remove(0)
            .partitions
            .remove(0);
        assert!(part.high_watermark > last.1, "a topic is metadata");
        assert_eq!(Some(part.current_voters[0].replica_directory_id), directory);
        last = (part.leader_epoch, part.high_watermark);
        broker.kill9();
        broker.restart();
        client = connect(&broker);
    }
}

#[test]
fn there_is_one_partition_of_metadata() {
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for (topic, partitions) in [
        ("t", &[0][..]),
        ("__cluster_metadata", &[1]),
        ("__cluster_metadata", &[0, 1]),
    ] {
        let reply = describe(&mut client, 2, topic, partitions);
        assert_eq!(
            (reply.error_code, reply.topics[0].partitions.len()),
            (code::NONE, partitions.len())
        );
        for part in &reply.topics[0].partitions {
            assert_eq!(part.error_code, code::UNKNOWN_TOPIC_OR_PARTITION, "{topic}");
        }
    }
}
