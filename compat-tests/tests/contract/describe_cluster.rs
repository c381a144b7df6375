//! DescribeCluster (60): contract 22 and 23.

use kafka_protocol::messages::{DescribeClusterRequest, MetadataRequest};
use streamhouse_compat_tests::ops::code;

use super::start;

#[test]
fn it_says_what_metadata_says() {
    // contract 22
    let (broker, mut client) = start();
    let metadata = client.call(12, &MetadataRequest::default());
    let cluster = client.call(2, &DescribeClusterRequest::default().with_endpoint_type(1));
    assert_eq!(cluster.error_code, code::NONE);
    assert_eq!(Some(&cluster.cluster_id), metadata.cluster_id.as_ref());
    assert_eq!(cluster.controller_id, metadata.controller_id);
    assert_eq!(cluster.brokers.len(), 1);
    assert_eq!(cluster.brokers[0].broker_id, metadata.brokers[0].node_id);
    assert_eq!(cluster.brokers[0].port, i32::from(broker.kafka_addr().port()));
    assert!(!cluster.brokers[0].is_fenced);
}

#[test]
fn authorized_operations_are_absent_unless_asked_for() {
    // contract 23
    let (_broker, mut client) = start();
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    assert_eq!(client.call(1, &request).cluster_authorized_operations, i32::MIN);
    let request = request.with_include_cluster_authorized_operations(true);
    assert_eq!(
        client.call(1, &request).cluster_authorized_operations & 0b10_0000,
        0b10_0000
    );
}

#[test]
fn controllers_are_asked_elsewhere() {
    // Endpoint type 2 asks for KRaft controllers, of which there are none here: MISMATCHED_ENDPOINT_TYPE (114).
    let (_broker, mut client) = start();
    let reply = client.call(1, &DescribeClusterRequest::default().with_endpoint_type(2));
    assert_eq!(reply.error_code, 114);
    // UNSUPPORTED_ENDPOINT_TYPE (115)
    let reply = client.call(1, &DescribeClusterRequest::default().with_endpoint_type(3));
    assert_eq!(reply.error_code, 115);
}
