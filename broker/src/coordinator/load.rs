//! Reading state back: each partition's records from the log's start to its end, on threads that may wait for the disk.
//!
//! A shard is built apart and handed over whole, so requests see either LOAD_IN_PROGRESS or everything. What cannot be
//! read is never served as if it were not there: the partition stays refused and is tried again.

use super::World;
use super::batch;
use super::partition::{Partition, Phase};
use crate::groups::Shard;
use parking_lot::Mutex;
use protocol::batch::BatchHeader;
use protocol::types::Offset;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{Log, ReadRequest, RecordSlice};

/// Partitions that are read at once.
const LOADERS: usize = 2;
/// Bytes read at once.
const READ_BYTES: usize = 4 << 20;
/// A partition that could not be read is tried again after so long.
const RETRY: Duration = Duration::from_secs(30);

/// What reading a partition found.
#[derive(Debug, Default)]
struct Found {
    records: u64,
    corrupt: u64,
    bytes: u64,
}

/// Lets partitions serve: those without records at once, the others when they were read in the background.
pub(super) fn start(world: &Arc<World>, partitions: Vec<Arc<Partition>>) {
    let mut waiting = VecDeque::new();
    for partition in partitions {
        let offsets = partition.log.offsets();
        if offsets.log_start == offsets.log_end && !partition.log.is_damaged() {
            partition.install(Shard::with_counter(Arc::clone(&world.groups)), 0);
        } else {
            waiting.push_back(partition);
        }
    }
    if waiting.is_empty() {
        return;
    }
    let partitions = waiting.len();
    let started = world.clock.instant();
    let loaders = LOADERS.min(partitions);
    let queue = Arc::new(Mutex::new(waiting));
    world.loading.fetch_add(partitions, Ordering::Relaxed);
    for _ in 0..loaders {
        let (world, queue) = (Arc::clone(world), Arc::clone(&queue));
        Arc::clone(&world).spawn_blocking(move || {
            while let Some(partition) = take(&queue) {
                load(&world, &partition);
                if world.loading.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let seconds = world.clock.instant().duration_since(started).as_secs_f64();
                    world.counters.load_seconds.record(seconds);
                    let groups = world.groups.load(Ordering::Relaxed);
                    tracing::info!(partitions, groups, seconds, "groups are loaded");
                }
            }
        });
    }
}

fn take(queue: &Mutex<VecDeque<Arc<Partition>>>) -> Option<Arc<Partition>> {
    queue.lock().pop_front()
}

/// Reads one partition and lets it serve.
fn load(world: &Arc<World>, partition: &Arc<Partition>) {
    if world.is_stopping() {
        return;
    }
    // A partition whose records make us panic is refused as one that cannot be read; the others go on.
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        let mut shard = Shard::with_counter(Arc::clone(&world.groups));
        let found = read(world, &partition.log, &mut shard)?;
        partition.install(shard, found.records);
        Ok(found)
    }));
    match loaded.unwrap_or_else(|_| Err("reading them panicked".to_owned())) {
        Ok(found) => {
            world.counters.loaded_records.increment(found.records);
            world.counters.corrupt_records.increment(found.corrupt);
            tracing::debug!(
                partition = partition.number,
                records = found.records,
                bytes = found.bytes,
                "groups of a partition are loaded"
            );
        }
        Err(_) if world.is_stopping() => {}
        Err(error) => {
            let mut state = partition.lock();
            // The topic was deleted meanwhile.
            if state.phase != Phase::Loading {
                return;
            }
            state.phase = Phase::Failed;
            drop(state);
            tracing::error!(
                partition = partition.number,
                error,
                "groups of a partition of __consumer_offsets cannot be read; their requests are refused, it is tried again"
            );
            retry_later(world, partition, RETRY);
        }
    }
}

/// Reads a partition that failed again after so long.
pub(super) fn retry_later(world: &Arc<World>, partition: &Arc<Partition>, after: Duration) {
    let (task_world, partition) = (Arc::clone(world), Arc::clone(partition));
    world.spawn(async move {
        tokio::time::sleep(after).await;
        {
            let mut state = partition.lock();
            if state.phase != Phase::Failed {
                return;
            }
            state.phase = Phase::Loading;
        }
        let world = Arc::clone(&task_world);
        task_world.spawn_blocking(move || load(&world, &partition));
    });
}

