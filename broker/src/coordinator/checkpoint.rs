//! Checkpoints: a partition's live state is written again at the log's end, and what lies before is let go of. So reading
//! back follows what is live, not history.
//!
//! The log's start moves only when the whole checkpoint is durable: a crash before leaves the history and a part of a
//! checkpoint, which says the same once more; a crash after leaves a checkpoint with the events that came between its
//! chunks and behind it.
//!
//! Worked example: offsets 0–999,999 are commits of 1,000 live offsets. The checkpoint's chunks get 1,000,000–1,000,511
//! and 1,000,513–1,001,000; 1,000,512 is a commit that came between. When all are durable the log starts at 1,000,000.

use super::partition::{Partition, Phase};
use super::{GroupCoordinator, World};
use crate::groups::SnapshotCursor;
use protocol::types::Offset;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Records of a chunk: what is written under one stay in the lock.
const CHUNK_RECORDS: usize = 512;
/// Bytes that a chunk is expected to take.
const CHUNK_BYTES: usize = 64 << 10;
/// After a failure a partition is not tried again for so long.
const RETRY: Duration = Duration::from_secs(30);

/// Writes the checkpoints that are asked for, one after the other.
pub(super) async fn run(coordinator: Arc<GroupCoordinator>, mut wanted: mpsc::UnboundedReceiver<usize>) {
    while let Some(number) = wanted.recv().await {
        let shards = coordinator.shards();
        let Some(partition) = shards.and_then(|shards| shards.partitions.get(number).cloned()) else {
            continue;
        };
        match write(&coordinator, &partition).await {
            Ok(()) => partition.lock().checkpoint_wanted = false,
            Err(error) => {
                tracing::warn!(
                    partition = number,
                    error,
                    "a checkpoint of groups failed; nothing is lost, it is tried again later"
                );
                coordinator.world.spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    partition.lock().checkpoint_wanted = false;
                });
            }
        }
    }
}

/// Rewrites one partition.
async fn write(coordinator: &GroupCoordinator, partition: &Arc<Partition>) -> Result<(), String> {
    let world = &coordinator.world;
    let (first, history, shard) = {
        let mut state = partition.lock();
        if state.phase != Phase::Loaded {
            return Err("the partition does not serve".to_owned());
        }
        (
            partition.end_of(&state),
            std::mem::take(&mut state.records_since_checkpoint),
            state.shards_installed,
        )
    };
    let written = write_chunks(coordinator, partition, shard).await;
    let (records, bytes) = written.inspect_err(|_| partition.lock().records_since_checkpoint += history)?;
    partition.lock().live_records = records;
    let log_start = let_go(world, partition, first).await?;
    world.counters.checkpoints.increment(1);
    world.counters.checkpoint_bytes.increment(bytes as u64);
    tracing::debug!(partition = partition.number, records, bytes, %log_start, "checkpoint of groups written");
    Ok(())
}

/// Moves the log's start on to `first`, durably.
async fn let_go(world: &World, partition: &Partition, first: Offset) -> Result<Offset, String> {
    let (tell, told) = oneshot::channel();
    let log = Arc::clone(&partition.log);
    world.spawn_blocking(move || {
        // Nobody listens any more when the broker stops.
        let _ = tell.send(log.delete_records(first));
    });
    let result = told.await.map_err(|_| "the broker stops".to_owned())?;
    result.map_err(|error| error.to_string())
}

/// Writes the live state and waits until all of it is durable. Gives its records and bytes. An error: it could not be written,
/// or the partition has another shard than the one of that number, in which the cursor would miss groups.
async fn write_chunks(
    coordinator: &GroupCoordinator,
    partition: &Arc<Partition>,
    shard: u64,
) -> Result<(u64, usize), String> {
    let (mut records, mut bytes) = (0, 0);
    let mut cursor = Some(SnapshotCursor::default());
    while let Some(from) = cursor {
        coordinator.admit(CHUNK_BYTES).await;
        let end: Offset = {
            let mut state = partition.lock();
            if state.phase != Phase::Loaded {
                return Err("the partition does not serve any more".to_owned());
            }
            if state.shards_installed != shard {
                return Err("the groups were read back meanwhile".to_owned());
            }
            let (chunk, next) = state.shard.snapshot_chunk(from, CHUNK_RECORDS);
            records += chunk.len() as u64;
            bytes += partition
                .append_snapshot(&mut state, &chunk)
                .map_err(|code| code.message().to_owned())?;
            cursor = next;
            partition.end_of(&state)
        };
        // One chunk at a time: requests find the log and its lock free, and memory holds no more than that.
        partition.durable(end).await.map_err(|code| code.message().to_owned())?;
    }
    Ok((records, bytes))
}
