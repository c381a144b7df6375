//! What is synced before what, and what memory and disk space are taken: rules that a comparison of contents does not show.

use crate::support::batches::{Batch, Expected, read_all, try_read_from};
use crate::support::harness::{Crash, Sim};
use crate::support::sim_disk::{OpKind, Operation};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use streamhouse_storage::{Acks, CheckpointStep, LogConfig, ReadRequest, RecordSlice, Step};

fn position(operations: &[Operation], from: usize, wanted: impl Fn(&Operation) -> bool) -> Option<usize> {
    operations.iter().skip(from).position(wanted).map(|at| at + from)
}

fn segments(sim: &Sim) -> Vec<PathBuf> {
    sim.disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("segments"))
        .collect()
}

#[test]
fn every_dirty_file_is_synced_before_marks_advance() {
    // engine 6
    let sim = Sim::new(1, 3);
    for i in 0..8 {
        for partition in 0..3 {
            // Nobody asks for a sync.
            sim.append(partition, &Batch::of_bytes(150_000, i), Acks::None)
                .expect("taken");
        }
    }
    sim.append(0, &Batch::of_bytes(500, 1), Acks::None).expect("taken");
    sim.step(Step::WriteJournal).expect("the disk works");
    assert_eq!(
        sim.disk.sync_count(|path| path.starts_with("segments")),
        0,
        "nothing is synced yet"
    );
    sim.try_checkpoint(CheckpointStep::TailsSynced).expect("the disk works");
    assert_eq!(segments(&sim).len(), 3);
    for path in segments(&sim) {
        assert!(
            sim.disk.durable_content(&path) == sim.disk.content(&path),
            "{} is synced",
            path.display()
        );
    }
    // The rests of blocks are durable in the journal before the marks, too.
    sim.try_checkpoint(CheckpointStep::Carried).expect("the disk works");
    for path in sim.disk.paths().into_iter().filter(|path| path.starts_with("journal")) {
        assert!(
            sim.disk.durable_content(&path) == sim.disk.content(&path),
            "{} is synced",
            path.display()
        );
    }
    let before = sim.disk.operation_count();
    sim.try_checkpoint(CheckpointStep::Marked).expect("the disk works");
    let unsynced: Vec<_> = sim.disk.operations()[before as usize..]
        .iter()
        .filter(|op| op.kind == OpKind::Write)
        .cloned()
        .collect();
    assert!(
        unsynced.iter().all(|op| op.path.starts_with("journal")),
        "only rests are written again: {unsynced:?}"
    );
}

#[test]
fn recovery_syncs_what_it_accepts_before_anyone_is_served() {
    // engine 12: after kill −9 it may exist in the page cache alone
    let mut sim = Sim::new(1, 2);
    let mut expected = vec![Expected::default(); 2];
    for i in 0..5 {
        sim.add(0, &Batch::of_bytes(700, i), Acks::Written, &mut expected[0]);
        sim.add(1, &Batch::of_bytes(200_000, i), Acks::Written, &mut expected[1]);
    }
    sim.step(Step::WriteJournal).expect("the disk works");
    sim.step(Step::SegmentIo).expect("the disk works");
    for partition in 0..2 {
        expected[partition as usize].observe(&sim.log(partition));
        assert_eq!(expected[partition as usize].written, 5);
    }
    sim.restart(Crash::Kill9);
    for partition in 0..2 {
        assert_eq!(sim.log(partition).offsets().high_watermark.0, 5, "served");
    }
    // Nothing else happens before the power goes.
    sim.restart(Crash::PowerLoss(3));
    for partition in 0..2 {
        expected[partition as usize].check_recovered(&sim.log(partition), 5);
    }
}

#[test]
fn a_segment_is_synced_before_the_next_one_is_written() {
    // engine 1: what is synced is always a prefix
    let sim = Sim::with(1, 1, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 1 << 20,
            ..LogConfig::default()
        }
    });
    for i in 0..30 {
        sim.append(0, &Batch::of_bytes(200_000, i), Acks::None).expect("taken");
    }
    sim.step(Step::WriteJournal).expect("the disk works");
    sim.step(Step::SegmentIo).expect("the disk works");
    let operations = sim.disk.operations();
    let paths = segments(&sim);
    assert!(paths.len() >= 5, "{paths:?}");
    for pair in paths.windows(2) {
        let of = |kind: OpKind, path: &Path| {
            let path = path.to_owned();
            move |op: &Operation| op.kind == kind && op.path == path
        };
        let last_write = operations
            .iter()
            .rposition(of(OpKind::Write, &pair[0]))
            .expect("written");
        let synced = position(&operations, last_write, of(OpKind::Sync, &pair[0])).expect("synced");
        let next = operations
            .iter()
            .position(of(OpKind::Write, &pair[1]))
            .expect("written");
        assert!(
            synced < next,
            "{} is synced before {} is written",
            pair[0].display(),
            pair[1].display()
        );
    }
}

