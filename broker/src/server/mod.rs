//! The Kafka side of the network: listeners, connections, frames, replies, and the limits of each.

pub mod connection;
pub mod frame;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod page_cache;
mod pipeline;
pub mod response;
mod timer;
