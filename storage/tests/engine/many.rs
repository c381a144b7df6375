//! 10,000 partitions: recovery and checkpoints do work for what was written, not for what there is.

use crate::support::batches::{Batch, read_all};
use crate::support::harness::{Crash, Sim};
use crate::support::sim_disk::OpKind;
use streamhouse_storage::Acks;

const PARTITIONS: i32 = 10_000;

fn batch(partition: i32) -> Batch {
    Batch::of_bytes(120 + partition as usize % 300, partition as u64)
}

fn check(sim: &Sim) {
    for partition in 0..PARTITIONS {
        let log = sim.log(partition);
        assert_eq!(log.offsets().high_watermark.0, 1, "partition {partition}");
        if partition % 7 == 0 {
            assert!(
                read_all(&log)[0].body == batch(partition).body(),
                "partition {partition}"
            );
        }
    }
}

#[test]
fn ten_thousand_quiet_partitions_cost_few_operations() {
    // engine 15, engine 16
    let mut sim = Sim::with(1, PARTITIONS, |sim| {
        // As in production.
        sim.config.journal_file_bytes = 16 << 20;
        sim.config.journal_files = 8;
    });
    for partition in 0..PARTITIONS {
        sim.append(partition, &batch(partition), Acks::Durable).expect("taken");
    }
    let before = sim.disk.operation_count();
    sim.settle();
    assert!(
        sim.disk.operation_count() - before < 40,
        "one group commit, not one for each partition"
    );
    for (round, crash) in [Crash::Kill9, Crash::PowerLoss(1), Crash::PowerLoss(2)]
        .into_iter()
        .enumerate()
    {
        sim.crash(crash);
        let (operations, lookups) = (sim.disk.operation_count(), sim.disk.lookup_count());
        sim.open().expect("recovery succeeds");
        let (operations, lookups) = (
            sim.disk.operation_count() - operations,
            sim.disk.lookup_count() - lookups,
        );
        println!("round {round}: recovery took {operations} operations and {lookups} look-ups");
        assert!(operations < 200, "{operations}");
        // Partitions with entries in the journal are looked at, once or twice each, and no other.
        assert!(lookups < 3 * PARTITIONS as u64 + 100, "{lookups}");
        check(&sim);

        let before = sim.disk.operation_count() as usize;
        sim.checkpoint();
        let operations = &sim.disk.operations()[before..];
        let in_journal = operations
            .iter()
            .filter(|op| op.kind == OpKind::Write && op.path.starts_with("journal"));
        let carried: u64 = in_journal.map(|op| op.range.end - op.range.start).sum();
        println!(
            "a checkpoint took {} operations and carried {carried} bytes",
            operations.len()
        );
        assert!(
            operations.len() < 200,
            "unfinished blocks are carried, not written to 10,000 files: {}",
            operations.len()
        );
        let ring = sim.config.journal_file_bytes * sim.config.journal_files as u64;
        assert!(carried <= ring / 4, "{carried} of {ring}");
        assert!(!sim.disk.paths().iter().any(|path| path.starts_with("segments")));
    }
    sim.restart(Crash::PowerLoss(3));
    check(&sim);
}

#[test]
fn partitions_that_nobody_writes_to_cost_a_start_nothing() {
    // engine 15
    let mut sim = Sim::new(1, 2000);
    for partition in 0..20 {
        sim.append(partition, &Batch::of_bytes(100_000, 1), Acks::Durable)
            .expect("taken");
    }
    sim.settle();
    sim.restart_cleanly();
    for partition in 0..5 {
        sim.append(partition, &Batch::of_bytes(70_000, 2), Acks::Durable)
            .expect("taken");
    }
    sim.settle();
    sim.crash(Crash::PowerLoss(1));
    let files = sim
        .disk
        .paths()
        .iter()
        .filter(|path| path.starts_with("segments"))
        .count();
    assert!(files >= 20);
    let lookups = sim.disk.lookup_count();
    sim.open().expect("recovery succeeds");
    let lookups = sim.disk.lookup_count() - lookups;
    assert!(
        lookups < 4 * 20 + 60,
        "for 20 partitions with files, not for 2,000: {lookups}"
    );
    let ends: i64 = (0..2000)
        .map(|partition| sim.log(partition).offsets().high_watermark.0)
        .sum();
    assert_eq!(ends, 20 + 5);
}
