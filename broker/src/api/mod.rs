//! One file an API: what it answers, to whom, in which versions. Each opens with its key, versions and departures from
//! Kafka. What never lives here: sockets and framing (`server/`), the table of versions (`protocol`).

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod api_versions;
mod config_changes;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
mod fetch_read;
pub mod find_coordinator;
mod group_request;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
mod produce_append;
pub mod sync_group;
pub mod update_features;

use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::types::TopicId;
use uuid::Uuid;

/// What authorized-operations fields carry when nobody asked (contract 23).
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// Operations that exist on a topic.
pub(crate) const TOPIC_OPERATIONS: [Operation; 8] = [
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// Operations that exist on the cluster.
pub(crate) const CLUSTER_OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
];

/// The operations that the client may do, as bits by operation code.
pub(crate) fn authorized_operations(ctx: &RequestContext, resource: &Resource<'_>, of: &[Operation]) -> i32 {
    of.iter()
        .filter(|operation| ctx.authorize(**operation, resource))
        .fold(0, |bits, operation| bits | 1 << *operation as i8)
}

/// Runs what may wait for the disk on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a blocking task ended without its result");
        ApiError::unknown()
    })
}

/// A copy that does not hold the request's memory.
pub(crate) fn own(text: &StrBytes) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// A topic id as the codec has it.
pub(crate) fn uuid_of(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}

/// A topic id as we have it.
pub(crate) fn topic_id_of(uuid: &Uuid) -> TopicId {
    TopicId(*uuid.as_bytes())
}

/// Compares the leader epoch that a client believes in with ours; −1 is no belief (contract 53).
pub(crate) fn check_leader_epoch(believed: i32, ours: i32) -> Result<(), ErrorCode> {
    match believed {
        -1 => Ok(()),
        older if older < ours => Err(ErrorCode::FencedLeaderEpoch),
        newer if newer > ours => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// The offset below which a consumer of this isolation level may read: 1 is read_committed, everything else is not.
pub(crate) fn visible_end(isolation_level: i8, offsets: &storage::LogOffsets) -> protocol::types::Offset {
    if isolation_level == 1 {
        offsets.last_stable_offset
    } else {
        offsets.high_watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_epochs_are_compared() {
        // contract 53
        assert_eq!(check_leader_epoch(-1, 5), Ok(()));
        assert_eq!(check_leader_epoch(5, 5), Ok(()));
        assert_eq!(check_leader_epoch(4, 5), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(check_leader_epoch(6, 5), Err(ErrorCode::UnknownLeaderEpoch));
        assert_eq!(check_leader_epoch(-2, 5), Err(ErrorCode::FencedLeaderEpoch));
    }
}
