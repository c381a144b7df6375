//! Kafka's primitive types: a checked reader over a slice, and the writers. Nothing here knows a message.

use crate::decode_error::DecodeError;
use crate::types::TopicId;
use bytes::BufMut;

/// Reads from the front of a slice. A failed read leaves the position where it was or further, never past the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.left.len()
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.left.split_at_checked(count).ok_or(DecodeError::Truncated {
            what,
            needed: count,
            left: self.left.len(),
        })?;
        self.left = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.left.split_first_chunk::<N>().ok_or(DecodeError::Truncated {
            what,
            needed: N,
            left: self.left.len(),
        })?;
        self.left = tail;
        Ok(*head)
    }

    pub(crate) fn i8(&mut self, what: &'static str) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn topic_id(&mut self, what: &'static str) -> Result<TopicId, DecodeError> {
        Ok(TopicId(self.array(what)?))
    }

    /// At most five bytes; the fifth may hold four bits.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array("a varint")?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// Length of a string: `None` is null.
    pub(crate) fn string_length(&mut self, compact: bool, what: &'static str) -> Result<Option<usize>, DecodeError> {
        if compact {
            return self.compact_length();
        }
        let length = self.i16(what)?;
        length_of(i64::from(length), what)
    }

    /// Length of a byte field or of an array: `None` is null.
    pub(crate) fn long_length(&mut self, compact: bool, what: &'static str) -> Result<Option<usize>, DecodeError> {
        if compact {
            return self.compact_length();
        }
        let length = self.i32(what)?;
        length_of(i64::from(length), what)
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }

    pub(crate) fn nullable_str(&mut self, compact: bool, what: &'static str) -> Result<Option<&'a str>, DecodeError> {
        let Some(length) = self.string_length(compact, what)? else {
            return Ok(None);
        };
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| DecodeError::Utf8 { what })
    }

    pub(crate) fn str(&mut self, compact: bool, what: &'static str) -> Result<&'a str, DecodeError> {
        self.nullable_str(compact, what)?.ok_or(DecodeError::Null { what })
    }

    pub(crate) fn nullable_bytes(
        &mut self,
        compact: bool,
        what: &'static str,
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.long_length(compact, what)? {
            Some(length) => self.take(length, what).map(Some),
            None => Ok(None),
        }
    }

    /// An array's count, refused when elements of `min_bytes` each cannot fit in what is left.
    pub(crate) fn count(&mut self, compact: bool, min_bytes: usize) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.long_length(compact, "an array")? else {
            return Ok(None);
        };
        let left = self.left.len();
        if count > left / min_bytes.max(1) {
            return Err(DecodeError::Count { count, left });
        }
        Ok(Some(count))
    }

    /// Skips a struct's tagged fields, all of them unknown to the caller (contract 6).
    pub(crate) fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            self.take(size, "a tagged field")?;
        }
        Ok(())
    }
}

fn length_of(length: i64, what: &'static str) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length)
            .map(Some)
            .map_err(|_| DecodeError::NegativeLength { what, length }),
    }
}

#[cfg(test)]
/// Bytes that [`put_unsigned_varint`] writes.
pub(crate) fn unsigned_varint_bytes(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

pub(crate) fn put_unsigned_varint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Array counts and byte lengths of replies: our own, so far below 2^31 that more is a mistake of ours.
pub(crate) fn put_length(out: &mut impl BufMut, compact: bool, length: usize) {
    let length = i32::try_from(length).expect("a reply's lengths are bounded by the frame size");
    if compact {
        put_unsigned_varint(out, length as u32 + 1);
    } else {
        out.put_i32(length);
    }
}

/// A string; longer than 32767 bytes it is cut at a character, since the old encoding has no room for more.
pub(crate) fn put_str(out: &mut impl BufMut, compact: bool, text: &str) {
    let text = &text[..text.floor_char_boundary_at(i16::MAX as usize)];
    if compact {
        put_unsigned_varint(out, text.len() as u32 + 1);
    } else {
        out.put_i16(text.len() as i16);
    }
    out.put_slice(text.as_bytes());
}

pub(crate) fn put_nullable_str(out: &mut impl BufMut, compact: bool, text: Option<&str>) {
    match text {
        Some(text) => put_str(out, compact, text),
        None if compact => out.put_u8(0),
        None => out.put_i16(-1),
    }
}

trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        let mut at = at.min(self.len());
        while !self.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            0x3fff,
            0x4000,
            0x1f_ffff,
            0x20_0000,
            0xfff_ffff,
            0x1000_0000,
            u32::MAX,
        ] {
            let mut bytes = Vec::new();
            put_unsigned_varint(&mut bytes, value);
            assert_eq!(bytes.len(), unsigned_varint_bytes(value), "{value}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.unsigned_varint(), Ok(value));
            assert_eq!(reader.remaining(), 0);
        }
    }

    #[test]
    fn a_varint_beyond_32_bits_is_refused() {
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint(),
            Err(DecodeError::Varint)
        );
        assert_eq!(
            Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).unsigned_varint(),
            Err(DecodeError::Varint)
        );
        assert!(matches!(
            Reader::new(&[0x80]).unsigned_varint(),
            Err(DecodeError::Truncated { .. })
        ));
    }

    #[test]
    fn lengths_below_minus_one_are_refused() {
        let mut reader = Reader::new(&[0xff, 0xfe]);
        assert_eq!(
            reader.string_length(false, "a name"),
            Err(DecodeError::NegativeLength {
                what: "a name",
                length: -2
            })
        );
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut out = Vec::new();
        put_str(&mut out, false, &"ü".repeat(20_000));
        assert_eq!(out.len(), 2 + 32_766);
        assert!(std::str::from_utf8(&out[2..]).is_ok());
    }
}
