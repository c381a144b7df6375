//! A log's *tail*: its newest bytes in memory, in the order of the log, addressed by log position.
//!
//! A [`LogPosition`] counts bytes from where the log's active segment began when it was opened; segments follow one another in it, each
//! starting at a whole block. Worked example: a first segment holds 10,000 bytes when it is sealed; it is padded to
//! 12,288, and the next segment's first byte has log position 12,288.
//! The memory of a block lies at an address aligned like its position, so that segments are written from it directly.

mod pool;

pub(crate) use pool::{ChunkPool, ChunkSlice, LARGE_CHUNK_BYTES};

use crate::disk::BLOCK_BYTES;
use pool::{Chunk, MEDIUM_CHUNK_BYTES};
use std::collections::VecDeque;
use std::ops::{Add, Sub};
use std::sync::Arc;

/// A position in a log's bytes in this run of the engine; never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPosition(pub(crate) u64);

const BLOCK: u64 = BLOCK_BYTES as u64;

impl LogPosition {
    /// The start of the block that holds this position.
    pub(crate) fn block_start(self) -> LogPosition {
        LogPosition(self.0 / BLOCK * BLOCK)
    }

    /// The first block start at or after this position.
    pub(crate) fn block_end(self) -> LogPosition {
        LogPosition(self.0.div_ceil(BLOCK) * BLOCK)
    }
}

impl Add<u64> for LogPosition {
    type Output = LogPosition;
    fn add(self, bytes: u64) -> LogPosition {
        LogPosition(self.0 + bytes)
    }
}

impl Sub for LogPosition {
    type Output = u64;
    fn sub(self, other: LogPosition) -> u64 {
        self.0 - other.0
    }
}

struct TailChunk {
    start: LogPosition,
    chunk: Arc<Chunk>,
}

impl TailChunk {
    fn end(&self) -> LogPosition {
        self.start + self.chunk.capacity() as u64
    }
}

/// Contiguous bytes `start..end`, in chunks.
pub(crate) struct Tail {
    chunks: VecDeque<TailChunk>,
    start: LogPosition,
    end: LogPosition,
}

impl Tail {
    /// An empty tail that starts at `start`, a block start.
    pub(crate) fn new(start: LogPosition) -> Tail {
        assert_eq!(start, start.block_start(), "a tail starts with a block");
        Tail {
            chunks: VecDeque::new(),
            start,
            end: start,
        }
    }

    /// First byte in memory.
    pub(crate) fn start(&self) -> LogPosition {
        self.start
    }

    /// Where the next byte goes.
    pub(crate) fn end(&self) -> LogPosition {
        self.end
    }

