//! The simulated disk forgets what it should, keeps what it must, and replays from a seed.

mod support;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use streamhouse_storage::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use support::sim_disk::{OpKind, SimDisk, SimError};

const SEEDS: u64 = 400;

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn create(disk: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    let file = disk.create(path(name), OpenMode::Buffered).expect("it can be created");
    disk.sync_dir(path("")).expect("it can be synced");
    file
}

fn write(file: &Arc<dyn DiskFile>, at: u64, data: &[u8]) {
    file.write_at(&[IoSlice::new(data)], at).expect("it can be written");
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.map(|_| ()).expect_err("it fails").raw_os_error()
}

fn sectors(content: &[u8]) -> Vec<u8> {
    content
        .chunks(512)
        .map(|sector| {
            assert!(
                sector.iter().all(|byte| byte == &sector[0]),
                "a sector is written whole or not at all"
            );
            sector[0]
        })
        .collect()
}

#[test]
fn content_is_what_a_vector_says() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let file = create(&disk, "file");
        let mut model: Vec<u8> = Vec::new();
        for step in 0..200 {
            let at = random.random_range(0..20_000usize);
            let end = at + random.random_range(1..9_000usize);
            match random.random_range(0..5) {
                0 | 1 => {
                    let data: Vec<u8> = (at..end).map(|i| (i + step) as u8).collect();
                    write(&file, at as u64, &data);
                    model.resize(model.len().max(end), 0);
                    model[at..end].copy_from_slice(&data);
                }
                2 => {
                    file.zero(at as u64, end as u64).expect("it can be zeroed");
                    model.resize(model.len().max(end), 0);
                    model[at..end].fill(0);
                }
                3 => {
                    file.allocate(at as u64, end as u64).expect("it can be allocated");
                    model.resize(model.len().max(end), 0);
                }
                _ => {
                    file.set_len(at as u64).expect("it can be cut");
                    model.resize(at, 0);
                }
            }
            let mut read = vec![0xee; model.len() + 10];
            assert_eq!(
                file.read_at(&mut read, 0).expect("it can be read"),
                model.len(),
                "seed {seed}"
            );
            assert!(read[..model.len()] == model, "seed {seed} step {step}");
        }
        assert!(disk.content("file") == model);
        file.sync_data().expect("it can be synced");
        assert!(disk.durable_content("file") == model, "seed {seed}");
        assert!(disk.reboot(seed).content("file") == model, "seed {seed}");
    }
}

#[test]
fn a_large_preallocation_costs_nothing() {
    let disk = SimDisk::new(0);
    let file = create(&disk, "segment");
    file.allocate(0, 1 << 30).expect("it can be allocated");
    write(&file, (1 << 30) - 10, b"end");
    file.sync_data().expect("it can be synced");
    let mut tail = [1; 10];
    let disk = disk.reboot(1);
    let file = disk.open(path("segment"), OpenMode::Read).expect("it can be opened");
    assert_eq!(file.read_at(&mut tail, (1 << 30) - 10).expect("it can be read"), 10);
    assert_eq!(&tail, b"end\0\0\0\0\0\0\0");
    assert_eq!(disk.used_bytes(), 1 << 30);
}

#[test]
fn power_loss_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut seen = HashSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(0);
        let file = create(&disk, "file");
        write(&file, 0, &[1; 8192]);
        file.sync_data().expect("it can be synced");
        write(&file, 0, &[2; 2048]);
        write(&file, 4096, &[3; 2048]);
        let after = sectors(&disk.reboot(seed).content("file"));
        assert_eq!(after.len(), 16);
        assert!(
            after[4..8].iter().chain(&after[12..]).all(|sector| *sector == 1),
            "synced, and not written since"
        );
        assert!(after[..4].iter().all(|sector| [1, 2].contains(sector)));
        assert!(after[8..12].iter().all(|sector| [1, 3].contains(sector)));
        seen.insert(after);
    }
    let of = |first: u8, second: u8| {
        let mut sectors = vec![1; 16];
        sectors[..4].fill(first);
        sectors[8..12].fill(second);
        sectors
    };
    for (first, second) in [(1, 1), (2, 1), (1, 3), (2, 3)] {
        assert!(
            seen.contains(&of(first, second)),
            "{first} {second}: dropped, kept, and kept out of order"
        );
    }
    assert!(
        seen.iter()
            .any(|sectors| sectors[..4].contains(&1) && sectors[..4].contains(&2)),
        "torn"
    );
}

