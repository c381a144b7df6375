//! Who gets what: contract 86.

use super::seed;
use crate::groups::consumer::assignor::{Assignor, MemberSpec, Spec, TopicSpec};
use crate::groups::consumer::member::Tp;
use protocol::types::TopicId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// A group as assignors see it: members with their topics and their targets so far.
#[derive(Clone, Debug, Default)]
struct Group {
    topics: Vec<i32>,
    members: Vec<Member>,
}

/// Its id, its instance id, the topics it wants, what it has so far.
type Member = (String, Option<String>, Vec<usize>, Vec<Tp>);

impl Group {
    fn new(topics: &[i32], members: &[(&str, &[usize])]) -> Group {
        let members = members
            .iter()
            .map(|(id, topics)| ((*id).to_owned(), None, topics.to_vec(), Vec::new()));
        Group {
            topics: topics.to_vec(),
            members: members.collect(),
        }
    }

    fn assign(&mut self, assignor: Assignor) {
        let mut subscriptions: Vec<Vec<TopicSpec>> = Vec::new();
        let specs: Vec<usize> = self
            .members
            .iter()
            .map(|(_, _, topics, _)| {
                let topics: Vec<TopicSpec> = topics
                    .iter()
                    .map(|topic| TopicSpec {
                        topic_id: id(*topic),
                        partitions: self.topics[*topic],
                    })
                    .collect();
                subscriptions
                    .iter()
                    .position(|known| *known == topics)
                    .unwrap_or_else(|| {
                        subscriptions.push(topics);
                        subscriptions.len() - 1
                    })
            })
            .collect();
        let members = self
            .members
            .iter()
            .zip(specs)
            .map(|((id, instance_id, _, target), subscription)| MemberSpec {
                id,
                instance_id: instance_id.as_deref(),
                subscription,
                target,
            });
        let spec = Spec {
            members: members.collect(),
            subscriptions,
        };
        let assignment = assignor.assign(&spec);
        for (member, partitions) in self.members.iter_mut().zip(assignment) {
            member.3 = partitions;
        }
    }

    fn has(&self, member: usize) -> Vec<(usize, i32)> {
        self.members[member]
            .3
            .iter()
            .map(|tp| (usize::from(tp.topic_id.0[0]), tp.partition))
            .collect()
    }

    fn sizes(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.3.len()).collect()
    }

    fn owners(&self) -> BTreeMap<Tp, usize> {
        let mut owners = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate() {
            for tp in &member.3 {
                assert_eq!(owners.insert(*tp, index), None, "{tp:?} has two owners");
                assert!(
                    member.2.contains(&usize::from(tp.topic_id.0[0])),
                    "{tp:?} goes to who does not want it"
                );
                assert!(tp.partition < self.topics[usize::from(tp.topic_id.0[0])]);
            }
        }
        for (topic, partitions) in self.topics.iter().enumerate() {
            if self.members.iter().any(|member| member.2.contains(&topic)) {
                let of_topic = owners.keys().filter(|tp| tp.topic_id == id(topic)).count();
                assert_eq!(of_topic, *partitions as usize, "all of topic {topic}");
            }
        }
        owners
    }
}

fn id(topic: usize) -> TopicId {
    let mut id = [0; 16];
    id[0] = topic as u8;
    TopicId(id)
}

/// contract 86: uniform is even over all topics together.
#[test]
fn uniform_is_even() {
    let all: &[usize] = &[0, 1, 2];
    let mut group = Group::new(&[3, 3, 1], &[("a", all), ("b", all), ("c", all)]);
    group.assign(Assignor::Uniform);
    group.owners();
    let mut sizes = group.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 2, 3]);
}

/// contract 86: uniform moves no more than it must.
#[test]
fn uniform_is_sticky() {
    let all: &[usize] = &[0, 1];
    let members: Vec<(String, &[usize])> = (0..9).map(|i| (format!("m{i}"), all)).collect();
    let members: Vec<(&str, &[usize])> = members.iter().map(|(id, topics)| (&**id, *topics)).collect();
    let mut group = Group::new(&[50, 50], &members);
    group.assign(Assignor::Uniform);
    let before = group.owners();
    group.members.push(("m9".to_owned(), None, all.to_vec(), Vec::new()));
    group.assign(Assignor::Uniform);
    let after = group.owners();
    let moved = before.iter().filter(|(tp, owner)| after[*tp] != **owner).count();
    assert_eq!(moved, 10, "the new member's share and no more");
    group.assign(Assignor::Uniform);
    assert_eq!(group.owners(), after, "nothing changed: nothing moves");
    group.members.remove(0);
    let kept: BTreeMap<Tp, String> = ids(&group);
    group.assign(Assignor::Uniform);
    assert!(
        kept.iter().all(|(tp, owner)| ids(&group)[tp] == *owner),
        "who stays keeps what it has"
    );
    group.owners();
}

fn ids(group: &Group) -> BTreeMap<Tp, String> {
    group
        .members
        .iter()
        .flat_map(|member| member.3.iter().map(|tp| (*tp, member.0.clone())))
        .collect()
}

