//! DescribeLogDirs (35), versions 1–4: how much each partition takes of the disk. There is one directory, the data directory.
//!
//! A null list of topics means all; partitions that do not exist are left out, as in Kafka. Sizes are those of records, in segments
//! and in memory; the journal and the index belong to no partition. No replica moves between directories: `offset_lag` is 0 and
//! `is_future_key` false.

use super::blocking;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::error_code;
use crate::partitions::Topic;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Answers.
pub async fn handle(ctx: &RequestContext, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    if !ctx.authorize(Operation::Describe, &Resource::Cluster) {
        let response = DescribeLogDirsResponse::default();
        // Below version 3 there is no code for the whole: nothing is shown.
        return if ctx.api_version >= 3 {
            response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code())
        } else {
            response
        };
    }
    let broker = Arc::clone(&ctx.broker);
    let dir = std::path::absolute(&broker.config.data_dir).unwrap_or_else(|_| broker.config.data_dir.clone());
    let result =
        DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(dir.to_string_lossy().into_owned()));
    let engine = Arc::clone(&broker.engine);
    let space = match blocking(move || engine.disk_space()).await {
        Ok(Ok(space)) => space,
        Ok(Err(error)) => {
            tracing::error!(%error, "describing the data directory failed");
            let failed = result.with_error_code(error_code(error.kind).code());
            return DescribeLogDirsResponse::default().with_results(vec![failed]);
        }
        Err(error) => return DescribeLogDirsResponse::default().with_error_code(error.code.code()),
    };
    let result = result
        .with_topics(topics(ctx, request.topics))
        .with_total_bytes(signed(space.0))
        .with_usable_bytes(signed(space.1));
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn topics(ctx: &RequestContext, asked: Option<Vec<DescribableLogDirTopic>>) -> Vec<DescribeLogDirsTopic> {
    let manager = &ctx.broker.partitions;
    let Some(asked) = asked else {
        let all = manager.topics();
        return all.iter().map(|topic| describe(topic, 0..topic.partitions())).collect();
    };
    // A partition that is named twice is one partition.
    let mut wanted: BTreeMap<_, BTreeSet<i32>> = BTreeMap::new();
    for topic in asked {
        wanted.entry(topic.topic.0).or_default().extend(topic.partitions);
    }
    let found = wanted.into_iter().filter_map(|(name, partitions)| {
        let described = describe(&*manager.topic(&name)?, partitions);
        (!described.partitions.is_empty()).then_some(described)
    });
    found.collect()
}

fn describe(topic: &Topic, partitions: impl IntoIterator<Item = i32>) -> DescribeLogDirsTopic {
    let partitions = partitions.into_iter().filter_map(|partition| {
        let log = topic.log(partition)?;
        Some(
            DescribeLogDirsPartition::default()
                .with_partition_index(partition)
                .with_partition_size(signed(log.size_bytes())),
        )
    });
    DescribeLogDirsTopic::default()
        .with_name(topic.wire_name())
        .with_partitions(partitions.collect())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
