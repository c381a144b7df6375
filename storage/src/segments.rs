//! Segment files: their names, what a log knows of each, and the open files that readers share.

use crate::by_segment::BySegment;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::index::{LogId, SegmentRow};
use crate::tail::LogPosition;
use protocol::types::{Offset, TopicId};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of segment files in the data directory.
pub(crate) const SEGMENTS_DIR: &str = "segments";

/// The folder of one log: topic id in hexadecimal, partition.
pub(crate) fn log_dir(log: LogId) -> PathBuf {
    let mut name = String::with_capacity(44);
    for byte in log.topic_id.0 {
        let _ = write!(name, "{byte:02x}");
    }
    let _ = write!(name, "-{}", log.partition);
    Path::new(SEGMENTS_DIR).join(name)
}

/// The log that a folder name belongs to.
pub(crate) fn parse_log_dir(name: &str) -> Option<LogId> {
    let (hex, partition) = name.split_at_checked(32)?;
    let mut id = [0; 16];
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(LogId {
        topic_id: TopicId(id),
        partition: partition.strip_prefix('-')?.parse().ok()?,
    })
}

/// The file of the segment whose first offset is `base`.
pub(crate) fn segment_path(log: LogId, base: Offset) -> PathBuf {
    log_dir(log).join(format!("{:020}.log", base.0))
}

/// The base offset in a segment's file name.
pub(crate) fn parse_segment_name(name: &str) -> Option<Offset> {
    name.strip_suffix(".log")?.parse().ok().map(Offset)
}

/// One segment of a log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Offset of its first record.
    pub(crate) base: Offset,
    /// Offset after its last record.
    pub(crate) end_offset: Offset,
    /// Log position of its first byte, for segments that were active in this run.
    pub(crate) start: Option<LogPosition>,
    /// Bytes of records.
    pub(crate) bytes: u64,
    /// Largest timestamp, −1 without records, and the base offset of the batch that brought it.
    pub(crate) max_timestamp: i64,
    pub(crate) max_timestamp_offset: Offset,
    /// When the first record was appended, −1 without records.
    pub(crate) first_append_ms: i64,
    /// Nothing is appended any more.
    pub(crate) sealed: bool,
    /// The index has a row that says so.
    pub(crate) saved: bool,
}

impl Segment {
    /// An empty active segment.
    pub(crate) fn new(base: Offset, start: LogPosition) -> Segment {
        Segment {
            base,
            end_offset: base,
            start: Some(start),
            bytes: 0,
            max_timestamp: -1,
            max_timestamp_offset: base,
            first_append_ms: -1,
            sealed: false,
            saved: false,
        }
    }

    /// A sealed segment as the index has it.
    pub(crate) fn from_row(base: Offset, row: &SegmentRow) -> Segment {
        Segment {
            base,
            end_offset: row.end_offset,
            start: None,
            bytes: row.bytes,
            max_timestamp: row.max_timestamp,
            max_timestamp_offset: row.max_timestamp_offset,
            first_append_ms: row.first_append_ms,
            sealed: true,
            saved: true,
        }
    }

    pub(crate) fn row(&self) -> SegmentRow {
        SegmentRow {
            end_offset: self.end_offset,
            bytes: self.bytes,
            max_timestamp: self.max_timestamp,
            max_timestamp_offset: self.max_timestamp_offset,
            first_append_ms: self.first_append_ms,
            sealed: self.sealed,
        }
    }

    /// Takes note of a batch of `bytes` with `max_timestamp` that starts at `base_offset` and ends before `end_offset`.
    pub(crate) fn add(&mut self, bytes: u64, base_offset: Offset, end_offset: Offset, max_timestamp: i64, now_ms: i64) {
        if self.bytes == 0 {
            self.first_append_ms = now_ms;
        }
        self.bytes += bytes;
        self.end_offset = end_offset;
        if max_timestamp > self.max_timestamp {
            self.max_timestamp = max_timestamp;
            self.max_timestamp_offset = base_offset;
        }
    }
}

/// Open files for reading, shared by all readers, the least recently used closed first.
pub(crate) struct ReadFiles {
    files: BySegment<Arc<dyn DiskFile>>,
}

impl ReadFiles {
    pub(crate) fn new(max: usize) -> ReadFiles {
        ReadFiles {
            files: BySegment::new(max.max(8)),
        }
    }

    /// The file of a segment if it is open.
    pub(crate) fn get_open(&self, log: LogId, base: Offset) -> Option<Arc<dyn DiskFile>> {
        self.files.get(log, base)
    }

    /// The open file of a segment. Blocks when it has to be opened.
    pub(crate) fn get(&self, disk: &Arc<dyn Disk>, log: LogId, base: Offset) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.get(log, base) {
            return Ok(file);
        }
        let file = disk.open(&segment_path(log, base), OpenMode::Read)?;
        self.files.put(log, base, file.clone());
        Ok(file)
    }

    /// Closes the files of a log's segments that start below `below`.
    pub(crate) fn forget(&self, log: LogId, below: Offset) {
        self.files.forget(log, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let log = LogId {
            topic_id: TopicId([0xab; 16]),
            partition: 12,
        };
        let dir = log_dir(log);
        let name = dir.file_name().and_then(|n| n.to_str()).expect("a name");
        assert_eq!(name, "abababababababababababababababab-12");
        assert_eq!(parse_log_dir(name), Some(log));
        assert_eq!(parse_log_dir("lost+found"), None);
        let path = segment_path(log, Offset(1234));
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
        assert_eq!(name, "00000000000000001234.log");
        assert_eq!(parse_segment_name(name), Some(Offset(1234)));
        assert_eq!(parse_segment_name("x.log"), None);
    }
}
