//! The part with groups: members share partitions, commit by hand or automatically, and go on where the group has come to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::{PARTITIONS, PATIENCE, Run, ask_for_a_restart};

/// Records that one call of [`Shared::produce`] sends to each partition.
const EACH: i64 = 100;

/// A topic and a group of its own, which speaks `protocol` (`classic`, or `consumer`: KIP-848).
struct Shared<'a> {
    run: &'a Run,
    protocol: &'a str,
    topic: String,
    group: String,
}

impl Run {
    /// All of it, for one of the two protocols.
    pub(super) async fn share_partitions_in_a_group(&self, protocol: &str, restart: bool) {
        let topic = format!("{}-{protocol}", self.topic);
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        let created = self.admin.create_topics([&new], &AdminOptions::new()).await;
        for result in created.expect("the broker answers") {
            result.expect("the topic is created");
        }
        let shared = Shared {
            run: self,
            protocol,
            group: format!("{topic}-readers"),
            topic,
        };
        shared.two_members_share().await;
        shared.another_member_goes_on_and_commits_automatically();
        shared.nothing_is_left();
        if restart {
            shared.consume_while_the_broker_restarts().await;
            shared.nothing_is_left();
        }
        let deleted = self.admin.delete_topics(&[&shared.topic], &AdminOptions::new()).await;
        for result in deleted.expect("the broker answers") {
            result.expect("the topic is deleted");
        }
    }
}

impl Shared<'_> {
    /// A member of the group that reads the topic; where the group committed nothing yet, from the beginning.
    fn member(&self, auto_commit: bool) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.run.brokers)
            .set("group.id", &self.group)
            .set("group.protocol", self.protocol)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", auto_commit.to_string())
            .set("auto.commit.interval.ms", "100")
            .set("enable.partition.eof", "true");
        // A quick answer to "does the other one still take part?"; members of the new protocol are told by the broker.
        if self.protocol == "classic" {
            config.set("heartbeat.interval.ms", "500");
        }
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.subscribe(&[&self.topic]).expect("a subscription");
        consumer
    }

    /// Sends [`EACH`] more records to every partition.
    async fn produce(&self) {
        let mut sent = Vec::new();
        for _ in 0..EACH {
            for partition in 0..PARTITIONS {
                let record = FutureRecord::<(), str>::to(&self.topic)
                    .partition(partition)
                    .payload("shared");
                let queued = self.run.producer.send_result(record).map_err(|(e, _)| e);
                sent.push(queued.expect("room in the queue"));
            }
        }
        for future in sent {
            let delivery = future.await.expect("the producer lives");
            delivery.map_err(|(e, _)| e).expect("a delivery");
        }
    }

    /// Two members, two partitions each, every record read by the owner of its partition. One commits all that it read, the
    /// other one half of it.
    async fn two_members_share(&self) {
        let members = [self.member(false), self.member(false)];
        // Nothing is there to be read while partitions change hands.
        let owned = loop {
            for member in &members {
                match member.poll(Duration::from_millis(50)) {
                    None | Some(Err(_)) => {}
                    Some(Ok(message)) => panic!("a record in an empty topic: {message:?}"),
                }
            }
            let owned: Vec<BTreeSet<i32>> = members.iter().map(partitions_of).collect();
            if owned[0].len() == 2 && owned[1].len() == 2 {
                break owned;
            }
        };
        assert!(owned[0].is_disjoint(&owned[1]), "{owned:?}");
        self.produce().await;
        let (first, second) = (read_to(&members[0], EACH), read_to(&members[1], EACH));
        for (found, owned) in [(&first, &owned[0]), (&second, &owned[1])] {
            assert_eq!(
                found.keys().copied().collect::<BTreeSet<_>>(),
                *owned,
                "each reads what it owns"
            );
            let all: Vec<i64> = (0..EACH).collect();
            assert!(found.values().all(|offsets| *offsets == all), "in order: {found:?}");
        }
        self.commit(&members[0], owned[0].iter().map(|partition| (*partition, EACH)));
        self.commit(&members[1], owned[1].iter().map(|partition| (*partition, EACH / 2)));
        for (partition, committed) in self.committed() {
            let expected = if owned[0].contains(&partition) { EACH } else { EACH / 2 };
            assert_eq!(committed, expected, "partition {partition}");
        }
        println!("{}: two members share the partitions and commit by hand", self.protocol);
    }

    /// A member that comes later reads what was not committed, and nothing else.
    fn another_member_goes_on_and_commits_automatically(&self) {
        let before = self.committed();
        let member = self.member(true);
        let found = read_to_the_ends(&member);
        for (partition, committed) in before {
            let got = found.get(&partition).cloned().unwrap_or_default();
            assert_eq!(got, (committed..EACH).collect::<Vec<_>>(), "partition {partition}");
        }
        // Closing commits what the interval has not committed yet.
        drop(member);
        assert!(
            self.committed().values().all(|committed| *committed == EACH),
            "{:?}",
            self.committed()
        );
        println!(
            "{}: the next member goes on where the group was and commits automatically",
            self.protocol
        );
    }

    /// Everything is committed: who comes now reads nothing.
    fn nothing_is_left(&self) {
        let found = read_to_the_ends(&self.member(false));
        assert_eq!(found, BTreeMap::new(), "read although it was committed");
    }

    /// Commits after every record; the broker is killed and started again in the middle. Nothing is left out, and nothing is
    /// read again that was committed.
    async fn consume_while_the_broker_restarts(&self) {
        self.produce().await;
        let member = self.member(false);
        let mut next: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, EACH)).collect();
        let mut committed = next.clone();
        let mut asked = false;
        while next.values().any(|next| *next < 2 * EACH) {
            if !asked && next.values().sum::<i64>() >= i64::from(PARTITIONS) * EACH * 3 / 2 {
                ask_for_a_restart();
                asked = true;
            }
            let message = match poll(&member) {
                Ok(message) => message,
                // A broker that is away for a moment, or the end of a partition; the client goes on by itself.
                Err(KafkaError::MessageConsumption(_) | KafkaError::PartitionEOF(_)) => continue,
                Err(e) => panic!("{e}"),
            };
            let (partition, offset) = (message.partition(), message.offset());
            let range = committed[&partition]..=next[&partition];
            assert!(
                range.contains(&offset),
                "partition {partition}: offset {offset} is not in {range:?}"
            );
            next.insert(partition, next[&partition].max(offset + 1));
            if self.try_commit(&member, partition, offset + 1) {
                committed.insert(partition, offset + 1);
            }
        }
        self.commit(&member, next.into_iter());
        println!("{}: the group went on where it was after the restart", self.protocol);
    }

    /// A commit that must succeed.
    fn commit(&self, member: &BaseConsumer, offsets: impl Iterator<Item = (i32, i64)>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .expect("a valid offset");
        }
        member.commit(&list, CommitMode::Sync).expect("a commit");
    }

    /// A commit that a broker's restart may prevent: then the record is read again, or committed with a later one.
    fn try_commit(&self, member: &BaseConsumer, partition: i32, offset: i64) -> bool {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            .expect("a valid offset");
        match member.commit(&list, CommitMode::Sync) {
            Ok(()) => true,
            Err(e) => {
                println!("{}: a commit failed, which a restart explains: {e}", self.protocol);
                false
            }
        }
    }

    /// What the group has committed, by partition, asked by somebody who is no member.
    fn committed(&self) -> BTreeMap<i32, i64> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.run.brokers)
            .set("group.id", &self.group);
        let observer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        let committed = observer.committed_offsets(list, PATIENCE).expect("committed offsets");
        let elements = committed.elements();
        let offset = |offset: Offset| offset.to_raw().filter(|offset| *offset >= 0).unwrap_or(0);
        elements
            .iter()
            .map(|element| (element.partition(), offset(element.offset())))
            .collect()
    }
}

