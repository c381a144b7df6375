//! A random history of appends, syncs, deletions, checkpoints and crashes against a model that remembers every batch.
//!
//! After any crash: what had been promised is there, at its offset, byte for byte; offsets have no gaps; nothing that a
//! reader saw is gone; a log starts where deleting records left it (contract 67). engine 1, engine 2, engine 3, engine 7, engine 11, engine 12, engine 15 (tests a, b, c, f of the engine's rules).
//! `MODEL_SEED` replays one history, `MODEL_ROUNDS` sets how many are run.

mod support;

use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::compression::Compression;
use protocol::records::BatchBuilder;
use protocol::types::{Offset, TopicId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use streamhouse_storage::metadata::TopicRecord;
use streamhouse_storage::{
    Acks, AppendBatch, CheckpointStep, Engine, EngineConfig, Environment, LogConfig, ReadRequest, RecordSlice, Step,
};
use support::sim_disk::SimDisk;

const TOPIC: TopicId = TopicId([9; 16]);
const PARTITIONS: i32 = 3;

/// What the model knows of one partition.
#[derive(Default)]
struct ModelLog {
    /// Base offset → the batch's bytes behind what appending stamps.
    batches: BTreeMap<i64, Vec<u8>>,
    end: i64,
    /// Where DeleteRecords moved the start to; it may lie inside a batch.
    log_start: i64,
    high_watermark: i64,
    written_end: i64,
}

struct World {
    dir: tempfile::TempDir,
    disk: SimDisk,
    engine: Option<Arc<Engine>>,
    model: Vec<ModelLog>,
    rng: StdRng,
    log: Vec<String>,
    segment_bytes: u64,
    starts: u32,
}

fn batch(rng: &mut StdRng, records: usize, value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    for i in 0..records {
        let mut value = vec![0u8; value_bytes];
        rng.fill(&mut value[..]);
        builder.push(1_700_000_000_000 + i as i64, None, Some(&value), &[]);
    }
    builder
        .finish(Compression::None, None)
        .expect("an uncompressed batch can be built")
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let segment_bytes = [1 << 20, 3 << 20, 64 << 20][rng.random_range(0..3)];
        let mut world = World {
            dir: support::harness::scratch_dir(),
            disk: SimDisk::new(seed),
            engine: None,
            model: (0..PARTITIONS).map(|_| ModelLog::default()).collect(),
            rng,
            log: Vec::new(),
            segment_bytes,
            starts: 0,
        };
        world.open().expect("an empty directory opens");
        let engine = world.engine();
        let record = TopicRecord {
            id: TOPIC,
            name: "t".into(),
            partitions: PARTITIONS,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        engine.metadata().create_topics(&[record]).expect("a new topic");
        engine
            .create_logs(TOPIC, 0..PARTITIONS, &world.log_config())
            .expect("logs");
        world
    }

    fn log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            ..LogConfig::default()
        }
    }

    fn engine(&self) -> Arc<Engine> {
        self.engine.clone().expect("open")
    }

    fn open(&mut self) -> streamhouse_storage::Result<()> {
        let mut config = EngineConfig::new(self.dir.path());
        config.journal_file_bytes = 256 << 10;
        config.journal_files = 8;
        config.tail_bytes_max = 64 << 20;
        config.index_memory_bytes = 1 << 20;
        self.starts += 1;
        let environment = Environment {
            disk: Arc::new(self.disk.clone()),
            seed: self.rng.random(),
            now_ms: 1_700_000_000_000,
            on_fatal: Arc::new(|_| {}),
            threads: false,
        };
        let engine = Engine::open_with(config, environment)?;
        for partition in 0..PARTITIONS {
            if let Some(log) = engine.log(TOPIC, partition) {
                log.set_config(self.log_config());
            }
        }
        self.engine = Some(engine);
        Ok(())
    }

    fn observe(&mut self) {
        let engine = self.engine();
        for partition in 0..PARTITIONS {
            let offsets = engine.log(TOPIC, partition).expect("there").offsets();
            let model = &mut self.model[partition as usize];
            assert!(
                offsets.high_watermark.0 >= model.high_watermark,
                "the high watermark went back: {offsets:?}"
            );
            assert!(
                offsets.high_watermark <= offsets.written_end && offsets.written_end <= offsets.log_end,
                "{offsets:?}"
            );
            model.high_watermark = offsets.high_watermark.0;
            model.written_end = offsets.written_end.0;
            assert_eq!((offsets.log_start.0, offsets.log_end.0), (model.log_start, model.end));
        }
    }

    /// Moves a log's start on; durable when it returns.
    fn delete_records(&mut self) {
        let partition = self.rng.random_range(0..PARTITIONS);
        let model = &mut self.model[partition as usize];
        let before = self.rng.random_range(0..=model.high_watermark);
        let engine = self.engine.clone().expect("open");
        let log = engine.log(TOPIC, partition).expect("there");
        let log_start = log
            .delete_records(Offset(before))
            .expect("it is below the high watermark");
        model.log_start = model.log_start.max(before);
        assert_eq!(log_start.0, model.log_start);
        self.log.push(format!("delete p{partition} before {before}"));
    }

    /// Nothing has its age; what lies below the starts goes.
    fn retention(&mut self) {
        self.log.push("retention".into());
        self.engine().run_retention(1_700_000_000_000);
    }

    fn append(&mut self) {
        let partition = self.rng.random_range(0..PARTITIONS);
        let (records, value_bytes) = match self.rng.random_range(0..100) {
            0..40 => (1, self.rng.random_range(1..200)),
            40..60 => (self.rng.random_range(1..20), 100),
            60..75 => (self.rng.random_range(1..4), self.rng.random_range(1000..20_000)),
            75..85 => (1, 4000),
            85..93 => (1, self.rng.random_range(65_000..300_000)),
            93..97 => (1, 200_000),
            _ => (1, self.rng.random_range(900_000..1_000_000)),
        };
        let bytes = batch(&mut self.rng, records, value_bytes);
        let header = BatchHeader::read(&bytes).expect("a batch");
        let acks = [Acks::None, Acks::Written, Acks::Durable][self.rng.random_range(0..3)];
        let engine = self.engine();
        let log = engine.log(TOPIC, partition).expect("there");
        let appended = log.append(&AppendBatch {
            bytes: &bytes,
            header: &header,
            acks,
            now_ms: 1_700_000_000_000,
        });
        let Ok(appended) = appended else { return };
        let model = &mut self.model[partition as usize];
        assert_eq!(appended.base_offset.0, model.end, "offsets without gaps");
        model.batches.insert(model.end, bytes[16..].to_vec());
        model.end = appended.end_offset.0;
        self.log.push(format!(
            "append p{partition} {} bytes at {}",
            bytes.len(),
            appended.base_offset
        ));
    }

    fn step(&mut self) {
        let steps = [
            CheckpointStep::TailsSynced,
            CheckpointStep::Carried,
            CheckpointStep::Marked,
            CheckpointStep::Freed,
        ];
        let step = match self.rng.random_range(0..100) {
            0..35 => Step::WriteJournal,
            35..60 => Step::SyncJournal,
            60..80 => Step::SegmentIo,
            80..83 => Step::CoolDown,
            _ => Step::Checkpoint {
                close: self.rng.random(),
                last: steps[self.rng.random_range(0..steps.len())],
            },
        };
        self.log.push(format!("{step:?}"));
        let done = self.engine().step(step);
        assert!(done.is_ok() || self.disk.is_off(), "{step:?}: {done:?}");
    }

    /// Reads a whole partition and compares it with the model, up to `end`.
    fn check_content(&self, partition: i32, from: i64, max_bytes: usize) {
        let engine = self.engine();
        let log = engine.log(TOPIC, partition).expect("there");
        let model = &self.model[partition as usize];
        let end = log.offsets().high_watermark.0;
        let mut next = from;
        while next < end {
            let request = ReadRequest {
                offset: Offset(next),
                max_bytes,
                min_one_batch: true,
            };
            // As the broker reads: without waiting where that is possible.
            let quick = if next % 3 == 0 { None } else { log.read_tail(&request) };
            let result = quick
                .unwrap_or_else(|| log.read(&request))
                .unwrap_or_else(|error| panic!("p{partition} at {next} of {end}: {error}"));
            let bytes = flatten(&result.slices);
            assert_eq!(bytes.len(), result.bytes);
            let mut rest = &bytes[..];
            let mut whole = 0;
            while rest.len() >= HEADER_BYTES {
                let header = BatchHeader::read(rest).unwrap_or_else(|e| panic!("p{partition} at {next}: {e}"));
                if rest.len() < header.total_bytes() {
                    break;
                }
                let base = header.base_offset.0;
                assert!(base <= next || whole > 0, "the first batch holds the offset");
                let expected = model
                    .batches
                    .get(&base)
                    .unwrap_or_else(|| panic!("p{partition}: no batch starts at {base}"));
                assert!(
                    rest[16..header.total_bytes()] == expected[..],
                    "p{partition}: other bytes at {base}"
                );
                next = header.last_offset().0 + 1;
                rest = &rest[header.total_bytes()..];
                whole += 1;
            }
            assert!(
                result.bytes <= max_bytes || whole == 1,
                "p{partition}: {whole} batches in {} bytes where {max_bytes} were wanted",
                result.bytes
            );
            assert!(
                whole > 0,
                "p{partition} at {next} of {end}: at least one whole batch ({} bytes came)",
                bytes.len()
            );
            assert!(next <= end, "nothing above the high watermark");
        }
    }

    fn check_some(&mut self) {
        let partition = self.rng.random_range(0..PARTITIONS);
        let model = &self.model[partition as usize];
        let (start, end) = (model.log_start, model.high_watermark);
        if end > start {
            let from = self.rng.random_range(start..end);
            let max_bytes = [1, 500, 20_000, 2_000_000][self.rng.random_range(0..4)];
            self.check_content(partition, from, max_bytes);
        }
    }

    /// Ends the run in one of the ways that runs end, and checks what the next one finds.
    fn crash(&mut self) {
        let kill9 = self.rng.random_bool(0.4);
        self.disk.power_off();
        self.engine = None;
        let seed = self.rng.random();
        self.disk = if kill9 {
            self.disk.reboot_kill9()
        } else {
            self.disk.reboot(seed)
        };
        self.log
            .push(format!("crash, {}", if kill9 { "killed" } else { "power lost" }));
        if self.rng.random_bool(0.2) {
            // A second crash while recovery runs.
            let at = self.disk.operation_count() + self.rng.random_range(0..40);
            self.disk.crash_at(at);
            if self.open().is_ok() {
                self.disk.power_off();
            }
            self.engine = None;
            let seed = self.rng.random();
            self.disk = if kill9 {
                self.disk.reboot_kill9()
            } else {
                self.disk.reboot(seed)
            };
            self.log.push("crash during recovery".into());
        }
        self.open().expect("recovery succeeds");
        let engine = self.engine();
        for partition in 0..PARTITIONS {
            let offsets = engine.log(TOPIC, partition).expect("there").offsets();
            let model = &mut self.model[partition as usize];
            let promised = if kill9 {
                model.written_end.max(model.high_watermark)
            } else {
                model.high_watermark
            };
            assert!(
                offsets.log_end.0 >= promised,
                "p{partition} lost {} to {promised}: {offsets:?}",
                offsets.log_end
            );
            assert!(
                offsets.log_end.0 <= model.end,
                "p{partition} has more than was appended: {offsets:?}, {}",
                model.end
            );
            assert_eq!(
                offsets.high_watermark, offsets.log_end,
                "everything that was accepted is durable"
            );
            assert_eq!(
                offsets.log_start.0, model.log_start,
                "p{partition}: its start was durable"
            );
            model.end = offsets.log_end.0;
            model.batches.retain(|base, _| *base < offsets.log_end.0);
            model.high_watermark = offsets.high_watermark.0;
            model.written_end = offsets.written_end.0;
        }
        for partition in 0..PARTITIONS {
            self.check_content(partition, self.model[partition as usize].log_start, 1 << 20);
        }
    }

    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            match self.rng.random_range(0..100) {
                0..52 => self.append(),
                52..55 => self.delete_records(),
                55..86 => self.step(),
                86..88 => self.retention(),
                88..95 => self.check_some(),
                95..97 => {
                    let at = self.disk.operation_count() + self.rng.random_range(0..30);
                    self.disk.crash_at(at);
                    self.log.push(format!("power will go at operation {at}"));
                }
                _ => self.crash(),
            }
            if self.disk.is_off() {
                self.crash();
            }
            self.observe();
        }
        self.crash();
    }
}

fn flatten(slices: &[RecordSlice]) -> Vec<u8> {
    let mut out = Vec::new();
    for slice in slices {
        match slice {
            RecordSlice::Mem(bytes) => out.extend_from_slice(bytes),
            RecordSlice::File { file, position, len } => {
                let at = out.len();
                out.resize(at + len, 0);
                assert_eq!(file.read_at(&mut out[at..], *position).expect("readable"), *len);
            }
        }
    }
    out
}

#[test]
fn any_history_of_crashes_keeps_what_was_promised() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let (first, rounds) = match number("MODEL_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("MODEL_ROUNDS").unwrap_or(60)),
    };
    for seed in first..first + rounds {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(250)));
        if let Err(panic) = outcome {
            for line in world.log.iter().rev().take(60).rev() {
                eprintln!("  {line}");
            }
            eprintln!("replay with MODEL_SEED={seed}; segment_bytes {}", world.segment_bytes);
            std::panic::resume_unwind(panic);
        }
    }
}
