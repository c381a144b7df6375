//! Consumer groups as pure machines: requests, time and randomness go in; records, replies and timers come out.
//!
//! A [`Shard`] is the state of one partition of `__consumer_offsets`: its groups of both protocols and their committed
//! offsets. It is `handle(now, event) -> Effects`; hard state changes when records are replayed, after they were
//! appended. What never lives here: a clock, a lock, an `await`, bytes of records (`protocol::group_records`), the log
//! that they go to (`crate::coordinator`).
//!
//! Contract 68–87.

pub mod classic;
pub mod consumer;
mod effects;
mod env;
pub mod offsets;
mod shard;

pub use effects::{Completion, Effects, Reply, Timer, TimerKey, TimerKind, Waiter};
pub use env::{Client, Cluster, Env, GroupConfig, GroupOverrides, MigrationPolicy, TopicInfo};
pub use shard::{Counts, ListFilter, Progress, Shard, SnapshotCursor};
