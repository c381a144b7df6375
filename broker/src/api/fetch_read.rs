//! Reading for a fetch: partition by partition in the order asked, under the budgets of the request (contract 47–54).
//!
//! A first pass takes what is in memory and never waits; at the first partition that needs the disk, the rest of the
//! pass moves to a thread that may wait. What never lives here: sessions, parking, the wire.

use super::check_leader_epoch;
use crate::broker::Broker;
use crate::context::{Operation, RequestContext, Resource};
use crate::errors::error_code;
use crate::fetch_session::{PartitionFetch, PartitionOutcome};
use crate::partitions::Topic;
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::batch::LENGTH_PREFIX_BYTES;
use protocol::fetch::EpochEndOffset;
use protocol::types::{Offset, Topic as TopicName};
use std::sync::Arc;
use storage::{Log, LogOffsets, ReadRequest, ReadResult, RecordSlice};

/// What a fetch reads, in which order, how much at most.
pub(super) struct Plan {
    /// Who asks.
    pub(super) ctx: RequestContext,
    /// Partitions in the order in which they share the budget.
    pub(super) partitions: Vec<PartitionFetch>,
    /// Bytes of records at most, over all partitions.
    pub(super) max_bytes: usize,
}

/// What reading a partition gave.
#[derive(Default)]
pub(super) struct PartitionRead {
    /// `None` when all is well.
    pub(super) error: Option<ErrorCode>,
    /// The log's ends; absent with an error.
    pub(super) offsets: Option<LogOffsets>,
    /// Where the client's log leaves ours (contract 53).
    pub(super) diverging: Option<EpochEndOffset>,
    /// Whole batches but for the last.
    pub(super) records: ReadResult,
    /// The topic and log, when found.
    pub(super) found: Option<(Arc<Topic>, Arc<Log>)>,
}

impl PartitionRead {
    fn error(error: ErrorCode) -> PartitionRead {
        PartitionRead {
            error: Some(error),
            ..PartitionRead::default()
        }
    }

    /// What sessions want to know of it.
    pub(super) fn outcome(&self) -> PartitionOutcome {
        let ends = self.offsets.as_ref();
        PartitionOutcome {
            bytes: self.records.bytes,
            high_watermark: ends.map_or(-1, |ends| ends.high_watermark.0),
            log_start_offset: ends.map_or(-1, |ends| ends.log_start.0),
            noteworthy: self.error.is_some() || self.diverging.is_some(),
            name: self.found.as_ref().map(|(topic, _)| topic.name.clone()),
        }
    }
}

/// A pass over all partitions.
#[derive(Default)]
pub(super) struct Reading {
    /// One for each partition of the plan, in its order.
    pub(super) partitions: Vec<PartitionRead>,
    /// Bytes of records so far.
    pub(super) bytes: usize,
    /// Whether there is something that the client must hear at once: an error or a diverging epoch (contract 45).
    pub(super) urgent: bool,
}

/// Reads all partitions.
pub(super) async fn read(plan: &Arc<Plan>) -> Reading {
    let mut reading = Reading::default();
    if reading.go_on(plan, Disk::Avoid) {
        return reading;
    }
    let count = plan.partitions.len();
    let plan = Arc::clone(plan);
    let rest = move || {
        reading.go_on(&plan, Disk::Use);
        reading
    };
    super::blocking(rest).await.unwrap_or_else(|error| Reading {
        partitions: (0..count).map(|_| PartitionRead::error(error.code)).collect(),
        bytes: 0,
        urgent: true,
    })
}

/// Whether a pass may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Avoid,
    Use,
}

impl Reading {
    /// Reads from where it stopped; false when the next partition needs the disk and that is not allowed.
    fn go_on(&mut self, plan: &Plan, disk: Disk) -> bool {
        self.partitions.reserve(plan.partitions.len() - self.partitions.len());
        let mut last_topic: Option<Arc<Topic>> = None;
        while let Some(fetch) = plan.partitions.get(self.partitions.len()) {
            let Some(read) = self.partition(plan, fetch, disk, &mut last_topic) else {
                return false;
            };
            self.bytes += read.records.bytes;
            self.urgent |= read.error.is_some() || read.diverging.is_some();
            self.partitions.push(read);
        }
        true
    }

    fn partition(
        &self,
        plan: &Plan,
        fetch: &PartitionFetch,
        disk: Disk,
        last_topic: &mut Option<Arc<Topic>>,
    ) -> Option<PartitionRead> {
        let topic = match last_topic.take().filter(|topic| is_topic(topic, &fetch.topic)) {
            Some(topic) => topic,
            None => match find_topic(&plan.ctx, fetch) {
                Ok(topic) => topic,
                Err(error) => return Some(PartitionRead::error(error)),
            },
        };
        let result = self.log(plan, fetch, disk, &topic);
        *last_topic = Some(topic);
        match result {
            Ok(read) => read,
            Err(error) => Some(PartitionRead::error(error)),
        }
    }

