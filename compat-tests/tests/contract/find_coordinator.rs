//! FindCoordinator (10): contract 15, 17, 22 and 68.

use kafka_protocol::messages::FindCoordinatorRequest;
use streamhouse_compat_tests::ops::{code, text};

use super::start;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

#[test]
fn groups_are_coordinated_here_in_every_version() {
    // contract 22, 68
    let (broker, mut client) = start();
    let here = (
        0,
        broker.kafka_addr().ip().to_string(),
        i32::from(broker.kafka_addr().port()),
    );
    for version in 0..4 {
        let reply = client.call(version, &FindCoordinatorRequest::default().with_key(text("group")));
        assert_eq!(reply.error_code, code::NONE, "v{version}");
        let found = (reply.node_id.0, reply.host.to_string(), reply.port);
        assert_eq!(found, here, "v{version}");
    }
    for version in 4..=6 {
        let keys = vec![text("one"), text(""), text("two")];
        let request = FindCoordinatorRequest::default()
            .with_key_type(GROUP)
            .with_coordinator_keys(keys);
        let reply = client.call(version, &request);
        let keys: Vec<String> = reply.coordinators.iter().map(|c| c.key.to_string()).collect();
        assert_eq!(keys, ["one", "", "two"], "v{version}");
        for coordinator in &reply.coordinators {
            assert_eq!(coordinator.error_code, code::NONE, "v{version}");
            let found = (coordinator.node_id.0, coordinator.host.to_string(), coordinator.port);
            assert_eq!(found, here, "v{version}");
        }
    }
}

#[test]
fn the_first_need_makes_the_internal_topic() {
    // contract 17
    let (_broker, mut client) = start();
    let before = client.describe_topic("__consumer_offsets");
    assert_eq!(before.error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
    client.call(3, &FindCoordinatorRequest::default().with_key(text("group")));
    let topic = client.describe_topic("__consumer_offsets");
    assert_eq!((topic.error_code, topic.is_internal), (code::NONE, true));
    assert_eq!(topic.partitions.len(), 50);
}

#[test]
fn other_coordinators_are_not_here() {
    // contract 68
    let (_broker, mut client) = start();
    let mut ask = |version, key_type| {
        let request = FindCoordinatorRequest::default()
            .with_key_type(key_type)
            .with_coordinator_keys(vec![text("key")]);
        client.call(version, &request).coordinators[0].error_code
    };
    assert_eq!(ask(4, TRANSACTION), code::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(ask(6, SHARE), code::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(ask(5, SHARE), code::INVALID_REQUEST);
    assert_eq!(ask(6, 3), code::INVALID_REQUEST);
}
