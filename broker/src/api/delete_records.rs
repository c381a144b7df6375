//! DeleteRecords (21), versions 0–2: moves the start of logs on (contract 67). The new start is durable when the reply leaves.
//!
//! Departures from Kafka: there are no followers to wait for. Records that are written and not yet durable are waited for, up to
//! `timeout_ms`, where the request reaches into them: whoever produced with acks=1 expects to delete what he wrote.

use super::blocking;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::error_code;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use protocol::ErrorCode;
use protocol::types::Offset;
use std::sync::Arc;
use std::time::Duration;
use storage::{Acks, ErrorKind, Log, LogOffsets};

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// What a partition that failed carries in place of its low watermark.
const NO_LOW_WATERMARK: i64 = -1;
/// A request waits no longer than this for records to become durable.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// What became of one partition: where its log starts now.
type Deleted = Result<i64, ErrorCode>;

/// Answers; the new log starts are durable when this returns.
pub async fn handle(ctx: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut answers: Vec<Deleted> = Vec::new();
    let mut work: Vec<(usize, Arc<Log>, i64)> = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            match find(ctx, &topic.name, partition.partition_index) {
                Ok(log) => work.push((answers.len(), log, partition.offset)),
                Err(error) => {
                    answers.push(Err(error));
                    continue;
                }
            }
            answers.push(Err(ErrorCode::UnknownServerError));
        }
    }
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(CATCH_UP_MAX);
    catch_up(&work, patience).await;
    let delete_all = move || {
        work.into_iter()
            .map(|(at, log, offset)| (at, delete(&log, offset)))
            .collect::<Vec<_>>()
    };
    // When the task itself fails, the answers stay at "unknown".
    for (at, deleted) in blocking(delete_all).await.unwrap_or_default() {
        answers[at] = deleted;
    }
    respond(&request, answers)
}

fn find(ctx: &RequestContext, name: &TopicName, partition: i32) -> Result<Arc<Log>, ErrorCode> {
    if !ctx.authorize(Operation::Delete, &Resource::Topic(name)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let topic = ctx.broker.partitions.topic(name);
    let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let log = topic.log(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !topic.settings.log.delete_policy {
        return Err(ErrorCode::PolicyViolation);
    }
    Ok(Arc::clone(log))
}

/// Whether `offset` is meant to reach into records that are not durable yet.
fn is_ahead(offset: i64, offsets: &LogOffsets) -> bool {
    let asked = if offset == HIGH_WATERMARK {
        offsets.log_end
    } else {
        Offset(offset)
    };
    asked > offsets.high_watermark && asked <= offsets.log_end
}

async fn catch_up(work: &[(usize, Arc<Log>, i64)], patience: Duration) {
    let behind: Vec<_> = work
        .iter()
        .map(|(_, log, offset)| (log, *offset, log.offsets()))
        .filter(|(_, offset, offsets)| is_ahead(*offset, offsets))
        .collect();
    behind.iter().for_each(|(log, ..)| log.request_flush());
    let all = async {
        for (log, _, offsets) in &behind {
            // A log that cannot be written answers with the end that it has.
            let _ = log.wait(Acks::Durable, offsets.log_end).await;
        }
    };
    if !behind.is_empty() && tokio::time::timeout(patience, all).await.is_err() {
        tracing::debug!("the disk is slow: records were deleted without what is still being written");
    }
}

fn delete(log: &Log, offset: i64) -> Deleted {
    let offsets = log.offsets();
    if offset != HIGH_WATERMARK && is_ahead(offset, &offsets) {
        return Err(ErrorCode::RequestTimedOut);
    }
    let before = match offset {
        HIGH_WATERMARK => offsets.high_watermark,
        negative if negative < 0 => return Err(ErrorCode::OffsetOutOfRange),
        offset => Offset(offset),
    };
    log.delete_records(before)
        .map(|log_start| log_start.0)
        .map_err(|error| {
            if error.kind != ErrorKind::OffsetOutOfRange {
                tracing::error!(%error, "deleting records failed");
            }
            error_code(error.kind)
        })
}

fn respond(request: &DeleteRecordsRequest, answers: Vec<Deleted>) -> DeleteRecordsResponse {
    let mut answers = answers.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut answers).map(|(partition, answer)| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_low_watermark(answer.unwrap_or(NO_LOW_WATERMARK))
                .with_error_code(answer.err().map_or(0, ErrorCode::code))
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_is_waited_for() {
        // contract 67
        let offsets = LogOffsets {
            log_start: Offset(0),
            last_stable_offset: Offset(5),
            high_watermark: Offset(5),
            written_end: Offset(8),
            log_end: Offset(8),
        };
        for (offset, ahead) in [
            (-1, true),
            (0, false),
            (5, false),
            (6, true),
            (8, true),
            (9, false),
            (-2, false),
        ] {
            assert_eq!(is_ahead(offset, &offsets), ahead, "{offset}");
        }
        let durable = LogOffsets {
            high_watermark: Offset(8),
            ..offsets
        };
        assert!(!is_ahead(-1, &durable));
    }
}