fn partitions_of(member: &BaseConsumer) -> BTreeSet<i32> {
    let assigned = member.assignment().expect("an assignment, perhaps of nothing");
    assigned.elements().iter().map(|element| element.partition()).collect()
}

/// The next record, end of a partition, or error. A poll that took part in a rebalance comes back with nothing.
fn poll(member: &BaseConsumer) -> KafkaResult<BorrowedMessage<'_>> {
    let began = Instant::now();
    loop {
        if let Some(polled) = member.poll(Duration::from_secs(1)) {
            return polled;
        }
        assert!(began.elapsed() < PATIENCE, "no record and no end within {PATIENCE:?}");
    }
}

/// Reads until each of the member's partitions has come to `end`: offsets by partition.
fn read_to(member: &BaseConsumer, end: i64) -> BTreeMap<i32, Vec<i64>> {
    let mut found: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let owned = partitions_of(member);
    let at_end = |found: &BTreeMap<i32, Vec<i64>>, partition| {
        found.get(partition).and_then(|offsets| offsets.last()) == Some(&(end - 1))
    };
    while !owned.iter().all(|partition| at_end(&found, partition)) {
        match poll(member) {
            Ok(message) => found.entry(message.partition()).or_default().push(message.offset()),
            Err(KafkaError::PartitionEOF(_)) => {}
            Err(e) => panic!("{e}"),
        }
    }
    found
}

/// Joins, and reads until each partition of the topic has reported its end: offsets by partition.
fn read_to_the_ends(member: &BaseConsumer) -> BTreeMap<i32, Vec<i64>> {
    let mut found: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let mut at_end = BTreeSet::new();
    while at_end.len() < PARTITIONS as usize {
        match poll(member) {
            Ok(message) => found.entry(message.partition()).or_default().push(message.offset()),
            Err(KafkaError::PartitionEOF(partition)) => {
                at_end.insert(partition);
            }
            Err(e) => panic!("{e}"),
        }
    }
    found
}
