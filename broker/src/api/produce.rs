//! Produce (0), versions 3–13, advertised from 0 (contract 15, 24–44).
//!
//! Stage one appends to every partition, which fixes the order; stage two waits until the promise of the acks holds and
//! answers. Versions below 3 are refused with UNSUPPORTED_VERSION(35) on every partition; where there is none to say it on,
//! the connection closes.
//!
//! Departures from Kafka: acks=1 answers after the write to the journal or segment, acks=all after it is durable
//! (contract 26); `min.insync.replicas` never refuses.

use super::fetch::endpoint;
use super::produce_append::{Placed, append_all, is_heavy, leader_for, log_storage_error};
use crate::context::RequestContext;
use crate::dispatch::{CloseReason, Outcome, Piece, Staged, ready};
use crate::errors::error_code;
use bytes::Bytes;
use protocol::ErrorCode;
use protocol::api::ApiKey;
use protocol::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, decode_produce_request};
use protocol::shape::DECODE_MEMORY_LIMIT;
use std::borrow::Cow;
use std::time::Duration;
use storage::Acks;
use tokio::time::Instant;

/// Stage one.
pub async fn handle(ctx: RequestContext, body: Bytes) -> Result<Staged, CloseReason> {
    let request = decode(&ctx, &body)?;
    let acks = match check(&ctx, &request) {
        Ok(acks) => acks,
        Err(error) => return refuse_all(&ctx, &request, error),
    };
    let deadline = Instant::from_std(ctx.broker.clock.instant())
        + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let bytes = request
        .partitions
        .iter()
        .map(|partition| partition.records.map_or(0, <[u8]>::len))
        .sum();
    let heavy = is_heavy(&ctx, &request);
    ctx.broker.engine.admit(bytes).await;
    let placed = if heavy {
        drop(request);
        append_elsewhere(&ctx, body, acks).await?
    } else {
        append_all(&ctx, &request, acks)
    };
    if acks == Acks::None {
        return Ok(ready(silence(placed)));
    }
    Ok(Box::pin(stage_two(ctx, placed, acks, deadline)))
}

fn decode<'a>(ctx: &RequestContext, body: &'a [u8]) -> Result<ProduceRequest<'a>, CloseReason> {
    decode_produce_request(ctx.api_version, body, DECODE_MEMORY_LIMIT)
        .map_err(|error| CloseReason::malformed(ctx, error))
}

/// What concerns the request as a whole.
fn check(ctx: &RequestContext, request: &ProduceRequest<'_>) -> Result<Acks, ErrorCode> {
    if !ApiKey::Produce.api().serves(ctx.api_version) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    acks_of(request.acks).ok_or(ErrorCode::InvalidRequiredAcks)
}

/// The three that exist (contract 24).
fn acks_of(acks: i16) -> Option<Acks> {
    match acks {
        -1 => Some(Acks::Durable),
        0 => Some(Acks::None),
        1 => Some(Acks::Written),
        _ => None,
    }
}

fn refuse_all(ctx: &RequestContext, request: &ProduceRequest<'_>, error: ErrorCode) -> Result<Staged, CloseReason> {
    ctx.count_error(error.code());
    if error == ErrorCode::UnsupportedVersion && request.partitions.is_empty() {
        return Err(CloseReason::Unsupported {
            api_key: ctx.api_key,
            api_version: ctx.api_version,
        });
    }
    if request.acks == 0 {
        return Err(CloseReason::AcksZeroFailed(error.message().to_owned()));
    }
    let partitions = request
        .partitions
        .iter()
        .map(|partition| PartitionProduceResponse::error(partition.topic.to_topic(), partition.index, error, None));
    Ok(ready(respond(ctx, partitions.collect())))
}

/// Appends on a thread that may take its time; the connection waits, since the order must be fixed.
async fn append_elsewhere(ctx: &RequestContext, body: Bytes, acks: Acks) -> Result<Placed, CloseReason> {
    let ctx = ctx.clone();
    let work = move || decode(&ctx, &body).map(|request| append_all(&ctx, &request, acks));
    super::blocking(work).await.unwrap_or_else(|_| {
        // What was appended before the mistake is unknown: a reply would be a guess.
        Err(CloseReason::Encode("checking a batch ended badly".to_owned()))
    })
}

