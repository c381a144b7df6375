//! A consumer as clients are: what it says, what it makes of answers. This file: the new protocol.

use super::super::{Bench, Machine, Part, client, joining, living, request, text};
use super::classic_peer::Stage;
use protocol::ErrorCode;
use std::collections::BTreeSet;

/// What a consumer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The new protocol.
    Consumer,
    /// The classic one; gives everything up before it joins.
    Eager,
    /// The classic one; keeps what it has while it joins.
    Cooperative,
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: Kind,
    /// Its first member id too.
    pub(super) name: String,
    pub(super) instance: Option<String>,
    pub(super) names: Vec<String>,
    pub(super) pattern: Option<String>,
    pub(super) id: String,
    /// Member epoch, or generation.
    pub(super) epoch: i32,
    /// What it reads.
    pub(super) has: BTreeSet<Part>,
    /// What it was told to read and has not begun with yet.
    pub(super) told: Option<BTreeSet<Part>>,
    /// What it gave up and has not said so.
    pub(super) unreported: BTreeSet<Part>,
    pub(super) stage: Stage,
    pub(super) paused: bool,
    pub(super) is_gone: bool,
    /// The next heartbeat has everything in it.
    is_full: bool,
    /// What it wants has changed, or of the classic protocol what there is: it must say so, or join again.
    pub(super) changed: bool,
}

impl Peer {
    pub(super) fn new(
        kind: Kind,
        name: String,
        instance: Option<String>,
        names: Vec<String>,
        pattern: Option<String>,
    ) -> Peer {
        Peer {
            kind,
            id: if kind == Kind::Consumer {
                name.clone()
            } else {
                String::new()
            },
            name,
            instance,
            names,
            pattern,
            epoch: 0,
            has: BTreeSet::new(),
            told: None,
            unreported: BTreeSet::new(),
            stage: Stage::MustJoin,
            paused: false,
            is_gone: false,
            is_full: true,
            changed: false,
        }
    }

    /// A place where a consumer was.
    pub(super) fn gone() -> Peer {
        let mut peer = Peer::new(Kind::Consumer, String::new(), None, Vec::new(), None);
        peer.is_gone = true;
        peer
    }

    pub(super) fn owns(&self) -> BTreeSet<Part> {
        let told = self.told.iter().flatten();
        self.has.iter().chain(told).chain(&self.unreported).cloned().collect()
    }

