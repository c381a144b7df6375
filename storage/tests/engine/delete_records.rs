//! DeleteRecords: the log start moves where it was asked to and stays there whatever ends the run; files follow.

use crate::support::batches::{Batch, Expected, NOW_MS, STAMPED_BYTES, flatten, read_all};
use crate::support::harness::{Crash, Sim};
use crate::support::sim_disk::OpKind;
use protocol::compression::Compression;
use protocol::types::Offset;
use streamhouse_storage::{Acks, DurabilityMode, ErrorKind, LogConfig, ReadRequest, Step};

/// Two of them fill a segment.
const BYTES: usize = 400_000;

fn small_segments(delete_policy: bool) -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        retention_ms: -1,
        retention_bytes: -1,
        delete_policy,
        ..LogConfig::default()
    }
}

/// Batches of one record, two a segment.
fn filled(batches: u64, delete_policy: bool) -> (Sim, Expected) {
    let sim = Sim::with(1, 2, |sim| sim.log_config = small_segments(delete_policy));
    let mut expected = Expected::default();
    for i in 0..batches {
        sim.add(0, &Batch::of_bytes(BYTES, i), Acks::Durable, &mut expected);
    }
    sim.settle();
    expected.observe(&sim.log(0));
    (sim, expected)
}

/// Batches of ten small records each.
fn tens(sim: &Sim, batches: i32) -> Expected {
    let mut expected = Expected::default();
    for i in 0..batches {
        sim.add(0, &Batch::of_producer(7, 0, i * 10, 10), Acks::Durable, &mut expected);
    }
    sim.settle();
    expected.observe(&sim.log(0));
    expected
}

fn delete(sim: &Sim, before: i64) -> Result<i64, ErrorKind> {
    let start = sim.log(0).delete_records(Offset(before));
    start.map(|start| start.0).map_err(|error| error.kind)
}

fn start(sim: &Sim) -> i64 {
    sim.log(0).offsets().log_start.0
}

fn files(sim: &Sim) -> usize {
    let paths = sim.disk.paths();
    paths.iter().filter(|path| path.starts_with("segments")).count()
}

fn read(sim: &Sim, offset: i64) -> Result<Vec<u8>, ErrorKind> {
    let request = ReadRequest {
        offset: Offset(offset),
        max_bytes: 1,
        min_one_batch: true,
    };
    let quick = sim
        .log(0)
        .read_tail(&request)
        .map(|read| read.map_err(|error| error.kind));
    let slow = sim.log(0).read(&request).map_err(|error| error.kind);
    let bytes = slow.map(|read| flatten(&read.slices));
    if let Some(quick) = quick {
        assert_eq!(
            quick.map(|read| flatten(&read.slices)),
            bytes,
            "both ways to read agree"
        );
    }
    bytes
}

/// What a log looks like from which the offsets below 25 of 50 were deleted.
fn check_25(sim: &Sim, expected: &Expected, what: &str) {
    let offsets = sim.log(0).offsets();
    assert_eq!((offsets.log_start.0, offsets.log_end.0), (25, 50), "{what}");
    for below in [0, 20, 24] {
        assert_eq!(read(sim, below), Err(ErrorKind::OffsetOutOfRange), "{what}, {below}");
    }
    for inside in [25, 29] {
        // contract 47: the whole batch that holds the offset, 20–29.
        let bytes = read(sim, inside).unwrap_or_else(|error| panic!("{what}, {inside}: {error:?}"));
        assert!(bytes[STAMPED_BYTES..] == expected.batches[2].2[..], "{what}, {inside}");
    }
    assert_eq!(read_all(&sim.log(0)).len(), 3, "{what}");
}

#[test]
fn the_start_may_lie_inside_a_batch_and_survives_every_stop() {
    // contract 67
    for checkpoints in [(false, false), (true, false), (false, true), (true, true)] {
        for crash in [Crash::Kill9, Crash::PowerLoss(1), Crash::PowerLoss(2)] {
            let what = format!("checkpoints {checkpoints:?}, {crash:?}");
            let mut sim = Sim::with(1, 1, |sim| sim.log_config = small_segments(true));
            let mut expected = tens(&sim, 5);
            if checkpoints.0 {
                sim.checkpoint();
            }
            assert_eq!(delete(&sim, 25), Ok(25), "{what}");
            check_25(&sim, &expected, &what);
            if checkpoints.1 {
                sim.checkpoint();
            }
            for _ in 0..2 {
                sim.restart(crash);
                check_25(&sim, &expected, &what);
            }
            // The log goes on, and so does what recognises retries (contract 43).
            let retry = sim
                .append(0, &Batch::of_producer(7, 0, 0, 10), Acks::Durable)
                .expect("a retry");
            assert_eq!((retry.duplicate, retry.log_start_offset.0), (true, 25), "{what}");
            sim.add(0, &Batch::of_producer(7, 0, 50, 10), Acks::Durable, &mut expected);
            sim.settle();
            sim.restart_cleanly();
            assert_eq!((start(&sim), read_all(&sim.log(0)).len()), (25, 4), "{what}");
        }
    }
}

