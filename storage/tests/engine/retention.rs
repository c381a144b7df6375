//! Retention: what goes, what stays, and that a crash between its steps leaves a log whose start agrees with its files.

use crate::support::batches::{Batch, Expected, NOW_MS, read_all, try_read_from};
use crate::support::harness::{Crash, Sim};
use crate::support::sim_disk::OpKind;
use protocol::types::Offset;
use streamhouse_storage::{Acks, ErrorKind, LogConfig, ReadRequest};

const HOUR: i64 = 3_600_000;
const BYTES: usize = 400_000;

/// Two batches a segment, one segment an hour; partition 1 is left alone.
fn filled(config: LogConfig, segments: i64) -> (Sim, Expected) {
    let sim = Sim::with(1, 2, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 1 << 20,
            ..config
        }
    });
    let mut expected = Expected::default();
    for i in 0..2 * segments {
        let time = NOW_MS + i / 2 * HOUR;
        let mut batch = Batch::of_bytes(BYTES, i as u64);
        let mut builder = protocol::records::BatchBuilder::new(time);
        builder.push(time, None, Some(&batch.bytes[..BYTES - 100]), &[]);
        batch = Batch::from_builder(builder);
        let appended = batch.append_at(&sim.log(0), Acks::Durable, time).expect("taken");
        expected.push(&batch, &appended);
    }
    sim.settle();
    expected.observe(&sim.log(0));
    assert_eq!(expected.durable, 2 * segments);
    (sim, expected)
}

fn keep() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        retention_bytes: -1,
        segment_ms: i64::MAX,
        ..LogConfig::default()
    }
}

fn files(sim: &Sim) -> usize {
    sim.disk
        .paths()
        .iter()
        .filter(|path| path.starts_with("segments"))
        .count()
}

fn start(sim: &Sim) -> i64 {
    sim.log(0).offsets().log_start.0
}

#[test]
fn time_is_that_of_a_segments_newest_record() {
    // contract 101
    let (sim, expected) = filled(
        LogConfig {
            retention_ms: 2 * HOUR,
            ..keep()
        },
        5,
    );
    let last = NOW_MS + 4 * HOUR;
    // Segment i has only records of hour i; it goes when they are older than two hours.
    for (now, log_start) in [
        (NOW_MS + 2 * HOUR, 0),
        (NOW_MS + 2 * HOUR + 1, 2),
        (last, 4),
        (last + 1, 6),
        (last + 1, 6),
    ] {
        sim.engine().run_retention(now);
        assert_eq!(start(&sim), log_start, "at {now}");
        expected.check_content(&sim.log(0));
    }
    // An old record in a segment with a new one keeps it.
    let sim = Sim::with(2, 1, |sim| {
        sim.log_config = LogConfig {
            retention_ms: HOUR,
            segment_bytes: 1 << 20,
            ..keep()
        }
    });
    for time in [NOW_MS - 10 * HOUR, NOW_MS, NOW_MS - 20 * HOUR] {
        sim.append(0, &Batch::at(time, &[1; 700_000]), Acks::Durable)
            .expect("taken");
    }
    sim.settle();
    sim.engine().run_retention(NOW_MS);
    assert_eq!(start(&sim), 1, "only the first segment is old through and through");
}

#[test]
fn the_oldest_go_while_the_rest_is_as_large_as_the_limit() {
    // contract 101
    let (sim, expected) = filled(
        LogConfig {
            retention_bytes: 5 * BYTES as i64,
            ..keep()
        },
        5,
    );
    let size = sim.log(0).size_bytes();
    sim.engine().run_retention(NOW_MS);
    // 10 batches: with 8 and 6 the rest is at least 5, with 4 it is not.
    assert_eq!(start(&sim), 4);
    assert!(sim.log(0).size_bytes() < size && sim.log(0).size_bytes() >= 5 * BYTES as u64);
    assert_eq!(files(&sim), 3);
    expected.check_content(&sim.log(0));
    sim.engine().run_retention(NOW_MS);
    assert_eq!(start(&sim), 4, "a second pass finds nothing");
}

#[test]
fn an_expired_active_segment_is_rolled_first_and_the_log_goes_on() {
    // contract 101
    let (mut sim, mut expected) = filled(
        LogConfig {
            retention_ms: HOUR,
            ..keep()
        },
        1,
    );
    sim.engine().run_retention(NOW_MS + HOUR + 1);
    // The first pass rolls, it or the next removes.
    sim.engine().run_retention(NOW_MS + HOUR + 1);
    let offsets = sim.log(0).offsets();
    assert_eq!(
        (offsets.log_start.0, offsets.high_watermark.0, offsets.log_end.0),
        (2, 2, 2),
        "empty, offsets go on"
    );
    assert_eq!(files(&sim), 0);
    for restart in 0..2 {
        let batch = Batch::of_bytes(100, restart);
        let appended = batch
            .append_at(&sim.log(0), Acks::Durable, NOW_MS + 2 * HOUR)
            .expect("taken");
        assert_eq!(appended.base_offset.0, 2 + restart as i64);
        expected.push(&batch, &appended);
        sim.settle();
        sim.restart(Crash::PowerLoss(restart));
        assert_eq!(start(&sim), 2);
        expected.check_content(&sim.log(0));
    }
}

