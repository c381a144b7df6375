//! Members of a consumer group that speak the classic protocol (contract 87): the broker assigns for them too, and says
//! "rebalance" in their heartbeats when they have something to give up or to fetch. Their generation is their member epoch.

use super::change::{Change, RegexChange};
use super::member::{Member, MemberState, Subscription, Tp};
use super::{ConsumerGroup, LEAVES_FOR_A_WHILE, PROTOCOL_TYPE, Refused, heartbeat, str_bytes};
use crate::groups::{Client, Effects, Env, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use protocol::consumer_protocol::{self, Assignment, OwnedPartitions};
use protocol::group_records::ClassicMemberMetadata;
use std::collections::BTreeMap;
use std::sync::Arc;

/// From this version on a dynamic member joins twice: first to get its id.
const MEMBER_ID_FIRST: i16 = 4;
/// From this version on a member must say with which protocol it syncs.
const PROTOCOL_IN_SYNC: i16 = 5;
/// From this version on a member says how long it may take to rejoin; before, its session timeout.
const REBALANCE_TIMEOUT: i16 = 1;

impl ConsumerGroup {
    /// JoinGroup of a member that speaks the classic protocol. Ask [`ConsumerGroup::replaced_by_classic`] first.
    pub fn join(&mut self, env: &mut Env, client: &Client, waiter: Waiter, request: &JoinGroupRequest) -> Effects {
        match self.try_join(env, client, waiter, request) {
            Ok(effects) => effects,
            Err((member_id, refused)) => {
                let response = JoinGroupResponse::default()
                    .with_error_code(refused.code.code())
                    .with_generation_id(-1)
                    .with_member_id(str_bytes(&member_id));
                let mut effects = Effects::none();
                effects.join_reply(waiter, response);
                effects
            }
        }
    }

    /// Whether a JoinGroup meets a group without members, which a classic group then replaces: the shard writes
    /// [`ConsumerGroup::tombstones`], installs a new classic group and lets that one answer.
    pub fn replaced_by_classic(&self) -> bool {
        self.members.is_empty()
    }

    /// The error goes with the member id to answer with.
    fn try_join(
        &mut self,
        env: &mut Env,
        client: &Client,
        waiter: Waiter,
        request: &JoinGroupRequest,
    ) -> Result<Effects, (String, Refused)> {
        let sent = request.member_id.to_string();
        let refuse = |refused| (sent.clone(), refused);
        check_session(env, request).map_err(refuse)?;
        self.refuse_if_full(env, &request.member_id).map_err(refuse)?;
        self.check_protocols(request).map_err(refuse)?;
        let is_static = request.group_instance_id.is_some();
        if request.member_id.is_empty() && !is_static && client.api_version >= MEMBER_ID_FIRST {
            let refused = Refused::new(ErrorCode::MemberIdRequired, String::new());
            return Err((heartbeat::new_member_id((env.new_id)()), refused));
        }
        let joining = Joining::new(client, request).map_err(refuse)?;
        self.join_with(env, client, waiter, request, &joining).map_err(refuse)
    }

    fn join_with(
        &mut self,
        env: &mut Env,
        client: &Client,
        waiter: Waiter,
        request: &JoinGroupRequest,
        joining: &Joining,
    ) -> Result<Effects, Refused> {
        let is_checked = self.soft.is_checked(env.cluster.version(), self.epoch);
        let mut change = self.start_join(env, request, joining)?;
        change.member = joining.member(&change.member, client, request);
        let names_changed = change.write_metadata();
        let bump = change.update_regex()? != RegexChange::None || names_changed;
        if bump || !is_checked {
            change.update_epoch(env, bump);
        }
        if self.becomes_classic_with(env, &change) {
            return self.downgrade_with(env, waiter, change, bump, &joining.owned(env));
        }
        let target = change.target(env);
        change.reconcile(env, &target, bump, Some(&joining.owned(env)))?;
        let Change {
            member, records, epoch, ..
        } = change;
        let mut effects = Effects::none();
        effects.records = records;
        effects.join_reply(waiter, joined(&member));
        self.soft.set_checked(env.cluster.version(), epoch);
        let session_ms = env.now_ms + self.session_timeout_ms(env, &member);
        self.soft
            .start_session(&self.group_id, &member.id, session_ms, &mut effects);
        let sync_ms = env.now_ms + i64::from(member.rebalance_timeout_ms.max(0));
        self.soft.expect_sync(&self.group_id, &member.id, sync_ms, &mut effects);
        Ok(effects)
    }

    fn start_join(&self, env: &mut Env, request: &JoinGroupRequest, joining: &Joining) -> Result<Change<'_>, Refused> {
        let member_id = match &*request.member_id {
            "" => Arc::from(heartbeat::new_member_id((env.new_id)())),
            id => self.own_member_id(id),
        };
        let Some(instance_id) = &request.group_instance_id else {
            return match self.members.get(&member_id) {
                Some(member) => Ok(Change::of(self, member)),
                // Who owns something was a member and was fenced; it hears of it here, before it reads on what others have by
                // now. (Kafka takes it in and tells it when it syncs.)
                None if joining.owns_something() => Err(self.unknown_member(&member_id)),
                None => Ok(Change::of_new(self, member_id)),
            };
        };
        if !request.member_id.is_empty() {
            return Ok(Change::of(self, self.static_member(instance_id, &member_id)?));
        }
        Ok(
            match self
                .static_members
                .get(&**instance_id)
                .and_then(|id| self.members.get(id))
            {
                Some(old) => Change::of_replacement(self, old, member_id),
                None => Change::of_new(self, member_id),
            },
        )
    }

    /// A joining member must have a protocol that all members of the classic protocol have (contract 71).
    fn check_protocols(&self, request: &JoinGroupRequest) -> Result<(), Refused> {
        let of_all = |name: &str| self.counts.classic_protocols.get(name).copied().unwrap_or(0) == self.counts.classic;
        let is_consumer = &*request.protocol_type == PROTOCOL_TYPE;
        if is_consumer && request.protocols.iter().any(|protocol| of_all(&protocol.name)) {
            return Ok(());
        }
        let message = format!(
            "member {} has no protocol that the members of the group have",
            &*request.member_id
        );
        Err(Refused::new(ErrorCode::InconsistentGroupProtocol, message))
    }

    /// SyncGroup of a member that speaks the classic protocol.
    pub fn sync(&mut self, env: &mut Env, client: &Client, waiter: Waiter, request: &SyncGroupRequest) -> Effects {
        let mut effects = Effects::none();
        let response = match self.try_sync(env, client, request, &mut effects) {
            Ok(member) => {
                let session_ms = env.now_ms + self.session_timeout_ms(env, &member);
                self.soft
                    .start_session(&self.group_id, &member.id, session_ms, &mut effects);
                self.soft.synced(&member.id);
                let copy = |text: &StrBytes| StrBytes::from_string(text.to_string());
                SyncGroupResponse::default()
                    .with_protocol_type(request.protocol_type.as_ref().map(copy))
                    .with_protocol_name(request.protocol_name.as_ref().map(copy))
                    .with_assignment(encode_assignment(
                        env,
                        &member,
                        member.assigned.iter().map(|owned| owned.tp),
                    ))
            }
            Err(refused) => SyncGroupResponse::default().with_error_code(refused.code.code()),
        };
        effects.sync_reply(waiter, response);
        effects
    }

    fn try_sync(
        &mut self,
        env: &Env,
        client: &Client,
        request: &SyncGroupRequest,
        effects: &mut Effects,
    ) -> Result<Member, Refused> {
        let member = self
            .classic_member(&request.member_id, request.group_instance_id.as_ref())?
            .clone();
        check_generation(&member, request.generation_id)?;
        let first = member
            .classic
            .as_ref()
            .and_then(|classic| classic.supported_protocols.first());
        let protocol_name = first.map_or("", |(name, _)| name);
        let is_optional = client.api_version < PROTOCOL_IN_SYNC;
        let differs = |sent: &Option<StrBytes>, own| sent.as_ref().map_or(!is_optional, |sent| &**sent != own);
        let other_type = differs(&request.protocol_type, PROTOCOL_TYPE);
        let other_name = differs(&request.protocol_name, protocol_name);
        if other_type || other_name {
            let message = format!("the protocol of the group is {PROTOCOL_TYPE}, that of the member {protocol_name}");
            return Err(Refused::new(ErrorCode::InconsistentGroupProtocol, message));
        }
        // Who is giving partitions up has joined this rebalance; it is told of the next one when it is done.
        if self.epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.expect_join(env, &member, effects);
            let message = format!("group {} rebalances; member {} must rejoin", self.group_id, member.id);
            return Err(Refused::new(ErrorCode::RebalanceInProgress, message));
        }
        Ok(member)
    }

    /// Heartbeat of a member that speaks the classic protocol.
    pub fn classic_heartbeat(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &HeartbeatRequest,
    ) -> (ErrorCode, Effects) {
        let _ = client;
        let mut effects = Effects::none();
        let found = self.classic_member(&request.member_id, request.group_instance_id.as_ref());
        let found = found.and_then(|member| check_generation(member, request.generation_id).map(|()| member.clone()));
        let member = match found {
            Ok(member) => member,
            Err(refused) => return (refused.code, effects),
        };
        let session_ms = env.now_ms + self.session_timeout_ms(env, &member);
        self.soft
            .start_session(&self.group_id, &member.id, session_ms, &mut effects);
        let epoch = self.check_topics(env, &mut effects);
        let can_go_on = match member.state {
            MemberState::Stable | MemberState::Unknown => false,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.waits_for_others(&member),
        };
        if member.epoch < epoch || can_go_on {
            self.expect_join(env, &member, &mut effects);
            return (ErrorCode::RebalanceInProgress, effects);
        }
        (ErrorCode::None, effects)
    }

    /// Moves the group epoch when topics changed: in a group where nobody else would notice. The epoch that results.
    fn check_topics(&mut self, env: &Env, effects: &mut Effects) -> i32 {
        let version = env.cluster.version();
        if self.soft.is_checked(version, self.epoch) {
            return self.epoch;
        }
        let hash = super::topics::metadata_hash(env, self.members.values(), &self.regexes);
        let mut epoch = self.epoch;
        if hash != self.metadata_hash {
            epoch = epoch.saturating_add(1);
            effects.records.push(self.epoch_record(epoch, hash));
        }
        self.soft.set_checked(version, epoch);
        epoch
    }

    /// Whether a partition that the member is to have is still somebody else's.
    fn waits_for_others(&self, member: &Member) -> bool {
        let target = self.target(&member.id);
        let mut missing = target.iter().filter(|tp| !super::member::owns(&member.assigned, **tp));
        missing.any(|tp| self.counts.owners.contains_key(tp))
    }

    fn expect_join(&mut self, env: &Env, member: &Member, effects: &mut Effects) {
        let deadline_ms = env.now_ms + i64::from(member.rebalance_timeout_ms.max(0));
        self.soft.expect_join(&self.group_id, &member.id, deadline_ms, effects);
    }

    fn classic_member(&self, member_id: &str, instance_id: Option<&StrBytes>) -> Result<&Member, Refused> {
        let member = match instance_id {
            Some(instance_id) => self.static_member(instance_id, member_id)?,
            None => self
                .members
                .get(member_id)
                .ok_or_else(|| self.unknown_member(member_id))?,
        };
        if member.is_classic() {
            return Ok(member);
        }
        let message = format!("member {member_id} does not speak the classic protocol");
        Err(Refused::new(ErrorCode::UnknownMemberId, message))
    }
}

