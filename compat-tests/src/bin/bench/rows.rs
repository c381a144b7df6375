//! The rows of the benchmark: what is done to one broker, and the numbers that come out.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use streamhouse_compat_tests::java::Java;
use streamhouse_compat_tests::ops::{LATEST, code, list_offsets_request};
use streamhouse_compat_tests::wire::encode_batch;
use streamhouse_compat_tests::{Broker, RawClient, ops, records};

use crate::load::{FetchLoad, Measured, ProduceLoad, fetch_all, produce};
use crate::process::{rss_bytes, sync_disks};
use crate::target::{Kind, Target};
use crate::{commits, groups};

/// A row's name on the command line, and what it does.
pub(crate) const ROWS: [(&str, &str); 13] = [
    ("start", "start on an empty directory, idle memory"),
    (
        "large",
        "produce 1 MiB requests, acks=1, 2 connections × 5 in flight, 4 partitions",
    ),
    ("large-durable", "the same, fsynced before each answer"),
    (
        "medium",
        "produce 100×100 B requests, acks=1, 4 connections × 5 in flight, 4 partitions",
    ),
    (
        "small",
        "produce 1×100 B, fsynced before each answer, 16 connections × 5 in flight, 4 and 1,000 partitions",
    ),
    (
        "small-many",
        "produce 1×100 B, fsynced before each answer, 64 connections × 5 in flight, 16 partitions",
    ),
    ("latency", "produce 1×100 B, one in flight, acks=1"),
    (
        "fetch",
        "fetch what 1 MiB requests produced, 2 connections, 4 partitions",
    ),
    (
        "commits",
        "offset commits, one in flight on each of 16 and 64 connections, five on 16; each a group of its own",
    ),
    (
        "commits-durable",
        "the same, fsynced before each answer (Kafka: `flush.messages=1` on __consumer_offsets)",
    ),
    ("join", "1,000 members join one group, initial delay 0"),
    (
        "groups",
        "10,000 groups × 3 members × 100 offsets: time to build, memory, start after kill -9",
    ),
    (
        "partitions",
        "10,000 partitions with a record each: memory, start after kill -9, metrics page (StreamHouse only)",
    ),
];

/// One number: row, what it is, its unit.
pub(crate) type Sample = (&'static str, &'static str, &'static str, f64);

/// What all rows need to know.
pub(crate) struct Settings<'a> {
    pub(crate) rows: &'a [String],
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) most_bytes: u64,
    pub(crate) java: Option<&'a Java>,
}

