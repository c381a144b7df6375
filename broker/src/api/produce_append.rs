//! Stage one of a produce: each partition's batch is checked and takes its place in its log, in the order of the request
//! (contract 28–44). Does not wait for the disk; what it cannot append, it answers at once.

use crate::config::RecordValidation;
use crate::config::topic::{TopicCompression, TopicSettings};
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::error_code;
use crate::partitions::{Topic, is_internal};
use protocol::ErrorCode;
use protocol::batch::BatchHeader;
use protocol::compression::{Compression, DecompressLimits};
use protocol::produce::{PartitionProduceData, PartitionProduceResponse, ProduceRequest};
use protocol::types::{LeaderIdAndEpoch, Offset, Topic as TopicName, TopicRef};
use protocol::validate::{self, BatchRules, CompressionType, InvalidBatch, TimestampType, validate_batch};
use std::borrow::Cow;
use std::sync::Arc;
use storage::{Acks, AppendBatch, Log};

/// Above so many bytes, batches that have to be decompressed are handled on a thread of their own.
const HEAVY_BYTES: usize = 16 << 10;

/// What stage one did.
#[derive(Default)]
pub(super) struct Placed {
    /// One a partition, in the order of the request; those that were appended hold if their waits succeed.
    pub(super) answers: Vec<PartitionProduceResponse>,
    /// Answers that have to wait for the promise of their acks.
    pub(super) waits: Vec<PlacedWait>,
}

/// An append whose promise may not hold yet.
pub(super) struct PlacedWait {
    /// Its place in the answers.
    pub(super) at: usize,
    /// Its log.
    pub(super) log: Arc<Log>,
    /// Everything below has to have reached the acks; the original's end for a duplicate (contract 39).
    pub(super) end_offset: Offset,
}

/// A partition that was refused.
struct Refusal {
    error: ErrorCode,
    message: Option<Cow<'static, str>>,
    record_errors: Vec<protocol::produce::RecordError>,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Refusal {
        Refusal {
            error,
            message: None,
            record_errors: Vec::new(),
        }
    }
}

impl From<InvalidBatch> for Refusal {
    fn from(invalid: InvalidBatch) -> Refusal {
        Refusal {
            error: invalid.error,
            message: Some(invalid.message),
            record_errors: invalid.record_errors,
        }
    }
}

