//! The broker's network side, from a raw socket: order of replies, limits, malformed input, signals' path of stopping.
//!
//! Every test starts a broker of its own in this process, on free ports, with a data directory that goes away with it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use streamhouse::broker::Running;
use streamhouse::config::{BrokerConfig, Sources};
use streamhouse::metrics::Recorder;
use streamhouse::partitions::NewTopic;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const FETCH: i16 = 1;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

struct Started {
    running: Running,
    address: SocketAddr,
    _dir: TempDir,
}

async fn start(settings: &[&str]) -> Started {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sources = Sources::default();
    let data_dir = format!("data.dir={}", dir.path().display());
    // Small journals: a start writes them in full.
    let own = [
        "listeners=127.0.0.1:0",
        "http.listener=127.0.0.1:0",
        "journal.file.bytes=1048576",
        "journal.files=4",
        &data_dir,
    ];
    for assignment in own.iter().chain(settings) {
        sources.push_assignment(assignment).expect("an assignment");
    }
    let config = BrokerConfig::new(sources).expect("a good configuration");
    let running = Running::start(config, Recorder::new()).await.expect("started");
    let address = running.kafka_addresses[0];
    Started {
        running,
        address,
        _dir: dir,
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connect")
}

/// A request of header version 1 (client id null).
fn request(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend((10 + body.len() as i32).to_be_bytes());
    frame.extend(api_key.to_be_bytes());
    frame.extend(api_version.to_be_bytes());
    frame.extend(correlation_id.to_be_bytes());
    frame.extend((-1i16).to_be_bytes());
    frame.extend(body);
    frame
}

/// One reply: its correlation id and what follows.
async fn reply(socket: &mut TcpStream) -> (i32, Vec<u8>) {
    let length = socket.read_u32().await.expect("a length") as usize;
    let mut frame = vec![0; length];
    socket.read_exact(&mut frame).await.expect("a reply");
    let body = frame.split_off(4);
    (i32::from_be_bytes(frame.try_into().expect("four bytes")), body)
}

/// Waits for the broker to close; gives the bytes that came before.
async fn closed(socket: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is a close too: bytes of ours may be unread.
    let _ = socket.read_to_end(&mut rest).await;
    rest
}

/// That the broker still answers others.
async fn assert_alive(address: SocketAddr) {
    let mut socket = connect(address).await;
    socket
        .write_all(&request(API_VERSIONS, 0, 77, &[]))
        .await
        .expect("write");
    assert_eq!(reply(&mut socket).await.0, 77);
}

async fn http(address: SocketAddr, path: &str) -> String {
    let mut socket = connect(address).await;
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("write");
    let mut page = String::new();
    socket.read_to_string(&mut page).await.expect("a page");
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_in_one_write_are_answered_in_order() {
    // contract 1
    let broker = start(&[]).await;
    let mut socket = connect(broker.address).await;
    let mut bytes = Vec::new();
    for id in 0..500 {
        if id % 3 == 0 {
            bytes.extend(request(METADATA, 1, id, &[0, 0, 0, 0]));
        } else {
            bytes.extend(request(API_VERSIONS, 0, id, &[]));
        }
    }
    let (mut read, mut write) = socket.split();
    let writing = async { write.write_all(&bytes).await.expect("write") };
    let reading = async {
        for id in 0..500 {
            let length = read.read_u32().await.expect("a length") as usize;
            let mut frame = vec![0; length];
            read.read_exact(&mut frame).await.expect("a reply");
            assert_eq!(frame[..4], i32::to_be_bytes(id));
        }
    };
    tokio::join!(writing, reading);
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_input_closes_its_connection_and_no_other() {
    // contract 3, 4
    let broker = start(&["socket.request.max.bytes=1000000"]).await;
    let mut bystander = connect(broker.address).await;
    let cases: VecDeque<(&str, Vec<u8>)> = VecDeque::from([
        ("2 GiB", i32::MAX.to_be_bytes().to_vec()),
        ("negative", (-5i32).to_be_bytes().to_vec()),
        ("above the limit", 1_000_001i32.to_be_bytes().to_vec()),
        ("empty", 0i32.to_be_bytes().to_vec()),
        ("short header", [4i32.to_be_bytes().as_slice(), &[0, 3, 0, 0]].concat()),
        ("unknown api", request(9999, 0, 1, &[])),
        ("unknown version", request(METADATA, 99, 1, &[])),
        ("body cut off", request(METADATA, 1, 1, &[0, 0])),
        ("2 billion topics", request(METADATA, 1, 1, &[0x7f, 0xff, 0xff, 0xff])),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("tls", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
    ]);
    for (what, bytes) in cases {
        let mut socket = connect(broker.address).await;
        socket.write_all(&bytes).await.expect("write");
        assert!(closed(&mut socket).await.is_empty(), "{what}: no reply");
        assert_alive(broker.address).await;
    }
    bystander
        .write_all(&request(API_VERSIONS, 0, 5, &[]))
        .await
        .expect("write");
    assert_eq!(reply(&mut bystander).await.0, 5);
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_before_a_malformed_one_are_answered() {
    let broker = start(&[]).await;
    let mut socket = connect(broker.address).await;
    let bytes = [
        request(API_VERSIONS, 0, 1, &[]),
        request(METADATA, 1, 2, &[0, 0, 0, 0]),
        request(METADATA, 1, 3, &[9]),
    ];
    socket.write_all(&bytes.concat()).await.expect("write");
    assert_eq!(reply(&mut socket).await.0, 1);
    assert_eq!(reply(&mut socket).await.0, 2);
    assert!(closed(&mut socket).await.is_empty());
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_versions_above_ours_is_answered_in_version_0() {
    // contract 11
    let broker = start(&[]).await;
    let mut socket = connect(broker.address).await;
    socket
        .write_all(&request(API_VERSIONS, 99, 8, &[1, 2, 3]))
        .await
        .expect("write");
    let (id, body) = reply(&mut socket).await;
    assert_eq!((id, &body[..2]), (8, [0, 35].as_slice()));
    // The connection goes on.
    socket
        .write_all(&request(API_VERSIONS, 0, 9, &[]))
        .await
        .expect("write");
    assert_eq!(reply(&mut socket).await.0, 9);
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limits_are_closed_at_once() {
    // contract 8
    let broker = start(&["max.connections=2"]).await;
    let mut first = connect(broker.address).await;
    first.write_all(&request(API_VERSIONS, 0, 1, &[])).await.expect("write");
    assert_eq!(reply(&mut first).await.0, 1);
    let mut second = connect(broker.address).await;
    second
        .write_all(&request(API_VERSIONS, 0, 2, &[]))
        .await
        .expect("write");
    assert_eq!(reply(&mut second).await.0, 2);
    let mut third = connect(broker.address).await;
    assert!(closed(&mut third).await.is_empty());
    let page = http(broker.running.http_address.expect("http is on"), "/metrics").await;
    assert!(
        page.contains("streamhouse_connections_refused_total{limit=\"max.connections\"} 1"),
        "{page}"
    );
    assert!(page.contains("\nstreamhouse_connections_open 2\n"), "{page}");
    // A place is free again once one has gone.
    drop(first);
    loop {
        let mut next = connect(broker.address).await;
        let sent = next.write_all(&request(API_VERSIONS, 0, 3, &[])).await;
        if sent.is_ok() && next.read_u32().await.is_ok() {
            break;
        }
    }
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_and_slow_requests_are_closed() {
    // contract 7
    let broker = start(&["connections.max.idle.ms=200", "request.read.timeout.ms=100"]).await;
    let mut idle = connect(broker.address).await;
    assert!(closed(&mut idle).await.is_empty());
    // A byte now and then does not keep a request alive.
    let mut slow = connect(broker.address).await;
    slow.write_all(&100_000i32.to_be_bytes()).await.expect("write");
    let (mut read, mut write) = slow.split();
    let mut rest = Vec::new();
    let dribble = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if write.write_all(&[0]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = read.read_to_end(&mut rest) => assert!(rest.is_empty()),
        () = dribble => unreachable!("it never ends"),
    }
    assert_alive(broker.address).await;
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_says_how_the_broker_is() {
    let broker = start(&[]).await;
    assert_alive(broker.address).await;
    let address = broker.running.http_address.expect("http is on");
    assert!(http(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(http(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let page = http(address, "/metrics").await;
    assert!(
        page.contains("streamhouse_requests_total{api=\"ApiVersions\"} 1"),
        "{page}"
    );
    assert!(
        page.contains("streamhouse_request_seconds_count{api=\"ApiVersions\"} 1"),
        "{page}"
    );
    assert!(page.contains("\nstreamhouse_storage_healthy 1\n"), "{page}");
    broker.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_and_a_directory_in_use_are_said_plainly() {
    let broker = start(&[]).await;
    let with = |assignments: Vec<String>| {
        let mut sources = Sources::default();
        for assignment in assignments {
            sources.push_assignment(&assignment).expect("an assignment");
        }
        BrokerConfig::new(sources).expect("a good configuration")
    };
    let other = tempfile::tempdir().expect("a directory");
    let same_port = with(vec![
        format!("listeners={}", broker.address),
        "http.listener=".to_owned(),
        format!("data.dir={}", other.path().display()),
    ]);
    let error = Running::start(same_port, Recorder::new())
        .await
        .err()
        .expect("the port is taken")
        .to_string();
    assert_eq!(
        error,
        format!("cannot listen on {}: another process uses that port", broker.address)
    );
    let same_dir = with(vec![
        "listeners=127.0.0.1:0".to_owned(),
        "http.listener=".to_owned(),
        format!("data.dir={}", broker._dir.path().display()),
    ]);
    let error = Running::start(same_dir, Recorder::new())
        .await
        .err()
        .expect("the directory is taken")
        .to_string();
    assert!(error.starts_with("cannot open the data directory "), "{error}");
    assert_alive(broker.address).await;
    broker.running.stop().await;
}

/// A Fetch v4 of partition 0 from offset 0 that waits a minute for one byte.
fn parked_fetch(correlation_id: i32, topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [-1i32, 60_000, 1, 1 << 20] {
        body.extend(number.to_be_bytes());
    }
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(0i64.to_be_bytes());
    body.extend((1i32 << 20).to_be_bytes());
    request(FETCH, 4, correlation_id, &body)
}

async fn create_topic(broker: &Started, name: &str) {
    let partitions = broker.running.broker.partitions.clone();
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: 1,
        configs: BTreeMap::new(),
    };
    let created = tokio::task::spawn_blocking(move || partitions.create(vec![topic], false))
        .await
        .expect("no panic");
    assert!(created.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_fetch_holds_its_place_and_is_answered_when_the_broker_stops() {
    // contract 1, 2, 7
    let broker = start(&["connections.max.idle.ms=300"]).await;
    create_topic(&broker, "t").await;
    let mut socket = connect(broker.address).await;
    let bytes = [parked_fetch(1, "t"), request(API_VERSIONS, 0, 2, &[])].concat();
    socket.write_all(&bytes).await.expect("write");
    // The request behind it was taken in while the fetch waits; the connection is not idle meanwhile.
    let address = broker.running.http_address.expect("http is on");
    while !http(address, "/metrics")
        .await
        .contains("streamhouse_requests_total{api=\"ApiVersions\"} 1")
    {}
    let mut idle = connect(broker.address).await;
    assert!(
        closed(&mut idle).await.is_empty(),
        "one that asks nothing is closed in that time"
    );
    broker.running.stop().await;
    assert_eq!(reply(&mut socket).await.0, 1);
    assert_eq!(reply(&mut socket).await.0, 2);
    assert!(closed(&mut socket).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_closes_connections_and_frees_port_and_directory() {
    let broker = start(&[]).await;
    let mut socket = connect(broker.address).await;
    socket
        .write_all(&request(API_VERSIONS, 0, 1, &[]))
        .await
        .expect("write");
    assert_eq!(reply(&mut socket).await.0, 1);
    let (address, dir) = (broker.address, broker._dir);
    broker.running.stop().await;
    assert!(closed(&mut socket).await.is_empty());
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let mut sources = Sources::default();
    for assignment in [
        format!("listeners={address}"),
        "http.listener=".to_owned(),
        format!("data.dir={}", dir.path().display()),
    ] {
        sources.push_assignment(&assignment).expect("an assignment");
    }
    let config = BrokerConfig::new(sources).expect("a good configuration");
    let again = Running::start(config, Recorder::new())
        .await
        .expect("port and directory are free");
    assert_alive(address).await;
    again.stop().await;
}
