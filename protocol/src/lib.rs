//! Kafka's wire protocol: bytes to types and back. No IO, no clocks, no tokio.
//!
//! | from the socket | to the socket | inside records |
//! | --- | --- | --- |
//! | [`frame`]: the length | [`header`]: response headers, whole frames | [`batch`]: the 61 bytes of a batch header |
//! | [`header`]: the request header | [`produce`]: the Produce response | [`records`]: walking, reading, building |
//! | [`shape`]: the guard in front of the codec | [`fetch`]: the Fetch response | [`compression`]: the codecs, bounded |
//! | [`produce`]: the Produce request | [`error_code`]: what clients see | [`validate`]: what a produced batch must be |
//!
//! [`group_records`] are the records of `__consumer_offsets`, [`consumer_protocol`] is what consumers say to each other
//! through their group.
//!
//! [`api`] is the one table of what is offered. The codec, the `kafka-protocol` crate, decodes requests only behind
//! [`shape::decode_request`]: naked, it trusts counts from the wire.

pub mod api;
pub mod batch;
pub mod compression;
pub mod consumer_protocol;
pub mod decode_error;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod group_records;
pub mod header;
pub mod produce;
pub mod records;
pub mod shape;
pub mod types;
pub mod validate;
mod wire;

pub use decode_error::DecodeError;
pub use error_code::ErrorCode;
