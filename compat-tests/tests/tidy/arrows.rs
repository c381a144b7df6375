//! Which crate may know which, and who may ask what time it is.

use std::collections::BTreeSet;
use std::fs;

use crate::files::{Complaints, SourceFile, files, root};

/// Files of the product that may ask what time it is, and why.
const MAY_READ_THE_CLOCK: &[(&str, &str)] = &[
    (
        "broker/src/clock.rs",
        "the one that everybody else of the broker is told by",
    ),
    (
        "storage/src/engine.rs",
        "the real environment, which tests replace by their own",
    ),
    (
        "storage/src/housekeeping.rs",
        "the tick of its thread; what is decided by the time gets it as an argument",
    ),
    (
        "storage/src/journal/mod.rs",
        "the deadline of the flush, and durations for metrics",
    ),
    ("storage/src/checkpoint.rs", "durations for metrics"),
    ("storage/src/log/io.rs", "durations for metrics"),
];

#[test]
fn only_the_clock_reads_the_time() {
    let (mut complaints, mut needed) = (Complaints::default(), BTreeSet::new());
    for file in files().iter().filter(|file| file.is_product()) {
        for (at, line) in file.product_lines() {
            if line.contains("SystemTime::now") || line.contains("Instant::now") {
                needed.insert(file.path.clone());
                if !MAY_READ_THE_CLOCK.iter().any(|(path, _)| *path == file.path) {
                    complaints.add(format_args!("{}:{at}: {}", file.path, line.trim()));
                }
            }
        }
    }
    complaints.unneeded(MAY_READ_THE_CLOCK.iter().map(|(path, _)| (*path).to_owned()), &needed);
    complaints.none("time is an argument");
}

#[test]
fn storage_knows_nothing_of_the_wire() {
    let words = [
        "kafka_protocol",
        "ErrorCode",
        "streamhouse::",
        "protocol::api",
        "protocol::produce",
        "protocol::fetch",
    ];
    complain_about(&words, |file| file.path.starts_with("storage/src/"))
        .none("storage → protocol::{batch, types} only");
    only_dependencies("storage", &["kafka-protocol", "streamhouse", "hyper", "clap"]);
}

#[test]
fn protocol_does_no_io() {
    let words = [
        "std::fs",
        "std::net",
        "tokio",
        "SystemTime",
        "Instant",
        "std::thread",
        "storage::",
    ];
    complain_about(&words, |file| file.path.starts_with("protocol/src/"))
        .none("protocol: bytes to types, no IO, no clocks");
    only_dependencies(
        "protocol",
        &["tokio", "storage", "streamhouse", "rocksdb", "rustix", "libc"],
    );
}

#[test]
fn the_broker_leaves_disk_bytes_to_storage() {
    complain_about(&["rocksdb", "O_DIRECT", "fdatasync("], |file| {
        file.path.starts_with("broker/src/")
    })
    .none("broker: no bytes on disk");
    only_dependencies("broker", &["rocksdb", "rdkafka"]);
}

#[test]
fn compat_tests_reach_the_broker_through_the_socket_only() {
    let words = [
        concat!("use stor", "age::"),
        concat!("use stream", "house::"),
        concat!("streamhouse_stor", "age"),
    ];
    complain_about(&words, |file| file.path.starts_with("compat-tests/"))
        .none("compat-tests → the socket, and protocol for raw frames");
    only_dependencies("compat-tests", &["storage", "streamhouse", "rocksdb"]);
}

/// Lines that ship or, in test crates, all lines that are code, with one of `words` in them.
pub(crate) fn complain_about(words: &[&str], of_interest: impl Fn(&SourceFile) -> bool) -> Complaints {
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.is_rust() && of_interest(file)) {
        for (at, line) in file.product_lines() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                complaints.add(format_args!("{}:{at}: {word}", file.path));
            }
        }
    }
    complaints
}

/// A crate's dependencies (those of its tests aside) are none of `forbidden`.
fn only_dependencies(package: &str, forbidden: &[&str]) {
    let mut complaints = Complaints::default();
    for name in dependencies(package, "dependencies")
        .iter()
        .filter(|name| forbidden.contains(&name.as_str()))
    {
        complaints.add(format_args!("{package}/Cargo.toml: {name}"));
    }
    complaints.none("the arrows between the crates");
}

/// Names in a table of a crate's manifest.
fn dependencies(package: &str, table: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("every crate has one");
    let table = format!("{table}]");
    let section = manifest
        .split("\n[")
        .find_map(|part| part.strip_prefix(&table))
        .unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// A dependency is used, and ARCHITECTURE.md says what for.
#[test]
fn every_dependency_has_a_reason() {
    let files = files();
    let reasons = files
        .iter()
        .find(|file| file.path == "ARCHITECTURE.md")
        .map_or("", |file| file.text.as_str());
    let reasons = reasons
        .split("## Dependencies")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .unwrap_or_default();
    let mut complaints = Complaints::default();
    let mut all = BTreeSet::new();
    for package in ["protocol", "storage", "broker", "compat-tests"] {
        for table in ["dependencies", "dev-dependencies"] {
            for name in dependencies(package, table) {
                let word = name.replace('-', "_");
                let in_package = files
                    .iter()
                    .filter(|file| file.is_rust() && file.path.starts_with(&format!("{package}/")));
                let uses = |text: &str| {
                    [format!("{word}::"), format!("use {word};")]
                        .iter()
                        .any(|using| text.contains(using))
                };
                if !in_package.into_iter().any(|file| uses(&file.text)) {
                    complaints.add(format_args!("{package}/Cargo.toml: {name} is not used"));
                }
                all.insert(name);
            }
        }
    }
    for name in all
        .iter()
        .filter(|name| !["protocol", "storage"].contains(&name.as_str()))
    {
        if !reasons.contains(&format!("`{name}`")) {
            complaints.add(format_args!("ARCHITECTURE.md does not say why {name} is there"));
        }
    }
    complaints.none("every dependency has a use and a reason");
}
