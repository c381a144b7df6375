//! Bytes that no client sends: the connection closes, memory stays bounded, everyone else is served. Contract 3 and 4.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use streamhouse_compat_tests::raw::{encode_request, header_bytes};
use streamhouse_compat_tests::{Broker, RawClient, eventually};

use super::{connect, start};

/// Memory that a hundred broken connections may cost at most.
const SLACK_BYTES: u64 = 64 << 20;

fn assert_unharmed(broker: &mut Broker, bystander: &mut RawClient, rss_before: u64) {
    bystander.call(9, &MetadataRequest::default());
    connect(broker).call(0, &ApiVersionsRequest::default());
    assert!(broker.is_running());
    let grown = broker.rss_peak_bytes().saturating_sub(rss_before);
    assert!(grown < SLACK_BYTES, "memory grew by {} MiB", grown >> 20);
    assert!(!broker.log().contains("panicked"), "a panic in the log");
}

#[test]
fn an_array_count_that_cannot_be() {
    // contract 4: fourteen bytes that make the codec alone allocate 154 GB.
    let (mut broker, mut bystander) = start();
    let rss = broker.rss_peak_bytes();
    let mut client = connect(&broker);
    let lines = broker.log().lines().count();
    client
        .send_bytes(&hex("0000000e 0003 0000 00000001 ffff 7fffffff"))
        .expect("the broker reads");
    client.expect_close();
    let said = eventually("a line about it", || {
        let said: Vec<String> = broker.log().lines().skip(lines).map(str::to_owned).collect();
        (!said.is_empty()).then_some(said)
    });
    assert_eq!(said.len(), 1, "one line: {said:?}");
    // The same idea in every array of every request is the protocol crate's test; here two nested ones and a compact one.
    let nested: [(i16, i16, &str); 3] = [
        (0, 3, "ffff 0001 00000001 7fffffff"),
        (1, 4, "ffffffff 00000001 00000001 00000001 00 00000001 0001 61 7fffffff"),
        (3, 9, "ffffffff0f"),
    ];
    for (api_key, version, body) in nested {
        let mut client = connect(&broker);
        let mut frame = header_bytes(api_key, version, 1, version == 9);
        frame.put_slice(&hex(body));
        client.send_frame(&frame).expect("the broker reads");
        client.expect_close();
    }
    assert_unharmed(&mut broker, &mut bystander, rss);
}

#[test]
fn sizes_that_cannot_be() {
    // contract 3: negative, 2 GiB, and just above the default of 100 MiB.
    let (mut broker, mut bystander) = start();
    let rss = broker.rss_peak_bytes();
    for size in [-1, i32::MIN, i32::MAX, (100 << 20) + 1] {
        let mut client = connect(&broker);
        client.send_bytes(&size.to_be_bytes()).expect("the broker reads");
        client.expect_close();
    }
    assert_unharmed(&mut broker, &mut bystander, rss);
}

#[test]
fn announced_bytes_cost_nothing_until_they_come() {
    // contract 3: fifty connections announce 100 MiB each and send a hundred bytes of it.
    let (mut broker, mut bystander) = start();
    let rss = broker.rss_peak_bytes();
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut client = connect(&broker);
        client
            .send_bytes(&(100i32 << 20).to_be_bytes())
            .expect("the broker reads");
        client.send_bytes(&[0; 100]).expect("the broker reads");
        open.push(client);
    }
    assert_unharmed(&mut broker, &mut bystander, rss);
}

#[test]
fn frames_too_short_for_a_header() {
    // contract 4
    let (mut broker, mut bystander) = start();
    let rss = broker.rss_peak_bytes();
    let whole = encode_request(0, 1, Some("raw"), &ApiVersionsRequest::default());
    for length in 0..whole.len() {
        let mut client = connect(&broker);
        client.send_frame(&whole[..length]).expect("the broker reads");
        client.expect_close();
    }
    assert_unharmed(&mut broker, &mut bystander, rss);
}

#[test]
fn other_protocols() {
    // contract 4: HTTP, TLS and an end in mid-frame.
    let (mut broker, mut bystander) = start();
    let rss = broker.rss_peak_bytes();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
    ] {
        let mut client = connect(&broker);
        client.send_bytes(bytes).expect("the broker reads");
        client.expect_close();
    }
    for _ in 0..20 {
        let mut client = connect(&broker);
        client.send_bytes(&[0, 0, 1, 0, 0, 3]).expect("the broker reads");
    }
    assert_unharmed(&mut broker, &mut bystander, rss);
}

#[test]
fn garbage_of_every_api() {
    // contract 4: random bodies behind right headers, seeded; each is either answered or closed.
    let (mut broker, mut bystander) = start();
    let rss = broker.rss_peak_bytes();
    let mut random = StdRng::seed_from_u64(streamhouse_compat_tests::harness::seed());
    for _ in 0..2_000 {
        let mut client = connect(&broker);
        let api_key = random.random_range(-1..95);
        let version = random.random_range(-1..19);
        let mut frame: BytesMut = header_bytes(api_key, version, 1, random.random());
        let length = random.random_range(0..200);
        // Mostly zeros parse further than noise does.
        frame.extend((0..length).map(|_| {
            if random.random_bool(0.8) {
                0
            } else {
                random.random::<u8>()
            }
        }));
        if client.send_frame(&frame).is_ok() {
            let _ = client.stream().shutdown(std::net::Shutdown::Write);
            // What comes is a whole frame or the end; read_frame panics on anything else.
            let _ = client.read_frame();
        }
    }
    assert_unharmed(&mut broker, &mut bystander, rss);
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits"))
        .collect()
}
