//! What a request of one member leads to: the records, step by step, in the order in which they are written.
//!
//! The group itself stays what it is until the records are replayed, so each step looks at the group as it is and at what
//! this request makes of the member.

use super::assignor::{Assignor, MemberSpec, Spec};
use super::member::{Member, Tp};
use super::reconcile::Goal;
use super::replay::{push_removal, regex_tombstone, target_record};
use super::{ConsumerGroup, Refused, regex, topics};
use crate::groups::Env;
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A member's request under way.
pub(super) struct Change<'a> {
    pub(super) group: &'a ConsumerGroup,
    /// The member before the request: as it was, or blank, or the one whose place it takes under a new id.
    pub(super) before: Member,
    /// The member as the request makes it.
    pub(super) member: Member,
    /// A static member that goes, because this one takes its place.
    pub(super) replaced: Option<Arc<str>>,
    /// The log knows nothing of it yet.
    is_new: bool,
    pub(super) records: Vec<GroupRecord>,
    /// The group epoch that the records lead to.
    pub(super) epoch: i32,
}

/// What happened to a member's pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegexChange {
    /// Nothing.
    None,
    /// It has another one that must be looked up first.
    Unresolved,
    /// It has another one, or none, and what that means is known.
    Resolved,
}

/// A target assignment, as one member sees it.
pub(super) struct Target {
    pub(super) epoch: i32,
    pub(super) partitions: Arc<Vec<Tp>>,
}

