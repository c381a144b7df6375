//! `streamhouse offsets`: where partitions begin and end, what lies at a time, and deleting records below an offset.

use super::cluster::{Cluster, TopicPartition, leader_of, topic_name};
use super::error::{AdminError, Result};
use super::output::Table;
use super::reset::Selection;
use super::times::parse_time;
use clap::Subcommand;
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use serde_json::json;
use std::collections::BTreeMap;

/// What to do with offsets of topics. (Those of groups: streamhouse groups lag, reset-offsets.)
#[derive(Debug, Subcommand)]
pub(crate) enum Offsets {
    /// Lists where partitions begin and end.
    List {
        /// Topics [default: all but internal ones]
        topics: Vec<String>,
        /// Also the first record at or after a time: 2026-01-31T12:00:00Z, milliseconds since 1970, or a span ago: -2h30m
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        at: Option<String>,
    },
    /// Deletes the records below an offset.
    Delete {
        /// TOPIC or TOPIC:PARTITION,PARTITION
        topic: Selection,
        /// The first offset to keep; `end` deletes all that is there.
        #[arg(long, value_name = "OFFSET")]
        before: Before,
        /// Says what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
}

/// An offset, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Offset(i64),
    End,
}

impl std::str::FromStr for Before {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Before, String> {
        match text.parse() {
            Ok(offset) if offset >= 0 => Ok(Before::Offset(offset)),
            _ if text == "end" => Ok(Before::End),
            _ => Err("neither an offset nor `end`".to_owned()),
        }
    }
}

impl Offsets {
    /// Does it; `now_ms` is milliseconds since 1970.
    pub(crate) fn run(&self, cluster: &mut Cluster, now_ms: i64) -> Result<Table> {
        match self {
            Offsets::List { topics, at } => {
                let time = at.as_deref().map(|text| parse_time(text, now_ms)).transpose();
                list(cluster, topics, time.map_err(AdminError::Usage)?)
            }
            Offsets::Delete { topic, before, dry_run } => delete(cluster, topic, *before, *dry_run),
        }
    }
}

fn list(cluster: &mut Cluster, names: &[String], time_ms: Option<i64>) -> Result<Table> {
    let topics = match names {
        [] => cluster.topics()?.into_iter().filter(|topic| !topic.internal).collect(),
        names => cluster.topics_named(names)?,
    };
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|partition| (topic.name.clone(), partition.index))
        })
        .collect();
    let ask = |timestamp: i64| partitions.iter().map(|p| (p.clone(), timestamp)).collect::<Vec<_>>();
    let starts = cluster.offsets(&ask(-2), &topics)?;
    let ends = cluster.offsets(&ask(-1), &topics)?;
    let found = match time_ms {
        Some(time_ms) => cluster.offsets(&ask(time_ms), &topics)?,
        None => BTreeMap::new(),
    };
    let columns = [
        "topic",
        "partition",
        "earliest",
        "latest",
        "records_at_most",
        "at_time",
        "timestamp",
    ];
    let mut table = Table::new(&columns[..if time_ms.is_some() { 7 } else { 5 }]);
    for partition in &partitions {
        let start = starts.get(partition).and_then(|found| found.offset);
        let end = ends.get(partition).and_then(|found| found.offset);
        let records = end.zip(start).map(|(end, start)| end - start);
        let head = [
            json!(partition.0),
            json!(partition.1),
            json!(start),
            json!(end),
            json!(records),
        ];
        match found.get(partition) {
            None if time_ms.is_none() => table.row(head),
            found => {
                let [topic, index, start, end, records] = head;
                let offset = found.and_then(|found| found.offset);
                let timestamp = found.map(|found| found.timestamp).filter(|timestamp| *timestamp >= 0);
                table.row([topic, index, start, end, records, json!(offset), json!(timestamp)]);
            }
        }
    }
    Ok(table)
}

fn delete(cluster: &mut Cluster, selection: &Selection, before: Before, dry_run: bool) -> Result<Table> {
    let topics = cluster.topics_named(&[selection.topic().to_owned()])?;
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let chosen: Vec<TopicPartition> = partitions
        .map(|partition| (selection.topic().to_owned(), partition.index))
        .filter(|(name, index)| selection.contains(name, *index))
        .collect();
    let ask = |timestamp: i64| chosen.iter().map(|p| (p.clone(), timestamp)).collect::<Vec<_>>();
    let starts = cluster.offsets(&ask(-2), &topics)?;
    let ends = cluster.offsets(&ask(-1), &topics)?;
    let mut lows = BTreeMap::new();
    if !dry_run {
        let wanted = match before {
            Before::Offset(offset) => offset,
            Before::End => -1,
        };
        lows = delete_records(cluster, &chosen, wanted, |name, index| leader_of(&topics, name, index))?;
    }
    let mut table = Table::new(&["topic", "partition", "earliest", "latest", "new_earliest", "result"]);
    for partition in &chosen {
        let start = starts.get(partition).and_then(|found| found.offset);
        let end = ends.get(partition).and_then(|found| found.offset);
        let planned = match before {
            Before::Offset(offset) => Some(offset.max(start.unwrap_or(0))),
            Before::End => end,
        };
        let new = lows.get(partition).copied().or(planned);
        let result = if dry_run { "would be deleted" } else { "deleted" };
        table.row([
            json!(partition.0),
            json!(partition.1),
            json!(start),
            json!(end),
            json!(new),
            json!(result),
        ]);
    }
    Ok(table)
}

/// Asks each leader; gives where the partitions begin now.
fn delete_records(
    cluster: &mut Cluster,
    partitions: &[TopicPartition],
    before: i64,
    leader: impl Fn(&str, i32) -> Result<i32>,
) -> Result<BTreeMap<TopicPartition, i64>> {
    let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<DeleteRecordsPartition>>> = BTreeMap::new();
    for (name, index) in partitions {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(*index)
            .with_offset(before);
        by_leader
            .entry(leader(name, *index)?)
            .or_default()
            .entry(name)
            .or_default()
            .push(partition);
    }
    let timeout_ms = cluster.timeout_ms();
    let mut lows = BTreeMap::new();
    for (node, topics) in by_leader {
        let topic = |(name, partitions): (&str, Vec<DeleteRecordsPartition>)| {
            DeleteRecordsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        };
        let request = DeleteRecordsRequest::default()
            .with_timeout_ms(timeout_ms)
            .with_topics(topics.into_iter().map(topic).collect());
        let answer = cluster.node(node)?.call("DeleteRecords", &request)?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let name = topic.name.to_string();
                let what = || format!("deleting records of {name} {}", partition.partition_index);
                AdminError::check(what, partition.error_code, None)?;
                lows.insert((name, partition.partition_index), partition.low_watermark);
            }
        }
    }
    Ok(lows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_deleted_below_an_offset_or_all() {
        assert_eq!("12".parse(), Ok(Before::Offset(12)));
        assert_eq!("end".parse(), Ok(Before::End));
        for bad in ["-1", "END", "", "1.5"] {
            assert!(bad.parse::<Before>().is_err(), "{bad}");
        }
    }
}
