//! Bytes on disk that are not what was written there: refused where they had been synced, cut where a write was torn.

use crate::support::batches::{Batch, Expected, read_all, try_read_from};
use crate::support::harness::{Crash, Sim};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use streamhouse_storage::{Acks, ErrorKind, Step};

const BLOCK: u64 = 4096;

fn journal() -> PathBuf {
    PathBuf::from("journal/000000.journal")
}

fn files(sim: &Sim) -> BTreeMap<PathBuf, Vec<u8>> {
    sim.disk
        .paths()
        .into_iter()
        .map(|path| (path.clone(), sim.disk.content(&path)))
        .collect()
}

/// Batches of `bytes`, each synced by itself.
fn with_synced_batches(count: u64, bytes: usize) -> (Sim, Expected) {
    let sim = Sim::new(1, 1);
    let mut expected = Expected::default();
    for i in 0..count {
        sim.add(0, &Batch::of_bytes(bytes, i), Acks::Durable, &mut expected);
        sim.settle();
    }
    expected.observe(&sim.log(0));
    (sim, expected)
}

#[test]
fn a_flipped_bit_in_mid_journal_is_refused_and_nothing_is_touched() {
    // engine 9
    for block in 1..6 {
        for byte in [0, 5, 9, 20, 40, 100, 500] {
            let (mut sim, mut expected) = with_synced_batches(8, 1000);
            sim.crash(Crash::PowerLoss(1));
            sim.disk.flip_bit(journal(), block * BLOCK + byte, 3);
            let before = files(&sim);
            let error = sim
                .open()
                .expect_err("damage below what was synced is not guessed around");
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
            assert!(files(&sim) == before, "nothing was changed");
            // Put back, it opens.
            sim.disk.flip_bit(journal(), block * BLOCK + byte, 3);
            sim.open().expect("it is whole again");
            expected.check_recovered(&sim.log(0), 8);
        }
    }
}

#[test]
fn a_torn_tail_is_cut() {
    // engine 9
    for seed in 0..40 {
        let (mut sim, mut expected) = with_synced_batches(4, 1000);
        // Two groups under one sync; nothing after them says that it ended. The first is torn.
        for i in 0..2 {
            sim.add(0, &Batch::of_bytes(3900, 100 + i), Acks::Written, &mut expected);
            sim.step(Step::WriteJournal).expect("the disk works");
        }
        sim.step(Step::SyncJournal).expect("the disk works");
        sim.crash(Crash::PowerLoss(seed));
        sim.disk.tear_block(journal(), 5 * BLOCK, seed);
        sim.open()
            .unwrap_or_else(|error| panic!("a torn tail is not damage (seed {seed}): {error}"));
        expected.check_recovered(&sim.log(0), 4);
        assert_eq!(expected.end(), 4, "what follows a torn block is not believed");
        sim.add(0, &Batch::of_bytes(3900, 200), Acks::Durable, &mut expected);
        sim.settle();
        sim.restart(Crash::PowerLoss(seed));
        expected.check_recovered(&sim.log(0), 5);
    }
}

#[test]
fn a_journal_file_that_is_missing_is_refused() {
    // engine 9
    let (mut sim, _) = with_synced_batches(120, 7000);
    let live = sim
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("journal"))
        .count();
    assert!(live >= 4, "the journal fills several files: {live}");
    sim.crash(Crash::PowerLoss(1));
    // The second file: the medium lost its header.
    sim.disk.overwrite("journal/000001.journal", 0, &[0; 4096]);
    let error = sim.open().expect_err("a file in the middle is missing");
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

fn segment_of(sim: &Sim, partition: i32) -> PathBuf {
    let name = format!("-{partition}");
    let of_partition = |path: &PathBuf| {
        path.parent()
            .and_then(Path::to_str)
            .is_some_and(|dir| dir.ends_with(&name))
    };
    sim.disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("segments"))
        .find(of_partition)
        .expect("it has a segment")
}

/// Two partitions in synced segments with marks.
fn with_segments() -> (Sim, Vec<Expected>) {
    let sim = Sim::new(2, 2);
    let mut expected = vec![Expected::default(); 2];
    for i in 0..6 {
        for partition in 0..2 {
            sim.add(
                partition,
                &Batch::of_bytes(100_000, i * 2 + partition as u64),
                Acks::Durable,
                &mut expected[partition as usize],
            );
        }
    }
    sim.settle();
    sim.checkpoint();
    (sim, expected)
}

