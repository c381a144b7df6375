//! Where the walk reads its bytes: a slice, or a decompressor piece by piece.

use super::RecordsError;
use crate::compression::{Decompressor, PIECE_BYTES};

/// Bytes in order; the end is an error.
pub(super) trait Source {
    fn byte(&mut self) -> Result<u8, RecordsError>;
    fn skip(&mut self, count: usize) -> Result<(), RecordsError>;

    /// A zigzag varint of at most 32 bits.
    fn varint(&mut self) -> Result<i32, RecordsError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            if shift == 28 && byte > 0x0f {
                return Err(RecordsError::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(((value >> 1) as i32) ^ -((value & 1) as i32));
            }
        }
        Err(RecordsError::Varint)
    }

    /// A zigzag varint of at most 64 bits.
    fn varlong(&mut self) -> Result<i64, RecordsError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(RecordsError::Varint);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        Err(RecordsError::Varint)
    }
}

/// A source of which a part lies in memory.
pub(super) trait Buffered: Source {
    fn is_at_end(&mut self) -> Result<bool, RecordsError>;

    /// Bytes that lie in memory, from here on; may be none.
    fn available(&self) -> &[u8];

    /// Steps over some of the available bytes.
    fn consume(&mut self, count: usize);
}

/// Reads a slice.
pub(super) struct SliceSource<'a> {
    left: &'a [u8],
}

impl<'a> SliceSource<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> SliceSource<'a> {
        SliceSource { left: bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordsError> {
        let (head, tail) = self.left.split_at_checked(count).ok_or(RecordsError::Truncated)?;
        self.left = tail;
        Ok(head)
    }

    pub(super) fn left(&self) -> usize {
        self.left.len()
    }
}

impl Source for SliceSource<'_> {
    fn byte(&mut self) -> Result<u8, RecordsError> {
        let (byte, tail) = self.left.split_first().ok_or(RecordsError::Truncated)?;
        self.left = tail;
        Ok(*byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), RecordsError> {
        self.take(count).map(drop)
    }
}

impl Buffered for SliceSource<'_> {
    fn is_at_end(&mut self) -> Result<bool, RecordsError> {
        Ok(self.left.is_empty())
    }

    fn available(&self) -> &[u8] {
        self.left
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.get(count..).unwrap_or_default();
    }
}

/// Reads a decompressor through one small buffer.
pub(super) struct StreamSource<'a> {
    decompressor: Decompressor<'a>,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
}

impl<'a> StreamSource<'a> {
    pub(super) fn new(decompressor: Decompressor<'a>) -> StreamSource<'a> {
        StreamSource {
            decompressor,
            buffer: vec![0; PIECE_BYTES],
            at: 0,
            end: 0,
        }
    }

    /// Reads on; false is the end.
    fn refill(&mut self) -> Result<bool, RecordsError> {
        self.at = 0;
        self.end = self.decompressor.read(&mut self.buffer)?;
        Ok(self.end > 0)
    }
}

impl Source for StreamSource<'_> {
    fn byte(&mut self) -> Result<u8, RecordsError> {
        if self.at == self.end && !self.refill()? {
            return Err(RecordsError::Truncated);
        }
        let byte = *self.buffer.get(self.at).ok_or(RecordsError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut count: usize) -> Result<(), RecordsError> {
        while count > self.end - self.at {
            count -= self.end - self.at;
            if !self.refill()? {
                return Err(RecordsError::Truncated);
            }
        }
        self.at += count;
        Ok(())
    }
}

impl Buffered for StreamSource<'_> {
    fn is_at_end(&mut self) -> Result<bool, RecordsError> {
        Ok(self.at == self.end && !self.refill()?)
    }

    fn available(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.at = self.end.min(self.at + count);
    }
}

/// One record's bytes: reading over its end is an error, whatever follows.
pub(super) struct Bounded<'s, S> {
    source: &'s mut S,
    left: usize,
}

impl<'s, S: Source> Bounded<'s, S> {
    pub(super) fn new(source: &'s mut S, left: usize) -> Bounded<'s, S> {
        Bounded { source, left }
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }
}

impl<S: Source> Source for Bounded<'_, S> {
    fn byte(&mut self) -> Result<u8, RecordsError> {
        self.left = self.left.checked_sub(1).ok_or(RecordsError::RecordOverrun)?;
        self.source.byte()
    }

    fn skip(&mut self, count: usize) -> Result<(), RecordsError> {
        self.left = self.left.checked_sub(count).ok_or(RecordsError::RecordOverrun)?;
        self.source.skip(count)
    }
}
