//! What a produced batch must be, as a pure function (contract 28–34).
//!
//! [`validate_batch`] takes the records of one partition as a producer sent them and gives the batch to append, or the error
//! that the producer gets. It changes a batch only where the topic's config demands it: LogAppendTime, a `compression.type`
//! other than the producer's, a wrong `max_timestamp`. Sequences, ACLs and acks are others' checks.

#[cfg(test)]
mod tests;

use crate::batch::{self, BatchHeader, BatchHeaderError, HEADER_BYTES};
use crate::compression::{Compression, DecompressLimits};
use crate::error_code::ErrorCode;
use crate::produce::RecordError;
use crate::records::{self, RecordMeta, RecordsError};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// The `message.timestamp.type` of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's timestamps are kept.
    CreateTime,
    /// Every record has the time at which the broker appended it.
    LogAppendTime,
}

/// The `compression.type` of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent it.
    Producer,
    /// This codec, at this level; `None` is the codec's default.
    Codec(Compression, Option<i32>),
}

/// The config `record.validation`: how far compressed batches are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordValidation {
    /// CRC and header; records are read only where another setting needs them.
    Header,
    /// Every record's framing.
    Full,
}

/// The settings of a topic that decide about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRules {
    /// `max.message.bytes`: bytes of a whole batch.
    pub max_message_bytes: usize,
    /// `segment.bytes`.
    pub segment_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `i64::MAX` is no limit.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` is no limit.
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` contains `compact`: null keys are then refused.
    pub compacted: bool,
    /// `compression.type`.
    pub compression: CompressionType,
    /// `record.validation`.
    pub validation: RecordValidation,
    /// How far a batch may expand.
    pub decompress: DecompressLimits,
}

impl Default for BatchRules {
    /// Kafka's defaults for a topic.
    fn default() -> BatchRules {
        BatchRules {
            max_message_bytes: (1 << 20) + 12,
            segment_bytes: 1 << 30,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compacted: false,
            compression: CompressionType::Producer,
            validation: RecordValidation::Header,
            decompress: DecompressLimits::default(),
        }
    }
}

/// A batch that may be appended. Base offset and leader epoch are still the producer's: the log stamps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidBatch<'a> {
    /// The whole batch: the producer's bytes, or new ones where the topic's config demanded it.
    pub bytes: Cow<'a, [u8]>,
    /// The header of `bytes`.
    pub header: BatchHeader,
}

/// Records that a refused batch names: a few bytes may expand to millions of bad records, and the answer must not.
pub const RECORD_ERRORS_MAX: usize = 1000;

/// A batch that is refused, and what the producer is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {message}")]
pub struct InvalidBatch {
    /// The error.
    pub error: ErrorCode,
    /// A sentence for a human.
    pub message: Cow<'static, str>,
    /// The records at fault, if single ones are (contract 34): all of them, up to [`RECORD_ERRORS_MAX`].
    pub record_errors: Vec<RecordError>,
}

impl InvalidBatch {
    fn new(error: ErrorCode, message: impl Into<Cow<'static, str>>) -> InvalidBatch {
        InvalidBatch {
            error,
            message: message.into(),
            record_errors: Vec::new(),
        }
    }

    fn record(message: impl Into<Cow<'static, str>>) -> InvalidBatch {
        InvalidBatch::new(ErrorCode::InvalidRecord, message)
    }
}

impl From<RecordsError> for InvalidBatch {
    fn from(error: RecordsError) -> InvalidBatch {
        let code = match error {
            RecordsError::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
            _ => ErrorCode::InvalidRecord,
        };
        InvalidBatch::new(code, error.to_string())
    }
}

/// The error of a batch in a codec that the topic asked for and that we cannot write is not the producer's fault, but it must
/// hear of it: levels are checked when the topic is configured, so this is a mistake of ours.
fn recompression_failed(error: RecordsError) -> InvalidBatch {
    match error {
        RecordsError::Compression(crate::compression::CompressionError::Compress { .. }) => {
            InvalidBatch::new(ErrorCode::UnknownServerError, error.to_string())
        }
        other => InvalidBatch::from(other),
    }
}

