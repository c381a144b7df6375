//! `/metrics`, `/livez` and `/readyz`.

use kafka_protocol::messages::MetadataRequest;
use streamhouse_compat_tests::Broker;
use streamhouse_compat_tests::ops::code;
use streamhouse_compat_tests::records::BatchSpec;

use super::connect;

#[test]
fn alive_and_ready() {
    let broker = Broker::start();
    assert_eq!(broker.http_get("/livez").0, 200);
    assert_eq!(broker.http_get("/readyz").0, 200);
    assert_eq!(broker.http_get("/nothing").0, 404);
}

#[test]
fn metrics_count_what_happens() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("counted", 1);
    for _ in 0..10 {
        client.produce_ok("counted", 0, BatchSpec::of(&["a", "b", "c"]).encode());
    }
    assert_eq!(client.read_all("counted", 0, 0).len(), 30);
    let mut bad = BatchSpec::of(&["x"]);
    bad.crc = Some(1);
    assert_eq!(
        client.produce("counted", 0, -1, bad.encode()).error_code,
        code::CORRUPT_MESSAGE
    );
    client.call(9, &MetadataRequest::default());
    let (status, page) = broker.http_get("/metrics");
    assert_eq!(status, 200);
    let value = |parts: &[&str]| {
        broker
            .metric(parts)
            .unwrap_or_else(|| panic!("no series with {parts:?} in\n{page}"))
    };
    assert!(value(&["streamhouse_requests_total", "api=\"Produce\""]) >= 11.0);
    assert!(value(&["streamhouse_requests_total", "api=\"Metadata\""]) >= 1.0);
    assert!(value(&["streamhouse_request_errors_total", "Produce"]) >= 1.0);
    assert!(value(&["streamhouse_topic_records_in_total", "counted"]) >= 30.0);
    assert!(value(&["streamhouse_bytes_in_total"]) > 0.0);
    assert!(value(&["streamhouse_bytes_out_total"]) > 0.0);
    assert!(value(&["streamhouse_connections_open"]) >= 1.0);
    for part in ["fsync", "journal", "tail", "seconds"] {
        assert!(page.contains(part), "nothing about {part} in\n{page}");
    }
    // Prometheus' text format: comments, or a name with labels and a number.
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        let ours = line.starts_with("streamhouse_") || line.starts_with("process_");
        assert!(value.is_some() && ours, "{line:?}");
    }
}

#[test]
fn the_page_stays_small_with_many_partitions() {
    // Design: below 5,000 series with 10,000 partitions.
    let broker = Broker::start();
    let mut client = connect(&broker);
    for i in 0..10 {
        client.create_topic(&format!("many-{i}"), 1000);
    }
    client.produce_ok("many-3", 999, BatchSpec::of(&["x"]).encode());
    let (_, page) = broker.http_get("/metrics");
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 5_000, "{series} series");
}
