//! CreatePartitions (37), versions 0–3: topics grow, they never shrink (contract 65).
//!
//! Departures from Kafka: the partitions exist when the reply leaves; `timeout_ms` has nothing to wait for.

use super::blocking;
use super::create_topics::check_replicas;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::partitions::Topic;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use protocol::ErrorCode;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Answers; the partitions are durable when this returns.
pub async fn handle(ctx: &RequestContext, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut times: HashMap<TopicName, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut answered = HashSet::new();
    let mut results: Vec<(TopicName, Result<(), ApiError>)> = Vec::new();
    let mut growing = Vec::new();
    for topic in request.topics {
        if times.get(&topic.name).is_some_and(|times| *times > 1) {
            if answered.insert(topic.name.clone()) {
                let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
                results.push((topic.name, Err(error)));
            }
            continue;
        }
        let result = find(ctx, &topic).map(|found| growing.push((results.len(), found.id, topic.count)));
        results.push((topic.name, result));
    }
    if !growing.is_empty() {
        let manager = Arc::clone(&ctx.broker.partitions);
        let work = growing.clone();
        let validate_only = request.validate_only;
        let grow = move || {
            work.iter()
                .map(|(_, id, count)| manager.grow(*id, *count, validate_only))
                .collect::<Vec<_>>()
        };
        let grown = blocking(grow).await;
        for (nth, (at, ..)) in growing.into_iter().enumerate() {
            results[at].1 = match &grown {
                Ok(grown) => grown[nth].clone(),
                Err(error) => Err(error.clone()),
            };
        }
    }
    let results = results.into_iter().map(|(name, result)| {
        let answer = CreatePartitionsTopicResult::default()
            .with_name(name)
            .with_error_message(None);
        match result {
            Ok(()) => answer,
            Err(error) => answer
                .with_error_code(error.code.code())
                .with_error_message(error.wire_message()),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn find(ctx: &RequestContext, topic: &CreatePartitionsTopic) -> Result<Arc<Topic>, ApiError> {
    if !ctx.authorize(Operation::Alter, &Resource::Topic(&topic.name)) {
        return Err(ErrorCode::TopicAuthorizationFailed.into());
    }
    let found = ctx
        .broker
        .partitions
        .topic(&topic.name)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if let Some(assignments) = &topic.assignments {
        check_assignments(assignments, found.partitions(), topic.count, ctx.broker.node_id)?;
    }
    Ok(found)
}

/// Checks the assignments of the partitions that are to be added.
fn check_assignments(
    assignments: &[CreatePartitionsAssignment],
    current: i32,
    count: i32,
    node_id: i32,
) -> Result<(), ApiError> {
    let added = i64::from(count) - i64::from(current);
    // Not an increase: that is said when the topic is to grow.
    if added > 0 && i64::try_from(assignments.len()) != Ok(added) {
        let text = format!(
            "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
            assignments.len()
        );
        return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
    }
    for assignment in assignments {
        let brokers: Vec<i32> = assignment.broker_ids.iter().map(|broker| broker.0).collect();
        check_replicas(&brokers, node_id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::BrokerId;

    #[test]
    fn each_new_partition_has_one_assignment_to_brokers_that_exist() {
        let to = |broker| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(broker)]);
        let code = |assignments: &[_]| check_assignments(assignments, 1, 3, 0).map_err(|error| error.code);
        assert_eq!(code(&[to(0), to(0)]), Ok(()));
        assert_eq!(code(&[to(0)]), Err(ErrorCode::InvalidReplicaAssignment));
        assert_eq!(code(&[to(0), to(1)]), Err(ErrorCode::InvalidReplicaAssignment));
        assert_eq!(code(&[to(0), to(0), to(0)]), Err(ErrorCode::InvalidReplicaAssignment));
    }
}
