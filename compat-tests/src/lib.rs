//! What every test against the real binary shares: start, kill and restart a broker ([`harness`]), talk to it in raw
//! frames ([`raw`], [`ops`]), build and read record batches ([`records`]), run `kcat` ([`kcat`]).
//!
//! Nothing here links the broker or the storage engine: tests reach them through the socket, the command line and HTTP.

pub mod apache_kafka;
pub mod checker;
pub mod client_matrix;
pub mod group_checker;
pub mod group_workload;
pub mod harness;
pub mod http;
pub mod interrupted_start;
pub mod java;
pub mod kcat;
pub mod ops;
pub mod process;
pub mod raw;
pub mod records;
pub mod wire;
pub mod workload;

pub use harness::{Broker, BrokerBuilder, eventually};
pub use raw::RawClient;

/// The folder of this crate in the clone that the tests run for. Cargo says so at run time; the path from the build may be that of
/// another clone with the same build output.
pub fn crate_dir() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), Into::into)
}
