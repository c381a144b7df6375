//! A classic consumer group: members that join, a leader that assigns, generations (contract 70–79, and what concerns such
//! groups in 81 and 86).
//!
//! | state | waits for | ends with |
//! | --- | --- | --- |
//! | Empty | somebody to join | a join |
//! | PreparingRebalance | everybody to join; an initial delay, or the longest rebalance timeout | a generation, or Empty |
//! | CompletingRebalance | the leader's assignment, and its record to be durable | Stable |
//! | Stable | changes: somebody joins, leaves, falls silent, does not sync | PreparingRebalance |
//!
//! Everything is changed at once but what a record must say first: assignments, and the new id of a static member. What
//! never lives here: offsets, other groups, the log.
//!
//! Where we depart from Kafka: a request that a later one of the same member replaces is answered (27), and so is a parked
//! sync of a member that is removed (25), where Kafka leaves them to time out. A static member that is replaced before it
//! synced hands that duty on with its place. A member that is turned away because the group is full does not keep the others
//! waiting. A static member that comes back is shown with the client id and address that it has now. Ids that were given out
//! for a first join are bounded. When two protocols have as many votes, the leader's preference decides, not chance.

mod convert;
mod join;
mod leave;
mod member;
mod rebalance;
mod sessions;
mod sync;
#[cfg(test)]
mod tests;
mod write;

pub use convert::ConvertedMember;
pub use join::{check_join, join_error};
pub use leave::leave_unknown_group;
pub use member::Member;

use super::{Effects, Env, TimerKind};
use member::Members;
use protocol::ErrorCode;
use protocol::group_records::GroupRecord;
use rebalance::JoinTimer;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use write::Write;

/// The protocol type of consumers; all others are opaque.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a group is between two generations. `Display` gives Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicState {
    /// No members.
    Empty,
    /// Waits for its members to join.
    PreparingRebalance,
    /// Has a generation, waits for the leader's assignment.
    CompletingRebalance,
    /// Has an assignment.
    Stable,
    /// Deleted or converted; answers 15.
    Dead,
}

impl fmt::Display for ClassicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    group_id: Arc<str>,
    state: ClassicState,
    /// Since when it is in its state, as records have it.
    state_since_ms: Option<i64>,
    generation_id: i32,
    protocol_type: Option<Arc<str>>,
    protocol_name: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: Members,
    /// Ids that were given out, and until when they are waited for (contract 70).
    pending: BTreeMap<Arc<str>, i64>,
    /// Topics of the generation; `None`: unknown.
    subscribed: Option<BTreeSet<Arc<str>>>,
    /// The join phase began in Empty.
    is_initial: bool,
    /// Somebody joined during the initial delay since it was set.
    member_was_added: bool,
    join_timer: Option<JoinTimer>,
    sync_at_ms: Option<i64>,
    sessions_at_ms: Option<i64>,
    writes: Vec<Write>,
    has_record: bool,
}

