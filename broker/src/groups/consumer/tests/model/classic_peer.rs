//! A consumer as clients are: the classic protocol, with a leader that assigns when the group is a classic one.

use super::super::{Bench, Machine, Part, classic_assignment, classic_subscription, client, text};
use super::peer::{Kind, Peer};
use crate::groups::Waiter;
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use protocol::ErrorCode;
use protocol::consumer_protocol::{Assignment, OwnedPartitions, Subscription};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    MustJoin,
    Joins(Waiter),
    /// With what the leader gives to whom.
    MustSync(Vec<SyncGroupRequestAssignment>),
    Syncs(Waiter),
    Steady,
}

impl Peer {
    pub(super) fn act_classic(&mut self, bench: &mut Bench, migrates: bool, loses: bool) -> String {
        match self.stage.clone() {
            Stage::MustJoin => self.join(bench, migrates),
            Stage::Joins(waiter) => match bench.join_reply(waiter) {
                Some(_) if loses => self.go_to(Stage::MustJoin, "joined"),
                Some(reply) => self.joined(bench, &reply),
                None => "waits for its join".to_owned(),
            },
            Stage::MustSync(assignments) => self.sync(bench, assignments),
            Stage::Syncs(waiter) => match bench.sync_reply(waiter) {
                Some(_) if loses => self.go_to(Stage::MustJoin, "synced"),
                Some(reply) if reply.error_code == 0 => self.assigned(&reply.assignment, bench),
                Some(reply) => self.failed(reply.error_code),
                None => "waits for its sync".to_owned(),
            },
            Stage::Steady if self.changed => self.join(bench, migrates),
            Stage::Steady => self.beat_classic(bench, loses),
        }
    }

    fn go_to(&mut self, stage: Stage, said: &str) -> String {
        self.stage = stage;
        said.to_owned()
    }

    fn join(&mut self, bench: &mut Bench, migrates: bool) -> String {
        let stand_in = matches!(&bench.machine, Machine::Consumer(group) if group.replaced_by_classic());
        if !migrates && (stand_in || matches!(bench.machine, Machine::None)) {
            return "waits for a consumer group".to_owned();
        }
        if stand_in {
            // What a shard does: tombstones first.
            let tombstones = bench.group().tombstones();
            tombstones.iter().for_each(|record| bench.replay(record));
            bench.log.extend(tombstones);
        }
        if self.kind == Kind::Eager {
            self.lose_everything();
        }
        self.unreported.clear();
        self.changed = false;
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let metadata = classic_subscription(&names, &self.has);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(metadata);
        let request = JoinGroupRequest::default()
            .with_group_id(text(super::super::GROUP).into())
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(20_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let waiter = bench.join(&client(9), &request);
        self.go_to(Stage::Joins(waiter), "joins")
    }

    fn joined(&mut self, bench: &Bench, reply: &JoinGroupResponse) -> String {
        match ErrorCode::from_code(reply.error_code) {
            Some(ErrorCode::None) => {
                self.id = reply.member_id.to_string();
                self.epoch = reply.generation_id;
                let leads = !reply.leader.is_empty() && reply.leader == reply.member_id && !reply.skip_assignment;
                let assignments = if leads { assign(bench, reply) } else { Vec::new() };
                self.go_to(Stage::MustSync(assignments), "joined")
            }
            Some(ErrorCode::MemberIdRequired) => {
                self.id = reply.member_id.to_string();
                self.go_to(Stage::MustJoin, "has an id")
            }
            _ => self.failed(reply.error_code),
        }
    }

    fn sync(&mut self, bench: &mut Bench, assignments: Vec<SyncGroupRequestAssignment>) -> String {
        let request = SyncGroupRequest::default()
            .with_group_id(text(super::super::GROUP).into())
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_generation_id(self.epoch)
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments);
        let waiter = bench.sync(&request);
        self.go_to(Stage::Syncs(waiter), "syncs")
    }

    fn assigned(&mut self, bytes: &[u8], bench: &Bench) -> String {
        let assigned = classic_assignment(bytes);
        self.unreported.extend(self.has.difference(&assigned).cloned());
        self.has = assigned;
        self.forget_gone(bench);
        let gave_up = !self.unreported.is_empty();
        self.go_to(if gave_up { Stage::MustJoin } else { Stage::Steady }, "is assigned")
    }

    fn beat_classic(&mut self, bench: &mut Bench, loses: bool) -> String {
        let request = HeartbeatRequest::default()
            .with_group_id(text(super::super::GROUP).into())
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_generation_id(self.epoch);
        let (code, done) = bench.classic_beat(&request);
        if loses || !done {
            return "beats for nothing".to_owned();
        }
        match code {
            ErrorCode::None => "beats".to_owned(),
            code => self.failed(code.code()),
        }
    }

    fn failed(&mut self, code: i16) -> String {
        match ErrorCode::from_code(code) {
            Some(ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator) => {}
            Some(ErrorCode::IllegalGeneration) => self.lose_everything(),
            Some(ErrorCode::UnknownMemberId) => {
                self.lose_everything();
                self.id.clear();
            }
            Some(ErrorCode::FencedInstanceId) => self.is_gone = true,
            code => panic!("{} got {code:?}", self.name),
        }
        self.go_to(Stage::MustJoin, &format!("hears {code}"))
    }

    pub(super) fn leave_classic(&mut self, bench: &mut Bench) {
        if self.id.is_empty() {
            return;
        }
        let member = MemberIdentity::default()
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(text));
        let request = LeaveGroupRequest::default()
            .with_group_id(text(super::super::GROUP).into())
            .with_members(vec![member]);
        bench.leave(5, &request);
    }
}

/// What a leader does: each partition to the member that wants it and has least, but not to another while somebody owns it.
fn assign(bench: &Bench, reply: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
    let mut given: BTreeMap<String, BTreeSet<Part>> = BTreeMap::new();
    let mut wants: BTreeMap<String, Subscription> = BTreeMap::new();
    for member in &reply.members {
        given.insert(member.member_id.to_string(), BTreeSet::new());
        wants.insert(
            member.member_id.to_string(),
            Subscription::decode(&member.metadata).expect("a subscription"),
        );
    }
    let owned_by = |subscription: &Subscription, part: &Part| {
        let mut topics = subscription.owned_partitions.iter();
        topics.any(|topic| *topic.topic == *part.0 && topic.partitions.contains(&part.1))
    };
    let names: Vec<&str> = bench.topics.by_name.keys().map(|name| &**name).collect();
    for part in bench.topics.all(&names) {
        let subscribers = wants
            .iter()
            .filter(|(_, wanted)| wanted.topics.iter().any(|topic| **topic == *part.0));
        let least = subscribers.map(|(id, _)| id.clone()).min_by_key(|id| given[id].len());
        let Some(id) = least else { continue };
        let is_taken = wants
            .iter()
            .any(|(other, wanted)| *other != id && owned_by(wanted, &part));
        if !is_taken {
            given.get_mut(&id).expect("a member").insert(part);
        }
    }
    let assignments = given.into_iter().map(|(id, parts)| {
        let mut by_topic: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (name, partition) in parts {
            by_topic.entry(name).or_default().push(partition);
        }
        let partitions = by_topic.into_iter().map(|(topic, partitions)| OwnedPartitions {
            topic: Arc::from(topic),
            partitions,
        });
        let assignment = Assignment {
            assigned_partitions: partitions.collect(),
            user_data: None,
        };
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&id))
            .with_assignment(Bytes::from(assignment.encode(1)))
    });
    assignments.collect()
}
