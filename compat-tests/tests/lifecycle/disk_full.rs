//! A full disk: produces are refused with 56, reads go on, `/readyz` says so; space that is freed is used without a restart.
//!
//! The disk is a small tmpfs, which only root can mount; without that right the test says so aloud.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use streamhouse_compat_tests::ops::{code, produce_request};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, eventually};
use tempfile::TempDir;

use super::connect;

/// A mounted tmpfs; unmounted when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    fn mount(mebibytes: u32) -> Option<SmallDisk> {
        let dir = tempfile::Builder::new()
            .prefix("streamhouse-disk-")
            .tempdir()
            .expect("a temporary directory");
        let target = c_path(dir.path());
        let options = CString::new(format!("size={mebibytes}m")).expect("no NUL");
        // SAFETY: four NUL-terminated strings that live until the call returns.
        let mounted = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                target.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        };
        if mounted != 0 {
            let why = std::io::Error::last_os_error();
            eprintln!("SKIPPED: a full disk is not tested, because this user may not mount a tmpfs: {why}");
            return None;
        }
        Some(SmallDisk { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let target = c_path(self.dir.path());
        // SAFETY: a NUL-terminated string; the mount is our own.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().expect("UTF-8")).expect("no NUL")
}

/// Takes all that is left of the disk, apart from about `rest` bytes.
fn fill(dir: &Path, rest: u64) -> std::path::PathBuf {
    let path = dir.join("ballast");
    let free = {
        let target = c_path(dir);
        let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: a NUL-terminated path and room for one result, which is read only when the call succeeded.
        let stat = unsafe {
            assert_eq!(libc::statvfs(target.as_ptr(), stat.as_mut_ptr()), 0);
            stat.assume_init()
        };
        stat.f_bavail * stat.f_frsize
    };
    let file = File::create(&path).expect("a file");
    let bytes = i64::try_from(free.saturating_sub(rest)).expect("a small disk");
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open.
    let allocated = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) };
    assert_eq!(allocated, 0, "posix_fallocate of {bytes} bytes");
    path
}

#[test]
fn produces_are_refused_reads_go_on_and_freed_space_is_used() {
    let Some(disk) = SmallDisk::mount(400) else { return };
    let data_dir = disk.dir.path().join("data");
    let mut broker = Broker::builder().data_dir(&data_dir).start();
    let mut client = connect(&broker);
    client.create_topic("t", 1);
    let large = |i: usize| BatchSpec::of(&[&format!("{i} {}", "x".repeat(900_000))]).encode();
    let mut acknowledged = Vec::new();
    for i in 0..10 {
        acknowledged.push((client.produce_ok("t", 0, large(i)), i));
    }
    let ballast = fill(disk.dir.path(), 3 << 20);
    let mut refused = 0;
    for i in 10..400 {
        let request = produce_request("t", -1, &[(0, large(i))]).with_timeout_ms(1_000);
        let answer = client
            .call(9, &request)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        match answer.error_code {
            code::NONE => acknowledged.push((answer.base_offset, i)),
            code::KAFKA_STORAGE_ERROR => refused += 1,
            // It was taken before anybody knew; it stays in memory and is written when there is space (contract 27).
            code::REQUEST_TIMED_OUT => {}
            other => panic!("error {other}"),
        }
        if refused > 20 {
            break;
        }
    }
    assert!(refused > 20, "the disk never was full");
    let read = client.fetch("t", 0, 0);
    assert_eq!(
        (read.error_code, read.records.is_some_and(|records| !records.is_empty())),
        (code::NONE, true)
    );
    assert_eq!(broker.http_get("/readyz").0, 503);
    assert_eq!(broker.http_get("/livez").0, 200);
    assert!(broker.is_running());

    std::fs::remove_file(ballast).expect("the ballast goes");
    let offset = eventually("produces to work again", || {
        let answer = client.produce("t", 0, -1, large(1000));
        (answer.error_code == code::NONE).then_some(answer.base_offset)
    });
    acknowledged.push((offset, 1000));
    eventually("ready again", || (broker.http_get("/readyz").0 == 200).then_some(()));

    // What was acknowledged is there, before and after a restart, and nothing else is at its place.
    for restarted in [false, true] {
        if restarted {
            broker.kill9();
            broker.restart();
            client = connect(&broker);
        }
        let found = client.read_all("t", 0, 0);
        assert!(
            found.iter().enumerate().all(|(i, record)| record.offset == i as i64),
            "offsets without gaps"
        );
        for (offset, i) in &acknowledged {
            let text = found[*offset as usize].text();
            assert!(
                text.starts_with(&format!("{i} ")),
                "offset {offset} has {:?}",
                &text[..10]
            );
        }
    }
}

#[test]
fn small_appends_on_a_full_disk() {
    // The journal is there already: it goes on until it has to be freed into segments that have no room.
    let Some(disk) = SmallDisk::mount(300) else { return };
    let mut broker = Broker::builder().data_dir(disk.dir.path().join("data")).start();
    let mut client = connect(&broker);
    client.create_topic("t", 2);
    client.produce_ok("t", 0, BatchSpec::of(&["first"]).encode());
    let ballast = fill(disk.dir.path(), 0);
    let mut acknowledged = vec!["first".to_owned()];
    let mut refused = false;
    for i in 0..3_000 {
        let value = format!("{i} {}", "y".repeat(60_000));
        let answer = client.produce("t", 0, -1, BatchSpec::of(&[&value]).encode());
        match answer.error_code {
            code::NONE => {
                assert_eq!(answer.base_offset, acknowledged.len() as i64);
                acknowledged.push(value);
            }
            code::KAFKA_STORAGE_ERROR => {
                refused = true;
                break;
            }
            other => panic!("error {other}"),
        }
    }
    assert!(refused, "180 MB went into 128 MiB of journal and no segments");
    assert_eq!(client.fetch("t", 0, 0).error_code, code::NONE, "reads go on");
    std::fs::remove_file(ballast).expect("the ballast goes");
    eventually("produces to work again", || {
        (client
            .produce("t", 1, -1, BatchSpec::of(&["again"]).encode())
            .error_code
            == code::NONE)
            .then_some(())
    });
    broker.kill9();
    broker.restart();
    let found = connect(&broker).read_all("t", 0, 0);
    let found: Vec<String> = found
        .iter()
        .take(acknowledged.len())
        .map(|record| record.text())
        .collect();
    assert!(found == acknowledged, "every acknowledged record is there");
}
