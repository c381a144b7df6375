//! JoinGroup (contract 70–75): who may join, as whom, and whether that begins a rebalance.

use super::member::{Member, Protocols, without_repeats};
use super::rebalance::wire_str;
use super::sessions::NEW_MEMBER_JOIN_TIMEOUT_MS;
use super::write::{StaticReturn, Written};
use super::{ClassicGroup, ClassicState};
use crate::groups::{Client, Effects, Env, GroupConfig, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use protocol::ErrorCode;
use std::sync::Arc;

/// The first version whose dynamic members get their id before they join (KIP-394).
const ASKS_FOR_MEMBER_ID_FROM: i16 = 4;

/// A client id or instance id goes into member ids up to here, so that id and UUID fit into a string of the wire.
const NAME_IN_MEMBER_ID_MAX: usize = 32_767 - 37;

/// What of a client's reason is logged.
const REASON_MAX: usize = 255;

/// What is wrong with a join whatever the group: an empty group id (24), a session timeout out of range (26). Ask this
/// before a group is made for the request.
pub fn check_join(config: &GroupConfig, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let range = config.group_min_session_timeout_ms..=config.group_max_session_timeout_ms;
    if !range.contains(&i64::from(request.session_timeout_ms)) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    Ok(())
}

/// The reply to a join that failed, with the member id that the client should go on with.
pub fn join_error(member_id: &str, code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_member_id(wire_str(member_id))
        .with_error_code(code.code())
}

/// One JoinGroup.
struct Join<'a> {
    client: &'a Client,
    waiter: Waiter,
    request: &'a JoinGroupRequest,
}

impl Join<'_> {
    /// Version 0 has one timeout for both.
    fn rebalance_timeout_ms(&self) -> i32 {
        match self.client.api_version {
            0 => self.request.session_timeout_ms,
            _ => self.request.rebalance_timeout_ms,
        }
    }

    /// Why the client says that it joins, fit for a log.
    fn reason(&self, what: &str) -> String {
        let reason = self.request.reason.as_deref().unwrap_or("not provided");
        format!("{what}; client reason: {:?}", cut(reason, REASON_MAX))
    }

    fn refuse(&self, member_id: &str, code: ErrorCode, effects: &mut Effects) {
        effects.join_reply(self.waiter, join_error(member_id, code));
    }
}

impl ClassicGroup {
    /// JoinGroup. Every reply is in the effects, now or later.
    pub fn join(&mut self, env: &mut Env, client: &Client, waiter: Waiter, request: &JoinGroupRequest) -> Effects {
        let mut effects = Effects::none();
        let join = Join {
            client,
            waiter,
            request,
        };
        let member_id = &*request.member_id;
        if let Err(code) = check_join(env.config, request) {
            join.refuse(member_id, code, &mut effects);
        } else if self.state == ClassicState::Dead {
            join.refuse(member_id, ErrorCode::CoordinatorNotAvailable, &mut effects);
        } else if !self.has_room_for(env, member_id) {
            join.refuse("", ErrorCode::GroupMaxSizeReached, &mut effects);
            self.remove_member(member_id, &mut effects);
            self.complete_join_if_all_joined(env, &mut effects);
        } else if !self.supports_one_of(&request.protocol_type, &request.protocols) {
            join.refuse(member_id, ErrorCode::InconsistentGroupProtocol, &mut effects);
        } else if member_id.is_empty() {
            self.join_new(env, &join, &mut effects);
        } else {
            self.join_existing(env, &join, &mut effects);
        }
        effects
    }

