//! Random groups: members of both protocols join, leave, pause, crash and change their minds, topics come, grow and go, replies
//! get lost, the log refuses records. At no moment do two members own a partition: own is what they were told and have not
//! reported given up. When it becomes quiet everything settles, and the log tells the same state.

mod classic_peer;
mod peer;

use super::{Bench, Machine, Part, seed};
use crate::groups::MigrationPolicy;
use crate::groups::consumer::ConsumerState;
use crate::groups::consumer::regex;
use peer::{Kind, Peer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 6] = ["a1", "a2", "a3", "b1", "b2", "c1"];
const PATTERNS: [&str; 4] = ["a.*", ".*1", "b\\d", "(a1|c1)"];
const PEERS_MAX: usize = 7;
const STEPS: usize = 250;
/// Heartbeats of each member after the last event until all must be at rest: sessions of 45 s, look-ups 10 s apart.
const QUIET_ROUNDS: usize = 60;

struct Model {
    bench: Bench,
    peers: Vec<Peer>,
    rng: StdRng,
    made: usize,
    /// Whether the group may change its protocol.
    migrates: bool,
    /// Whether replies get lost and the log refuses.
    is_stormy: bool,
    story: Vec<String>,
}

impl Model {
    fn new(seed: u64, migrates: bool) -> Model {
        let mut bench = Bench::new(&[("a1", 3), ("b1", 2)]);
        bench.config.group_initial_rebalance_delay_ms = 0;
        bench.config.group_consumer_migration_policy = match migrates {
            true => MigrationPolicy::Bidirectional,
            false => MigrationPolicy::Upgrade,
        };
        Model {
            bench,
            peers: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            made: 0,
            migrates,
            is_stormy: true,
            story: Vec::new(),
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            self.happen();
            self.live(0.8);
            let ms = self.rng.random_range(50..1_500);
            self.bench.advance(ms);
            if step % 25 == 0 {
                self.assert_same_after_replay();
            }
        }
        self.bench.refuses = false;
        self.is_stormy = false;
        self.peers.iter_mut().for_each(|peer| peer.paused = false);
        if !self.migrates {
            // Members of the classic protocol wait for somebody who makes a consumer group.
            let wants = NAMES.iter().map(|name| (*name).to_owned()).collect();
            self.peers
                .push(Peer::new(Kind::Consumer, "last".to_owned(), None, wants, None));
        }
        self.story.push("quiet".to_owned());
        let mut rounds = 0;
        while let Some(restless) = self.restless() {
            rounds += 1;
            assert!(rounds <= QUIET_ROUNDS, "still: {restless}");
            self.live(1.0);
            self.bench.advance(3_000);
        }
        self.assert_same_after_replay();
    }

    /// Each member does what its client would do next, with that chance.
    fn live(&mut self, chance: f64) {
        for index in 0..self.peers.len() {
            let mut peer = std::mem::replace(&mut self.peers[index], Peer::gone());
            if !peer.paused && self.rng.random_bool(chance) {
                let loses = self.is_stormy && self.rng.random_bool(0.1);
                let obeys = !self.is_stormy || self.rng.random_bool(0.7);
                let said = peer.act(&mut self.bench, self.migrates, loses, obeys);
                self.story.push(format!(
                    "{} {said}{}",
                    peer.name,
                    if loses { " (reply lost)" } else { "" }
                ));
            }
            self.peers[index] = peer;
            self.assert_one_owner();
        }
        self.peers.retain(|peer| !peer.is_gone);
    }

    fn happen(&mut self) {
        let what = self.rng.random_range(0..20);
        let said = match what {
            0..4 if self.peers.len() < PEERS_MAX => self.join(),
            4 | 5 => self.with_peer(|peer, _, bench| peer.leave(bench)),
            6 => self.with_peer(|peer, _, _| peer.crash()),
            7 | 8 => self.with_peer(|peer, _, _| {
                peer.paused = !peer.paused;
                format!("{} paused: {}", peer.name, peer.paused)
            }),
            9 | 10 => self.with_peer(|peer, rng, _| {
                let (names, pattern) = wants(rng, peer.kind);
                peer.change(names, pattern)
            }),
            11 | 12 => self.change_topics(),
            13 => self.come_back(),
            14 => {
                self.bench.refuses = !self.bench.refuses;
                format!("the log refuses: {}", self.bench.refuses)
            }
            _ => return,
        };
        self.story.push(said);
        self.peers.retain(|peer| !peer.is_gone);
        self.assert_one_owner();
    }

