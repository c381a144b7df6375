//! The shape guard: walks a request's bytes before the codec decodes them.
//!
//! The codec trusts counts from the wire and allocates for them at once: 14 bytes can make it ask for 154 GB. The guard
//! walks the same bytes against a table of the request's shape, refuses counts that the remaining bytes cannot hold, sums
//! what decoding would allocate, and says where the request ends. Its depth is that of the table.
//!
//! The tables live in `requests.rs`, `group_requests.rs` and `admin_requests.rs`, the walk in `walk.rs`. Answers, and what a request means, never live here.

mod admin_requests;
mod group_requests;
mod notation;
mod requests;
mod walk;

use crate::api;
use crate::decode_error::DecodeError;
use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Message, Request};

/// What decoding one request may allocate by default. A Fetch of 100,000 partitions takes 10 MB.
pub const DECODE_MEMORY_LIMIT: usize = 64 << 20;

/// A field of fixed width, a string and so on; `bytes` in memory are beside the struct that holds the field.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Integers, booleans, UUIDs: so many bytes.
    Fixed(usize),
    /// A string.
    Str,
    /// A string or null.
    NullableStr,
    /// A byte field.
    Bytes,
    /// A byte field or null.
    NullableBytes,
    /// An array.
    Array(Element),
    /// An array or null.
    NullableArray(Element),
    /// One byte that says whether the struct follows: 1 for yes.
    OptionStruct(&'static Struct),
    /// A struct.
    Struct(&'static Struct),
}

/// What an array holds.
#[derive(Clone, Copy, Debug)]
enum Element {
    Fixed(usize),
    Str,
    Struct(&'static Struct),
}

/// A field and the versions that have it, both ends inclusive.
#[derive(Clone, Copy, Debug)]
struct Field {
    kind: Kind,
    since: i16,
    until: i16,
}

/// A tagged field that the codec knows; others are kept as unknown ones.
#[derive(Clone, Copy, Debug)]
struct Tag {
    tag: u32,
    since: i16,
    kind: Kind,
}

/// A struct: its fields in wire order, its tagged fields, and the bytes of the decoded value.
#[derive(Debug)]
struct Struct {
    fields: &'static [Field],
    tags: &'static [Tag],
    bytes: usize,
}

/// What the guard found in a body that it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Bytes that decoding will allocate, at most the limit.
    pub memory_bytes: usize,
    /// Where the request ends in the body.
    pub body_bytes: usize,
    /// Bytes behind it. Kafka ignores them, and they occur: librdkafka 2.12 reserves four bytes for the count of topics in
    /// Metadata and uses one when it asks for all.
    pub trailing_bytes: usize,
}

/// Checks the body of a request of `api_key`; decoding it may allocate at most `memory_limit` bytes.
pub fn check_request(api_key: i16, api_version: i16, body: &[u8], memory_limit: usize) -> Result<Checked, DecodeError> {
    let api = api::find(api_key).ok_or(DecodeError::UnknownApi { api_key, api_version })?;
    if !api.serves(api_version) {
        return Err(DecodeError::UnsupportedVersion { api_key, api_version });
    }
    walk::walk(
        requests::shape(api.key),
        api_version,
        api.is_flexible(api_version),
        body,
        memory_limit,
    )
}

/// Decodes the body of a request: the guard first, then the codec. Bytes behind the request are ignored, as Kafka ignores
/// them ([`Checked::trailing_bytes`]).
///
/// The decoded strings are slices of `body` and keep all of it alive.
pub fn decode_request<T: Request>(api_version: i16, body: Bytes) -> Result<T, DecodeError> {
    decode_request_within(api_version, body, DECODE_MEMORY_LIMIT)
}

/// [`decode_request`] with a limit of its own on what decoding may allocate.
pub fn decode_request_within<T: Request>(
    api_version: i16,
    mut body: Bytes,
    memory_limit: usize,
) -> Result<T, DecodeError> {
    let checked = check_request(T::KEY, api_version, &body, memory_limit)?;
    let versions = <T as Message>::VERSIONS;
    if api_version < versions.min || api_version > versions.max {
        return Err(DecodeError::UnsupportedVersion {
            api_key: T::KEY,
            api_version,
        });
    }
    body.truncate(checked.body_bytes);
    let request = <T as Decodable>::decode(&mut body, api_version).map_err(|e| DecodeError::Codec(e.to_string()))?;
    // The table and the codec disagree: a mistake of ours, and no request to act on.
    if !body.is_empty() {
        return Err(DecodeError::Codec(format!(
            "the codec left {} bytes that the guard had walked",
            body.len()
        )));
    }
    Ok(request)
}
