//! Kafka's wire protocol: bytes to types and back. No IO, no clocks, no tokio.

pub mod api;
pub mod batch;
pub mod compression;
pub mod decode_error;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod header;
pub mod produce;
pub mod records;
pub mod shape;
pub mod types;
pub mod validate;
mod wire;

pub use decode_error::DecodeError;
pub use error_code::ErrorCode;
