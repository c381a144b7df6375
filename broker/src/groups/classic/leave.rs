//! LeaveGroup (contract 78), and what becomes of requests of members that go.

use super::join::join_error;
use super::member::Member;
use super::rebalance::wire_str;
use super::{ClassicGroup, ClassicState};
use crate::groups::{Client, Effects, Env};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse, SyncGroupResponse};
use protocol::ErrorCode;
use std::borrow::Cow;
use std::sync::Arc;

/// The first version with a list of members.
const LISTS_MEMBERS_FROM: i16 = 3;

/// The reply to a LeaveGroup when there is no such group: 25 for each member (v3+), or at the top (v0–2).
pub fn leave_unknown_group(request: &LeaveGroupRequest, api_version: i16) -> LeaveGroupResponse {
    let leaving = leaving(request, api_version);
    let members = leaving
        .iter()
        .map(|member| member_response(member, ErrorCode::UnknownMemberId));
    response(members.collect(), api_version)
}

impl ClassicGroup {
    /// LeaveGroup. A member is named by its id, by both ids, or, as administrators do, by its instance id alone.
    pub fn leave(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &LeaveGroupRequest,
    ) -> (LeaveGroupResponse, Effects) {
        let mut effects = Effects::none();
        if self.state == ClassicState::Dead {
            let code = ErrorCode::CoordinatorNotAvailable.code();
            return (LeaveGroupResponse::default().with_error_code(code), effects);
        }
        let leaving = leaving(request, client.api_version);
        let mut answers = Vec::with_capacity(leaving.len());
        let mut left = 0_usize;
        for member in leaving.iter() {
            let code = self.leave_one(member, &mut effects);
            left += usize::from(code == ErrorCode::None);
            answers.push(member_response(member, code));
        }
        if left > 0 {
            let reason = leaving
                .iter()
                .find_map(|member| member.reason.as_deref())
                .unwrap_or("not provided");
            let reason: String = reason.chars().take(255).collect();
            tracing::info!(group_id = %self.group_id, left, reason, "members left");
            match self.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => {
                    self.prepare_rebalance(env, "members left", &mut effects);
                }
                ClassicState::PreparingRebalance => self.complete_join_if_all_joined(env, &mut effects),
                ClassicState::Empty | ClassicState::Dead => {}
            }
        }
        (response(answers, client.api_version), effects)
    }

    fn leave_one(&mut self, leaving: &MemberIdentity, effects: &mut Effects) -> ErrorCode {
        let instance = leaving.group_instance_id.as_deref();
        if leaving.member_id.is_empty() {
            let member_id = instance.and_then(|instance| self.members.static_id(instance)).cloned();
            let Some(member_id) = member_id else {
                return ErrorCode::UnknownMemberId;
            };
            self.remove_member(&member_id, effects);
            return ErrorCode::None;
        }
        if self.pending.remove(&*leaving.member_id).is_some() {
            return ErrorCode::None;
        }
        match self.check_member(&leaving.member_id, instance) {
            Ok(_) => {
                self.remove_member(&leaving.member_id, effects);
                ErrorCode::None
            }
            Err(code) => code,
        }
    }

    /// Takes a member, or an id that was given out, away. Who waits in its name is told 25, so that it begins anew.
    pub(super) fn remove_member(&mut self, member_id: &str, effects: &mut Effects) {
        self.pending.remove(member_id);
        let Some(mut member) = self.members.remove(member_id) else {
            return;
        };
        self.answer_removed(&mut member, "", ErrorCode::UnknownMemberId, effects);
        if self.is_leader(member_id) {
            self.leader = self.members.iter().next().map(|member| Arc::clone(&member.member_id));
        }
        if self.members.to_sync() == 0 {
            self.sync_at_ms = None;
        }
    }

    /// Answers what a member that was taken out waits for.
    pub(super) fn answer_removed(&self, member: &mut Member, member_id: &str, code: ErrorCode, effects: &mut Effects) {
        let (join, sync) = member.take_waiters();
        if let Some(waiter) = join {
            effects.join_reply(waiter, join_error(member_id, code));
        }
        if let Some(waiter) = sync {
            effects.sync_reply(waiter, SyncGroupResponse::default().with_error_code(code.code()));
        }
    }
}

/// The members of a request; up to version 2 there is one.
fn leaving(request: &LeaveGroupRequest, api_version: i16) -> Cow<'_, [MemberIdentity]> {
    if api_version < LISTS_MEMBERS_FROM {
        Cow::Owned(vec![
            MemberIdentity::default().with_member_id(request.member_id.clone()),
        ])
    } else {
        Cow::Borrowed(&request.members)
    }
}

fn member_response(member: &MemberIdentity, code: ErrorCode) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(member.member_id.clone())
        .with_group_instance_id(member.group_instance_id.as_deref().map(wire_str))
        .with_error_code(code.code())
}

/// Up to version 2 the error of the one member is that of the response.
fn response(members: Vec<MemberResponse>, api_version: i16) -> LeaveGroupResponse {
    if api_version < LISTS_MEMBERS_FROM {
        let code = members.first().map_or(0, |member| member.error_code);
        return LeaveGroupResponse::default().with_error_code(code);
    }
    LeaveGroupResponse::default().with_members(members)
}