/// Appends every partition of a request. `acks` is one of the three valid ones.
pub(super) fn append_all(ctx: &RequestContext, request: &ProduceRequest<'_>, acks: Acks) -> Placed {
    let mut placed = Placed {
        answers: Vec::with_capacity(request.partitions.len()),
        waits: Vec::with_capacity(request.partitions.len()),
    };
    let mut last: Option<(TopicRef<'_>, TopicName, Result<Arc<Topic>, ErrorCode>)> = None;
    for partition in &request.partitions {
        // The partitions of a topic lie side by side: it is looked up once.
        let (name, topic) = match last.take().filter(|(asked, ..)| *asked == partition.topic) {
            Some((_, name, topic)) => (name, topic),
            None => (partition.topic.to_topic(), find_topic(ctx, &partition.topic)),
        };
        let result = topic
            .clone()
            .map_err(Refusal::from)
            .and_then(|topic| append(ctx, &topic, partition, acks));
        placed.answers.push(match result {
            Ok((appended, log)) => {
                placed.waits.push(PlacedWait {
                    at: placed.answers.len(),
                    log,
                    end_offset: appended.end_offset,
                });
                PartitionProduceResponse {
                    log_append_time_ms: appended.log_append_time_ms,
                    ..PartitionProduceResponse::ok(
                        name.clone(),
                        partition.index,
                        appended.base_offset,
                        appended.log_start_offset,
                    )
                }
            }
            Err(refusal) => refused(ctx, name.clone(), partition.index, refusal),
        });
        last = Some((partition.topic, name, topic));
    }
    placed
}

fn refused(ctx: &RequestContext, topic: TopicName, index: i32, refusal: Refusal) -> PartitionProduceResponse {
    ctx.count_error(refusal.error.code());
    let answer = PartitionProduceResponse::error(topic, index, refusal.error, refusal.message);
    PartitionProduceResponse {
        record_errors: refusal.record_errors,
        current_leader: leader_for(ctx, refusal.error),
        ..answer
    }
}

/// Where to go instead, for the error that asks it (contract 36).
pub(super) fn leader_for(ctx: &RequestContext, error: ErrorCode) -> Option<LeaderIdAndEpoch> {
    (error == ErrorCode::NotLeaderOrFollower).then(|| LeaderIdAndEpoch {
        leader_id: ctx.broker.node_id,
        leader_epoch: ctx.broker.engine.leader_epoch(),
    })
}

fn find_topic(ctx: &RequestContext, topic: &TopicRef<'_>) -> Result<Arc<Topic>, ErrorCode> {
    let manager = &ctx.broker.partitions;
    // Before looking: whether a topic exists is nobody's business who may not write to it.
    let check = |name: &str| match (
        ctx.authorize(Operation::Write, &Resource::Topic(name)),
        is_internal(name),
    ) {
        (false, _) => Err(ErrorCode::TopicAuthorizationFailed),
        (true, true) => Err(ErrorCode::InvalidTopicException),
        (true, false) => Ok(()),
    };
    match topic {
        TopicRef::Name(name) => {
            check(name)?;
            manager.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
        TopicRef::Id(id) => {
            let found = manager.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?;
            check(&found.name)?;
            Ok(found)
        }
    }
}

fn append(
    ctx: &RequestContext,
    topic: &Topic,
    partition: &PartitionProduceData<'_>,
    acks: Acks,
) -> Result<(storage::Appended, Arc<Log>), Refusal> {
    let log = topic.log(partition.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let rules = rules(ctx, &topic.settings);
    let batch = validate_batch(partition.records, ctx.api_version, &rules, ctx.now_ms)?;
    check_transactional(&batch.header, ctx.api_version)?;
    let append = AppendBatch {
        bytes: &batch.bytes,
        header: &batch.header,
        acks,
        now_ms: ctx.now_ms,
    };
    let appended = log.append(&append).map_err(|error| storage_refusal(ctx, &error))?;
    if !appended.duplicate {
        let metrics = topic.metrics(&ctx.broker.metrics);
        metrics.bytes_in.increment(batch.bytes.len() as u64);
        metrics
            .records_in
            .increment(u64::try_from(batch.header.record_count).unwrap_or(0));
    }
    Ok((appended, Arc::clone(log)))
}

/// There is no transaction coordinator, so that no transaction is ever ongoing (contract 94).
fn check_transactional(header: &BatchHeader, version: i16) -> Result<(), ErrorCode> {
    match (header.is_transactional(), version) {
        (false, _) => Ok(()),
        (true, ..=10) => Err(ErrorCode::InvalidTxnState),
        (true, _) => Err(ErrorCode::TransactionAbortable),
    }
}

fn storage_refusal(ctx: &RequestContext, error: &storage::Error) -> Refusal {
    log_storage_error(ctx, error);
    Refusal {
        error: error_code(error.kind),
        message: Some(Cow::Owned(error.message.clone())),
        record_errors: Vec::new(),
    }
}

/// Says what went wrong with the disk, a few times a period; what clients do wrong is theirs to log.
pub(super) fn log_storage_error(ctx: &RequestContext, error: &storage::Error) {
    let code = error_code(error.kind);
    if code == ErrorCode::KafkaStorageError && ctx.broker.fault_lines.pass(ctx.broker.clock.instant()).is_some() {
        tracing::error!(%error, "a produce failed");
    }
}

/// The settings of a topic as the validation of batches takes them.
fn rules(ctx: &RequestContext, settings: &TopicSettings) -> BatchRules {
    let config = &ctx.broker.config;
    BatchRules {
        max_message_bytes: settings.max_message_bytes,
        segment_bytes: usize::try_from(settings.log.segment_bytes).unwrap_or(usize::MAX),
        timestamp_type: if settings.log_append_time {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        timestamp_before_max_ms: settings.timestamp_before_max_ms,
        timestamp_after_max_ms: settings.timestamp_after_max_ms,
        compacted: settings.compact,
        compression: compression(settings.compression),
        validation: match config.record_validation {
            RecordValidation::Header => validate::RecordValidation::Header,
            RecordValidation::Full => validate::RecordValidation::Full,
        },
        decompress: DecompressLimits {
            expanded_bytes_max: config.record_batch_decompressed_max_bytes,
            ..DecompressLimits::default()
        },
    }
}

fn compression(setting: TopicCompression) -> CompressionType {
    match setting {
        TopicCompression::Producer => CompressionType::Producer,
        TopicCompression::Codec { id, level } => match Compression::from_id(id) {
            // −1 is Kafka's word for gzip's own default.
            Some(Compression::Gzip) => CompressionType::Codec(Compression::Gzip, level.filter(|level| *level > 0)),
            Some(codec) => CompressionType::Codec(codec, level),
            None => CompressionType::Producer,
        },
    }
}

/// Whether checking the request may take so long that other connections would notice: large batches that are to be
/// decompressed, because a topic or the broker wants their records read or rewritten.
pub(super) fn is_heavy(ctx: &RequestContext, request: &ProduceRequest<'_>) -> bool {
    let bytes: usize = request
        .partitions
        .iter()
        .map(|partition| partition.records.map_or(0, <[u8]>::len))
        .sum();
    if bytes < HEAVY_BYTES {
        return false;
    }
    if ctx.broker.config.record_validation == RecordValidation::Full {
        return true;
    }
    let manager = &ctx.broker.partitions;
    let mut last: Option<TopicRef<'_>> = None;
    request.partitions.iter().any(|partition| {
        if last.replace(partition.topic) == Some(partition.topic) {
            return false;
        }
        let topic = match &partition.topic {
            TopicRef::Name(name) => manager.topic(name),
            TopicRef::Id(id) => manager.topic_by_id(*id),
        };
        topic.is_some_and(|topic| {
            let settings = &topic.settings;
            settings.compression != TopicCompression::Producer
                || settings.compact
                || settings.timestamp_before_max_ms != i64::MAX
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::records::BatchBuilder;

    #[test]
    fn transactional_batches_find_no_transaction() {
        // contract 94
        let header = |attributes| {
            let mut builder = BatchBuilder::new(0).producer(1, 0, 0).attributes(attributes);
            builder.push(0, None, Some(b"v"), &[]);
            BatchHeader::read(&builder.finish(Compression::None, None).expect("builds")).expect("a header")
        };
        assert_eq!(check_transactional(&header(0), 13), Ok(()));
        assert_eq!(check_transactional(&header(0x10), 10), Err(ErrorCode::InvalidTxnState));
        assert_eq!(
            check_transactional(&header(0x10), 11),
            Err(ErrorCode::TransactionAbortable)
        );
    }

    #[test]
    fn gzips_default_level_is_not_a_level() {
        // contract 33
        let gzip = |level| {
            compression(TopicCompression::Codec {
                id: 1,
                level: Some(level),
            })
        };
        assert_eq!(gzip(-1), CompressionType::Codec(Compression::Gzip, None));
        assert_eq!(gzip(9), CompressionType::Codec(Compression::Gzip, Some(9)));
        let zstd = compression(TopicCompression::Codec { id: 4, level: Some(-5) });
        assert_eq!(zstd, CompressionType::Codec(Compression::Zstd, Some(-5)));
    }
}
