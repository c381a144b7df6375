//! `streamhouse groups`: list, describe, lag, delete, reset-offsets, delete-offsets.

use super::cluster::{Cluster, Topic, TopicPartition, text, topic_name};
use super::error::{AdminError, Result};
use super::output::Table;
use super::reset::{Reset, Selection};
use clap::Subcommand;
use kafka_protocol::messages::consumer_group_describe_response as modern;
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest,
    OffsetDeleteRequest, OffsetFetchRequest,
};
use protocol::ErrorCode;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Groups {
    /// Lists groups.
    List {
        /// Only groups in this state; may be repeated
        #[arg(long)]
        state: Vec<String>,
        /// Only groups of this type (classic, consumer); may be repeated
        #[arg(long = "type", value_name = "TYPE")]
        kind: Vec<String>,
    },
    /// Shows the members of groups and what they own.
    Describe {
        /// Groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Shows how far groups are behind: committed offset, end of the partition, the difference.
    Lag {
        /// Groups [default: all]
        groups: Vec<String>,
    },
    /// Deletes groups that have no members, with their offsets.
    Delete {
        /// Groups
        #[arg(required = true)]
        groups: Vec<String>,
        /// Says what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
    /// Sets the committed offsets of a group that has no members.
    ResetOffsets(Reset),
    /// Forgets committed offsets of topics that the group does not read any more.
    DeleteOffsets {
        /// The group
        group: String,
        /// TOPIC or TOPIC:PARTITION,PARTITION; may be repeated
        #[arg(long = "topic", required = true, value_name = "TOPIC[:P,P]")]
        topics: Vec<Selection>,
        /// Says what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
}

impl Groups {
    /// Does it; `now_ms` is milliseconds since 1970.
    pub(crate) fn run(&self, cluster: &mut Cluster, now_ms: i64) -> Result<Table> {
        match self {
            Groups::List { state, kind } => list(cluster, state, kind),
            Groups::Describe { groups } => describe(cluster, groups),
            Groups::Lag { groups } => lag(cluster, groups),
            Groups::Delete { groups, dry_run } => delete(cluster, groups, *dry_run),
            Groups::ResetOffsets(reset) => reset.run(cluster, now_ms),
            Groups::DeleteOffsets { group, topics, dry_run } => delete_offsets(cluster, group, topics, *dry_run),
        }
    }
}

/// A group as its broker lists it.
struct Listed {
    id: String,
    kind: Option<String>,
    state: Option<String>,
    protocol_type: String,
}

/// Every broker lists the groups that it coordinates.
fn all_groups(cluster: &mut Cluster, states: &[String], kinds: &[String]) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for node in cluster.node_ids() {
        let answer = cluster.patiently(|cluster| {
            let broker = cluster.node(node)?;
            let version = broker.version::<ListGroupsRequest>("ListGroups", i16::MAX)?;
            if (version < 4 && !states.is_empty()) || (version < 5 && !kinds.is_empty()) {
                let text = "the broker is too old to filter groups by state or type";
                return Err(AdminError::Usage(text.to_owned()));
            }
            let request = ListGroupsRequest::default()
                .with_states_filter(states.iter().map(|state| text(state)).collect())
                .with_types_filter(kinds.iter().map(|kind| text(kind)).collect());
            let answer = broker.call_in("ListGroups", version, &request)?;
            AdminError::check(|| "listing groups".to_owned(), answer.error_code, None)?;
            Ok(answer)
        })?;
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        found.extend(answer.groups.iter().map(|group| Listed {
            id: group.group_id.to_string(),
            kind: known(&group.group_type),
            state: known(&group.group_state),
            protocol_type: group.protocol_type.to_string(),
        }));
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn list(cluster: &mut Cluster, states: &[String], kinds: &[String]) -> Result<Table> {
    let mut table = Table::new(&["group", "type", "state", "protocol_type"]);
    for group in all_groups(cluster, states, kinds)? {
        let protocol_type = (!group.protocol_type.is_empty()).then_some(group.protocol_type);
        table.row([
            json!(group.id),
            json!(group.kind),
            json!(group.state),
            json!(protocol_type),
        ]);
    }
    Ok(table)
}

/// A member of a group of either protocol.
struct Member {
    id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    epoch: Option<i32>,
    owns: Vec<TopicPartition>,
}

/// A group of either protocol.
struct Described {
    kind: &'static str,
    state: String,
    assignor: String,
    members: Vec<Member>,
}

fn describe_one(cluster: &mut Cluster, group_id: &str) -> Result<Described> {
    cluster.patiently(|cluster| {
        let coordinator = cluster.coordinator(group_id)?;
        if coordinator
            .version::<ConsumerGroupDescribeRequest>("ConsumerGroupDescribe", i16::MAX)
            .is_ok()
        {
            let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group_id))]);
            let answer = coordinator.call("ConsumerGroupDescribe", &request)?;
            // 69 also says that it is a classic group.
            let absent = ErrorCode::GroupIdNotFound.code();
            if let Some(group) = answer.groups.first().filter(|group| group.error_code != absent) {
                AdminError::check(
                    || format!("group {group_id}"),
                    group.error_code,
                    group.error_message.as_deref(),
                )?;
                return Ok(modern_group(group));
            }
        }
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group_id))]);
        let answer = coordinator.call("DescribeGroups", &request)?;
        let group = answer.groups.first().cloned().unwrap_or_default();
        AdminError::check(
            || format!("group {group_id}"),
            group.error_code,
            group.error_message.as_deref(),
        )?;
        Ok(classic_group(&group))
    })
}

