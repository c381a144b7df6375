//! The engine with its threads: on the machine's own disk with many appenders and readers, and on the simulated one for what
//! a clock starts.

use crate::support::batches::{Batch, Expected, flatten};
use crate::support::harness::{Crash, Sim, TOPIC, topic};
use parking_lot::{Condvar, Mutex};
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::types::Offset;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::thread;
use streamhouse_storage::{Acks, Engine, EngineConfig, Log, LogConfig, ReadRequest, Watcher};

/// Wakes a thread that waits for a log to move.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    wakes: Condvar,
}

impl Watcher for Bell {
    fn wake(&self) {
        *self.rung.lock() = true;
        self.wakes.notify_all();
    }
}

/// Blocks until the high watermark is at least `end`. Nobody is asked to flush.
fn wait_until_visible(log: &Arc<Log>, end: i64) {
    loop {
        let bell = Arc::new(Bell::default());
        let watcher: Arc<dyn Watcher> = bell.clone();
        log.watch(&watcher);
        if log.offsets().high_watermark.0 >= end {
            log.unwatch(&watcher);
            return;
        }
        let mut rung = bell.rung.lock();
        while !*rung {
            bell.wakes.wait(&mut rung);
        }
    }
}

#[test]
fn acks_0_and_1_become_durable_and_visible_without_anyone_asking() {
    // engine 19
    for (acks, bytes) in [
        (Acks::None, 200),
        (Acks::Written, 200),
        (Acks::None, 300_000),
        (Acks::Written, 300_000),
    ] {
        println!("{acks:?}, {bytes} bytes");
        let mut sim = Sim::with(1, 1, |sim| {
            sim.threads = true;
            sim.config.flush_interval_ms = 5;
        });
        let mut expected = Expected::default();
        for i in 0..3 {
            sim.add(0, &Batch::of_bytes(bytes, i), acks, &mut expected);
        }
        wait_until_visible(&sim.log(0), 3);
        sim.crash(Crash::PowerLoss(1));
        sim.threads = false;
        sim.open().expect("recovery succeeds");
        expected.check_recovered(&sim.log(0), 3);
    }
}

