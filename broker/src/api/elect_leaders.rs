//! ElectLeaders (43), versions 0–2: every partition is led by this broker, its preferred and only replica, so that no election is
//! ever needed: ELECTION_NOT_NEEDED(84) for each partition that is named (KIP-460).
//!
//! As in Kafka, asking for all partitions (null) lists none of those that need no election: the answer is empty.

use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::partitions::PartitionManager;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use protocol::ErrorCode;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let refused = check(ctx, &request).err();
    let elect = |topic: &str, partition: i32| match &refused {
        Some(error) => error.clone(),
        None => elect_leader(&ctx.broker.partitions, topic, partition),
    };
    let topics = request.topic_partitions.into_iter().flatten().map(|topic| {
        let results = topic.partitions.iter().map(|partition| {
            let error = elect(&topic.topic, *partition);
            PartitionResult::default()
                .with_partition_id(*partition)
                .with_error_code(error.code.code())
                .with_error_message(error.wire_message())
        });
        let results = results.collect();
        ReplicaElectionResult::default()
            .with_topic(topic.topic)
            .with_partition_result(results)
    });
    let response = ElectLeadersResponse::default().with_replica_election_results(topics.collect());
    match (&refused, ctx.api_version) {
        // The field came with version 1.
        (Some(error), 1..) => response.with_error_code(error.code.code()),
        _ => response,
    }
}

fn check(ctx: &RequestContext, request: &ElectLeadersRequest) -> Result<(), ApiError> {
    if !ctx.authorize(Operation::Alter, &Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed.into());
    }
    // Version 0 knows the preferred election alone.
    match request.election_type {
        PREFERRED | UNCLEAN => Ok(()),
        _ if ctx.api_version == 0 => Ok(()),
        unknown => Err(ApiError::new(
            ErrorCode::InvalidRequest,
            format!("Unknown election type {unknown}"),
        )),
    }
}

/// Why there was no election.
fn elect_leader(manager: &PartitionManager, topic: &str, partition: i32) -> ApiError {
    let Some(found) = manager.topic(topic) else {
        return ApiError::new(ErrorCode::UnknownTopicOrPartition, format!("No such topic as {topic}"));
    };
    if found.log(partition).is_none() {
        let text = format!("No such partition as {topic}-{partition}");
        return ApiError::new(ErrorCode::UnknownTopicOrPartition, text);
    }
    ApiError::new(
        ErrorCode::ElectionNotNeeded,
        "Leader election not needed for topic partition.",
    )
}
