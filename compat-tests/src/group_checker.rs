//! What groups must keep through crashes, checked against a recorded history. Pure: no sockets, no clock, no randomness.
//!
//! Clients record an [`Event`] before they send (invoke) and after an answer came, or will never come (unknown). Events are
//! applied in the order in which they happened, so an answer that is recorded before another request's invoke really came
//! first. Every commit of one partition is an *operation* whose number is the offset that it commits: whatever a fetch
//! returns names the commit that it comes from.
//!
//! Found are: an acknowledged commit that is gone or hidden by an older one, refused or invented offsets, a generation or
//! epoch that goes back, a commit of an old generation that is taken, two members that own a partition at one generation, a
//! member whose assignment changes within one.
//!
//! A *place* is a partition in a group, a *slot* one seat in a group: whoever sits there has one request in flight.

use std::collections::{BTreeMap, HashMap};

mod event;
#[cfg(test)]
mod tests;

pub use event::{Claim, Committed, Event, Fault, leader_epoch_of, metadata_of};

/// Error codes that a reader may see instead of offsets: the coordinator loads or is elsewhere for a moment.
pub const NOT_YET: [i16; 3] = [14, 15, 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Acknowledged,
    Refused(i16),
    Unknown,
}

#[derive(Clone, Debug)]
struct Commit {
    place: usize,
    claim: Claim,
    invoked: u64,
    /// When it could no longer take effect; none while it may.
    ended: Option<u64>,
    outcome: Outcome,
    /// The group's generation that somebody had been told of before this was sent.
    known_generation: i32,
}

/// What a slot's request in flight must be judged by.
#[derive(Clone, Debug, Default)]
struct Slot {
    group: usize,
    invoked: u64,
    known_generation: i32,
    /// KIP-848: the epoch of the last answer, and what the member last said that it owns.
    epoch: i32,
    owned: Vec<usize>,
}

/// Applies events and collects faults.
#[derive(Default)]
pub struct GroupChecker {
    now: u64,
    commits: BTreeMap<i64, Commit>,
    /// By place: the time at which the newest commit was sent of which it is known that it took effect. Nothing that had ended
    /// before may be found.
    floors: Vec<(u64, i64)>,
    /// By reader and place: the floor when the fetch was sent.
    fetches: HashMap<(u64, usize), (u64, i64)>,
    slots: Vec<Slot>,
    /// By group: the highest generation in which somebody got an assignment, or the highest epoch that a member was told.
    generations: Vec<i32>,
    /// By group and generation: what each slot got.
    assignments: HashMap<(usize, i32), BTreeMap<usize, Vec<usize>>>,
    /// KIP-848: who owns a place, and who owned it when somebody else got it, and since when.
    owners: HashMap<usize, usize>,
    contested: HashMap<(usize, usize), u64>,
    acknowledged: u64,
    faults: Vec<Fault>,
}

/// Checks a whole history of `places` places; `slots` gives each slot's group.
pub fn check(places: usize, slots: &[usize], history: &[Event]) -> Vec<Fault> {
    let mut checker = GroupChecker::new(places, slots);
    for event in history {
        checker.apply(event);
    }
    checker.faults
}

impl GroupChecker {
    /// Before the first request. `slots` gives each slot's group.
    pub fn new(places: usize, slots: &[usize]) -> GroupChecker {
        let groups = slots.iter().max().map_or(0, |group| group + 1);
        let slot = |group: &usize| Slot {
            group: *group,
            ..Slot::default()
        };
        GroupChecker {
            floors: vec![(0, -1); places],
            slots: slots.iter().map(slot).collect(),
            generations: vec![0; groups],
            ..GroupChecker::default()
        }
    }

    /// The faults found so far, in the order in which they came to light.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many commits of a partition were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// How many commits of a partition nobody knows the end of.
    pub fn unknown(&self) -> usize {
        let unknown = |commit: &&Commit| commit.outcome == Outcome::Unknown;
        self.commits.values().filter(unknown).count()
    }

    /// Of each group the highest generation in which somebody got an assignment, or the highest epoch; 0 where there was none.
    pub fn generations(&self) -> &[i32] {
        &self.generations
    }

