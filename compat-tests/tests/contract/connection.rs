//! Framing, order, limits of connections: contract 1–8.

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use streamhouse_compat_tests::ops::{code, fetch_partition, fetch_request, produce_request, text};
use streamhouse_compat_tests::raw::{decode_response, encode_request, header_bytes};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, RawClient, eventually};

use super::{connect, start};

/// Asks for ApiVersions to see whether the connection lives.
fn answers(client: &mut RawClient) -> bool {
    client.try_call(0, &ApiVersionsRequest::default()).is_ok()
}

#[test]
fn replies_leave_in_request_order() {
    // contract 1: the fetch waits half a second, the others are quick, and still the fetch is answered first.
    let (_broker, mut client) = start();
    client.create_topic("order", 1);
    let parked = fetch_request("order", vec![fetch_partition(0, 0)])
        .with_max_wait_ms(500)
        .with_min_bytes(1 << 20);
    let fetch = client.send(12, &parked);
    let metadata = client.send(9, &MetadataRequest::default());
    let versions = client.send(0, &ApiVersionsRequest::default());
    client.receive::<FetchRequest>(12, fetch);
    client.receive::<MetadataRequest>(9, metadata);
    client.receive::<ApiVersionsRequest>(0, versions);
}

#[test]
fn many_produces_in_flight_keep_their_order() {
    // contract 2: 200 produces leave in one write; offsets follow the order of the requests.
    let (_broker, mut client) = start();
    client.create_topic("pipeline", 1);
    let (producer_id, epoch) = client.init_producer_id();
    let mut frames = Vec::new();
    for sequence in 0..200 {
        let batch = BatchSpec::of(&[&format!("value {sequence}")])
            .producer(producer_id, epoch, sequence)
            .encode();
        let acks = if sequence % 3 == 0 { -1 } else { 1 };
        let request = encode_request(
            9,
            1000 + sequence,
            None,
            &produce_request("pipeline", acks, &[(0, batch)]),
        );
        frames.put_i32(request.len() as i32);
        frames.put_slice(&request);
    }
    client.send_bytes(&frames).expect("the broker reads");
    for sequence in 0..200 {
        let reply = client.read_frame().expect("a reply").expect("an open connection");
        let mut reply = decode_response::<ProduceRequest>(9, 1000 + sequence, reply);
        let answer = reply.responses.remove(0).partition_responses.remove(0);
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (code::NONE, i64::from(sequence))
        );
    }
}

#[test]
fn a_frame_may_arrive_byte_by_byte() {
    // contract 3
    let (_broker, mut client) = start();
    let request = encode_request(
        3,
        7,
        Some("slow"),
        &ApiVersionsRequest::default()
            .with_client_software_name(text("slow"))
            .with_client_software_version(text("1")),
    );
    let mut frame = Vec::new();
    frame.put_i32(request.len() as i32);
    frame.put_slice(&request);
    for byte in frame {
        client.send_bytes(&[byte]).expect("the broker reads");
    }
    let reply = client.read_frame().expect("a reply").expect("an open connection");
    assert_eq!(
        decode_response::<ApiVersionsRequest>(3, 7, reply).error_code,
        code::NONE
    );
}

#[test]
fn two_frames_may_arrive_in_one_packet_and_one_in_two() {
    // contract 3
    let (_broker, mut client) = start();
    let request = encode_request(0, 1, None, &ApiVersionsRequest::default());
    let mut frame = Vec::new();
    frame.put_i32(request.len() as i32);
    frame.put_slice(&request);
    let bytes = [frame.clone(), frame].concat();
    let (head, tail) = bytes.split_at(bytes.len() - 5);
    client.send_bytes(head).expect("the broker reads");
    assert!(client.read_frame().expect("a reply").is_some());
    client.send_bytes(tail).expect("the broker reads");
    assert!(client.read_frame().expect("a reply").is_some());
}