#[test]
fn a_flipped_bit_in_a_segment_hurts_its_readers_alone() {
    // engine 9: base offset, length, magic
    for byte in [0, 7, 8, 16] {
        let (mut sim, expected) = with_segments();
        sim.crash(Crash::PowerLoss(1));
        let position = expected[1].batches[2].2.len() as u64 + 16;
        sim.disk.flip_bit(segment_of(&sim, 1), 2 * position + byte, 5);
        sim.open().expect("the others are well");
        assert_eq!(
            try_read_from(&sim.log(1), 0, 1).map(|_| ()).map_err(|error| error.kind),
            Err(ErrorKind::Corrupt)
        );
        let error = try_read_from(&sim.log(1), 2, 1).expect_err("the batch cannot be read");
        assert_eq!(error.kind, ErrorKind::Corrupt, "byte {byte}: {error}");
        expected[0].check_content(&sim.log(0));
        sim.append(0, &Batch::of_bytes(100, 1), Acks::Durable)
            .expect("the other partition takes appends");
    }
}

#[test]
fn damage_below_the_durable_end_that_recovery_sees_stops_appends_and_destroys_nothing() {
    // engine 9: quarantine, refuse to guess
    let (mut sim, mut expected) = with_segments();
    // Small batches behind the last mark, so that recovery scans from the mark's last known batch on.
    for partition in 0..2 {
        sim.add(
            partition,
            &Batch::of_bytes(3000, 77),
            Acks::Durable,
            &mut expected[partition as usize],
        );
    }
    sim.settle();
    sim.crash(Crash::PowerLoss(1));
    let batch = expected[1].batches[0].2.len() as u64 + 16;
    // In the records of the last batch that the mark covers.
    sim.disk.flip_bit(segment_of(&sim, 1), 5 * batch + 60_000, 0);
    let before: Vec<_> = files(&sim)
        .into_iter()
        .filter(|(path, _)| *path == segment_of(&sim, 1))
        .collect();
    for start in 0..3 {
        println!("start {start}");
        sim.open().expect("the others are well");
        let error = sim
            .append(1, &Batch::of_bytes(100, 1), Acks::Durable)
            .expect_err("a damaged partition takes nothing");
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        assert_eq!(read_all(&sim.log(1)).len(), 5, "what is whole can be read");
        sim.add(0, &Batch::of_bytes(100, 1), Acks::Durable, &mut expected[0]);
        sim.settle();
        sim.step(Step::CoolDown).expect("the disk works");
        sim.checkpoint();
        let after: Vec<_> = files(&sim)
            .into_iter()
            .filter(|(path, _)| *path == segment_of(&sim, 1))
            .collect();
        assert_eq!(
            after, before,
            "the damaged segment stays as it is, for a person to look at"
        );
        sim.crash(Crash::PowerLoss(2));
    }
    // What only the journal had of it is kept apart, since journal files are used again: the end of the last marked batch and the one after.
    let quarantined: Vec<_> = sim
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("quarantine"))
        .collect();
    assert_eq!(quarantined.len(), 1, "once, however often it starts: {quarantined:?}");
    let bytes = sim.disk.durable_content(&quarantined[0]);
    for kept in [
        &expected[1].batches[6].2[..],
        &expected[1].batches[5].2[expected[1].batches[5].2.len() - 500..],
    ] {
        assert!(bytes.windows(kept.len()).any(|window| window == kept));
    }
    sim.open().expect("the others are well");
    expected[0].check_content(&sim.log(0));
}

#[test]
fn damage_in_a_sealed_segment_that_no_mark_covers_destroys_nothing() {
    // engine 9: the next segment says that this one was complete
    let mut sim = Sim::with(2, 1, |sim| sim.log_config.segment_bytes = 1 << 20);
    let mut expected = Expected::default();
    for i in 0..12 {
        sim.add(0, &Batch::of_bytes(200_000, i), Acks::Durable, &mut expected);
        sim.settle();
    }
    sim.crash(Crash::PowerLoss(1));
    let segments: Vec<_> = sim
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("segments"))
        .collect();
    assert_eq!(segments.len(), 3);
    sim.disk.flip_bit(&segments[1], 300_000, 0);
    let before: Vec<_> = segments.iter().map(|path| sim.disk.content(path)).collect();
    sim.open().expect("one partition is no reason to stay away");
    let error = sim
        .append(0, &Batch::of_bytes(100, 1), Acks::Durable)
        .expect_err("a damaged partition takes nothing");
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert_eq!(read_all(&sim.log(0)).len(), 6);
    let beyond = try_read_from(&sim.log(0), 6, 1000).map(|found| found.len());
    assert_eq!(beyond.ok(), Some(0), "nothing is visible there");
    let request = streamhouse_storage::ReadRequest {
        offset: protocol::types::Offset(9),
        max_bytes: 1000,
        min_one_batch: true,
    };
    assert_eq!(
        sim.log(0).read(&request).expect_err("it was there").kind,
        ErrorKind::Corrupt,
        "not out of range: readers would skip it"
    );
    sim.checkpoint();
    sim.crash(Crash::PowerLoss(2));
    for (path, content) in segments.iter().zip(&before) {
        assert!(&sim.disk.content(path) == content, "{}", path.display());
    }
    // The bit put back: everything that segments hold is there again.
    sim.disk.flip_bit(&segments[1], 300_000, 0);
    sim.open().expect("it opens");
    assert!(read_all(&sim.log(0)).len() >= 11);
}
