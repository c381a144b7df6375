//! DeleteGroups (42), versions 0–2: groups without members and their offsets; an error each (contract 81).
//!
//! Departures from Kafka: a group whose tombstones are more than one batch is deleted in several; offsets go first.

use super::group_request::{given, may, once_each};
use super::own;
use crate::context::{Operation, RequestContext};
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};
use std::future::Future;

/// Deletes; answers when they are gone for good.
pub fn handle(
    ctx: &RequestContext,
    mut request: DeleteGroupsRequest,
) -> impl Future<Output = DeleteGroupsResponse> + Send + 'static + use<> {
    // As Kafka: the second of one name would be told that the group does not exist.
    once_each(&mut request.groups_names);
    let delete = |group_id: GroupId| {
        let answer = may(ctx, Operation::Delete, &group_id).map(|()| {
            let groups = &ctx.broker.groups;
            groups.change_in_parts(&group_id, |shard, _| shard.delete_group(&group_id))
        });
        (GroupId(own(&group_id)), answer)
    };
    let answers: Vec<_> = request.groups_names.into_iter().map(delete).collect();
    let ctx = ctx.clone();
    async move {
        let mut results = Vec::with_capacity(answers.len());
        for (group_id, answer) in answers {
            let given = given(answer).await;
            let code = given.unwrap_or_else(|code| code).code();
            ctx.count_error(code);
            results.push(
                DeletableGroupResult::default()
                    .with_group_id(group_id)
                    .with_error_code(code),
            );
        }
        DeleteGroupsResponse::default().with_results(results)
    }
}