    /// Contract 70, error 81: while joins are collected, those who came first stay.
    fn has_room_for(&self, env: &Env, member_id: &str) -> bool {
        let max = env.config.group_max_size;
        let member = self.members.get(member_id);
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            ClassicState::PreparingRebalance => member.is_some_and(Member::is_joining) || self.members.joining() < max,
            ClassicState::CompletingRebalance | ClassicState::Stable => member.is_some() || self.members.len() < max,
        }
    }

    /// Contract 71: the type is the group's, and one of the protocols is supported by everybody.
    fn supports_one_of(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let same_type = self.protocol_type.as_deref() == Some(protocol_type);
        same_type
            && protocols
                .iter()
                .any(|protocol| self.members.all_support(&protocol.name))
    }

    fn join_new(&mut self, env: &mut Env, join: &Join, effects: &mut Effects) {
        let instance = join.request.group_instance_id.as_deref();
        let name = cut(instance.unwrap_or(&join.client.client_id), NAME_IN_MEMBER_ID_MAX);
        let member_id: Arc<str> = Arc::from(format!("{name}-{}", (env.new_id)()));
        let Some(instance) = instance else {
            if join.client.api_version >= ASKS_FOR_MEMBER_ID_FROM {
                self.add_pending(env, &member_id, i64::from(join.request.session_timeout_ms), effects);
                join.refuse(&member_id, ErrorCode::MemberIdRequired, effects);
            } else {
                self.add_member(env, join, member_id, effects);
            }
            return;
        };
        match self.members.static_id(instance).cloned() {
            Some(old) => self.static_member_returns(env, join, &old, member_id, effects),
            None => self.add_member(env, join, member_id, effects),
        }
    }

    fn join_existing(&mut self, env: &mut Env, join: &Join, effects: &mut Effects) {
        let request = join.request;
        let member_id = &*request.member_id;
        if self.pending.contains_key(member_id) {
            // Only dynamic members are given an id before they join.
            if request.group_instance_id.is_some() {
                join.refuse(member_id, ErrorCode::UnknownServerError, effects);
            } else {
                self.add_member(env, join, Arc::from(member_id), effects);
            }
            return;
        }
        let member = match self.check_member(member_id, request.group_instance_id.as_deref()) {
            Ok(member) => member,
            Err(code) => return join.refuse(member_id, code, effects),
        };
        let unchanged = has_protocols(member, &request.protocols);
        let is_leader = self.is_leader(member_id);
        match self.state {
            // The answer was lost: it is given again (contract 73).
            ClassicState::CompletingRebalance if unchanged => {
                let mut response = self.generation_response(member_id);
                if is_leader {
                    response.members = self.members_for_leader();
                }
                effects.join_reply(join.waiter, response);
            }
            // The leader may have seen a change of topics, which no metadata shows.
            ClassicState::Stable if unchanged && !is_leader => {
                effects.join_reply(join.waiter, self.generation_response(member_id));
            }
            ClassicState::PreparingRebalance | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.update_member(join, member_id, effects);
                let what = if is_leader {
                    "the leader joins again"
                } else {
                    "a member joins again"
                };
                self.rebalance_or_complete(env, &join.reason(what), effects);
            }
            ClassicState::Empty | ClassicState::Dead => join.refuse(member_id, ErrorCode::UnknownMemberId, effects),
        }
    }

    fn add_member(&mut self, env: &mut Env, join: &Join, member_id: Arc<str>, effects: &mut Effects) {
        let request = join.request;
        if self.state == ClassicState::PreparingRebalance && self.is_initial {
            self.member_was_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::from(&*request.protocol_type));
        }
        self.leader.get_or_insert_with(|| Arc::clone(&member_id));
        self.pending.remove(&member_id);
        let instance = request.group_instance_id.as_deref().map(Arc::from);
        let mut member = Member::new(Arc::clone(&member_id), instance, self.own_protocols(&request.protocols));
        member.client_id = Arc::clone(&join.client.client_id);
        member.client_host = Arc::clone(&join.client.host);
        member.rebalance_timeout_ms = join.rebalance_timeout_ms();
        member.session_timeout_ms = request.session_timeout_ms;
        member.is_new = true;
        self.members.insert(member);
        self.members.park_join(&member_id, join.waiter);
        self.set_deadline(env, &member_id, NEW_MEMBER_JOIN_TIMEOUT_MS, effects);
        self.rebalance_or_complete(env, &join.reason("a new member joins"), effects);
    }

    /// Takes over what a member says of itself, and parks its join. A join of the same member that is parked already comes
    /// from a connection that was given up: it is told to join again, which whoever still reads it can do.
    fn update_member(&mut self, join: &Join, member_id: &str, effects: &mut Effects) {
        let unchanged = self
            .members
            .get(member_id)
            .is_some_and(|member| has_protocols(member, &join.request.protocols));
        if !unchanged {
            let protocols = self.own_protocols(&join.request.protocols);
            self.members.set_protocols(member_id, protocols);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.rebalance_timeout_ms = join.rebalance_timeout_ms();
            member.session_timeout_ms = join.request.session_timeout_ms;
        }
        if let Some(before) = self.members.park_join(member_id, join.waiter) {
            effects.join_reply(before, join_error(member_id, ErrorCode::RebalanceInProgress));
        }
    }

    /// Contract 75: a static member comes back without its id. It gets a new one, and whoever has the old one is fenced.
    fn static_member_returns(
        &mut self,
        env: &mut Env,
        join: &Join,
        old_member_id: &Arc<str>,
        member_id: Arc<str>,
        effects: &mut Effects,
    ) {
        let Some(old) = self.members.get(old_member_id) else {
            return;
        };
        let back = StaticReturn {
            waiter: join.waiter,
            api_version: join.client.api_version,
            member_id: Arc::clone(&member_id),
            old_member_id: Arc::clone(old_member_id),
            old_leader: self.leader.clone(),
            old_protocols: old.protocols().into(),
            old_rebalance_timeout_ms: old.rebalance_timeout_ms,
            old_session_timeout_ms: old.session_timeout_ms,
        };
        tracing::info!(group_id = %self.group_id, %old_member_id, %member_id, "a static member is back under a new id");
        self.rename_static_member(old_member_id, &member_id, effects);
        if let Some(member) = self.members.get_mut(&member_id) {
            member.client_id = Arc::clone(&join.client.client_id);
            member.client_host = Arc::clone(&join.client.host);
        }
        self.update_member(join, &member_id, effects);
        self.renew_session(env, &member_id, effects);
        match self.state {
            ClassicState::Stable if self.select_protocol() == self.protocol_name => {
                self.write(env, Written::Static(Box::new(back)), None, effects);
            }
            // The leader may have assigned to the old id already.
            ClassicState::Stable | ClassicState::CompletingRebalance => {
                self.prepare_rebalance(env, &join.reason("a static member is back"), effects);
            }
            ClassicState::PreparingRebalance => self.complete_join_if_all_joined(env, effects),
            ClassicState::Empty | ClassicState::Dead => unreachable!("there a group has no members"),
        }
    }

    /// Gives a static member another id; requests that wait under the old one are fenced (82).
    pub(super) fn rename_static_member(&mut self, old_member_id: &str, member_id: &Arc<str>, effects: &mut Effects) {
        let Some(mut member) = self.members.remove(old_member_id) else {
            return;
        };
        self.answer_removed(&mut member, old_member_id, ErrorCode::FencedInstanceId, effects);
        member.member_id = Arc::clone(member_id);
        member.is_new = false;
        self.members.insert(member);
        if self.is_leader(old_member_id) {
            self.leader = Some(Arc::clone(member_id));
        }
    }

    /// Copies of a request's protocols: a slice of the request would keep all of its bytes.
    fn own_protocols(&self, protocols: &[JoinGroupRequestProtocol]) -> Protocols {
        let own = protocols.iter().map(|protocol| {
            let metadata = Bytes::copy_from_slice(&protocol.metadata);
            (self.members.name(&protocol.name), metadata)
        });
        without_repeats(own.collect())
    }
}

/// Whether a member has these protocols in this order already.
fn has_protocols(member: &Member, protocols: &[JoinGroupRequestProtocol]) -> bool {
    let own = member.protocols();
    own.len() == protocols.len()
        && own
            .iter()
            .zip(protocols)
            .all(|((name, metadata), other)| **name == *other.name && *metadata == other.metadata)
}

/// The text up to `max` bytes, whole characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