#[test]
fn a_file_may_have_grown_without_its_data() {
    let outcomes: HashSet<Vec<u8>> = (0..SEEDS)
        .map(|seed| {
            let disk = SimDisk::new(0);
            write(&create(&disk, "file"), 0, &[5; 1024]);
            sectors(&disk.reboot(seed).content("file"))
        })
        .collect();
    for outcome in [&[][..], &[5, 5], &[5], &[0, 5], &[0, 0], &[5, 0]] {
        assert!(outcomes.contains(outcome), "{outcome:?}");
    }
    assert_eq!(outcomes.len(), 6);
}

#[test]
fn one_seed_gives_one_outcome() {
    for seed in 0..50 {
        let run = || {
            let disk = SimDisk::new(seed);
            for name in ["a", "b", "c"] {
                let file = disk.create(path(name), OpenMode::Buffered).expect("it can be created");
                for i in 0..10 {
                    write(&file, i * 700, &[i as u8 + 1; 1000]);
                }
            }
            let disk = disk.reboot(seed);
            disk.paths()
                .into_iter()
                .map(|path| (disk.content(&path), path))
                .collect::<Vec<_>>()
        };
        assert!(run() == run(), "seed {seed}");
    }
}

#[test]
fn names_are_durable_after_the_directory_is_synced() {
    let mut seen = HashSet::new();
    for seed in 0..SEEDS {
        let disk = SimDisk::new(0);
        disk.create_dir(path("d/e")).expect("it can be made");
        let file = disk
            .create(path("d/e/old"), OpenMode::Buffered)
            .expect("it can be created");
        write(&file, 0, b"old");
        file.sync_data().expect("it can be synced");
        disk.sync_dir(path("d/e")).expect("it can be synced");
        let file = disk
            .create(path("d/e/new"), OpenMode::Buffered)
            .expect("it can be created");
        write(&file, 0, b"new");
        file.sync_data().expect("it can be synced");
        disk.rename(path("d/e/new"), path("d/e/old"))
            .expect("it can be renamed");
        disk.create(path("d/e/third"), OpenMode::Buffered)
            .expect("it can be created");
        let disk = disk.reboot(seed);
        let old = disk.content("d/e/old");
        assert!(old == b"old" || old == b"new", "a rename replaces all or nothing");
        let mut names = disk.list(path("d/e")).expect("it can be listed");
        names.sort();
        seen.insert((names, old));
    }
    let outcome = |names: &[&str], old: &[u8]| (names.iter().map(|name| (*name).to_owned()).collect(), old.to_vec());
    assert!(seen.contains(&outcome(&["old"], b"old")), "nothing");
    assert!(seen.contains(&outcome(&["new", "old"], b"old")), "the creation alone");
    assert!(seen.contains(&outcome(&["old", "third"], b"new")), "everything");
    assert!(seen.contains(&outcome(&["old", "third"], b"old")), "the last alone");
}

#[test]
fn a_removal_may_be_undone_until_the_directory_is_synced() {
    let outcomes = |synced: bool| -> HashSet<usize> {
        let survivors = |seed| {
            let disk = SimDisk::new(0);
            disk.create_dir(path("d")).expect("it can be made");
            for name in ["a", "d/b", "d/c"] {
                disk.create(path(name), OpenMode::Buffered).expect("it can be created");
            }
            disk.sync_dir(path("")).expect("it can be synced");
            disk.sync_dir(path("d")).expect("it can be synced");
            disk.remove(path("a")).expect("it can be removed");
            disk.remove_dir(path("d")).expect("it can be removed");
            assert!(disk.paths().is_empty());
            if synced {
                disk.sync_dir(path("")).expect("it can be synced");
            }
            disk.reboot(seed).paths().len()
        };
        (0..SEEDS).map(survivors).collect()
    };
    assert_eq!(outcomes(true), HashSet::from([0]));
    assert_eq!(outcomes(false), HashSet::from([0, 1, 2, 3]));
}

#[test]
fn a_name_that_moved_durably_does_not_come_back() {
    for seed in 0..SEEDS {
        let disk = SimDisk::new(0);
        disk.create_dir(path("d")).expect("it can be made");
        disk.create(path("a"), OpenMode::Buffered).expect("it can be created");
        disk.rename(path("a"), path("d/a")).expect("it can be renamed");
        disk.sync_dir(path("d")).expect("it can be synced");
        assert_eq!(disk.reboot(seed).paths(), [path("d/a")]);
    }
}

