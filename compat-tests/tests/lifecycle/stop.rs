//! Stopping: SIGTERM and SIGINT end gracefully, a second signal at once.

use kafka_protocol::messages::{FetchRequest, ProduceRequest};
use streamhouse_compat_tests::ops::{code, fetch_partition, fetch_request, produce_request};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, eventually};

use super::connect;

#[test]
fn a_graceful_stop_answers_parked_fetches_and_ends_with_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut broker = Broker::start();
        let mut client = connect(&broker);
        client.create_topic("t", 1);
        let mut parked = connect(&broker);
        let wait = fetch_request("t", vec![fetch_partition(0, 0)]).with_max_wait_ms(i32::MAX);
        let fetch = parked.send(12, &wait);
        // Behind it on another connection: once this is answered, the fetch has been read for long.
        assert_eq!(
            client
                .produce("t", 0, -1, BatchSpec::of(&["wakes the fetch"]).encode())
                .error_code,
            code::NONE
        );
        parked.receive::<FetchRequest>(12, fetch);
        let fetch = parked.send(
            12,
            &fetch_request("t", vec![fetch_partition(0, 1)]).with_max_wait_ms(i32::MAX),
        );
        let _ = connect(&broker).fetch("t", 0, 0);
        broker.signal(signal);
        let reply = parked.receive::<FetchRequest>(12, fetch);
        assert_eq!(reply.responses[0].partitions[0].error_code, code::NONE);
        parked.expect_close();
        assert_eq!(broker.wait_exit().code(), Some(0));
        broker.restart();
        assert_eq!(connect(&broker).read_all("t", 0, 0).len(), 1);
    }
}

#[test]
fn what_was_acknowledged_before_the_stop_is_there() {
    let mut broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("t", 1);
    let mut answered = 0;
    let ids: Vec<i32> = (0..200)
        .map(|i| {
            client.send(
                9,
                &produce_request("t", 1, &[(0, BatchSpec::of(&[&i.to_string()]).encode())]),
            )
        })
        .collect();
    broker.signal(libc::SIGTERM);
    for id in ids {
        // What is not read any more is not answered: the connection closes.
        let Ok(Some(reply)) = client.read_frame() else { break };
        let mut reply = streamhouse_compat_tests::raw::decode_response::<ProduceRequest>(9, id, reply);
        assert_eq!(
            reply.responses.remove(0).partition_responses.remove(0).error_code,
            code::NONE
        );
        answered += 1;
    }
    assert_eq!(broker.wait_exit().code(), Some(0));
    broker.restart();
    let found: Vec<String> = connect(&broker)
        .read_all("t", 0, 0)
        .iter()
        .map(|record| record.text())
        .collect();
    assert!(
        found.len() >= answered,
        "{answered} were acknowledged, {} are there",
        found.len()
    );
    assert!(found.iter().enumerate().all(|(i, value)| *value == i.to_string()));
}

#[test]
fn a_broker_without_clients_stops() {
    let mut broker = Broker::start();
    assert_eq!(broker.terminate().code(), Some(0));
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let mut broker = Broker::start();
    let mut open: Vec<_> = (0..20).map(|_| connect(&broker)).collect();
    assert_eq!(broker.terminate().code(), Some(0));
    for client in &mut open {
        client.expect_close();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // With a client that never reads its reply the graceful stop would wait; the second signal does not.
    let mut broker = Broker::builder().set("shutdown.timeout.ms", 3_600_000).start();
    let mut client = connect(&broker);
    client.create_topic("t", 1);
    let large = BatchSpec::of(&[&"x".repeat(1_000_000)]).encode();
    for _ in 0..20 {
        client.produce_ok("t", 0, large.clone());
    }
    let mut greedy = connect(&broker);
    let everything = fetch_partition(0, 0).with_partition_max_bytes(50 << 20);
    for _ in 0..20 {
        greedy.send(12, &fetch_request("t", vec![everything.clone()]));
    }
    broker.signal(libc::SIGTERM);
    // Two signals at once would be one.
    eventually("the stop to begin", || broker.log().contains("stopping").then_some(()));
    broker.signal(libc::SIGTERM);
    // Whatever the status says, it has ended; and nothing is lost.
    broker.wait_exit();
    broker.restart();
    assert_eq!(connect(&broker).list_offset("t", 0, -1).2, 20);
}
