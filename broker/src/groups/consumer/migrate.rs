//! A group changes its protocol while its members go on (contract 87, `group.consumer.migration.policy`).
//!
//! Up: the first member of the new protocol comes to a classic group. The others come along as they are, with what the last
//! leader gave them, and are assigned for by the broker from then on. Down: the last member of the new protocol goes, and the
//! rest is a classic group again.

use super::change::Change;
use super::classic_member::{encode_partitions, joined};
use super::member::{Member, MemberState, Owned, Subscription, Tp};
use super::replay::target_record;
use super::{ConsumerGroup, PROTOCOL_TYPE, Refused, topics};
use crate::groups::classic::{ClassicGroup, ClassicState, ConvertedMember};
use crate::groups::{Client, Effects, Env, TimerKind, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::ErrorCode;
use protocol::consumer_protocol;
use protocol::group_records::{ClassicMemberMetadata, GroupRecord};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl ConsumerGroup {
    /// ConsumerGroupHeartbeat with epoch 0 to a classic group. Empty: it is replaced. With members: they come along, when the
    /// policy and their protocols allow that; else the response says why not. `Effects` have the classic group's tombstone and
    /// everything that the new group needs; its waiting joins and syncs are answered there with REBALANCE_IN_PROGRESS. The
    /// shard needs only to replay the records (a consumer group's record for a group that it does not have makes one by
    /// [`ConsumerGroup::new`]). The classic group is dissolved when, and only when, the response has no error.
    pub fn upgrade(
        env: &mut Env,
        client: &Client,
        classic: &mut ClassicGroup,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, Effects) {
        let mut records = Vec::new();
        let mut group = ConsumerGroup::new(Arc::clone(classic.group_id()));
        if classic.record().is_some() {
            records.push(GroupRecord::GroupMetadata {
                group_id: Arc::clone(classic.group_id()),
                value: None,
            });
        }
        // Nothing to take along: the new group starts from nothing.
        if classic.state() != ClassicState::Empty {
            match group.take_over(env, classic) {
                Ok(mut taken) => records.append(&mut taken),
                Err(refused) => return (refused.heartbeat_response(), Effects::none()),
            }
        }
        let (response, mut effects) = group.heartbeat(env, client, request);
        if response.error_code != 0 {
            return (response, Effects::none());
        }
        records.append(&mut effects.records);
        effects.records = records;
        let mut all = classic.dissolve(ErrorCode::RebalanceInProgress);
        all.append(effects);
        // What this group remembers of sessions is lost with it; the one that the records make starts them at once.
        all.set_timer(classic.group_id(), TimerKind::Sessions, env.now_ms);
        tracing::info!(group_id = %classic.group_id(), "classic group became a consumer group");
        (response, all)
    }

    /// Takes the members of a classic group over, at once, and returns the records of that.
    fn take_over(&mut self, env: &Env, classic: &ClassicGroup) -> Result<Vec<GroupRecord>, Refused> {
        let refuse = |why: &str| {
            let message = format!(
                "classic group {} cannot become a consumer group: {why}",
                classic.group_id()
            );
            Refused::new(ErrorCode::GroupIdNotFound, message)
        };
        if !env.config.group_consumer_migration_policy.upgrades() {
            return Err(refuse("group.consumer.migration.policy does not allow it"));
        }
        if classic.protocol_type().is_none_or(|name| &**name != PROTOCOL_TYPE) {
            return Err(refuse("its members are not consumers"));
        }
        if classic.member_count() > env.config.group_consumer_max_size {
            return Err(refuse("it has more members than group.consumer.max.size allows"));
        }
        let generation_id = classic.generation_id();
        let protocol_name = classic.protocol_name().cloned();
        let mut owned = HashSet::new();
        let mut members = Vec::new();
        for old in classic.members() {
            // A group in its first join phase has chosen no protocol yet; any says the same of the subscription.
            let metadata = match &protocol_name {
                Some(name) => old.metadata(name),
                None => old
                    .protocols()
                    .first()
                    .map(|(_, metadata)| metadata.clone())
                    .unwrap_or_default(),
            };
            let converted = convert(env, old, generation_id, &metadata, &mut owned);
            members.push(converted.map_err(|why| refuse(&why))?);
        }
        let mut records: Vec<GroupRecord> = members
            .iter()
            .map(|member| member.metadata_record(&self.group_id))
            .collect();
        let hash = topics::metadata_hash(env, members.iter(), &self.regexes);
        records.push(self.epoch_record(generation_id, hash));
        for member in &members {
            let target: Vec<Tp> = member.assigned.iter().map(|owned| owned.tp).collect();
            records.push(target_record(&self.group_id, &member.id, &target));
        }
        records.push(self.assignment_epoch_record(generation_id, env.now_ms));
        records.extend(members.iter().map(|member| member.assignment_record(&self.group_id)));
        for record in &records {
            self.replay(record);
        }
        Ok(records)
    }

    /// Whether only members of the classic protocol stay when these, of the new one, go, and the group may become theirs.
    pub(super) fn becomes_classic_without(&self, env: &Env, leaving: &[Arc<str>]) -> bool {
        let is_classic = |id: &Arc<str>| self.members.get(id).is_none_or(Member::is_classic);
        let stay = self.members.len().saturating_sub(leaving.len());
        stay > 0 && self.counts.classic == stay && !leaving.iter().any(is_classic) && self.may_become_classic(env, stay)
    }

    /// Whether a member of the classic protocol takes the place of the only member of the new one.
    pub(super) fn becomes_classic_with(&self, env: &Env, change: &Change<'_>) -> bool {
        let old = change
            .member
            .instance_id
            .as_ref()
            .and_then(|id| self.static_members.get(id));
        let old = old.and_then(|id| self.members.get(id));
        old.is_some_and(|old| !old.is_classic())
            && self.counts.classic + 1 == self.members.len()
            && self.may_become_classic(env, self.members.len())
    }

    fn may_become_classic(&self, env: &Env, members: usize) -> bool {
        let allowed = env.config.group_consumer_migration_policy.downgrades() && members <= env.config.group_max_size;
        if !allowed {
            tracing::info!(
                group_id = %self.group_id,
                "group stays a consumer group: group.consumer.migration.policy or group.max.size does not allow a classic one"
            );
        }
        allowed
    }

    /// The classic group of those who stay; it rebalances at once.
    pub(super) fn downgrade_without(&mut self, env: &mut Env, leaving: &[Arc<str>]) -> Effects {
        let mut effects = Effects::none();
        self.push_tombstones(self.members.keys(), &mut effects.records);
        let members: Vec<Member> = self
            .members
            .values()
            .filter(|member| leaving.binary_search(&member.id).is_err())
            .cloned()
            .collect();
        let (group, started) = classic_group(env, &self.group_id, self.epoch, &members, true);
        effects.append(started);
        effects.install = Some(Box::new(group));
        effects
    }

    /// The same when a join replaced the last member of the new protocol: it goes on with what that one had, and there is a
    /// rebalance only when it wants something else, or when members were on their way to a target.
    pub(super) fn downgrade_with(
        &self,
        env: &mut Env,
        waiter: Waiter,
        mut change: Change<'_>,
        changed: bool,
        owned: &[Tp],
    ) -> Result<Effects, Refused> {
        if !changed {
            let target = change.target(env);
            change.reconcile(env, &target, false, Some(owned))?;
        }
        let Change {
            member,
            replaced,
            mut records,
            epoch,
            ..
        } = change;
        let stays = |other: &&Member| other.id != member.id && Some(&other.id) != replaced.as_ref();
        let mut members: Vec<Member> = self.members.values().filter(stays).cloned().collect();
        members.push(member.clone());
        self.push_tombstones(members.iter().map(|member| &member.id), &mut records);
        let is_settled = |member: &Member| member.is_reconciled_to(epoch);
        let rebalance = changed || epoch > self.assignment_epoch || !members.iter().all(is_settled);
        let (group, started) = classic_group(env, &self.group_id, epoch, &members, rebalance);
        let mut effects = Effects::none();
        effects.records = records;
        let mut response = joined(&member);
        response.generation_id = group.generation_id();
        effects.join_reply(waiter, response);
        effects.append(started);
        effects.install = Some(Box::new(group));
        Ok(effects)
    }
}

/// A member of a classic group as one of a consumer group: with what its last leader gave it.
fn convert(
    env: &Env,
    old: &crate::groups::classic::Member,
    generation_id: i32,
    metadata: &Bytes,
    taken: &mut HashSet<Tp>,
) -> Result<Member, String> {
    let unreadable = |error: protocol::DecodeError| format!("what its members say cannot be read: {error}");
    let subscription = consumer_protocol::Subscription::decode(metadata).map_err(unreadable)?;
    let assignment = consumer_protocol::Assignment::decode(old.assignment()).map_err(unreadable)?;
    if assignment
        .user_data
        .as_ref()
        .is_some_and(|user_data| !user_data.is_empty())
    {
        return Err("an assignor of its members keeps data of its own in assignments, which would be lost".to_owned());
    }
    let mut assigned: Vec<Owned> = Vec::new();
    for topic in &assignment.assigned_partitions {
        let Some(info) = env.cluster.topic(&topic.topic) else {
            continue;
        };
        for partition in topic
            .partitions
            .iter()
            .filter(|partition| (0..info.partitions).contains(*partition))
        {
            let tp = Tp {
                topic_id: info.id,
                partition: *partition,
            };
            // A leader may be wrong; a partition has one owner here.
            if taken.insert(tp) {
                let epoch = generation_id;
                assigned.push(Owned { tp, epoch });
            }
        }
    }
    assigned.sort_unstable_by_key(|owned| owned.tp);
    let mut member = Member::blank(Arc::clone(old.member_id()));
    member.instance_id = old.group_instance_id().cloned();
    member.rack_id = subscription.rack_id.filter(|rack_id| !rack_id.is_empty());
    member.client_id = Arc::clone(old.client_id());
    member.client_host = Arc::clone(old.client_host());
    member.subscription = Arc::new(Subscription::new(subscription.topics, None));
    member.rebalance_timeout_ms = old.rebalance_timeout_ms();
    member.classic = Some(Arc::new(ClassicMemberMetadata {
        session_timeout_ms: old.session_timeout_ms(),
        supported_protocols: old.protocols().to_vec(),
    }));
    member.epoch = generation_id;
    member.previous_epoch = generation_id;
    member.state = MemberState::Stable;
    member.assigned = Arc::new(assigned);
    Ok(member)
}

/// The group that these members make in the classic protocol. Each is assigned what it owns at the moment, and not, as in
/// Kafka, its target: should the group be upgraded again before the members rejoined, nobody must get what they still have.
fn classic_group(
    env: &mut Env,
    group_id: &Arc<str>,
    generation_id: i32,
    members: &[Member],
    rebalance: bool,
) -> (ClassicGroup, Effects) {
    let owned = |member: &Member| {
        let owned = member.assigned.iter().chain(member.pending_revocation.iter());
        owned.map(|owned| owned.tp).collect::<Vec<_>>()
    };
    let owned: HashMap<&str, Vec<Tp>> = members.iter().map(|member| (&*member.id, owned(member))).collect();
    let converted = members.iter().map(|member| ConvertedMember {
        member_id: Arc::clone(&member.id),
        group_instance_id: member.instance_id.clone(),
        client_id: Arc::clone(&member.client_id),
        client_host: Arc::clone(&member.client_host),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms),
        protocols: member
            .classic
            .as_ref()
            .map_or_else(Vec::new, |classic| classic.supported_protocols.clone()),
    });
    let converted = converted.collect();
    let cluster = env.cluster;
    let config = env.config;
    let now_ms = env.now_ms;
    let mut assignment = |member: &ConvertedMember, _protocol: &str, metadata: &Bytes| {
        let version = consumer_protocol::version(metadata).unwrap_or(0);
        let mut no_id = || unreachable!("assignments need no ids");
        let env = Env {
            now_ms,
            config,
            cluster,
            new_id: &mut no_id,
        };
        encode_partitions(
            &env,
            version,
            owned.get(&*member.member_id).into_iter().flatten().copied(),
        )
    };
    tracing::info!(%group_id, "consumer group became a classic group");
    ClassicGroup::converted(
        env,
        Arc::clone(group_id),
        generation_id,
        converted,
        &mut assignment,
        rebalance,
    )
}
