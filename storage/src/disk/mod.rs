//! The file layer: everything that the journal and the segments do to a disk, and nothing else.
//!
//! Two implementations: [`real`] on Linux files, and one in the crate's tests that records writes and syncs, then drops,
//! reorders and tears whatever was not synced. RocksDB has its own files and does not pass here.
//! All paths are relative to the data directory. All calls block; they run on IO threads only.

pub mod real;

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reads and writes through the page cache (journal).
    Buffered,
    /// `O_DIRECT` where the file system has it (segments): offsets, lengths and memory aligned to [`BLOCK_BYTES`].
    Direct,
    /// Read-only through the page cache (readers of synced blocks).
    Read,
}

/// The unit of writing: offsets and lengths of direct writes are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// One data directory.
pub trait Disk: Send + Sync {
    /// Creates a new file of that name (`AlreadyExists` when it is there). The caller syncs the directory.
    fn create(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a directory and its parents, and syncs the parent of each one made.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `path` durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, unsorted; empty when it does not exist.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Removes a file; fine when it is already gone.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all in it; fine when it is already gone.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames within the data directory, replacing.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Bytes free for this process.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Positions are bytes from its start.
#[expect(
    clippy::len_without_is_empty,
    reason = "a file's length, which nobody asks for emptiness"
)]
pub trait DiskFile: Send + Sync {
    /// Reads until `buf` is full or the file ends; returns the bytes read.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bufs` in order from `at`.
    fn write_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()>;
    /// fdatasync: what was written before is durable when it returns.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves blocks for `from..to`; they read as zero. The file's length grows to `to` if it was shorter.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()>;
    /// Makes `from..to` read as zero.
    fn zero(&self, from: u64, to: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// The descriptor for sendfile, where there is one.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}
