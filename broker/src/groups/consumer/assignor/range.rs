//! The range assignor: of each topic every subscribed member gets one range, in the order of the members, the first ones one
//! partition more when it does not come out even. Members that want the same topics get the same ranges of topics of the same
//! size, which joins need. It knows no stickiness, as Kafka's since 4.0; static members come first, by instance id, so that
//! they keep their places over a restart.

use super::{Spec, TopicSpec};
use crate::groups::consumer::member::Tp;
use protocol::types::TopicId;
use std::collections::HashMap;

struct Ranges {
    topic: TopicSpec,
    members: i32,
    extra: i32,
    next: i32,
}

impl Ranges {
    fn take(&mut self) -> impl Iterator<Item = Tp> + use<> {
        let mut size = self.topic.partitions / self.members;
        if self.extra > 0 {
            size += 1;
            self.extra -= 1;
        }
        let start = self.next;
        self.next += size;
        let topic_id = self.topic.topic_id;
        (start..self.next).map(move |partition| Tp { topic_id, partition })
    }
}

pub(super) fn assign(spec: &Spec<'_>) -> Vec<Vec<Tp>> {
    let mut ranges: HashMap<TopicId, Ranges> = HashMap::new();
    for topic in spec.members.iter().flat_map(|member| spec.topics(member)) {
        let entry = ranges.entry(topic.topic_id).or_insert(Ranges {
            topic: *topic,
            members: 0,
            extra: 0,
            next: 0,
        });
        entry.members += 1;
    }
    for range in ranges.values_mut() {
        range.extra = range.topic.partitions % range.members;
    }
    let mut order: Vec<_> = spec.members.iter().enumerate().collect();
    order.sort_unstable_by_key(|(_, member)| (member.instance_id.is_none(), member.instance_id, member.id));
    let mut assignment = vec![Vec::new(); spec.members.len()];
    for (index, member) in order {
        let Some(partitions) = assignment.get_mut(index) else {
            continue;
        };
        for topic in spec.topics(member) {
            if let Some(range) = ranges.get_mut(&topic.topic_id) {
                partitions.extend(range.take());
            }
        }
    }
    assignment
}