#[test]
fn a_log_that_retention_emptied_is_empty_after_a_restart_and_keeps_its_offsets() {
    // contract 101
    for crash in [Crash::Kill9, Crash::PowerLoss(1)] {
        let (mut sim, _) = filled(
            LogConfig {
                retention_ms: HOUR,
                ..keep()
            },
            3,
        );
        sim.engine().run_retention(NOW_MS + 9 * HOUR);
        sim.engine().run_retention(NOW_MS + 9 * HOUR);
        assert_eq!(start(&sim), 6);
        for _ in 0..2 {
            sim.restart(crash);
            let offsets = sim.log(0).offsets();
            assert_eq!((offsets.log_start.0, offsets.log_end.0), (6, 6), "{crash:?}");
        }
        assert_eq!(
            sim.append(0, &Batch::of_bytes(10, 1), Acks::Durable)
                .expect("taken")
                .base_offset
                .0,
            6
        );
    }
}

#[test]
fn a_compacted_topic_is_kept_whole() {
    // contract 101
    let config = LogConfig {
        retention_ms: 0,
        retention_bytes: 0,
        delete_policy: false,
        ..keep()
    };
    let (sim, expected) = filled(config, 4);
    sim.engine().run_retention(NOW_MS + 1000 * HOUR);
    assert_eq!((start(&sim), files(&sim)), (0, 4));
    expected.check_content(&sim.log(0));
}

#[test]
fn what_is_below_the_start_is_out_of_range() {
    // contract 48, contract 101
    let (sim, expected) = filled(
        LogConfig {
            retention_bytes: 4 * BYTES as i64 - 1000,
            ..keep()
        },
        5,
    );
    // A reader that holds a slice of a segment keeps it.
    let request = |offset| ReadRequest {
        offset: Offset(offset),
        max_bytes: 1 << 20,
        min_one_batch: true,
    };
    sim.step(streamhouse_storage::Step::CoolDown).expect("the disk works");
    let held = sim.log(0).read(&request(0)).expect("there");
    sim.engine().run_retention(NOW_MS);
    assert_eq!(start(&sim), 6);
    for offset in [0, 5, 11] {
        let error = sim.log(0).read(&request(offset)).expect_err("not there");
        assert_eq!(error.kind, ErrorKind::OffsetOutOfRange, "{offset}");
        let error = sim
            .log(0)
            .read_tail(&request(offset))
            .expect("known without the disk")
            .expect_err("not there");
        assert_eq!(error.kind, ErrorKind::OffsetOutOfRange, "{offset}");
    }
    assert_eq!(try_read_from(&sim.log(0), 6, 1 << 20).expect("there").len(), 4);
    let bytes = crate::support::batches::flatten(&held.slices);
    assert!(
        bytes[16..].starts_with(&expected.batches[0].2),
        "what a reader holds stays readable"
    );
}

#[test]
fn the_log_start_is_durable_before_files_go_whenever_power_goes() {
    // contract 101
    let config = LogConfig {
        retention_bytes: 3 * BYTES as i64,
        ..keep()
    };
    let (sim, _) = filled(config.clone(), 6);
    let first = sim.disk.operation_count();
    sim.engine().run_retention(NOW_MS);
    let end = sim.disk.operation_count();
    let removals = sim.disk.operations()[first as usize..]
        .iter()
        .filter(|op| op.kind == OpKind::Remove)
        .count();
    assert_eq!((removals, start(&sim)), (4, 8));
    for at in first..=end {
        for crash in [Crash::Kill9, Crash::PowerLoss(at)] {
            let (mut sim, expected) = filled(config.clone(), 6);
            sim.disk.crash_at(at);
            sim.engine().run_retention(NOW_MS);
            println!("{crash:?} at {at} of {first}..{end}");
            sim.restart(crash);
            let log_start = start(&sim);
            assert!(log_start == 0 || log_start == 8, "all or nothing: {log_start}");
            assert_eq!(sim.log(0).offsets().log_end.0, 12);
            // All that it says it has can be read: no file went before the start was durable.
            expected.check_content(&sim.log(0));
            assert_eq!(read_all(&sim.log(0)).len() as i64, 12 - log_start);
            sim.engine().run_retention(NOW_MS);
            assert_eq!(start(&sim), 8, "the next pass finishes it");
            expected.check_content(&sim.log(0));
        }
    }
}

#[test]
fn nothing_above_the_high_watermark_goes() {
    // contract 101
    let sim = Sim::with(1, 1, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 1 << 20,
            retention_ms: 1,
            retention_bytes: 0,
            ..keep()
        };
    });
    for i in 0..6 {
        sim.append(0, &Batch::of_bytes(BYTES, i), Acks::None).expect("taken");
    }
    // Nothing is durable yet.
    sim.engine().run_retention(NOW_MS + 1000 * HOUR);
    let offsets = sim.log(0).offsets();
    assert!(offsets.log_start <= offsets.high_watermark, "{offsets:?}");
    sim.settle();
    sim.engine().run_retention(NOW_MS + 1000 * HOUR);
    sim.engine().run_retention(NOW_MS + 1000 * HOUR);
    assert_eq!(sim.log(0).offsets().log_start.0, 6);
}
