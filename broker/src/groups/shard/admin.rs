//! DescribeGroups and DeleteGroups of one group.

use super::delete::tombstone;
use super::expire::classic_tombstone;
use super::{Machine, Shard, str_bytes};
use crate::groups::Effects;
use crate::groups::classic::{ClassicGroup, ClassicState, Member};
use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::ErrorCode;

impl Shard {
    /// DescribeGroups of one group, without `authorized_operations`. A group that is not there, or speaks the other
    /// protocol, is `Dead`; only version 6 says that this is an error (contract 87).
    pub fn describe_group(&self, api_version: i16, group_id: &str) -> DescribedGroup {
        let described = DescribedGroup::default().with_group_id(str_bytes(group_id).into());
        let message = match self.find(group_id).map(|entry| &entry.machine) {
            Some(Machine::Classic(group)) => return describe(group, described),
            // Nobody ever joined: it has offsets and nothing else.
            Some(Machine::None) => return described.with_group_state(ClassicState::Empty.to_string().into()),
            Some(Machine::Consumer(_)) => {
                format!("group {group_id} is not a classic group but a consumer group; ask ConsumerGroupDescribe")
            }
            None => format!("group {group_id} does not exist"),
        };
        let described = described.with_group_state(ClassicState::Dead.to_string().into());
        if api_version < 6 {
            return described;
        }
        described
            .with_error_code(ErrorCode::GroupIdNotFound.code())
            .with_error_message(Some(message.into()))
    }

    /// DeleteGroups of one group, its offsets included: only of one without members.
    pub fn delete_group(&mut self, group_id: &str) -> (ErrorCode, Effects) {
        let Some(entry) = self.find(group_id) else {
            return (ErrorCode::GroupIdNotFound, Effects::none());
        };
        let group = match &entry.machine {
            Machine::None => Vec::new(),
            Machine::Classic(group) => match group.can_be_deleted() {
                // Nobody waits for anything of an Empty group. Ids that were given out are joined with in vain: 25, and again.
                Ok(()) => vec![classic_tombstone(&entry.group_id)],
                Err(code) => return (code, Effects::none()),
            },
            Machine::Consumer(group) if group.is_empty() => group.tombstones(),
            Machine::Consumer(_) => return (ErrorCode::NonEmptyGroup, Effects::none()),
        };
        let mut effects = Effects::none();
        let offsets = self.tables.iter(&entry.offsets, None);
        effects.records.extend(offsets.map(|offset| tombstone(entry, &offset)));
        effects.records.extend(group);
        (ErrorCode::None, effects)
    }
}

/// Metadata and assignments are shown of a Stable group only: before, they belong to different generations.
fn describe(group: &ClassicGroup, described: DescribedGroup) -> DescribedGroup {
    let state = group.state();
    let protocol = group.protocol_name().filter(|_| state == ClassicState::Stable);
    let members = group
        .members()
        .map(|member| describe_member(member, protocol.map(|name| &**name)));
    described
        .with_group_state(state.to_string().into())
        .with_protocol_type(group.protocol_type().map(|name| str_bytes(name)).unwrap_or_default())
        .with_protocol_data(protocol.map(|name| str_bytes(name)).unwrap_or_default())
        .with_members(members.collect())
}

fn describe_member(member: &Member, protocol: Option<&str>) -> DescribedGroupMember {
    let (metadata, assignment) = match protocol {
        Some(protocol) => (member.metadata(protocol), member.assignment().clone()),
        None => (Bytes::new(), Bytes::new()),
    };
    DescribedGroupMember::default()
        .with_member_id(str_bytes(member.member_id()))
        .with_group_instance_id(member.group_instance_id().map(|id| str_bytes(id)))
        .with_client_id(str_bytes(member.client_id()))
        .with_client_host(str_bytes(member.client_host()))
        .with_member_metadata(metadata)
        .with_member_assignment(assignment)
}
