//! How a member comes from what it has to what it is to have: give up first, then receive what others gave up.
//!
//! A partition goes to its new owner only after the old one stopped reporting it (contract 85). Worked example: members a and b,
//! epoch 2 takes partition 1 from a. At its next heartbeat a is told to keep 0 (unrevoked, still epoch 1), b goes to epoch 2 with
//! nothing (unreleased). When a reports `[0]` it goes to epoch 2 (stable); b's next heartbeat gives it 1.

use super::member::{Member, MemberState, Owned, Tp, owns};
use protocol::types::TopicId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a member is reconciled with.
pub(super) struct Goal<'a> {
    /// The target assignment's epoch.
    pub(super) epoch: i32,
    /// What the target gives the member, sorted.
    pub(super) partitions: &'a [Tp],
    /// Topics that the member is subscribed to and that exist.
    pub(super) subscribed: &'a BTreeSet<TopicId>,
    /// The subscription changed with this request: what is no longer subscribed goes, whatever the target says.
    pub(super) subscription_changed: bool,
    /// What the member says it owns; `None`: as before.
    pub(super) owned: Option<&'a [Tp]>,
    /// Whether somebody owns the partition.
    pub(super) is_owned: &'a dyn Fn(Tp) -> bool,
}

/// The member must forget what it owns and join again.
#[derive(Debug, PartialEq)]
pub(super) struct Fenced;

impl Goal<'_> {
    /// The member one step further; the same when it has to wait.
    pub(super) fn step(&self, member: &Member) -> Result<Member, Fenced> {
        match member.state {
            MemberState::Stable if member.epoch != self.epoch => Ok(self.next_assignment(member, member.epoch)),
            MemberState::Stable if self.subscription_changed => Ok(self.drop_unsubscribed(member)),
            MemberState::Stable => Ok(member.clone()),
            MemberState::UnrevokedPartitions if self.reports_any(&member.pending_revocation) => {
                Ok(if self.subscription_changed {
                    self.drop_unsubscribed(member)
                } else {
                    member.clone()
                })
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                Ok(self.next_assignment(member, member.epoch))
            }
            MemberState::Unknown if self.owned.is_some_and(<[Tp]>::is_empty) => {
                Ok(self.next_assignment(member, self.epoch))
            }
            MemberState::Unknown => Err(Fenced),
        }
    }

    /// Whether the member still has any of these, as far as it says.
    fn reports_any(&self, partitions: &[Owned]) -> bool {
        match self.owned {
            None => true,
            Some(owned) => owned.iter().any(|tp| owns(partitions, *tp)),
        }
    }

    /// Takes away partitions of topics that the member is no longer subscribed to.
    fn drop_unsubscribed(&self, member: &Member) -> Member {
        let is_subscribed = |owned: &Owned| self.subscribed.contains(&owned.tp.topic_id);
        let (keep, give_up): (Vec<Owned>, Vec<Owned>) = member.assigned.iter().partition(|owned| is_subscribed(owned));
        if give_up.is_empty() {
            return member.clone();
        }
        let mut next = member.clone();
        next.assigned = Arc::new(keep);
        let mut pending = member.pending_revocation.to_vec();
        pending.extend(give_up);
        pending.sort_unstable_by_key(|owned| owned.tp);
        pending.dedup_by_key(|owned| owned.tp);
        if self.reports_any(&pending) {
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = Arc::new(pending);
        }
        next
    }

    fn next_assignment(&self, member: &Member, epoch: i32) -> Member {
        let is_target = |tp: Tp| self.subscribed.contains(&tp.topic_id) && self.partitions.binary_search(&tp).is_ok();
        let (mut keep, give_up): (Vec<Owned>, Vec<Owned>) =
            member.assigned.iter().partition(|owned| is_target(owned.tp));
        let mut next = member.clone();
        if !give_up.is_empty() && self.reports_any(&give_up) {
            next.move_to_epoch(epoch);
            next.state = MemberState::UnrevokedPartitions;
            next.assigned = Arc::new(keep);
            next.pending_revocation = Arc::new(give_up);
            return next;
        }
        let missing = self
            .partitions
            .iter()
            .copied()
            .filter(|tp| is_target(*tp) && !owns(&member.assigned, *tp));
        // What the member itself has just given up is free.
        let is_taken = |tp: &Tp| (self.is_owned)(*tp) && !owns(&member.pending_revocation, *tp);
        let (unreleased, free): (Vec<Tp>, Vec<Tp>) = missing.partition(is_taken);
        let epoch = self.epoch;
        keep.extend(free.into_iter().map(|tp| Owned { tp, epoch }));
        keep.sort_unstable_by_key(|owned| owned.tp);
        next.move_to_epoch(epoch);
        next.state = if unreleased.is_empty() {
            MemberState::Stable
        } else {
            MemberState::UnreleasedPartitions
        };
        next.assigned = Arc::new(keep);
        next.pending_revocation = Arc::default();
        next
    }
}
