//! Batches of 100 bytes and of 1 MiB in turn on one partition, across segment rolls, with a crash at every disk operation.

use crate::support::batches::{Batch, Expected};
use crate::support::harness::{Crash, Sim};
use streamhouse_storage::{Acks, CheckpointStep, LogConfig, Step};

const APPENDS: u64 = 16;

fn open() -> Sim {
    Sim::with(5, 1, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 3 << 20,
            ..LogConfig::default()
        }
    })
}

/// The same every time, until the machine goes off.
fn run(sim: &Sim, expected: &mut Expected) {
    let steps = [Step::SegmentIo, Step::WriteJournal, Step::SyncJournal];
    for i in 0..APPENDS {
        let bytes = if i % 2 == 0 { 100 } else { 1 << 20 };
        let acks = [Acks::Durable, Acks::Durable, Acks::Written][i as usize % 3];
        let batch = Batch::of_bytes(bytes, i);
        let appended = sim.append(0, &batch, acks).expect("the append is taken");
        expected.push(&batch, &appended);
        // The order of the three changes, and so what a promise hangs on; at times nothing is done for a while.
        let order: &[usize] = [[0, 1, 2].as_slice(), &[1, 2, 0], &[], &[1, 0, 2]][i as usize % 4];
        for step in order {
            let done = sim.step(steps[*step]);
            assert!(done.is_ok() || sim.disk.is_off(), "{done:?}");
            expected.observe(&sim.log(0));
            if sim.disk.is_off() {
                return;
            }
        }
        if i == 9 {
            let done = sim.try_checkpoint(CheckpointStep::Freed);
            assert!(done.is_ok() || sim.disk.is_off(), "{done:?}");
            expected.observe(&sim.log(0));
            if sim.disk.is_off() {
                return;
            }
        }
    }
}

/// How many operations opening takes, and how many there are in all.
fn operations() -> (u64, u64) {
    let sim = open();
    let opened = sim.disk.operation_count();
    let mut expected = Expected::default();
    run(&sim, &mut expected);
    sim.settle();
    expected.observe(&sim.log(0));
    assert_eq!(
        expected.durable as u64, APPENDS,
        "everything is durable without a crash"
    );
    expected.check_content(&sim.log(0));
    let segments = sim
        .disk
        .paths()
        .iter()
        .filter(|path| path.starts_with("segments"))
        .count();
    assert!(segments >= 3, "segments were rolled: {segments}");
    (opened, sim.disk.operation_count())
}

fn crash_at_every_operation(crash: impl Fn(u64) -> Crash) {
    let (opened, all) = operations();
    for at in opened..all {
        let mut sim = open();
        let mut expected = Expected::default();
        sim.disk.crash_at(at);
        run(&sim, &mut expected);
        let crash = crash(at);
        let promised = if crash == Crash::Kill9 {
            expected.written
        } else {
            expected.durable
        };
        sim.restart(crash);
        println!("operation {at} of {all}, {crash:?}, promised {promised}");
        expected.check_recovered(&sim.log(0), promised);
        // It goes on, and the next crash finds all of it: nothing was accepted that only memory held.
        for (i, bytes) in [100, 1 << 20, 100].into_iter().enumerate() {
            sim.add(
                0,
                &Batch::of_bytes(bytes, 1000 + i as u64),
                Acks::Durable,
                &mut expected,
            );
        }
        sim.settle();
        expected.observe(&sim.log(0));
        assert_eq!(expected.durable, expected.end());
        let promised = expected.durable;
        sim.restart(Crash::PowerLoss(at + 7));
        expected.check_recovered(&sim.log(0), promised);
    }
}

#[test]
fn small_and_large_appends_in_turn_survive_power_loss_at_any_operation() {
    // engine 1, engine 2, engine 3
    crash_at_every_operation(Crash::PowerLoss);
}

#[test]
fn small_and_large_appends_in_turn_survive_kill_9_at_any_operation() {
    // engine 1, engine 2, engine 3
    crash_at_every_operation(|_| Crash::Kill9);
}

#[test]
fn no_block_of_a_segment_is_written_twice() {
    // engine 3: write-once blocks, in order, without a hole
    let sim = open();
    run(&sim, &mut Expected::default());
    sim.settle();
    sim.checkpoint();
    let mut ends = std::collections::HashMap::new();
    for op in sim.disk.operations() {
        if op.kind == crate::support::sim_disk::OpKind::Write && op.path.starts_with("segments") {
            let end = ends.entry(op.path.clone()).or_insert(0);
            assert_eq!(
                op.range.start,
                *end,
                "{}: engine 2, a write starts at the first byte that is missing",
                op.path.display()
            );
            assert!(op.range.end.is_multiple_of(4096), "whole blocks");
            *end = op.range.end;
        }
    }
    assert!(ends.len() >= 3);
}