/// A short history of everything; returns how far it came.
fn history(disk: &SimDisk) -> io::Result<()> {
    disk.create_dir(path("d"))?;
    let file = disk.create(path("d/f"), OpenMode::Buffered)?;
    file.allocate(0, 8192)?;
    file.write_at(&[IoSlice::new(&[7; 4096])], 0)?;
    file.sync_data()?;
    disk.sync_dir(path("d"))?;
    file.write_at(&[IoSlice::new(&[8; 4096])], 4096)?;
    file.zero(0, 100)?;
    file.set_len(5000)?;
    disk.rename(path("d/f"), path("d/g"))?;
    disk.remove(path("d/g"))?;
    disk.remove_dir(path("d"))
}

#[test]
fn every_operation_has_a_number_at_which_the_machine_can_go_off() {
    let disk = SimDisk::new(0);
    history(&disk).expect("nothing goes wrong");
    let kinds: Vec<OpKind> = disk.operations().iter().map(|operation| operation.kind).collect();
    use OpKind::*;
    let all = [
        CreateDir, Create, Allocate, Write, Sync, SyncDir, Write, Zero, SetLen, Rename, Remove, RemoveDir,
    ];
    assert_eq!(kinds, all);
    assert_eq!(disk.operation_count(), 12);
    assert_eq!(disk.sync_count(|path| path.starts_with("d")), 1);
    for number in 0..12 {
        for seed in 0..30 {
            let disk = SimDisk::new(seed);
            disk.crash_at(number);
            assert_eq!(errno(history(&disk)), Some(libc::EIO));
            assert_eq!(disk.operation_count(), number + 1);
            assert!(disk.is_off());
            assert_eq!(errno(disk.list(path(""))), Some(libc::EIO));
            assert_eq!(errno(disk.free_bytes()), Some(libc::EIO));
            let after = disk.reboot(seed);
            if number > 5 && number < 9 {
                let content = after.content("d/f");
                assert!(
                    content[100..4096].iter().all(|byte| *byte == 7),
                    "operation {number} seed {seed}"
                );
            }
            after.free_bytes().expect("the new start's disk is on");
            let _ = history(&disk.reboot_kill9());
        }
    }
}

#[test]
fn the_write_that_the_crash_cut_short_may_be_there_in_part() {
    let outcomes = |reboot: &dyn Fn(&SimDisk, u64) -> SimDisk| -> HashSet<Vec<u8>> {
        let run = |seed| {
            let disk = SimDisk::new(0);
            let file = create(&disk, "file");
            write(&file, 0, &[1; 12288]);
            file.sync_data().expect("it can be synced");
            // The seed of a kill −9 is the number of operations.
            (0..seed % 7).for_each(|_| file.sync_data().expect("it can be synced"));
            disk.crash_at(disk.operation_count());
            assert_eq!(errno(file.write_at(&[IoSlice::new(&[2; 12288])], 0)), Some(libc::EIO));
            sectors(&reboot(&disk, seed).content("file"))
        };
        (0..SEEDS).map(run).collect()
    };
    let power = outcomes(&|disk, seed| disk.reboot(seed));
    assert!(power.contains(&vec![1; 24]) && power.contains(&vec![2; 24]) && power.len() > 10);
    let kill = outcomes(&|disk, _| disk.reboot_kill9());
    assert!(kill.len() > 1);
    for sectors in kill {
        let written = sectors.iter().take_while(|sector| **sector == 2).count();
        assert!(
            written % 8 == 0 && sectors[written..].iter().all(|sector| *sector == 1),
            "a prefix of whole pages"
        );
    }
}