/// Runs the chosen rows on a fresh broker of this kind in `dir`, which is deleted afterwards.
pub(crate) fn run(kind: Kind, dir: &Path, settings: &Settings<'_>) -> Result<Vec<Sample>, String> {
    let wanted = |row: &str| settings.rows.iter().any(|r| r == row);
    let mut samples = Vec::new();
    if wanted("start") || ON_ONE_BROKER.iter().any(|(row, _)| wanted(row)) {
        let dir = dir.join("rows");
        let (target, took) = Target::start(kind, &dir, settings.java, &[])?;
        if wanted("start") {
            samples.push(("start", "start on an empty directory", "s", took.as_secs_f64()));
            std::thread::sleep(Duration::from_secs(1));
            samples.push(("start", "memory, idle", "MiB", rss_bytes(target.pid()) / 1_048_576.0));
        }
        let bench = Bench {
            target: &target,
            settings,
        };
        for (row, run) in ON_ONE_BROKER {
            if wanted(row) {
                samples.extend(run(&bench).map_err(|e| format!("{row} on {kind:?}: {e}"))?);
            }
        }
        drop(target);
        std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    for (row, run) in ON_A_BROKER_OF_THEIR_OWN {
        if wanted(row) {
            let dir = dir.join(row);
            samples.extend(run(kind, &dir, settings).map_err(|e| format!("{row} on {kind:?}: {e}"))?);
            std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
    }
    if wanted("partitions") && kind == Kind::StreamHouse {
        let dir = dir.join("partitions");
        samples.extend(many_partitions(&dir).map_err(|e| format!("partitions: {e}"))?);
        std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    Ok(samples)
}

type RowFn = fn(&Bench<'_>) -> io::Result<Vec<Sample>>;

/// The commits come last: they end with another configuration of Kafka.
const ON_ONE_BROKER: [(&str, RowFn); 9] = [
    ("large", large),
    ("large-durable", large_durable),
    ("medium", medium),
    ("small", small),
    ("small-many", small_many),
    ("latency", latency),
    ("fetch", fetch),
    ("commits", commits::with_defaults),
    ("commits-durable", commits::durable),
];

type OwnBrokerRowFn = fn(Kind, &Path, &Settings<'_>) -> Result<Vec<Sample>, String>;

const ON_A_BROKER_OF_THEIR_OWN: [(&str, OwnBrokerRowFn); 2] =
    [("join", groups::join_one_group), ("groups", groups::many_groups)];

/// What a row has at hand.
pub(crate) struct Bench<'a> {
    pub(crate) target: &'a Target,
    pub(crate) settings: &'a Settings<'a>,
}

impl Bench<'_> {
    /// Runs one load on a topic of its own, which is deleted and written out before the next.
    fn produce(&self, topic: &str, durable: bool, load: impl FnOnce(&mut ProduceLoad<'_>)) -> io::Result<Measured> {
        let mut all = ProduceLoad {
            addr: self.target.addr(),
            pid: self.target.pid(),
            topic,
            partitions: 4,
            // Kafka with one replica answers acks=1 and acks=all alike: `flush.messages=1` is what makes it durable.
            acks: if durable { -1 } else { 1 },
            connections: 4,
            in_flight: 5,
            records: 1,
            record_bytes: 100,
            warm_up: self.settings.warm_up,
            duration: self.settings.duration,
            most_bytes: self.settings.most_bytes,
        };
        load(&mut all);
        self.target.create_topic(topic, all.partitions, durable);
        sync_disks();
        let measured = produce(&all)?;
        self.target.delete_topic(topic);
        Ok(measured)
    }
}

fn one_mebibyte(load: &mut ProduceLoad<'_>) {
    (load.connections, load.records, load.record_bytes) = (2, 1_000, 1_024);
}

fn large(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let measured = bench.produce("bench-large", false, one_mebibyte)?;
    Ok(vec![
        ("large", "1 MiB requests, acks=1", "MiB/s", measured.mib_per_second()),
        (
            "large",
            "1 MiB requests, acks=1: broker CPU",
            "s/GiB",
            measured.cpu_seconds_per_gib(),
        ),
    ])
}

fn large_durable(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let measured = bench.produce("bench-large-durable", true, one_mebibyte)?;
    Ok(vec![
        (
            "large-durable",
            "1 MiB requests, fsynced",
            "MiB/s",
            measured.mib_per_second(),
        ),
        (
            "large-durable",
            "1 MiB requests, fsynced: broker CPU",
            "s/GiB",
            measured.cpu_seconds_per_gib(),
        ),
    ])
}

fn medium(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let measured = bench.produce("bench-medium", false, |load| load.records = 100)?;
    Ok(vec![
        (
            "medium",
            "100×100 B requests, 4 connections",
            "requests/s",
            measured.requests_per_second(),
        ),
        (
            "medium",
            "100×100 B requests: broker CPU",
            "µs/request",
            measured.cpu_us_per_request(),
        ),
    ])
}

fn small(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let few = bench.produce("bench-small", true, |load| load.connections = 16)?;
    let many = bench.produce("bench-small-1000", true, |load| {
        (load.connections, load.partitions) = (16, 1_000)
    })?;
    let (few_rate, many_rate) = (few.requests_per_second(), many.requests_per_second());
    Ok(vec![
        (
            "small",
            "1×100 B fsynced, 16 connections, 4 partitions",
            "records/s",
            few_rate,
        ),
        (
            "small",
            "1×100 B fsynced, 16 connections, 4 partitions: broker CPU",
            "µs/record",
            few.cpu_us_per_request(),
        ),
        (
            "small",
            "1×100 B fsynced, 16 connections, 1,000 partitions",
            "records/s",
            many_rate,
        ),
        ("small", "1,000 partitions against 4", "×", many_rate / few_rate),
    ])
}

fn small_many(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let load = |load: &mut ProduceLoad<'_>| (load.connections, load.partitions) = (64, 16);
    let measured = bench.produce("bench-small-many", true, load)?;
    Ok(vec![
        (
            "small-many",
            "1×100 B fsynced, 64 connections, 16 partitions",
            "records/s",
            measured.requests_per_second(),
        ),
        (
            "small-many",
            "1×100 B fsynced, 64 connections: broker CPU",
            "µs/record",
            measured.cpu_us_per_request(),
        ),
        (
            "small-many",
            "1×100 B fsynced, 64 connections: p99",
            "ms",
            measured.latency_ms(0.99),
        ),
    ])
}

fn latency(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let measured = bench.produce("bench-latency", false, |load| {
        (load.connections, load.in_flight) = (1, 1)
    })?;
    Ok(vec![
        (
            "latency",
            "1×100 B, one in flight, acks=1: p50",
            "ms",
            measured.latency_ms(0.5),
        ),
        (
            "latency",
            "1×100 B, one in flight, acks=1: p99",
            "ms",
            measured.latency_ms(0.99),
        ),
    ])
}

/// Produces a gibibyte, then reads it: once as it lies there, and again until the time is over.
fn fetch(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let (addr, pid, topic, partitions) = (bench.target.addr(), bench.target.pid(), "bench-fetch", 4);
    bench.target.create_topic(topic, partitions, false);
    let load = ProduceLoad {
        addr,
        pid,
        topic,
        partitions,
        acks: 1,
        connections: 2,
        in_flight: 5,
        records: 1_000,
        record_bytes: 1_024,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(600),
        most_bytes: bench.settings.most_bytes.min(1 << 30),
    };
    produce(&load)?;
    sync_disks();
    let load = FetchLoad {
        addr,
        pid,
        topic,
        partitions,
        connections: 2,
    };
    let first = fetch_all(&load)?;
    let mut again = Measured::default();
    while again.seconds < bench.settings.duration.as_secs_f64() {
        let pass = fetch_all(&load)?;
        again.bytes += pass.bytes;
        again.seconds += pass.seconds;
        again.broker_cpu_seconds += pass.broker_cpu_seconds;
    }
    bench.target.delete_topic(topic);
    Ok(vec![
        (
            "fetch",
            "fetch, first read after producing",
            "MiB/s",
            first.mib_per_second(),
        ),
        ("fetch", "fetch, read again", "MiB/s", again.mib_per_second()),
        (
            "fetch",
            "fetch, read again: broker CPU",
            "s/GiB",
            again.cpu_seconds_per_gib(),
        ),
    ])
}

const TOPICS: usize = 10;
const PARTITIONS_PER_TOPIC: i32 = 1_000;

fn many_partitions(dir: &Path) -> io::Result<Vec<Sample>> {
    let all = TOPICS as f64 * f64::from(PARTITIONS_PER_TOPIC);
    let mut broker = Broker::builder().data_dir(dir).start();
    let before = rss_bytes(broker.pid());
    let mut client = RawClient::connect(broker.kafka_addr());
    let value = [7u8; 100];
    let batch: bytes::Bytes = encode_batch([&value[..]], None, records::now_ms()).into();
    for topic in (0..TOPICS).map(topic_name) {
        client.create_topic(&topic, PARTITIONS_PER_TOPIC);
        for first in (0..PARTITIONS_PER_TOPIC).step_by(100) {
            let batches: Vec<_> = (first..first + 100)
                .map(|partition| (partition, batch.clone()))
                .collect();
            let reply = client.call(9, &ops::produce_request(&topic, -1, &batches));
            let refused = reply
                .responses
                .iter()
                .flat_map(|t| &t.partition_responses)
                .find(|p| p.error_code != 0);
            if let Some(refused) = refused {
                return Err(io::Error::other(format!("produce to {topic}: {refused:?}")));
            }
        }
    }
    // What was busy a moment ago gets the time to become quiet.
    std::thread::sleep(Duration::from_secs(5));
    let memory = (rss_bytes(broker.pid()) - before) / all;

    let mut pages = Vec::new();
    let mut series = 0;
    for _ in 0..5 {
        let asked = Instant::now();
        let (status, page) = broker.http_get("/metrics");
        pages.push(asked.elapsed().as_secs_f64() * 1000.0);
        if status != 200 {
            return Err(io::Error::other(format!("/metrics answers {status}")));
        }
        series = page
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .count();
    }
    pages.sort_by(f64::total_cmp);

    broker.kill9();
    let killed = Instant::now();
    broker.restart();
    all_there(&mut RawClient::connect(broker.kafka_addr()))?;
    let restart = killed.elapsed().as_secs_f64();
    Ok(vec![
        (
            "partitions",
            "memory a partition, 10,000 with a record each",
            "KiB",
            memory / 1024.0,
        ),
        (
            "partitions",
            "metrics page, 10,000 partitions",
            "ms",
            pages[pages.len() / 2],
        ),
        (
            "partitions",
            "metrics page, 10,000 partitions: series",
            "",
            series as f64,
        ),
        ("partitions", "start after kill -9, 10,000 partitions", "s", restart),
    ])
}

fn topic_name(index: usize) -> String {
    format!("bench-partitions-{index}")
}

/// The restart counts when every topic answers, with the record that was acknowledged.
fn all_there(client: &mut RawClient) -> io::Result<()> {
    for topic in (0..TOPICS).map(topic_name) {
        let reply = client.call(5, &list_offsets_request(&topic, PARTITIONS_PER_TOPIC - 1, LATEST));
        let partition = reply.topics.iter().flat_map(|t| &t.partitions).next();
        if partition.is_none_or(|p| p.error_code != code::NONE || p.offset != 1) {
            return Err(io::Error::other(format!(
                "after the restart {topic} answers {partition:?}"
            )));
        }
    }
    Ok(())
}
