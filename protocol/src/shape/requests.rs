//! The shape of every request that is offered: fields in wire order, with the versions that have them. Here are those of
//! records, topics and configs; `group_requests.rs` and `admin_requests.rs` have the rest.
//!
//! Null is allowed where the codec's type is an `Option`, in every version. Two `Struct`s that share a name in Kafka's
//! definitions have a prefix here.

use super::Kind::{Array, NullableArray, NullableBytes, NullableStr, OptionStruct, Str};
use super::notation::{BOOL, I8, I16, I32, I64, UUID, always, array_of, between, nullable_array_of, since, until};
use super::{Element, Kind, Struct, Tag, admin_requests as admin, group_requests as groups};
use crate::api::ApiKey;
use kafka_protocol::messages::{
    alter_configs_request as alter, api_versions_request as api_versions,
    create_partitions_request as create_partitions, create_topics_request as create, delete_topics_request as delete,
    describe_cluster_request as cluster, describe_configs_request as describe,
    describe_topic_partitions_request as topic_partitions, fetch_request as fetch, find_coordinator_request as find,
    incremental_alter_configs_request as incremental, init_producer_id_request as init,
    list_offsets_request as list_offsets, metadata_request as metadata, offset_for_leader_epoch_request as epoch,
    produce_request as produce,
};

/// The shape of a request.
pub(super) fn shape(api: ApiKey) -> &'static Struct {
    match api {
        ApiKey::Produce => &PRODUCE,
        ApiKey::Fetch => &FETCH,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
        ApiKey::OffsetCommit => &groups::OFFSET_COMMIT,
        ApiKey::OffsetFetch => &groups::OFFSET_FETCH,
        ApiKey::JoinGroup => &groups::JOIN_GROUP,
        ApiKey::Heartbeat => &groups::HEARTBEAT,
        ApiKey::LeaveGroup => &groups::LEAVE_GROUP,
        ApiKey::SyncGroup => &groups::SYNC_GROUP,
        ApiKey::DescribeGroups => &groups::DESCRIBE_GROUPS,
        ApiKey::ListGroups => &groups::LIST_GROUPS,
        ApiKey::DeleteGroups => &groups::DELETE_GROUPS,
        ApiKey::OffsetDelete => &groups::OFFSET_DELETE,
        ApiKey::ConsumerGroupHeartbeat => &groups::CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => &groups::CONSUMER_GROUP_DESCRIBE,
        ApiKey::DeleteRecords => &admin::DELETE_RECORDS,
        ApiKey::DescribeLogDirs => &admin::DESCRIBE_LOG_DIRS,
        ApiKey::ElectLeaders => &admin::ELECT_LEADERS,
        ApiKey::AlterPartitionReassignments => &admin::ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => &admin::LIST_PARTITION_REASSIGNMENTS,
        ApiKey::DescribeClientQuotas => &admin::DESCRIBE_CLIENT_QUOTAS,
        ApiKey::DescribeQuorum => &admin::DESCRIBE_QUORUM,
        ApiKey::UpdateFeatures => &admin::UPDATE_FEATURES,
        ApiKey::DescribeProducers => &admin::DESCRIBE_PRODUCERS,
        ApiKey::ListConfigResources => &admin::LIST_CONFIG_RESOURCES,
    }
}

static PRODUCE: Struct = Struct {
    fields: &[
        always(NullableStr), // transactional_id
        always(I16),         // acks
        always(I32),         // timeout_ms
        always(array_of(&PRODUCE_TOPIC)),
    ],
    tags: &[],
    bytes: size_of::<produce::ProduceRequest>(),
};
static PRODUCE_TOPIC: Struct = Struct {
    fields: &[until(12, Str), since(13, UUID), always(array_of(&PRODUCE_PARTITION))],
    tags: &[],
    bytes: size_of::<produce::TopicProduceData>(),
};
static PRODUCE_PARTITION: Struct = Struct {
    fields: &[always(I32), always(NullableBytes)],
    tags: &[],
    bytes: size_of::<produce::PartitionProduceData>(),
};

