//! StreamHouse: a Kafka-compatible broker in one binary.
//!
//! What lives here: sockets, one file an API, partitions, config, metrics, HTTP, the command line.
//! What never does: bytes on disk (`storage`), bytes on the wire (`protocol`).

mod admin;
pub mod api;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod context;
pub mod coordinator;
pub mod delayed_fetch;
pub mod dispatch;
pub mod errors;
pub mod features;
pub mod fetch_session;
pub mod groups;
pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod partitions;
pub mod producer_ids;
pub mod resource_configs;
pub mod server;
