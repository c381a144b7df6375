//! Whether a range of a file is in the page cache, and bringing it there: what may wait for the disk leaves the async threads.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

/// `cachestat(2)`, Linux 6.5: the same number on all architectures.
const SYS_CACHESTAT: libc::c_long = 451;
const PAGE_BYTES: u64 = 4096;

#[repr(C)]
struct CachestatRange {
    off: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    nr_cache: u64,
    nr_dirty: u64,
    nr_writeback: u64,
    nr_evicted: u64,
    nr_recently_evicted: u64,
}

/// Whether reading `len` bytes at `position` would not wait for the disk. `false` when the kernel cannot tell.
pub fn is_cached(file: BorrowedFd<'_>, position: u64, len: u64) -> bool {
    static UNSUPPORTED: OnceLock<()> = OnceLock::new();
    if UNSUPPORTED.get().is_some() {
        return false;
    }
    let range = CachestatRange { off: position, len };
    let mut stat = Cachestat::default();
    // SAFETY: the descriptor is open for the length of the call, and both structures are what the kernel expects.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut stat,
            0 as libc::c_uint,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error().raw_os_error();
        if matches!(error, Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP)) {
            UNSUPPORTED.get_or_init(|| ());
        }
        return false;
    }
    let pages = (position + len).div_ceil(PAGE_BYTES) - position / PAGE_BYTES;
    // Pages count as cached while they are still being read; the last one arrives last.
    stat.nr_cache >= pages && is_readable_now(file, (position + len).saturating_sub(1))
}

/// Whether one byte can be read without waiting.
fn is_readable_now(file: BorrowedFd<'_>, position: u64) -> bool {
    let mut byte = 0u8;
    let target = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: the descriptor is open for the length of the call, and the vector describes one byte of this frame.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const target,
            1,
            position.cast_signed(),
            libc::RWF_NOWAIT,
        )
    };
    read == 1
}

/// Reads a range into the page cache without copying it anywhere. Blocks.
pub fn populate(file: BorrowedFd<'_>, position: u64, len: u64) -> io::Result<()> {
    static NULL: OnceLock<std::fs::File> = OnceLock::new();
    // One large request to the disk instead of many small ones; only a hint, so that its failure means nothing.
    // SAFETY: the descriptor is open for the length of the call.
    let _ = unsafe { libc::readahead(file.as_raw_fd(), position.cast_signed(), len as usize) };
    let null = match NULL.get() {
        Some(null) => null,
        None => {
            let opened = std::fs::File::options().write(true).open("/dev/null")?;
            NULL.get_or_init(|| opened)
        }
    };
    // To /dev/null the kernel moves page references only: it waits for the pages, and copies nothing.
    let mut at = position;
    let end = position + len;
    while at < end {
        let left = (end - at) as usize;
        match rustix::fs::sendfile(null, file, Some(&mut at), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_just_written_is_cached_and_populating_reads_to_the_end_only() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[7; 10_000]).expect("written");
        populate(file.as_fd(), 0, 10_000).expect("read");
        populate(file.as_fd(), 9_999, 1).expect("read");
        let beyond = populate(file.as_fd(), 5_000, 10_000).expect_err("past the end");
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        // Nothing is cached past the end of the file, wherever the kernel can tell.
        assert!(!is_cached(file.as_fd(), 1 << 30, 1 << 20));
    }
}
