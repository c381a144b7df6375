//! ListConfigResources (74).

use kafka_protocol::messages::ListConfigResourcesRequest;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::code;

use super::alter_configs::{SET, change};
use super::describe_configs::{BROKER, CLIENT_METRICS, GROUP, TOPIC};
use super::{connect, start};

const BROKER_LOGGER: i8 = 8;

fn list(client: &mut RawClient, types: &[i8]) -> Vec<(i8, String)> {
    let reply = client.call(
        1,
        &ListConfigResourcesRequest::default().with_resource_types(types.to_vec()),
    );
    assert_eq!(reply.error_code, code::NONE, "{types:?}");
    let mut found: Vec<_> = reply
        .config_resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.to_string()))
        .collect();
    found.sort();
    found
}

#[test]
fn resources_that_have_configs() {
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    let interval = [("interval.ms", SET, Some("1000"))];
    assert_eq!(
        change(&mut client, CLIENT_METRICS, "subscription", &interval),
        code::NONE
    );
    let session = [("consumer.session.timeout.ms", SET, Some("50000"))];
    assert_eq!(change(&mut client, GROUP, "g", &session), code::NONE);
    let owned = |expected: &[(i8, &str)]| -> Vec<(i8, String)> {
        expected
            .iter()
            .map(|(kind, name)| (*kind, (*name).to_owned()))
            .collect()
    };
    let all = owned(&[
        (TOPIC, "t"),
        (BROKER, "0"),
        (CLIENT_METRICS, "subscription"),
        (GROUP, "g"),
    ]);
    for start in 0..2 {
        assert_eq!(list(&mut client, &[]), all, "start {start}");
        assert_eq!(
            list(&mut client, &[GROUP, TOPIC, GROUP]),
            owned(&[(TOPIC, "t"), (GROUP, "g")])
        );
        assert!(list(&mut client, &[BROKER_LOGGER]).is_empty());
        // Version 0 knows client metrics alone.
        let reply = client.call(0, &ListConfigResourcesRequest::default());
        let names: Vec<_> = reply
            .config_resources
            .iter()
            .map(|found| &*found.resource_name)
            .collect();
        assert_eq!((reply.error_code, names), (code::NONE, vec!["subscription"]));
        broker.kill9();
        broker.restart();
        client = connect(&broker);
    }
}

#[test]
fn types_that_nobody_knows() {
    let (_broker, mut client) = start();
    for unknown in [0, 1, 3, 64, -1] {
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![TOPIC, unknown]);
        let reply = client.call(1, &request);
        assert_eq!(
            (reply.error_code, reply.config_resources.len()),
            (code::UNSUPPORTED_VERSION, 0),
            "{unknown}"
        );
    }
}
