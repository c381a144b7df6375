//! What goes to the log, and what happens when it is there or was refused: the leader's assignment, a group that became
//! empty, a static member under a new id.

use super::member::Protocols;
use super::rebalance::wire_str;
use super::{ClassicGroup, ClassicState};
use crate::groups::{Completion, Effects, Env, Waiter};
use bytes::Bytes;
use kafka_protocol::messages::SyncGroupResponse;
use protocol::ErrorCode;
use protocol::group_records::{GroupMember, GroupMetadataValue, GroupRecord};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Assignments by member id.
pub(super) type Assignments = BTreeMap<Arc<str>, Bytes>;

/// The first version of JoinGroup that can tell a leader not to assign.
const SKIPS_ASSIGNMENT_FROM: i16 = 9;

/// A record on its way to the log.
#[derive(Debug)]
pub(super) struct Write {
    token: u64,
    generation_id: i32,
    written: Written,
}

/// What a record says.
#[derive(Debug)]
pub(super) enum Written {
    /// Nobody is left.
    Empty,
    /// The leader's assignment; everybody waits for it.
    Assignment(Assignments),
    /// A static member came back under a new id, and waits for it.
    Static(Box<StaticReturn>),
}

/// A static member that came back, and what it was before.
#[derive(Debug)]
pub(super) struct StaticReturn {
    pub(super) waiter: Waiter,
    pub(super) api_version: i16,
    pub(super) member_id: Arc<str>,
    pub(super) old_member_id: Arc<str>,
    pub(super) old_leader: Option<Arc<str>>,
    pub(super) old_protocols: Protocols,
    pub(super) old_rebalance_timeout_ms: i32,
    pub(super) old_session_timeout_ms: i32,
}

impl ClassicGroup {
    /// Hands the group's record out, with `assignments` or with those that the members have.
    pub(super) fn write(
        &mut self,
        env: &mut Env,
        written: Written,
        assignments: Option<&Assignments>,
        effects: &mut Effects,
    ) {
        assert!(effects.completion.is_none(), "one event writes once");
        // Not a count: an answer to a group of the same name that was deleted must not be taken for one to this.
        let (high, low) = (env.new_id)().as_u64_pair();
        let token = (high ^ low) & (u64::MAX >> 1);
        assert!(
            self.writes.iter().all(|write| write.token != token),
            "a token is given once"
        );
        effects.records.push(self.snapshot(assignments));
        self.has_record = true;
        effects.completion = Some(Completion {
            group_id: Arc::clone(&self.group_id),
            token,
        });
        self.writes.push(Write {
            token,
            generation_id: self.generation_id,
            written,
        });
    }

    /// Whether the assignment of this generation is on its way to the log.
    pub(super) fn assignment_is_being_written(&self) -> bool {
        let of_now = |write: &Write| {
            write.generation_id == self.generation_id && matches!(write.written, Written::Assignment(_))
        };
        self.writes.iter().any(of_now)
    }