fn modern_group(group: &modern::DescribedGroup) -> Described {
    let owns = |member: &modern::Member| {
        let topics = member.assignment.topic_partitions.iter();
        let pairs = topics.flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_name.to_string(), *p)));
        pairs.collect()
    };
    let member = |member: &modern::Member| Member {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        owns: owns(member),
    };
    Described {
        kind: "consumer",
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        members: group.members.iter().map(member).collect(),
    }
}

fn classic_group(group: &classic::DescribedGroup) -> Described {
    let is_consumer = &*group.protocol_type == "consumer";
    let member = |member: &classic::DescribedGroupMember| Member {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        owns: if is_consumer {
            classic_assignment(&member.member_assignment)
        } else {
            Vec::new()
        },
    };
    Described {
        kind: "classic",
        state: group.group_state.to_string(),
        assignor: group.protocol_data.to_string(),
        members: group.members.iter().map(member).collect(),
    }
}

/// What a leader gave a member; nothing where the bytes are not the consumer protocol's.
fn classic_assignment(bytes: &[u8]) -> Vec<TopicPartition> {
    let Ok(assignment) = protocol::consumer_protocol::Assignment::decode(bytes) else {
        return Vec::new();
    };
    let topics = assignment.assigned_partitions.into_iter();
    topics
        .flat_map(|topic| topic.partitions.into_iter().map(move |p| (topic.topic.to_string(), p)))
        .collect()
}

/// `topic:0,1` for each topic.
fn owned_text(owns: &[TopicPartition]) -> Value {
    let mut by_topic: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partition) in owns {
        by_topic.entry(topic).or_default().insert(*partition);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", partitions.join(","))
    });
    Value::String(topics.collect::<Vec<_>>().join(" "))
}