static FETCH: Struct = Struct {
    fields: &[
        until(14, I32), // replica_id
        always(I32),    // max_wait_ms
        always(I32),    // min_bytes
        always(I32),    // max_bytes
        always(I8),     // isolation_level
        since(7, I32),  // session_id
        since(7, I32),  // session_epoch
        always(array_of(&FETCH_TOPIC)),
        since(7, array_of(&FORGOTTEN_TOPIC)),
        since(11, Str), // rack_id
    ],
    tags: &[
        Tag {
            tag: 0,
            since: 12,
            kind: NullableStr,
        }, // cluster_id
        Tag {
            tag: 1,
            since: 15,
            kind: Kind::Struct(&REPLICA_STATE),
        },
    ],
    bytes: size_of::<fetch::FetchRequest>(),
};
static FETCH_TOPIC: Struct = Struct {
    fields: &[until(12, Str), since(13, UUID), always(array_of(&FETCH_PARTITION))],
    tags: &[],
    bytes: size_of::<fetch::FetchTopic>(),
};
static FETCH_PARTITION: Struct = Struct {
    fields: &[
        always(I32),    // partition
        since(9, I32),  // current_leader_epoch
        always(I64),    // fetch_offset
        since(12, I32), // last_fetched_epoch
        since(5, I64),  // log_start_offset
        always(I32),    // partition_max_bytes
    ],
    tags: &[
        Tag {
            tag: 0,
            since: 17,
            kind: UUID,
        }, // replica_directory_id
        Tag {
            tag: 1,
            since: 18,
            kind: I64,
        }, // high_watermark
    ],
    bytes: size_of::<fetch::FetchPartition>(),
};
static FORGOTTEN_TOPIC: Struct = Struct {
    fields: &[until(12, Str), since(13, UUID), always(Array(Element::Fixed(4)))],
    tags: &[],
    bytes: size_of::<fetch::ForgottenTopic>(),
};
static REPLICA_STATE: Struct = Struct {
    fields: &[always(I32), always(I64)],
    tags: &[],
    bytes: size_of::<fetch::ReplicaState>(),
};

static LIST_OFFSETS: Struct = Struct {
    fields: &[
        always(I32),  // replica_id
        since(2, I8), // isolation_level
        always(array_of(&LIST_OFFSETS_TOPIC)),
        since(10, I32), // timeout_ms
    ],
    tags: &[],
    bytes: size_of::<list_offsets::ListOffsetsRequest>(),
};
static LIST_OFFSETS_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&LIST_OFFSETS_PARTITION))],
    tags: &[],
    bytes: size_of::<list_offsets::ListOffsetsTopic>(),
};
static LIST_OFFSETS_PARTITION: Struct = Struct {
    fields: &[always(I32), since(4, I32), always(I64)],
    tags: &[],
    bytes: size_of::<list_offsets::ListOffsetsPartition>(),
};

static METADATA: Struct = Struct {
    fields: &[
        always(nullable_array_of(&METADATA_TOPIC)),
        since(4, BOOL),       // allow_auto_topic_creation
        between(8, 10, BOOL), // include_cluster_authorized_operations
        since(8, BOOL),       // include_topic_authorized_operations
    ],
    tags: &[],
    bytes: size_of::<metadata::MetadataRequest>(),
};
static METADATA_TOPIC: Struct = Struct {
    fields: &[since(10, UUID), always(NullableStr)],
    tags: &[],
    bytes: size_of::<metadata::MetadataRequestTopic>(),
};

static FIND_COORDINATOR: Struct = Struct {
    fields: &[until(3, Str), since(1, I8), since(4, Array(Element::Str))],
    tags: &[],
    bytes: size_of::<find::FindCoordinatorRequest>(),
};

static API_VERSIONS: Struct = Struct {
    fields: &[since(3, Str), since(3, Str)],
    tags: &[],
    bytes: size_of::<api_versions::ApiVersionsRequest>(),
};

static CREATE_TOPICS: Struct = Struct {
    fields: &[always(array_of(&CREATABLE_TOPIC)), always(I32), always(BOOL)],
    tags: &[],
    bytes: size_of::<create::CreateTopicsRequest>(),
};
static CREATABLE_TOPIC: Struct = Struct {
    fields: &[
        always(Str), // name
        always(I32), // num_partitions
        always(I16), // replication_factor
        always(array_of(&CREATABLE_REPLICA_ASSIGNMENT)),
        always(array_of(&CREATABLE_TOPIC_CONFIG)),
    ],
    tags: &[],
    bytes: size_of::<create::CreatableTopic>(),
};
static CREATABLE_REPLICA_ASSIGNMENT: Struct = Struct {
    fields: &[always(I32), always(Array(Element::Fixed(4)))],
    tags: &[],
    bytes: size_of::<create::CreatableReplicaAssignment>(),
};
static CREATABLE_TOPIC_CONFIG: Struct = Struct {
    fields: &[always(Str), always(NullableStr)],
    tags: &[],
    bytes: size_of::<create::CreatableTopicConfig>(),
};

static DELETE_TOPICS: Struct = Struct {
    fields: &[
        since(6, array_of(&DELETE_TOPIC_STATE)),
        until(5, Array(Element::Str)),
        always(I32),
    ],
    tags: &[],
    bytes: size_of::<delete::DeleteTopicsRequest>(),
};
static DELETE_TOPIC_STATE: Struct = Struct {
    fields: &[always(NullableStr), always(UUID)],
    tags: &[],
    bytes: size_of::<delete::DeleteTopicState>(),
};