    /// The group's record, with `assignments` or with those that the members have.
    pub(super) fn snapshot(&self, assignments: Option<&Assignments>) -> GroupRecord {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|member| GroupMember {
            member_id: Arc::clone(&member.member_id),
            group_instance_id: member.group_instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: match assignments {
                Some(assignments) => assignments.get(&member.member_id).cloned().unwrap_or_default(),
                None => member.assignment.clone(),
            },
        });
        GroupRecord::GroupMetadata {
            group_id: Arc::clone(&self.group_id),
            value: Some(GroupMetadataValue {
                protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
                generation: self.generation_id,
                protocol: self.protocol_name.clone(),
                leader: self.leader.clone(),
                current_state_timestamp: self.state_since_ms.unwrap_or(-1),
                members: members.collect(),
            }),
        }
    }

    /// Records that were handed out with this token are durable, or were refused.
    pub fn written(&mut self, env: &mut Env, token: u64, result: Result<(), ErrorCode>) -> Effects {
        let mut effects = Effects::none();
        let Some(at) = self.writes.iter().position(|write| write.token == token) else {
            return effects;
        };
        let write = self.writes.remove(at);
        let is_current = write.generation_id == self.generation_id;
        let result = result.map_err(for_members);
        match write.written {
            Written::Empty => {
                if let Err(code) = result {
                    // The log still has the generation before, whose members are gone: loading it times them out.
                    tracing::warn!(group_id = %self.group_id, code = code.message(), "an empty group was not written");
                }
            }
            Written::Assignment(assignments) if is_current && self.state == ClassicState::CompletingRebalance => {
                match result {
                    Ok(()) => self.assign(env, &assignments, &mut effects),
                    Err(code) => {
                        self.fail_syncs(env, code, &mut effects);
                        self.prepare_rebalance(env, "the assignment could not be written", &mut effects);
                    }
                }
            }
            Written::Static(back) if is_current && self.state == ClassicState::Stable => {
                self.static_member_written(env, *back, result, &mut effects);
            }
            // The group went on meanwhile; who waited was answered, or waits in the new round.
            Written::Assignment(_) | Written::Static(_) => {}
        }
        effects
    }

    /// Answers who waits in a sync with an error, and takes all assignments away.
    pub(super) fn fail_syncs(&mut self, env: &Env, code: ErrorCode, effects: &mut Effects) {
        assert_eq!(
            self.state,
            ClassicState::CompletingRebalance,
            "only there somebody waits in a sync"
        );
        let refused = SyncGroupResponse::default().with_error_code(code.code());
        for member in self.members.iter_mut() {
            member.assignment = Bytes::new();
            if let Some(waiter) = member.sync_waiter.take() {
                effects.sync_reply(waiter, refused.clone());
                member.deadline_ms = Some(env.now_ms.saturating_add(i64::from(member.session_timeout_ms.max(0))));
            }
        }
        self.wake_for_next_session(effects);
    }

    fn assign(&mut self, env: &Env, assignments: &Assignments, effects: &mut Effects) {
        let general = self.sync_response(Bytes::new());
        for member in self.members.iter_mut() {
            member.assignment = assignments.get(&member.member_id).cloned().unwrap_or_default();
            if let Some(waiter) = member.sync_waiter.take() {
                effects.sync_reply(waiter, general.clone().with_assignment(member.assignment.clone()));
                member.deadline_ms = Some(env.now_ms.saturating_add(i64::from(member.session_timeout_ms.max(0))));
            }
        }
        self.wake_for_next_session(effects);
        self.transition(env, ClassicState::Stable);
        tracing::info!(group_id = %self.group_id, generation_id = self.generation_id, "group is stable");
    }

    /// What a member that syncs is told.
    pub(super) fn sync_response(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_deref().map(wire_str))
            .with_protocol_name(self.protocol_name.as_deref().map(wire_str))
            .with_assignment(assignment)
    }

    /// Contract 75: the static member gets its generation, or becomes again what it was.
    fn static_member_written(
        &mut self,
        env: &Env,
        back: StaticReturn,
        result: Result<(), ErrorCode>,
        effects: &mut Effects,
    ) {
        // It may have come back once more, or left.
        if !self.members.waits_with(&back.member_id, back.waiter) {
            return;
        }
        self.members.take_join(&back.member_id);
        self.renew_session(env, &back.member_id, effects);
        let Err(code) = result else {
            effects.join_reply(back.waiter, self.returned_response(&back));
            return;
        };
        tracing::warn!(
            group_id = %self.group_id, member_id = %back.member_id, code = code.message(),
            "a static member's new id was not written, the old one stays"
        );
        let leader = back.old_leader.as_deref().unwrap_or_default();
        let refused = self.generation_response("").with_leader(wire_str(leader));
        effects.join_reply(back.waiter, refused.with_error_code(code.code()));
        self.rename_static_member(&back.member_id, &back.old_member_id, effects);
        self.members.set_protocols(&back.old_member_id, back.old_protocols);
        if let Some(member) = self.members.get_mut(&back.old_member_id) {
            member.rebalance_timeout_ms = back.old_rebalance_timeout_ms;
            member.session_timeout_ms = back.old_session_timeout_ms;
        }
        self.renew_session(env, &back.old_member_id, effects);
    }

    fn returned_response(&self, back: &StaticReturn) -> kafka_protocol::messages::JoinGroupResponse {
        let response = self.generation_response(&back.member_id);
        if back.api_version < SKIPS_ASSIGNMENT_FROM {
            // Told of the leader as it was before, a leader does not take itself for one, and does not assign.
            return response.with_leader(wire_str(back.old_leader.as_deref().unwrap_or_default()));
        }
        if !self.is_leader(&back.member_id) {
            return response;
        }
        let members = self.members_for_leader();
        response.with_members(members).with_skip_assignment(true)
    }
}

/// What members see of an append that failed.
fn for_members(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        code => code,
    }
}