    /// What is known of a commit, for the report of a fault.
    pub fn describe(&self, op: i64) -> String {
        format!("{:?}", self.commits.get(&op))
    }

    /// Takes the next event of the history.
    ///
    /// # Panics
    /// If the history itself makes no sense (an answer without its request): that is a bug of the recorder.
    pub fn apply(&mut self, event: &Event) {
        self.now += 1;
        match event {
            Event::CommitInvoke { op, place, claim } => self.commit_invoke(*op, *place, *claim),
            Event::CommitOk { op } => self.commit_ok(*op),
            Event::CommitRefused { op, code } => self.commit_ended(*op, Outcome::Refused(*code)),
            Event::CommitUnknown { op } => self.commit(*op).outcome = Outcome::Unknown,
            Event::Killed => self.killed(),
            Event::FetchInvoke { reader, place } => {
                self.fetches.insert((*reader, *place), self.floors[*place]);
            }
            Event::FetchOk { reader, place, found } => self.fetch_ok(*reader, *place, found.as_ref()),
            Event::FetchRefused { place, code, .. } => {
                if !NOT_YET.contains(code) {
                    self.faults.push(Fault::FetchRefused {
                        place: *place,
                        code: *code,
                    });
                }
            }
            Event::RoundInvoke { slot } => self.invoke(*slot),
            Event::JoinOk { slot, generation } => self.not_below_known(*slot, *generation),
            Event::SyncOk {
                slot,
                generation,
                assigned,
            } => self.sync_ok(*slot, *generation, assigned),
            Event::HeartbeatInvoke { slot, owned } => {
                self.invoke(*slot);
                self.keep(*slot, owned);
            }
            Event::HeartbeatOk { slot, epoch, assigned } => self.heartbeat_ok(*slot, *epoch, assigned.as_deref()),
            Event::Released { slot } => {
                self.keep(*slot, &[]);
                self.slots[*slot].epoch = 0;
            }
        }
    }

    fn commit(&mut self, op: i64) -> &mut Commit {
        self.commits
            .get_mut(&op)
            .unwrap_or_else(|| panic!("op {op} has no invoke"))
    }

    fn commit_invoke(&mut self, op: i64, place: usize, claim: Claim) {
        let known_generation = match claim {
            Claim::Generation { slot, .. } => self.generations[self.slots[slot].group],
            Claim::Nobody | Claim::Epoch { .. } => 0,
        };
        let commit = Commit {
            place,
            claim,
            invoked: self.now,
            ended: None,
            outcome: Outcome::Open,
            known_generation,
        };
        let before = self.commits.insert(op, commit);
        assert!(before.is_none(), "op {op} is invoked twice");
    }

    fn commit_ended(&mut self, op: i64, outcome: Outcome) {
        let now = self.now;
        let commit = self.commit(op);
        (commit.outcome, commit.ended) = (outcome, Some(now));
    }

    fn commit_ok(&mut self, op: i64) {
        self.commit_ended(op, Outcome::Acknowledged);
        self.acknowledged += 1;
        let commit = self.commit(op).clone();
        self.raise_floor(op, &commit);
        match commit.claim {
            Claim::Generation { generation, .. } if generation < commit.known_generation => {
                self.faults.push(Fault::OldGenerationCommitted {
                    op,
                    generation,
                    known: commit.known_generation,
                });
            }
            Claim::Epoch { slot } => self.not_contested(slot, commit.place, commit.invoked),
            Claim::Generation { .. } | Claim::Nobody => {}
        }
    }

    /// This commit took effect: what had ended before it was sent is covered by it.
    fn raise_floor(&mut self, op: i64, commit: &Commit) {
        let floor = &mut self.floors[commit.place];
        *floor = (*floor).max((commit.invoked, op));
    }

    /// What was in flight either took effect or never will.
    fn killed(&mut self) {
        let now = self.now;
        for commit in self.commits.values_mut().filter(|commit| commit.ended.is_none()) {
            commit.ended = Some(now);
        }
    }

