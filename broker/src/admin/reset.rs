//! `streamhouse groups reset-offsets`: which partitions, to which offsets, and committing them.

use super::cluster::{Cluster, FoundOffset, Topic, TopicPartition, text, topic_name};
use super::error::{AdminError, Result};
use super::groups::{committed, topics_of};
use super::output::Table;
use super::times::parse_time;
use clap::{ArgGroup, Args};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest};
use protocol::ErrorCode;
use serde_json::json;
use std::collections::BTreeMap;
use std::str::FromStr;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// A topic, or some partitions of it: `orders`, `orders:0,3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    topic: String,
    /// Empty: all.
    partitions: Vec<i32>,
}

impl Selection {
    /// The topic.
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether the partition is meant.
    pub(super) fn contains(&self, topic: &str, partition: i32) -> bool {
        self.topic == topic && (self.partitions.is_empty() || self.partitions.contains(&partition))
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Selection, String> {
        let (topic, partitions) = match text.split_once(':') {
            None => (text, Vec::new()),
            Some((topic, list)) => {
                let numbers = list.split(',').map(|number| number.trim().parse::<i32>());
                let numbers = numbers.collect::<std::result::Result<Vec<_>, _>>();
                (
                    topic,
                    numbers.map_err(|_| format!("`{list}` is no list of partitions such as 0,3"))?,
                )
            }
        };
        if topic.is_empty() {
            return Err("the topic's name is empty".to_owned());
        }
        Ok(Selection {
            topic: topic.to_owned(),
            partitions,
        })
    }
}

/// Which offsets, and where to.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).multiple(false))]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Reset {
    /// The group
    group: String,
    /// TOPIC or TOPIC:PARTITION,PARTITION; may be repeated
    #[arg(long = "topic", group = "what", value_name = "TOPIC[:P,P]")]
    topics: Vec<Selection>,
    /// All topics of which the group has committed offsets
    #[arg(long, group = "what")]
    all_topics: bool,
    /// To the first record that is kept
    #[arg(long, group = "target")]
    to_earliest: bool,
    /// To the end: only new records are read
    #[arg(long, group = "target")]
    to_latest: bool,
    /// To an offset
    #[arg(long, group = "target", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record at or after a time: 2026-01-31T12:00:00Z, milliseconds since 1970, or a span ago: -2h30m
    #[arg(long, group = "target", value_name = "TIME", allow_hyphen_values = true)]
    to_time: Option<String>,
    /// Forwards, or backwards with a minus, from the committed offset
    #[arg(long, group = "target", value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Says what would be committed.
    #[arg(long)]
    dry_run: bool,
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Earliest,
    Latest,
    Offset(i64),
    Time(i64),
    Shift(i64),
}

/// Where a partition begins and ends, what was committed, and what its time look-up found.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    start: i64,
    end: i64,
    committed: Option<i64>,
    at_time: Option<i64>,
}

/// The offset to commit, within what the partition has. `None`: a shift without a committed offset to start from.
fn new_offset(target: Target, bounds: Bounds) -> Option<i64> {
    let offset = match target {
        Target::Earliest => bounds.start,
        Target::Latest => bounds.end,
        Target::Offset(offset) => offset,
        // Nothing is that young: the end.
        Target::Time(_) => bounds.at_time.unwrap_or(bounds.end),
        Target::Shift(by) => bounds.committed?.saturating_add(by),
    };
    Some(offset.clamp(bounds.start, bounds.end.max(bounds.start)))
}

impl Reset {
    pub(super) fn run(&self, cluster: &mut Cluster, now_ms: i64) -> Result<Table> {
        let target = self.target(now_ms)?;
        let committed = committed(cluster, &self.group)?;
        let (topics, partitions) = self.choose(cluster, &committed)?;
        let ask = |timestamp: i64| partitions.iter().map(|p| (p.clone(), timestamp)).collect::<Vec<_>>();
        let starts = cluster.offsets(&ask(EARLIEST), &topics)?;
        let ends = cluster.offsets(&ask(LATEST), &topics)?;
        let times = match target {
            Target::Time(time_ms) => cluster.offsets(&ask(time_ms), &topics)?,
            _ => BTreeMap::new(),
        };
        let of =
            |found: &BTreeMap<TopicPartition, FoundOffset>, p: &TopicPartition| found.get(p).and_then(|f| f.offset);
        let mut plan = Vec::new();
        for partition in &partitions {
            let bounds = Bounds {
                start: of(&starts, partition).unwrap_or(0),
                end: of(&ends, partition).unwrap_or(0),
                committed: committed.get(partition).copied(),
                at_time: of(&times, partition),
            };
            let offset = new_offset(target, bounds).ok_or_else(|| {
                let (topic, index) = partition;
                let group = &self.group;
                AdminError::Usage(format!(
                    "group {group} has no committed offset for {topic} {index} to shift from"
                ))
            })?;
            plan.push((partition.clone(), bounds.committed, offset));
        }
        if !self.dry_run {
            self.commit(cluster, &plan)?;
        }
        let mut table = Table::new(&["group", "topic", "partition", "committed", "new", "result"]);
        let result = if self.dry_run { "would be reset" } else { "reset" };
        for ((topic, partition), before, offset) in plan {
            table.row([
                json!(self.group),
                json!(topic),
                json!(partition),
                json!(before),
                json!(offset),
                json!(result),
            ]);
        }
        Ok(table)
    }

