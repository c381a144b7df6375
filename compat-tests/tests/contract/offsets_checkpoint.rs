//! kill −9 while a checkpoint of `__consumer_offsets` is written, and what is told while its groups are read back:
//! contract 65, 69 and 80.

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{DeleteGroupsRequest, FindCoordinatorRequest, OffsetFetchRequest};
use streamhouse_compat_tests::ops::{EARLIEST, LATEST, code, text, topic_name};
use streamhouse_compat_tests::{Broker, RawClient, eventually};

use super::connect;
use super::offset_commit::{commit, commit_request};
use super::offset_fetch::loaded;

const PARTITIONS: i32 = 100;
/// With so many live offsets a checkpoint takes twenty chunks, each durable before the next.
const GROUPS: usize = 100;
/// History that a checkpoint is begun at.
const HISTORY: &str = "20000";
const CHECKPOINTS: &str = "offsets.topic.checkpoint.min.records";
/// Kills that may come too late, when the checkpoint is over.
const TRIES: usize = 20;
/// Kills that are enough.
const MIDDLE: usize = 3;

/// The one partition's first offset and its end.
fn log(client: &mut RawClient) -> (i64, i64) {
    let mut at = |timestamp| client.list_offset("__consumer_offsets", 0, timestamp).2;
    (at(EARLIEST), at(LATEST))
}

/// Commits `offset` for every partition of a group.
fn commit_all(client: &mut RawClient, group: &str, offset: i64) {
    let mut request = commit_request(group, "t", 0, offset);
    request.topics[0].partitions = (0..PARTITIONS)
        .map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text("")))
        })
        .collect();
    let reply = client.call(8, &request);
    assert!(reply.topics[0].partitions.iter().all(|p| p.error_code == code::NONE));
}

/// What a group committed for all partitions; the first is the group's error when it has one.
fn committed(client: &mut RawClient, group: &str) -> (i16, Vec<i64>) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes((0..PARTITIONS).collect());
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text(group).into())
        .with_topics(Some(vec![topic]));
    let reply = client.call(8, &OffsetFetchRequest::default().with_groups(vec![group]));
    let offsets = reply.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    (
        reply.groups[0].error_code,
        offsets.map(|partition| partition.committed_offset).collect(),
    )
}

fn delete(client: &mut RawClient, group: &str) {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![text(group).into()]);
    assert_eq!(client.call(2, &request).results[0].error_code, code::NONE);
}

/// What was acknowledged last: of the groups `g0`, `g1` and so on for all partitions, but of the first for partition 0 that
/// which is beside.
struct Acknowledged {
    groups: Vec<i64>,
    first: i64,
}

impl Acknowledged {
    /// Commits until the log grows by more than that: a checkpoint is being written. Gives the log's start.
    fn commit_until_a_checkpoint(&mut self, client: &mut RawClient) -> i64 {
        let (mut start, mut end) = log(client);
        let mut offset = self.first;
        for group in (0..GROUPS).cycle() {
            offset += 1;
            commit_all(client, &name(group), offset);
            self.groups[group] = offset;
            end += i64::from(PARTITIONS);
            match log(client) {
                now if now == (start, end) => {}
                (now, _) if now == start => break,
                // It was over before we looked.
                now => (start, end) = now,
            }
        }
        self.first = offset;
        start
    }

    /// Commits and deletes between the chunks, and kills the broker.
    fn kill(&mut self, broker: &mut Broker, client: &mut RawClient) {
        self.first += 1;
        for group in ["gone", "g0"] {
            assert_eq!(commit(client, group, "t", 0, self.first), code::NONE);
        }
        delete(client, "gone");
        broker.kill9();
    }

    fn check(&self, client: &mut RawClient, round: usize) {
        for (group, offset) in self.groups.iter().enumerate() {
            let mut found = Vec::new();
            let answered = loaded(|| {
                let (code, offsets) = committed(client, &name(group));
                found = offsets;
                (code, 0)
            });
            assert_eq!(answered.0, code::NONE);
            let mut expected = vec![*offset; found.len()];
            if group == 0 {
                expected[0] = self.first;
            }
            assert_eq!(found, expected, "group {group}, round {round}");
        }
        assert!(committed(client, "gone").1.iter().all(|offset| *offset == -1));
    }
}

fn name(group: usize) -> String {
    format!("g{group}")
}

#[test]
fn a_kill_in_the_middle_of_a_checkpoint_loses_nothing() {
    // contract 69, 80
    let mut broker = Broker::builder()
        .set("offsets.topic.num.partitions", "1")
        .set(CHECKPOINTS, HISTORY)
        .start();
    let mut client = connect(&broker);
    client.create_topic("t", PARTITIONS);
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g0")]);
    eventually("the group coordinator", || {
        (client.call(4, &find).coordinators[0].error_code == code::NONE).then_some(())
    });
    let mut acknowledged = Acknowledged {
        groups: vec![1; GROUPS],
        first: 1,
    };
    (0..GROUPS).for_each(|group| commit_all(&mut client, &name(group), 1));
    let mut in_the_middle = 0;
    for round in 1..=TRIES {
        commit_all(&mut client, "gone", 1);
        let start = acknowledged.commit_until_a_checkpoint(&mut client);
        acknowledged.kill(&mut broker, &mut client);

        // No checkpoint of the new start hides how far the one before came.
        broker.set_for_restart(CHECKPOINTS, "1000000000");
        broker.restart();
        client = connect(&broker);
        acknowledged.check(&mut client, round);
        if log(&mut client).0 == start {
            in_the_middle += 1;
        }
        if in_the_middle == MIDDLE {
            return;
        }
        broker.kill9();
        broker.set_for_restart(CHECKPOINTS, HISTORY);
        broker.restart();
        client = connect(&broker);
        loaded(|| (committed(&mut client, "g0").0, 0));
    }
    panic!("{in_the_middle} of {TRIES} kills came in the middle of a checkpoint");
}