// engine 12
#[test]
fn kill9_keeps_everything_and_syncs_nothing() {
    let disk = SimDisk::new(0);
    let file = disk
        .create(path("file"), OpenMode::Buffered)
        .expect("it can be created");
    write(&file, 0, &[1; 4096]);
    let next = disk.reboot_kill9();
    assert_eq!(errno(file.len()), Some(libc::EIO), "the old process is gone");
    assert_eq!(next.content("file"), [1; 4096]);
    let lost = (0..SEEDS)
        .filter(|seed| next.reboot_kill9().reboot(*seed).paths().is_empty())
        .count();
    assert!(lost > 0, "a power loss after kill −9 takes what nobody synced");
    let next = next.reboot_kill9();
    next.open(path("file"), OpenMode::Buffered)
        .expect("it is there")
        .sync_data()
        .expect("it can be synced");
    next.sync_dir(path("")).expect("it can be synced");
    assert!((0..SEEDS).all(|seed| next.reboot_kill9().reboot(seed).content("file") == [1; 4096]));
}

// engine 4, 5
#[test]
fn a_failed_sync_loses_what_reads_still_show() {
    for sticky in [true, false] {
        let mut lost = 0;
        for seed in 0..SEEDS {
            let disk = SimDisk::new(seed);
            let (file, other) = (create(&disk, "journal"), create(&disk, "segment"));
            write(&file, 0, &[1; 1024]);
            let matching = |path: &Path| path == Path::new("journal");
            if sticky {
                disk.fail_next_sync(matching)
            } else {
                disk.fail_next_sync_once(matching)
            }
            other.sync_data().expect("it does not match");
            assert_eq!(errno(file.sync_data()), Some(libc::EIO));
            assert_eq!(disk.faults_left(), 0);
            assert_eq!(file.sync_data().is_err(), sticky);
            assert_eq!(disk.content("journal"), [1; 1024]);
            write(&file, 512, &[2; 512]);
            if !sticky {
                file.sync_data().expect("the error was told once");
                let after = sectors(&disk.reboot(seed).content("journal"));
                assert_eq!(after.last(), Some(&2), "what was written after the failure is synced");
                lost += usize::from(after != [1, 2]);
            } else {
                disk.clear_faults();
                file.sync_data().expect("it was mended");
            }
        }
        assert!(sticky || lost > 0);
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(0);
    disk.set_capacity(Some(5 * 4096));
    let (file, other) = (create(&disk, "file"), create(&disk, "other"));
    other.allocate(0, 8192).expect("it fits");
    assert_eq!(disk.free_bytes().expect("it is known"), 3 * 4096);
    assert_eq!(errno(other.allocate(0, 6 * 4096)), Some(libc::ENOSPC));
    assert_eq!(
        disk.free_bytes().expect("it is known"),
        3 * 4096,
        "an allocation is made or not"
    );
    write(&other, 0, &[1; 8192]);
    assert_eq!(
        errno(file.write_at(&[IoSlice::new(&[2; 4 * 4096])], 0)),
        Some(libc::ENOSPC)
    );
    assert_eq!(disk.content("file"), [2; 3 * 4096]);
    assert_eq!(disk.free_bytes().expect("it is known"), 0);
    write(&file, 100, &[3; 4096]);
    assert_eq!(
        errno(file.write_at(&[IoSlice::new(&[4])], 3 * 4096)),
        Some(libc::ENOSPC)
    );
    disk.remove(path("other")).expect("it can be removed");
    assert_eq!(disk.free_bytes().expect("it is known"), 8192);
    write(&file, 3 * 4096, &[4]);
    file.set_len(4097).expect("it can be cut");
    assert_eq!(disk.used_bytes(), 8192);
    disk.set_capacity(Some(4096));
    assert_eq!(errno(file.write_at(&[IoSlice::new(&[4])], 8192)), Some(libc::ENOSPC));
    disk.set_capacity(None);
    write(&file, 1 << 40, &[4]);
}

#[test]
fn faults_strike_once_where_they_match() {
    let disk = SimDisk::new(0);
    let (a, b) = (create(&disk, "a"), create(&disk, "b"));
    disk.fail_next_write(SimError::Enospc, |path| path == Path::new("b"));
    disk.fail_next(OpKind::Create, SimError::Eio, |_| true);
    write(&a, 0, b"fine");
    assert_eq!(errno(b.write_at(&[IoSlice::new(&[9; 2048])], 0)), Some(libc::ENOSPC));
    let part = disk.content("b");
    assert!(part.len() < 2048 && part.len().is_multiple_of(512) && part.iter().all(|byte| *byte == 9));
    write(&b, 0, b"fine");
    assert_eq!(errno(disk.create(path("c"), OpenMode::Direct)), Some(libc::EIO));
    disk.create(path("c"), OpenMode::Direct).expect("it can be created");
    assert_eq!(disk.faults_left(), 0);
}

#[test]
fn damage_is_there_before_and_after_a_reboot() {
    let disk = SimDisk::new(0);
    let file = create(&disk, "file");
    write(&file, 0, &[0xff; 8192]);
    file.sync_data().expect("it can be synced");
    disk.flip_bit("file", 5000, 3);
    let mut expected = vec![0xff; 8192];
    expected[5000] = 0xf7;
    assert!(disk.content("file") == expected && disk.reboot(1).content("file") == expected);
    for seed in 0..50 {
        let disk = disk.reboot(seed);
        disk.tear_block("file", 0, seed);
        let torn = sectors(&disk.content("file")[..4096]);
        assert!(torn.contains(&0) && torn.contains(&0xff), "seed {seed}");
        assert!(disk.content("file")[4096..] == expected[4096..]);
    }
    disk.overwrite("file", 10, b"other");
    assert_eq!(&disk.content("file")[9..16], b"\xffother\xff");
    assert_eq!(disk.content("file"), disk.durable_content("file"));
}

#[test]
fn a_held_sync_covers_what_was_written_when_it_began() {
    let disk = SimDisk::new(0);
    let file = create(&disk, "file");
    write(&file, 0, b"before");
    disk.hold_syncs();
    let syncs: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn({
                let file = Arc::clone(&file);
                move || file.sync_data()
            })
        })
        .collect();
    disk.wait_for_held_syncs(3);
    assert!(disk.durable_content("file").is_empty());
    write(&file, 6, b"after");
    disk.release_syncs();
    for sync in syncs {
        sync.join().expect("it ends").expect("it succeeds");
    }
    assert_eq!(disk.durable_content("file"), b"before");
    file.sync_data().expect("it can be synced");
    assert_eq!(disk.durable_content("file"), b"beforeafter");
}

