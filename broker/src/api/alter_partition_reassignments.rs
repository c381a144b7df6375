//! AlterPartitionReassignments (45), versions 0–1: there is one broker to put replicas on (KIP-455). Assigning a partition to it is done
//! at once, since it is there; any other broker gives INVALID_REPLICA_ASSIGNMENT(39), and cancelling gives
//! NO_REASSIGNMENT_IN_PROGRESS(85), because none ever is.
//!
//! Departures from Kafka: the replication factor that was recorded at creation stays what it was (contract 63), and
//! `allow_replication_factor_change` has nothing to forbid, since every partition has one replica before and after.

use super::create_topics::check_replicas;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId, TopicName,
};
use protocol::ErrorCode;

/// Answers.
pub async fn handle(
    ctx: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let response = AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_error_message(None);
    if !ctx.authorize(Operation::Alter, &Resource::Cluster) {
        let error = ApiError::from(ErrorCode::ClusterAuthorizationFailed);
        return response.with_error_code(error.code.code());
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_message(None);
            match find(ctx, &topic.name, partition).and_then(|()| reassign(partition, ctx.broker.node_id)) {
                Ok(()) => answer,
                Err(error) => answer
                    .with_error_code(error.code.code())
                    .with_error_message(error.wire_message()),
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    response.with_responses(topics.collect())
}

fn find(ctx: &RequestContext, name: &TopicName, partition: &ReassignablePartition) -> Result<(), ApiError> {
    let unknown = |text: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, text);
    let topic = ctx.broker.partitions.topic(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {}.", name.as_str())))?;
    let index = partition.partition_index;
    match topic.log(index) {
        Some(_) => Ok(()),
        None => Err(unknown(format!("Unable to find partition {}:{index}.", name.as_str()))),
    }
}

/// Null replicas cancel.
fn reassign(partition: &ReassignablePartition, node_id: i32) -> Result<(), ApiError> {
    let Some(replicas) = &partition.replicas else {
        return Err(ErrorCode::NoReassignmentInProgress.into());
    };
    let replicas: Vec<i32> = replicas.iter().map(|BrokerId(id)| *id).collect();
    check_replicas(&replicas, node_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_can_be_put_on_this_broker_and_nowhere_else() {
        let code = |replicas: Option<&[i32]>| {
            let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
            let partition = ReassignablePartition::default().with_replicas(replicas);
            reassign(&partition, 3).map_err(|error| error.code.code())
        };
        assert_eq!(code(None), Err(85));
        assert_eq!(code(Some(&[3])), Ok(()));
        for bad in [&[][..], &[4], &[3, 4], &[3, 3], &[-1]] {
            assert_eq!(code(Some(bad)), Err(39), "{bad:?}");
        }
    }
}
