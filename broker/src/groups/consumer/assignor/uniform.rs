//! The uniform assignor: as even as can be, then as few moves as can be.
//!
//! When all members want the same topics each gets the same number of partitions, give or take one, and that takes one walk
//! over members and partitions. When they do not, members keep what they may keep, the rest goes to those who have least, and a
//! few rounds over the topics move partitions from those who have most.

use super::{Spec, TopicSpec};
use crate::groups::consumer::member::Tp;
use protocol::types::TopicId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Rounds of balancing at most. One is enough when the subscribers of each topic want the same; chains of members whose
/// subscriptions overlap need more, each halving what is uneven.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(spec: &Spec<'_>) -> Vec<Vec<Tp>> {
    match spec.subscriptions.as_slice() {
        [] => vec![Vec::new(); spec.members.len()],
        [topics] => assign_alike(spec, topics),
        _ => Uneven::new(spec).assign(),
    }
}

/// The partitions of sorted topics, numbered from 0.
struct Numbering<'a> {
    topics: &'a [TopicSpec],
    /// Of each topic the number of its partition 0.
    starts: Vec<usize>,
    total: usize,
}

impl<'a> Numbering<'a> {
    fn new(topics: &'a [TopicSpec]) -> Numbering<'a> {
        let mut total = 0;
        let starts = topics
            .iter()
            .map(|topic| {
                let start = total;
                total += topic.partitions.max(0) as usize;
                start
            })
            .collect();
        Numbering { topics, starts, total }
    }

    /// The number of a partition; `None` for one that does not exist.
    fn number(&self, tp: Tp) -> Option<usize> {
        let index = self
            .topics
            .binary_search_by(|topic| topic.topic_id.cmp(&tp.topic_id))
            .ok()?;
        let topic = self.topics.get(index)?;
        let exists = (0..topic.partitions).contains(&tp.partition);
        let start = self.starts.get(index)?;
        exists.then_some(start + tp.partition as usize)
    }

    fn all(&self) -> impl Iterator<Item = Tp> {
        self.topics.iter().flat_map(|topic| {
            let topic_id = topic.topic_id;
            (0..topic.partitions).map(move |partition| Tp { topic_id, partition })
        })
    }
}

fn assign_alike(spec: &Spec<'_>, topics: &[TopicSpec]) -> Vec<Vec<Tp>> {
    let numbering = Numbering::new(topics);
    let members = spec.members.len();
    let (quota, mut extra) = match members {
        0 => return Vec::new(),
        members => (numbering.total / members, numbering.total % members),
    };
    let mut taken = vec![false; numbering.total];
    let mut kept: Vec<Vec<Tp>> = Vec::with_capacity(members);
    for member in &spec.members {
        let mut partitions: Vec<Tp> = Vec::new();
        for tp in member.target {
            if partitions.len() > quota {
                break;
            }
            // A number that is taken is a second owner: of a record that somebody else wrote.
            if let Some(slot) = numbering.number(*tp).and_then(|number| taken.get_mut(number))
                && !*slot
            {
                *slot = true;
                partitions.push(*tp);
            }
        }
        kept.push(partitions);
    }
    // Members that have one more than the quota keep it as long as that many are to have one more.
    for partitions in kept.iter_mut().filter(|partitions| partitions.len() > quota) {
        if extra > 0 {
            extra -= 1;
        } else if let Some(slot) = partitions
            .pop()
            .and_then(|tp| numbering.number(tp))
            .and_then(|n| taken.get_mut(n))
        {
            *slot = false;
        }
    }
    let mut free = numbering.all().zip(taken).filter(|(_, taken)| !taken).map(|(tp, _)| tp);
    for partitions in kept.iter_mut().filter(|partitions| partitions.len() <= quota) {
        let mut size = quota;
        if extra > 0 {
            size += 1;
            extra -= 1;
        }
        let missing = size - partitions.len();
        partitions.extend(free.by_ref().take(missing));
    }
    kept
}

/// The assignment of members that do not all want the same.
struct Uneven<'a> {
    spec: &'a Spec<'a>,
    /// Members by topic.
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    /// Owners by partition, by topic.
    owners: BTreeMap<TopicId, Vec<Option<usize>>>,
    /// How many partitions each member has.
    sizes: Vec<usize>,
    /// Topics with most partitions a subscriber first, then those with few subscribers: who has little choice is served first.
    order: Vec<TopicId>,
}

