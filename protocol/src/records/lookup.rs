//! Finding a record in a batch by its timestamp (contract 59), streaming.

use super::{RecordsError, walk};
use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::compression::DecompressLimits;
use crate::types::Offset;
use std::ops::ControlFlow;

/// A record's place in time and in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampAndOffset {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: Offset,
}

/// The first record at or behind `from` whose timestamp is at least `target`. `batch` is a whole batch with its header.
///
/// `Offset(10)` with timestamps 5, 9, 7: target 6 from `Offset(10)` is offset 11, target 6 from `Offset(12)` is offset 12.
pub fn first_at_or_after(
    batch: &[u8],
    header: &BatchHeader,
    target: i64,
    from: Offset,
    limits: &DecompressLimits,
) -> Result<Option<TimestampAndOffset>, RecordsError> {
    if header.max_timestamp < target || header.last_offset() < from {
        return Ok(None);
    }
    let mut found = None;
    walk(header, body(batch), limits, |meta| {
        let timestamp = if header.is_log_append_time() {
            header.max_timestamp
        } else {
            meta.timestamp(header)
        };
        let offset = header.base_offset + i64::from(meta.offset_delta);
        if timestamp >= target && offset >= from {
            found = Some(TimestampAndOffset { timestamp, offset });
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The first record that has the batch's largest timestamp; `None` for a batch without records.
pub fn first_with_max_timestamp(
    batch: &[u8],
    header: &BatchHeader,
    limits: &DecompressLimits,
) -> Result<Option<TimestampAndOffset>, RecordsError> {
    first_at_or_after(batch, header, header.max_timestamp, header.base_offset, limits)
}

fn body(batch: &[u8]) -> &[u8] {
    batch.get(HEADER_BYTES..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch;
    use crate::compression::Compression;
    use crate::records::BatchBuilder;

    fn find(codec: Compression, target: i64, from: i64, log_append_time: bool) -> Option<(i64, i64)> {
        let mut builder = BatchBuilder::new(5);
        for timestamp in [5, 9, 7, 9] {
            builder.push(timestamp, None, Some(b"v"), &[]);
        }
        let mut bytes = builder.finish(codec, None).expect("builds");
        batch::stamp(&mut bytes, Offset(10), 0);
        if log_append_time {
            batch::stamp_log_append_time(&mut bytes, 50);
        }
        let header = BatchHeader::read(&bytes).expect("a header");
        let found = first_at_or_after(&bytes, &header, target, Offset(from), &DecompressLimits::default());
        found.expect("walks").map(|found| (found.timestamp, found.offset.0))
    }

    #[test]
    fn the_first_record_at_or_after_a_time_is_found() {
        // contract 59: timestamps are not monotonic
        for codec in [Compression::None, Compression::Lz4] {
            assert_eq!(find(codec, 0, 10, false), Some((5, 10)));
            assert_eq!(find(codec, 6, 10, false), Some((9, 11)));
            assert_eq!(find(codec, 6, 12, false), Some((7, 12)));
            assert_eq!(find(codec, 8, 12, false), Some((9, 13)));
            assert_eq!(find(codec, 10, 10, false), None);
            assert_eq!(find(codec, 6, 14, false), None);
            assert_eq!(find(codec, 50, 11, true), Some((50, 11)));
        }
    }

    #[test]
    fn the_first_of_the_largest_timestamps_is_found() {
        // contract 58, timestamp −3
        let mut builder = BatchBuilder::new(5);
        for timestamp in [5, 9, 7, 9] {
            builder.push(timestamp, None, None, &[]);
        }
        let bytes = builder.finish(Compression::Zstd, None).expect("builds");
        let header = BatchHeader::read(&bytes).expect("a header");
        let found = first_with_max_timestamp(&bytes, &header, &DecompressLimits::default());
        assert_eq!(
            found,
            Ok(Some(TimestampAndOffset {
                timestamp: 9,
                offset: Offset(1)
            }))
        );
    }
}
