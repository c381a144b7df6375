//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: which machine they go to, and what is said when there is none.

use super::{Machine, ParkedJoin, SHARD_TOKEN, Shard, own_id};
use crate::groups::classic::{ClassicGroup, check_join, join_error, leave_unknown_group};
use crate::groups::{Client, Completion, Effects, Env, Waiter};
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use protocol::ErrorCode;

impl Shard {
    /// JoinGroup. The first join of somebody new makes a classic group.
    pub fn join_group(
        &mut self,
        env: &mut Env,
        client: &Client,
        waiter: Waiter,
        request: &JoinGroupRequest,
    ) -> Effects {
        if let Err(code) = check_join(env.config, request) {
            return join_refused(waiter, request, code);
        }
        let mut effects = self.revive(env, &request.group_id);
        effects.append(self.join_live(env, client, waiter, request));
        effects
    }

    fn join_live(&mut self, env: &mut Env, client: &Client, waiter: Waiter, request: &JoinGroupRequest) -> Effects {
        match self.machine(&request.group_id) {
            Some(Machine::Classic(group)) => group.join(env, client, waiter, request),
            Some(Machine::Consumer(group)) if !group.replaced_by_classic() => group.join(env, client, waiter, request),
            Some(Machine::Consumer(group)) => {
                let records = group.tombstones();
                let mut effects = self.join_later(client, waiter, request);
                effects.records = records;
                effects
            }
            Some(Machine::None) | None => self.join_new_group(env, client, waiter, request),
        }
    }

    /// SyncGroup.
    pub fn sync_group(
        &mut self,
        env: &mut Env,
        client: &Client,
        waiter: Waiter,
        request: &SyncGroupRequest,
    ) -> Effects {
        let code = if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else {
            match self.machine(&request.group_id) {
                Some(Machine::Classic(group)) => return group.sync(env, client, waiter, request),
                Some(Machine::Consumer(group)) => return group.sync(env, client, waiter, request),
                Some(Machine::None) | None => ErrorCode::UnknownMemberId,
            }
        };
        let mut effects = Effects::none();
        effects.sync_reply(waiter, SyncGroupResponse::default().with_error_code(code.code()));
        effects
    }

    /// Heartbeat.
    pub fn heartbeat(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &HeartbeatRequest,
    ) -> (HeartbeatResponse, Effects) {
        let mut effects = self.revive(env, &request.group_id);
        let (code, of_group) = if request.group_id.is_empty() {
            (ErrorCode::InvalidGroupId, Effects::none())
        } else {
            match self.machine(&request.group_id) {
                Some(Machine::Classic(group)) => group.heartbeat(env, client, request),
                Some(Machine::Consumer(group)) => group.classic_heartbeat(env, client, request),
                Some(Machine::None) | None => (ErrorCode::UnknownMemberId, Effects::none()),
            }
        };
        effects.append(of_group);
        (HeartbeatResponse::default().with_error_code(code.code()), effects)
    }

    /// LeaveGroup.
    pub fn leave_group(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &LeaveGroupRequest,
    ) -> (LeaveGroupResponse, Effects) {
        if request.group_id.is_empty() {
            let code = ErrorCode::InvalidGroupId.code();
            return (LeaveGroupResponse::default().with_error_code(code), Effects::none());
        }
        match self.machine(&request.group_id) {
            Some(Machine::Classic(group)) => group.leave(env, client, request),
            Some(Machine::Consumer(group)) => group.leave(env, client, request),
            Some(Machine::None) | None => (leave_unknown_group(request, client.api_version), Effects::none()),
        }
    }

    /// The tombstones of an empty consumer group are durable, or were refused: the join that wanted them goes on.
    pub(super) fn tombstones_written(&mut self, env: &mut Env, token: u64, result: Result<(), ErrorCode>) -> Effects {
        let Some(join) = self.joins_after_tombstones.remove(&token) else {
            return Effects::none();
        };
        match result {
            Ok(()) => self.join_group(env, &join.client, join.waiter, &join.request),
            Err(code) => join_refused(join.waiter, &join.request, code),
        }
    }

    fn join_new_group(
        &mut self,
        env: &mut Env,
        client: &Client,
        waiter: Waiter,
        request: &JoinGroupRequest,
    ) -> Effects {
        let existing = self.find(&request.group_id);
        if !request.member_id.is_empty() {
            return join_refused(waiter, request, ErrorCode::UnknownMemberId);
        }
        if existing.is_none() && !self.has_room(env, &request.group_id) {
            return join_refused(waiter, request, ErrorCode::GroupMaxSizeReached);
        }
        let group_id = own_id(existing, &request.group_id);
        let mut group = ClassicGroup::new(group_id.clone(), env.now_ms);
        let effects = group.join(env, client, waiter, request);
        // A join that was refused for what it asked leaves no group behind. One that was told its member id is expected
        // back: there is a timer for it.
        let left_something = !effects.records.is_empty() || !effects.timers.is_empty() || effects.completion.is_some();
        if left_something {
            self.entry(&group_id).machine = Machine::Classic(Box::new(group));
        }
        effects
    }

    /// The consumer group is empty and becomes a classic one: its records go first, and the join begins when they are gone
    /// for good, so that a log that refuses leaves everything as it was.
    fn join_later(&mut self, client: &Client, waiter: Waiter, request: &JoinGroupRequest) -> Effects {
        let token = SHARD_TOKEN | self.next_token;
        self.next_token += 1;
        let group_id = own_id(self.find(&request.group_id), &request.group_id);
        let join = ParkedJoin {
            client: client.clone(),
            waiter,
            request: request.clone(),
        };
        self.joins_after_tombstones.insert(token, join);
        Effects {
            completion: Some(Completion { group_id, token }),
            ..Effects::none()
        }
    }
}

fn join_refused(waiter: Waiter, request: &JoinGroupRequest, code: ErrorCode) -> Effects {
    let mut effects = Effects::none();
    effects.join_reply(waiter, join_error(&request.member_id, code));
    effects
}
