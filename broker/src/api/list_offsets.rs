//! ListOffsets (2), versions 1–10: offsets at an end of a log or at a time (contract 58–60).
//!
//! Versions 11 and above wait for the codec; −6 (earliest pending upload) came with version 11 and is refused below it.

use super::{blocking, check_leader_epoch, visible_end};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::error_code;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};
use protocol::ErrorCode;
use protocol::types::Offset;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{Acks, Log, TimestampOffset};

/// How long an answer waits for the disk at most; then it tells the end as it is.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// What a timestamp asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Latest,
    Earliest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    At(i64),
}

impl Target {
    /// Reads a timestamp field; the special ones exist from a version on (contract 58).
    fn new(timestamp: i64, version: i16) -> Result<Target, ErrorCode> {
        match timestamp {
            -1 => Ok(Target::Latest),
            -2 => Ok(Target::Earliest),
            -3 if version >= 7 => Ok(Target::MaxTimestamp),
            -4 if version >= 8 => Ok(Target::EarliestLocal),
            -5 if version >= 9 => Ok(Target::LatestTiered),
            time if time >= 0 => Ok(Target::At(time)),
            _ => Err(ErrorCode::UnsupportedVersion),
        }
    }
}

/// An answer: −1 where there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    timestamp: i64,
    offset: i64,
    leader_epoch: i32,
}

impl Found {
    const NOTHING: Found = Found {
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
    };

    /// An offset without a time.
    fn at(log: &Log, offset: Offset) -> Found {
        Found {
            timestamp: -1,
            offset: offset.0,
            leader_epoch: log.epoch_of(offset).unwrap_or(-1),
        }
    }

    /// A record, if there is one and the client may see it.
    fn record(found: Option<TimestampOffset>, end: Offset) -> Found {
        match found {
            Some(found) if found.offset < end => Found {
                timestamp: found.timestamp,
                offset: found.offset.0,
                leader_epoch: found.leader_epoch,
            },
            _ => Found::NOTHING,
        }
    }
}

/// Answers.
pub async fn handle(ctx: &RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation_level = request.isolation_level;
    let mut times: HashMap<(TopicName, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times
                .entry((topic.name.clone(), partition.partition_index))
                .or_default() += 1;
        }
    }
    let mut found = Vec::with_capacity(times.len());
    for topic in &request.topics {
        for partition in &topic.partitions {
            let twice = times
                .get(&(topic.name.clone(), partition.partition_index))
                .is_some_and(|times| *times > 1);
            found.push(match twice {
                true => Err(ErrorCode::InvalidRequest),
                false => find(ctx, &topic.name, partition),
            });
        }
    }
    catch_up(found.iter().flatten()).await;
    // Look-ups that read the disk, with their places in `answers`; done together on one thread that may wait.
    let mut searches: Vec<(usize, Arc<Log>, Target)> = Vec::new();
    let mut answers = Vec::with_capacity(found.len());
    for found in found {
        answers.push(found.map(|(log, target)| {
            look_up(&log, target, isolation_level).unwrap_or_else(|| {
                searches.push((answers.len(), log, target));
                Found::NOTHING
            })
        }));
    }
    if !searches.is_empty() {
        let places: Vec<usize> = searches.iter().map(|(at, ..)| *at).collect();
        let search_all = move || {
            searches
                .iter()
                .map(|(_, log, target)| search(log, *target, isolation_level))
                .collect::<Vec<_>>()
        };
        match blocking(search_all).await {
            Ok(found) => places
                .into_iter()
                .zip(found)
                .for_each(|(at, found)| answers[at] = found),
            Err(error) => places.into_iter().for_each(|at| answers[at] = Err(error.code)),
        }
    }
    respond(ctx.api_version, request, answers)
}

/// Lets the high watermark catch up with what is written. Who produced with acks=1 and asks for the end expects to find it
/// behind the records, and only durable records are before it: asking is a reason to flush, as waiting in a fetch is.
async fn catch_up(asked: impl Iterator<Item = &(Arc<Log>, Target)>) {
    let behind: Vec<_> = asked
        .filter(|(_, target)| !matches!(target, Target::Earliest | Target::EarliestLocal | Target::LatestTiered))
        .map(|(log, _)| (log, log.offsets()))
        .filter(|(_, offsets)| offsets.high_watermark < offsets.log_end)
        .collect();
    behind.iter().for_each(|(log, _)| log.request_flush());
    let all = async {
        for (log, offsets) in &behind {
            // A log that cannot be written answers with the end that it has.
            let _ = log.wait(Acks::Durable, offsets.log_end).await;
        }
    };
    if !behind.is_empty() && tokio::time::timeout(CATCH_UP_MAX, all).await.is_err() {
        tracing::debug!("the disk is slow: offsets were listed without what is still being written");
    }
}