fn describe(cluster: &mut Cluster, groups: &[String]) -> Result<Table> {
    let columns = [
        "group", "type", "state", "assignor", "member", "instance", "client", "host", "epoch", "owns",
    ];
    let mut table = Table::new(&columns);
    for id in groups {
        let group = describe_one(cluster, id)?;
        let head = [json!(id), json!(group.kind), json!(group.state), json!(group.assignor)];
        if group.members.is_empty() {
            let [id, kind, state, assignor] = head.clone();
            let nothing = || Value::Null;
            table.row([
                id,
                kind,
                state,
                assignor,
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
            ]);
        }
        for member in &group.members {
            let [id, kind, state, assignor] = head.clone();
            table.row([
                id,
                kind,
                state,
                assignor,
                json!(member.id),
                json!(member.instance_id),
                json!(member.client_id),
                json!(member.host),
                json!(member.epoch),
                owned_text(&member.owns),
            ]);
        }
    }
    Ok(table)
}

/// Committed offsets of a group: all of them.
pub(super) fn committed(cluster: &mut Cluster, group_id: &str) -> Result<BTreeMap<TopicPartition, i64>> {
    cluster.patiently(|cluster| {
        let coordinator = cluster.coordinator(group_id)?;
        let version = coordinator.version::<OffsetFetchRequest>("OffsetFetch", i16::MAX)?;
        let request = match version {
            ..8 => OffsetFetchRequest::default()
                .with_group_id(GroupId(text(group_id)))
                .with_topics(None),
            _ => OffsetFetchRequest::default().with_groups(vec![
                OffsetFetchRequestGroup::default()
                    .with_group_id(GroupId(text(group_id)))
                    .with_member_epoch(-1)
                    .with_topics(None),
            ]),
        };
        let answer = coordinator.call_in("OffsetFetch", version, &request)?;
        let what = || format!("offsets of group {group_id}");
        AdminError::check(what, answer.error_code, None)?;
        let mut offsets = BTreeMap::new();
        for topic in &answer.topics {
            for partition in topic
                .partitions
                .iter()
                .filter(|partition| partition.committed_offset >= 0)
            {
                offsets.insert(
                    (topic.name.to_string(), partition.partition_index),
                    partition.committed_offset,
                );
            }
        }
        for group in &answer.groups {
            AdminError::check(what, group.error_code, None)?;
            for topic in &group.topics {
                for partition in topic
                    .partitions
                    .iter()
                    .filter(|partition| partition.committed_offset >= 0)
                {
                    offsets.insert(
                        (topic.name.to_string(), partition.partition_index),
                        partition.committed_offset,
                    );
                }
            }
        }
        Ok(offsets)
    })
}

/// The topics of some partitions that exist.
pub(super) fn topics_of<'a>(
    cluster: &mut Cluster,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> Result<Vec<Topic>> {
    let names: BTreeSet<&str> = partitions.map(|(name, _)| name.as_str()).collect();
    let all = cluster.topics()?;
    Ok(all
        .into_iter()
        .filter(|topic| names.contains(topic.name.as_str()))
        .collect())
}

fn lag(cluster: &mut Cluster, groups: &[String]) -> Result<Table> {
    let groups = match groups {
        [] => all_groups(cluster, &[], &[])?
            .into_iter()
            .map(|group| group.id)
            .collect(),
        groups => groups.to_vec(),
    };
    let columns = [
        "group",
        "topic",
        "partition",
        "committed",
        "log_end",
        "lag",
        "member",
        "client",
        "host",
    ];
    let mut table = Table::new(&columns);
    for id in &groups {
        let owners = owners(describe_one(cluster, id)?);
        let committed = committed(cluster, id)?;
        let partitions: BTreeSet<&TopicPartition> = committed.keys().chain(owners.keys()).collect();
        let topics = topics_of(cluster, partitions.iter().copied())?;
        let exists = |wanted: &TopicPartition| {
            let topic = topics.iter().find(|topic| topic.name == wanted.0);
            topic.is_some_and(|topic| topic.partitions.iter().any(|partition| partition.index == wanted.1))
        };
        let partitions: Vec<TopicPartition> = partitions.into_iter().filter(|p| exists(p)).cloned().collect();
        let ends: Vec<(TopicPartition, i64)> = partitions.iter().map(|p| (p.clone(), -1)).collect();
        let ends = cluster.offsets(&ends, &topics)?;
        for partition in &partitions {
            let end = ends.get(partition).and_then(|found| found.offset);
            let committed = committed.get(partition).copied();
            let owner = owners.get(partition);
            table.row([
                json!(id),
                json!(partition.0),
                json!(partition.1),
                json!(committed),
                json!(end),
                json!(end.zip(committed).map(|(end, committed)| (end - committed).max(0))),
                json!(owner.map(|owner| &owner.0)),
                json!(owner.map(|owner| &owner.1)),
                json!(owner.map(|owner| &owner.2)),
            ]);
        }
    }
    Ok(table)
}

