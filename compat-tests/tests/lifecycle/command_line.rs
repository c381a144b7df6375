//! The command line, the ready line and the configuration.

use std::process::Output;

use kafka_protocol::messages::MetadataRequest;
use streamhouse_compat_tests::harness::{binary_command, write_file};
use streamhouse_compat_tests::ops::code;
use streamhouse_compat_tests::{Broker, eventually};

use super::connect;

fn run(args: &[&str]) -> Output {
    binary_command().args(args).output().expect("the binary runs")
}

fn both_streams(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn version() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("streamhouse ") && text.contains(env!("CARGO_PKG_VERSION")),
        "{text:?}"
    );
}

#[test]
fn help_names_the_command_and_its_options() {
    let text = both_streams(&run(&["--help"]));
    assert!(text.contains("serve"), "{text}");
    let text = both_streams(&run(&["serve", "--help"]));
    for option in ["--data-dir", "--listener", "--http-listener", "--config", "--set"] {
        assert!(text.contains(option), "{option} is not in\n{text}");
    }
}

#[test]
fn port_0_picks_free_ports_and_the_ready_line_tells_them() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let brokers: Vec<Broker> = (0..3).map(|_| Broker::builder().listen(any, any).start()).collect();
    for broker in &brokers {
        assert!(
            broker.kafka_addr().port() != 0 && broker.http_addr().port() != 0,
            "{}",
            broker.ready_line()
        );
        let metadata = connect(broker).call(9, &MetadataRequest::default());
        assert_eq!(
            metadata.brokers[0].port,
            i32::from(broker.kafka_addr().port()),
            "clients are told the real port"
        );
        assert!(
            broker.ready_line().starts_with("StreamHouse "),
            "{}",
            broker.ready_line()
        );
    }
}

#[test]
fn bad_values_are_refused_with_key_value_and_range() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data_dir = dir.path().join("data");
    for (key, value) in [
        ("num.partitions", "0"),
        ("num.partitions", "many"),
        ("log.retention.check.interval.ms", "-5"),
        ("durability", "hope"),
        ("auto.create.topics.enable", "perhaps"),
        ("log.segment.bytes", "1"),
    ] {
        let set = format!("{key}={value}");
        let data_dir = data_dir.to_str().expect("UTF-8");
        let output = run(&[
            "serve",
            "--data-dir",
            data_dir,
            "--listener",
            "127.0.0.1:0",
            "--set",
            &set,
        ]);
        let text = both_streams(&output);
        assert_eq!(output.status.code(), Some(2), "{set}: {text}");
        assert!(text.contains(key) && text.contains(value), "{set}: {text}");
        assert!(
            text.contains("from") || text.contains("one of") || text.contains("true"),
            "{set} names no range: {text}"
        );
    }
    assert!(!data_dir.exists(), "nothing is made before the configuration is right");
}

#[test]
fn unknown_keys_and_malformed_settings_are_refused() {
    for set in ["no.such.key=1", "num.partitions", "=1"] {
        let output = run(&["serve", "--listener", "127.0.0.1:0", "--set", set]);
        let text = both_streams(&output);
        assert_eq!(output.status.code(), Some(2), "{set}: {text}");
        assert!(text.contains("--set") || text.contains("key"), "{set}: {text}");
    }
    assert_eq!(run(&["serve", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(run(&["serve", "--listener", "nowhere"]).status.code(), Some(2));
}

#[test]
fn a_file_configures_and_the_command_line_wins() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("streamhouse.toml");
    write_file(&file, b"\"num.partitions\" = 3\n\"auto.create.topics.enable\" = true\n");
    let path = file.to_str().expect("UTF-8");
    for (set, expected) in [(None, 3), (Some(5), 5)] {
        let mut builder = Broker::builder().arg("--config").arg(path);
        if let Some(partitions) = set {
            builder = builder.set("num.partitions", partitions);
        }
        let broker = builder.start();
        let mut client = connect(&broker);
        client.create_topic("t", -1);
        assert_eq!(client.describe_topic("t").partitions.len(), expected);
    }
    write_file(&file, b"\"num.partitions\" = \"x\"\n");
    let output = run(&["serve", "--listener", "127.0.0.1:0", "--config", path]);
    let text = both_streams(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("num.partitions") && text.contains(path), "{text}");
    let output = run(&["serve", "--listener", "127.0.0.1:0", "--config", "/no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(both_streams(&output).contains("/no/such/file.toml"));
}

#[test]
fn the_port_is_taken() {
    let first = Broker::start();
    let free = "127.0.0.1:0".parse().expect("an address");
    let failure = Broker::builder()
        .listen(first.kafka_addr(), free)
        .try_start()
        .expect_err("the port is taken");
    assert!(!failure.status.success());
    assert!(
        failure.output.contains(&first.kafka_addr().to_string()),
        "{}",
        failure.output
    );
}

#[test]
fn clients_are_told_the_advertised_listener() {
    // contract 22
    let broker = Broker::builder()
        .set("advertised.listeners", "PLAINTEXT://broker.example:19092")
        .start();
    let metadata = connect(&broker).call(9, &MetadataRequest::default());
    assert_eq!(
        (&*metadata.brokers[0].host, metadata.brokers[0].port),
        ("broker.example", 19092)
    );
    assert_eq!(metadata.error_code, code::NONE);
}

#[test]
fn logs_may_be_json() {
    let broker = Broker::builder().set("log.format", "json").start();
    connect(&broker).create_topic("t", 1);
    let log = eventually("the line about the topic", || {
        Some(broker.log()).filter(|log| log.contains("topic created"))
    });
    let lines = log.lines().filter(|line| !line.starts_with("StreamHouse "));
    for line in lines {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{line:?}");
    }
}