    /// Appends a copy of the pieces.
    pub(crate) fn push_all(&mut self, pool: &Arc<ChunkPool>, pieces: &[&[u8]]) {
        let mut left = pieces.iter().map(|piece| piece.len()).sum();
        for piece in pieces {
            self.push_piece(pool, piece, left);
            left -= piece.len();
        }
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn push(&mut self, pool: &Arc<ChunkPool>, bytes: &[u8]) {
        self.push_piece(pool, bytes, bytes.len());
    }

    fn push_piece(&mut self, pool: &Arc<ChunkPool>, mut bytes: &[u8], wanted: usize) {
        while !bytes.is_empty() {
            if self.chunks.back().is_none_or(|last| last.end() == self.end) {
                self.grow(pool, wanted);
            }
            let last = self.chunks.back().expect("grown above");
            let at = (self.end - last.start) as usize;
            let take = bytes.len().min(last.chunk.capacity() - at);
            // SAFETY: `&mut self` makes this the only writer; slices are handed out below `end` only.
            unsafe { last.chunk.write(at, &bytes[..take]) };
            self.end = self.end + take as u64;
            bytes = &bytes[take..];
        }
    }

    /// Fills up the last block with zeros, so that the next byte starts a block.
    pub(crate) fn pad_to_block(&mut self, pool: &Arc<ChunkPool>) {
        const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        let missing = (self.end.block_end() - self.end) as usize;
        self.push(pool, &ZEROS[..missing]);
    }

    fn grow(&mut self, pool: &Arc<ChunkPool>, wanted: usize) {
        let before = self.chunks.back().map_or(0, |c| c.chunk.capacity());
        let bytes = if wanted > MEDIUM_CHUNK_BYTES {
            LARGE_CHUNK_BYTES
        } else if wanted > BLOCK_BYTES || before > 0 {
            if before >= MEDIUM_CHUNK_BYTES && !pool.is_tight() {
                LARGE_CHUNK_BYTES
            } else {
                MEDIUM_CHUNK_BYTES
            }
        } else {
            BLOCK_BYTES
        };
        self.chunks.push_back(TailChunk {
            start: self.end,
            chunk: pool.allocate(bytes),
        });
    }

    /// The bytes of `from..to` (to exclusive), which must lie in the tail, without a copy.
    pub(crate) fn slices(&self, from: LogPosition, to: LogPosition) -> Vec<ChunkSlice> {
        assert!(
            self.start <= from && from <= to && to <= self.end,
            "a slice lies inside its tail"
        );
        let first = self.chunks.partition_point(|c| c.end() <= from);
        let mut out = Vec::new();
        let mut at = from;
        for chunk in self.chunks.iter().skip(first) {
            if at >= to {
                break;
            }
            let upto = chunk.end().min(to);
            let (begin, len) = ((at - chunk.start) as usize, (upto - at) as usize);
            // SAFETY: below `end`, hence written; bytes below `end` are never written again.
            out.push(unsafe { ChunkSlice::new(chunk.chunk.clone(), begin, len) });
            at = upto;
        }
        out
    }

    /// Copies `from..to` into `out`, which grows.
    pub(crate) fn copy_to(&self, from: LogPosition, to: LogPosition, out: &mut Vec<u8>) {
        for slice in self.slices(from, to) {
            out.extend_from_slice(slice.as_ref());
        }
    }

    /// Copies the bytes at `at` into `out` as far as both go; returns how many.
    pub(crate) fn peek(&self, at: LogPosition, out: &mut [u8]) -> usize {
        let mut at = at;
        let mut filled = 0;
        let first = self.chunks.partition_point(|c| c.end() <= at);
        for chunk in self.chunks.iter().skip(first) {
            let take = ((chunk.end().min(self.end) - at) as usize).min(out.len() - filled);
            if take == 0 {
                break;
            }
            // SAFETY: below `end`.
            out[filled..filled + take].copy_from_slice(unsafe { chunk.chunk.slice((at - chunk.start) as usize, take) });
            filled += take;
            at = at + take as u64;
        }
        filled
    }

    /// Drops whole chunks below `upto`. When nothing but an unfinished block of a large chunk is left and `shrink` is set, that
    /// block moves to a small chunk.
    pub(crate) fn trim(&mut self, pool: &Arc<ChunkPool>, upto: LogPosition, shrink: bool) {
        let upto = upto.min(self.end);
        while self.chunks.front().is_some_and(|c| c.end() <= upto) {
            self.chunks.pop_front();
        }
        self.start = self.chunks.front().map_or(self.end, |c| c.start.max(self.start));
        let keep = self.end.block_start();
        let shrinkable = self.chunks.len() == 1 && self.chunks[0].chunk.capacity() > BLOCK_BYTES;
        if shrink && shrinkable && upto >= keep {
            let mut rest = Vec::new();
            self.copy_to(keep, self.end, &mut rest);
            self.chunks.clear();
            *self = Tail::new(keep);
            self.push(pool, &rest);
        }
    }

    /// Whether the tail holds more memory than a quiet log needs.
    pub(crate) fn is_large(&self) -> bool {
        self.chunks.len() > 1 || self.chunks.front().is_some_and(|c| c.chunk.capacity() > BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Arc<ChunkPool>, pieces: &[usize]) -> (Tail, Vec<u8>) {
        let mut tail = Tail::new(LogPosition(0));
        let mut model = Vec::new();
        for (i, len) in pieces.iter().enumerate() {
            let piece: Vec<u8> = (0..*len).map(|j| (i * 31 + j) as u8).collect();
            tail.push(pool, &piece);
            model.extend_from_slice(&piece);
        }
        (tail, model)
    }

    #[test]
    fn bytes_come_back_in_order_across_chunks() {
        let pool = ChunkPool::new(64 << 20);
        let (tail, model) = filled(&pool, &[100, 5000, 70_000, 1_100_000, 3, 9000]);
        for (from, to) in [(0, model.len()), (4090, 4100), (99, 101), (1_000_000, 1_100_500)] {
            let mut out = Vec::new();
            tail.copy_to(LogPosition(from as u64), LogPosition(to as u64), &mut out);
            assert!(out == model[from..to], "{from}..{to}");
            let mut peeked = vec![0; to - from];
            assert_eq!(tail.peek(LogPosition(from as u64), &mut peeked), to - from);
            assert!(peeked == out);
        }
    }

    #[test]
    fn memory_is_aligned_like_positions() {
        let pool = ChunkPool::new(64 << 20);
        let (tail, _) = filled(&pool, &[5000, 200_000, 1_500_000]);
        for slice in tail.slices(LogPosition(0), tail.end().block_start()) {
            assert_eq!(slice.as_ref().as_ptr() as usize % BLOCK_BYTES, 0);
            assert_eq!(slice.as_ref().len() % BLOCK_BYTES, 0);
        }
    }

    #[test]
    fn trimming_keeps_the_unfinished_block_and_gives_memory_back() {
        let pool = ChunkPool::new(64 << 20);
        let (mut tail, model) = filled(&pool, &[3_000_000, 100]);
        let keep = tail.end().block_start();
        tail.trim(&pool, keep, true);
        assert_eq!(tail.start(), keep);
        assert_eq!(pool.used(), BLOCK_BYTES);
        let mut out = Vec::new();
        tail.copy_to(keep, tail.end(), &mut out);
        assert!(out == model[keep.0 as usize..]);
        tail.push(&pool, b"goes on");
        assert!(!tail.is_large());
    }

    #[test]
    fn padding_fills_the_block_with_zeros() {
        let pool = ChunkPool::new(64 << 20);
        let (mut tail, _) = filled(&pool, &[10_000]);
        tail.pad_to_block(&pool);
        assert_eq!(tail.end(), LogPosition(12_288));
        let mut pad = [1; 2288];
        tail.peek(LogPosition(10_000), &mut pad);
        assert!(pad.iter().all(|b| *b == 0));
        tail.pad_to_block(&pool);
        assert_eq!(tail.end(), LogPosition(12_288));
    }
}