#[test]
fn a_held_sync_fails_when_the_machine_goes_off() {
    let disk = SimDisk::new(0);
    let file = create(&disk, "file");
    write(&file, 0, b"before");
    disk.hold_syncs();
    let sync = thread::spawn(move || file.sync_data());
    disk.wait_for_held_syncs(1);
    disk.power_off();
    assert_eq!(errno(sync.join().expect("it ends")), Some(libc::EIO));
    assert!(disk.durable_content("file").is_empty());
}

#[test]
fn files_are_opened_as_on_linux() {
    let disk = SimDisk::new(0);
    let kind = |result: io::Result<Arc<dyn DiskFile>>| result.map(|_| ()).expect_err("it fails").kind();
    assert_eq!(kind(disk.open(path("a"), OpenMode::Direct)), ErrorKind::NotFound);
    assert_eq!(kind(disk.create(path("d/a"), OpenMode::Direct)), ErrorKind::NotFound);
    let file = create(&disk, "a");
    assert_eq!(kind(disk.create(path("a"), OpenMode::Direct)), ErrorKind::AlreadyExists);
    assert!(file.fd().is_none());
    let read_only = disk.open(path("a"), OpenMode::Read).expect("it can be opened");
    assert_eq!(errno(read_only.write_at(&[IoSlice::new(b"x")], 0)), Some(libc::EBADF));
    assert_eq!(errno(read_only.set_len(0)), Some(libc::EBADF));
    let direct = disk.open(path("a"), OpenMode::Direct).expect("it can be opened");
    let memory = vec![0; 3 * BLOCK_BYTES];
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let aligned = &memory[start..start + BLOCK_BYTES];
    for (data, at) in [
        (&aligned[..512], 0),
        (aligned, 512),
        (&memory[start + 1..][..BLOCK_BYTES], 0),
    ] {
        let error = direct
            .write_at(&[IoSlice::new(data)], at)
            .expect_err("it is not aligned");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    direct.write_at(&[IoSlice::new(aligned)], 4096).expect("it is aligned");
    assert_eq!(direct.len().expect("it has a length"), 8192);
    disk.remove(path("a")).expect("it can be removed");
    disk.remove(path("a")).expect("it may be gone");
    disk.remove_dir(path("d")).expect("it may be gone");
    let mut byte = [1];
    assert_eq!(direct.read_at(&mut byte, 5000).expect("who has it open can read it"), 1);
    assert!(
        disk.list(path("missing"))
            .expect("what is not there is empty")
            .is_empty()
    );
}
