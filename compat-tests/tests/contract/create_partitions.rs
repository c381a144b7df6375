//! CreatePartitions (37): contract 65.

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};
use streamhouse_compat_tests::records::BatchSpec;

use super::{connect, start};

fn grow(client: &mut RawClient, name: &str, count: i32, validate_only: bool) -> i16 {
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(count)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    client.call(3, &request.with_validate_only(validate_only)).results[0].error_code
}

#[test]
fn more_is_possible_fewer_is_not() {
    // contract 65
    let (mut broker, mut client) = start();
    client.create_topic("t", 2);
    client.produce_ok("t", 1, BatchSpec::of(&["kept"]).encode());
    for count in [2, 1, 0, -1] {
        assert_eq!(
            grow(&mut client, "t", count, false),
            code::INVALID_PARTITIONS,
            "{count}"
        );
    }
    assert_eq!(grow(&mut client, "absent", 5, false), code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(grow(&mut client, "t", 5, true), code::NONE);
    assert_eq!(
        client.describe_topic("t").partitions.len(),
        2,
        "validate_only writes nothing"
    );
    assert_eq!(grow(&mut client, "t", 5, false), code::NONE);
    assert_eq!(client.describe_topic("t").partitions.len(), 5);
    assert_eq!(client.produce_ok("t", 4, BatchSpec::of(&["new"]).encode()), 0);
    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    assert_eq!(client.describe_topic("t").partitions.len(), 5);
    assert_eq!(client.read_all("t", 1, 0)[0].text(), "kept");
    assert_eq!(client.read_all("t", 4, 0)[0].text(), "new");
}