/// What a JoinGroup says, decoded and copied.
struct Joining {
    subscription: consumer_protocol::Subscription,
    classic: ClassicMemberMetadata,
    rebalance_timeout_ms: i32,
}

impl Joining {
    fn new(client: &Client, request: &JoinGroupRequest) -> Result<Joining, Refused> {
        // All protocols of a consumer carry the same subscription.
        let metadata = request
            .protocols
            .first()
            .map(|protocol| &*protocol.metadata)
            .unwrap_or_default();
        let subscription = consumer_protocol::Subscription::decode(metadata).map_err(|error| {
            let message = format!(
                "the subscription of member {} cannot be read: {error}",
                &*request.member_id
            );
            Refused::new(ErrorCode::InconsistentGroupProtocol, message)
        })?;
        let protocols = request.protocols.iter();
        let protocols = protocols.map(|p| (Arc::from(&*p.name), Bytes::copy_from_slice(&p.metadata)));
        let has_timeout = client.api_version >= REBALANCE_TIMEOUT && request.rebalance_timeout_ms >= 0;
        Ok(Joining {
            subscription,
            classic: ClassicMemberMetadata {
                session_timeout_ms: request.session_timeout_ms,
                supported_protocols: protocols.collect(),
            },
            rebalance_timeout_ms: if has_timeout {
                request.rebalance_timeout_ms
            } else {
                request.session_timeout_ms
            },
        })
    }

