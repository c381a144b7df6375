//! The behaviour contract, rule by rule, in raw frames: what real clients cannot provoke. A file an API, named like the
//! API; each test names the numbers of the rules that it proves.

mod alter_configs;
mod api_versions;
mod connection;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_topic_partitions;
mod fetch;
mod fetch_session;
mod find_coordinator;
mod idempotence;
mod init_producer_id;
mod list_offsets;
mod malformed;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod produce_records;
mod retention;
mod versions;

use streamhouse_compat_tests::{Broker, RawClient};

/// A broker with default settings and a connection to it.
fn start() -> (Broker, RawClient) {
    let broker = Broker::start();
    let client = connect(&broker);
    (broker, client)
}

fn connect(broker: &Broker) -> RawClient {
    RawClient::connect(broker.kafka_addr())
}
