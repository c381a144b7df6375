//! What many members and many groups cost: time to join, to build, to start again, and memory.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{text, topic_name};

use crate::members::{Connection, Party, join_alone};
use crate::process::rss_bytes;
use crate::rows::{Sample, Settings};
use crate::target::{Kind, Target};

/// The topic that offsets are committed for.
const TOPIC: &str = "bench-groups";
const OFFSETS: i32 = 100;
const MEMBERS: usize = 3;
const GROUPS: usize = 10_000;
/// Groups under construction at a time.
const WORKERS: usize = 32;
/// Groups in one fetch; so many random names meet every partition of the offsets topic.
const FETCHED: usize = 500;
const NO_DELAY: [(&str, &str); 1] = [("group.initial.rebalance.delay.ms", "0")];

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())
}

/// A thousand members, all at once.
pub(crate) fn join_one_group(kind: Kind, dir: &Path, settings: &Settings<'_>) -> Result<Vec<Sample>, String> {
    const SIZE: usize = 1_000;
    let (target, _) = Target::start(kind, dir, settings.java, &NO_DELAY)?;
    target.create_topic(TOPIC, OFFSETS, false);
    target.wait_for_coordinator();
    let mut seconds = Vec::new();
    for round in 0..3 {
        let party = Party::new(format!("bench-join-{round}"), SIZE, Duration::from_millis(500));
        runtime()?.block_on(join_all(&target, party, SIZE, &mut seconds))?;
    }
    seconds.sort_by(f64::total_cmp);
    Ok(vec![(
        "join",
        "1,000 members: last join to all assigned",
        "s",
        seconds[seconds.len() / 2],
    )])
}

async fn join_all(target: &Target, party: Party, size: usize, seconds: &mut Vec<f64>) -> Result<(), String> {
    let (party, addr) = (std::sync::Arc::new(party), target.addr());
    let mut members = tokio::task::JoinSet::new();
    let mut connections = Vec::with_capacity(size);
    for _ in 0..size {
        // One after the other: Kafka's backlog takes 50 connections.
        let mut connection = Connection::open(addr).await.map_err(|e| e.to_string())?;
        let member_id = party.member_id(&mut connection).await.map_err(|e| e.to_string())?;
        connections.push((connection, member_id));
    }
    for (mut connection, member_id) in connections {
        let party = std::sync::Arc::clone(&party);
        members.spawn(async move { party.take_part(&mut connection, &member_id).await });
    }
    while let Some(ended) = members.join_next().await {
        ended.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    }
    seconds.push(party.took().ok_or("nobody was assigned")?.as_secs_f64());
    Ok(())
}

/// Ten thousand groups with offsets; then the broker crashes, and has them all again.
pub(crate) fn many_groups(kind: Kind, dir: &Path, settings: &Settings<'_>) -> Result<Vec<Sample>, String> {
    let failed = |e: io::Error| e.to_string();
    let (mut target, _) = Target::start(kind, dir, settings.java, &NO_DELAY)?;
    target.create_topic(TOPIC, OFFSETS, false);
    target.wait_for_coordinator();
    join_alone(
        &mut RawClient::try_connect(target.addr()).map_err(failed)?,
        "bench-first",
    )
    .map_err(failed)?;
    let before = rss_bytes(target.pid());
    let began = Instant::now();
    runtime()?.block_on(build(&target)).map_err(failed)?;
    let mut samples = vec![(
        "groups",
        "10,000 groups × 3 members × 100 offsets: build",
        "s",
        began.elapsed().as_secs_f64(),
    )];
    let mut memory = |target: &Target, label: &'static str| {
        // A virtual machine's memory is what it was given: nothing is read from it.
        if kind == Kind::StreamHouse {
            // What was busy a moment ago gets the time to become quiet.
            std::thread::sleep(Duration::from_secs(5));
            let kib = (rss_bytes(target.pid()) - before) / (GROUPS * MEMBERS) as f64 / 1024.0;
            samples.push(("groups", label, "KiB", kib));
        }
    };
    memory(&target, "memory a member, 10,000 groups");
    let restarted = Instant::now();
    target.crash()?;
    let mut client = RawClient::try_connect(target.addr()).map_err(failed)?;
    offsets_are_there(&mut client, 0..FETCHED).map_err(failed)?;
    let took = restarted.elapsed().as_secs_f64();
    for first in (FETCHED..GROUPS).step_by(FETCHED) {
        offsets_are_there(&mut client, first..first + FETCHED).map_err(failed)?;
    }
    memory(&target, "memory a member after a restart");
    samples.push(("groups", "start after kill -9, 10,000 groups", "s", took));
    Ok(samples)
}

fn group_name(index: usize) -> String {
    format!("bench-group-{index}")
}

async fn build(target: &Target) -> io::Result<()> {
    let next = std::sync::Arc::new(AtomicUsize::new(0));
    let addr = target.addr();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        let next = std::sync::Arc::clone(&next);
        let mut connections = [
            Connection::open(addr).await?,
            Connection::open(addr).await?,
            Connection::open(addr).await?,
        ];
        workers.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= GROUPS {
                    return io::Result::Ok(());
                }
                build_one(&mut connections, index).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn build_one(connections: &mut [Connection; MEMBERS], index: usize) -> io::Result<()> {
    let group = group_name(index);
    let party = Party::new(group.clone(), MEMBERS, Duration::from_millis(5));
    let [a, b, c] = connections;
    let ids = [
        party.member_id(a).await?,
        party.member_id(b).await?,
        party.member_id(c).await?,
    ];
    tokio::try_join!(
        party.take_part(a, &ids[0]),
        party.take_part(b, &ids[1]),
        party.take_part(c, &ids[2])
    )?;
    let (generation, member_id) = party
        .leader()
        .ok_or_else(|| io::Error::other("a whole group has a leader"))?;
    let partition = |partition: i32| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset_of(index))
            .with_committed_metadata(Some(text("")))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions((0..OFFSETS).map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(&member_id))
        .with_topics(vec![topic]);
    let answer = connections[0].call(8, &request).await?;
    match answer
        .topics
        .iter()
        .flat_map(|t| &t.partitions)
        .find(|p| p.error_code != 0)
    {
        Some(refused) => Err(io::Error::other(format!("a commit of {group}: {refused:?}"))),
        None => Ok(()),
    }
}

fn offset_of(index: usize) -> i64 {
    1_000 + index as i64
}

/// Asks for the last offset of each group until none is loading any more; any other answer than what was committed is an error.
fn offsets_are_there(client: &mut RawClient, groups: std::ops::Range<usize>) -> io::Result<()> {
    let mut left: BTreeSet<usize> = groups.collect();
    while !left.is_empty() {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(TOPIC))
            .with_partition_indexes(vec![OFFSETS - 1]);
        let asked = left.iter().map(|index| {
            OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(text(&group_name(*index))))
                .with_topics(Some(vec![topic.clone()]))
        });
        let request = OffsetFetchRequest::default().with_groups(asked.collect());
        for (index, group) in left.clone().into_iter().zip(client.try_call(8, &request)?.groups) {
            let partition = group.topics.iter().flat_map(|t| &t.partitions).next();
            match (group.error_code, partition.map(|p| p.committed_offset)) {
                (0, Some(offset)) if offset == offset_of(index) => {
                    left.remove(&index);
                }
                (14..=16, _) => {}
                answered => return Err(io::Error::other(format!("group {index} has {answered:?}"))),
            }
        }
        if !left.is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}
