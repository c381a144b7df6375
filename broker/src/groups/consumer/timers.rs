//! What a group keeps in memory only: sessions, deadlines, when topics were looked at last.
//!
//! One timer of each kind a group. A heartbeat moves the member's own deadline and nothing else; when the timer fires, the
//! members that are due are fenced and it is set for the next one.

use super::member::{Member, MemberState};
use super::regex::Scan;
use super::{ConsumerGroup, timers};
use crate::groups::{Effects, Env, TimerKind};
use std::collections::HashMap;
use std::sync::Arc;

/// When fencing is tried again, should the log refuse its records.
const RETRY_MS: i64 = 500;

/// Memory of a group that no record holds.
#[derive(Debug, Default)]
pub(super) struct Soft {
    /// When members' sessions end.
    sessions: HashMap<Arc<str>, i64>,
    sessions_timer: Option<i64>,
    /// Members that have to do something by some time.
    deadlines: HashMap<Arc<str>, Deadlines>,
    rebalance_timer: Option<i64>,
    /// The topics were looked at in this version, which led to this group epoch.
    checked: Option<(u64, i32)>,
    /// The topics' version that patterns were looked up in last; `None`: not since the group was loaded.
    pub(super) regex_version: Option<u64>,
    pub(super) regex_timer: Option<i64>,
    /// A look-up under way.
    pub(super) scan: Option<Scan>,
}

/// What a member has to do by when.
#[derive(Debug, Default)]
struct Deadlines {
    /// Give partitions up, while it is in this epoch.
    revoke: Option<(i64, i32)>,
    /// Classic protocol: join again.
    join: Option<i64>,
    /// Classic protocol: sync.
    sync: Option<i64>,
}

impl Deadlines {
    fn next(&self) -> Option<i64> {
        let revoke = self.revoke.map(|(at_ms, _)| at_ms);
        [revoke, self.join, self.sync].into_iter().flatten().min()
    }

    /// Whether something that still counts is due.
    fn is_missed(&self, member: &Member, now_ms: i64) -> bool {
        let revoke = self
            .revoke
            .is_some_and(|(at_ms, epoch)| at_ms <= now_ms && epoch == member.epoch);
        revoke || self.join.is_some_and(|at_ms| at_ms <= now_ms) || self.sync.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Forgets what is due, or tries it again later.
    fn postpone(&mut self, now_ms: i64, retry: bool) {
        let at = |at_ms: i64| (at_ms > now_ms).then_some(at_ms).or(retry.then_some(now_ms + RETRY_MS));
        self.revoke = self
            .revoke
            .and_then(|(at_ms, epoch)| at(at_ms).map(|at_ms| (at_ms, epoch)));
        self.join = self.join.and_then(at);
        self.sync = self.sync.and_then(at);
    }
}

impl Soft {
    /// The member is gone: nothing of it may hit somebody who comes with its id.
    pub(super) fn forget(&mut self, member_id: &Arc<str>) {
        self.sessions.remove(member_id);
        self.deadlines.remove(member_id);
    }

    /// Whether the topics are as they were when the group's epoch last took them in. An epoch that the log refused does not
    /// count.
    pub(super) fn is_checked(&self, version: u64, epoch: i32) -> bool {
        self.checked
            .is_some_and(|(checked, leads_to)| checked == version && leads_to <= epoch)
    }

    pub(super) fn set_checked(&mut self, version: u64, epoch: i32) {
        self.checked = Some((version, epoch));
    }

    pub(super) fn start_session(
        &mut self,
        group_id: &Arc<str>,
        member_id: &Arc<str>,
        deadline_ms: i64,
        effects: &mut Effects,
    ) {
        match self.sessions.get_mut(member_id) {
            Some(deadline) => *deadline = deadline_ms,
            None => {
                self.sessions.insert(Arc::clone(member_id), deadline_ms);
            }
        }
        timers::arm(
            &mut self.sessions_timer,
            group_id,
            TimerKind::Sessions,
            deadline_ms,
            effects,
        );
    }

    pub(super) fn watch_revocation(
        &mut self,
        group_id: &Arc<str>,
        member: &Member,
        deadline_ms: i64,
        effects: &mut Effects,
    ) {
        let revokes = member.state == MemberState::UnrevokedPartitions;
        let revoke = revokes.then_some((deadline_ms, member.epoch));
        self.set(&member.id, |deadlines| deadlines.revoke = revoke);
        if revokes {
            self.arm_rebalance(group_id, deadline_ms, effects);
        }
    }

    /// A member of the classic protocol must join again, unless it was told so before.
    pub(super) fn expect_join(
        &mut self,
        group_id: &Arc<str>,
        member_id: &Arc<str>,
        deadline_ms: i64,
        effects: &mut Effects,
    ) {
        self.set(member_id, |deadlines| {
            deadlines.join = deadlines.join.or(Some(deadline_ms))
        });
        self.arm_rebalance(group_id, deadline_ms, effects);
    }

