//! The data directory: one broker at a time, not of a newer format, and everything there after any kind of stop.

use std::path::{Path, PathBuf};

use streamhouse_compat_tests::Broker;
use streamhouse_compat_tests::ops::{LATEST, code};
use streamhouse_compat_tests::records::{BatchSpec, Codec};

use super::connect;

#[test]
fn a_second_broker_on_the_same_data_is_refused() {
    let first = Broker::start();
    let mut client = connect(&first);
    client.create_topic("t", 1);
    let failure = Broker::builder()
        .data_dir(first.data_dir())
        .try_start()
        .expect_err("the directory is in use");
    assert!(!failure.status.success());
    let dir = first.data_dir().to_str().expect("UTF-8");
    assert!(
        failure.output.contains(dir),
        "the message names the directory: {}",
        failure.output
    );
    assert!(
        failure.output.contains("another"),
        "the message says why: {}",
        failure.output
    );
    assert!(!failure.output.contains("panicked"), "{}", failure.output);
    assert_eq!(
        client.produce_ok("t", 0, BatchSpec::of(&["the first is unharmed"]).encode()),
        0
    );
}

#[test]
fn two_brokers_side_by_side() {
    let (first, second) = (Broker::start(), Broker::start());
    connect(&first).create_topic("t", 1);
    assert_eq!(
        connect(&second).describe_topic("t").error_code,
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
}

/// All files below `dir` with their contents.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory").flatten() {
            match entry.file_type().expect("a type").is_dir() {
                true => dirs.push(entry.path()),
                false => files.push((entry.path(), std::fs::read(entry.path()).expect("a file"))),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_touched() {
    let mut broker = Broker::start();
    connect(&broker).create_topic("t", 1);
    assert!(broker.terminate().success());
    // The directory states its format in one small file of text; a higher number is a newer release's.
    let file = broker.data_dir().join("format");
    let text = std::fs::read_to_string(&file).expect("the format file is text");
    let current: String = text.chars().filter(char::is_ascii_digit).collect();
    assert!(!current.is_empty(), "{text:?} has no number");
    let newer = text.replacen(&current, "999", 1);
    std::fs::write(&file, newer).expect("writable");
    let before = contents(broker.data_dir());
    let failure = Broker::builder()
        .data_dir(broker.data_dir())
        .try_start()
        .expect_err("the format is newer");
    assert!(!failure.status.success());
    assert!(
        failure.output.contains("999"),
        "the message names the format: {}",
        failure.output
    );
    assert!(!failure.output.contains("panicked"), "{}", failure.output);
    assert!(contents(broker.data_dir()) == before, "files were changed");
    std::fs::write(&file, text).expect("writable");
    broker.restart();
    assert_eq!(connect(&broker).describe_topic("t").error_code, code::NONE);
}

#[test]
fn everything_is_there_after_any_stop() {
    let mut broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("t", 4);
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); 4];
    for round in 0..4 {
        for i in 0..40usize {
            let value = format!("{round}/{i} {}", "y".repeat(i * i * 40));
            let codec = Codec::ALL[i % 5];
            let batch = BatchSpec::of(&[&value]).codec(codec).encode();
            assert_eq!(
                client
                    .produce("t", (i % 4) as i32, if i % 3 == 0 { 1 } else { -1 }, batch)
                    .error_code,
                code::NONE
            );
            expected[i % 4].push(value);
        }
        match round % 2 {
            0 => broker.kill9(),
            _ => assert!(broker.terminate().success()),
        }
        broker.restart();
        client = connect(&broker);
        for (partition, expected) in (0..).zip(&expected) {
            assert_eq!(client.list_offset("t", partition, LATEST).2, expected.len() as i64);
            let found: Vec<String> = client
                .read_all("t", partition, 0)
                .iter()
                .map(|record| record.text())
                .collect();
            assert!(&found == expected, "round {round}, partition {partition}");
        }
    }
}

#[test]
fn killed_again_and_again_before_it_is_ready() {
    // A start may be cut short at any moment: twenty kills, each a little later, then everything is there.
    let mut broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("t", 8);
    for i in 0..400 {
        assert_eq!(
            client
                .produce("t", i % 8, 1, BatchSpec::of(&[&i.to_string()]).encode())
                .error_code,
            code::NONE
        );
    }
    broker.kill9();
    for step in 0..20 {
        let mut command = streamhouse_compat_tests::harness::binary_command();
        command.args([
            "serve",
            "--listener",
            "127.0.0.1:0",
            "--http-listener",
            "127.0.0.1:0",
            "--data-dir",
        ]);
        command
            .arg(broker.data_dir())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = streamhouse_compat_tests::harness::spawn_with_us(command).expect("the binary runs");
        // The moment of the kill is what the test varies.
        std::thread::sleep(std::time::Duration::from_millis(step * 4));
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be reaped");
    }
    broker.restart();
    let mut client = connect(&broker);
    for partition in 0..8 {
        let found: Vec<String> = client
            .read_all("t", partition, 0)
            .iter()
            .map(|record| record.text())
            .collect();
        let expected: Vec<String> = (0..50).map(|i| (i * 8 + partition).to_string()).collect();
        assert_eq!(found, expected, "partition {partition}");
    }
}