/// Partition → member id, client id, host.
fn owners(group: Described) -> BTreeMap<TopicPartition, (String, String, String)> {
    let members = group.members.into_iter();
    let pairs = members.flat_map(|member| {
        let owner = (member.id, member.client_id, member.host);
        member.owns.into_iter().map(move |partition| (partition, owner.clone()))
    });
    pairs.collect()
}

fn delete(cluster: &mut Cluster, groups: &[String], dry_run: bool) -> Result<Table> {
    let mut table = Table::new(&["group", "result"]);
    for id in groups {
        let what = || format!("deleting group {id}");
        if dry_run {
            let group = describe_one(cluster, id)?;
            let result = match (group.state.as_str(), group.members.len()) {
                ("Dead", _) => "does not exist",
                (_, 0) => "would be deleted",
                _ => "has members; stop them first",
            };
            table.row([json!(id), json!(result)]);
            continue;
        }
        let code = cluster.patiently(|cluster| {
            let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(id))]);
            let answer = cluster.coordinator(id)?.call("DeleteGroups", &request)?;
            let code = answer.results.first().map_or(0, |result| result.error_code);
            match AdminError::check(what, code, None) {
                Err(error) if error.is_about_coordinator() => Err(error),
                _ => Ok(code),
            }
        })?;
        let result = table.outcome("deleted", AdminError::check(what, code, None));
        table.row([json!(id), result]);
    }
    Ok(table)
}

fn delete_offsets(cluster: &mut Cluster, group_id: &str, wanted: &[Selection], dry_run: bool) -> Result<Table> {
    let committed = committed(cluster, group_id)?;
    let chosen: Vec<TopicPartition> = committed
        .keys()
        .filter(|(topic, partition)| wanted.iter().any(|selection| selection.contains(topic, *partition)))
        .cloned()
        .collect();
    let mut table = Table::new(&["group", "topic", "partition", "result"]);
    let mut results: BTreeMap<TopicPartition, i16> = chosen.iter().map(|partition| (partition.clone(), 0)).collect();
    if !dry_run && !chosen.is_empty() {
        let mut by_topic: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition) in &chosen {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(*partition);
            by_topic.entry(topic).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, Vec<OffsetDeleteRequestPartition>)| {
            OffsetDeleteRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        };
        let request = OffsetDeleteRequest::default()
            .with_group_id(GroupId(text(group_id)))
            .with_topics(by_topic.into_iter().map(topic).collect());
        let answer = cluster.patiently(|cluster| {
            let answer = cluster.coordinator(group_id)?.call("OffsetDelete", &request)?;
            AdminError::check(
                || format!("deleting offsets of group {group_id}"),
                answer.error_code,
                None,
            )?;
            Ok(answer)
        })?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                results.insert(
                    (topic.name.to_string(), partition.partition_index),
                    partition.error_code,
                );
            }
        }
    }
    let done = if dry_run { "would be deleted" } else { "deleted" };
    for ((topic, partition), code) in results {
        let what = || format!("deleting the offset of group {group_id} for {topic} {partition}");
        let result = table.outcome(done, AdminError::check(what, code, None));
        table.row([json!(group_id), json!(topic), json!(partition), result]);
    }
    Ok(table)
}