    /// A member of the classic protocol joined and must sync.
    pub(super) fn expect_sync(
        &mut self,
        group_id: &Arc<str>,
        member_id: &Arc<str>,
        deadline_ms: i64,
        effects: &mut Effects,
    ) {
        self.set(member_id, |deadlines| {
            deadlines.join = None;
            deadlines.sync = Some(deadline_ms);
        });
        self.arm_rebalance(group_id, deadline_ms, effects);
    }

    fn arm_rebalance(&mut self, group_id: &Arc<str>, deadline_ms: i64, effects: &mut Effects) {
        let timer = &mut self.rebalance_timer;
        timers::arm(timer, group_id, TimerKind::Rebalance, deadline_ms, effects);
    }

    pub(super) fn synced(&mut self, member_id: &Arc<str>) {
        self.set(member_id, |deadlines| deadlines.sync = None);
    }

    fn set(&mut self, member_id: &Arc<str>, change: impl FnOnce(&mut Deadlines)) {
        let deadlines = self.deadlines.entry(Arc::clone(member_id)).or_default();
        change(deadlines);
        if deadlines.next().is_none() {
            self.deadlines.remove(member_id);
        }
    }
}

/// Sets a timer unless it fires early enough.
pub(super) fn arm(
    timer: &mut Option<i64>,
    group_id: &Arc<str>,
    kind: TimerKind,
    deadline_ms: i64,
    effects: &mut Effects,
) {
    if timer.is_none_or(|at_ms| at_ms > deadline_ms) {
        *timer = Some(deadline_ms);
        effects.set_timer(group_id, kind, deadline_ms);
    }
}

impl ConsumerGroup {
    /// A timer of this group fired.
    pub fn on_timer(&mut self, env: &mut Env, kind: &TimerKind) -> Effects {
        match kind {
            TimerKind::Sessions => self.expire_sessions(env),
            TimerKind::Rebalance => self.expire_deadlines(env),
            TimerKind::Regex => self.look_up_regexes(env),
            // Of a classic group that had this name.
            TimerKind::Join | TimerKind::Sync => Effects::none(),
        }
    }

    /// All records were replayed: members get fresh sessions and deadlines.
    pub fn loaded(&mut self, env: &mut Env) -> Effects {
        let mut effects = self.expire_sessions(env);
        for member in self.members.values() {
            if member.state == MemberState::UnrevokedPartitions {
                let deadline_ms = env.now_ms + i64::from(member.rebalance_timeout_ms.max(0));
                self.soft
                    .watch_revocation(&self.group_id, member, deadline_ms, &mut effects);
            }
        }
        effects
    }

    /// Fences members that were silent for too long; those that have no session yet get one.
    fn expire_sessions(&mut self, env: &mut Env) -> Effects {
        self.soft.sessions_timer = None;
        let mut due = Vec::new();
        for member in self.members.values() {
            match self.soft.sessions.get_mut(&member.id) {
                Some(deadline) if *deadline <= env.now_ms => {
                    due.push(Arc::clone(&member.id));
                    *deadline = env.now_ms + RETRY_MS;
                }
                Some(_) => {}
                None => {
                    let deadline_ms = env.now_ms + self.session_timeout_ms(env, member);
                    self.soft.sessions.insert(Arc::clone(&member.id), deadline_ms);
                }
            }
        }
        self.soft.sessions.retain(|id, _| self.members.contains_key(id));
        let next = self.soft.sessions.values().min().copied();
        let mut effects = self.fence_for(env, &due, "its session ended");
        if let Some(deadline_ms) = next {
            timers::arm(
                &mut self.soft.sessions_timer,
                &self.group_id,
                TimerKind::Sessions,
                deadline_ms,
                &mut effects,
            );
        }
        effects
    }

    /// Fences members that did not give up partitions, or did not join or sync, in time (contract 85).
    fn expire_deadlines(&mut self, env: &mut Env) -> Effects {
        self.soft.rebalance_timer = None;
        let mut due = Vec::new();
        self.soft.deadlines.retain(|id, deadlines| {
            let Some(member) = self.members.get(id) else {
                return false;
            };
            let missed = deadlines.is_missed(member, env.now_ms);
            if missed {
                due.push(Arc::clone(id));
            }
            deadlines.postpone(env.now_ms, missed);
            deadlines.next().is_some()
        });
        due.sort_unstable();
        let next = self.soft.deadlines.values().filter_map(Deadlines::next).min();
        let mut effects = self.fence_for(env, &due, "it did not follow a rebalance in time");
        if let Some(at_ms) = next {
            timers::arm(
                &mut self.soft.rebalance_timer,
                &self.group_id,
                TimerKind::Rebalance,
                at_ms,
                &mut effects,
            );
        }
        effects
    }

    fn fence_for(&mut self, env: &mut Env, due: &[Arc<str>], reason: &str) -> Effects {
        for member_id in due {
            tracing::info!(group_id = %self.group_id, %member_id, "member fenced: {reason}");
        }
        self.fence(env, due)
    }
}
