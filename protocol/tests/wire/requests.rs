//! A random request of every API in every version that the codec knows.

use crate::generate::Gen;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::messages::{
    alter_configs_request as alter, create_partitions_request as parts, create_topics_request as create,
    delete_topics_request as delete, describe_configs_request as describe, describe_topic_partitions_request as dtp,
    fetch_request as fetch, incremental_alter_configs_request as incremental, list_offsets_request as lists,
    metadata_request as metadata, offset_for_leader_epoch_request as epochs, produce_request as produce,
};
use kafka_protocol::protocol::{Request, StrBytes};
use streamhouse_protocol::api::{APIS, Api, ApiKey};

/// Calls a generic function with the codec's type of an API.
macro_rules! with_request_type {
    ($key:expr, $function:ident($($argument:expr),*)) => {
        match $key {
            ApiKey::Produce => $function::<ProduceRequest>($($argument),*),
            ApiKey::Fetch => $function::<FetchRequest>($($argument),*),
            ApiKey::ListOffsets => $function::<ListOffsetsRequest>($($argument),*),
            ApiKey::Metadata => $function::<MetadataRequest>($($argument),*),
            ApiKey::FindCoordinator => $function::<FindCoordinatorRequest>($($argument),*),
            ApiKey::ApiVersions => $function::<ApiVersionsRequest>($($argument),*),
            ApiKey::CreateTopics => $function::<CreateTopicsRequest>($($argument),*),
            ApiKey::DeleteTopics => $function::<DeleteTopicsRequest>($($argument),*),
            ApiKey::InitProducerId => $function::<InitProducerIdRequest>($($argument),*),
            ApiKey::OffsetForLeaderEpoch => $function::<OffsetForLeaderEpochRequest>($($argument),*),
            ApiKey::DescribeConfigs => $function::<DescribeConfigsRequest>($($argument),*),
            ApiKey::AlterConfigs => $function::<AlterConfigsRequest>($($argument),*),
            ApiKey::CreatePartitions => $function::<CreatePartitionsRequest>($($argument),*),
            ApiKey::IncrementalAlterConfigs => $function::<IncrementalAlterConfigsRequest>($($argument),*),
            ApiKey::DescribeCluster => $function::<DescribeClusterRequest>($($argument),*),
            ApiKey::DescribeTopicPartitions => $function::<DescribeTopicPartitionsRequest>($($argument),*),
        }
    };
}

pub(crate) use with_request_type;

/// Every API with every version that is served.
pub(crate) fn served() -> impl Iterator<Item = (&'static Api, i16)> {
    APIS.iter()
        .flat_map(|api| (api.min_served..=api.max_version).map(move |version| (api, version)))
}

/// A request and how it prints.
pub(crate) struct Sample {
    pub(crate) body: Bytes,
    pub(crate) text: String,
}

fn sample<T: Request + std::fmt::Debug>(request: T, version: i16) -> Sample {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("encodes");
    Sample {
        body: body.freeze(),
        text: format!("{request:?}"),
    }
}

fn str_bytes(g: &mut Gen) -> StrBytes {
    StrBytes::from_string(g.text())
}

fn topic_name(g: &mut Gen) -> TopicName {
    TopicName(str_bytes(g))
}

fn transactional_id(g: &mut Gen) -> TransactionalId {
    TransactionalId(str_bytes(g))
}

macro_rules! uuid {
    ($g:expr) => {
        $g.uuid_text().parse().expect("a UUID")
    };
}

/// A random request of an API in a version, with every field that the version has.
pub(crate) fn random(key: ApiKey, v: i16, g: &mut Gen) -> Sample {
    match key {
        ApiKey::Produce => sample(produce_request(v, g), v),
        ApiKey::Fetch => sample(fetch_request(v, g), v),
        ApiKey::ListOffsets => sample(list_offsets(v, g), v),
        ApiKey::Metadata => sample(metadata_request(v, g), v),
        ApiKey::FindCoordinator => sample(find_coordinator(v, g), v),
        ApiKey::ApiVersions => sample(api_versions(v, g), v),
        ApiKey::CreateTopics => sample(create_topics(g), v),
        ApiKey::DeleteTopics => sample(delete_topics(v, g), v),
        ApiKey::InitProducerId => sample(init_producer_id(v, g), v),
        ApiKey::OffsetForLeaderEpoch => sample(offset_for_leader_epoch(v, g), v),
        ApiKey::DescribeConfigs => sample(describe_configs(v, g), v),
        ApiKey::AlterConfigs => sample(alter_configs(g), v),
        ApiKey::CreatePartitions => sample(create_partitions(g), v),
        ApiKey::IncrementalAlterConfigs => sample(incremental_alter_configs(g), v),
        ApiKey::DescribeCluster => sample(describe_cluster(v, g), v),
        ApiKey::DescribeTopicPartitions => sample(describe_topic_partitions(g), v),
    }
}

