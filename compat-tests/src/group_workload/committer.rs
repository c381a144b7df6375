//! Who commits without being a member (`assign()` and a group id), and who reads offsets: the load's own committers, and the
//! look at everything after a restart.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::requests::{Committing, commit, group_id};
use super::{BACKOFF, PLACES, Shared, TOPICS, place, topic_partition};
use crate::group_checker::{Claim, Committed, Event, NOT_YET};
use crate::harness::PATIENCE;
use crate::ops::topic_name;
use crate::raw::RawClient;

/// Commits for one group that has no members, and reads offsets of all.
pub struct Committer<'a> {
    shared: &'a Shared,
    group: usize,
    reader: u64,
    rng: StdRng,
}

impl<'a> Committer<'a> {
    /// `reader` is a number that no other reader has.
    pub fn new(shared: &'a Shared, group: usize, reader: u64, seed: u64) -> Committer<'a> {
        let rng = StdRng::seed_from_u64(seed);
        Committer {
            shared,
            group,
            reader,
            rng,
        }
    }

    /// Commits and reads until it is stopped or the connection breaks.
    pub fn run(&mut self, addr: SocketAddr) {
        let shared = self.shared;
        shared.drive(addr, "a committer", |client| self.step(client));
    }

    fn step(&mut self, client: &mut RawClient) -> io::Result<()> {
        if self.rng.random_bool(0.2) {
            let group = self.rng.random_range(0..self.shared.groups.len());
            fetch(client, self.shared, self.reader, &[group])?;
            return Ok(());
        }
        let who = Committing {
            group: &self.shared.groups[self.group].name,
            claim: Claim::Nobody,
            generation_or_epoch: -1,
            member_id: "",
            instance_id: None,
            version: self.rng.random_range(6..=9),
            expected: &[7, 14, 15, 16],
        };
        let some: Vec<usize> = (0..PLACES)
            .filter(|_| self.rng.random_bool(0.5))
            .map(|partition| place(self.group, partition))
            .collect();
        if some.is_empty() {
            return Ok(());
        }
        let codes = commit(client, self.shared, &who, &some)?;
        if codes.iter().any(|code| *code != 0) {
            std::thread::sleep(BACKOFF);
        }
        Ok(())
    }
}

/// Reads the offsets of all groups. Repeats that as long as the coordinator loads, at most for [`PATIENCE`].
pub fn read_all(shared: &Shared, addr: SocketAddr, reader: u64) -> io::Result<()> {
    let mut client = RawClient::try_connect(addr)?;
    let began = Instant::now();
    let mut left: Vec<usize> = (0..shared.groups.len()).collect();
    loop {
        left = fetch(&mut client, shared, reader, &left)?;
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other(format!(
                "after {PATIENCE:?} groups {left:?} still load"
            )));
        }
        std::thread::sleep(BACKOFF);
    }
}

/// Asks for all offsets of these groups; gives those whose coordinator is not ready.
fn fetch(client: &mut RawClient, shared: &Shared, reader: u64, groups: &[usize]) -> io::Result<Vec<usize>> {
    for place in groups.iter().flat_map(|group| places(*group)) {
        shared.record(&Event::FetchInvoke { reader, place });
    }
    let topics = TOPICS.iter().map(|(name, partitions)| {
        OffsetFetchRequestTopics::default()
            .with_name(topic_name(name))
            .with_partition_indexes((0..*partitions).collect())
    });
    let topics: Vec<_> = topics.collect();
    let asked = groups.iter().map(|group| {
        OffsetFetchRequestGroup::default()
            .with_group_id(group_id(&shared.groups[*group].name))
            .with_member_epoch(-1)
            .with_topics(Some(topics.clone()))
    });
    let request = OffsetFetchRequest::default().with_groups(asked.collect());
    let answer = client.try_call(9, &request)?;
    let mut left = Vec::new();
    for group in groups {
        let name = shared.groups[*group].name.as_str();
        let Some(answered) = answer.groups.iter().find(|g| g.group_id.0.as_str() == name) else {
            return Err(io::Error::other(format!("OffsetFetch does not answer for {name}")));
        };
        if !read_group(shared, reader, *group, answered)? {
            left.push(*group);
        }
    }
    Ok(left)
}

/// Records one group's answer; false if it is to be asked again.
fn read_group(shared: &Shared, reader: u64, group: usize, answer: &OffsetFetchResponseGroup) -> io::Result<bool> {
    let mut complete = true;
    for place in places(group) {
        let (topic, partition) = topic_partition(place);
        let found = answer.topics.iter().filter(|t| t.name.0.as_str() == TOPICS[topic].0);
        let found = found
            .flat_map(|t| &t.partitions)
            .find(|p| p.partition_index == partition);
        let code = match answer.error_code {
            0 => found.map_or(0, |found| found.error_code),
            code => code,
        };
        if code != 0 {
            complete &= !NOT_YET.contains(&code);
            shared.record(&Event::FetchRefused { reader, place, code });
            continue;
        }
        let Some(found) = found else {
            return Err(io::Error::other(format!("OffsetFetch leaves out {topic}-{partition}")));
        };
        let committed = (found.committed_offset >= 0).then(|| Committed {
            offset: found.committed_offset,
            leader_epoch: found.committed_leader_epoch,
            metadata: found.metadata.as_deref().unwrap_or_default().to_owned(),
        });
        shared.record(&Event::FetchOk {
            reader,
            place,
            found: committed,
        });
    }
    Ok(complete)
}

fn places(group: usize) -> impl Iterator<Item = usize> {
    (0..PLACES).map(move |partition| place(group, partition))
}