    fn fetch_ok(&mut self, reader: u64, place: usize, found: Option<&Committed>) {
        let floor = self.fetches.remove(&(reader, place));
        let (floor, newest) = floor.unwrap_or_else(|| panic!("reader {reader} did not ask for place {place}"));
        let Some(found) = found else {
            if newest >= 0 {
                self.faults.push(Fault::Forgotten { place, newest });
            }
            return;
        };
        let op = found.offset;
        let Some(commit) = self.commits.get(&op).filter(|commit| commit.place == place).cloned() else {
            return self.faults.push(Fault::NeverCommitted { place, offset: op });
        };
        if found.leader_epoch != leader_epoch_of(op) || found.metadata != metadata_of(op) {
            let found = found.clone();
            self.faults.push(Fault::Garbled { place, found });
        }
        if let Outcome::Refused(code) = commit.outcome {
            self.faults.push(Fault::RefusedButThere { place, op, code });
        } else if commit.ended.is_some_and(|ended| ended < floor) {
            self.faults.push(Fault::WentBack { place, op, newest });
        } else {
            self.raise_floor(op, &commit);
        }
    }

    fn invoke(&mut self, slot: usize) {
        let known = self.generations[self.slots[slot].group];
        let slot = &mut self.slots[slot];
        (slot.invoked, slot.known_generation) = (self.now, known);
    }

    fn not_below_known(&mut self, slot: usize, generation: i32) {
        let known = self.slots[slot].known_generation;
        if generation < known {
            self.faults.push(Fault::GenerationWentBack {
                slot,
                was: known,
                now: generation,
            });
        }
    }

    fn sync_ok(&mut self, slot: usize, generation: i32, assigned: &[usize]) {
        self.not_below_known(slot, generation);
        let group = self.slots[slot].group;
        self.generations[group] = self.generations[group].max(generation);
        let slots = self.assignments.entry((group, generation)).or_default();
        for (other, theirs) in slots.iter().filter(|(other, _)| **other != slot) {
            for place in assigned.iter().filter(|place| theirs.contains(place)) {
                self.faults.push(Fault::TwoOwners {
                    place: *place,
                    slots: (*other, slot),
                });
            }
        }
        match slots.insert(slot, assigned.to_vec()) {
            Some(before) if before != assigned => self.faults.push(Fault::AssignmentChanged { slot, generation }),
            _ => {}
        }
    }

    /// The member uses nothing but these places from now on.
    fn keep(&mut self, slot: usize, owned: &[usize]) {
        self.owners
            .retain(|place, owner| *owner != slot || owned.contains(place));
        self.contested
            .retain(|(loser, place), _| *loser != slot || owned.contains(place));
        self.slots[slot].owned = owned.to_vec();
    }

    fn heartbeat_ok(&mut self, slot: usize, epoch: i32, assigned: Option<&[usize]>) {
        let Slot {
            invoked,
            epoch: was,
            owned,
            ..
        } = self.slots[slot].clone();
        if epoch < was {
            self.faults.push(Fault::EpochWentBack { slot, was, now: epoch });
        }
        if was == 0 {
            // Who just came has nothing to give up, and stands where the group does.
            self.not_below_known(slot, epoch);
        }
        let group = self.slots[slot].group;
        self.generations[group] = self.generations[group].max(epoch);
        self.slots[slot].epoch = epoch;
        for place in owned {
            self.not_contested(slot, place, invoked);
        }
        let Some(assigned) = assigned else { return };
        self.keep(slot, assigned);
        for place in assigned {
            self.contested.remove(&(slot, *place));
            match self.owners.insert(*place, slot) {
                // The other one may have been fenced and not know it yet. If it has not been, its next answer tells.
                Some(other) if other != slot => {
                    self.contested.insert((other, *place), self.now);
                }
                _ => {}
            }
        }
    }

    /// The broker confirmed that this member owns the place, by an answer to what was sent at `invoked`.
    fn not_contested(&mut self, slot: usize, place: usize, invoked: u64) {
        if self.contested.get(&(slot, place)).is_some_and(|since| *since < invoked) {
            let owner = self.owners.get(&place).copied().unwrap_or(slot);
            let slots = (slot, owner);
            self.faults.push(Fault::TwoOwners { place, slots });
        }
    }
}