#[test]
fn a_frame_above_the_limit_closes_the_connection() {
    // contract 3: one byte above the limit closes, at the limit it is read.
    let broker = Broker::builder().set("socket.request.max.bytes", 2_000_000).start();
    let mut client = connect(&broker);
    client.create_topic_with("limit", 1, &[("max.message.bytes", "10000000")]);
    let empty = produce_request("limit", 1, &[(0, BatchSpec::of(&[""]).encode())]);
    let overhead = encode_request(9, 1, Some("raw"), &empty).len();
    // Above 8,191 bytes a varint length takes two bytes more in two places, above 2 MiB it would take another.
    for (bytes, fits) in [(1_990_000, true), (2_000_001, false)] {
        let value = "x".repeat(bytes - overhead);
        let request = produce_request("limit", 1, &[(0, BatchSpec::of(&[&value]).encode())]);
        let mut client = connect(&broker);
        match client.try_call(9, &request) {
            Ok(mut reply) => {
                let answer = reply.responses.remove(0).partition_responses.remove(0);
                assert!(
                    fits && answer.error_code == code::NONE,
                    "{bytes} bytes: {}",
                    answer.error_code
                );
            }
            Err(e) => assert!(!fits, "{bytes} bytes: {e}"),
        }
    }
    assert!(answers(&mut client));
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    // contract 4: no such key; a key that we do not offer (WriteTxnMarkers); versions below and above; negative ones.
    let (broker, mut bystander) = start();
    for (api_key, version) in [
        (999, 0),
        (-1, 0),
        (27, 0),
        (3, 99),
        (3, -1),
        (1, 3),
        (1, 19),
        (0, 14),
        (i16::MAX, i16::MAX),
    ] {
        let mut client = connect(&broker);
        let mut frame = header_bytes(api_key, version, 1, false);
        frame.put_slice(&[0; 32]);
        client.send_frame(&frame).expect("the broker reads");
        client.expect_close();
    }
    assert!(answers(&mut bystander));
}

#[test]
fn a_body_that_does_not_parse_closes_the_connection() {
    // contract 4: Metadata v1 whose array announces more than is there; a cut string; a cut length; a count below −1.
    let (broker, mut bystander) = start();
    let bodies: [&[u8]; 4] = [
        &[0, 0, 0, 9],
        &[0, 0, 0, 1, 0, 5, b'a'],
        &[0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
    ];
    for body in bodies {
        let mut client = connect(&broker);
        let mut frame = header_bytes(3, 1, 1, false);
        frame.put_slice(body);
        client.send_frame(&frame).expect("the broker reads");
        client.expect_close();
    }
    assert!(answers(&mut bystander));
}

#[test]
fn bytes_behind_a_request_are_ignored() {
    // As Kafka ignores them: librdkafka 2.12 sends three behind a Metadata request for all topics.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let mut frame = header_bytes(3, 13, 5, true);
    frame.put_slice(&[0, 0, 0, 0]); // null topics, two false booleans, no tags
    frame.put_slice(&[0, 0, 0]);
    client.send_frame(&frame).expect("the broker reads");
    let reply = client.read_frame().expect("a reply").expect("an open connection");
    assert_eq!(decode_response::<MetadataRequest>(13, 5, reply).topics.len(), 1);
}

#[test]
fn headers_of_flexible_versions() {
    // contract 5: Metadata v9 takes request header v2 and answers with header v1, ApiVersions v3 answers with header v0.
    // call() decodes to the last byte, so a header of the wrong version is an error.
    let (_broker, mut client) = start();
    client.call(8, &MetadataRequest::default());
    client.call(9, &MetadataRequest::default());
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("raw"))
        .with_client_software_version(text("1"));
    client.call(3, &request);
    client.call(4, &request);
}

