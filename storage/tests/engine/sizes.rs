//! Batches of one size: after a cut the next ones lie exactly where discarded ones lay.

use crate::support::batches::{Batch, Expected};
use crate::support::harness::{Crash, Sim};
use streamhouse_storage::{Acks, LogConfig, Step};

/// Three lives with batches of `bytes` each; in every life the content differs and the last ones are not synced.
fn discarded_batches_stay_away(bytes: usize, seed: u64) {
    println!("{bytes} bytes, seed {seed}");
    let mut sim = Sim::with(seed, 2, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 2 << 20,
            ..LogConfig::default()
        }
    });
    let mut expected = vec![Expected::default(); 2];
    for life in 0..4u64 {
        for i in 0..6u64 {
            for partition in 0..2 {
                let batch = Batch::of_bytes(bytes, (life * 100 + i) * 2 + partition as u64);
                sim.add(partition, &batch, Acks::Written, &mut expected[partition as usize]);
            }
            // Every batch is a group of the journal of its own.
            sim.step(Step::WriteJournal).expect("the disk works");
            sim.step(Step::SegmentIo).expect("the disk works");
            if i == life {
                sim.settle();
            }
        }
        for partition in 0..2 {
            expected[partition as usize].observe(&sim.log(partition));
        }
        sim.restart(Crash::PowerLoss(seed * 10 + life));
        for partition in 0..2 {
            let promised = expected[partition as usize].durable;
            expected[partition as usize].check_recovered(&sim.log(partition), promised);
        }
    }
}

#[test]
fn equal_sized_batches_that_were_cut_never_return() {
    // engine 11
    for seed in 0..12 {
        // Small; exactly one journal block with its entry; exactly one block of a segment; large.
        discarded_batches_stay_away(300, seed);
        discarded_batches_stay_away(4064 - 64, seed);
        discarded_batches_stay_away(4096, seed);
        discarded_batches_stay_away(128 << 10, seed);
        discarded_batches_stay_away((128 << 10) + 1000, seed);
    }
}

#[test]
fn what_follows_a_cut_is_zero_on_the_disk_before_anyone_is_served() {
    // engine 11: leader epochs would keep discarded batches away, too; this is the first lock of two
    let mut discarded = 0;
    for seed in 0..60 {
        let mut sim = Sim::new(seed, 1);
        let mut expected = Expected::default();
        for i in 0..8 {
            sim.add(
                0,
                &Batch::of_bytes(100_000, seed * 100 + i),
                Acks::Written,
                &mut expected,
            );
            sim.step(Step::SegmentIo).expect("the disk works");
            sim.step(Step::WriteJournal).expect("the disk works");
            if i == 2 {
                sim.settle();
            }
        }
        expected.observe(&sim.log(0));
        let promised = expected.durable;
        sim.restart(Crash::PowerLoss(seed));
        expected.check_recovered(&sim.log(0), promised);
        let end: usize = expected.batches.iter().map(|(_, _, body)| body.len() + 16).sum();
        discarded += usize::from(expected.end() < 8);
        for path in sim.disk.paths().iter().filter(|path| path.starts_with("segments")) {
            let bytes = sim.disk.durable_content(path);
            let rest = bytes.get(end..).unwrap_or_default();
            assert!(
                rest.iter().all(|byte| *byte == 0),
                "seed {seed}: {} holds more than {end} bytes",
                path.display()
            );
        }
    }
    assert!(discarded > 10, "power loss takes something: {discarded}");
}
