//! The one error of the storage engine: a kind for each different act of the caller, with what and where.

use protocol::types::{Offset, TopicId};
use std::fmt;

/// What the caller can do about an [`Error`]. Each kind asks for a different act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The offset asked for is below the log start or above the log end. The reader resets.
    OffsetOutOfRange,
    /// An idempotent producer's batch does not follow its last one (contract 40). The producer decides.
    OutOfOrderSequence,
    /// A producer epoch below the current one (contract 41). The producer is fenced.
    InvalidProducerEpoch,
    /// The leader epoch asked about is newer than the log's, or older. See the message.
    LeaderEpoch,
    /// The disk is full. Appends are refused until space is there again; reads go on.
    NoSpace,
    /// Reading or writing failed. The partition is fenced for appends until recovery has run.
    Io,
    /// Bytes on disk are not what was written there. The range is unreadable; a person must look.
    Corrupt,
    /// The log was deleted.
    Deleted,
    /// The engine is stopping.
    Closed,
    /// Another process holds the data directory.
    Locked,
    /// The data directory was written by a newer release. Nothing was touched.
    NewerFormat,
    /// Already there (a topic of that name).
    AlreadyExists,
    /// Not there (a topic of that name or id).
    NotFound,
}

/// An error with the place it concerns. Its text is for a person; code matches on [`Error::kind`].
#[derive(Debug)]
pub struct Error {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What happened, to what, in words.
    pub message: String,
    /// The partition concerned, if one is.
    pub log: Option<(TopicId, i32)>,
    /// The offset concerned, if one is.
    pub offset: Option<Offset>,
    /// What the operating system or RocksDB said.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without place or source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            log: None,
            offset: None,
            source: None,
        }
    }

    /// An IO error: `NoSpace` for ENOSPC and EDQUOT, else `Io`.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Error {
        let kind = match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        };
        Error {
            source: Some(Box::new(source)),
            ..Error::new(kind, message)
        }
    }

    /// Names the partition.
    pub fn with_log(mut self, topic_id: TopicId, partition: i32) -> Error {
        self.log = Some((topic_id, partition));
        self
    }

    /// Names the offset.
    pub fn with_offset(mut self, offset: Offset) -> Error {
        self.offset = Some(offset);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((topic_id, partition)) = &self.log {
            write!(f, " (topic id {topic_id}, partition {partition})")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}
