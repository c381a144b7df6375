//! What a broker costs in memory. The figures are printed; the limits are the design's.

use kafka_protocol::messages::CreateTopicsRequest;
use streamhouse_compat_tests::ops::{code, fetch_partition, fetch_request, new_topic, produce_request};
use streamhouse_compat_tests::records::{BatchSpec, Codec};
use streamhouse_compat_tests::{Broker, eventually};

use super::connect;

const MIB: u64 = 1 << 20;

#[test]
fn idle() {
    // Design: at most 30 MiB.
    let broker = Broker::start();
    connect(&broker).create_topic("t", 1);
    let rss = broker.rss_bytes();
    println!("idle: {:.1} MiB resident", rss as f64 / MIB as f64);
    assert!(rss <= 30 * MIB, "{} KiB", rss >> 10);
}

#[test]
fn ten_thousand_quiet_partitions() {
    // Design: at most 16 KiB each, written once or never, before and after a restart.
    let mut broker = Broker::start();
    let mut client = connect(&broker);
    let empty = broker.rss_bytes();
    let topics = (0..10).map(|i| new_topic(&format!("quiet-{i}"), 1000, &[])).collect();
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(60_000);
    for result in client.call(7, &request).topics {
        assert_eq!(result.error_code, code::NONE, "{:?}", result.error_message);
    }
    let each = |rss: u64| rss.saturating_sub(empty) / 10_000;
    println!("10,000 partitions: {} bytes each when made", each(broker.rss_bytes()));
    let batch = BatchSpec::of(&["one record"]).encode();
    for topic in 0..10 {
        let batches: Vec<_> = (0..1000).map(|partition| (partition, batch.clone())).collect();
        let reply = client.call(9, &produce_request(&format!("quiet-{topic}"), 1, &batches));
        for answer in &reply.responses[0].partition_responses {
            assert_eq!(answer.error_code, code::NONE);
        }
    }
    let quiet = eventually("quiet partitions to be small", || {
        let rss = broker.rss_bytes();
        (each(rss) <= 16 << 10).then_some(rss)
    });
    println!("10,000 partitions: {} bytes each with a record", each(quiet));
    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    assert_eq!(client.read_all("quiet-7", 777, 0).len(), 1);
    let after = broker.rss_bytes();
    println!("10,000 partitions: {} bytes each after a restart", each(after));
    assert!(each(after) <= 16 << 10, "{} bytes each", each(after));
}

#[test]
fn a_burst_goes_back_down() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("t", 16);
    let idle = broker.rss_bytes();
    let batch = BatchSpec::of(&[&"x".repeat(1_000_000)]).codec(Codec::None).encode();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (addr, batch) = (broker.kafka_addr(), batch.clone());
            std::thread::spawn(move || {
                let mut client = streamhouse_compat_tests::RawClient::connect(addr);
                for i in 0..100 {
                    let answer = client.produce("t", thread * 4 + i % 4, 1, batch.clone());
                    assert_eq!(answer.error_code, code::NONE);
                    if i % 10 == 0 {
                        let all = (0..16).map(|partition| fetch_partition(partition, 0)).collect();
                        client.call(12, &fetch_request("t", all));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    let burst = broker.rss_peak_bytes();
    let calm = eventually("memory to go back", || {
        let rss = broker.rss_bytes();
        (rss < idle + 16 * MIB).then_some(rss)
    });
    println!(
        "burst: {} MiB idle, {} MiB at the peak, {} MiB after",
        idle / MIB,
        burst / MIB,
        calm / MIB
    );
    assert!(burst < idle + 700 * MIB, "{} MiB at the peak", burst / MIB);
}

#[test]
fn a_thousand_idle_connections() {
    let broker = Broker::start();
    let before = broker.rss_bytes();
    let mut open: Vec<_> = (0..1000).map(|_| connect(&broker)).collect();
    for client in &mut open {
        client.call(0, &kafka_protocol::messages::ApiVersionsRequest::default());
    }
    let each = broker.rss_bytes().saturating_sub(before) / 1000;
    println!("1,000 connections: {each} bytes each");
    assert!(each < 48 << 10, "{each} bytes each");
}
