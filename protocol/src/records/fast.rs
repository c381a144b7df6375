//! The walk over one record that lies in memory whole: the path that every uncompressed batch takes, at some nanoseconds a
//! record. It answers only for records that are good; for all others the careful path in `mod.rs` finds what is wrong.

use super::RecordMeta;

/// Reads at the front of a slice; `None` as soon as anything is odd.
struct Cursor<'a> {
    left: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    fn varint(&mut self) -> Option<i32> {
        let raw = match self.left {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.left = rest;
                u32::from(*byte)
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.left = rest;
                u32::from(*low & 0x7f) | (u32::from(*high) << 7)
            }
            _ => u32::try_from(self.long(5)?).ok()?,
        };
        Some(((raw >> 1) as i32) ^ -((raw & 1) as i32))
    }

    #[inline(always)]
    fn varlong(&mut self) -> Option<i64> {
        let raw = match self.left {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.left = rest;
                u64::from(*byte)
            }
            _ => self.long(10)?,
        };
        Some(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    /// A varint of at most `bytes_max` bytes, bits beyond the 64th refused.
    #[inline(never)]
    fn long(&mut self, bytes_max: usize) -> Option<u64> {
        let mut value = 0u64;
        for (i, byte) in self.left.iter().take(bytes_max).enumerate() {
            if i == 9 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.left = self.left.get(i + 1..)?;
                return Some(value);
            }
        }
        None
    }

    #[inline(always)]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.left.split_at_checked(count)?;
        self.left = tail;
        Some(head)
    }

    /// A nullable byte field: skipped, its length told.
    #[inline(always)]
    fn skip_nullable(&mut self) -> Option<Option<usize>> {
        let length = self.varint()?;
        if length == -1 {
            return Some(None);
        }
        let length = usize::try_from(length).ok()?;
        self.take(length)?;
        Some(Some(length))
    }
}

/// The record at the front of `bytes`, and the bytes that it takes. `None` where it is not whole, or not good.
#[inline(always)]
pub(super) fn record(bytes: &[u8], index: i32) -> Option<(RecordMeta, usize)> {
    let mut cursor = Cursor { left: bytes };
    let length = usize::try_from(cursor.varint()?).ok()?;
    let mut record = Cursor {
        left: cursor.take(length)?,
    };
    record.take(1)?;
    let timestamp_delta = record.varlong()?;
    let offset_delta = record.varint()?;
    let key_bytes = record.skip_nullable()?;
    let value_bytes = record.skip_nullable()?;
    for _ in 0..u32::try_from(record.varint()?).ok()? {
        record.skip_nullable()??;
        record.skip_nullable()?;
    }
    if !record.left.is_empty() {
        return None;
    }
    let meta = RecordMeta {
        index,
        offset_delta,
        timestamp_delta,
        key_bytes,
        value_bytes,
    };
    Some((meta, bytes.len() - cursor.left.len()))
}
