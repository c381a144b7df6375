//! A classic group that comes from elsewhere: from its record, or from a consumer group; and its end.

use super::member::{Member, without_repeats};
use super::{ClassicGroup, ClassicState};
use crate::groups::{Effects, Env};
use bytes::Bytes;
use kafka_protocol::messages::SyncGroupResponse;
use protocol::ErrorCode;
use protocol::group_records::{GroupMember, GroupMetadataValue};
use std::sync::Arc;

/// A member that comes from a consumer group.
#[derive(Clone, Debug)]
pub struct ConvertedMember {
    /// Its id stays.
    pub member_id: Arc<str>,
    /// Of static members.
    pub group_instance_id: Option<Arc<str>>,
    /// As the client calls itself.
    pub client_id: Arc<str>,
    /// Its address, with a leading slash.
    pub client_host: Arc<str>,
    /// How long it may take to rejoin, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, milliseconds.
    pub session_timeout_ms: i32,
    /// The protocols it supports, by preference: name and metadata.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

impl ClassicGroup {
    /// The group as a record has it; its members get fresh sessions. Call it for the last record of a group once the log
    /// is read, or for each: the last wins. A group that has become too large in the meantime rebalances.
    pub fn from_record(env: &mut Env, group_id: Arc<str>, value: &GroupMetadataValue) -> (ClassicGroup, Effects) {
        let mut group = ClassicGroup::new(group_id, env.now_ms);
        group.generation_id = value.generation;
        group.protocol_type = Some(Arc::clone(&value.protocol_type)).filter(|name| !name.is_empty());
        group.protocol_name = value.protocol.clone();
        group.state_since_ms = Some(value.current_state_timestamp).filter(|at_ms| *at_ms >= 0);
        group.has_record = true;
        let protocol = value.protocol.clone().unwrap_or_else(|| Arc::from(""));
        for member in &value.members {
            group.add_from_record(&protocol, member);
        }
        group.leader = value.leader.clone().filter(|leader| group.members.contains(leader));
        group.leader_if_none();
        group.subscribed = group.compute_subscribed_topics();
        let mut effects = Effects::none();
        if !group.members.is_empty() {
            group.protocol_name.get_or_insert(protocol);
            group.state = ClassicState::Stable;
            group.renew_all_sessions(env, &mut effects);
            if group.members.len() > env.config.group_max_size {
                group.prepare_rebalance(env, "the group is larger than group.max.size", &mut effects);
            }
        }
        (group, effects)
    }

    /// The group that takes the place of a consumer group: protocol type `consumer`, its protocol voted for. `assignment`
    /// gives a member's assignment in the format of its metadata for the chosen protocol. The effects have the group's
    /// record (append it behind the tombstones) and its timers; `rebalance` starts one (a member left the consumer group).
    pub fn converted(
        env: &mut Env,
        group_id: Arc<str>,
        generation_id: i32,
        members: Vec<ConvertedMember>,
        assignment: &mut dyn FnMut(&ConvertedMember, &str, &Bytes) -> Bytes,
        rebalance: bool,
    ) -> (ClassicGroup, Effects) {
        let mut group = ClassicGroup::new(group_id, env.now_ms);
        group.generation_id = generation_id;
        group.protocol_type = Some(Arc::from(super::CONSUMER_PROTOCOL_TYPE));
        group.has_record = true;
        for from in &members {
            let protocols = without_repeats(from.protocols.clone());
            let instance = from.group_instance_id.clone();
            let mut member = Member::new(Arc::clone(&from.member_id), instance, protocols);
            member.client_id = Arc::clone(&from.client_id);
            member.client_host = Arc::clone(&from.client_host);
            member.rebalance_timeout_ms = from.rebalance_timeout_ms;
            member.session_timeout_ms = from.session_timeout_ms;
            group.members.insert(member);
        }
        group.leader_if_none();
        group.protocol_name = group.select_protocol();
        group.subscribed = group.compute_subscribed_topics();
        let protocol = group.protocol_name.clone().unwrap_or_else(|| Arc::from(""));
        for from in &members {
            if let Some(member) = group.members.get_mut(&from.member_id) {
                member.assignment = assignment(from, &protocol, &member.metadata(&protocol));
            }
        }
        let mut effects = Effects::none();
        if !group.members.is_empty() {
            group.state = ClassicState::Stable;
        }
        effects.records.push(group.snapshot(None));
        group.renew_all_sessions(env, &mut effects);
        if rebalance && !group.members.is_empty() {
            group.prepare_rebalance(env, "the group was a consumer group", &mut effects);
        }
        (group, effects)
    }

    /// Ends the group, because it was deleted or became a consumer group: whoever waits gets `code` (27 at a conversion).
    pub fn dissolve(&mut self, code: ErrorCode) -> Effects {
        let mut effects = Effects::none();
        let ids: Vec<Arc<str>> = self
            .members
            .iter()
            .map(|member| Arc::clone(&member.member_id))
            .collect();
        for member_id in ids {
            if let Some(waiter) = self.members.take_join(&member_id) {
                effects.join_reply(waiter, super::join_error(&member_id, code));
            }
        }
        for member in self.members.iter_mut() {
            if let Some(waiter) = member.sync_waiter.take() {
                effects.sync_reply(waiter, SyncGroupResponse::default().with_error_code(code.code()));
            }
        }
        self.pending.clear();
        (self.join_timer, self.sync_at_ms, self.sessions_at_ms) = (None, None, None);
        self.state = ClassicState::Dead;
        effects
    }

    /// A record may hold anything: ids that are there twice are taken once.
    fn add_from_record(&mut self, protocol: &Arc<str>, from: &GroupMember) {
        let instance = from.group_instance_id.clone();
        let is_known = self.members.contains(&from.member_id)
            || instance
                .as_deref()
                .is_some_and(|instance| self.members.static_id(instance).is_some());
        if is_known {
            return;
        }
        let protocols = without_repeats(vec![(Arc::clone(protocol), from.subscription.clone())]);
        let mut member = Member::new(Arc::clone(&from.member_id), instance, protocols);
        member.client_id = Arc::clone(&from.client_id);
        member.client_host = Arc::clone(&from.client_host);
        member.session_timeout_ms = from.session_timeout_ms;
        member.rebalance_timeout_ms = match from.rebalance_timeout_ms {
            // Records of releases that had one timeout for both.
            -1 => from.session_timeout_ms,
            timeout_ms => timeout_ms,
        };
        member.assignment = from.assignment.clone();
        self.members.insert(member);
    }

    fn leader_if_none(&mut self) {
        if self.leader.is_none() {
            self.leader = self.members.iter().next().map(|member| Arc::clone(&member.member_id));
        }
    }
}
