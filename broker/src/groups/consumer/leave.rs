//! Members that go: by themselves, by an administrator, or because they were silent or slow.

use super::member::Member;
use super::replay::{push_removal, regex_tombstone};
use super::{ConsumerGroup, Refused, topics};
use crate::groups::{Client, Effects, Env};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// From this version on a request names several members.
const MANY_MEMBERS: i16 = 3;

impl ConsumerGroup {
    /// LeaveGroup: of members that speak the classic protocol, and of any member by an administrator (contract 78).
    pub fn leave(
        &mut self,
        env: &mut Env,
        client: &Client,
        request: &LeaveGroupRequest,
    ) -> (LeaveGroupResponse, Effects) {
        let one;
        let identities = if client.api_version < MANY_MEMBERS {
            one = [MemberIdentity::default().with_member_id(request.member_id.clone())];
            &one[..]
        } else {
            &request.members[..]
        };
        let mut leaving: Vec<Arc<str>> = Vec::new();
        let mut answers = Vec::with_capacity(identities.len());
        for identity in identities {
            let code = match self.find_leaving(identity) {
                Ok(member) => {
                    leaving.push(Arc::clone(&member.id));
                    ErrorCode::None
                }
                Err(refused) => refused.code,
            };
            answers.push((identity, code));
        }
        leaving.sort_unstable();
        leaving.dedup();
        let effects = self.fence(env, &leaving);
        let mut response = LeaveGroupResponse::default();
        if client.api_version < MANY_MEMBERS {
            response.error_code = answers.first().map_or(0, |(_, code)| code.code());
        } else {
            response.members = answers
                .into_iter()
                .map(|(identity, code)| answer(identity, code))
                .collect();
        }
        (response, effects)
    }

    fn find_leaving(&self, identity: &MemberIdentity) -> Result<&Member, Refused> {
        let member_id = &*identity.member_id;
        let Some(instance_id) = &identity.group_instance_id else {
            return self
                .members
                .get(member_id)
                .ok_or_else(|| self.unknown_member(member_id));
        };
        // An administrator knows the instance id alone.
        let known = self.static_members.get(&**instance_id);
        let member_id = if member_id.is_empty() {
            known.map_or("", |id| id)
        } else {
            member_id
        };
        self.static_member(instance_id, member_id)
    }

    /// Removes members, whose ids are sorted. When only members of the classic protocol stay, the group becomes theirs.
    pub(super) fn fence(&mut self, env: &mut Env, member_ids: &[Arc<str>]) -> Effects {
        if member_ids.is_empty() {
            return Effects::none();
        }
        if self.becomes_classic_without(env, member_ids) {
            return self.downgrade_without(env, member_ids);
        }
        let mut effects = Effects::none();
        for member_id in member_ids {
            push_removal(&self.group_id, member_id, &mut effects.records);
        }
        let mut regexes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        let leaving = member_ids.iter().filter_map(|id| self.members.get(id));
        for regex in leaving.filter_map(|member| member.subscription.regex.as_ref()) {
            *regexes.entry(regex).or_default() += 1;
        }
        for (regex, leaving) in regexes {
            if self.counts.regexes.get(regex) == Some(&leaving) {
                effects.records.push(regex_tombstone(&self.group_id, regex));
            }
        }
        let stays = |member: &&Member| member_ids.binary_search(&member.id).is_err();
        let hash = topics::metadata_hash(env, self.members.values().filter(stays), &self.regexes);
        effects
            .records
            .push(self.epoch_record(self.epoch.saturating_add(1), hash));
        effects
    }
}

fn answer(identity: &MemberIdentity, code: ErrorCode) -> MemberResponse {
    let copy = |text: &StrBytes| StrBytes::from_string(text.to_string());
    MemberResponse::default()
        .with_member_id(copy(&identity.member_id))
        .with_group_instance_id(identity.group_instance_id.as_ref().map(copy))
        .with_error_code(code.code())
}