    /// The member as this join makes it. Patterns are not for the classic protocol.
    fn member(&self, member: &Member, client: &Client, request: &JoinGroupRequest) -> Member {
        let mut member = member.clone();
        if let Some(instance_id) = &request.group_instance_id {
            member.instance_id = Some(Arc::from(&**instance_id));
        }
        if let Some(rack_id) = self.subscription.rack_id.as_ref().filter(|rack_id| !rack_id.is_empty()) {
            member.rack_id = Some(Arc::clone(rack_id));
        }
        member.rebalance_timeout_ms = self.rebalance_timeout_ms;
        member.client_id = Arc::clone(&client.client_id);
        member.client_host = Arc::clone(&client.host);
        let subscription = Subscription::new(self.subscription.topics.clone(), None);
        if subscription != *member.subscription {
            member.subscription = Arc::new(subscription);
        }
        if member.classic.as_deref() != Some(&self.classic) {
            member.classic = Some(Arc::new(self.classic.clone()));
        }
        member
    }

    fn owns_something(&self) -> bool {
        self.subscription
            .owned_partitions
            .iter()
            .any(|topic| !topic.partitions.is_empty())
    }

    /// What the member says it owns; topics that are gone are left out.
    fn owned(&self, env: &Env) -> Vec<Tp> {
        let topics = self.subscription.owned_partitions.iter();
        let partitions = topics.filter_map(|topic| {
            let topic_id = env.cluster.topic(&topic.topic)?.id;
            Some(topic.partitions.iter().map(move |partition| Tp {
                topic_id,
                partition: *partition,
            }))
        });
        partitions.flatten().collect()
    }
}

