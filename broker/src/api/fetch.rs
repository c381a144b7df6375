//! Fetch (1), versions 4–18: records, by partition and offset, now or when there are enough (contract 45–57).
//!
//! Stage one takes the request into its session, so that sessions see requests in order; stage two reads, waits and
//! answers. Records leave as segments of memory and files, never copied. Departures from Kafka: followers are served as
//! consumers are, since brokers do not replicate from each other here.

use super::fetch_read::{PartitionRead, Plan, Reading, read};
use crate::context::RequestContext;
use crate::delayed_fetch::{Parked, Wanted};
use crate::dispatch::{CloseReason, Outcome, Staged, ready};
use crate::fetch_session::{
    FINAL_EPOCH, FetchContext, FetchParams, NO_SESSION, PartitionFetch, SessionError, SessionRequest,
};
use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use protocol::ErrorCode;
use protocol::fetch::{FetchResponse, FetchableTopicResponse, PartitionData, Piece, Records};
use protocol::shape::decode_request;
use protocol::types::{LeaderIdAndEpoch, NodeEndpoint, Offset, Topic};
use std::sync::Arc;
use std::time::Duration;
use storage::RecordSlice;
use tokio::time::Instant;

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
const READ_COMMITTED: i8 = 1;

/// Stage one.
pub async fn handle(ctx: RequestContext, body: Bytes) -> Result<Staged, CloseReason> {
    let request: FetchRequest =
        decode_request(ctx.api_version, body).map_err(|error| CloseReason::malformed(&ctx, error))?;
    let wait = Wait {
        deadline: Instant::from_std(ctx.broker.clock.instant())
            + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        now: request.max_wait_ms <= 0 || request.min_bytes <= 0,
    };
    let read_committed = request.isolation_level == READ_COMMITTED;
    let max_bytes = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(ctx.broker.config.fetch_max_bytes);
    let session = session_request(request, ctx.api_version);
    match ctx.broker.fetch_sessions.begin(session, ctx.now_ms) {
        Ok(mut context) => {
            let partitions = std::mem::take(&mut context.partitions);
            let plan = Arc::new(Plan {
                ctx,
                partitions,
                max_bytes,
            });
            Ok(Box::pin(stage_two(plan, context, wait, read_committed)))
        }
        Err(error) => Ok(ready(refuse(&ctx, error))),
    }
}

/// Until when to wait, for what.
#[derive(Clone, Copy)]
struct Wait {
    deadline: Instant,
    min_bytes: usize,
    /// Not at all.
    now: bool,
}

/// The part of a request that sessions care for. Copies names: the request's strings pin its whole frame.
fn session_request(request: FetchRequest, version: i16) -> SessionRequest {
    let uses_topic_ids = version >= TOPIC_IDS;
    let topic_of = |name: &str, id: &uuid::Uuid| {
        if uses_topic_ids {
            Topic::Id(super::topic_id_of(id))
        } else {
            Topic::Name(Arc::from(name))
        }
    };
    let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut partitions = Vec::with_capacity(count);
    for topic in &request.topics {
        let name = topic_of(&topic.topic, &topic.topic_id);
        partitions.extend(topic.partitions.iter().map(|partition| PartitionFetch {
            topic: name.clone(),
            partition: partition.partition,
            params: FetchParams {
                fetch_offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            },
            known_name: None,
        }));
    }
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let name = topic_of(&topic.topic, &topic.topic_id);
        topic.partitions.iter().map(move |partition| (name.clone(), *partition))
    });
    SessionRequest {
        session_id: if version >= 7 { request.session_id } else { NO_SESSION },
        session_epoch: if version >= 7 {
            request.session_epoch
        } else {
            FINAL_EPOCH
        },
        uses_topic_ids,
        forgotten: forgotten.collect(),
        partitions,
    }
}

async fn stage_two(plan: Arc<Plan>, context: FetchContext, wait: Wait, read_committed: bool) -> Outcome {
    let mut reading = read(&plan).await;
    if !wait.now && !plan.partitions.is_empty() && !is_enough(&plan, &reading, wait.min_bytes) {
        reading = park(&plan, reading, wait).await;
    }
    respond(&plan, &context, reading, read_committed)
}

/// Whether to answer now. What a budget kept back counts as there: a client whose `min_bytes` is above what its budgets let
/// through must not wait for each reply while records lie ready (contract 45).
fn is_enough(plan: &Plan, reading: &Reading, min_bytes: usize) -> bool {
    if reading.urgent || reading.bytes >= min_bytes {
        return true;
    }
    reading.bytes > 0 && {
        let there = wanted(plan, reading).into_iter().map(|wanted| {
            wanted
                .log
                .bytes_available(wanted.offset, wanted.max_bytes)
                .min(wanted.max_bytes)
        });
        there.fold(0, usize::saturating_add) >= min_bytes
    }
}

