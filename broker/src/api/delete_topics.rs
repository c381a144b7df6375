//! DeleteTopics (20), versions 1–6: by name, from version 6 on by id as well (contract 65).
//!
//! Departures from Kafka: topics are gone when the reply leaves; `timeout_ms` has nothing to wait for.

use super::{blocking, topic_id_of, uuid_of};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::ApiError;
use crate::partitions::Topic;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use protocol::ErrorCode;
use protocol::types::TopicId;
use std::collections::HashMap;
use std::sync::Arc;

/// Answers; the topics are gone, durably, when this returns.
pub async fn handle(ctx: &RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let targets: Vec<Target> = if ctx.api_version >= 6 {
        request
            .topics
            .into_iter()
            .map(|topic| Target::new(topic.name, topic_id_of(&topic.topic_id)))
            .collect()
    } else {
        request
            .topic_names
            .into_iter()
            .map(|name| Target::new(Some(name), TopicId::ZERO))
            .collect()
    };
    let enabled = ctx.broker.partitions.settings().config.delete_topic_enable;
    let mut results: Vec<DeletableTopicResult> = Vec::with_capacity(targets.len());
    let mut doomed: Vec<(usize, Arc<Topic>)> = Vec::new();
    let times = count(&targets);
    let mut answered: Vec<Target> = Vec::new();
    for target in targets {
        if times.get(&target).is_some_and(|times| *times > 1) {
            if !answered.contains(&target) {
                let error = ApiError::new(ErrorCode::InvalidRequest, target.duplicate_text());
                results.push(refused(&target, &error));
                answered.push(target);
            }
            continue;
        }
        let found = if enabled {
            find(ctx, &target)
        } else {
            Err(disabled(ctx.api_version))
        };
        results.push(match found {
            Ok(topic) => {
                let result = DeletableTopicResult::default()
                    .with_name(Some(topic.wire_name()))
                    .with_topic_id(uuid_of(topic.id));
                doomed.push((results.len(), topic));
                result
            }
            Err(error) => refused(&target, &error),
        });
    }
    if !doomed.is_empty() {
        let manager = Arc::clone(&ctx.broker.partitions);
        let ids: Vec<TopicId> = doomed.iter().map(|(_, topic)| topic.id).collect();
        let deleted = blocking(move || ids.into_iter().map(|id| manager.delete(id)).collect::<Vec<_>>()).await;
        for (nth, (at, _)) in doomed.iter().enumerate() {
            let error = match &deleted {
                Ok(deleted) => deleted[nth].as_ref().err(),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                results[*at].error_code = error.code.code();
                results[*at].error_message = error.wire_message();
            }
        }
    }
    DeleteTopicsResponse::default().with_responses(results)
}

/// What a request wants deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    Name(TopicName),
    Id(TopicId),
    /// A name and an id.
    Both(TopicName, TopicId),
    /// Neither.
    Nothing,
}

impl Target {
    fn new(name: Option<TopicName>, id: TopicId) -> Target {
        match (name, id.is_zero()) {
            (Some(name), true) => Target::Name(name),
            (Some(name), false) => Target::Both(name, id),
            (None, false) => Target::Id(id),
            (None, true) => Target::Nothing,
        }
    }

    fn duplicate_text(&self) -> &'static str {
        match self {
            Target::Name(_) => "Duplicate topic name.",
            Target::Id(_) => "Duplicate topic id.",
            Target::Both(..) => "You may not specify both topic name and topic id.",
            Target::Nothing => "Neither topic name nor id were specified.",
        }
    }
}

fn count(targets: &[Target]) -> HashMap<Target, usize> {
    let mut times = HashMap::new();
    for target in targets {
        *times.entry(target.clone()).or_default() += 1;
    }
    times
}

fn disabled(version: i16) -> ApiError {
    // The code came with version 3.
    if version < 3 {
        ApiError::new(ErrorCode::InvalidRequest, "Topic deletion is disabled.")
    } else {
        ErrorCode::TopicDeletionDisabled.into()
    }
}

fn find(ctx: &RequestContext, target: &Target) -> Result<Arc<Topic>, ApiError> {
    let manager = &ctx.broker.partitions;
    let topic = match target {
        Target::Name(name) => {
            if !ctx.authorize(Operation::Describe, &Resource::Topic(name)) {
                return Err(ErrorCode::TopicAuthorizationFailed.into());
            }
            manager.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?
        }
        Target::Id(id) => manager.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?,
        Target::Both(..) | Target::Nothing => {
            return Err(ApiError::new(ErrorCode::InvalidRequest, target.duplicate_text()));
        }
    };
    if ctx.authorize(Operation::Delete, &Resource::Topic(&topic.name)) {
        Ok(topic)
    } else {
        Err(ErrorCode::TopicAuthorizationFailed.into())
    }
}

fn refused(target: &Target, error: &ApiError) -> DeletableTopicResult {
    let (name, id) = match target {
        Target::Name(name) => (Some(name.clone()), TopicId::ZERO),
        Target::Id(id) => (None, *id),
        Target::Both(name, id) => (Some(name.clone()), *id),
        Target::Nothing => (None, TopicId::ZERO),
    };
    DeletableTopicResult::default()
        .with_name(name)
        .with_topic_id(uuid_of(id))
        .with_error_code(error.code.code())
        .with_error_message(error.wire_message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::StrBytes;

    #[test]
    fn a_topic_is_named_once_by_name_or_id() {
        let name = || Some(TopicName(StrBytes::from_static_str("t")));
        let id = TopicId([3; 16]);
        assert!(matches!(Target::new(name(), TopicId::ZERO), Target::Name(_)));
        assert!(matches!(Target::new(None, id), Target::Id(_)));
        assert!(matches!(Target::new(name(), id), Target::Both(..)));
        assert_eq!(Target::new(None, TopicId::ZERO), Target::Nothing);
        let times = count(&[Target::Id(id), Target::Id(id), Target::Nothing]);
        assert_eq!((times[&Target::Id(id)], times[&Target::Nothing]), (2, 1));
    }

    #[test]
    fn disabled_deletion_has_its_code_from_version_3_on() {
        assert_eq!(disabled(2).code, ErrorCode::InvalidRequest);
        assert_eq!(disabled(3).code, ErrorCode::TopicDeletionDisabled);
    }
}
