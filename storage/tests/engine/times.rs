//! Offsets by time, with timestamps in any order, in memory, on disk, across segments and restarts.

use crate::support::batches::{Batch, NOW_MS};
use crate::support::harness::{Crash, Sim};
use protocol::compression::Compression;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use streamhouse_storage::{Acks, LogConfig, Step};

/// Appends a record for each timestamp, `batch` records at once, each with `value_bytes`.
fn fill(sim: &Sim, times: &[i64], batch: usize, value_bytes: usize, codec: Compression) {
    for (i, times) in times.chunks(batch).enumerate() {
        let value: Vec<u8> = (0..value_bytes).map(|j| (i * 7 + j * j) as u8).collect();
        sim.append(0, &Batch::of_times(times, &value, codec), Acks::Durable)
            .expect("taken");
    }
    sim.settle();
}

/// Compares every question that matters with a walk over the timestamps themselves.
fn check(sim: &Sim, times: &[i64], what: &str) {
    let log = sim.log(0);
    let mut questions: Vec<i64> = times.iter().flat_map(|time| [time - 1, *time, time + 1]).collect();
    questions.extend([0, i64::MAX]);
    questions.sort_unstable();
    questions.dedup();
    for question in questions {
        let found = log
            .find_by_timestamp(question)
            .expect("the log can be read")
            .map(|found| (found.offset.0, found.timestamp));
        let expected = times
            .iter()
            .position(|time| *time >= question)
            .map(|at| (at as i64, times[at]));
        assert_eq!(
            found, expected,
            "{what}: contract 59, first record at or after {question}"
        );
    }
    let largest = times.iter().max().expect("there are records");
    let found = log
        .max_timestamp()
        .expect("the log can be read")
        .map(|found| (found.offset.0, found.timestamp));
    let expected = times
        .iter()
        .position(|time| time == largest)
        .map(|at| (at as i64, *largest));
    assert_eq!(found, expected, "{what}: contract 58, the largest timestamp");
}

fn random_times(seed: u64, count: usize) -> Vec<i64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|i| NOW_MS + i as i64 * 10 + rng.random_range(-400..400))
        .collect()
}

#[test]
fn the_first_record_at_or_after_a_time_is_found_everywhere() {
    // contract 58, contract 59
    type Shape = (&'static str, usize, usize, usize, Compression);
    let shapes: [Shape; 5] = [
        ("one record a batch, in memory", 60, 1, 50, Compression::None),
        ("some records a batch, some segments", 120, 3, 30_000, Compression::None),
        ("one record a batch, some segments", 60, 1, 70_000, Compression::None),
        ("compressed batches", 120, 6, 5_000, Compression::Zstd),
        ("compressed batches of another kind", 60, 4, 20_000, Compression::Lz4),
    ];
    for (seed, (what, count, batch, value_bytes, codec)) in shapes.into_iter().enumerate() {
        let mut sim = Sim::with(1, 1, |sim| {
            sim.log_config = LogConfig {
                segment_bytes: 1 << 20,
                ..LogConfig::default()
            }
        });
        let times = random_times(seed as u64, count);
        fill(&sim, &times, batch, value_bytes, codec);
        check(&sim, &times, what);
        sim.step(Step::CoolDown).expect("the disk works");
        check(&sim, &times, what);
        sim.restart(Crash::PowerLoss(1));
        check(&sim, &times, what);
        sim.checkpoint();
        sim.restart(Crash::Kill9);
        check(&sim, &times, what);
    }
}

#[test]
fn a_largest_timestamp_in_an_old_segment_is_found() {
    // contract 58: −3
    let mut sim = Sim::with(1, 1, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 1 << 20,
            ..LogConfig::default()
        }
    });
    let mut times: Vec<i64> = (0..40).map(|i| NOW_MS + i).collect();
    times[7] = NOW_MS + 1000;
    times[30] = NOW_MS + 1000;
    fill(&sim, &times, 1, 100_000, Compression::None);
    check(&sim, &times, "twice the same");
    sim.checkpoint();
    sim.restart(Crash::PowerLoss(1));
    check(&sim, &times, "after a restart");
}

#[test]
fn only_what_is_below_the_high_watermark_is_found() {
    // contract 59
    let sim = Sim::new(1, 1);
    fill(&sim, &[NOW_MS, NOW_MS + 5], 1, 100, Compression::None);
    sim.append(0, &Batch::at(NOW_MS + 100, &[1; 100]), Acks::Durable)
        .expect("taken");
    let log = sim.log(0);
    assert_eq!(log.find_by_timestamp(NOW_MS + 50).expect("readable"), None);
    assert_eq!(
        log.max_timestamp().expect("readable").map(|found| found.offset.0),
        Some(1)
    );
    sim.settle();
    assert_eq!(
        log.find_by_timestamp(NOW_MS + 50)
            .expect("readable")
            .map(|found| found.offset.0),
        Some(2)
    );
    assert_eq!(
        log.max_timestamp().expect("readable").map(|found| found.offset.0),
        Some(2)
    );
}

#[test]
fn an_empty_log_has_no_times() {
    // contract 59
    let sim = Sim::new(1, 1);
    assert_eq!(sim.log(0).find_by_timestamp(0).expect("readable"), None);
    assert_eq!(sim.log(0).max_timestamp().expect("readable"), None);
}

#[test]
fn the_epoch_at_a_time_is_that_of_its_batch() {
    // contract 60
    let mut sim = Sim::new(1, 1);
    for life in 0..3 {
        fill(&sim, &[NOW_MS + life * 10], 1, 100, Compression::None);
        sim.restart(Crash::PowerLoss(1));
    }
    for life in 0..3 {
        let found = sim
            .log(0)
            .find_by_timestamp(NOW_MS + life * 10)
            .expect("readable")
            .expect("there");
        assert_eq!((found.offset.0, i64::from(found.leader_epoch)), (life, life));
    }
}
