//! A random request of every API in every version that the codec knows; those of groups and tools have files of their own.

use crate::generate::Gen;
use crate::{admin_requests as admin, group_requests as group};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::messages::{
    create_partitions_request as parts, create_topics_request as create, delete_topics_request as delete,
    describe_topic_partitions_request as dtp, fetch_request as fetch, list_offsets_request as lists,
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
            ApiKey::OffsetCommit => $function::<OffsetCommitRequest>($($argument),*),
            ApiKey::OffsetFetch => $function::<OffsetFetchRequest>($($argument),*),
            ApiKey::JoinGroup => $function::<JoinGroupRequest>($($argument),*),
            ApiKey::Heartbeat => $function::<HeartbeatRequest>($($argument),*),
            ApiKey::LeaveGroup => $function::<LeaveGroupRequest>($($argument),*),
            ApiKey::SyncGroup => $function::<SyncGroupRequest>($($argument),*),
            ApiKey::DescribeGroups => $function::<DescribeGroupsRequest>($($argument),*),
            ApiKey::ListGroups => $function::<ListGroupsRequest>($($argument),*),
            ApiKey::DeleteGroups => $function::<DeleteGroupsRequest>($($argument),*),
            ApiKey::OffsetDelete => $function::<OffsetDeleteRequest>($($argument),*),
            ApiKey::ConsumerGroupHeartbeat => $function::<ConsumerGroupHeartbeatRequest>($($argument),*),
            ApiKey::ConsumerGroupDescribe => $function::<ConsumerGroupDescribeRequest>($($argument),*),
            ApiKey::DeleteRecords => $function::<DeleteRecordsRequest>($($argument),*),
            ApiKey::DescribeLogDirs => $function::<DescribeLogDirsRequest>($($argument),*),
            ApiKey::ElectLeaders => $function::<ElectLeadersRequest>($($argument),*),
            ApiKey::AlterPartitionReassignments => $function::<AlterPartitionReassignmentsRequest>($($argument),*),
            ApiKey::ListPartitionReassignments => $function::<ListPartitionReassignmentsRequest>($($argument),*),
            ApiKey::DescribeClientQuotas => $function::<DescribeClientQuotasRequest>($($argument),*),
            ApiKey::DescribeQuorum => $function::<DescribeQuorumRequest>($($argument),*),
            ApiKey::UpdateFeatures => $function::<UpdateFeaturesRequest>($($argument),*),
            ApiKey::DescribeProducers => $function::<DescribeProducersRequest>($($argument),*),
            ApiKey::ListConfigResources => $function::<ListConfigResourcesRequest>($($argument),*),
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

pub(crate) fn str_bytes(g: &mut Gen) -> StrBytes {
    StrBytes::from_string(g.text())
}

pub(crate) fn topic_name(g: &mut Gen) -> TopicName {
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

pub(crate) use uuid;

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
        ApiKey::DescribeConfigs => sample(admin::describe_configs(v, g), v),
        ApiKey::AlterConfigs => sample(admin::alter_configs(g), v),
        ApiKey::CreatePartitions => sample(create_partitions(g), v),
        ApiKey::IncrementalAlterConfigs => sample(admin::incremental_alter_configs(g), v),
        ApiKey::DescribeCluster => sample(describe_cluster(v, g), v),
        ApiKey::DescribeTopicPartitions => sample(describe_topic_partitions(g), v),
        ApiKey::OffsetCommit => sample(group::offset_commit(v, g), v),
        ApiKey::OffsetFetch => sample(group::offset_fetch(v, g), v),
        ApiKey::JoinGroup => sample(group::join_group(v, g), v),
        ApiKey::Heartbeat => sample(group::heartbeat(v, g), v),
        ApiKey::LeaveGroup => sample(group::leave_group(v, g), v),
        ApiKey::SyncGroup => sample(group::sync_group(v, g), v),
        ApiKey::DescribeGroups => sample(group::describe_groups(v, g), v),
        ApiKey::ListGroups => sample(group::list_groups(v, g), v),
        ApiKey::DeleteGroups => sample(group::delete_groups(g), v),
        ApiKey::OffsetDelete => sample(group::offset_delete(g), v),
        ApiKey::ConsumerGroupHeartbeat => sample(group::consumer_group_heartbeat(v, g), v),
        ApiKey::ConsumerGroupDescribe => sample(group::consumer_group_describe(g), v),
        ApiKey::DeleteRecords => sample(admin::delete_records(g), v),
        ApiKey::DescribeLogDirs => sample(admin::describe_log_dirs(g), v),
        ApiKey::ElectLeaders => sample(admin::elect_leaders(v, g), v),
        ApiKey::AlterPartitionReassignments => sample(admin::alter_partition_reassignments(v, g), v),
        ApiKey::ListPartitionReassignments => sample(admin::list_partition_reassignments(g), v),
        ApiKey::DescribeClientQuotas => sample(admin::describe_client_quotas(g), v),
        ApiKey::DescribeQuorum => sample(admin::describe_quorum(g), v),
        ApiKey::UpdateFeatures => sample(admin::update_features(v, g), v),
        ApiKey::DescribeProducers => sample(admin::describe_producers(g), v),
        ApiKey::ListConfigResources => sample(admin::list_config_resources(v, g), v),
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