fn check_session(env: &Env, request: &JoinGroupRequest) -> Result<(), Refused> {
    let (min, max) = (
        env.config.group_min_session_timeout_ms,
        env.config.group_max_session_timeout_ms,
    );
    if (min..=max).contains(&i64::from(request.session_timeout_ms)) {
        return Ok(());
    }
    let message = format!(
        "the session timeout {} is not within {min} and {max} ms",
        request.session_timeout_ms
    );
    Err(Refused::new(ErrorCode::InvalidSessionTimeout, message))
}

fn check_generation(member: &Member, generation_id: i32) -> Result<(), Refused> {
    // A static member that is away has no generation to speak with.
    if member.epoch == generation_id && member.epoch != LEAVES_FOR_A_WHILE {
        return Ok(());
    }
    let message = format!(
        "member {} is in generation {}, not in {generation_id}",
        member.id, member.epoch
    );
    Err(Refused::new(ErrorCode::IllegalGeneration, message))
}

/// The reply to a join. There is no leader: the broker assigns, so nobody gets the members.
pub(super) fn joined(member: &Member) -> JoinGroupResponse {
    let first = member
        .classic
        .as_ref()
        .and_then(|classic| classic.supported_protocols.first());
    JoinGroupResponse::default()
        .with_member_id(str_bytes(&member.id))
        .with_generation_id(member.epoch)
        .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
        .with_protocol_name(first.map(|(name, _)| str_bytes(name)))
}

/// Partitions in the format that the member's own subscription has; topics that are gone are left out.
pub(super) fn encode_assignment(env: &Env, member: &Member, partitions: impl Iterator<Item = Tp>) -> Bytes {
    let first = member
        .classic
        .as_ref()
        .and_then(|classic| classic.supported_protocols.first());
    let version = first
        .and_then(|(_, metadata)| consumer_protocol::version(metadata).ok())
        .unwrap_or(0);
    encode_partitions(env, version, partitions)
}

/// Partitions in a version of the consumers' protocol.
pub(super) fn encode_partitions(env: &Env, version: i16, partitions: impl Iterator<Item = Tp>) -> Bytes {
    let mut by_topic: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    for tp in partitions {
        if let Some(topic) = env.cluster.topic_by_id(tp.topic_id) {
            by_topic.entry(topic.name).or_default().push(tp.partition);
        }
    }
    let assigned = by_topic
        .into_iter()
        .map(|(topic, partitions)| OwnedPartitions { topic, partitions });
    let assignment = Assignment {
        assigned_partitions: assigned.collect(),
        user_data: None,
    };
    Bytes::from(assignment.encode(version))
}