/// Checks one partition's records of a Produce request of `api_version` (3 or later), in the order of contract 29: shape and
/// size, CRC, header, records, segment size. Time: the CRC; for uncompressed batches a walk over the records' framing.
pub fn validate_batch<'a>(
    records: Option<&'a [u8]>,
    api_version: i16,
    rules: &BatchRules,
    now_ms: i64,
) -> Result<ValidBatch<'a>, InvalidBatch> {
    let (header, bytes) = only_batch(records.unwrap_or_default())?;
    check_size(bytes.len(), rules.max_message_bytes)?;
    if !batch::crc_matches(bytes) {
        return Err(InvalidBatch::new(
            ErrorCode::CorruptMessage,
            "The CRC of the batch does not match its bytes.",
        ));
    }
    check_header(&header, api_version)?;
    check_header_timestamps(&header, rules, now_ms)?;
    let max_timestamp = check_records(&header, bytes, rules, now_ms)?;
    let batch = convert(header, bytes, max_timestamp, rules, now_ms)?;
    if let Cow::Owned(bytes) = &batch.bytes {
        check_size(bytes.len(), rules.max_message_bytes)?;
    }
    if batch.bytes.len() > rules.segment_bytes {
        let message = format!(
            "The batch has {} bytes, segment.bytes is {}.",
            batch.bytes.len(),
            rules.segment_bytes
        );
        return Err(InvalidBatch::new(ErrorCode::RecordListTooLarge, message));
    }
    Ok(batch)
}

/// Exactly one batch of magic 2 (contract 28).
fn only_batch(records: &[u8]) -> Result<(BatchHeader, &[u8]), InvalidBatch> {
    if records.is_empty() {
        return Err(InvalidBatch::record("The partition has no record batch."));
    }
    let header = BatchHeader::read(records).map_err(|error| match error {
        BatchHeaderError::Length(_) => InvalidBatch::new(ErrorCode::CorruptMessage, error.to_string()),
        BatchHeaderError::Short(_) | BatchHeaderError::Magic(_) => InvalidBatch::record(error.to_string()),
    })?;
    match header.total_bytes().cmp(&records.len()) {
        std::cmp::Ordering::Equal => Ok((header, records)),
        std::cmp::Ordering::Less => Err(InvalidBatch::record("The partition has more than one record batch.")),
        std::cmp::Ordering::Greater => Err(InvalidBatch::record("The record batch is cut.")),
    }
}

fn check_size(bytes: usize, max_message_bytes: usize) -> Result<(), InvalidBatch> {
    if bytes <= max_message_bytes {
        return Ok(());
    }
    let message = format!("The batch has {bytes} bytes, max.message.bytes is {max_message_bytes}.");
    Err(InvalidBatch::new(ErrorCode::MessageTooLarge, message))
}

/// The header of a client's batch (contracts 28, 31, 33).
fn check_header(header: &BatchHeader, api_version: i16) -> Result<(), InvalidBatch> {
    let id = header.compression_id();
    match Compression::from_id(id) {
        None => return Err(InvalidBatch::from(RecordsError::UnknownCodec(id))),
        Some(Compression::Zstd) if api_version < 7 => {
            let message = "zstd needs Produce version 7 or later.";
            return Err(InvalidBatch::new(ErrorCode::UnsupportedCompressionType, message));
        }
        Some(_) => {}
    }
    if header.base_offset.0 != 0 {
        return Err(InvalidBatch::record("The base offset of a produced batch must be 0."));
    }
    if header.record_count <= 0 {
        return Err(InvalidBatch::record("The batch has no records."));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        return Err(InvalidBatch::record(
            "The last offset delta does not match the number of records.",
        ));
    }
    if header.is_control() {
        return Err(InvalidBatch::record("Clients may not write control batches."));
    }
    if header.has_delete_horizon() {
        return Err(InvalidBatch::record("Clients may not set a delete horizon."));
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(InvalidBatch::record(
            "A batch with a producer id needs a base sequence.",
        ));
    }
    if header.is_transactional() && !header.has_producer() {
        return Err(InvalidBatch::record("A transactional batch needs a producer id."));
    }
    Ok(())
}

/// What can be said about timestamps without reading records. The records themselves decide where they are read.
fn check_header_timestamps(header: &BatchHeader, rules: &BatchRules, now_ms: i64) -> Result<(), InvalidBatch> {
    if header.is_log_append_time() {
        let message = "Producers may not set the timestamp type LogAppendTime.";
        return Err(InvalidBatch::new(ErrorCode::InvalidTimestamp, message));
    }
    let trusted = rules.timestamp_type == TimestampType::CreateTime && !reads_records(header, rules);
    if trusted && (is_out_of_range(header.max_timestamp, rules, now_ms)) {
        return Err(InvalidBatch::new(ErrorCode::InvalidTimestamp, OUT_OF_RANGE));
    }
    Ok(())
}

const OUT_OF_RANGE: &str = "The timestamp is outside the range that message.timestamp.before.max.ms and \
                            message.timestamp.after.max.ms allow.";
const NULL_KEY: &str = "A compacted topic cannot take a record without a key.";
const OFFSET_GAP: &str = "The offset delta of the record is not its place in the batch.";

/// A record without a timestamp: it passes every range.
const NO_TIMESTAMP: i64 = -1;

