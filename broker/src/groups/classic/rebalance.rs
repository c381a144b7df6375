//! From one generation to the next: the join phase begins, ends, and becomes a generation. Who asked for it never lives
//! here.

use super::write::Written;
use super::{ClassicGroup, ClassicState};
use crate::groups::{Effects, Env, TimerKind};
use bytes::Bytes;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::consumer_protocol::Subscription;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long the group waits at least before it looks again whether one of its static members came back.
const NOBODY_JOINED_RETRY_MS: i64 = 1_000;

/// How the join phase ends when not everybody joins before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinTimer {
    at_ms: i64,
    /// Of a group that was empty: its delay may be extended.
    initial: Option<InitialDelay>,
}

/// The initial delay (contract 72).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InitialDelay {
    /// The step that is being waited.
    delay_ms: i64,
    /// What of the rebalance timeout is left for more steps.
    remaining_ms: i64,
}

impl ClassicGroup {
    /// Something changed: a rebalance begins, or the one that is on may be complete now.
    pub(super) fn rebalance_or_complete(&mut self, env: &mut Env, reason: &str, effects: &mut Effects) {
        match self.state {
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(env, reason, effects);
            }
            ClassicState::PreparingRebalance => self.complete_join_if_all_joined(env, effects),
            ClassicState::Dead => {}
        }
    }

    /// Begins the join phase. Who waits in a sync is told to join again.
    pub(super) fn prepare_rebalance(&mut self, env: &mut Env, reason: &str, effects: &mut Effects) {
        assert!(
            !matches!(self.state, ClassicState::PreparingRebalance | ClassicState::Dead),
            "a rebalance begins once"
        );
        if self.state == ClassicState::CompletingRebalance {
            self.fail_syncs(env, ErrorCode::RebalanceInProgress, effects);
        }
        self.members.expect_no_syncs();
        self.sync_at_ms = None;
        self.is_initial = self.state == ClassicState::Empty;
        self.transition(env, ClassicState::PreparingRebalance);
        tracing::info!(group_id = %self.group_id, generation_id = self.generation_id, reason, "rebalance begins");
        if self.is_initial {
            let delay_ms = env.config.group_initial_rebalance_delay_ms.max(0);
            let remaining_ms = (self.members.rebalance_timeout_ms() - delay_ms).max(0);
            self.member_was_added = false;
            self.wait_for_joins(env, delay_ms, Some(InitialDelay { delay_ms, remaining_ms }), effects);
        } else if self.all_joined() {
            self.complete_join(env, effects);
        } else {
            self.wait_for_joins(env, self.members.rebalance_timeout_ms(), None, effects);
        }
    }

    /// The join timer fired.
    pub(super) fn join_timer_fired(&mut self, env: &mut Env, effects: &mut Effects) {
        let Some(timer) = self.join_timer else { return };
        if timer.at_ms > env.now_ms {
            effects.set_timer(&self.group_id, TimerKind::Join, timer.at_ms);
            return;
        }
        assert_eq!(
            self.state,
            ClassicState::PreparingRebalance,
            "only a join phase has a join timer"
        );
        match timer.initial {
            Some(initial) if self.member_was_added && initial.remaining_ms > 0 => {
                self.member_was_added = false;
                let delay_ms = env
                    .config
                    .group_initial_rebalance_delay_ms
                    .clamp(0, initial.remaining_ms);
                let remaining_ms = (initial.remaining_ms - initial.delay_ms).max(0);
                self.wait_for_joins(env, delay_ms, Some(InitialDelay { delay_ms, remaining_ms }), effects);
            }
            _ => self.complete_join(env, effects),
        }
    }

    /// Ends the join phase when nobody is missing. The first one of a group always takes its initial delay.
    pub(super) fn complete_join_if_all_joined(&mut self, env: &mut Env, effects: &mut Effects) {
        if self.state == ClassicState::PreparingRebalance && !self.is_initial && self.all_joined() {
            self.complete_join(env, effects);
        }
    }

    /// Whether all members joined, and nobody who was given an id is still expected.
    pub(super) fn all_joined(&self) -> bool {
        self.members.joining() == self.members.len() && self.pending.is_empty()
    }

    /// Ends the join phase: dynamic members that are absent are dropped, the others make a generation.
    pub(super) fn complete_join(&mut self, env: &mut Env, effects: &mut Effects) {
        assert_eq!(self.state, ClassicState::PreparingRebalance, "only a join phase ends");
        self.join_timer = None;
        self.drop_absent_members(effects);
        if !self.elect_leader_who_joined() && !self.members.is_empty() {
            // Static members that are all away: their sessions decide.
            let retry_ms = self.members.rebalance_timeout_ms().max(NOBODY_JOINED_RETRY_MS);
            tracing::warn!(group_id = %self.group_id, "no member joined, the rebalance goes on");
            self.wait_for_joins(env, retry_ms, None, effects);
            return;
        }
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(1);
        self.is_initial = false;
        if self.members.is_empty() {
            self.protocol_name = None;
            self.leader = None;
            self.subscribed = self.compute_subscribed_topics();
            self.transition(env, ClassicState::Empty);
            tracing::info!(group_id = %self.group_id, generation_id = self.generation_id, "group is empty");
            self.write(env, Written::Empty, None, effects);
            return;
        }
        self.protocol_name = self.select_protocol();
        self.subscribed = self.compute_subscribed_topics();
        self.transition(env, ClassicState::CompletingRebalance);
        tracing::info!(
            group_id = %self.group_id, generation_id = self.generation_id, members = self.members.len(),
            "generation begins, waiting for the leader's assignment"
        );
        self.answer_joins(effects);
        for member in self.members.iter_mut() {
            member.is_new = false;
        }
        self.renew_all_sessions(env, effects);
        self.members.expect_syncs();
        let at_ms = env.now_ms.saturating_add(self.members.rebalance_timeout_ms());
        self.sync_at_ms = Some(at_ms);
        effects.set_timer(&self.group_id, TimerKind::Sync, at_ms);
    }

    /// The protocol that the members vote for. Those of a group that was loaded or converted may have none in common; the
    /// leader's first is taken then, and the others are asked for nothing that they understand less.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let leader = self.leader.as_deref().unwrap_or_default();
        self.members.select_protocol(leader).or_else(|| {
            let first = self.members.get(leader)?.protocols().first()?;
            Some(Arc::clone(&first.0))
        })
    }

    /// What the leader sees of everybody.
    pub(super) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|member| {
            JoinGroupResponseMember::default()
                .with_member_id(wire_str(&member.member_id))
                .with_group_instance_id(member.group_instance_id.as_deref().map(wire_str))
                .with_metadata(member.metadata(protocol))
        });
        members.collect()
    }

    /// The generation as a member is told of it, without the list of members.
    pub(super) fn generation_response(&self, member_id: &str) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_member_id(wire_str(member_id))
            .with_generation_id(self.generation_id)
            .with_protocol_type(self.protocol_type.as_deref().map(wire_str))
            .with_protocol_name(Some(wire_str(self.protocol_name.as_deref().unwrap_or_default())))
            .with_leader(wire_str(self.leader.as_deref().unwrap_or_default()))
    }

    /// Topics that consumers subscribe to. `None`: another protocol type, or metadata that cannot be read.
    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        let mut last: Option<Bytes> = None;
        for member in self.members.iter() {
            let metadata = member.metadata(protocol);
            // Most members of a group subscribe to the same.
            if last.as_ref() == Some(&metadata) {
                continue;
            }
            topics.extend(Subscription::decode(&metadata).ok()?.topics);
            last = Some(metadata);
        }
        Some(topics)
    }

    fn wait_for_joins(&mut self, env: &Env, timeout_ms: i64, initial: Option<InitialDelay>, effects: &mut Effects) {
        let at_ms = env.now_ms.saturating_add(timeout_ms);
        self.join_timer = Some(JoinTimer { at_ms, initial });
        effects.set_timer(&self.group_id, TimerKind::Join, at_ms);
    }

    fn drop_absent_members(&mut self, effects: &mut Effects) {
        if self.members.joining() == self.members.len() {
            return;
        }
        let absent = self
            .members
            .iter()
            .filter(|member| !member.is_joining() && member.group_instance_id.is_none());
        let absent: Vec<Arc<str>> = absent.map(|member| Arc::clone(&member.member_id)).collect();
        for member_id in &absent {
            tracing::info!(group_id = %self.group_id, %member_id, "member did not join in time, removed");
            self.remove_member(member_id, effects);
        }
    }

    /// The leader stays when it joined. Else another who joined leads; `false`: nobody joined.
    fn elect_leader_who_joined(&mut self) -> bool {
        let leader = self.leader.as_deref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(|leader| leader.is_joining()) {
            return true;
        }
        let joined = self.members.iter().find(|member| member.is_joining());
        let Some(joined) = joined.map(|member| Arc::clone(&member.member_id)) else {
            return false;
        };
        tracing::info!(group_id = %self.group_id, leader = %joined, "the leader did not join in time, another leads");
        self.leader = Some(joined);
        true
    }

    fn answer_joins(&mut self, effects: &mut Effects) {
        let general = self.generation_response("");
        let mut members = self.members_for_leader();
        let ids: Vec<Arc<str>> = self
            .members
            .iter()
            .map(|member| Arc::clone(&member.member_id))
            .collect();
        for member_id in ids {
            if let Some(waiter) = self.members.take_join(&member_id) {
                let mut response = general.clone().with_member_id(wire_str(&member_id));
                if self.is_leader(&member_id) {
                    response.members = std::mem::take(&mut members);
                }
                effects.join_reply(waiter, response);
            }
        }
    }
}

/// A string as responses have it.
pub(super) fn wire_str(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
