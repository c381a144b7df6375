//! A crash at each step of a checkpoint, and recovery with the index as it is, as it was, and without marks: the same logs.

use crate::support::batches::{Batch, Expected, Stored, read_all};
use crate::support::harness::{Crash, Sim};
use streamhouse_storage::{Acks, CheckpointStep, LogConfig};
use tempfile::TempDir;

const PARTITIONS: i32 = 4;
const STEPS: [CheckpointStep; 4] = [
    CheckpointStep::TailsSynced,
    CheckpointStep::Carried,
    CheckpointStep::Marked,
    CheckpointStep::Freed,
];

/// One partition of small batches, one of large ones, one of both across segments, one with almost nothing.
fn fill(sim: &Sim, expected: &mut [Expected], round: u64) {
    for i in 0..12 {
        let seed = round * 100 + i;
        sim.add(0, &Batch::of_bytes(700, seed), Acks::Durable, &mut expected[0]);
        if i % 4 == 0 {
            sim.add(1, &Batch::of_bytes(200_000, seed), Acks::Durable, &mut expected[1]);
        }
        let bytes = if i % 3 == 0 { 400_000 } else { 5_000 };
        sim.add(2, &Batch::of_bytes(bytes, seed), Acks::Durable, &mut expected[2]);
        if i % 4 == 3 {
            sim.settle();
        }
    }
    sim.add(3, &Batch::of_bytes(90, round), Acks::Durable, &mut expected[3]);
    sim.settle();
}

fn contents(sim: &Sim) -> Vec<Vec<Stored>> {
    (0..PARTITIONS).map(|partition| read_all(&sim.log(partition))).collect()
}

fn open() -> Sim {
    Sim::with(3, PARTITIONS, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 1 << 20,
            ..LogConfig::default()
        }
    })
}

struct Stopped {
    sim: Sim,
    expected: Vec<Expected>,
    /// The index before the first checkpoint (topics, no marks) and before the last one.
    empty: TempDir,
    older: TempDir,
}

/// Two complete checkpoints, then one that ends with `last`.
fn stopped_at(last: CheckpointStep) -> Stopped {
    let sim = open();
    let mut expected = vec![Expected::default(); PARTITIONS as usize];
    let empty = sim.copy_index();
    let mut older = sim.copy_index();
    for round in 0..3 {
        fill(&sim, &mut expected, round);
        older = sim.copy_index();
        let last = if round == 2 { last } else { CheckpointStep::Freed };
        sim.try_checkpoint(last).expect("the disk works");
    }
    for (partition, expected) in expected.iter_mut().enumerate() {
        expected.observe(&sim.log(partition as i32));
        assert_eq!(expected.durable, expected.end(), "all of it was promised");
    }
    Stopped {
        sim,
        expected,
        empty,
        older,
    }
}

#[test]
fn current_older_and_no_marks_give_the_same_logs() {
    // engine 7
    for last in STEPS {
        for crash in [Crash::Kill9, Crash::PowerLoss(1), Crash::PowerLoss(2)] {
            let mut logs = Vec::new();
            for marks in ["current", "older", "no"] {
                println!("stopped at {last:?}, {crash:?}, {marks} marks");
                let Stopped {
                    mut sim,
                    mut expected,
                    empty,
                    older,
                } = stopped_at(last);
                sim.crash(crash);
                match marks {
                    "older" => sim.restore_index(older.path()),
                    "no" => sim.restore_index(empty.path()),
                    _ => {}
                }
                sim.open().expect("recovery succeeds");
                for partition in 0..PARTITIONS {
                    let expected = &mut expected[partition as usize];
                    let promised = expected.durable;
                    expected.check_recovered(&sim.log(partition), promised);
                }
                logs.push(contents(&sim));
                // And it is a log like any other: it goes on, with checkpoints, through another crash.
                fill(&sim, &mut expected, 9);
                sim.checkpoint();
                fill(&sim, &mut expected, 10);
                sim.restart(crash);
                for partition in 0..PARTITIONS {
                    let expected = &mut expected[partition as usize];
                    let promised = expected.end();
                    expected.check_recovered(&sim.log(partition), promised);
                }
            }
            assert!(logs.iter().all(|log| *log == logs[0]), "{last:?}, {crash:?}");
        }
    }
}

#[test]
fn power_loss_at_any_operation_of_a_checkpoint_damages_nothing() {
    // engine 6, engine 7, engine 14: a mark that ran ahead of its segment would leave a damaged partition
    let prepared = || {
        let sim = open();
        let mut expected = vec![Expected::default(); PARTITIONS as usize];
        fill(&sim, &mut expected, 0);
        for (partition, expected) in expected.iter_mut().enumerate() {
            expected.observe(&sim.log(partition as i32));
        }
        (sim, expected)
    };
    let (sim, _) = prepared();
    let first = sim.disk.operation_count();
    sim.checkpoint();
    let end = sim.disk.operation_count();
    assert!(end - first > 3, "a checkpoint does something");
    for at in first..=end {
        let (mut sim, mut expected) = prepared();
        sim.disk.crash_at(at);
        // With the power gone a step may fail, or the whole may be postponed.
        let _ = sim.try_checkpoint(CheckpointStep::Freed);
        println!("power loss at operation {at} of {first}..{end}");
        sim.restart(Crash::PowerLoss(at));
        for partition in 0..PARTITIONS {
            let expected = &mut expected[partition as usize];
            let promised = expected.durable;
            expected.check_recovered(&sim.log(partition), promised);
            sim.add(partition, &Batch::of_bytes(800, at), Acks::Durable, expected);
        }
    }
}

#[test]
fn an_index_from_before_many_laps_gives_the_same_logs() {
    // engine 7: the journal files that held the oldest records have been used again since; the segments have them
    for marks in ["older", "no"] {
        let mut sim = open();
        let mut expected = vec![Expected::default(); PARTITIONS as usize];
        let empty = sim.copy_index();
        fill(&sim, &mut expected, 0);
        sim.checkpoint();
        let older = sim.copy_index();
        for round in 1..14 {
            fill(&sim, &mut expected, round);
            sim.checkpoint();
            if round % 5 == 0 {
                // Leader epochs that the copy of the index knows nothing of.
                sim.restart(Crash::PowerLoss(round));
            }
        }
        sim.crash(Crash::PowerLoss(4));
        sim.restore_index(if marks == "older" { older.path() } else { empty.path() });
        sim.open().expect("recovery succeeds");
        for partition in 0..PARTITIONS {
            println!("{marks} marks, partition {partition}");
            let expected = &mut expected[partition as usize];
            let promised = expected.end();
            expected.check_recovered(&sim.log(partition), promised);
            sim.add(partition, &Batch::of_bytes(100, 1), Acks::Durable, expected);
        }
        sim.settle();
        // Epochs given out twice would make the next recovery cut here: engine 11.
        sim.restart(Crash::PowerLoss(5));
        for partition in 0..PARTITIONS {
            let expected = &mut expected[partition as usize];
            let promised = expected.end();
            expected.check_recovered(&sim.log(partition), promised);
        }
    }
}