    fn log(
        &self,
        plan: &Plan,
        fetch: &PartitionFetch,
        disk: Disk,
        topic: &Arc<Topic>,
    ) -> Result<Option<PartitionRead>, ErrorCode> {
        let log = topic.log(fetch.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let params = &fetch.params;
        check_leader_epoch(params.current_leader_epoch, plan.ctx.broker.engine.leader_epoch())?;
        let mut read = PartitionRead {
            found: Some((Arc::clone(topic), Arc::clone(log))),
            ..PartitionRead::default()
        };
        read.diverging = diverging_epoch(log, params.last_fetched_epoch, params.fetch_offset)?;
        if read.diverging.is_none() {
            let left = plan.max_bytes.saturating_sub(self.bytes);
            let request = ReadRequest {
                offset: Offset(params.fetch_offset),
                max_bytes: usize::try_from(params.max_bytes).unwrap_or(0).min(left),
                // The first partition that has anything gives at least one batch, whatever the budgets (contract 47).
                min_one_batch: self.bytes == 0,
            };
            let result = match (log.read_tail(&request), disk) {
                (Some(result), _) => result,
                (None, Disk::Use) => log.read(&request),
                (None, Disk::Avoid) => return Ok(None),
            };
            read.records = result.map_err(|error| read_error(&plan.ctx.broker, &error))?;
            if !request.min_one_batch && read.records.bytes >= request.max_bytes && !holds_a_batch(&read.records) {
                read.records = ReadResult::default();
            }
        }
        // After the read: the high watermark is never below the end of the records that go with it.
        read.offsets = Some(log.offsets());
        Ok(Some(read))
    }
}

fn is_topic(topic: &Topic, wanted: &TopicName) -> bool {
    match wanted {
        TopicName::Id(id) => topic.id == *id,
        TopicName::Name(name) => *topic.name == **name,
    }
}

/// Finds a topic by name or id (contract 54).
fn find_topic(ctx: &RequestContext, fetch: &PartitionFetch) -> Result<Arc<Topic>, ErrorCode> {
    let manager = &ctx.broker.partitions;
    let topic = match &fetch.topic {
        TopicName::Name(name) => {
            if !ctx.authorize(Operation::Read, &Resource::Topic(name)) {
                return Err(ErrorCode::TopicAuthorizationFailed);
            }
            return manager.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition);
        }
        TopicName::Id(id) => manager.topic_by_id(*id),
    };
    match topic {
        Some(topic) if ctx.authorize(Operation::Read, &Resource::Topic(&topic.name)) => Ok(topic),
        Some(_) => Err(ErrorCode::TopicAuthorizationFailed),
        None => {
            let recreated = |name: &StrBytes| manager.topic(name).is_some();
            Err(match &fetch.known_name {
                Some(name) if recreated(name) => ErrorCode::InconsistentTopicId,
                _ => ErrorCode::UnknownTopicId,
            })
        }
    }
}

/// Where a client's log leaves ours: its last record's epoch ended before its offset (contract 53, KIP-595).
fn diverging_epoch(log: &Log, last_fetched_epoch: i32, fetch_offset: i64) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if last_fetched_epoch < 0 {
        return Ok(None);
    }
    let end = log.epoch_end(last_fetched_epoch);
    if end.end_offset.0 < 0 {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let diverges = end.leader_epoch < last_fetched_epoch || end.end_offset.0 < fetch_offset;
    Ok(diverges.then_some(EpochEndOffset {
        epoch: end.leader_epoch,
        end_offset: end.end_offset,
    }))
}

fn read_error(broker: &Broker, error: &storage::Error) -> ErrorCode {
    use storage::ErrorKind::{Closed, Deleted, OffsetOutOfRange};
    if !matches!(error.kind, OffsetOutOfRange | Deleted | Closed)
        && broker.fault_lines.pass(broker.clock.instant()).is_some()
    {
        tracing::error!(%error, "reading records failed");
    }
    error_code(error.kind)
}

/// Whether the first batch is whole. Clients cannot use a reply that holds only a part of a batch, so that a budget that
/// ends within the first batch of a later partition gives nothing of it.
fn holds_a_batch(records: &ReadResult) -> bool {
    let mut prefix = [0; LENGTH_PREFIX_BYTES];
    let mut have = 0;
    for slice in &records.slices {
        let take = slice.len().min(LENGTH_PREFIX_BYTES - have);
        let into = &mut prefix[have..have + take];
        match slice {
            RecordSlice::Mem(bytes) => into.copy_from_slice(&bytes[..take]),
            RecordSlice::File { file, position, .. } => {
                if !matches!(file.read_at(into, *position), Ok(read) if read == take) {
                    return false;
                }
            }
        }
        have += take;
        if have == LENGTH_PREFIX_BYTES {
            let length = i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
            let total = usize::try_from(length).map_or(usize::MAX, |length| length.saturating_add(LENGTH_PREFIX_BYTES));
            return total <= records.bytes;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Bytes whose length field says `total`, of which `have` are there, in slices of `slice` bytes.
    fn records(total: i32, have: usize, slice: usize) -> ReadResult {
        let mut bytes = vec![0; have.max(12)];
        bytes[8..12].copy_from_slice(&(total - 12).to_be_bytes());
        bytes.truncate(have);
        let slices = bytes
            .chunks(slice)
            .map(|chunk| RecordSlice::Mem(Bytes::copy_from_slice(chunk)))
            .collect();
        ReadResult { slices, bytes: have }
    }

    #[test]
    fn only_whole_batches_count() {
        // contract 47
        assert!(holds_a_batch(&records(100, 100, 1000)));
        assert!(holds_a_batch(&records(100, 150, 5)));
        assert!(!holds_a_batch(&records(100, 99, 1000)));
        assert!(!holds_a_batch(&records(100, 11, 3)));
        assert!(!holds_a_batch(&records(100, 0, 1)));
        assert!(!holds_a_batch(&records(-5, 50, 1000)));
    }

    #[test]
    fn errors_and_diverging_epochs_are_noteworthy() {
        // contract 45, 56
        let outcome = PartitionRead::error(ErrorCode::OffsetOutOfRange).outcome();
        assert!(outcome.noteworthy && outcome.high_watermark == -1);
        let diverging = Some(EpochEndOffset {
            epoch: 1,
            end_offset: Offset(5),
        });
        assert!(
            PartitionRead {
                diverging,
                ..PartitionRead::default()
            }
            .outcome()
            .noteworthy
        );
        assert!(!PartitionRead::default().outcome().noteworthy);
    }
}
