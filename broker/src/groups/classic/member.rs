//! The members of a classic group, with everything that is counted of them: who waits in a join, who has yet to sync, which
//! protocols are supported. What a change means for the group never lives here.

use crate::groups::Waiter;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Protocols by preference: name and metadata.
pub(super) type Protocols = Box<[(Arc<str>, Bytes)]>;

/// A member of a classic group.
#[derive(Debug)]
pub struct Member {
    pub(super) member_id: Arc<str>,
    pub(super) group_instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) assignment: Bytes,
    /// Its first join is parked: it may not know its id, so it cannot send heartbeats.
    pub(super) is_new: bool,
    /// When it is given up; `None` while its parked request stands for heartbeats.
    pub(super) deadline_ms: Option<i64>,
    pub(super) sync_waiter: Option<Waiter>,
    protocols: Protocols,
    join_waiter: Option<Waiter>,
    has_yet_to_sync: bool,
}

impl Member {
    /// A member that waits for nothing and has no assignment.
    pub(super) fn new(member_id: Arc<str>, group_instance_id: Option<Arc<str>>, protocols: Protocols) -> Member {
        Member {
            member_id,
            group_instance_id,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            assignment: Bytes::new(),
            is_new: false,
            deadline_ms: None,
            sync_waiter: None,
            protocols,
            join_waiter: None,
            has_yet_to_sync: false,
        }
    }

    /// The id that the coordinator gave it.
    pub fn member_id(&self) -> &Arc<str> {
        &self.member_id
    }

    /// Of static members.
    pub fn group_instance_id(&self) -> Option<&Arc<str>> {
        self.group_instance_id.as_ref()
    }

    /// As the client calls itself.
    pub fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// Its address, with a leading slash.
    pub fn client_host(&self) -> &Arc<str> {
        &self.client_host
    }

    /// How long it may take to rejoin, milliseconds.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.rebalance_timeout_ms
    }

    /// How long it may be silent, milliseconds.
    pub fn session_timeout_ms(&self) -> i32 {
        self.session_timeout_ms
    }

    /// The protocols it supports, by preference: name and metadata.
    pub fn protocols(&self) -> &[(Arc<str>, Bytes)] {
        &self.protocols
    }

    /// Its metadata for a protocol; empty for one that it does not support.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| **name == *protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    /// What the leader gave it.
    pub fn assignment(&self) -> &Bytes {
        &self.assignment
    }

    /// What a member that was taken out waits for: a join, a sync.
    pub(super) fn take_waiters(&mut self) -> (Option<Waiter>, Option<Waiter>) {
        (self.join_waiter.take(), self.sync_waiter.take())
    }

    pub(super) fn is_joining(&self) -> bool {
        self.join_waiter.is_some()
    }

    pub(super) fn has_yet_to_sync(&self) -> bool {
        self.has_yet_to_sync
    }

    /// Its connection is busy with a parked request, which stands for heartbeats. The first join does not: the client may
    /// be gone, and retries under another id.
    pub(super) fn needs_no_heartbeat(&self) -> bool {
        !self.is_new && (self.join_waiter.is_some() || self.sync_waiter.is_some())
    }
}

