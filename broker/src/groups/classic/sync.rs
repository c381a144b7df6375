//! SyncGroup (contract 76) and Heartbeat (contract 77).

use super::write::{Assignments, Written};
use super::{ClassicGroup, ClassicState};
use crate::groups::{Client, Effects, Env, TimerKind, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};
use protocol::ErrorCode;
use std::sync::Arc;

/// From this version on a sync names the type and the protocol that its member joined with (KIP-559).
const NAMES_PROTOCOL_FROM: i16 = 5;

impl ClassicGroup {
    /// SyncGroup. Every reply is in the effects, now or later.
    pub fn sync(&mut self, env: &mut Env, client: &Client, waiter: Waiter, request: &SyncGroupRequest) -> Effects {
        let mut effects = Effects::none();
        if let Err(code) = self.check_sync(client, request) {
            effects.sync_reply(waiter, SyncGroupResponse::default().with_error_code(code.code()));
            return effects;
        }
        let member_id = &*request.member_id;
        self.members.synced(member_id);
        if self.members.to_sync() == 0 {
            self.sync_at_ms = None;
        }
        if self.state == ClassicState::Stable {
            let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
            effects.sync_reply(waiter, self.sync_response(assignment.unwrap_or_default()));
            return effects;
        }
        assert_eq!(
            self.state,
            ClassicState::CompletingRebalance,
            "syncs are refused elsewhere"
        );
        if let Some(member) = self.members.get_mut(member_id)
            && let Some(before) = member.sync_waiter.replace(waiter)
        {
            // The connection of the one before was given up.
            let code = ErrorCode::RebalanceInProgress.code();
            effects.sync_reply(before, SyncGroupResponse::default().with_error_code(code));
        }
        if self.is_leader(member_id) && !self.assignment_is_being_written() {
            self.write_assignment(env, request, &mut effects);
        }
        effects
    }

    fn check_sync(&self, client: &Client, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let named = request.protocol_type.is_some() && request.protocol_name.is_some();
        if client.api_version >= NAMES_PROTOCOL_FROM && !named {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.state == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |asked: Option<&str>, ours: Option<&Arc<str>>| {
            asked.zip(ours).is_some_and(|(asked, ours)| *asked != **ours)
        };
        if differs(request.protocol_type.as_deref(), self.protocol_type.as_ref())
            || differs(request.protocol_name.as_deref(), self.protocol_name.as_ref())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Members that the leader left out get nothing; ids that are no members are passed over.
    fn write_assignment(&mut self, env: &mut Env, request: &SyncGroupRequest, effects: &mut Effects) {
        let mut assignments = Assignments::new();
        for given in &request.assignments {
            if let Some(member) = self.members.get(&given.member_id) {
                let assignment = Bytes::copy_from_slice(&given.assignment);
                assignments.insert(Arc::clone(&member.member_id), assignment);
            }
        }
        let (members, statics, left_out) = (
            self.members.len(),
            self.members.static_count(),
            self.members.len() - assignments.len(),
        );
        tracing::info!(
            group_id = %self.group_id, generation_id = self.generation_id, members, statics, left_out,
            "the leader assigned"
        );
        let kept = assignments.clone();
        self.write(env, Written::Assignment(kept), Some(&assignments), effects);
    }

    /// The sync timer fired: who has not synced is dropped.
    pub(super) fn sync_timer_fired(&mut self, env: &mut Env, effects: &mut Effects) {
        let Some(at_ms) = self.sync_at_ms else { return };
        if at_ms > env.now_ms {
            effects.set_timer(&self.group_id, TimerKind::Sync, at_ms);
            return;
        }
        self.sync_at_ms = None;
        let late = self.members.iter().filter(|member| member.has_yet_to_sync());
        let late: Vec<Arc<str>> = late.map(|member| Arc::clone(&member.member_id)).collect();
        if late.is_empty() {
            return;
        }
        for member_id in &late {
            tracing::info!(group_id = %self.group_id, %member_id, "member joined and did not sync, removed");
            self.remove_member(member_id, effects);
        }
        self.prepare_rebalance(env, "members did not sync in time", effects);
    }

    /// Heartbeat: `ErrorCode::None` when all is well.
    pub fn heartbeat(&mut self, env: &mut Env, _client: &Client, request: &HeartbeatRequest) -> (ErrorCode, Effects) {
        let mut effects = Effects::none();
        if let Err(code) = self.check_heartbeat(request) {
            return (code, effects);
        }
        self.renew_session(env, &request.member_id, &mut effects);
        let code = match self.state {
            ClassicState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        };
        (code, effects)
    }

    fn check_heartbeat(&self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if self.state == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(())
    }
}