#[test]
fn a_batch_of_the_journal_is_what_queued_during_the_last_sync() {
    // engine 19: 200 appends during one sync share the next
    let sim = Sim::with(1, 1, |sim| {
        sim.threads = true;
        sim.config.flush_interval_ms = 3_600_000;
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let log = sim.log(0);
    let in_journal = |path: &std::path::Path| path.starts_with("journal");
    // The journal's first file is made and synced with the first append.
    Batch::of_bytes(100, 0).append(&log, Acks::Durable).expect("taken");
    runtime
        .block_on(log.wait(Acks::Durable, Offset(1)))
        .expect("the disk works");
    sim.disk.hold_syncs();
    Batch::of_bytes(100, 1).append(&log, Acks::Durable).expect("taken");
    sim.disk.wait_for_held_syncs(1);
    let before = sim.disk.sync_count(in_journal);
    for i in 2..202 {
        Batch::of_bytes(100, i).append(&log, Acks::Durable).expect("taken");
    }
    assert_eq!(sim.disk.sync_count(in_journal), before, "one sync at a time");
    sim.disk.release_syncs();
    runtime
        .block_on(log.wait(Acks::Durable, Offset(202)))
        .expect("the disk works");
    let syncs = sim.disk.sync_count(in_journal) - before;
    assert!((1..=3).contains(&syncs), "{syncs} syncs for 200 appends");
    drop(log);
    sim.engine().shutdown();
}

const APPENDERS: u64 = 8;
const PARTITIONS: i32 = 3;
const APPENDS: u64 = 120;

/// Partition, base offset, end offset, body.
type Promise = (i32, i64, i64, Vec<u8>);

fn appender(engine: &Arc<Engine>, n: u64) -> Vec<Promise> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut rng = StdRng::seed_from_u64(n);
    let mut kept = Vec::new();
    for i in 0..APPENDS {
        let partition = rng.random_range(0..PARTITIONS);
        let bytes = if rng.random_bool(0.1) {
            rng.random_range(65_536..400_000)
        } else {
            rng.random_range(80..5_000)
        };
        let batch = Batch::of_bytes(bytes, n * 1_000_000 + i);
        let acks = [Acks::None, Acks::Written, Acks::Durable, Acks::Durable][rng.random_range(0..4)];
        let log = engine.log(TOPIC, partition).expect("there");
        runtime.block_on(async {
            engine.admit(bytes).await;
            let appended = batch.append(&log, acks).expect("taken");
            log.wait(acks, appended.end_offset).await.expect("the disk works");
            let offsets = log.offsets();
            let reached = match acks {
                Acks::None => true,
                Acks::Written => offsets.written_end >= appended.end_offset,
                Acks::Durable => offsets.high_watermark >= appended.end_offset,
            };
            assert!(reached, "{acks:?} at {appended:?}: {offsets:?}");
            kept.push((
                partition,
                appended.base_offset.0,
                appended.end_offset.0,
                batch.body().to_vec(),
            ));
        });
    }
    kept
}

/// Follows a partition to `end` and returns base offsets and bodies, as a consumer sees them.
fn reader(log: &Arc<Log>, end: i64) -> Vec<(i64, Vec<u8>)> {
    let mut next = 0;
    let mut seen = Vec::new();
    while next < end {
        wait_until_visible(log, next + 1);
        let request = ReadRequest {
            offset: Offset(next),
            max_bytes: 300_000,
            min_one_batch: true,
        };
        let bytes = flatten(&log.read(&request).expect("readable").slices);
        let mut rest = &bytes[..];
        while rest.len() >= HEADER_BYTES {
            let header = BatchHeader::read(rest).expect("a batch");
            let Some(batch) = rest.get(..header.total_bytes()) else {
                break;
            };
            if header.base_offset.0 >= next {
                assert_eq!(header.base_offset.0, next, "offsets without gaps");
                seen.push((next, batch[16..].to_vec()));
                next = header.last_offset().0 + 1;
            }
            rest = &rest[header.total_bytes()..];
        }
    }
    seen
}

#[test]
fn many_appenders_and_readers_agree_and_a_restart_agrees_with_them() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = EngineConfig::new(dir.path());
    config.journal_file_bytes = 1 << 20;
    config.journal_files = 4;
    config.tail_bytes_max = 16 << 20;
    config.flush_interval_ms = 10;
    let log_config = LogConfig {
        segment_bytes: 4 << 20,
        ..LogConfig::default()
    };
    let engine = Engine::open(config.clone()).expect("a new directory");
    engine
        .metadata()
        .create_topics(&[topic(TOPIC, "t", PARTITIONS)])
        .expect("a new topic");
    engine.create_logs(TOPIC, 0..PARTITIONS, &log_config).expect("logs");

    let appenders: Vec<_> = (0..APPENDERS)
        .map(|n| {
            let engine = engine.clone();
            thread::spawn(move || appender(&engine, n))
        })
        .collect();
    // Readers follow from the start, without knowing the end.
    let stop: i64 = (APPENDERS * APPENDS) as i64;
    let readers: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let log = engine.log(TOPIC, partition).expect("there");
            thread::spawn(move || reader(&log, stop / i64::from(PARTITIONS) / 2))
        })
        .collect();
    let mut promises: Vec<Promise> = appenders
        .into_iter()
        .flat_map(|t| t.join().expect("no panic"))
        .collect();
    promises.sort();
    assert_eq!(promises.len(), stop as usize);
    let early: Vec<_> = readers.into_iter().map(|t| t.join().expect("no panic")).collect();

    let expected = |partition: i32| -> Vec<(i64, Vec<u8>)> {
        let of_partition = promises.iter().filter(|promise| promise.0 == partition);
        of_partition.map(|(_, base, _, body)| (*base, body.clone())).collect()
    };
    let check = |engine: &Arc<Engine>| {
        for partition in 0..PARTITIONS {
            let log = engine.log(TOPIC, partition).expect("there");
            let expected = expected(partition);
            assert_eq!(
                log.offsets().log_end.0,
                expected.len() as i64,
                "one record a batch, no gaps"
            );
            assert!(reader(&log, expected.len() as i64) == expected, "partition {partition}");
        }
    };
    check(&engine);
    for (partition, early) in early.iter().enumerate() {
        assert!(
            expected(partition as i32).starts_with(early),
            "what was seen early was the truth"
        );
    }
    engine.shutdown();
    drop(engine);
    let engine = Engine::open(config).expect("it starts again");
    check(&engine);
    engine.shutdown();
}
