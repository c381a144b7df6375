//! Records that hold pieces of the journal itself: whole files, blocks, entries. The journal wraps, writes are torn.

use crate::support::batches::{Batch, Expected};
use crate::support::harness::{Crash, Sim};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use streamhouse_storage::{Acks, CheckpointStep, Step};

/// A piece of a journal file as it is on the disk now.
fn piece(sim: &Sim, rng: &mut StdRng) -> Vec<u8> {
    let files: Vec<_> = sim
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("journal"))
        .collect();
    if files.is_empty() {
        return vec![1; 100];
    }
    let content = sim.disk.content(&files[rng.random_range(0..files.len())]);
    let blocks = content.len() / 4096;
    let from = rng.random_range(0..blocks.min(12)) * 4096;
    match rng.random_range(0..5) {
        // The file's header with what follows; one block; the payload of a block (entries, whole); a bit of everything.
        0 => content[..rng.random_range(1..6) * 4096].to_vec(),
        1 => content[from..from + 4096].to_vec(),
        2 => content[from + 32..from + 4096].to_vec(),
        3 => content[from + 32..].iter().take(20_000).copied().collect(),
        _ => [&content[from + 32..from + 600], &content[from..from + 4096]].concat(),
    }
}

fn run(seed: u64) {
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut sim = Sim::with(seed, 2, |sim| {
        sim.config.journal_file_bytes = 128 << 10;
        sim.config.journal_files = 4;
    });
    let mut expected = vec![Expected::default(); 2];
    for life in 0..3 {
        for _ in 0..40 {
            let partition = rng.random_range(0..2);
            let batch = Batch::of_value(&piece(&sim, &mut rng));
            sim.add(partition, &batch, Acks::Written, &mut expected[partition as usize]);
            match rng.random_range(0..6) {
                0..3 => sim.step(Step::WriteJournal).expect("the disk works"),
                3 => sim.settle(),
                4 => sim.try_checkpoint(CheckpointStep::Freed).expect("the disk works"),
                _ => {}
            }
        }
        for partition in 0..2 {
            expected[partition as usize].observe(&sim.log(partition));
        }
        let crash = if rng.random() {
            Crash::Kill9
        } else {
            Crash::PowerLoss(seed * 7 + life)
        };
        sim.restart(crash);
        for partition in 0..2 {
            let expected = &mut expected[partition as usize];
            let promised = if crash == Crash::Kill9 {
                expected.written
            } else {
                expected.durable
            };
            expected.check_recovered(&sim.log(partition), promised);
        }
    }
}

#[test]
fn records_that_look_like_the_journal_are_records() {
    // engine 8
    for seed in 0..40 {
        run(seed);
    }
}

#[test]
fn whole_blocks_of_an_earlier_lap_behind_the_end_are_not_read() {
    // engine 8: the salt differs from lap to lap, the sequence from block to block
    let mut sim = Sim::with(1, 1, |sim| {
        sim.config.journal_file_bytes = 128 << 10;
        sim.config.journal_files = 4;
    });
    let mut expected = Expected::default();
    let file = "journal/000000.journal";
    for i in 0..10 {
        sim.add(0, &Batch::of_bytes(4000, i), Acks::Durable, &mut expected);
        sim.settle();
    }
    let first_lap = sim.disk.content(file);
    let mut lap = first_lap.clone();
    // Until the file has been begun anew.
    for i in 10.. {
        sim.add(0, &Batch::of_bytes(4000, i), Acks::Durable, &mut expected);
        sim.settle();
        if i % 8 == 0 {
            sim.checkpoint();
        }
        lap = sim.disk.content(file);
        if lap[..4096] != first_lap[..4096] {
            break;
        }
        assert!(i < 500, "the ring goes round");
    }
    sim.crash(Crash::PowerLoss(1));
    let end =
        (1..16).find(|block| lap[block * 4096..(block + 1) * 4096] == first_lap[block * 4096..(block + 1) * 4096]);
    let end = end.expect("behind the end the first lap's blocks are still there");
    for block in end..32 {
        // Also the blocks that would be next in number, had they this lap's salt.
        let from = (block - end + 1) * 4096;
        sim.disk
            .overwrite(file, block as u64 * 4096, &first_lap[from..from + 4096]);
    }
    for block in (end..32).step_by(2) {
        // And blocks that lack nothing but the salt of this lap. Believed, they would say that the journal is damaged.
        let mut forged = vec![0; 32 + 64];
        forged[4..6].copy_from_slice(&64u16.to_be_bytes());
        forged[8..16].copy_from_slice(&lap[12..20]);
        let first_block = u64::from_be_bytes(*lap[28..36].first_chunk().expect("8 bytes"));
        forged[16..24].copy_from_slice(&(first_block + block as u64 - 1).to_be_bytes());
        forged[24..32].fill(0x7f);
        let crc = crc32c::crc32c(&[&first_lap[20..28], &forged[4..]].concat());
        forged[..4].copy_from_slice(&crc.to_be_bytes());
        sim.disk.overwrite(file, block as u64 * 4096, &forged);
    }
    sim.open().expect("an old lap is no damage");
    let promised = expected.end();
    expected.check_recovered(&sim.log(0), promised);
}