/// contract 86: range gives ranges of each topic, the same of topics of the same size; static members keep their places.
#[test]
fn range_gives_ranges() {
    let all: &[usize] = &[0, 1, 2];
    let mut group = Group::new(&[5, 5, 2], &[("a", all), ("b", all), ("c", all)]);
    group.assign(Assignor::Range);
    group.owners();
    assert_eq!(group.has(0), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]);
    assert_eq!(group.has(1), [(0, 2), (0, 3), (1, 2), (1, 3), (2, 1)]);
    assert_eq!(group.has(2), [(0, 4), (1, 4)]);
    group.members[2].1 = Some("static".to_owned());
    group.assign(Assignor::Range);
    assert_eq!(group.has(2), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]);
    let mut group = Group::new(&[4, 2], &[("a", &[0]), ("b", &[0, 1]), ("c", &[])]);
    group.assign(Assignor::Range);
    group.owners();
    assert_eq!(group.has(0), [(0, 0), (0, 1)]);
    assert_eq!(group.has(1), [(0, 2), (0, 3), (1, 0), (1, 1)]);
    assert_eq!(group.has(2), []);
}

/// contract 86: who has little choice is served, and what can be moved to who has less is.
#[test]
fn uniform_is_even_where_members_differ() {
    let mut group = Group::new(&[4, 4], &[("a", &[0]), ("b", &[0, 1])]);
    group.assign(Assignor::Uniform);
    group.owners();
    assert_eq!(group.sizes(), [4, 4]);
    // A chain: a and b share 0, b and c share 1, c has 2 alone.
    let mut group = Group::new(&[12, 6, 0], &[("a", &[0]), ("b", &[0, 1]), ("c", &[1, 2])]);
    group.assign(Assignor::Uniform);
    group.owners();
    assert_eq!(group.sizes(), [6, 6, 6]);
    // A target that others wrote: two owners of one partition, partitions that do not exist.
    let tp = |partition| Tp {
        topic_id: id(0),
        partition,
    };
    for topics in [&[0][..], &[0, 1]] {
        let mut group = Group::new(&[2, 2], &[("a", &[0]), ("b", topics)]);
        group.members[0].3 = vec![tp(-1), tp(0), tp(7)];
        group.members[1].3 = vec![tp(0), tp(1)];
        group.assign(Assignor::Uniform);
        group.owners();
    }
}

/// Random groups that change: every partition has one owner who wants it; uniform is as even as single moves can make it, and
/// leaves what is even alone.
#[test]
fn random_groups_are_assigned() {
    let seed = seed("assignors");
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..400 {
        let topics: Vec<i32> = (0..rng.random_range(1..6)).map(|_| rng.random_range(0..12)).collect();
        let mut group = Group {
            topics,
            members: Vec::new(),
        };
        let alike = rng.random_bool(0.5);
        for step in 0..8 {
            change(&mut rng, &mut group, alike, step);
            for assignor in [Assignor::Range, Assignor::Uniform] {
                let mut assigned = group.clone();
                assigned.assign(assignor);
                let owners = assigned.owners();
                if assignor == Assignor::Uniform {
                    let context = format!("seed {seed}, round {round}, step {step}: {assigned:?}");
                    assert_even(&assigned, &owners, alike, &context);
                    let mut again = assigned.clone();
                    again.assign(assignor);
                    assert_eq!(again.owners(), owners, "{context}");
                    group = assigned;
                }
            }
        }
    }
}

fn change(rng: &mut StdRng, group: &mut Group, alike: bool, step: usize) {
    let topics = group.topics.len();
    let any = |rng: &mut StdRng| (0..topics).filter(|_| rng.random_bool(0.6)).collect::<Vec<_>>();
    match rng.random_range(0..5) {
        0 if group.members.len() > 1 => {
            group.members.remove(rng.random_range(0..group.members.len()));
        }
        1 => {
            let topic = rng.random_range(0..topics);
            group.topics[topic] += rng.random_range(0..5);
        }
        2 if !alike && !group.members.is_empty() => {
            let member = rng.random_range(0..group.members.len());
            group.members[member].2 = any(rng);
        }
        _ => {
            let wants = if alike { (0..topics).collect() } else { any(rng) };
            group.members.push((format!("m{step}"), None, wants, Vec::new()));
            group.members.sort();
        }
    }
}

fn assert_even(group: &Group, owners: &BTreeMap<Tp, usize>, alike: bool, context: &str) {
    let sizes = group.sizes();
    if alike {
        let (least, most) = (sizes.iter().min(), sizes.iter().max());
        assert!(
            most.zip(least).is_none_or(|(most, least)| most - least <= 1),
            "{context}"
        );
    }
    for (tp, owner) in owners {
        let topic = usize::from(tp.topic_id.0[0]);
        for (other, member) in group.members.iter().enumerate() {
            let helps = member.2.contains(&topic) && sizes[other] + 1 < sizes[*owner];
            assert!(!helps, "moving {tp:?} from {owner} to {other} would help; {context}");
        }
    }
}