fn respond(version: i16, request: ListOffsetsRequest, answers: Vec<Result<Found, ErrorCode>>) -> ListOffsetsResponse {
    let mut answers = answers.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut answers).map(|(partition, answer)| {
            let found = answer.unwrap_or(Found::NOTHING);
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(answer.err().map_or(0, ErrorCode::code))
                .with_timestamp(found.timestamp)
                .with_offset(found.offset)
                // The field came with version 4.
                .with_leader_epoch(if version >= 4 { found.leader_epoch } else { -1 })
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    ctx: &RequestContext,
    topic: &TopicName,
    partition: &ListOffsetsPartition,
) -> Result<(Arc<Log>, Target), ErrorCode> {
    if !ctx.authorize(Operation::Describe, &Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let topic = ctx
        .broker
        .partitions
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let log = topic
        .log(partition.partition_index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if ctx.api_version >= 4 {
        check_leader_epoch(partition.current_leader_epoch, ctx.broker.engine.leader_epoch())?;
    }
    if log.is_damaged() {
        // Its end is not where it was: an answer would send consumers back.
        return Err(ErrorCode::KafkaStorageError);
    }
    Ok((Arc::clone(log), Target::new(partition.timestamp, ctx.api_version)?))
}

/// What needs no disk; `None` for the rest.
fn look_up(log: &Log, target: Target, isolation_level: i8) -> Option<Found> {
    let offsets = log.offsets();
    match target {
        Target::Latest => Some(Found::at(log, visible_end(isolation_level, &offsets))),
        // All of a log is local until there is tiering.
        Target::Earliest | Target::EarliestLocal => Some(Found::at(log, offsets.log_start)),
        Target::LatestTiered => Some(Found::NOTHING),
        Target::MaxTimestamp | Target::At(_) => None,
    }
}

/// What needs the disk.
fn search(log: &Log, target: Target, isolation_level: i8) -> Result<Found, ErrorCode> {
    let found = match target {
        Target::At(time) => log.find_by_timestamp(time),
        _ => log.max_timestamp(),
    };
    let end = visible_end(isolation_level, &log.offsets());
    found.map(|found| Found::record(found, end)).map_err(|error| {
        tracing::error!(%error, "looking up an offset by time failed");
        error_code(error.kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn special_timestamps_exist_from_a_version_on() {
        // contract 58
        for (timestamp, since, target) in [
            (-1, 1, Target::Latest),
            (-2, 1, Target::Earliest),
            (-3, 7, Target::MaxTimestamp),
            (-4, 8, Target::EarliestLocal),
            (-5, 9, Target::LatestTiered),
            (0, 1, Target::At(0)),
            (i64::MAX, 1, Target::At(i64::MAX)),
        ] {
            assert_eq!(Target::new(timestamp, since), Ok(target));
            assert_eq!(Target::new(timestamp, 10), Ok(target));
            if since > 1 {
                assert_eq!(Target::new(timestamp, since - 1), Err(ErrorCode::UnsupportedVersion));
            }
        }
        for timestamp in [-6, -7, i64::MIN] {
            assert_eq!(Target::new(timestamp, 10), Err(ErrorCode::UnsupportedVersion));
        }
    }

    #[test]
    fn records_at_or_past_the_visible_end_are_not_found() {
        // contract 59
        let record = TimestampOffset {
            timestamp: 7,
            offset: Offset(5),
            leader_epoch: 2,
        };
        assert_eq!(Found::record(Some(record), Offset(5)), Found::NOTHING);
        assert_eq!(Found::record(None, Offset(5)), Found::NOTHING);
        let found = Found {
            timestamp: 7,
            offset: 5,
            leader_epoch: 2,
        };
        assert_eq!(Found::record(Some(record), Offset(6)), found);
    }

    #[test]
    fn every_version_encodes() {
        // contract 60
        for version in 1..=10 {
            let request = ListOffsetsRequest::default().with_topics(vec![
                ListOffsetsTopic::default().with_partitions(vec![Default::default(); 2]),
            ]);
            let found = Found {
                timestamp: 7,
                offset: 5,
                leader_epoch: 2,
            };
            let response = respond(version, request, vec![Ok(found), Err(ErrorCode::InvalidRequest)]);
            response.encode(&mut BytesMut::new(), version).expect("encodes");
            let partitions = &response.topics[0].partitions;
            assert_eq!(partitions[0].leader_epoch, if version >= 4 { 2 } else { -1 });
            assert_eq!((partitions[1].error_code, partitions[1].offset), (42, -1));
        }
    }
}
