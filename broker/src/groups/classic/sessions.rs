//! Who has been silent for too long. One timer a group: a heartbeat moves its member's deadline, and the timer is looked at
//! when it fires. What the removal of a member leads to never lives here.

use super::{ClassicGroup, ClassicState};
use crate::groups::{Effects, Env, TimerKind};
use std::sync::Arc;

/// A new member whose first join is parked gets this long (contract 74): it does not know its id and cannot send
/// heartbeats, and when its connection breaks it comes back as another member.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// Ids that were given out to clients which have not come back with them. Beyond this the one that expires first is
/// forgotten; its client is told 25 and asks for another.
pub(super) const PENDING_MEMBERS_MAX: usize = 10_000;

impl ClassicGroup {
    /// The member was heard of: it has its session timeout again.
    pub(super) fn renew_session(&mut self, env: &Env, member_id: &str, effects: &mut Effects) {
        let timeout_ms = self
            .members
            .get(member_id)
            .map_or(0, |member| member.session_timeout_ms);
        self.set_deadline(env, member_id, i64::from(timeout_ms), effects);
    }

    /// The member has `timeout_ms` from now.
    pub(super) fn set_deadline(&mut self, env: &Env, member_id: &str, timeout_ms: i64, effects: &mut Effects) {
        let at_ms = env.now_ms.saturating_add(timeout_ms.max(0));
        if let Some(member) = self.members.get_mut(member_id) {
            member.deadline_ms = Some(at_ms);
            self.wake_for_sessions(at_ms, effects);
        }
    }

    /// Everybody has their session timeout from now.
    pub(super) fn renew_all_sessions(&mut self, env: &Env, effects: &mut Effects) {
        for member in self.members.iter_mut() {
            let timeout_ms = i64::from(member.session_timeout_ms.max(0));
            member.deadline_ms = Some(env.now_ms.saturating_add(timeout_ms));
        }
        self.wake_for_next_session(effects);
    }

    /// An id was given out; its client has a session timeout to join with it.
    pub(super) fn add_pending(&mut self, env: &Env, member_id: &str, timeout_ms: i64, effects: &mut Effects) {
        assert!(!self.members.contains(member_id), "a member is not pending");
        if self.pending.len() >= PENDING_MEMBERS_MAX {
            let first = self.pending.iter().min_by_key(|(_, at_ms)| **at_ms);
            let first = first.map(|(member_id, _)| Arc::clone(member_id));
            first.and_then(|first| self.pending.remove(&first));
        }
        let at_ms = env.now_ms.saturating_add(timeout_ms);
        self.pending.insert(Arc::from(member_id), at_ms);
        self.wake_for_sessions(at_ms, effects);
    }

    /// The sessions timer fired.
    pub(super) fn expire_sessions(&mut self, env: &mut Env, effects: &mut Effects) {
        let Some(at_ms) = self.sessions_at_ms else { return };
        if at_ms > env.now_ms {
            effects.set_timer(&self.group_id, TimerKind::Sessions, at_ms);
            return;
        }
        self.sessions_at_ms = None;
        let pending_before = self.pending.len();
        self.pending.retain(|_, at_ms| *at_ms > env.now_ms);
        let mut silent = Vec::new();
        for member in self.members.iter_mut() {
            if member.deadline_ms.is_some_and(|at_ms| at_ms <= env.now_ms) {
                if member.needs_no_heartbeat() {
                    member.deadline_ms = None;
                } else {
                    silent.push(Arc::clone(&member.member_id));
                }
            }
        }
        for member_id in &silent {
            tracing::info!(group_id = %self.group_id, %member_id, "member was silent for its session timeout, removed");
            self.remove_member(member_id, effects);
        }
        let someone_went = !silent.is_empty() || self.pending.len() < pending_before;
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance if !silent.is_empty() => {
                self.prepare_rebalance(env, "members were silent for their session timeout", effects);
            }
            ClassicState::PreparingRebalance if someone_went && self.all_joined() => self.complete_join(env, effects),
            _ => {}
        }
        self.wake_for_next_session(effects);
    }

    /// Sets the timer for the next deadline, if there is one.
    pub(super) fn wake_for_next_session(&mut self, effects: &mut Effects) {
        let of_members = self.members.iter().filter_map(|member| member.deadline_ms);
        if let Some(at_ms) = of_members.chain(self.pending.values().copied()).min() {
            self.wake_for_sessions(at_ms, effects);
        }
    }

    fn wake_for_sessions(&mut self, at_ms: i64, effects: &mut Effects) {
        if self.sessions_at_ms.is_none_or(|set| at_ms < set) {
            self.sessions_at_ms = Some(at_ms);
            effects.set_timer(&self.group_id, TimerKind::Sessions, at_ms);
        }
    }
}
