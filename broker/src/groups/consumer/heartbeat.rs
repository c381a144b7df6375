//! ConsumerGroupHeartbeat: members join, say what they want and own, and hear what they are to own (contract 82–86).

use super::change::{Change, RegexChange};
use super::member::{self, Member, Subscription, Tp, owns};
use super::{ConsumerGroup, JOINS, LEAVES, LEAVES_FOR_A_WHILE, Refused, str_bytes};
use crate::groups::{Client, Effects, Env, GroupConfig, TimerKind};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::ErrorCode;
use protocol::types::TopicId;
use std::sync::Arc;
use uuid::Uuid;

/// From this version on members make their ids themselves.
const MEMBER_ID_BY_CLIENT: i16 = 1;

impl ConsumerGroup {
    /// ConsumerGroupHeartbeat: joins, changes, leaves or just lives. The records of a first member create the group: the shard
    /// may ask a new group that it keeps only once its records were replayed.
    pub fn heartbeat(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, Effects) {
        let done = check(env.config, client.api_version, request).and_then(|()| match request.member_epoch {
            LEAVES | LEAVES_FOR_A_WHILE => self.leave_by_heartbeat(env, request),
            _ => self.live(env, client, request),
        });
        done.unwrap_or_else(|refused| (refused.heartbeat_response(), Effects::none()))
    }

