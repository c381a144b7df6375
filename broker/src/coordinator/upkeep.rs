//! What happens to groups without a request: timers, and offsets that expire.

use super::GroupCoordinator;
use crate::groups::Progress;
use protocol::ErrorCode;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Fires timers when their time has come.
pub(super) async fn run_timers(coordinator: Arc<GroupCoordinator>) {
    let world = &coordinator.world;
    loop {
        let due = world.timers.take_due(world.clock.now_ms());
        if due.is_empty() {
            world.timers.wait(world.clock).await;
            continue;
        }
        let shards = coordinator.shards();
        for (number, key) in due {
            if let Some(partition) = shards.as_ref().and_then(|shards| shards.partitions.get(number)) {
                // A group that makes us panic must not take the timers of all others with it.
                let _ = catch_unwind(AssertUnwindSafe(|| partition.on_timer(key)));
            }
            // Thousands of sessions may end at one moment; requests go on meanwhile.
            tokio::task::yield_now().await;
        }
    }
}

/// Looks for offsets past their retention, again and again (contract 81).
pub(super) async fn run_expiry(coordinator: Arc<GroupCoordinator>) {
    let world = &coordinator.world;
    loop {
        tokio::time::sleep(world.retention_check_interval).await;
        let Some(shards) = coordinator.shards() else { continue };
        for partition in &shards.partitions {
            loop {
                coordinator.admit(EXPIRY_BYTES).await;
                let step = catch_unwind(AssertUnwindSafe(|| {
                    partition.housekeeping(|shard, env| {
                        let (effects, progress) = shard.expire(env);
                        (progress, effects)
                    })
                }));
                match step.unwrap_or(Err(ErrorCode::UnknownServerError)) {
                    Ok(pending) if pending.response == Progress::More => tokio::task::yield_now().await,
                    // A partition that cannot be written to is looked at again in the next pass.
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }
}

/// What the tombstones of one step take in the log, about.
const EXPIRY_BYTES: usize = 128 << 10;
