//! ConsumerGroupDescribe: the group as tools see it.

use super::member::{Member, Owned, Tp};
use super::{ConsumerGroup, preferred_assignor, str_bytes};
use crate::groups::Env;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};
use uuid::Uuid;

/// A member's protocol, in replies from version 1 on.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

impl ConsumerGroup {
    /// ConsumerGroupDescribe, without `authorized_operations`.
    pub fn describe(&self, env: &Env) -> DescribedGroup {
        let members = self.members.values().map(|member| self.describe_member(env, member));
        DescribedGroup::default()
            .with_group_id(str_bytes(&self.group_id).into())
            .with_group_state(str_bytes(&self.state().to_string()))
            .with_group_epoch(self.epoch)
            .with_assignment_epoch(self.assignment_epoch)
            .with_assignor_name(str_bytes(&preferred_assignor(env, &self.counts.assignors)))
            .with_members(members.collect())
    }

    fn describe_member(&self, env: &Env, member: &Member) -> DescribedMember {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str_bytes);
        let assigned: Vec<Tp> = member.assigned.iter().map(|owned: &Owned| owned.tp).collect();
        let names = member.subscription.names.iter();
        DescribedMember::default()
            .with_member_id(str_bytes(&member.id))
            .with_instance_id(text(&member.instance_id))
            .with_rack_id(text(&member.rack_id))
            .with_member_epoch(member.epoch)
            .with_client_id(str_bytes(&member.client_id))
            .with_client_host(str_bytes(&member.client_host))
            .with_subscribed_topic_names(names.map(|name| str_bytes(name).into()).collect())
            .with_subscribed_topic_regex(text(&member.subscription.regex))
            .with_assignment(describe_partitions(env, &assigned))
            .with_target_assignment(describe_partitions(env, &self.target(&member.id)))
            .with_member_type(if member.is_classic() { CLASSIC } else { CONSUMER })
    }
}

/// Sorted partitions by topic; topics that are gone are left out.
fn describe_partitions(env: &Env, partitions: &[Tp]) -> Assignment {
    let topics = partitions.chunk_by(|left, right| left.topic_id == right.topic_id);
    let topics = topics.filter_map(|chunk| {
        let topic = env.cluster.topic_by_id(chunk.first()?.topic_id)?;
        let topic_partitions = TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(topic.id.0))
            .with_topic_name(str_bytes(&topic.name).into())
            .with_partitions(chunk.iter().map(|tp| tp.partition).collect());
        Some(topic_partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
