//! One data directory of a broker: the journal, the segments, the RocksDB index and the metadata store.
//!
//! What lives here: bytes on disk and what is needed to find them again. What never does: Kafka requests, error codes
//! of the wire, consumer groups. Formats are described in `storage/FORMAT.md`.

pub mod api_types;
mod by_segment;
mod checkpoint;
pub mod config;
mod directory;
pub mod disk;
mod engine;
pub mod error;
mod housekeeping;
mod index;
mod journal;
mod log;
pub mod metadata;
mod recovery;
mod segments;
mod shared;
mod tail;

pub use api_types::*;
pub use checkpoint::CheckpointStep;
pub use config::{DurabilityMode, EngineConfig, LogConfig};
pub use engine::{Engine, Environment, Step};
pub use error::{Error, ErrorKind, Result};
pub use index::LogId;
pub use log::{Log, Watcher};
pub use shared::OnFatal;