#[test]
fn the_start_never_goes_back_nor_past_what_is_durable() {
    // contract 67
    let mut sim = Sim::new(1, 1);
    assert_eq!(delete(&sim, 0), Ok(0), "of an empty log there is nothing to delete");
    assert_eq!(delete(&sim, 1), Err(ErrorKind::OffsetOutOfRange));
    sim.append(0, &Batch::of_value(b"a"), Acks::None).expect("taken");
    assert_eq!(
        delete(&sim, 1),
        Err(ErrorKind::OffsetOutOfRange),
        "it is not durable yet"
    );
    sim.settle();
    assert_eq!(delete(&sim, 1), Ok(1));
    for before in [1, 0, -5] {
        assert_eq!(delete(&sim, before), Ok(1), "again, or lower");
    }
    assert_eq!(delete(&sim, 2), Err(ErrorKind::OffsetOutOfRange));
    sim.restart(Crash::PowerLoss(1));
    assert_eq!(
        (start(&sim), sim.log(0).offsets().log_end.0),
        (1, 1),
        "everything was deleted"
    );
    assert_eq!(read(&sim, 0), Err(ErrorKind::OffsetOutOfRange));
    assert_eq!(read(&sim, 1), Ok(Vec::new()), "the end can be waited at");
    let next = sim.append(0, &Batch::of_value(b"b"), Acks::Durable).expect("taken");
    assert_eq!(next.base_offset.0, 1);
    let log = sim.log(0);
    sim.engine()
        .delete_logs(crate::support::harness::TOPIC)
        .expect("they go");
    let error = log.delete_records(Offset(1)).expect_err("the topic is gone");
    assert_eq!(error.kind, ErrorKind::Deleted);
}

#[test]
fn segments_wholly_below_go_once_a_checkpoint_has_passed_them() {
    // contract 67, contract 101: with any cleanup.policy
    for delete_policy in [true, false] {
        let (mut sim, expected) = filled(10, delete_policy);
        assert_eq!(delete(&sim, 3), Ok(3));
        assert_eq!(files(&sim), 5, "recovery would still read them");
        expected.check_content(&sim.log(0));
        sim.checkpoint();
        assert_eq!(delete(&sim, 5), Ok(5));
        assert_eq!(files(&sim), 3, "0–1 and 2–3 are wholly below");
        expected.check_content(&sim.log(0));
        sim.restart(Crash::PowerLoss(1));
        assert_eq!((start(&sim), files(&sim)), (5, 3));
        expected.check_content(&sim.log(0));
        // A retention pass takes what is left, the active segment too when nothing of it is to stay.
        assert_eq!(delete(&sim, 10), Ok(10));
        sim.engine().run_retention(NOW_MS);
        sim.engine().run_retention(NOW_MS);
        assert_eq!((start(&sim), files(&sim), sim.log(0).size_bytes()), (10, 0, 0));
        sim.restart(Crash::Kill9);
        let offsets = sim.log(0).offsets();
        assert_eq!((offsets.log_start.0, offsets.log_end.0), (10, 10));
    }
}

#[test]
fn segments_that_were_not_checkpointed_go_with_a_later_pass_restarts_included() {
    // contract 67
    let (mut sim, expected) = filled(10, false);
    assert_eq!(delete(&sim, 7), Ok(7));
    assert_eq!(files(&sim), 5);
    sim.restart(Crash::Kill9);
    assert_eq!((start(&sim), files(&sim)), (7, 5));
    sim.checkpoint();
    sim.restart(Crash::PowerLoss(3));
    assert_eq!(
        (start(&sim), files(&sim)),
        (7, 5),
        "their rows are there, so that they are found"
    );
    sim.engine().run_retention(NOW_MS);
    assert_eq!((start(&sim), files(&sim)), (7, 2));
    expected.check_content(&sim.log(0));
}

#[test]
fn the_start_is_durable_before_files_go_and_leftovers_go_at_the_next_start() {
    // contract 67
    let (sim, _) = filled(10, true);
    sim.checkpoint();
    let first = sim.disk.operation_count();
    assert_eq!(delete(&sim, 7), Ok(7));
    let end = sim.disk.operation_count();
    let removed = |op: &&crate::support::sim_disk::Operation| op.kind == OpKind::Remove;
    assert_eq!(
        sim.disk.operations()[first as usize..].iter().filter(removed).count(),
        3
    );
    for at in first..=end {
        for crash in [Crash::Kill9, Crash::PowerLoss(at)] {
            println!("{crash:?} at {at} of {first}..{end}");
            let (mut sim, expected) = filled(10, true);
            sim.checkpoint();
            sim.disk.crash_at(at);
            // The answer may be lost; the start is not.
            assert_eq!(delete(&sim, 7), Ok(7));
            sim.restart(crash);
            assert_eq!((start(&sim), files(&sim)), (7, 2));
            expected.check_content(&sim.log(0));
        }
    }
}