impl ClassicGroup {
    /// A group without members, of which the log knows nothing.
    pub fn new(group_id: Arc<str>, now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            group_id,
            state: ClassicState::Empty,
            state_since_ms: Some(now_ms),
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: Members::default(),
            pending: BTreeMap::new(),
            subscribed: None,
            is_initial: false,
            member_was_added: false,
            join_timer: None,
            sync_at_ms: None,
            sessions_at_ms: None,
            writes: Vec::new(),
            has_record: false,
        }
    }

    /// A timer of this group fired: `Sessions`, `Join` or `Sync`.
    pub fn on_timer(&mut self, env: &mut Env, kind: &TimerKind) -> Effects {
        let mut effects = Effects::none();
        match kind {
            _ if self.state == ClassicState::Dead => {}
            TimerKind::Sessions => self.expire_sessions(env, &mut effects),
            TimerKind::Join => self.join_timer_fired(env, &mut effects),
            TimerKind::Sync => self.sync_timer_fired(env, &mut effects),
            // Of the consumer group that this one was.
            TimerKind::Rebalance | TimerKind::Regex => {}
        }
        effects
    }

    /// Whether an OffsetCommit is acceptable (contract 79). A member's commit renews its session.
    pub fn check_commit(
        &mut self,
        env: &mut Env,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        if self.state == ClassicState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        // Tools, and consumers that assign partitions themselves.
        if generation_id < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        if generation_id < 0 && member_id.is_empty() && group_instance_id.is_none() {
            return if self.state == ClassicState::Empty {
                Ok(())
            } else {
                Err(ErrorCode::UnknownMemberId)
            };
        }
        self.check_member(member_id, group_instance_id)?;
        if generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.state == ClassicState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            let at_ms = env.now_ms.saturating_add(i64::from(member.session_timeout_ms.max(0)));
            // Only ever later, so that no timer has to be set.
            member.deadline_ms = member.deadline_ms.map(|before| before.max(at_ms));
        }
        Ok(())
    }

    /// Whether an OffsetFetch is acceptable: always, unless the group is dead.
    pub fn check_fetch(&self) -> Result<(), ErrorCode> {
        match self.state {
            ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
            _ => Ok(()),
        }
    }

    /// Whether offsets may be deleted at all: 68 while members of another protocol type than `consumer` are there. Then ask
    /// [`ClassicGroup::is_subscribed`] for each topic (86).
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self.state {
            ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
            ClassicState::Empty => Ok(()),
            _ if self.is_of_consumers() => Ok(()),
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// Whether the group may be deleted: 68 while it has members, 69 when it is dead.
    pub fn can_be_deleted(&self) -> Result<(), ErrorCode> {
        match self.state {
            ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
            ClassicState::Empty => Ok(()),
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// Its name.
    pub fn group_id(&self) -> &Arc<str> {
        &self.group_id
    }

    /// Where it is between two generations.
    pub fn state(&self) -> ClassicState {
        self.state
    }

    /// Counts rebalances.
    pub fn generation_id(&self) -> i32 {
        self.generation_id
    }

    /// `consumer`, `connect`, …; `None`: nobody has ever joined.
    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    /// The protocol of the generation.
    pub fn protocol_name(&self) -> Option<&Arc<str>> {
        self.protocol_name.as_ref()
    }

    /// Member id of the leader.
    pub fn leader(&self) -> Option<&Arc<str>> {
        self.leader.as_ref()
    }

    /// Its members, by member id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The member of that id.
    pub fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    /// The static member of that instance id.
    pub fn static_member(&self, group_instance_id: &str) -> Option<&Member> {
        self.members.get(self.members.static_id(group_instance_id)?)
    }

    /// Whether a topic is subscribed to; when that cannot be known, whether the group is one of consumers.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed
            .as_ref()
            .map_or(self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// Topics that the members of a group of consumers are subscribed to; `None`: it cannot be known.
    pub fn subscribed_topics(&self) -> Option<&BTreeSet<Arc<str>>> {
        self.subscribed.as_ref()
    }

    /// Since when a group that had members is without; `None`: it has some, never had any, or its record does not say.
    pub fn empty_since_ms(&self) -> Option<i64> {
        let had_members = self.state == ClassicState::Empty && self.protocol_type.is_some();
        self.state_since_ms.filter(|_| had_members)
    }

    /// The group's record as it would be written now; `None`: the log has none of it.
    pub fn record(&self) -> Option<GroupRecord> {
        self.has_record.then(|| self.snapshot(None))
    }

    /// Whether nothing would be lost if it were forgotten: Empty, nobody about to join, nothing on its way to the log.
    /// It may have a record ([`ClassicGroup::record`]) that needs a tombstone.
    pub fn is_idle(&self) -> bool {
        self.state == ClassicState::Empty && self.pending.is_empty() && self.writes.is_empty()
    }

    fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The member, unless another has its instance id (82) or it is unknown (25).
    fn check_member(&self, member_id: &str, group_instance_id: Option<&str>) -> Result<&Member, ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.members.static_id(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if **known != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)
    }

    fn transition(&mut self, env: &Env, state: ClassicState) {
        use ClassicState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        let is_valid = match state {
            PreparingRebalance => matches!(self.state, Empty | CompletingRebalance | Stable),
            CompletingRebalance | Empty => self.state == PreparingRebalance,
            Stable => self.state == CompletingRebalance,
            ClassicState::Dead => false,
        };
        assert!(is_valid, "{} never follows {}", state, self.state);
        self.state = state;
        self.state_since_ms = Some(env.now_ms);
    }

    /// What always holds between two events.
    #[cfg(test)]
    fn check(&self) {
        self.members.check();
        if self.state == ClassicState::Dead {
            return;
        }
        assert_eq!(self.leader.is_none(), self.members.is_empty(), "members have a leader");
        assert!(
            self.leader.iter().all(|leader| self.members.contains(leader)),
            "the leader is a member"
        );
        assert!(self.pending.keys().all(|member_id| !self.members.contains(member_id)));
        if self.state == ClassicState::Empty {
            assert!(self.members.is_empty());
        }
        assert_eq!(
            self.join_timer.is_some(),
            self.state == ClassicState::PreparingRebalance
        );
        if self.state == ClassicState::PreparingRebalance {
            assert!(
                self.is_initial || !self.all_joined(),
                "the join phase ends when all joined"
            );
        } else {
            assert!(
                self.members.is_empty() || self.protocol_name.is_some(),
                "a generation has a protocol"
            );
        }
        assert_eq!(
            self.sync_at_ms.is_some(),
            self.members.to_sync() > 0,
            "there is a timer for who has yet to sync"
        );
        let waits_for_sync = self.members.iter().any(|member| member.sync_waiter.is_some());
        assert!(!waits_for_sync || self.state == ClassicState::CompletingRebalance);
    }
}
