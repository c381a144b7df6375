//! Every API in every version that ApiVersions offers answers in that version's shape. `call` decodes each reply to its
//! last byte, so a field that is too many or too few fails here. Contract 5 and 16.

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::*;
use streamhouse_compat_tests::ops::*;
use streamhouse_compat_tests::records::{BatchSpec, read_records_of};
use uuid::Uuid;

use super::start;

#[test]
fn produce() {
    let (_broker, mut client) = start();
    client.create_topic("v", 2);
    let id = client.topic_id("v");
    for version in 3..=13 {
        let mut request = produce_request("v", -1, &[(0, BatchSpec::of(&["x"]).encode())]);
        let mut wrong = request.clone();
        wrong.topic_data[0].partition_data[0].index = 9;
        for request in [&mut request, &mut wrong] {
            if version >= 13 {
                request.topic_data[0].name = topic_name("");
                request.topic_data[0].topic_id = id;
            }
        }
        let reply = client.call(version, &request);
        let topic = &reply.responses[0];
        assert_eq!(topic.partition_responses[0].error_code, code::NONE, "v{version}");
        assert_eq!(
            topic.partition_responses[0].base_offset,
            i64::from(version - 3),
            "v{version}"
        );
        match version >= 13 {
            true => assert_eq!(topic.topic_id, id),
            false => assert_eq!(&*topic.name.0, "v"),
        }
        let answer = client
            .call(version, &wrong)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        assert_eq!(answer.error_code, code::UNKNOWN_TOPIC_OR_PARTITION, "v{version}");
    }
}

#[test]
fn fetch() {
    let (_broker, mut client) = start();
    client.create_topic("v", 1);
    let id = client.topic_id("v");
    client.produce_ok("v", 0, BatchSpec::of(&["a", "b"]).encode());
    for version in 4..=18 {
        let mut request = fetch_request("v", vec![fetch_partition(0, 1)]);
        if version < 7 {
            request.session_epoch = 0;
        }
        if version >= 13 {
            request.topics[0].topic = topic_name("");
            request.topics[0].topic_id = id;
        }
        if version < 9 {
            request.topics[0].partitions[0].current_leader_epoch = -1;
        }
        let mut reply = client.call(version, &request);
        assert_eq!(reply.error_code, code::NONE, "v{version}");
        let mut topic = reply.responses.remove(0);
        match version >= 13 {
            true => assert_eq!(topic.topic_id, id),
            false => assert_eq!(&*topic.topic.0, "v"),
        }
        let partition = topic.partitions.remove(0);
        assert_eq!(
            (partition.error_code, partition.high_watermark),
            (code::NONE, 2),
            "v{version}"
        );
        let records: Bytes = partition.records.expect("never null");
        assert_eq!(read_records_of(&records).len(), 2, "v{version}");
    }
}

#[test]
fn list_offsets() {
    let (_broker, mut client) = start();
    client.create_topic("v", 1);
    client.produce_ok("v", 0, BatchSpec::of(&["a", "b"]).encode());
    for version in 1..=10 {
        let mut request = list_offsets_request("v", 0, LATEST);
        if version >= 10 {
            request.timeout_ms = 1_000;
        }
        let answer = client.call(version, &request).topics.remove(0).partitions.remove(0);
        assert_eq!((answer.error_code, answer.offset), (code::NONE, 2), "v{version}");
    }
}

#[test]
fn metadata() {
    let (_broker, mut client) = start();
    client.create_topic("v", 3);
    for version in 0..=13 {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name("v")));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(true);
        let reply = client.call(version, &request);
        assert_eq!(reply.brokers.len(), 1, "v{version}");
        assert_eq!(reply.topics[0].error_code, code::NONE, "v{version}");
        assert_eq!(reply.topics[0].partitions.len(), 3, "v{version}");
    }
}

