//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: which group they go to, and when a group becomes a consumer group.

use super::{Machine, Shard, own_id, str_bytes};
use crate::groups::consumer::ConsumerGroup;
use crate::groups::{Client, Effects, Env, TimerKind};
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::ErrorCode;

/// The epoch of a member that joins.
const JOINS: i32 = 0;

impl Shard {
    /// ConsumerGroupHeartbeat. A group is made, or a classic one converted, only by a member that joins.
    pub fn consumer_group_heartbeat(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, Effects) {
        let group_id: &str = &request.group_id;
        if group_id.is_empty() {
            return refused(
                ErrorCode::InvalidRequest,
                "the group id is empty; give group.id a name".to_owned(),
            );
        }
        let mut effects = self.revive(env, group_id);
        let (response, of_group) = self.heartbeat_live(env, client, request);
        effects.append(of_group);
        (response, effects)
    }

    fn heartbeat_live(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, Effects) {
        let group_id: &str = &request.group_id;
        let joins = request.member_epoch == JOINS;
        match self.machine(group_id) {
            Some(Machine::Consumer(group)) => group.heartbeat(env, client, request),
            Some(Machine::Classic(group)) if joins => ConsumerGroup::upgrade(env, client, group, request),
            Some(Machine::Classic(_)) => refused(
                ErrorCode::GroupIdNotFound,
                format!("group {group_id} is not a consumer group but a classic one; its members join with epoch 0"),
            ),
            Some(Machine::None) | None => self.heartbeat_new_group(env, client, request, joins),
        }
    }

    /// ConsumerGroupDescribe of one group, without `authorized_operations`. Clients take GROUP_ID_NOT_FOUND, and nothing
    /// else, as the advice to ask DescribeGroups (contract 87).
    pub fn consumer_group_describe(&self, env: &Env, group_id: &str) -> DescribedGroup {
        let message = match self.find(group_id).map(|entry| &entry.machine) {
            Some(Machine::Consumer(group)) => return group.describe(env),
            Some(Machine::Classic(_) | Machine::None) => {
                format!("group {group_id} is not a consumer group but a classic one; ask DescribeGroups")
            }
            None => format!("group {group_id} does not exist"),
        };
        DescribedGroup::default()
            .with_group_id(str_bytes(group_id).into())
            .with_error_code(ErrorCode::GroupIdNotFound.code())
            .with_error_message(Some(message.into()))
    }

    fn heartbeat_new_group(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
        joins: bool,
    ) -> (ConsumerGroupHeartbeatResponse, Effects) {
        let group_id: &str = &request.group_id;
        let existing = self.find(group_id);
        if joins && existing.is_none() && !self.has_room(env, group_id) {
            return refused(
                ErrorCode::GroupMaxSizeReached,
                format!(
                    "group {group_id} is refused: the broker has {} groups, as many as group.coordinator.max.groups \
                     allows; delete groups or raise it",
                    env.config.group_coordinator_max_groups
                ),
            );
        }
        // The group is kept by the replay of its records.
        let mut group = ConsumerGroup::new(own_id(existing, group_id));
        let (response, mut effects) = group.heartbeat(env, client, request);
        // The session that began here is not kept with the group: it begins again with the group that the records make.
        if !effects.records.is_empty() {
            effects.set_timer(group.group_id(), TimerKind::Sessions, env.now_ms);
        }
        // A request that is wrong in itself is told so before anybody looks for the group.
        if joins || response.error_code == ErrorCode::InvalidRequest.code() {
            return (response, effects);
        }
        refused(
            ErrorCode::GroupIdNotFound,
            format!("group {group_id} does not exist; join it with epoch 0"),
        )
    }
}

fn refused(code: ErrorCode, message: String) -> (ConsumerGroupHeartbeatResponse, Effects) {
    let response = ConsumerGroupHeartbeatResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(message.into()));
    (response, Effects::none())
}