    fn live(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Effects), Refused> {
        self.refuse_if_full(env, &request.member_id)?;
        let owned = request.topic_partitions.as_deref().map(member::from_request);
        let is_checked = self.soft.is_checked(env.cluster.version(), self.epoch);
        let mut change = self.start_change(env, request, owned.as_deref())?;
        change.member = requested(&change.member, client, request);
        let names_changed = change.write_metadata();
        let regex = change.update_regex()?;
        // A pattern that must be looked up first moves the epoch then.
        let bump = self.epoch == 0 || names_changed || regex == RegexChange::Resolved;
        if bump || !is_checked {
            change.update_epoch(env, bump);
        }
        let target = change.target(env);
        let subscription_changed = names_changed || regex != RegexChange::None;
        let reconciled = change.reconcile(env, &target, subscription_changed, owned.as_deref())?;
        let Change {
            before,
            member,
            records,
            epoch,
            ..
        } = change;
        let mut effects = Effects::none();
        effects.records = records;
        self.soft.set_checked(env.cluster.version(), epoch);
        self.start_session(env, &member, &mut effects);
        if reconciled {
            self.watch_revocation(env, &member, &mut effects);
        }
        self.arm_regex(env, member.subscription.regex.as_ref(), &mut effects);
        let mut response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(str_bytes(&member.id)))
            .with_member_epoch(member.epoch)
            .with_heartbeat_interval_ms(self.heartbeat_interval_ms(env));
        if request.member_epoch == JOINS || is_full(request) || before.assigned != member.assigned {
            response.assignment = Some(assignment(&member));
        }
        Ok((response, effects))
    }

    /// Finds the member, or makes it, and looks whether it may speak.
    fn start_change(
        &self,
        env: &mut Env,
        request: &ConsumerGroupHeartbeatRequest,
        owned: Option<&[Tp]>,
    ) -> Result<Change<'_>, Refused> {
        let joins = request.member_epoch == JOINS;
        let member_id = match &*request.member_id {
            "" => Arc::from(new_member_id((env.new_id)())),
            id => self.own_member_id(id),
        };
        let (Some(instance_id), true) = (&request.instance_id, joins) else {
            let member = match &request.instance_id {
                Some(instance_id) => Some(self.static_member(instance_id, &member_id)?),
                None => self.members.get(&member_id),
            };
            return match member {
                Some(member) => {
                    check_epoch(member, request.member_epoch, owned)?;
                    Ok(Change::of(self, member))
                }
                None if joins => Ok(Change::of_new(self, member_id)),
                None => Err(self.unknown_member(&member_id)),
            };
        };
        match self
            .static_members
            .get(&**instance_id)
            .and_then(|id| self.members.get(id))
        {
            None => Ok(match self.members.get(&member_id) {
                Some(member) => Change::of(self, member),
                None => Change::of_new(self, member_id),
            }),
            // The same member again: its last reply got lost, or it was fenced. Kafka refuses it until its session ends.
            Some(old) if old.id == member_id => Ok(Change::of(self, old)),
            // Only who left for a while may be replaced; members of the classic protocol do not say that they leave.
            Some(old) if !old.is_classic() && old.epoch != LEAVES_FOR_A_WHILE => Err(Refused::new(
                ErrorCode::UnreleasedInstanceId,
                format!(
                    "static member {member_id} cannot join with instance id {}: member {} has it and has not left",
                    &**instance_id, old.id
                ),
            )),
            Some(old) => Ok(Change::of_replacement(self, old, member_id)),
        }
    }

    /// The member of an instance id, when it has that member id too.
    pub(super) fn static_member(&self, instance_id: &str, member_id: &str) -> Result<&Member, Refused> {
        let member = self
            .static_members
            .get(instance_id)
            .and_then(|id| self.members.get(id))
            .ok_or_else(|| {
                let message = format!("no member of group {} has the instance id {instance_id}", self.group_id);
                Refused::new(ErrorCode::UnknownMemberId, message)
            })?;
        if &*member.id != member_id {
            let message = format!(
                "static member {member_id} with instance id {instance_id} was fenced by member {}",
                member.id
            );
            return Err(Refused::new(ErrorCode::FencedInstanceId, message));
        }
        Ok(member)
    }

    pub(super) fn unknown_member(&self, member_id: &str) -> Refused {
        let message = format!("member {member_id} is not a member of group {}; rejoin", self.group_id);
        Refused::new(ErrorCode::UnknownMemberId, message)
    }

    /// `group.consumer.max.size` (contract 70).
    pub(super) fn refuse_if_full(&self, env: &Env, member_id: &str) -> Result<(), Refused> {
        let max = env.config.group_consumer_max_size;
        if self.members.len() < max || self.members.contains_key(member_id) {
            return Ok(());
        }
        let message = format!(
            "group {} has {max} members, as many as group.consumer.max.size allows",
            self.group_id
        );
        Err(Refused::new(ErrorCode::GroupMaxSizeReached, message))
    }

    fn leave_by_heartbeat(
        &mut self,
        env: &mut Env,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Effects), Refused> {
        let member = match &request.instance_id {
            Some(instance_id) => self.static_member(instance_id, &request.member_id)?,
            None => self
                .members
                .get(&*request.member_id)
                .ok_or_else(|| self.unknown_member(&request.member_id))?,
        };
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(str_bytes(&member.id)))
            .with_member_epoch(request.member_epoch);
        if request.member_epoch == LEAVES || request.instance_id.is_none() {
            let member_id = Arc::clone(&member.id);
            return Ok((response, self.fence(env, &[member_id])));
        }
        // It keeps what it has until its session ends: it, or who takes its place, is expected back.
        let mut away = member.clone();
        away.epoch = LEAVES_FOR_A_WHILE;
        away.pending_revocation = Arc::default();
        let mut effects = Effects::none();
        effects.records.push(away.assignment_record(&self.group_id));
        Ok((response, effects))
    }

    /// Starts the member's session anew, or its first one.
    fn start_session(&mut self, env: &Env, member: &Member, effects: &mut Effects) {
        let deadline_ms = env.now_ms + self.session_timeout_ms(env, member);
        self.soft
            .start_session(&self.group_id, &member.id, deadline_ms, effects);
        if self.epoch == 0 {
            // This group may be a stand-in for one that the records make: that one sets its own clock at once.
            effects.set_timer(&self.group_id, TimerKind::Sessions, env.now_ms);
        }
    }

    /// A member that was told to give partitions up has its rebalance timeout for it (contract 85).
    fn watch_revocation(&mut self, env: &Env, member: &Member, effects: &mut Effects) {
        let deadline_ms = env.now_ms + i64::from(member.rebalance_timeout_ms.max(0));
        self.soft.watch_revocation(&self.group_id, member, deadline_ms, effects);
    }

    fn heartbeat_interval_ms(&self, env: &Env) -> i32 {
        let config = env.config;
        let wanted = env.cluster.overrides(&self.group_id).consumer_heartbeat_interval_ms;
        let interval = wanted.map_or(config.group_consumer_heartbeat_interval_ms, |wanted| {
            let min = config.group_consumer_min_heartbeat_interval_ms;
            wanted.clamp(min, config.group_consumer_max_heartbeat_interval_ms.max(min))
        });
        i32::try_from(interval).unwrap_or(i32::MAX)
    }

    /// How long a member may be silent.
    pub(super) fn session_timeout_ms(&self, env: &Env, member: &Member) -> i64 {
        if let Some(classic) = &member.classic {
            return i64::from(classic.session_timeout_ms);
        }
        let config = env.config;
        let wanted = env.cluster.overrides(&self.group_id).consumer_session_timeout_ms;
        wanted.map_or(config.group_consumer_session_timeout_ms, |wanted| {
            let min = config.group_consumer_min_session_timeout_ms;
            wanted.clamp(min, config.group_consumer_max_session_timeout_ms.max(min))
        })
    }
}

