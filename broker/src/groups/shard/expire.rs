//! What time takes: offsets past their retention, and groups that nobody uses any more (contract 81).

use super::delete::{is_subscribed, tombstone};
use super::{Entry, Machine, Shard};
use crate::groups::classic::{ClassicGroup, ClassicState};
use crate::groups::offsets::{CommittedOffset, OffsetKey, TopicKey};
use crate::groups::{Effects, Env};
use protocol::group_records::GroupRecord;
use std::sync::Arc;

/// Offsets and groups that one call looks at: some milliseconds of work.
const VISITS_MAX: usize = 20_000;
/// Tombstones that one call asks for, but for the last group's.
const RECORDS_MAX: usize = 1_000;

/// Whether a pass over the shard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to look at: call again as soon as the records were replayed.
    More,
    /// All was looked at; the next call begins anew.
    Done,
}

/// Where a pass goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    slot: usize,
    after: Option<OffsetKey>,
}

/// From when the retention of an offset counts.
#[derive(Clone, Copy)]
enum Clock {
    /// It does not: the group is in use.
    Stopped,
    /// From this moment.
    Since(i64),
    /// From its own commit.
    Commit,
    /// From its own commit, but not while the group is subscribed to its topic.
    CommitUnlessSubscribed,
}

/// The topic that was looked at last, and what came out.
struct TopicVerdict {
    key: TopicKey,
    is_gone: bool,
    is_subscribed: bool,
}

impl Shard {
    /// Deletes offsets past their retention, offsets of topics that are gone, and groups that are empty and have no offsets
    /// left. A bounded part of the shard a call: [`Progress`] says whether to go on.
    pub fn expire(&mut self, env: &mut Env) -> (Effects, Progress) {
        let mut effects = Effects::none();
        let mut visits = 0;
        let mut cursor = self.expiry;
        while let Some(slot) = self.slots.get(cursor.slot) {
            if visits >= VISITS_MAX || effects.records.len() >= RECORDS_MAX {
                self.expiry = cursor;
                return (effects, Progress::More);
            }
            visits += 1;
            if let Some(entry) = slot {
                let stopped_at = self.expire_offsets(env, entry, cursor.after, &mut visits, &mut effects.records);
                if stopped_at.is_some() {
                    cursor.after = stopped_at;
                    continue;
                }
            }
            cursor = Cursor {
                slot: cursor.slot + 1,
                after: None,
            };
        }
        self.expiry = Cursor::default();
        (effects, Progress::Done)
    }

    /// Looks at a group's offsets behind `after`, then at the group; `Some`: the visits were used up at that offset.
    fn expire_offsets(
        &self,
        env: &Env,
        entry: &Entry,
        after: Option<OffsetKey>,
        visits: &mut usize,
        records: &mut Vec<GroupRecord>,
    ) -> Option<OffsetKey> {
        let clock = clock(entry);
        let mut topic: Option<TopicVerdict> = None;
        let mut dropped = 0;
        for offset in self.tables.iter(&entry.offsets, after) {
            *visits += 1;
            let verdict = match topic.take().filter(|verdict| verdict.key == offset.topic_key) {
                Some(verdict) => verdict,
                None => verdict(env, entry, &offset),
            };
            if verdict.is_gone || is_expired(env, clock, &verdict, &offset) {
                records.push(tombstone(entry, &offset));
                dropped += 1;
            }
            topic = Some(verdict);
            if *visits >= VISITS_MAX || records.len() >= RECORDS_MAX {
                return Some(offset.key);
            }
        }
        if dropped == entry.offsets.len() {
            match &entry.machine {
                Machine::Classic(group) if group.is_idle() => records.push(classic_tombstone(&entry.group_id)),
                Machine::Consumer(group) if group.is_empty() => records.extend(group.tombstones()),
                // A simple group goes with its last offset.
                Machine::Classic(_) | Machine::Consumer(_) | Machine::None => {}
            }
        }
        None
    }
}

pub(super) fn classic_tombstone(group_id: &Arc<str>) -> GroupRecord {
    GroupRecord::GroupMetadata {
        group_id: Arc::clone(group_id),
        value: None,
    }
}

fn clock(entry: &Entry) -> Clock {
    match &entry.machine {
        Machine::None => Clock::Commit,
        Machine::Consumer(_) => Clock::CommitUnlessSubscribed,
        Machine::Classic(group) => classic_clock(group),
    }
}

fn classic_clock(group: &ClassicGroup) -> Clock {
    if group.protocol_type().is_none() {
        return Clock::Commit;
    }
    match group.state() {
        ClassicState::Empty => group.empty_since_ms().map_or(Clock::Commit, Clock::Since),
        ClassicState::Stable if group.subscribed_topics().is_some() => Clock::CommitUnlessSubscribed,
        // In a rebalance nobody knows what will be read; other protocol types never tell.
        _ => Clock::Stopped,
    }
}

fn verdict(env: &Env, entry: &Entry, offset: &CommittedOffset<'_>) -> TopicVerdict {
    TopicVerdict {
        key: offset.topic_key,
        is_gone: !super::fetch::is_of(env.cluster.topic(offset.topic).as_ref(), offset),
        is_subscribed: is_subscribed(entry, offset.topic),
    }
}

fn is_expired(env: &Env, clock: Clock, topic: &TopicVerdict, offset: &CommittedOffset<'_>) -> bool {
    let since = match clock {
        Clock::Stopped => return false,
        Clock::CommitUnlessSubscribed if topic.is_subscribed => return false,
        Clock::Since(since) => since,
        Clock::Commit | Clock::CommitUnlessSubscribed => offset.commit_timestamp,
    };
    if offset.expire_timestamp == -1 {
        env.now_ms.saturating_sub(since) >= env.config.offsets_retention_ms
    } else {
        env.now_ms >= offset.expire_timestamp
    }
}
