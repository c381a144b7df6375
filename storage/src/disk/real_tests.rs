//! The file layer on the temporary directory's file system, and on tmpfs.

use super::*;
use tempfile::{TempDir, tempdir, tempdir_in};

/// A temporary directory on each file system that there is: what is in `TMPDIR`, and tmpfs.
fn disks() -> Vec<(TempDir, RealDisk)> {
    let mut directories = vec![tempdir().expect("a temporary directory")];
    match tempdir_in("/dev/shm") {
        Ok(directory) => directories.push(directory),
        Err(e) => eprintln!("NOT TESTED on tmpfs: /dev/shm: {e}"),
    }
    directories
        .into_iter()
        .map(|dir| (RealDisk::new(dir.path().to_owned()), dir))
        .map(|(disk, dir)| (dir, disk))
        .collect()
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + i / 4096 * 7) as u8).collect()
}

fn aligned(content: &[u8]) -> AlignedMemory {
    let mut memory = AlignedMemory::new(content.len());
    memory.bytes().copy_from_slice(content);
    memory
}

fn write_blocks(file: &dyn DiskFile, content: &[u8], at: u64) {
    let mut memory = aligned(content);
    file.write_at(&[IoSlice::new(memory.bytes())], at)
        .expect("it can be written");
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("it has a length") as usize];
    assert_eq!(file.read_at(&mut bytes, 0).expect("it can be read"), bytes.len());
    bytes
}

#[test]
fn what_was_written_is_read_in_every_mode() {
    for (_dir, disk) in disks() {
        for (name, mode) in [("buffered", OpenMode::Buffered), ("direct", OpenMode::Direct)] {
            let path = Path::new(name);
            let file = disk.create(path, mode).expect("it can be created");
            let bytes = pattern(5 * BLOCK_BYTES);
            write_blocks(&*file, &bytes, 0);
            file.sync_data().expect("it can be synced");
            for mode in [OpenMode::Buffered, OpenMode::Direct, OpenMode::Read] {
                assert_eq!(content(&*disk.open(path, mode).expect("it can be opened")), bytes);
            }
        }
    }
}

#[test]
fn creating_what_is_there_and_opening_what_is_not_are_errors() {
    for (_dir, disk) in disks() {
        let path = Path::new("file");
        let missing = disk.open(path, OpenMode::Direct).err().expect("it is not there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        disk.create(path, OpenMode::Direct).expect("it can be created");
        let there = disk.create(path, OpenMode::Buffered).err().expect("it is there");
        assert_eq!(there.kind(), io::ErrorKind::AlreadyExists);
    }
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    for (_dir, disk) in disks() {
        disk.create(Path::new("file"), OpenMode::Buffered)
            .expect("it can be created");
        let file = disk.open(Path::new("file"), OpenMode::Read).expect("it can be opened");
        assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err());
    }
}

#[test]
fn direct_reads_take_any_position_length_and_memory() {
    for (_dir, disk) in disks() {
        // The last block is cut short, as a file's that was copied.
        let bytes = pattern(BOUNCE_BYTES + 3 * BLOCK_BYTES + 1000);
        let file = disk
            .create(Path::new("file"), OpenMode::Buffered)
            .expect("it can be created");
        file.write_at(&[IoSlice::new(&bytes)], 0).expect("it can be written");
        file.sync_data().expect("it can be synced");
        let file = disk
            .open(Path::new("file"), OpenMode::Direct)
            .expect("it can be opened");
        let end = bytes.len();
        let cases = [
            (0, end),
            (0, end + 1),
            (1, 1),
            (4095, 2),
            (4096, 4096),
            (4097, BOUNCE_BYTES + 4096),
            (end - 1, 1),
            (end - 1, 5000),
            (end, 10),
            (end + 9000, 10),
            (BOUNCE_BYTES - 1, 4097),
            (17, 0),
        ];
        for (at, len) in cases {
            let mut buf = vec![0xee; len + 1];
            let read = file.read_at(&mut buf[1..], at as u64).expect("it can be read");
            let expected = bytes.get(at..end.min(at + len)).unwrap_or_default();
            assert_eq!(&buf[1..1 + read], expected, "{len} bytes at {at}");
            assert_eq!(buf[0], 0xee);
        }
        let mut memory = AlignedMemory::new(bytes.len().next_multiple_of(BLOCK_BYTES));
        assert_eq!(file.read_at(memory.bytes(), 0).expect("it can be read"), end);
        assert_eq!(&memory.bytes()[..end], bytes);
    }
}