/// All members of a group.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// How many members support each protocol.
    supported: BTreeMap<Arc<str>, usize>,
    joining: usize,
    to_sync: usize,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// For what is not counted: timeouts, deadlines, assignments, sync waiters.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.by_id.values_mut()
    }

    pub(super) fn get(&self, member_id: &str) -> Option<&Member> {
        self.by_id.get(member_id)
    }

    /// For what is not counted: timeouts, deadlines, assignments, sync waiters.
    pub(super) fn get_mut(&mut self, member_id: &str) -> Option<&mut Member> {
        self.by_id.get_mut(member_id)
    }

    pub(super) fn contains(&self, member_id: &str) -> bool {
        self.by_id.contains_key(member_id)
    }

    /// Member id of a static member.
    pub(super) fn static_id(&self, group_instance_id: &str) -> Option<&Arc<str>> {
        self.statics.get(group_instance_id)
    }

    pub(super) fn static_count(&self) -> usize {
        self.statics.len()
    }

    /// How many wait in a join.
    pub(super) fn joining(&self) -> usize {
        self.joining
    }

    /// How many have yet to sync.
    pub(super) fn to_sync(&self) -> usize {
        self.to_sync
    }

    /// Adds a member whose ids nobody has.
    pub(super) fn insert(&mut self, member: Member) {
        assert!(!self.contains(&member.member_id), "a member is added once");
        if let Some(instance) = &member.group_instance_id {
            let before = self.statics.insert(Arc::clone(instance), Arc::clone(&member.member_id));
            assert!(before.is_none(), "an instance id has one member");
        }
        self.count(&member.protocols);
        self.joining += usize::from(member.join_waiter.is_some());
        self.to_sync += usize::from(member.has_yet_to_sync);
        self.by_id.insert(Arc::clone(&member.member_id), member);
    }

    /// Takes a member out, with whatever it waits for.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let member = self.by_id.remove(member_id)?;
        if let Some(instance) = &member.group_instance_id {
            self.statics.remove(instance);
        }
        self.uncount(&member.protocols);
        self.joining -= usize::from(member.join_waiter.is_some());
        self.to_sync -= usize::from(member.has_yet_to_sync);
        Some(member)
    }

    /// Parks a join; gives back the one that was parked before.
    pub(super) fn park_join(&mut self, member_id: &str, waiter: Waiter) -> Option<Waiter> {
        let before = self.by_id.get_mut(member_id)?.join_waiter.replace(waiter);
        self.joining += usize::from(before.is_none());
        before
    }

    /// The parked join of a member, which is answered now.
    pub(super) fn take_join(&mut self, member_id: &str) -> Option<Waiter> {
        let waiter = self.by_id.get_mut(member_id)?.join_waiter.take();
        self.joining -= usize::from(waiter.is_some());
        waiter
    }

    /// Whether the parked join of a member is this one.
    pub(super) fn waits_with(&self, member_id: &str, waiter: Waiter) -> bool {
        self.get(member_id)
            .is_some_and(|member| member.join_waiter == Some(waiter))
    }

    pub(super) fn set_protocols(&mut self, member_id: &str, protocols: Protocols) {
        let Some(member) = self.by_id.get_mut(member_id) else {
            return;
        };
        let before = std::mem::replace(&mut member.protocols, protocols);
        let now = member.protocols.clone();
        self.uncount(&before);
        self.count(&now);
    }

    /// Everybody has to sync.
    pub(super) fn expect_syncs(&mut self) {
        for member in self.by_id.values_mut() {
            member.has_yet_to_sync = true;
        }
        self.to_sync = self.by_id.len();
    }

    /// Nobody has to sync any more.
    pub(super) fn expect_no_syncs(&mut self) {
        if self.to_sync > 0 {
            for member in self.by_id.values_mut() {
                member.has_yet_to_sync = false;
            }
            self.to_sync = 0;
        }
    }

    pub(super) fn synced(&mut self, member_id: &str) {
        if let Some(member) = self.by_id.get_mut(member_id) {
            self.to_sync -= usize::from(member.has_yet_to_sync);
            member.has_yet_to_sync = false;
        }
    }

    /// Whether all members support a protocol.
    pub(super) fn all_support(&self, protocol: &str) -> bool {
        self.supported.get(protocol).copied().unwrap_or(0) == self.len()
    }

    /// The name as it is kept already, so that a thousand members share one.
    pub(super) fn name(&self, protocol: &str) -> Arc<str> {
        let known = self.supported.get_key_value(protocol);
        known.map_or_else(|| Arc::from(protocol), |(name, _)| Arc::clone(name))
    }

    /// The longest rebalance timeout.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.iter().map(|member| member.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    /// The protocol with the most votes among those that all members support. Each votes for the first of its list; when
    /// two have as many, the one that `leader` likes better.
    pub(super) fn select_protocol(&self, leader: &str) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.iter() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| self.all_support(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let by_leader = self.get(leader).map_or(&[][..], |member| &member.protocols);
        let liked = by_leader.iter().map(|(name, _)| name);
        let mut liked = liked.filter(|name| votes.get(*name) == Some(&most));
        let first = votes.iter().find(|(_, count)| **count == most).map(|(name, _)| *name);
        liked.next().or(first).cloned()
    }

    fn count(&mut self, protocols: &[(Arc<str>, Bytes)]) {
        for (name, _) in protocols {
            *self.supported.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    fn uncount(&mut self, protocols: &[(Arc<str>, Bytes)]) {
        for (name, _) in protocols {
            let count = self
                .supported
                .get_mut(name)
                .expect("what a member supports was counted");
            *count -= 1;
            if *count == 0 {
                self.supported.remove(name);
            }
        }
    }

    /// Counts everything again, and compares.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let counted = |of: fn(&Member) -> bool| self.iter().filter(|member| of(member)).count();
        assert_eq!(self.joining, counted(Member::is_joining));
        assert_eq!(self.to_sync, counted(Member::has_yet_to_sync));
        assert_eq!(self.statics.len(), counted(|member| member.group_instance_id.is_some()));
        let mut supported: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (name, _) in self.iter().flat_map(|member| member.protocols.iter()) {
            *supported.entry(Arc::clone(name)).or_default() += 1;
        }
        assert_eq!(self.supported, supported);
        for (instance, member_id) in &self.statics {
            assert_eq!(
                self.get(member_id).and_then(|member| member.group_instance_id.as_ref()),
                Some(instance)
            );
        }
    }
}

/// Protocols without repeated names: the first of each counts.
pub(super) fn without_repeats(protocols: Vec<(Arc<str>, Bytes)>) -> Protocols {
    let mut seen = BTreeSet::new();
    let kept = protocols.into_iter().filter(|(name, _)| seen.insert(Arc::clone(name)));
    kept.collect()
}
