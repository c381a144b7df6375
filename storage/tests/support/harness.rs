//! An engine without threads on a simulated disk, driven step by step, stopped in every way and started again.

use super::batches::{Batch, Expected, NOW_MS};
use super::sim_disk::SimDisk;
use protocol::types::TopicId;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use streamhouse_storage::metadata::TopicRecord;
use streamhouse_storage::{
    Acks, Appended, CheckpointStep, Engine, EngineConfig, Environment, Log, LogConfig, Result, Step,
};
use tempfile::TempDir;

pub const TOPIC: TopicId = TopicId([9; 16]);

/// A folder for RocksDB: in memory where there is some, since its own syncs are not what these tests are about.
pub fn scratch_dir() -> TempDir {
    let builder = tempfile::Builder::new();
    builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())
        .expect("a temporary folder")
}

pub fn topic(id: TopicId, name: &str, partitions: i32) -> TopicRecord {
    TopicRecord {
        id,
        name: name.into(),
        partitions,
        replication_factor: 1,
        configs: BTreeMap::new(),
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The page cache stays.
    Kill9,
    /// It does not; the number decides what is left of it.
    PowerLoss(u64),
}

/// An engine on a simulated disk.
pub struct Sim {
    pub dir: TempDir,
    pub disk: SimDisk,
    pub config: EngineConfig,
    pub log_config: LogConfig,
    pub threads: bool,
    pub fatal: Arc<AtomicU32>,
    engine: Option<Arc<Engine>>,
    starts: u64,
    seed: u64,
}

impl Sim {
    /// Small journal files, no topic yet, not open.
    pub fn closed(seed: u64) -> Sim {
        let dir = scratch_dir();
        let mut config = EngineConfig::new(dir.path());
        config.journal_file_bytes = 256 << 10;
        config.journal_files = 8;
        config.tail_bytes_max = 64 << 20;
        config.index_memory_bytes = 1 << 20;
        Sim {
            dir,
            disk: SimDisk::new(seed),
            config,
            log_config: LogConfig::default(),
            threads: false,
            fatal: Arc::default(),
            engine: None,
            starts: 0,
            seed,
        }
    }

    /// Open, with a topic of that many partitions.
    pub fn new(seed: u64, partitions: i32) -> Sim {
        Sim::with(seed, partitions, |_| {})
    }

    pub fn with(seed: u64, partitions: i32, change: impl FnOnce(&mut Sim)) -> Sim {
        let mut sim = Sim::closed(seed);
        change(&mut sim);
        sim.open().expect("an empty directory opens");
        sim.create_topic(TOPIC, "t", partitions);
        sim
    }

    pub fn create_topic(&self, id: TopicId, name: &str, partitions: i32) {
        self.engine()
            .metadata()
            .create_topics(&[topic(id, name, partitions)])
            .expect("a new topic");
        self.engine()
            .create_logs(id, 0..partitions, &self.log_config)
            .expect("logs");
    }

    pub fn open(&mut self) -> Result<()> {
        self.starts += 1;
        let fatal = self.fatal.clone();
        let environment = Environment {
            disk: Arc::new(self.disk.clone()),
            seed: self.seed.wrapping_mul(31).wrapping_add(self.starts),
            now_ms: NOW_MS,
            on_fatal: Arc::new(move |_| {
                fatal.fetch_add(1, Ordering::SeqCst);
            }),
            threads: self.threads,
        };
        let engine = Engine::open_with(self.config.clone(), environment)?;
        for topic in engine.metadata().topics()? {
            for partition in 0..topic.partitions {
                engine
                    .log(topic.id, partition)
                    .expect("every partition has a log")
                    .set_config(self.log_config.clone());
            }
        }
        self.engine = Some(engine);
        Ok(())
    }

    pub fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("the engine is open")
    }

    pub fn is_open(&self) -> bool {
        self.engine.is_some()
    }

    /// Lets go of the engine without a last word.
    pub fn drop_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            assert_eq!(Arc::strong_count(&engine), 1, "nobody else holds the engine");
        }
    }

    pub fn log(&self, partition: i32) -> Arc<Log> {
        self.engine().log(TOPIC, partition).expect("the partition is there")
    }

    pub fn append(&self, partition: i32, batch: &Batch, acks: Acks) -> Result<Appended> {
        batch.append(&self.log(partition), acks)
    }

    /// Appends and takes note of it.
    pub fn add(&self, partition: i32, batch: &Batch, acks: Acks, expected: &mut Expected) {
        let appended = self.append(partition, batch, acks).expect("the append is taken");
        expected.push(batch, &appended);
    }

    pub fn step(&self, step: Step) -> Result<()> {
        self.engine().step(step)
    }

    /// Everything appended becomes durable.
    pub fn settle(&self) {
        for step in [Step::WriteJournal, Step::SegmentIo, Step::SyncJournal] {
            self.step(step).expect("the disk works");
        }
    }

    pub fn try_checkpoint(&self, last: CheckpointStep) -> Result<()> {
        self.step(Step::Checkpoint { close: true, last })
    }

    pub fn checkpoint(&self) {
        self.try_checkpoint(CheckpointStep::Freed).expect("the disk works");
    }

    /// Ends the run; the next one has the disk that is left.
    pub fn crash(&mut self, crash: Crash) {
        self.disk.power_off();
        self.drop_engine();
        self.disk = match crash {
            Crash::Kill9 => self.disk.reboot_kill9(),
            Crash::PowerLoss(seed) => self.disk.reboot(seed),
        };
    }

    /// Ends the run and starts the next.
    pub fn restart(&mut self, crash: Crash) {
        self.crash(crash);
        self.open()
            .unwrap_or_else(|error| panic!("recovery after {crash:?}: {error}"));
    }

    /// An orderly stop and the next start.
    pub fn restart_cleanly(&mut self) {
        self.engine().shutdown();
        self.drop_engine();
        self.disk = self.disk.reboot(self.seed);
        self.open().expect("it starts again");
    }

    /// A copy of RocksDB's folder as it is now, complete: it is flushed by every write that counts.
    pub fn copy_index(&self) -> TempDir {
        let copy = scratch_dir();
        copy_files(&self.config.data_dir.join("index"), copy.path());
        copy
    }

    /// Puts a copy in the place of the index. The engine is closed.
    pub fn restore_index(&self, copy: &Path) {
        assert!(self.engine.is_none(), "the engine is closed");
        let index = self.config.data_dir.join("index");
        std::fs::remove_dir_all(&index).expect("the index is there");
        std::fs::create_dir(&index).expect("it can be made");
        copy_files(copy, &index);
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        if entry.file_type().expect("it has a type").is_file() && entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
        }
    }
}