    fn with_peer(&mut self, act: impl FnOnce(&mut Peer, &mut StdRng, &mut Bench) -> String) -> String {
        if self.peers.is_empty() {
            return "nobody".to_owned();
        }
        let index = self.rng.random_range(0..self.peers.len());
        act(&mut self.peers[index], &mut self.rng, &mut self.bench)
    }

    fn join(&mut self) -> String {
        self.made += 1;
        let kind = match self.rng.random_range(0..4) {
            0 | 1 => Kind::Consumer,
            2 => Kind::Eager,
            // Who has joined a generation of a classic group and has not synced yet may still have what it had; an upgrade in
            // between does not see that. Kafka has this gap too.
            _ if self.migrates => Kind::Eager,
            _ => Kind::Cooperative,
        };
        let instance = self.rng.random_bool(0.3).then(|| format!("i{}", self.made));
        let (names, pattern) = wants(&mut self.rng, kind);
        let peer = Peer::new(kind, format!("p{}", self.made), instance, names, pattern);
        let said = format!("{peer:?} comes");
        self.peers.push(peer);
        said
    }

    /// A static member that went away comes back as another process.
    fn come_back(&mut self) -> String {
        self.made += 1;
        let name = format!("p{}", self.made);
        let mut away = self.peers.iter_mut().filter(|peer| peer.instance.is_some());
        let Some(peer) = away.next() else {
            return "nobody".to_owned();
        };
        let old = std::mem::replace(peer, Peer::gone());
        let said = format!("{} comes back as {name}", old.name);
        *peer = Peer::new(
            old.kind,
            name,
            old.instance.clone(),
            old.names.clone(),
            old.pattern.clone(),
        );
        if old.kind == Kind::Consumer {
            // Else its instance id stays taken until its session ends.
            let mut old = old;
            old.go_away(&mut self.bench);
        }
        said
    }

    fn change_topics(&mut self) -> String {
        let name = NAMES[self.rng.random_range(0..NAMES.len())];
        let topics = &mut self.bench.topics;
        let partitions = topics.by_name.get(name).map(|topic| topic.partitions);
        match partitions {
            Some(partitions) if self.rng.random_bool(0.5) => {
                topics.grow(name, partitions + self.rng.random_range(1..4))
            }
            before => {
                match before {
                    Some(_) if self.rng.random_bool(0.5) => topics.delete(name),
                    // A new one, or another one of the same name.
                    _ => topics.create(name, self.rng.random_range(1..5)),
                }
                // What a client had of the old one is gone, whatever the new one is called.
                self.peers.iter_mut().for_each(|peer| peer.lose_topic(name));
            }
        }
        // Leaders of classic groups look at topics themselves.
        self.peers
            .iter_mut()
            .filter(|peer| peer.kind != Kind::Consumer)
            .for_each(|peer| peer.changed = true);
        format!(
            "topic {name}: {:?}",
            self.bench.topics.by_name.get(name).map(|topic| topic.partitions)
        )
    }

    /// Who is a member for the broker owns what it was told and has not reported given up.
    fn assert_one_owner(&self) {
        let mut owners: BTreeMap<Part, &str> = BTreeMap::new();
        for peer in self.peers.iter().filter(|peer| peer.is_member(&self.bench)) {
            for part in peer.owns() {
                if let Some(other) = owners.insert(part.clone(), &peer.name) {
                    panic!("{part:?} belongs to {other} and to {}", peer.name);
                }
            }
        }
    }

