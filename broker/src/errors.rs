//! From the storage engine's errors to what clients see: one exhaustive match, and the pair of code and text that
//! replies carry. What never lives here: deciding what to do about an error.

use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use storage::ErrorKind;

/// The code that tells a client about an error of storage. Exhaustive: a new kind must be given its code here.
pub fn error_code(kind: ErrorKind) -> ErrorCode {
    match kind {
        ErrorKind::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
        ErrorKind::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
        ErrorKind::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
        ErrorKind::LeaderEpoch => ErrorCode::FencedLeaderEpoch,
        // A full disk, a failed write or read, damaged bytes: the broker's trouble, and retriable (contract 37).
        ErrorKind::NoSpace | ErrorKind::Io | ErrorKind::Corrupt => ErrorCode::KafkaStorageError,
        ErrorKind::Deleted => ErrorCode::UnknownTopicOrPartition,
        // While the broker stops, clients look for another leader, and find this broker again when it is back.
        ErrorKind::Closed => ErrorCode::NotLeaderOrFollower,
        ErrorKind::AlreadyExists => ErrorCode::TopicAlreadyExists,
        ErrorKind::NotFound => ErrorCode::UnknownTopicOrPartition,
        // These end the start of a broker, long before a client connects.
        ErrorKind::Locked | ErrorKind::NewerFormat => ErrorCode::UnknownServerError,
    }
}

/// An error as replies carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For a person; `None` leaves it to the client's own text.
    pub message: Option<String>,
}

impl ApiError {
    /// A code with a text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            message: Some(message.into()),
        }
    }

    /// Something that must not happen did.
    pub fn unknown() -> ApiError {
        ApiError::from(ErrorCode::UnknownServerError)
    }

    /// An error of storage that a change to the catalog met; logged here, once.
    pub fn storage(doing: &str, error: &storage::Error) -> ApiError {
        let code = error_code(error.kind);
        match error.kind {
            ErrorKind::Closed | ErrorKind::AlreadyExists | ErrorKind::NotFound => {
                tracing::warn!(%error, "{doing} failed");
            }
            _ => tracing::error!(%error, "{doing} failed"),
        }
        ApiError {
            code,
            message: Some(format!("{doing} failed: {}", error.message)),
        }
    }

    /// The text as replies carry it.
    pub fn wire_message(&self) -> Option<StrBytes> {
        self.message.clone().map(StrBytes::from_string)
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> ApiError {
        ApiError { code, message: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_trouble_is_a_storage_error() {
        // contract 37
        for kind in [ErrorKind::NoSpace, ErrorKind::Io, ErrorKind::Corrupt] {
            assert_eq!(error_code(kind) as i16, 56);
        }
    }

    #[test]
    fn trouble_of_storage_never_looks_like_an_offset_reset() {
        // contract 48: a spurious OFFSET_OUT_OF_RANGE makes consumers skip records silently
        for kind in [
            ErrorKind::NoSpace,
            ErrorKind::Io,
            ErrorKind::Corrupt,
            ErrorKind::Deleted,
            ErrorKind::Closed,
        ] {
            assert_ne!(error_code(kind), ErrorCode::OffsetOutOfRange);
        }
    }
}