/// Replays a log. Blocks.
fn read(world: &World, log: &Log, shard: &mut Shard) -> Result<Found, String> {
    if log.is_damaged() {
        return Err("recovery found damage in its log, which may end too early".to_owned());
    }
    let offsets = log.offsets();
    let (mut offset, end) = (offsets.log_start, offsets.high_watermark);
    if end < offsets.log_end {
        return Err("its end is not durable yet".to_owned());
    }
    let mut found = Found::default();
    let mut buffer = Vec::new();
    while offset < end {
        if world.is_stopping() {
            return Err("the broker stops".to_owned());
        }
        let request = ReadRequest {
            offset,
            max_bytes: READ_BYTES,
            min_one_batch: true,
        };
        let result = log.read(&request).map_err(|error| error.to_string())?;
        buffer.clear();
        for slice in &result.slices {
            gather(slice, &mut buffer).map_err(|error| format!("reading at offset {offset} failed: {error}"))?;
        }
        let next = replay(&buffer, shard, &mut found)?;
        match next {
            Some(next) if next > offset => offset = next,
            _ => {
                return Err(format!(
                    "there is no whole batch at offset {offset}, the log ends at {end}"
                ));
            }
        }
    }
    Ok(found)
}

fn gather(slice: &RecordSlice, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    match slice {
        RecordSlice::Mem(bytes) => buffer.extend_from_slice(bytes),
        RecordSlice::File { file, position, len } => {
            let start = buffer.len();
            buffer.resize(start + len, 0);
            let read = file.read_at(buffer.get_mut(start..).unwrap_or_default(), *position)?;
            buffer.truncate(start + read);
        }
    }
    Ok(())
}

/// Replays the whole batches of `bytes`; gives the offset after the last.
fn replay(bytes: &[u8], shard: &mut Shard, found: &mut Found) -> Result<Option<Offset>, String> {
    let mut rest = bytes;
    let mut next = None;
    while let Ok(header) = BatchHeader::read(rest) {
        let Some((batch, after)) = rest.split_at_checked(header.total_bytes()) else {
            break;
        };
        let decoded = batch::decode(&header, batch, |record| shard.replay(record))?;
        found.records += decoded.records;
        found.corrupt += decoded.corrupt;
        found.bytes += batch.len() as u64;
        next = Some(header.last_offset() + 1);
        rest = after;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::batch::encode;
    use protocol::batch::stamp;
    use protocol::group_records::{GroupRecord, OffsetCommitValue};
    use protocol::types::TopicId;

    fn batch(base_offset: i64, partitions: std::ops::Range<i32>) -> Vec<u8> {
        let records: Vec<GroupRecord> = partitions
            .map(|partition| GroupRecord::OffsetCommit {
                group_id: Arc::from("g"),
                topic: Arc::from("t"),
                partition,
                value: Some(OffsetCommitValue {
                    offset: 1,
                    leader_epoch: -1,
                    metadata: Arc::from(""),
                    commit_timestamp: 0,
                    expire_timestamp: -1,
                    topic_id: TopicId([1; 16]),
                }),
            })
            .collect();
        let mut bytes = encode(&records, 0).expect("encodes");
        stamp(&mut bytes, Offset(base_offset), 0);
        bytes
    }

    #[test]
    fn a_read_ends_with_its_last_whole_batch() {
        let (mut shard, mut found) = (Shard::new(), Found::default());
        let whole = [batch(10, 0..3), batch(13, 3..5)].concat();
        let cut = [whole.clone(), batch(15, 5..9)[..70].to_vec()].concat();
        assert_eq!(replay(&cut, &mut shard, &mut found), Ok(Some(Offset(15))));
        assert_eq!((found.records, found.bytes), (5, whole.len() as u64));
        assert_eq!(shard.counts().offsets, 5);
        assert_eq!(replay(&cut[..50], &mut shard, &mut found), Ok(None));
    }

    #[test]
    fn damage_ends_the_load() {
        // contract 69: what is not known is never "no offset"
        let (mut shard, mut found) = (Shard::new(), Found::default());
        let mut bytes = [batch(0, 0..1), batch(1, 1..2)].concat();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(replay(&bytes, &mut shard, &mut found).is_err());
    }
}
