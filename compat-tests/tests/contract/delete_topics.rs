//! DeleteTopics (20): contract 20 and 65.

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteTopicsRequest, FetchRequest, MetadataRequest};
use streamhouse_compat_tests::ops::{code, fetch_partition, fetch_request, topic_name};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, eventually};
use uuid::Uuid;

use super::{connect, start};

fn by_id(id: Uuid) -> DeleteTopicsRequest {
    let topic = DeleteTopicState::default().with_name(None).with_topic_id(id);
    DeleteTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000)
}

fn by_name(name: &str) -> DeleteTopicsRequest {
    DeleteTopicsRequest::default()
        .with_topic_names(vec![topic_name(name)])
        .with_timeout_ms(30_000)
}

#[test]
fn by_name_and_by_id() {
    // contract 65
    let (_broker, mut client) = start();
    client.create_topic("a", 1);
    client.create_topic("b", 1);
    let id = client.topic_id("a");
    let reply = client.call(6, &by_id(id)).responses.remove(0);
    assert_eq!(
        (reply.error_code, reply.name, reply.topic_id),
        (code::NONE, Some(topic_name("a")), id)
    );
    client.delete_topic("b");
    assert!(
        client
            .call(9, &MetadataRequest::default().with_topics(None))
            .topics
            .is_empty()
    );
    assert_eq!(
        client.call(6, &by_id(id)).responses[0].error_code,
        code::UNKNOWN_TOPIC_ID
    );
    assert_eq!(
        client.call(5, &by_name("b")).responses[0].error_code,
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn name_and_id_together_or_neither_are_refused() {
    let (_broker, mut client) = start();
    client.create_topic("a", 1);
    let id = client.topic_id("a");
    for topic in [
        DeleteTopicState::default()
            .with_name(Some(topic_name("a")))
            .with_topic_id(id),
        DeleteTopicState::default().with_name(None).with_topic_id(Uuid::nil()),
    ] {
        let reply = client.call(
            6,
            &DeleteTopicsRequest::default()
                .with_topics(vec![topic])
                .with_timeout_ms(9),
        );
        assert_eq!(reply.responses[0].error_code, code::INVALID_REQUEST);
    }
    assert_eq!(client.topic_id("a"), id);
}

#[test]
fn a_recreated_topic_is_empty() {
    // contract 20 and engine 10: nothing of the old topic comes back, not even after kill −9.
    let (mut broker, mut client) = start();
    client.create_topic("a", 1);
    for _ in 0..10 {
        client.produce_ok("a", 0, BatchSpec::of(&["old"]).encode());
    }
    client.delete_topic("a");
    client.create_topic("a", 1);
    assert_eq!(client.fetch("a", 0, 0).high_watermark, 0);
    client.produce_ok("a", 0, BatchSpec::of(&["new"]).encode());
    broker.kill9();
    broker.restart();
    let records = connect(&broker).read_all("a", 0, 0);
    assert_eq!(records.iter().map(|record| record.text()).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn a_fetch_that_waits_on_it_is_answered() {
    // contract 46
    let (broker, mut client) = start();
    client.create_topic("a", 1);
    let mut waiting = connect(&broker);
    let request = fetch_request("a", vec![fetch_partition(0, 0)]).with_max_wait_ms(i32::MAX);
    let correlation_id = waiting.send(12, &request);
    client.delete_topic("a");
    let reply = waiting.receive::<FetchRequest>(12, correlation_id);
    assert_ne!(reply.responses[0].partitions[0].error_code, code::NONE);
}

#[test]
fn its_files_go() {
    // contract 65
    let (broker, mut client) = start();
    client.create_topic("a", 2);
    let value = "x".repeat(900_000);
    for partition in [0, 1, 0, 1, 0, 1] {
        client.produce_ok("a", partition, BatchSpec::of(&[&value]).encode());
    }
    let full = eventually("segments on disk", || {
        Some(disk_bytes(&broker)).filter(|bytes| *bytes > 3_000_000)
    });
    client.delete_topic("a");
    eventually("the segments to go", || {
        (disk_bytes(&broker) + 3_000_000 < full).then_some(())
    });
}

#[test]
fn deletion_can_be_forbidden() {
    // contract 66: delete.topic.enable=false answers TOPIC_DELETION_DISABLED (73).
    let broker = Broker::builder().set("delete.topic.enable", false).start();
    let mut client = connect(&broker);
    client.create_topic("a", 1);
    assert_eq!(client.call(5, &by_name("a")).responses[0].error_code, 73);
    assert_eq!(client.describe_topic("a").error_code, code::NONE);
}

/// Bytes of all files outside the journal.
fn disk_bytes(broker: &Broker) -> u64 {
    fn walk(dir: &std::path::Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => walk(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            })
            .sum()
    }
    let all = walk(broker.data_dir());
    all - walk(&broker.data_dir().join("journal"))
}