#[test]
fn a_large_append_is_noted_in_the_journal_before_its_ack() {
    // engine 15
    let mut sim = Sim::new(1, 1);
    let mut expected = Expected::default();
    sim.add(0, &Batch::of_bytes(200_000, 1), Acks::Durable, &mut expected);
    sim.settle();
    sim.checkpoint();
    // A batch that ends right with a block: nothing is left for the journal but the note.
    let bytes = (1 << 20) - 200_000 % 4096;
    let batch = Batch::of_bytes(bytes - bytes % 4096 + 4096 - 200_000 % 4096, 2);
    assert_eq!((200_000 + batch.bytes.len()) % 4096, 0, "the note stands alone");
    sim.add(0, &batch, Acks::Durable, &mut expected);
    sim.step(Step::SegmentIo).expect("the disk works");
    assert_eq!(
        sim.log(0).offsets().high_watermark.0,
        1,
        "the segment is synced, the note is not"
    );
    sim.step(Step::WriteJournal).expect("the disk works");
    assert_eq!(sim.log(0).offsets().high_watermark.0, 1);
    sim.step(Step::SyncJournal).expect("the disk works");
    assert_eq!(sim.log(0).offsets().high_watermark.0, 2);
    sim.restart(Crash::PowerLoss(1));
    expected.check_recovered(&sim.log(0), 2);
}

#[test]
fn index_rows_of_records_that_power_loss_took_mislead_nobody() {
    // engine 14
    for seed in 0..12 {
        println!("seed {seed}");
        let mut sim = Sim::with(seed, 1, |sim| {
            sim.log_config = LogConfig {
                segment_bytes: 1 << 20,
                ..LogConfig::default()
            }
        });
        let mut expected = Expected::default();
        for round in 0..6u64 {
            for i in 0..25 {
                // Other sizes each round, so that old rows would point into the middle of batches.
                let bytes = 3_000 + (round as usize * 977 + i * 411) % 30_000;
                sim.add(
                    0,
                    &Batch::of_bytes(bytes, seed * 1000 + round * 100 + i as u64),
                    Acks::Written,
                    &mut expected,
                );
                if i % 5 == 4 {
                    sim.step(Step::WriteJournal).expect("the disk works");
                    sim.step(Step::SegmentIo).expect("the disk works");
                }
            }
            if round % 2 == 0 {
                sim.checkpoint();
            }
            expected.observe(&sim.log(0));
            let promised = expected.durable;
            sim.restart(Crash::PowerLoss(seed * 10 + round));
            expected.check_recovered(&sim.log(0), promised);
            // Memory knows nothing of older records: each of these reads goes through the index.
            for from in 0..expected.end() {
                let found = try_read_from(&sim.log(0), from, 1).unwrap_or_else(|error| panic!("at {from}: {error}"));
                assert_eq!(found[0].base_offset, from);
                if from + 4 < expected.end() {
                    let request = ReadRequest {
                        offset: protocol::types::Offset(from),
                        max_bytes: 1,
                        min_one_batch: true,
                    };
                    assert!(sim.log(0).read(&request).is_ok());
                }
            }
        }
    }
}

#[test]
fn quiet_partitions_are_not_preallocated_and_busy_ones_in_steps() {
    // engine 17
    let sim = Sim::new(1, 2);
    sim.append(0, &Batch::of_bytes(70_000, 1), Acks::Durable)
        .expect("taken");
    sim.settle();
    let quiet = segments(&sim)[0].clone();
    assert_eq!(
        sim.disk.content(&quiet).len(),
        70_000 / 4096 * 4096,
        "what was written, no more"
    );
    for i in 0..40 {
        sim.append(1, &Batch::of_bytes(1 << 20, i), Acks::Durable)
            .expect("taken");
        sim.settle();
    }
    let allocations: Vec<_> = sim
        .disk
        .operations()
        .into_iter()
        .filter(|op| op.kind == OpKind::Allocate && op.path.starts_with("segments"))
        .collect();
    assert!(
        (3..=10).contains(&allocations.len()),
        "steps that grow, not one for each append: {allocations:?}"
    );
    assert!(allocations.iter().all(|op| op.path != quiet));
}