#[test]
fn a_direct_write_of_less_than_blocks_is_refused_everywhere() {
    for (_dir, disk) in disks() {
        let file = disk
            .create(Path::new("file"), OpenMode::Direct)
            .expect("it can be created");
        let mut memory = AlignedMemory::new(2 * BLOCK_BYTES);
        let bytes = memory.bytes();
        let cases: [(&[u8], u64); 3] = [
            (&bytes[..100], 0),
            (&bytes[..BLOCK_BYTES], 512),
            (&bytes[1..=BLOCK_BYTES], 0),
        ];
        for (bytes, at) in cases {
            let error = file
                .write_at(&[IoSlice::new(bytes)], at)
                .expect_err("it is not aligned");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(file.len().expect("it has a length"), 0);
    }
}

#[test]
fn more_slices_than_the_kernel_takes_at_once_are_written_in_order() {
    for (_dir, disk) in disks() {
        let bytes = pattern(3 * IOV_MAX + 5);
        let mut slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        slices.insert(0, IoSlice::new(&[]));
        slices.insert(IOV_MAX, IoSlice::new(&[]));
        slices.push(IoSlice::new(&[]));
        let file = disk
            .create(Path::new("buffered"), OpenMode::Buffered)
            .expect("it can be created");
        file.write_at(&slices, 10).expect("it can be written");
        file.write_at(&[], 5).expect("nothing can be written");
        assert_eq!(content(&*file)[10..], bytes);

        let blocks = pattern(BLOCK_BYTES * 3);
        let mut memory = aligned(&blocks);
        let slices: Vec<IoSlice<'_>> = memory
            .bytes()
            .chunks(BLOCK_BYTES)
            .cycle()
            .take(IOV_MAX + 2)
            .map(IoSlice::new)
            .collect();
        let file = disk
            .create(Path::new("direct"), OpenMode::Direct)
            .expect("it can be created");
        file.write_at(&slices, BLOCK_BYTES as u64).expect("it can be written");
        let read = content(&*file);
        assert_eq!(read.len(), (IOV_MAX + 3) * BLOCK_BYTES);
        for (i, block) in read[BLOCK_BYTES..].chunks(BLOCK_BYTES).enumerate() {
            assert!(block == &blocks[i % 3 * BLOCK_BYTES..][..BLOCK_BYTES], "block {i}");
        }
    }
}

#[test]
fn allocated_space_reads_as_zero_and_keeps_what_is_there() {
    for (_dir, disk) in disks() {
        let file = disk
            .create(Path::new("file"), OpenMode::Direct)
            .expect("it can be created");
        let bytes = pattern(BLOCK_BYTES);
        write_blocks(&*file, &bytes, 0);
        file.allocate(0, 1 << 20).expect("it can be allocated");
        file.allocate(0, 4096).expect("less is fine");
        file.allocate(4096, 4096).expect("nothing is fine");
        let read = content(&*file);
        assert_eq!(read.len(), 1 << 20);
        assert_eq!(read[..BLOCK_BYTES], bytes);
        assert!(read[BLOCK_BYTES..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn zeroing_touches_the_range_and_nothing_else() {
    for (_dir, disk) in disks() {
        for mode in [OpenMode::Buffered, OpenMode::Direct] {
            let block = BLOCK_BYTES as u64;
            let ranges = [
                (0, 2 * block),
                (block + 1, block + 2),
                (100, 3 * block + 7),
                (block, 3 * block - 1),
                (4 * block - 10, 4 * block + 10),
                (4 * block - 10, 7 * block + 3),
                (9 * block, 9 * block + 1),
                (5, 5),
            ];
            for (i, (from, to)) in ranges.into_iter().enumerate() {
                let file = disk
                    .create(Path::new(&format!("{mode:?}{i}")), mode)
                    .expect("it can be created");
                let mut expected = pattern(4 * BLOCK_BYTES);
                write_blocks(&*file, &expected, 0);
                file.zero(from, to).expect("it can be zeroed");
                if from < to {
                    expected.resize(expected.len().max(to as usize), 0);
                    expected[from as usize..to as usize].fill(0);
                }
                assert!(content(&*file) == expected, "{from}..{to} {mode:?}");
            }
        }
    }
}

#[test]
fn a_file_is_cut_and_extended() {
    for (_dir, disk) in disks() {
        let file = disk
            .create(Path::new("file"), OpenMode::Buffered)
            .expect("it can be created");
        file.write_at(&[IoSlice::new(b"abc"), IoSlice::new(b"def")], 0)
            .expect("it can be written");
        file.set_len(4).expect("it can be cut");
        assert_eq!(content(&*file), b"abcd");
        file.set_len(6).expect("it can be extended");
        assert_eq!(content(&*file), b"abcd\0\0");
        assert_eq!(file.len().expect("it has a length"), 6);
    }
}

#[test]
fn directories_are_made_listed_and_removed() {
    for (_dir, disk) in disks() {
        assert!(
            disk.list(Path::new("a/b"))
                .expect("what is not there is empty")
                .is_empty()
        );
        disk.create_dir(Path::new("a/b")).expect("it can be made");
        disk.create_dir(Path::new("a/b")).expect("it may be there");
        disk.create(Path::new("a/b/1"), OpenMode::Buffered)
            .expect("it can be created");
        disk.create(Path::new("a/b/2"), OpenMode::Buffered)
            .expect("it can be created");
        disk.rename(Path::new("a/b/1"), Path::new("a/b/2"))
            .expect("it replaces");
        disk.rename(Path::new("a/b/2"), Path::new("a/3"))
            .expect("it can be moved");
        disk.sync_dir(Path::new("a/b")).expect("it can be synced");
        disk.sync_dir(Path::new(""))
            .expect("the data directory itself can be synced");
        let mut names = disk.list(Path::new("a")).expect("it can be listed");
        names.sort();
        assert_eq!(names, ["3", "b"]);
        disk.remove(Path::new("a/3")).expect("it can be removed");
        disk.remove(Path::new("a/3")).expect("it may be gone");
        disk.remove_dir(Path::new("a")).expect("it can be removed");
        disk.remove_dir(Path::new("a")).expect("it may be gone");
        assert!(disk.list(Path::new("")).expect("it can be listed").is_empty());
    }
}

#[test]
fn free_space_is_known() {
    for (_dir, disk) in disks() {
        assert!(disk.free_bytes().expect("it is known") > 0);
    }
}

#[test]
fn a_file_system_that_refuses_direct_io_is_read_through_the_page_cache() {
    // procfs knows no direct IO on any kernel; tmpfs has it since Linux 6.6.
    let disk = RealDisk::new(PathBuf::from("/proc/self"));
    let file = disk
        .open(Path::new("status"), OpenMode::Read)
        .expect("it can be opened");
    assert!(!disk.refusal_logged.load(Ordering::Relaxed));
    drop(file);
    let file = RealFile {
        file: File::open("/proc/self/status").expect("it can be opened"),
        aligned: true,
        direct: AtomicBool::new(false),
        refusal_logged: Arc::clone(&disk.refusal_logged),
    };
    file.ask_for_direct(&disk.root).expect("a refusal is no error");
    assert!(!file.direct.load(Ordering::Relaxed));
    assert!(disk.refusal_logged.load(Ordering::Relaxed));
    let mut bytes = [0; 5];
    assert_eq!(file.read_at(&mut bytes, 0).expect("it can be read"), 5);
    assert_eq!(&bytes, b"Name:");
}

#[test]
fn direct_io_that_is_given_up_goes_on_through_the_page_cache() {
    let dir = tempdir().expect("a temporary directory");
    let logged = Arc::new(AtomicBool::new(false));
    let path = dir.path().join("file");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .expect("it can be created");
    let file = RealFile {
        file,
        aligned: true,
        direct: AtomicBool::new(false),
        refusal_logged: Arc::clone(&logged),
    };
    file.ask_for_direct(dir.path()).expect("it can be asked for");
    let bytes = pattern(2 * BLOCK_BYTES);
    write_blocks(&file, &bytes[..BLOCK_BYTES], 0);
    file.give_up_direct().expect("it can be given up");
    assert!(logged.load(Ordering::Relaxed));
    assert!(
        !rustix::fs::fcntl_getfl(&file.file)
            .expect("it has flags")
            .contains(OFlags::DIRECT)
    );
    write_blocks(&file, &bytes[BLOCK_BYTES..], BLOCK_BYTES as u64);
    assert_eq!(content(&file), bytes);
}
