//! What requests about groups have in common: who asks, and whether he may.

use crate::context::{Operation, RequestContext, Resource};
use crate::coordinator::Answer;
use crate::features::GROUP_VERSION;
use crate::groups::Client;
use protocol::ErrorCode;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Operations that exist on a group.
pub(super) const GROUP_OPERATIONS: [Operation; 5] = [
    Operation::Read,
    Operation::Delete,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// Who asks, as groups remember it.
pub(super) fn client(ctx: &RequestContext) -> Client {
    Client {
        client_id: Arc::clone(&ctx.client_id),
        host: Arc::from(format!("/{}", ctx.peer.ip().to_canonical())),
        api_version: ctx.api_version,
    }
}

/// Whether the client may do that to the group.
pub(super) fn may(ctx: &RequestContext, operation: Operation, group_id: &str) -> Result<(), ErrorCode> {
    if ctx.authorize(operation, &Resource::Group(group_id)) {
        Ok(())
    } else {
        Err(ErrorCode::GroupAuthorizationFailed)
    }
}

/// Whether the newer protocol (KIP-848) is on: the feature `group.version` turns it off at 0.
pub(super) fn consumer_protocol_is_on(ctx: &RequestContext) -> Result<(), ErrorCode> {
    if ctx.broker.features.level(GROUP_VERSION) > 0 {
        Ok(())
    } else {
        Err(ErrorCode::UnsupportedVersion)
    }
}

/// What the coordinator answers once that may be told; an error where it was not even asked.
pub(super) async fn given<R>(answer: Result<Answer<R>, ErrorCode>) -> Result<R, ErrorCode> {
    answer?.given().await
}

/// Leaves the first of each. What a few bytes of a request ask for may be long: asked for a million times over, a reply would
/// not fit in memory.
pub(super) fn once_each<T: Clone + Eq + Hash>(asked: &mut Vec<T>) {
    let mut seen = HashSet::with_capacity(asked.len());
    asked.retain(|one| seen.insert(one.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_twice_is_answered_once() {
        let mut asked = vec![3, 1, 3, 2, 1, 3];
        once_each(&mut asked);
        assert_eq!(asked, [3, 1, 2]);
    }
}
