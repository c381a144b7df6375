//! Offset commits a second: connections with one commit in flight each (or five, as `commitAsync` leaves them), every one for a
//! group of its own.
//!
//! A reply is compared with the first one byte for byte, which had no error: the correlation id is always the same, so that
//! the generator does next to nothing.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{GroupId, IncrementalAlterConfigsRequest, OffsetCommitRequest};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{text, topic_name};
use streamhouse_compat_tests::raw::{decode_response, encode_request};
use streamhouse_compat_tests::wire::read_frame;

use crate::load::{Measured, Shared, Timing, measure};
use crate::members::join_alone;
use crate::process::sync_disks;
use crate::rows::{Bench, Sample};
use crate::target::Target;

const TOPIC: &str = "bench-commits";
const VERSION: i16 = 8;
const CORRELATION_ID: i32 = 7;
/// Requests of a connection, sent in turn: the offset goes on.
const REQUESTS: i64 = 64;

/// Kafka as it is, StreamHouse as it is.
pub(crate) fn with_defaults(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    let rates = rates(bench, "commits")?;
    let labels = [
        "offset commits, 16 members",
        "offset commits, 64 members",
        "offset commits, 64 without members",
        "offset commits, 16 members × 5 in flight",
    ];
    let mut samples: Vec<Sample> = rows("commits", labels, &rates);
    let ms = rates[1].latency_ms(0.99);
    samples.push(("commits", "offset commits, 64 members: p99", "ms", ms));
    let cpu = rates[1].cpu_us_per_request();
    samples.push(("commits", "offset commits, 64 members: broker CPU", "µs/commit", cpu));
    Ok(samples)
}

/// Every commit fsynced before its answer: StreamHouse as it is, Kafka with a flush after every record of the offsets topic.
pub(crate) fn durable(bench: &Bench<'_>) -> io::Result<Vec<Sample>> {
    if matches!(bench.target, Target::Kafka(_)) {
        bench.target.wait_for_coordinator();
        flush_every_commit(&mut RawClient::try_connect(bench.target.addr())?)?;
    }
    let labels = [
        "offset commits, 16 members, fsynced",
        "offset commits, 64 members, fsynced",
        "offset commits, 64 without members, fsynced",
        "offset commits, 16 members × 5 in flight, fsynced",
    ];
    let rates = rates(bench, "commits-durable")?;
    let mut samples = rows("commits-durable", labels, &rates);
    let ms = rates[1].latency_ms(0.99);
    samples.push(("commits-durable", "offset commits, 64 members, fsynced: p99", "ms", ms));
    Ok(samples)
}

fn rows(row: &'static str, labels: [&'static str; 4], rates: &[Measured; 4]) -> Vec<Sample> {
    let sample = |(label, measured): (&'static str, &Measured)| {
        let rate = measured.requests_per_second();
        (row, label, "commits/s", rate)
    };
    labels.into_iter().zip(rates).map(sample).collect()
}

/// `row` keeps apart the groups of the rows: a group of the row before still has its member.
fn rates(bench: &Bench<'_>, row: &str) -> io::Result<[Measured; 4]> {
    bench.target.create_topic(TOPIC, 1, false);
    bench.target.wait_for_coordinator();
    sync_disks();
    let timing = Timing {
        pid: bench.target.pid(),
        warm_up: bench.settings.warm_up,
        duration: bench.settings.duration,
        most_bytes: u64::MAX,
        step: Duration::from_millis(50),
    };
    let load = |connections: usize, members: bool, in_flight: usize| {
        let group = format!("bench-{row}-{connections}-{members}-{in_flight}");
        let committers = committers(bench.target, &group, connections, members)?;
        measure(&timing, connections, |index, shared| {
            let taken = committers[index].lock().expect("nobody panics with it").take();
            taken.map_or(Ok(Vec::new()), |committer| commit(committer, in_flight, shared))
        })
    };
    let measured = [
        load(16, true, 1)?,
        load(64, true, 1)?,
        load(64, false, 1)?,
        load(16, true, 5)?,
    ];
    bench.target.delete_topic(TOPIC);
    Ok(measured)
}

/// A connection, and in whose name it commits.
struct Committer {
    client: RawClient,
    group: String,
    generation: i32,
    member_id: String,
}

/// Connects, and joins groups where there are to be members: a new group waits some seconds for more, which is not measured.
fn committers(
    target: &Target,
    group: &str,
    connections: usize,
    members: bool,
) -> io::Result<Vec<Mutex<Option<Committer>>>> {
    let one = |index: usize| {
        let (mut client, group) = (RawClient::try_connect(target.addr())?, format!("{group}-{index}"));
        let (generation, member_id) = match members {
            true => join_alone(&mut client, &group)?,
            false => (-1, String::new()),
        };
        Ok(Mutex::new(Some(Committer {
            client,
            group,
            generation,
            member_id,
        })))
    };
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..connections).map(|index| scope.spawn(move || one(index))).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("load threads return errors"));
        joined.collect()
    })
}

/// Commits until it is stopped.
fn commit(committer: Committer, in_flight: usize, shared: &Shared) -> io::Result<Vec<u32>> {
    let Committer {
        mut client,
        group,
        generation,
        member_id,
    } = committer;
    let mut requests = Vec::new();
    for offset in 0..REQUESTS {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&group)))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(&member_id))
            .with_topics(vec![topic]);
        let body = encode_request(VERSION, CORRELATION_ID, Some("bench"), &request);
        let size = i32::try_from(body.len()).map_err(io::Error::other)?;
        requests.push([&size.to_be_bytes()[..], &body].concat());
    }
    let (mut latencies_us, mut good, mut frame) = (Vec::new(), Vec::new(), Vec::new());
    let stream = client.stream();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut sent = VecDeque::new();
    let mut next = requests.iter().cycle();
    loop {
        while sent.len() < in_flight && !shared.stopped() {
            let request = next.next().expect("there is always a next");
            sent.push_back(Instant::now());
            stream.write_all(request)?;
        }
        let Some(sent) = sent.pop_front() else { break };
        let reply = read_frame(&mut reader, &mut frame)?;
        if shared.measuring() {
            latencies_us.push(sent.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
        }
        if reply != good {
            let reply = reply.to_vec();
            let answer = decode_response::<OffsetCommitRequest>(VERSION, CORRELATION_ID, reply.clone().into());
            let code = answer
                .topics
                .iter()
                .flat_map(|t| &t.partitions)
                .map(|p| p.error_code)
                .next();
            match code {
                Some(0) => good = reply,
                // Load, move, no coordinator yet: only before the first commit.
                Some(14..=16) if good.is_empty() => continue,
                code => return Err(io::Error::other(format!("a commit is answered with {code:?}"))),
            }
        }
        shared.count(0);
    }
    Ok(latencies_us)
}

fn flush_every_commit(client: &mut RawClient) -> io::Result<()> {
    let config = AlterableConfig::default()
        .with_name(text("flush.messages"))
        .with_value(Some(text("1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("__consumer_offsets"))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.try_call(1, &request)?.responses;
    match answer.iter().find(|response| response.error_code != 0) {
        Some(refused) => Err(io::Error::other(format!("flush.messages: {refused:?}"))),
        None => Ok(()),
    }
}
