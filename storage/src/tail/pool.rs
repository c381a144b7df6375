//! Page-aligned memory for tails, from one bounded pool.
//!
//! A [`Chunk`] is written by one log (under that log's lock) and read by many: bytes that were published never change, so
//! readers hold the chunk and a range of it while the log writes further behind. Large chunks are recycled, because the
//! first touch of a fresh page costs more than filling it; they go back to the allocator when the engine is quiet.

use crate::disk::BLOCK_BYTES;
use bytes::Bytes;
use parking_lot::Mutex;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Bytes of the chunk of a busy log.
pub(crate) const LARGE_CHUNK_BYTES: usize = 1 << 20;
/// Bytes of the chunk of a log that has just become busy.
pub(crate) const MEDIUM_CHUNK_BYTES: usize = 64 << 10;
/// Recycled large chunks kept at most.
const SPARE_MAX: usize = 16;

/// Counts tail memory over all logs and recycles large chunks.
pub(crate) struct ChunkPool {
    used: AtomicUsize,
    limit: usize,
    spare: Mutex<Vec<NonNull<u8>>>,
    freed: Notify,
}

// SAFETY: the pointers in `spare` are owned allocations that nobody else refers to.
unsafe impl Send for ChunkPool {}
// SAFETY: as above; access goes through the mutex.
unsafe impl Sync for ChunkPool {}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, BLOCK_BYTES).expect("chunk sizes are small multiples of a block")
}

impl ChunkPool {
    pub(crate) fn new(limit: usize) -> Arc<ChunkPool> {
        Arc::new(ChunkPool {
            used: AtomicUsize::new(0),
            limit,
            spare: Mutex::new(Vec::new()),
            freed: Notify::new(),
        })
    }

    /// Bytes in chunks that logs or readers hold.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The configured bound; appends are admitted below it.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether logs should give up what they keep for readers' convenience alone.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() > self.limit / 2
    }

    /// Completes when some chunk was freed after the call.
    pub(crate) fn freed(&self) -> &Notify {
        &self.freed
    }

    /// A chunk of `bytes`, a multiple of the block size. Its content is undefined until written.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Arc<Chunk> {
        assert!(
            bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES),
            "chunks are whole blocks"
        );
        let recycled = if bytes == LARGE_CHUNK_BYTES {
            self.spare.lock().pop()
        } else {
            None
        };
        let start = recycled.unwrap_or_else(|| {
            // SAFETY: the layout has a non-zero size.
            let raw = unsafe { alloc(layout(bytes)) };
            NonNull::new(raw).unwrap_or_else(|| handle_alloc_error(layout(bytes)))
        });
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Chunk {
            start,
            capacity: bytes,
            pool: self.clone(),
        })
    }

    /// Gives recycled chunks back to the allocator.
    pub(crate) fn release_spare(&self) {
        for start in self.spare.lock().drain(..) {
            // SAFETY: allocated with this layout, owned by `spare` alone.
            unsafe { dealloc(start.as_ptr(), layout(LARGE_CHUNK_BYTES)) };
        }
    }
}

impl Drop for ChunkPool {
    fn drop(&mut self) {
        self.release_spare();
    }
}

/// A piece of page-aligned memory.
pub(crate) struct Chunk {
    start: NonNull<u8>,
    capacity: usize,
    pool: Arc<ChunkPool>,
}

// SAFETY: one writer (under its log's lock) writes only ranges that no reader has been given.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Safety
    /// The caller is the chunk's only writer, and no slice that overlaps the range was handed out.
    pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.capacity, "a write stays inside its chunk");
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len()) };
    }

    /// The bytes of a range that was written.
    ///
    /// # Safety
    /// The whole range was written before and is never written again.
    pub(crate) unsafe fn slice(&self, at: usize, len: usize) -> &[u8] {
        assert!(at + len <= self.capacity, "a slice stays inside its chunk");
        // SAFETY: in bounds by the assertion, initialised and frozen by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.capacity, Ordering::Relaxed);
        let mut spare = self.pool.spare.lock();
        if self.capacity == LARGE_CHUNK_BYTES && spare.len() < SPARE_MAX {
            spare.push(self.start);
        } else {
            drop(spare);
            // SAFETY: allocated with this layout in `allocate`; the last owner is gone.
            unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
        }
        self.pool.freed.notify_waiters();
    }
}

/// A frozen range of a chunk, kept alive by it.
#[derive(Clone)]
pub(crate) struct ChunkSlice {
    chunk: Arc<Chunk>,
    at: usize,
    len: usize,
}

impl ChunkSlice {
    /// # Safety
    /// The whole range was written before and is never written again.
    pub(crate) unsafe fn new(chunk: Arc<Chunk>, at: usize, len: usize) -> ChunkSlice {
        assert!(at + len <= chunk.capacity, "a slice stays inside its chunk");
        ChunkSlice { chunk, at, len }
    }

    /// The same range as shared bytes, without a copy.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ChunkSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: promised in `new`.
        unsafe { self.chunk.slice(self.at, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_recycled_and_released() {
        let pool = ChunkPool::new(8 << 20);
        let large = pool.allocate(LARGE_CHUNK_BYTES);
        let small = pool.allocate(BLOCK_BYTES);
        assert_eq!(pool.used(), LARGE_CHUNK_BYTES + BLOCK_BYTES);
        let address = large.start;
        drop(large);
        assert_eq!(
            pool.allocate(LARGE_CHUNK_BYTES).start,
            address,
            "a large chunk is recycled"
        );
        drop(small);
        assert_eq!(pool.used(), 0);
        pool.release_spare();
        assert!(pool.spare.lock().is_empty());
    }

    #[test]
    fn a_slice_outlives_its_log_and_sees_frozen_bytes() {
        let pool = ChunkPool::new(8 << 20);
        let chunk = pool.allocate(BLOCK_BYTES);
        // SAFETY: the only writer; the slice covers only what was written before.
        let slice = unsafe {
            chunk.write(0, b"first");
            ChunkSlice::new(chunk.clone(), 0, 5)
        };
        let bytes = slice.into_bytes();
        // SAFETY: behind the slice.
        unsafe { chunk.write(5, b"second") };
        drop(chunk);
        assert_eq!(&bytes[..], b"first");
        assert_eq!(pool.used(), BLOCK_BYTES);
        drop(bytes);
        assert_eq!(pool.used(), 0);
    }
}
