//! Random requests of tools.

use crate::generate::Gen;
use crate::requests::{str_bytes, topic_name};
use kafka_protocol::messages::*;
use kafka_protocol::messages::{
    alter_configs_request as alter, alter_partition_reassignments_request as alter_reassignments,
    delete_records_request as delete_records, describe_client_quotas_request as quotas,
    describe_configs_request as describe, describe_log_dirs_request as log_dirs,
    describe_producers_request as producers, describe_quorum_request as quorum, elect_leaders_request as elect,
    incremental_alter_configs_request as incremental, list_partition_reassignments_request as list_reassignments,
    update_features_request as features,
};

pub(crate) fn delete_records(g: &mut Gen) -> DeleteRecordsRequest {
    DeleteRecordsRequest::default()
        .with_topics(g.vec(|g| {
            delete_records::DeleteRecordsTopic::default()
                .with_name(topic_name(g))
                .with_partitions(g.vec(|g| {
                    delete_records::DeleteRecordsPartition::default()
                        .with_partition_index(g.i32())
                        .with_offset(g.i64())
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_timeout_ms(g.i32())
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn describe_log_dirs(g: &mut Gen) -> DescribeLogDirsRequest {
    DescribeLogDirsRequest::default()
        .with_topics(g.option(|g| {
            g.vec(|g| {
                log_dirs::DescribableLogDirTopic::default()
                    .with_topic(topic_name(g))
                    .with_partitions(g.vec(Gen::i32))
                    .with_unknown_tagged_fields(g.tags())
            })
        }))
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn elect_leaders(v: i16, g: &mut Gen) -> ElectLeadersRequest {
    let mut request = ElectLeadersRequest::default()
        .with_topic_partitions(g.option(|g| {
            g.vec(|g| {
                elect::TopicPartitions::default()
                    .with_topic(topic_name(g))
                    .with_partitions(g.vec(Gen::i32))
                    .with_unknown_tagged_fields(g.tags())
            })
        }))
        .with_timeout_ms(g.i32())
        .with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.election_type = g.i8();
    }
    request
}

pub(crate) fn alter_partition_reassignments(v: i16, g: &mut Gen) -> AlterPartitionReassignmentsRequest {
    let mut request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(g.i32())
        .with_topics(g.vec(|g| {
            alter_reassignments::ReassignableTopic::default()
                .with_name(topic_name(g))
                .with_partitions(g.vec(|g| {
                    alter_reassignments::ReassignablePartition::default()
                        .with_partition_index(g.i32())
                        .with_replicas(g.option(|g| g.vec(|g| BrokerId(g.i32()))))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.allow_replication_factor_change = g.bool();
    }
    request
}

pub(crate) fn list_partition_reassignments(g: &mut Gen) -> ListPartitionReassignmentsRequest {
    ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(g.i32())
        .with_topics(g.option(|g| {
            g.vec(|g| {
                list_reassignments::ListPartitionReassignmentsTopics::default()
                    .with_name(topic_name(g))
                    .with_partition_indexes(g.vec(Gen::i32))
                    .with_unknown_tagged_fields(g.tags())
            })
        }))
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn describe_client_quotas(g: &mut Gen) -> DescribeClientQuotasRequest {
    DescribeClientQuotasRequest::default()
        .with_components(g.vec(|g| {
            quotas::ComponentData::default()
                .with_entity_type(str_bytes(g))
                .with_match_type(g.i8())
                .with_match(g.option(str_bytes))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_strict(g.bool())
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn describe_quorum(g: &mut Gen) -> DescribeQuorumRequest {
    DescribeQuorumRequest::default()
        .with_topics(g.vec(|g| {
            quorum::TopicData::default()
                .with_topic_name(topic_name(g))
                .with_partitions(g.vec(|g| {
                    quorum::PartitionData::default()
                        .with_partition_index(g.i32())
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn update_features(v: i16, g: &mut Gen) -> UpdateFeaturesRequest {
    let mut request = UpdateFeaturesRequest::default()
        .with_timeout_ms(g.i32())
        .with_feature_updates(g.vec(|g| {
            let mut update = features::FeatureUpdateKey::default()
                .with_feature(str_bytes(g))
                .with_max_version_level(g.i16())
                .with_unknown_tagged_fields(g.tags());
            if v == 0 {
                update.allow_downgrade = g.bool();
            } else {
                update.upgrade_type = g.i8();
            }
            update
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.validate_only = g.bool();
    }
    request
}

pub(crate) fn describe_producers(g: &mut Gen) -> DescribeProducersRequest {
    DescribeProducersRequest::default()
        .with_topics(g.vec(|g| {
            producers::TopicRequest::default()
                .with_name(topic_name(g))
                .with_partition_indexes(g.vec(Gen::i32))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn list_config_resources(v: i16, g: &mut Gen) -> ListConfigResourcesRequest {
    let mut request = ListConfigResourcesRequest::default().with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.resource_types = g.vec(Gen::i8);
    }
    request
}

pub(crate) fn describe_configs(v: i16, g: &mut Gen) -> DescribeConfigsRequest {
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

pub(crate) fn alter_configs(g: &mut Gen) -> AlterConfigsRequest {
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

pub(crate) fn incremental_alter_configs(g: &mut Gen) -> IncrementalAlterConfigsRequest {
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