#[test]
fn find_coordinator_and_init_producer_id() {
    let (_broker, mut client) = start();
    for version in 0..=6 {
        let request = match version {
            0..4 => FindCoordinatorRequest::default().with_key(text("g")),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"), text("h")]),
        };
        let reply = client.call(version, &request);
        assert_eq!(reply.coordinators.len(), if version < 4 { 0 } else { 2 }, "v{version}");
    }
    for version in 0..=5 {
        let mut request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(1);
        (request.producer_id, request.producer_epoch) = ((-1).into(), -1);
        assert_eq!(client.call(version, &request).error_code, code::NONE, "v{version}");
    }
}

#[test]
fn topics_come_and_go() {
    let (_broker, mut client) = start();
    for version in 2..=7 {
        let name = format!("created-by-v{version}");
        let request = CreateTopicsRequest::default()
            .with_topics(vec![new_topic(&name, 1, &[])])
            .with_timeout_ms(9);
        assert_eq!(
            client.call(version, &request).topics[0].error_code,
            code::NONE,
            "CreateTopics v{version}"
        );
    }
    for version in 0..=3 {
        let topic = CreatePartitionsTopic::default().with_name(topic_name("created-by-v2"));
        let topic = topic.with_count(i32::from(version) + 2).with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(9);
        assert_eq!(
            client.call(version, &request).results[0].error_code,
            code::NONE,
            "CreatePartitions v{version}"
        );
    }
    for version in 1..=6 {
        let name = topic_name(&format!("created-by-v{}", version + 1));
        let mut request = DeleteTopicsRequest::default().with_timeout_ms(9);
        match version {
            6 => {
                request.topics = vec![
                    DeleteTopicState::default()
                        .with_name(Some(name))
                        .with_topic_id(Uuid::nil()),
                ]
            }
            _ => request.topic_names = vec![name],
        }
        assert_eq!(
            client.call(version, &request).responses[0].error_code,
            code::NONE,
            "DeleteTopics v{version}"
        );
    }
}

#[test]
fn offset_for_leader_epoch() {
    let (_broker, mut client) = start();
    client.create_topic("v", 1);
    for version in 2..=4 {
        let partition = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(-1)
            .with_leader_epoch(0);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name("v"))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        assert_eq!(
            client.call(version, &request).topics[0].partitions[0].error_code,
            code::NONE,
            "v{version}"
        );
    }
}

#[test]
fn configs() {
    let (_broker, mut client) = start();
    client.create_topic("v", 1);
    for version in 1..=4 {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("v"));
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource.with_configuration_keys(None)])
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3);
        let reply = client.call(version, &request);
        assert_eq!(reply.results[0].error_code, code::NONE, "DescribeConfigs v{version}");
    }
    for version in 0..=2 {
        let entry = alter_configs_request::AlterableConfig::default().with_name(text("retention.ms"));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("v"))
            .with_configs(vec![entry.with_value(Some(text("1000000")))]);
        let reply = client.call(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(reply.responses[0].error_code, code::NONE, "AlterConfigs v{version}");
    }
    for version in 0..=1 {
        let entry = incremental_alter_configs_request::AlterableConfig::default().with_name(text("retention.ms"));
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("v"))
            .with_configs(vec![entry.with_config_operation(0).with_value(Some(text("2000000")))]);
        let reply = client.call(
            version,
            &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]),
        );
        assert_eq!(
            reply.responses[0].error_code,
            code::NONE,
            "IncrementalAlterConfigs v{version}"
        );
    }
}

#[test]
fn cluster() {
    let (_broker, mut client) = start();
    client.create_topic("v", 1);
    for version in 0..=2 {
        let request = DescribeClusterRequest::default().with_endpoint_type(1);
        assert_eq!(
            client.call(version, &request).error_code,
            code::NONE,
            "DescribeCluster v{version}"
        );
    }
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![TopicRequest::default().with_name(topic_name("v"))])
        .with_response_partition_limit(10)
        .with_cursor(None);
    assert_eq!(client.call(0, &request).topics[0].error_code, code::NONE);
}