impl<'a> Change<'a> {
    /// A change of a member that is there.
    pub(super) fn of(group: &'a ConsumerGroup, member: &Member) -> Change<'a> {
        Change::start(group, member.clone(), false)
    }

    /// A change that adds a member.
    pub(super) fn of_new(group: &'a ConsumerGroup, member_id: Arc<str>) -> Change<'a> {
        Change::start(group, Member::blank(member_id), true)
    }

    /// A member that takes the place of a static member, and with it what that one has.
    pub(super) fn of_replacement(group: &'a ConsumerGroup, old: &Member, member_id: Arc<str>) -> Change<'a> {
        let mut member = old.clone();
        member.id = member_id;
        member.epoch = 0;
        member.previous_epoch = 0;
        let mut change = Change::start(group, member, false);
        let records = &mut change.records;
        push_removal(&group.group_id, &old.id, records);
        records.push(change.member.metadata_record(&group.group_id));
        records.push(target_record(
            &group.group_id,
            &change.member.id,
            &group.target(&old.id),
        ));
        records.push(change.member.assignment_record(&group.group_id));
        change.replaced = Some(Arc::clone(&old.id)).filter(|id| *id != change.member.id);
        change
    }

    fn start(group: &'a ConsumerGroup, member: Member, is_new: bool) -> Change<'a> {
        Change {
            group,
            before: member.clone(),
            member,
            replaced: None,
            is_new,
            records: Vec::new(),
            epoch: group.epoch,
        }
    }

    /// Writes the member when it is new or differs. Whether it wants other names than before.
    pub(super) fn write_metadata(&mut self) -> bool {
        if self.is_new || !self.member.same_metadata(&self.before) {
            self.records.push(self.member.metadata_record(&self.group.group_id));
        }
        self.before.subscription.names != self.member.subscription.names
    }

    /// Looks whether the member's pattern changed; a pattern that the group did not have must be valid (contract 86).
    pub(super) fn update_regex(&mut self) -> Result<RegexChange, Refused> {
        let (old, new) = (&self.before.subscription.regex, &self.member.subscription.regex);
        if old == new {
            return Ok(RegexChange::None);
        }
        let members = |regex: &Arc<str>| self.group.counts.regexes.get(regex).copied().unwrap_or(0);
        if let Some(old) = old
            && members(old) == 1
            && !self.is_new
        {
            self.records.push(regex_tombstone(&self.group.group_id, old));
        }
        let Some(new) = new else {
            return Ok(RegexChange::Resolved);
        };
        if members(new) == 0 {
            regex::check(new).map_err(|reason| {
                let message = format!(
                    "the regular expression {new} of member {} is not valid: {reason}",
                    self.member.id
                );
                Refused::new(ErrorCode::InvalidRegularExpression, message)
            })?;
            return Ok(RegexChange::Unresolved);
        }
        Ok(match self.group.regexes.contains_key(new) {
            true => RegexChange::Resolved,
            false => RegexChange::Unresolved,
        })
    }

    /// Moves the group epoch when asked to, or when the topics changed.
    pub(super) fn update_epoch(&mut self, env: &Env, bump: bool) {
        let hash = topics::metadata_hash(env, self.members().into_iter(), &self.group.regexes);
        if bump || hash != self.group.metadata_hash {
            self.epoch = self.group.epoch.saturating_add(1);
            self.records.push(self.group.epoch_record(self.epoch, hash));
        }
    }

    /// The target that the member is to reach: the one that is there, or a new one when the group epoch has moved on.
    pub(super) fn target(&mut self, env: &Env) -> Target {
        if self.epoch > self.group.assignment_epoch {
            return Target {
                epoch: self.epoch,
                partitions: self.new_target(env),
            };
        }
        Target {
            epoch: self.group.assignment_epoch,
            partitions: self.target_so_far(&self.member.id),
        }
    }

    /// Brings the member closer to its target. Whether that is written.
    pub(super) fn reconcile(
        &mut self,
        env: &Env,
        target: &Target,
        subscription_changed: bool,
        owned: Option<&[Tp]>,
    ) -> Result<bool, Refused> {
        if !subscription_changed && self.member.is_reconciled_to(target.epoch) {
            return Ok(false);
        }
        let subscribed = topics::existing_ids(env, &self.member.subscription, &self.group.regexes);
        let goal = Goal {
            epoch: target.epoch,
            partitions: &target.partitions,
            subscribed: &subscribed,
            subscription_changed,
            owned,
            is_owned: &|tp| self.group.counts.owners.contains_key(&tp),
        };
        let next = goal.step(&self.member).map_err(|_| {
            let message = format!(
                "member {} is in a state that this release does not know; it must give up its partitions and rejoin",
                self.member.id
            );
            Refused::new(ErrorCode::FencedMemberEpoch, message)
        })?;
        if next == self.member {
            return Ok(false);
        }
        self.member = next;
        self.records.push(self.member.assignment_record(&self.group.group_id));
        Ok(true)
    }

    /// The group's members once this change is done, sorted by id.
    fn members(&self) -> Vec<&Member> {
        let others = self.group.members.values();
        let others = others.filter(|other| other.id != self.member.id && Some(&other.id) != self.replaced.as_ref());
        let mut members: Vec<&Member> = others.collect();
        let place = members.partition_point(|other| other.id < self.member.id);
        members.insert(place, &self.member);
        members
    }

    fn target_so_far(&self, member_id: &Arc<str>) -> Arc<Vec<Tp>> {
        match &self.replaced {
            Some(old) if *member_id == self.member.id => self.group.target(old),
            _ => self.group.target(member_id),
        }
    }

    fn new_target(&mut self, env: &Env) -> Arc<Vec<Tp>> {
        let members = self.members();
        let targets: Vec<Arc<Vec<Tp>>> = members.iter().map(|member| self.target_so_far(&member.id)).collect();
        let spec = self.spec(env, &members, &targets);
        let assignment = self.assignor(env).assign(&spec);
        let group_id = &self.group.group_id;
        let mut records = Vec::new();
        let mut mine = Arc::default();
        for ((member, old), new) in members.iter().zip(&targets).zip(assignment) {
            if **old != new {
                records.push(target_record(group_id, &member.id, &new));
            }
            if member.id == self.member.id {
                mine = Arc::new(new);
            }
        }
        records.push(self.group.assignment_epoch_record(self.epoch, env.now_ms));
        self.records.append(&mut records);
        mine
    }

    fn spec<'s>(&self, env: &Env, members: &[&'s Member], targets: &'s [Arc<Vec<Tp>>]) -> Spec<'s> {
        let mut by_pointer = HashMap::new();
        let mut by_topics = BTreeMap::new();
        let mut subscriptions = Vec::new();
        let mut specs = Vec::with_capacity(members.len());
        for (member, target) in members.iter().zip(targets) {
            let subscription = *by_pointer.entry(Arc::as_ptr(&member.subscription)).or_insert_with(|| {
                let topics = topics::existing(env, &member.subscription, &self.group.regexes);
                *by_topics.entry(topics.clone()).or_insert_with(|| {
                    subscriptions.push(topics);
                    subscriptions.len() - 1
                })
            });
            specs.push(MemberSpec {
                id: &member.id,
                instance_id: member.instance_id.as_deref(),
                subscription,
                target,
            });
        }
        Spec {
            members: specs,
            subscriptions,
        }
    }

    /// The assignor that most members ask for; the first of the config when none does.
    fn assignor(&self, env: &Env) -> Assignor {
        let mut counts = self.group.counts.assignors.clone();
        let old = self
            .group
            .members
            .get(self.replaced.as_ref().unwrap_or(&self.member.id));
        if let Some(count) = old
            .and_then(|old| old.server_assignor.as_ref())
            .and_then(|name| counts.get_mut(name))
        {
            *count -= 1;
        }
        if let Some(name) = &self.member.server_assignor {
            *counts.entry(Arc::clone(name)).or_default() += 1;
        }
        let name = super::preferred_assignor(env, &counts);
        Assignor::of_name(&name).unwrap_or(Assignor::Uniform)
    }
}
