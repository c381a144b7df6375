//! Records with keys and values, as slices of decompressed bytes.

use super::source::{SliceSource, Source};
use super::{RecordsError, codec_of, length_of, nullable_length_of};
use crate::batch::BatchHeader;
use crate::compression::{Compression, DecompressLimits, decompress};
use std::borrow::Cow;

/// A record. Header keys may repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus base offset.
    pub offset_delta: i32,
    /// Timestamp minus base timestamp, milliseconds.
    pub timestamp_delta: i64,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Key and value, in the order of the record.
    pub headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// Reads records until the bytes end; an error is the last item. The count is the caller's to check.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    left: &'a [u8],
}

impl<'a> RecordIter<'a> {
    /// Over decompressed records: [`decompressed`].
    pub fn new(records: &'a [u8]) -> RecordIter<'a> {
        RecordIter { left: records }
    }

    fn read(&mut self) -> Result<Record<'a>, RecordsError> {
        let mut source = SliceSource::new(self.left);
        let length = length_of(source.varint()?)?;
        let mut record = SliceSource::new(source.take(length)?);
        let rest = source.left();
        self.left = &self.left[self.left.len() - rest..];
        record.byte()?;
        let timestamp_delta = record.varlong()?;
        let offset_delta = record.varint()?;
        let key = nullable(&mut record)?;
        let value = nullable(&mut record)?;
        let header_count = length_of(record.varint()?)?;
        // A header takes two bytes at least: a count that lies reserves no more than the record has.
        let mut headers = Vec::with_capacity(header_count.min(record.left() / 2));
        for _ in 0..header_count {
            let key_bytes = length_of(record.varint()?)?;
            let key = record.take(key_bytes)?;
            headers.push((key, nullable(&mut record)?));
        }
        match record.left() {
            0 => Ok(Record {
                offset_delta,
                timestamp_delta,
                key,
                value,
                headers,
            }),
            left => Err(RecordsError::RecordTrailing(left)),
        }
    }
}

fn nullable<'a>(record: &mut SliceSource<'a>) -> Result<Option<&'a [u8]>, RecordsError> {
    match nullable_length_of(record.varint()?)? {
        Some(length) => record.take(length).map(Some),
        None => Ok(None),
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.left = &[];
        }
        Some(record)
    }
}

/// The records of a batch, decompressed if need be; `body` is what follows its 61 header bytes.
pub fn decompressed<'a>(
    header: &BatchHeader,
    body: &'a [u8],
    limits: &DecompressLimits,
) -> Result<Cow<'a, [u8]>, RecordsError> {
    match codec_of(header)? {
        Compression::None => Ok(Cow::Borrowed(body)),
        codec => Ok(Cow::Owned(decompress(codec, body, limits)?)),
    }
}