/// acks=0: no bytes, ever; a failure closes the connection, which is the only way to tell (contract 25).
fn silence(placed: Placed) -> Outcome {
    match placed
        .answers
        .into_iter()
        .find(|answer| answer.error != ErrorCode::None)
    {
        None => Outcome::Silence,
        Some(failed) => {
            let text = failed.error_message.unwrap_or(Cow::Borrowed(failed.error.message()));
            Outcome::Close(CloseReason::AcksZeroFailed(text.into_owned()))
        }
    }
}

async fn stage_two(ctx: RequestContext, placed: Placed, acks: Acks, deadline: Instant) -> Outcome {
    let Placed { mut answers, waits } = placed;
    for wait in waits {
        let promise = wait.log.wait(acks, wait.end_offset);
        // acks=1 has no timeout in Kafka: clients send 0 there. A promise that holds is seen before the deadline is.
        let failed = if acks == Acks::Durable {
            match tokio::time::timeout_at(deadline, promise).await {
                Ok(result) => result.err(),
                Err(_) => {
                    fail(&ctx, &mut answers, wait.at, ErrorCode::RequestTimedOut, None);
                    continue;
                }
            }
        } else {
            promise.await.err()
        };
        if let Some(error) = failed {
            log_storage_error(&ctx, &error);
            fail(
                &ctx,
                &mut answers,
                wait.at,
                error_code(error.kind),
                Some(Cow::Owned(error.message)),
            );
        }
    }
    respond(&ctx, answers)
}

/// Turns the answer of an append into that of a failure. After a timeout the records stay (contract 27).
fn fail(
    ctx: &RequestContext,
    answers: &mut [PartitionProduceResponse],
    at: usize,
    error: ErrorCode,
    message: Option<Cow<'static, str>>,
) {
    ctx.count_error(error.code());
    if let Some(answer) = answers.get_mut(at) {
        *answer = PartitionProduceResponse {
            current_leader: leader_for(ctx, error),
            ..PartitionProduceResponse::error(answer.topic.clone(), answer.index, error, message)
        };
    }
}

fn respond(ctx: &RequestContext, partitions: Vec<PartitionProduceResponse>) -> Outcome {
    let wrong_leader = partitions.iter().any(|partition| partition.current_leader.is_some());
    let node_endpoints = if wrong_leader { vec![endpoint(ctx)] } else { Vec::new() };
    let response = ProduceResponse {
        partitions,
        throttle_time_ms: 0,
        node_endpoints,
    };
    match response.encode(ctx.api_version, ctx.correlation_id) {
        Ok(frame) => Outcome::Reply(vec![Piece::Mem(frame)]),
        Err(error) => Outcome::Close(CloseReason::Encode(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::types::{Offset, Topic};
    use std::sync::Arc;

    #[test]
    fn three_acks_exist() {
        // contract 24
        assert_eq!(acks_of(-1), Some(Acks::Durable));
        assert_eq!(acks_of(0), Some(Acks::None));
        assert_eq!(acks_of(1), Some(Acks::Written));
        for acks in [-2, 2, i16::MIN, i16::MAX] {
            assert_eq!(acks_of(acks), None);
        }
    }

    #[test]
    fn acks_zero_says_nothing_or_closes() {
        // contract 25
        let topic = Topic::Name(Arc::from("t"));
        let ok = PartitionProduceResponse::ok(topic.clone(), 0, Offset(3), Offset(0));
        let silent = silence(Placed {
            answers: vec![ok.clone()],
            waits: Vec::new(),
        });
        assert!(matches!(silent, Outcome::Silence));
        let bad = PartitionProduceResponse::error(topic, 1, ErrorCode::CorruptMessage, None);
        let closed = silence(Placed {
            answers: vec![ok, bad],
            waits: Vec::new(),
        });
        assert!(matches!(closed, Outcome::Close(CloseReason::AcksZeroFailed(_))));
    }
}
