//! The file layer on Linux files.
//!
//! `O_DIRECT` is asked for after the open, since an open that creates the file and is refused leaves it behind. A file
//! system that refuses it gets the same writes through the page cache, and the log says so once.

use super::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use rustix::fs::{AtFlags, FallocateFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Slices that the kernel takes at once.
const IOV_MAX: usize = 1024;

/// Bytes of the aligned memory through which unaligned direct reads go.
const BOUNCE_BYTES: usize = 256 << 10;

/// The data directory on the machine's file system.
pub struct RealDisk {
    root: PathBuf,
    refusal_logged: Arc<AtomicBool>,
}

impl RealDisk {
    /// The directory `root`, which is there.
    pub fn new(root: PathBuf) -> RealDisk {
        RealDisk {
            root,
            refusal_logged: Arc::new(AtomicBool::new(false)),
        }
    }

    fn full(&self, path: &Path) -> PathBuf {
        debug_assert!(
            path.is_relative(),
            "{} is not relative to the data directory",
            path.display()
        );
        self.root.join(path)
    }

    fn file(&self, file: File, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = RealFile {
            file,
            aligned: mode == OpenMode::Direct,
            direct: AtomicBool::new(false),
            refusal_logged: Arc::clone(&self.refusal_logged),
        };
        if mode == OpenMode::Direct {
            file.ask_for_direct(&self.root)?;
        }
        Ok(Arc::new(file))
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.full(path))?;
        self.file(file, mode)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .open(self.full(path))?;
        self.file(file, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut parent = self.root.clone();
        for name in path.components() {
            let directory = parent.join(name);
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => sync_directory(&parent)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
            parent = directory;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        sync_directory(&self.full(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.full(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fine_when_gone(fs::remove_file(self.full(path)))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fine_when_gone(fs::remove_dir_all(self.full(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.full(from), self.full(to))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// An open file of the data directory.
struct RealFile {
    file: File,
    /// Opened for direct IO: writes must be aligned, whether or not the file system has it.
    aligned: bool,
    /// `O_DIRECT` is set.
    direct: AtomicBool,
    refusal_logged: Arc<AtomicBool>,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let is_aligned = is_aligned(buf) && at.is_multiple_of(BLOCK_BYTES as u64);
        if self.direct.load(Ordering::Relaxed) && !is_aligned {
            self.read_bounced(buf, at)
        } else {
            self.read(buf, at)
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        if self.aligned && !(at.is_multiple_of(BLOCK_BYTES as u64) && bufs.iter().all(|buf| is_aligned(buf))) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a direct write is not made of aligned blocks",
            ));
        }
        self.write(bufs, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Never repeated by us (engine rule 4); the standard library repeats it after EINTR only.
        self.file.sync_data()
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::empty(), from, to) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? < to => self.file.set_len(to),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::ZERO_RANGE, from, to) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(from, to),
            done => Ok(done?),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

impl RealFile {
    /// Sets `O_DIRECT` if the file system has it for blocks of [`BLOCK_BYTES`].
    fn ask_for_direct(&self, root: &Path) -> io::Result<()> {
        match rustix::fs::fcntl_setfl(&self.file, OFlags::DIRECT) {
            Ok(()) => {}
            Err(Errno::INVAL) => {
                self.log_refusal(&root.display().to_string());
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
        self.direct.store(true, Ordering::Relaxed);
        // Kernels before 6.1 and some file systems do not say; then the first write shows it.
        let stat = rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
        let told = stat
            .ok()
            .filter(|stat| stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
        if let Some(stat) = told {
            let (offset, memory) = (stat.stx_dio_offset_align, stat.stx_dio_mem_align);
            if offset == 0 || offset.max(memory) as usize > BLOCK_BYTES {
                self.give_up_direct()?;
            }
        }
        Ok(())
    }

    /// From now on through the page cache.
    fn give_up_direct(&self) -> io::Result<()> {
        rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
        self.direct.store(false, Ordering::Relaxed);
        self.log_refusal("the data directory");
        Ok(())
    }

    fn log_refusal(&self, place: &str) {
        if !self.refusal_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("the file system of {place} has no direct IO: segments are written through the page cache");
        }
    }

    /// The refusal of an aligned direct read or write: go on without.
    fn refused(&self, error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::EINVAL) && self.direct.load(Ordering::Relaxed)
    }

    fn read(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if self.refused(&e) => self.give_up_direct()?,
                Err(e) => return Err(e),
            }
            // A direct read ends inside a block only where the file does.
            if self.direct.load(Ordering::Relaxed) && !done.is_multiple_of(BLOCK_BYTES) {
                break;
            }
        }
        Ok(done)
    }

    /// Reads whole blocks into aligned memory, and copies what was asked for.
    fn read_bounced(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let block = BLOCK_BYTES as u64;
        let wanted_blocks = (at + buf.len() as u64).div_ceil(block) - at / block;
        let mut memory = AlignedMemory::new(BOUNCE_BYTES.min(wanted_blocks as usize * BLOCK_BYTES));
        let bounce = memory.bytes();
        let mut done = 0;
        while done < buf.len() {
            let position = at + done as u64;
            let skip = (position % block) as usize;
            let bytes = self.read(bounce, position - skip as u64)?;
            let found = bounce.get(skip..bytes).unwrap_or_default();
            let copied = found.len().min(buf.len() - done);
            buf[done..done + copied].copy_from_slice(&found[..copied]);
            done += copied;
            if bytes < bounce.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, bufs: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
        let mut bufs = bufs.to_vec();
        let mut rest = bufs.as_mut_slice();
        // Drops empty slices at the front, so that a write of nothing is an error of the kernel's.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let written = match rustix::io::pwritev(&self.file, &rest[..rest.len().min(IOV_MAX)], at) {
                // A short direct write goes on at a block.
                Ok(bytes) if self.direct.load(Ordering::Relaxed) => bytes - bytes % BLOCK_BYTES,
                Ok(bytes) => bytes,
                Err(Errno::INTR) => continue,
                Err(e) if self.refused(&e.into()) => {
                    self.give_up_direct()?;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            if written == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    "the file system took no whole block",
                ));
            }
            IoSlice::advance_slices(&mut rest, written);
            at += written as u64;
        }
        Ok(())
    }

    /// What `FALLOC_FL_ZERO_RANGE` does, where it is not there.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let block = BLOCK_BYTES as u64;
        let len = self.len()?;
        let mut at = from;
        while at < to {
            let start = at - at % block;
            let whole_blocks = (to - start) / block;
            if at == start && whole_blocks > 0 {
                let blocks = whole_blocks.min(IOV_MAX as u64);
                self.write(&vec![IoSlice::new(&ZERO_BLOCK.0); blocks as usize], start)?;
                at += blocks * block;
                continue;
            }
            // A block of which a part stays.
            let mut memory = AlignedMemory::new(BLOCK_BYTES);
            let bytes = memory.bytes();
            self.read(bytes, start)?;
            let end = (start + block).min(to);
            bytes[(at - start) as usize..(end - start) as usize].fill(0);
            self.write(&[IoSlice::new(bytes)], start)?;
            at = end;
        }
        let grown = len.max(to);
        if self.len()? > grown {
            self.file.set_len(grown)
        } else {
            Ok(())
        }
    }
}

#[repr(align(4096))]
struct ZeroBlock([u8; BLOCK_BYTES]);

static ZERO_BLOCK: ZeroBlock = ZeroBlock([0; BLOCK_BYTES]);

/// Zeroed memory that starts at a multiple of [`BLOCK_BYTES`].
struct AlignedMemory {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl AlignedMemory {
    fn new(bytes: usize) -> AlignedMemory {
        let memory = vec![0; bytes + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        AlignedMemory { memory, start, bytes }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

fn is_aligned(buf: &[u8]) -> bool {
    buf.len().is_multiple_of(BLOCK_BYTES) && buf.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
}

fn fallocate(file: &File, flags: FallocateFlags, from: u64, to: u64) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, flags, from, to - from) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn fine_when_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
#[path = "real_tests.rs"]
mod tests;
