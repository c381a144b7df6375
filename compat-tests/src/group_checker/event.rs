//! What clients record, and what must not be.

use std::fmt;

/// In whose name a commit is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Generation −1: somebody who is no member.
    Nobody,
    /// A member of a classic group.
    Generation {
        /// Its slot.
        slot: usize,
        /// The generation that it sends.
        generation: i32,
    },
    /// A member of a consumer group (KIP-848).
    Epoch {
        /// Its slot.
        slot: usize,
    },
}

/// What a fetch found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The number of the operation, too.
    pub offset: i64,
    /// As committed.
    pub leader_epoch: i32,
    /// As committed.
    pub metadata: String,
}

/// The leader epoch that operation `op` commits, so that a mixture of two commits is seen.
pub fn leader_epoch_of(op: i64) -> i32 {
    (op % 1_000_003) as i32
}

/// The metadata that operation `op` commits.
pub fn metadata_of(op: i64) -> String {
    format!("op {op}")
}

/// One entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are named for what they hold, the variants say the rest"
)]
pub enum Event {
    /// An offset is about to be committed.
    CommitInvoke { op: i64, place: usize, claim: Claim },
    /// The commit was answered with error 0.
    CommitOk { op: i64 },
    /// It was answered with an error that says that nothing happened.
    CommitRefused { op: i64, code: i16 },
    /// The connection broke, or the error says nothing.
    CommitUnknown { op: i64 },
    /// The broker is gone: what was in flight either took effect or never will.
    Killed,
    /// An offset is about to be fetched.
    FetchInvoke { reader: u64, place: usize },
    /// What was found; `None` is offset −1.
    FetchOk {
        reader: u64,
        place: usize,
        found: Option<Committed>,
    },
    /// The group or the partition was answered with an error.
    FetchRefused { reader: u64, place: usize, code: i16 },
    /// A member of a classic group is about to send JoinGroup or SyncGroup.
    RoundInvoke { slot: usize },
    /// JoinGroup was answered.
    JoinOk { slot: usize, generation: i32 },
    /// SyncGroup was answered.
    SyncOk {
        slot: usize,
        generation: i32,
        assigned: Vec<usize>,
    },
    /// A member of a consumer group is about to say what it owns. It has stopped using everything else.
    HeartbeatInvoke { slot: usize, owned: Vec<usize> },
    /// ConsumerGroupHeartbeat was answered, with an assignment or without.
    HeartbeatOk {
        slot: usize,
        epoch: i32,
        assigned: Option<Vec<usize>>,
    },
    /// The member was fenced, or is about to leave: it uses nothing any more.
    Released { slot: usize },
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are named for what they hold, Display says the rest"
)]
pub enum Fault {
    /// A commit is found although a later one was acknowledged or seen.
    WentBack { place: usize, op: i64, newest: i64 },
    /// "No offset", although one was acknowledged or seen.
    Forgotten { place: usize, newest: i64 },
    /// An offset that nobody committed there.
    NeverCommitted { place: usize, offset: i64 },
    /// Refused, and there.
    RefusedButThere { place: usize, op: i64, code: i16 },
    /// Leader epoch or metadata of another commit.
    Garbled { place: usize, found: Committed },
    /// A fetch got an error that has no reason.
    FetchRefused { place: usize, code: i16 },
    /// A later answer tells an earlier generation.
    GenerationWentBack { slot: usize, was: i32, now: i32 },
    /// A member's epoch went down while it lived.
    EpochWentBack { slot: usize, was: i32, now: i32 },
    /// A member committed with a generation that others had left behind.
    OldGenerationCommitted { op: i64, generation: i32, known: i32 },
    /// A place belongs to two members.
    TwoOwners { place: usize, slots: (usize, usize) },
    /// A member got another assignment within one generation.
    AssignmentChanged { slot: usize, generation: i32 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