/// What is wrong with a request whatever the group (contract 82, 86).
fn check(config: &GroupConfig, api_version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(ErrorCode::InvalidRequest, message.to_owned()));
    let epoch = request.member_epoch;
    let needs_id = api_version >= MEMBER_ID_BY_CLIENT || epoch > JOINS || epoch == LEAVES;
    if needs_id && request.member_id.is_empty() {
        return invalid("the member id is empty; send the id of the member");
    }
    if request.group_id.is_empty() {
        return invalid("the group id is empty; give group.id a name");
    }
    if request.instance_id.as_deref().is_some_and(str::is_empty) {
        return invalid("the instance id is empty; leave it out or give group.instance.id a name");
    }
    if request.rack_id.as_deref().is_some_and(str::is_empty) {
        return invalid("the rack id is empty; leave it out or give client.rack a name");
    }
    match epoch {
        JOINS if request.rebalance_timeout_ms == -1 => {
            return invalid("a member that joins must send its rebalance timeout");
        }
        JOINS if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("a member that joins owns nothing; it must send an empty list of topic partitions");
        }
        JOINS if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid("a member that joins must send the topics it subscribes to, by name or regular expression");
        }
        LEAVES_FOR_A_WHILE if request.instance_id.is_none() => {
            return invalid("only static members leave for a while; send the instance id");
        }
        ..LEAVES_FOR_A_WHILE => return invalid("the member epoch is below -2"),
        _ => {}
    }
    let supported = &config.group_consumer_assignors;
    if let Some(wanted) = &request.server_assignor
        && !supported.iter().any(|assignor| **assignor == **wanted)
    {
        let message = format!(
            "the assignor {} is not supported; the broker has: {}",
            &**wanted,
            supported.join(", ")
        );
        return Err(Refused::new(ErrorCode::UnsupportedAssignor, message));
    }
    Ok(())
}

/// The epoch must be the member's own, or the one before when the last reply may have got lost (contract 84).
fn check_epoch(member: &Member, epoch: i32, owned: Option<&[Tp]>) -> Result<(), Refused> {
    if epoch == JOINS || epoch == member.epoch {
        return Ok(());
    }
    let owns_no_more = || owned.is_some_and(|owned| owned.iter().all(|tp| owns(&member.assigned, *tp)));
    if epoch < member.epoch && epoch == member.previous_epoch && owns_no_more() {
        return Ok(());
    }
    let how = if epoch > member.epoch { "greater" } else { "smaller" };
    let message = format!(
        "member {} sent the epoch {epoch}, {how} than its own, {}; it must give up its partitions and rejoin",
        member.id, member.epoch
    );
    Err(Refused::new(ErrorCode::FencedMemberEpoch, message))
}

/// The member with what the request says of it; what the request leaves out stays.
fn requested(member: &Member, client: &Client, request: &ConsumerGroupHeartbeatRequest) -> Member {
    let mut member = member.clone();
    let text = |text: &str| Some(Arc::from(text));
    if let Some(instance_id) = &request.instance_id {
        member.instance_id = keep(member.instance_id, text(instance_id));
    }
    if let Some(rack_id) = &request.rack_id {
        member.rack_id = keep(member.rack_id, text(rack_id));
    }
    if let Some(assignor) = &request.server_assignor {
        member.server_assignor = keep(member.server_assignor, text(assignor));
    }
    if request.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    member.client_id = Arc::clone(&client.client_id);
    member.client_host = Arc::clone(&client.host);
    member.classic = None;
    if request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some() {
        let names = request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().map(|name| Arc::from(&***name)));
        let names = names.map_or_else(|| member.subscription.names.clone(), Iterator::collect);
        let regex = request.subscribed_topic_regex.as_ref().map(|regex| Arc::from(&**regex));
        let subscription = Subscription::new(names, regex.or_else(|| member.subscription.regex.clone()));
        if subscription != *member.subscription {
            member.subscription = Arc::new(subscription);
        }
    }
    member
}

/// The old text when the new one is the same, so that memory is shared.
fn keep(old: Option<Arc<str>>, new: Option<Arc<str>>) -> Option<Arc<str>> {
    if old == new { old } else { new }
}

/// A request with everything in it: of a member that joins, or that lost a reply (contract 83).
fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some()
}

fn assignment(member: &Member) -> Assignment {
    let topics = member
        .assigned
        .chunk_by(|left, right| left.tp.topic_id == right.tp.topic_id);
    let topics = topics.filter_map(|chunk| {
        let topic_id = Uuid::from_bytes(chunk.first()?.tp.topic_id.0);
        let partitions = chunk.iter().map(|owned| owned.tp.partition).collect();
        Some(
            TopicPartitions::default()
                .with_topic_id(topic_id)
                .with_partitions(partitions),
        )
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

/// A member id as Kafka makes them: 22 characters of URL-safe base64.
pub(super) fn new_member_id(id: Uuid) -> String {
    TopicId(id.into_bytes()).to_string()
}