    /// What is not at rest yet.
    fn restless(&self) -> Option<String> {
        if let Some(peer) = self.peers.iter().find(|peer| !peer.is_at_rest()) {
            return Some(format!("{peer:?}"));
        }
        if let Machine::Consumer(group) = &self.bench.machine
            && !matches!(group.state(), ConsumerState::Stable | ConsumerState::Empty)
        {
            return Some(format!("the group is {}", group.state()));
        }
        let members = match &self.bench.machine {
            Machine::Consumer(group) => group.len(),
            Machine::Classic(group) => group.member_count(),
            Machine::None => 0,
        };
        if members != self.peers.len() {
            return Some(format!("{members} members, {} alive", self.peers.len()));
        }
        let mut wanted: BTreeSet<Part> = BTreeSet::new();
        let mut owned: BTreeSet<Part> = BTreeSet::new();
        for peer in &self.peers {
            let topics = self.bench.topics.by_name.keys();
            let wants = |name: &str| {
                let matches = peer
                    .pattern
                    .as_ref()
                    .is_some_and(|pattern| regex::tests::matches(pattern, name));
                matches || peer.names.iter().any(|wanted| wanted == name)
            };
            let names: Vec<&str> = topics.map(|name| &**name).filter(|name| wants(name)).collect();
            let may_have = self.bench.topics.all(&names);
            if !peer.has.is_subset(&may_have) {
                return Some(format!("{} has what it does not want: {:?}", peer.name, peer.has));
            }
            wanted.extend(may_have);
            owned.extend(peer.has.iter().cloned());
        }
        (wanted != owned).then(|| {
            format!(
                "nobody has {:?}; {:?}; {:?}",
                &wanted - &owned,
                self.peers,
                self.bench.machine
            )
        })
    }

    /// Upgrades and downgrades, by what the log says: a tombstone of one protocol beside a record of the other.
    fn conversions(&self) -> (usize, usize) {
        let kinds = super::kinds(&self.bench.log);
        let count = |from: &str, to: &str| kinds.windows(2).filter(|pair| *pair == [from, to]).count();
        (count("-classic", "member"), count("-epoch", "classic"))
    }

    fn assert_same_after_replay(&self) {
        self.bench.assert_replayable();
        if let Machine::Consumer(group) = &self.bench.machine {
            assert!(group.counts.owners.values().all(|owners| *owners == 1));
        }
    }
}

fn wants(rng: &mut StdRng, kind: Kind) -> (Vec<String>, Option<String>) {
    let pattern = (kind == Kind::Consumer && rng.random_bool(0.4)).then(|| PATTERNS[rng.random_range(0..4)].to_owned());
    let names = NAMES
        .iter()
        .filter(|_| rng.random_bool(if pattern.is_some() { 0.1 } else { 0.5 }));
    (names.map(|name| (*name).to_owned()).collect(), pattern)
}

/// How often the group changed its protocol, up and down.
fn run_many(what: &str, migrates: bool, runs: u64) -> (usize, usize) {
    let first = seed(what);
    let mut conversions = (0, 0);
    for seed in (0..runs).map(|run| first.wrapping_add(run)) {
        let mut model = Model::new(seed, migrates);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.run()));
        if let Err(cause) = outcome {
            let from = model.story.len().saturating_sub(60);
            println!(
                "CONSUMER_GROUP_SEED={seed} tells this at its end:\n{}",
                model.story[from..].join("\n")
            );
            std::panic::resume_unwind(cause);
        }
        let (up, down) = model.conversions();
        conversions = (conversions.0 + up, conversions.1 + down);
    }
    conversions
}

/// contract 82–87 in one consumer group with members of both protocols.
#[test]
fn random_members_of_a_consumer_group_share_partitions() {
    assert_eq!(run_many("consumer group", false, 60), (0, 0));
}

/// contract 87: the same while the group goes from one protocol to the other and back.
#[test]
fn random_members_share_partitions_across_protocols() {
    let (up, down) = run_many("migrating group", true, 60);
    println!("{up} upgrades, {down} downgrades");
    assert!(up > 0 && down > 0);
}