/// Contract 34.
fn is_out_of_range(timestamp: i64, rules: &BatchRules, now_ms: i64) -> bool {
    if timestamp == NO_TIMESTAMP {
        return false;
    }
    let age_ms = now_ms.saturating_sub(timestamp);
    age_ms > rules.timestamp_before_max_ms || age_ms.saturating_neg() > rules.timestamp_after_max_ms
}

/// Uncompressed records are always walked. Compressed ones where they are recompressed, and where a setting is about single
/// records: a header tells the largest timestamp, but neither the smallest nor the keys.
fn reads_records(header: &BatchHeader, rules: &BatchRules) -> bool {
    let codec_id = header.compression_id();
    codec_id == Compression::None.id()
        || rules.validation == RecordValidation::Full
        || rules.compacted
        || is_recompressed(header, rules)
        || (rules.timestamp_type == TimestampType::CreateTime && rules.timestamp_before_max_ms != i64::MAX)
}

fn is_recompressed(header: &BatchHeader, rules: &BatchRules) -> bool {
    match rules.compression {
        CompressionType::Producer => false,
        CompressionType::Codec(codec, _) => codec.id() != header.compression_id(),
    }
}

/// Walks the records if need be. Returns the largest timestamp: the header's where records are not read.
fn check_records(header: &BatchHeader, bytes: &[u8], rules: &BatchRules, now_ms: i64) -> Result<i64, InvalidBatch> {
    if !reads_records(header, rules) {
        return Ok(header.max_timestamp);
    }
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut check = RecordCheck {
        header,
        rules,
        now_ms,
        max_timestamp: NO_TIMESTAMP,
        worst: None,
        errors: Vec::new(),
    };
    records::walk(header, body, &rules.decompress, |meta| {
        check.record(&meta);
        ControlFlow::Continue(())
    })?;
    match check.worst {
        None => Ok(check.max_timestamp),
        Some((error, message)) => Err(InvalidBatch {
            error,
            message: Cow::Borrowed(message),
            record_errors: check.errors,
        }),
    }
}

/// What a walk finds. One bad record fails the batch, and the bad ones are named (contract 34).
struct RecordCheck<'c> {
    header: &'c BatchHeader,
    rules: &'c BatchRules,
    now_ms: i64,
    max_timestamp: i64,
    worst: Option<(ErrorCode, &'static str)>,
    errors: Vec<RecordError>,
}

impl RecordCheck<'_> {
    fn record(&mut self, meta: &RecordMeta) {
        let timestamp = meta.timestamp(self.header);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        if meta.offset_delta != meta.index {
            self.bad(meta, ErrorCode::InvalidRecord, OFFSET_GAP);
        } else if self.rules.compacted && meta.key_bytes.is_none() {
            self.bad(meta, ErrorCode::InvalidRecord, NULL_KEY);
        } else if self.rules.timestamp_type == TimestampType::CreateTime
            && is_out_of_range(timestamp, self.rules, self.now_ms)
        {
            self.bad(meta, ErrorCode::InvalidTimestamp, OUT_OF_RANGE);
        }
    }

    /// A timestamp outweighs the others, as in Kafka: clients tell it apart.
    fn bad(&mut self, meta: &RecordMeta, error: ErrorCode, message: &'static str) {
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError {
                batch_index: meta.index,
                message: Some(Cow::Borrowed(message)),
            });
        }
        if self.worst.is_none() || error == ErrorCode::InvalidTimestamp {
            self.worst = Some((error, message));
        }
    }
}

/// Makes of the batch what the topic's config demands.
fn convert<'a>(
    header: BatchHeader,
    bytes: &'a [u8],
    max_timestamp: i64,
    rules: &BatchRules,
    now_ms: i64,
) -> Result<ValidBatch<'a>, InvalidBatch> {
    let mut out = Cow::Borrowed(bytes);
    if let CompressionType::Codec(codec, level) = rules.compression
        && codec.id() != header.compression_id()
    {
        let recompressed = records::recompress(&header, bytes, codec, level, &rules.decompress);
        out = Cow::Owned(recompressed.map_err(recompression_failed)?);
    }
    match rules.timestamp_type {
        TimestampType::LogAppendTime => batch::stamp_log_append_time(out.to_mut(), now_ms),
        // The time index and retention trust this field.
        TimestampType::CreateTime if max_timestamp != header.max_timestamp => {
            batch::stamp_max_timestamp(out.to_mut(), max_timestamp);
        }
        TimestampType::CreateTime => {}
    }
    let header = match &out {
        Cow::Borrowed(_) => header,
        Cow::Owned(changed) => BatchHeader::read(changed).expect("a converted batch has a header"),
    };
    Ok(ValidBatch { bytes: out, header })
}
