//! The life of a broker: start, stop, restart, refusal to start, a full disk, and what it costs in memory.

mod command_line;
mod data_dir;
mod disk_full;
mod http;
mod memory;
mod stop;

use streamhouse_compat_tests::{Broker, RawClient};

fn connect(broker: &Broker) -> RawClient {
    RawClient::connect(broker.kafka_addr())
}
