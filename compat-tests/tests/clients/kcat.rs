//! Debian's `kcat`: librdkafka 2.0.2, of an earlier generation than the crate's.

use streamhouse_compat_tests::kcat::{kcat, try_kcat};
use streamhouse_compat_tests::{Broker, RawClient};

use super::CODECS;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn produce_and_consume_with_every_codec() {
    let broker = Broker::start();
    let at = broker.bootstrap();
    let lines: String = (0..5_000)
        .map(|i| format!("line {i} {}\n", "words ".repeat(i % 7)))
        .collect();
    for codec in CODECS {
        for acks in ["1", "all"] {
            let topic = format!("{codec}-{acks}");
            let acks = format!("acks={acks}");
            kcat(&at, &["-P", "-t", &topic, "-z", codec, "-X", &acks], lines.as_bytes());
            let back = kcat(&at, &["-C", "-q", "-e", "-t", &topic, "-X", "check.crcs=true"], b"");
            assert!(
                back == lines.as_bytes(),
                "{topic}: {} bytes instead of {}",
                back.len(),
                lines.len()
            );
        }
    }
}

#[test]
fn idempotence() {
    let broker = Broker::start();
    let at = broker.bootstrap();
    let lines: String = (0..1_000).map(|i| format!("{i}\n")).collect();
    kcat(
        &at,
        &["-P", "-t", "t", "-X", "enable.idempotence=true"],
        lines.as_bytes(),
    );
    assert_eq!(text(kcat(&at, &["-C", "-q", "-e", "-t", "t"], b"")), lines);
}

#[test]
fn keys_headers_and_formats() {
    let broker = Broker::start();
    let at = broker.bootstrap();
    kcat(
        &at,
        &[
            "-P", "-t", "t", "-p", "0", "-K", ":", "-Z", "-H", "one=1", "-H", "two=2",
        ],
        b"a:first\nb:\n",
    );
    let printed = kcat(&at, &["-C", "-q", "-e", "-t", "t", "-f", "%t %p %o %k=%s %S %h\n"], b"");
    assert_eq!(text(printed), "t 0 0 a=first 5 one=1,two=2\nt 0 1 b= -1 one=1,two=2\n");
}

#[test]
fn list_shows_brokers_topics_and_partitions() {
    let broker = Broker::start();
    RawClient::connect(broker.kafka_addr()).create_topic("listed", 3);
    let printed = text(kcat(&broker.bootstrap(), &["-L"], b""));
    assert!(
        printed.contains(&format!("broker 0 at {}", broker.bootstrap())),
        "{printed}"
    );
    assert!(printed.contains("topic \"listed\" with 3 partitions:"), "{printed}");
    for partition in 0..3 {
        let line = format!("partition {partition}, leader 0, replicas: 0, isrs: 0");
        assert!(printed.contains(&line), "{printed}");
    }
    let json = text(kcat(&broker.bootstrap(), &["-L", "-J"], b""));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["topics"][0]["topic"], "listed");
}

#[test]
fn query_finds_offsets_by_time() {
    // contract 59
    let broker = Broker::start();
    let mut raw = RawClient::connect(broker.kafka_addr());
    raw.create_topic_with("t", 1, &[("retention.ms", "-1")]);
    for i in 0..10 {
        let batch = streamhouse_compat_tests::records::BatchSpec::of(&["x"]).base_timestamp(1_000_000 + i * 1000);
        raw.produce_ok("t", 0, batch.encode());
    }
    for (time, expected) in [
        ("1004000", "t [0] offset 4"),
        ("1004001", "t [0] offset 5"),
        ("-1", "t [0] offset 10"),
        ("-2", "t [0] offset 0"),
    ] {
        let printed = text(kcat(&broker.bootstrap(), &["-Q", "-t", &format!("t:0:{time}")], b""));
        assert_eq!(printed.trim(), expected, "at {time}");
    }
}

#[test]
fn consume_a_window() {
    let broker = Broker::start();
    let at = broker.bootstrap();
    let lines: String = (0..100).map(|i| format!("{i}\n")).collect();
    kcat(&at, &["-P", "-t", "t", "-p", "0"], lines.as_bytes());
    assert_eq!(
        text(kcat(&at, &["-C", "-q", "-e", "-t", "t", "-p", "0", "-o", "97"], b"")),
        "97\n98\n99\n"
    );
    assert_eq!(
        text(kcat(&at, &["-C", "-q", "-e", "-t", "t", "-p", "0", "-o", "-2"], b"")),
        "98\n99\n"
    );
    assert_eq!(
        text(kcat(
            &at,
            &["-C", "-q", "-t", "t", "-p", "0", "-o", "5", "-c", "2"],
            b""
        )),
        "5\n6\n"
    );
}

#[test]
fn large_lines_over_many_partitions() {
    let broker = Broker::builder().set("num.partitions", 4).start();
    let at = broker.bootstrap();
    let lines: Vec<String> = (0..200).map(|i| format!("{i} {}", "x".repeat(i * 400))).collect();
    kcat(
        &at,
        &["-P", "-t", "t", "-X", "acks=all"],
        (lines.join("\n") + "\n").as_bytes(),
    );
    let back = text(kcat(&at, &["-C", "-q", "-e", "-t", "t"], b""));
    let mut back: Vec<&str> = back.lines().collect();
    back.sort_unstable();
    let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert!(back == expected, "{} lines instead of {}", back.len(), expected.len());
}

#[test]
fn an_unknown_topic_is_an_error_when_nobody_creates_it() {
    let broker = Broker::builder().set("auto.create.topics.enable", false).start();
    let output = try_kcat(&broker.bootstrap(), &["-C", "-e", "-t", "absent"], b"");
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("Unknown topic"),
        "{output:?}"
    );
}
