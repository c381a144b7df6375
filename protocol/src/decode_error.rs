//! Why bytes from a client are not a request. Such a connection is closed: there is no generic error frame (contract 4).

/// What is wrong with a request's bytes. `left` counts the bytes from the place where the walk stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value needs more bytes than are left.
    #[error("{what} needs {needed} bytes, {left} are left")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A length or count below −1.
    #[error("{what} has the negative length {length}")]
    NegativeLength {
        /// What was read.
        what: &'static str,
        /// The length as sent.
        length: i64,
    },
    /// Null where the protocol has no null.
    #[error("{what} is null")]
    Null {
        /// What was read.
        what: &'static str,
    },
    /// An array count that the remaining bytes cannot hold.
    #[error("an array of {count} elements cannot fit in the {left} bytes that are left")]
    Count {
        /// Elements announced.
        count: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Decoding would allocate more than the limit.
    #[error("decoding would take more than {limit} bytes of memory")]
    Memory {
        /// The limit.
        limit: usize,
    },
    /// A varint of more than five bytes, or above 2^32 − 1.
    #[error("a varint is longer than its type allows")]
    Varint,
    /// A string that is not UTF-8.
    #[error("{what} is not UTF-8")]
    Utf8 {
        /// What was read.
        what: &'static str,
    },
    /// A known tagged field whose announced size is not that of its content.
    #[error("tagged field {tag} announces {announced} bytes and has {found}")]
    TagSize {
        /// The tag.
        tag: u32,
        /// Its size as sent.
        announced: usize,
        /// Its size as its type demands.
        found: usize,
    },
    /// A tagged field that exists only in later versions.
    #[error("tagged field {tag} is not valid in this version")]
    TagVersion {
        /// The tag.
        tag: u32,
    },
    /// The byte in front of an optional struct is neither 1 nor −1: brokers do not agree on what follows.
    #[error("an optional struct is announced with {0}")]
    Presence(i8),
    /// An API that is not offered.
    #[error("API key {api_key} is not offered")]
    UnknownApi {
        /// The key as sent.
        api_key: i16,
        /// The version as sent.
        api_version: i16,
    },
    /// A version that is not offered.
    #[error("version {api_version} of API key {api_key} is not offered")]
    UnsupportedVersion {
        /// The key as sent.
        api_key: i16,
        /// The version as sent.
        api_version: i16,
    },
    /// A record's value in a version that this release does not know.
    #[error("{what} has the unknown version {version}")]
    RecordVersion {
        /// Kafka's name of the value.
        what: &'static str,
        /// Its version.
        version: i16,
    },
    /// The codec refused what the shape guard had passed, for example a string that is not UTF-8.
    #[error("{0}")]
    Codec(String),
}