    fn target(&self, now_ms: i64) -> Result<Target> {
        Ok(
            match (
                self.to_earliest,
                self.to_latest,
                self.to_offset,
                &self.to_time,
                self.shift_by,
            ) {
                (true, ..) => Target::Earliest,
                (_, true, ..) => Target::Latest,
                (_, _, Some(offset), ..) => Target::Offset(offset),
                (_, _, _, Some(time), _) => Target::Time(parse_time(time, now_ms).map_err(AdminError::Usage)?),
                (_, _, _, _, by) => Target::Shift(by.unwrap_or(0)),
            },
        )
    }

    /// The topics that are meant, and their partitions in order.
    fn choose(
        &self,
        cluster: &mut Cluster,
        committed: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(Vec<Topic>, Vec<TopicPartition>)> {
        if self.all_topics {
            let topics = topics_of(cluster, committed.keys())?;
            let exists = |(name, _): &&TopicPartition| topics.iter().any(|topic| topic.name == *name);
            let partitions = committed.keys().filter(exists).cloned().collect();
            return Ok((topics, partitions));
        }
        let names: Vec<String> = self.topics.iter().map(|selection| selection.topic.clone()).collect();
        let topics = cluster.topics_named(&names)?;
        let mut partitions = Vec::new();
        for (topic, selection) in topics.iter().zip(&self.topics) {
            let indexes: Vec<i32> = match selection.partitions.as_slice() {
                [] => topic.partitions.iter().map(|partition| partition.index).collect(),
                chosen => chosen.to_vec(),
            };
            partitions.extend(indexes.into_iter().map(|index| (topic.name.clone(), index)));
        }
        partitions.sort();
        partitions.dedup();
        Ok((topics, partitions))
    }

    fn commit(&self, cluster: &mut Cluster, plan: &[(TopicPartition, Option<i64>, i64)]) -> Result<()> {
        let mut by_topic: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), _, offset) in plan {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text("")));
            by_topic.entry(topic).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, Vec<OffsetCommitRequestPartition>)| {
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        };
        let topics: Vec<_> = by_topic.into_iter().map(topic).collect();
        if topics.is_empty() {
            return Ok(());
        }
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(-1)
            .with_retention_time_ms(-1)
            .with_topics(topics);
        cluster.patiently(|cluster| {
            let answer = cluster.coordinator(&self.group)?.call("OffsetCommit", &request)?;
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let name = topic.name.as_str();
                    let what = || {
                        format!(
                            "resetting group {} for {name} {}",
                            self.group, partition.partition_index
                        )
                    };
                    AdminError::check(what, partition.error_code, why(partition.error_code))?;
                }
            }
            Ok(())
        })
    }
}

/// Kafka tells whoever commits without being a member that the member is unknown; what it means is this.
fn why(code: i16) -> Option<&'static str> {
    let unknown = [ErrorCode::UnknownMemberId.code(), ErrorCode::StaleMemberEpoch.code()];
    unknown
        .contains(&code)
        .then_some("the group has members; stop them first")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        start: 10,
        end: 100,
        committed: Some(50),
        at_time: Some(70),
    };

    #[test]
    fn targets_stay_within_the_partition() {
        let cases = [
            (Target::Earliest, 10),
            (Target::Latest, 100),
            (Target::Offset(5), 10),
            (Target::Offset(55), 55),
            (Target::Offset(500), 100),
            (Target::Time(1), 70),
            (Target::Shift(7), 57),
            (Target::Shift(-7), 43),
            (Target::Shift(i64::MIN), 10),
            (Target::Shift(i64::MAX), 100),
        ];
        for (target, offset) in cases {
            assert_eq!(new_offset(target, BOUNDS), Some(offset), "{target:?}");
        }
    }

    #[test]
    fn what_is_missing_has_a_meaning() {
        let young = Bounds {
            at_time: None,
            ..BOUNDS
        };
        assert_eq!(new_offset(Target::Time(1), young), Some(100));
        let fresh = Bounds {
            committed: None,
            ..BOUNDS
        };
        assert_eq!(new_offset(Target::Shift(1), fresh), None);
        assert_eq!(new_offset(Target::Earliest, fresh), Some(10));
    }

    #[test]
    fn topics_are_chosen_with_or_without_partitions() {
        let all: Selection = "orders".parse().expect("good");
        assert!(all.contains("orders", 5) && !all.contains("order", 5));
        let some: Selection = "orders:0, 3".parse().expect("good");
        assert!(some.contains("orders", 3) && !some.contains("orders", 1));
        for bad in ["", ":1", "a:", "a:x", "a:1,,2"] {
            assert!(bad.parse::<Selection>().is_err(), "{bad}");
        }
    }
}
