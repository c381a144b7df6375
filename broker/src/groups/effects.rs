//! What a group machine wants done: records to append, replies to give, timers to set.

use super::classic::ClassicGroup;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use std::sync::Arc;

/// A request whose reply is given later; the runtime's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiter(pub u64);

/// A reply that is given later than its request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a JoinGroup.
    Join(JoinGroupResponse),
    /// To a SyncGroup.
    Sync(SyncGroupResponse),
}

/// What one event leads to.
///
/// The runtime appends `records` as one batch; when the log took them it hands them to [`super::Shard::replay`] and installs
/// `install`. `replies`, and the reply that the event's own function returned, leave when the records are durable, or at
/// once when there are none; when the log refuses the records they are replaced by an error and nothing was changed
/// (classic groups, whose state is changed at once, hear of it by `completion`). `timers` are set in any case.
#[derive(Debug, Default)]
pub struct Effects {
    /// To append, all or none, in this order.
    pub records: Vec<GroupRecord>,
    /// Replies to requests that waited.
    pub replies: Vec<(Waiter, Reply)>,
    /// Timers to set. A key that is set already gets the new time.
    pub timers: Vec<Timer>,
    /// To be told, by [`super::Shard::written`], when `records` are durable or were refused.
    pub completion: Option<Completion>,
    /// A classic group that takes the place of the consumer group of its name once `records` were appended.
    pub install: Option<Box<ClassicGroup>>,
}

/// A timer: fires once, at `at_ms` or later. It is never cancelled: who gets it looks whether it still means something.
/// A deadline that moves further away often (a session at each heartbeat) is kept by the machine, and the timer is set anew
/// only when it has fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Which one.
    pub key: TimerKey,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// Which timer of which group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey {
    /// The group.
    pub group_id: Arc<str>,
    /// Of what.
    pub kind: TimerKind,
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKind {
    /// The next deadline among the members' sessions of a group: one timer a group, whatever its size.
    Sessions,
    /// A classic group's join phase: initial delay or rebalance timeout.
    Join,
    /// A classic group's sync phase: members that joined and do not sync.
    Sync,
    /// A consumer group: the next deadline among members that must give up partitions, or join or sync in the classic protocol.
    Rebalance,
    /// A consumer group: regular expressions are looked up again.
    Regex,
}

/// Whom to tell when records are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The group.
    pub group_id: Arc<str>,
    /// The machine's own number for what it waits for.
    pub token: u64,
}

impl Effects {
    /// Nothing.
    pub fn none() -> Effects {
        Effects::default()
    }

    /// Adds a timer.
    pub fn set_timer(&mut self, group_id: &Arc<str>, kind: TimerKind, at_ms: i64) {
        let group_id = Arc::clone(group_id);
        self.timers.push(Timer {
            key: TimerKey { group_id, kind },
            at_ms,
        });
    }

    /// Adds a reply to a JoinGroup.
    pub fn join_reply(&mut self, waiter: Waiter, response: JoinGroupResponse) {
        self.replies.push((waiter, Reply::Join(response)));
    }

    /// Adds a reply to a SyncGroup.
    pub fn sync_reply(&mut self, waiter: Waiter, response: SyncGroupResponse) {
        self.replies.push((waiter, Reply::Sync(response)));
    }

    /// Adds what `other` wants done after it.
    pub fn append(&mut self, mut other: Effects) {
        self.records.append(&mut other.records);
        self.replies.append(&mut other.replies);
        self.timers.append(&mut other.timers);
        assert!(
            self.completion.is_none() || other.completion.is_none(),
            "one event waits for one completion"
        );
        self.completion = self.completion.take().or(other.completion);
        self.install = self.install.take().or(other.install);
    }
}

impl Reply {
    /// The same reply with an error in its place, for records that the log refused.
    pub fn refused(&self, code: ErrorCode) -> Reply {
        match self {
            Reply::Join(reply) => Reply::Join(
                JoinGroupResponse::default()
                    .with_error_code(code.code())
                    .with_generation_id(-1)
                    .with_member_id(reply.member_id.clone()),
            ),
            Reply::Sync(_) => Reply::Sync(SyncGroupResponse::default().with_error_code(code.code())),
        }
    }
}
