//! A consumer group of the new protocol (KIP-848): the broker assigns partitions, members reconcile by heartbeats.
//!
//! What never lives here: the log, offsets, the map of groups (`super::shard`). State changes only in
//! [`ConsumerGroup::replay`]; everything else computes records. Sessions and deadlines are the exception: they are
//! memory only and start anew when the group is loaded.
//!
//! Epochs, by an example. A group is at epoch 5, its target assignment too, its members a and b as well. c joins: the group
//! goes to 6, the target for 6 is computed in the same heartbeat, c gets 6 and nothing yet. a and b hear of it at their next
//! heartbeats, give up what c is to have, and come to 6; then c gets it. Nobody waits for anybody who has nothing to do with it.
//!
//! Where we depart from Kafka 4.3: the target is computed at each change, not at most once a second. A static member that
//! joins again under its own id is let in, since its reply may have got lost (111 is for others), and two lost replies in a
//! row are as good as one. A member of the classic protocol that was fenced and still owns something is told so (25) when it
//! joins; its heartbeats notice changed topics too. A group that goes back to the classic protocol takes along what members own
//! and not what they were to own, and rebalances when that differs. The uniform assignor leaves a partition more than others
//! have where it is. Patterns are looked up again for any change of the topics, without waiting for a heartbeat once that is
//! known.
//!
//! Contract 82–87.

mod assignor;
mod change;
mod classic_member;
mod commit;
mod describe;
mod heartbeat;
mod leave;
mod member;
mod migrate;
mod reconcile;
mod regex;
mod replay;
#[cfg(test)]
mod tests;
mod timers;
mod topics;

pub use commit::{CommitCheck, Committer};

use super::Env;
use kafka_protocol::messages::ConsumerGroupHeartbeatResponse;
use kafka_protocol::protocol::StrBytes;
use member::{Member, Tp};
use protocol::ErrorCode;
use replay::Counts;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use timers::Soft;
use topics::Regexes;

/// The epoch of a member that joins.
const JOINS: i32 = 0;
/// The epoch of a member that leaves; kept for members whose removal is on its way.
const LEAVES: i32 = -1;
/// The epoch of a static member that leaves and comes back.
const LEAVES_FOR_A_WHILE: i32 = -2;
/// The protocol type of consumers in the classic protocol.
const PROTOCOL_TYPE: &str = "consumer";

/// A consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {
    group_id: Arc<str>,
    /// Grows with each change of members, subscriptions and topics; 0: the log knows nothing of the group.
    epoch: i32,
    /// Of the topics at that epoch.
    metadata_hash: i64,
    /// The group epoch that the targets were computed for.
    assignment_epoch: i32,
    assignment_timestamp: i64,
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    static_members: HashMap<Arc<str>, Arc<str>>,
    /// What each member is to have, sorted.
    targets: HashMap<Arc<str>, Arc<Vec<Tp>>>,
    regexes: Regexes,
    is_gone: bool,
    counts: Counts,
    soft: Soft,
}

/// What a pattern matched when it was looked up.
#[derive(Clone, Debug, PartialEq)]
struct Resolved {
    /// Sorted.
    topics: Arc<Vec<Arc<str>>>,
    /// Of the topics.
    version: i64,
    timestamp_ms: i64,
}

impl Resolved {
    fn is_of(&self, version: u64) -> bool {
        self.version == version.cast_signed()
    }

    fn has(&self, topic: &str) -> bool {
        self.topics.binary_search_by(|name| (**name).cmp(topic)).is_ok()
    }
}

/// Where a group stands; `Display` gives Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    /// No members.
    Empty,
    /// The target assignment is older than the group.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    /// Every member has what it is to have.
    Stable,
    /// Deleted.
    Dead,
}

impl fmt::Display for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a request is not done.
#[derive(Debug)]
struct Refused {
    code: ErrorCode,
    /// What happened, to what, what to do.
    message: String,
}

impl Refused {
    fn new(code: ErrorCode, message: String) -> Refused {
        Refused { code, message }
    }

    fn heartbeat_response(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(self.code.code())
            .with_error_message(Some(StrBytes::from_string(self.message)))
    }
}

impl ConsumerGroup {
    /// A group without members.
    pub fn new(group_id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup {
            group_id,
            epoch: 0,
            metadata_hash: 0,
            assignment_epoch: 0,
            assignment_timestamp: 0,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            targets: HashMap::new(),
            regexes: Regexes::new(),
            is_gone: false,
            counts: Counts::default(),
            soft: Soft::default(),
        }
    }

    /// The tombstone of `ConsumerGroupMetadata` was replayed last: the shard forgets the group.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// No members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Where it stands. Looks at each member.
    pub fn state(&self) -> ConsumerState {
        if self.is_gone {
            ConsumerState::Dead
        } else if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch > self.assignment_epoch {
            ConsumerState::Assigning
        } else if self
            .members
            .values()
            .all(|member| member.is_reconciled_to(self.assignment_epoch))
        {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    /// The group epoch.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Its name.
    pub fn group_id(&self) -> &Arc<str> {
        &self.group_id
    }

    /// What a member is to have, sorted; nothing when it has no target.
    fn target(&self, member_id: &str) -> Arc<Vec<Tp>> {
        self.targets.get(member_id).cloned().unwrap_or_default()
    }
}

/// The assignor that most members ask for, the first of the config among equals and when nobody asks.
fn preferred_assignor(env: &Env, asked: &BTreeMap<Arc<str>, usize>) -> Arc<str> {
    let known = &env.config.group_consumer_assignors;
    let count = |name: &Arc<str>| asked.get(name).copied().unwrap_or(0);
    let most = known.iter().map(count).max().unwrap_or(0);
    let preferred = known.iter().find(|name| count(name) == most);
    preferred.cloned().unwrap_or_else(|| Arc::from("uniform"))
}

/// A copy for a response.
fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