#[test]
fn preallocation_leaves_half_of_the_free_disk() {
    // engine 17
    let sim = Sim::new(1, 1);
    sim.append(0, &Batch::of_bytes(1000, 1), Acks::Durable).expect("taken");
    sim.settle();
    sim.disk.set_capacity(Some(sim.disk.used_bytes() + (12 << 20)));
    for i in 0..8 {
        let used = sim.disk.used_bytes();
        sim.append(0, &Batch::of_bytes(1 << 20, i), Acks::Durable)
            .expect("taken");
        sim.settle();
        let taken = sim.disk.used_bytes() - used;
        assert!(taken <= (2 << 20) + (6 << 20), "append {i} took {taken} bytes");
    }
    assert_eq!(sim.log(0).offsets().high_watermark.0, 9, "all of it fits");
}

#[test]
fn a_sealed_segment_gives_back_what_it_did_not_need() {
    // engine 17
    let mut sim = Sim::with(1, 1, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 3 << 20,
            ..LogConfig::default()
        }
    });
    let mut expected = Expected::default();
    for i in 0..5 {
        sim.add(0, &Batch::of_bytes(1_000_000, i), Acks::Durable, &mut expected);
        sim.settle();
    }
    let sealed = segments(&sim)[0].clone();
    assert_eq!(
        sim.disk.content(&sealed).len() as u64,
        3_000_000u64.next_multiple_of(4096)
    );
    sim.restart(Crash::PowerLoss(2));
    expected.check_recovered(&sim.log(0), 5);
}

#[test]
fn files_are_read_below_completed_synced_blocks_alone() {
    // engine 18
    let sim = Sim::with(1, 1, |sim| sim.config.tail_bytes_max = 6 << 20);
    let mut files = 0;
    for i in 0..60 {
        sim.append(0, &Batch::of_bytes(300_000 + i * 100, i as u64), Acks::Durable)
            .expect("taken");
        sim.settle();
        if i % 9 == 0 {
            sim.step(Step::CoolDown).expect("the disk works");
        }
        let log = sim.log(0);
        let end = log.offsets().high_watermark.0;
        for offset in 0..end {
            let request = ReadRequest {
                offset: protocol::types::Offset(offset),
                max_bytes: 1 << 20,
                min_one_batch: true,
            };
            for slice in log.read(&request).expect("it can be read").slices {
                let RecordSlice::File { position, len, .. } = slice else {
                    continue;
                };
                files += 1;
                let durable = sim.disk.durable_content(&segments(&sim)[0]).len() as u64;
                let written: u64 = written_ends(&sim.disk.operations()).values().sum();
                assert!(
                    position + len as u64 <= durable.min(written),
                    "{position} + {len} of {written}"
                );
            }
        }
    }
    assert!(files > 100, "older records are read from files: {files}");
    assert_eq!(read_all(&sim.log(0)).len(), 60);
}

fn written_ends(operations: &[Operation]) -> HashMap<PathBuf, u64> {
    let mut ends = HashMap::new();
    for op in operations
        .iter()
        .filter(|op| op.kind == OpKind::Write && op.path.starts_with("segments"))
    {
        ends.insert(op.path.clone(), op.range.end);
    }
    ends
}

#[test]
fn carried_bytes_stay_within_a_quarter_of_the_ring_and_are_written_out_after_three_laps() {
    // engine 16
    let sim = Sim::new(1, 40);
    let ring = sim.config.journal_file_bytes * sim.config.journal_files as u64;
    // 40 × 30 KB are more than a quarter of 2 MiB; each alone is too little to be written out.
    for partition in 0..40 {
        for i in 0..10 {
            sim.append(partition, &Batch::of_bytes(3_000, i), Acks::Durable)
                .expect("taken");
        }
        sim.settle();
    }
    let mut carried = Vec::new();
    for _ in 0..6 {
        let before = sim.disk.operation_count() as usize;
        sim.checkpoint();
        let written = sim.disk.operations()[before..]
            .iter()
            .filter(|op| op.kind == OpKind::Write && in_journal(op))
            .map(|op| op.range.end - op.range.start)
            .sum::<u64>();
        carried.push(written);
    }
    // The rests of blocks come on top: less than a block and an entry's header for each partition.
    let rests = 40 * (4096 + 64) + 8 * 4096;
    assert!(
        carried[0] > 0 && carried.iter().all(|bytes| *bytes <= ring / 4 + rests),
        "{carried:?} of {ring}"
    );
    assert!(carried[5] <= rests, "whole blocks went to segments by now: {carried:?}");
    let used = sim
        .disk
        .paths()
        .iter()
        .filter(|path| path.starts_with("journal"))
        .count();
    assert!(used <= sim.config.journal_files, "the ring did not grow: {used} files");
}

fn in_journal(op: &Operation) -> bool {
    op.path.starts_with("journal")
}