#[test]
fn a_null_client_id_is_fine() {
    // contract 6
    let (_broker, mut client) = start();
    for client_id in [None, Some(""), Some("ünï-cödé")] {
        client.set_client_id(client_id);
        assert!(answers(&mut client), "{client_id:?}");
        client.call(9, &MetadataRequest::default());
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    // contract 6: in the header and in the body.
    let (_broker, mut client) = start();
    let request = MetadataRequest::default().with_unknown_tagged_field(77, Bytes::from_static(b"who knows"));
    client.call(9, &request);
    let mut frame = header_bytes(3, 9, 5, false);
    frame.put_slice(&[1, 99, 3, 1, 2, 3]); // one tag in the header: number 99, three bytes
    frame.put_slice(&[0, 0, 0, 0, 0]); // null topics, three false booleans, no tags
    client.send_frame(&frame).expect("the broker reads");
    let reply = client.read_frame().expect("a reply").expect("an open connection");
    decode_response::<MetadataRequest>(9, 5, reply);
}

#[test]
fn idle_connections_close_and_parked_fetches_are_not_idle() {
    // contract 7
    let broker = Broker::builder().set("connections.max.idle.ms", 500).start();
    let mut idle = connect(&broker);
    assert!(answers(&mut idle));
    let mut parked = connect(&broker);
    parked.create_topic("idle", 1);
    let wait = fetch_request("idle", vec![fetch_partition(0, 0)])
        .with_max_wait_ms(2_500)
        .with_min_bytes(1);
    let correlation_id = parked.send(12, &wait);
    idle.expect_close();
    parked.receive::<FetchRequest>(12, correlation_id);
}

#[test]
fn connections_are_bounded() {
    // contract 8: of four connections one is closed at once; when another goes, there is room again.
    for key in ["max.connections", "max.connections.per.ip"] {
        let broker = Broker::builder().set(key, 3).start();
        let mut open: Vec<RawClient> = (0..3).map(|_| connect(&broker)).collect();
        assert!(open.iter_mut().all(answers), "{key}");
        let refused = RawClient::try_connect(broker.kafka_addr()).is_ok_and(|mut client| answers(&mut client));
        assert!(!refused, "{key}: a fourth connection was served");
        assert!(open.iter_mut().all(answers), "{key}");
        open.pop();
        eventually("room for a connection", || {
            let mut client = RawClient::try_connect(broker.kafka_addr()).ok()?;
            answers(&mut client).then_some(())
        });
    }
}

#[test]
fn a_client_that_reads_nothing_harms_nobody() {
    // Decision 10: what waits for a slow reader is bounded. It asks 400 times for 4 MB and takes no byte of it.
    let (broker, mut client) = start();
    client.create_topic("t", 1);
    let batch = BatchSpec::of(&[&"x".repeat(1_000_000)]).encode();
    for _ in 0..4 {
        client.produce_ok("t", 0, batch.clone());
    }
    let before = broker.rss_peak_bytes();
    let mut greedy = connect(&broker);
    let everything = fetch_request("t", vec![fetch_partition(0, 0).with_partition_max_bytes(50 << 20)]);
    for _ in 0..400 {
        greedy.send(12, &everything);
    }
    for _ in 0..10 {
        assert_eq!(
            client.produce("t", 0, -1, BatchSpec::of(&["y"]).encode()).error_code,
            code::NONE
        );
    }
    let grown = broker.rss_peak_bytes() - before;
    assert!(grown < 100 << 20, "memory grew by {} MiB", grown >> 20);
    // When it reads at last, everything is there, in order.
    for id in 0..400 {
        let reply = greedy.receive::<FetchRequest>(12, id + 1);
        assert_eq!(reply.responses[0].partitions[0].error_code, code::NONE);
    }
}

#[test]
fn running_out_of_file_descriptors_is_survived() {
    // contract 8: accept backs off. The log stays short (no spin), and connections are served once there is room.
    let (broker, mut old) = start();
    let pid = broker.pid();
    let open_files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("Linux").count() as u64;
    let previous = limit_files(pid, open_files + 4);
    let crowd: Vec<_> = (0..40)
        .filter_map(|_| RawClient::try_connect(broker.kafka_addr()).ok())
        .collect();
    assert!(answers(&mut old), "connections that exist are served");
    let lines = broker.log().lines().count();
    drop(crowd);
    limit_files(pid, previous);
    eventually("a new connection", || {
        let mut client = RawClient::try_connect(broker.kafka_addr()).ok()?;
        answers(&mut client).then_some(())
    });
    let said = broker.log().lines().count() - lines;
    assert!(said < 500, "{said} lines about it");
    assert!(!broker.log().contains("panicked"), "a panic in the log");
}

/// Sets the soft limit of open files of a process and returns what it was.
fn limit_files(pid: u32, soft: u64) -> u64 {
    let pid = i32::try_from(pid).expect("process ids are positive i32");
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: one valid rlimit is written.
    let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut old) };
    assert_eq!(read, 0, "prlimit: {}", std::io::Error::last_os_error());
    let new = libc::rlimit {
        rlim_cur: soft,
        rlim_max: old.rlim_max,
    };
    // SAFETY: one valid rlimit is read.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut()) };
    assert_eq!(set, 0, "prlimit: {}", std::io::Error::last_os_error());
    old.rlim_cur
}