pub(crate) fn produce_request(v: i16, g: &mut Gen) -> ProduceRequest {
    ProduceRequest::default()
        .with_transactional_id(g.option(transactional_id))
        .with_acks(g.i16())
        .with_timeout_ms(g.i32())
        .with_topic_data(g.vec(|g| {
            let topic = produce::TopicProduceData::default();
            let topic = if v <= 12 {
                topic.with_name(topic_name(g))
            } else {
                topic.with_topic_id(uuid!(g))
            };
            topic
                .with_partition_data(g.vec(|g| {
                    produce::PartitionProduceData::default()
                        .with_index(g.i32())
                        .with_records(g.option(Gen::bytes))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags())
}

fn fetch_partition(v: i16, g: &mut Gen) -> fetch::FetchPartition {
    let mut partition = fetch::FetchPartition::default()
        .with_partition(g.i32())
        .with_fetch_offset(g.i64())
        .with_partition_max_bytes(g.i32())
        .with_unknown_tagged_fields(g.tags());
    if v >= 5 {
        partition.log_start_offset = g.i64();
    }
    if v >= 9 {
        partition.current_leader_epoch = g.i32();
    }
    if v >= 12 {
        partition.last_fetched_epoch = g.i32();
    }
    if v >= 17 && g.bool() {
        partition.replica_directory_id = uuid!(g);
    }
    if v >= 18 && g.bool() {
        partition.high_watermark = g.i64();
    }
    partition
}

pub(crate) fn fetch_request(v: i16, g: &mut Gen) -> FetchRequest {
    let mut request = FetchRequest::default()
        .with_max_wait_ms(g.i32())
        .with_min_bytes(g.i32())
        .with_max_bytes(g.i32())
        .with_isolation_level(g.i8())
        .with_topics(g.vec(|g| {
            let topic = fetch::FetchTopic::default();
            let topic = if v <= 12 {
                topic.with_topic(topic_name(g))
            } else {
                topic.with_topic_id(uuid!(g))
            };
            topic
                .with_partitions(g.vec(|g| fetch_partition(v, g)))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v <= 14 {
        request.replica_id = BrokerId(g.i32());
    }
    if v >= 7 {
        request.session_id = g.i32();
        request.session_epoch = g.i32();
        request.forgotten_topics_data = g.vec(|g| {
            let topic = fetch::ForgottenTopic::default();
            let topic = if v <= 12 {
                topic.with_topic(topic_name(g))
            } else {
                topic.with_topic_id(uuid!(g))
            };
            topic
                .with_partitions(g.vec(Gen::i32))
                .with_unknown_tagged_fields(g.tags())
        });
    }
    if v >= 11 {
        request.rack_id = str_bytes(g);
    }
    if v >= 12 {
        request.cluster_id = g.option(str_bytes);
    }
    if v >= 15 && g.bool() {
        request.replica_state = fetch::ReplicaState::default()
            .with_replica_id(BrokerId(g.i32()))
            .with_replica_epoch(g.i64())
            .with_unknown_tagged_fields(g.tags());
    }
    request
}

fn list_offsets(v: i16, g: &mut Gen) -> ListOffsetsRequest {
    let mut request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(g.i32()))
        .with_topics(g.vec(|g| {
            lists::ListOffsetsTopic::default()
                .with_name(topic_name(g))
                .with_partitions(g.vec(|g| {
                    let epoch = if v >= 4 { g.i32() } else { -1 };
                    lists::ListOffsetsPartition::default()
                        .with_partition_index(g.i32())
                        .with_current_leader_epoch(epoch)
                        .with_timestamp(g.i64())
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 2 {
        request.isolation_level = g.i8();
    }
    if v >= 10 {
        request.timeout_ms = g.i32();
    }
    request
}

fn metadata_request(v: i16, g: &mut Gen) -> MetadataRequest {
    let topic = |g: &mut Gen| {
        let mut topic = metadata::MetadataRequestTopic::default()
            .with_name(Some(topic_name(g)))
            .with_unknown_tagged_fields(g.tags());
        if v >= 10 {
            topic.topic_id = uuid!(g);
            topic.name = g.option(topic_name);
        }
        topic
    };
    let mut request = MetadataRequest::default()
        .with_topics(if v == 0 {
            Some(g.vec(topic))
        } else {
            g.option(|g| g.vec(topic))
        })
        .with_unknown_tagged_fields(g.tags());
    if v >= 4 {
        request.allow_auto_topic_creation = g.bool();
    }
    if (8..=10).contains(&v) {
        request.include_cluster_authorized_operations = g.bool();
    }
    if v >= 8 {
        request.include_topic_authorized_operations = g.bool();
    }
    request
}

fn find_coordinator(v: i16, g: &mut Gen) -> FindCoordinatorRequest {
    let mut request = FindCoordinatorRequest::default().with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.key_type = g.i8();
    }
    if v <= 3 {
        request.key = str_bytes(g);
    } else {
        request.coordinator_keys = g.vec(str_bytes);
    }
    request
}

fn api_versions(v: i16, g: &mut Gen) -> ApiVersionsRequest {
    let mut request = ApiVersionsRequest::default().with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.client_software_name = str_bytes(g);
        request.client_software_version = str_bytes(g);
    }
    request
}

fn create_topics(g: &mut Gen) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(g.vec(|g| {
            create::CreatableTopic::default()
                .with_name(topic_name(g))
                .with_num_partitions(g.i32())
                .with_replication_factor(g.i16())
                .with_assignments(g.vec(|g| {
                    create::CreatableReplicaAssignment::default()
                        .with_partition_index(g.i32())
                        .with_broker_ids(g.vec(|g| BrokerId(g.i32())))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_configs(g.vec(|g| {
                    create::CreatableTopicConfig::default()
                        .with_name(str_bytes(g))
                        .with_value(g.option(str_bytes))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_timeout_ms(g.i32())
        .with_validate_only(g.bool())
        .with_unknown_tagged_fields(g.tags())
}

fn delete_topics(v: i16, g: &mut Gen) -> DeleteTopicsRequest {
    let mut request = DeleteTopicsRequest::default()
        .with_timeout_ms(g.i32())
        .with_unknown_tagged_fields(g.tags());
    if v >= 6 {
        request.topics = g.vec(|g| {
            delete::DeleteTopicState::default()
                .with_name(g.option(topic_name))
                .with_topic_id(uuid!(g))
                .with_unknown_tagged_fields(g.tags())
        });
    } else {
        request.topic_names = g.vec(topic_name);
    }
    request
}

fn init_producer_id(v: i16, g: &mut Gen) -> InitProducerIdRequest {
    let mut request = InitProducerIdRequest::default()
        .with_transactional_id(g.option(transactional_id))
        .with_transaction_timeout_ms(g.i32())
        .with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.producer_id = ProducerId(g.i64());
        request.producer_epoch = g.i16();
    }
    request
}

fn offset_for_leader_epoch(v: i16, g: &mut Gen) -> OffsetForLeaderEpochRequest {
    let mut request = OffsetForLeaderEpochRequest::default()
        .with_topics(g.vec(|g| {
            epochs::OffsetForLeaderTopic::default()
                .with_topic(topic_name(g))
                .with_partitions(g.vec(|g| {
                    epochs::OffsetForLeaderPartition::default()
                        .with_partition(g.i32())
                        .with_current_leader_epoch(g.i32())
                        .with_leader_epoch(g.i32())
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.replica_id = BrokerId(g.i32());
    }
    request
}

fn describe_configs(v: i16, g: &mut Gen) -> DescribeConfigsRequest {
    let mut request = DescribeConfigsRequest::default()
        .with_resources(g.vec(|g| {
            describe::DescribeConfigsResource::default()
                .with_resource_type(g.i8())
                .with_resource_name(str_bytes(g))
                .with_configuration_keys(g.option(|g| g.vec(str_bytes)))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_include_synonyms(g.bool())
        .with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.include_documentation = g.bool();
    }
    request
}

fn alter_configs(g: &mut Gen) -> AlterConfigsRequest {
    AlterConfigsRequest::default()
        .with_resources(g.vec(|g| {
            alter::AlterConfigsResource::default()
                .with_resource_type(g.i8())
                .with_resource_name(str_bytes(g))
                .with_configs(g.vec(|g| {
                    alter::AlterableConfig::default()
                        .with_name(str_bytes(g))
                        .with_value(g.option(str_bytes))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_validate_only(g.bool())
        .with_unknown_tagged_fields(g.tags())
}

fn incremental_alter_configs(g: &mut Gen) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest::default()
        .with_resources(g.vec(|g| {
            incremental::AlterConfigsResource::default()
                .with_resource_type(g.i8())
                .with_resource_name(str_bytes(g))
                .with_configs(g.vec(|g| {
                    incremental::AlterableConfig::default()
                        .with_name(str_bytes(g))
                        .with_config_operation(g.i8())
                        .with_value(g.option(str_bytes))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_validate_only(g.bool())
        .with_unknown_tagged_fields(g.tags())
}

fn create_partitions(g: &mut Gen) -> CreatePartitionsRequest {
    CreatePartitionsRequest::default()
        .with_topics(g.vec(|g| {
            parts::CreatePartitionsTopic::default()
                .with_name(topic_name(g))
                .with_count(g.i32())
                .with_assignments(g.option(|g| {
                    g.vec(|g| {
                        parts::CreatePartitionsAssignment::default()
                            .with_broker_ids(g.vec(|g| BrokerId(g.i32())))
                            .with_unknown_tagged_fields(g.tags())
                    })
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_timeout_ms(g.i32())
        .with_validate_only(g.bool())
        .with_unknown_tagged_fields(g.tags())
}

fn describe_cluster(v: i16, g: &mut Gen) -> DescribeClusterRequest {
    let mut request = DescribeClusterRequest::default()
        .with_include_cluster_authorized_operations(g.bool())
        .with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.endpoint_type = g.i8();
    }
    if v >= 2 {
        request.include_fenced_brokers = g.bool();
    }
    request
}

fn describe_topic_partitions(g: &mut Gen) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest::default()
        .with_topics(g.vec(|g| {
            dtp::TopicRequest::default()
                .with_name(topic_name(g))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_response_partition_limit(g.i32())
        .with_cursor(g.option(|g| {
            dtp::Cursor::default()
                .with_topic_name(topic_name(g))
                .with_partition_index(g.i32())
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags())
}