impl<'a> Uneven<'a> {
    fn new(spec: &'a Spec<'a>) -> Uneven<'a> {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        let mut owners: BTreeMap<TopicId, Vec<Option<usize>>> = BTreeMap::new();
        for (index, member) in spec.members.iter().enumerate() {
            for topic in spec.topics(member) {
                subscribers.entry(topic.topic_id).or_default().push(index);
                let partitions = topic.partitions.max(0) as usize;
                owners.entry(topic.topic_id).or_insert_with(|| vec![None; partitions]);
            }
        }
        let mut order: Vec<TopicId> = subscribers.keys().copied().collect();
        order.sort_by(|left, right| {
            let weight = |topic: &TopicId| {
                let partitions = owners.get(topic).map_or(0, Vec::len);
                let members = subscribers.get(topic).map_or(1, Vec::len);
                (partitions, members)
            };
            let ((left_partitions, left_members), (right_partitions, right_members)) = (weight(left), weight(right));
            // left/members against right/members without fractions, the larger first.
            let by_load = (right_partitions * left_members).cmp(&(left_partitions * right_members));
            by_load.then(left_members.cmp(&right_members)).then(left.cmp(right))
        });
        Uneven {
            spec,
            subscribers,
            owners,
            sizes: vec![0; spec.members.len()],
            order,
        }
    }

    fn assign(mut self) -> Vec<Vec<Tp>> {
        self.keep();
        for topic_id in self.order.clone() {
            self.fill(topic_id);
        }
        for _ in 0..ROUNDS_MAX {
            let moves: usize = self
                .order
                .clone()
                .into_iter()
                .map(|topic_id| self.balance(topic_id))
                .sum();
            if moves == 0 {
                break;
            }
        }
        let mut assignment = vec![Vec::new(); self.spec.members.len()];
        for (topic_id, owners) in &self.owners {
            for (partition, owner) in (0..).zip(owners) {
                let owner = owner.and_then(|owner| assignment.get_mut(owner));
                if let Some(partitions) = owner {
                    partitions.push(Tp {
                        topic_id: *topic_id,
                        partition,
                    });
                }
            }
        }
        assignment
    }

    /// Members keep what they are still subscribed to.
    fn keep(&mut self) {
        for (index, member) in self.spec.members.iter().enumerate() {
            let topics = self.spec.topics(member);
            for tp in member.target {
                if topics
                    .binary_search_by(|topic| topic.topic_id.cmp(&tp.topic_id))
                    .is_err()
                {
                    continue;
                }
                let owners = self.owners.get_mut(&tp.topic_id);
                let partition = usize::try_from(tp.partition).ok();
                if let Some(owner) = owners
                    .zip(partition)
                    .and_then(|(owners, partition)| owners.get_mut(partition))
                    && owner.is_none()
                {
                    *owner = Some(index);
                    grow(&mut self.sizes, index);
                }
            }
        }
    }

    /// What nobody has goes to the subscribers that have least.
    fn fill(&mut self, topic_id: TopicId) {
        let (Some(owners), Some(subscribers)) = (self.owners.get_mut(&topic_id), self.subscribers.get(&topic_id))
        else {
            return;
        };
        if owners.iter().all(Option::is_some) {
            return;
        }
        let load = |member: &usize| Reverse((self.sizes.get(*member).copied().unwrap_or(0), *member));
        let mut least: BinaryHeap<Reverse<(usize, usize)>> = subscribers.iter().map(load).collect();
        for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
            let Some(mut top) = least.peek_mut() else { return };
            let Reverse((size, member)) = &mut *top;
            *owner = Some(*member);
            *size += 1;
            grow(&mut self.sizes, *member);
        }
    }

    /// Moves partitions of a topic from the subscriber that has most to the one that has least, until it would not help. How
    /// many moves that took.
    fn balance(&mut self, topic_id: TopicId) -> usize {
        let (Some(owners), Some(subscribers)) = (self.owners.get_mut(&topic_id), self.subscribers.get(&topic_id))
        else {
            return 0;
        };
        let size = |sizes: &[usize], member: usize| sizes.get(member).copied().unwrap_or(0);
        let least = subscribers
            .iter()
            .map(|member| size(&self.sizes, *member))
            .min()
            .unwrap_or(0);
        let mut by_owner: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in owners.iter().enumerate() {
            if let Some(owner) = owner.filter(|owner| size(&self.sizes, *owner) > least + 1) {
                by_owner.entry(owner).or_default().push(partition);
            }
        }
        if by_owner.is_empty() {
            return 0;
        }
        let mut poor: BinaryHeap<Reverse<(usize, usize)>> = subscribers
            .iter()
            .map(|member| Reverse((size(&self.sizes, *member), *member)))
            .collect();
        let mut rich: BinaryHeap<(usize, usize)> = by_owner
            .keys()
            .map(|member| (size(&self.sizes, *member), *member))
            .collect();
        let mut moves = 0;
        while let (Some((most, from)), Some(mut to)) = (rich.pop(), poor.peek_mut()) {
            let Reverse((least, to)) = &mut *to;
            if most <= *least + 1 {
                break;
            }
            let Some(partition) = by_owner.get_mut(&from).and_then(Vec::pop) else {
                continue;
            };
            if let Some(owner) = owners.get_mut(partition) {
                *owner = Some(*to);
            }
            *least += 1;
            grow(&mut self.sizes, *to);
            shrink(&mut self.sizes, from);
            moves += 1;
            rich.push((most - 1, from));
        }
        moves
    }
}

fn grow(sizes: &mut [usize], member: usize) {
    if let Some(size) = sizes.get_mut(member) {
        *size += 1;
    }
}

fn shrink(sizes: &mut [usize], member: usize) {
    if let Some(size) = sizes.get_mut(member) {
        *size -= 1;
    }
}