    /// Whether the broker takes it for a member.
    pub(super) fn is_member(&self, bench: &Bench) -> bool {
        match &bench.machine {
            Machine::Consumer(group) => group.members.get(&*self.id).is_some_and(|member| member.epoch >= 0),
            Machine::Classic(group) => group.member(&self.id).is_some() && group.generation_id() == self.epoch,
            Machine::None => false,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        let joined = match self.kind {
            Kind::Consumer => self.epoch > 0 && !self.is_full && !self.changed,
            Kind::Eager | Kind::Cooperative => self.stage == Stage::Steady && !self.changed,
        };
        joined && self.told.is_none() && self.unreported.is_empty()
    }

    pub(super) fn crash(&mut self) -> String {
        self.is_gone = true;
        format!("{} crashes", self.name)
    }

    pub(super) fn change(&mut self, names: Vec<String>, pattern: Option<String>) -> String {
        self.names = names;
        self.pattern = pattern;
        self.changed = true;
        format!("{} wants {:?} {:?}", self.name, self.names, self.pattern)
    }

    pub(super) fn lose_topic(&mut self, name: &str) {
        let other = |part: &Part| part.0 != name;
        self.has.retain(other);
        self.unreported.retain(other);
        if let Some(told) = &mut self.told {
            told.retain(other);
        }
        if matches!(self.stage, Stage::Syncs(_)) {
            // The answer on its way has names, and means the old topic.
            self.stage = Stage::MustJoin;
        }
    }

    /// Partitions that were told of and no longer exist are left alone.
    pub(super) fn forget_gone(&mut self, bench: &Bench) {
        let exists = |part: &Part| {
            bench
                .topics
                .by_name
                .get(&*part.0)
                .is_some_and(|topic| part.1 < topic.partitions)
        };
        self.has.retain(exists);
        self.unreported.retain(exists);
        if let Some(told) = &mut self.told {
            told.retain(exists);
        }
    }

    pub(super) fn lose_everything(&mut self) {
        self.has.clear();
        self.told = None;
        self.unreported.clear();
    }

    /// Does what comes next; says what.
    pub(super) fn act(&mut self, bench: &mut Bench, migrates: bool, loses: bool, obeys: bool) -> String {
        match self.kind {
            Kind::Consumer => self.beat(bench, loses, obeys),
            Kind::Eager | Kind::Cooperative => {
                // From one step of a join to the next a client takes no time; it stops where it waits.
                let mut said = self.act_classic(bench, migrates, loses);
                for _ in 0..3 {
                    if obeys && !loses && self.stage != Stage::Steady {
                        said = format!("{said}, {}", self.act_classic(bench, migrates, false));
                    }
                }
                said
            }
        }
    }

    fn beat(&mut self, bench: &mut Bench, loses: bool, obeys: bool) -> String {
        if obeys && let Some(told) = self.told.take() {
            self.unreported.extend(self.has.difference(&told).cloned());
            self.has = told;
        }
        let joins = self.epoch == 0;
        if joins {
            self.lose_everything();
        }
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let mut beat = if self.is_full || self.changed {
            joining(&self.id, &names)
        } else {
            living(&self.id, self.epoch)
        };
        beat.member_epoch = self.epoch;
        if self.is_full || self.changed {
            beat.subscribed_topic_regex = Some(text(self.pattern.as_deref().unwrap_or("")));
        }
        beat.instance_id = self.instance.as_deref().map(text);
        beat.topic_partitions = Some(bench.owned(&self.has));
        let not_joining_a_classic_group = !joins && matches!(bench.machine, Machine::Classic(_));
        let (reply, done) = if not_joining_a_classic_group {
            let code = ErrorCode::GroupIdNotFound.code();
            (
                kafka_protocol::messages::ConsumerGroupHeartbeatResponse::default().with_error_code(code),
                true,
            )
        } else {
            bench.heartbeat_as(&client(1), &beat)
        };
        let said = format!("beats in {}: {} {}", self.epoch, reply.error_code, reply.member_epoch);
        if loses || !done {
            // What it reported is known all the same, unless nothing was written of it.
            if done {
                self.unreported.clear();
            }
            self.is_full = true;
            return said;
        }
        self.unreported.clear();
        match ErrorCode::from_code(reply.error_code) {
            Some(ErrorCode::None) => {
                self.epoch = reply.member_epoch;
                (self.is_full, self.changed) = (false, false);
                if let Some(assigned) = bench.assigned(&reply) {
                    self.told = Some(assigned).filter(|assigned| *assigned != self.has);
                    if let Some(told) = &self.told {
                        // New ones are read at once; those to give up take their time.
                        self.has.extend(told.iter().cloned());
                    }
                }
                self.forget_gone(bench);
            }
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::GroupIdNotFound) => {
                self.lose_everything();
                self.epoch = 0;
                self.is_full = true;
            }
            Some(ErrorCode::UnreleasedInstanceId) => self.is_full = true,
            Some(ErrorCode::FencedInstanceId) => self.is_gone = true,
            code => panic!("{} got {code:?}: {:?}", self.name, reply.error_message),
        }
        said
    }

    /// Leaves for good.
    pub(super) fn leave(&mut self, bench: &mut Bench) -> String {
        self.is_gone = true;
        if self.kind == Kind::Consumer {
            let mut bye = request(&self.id, -1);
            bye.instance_id = self.instance.as_deref().map(text);
            if matches!(bench.machine, Machine::Consumer(_)) {
                bench.heartbeat_as(&client(1), &bye);
            }
        } else {
            self.leave_classic(bench);
        }
        format!("{} leaves", self.name)
    }

    /// Leaves for a while.
    pub(super) fn go_away(&mut self, bench: &mut Bench) {
        let mut bye = request(&self.id, -2);
        bye.instance_id = self.instance.as_deref().map(text);
        if matches!(bench.machine, Machine::Consumer(_)) {
            bench.heartbeat_as(&client(1), &bye);
        }
    }
}
