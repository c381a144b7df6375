//! What the engine and each log can be told. The broker fills these from its own configuration.

use std::path::PathBuf;

/// When an append with acks=all is answered, and what consumers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurabilityMode {
    /// After fdatasync: survives power loss. The high watermark is the flushed end.
    Fsync,
    /// After the write: survives kill −9. The high watermark is the written end.
    PageCache,
}

/// Settings of one data directory.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The data directory; created if absent.
    pub data_dir: PathBuf,
    /// What durable means.
    pub durability: DurabilityMode,
    /// Bytes of one journal file, a multiple of 4096.
    pub journal_file_bytes: u64,
    /// Number of journal files at least; the ring grows with the number of partitions.
    pub journal_files: usize,
    /// Bytes of tail memory over all partitions; appends wait when it is used up.
    pub tail_bytes_max: usize,
    /// Data of acks 0 and 1 becomes durable and visible after this many milliseconds without anyone asking.
    pub flush_interval_ms: u64,
    /// Threads that write segments.
    pub io_threads: usize,
    /// RocksDB's block cache and memtables together, bytes.
    pub index_memory_bytes: usize,
    /// Producers of which nothing was heard for so long are forgotten, milliseconds.
    pub producer_id_expiration_ms: i64,
    /// Open segment files kept at most.
    pub open_files_max: usize,
}

impl EngineConfig {
    /// The defaults, for `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> EngineConfig {
        EngineConfig {
            data_dir: data_dir.into(),
            durability: DurabilityMode::Fsync,
            journal_file_bytes: 16 << 20,
            journal_files: 8,
            tail_bytes_max: 256 << 20,
            flush_interval_ms: 100,
            io_threads: 4,
            index_memory_bytes: 16 << 20,
            producer_id_expiration_ms: 24 * 3600 * 1000,
            open_files_max: 1024,
        }
    }
}

/// Settings of one log, from its topic's configs. May change while the log is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is sealed before it would grow past this, bytes.
    pub segment_bytes: u64,
    /// A segment is sealed when its first record is older than this, milliseconds.
    pub segment_ms: i64,
    /// Segments whose largest timestamp is older go, milliseconds; −1 keeps them.
    pub retention_ms: i64,
    /// Oldest segments go while the rest is at least so large, bytes; −1 keeps them.
    pub retention_bytes: i64,
    /// Whether `cleanup.policy` contains `delete`; else retention does nothing (contract 101).
    pub delete_policy: bool,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            delete_policy: true,
        }
    }
}