static INIT_PRODUCER_ID: Struct = Struct {
    fields: &[
        always(NullableStr), // transactional_id
        always(I32),         // transaction_timeout_ms
        since(3, I64),       // producer_id
        since(3, I16),       // producer_epoch
    ],
    tags: &[],
    bytes: size_of::<init::InitProducerIdRequest>(),
};

static OFFSET_FOR_LEADER_EPOCH: Struct = Struct {
    fields: &[since(3, I32), always(array_of(&OFFSET_FOR_LEADER_TOPIC))],
    tags: &[],
    bytes: size_of::<epoch::OffsetForLeaderEpochRequest>(),
};
static OFFSET_FOR_LEADER_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&OFFSET_FOR_LEADER_PARTITION))],
    tags: &[],
    bytes: size_of::<epoch::OffsetForLeaderTopic>(),
};
static OFFSET_FOR_LEADER_PARTITION: Struct = Struct {
    fields: &[always(I32), always(I32), always(I32)],
    tags: &[],
    bytes: size_of::<epoch::OffsetForLeaderPartition>(),
};

static DESCRIBE_CONFIGS: Struct = Struct {
    fields: &[
        always(array_of(&DESCRIBE_CONFIGS_RESOURCE)),
        always(BOOL),   // include_synonyms
        since(3, BOOL), // include_documentation
    ],
    tags: &[],
    bytes: size_of::<describe::DescribeConfigsRequest>(),
};
static DESCRIBE_CONFIGS_RESOURCE: Struct = Struct {
    fields: &[always(I8), always(Str), always(NullableArray(Element::Str))],
    tags: &[],
    bytes: size_of::<describe::DescribeConfigsResource>(),
};

static ALTER_CONFIGS: Struct = Struct {
    fields: &[always(array_of(&ALTER_CONFIGS_RESOURCE)), always(BOOL)],
    tags: &[],
    bytes: size_of::<alter::AlterConfigsRequest>(),
};
static ALTER_CONFIGS_RESOURCE: Struct = Struct {
    fields: &[always(I8), always(Str), always(array_of(&ALTERABLE_CONFIG))],
    tags: &[],
    bytes: size_of::<alter::AlterConfigsResource>(),
};
static ALTERABLE_CONFIG: Struct = Struct {
    fields: &[always(Str), always(NullableStr)],
    tags: &[],
    bytes: size_of::<alter::AlterableConfig>(),
};

static INCREMENTAL_ALTER_CONFIGS: Struct = Struct {
    fields: &[always(array_of(&INCREMENTAL_RESOURCE)), always(BOOL)],
    tags: &[],
    bytes: size_of::<incremental::IncrementalAlterConfigsRequest>(),
};
static INCREMENTAL_RESOURCE: Struct = Struct {
    fields: &[always(I8), always(Str), always(array_of(&INCREMENTAL_CONFIG))],
    tags: &[],
    bytes: size_of::<incremental::AlterConfigsResource>(),
};
static INCREMENTAL_CONFIG: Struct = Struct {
    fields: &[always(Str), always(I8), always(NullableStr)],
    tags: &[],
    bytes: size_of::<incremental::AlterableConfig>(),
};

static CREATE_PARTITIONS: Struct = Struct {
    fields: &[always(array_of(&CREATE_PARTITIONS_TOPIC)), always(I32), always(BOOL)],
    tags: &[],
    bytes: size_of::<create_partitions::CreatePartitionsRequest>(),
};
static CREATE_PARTITIONS_TOPIC: Struct = Struct {
    fields: &[
        always(Str),
        always(I32),
        always(nullable_array_of(&CREATE_PARTITIONS_ASSIGNMENT)),
    ],
    tags: &[],
    bytes: size_of::<create_partitions::CreatePartitionsTopic>(),
};
static CREATE_PARTITIONS_ASSIGNMENT: Struct = Struct {
    fields: &[always(Array(Element::Fixed(4)))],
    tags: &[],
    bytes: size_of::<create_partitions::CreatePartitionsAssignment>(),
};

static DESCRIBE_CLUSTER: Struct = Struct {
    fields: &[always(BOOL), since(1, I8), since(2, BOOL)],
    tags: &[],
    bytes: size_of::<cluster::DescribeClusterRequest>(),
};

static DESCRIBE_TOPIC_PARTITIONS: Struct = Struct {
    fields: &[
        always(array_of(&TOPIC_REQUEST)),
        always(I32),
        always(OptionStruct(&CURSOR)),
    ],
    tags: &[],
    bytes: size_of::<topic_partitions::DescribeTopicPartitionsRequest>(),
};
static TOPIC_REQUEST: Struct = Struct {
    fields: &[always(Str)],
    tags: &[],
    bytes: size_of::<topic_partitions::TopicRequest>(),
};
static CURSOR: Struct = Struct {
    fields: &[always(Str), always(I32)],
    tags: &[],
    bytes: size_of::<topic_partitions::Cursor>(),
};