#[test]
fn looking_up_by_time_sees_only_what_is_left() {
    // contract 58, contract 59, contract 67
    for codec in [Compression::None, Compression::Lz4] {
        let mut sim = Sim::new(1, 1);
        for times in [[10, 90, 20], [30, 80, 40], [50, 70, 60]] {
            let times = times.map(|time| NOW_MS + time);
            sim.append(0, &Batch::of_times(&times, b"v", codec), Acks::Durable)
                .expect("taken");
        }
        sim.settle();
        let check = |sim: &mut Sim, before: i64, largest: Option<(i64, i64)>, from_25: Option<(i64, i64)>| {
            assert_eq!(delete(sim, before), Ok(before));
            for restart in [false, true] {
                if restart {
                    sim.checkpoint();
                    sim.restart(Crash::PowerLoss(1));
                }
                let what = format!("{codec:?}, before {before}, restart {restart}");
                let found = |found: Option<streamhouse_storage::TimestampOffset>| {
                    found.map(|found| (found.timestamp - NOW_MS, found.offset.0))
                };
                assert_eq!(found(sim.log(0).max_timestamp().expect("readable")), largest, "{what}");
                let from_25_found = sim.log(0).find_by_timestamp(NOW_MS + 25).expect("readable");
                assert_eq!(found(from_25_found), from_25, "{what}");
            }
        };
        check(&mut sim, 1, Some((90, 1)), Some((90, 1)));
        // Inside the batch that had the largest.
        check(&mut sim, 2, Some((80, 4)), Some((30, 3)));
        check(&mut sim, 5, Some((70, 7)), Some((40, 5)));
        check(&mut sim, 8, Some((60, 8)), Some((60, 8)));
        check(&mut sim, 9, None, None);
    }
}

#[test]
fn a_power_cut_that_takes_records_below_the_start_leaves_a_log_that_goes_on() {
    // contract 67, with the durability that allows a loss
    for checkpoint in [false, true] {
        for seed in 0..20 {
            let what = format!("checkpoint {checkpoint}, seed {seed}");
            let mut sim = Sim::with(seed, 1, |sim| sim.config.durability = DurabilityMode::PageCache);
            tens(&sim, 2);
            if checkpoint {
                sim.checkpoint();
            }
            sim.append(0, &Batch::of_producer(7, 0, 20, 10), Acks::Written)
                .expect("taken");
            sim.step(Step::WriteJournal).expect("the disk works");
            assert_eq!(
                delete(&sim, 25),
                Ok(25),
                "{what}: what is written can be read, and deleted"
            );
            sim.restart(Crash::PowerLoss(seed));
            let offsets = sim.log(0).offsets();
            assert!(offsets.log_start <= offsets.log_end, "{what}: {offsets:?}");
            let next = sim
                .append(0, &Batch::of_value(b"next"), Acks::Durable)
                .expect("taken")
                .base_offset;
            assert_eq!(next, offsets.log_end, "{what}");
            sim.settle();
            sim.step(Step::SyncJournal).expect("the disk works");
            sim.restart(Crash::Kill9);
            assert!(start(&sim) <= next.0, "{what}: what came after the loss is visible");
            let bytes = read(&sim, next.0).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert!(bytes[STAMPED_BYTES..] == *Batch::of_value(b"next").body(), "{what}");
        }
    }
}

#[test]
fn a_log_that_is_rewritten_again_and_again_stays_small() {
    // As the coordinator of groups does: write the live state anew, then let go of what lies before it.
    let mut sim = Sim::with(1, 1, |sim| sim.log_config = small_segments(false));
    let mut end = 0;
    for round in 0..60 {
        let live = sim.log(0).offsets().log_end;
        for i in 0..3 {
            let appended = sim
                .append(0, &Batch::of_bytes(BYTES / 2, round * 3 + i), Acks::Durable)
                .expect("taken");
            end = appended.end_offset.0;
        }
        sim.settle();
        assert_eq!(sim.log(0).delete_records(live).expect("it is durable"), live);
        if round % 7 == 6 {
            sim.checkpoint();
        }
        if round % 10 == 9 {
            sim.engine().run_retention(NOW_MS);
            assert!(files(&sim) <= 4, "round {round}: {} files", files(&sim));
        }
        if round % 17 == 16 {
            sim.restart(Crash::PowerLoss(round));
        }
        assert_eq!((start(&sim), sim.log(0).offsets().log_end.0), (live.0, end));
    }
    assert_eq!(read_all(&sim.log(0)).len(), 3);
}
