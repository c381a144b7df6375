//! FindCoordinator (10): offered because librdkafka switches LZ4 on by it (contract 15); there are no groups yet.

use kafka_protocol::messages::FindCoordinatorRequest;
use streamhouse_compat_tests::ops::{code, text};

use super::start;

#[test]
fn no_coordinator_is_available() {
    let (_broker, mut client) = start();
    for version in 0..4 {
        let reply = client.call(version, &FindCoordinatorRequest::default().with_key(text("group")));
        assert_eq!(reply.error_code, code::COORDINATOR_NOT_AVAILABLE, "v{version}");
    }
    for version in 4..=6 {
        let keys = vec![text("one"), text("two")];
        let reply = client.call(version, &FindCoordinatorRequest::default().with_coordinator_keys(keys));
        let answers: Vec<_> = reply
            .coordinators
            .iter()
            .map(|c| (c.key.to_string(), c.error_code))
            .collect();
        let expected = ["one", "two"].map(|key| (key.to_owned(), code::COORDINATOR_NOT_AVAILABLE));
        assert_eq!(answers, expected, "v{version}");
    }
}