/// Waits for more, reads again when there is; at the deadline, or when the broker stops, gives what there is.
async fn park(plan: &Arc<Plan>, reading: Reading, wait: Wait) -> Reading {
    let stopping = plan.ctx.broker.stopping();
    let timeout = tokio::time::sleep_until(wait.deadline);
    tokio::pin!(stopping, timeout);
    let mut parked = Parked::new(wanted(plan, &reading));
    // What was read is read again later; meanwhile it shall not keep memory and files from being freed.
    drop(reading);
    loop {
        tokio::select! {
            biased;
            () = parked.wait(wait.min_bytes) => {}
            () = &mut timeout => break,
            () = &mut stopping => break,
        }
        let reading = read(plan).await;
        if is_enough(plan, &reading, wait.min_bytes) {
            return reading;
        }
    }
    // Too little is better than nothing: the client has waited for it.
    read(plan).await
}

fn wanted(plan: &Plan, reading: &Reading) -> Vec<Wanted<storage::Log>> {
    let both = plan.partitions.iter().zip(&reading.partitions);
    both.filter_map(|(fetch, read)| {
        let (_, log) = read.found.as_ref()?;
        Some(Wanted {
            log: Arc::clone(log),
            offset: Offset(fetch.params.fetch_offset),
            max_bytes: usize::try_from(fetch.params.max_bytes).unwrap_or(0).max(1),
            read_to: read.offsets?.high_watermark,
        })
    })
    .collect()
}

fn respond(plan: &Plan, context: &FetchContext, reading: Reading, read_committed: bool) -> Outcome {
    let ctx = &plan.ctx;
    let broker = &ctx.broker;
    let outcomes: Vec<_> = reading.partitions.iter().map(PartitionRead::outcome).collect();
    let finished = match broker
        .fetch_sessions
        .finish(context, &plan.partitions, &outcomes, ctx.now_ms)
    {
        Ok(finished) => finished,
        Err(error) => return refuse(ctx, error),
    };
    let mut response = FetchResponse::empty(ErrorCode::None, finished.session_id, 0);
    let mut wrong_leader = false;
    for ((fetch, read), listed) in plan.partitions.iter().zip(reading.partitions).zip(finished.listed) {
        if !listed {
            continue;
        }
        count(ctx, &read);
        let partition = partition_data(plan, fetch.partition, read, read_committed);
        wrong_leader |= partition.current_leader.is_some();
        match response.topics.last_mut() {
            Some(last) if last.topic == fetch.topic => last.partitions.push(partition),
            _ => {
                let topic = FetchableTopicResponse {
                    topic: fetch.topic.clone(),
                    partitions: vec![partition],
                };
                response.topics.push(topic);
            }
        }
    }
    if wrong_leader {
        response.node_endpoints.push(endpoint(ctx));
    }
    encode(ctx, response)
}

fn partition_data(plan: &Plan, index: i32, read: PartitionRead, read_committed: bool) -> PartitionData<RecordSlice> {
    let ctx = &plan.ctx;
    let mut data = PartitionData::error(index, read.error.unwrap_or(ErrorCode::None));
    if matches!(
        data.error,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    ) {
        let leader_epoch = ctx.broker.engine.leader_epoch();
        data.current_leader = Some(LeaderIdAndEpoch {
            leader_id: ctx.broker.node_id,
            leader_epoch,
        });
    }
    if let Some(ends) = read.offsets {
        data.high_watermark = ends.high_watermark;
        data.last_stable_offset = ends.last_stable_offset;
        data.log_start_offset = ends.log_start;
        data.aborted_transactions = read_committed.then(Vec::new);
    }
    data.diverging_epoch = read.diverging;
    data.records = Records {
        segments: read.records.slices,
        bytes: read.records.bytes,
    };
    data
}

fn count(ctx: &RequestContext, read: &PartitionRead) {
    match (&read.error, &read.found) {
        (Some(error), _) => ctx.count_error(error.code()),
        (None, Some((topic, _))) if read.records.bytes > 0 => {
            topic
                .metrics(&ctx.broker.metrics)
                .bytes_out
                .increment(read.records.bytes as u64);
        }
        _ => {}
    }
}

/// This broker, as clients are told to reach it.
pub(super) fn endpoint(ctx: &RequestContext) -> NodeEndpoint {
    NodeEndpoint {
        node_id: ctx.broker.node_id,
        host: ctx.listener.advertised_host.clone(),
        port: i32::from(ctx.listener.advertised_port),
        rack: None,
    }
}

fn refuse(ctx: &RequestContext, error: SessionError) -> Outcome {
    let code = match error {
        SessionError::IdNotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicIdMixed => ErrorCode::FetchSessionTopicIdError,
    };
    ctx.count_error(code.code());
    encode(ctx, FetchResponse::empty(code, NO_SESSION, 0))
}

fn encode(ctx: &RequestContext, response: FetchResponse<RecordSlice>) -> Outcome {
    match response.into_frame(ctx.api_version, ctx.correlation_id) {
        Ok(frame) => {
            let pieces = frame.pieces.into_iter().map(|piece| match piece {
                Piece::Bytes(bytes) => RecordSlice::Mem(bytes),
                Piece::Records(slice) => slice,
            });
            Outcome::Reply(pieces.collect())
        }
        Err(error) => Outcome::Close(CloseReason::Encode(error.to_string())),
    }
}
