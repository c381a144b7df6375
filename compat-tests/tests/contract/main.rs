//! The behaviour contract, rule by rule, in raw frames: what real clients cannot provoke. A file an API, named like the
//! API; each test names the numbers of the rules that it proves.

mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod connection;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod fetch_session;
mod find_coordinator;
mod group_member;
mod heartbeat;
mod idempotence;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod malformed;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod offsets_checkpoint;
mod produce;
mod produce_records;
mod retention;
mod sync_group;
mod update_features;
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
