//! The shapes of the requests of tools: log directories, records to delete, leaders, replicas, quotas, features, producers.

use super::Kind::{Array, NullableArray, NullableStr, Str};
use super::notation::{BOOL, I8, I16, I32, I64, PARTITIONS, always, array_of, nullable_array_of, since, until};
use super::{Element, Struct};
use kafka_protocol::messages::{
    alter_partition_reassignments_request as alter_reassignments, delete_records_request as delete_records,
    describe_client_quotas_request as quotas, describe_log_dirs_request as log_dirs,
    describe_producers_request as producers, describe_quorum_request as quorum, elect_leaders_request as elect,
    list_config_resources_request as config_resources, list_partition_reassignments_request as list_reassignments,
    update_features_request as features,
};

pub(super) static DELETE_RECORDS: Struct = Struct {
    fields: &[always(array_of(&DELETE_RECORDS_TOPIC)), always(I32)],
    tags: &[],
    bytes: size_of::<delete_records::DeleteRecordsRequest>(),
};
static DELETE_RECORDS_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&DELETE_RECORDS_PARTITION))],
    tags: &[],
    bytes: size_of::<delete_records::DeleteRecordsTopic>(),
};
static DELETE_RECORDS_PARTITION: Struct = Struct {
    fields: &[always(I32), always(I64)],
    tags: &[],
    bytes: size_of::<delete_records::DeleteRecordsPartition>(),
};

pub(super) static DESCRIBE_LOG_DIRS: Struct = Struct {
    fields: &[always(nullable_array_of(&LOG_DIR_TOPIC))],
    tags: &[],
    bytes: size_of::<log_dirs::DescribeLogDirsRequest>(),
};
static LOG_DIR_TOPIC: Struct = Struct {
    fields: &[always(Str), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<log_dirs::DescribableLogDirTopic>(),
};

pub(super) static ELECT_LEADERS: Struct = Struct {
    fields: &[
        since(1, I8), // election_type
        always(nullable_array_of(&ELECT_LEADERS_TOPIC)),
        always(I32), // timeout_ms
    ],
    tags: &[],
    bytes: size_of::<elect::ElectLeadersRequest>(),
};
static ELECT_LEADERS_TOPIC: Struct = Struct {
    fields: &[always(Str), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<elect::TopicPartitions>(),
};

pub(super) static ALTER_PARTITION_REASSIGNMENTS: Struct = Struct {
    fields: &[
        always(I32),    // timeout_ms
        since(1, BOOL), // allow_replication_factor_change
        always(array_of(&REASSIGNABLE_TOPIC)),
    ],
    tags: &[],
    bytes: size_of::<alter_reassignments::AlterPartitionReassignmentsRequest>(),
};
static REASSIGNABLE_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&REASSIGNABLE_PARTITION))],
    tags: &[],
    bytes: size_of::<alter_reassignments::ReassignableTopic>(),
};
static REASSIGNABLE_PARTITION: Struct = Struct {
    fields: &[always(I32), always(NullableArray(Element::Fixed(4)))],
    tags: &[],
    bytes: size_of::<alter_reassignments::ReassignablePartition>(),
};

pub(super) static LIST_PARTITION_REASSIGNMENTS: Struct = Struct {
    fields: &[always(I32), always(nullable_array_of(&LIST_REASSIGNMENTS_TOPIC))],
    tags: &[],
    bytes: size_of::<list_reassignments::ListPartitionReassignmentsRequest>(),
};
static LIST_REASSIGNMENTS_TOPIC: Struct = Struct {
    fields: &[always(Str), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<list_reassignments::ListPartitionReassignmentsTopics>(),
};

pub(super) static DESCRIBE_CLIENT_QUOTAS: Struct = Struct {
    fields: &[always(array_of(&QUOTA_COMPONENT)), always(BOOL)],
    tags: &[],
    bytes: size_of::<quotas::DescribeClientQuotasRequest>(),
};
static QUOTA_COMPONENT: Struct = Struct {
    fields: &[
        always(Str),         // entity_type
        always(I8),          // match_type
        always(NullableStr), // match
    ],
    tags: &[],
    bytes: size_of::<quotas::ComponentData>(),
};

pub(super) static DESCRIBE_QUORUM: Struct = Struct {
    fields: &[always(array_of(&QUORUM_TOPIC))],
    tags: &[],
    bytes: size_of::<quorum::DescribeQuorumRequest>(),
};
static QUORUM_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&QUORUM_PARTITION))],
    tags: &[],
    bytes: size_of::<quorum::TopicData>(),
};
static QUORUM_PARTITION: Struct = Struct {
    fields: &[always(I32)],
    tags: &[],
    bytes: size_of::<quorum::PartitionData>(),
};

pub(super) static UPDATE_FEATURES: Struct = Struct {
    fields: &[
        always(I32), // timeout_ms
        always(array_of(&FEATURE_UPDATE)),
        since(1, BOOL), // validate_only
    ],
    tags: &[],
    bytes: size_of::<features::UpdateFeaturesRequest>(),
};
static FEATURE_UPDATE: Struct = Struct {
    fields: &[
        always(Str),    // feature
        always(I16),    // max_version_level
        until(0, BOOL), // allow_downgrade
        since(1, I8),   // upgrade_type
    ],
    tags: &[],
    bytes: size_of::<features::FeatureUpdateKey>(),
};

pub(super) static DESCRIBE_PRODUCERS: Struct = Struct {
    fields: &[always(array_of(&PRODUCERS_TOPIC))],
    tags: &[],
    bytes: size_of::<producers::DescribeProducersRequest>(),
};
static PRODUCERS_TOPIC: Struct = Struct {
    fields: &[always(Str), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<producers::TopicRequest>(),
};

pub(super) static LIST_CONFIG_RESOURCES: Struct = Struct {
    fields: &[since(1, Array(Element::Fixed(1)))],
    tags: &[],
    bytes: size_of::<config_resources::ListConfigResourcesRequest>(),
};
