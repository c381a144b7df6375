//! ListPartitionReassignments (46).

use kafka_protocol::messages::ListPartitionReassignmentsRequest;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use streamhouse_compat_tests::ops::{code, topic_name};

use super::start;

#[test]
fn nothing_ever_moves() {
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let named = ListPartitionReassignmentsTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0, 1]);
    for topics in [None, Some(vec![]), Some(vec![named])] {
        let request = ListPartitionReassignmentsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(1000);
        let reply = client.call(0, &request);
        assert_eq!((reply.error_code, reply.topics.len()), (code::NONE, 0));
    }
}
