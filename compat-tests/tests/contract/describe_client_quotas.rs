//! DescribeClientQuotas (48).

use kafka_protocol::messages::DescribeClientQuotasRequest;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use streamhouse_compat_tests::ops::{code, text};

use super::start;

fn part(entity_type: &str, match_type: i8, name: Option<&str>) -> ComponentData {
    ComponentData::default()
        .with_entity_type(text(entity_type))
        .with_match_type(match_type)
        .with_match(name.map(text))
}

#[test]
fn nothing_has_a_quota() {
    let (_broker, mut client) = start();
    for version in 0..=1 {
        for filter in [vec![], vec![part("user", 2, None), part("client-id", 0, Some("c"))]] {
            let request = DescribeClientQuotasRequest::default()
                .with_components(filter)
                .with_strict(true);
            let reply = client.call(version, &request);
            assert_eq!(
                (reply.error_code, reply.entries),
                (code::NONE, Some(vec![])),
                "version {version}"
            );
        }
    }
}

#[test]
fn filters_that_make_no_sense() {
    let (_broker, mut client) = start();
    let bad = [
        vec![part("", 2, None)],
        vec![part("user", 0, None)],
        vec![part("user", 1, Some("u"))],
        vec![part("user", 9, None)],
        vec![part("user", 2, None), part("user", 1, None)],
        vec![part("ip", 2, None), part("user", 2, None)],
    ];
    for filter in bad {
        let what = format!("{filter:?}");
        let reply = client.call(1, &DescribeClientQuotasRequest::default().with_components(filter));
        assert_eq!(
            (reply.error_code, &reply.entries),
            (code::INVALID_REQUEST, &None),
            "{what}"
        );
        assert!(reply.error_message.is_some_and(|message| !message.is_empty()), "{what}");
    }
}
