//! AlterPartitionReassignments (45).

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};

use super::start;

const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;

fn reassign(client: &mut RawClient, version: i16, topic: &str, partition: i32, replicas: Option<&[i32]>) -> i16 {
    let partition = ReassignablePartition::default()
        .with_partition_index(partition)
        .with_replicas(replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect()));
    let topic = ReassignableTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(1000)
        .with_allow_replication_factor_change(version < 1)
        .with_topics(vec![topic]);
    let mut reply = client.call(version, &request);
    assert_eq!((reply.error_code, reply.responses.len()), (code::NONE, 1));
    reply.responses.remove(0).partitions.remove(0).error_code
}

#[test]
fn this_broker_is_the_only_place() {
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    for version in 0..=1 {
        let mut reassign = |partition, replicas| reassign(&mut client, version, "t", partition, replicas);
        assert_eq!(reassign(0, Some(&[0])), code::NONE, "it is there already");
        for bad in [&[1][..], &[0, 1], &[0, 0], &[], &[-1]] {
            assert_eq!(reassign(0, Some(bad)), INVALID_REPLICA_ASSIGNMENT, "{bad:?}");
        }
        assert_eq!(
            reassign(0, None),
            NO_REASSIGNMENT_IN_PROGRESS,
            "there is none to cancel"
        );
        for partition in [1, -1] {
            assert_eq!(reassign(partition, Some(&[0])), code::UNKNOWN_TOPIC_OR_PARTITION);
            assert_eq!(reassign(partition, None), code::UNKNOWN_TOPIC_OR_PARTITION);
        }
    }
    assert_eq!(
        reassign(&mut client, 1, "absent", 0, None),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
    let partition = &client.describe_topic("t").partitions[0];
    assert_eq!(partition.replica_nodes, [BrokerId(0)]);
}
