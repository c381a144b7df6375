//! ListGroups (16), versions 0–5: the groups of this broker, by state from version 4 and by type from version 5 on.
//!
//! Asking does not make `__consumer_offsets`: where it is missing there are no groups.

use crate::context::{Operation, RequestContext, Resource};
use crate::groups::ListFilter;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use std::future::Future;

/// Looks at all groups; the reply comes when all that it says is durable.
pub fn handle(
    ctx: &RequestContext,
    request: ListGroupsRequest,
) -> impl Future<Output = ListGroupsResponse> + Send + 'static + use<> {
    let filter = ListFilter::new(&request);
    let mut groups = Vec::new();
    let looks = ctx
        .broker
        .groups
        .look_at_all(|shard| shard.list_groups(&filter, &mut groups));
    if !ctx.authorize(Operation::Describe, &Resource::Cluster) {
        groups.retain(|group| ctx.authorize(Operation::Describe, &Resource::Group(&group.group_id)));
    }
    let ctx = ctx.clone();
    async move {
        for look in looks {
            if let Err(code) = look.given().await {
                // An incomplete list would look like groups that are gone.
                ctx.count_error(code.code());
                return ListGroupsResponse::default().with_error_code(code.code());
            }
        }
        ListGroupsResponse::default().with_groups(groups)
    }
}
