//! Fetch sessions (KIP-227): what a consumer fetches is remembered, so that its requests and our replies carry only
//! what changed (contract 55, 56). Pure but for a lock: no clock, no IO.
//!
//! A request goes through [`FetchSessionCache::begin`], which merges it into the session and lists what to read, and
//! through [`FetchSessionCache::finish`], which decides what of the results the reply lists.

use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use protocol::types::Topic;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Session id that says "no session".
pub const NO_SESSION: i32 = 0;
/// Session epoch of a full request that wants a session.
pub const INITIAL_EPOCH: i32 = 0;
/// Session epoch of a full request that wants none and closes the one it names.
pub const FINAL_EPOCH: i32 = -1;

/// What a client wants of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchParams {
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Bytes at most from this partition.
    pub max_bytes: i32,
    /// Leader epoch that the client believes in; −1 unknown.
    pub current_leader_epoch: i32,
    /// Epoch of the last record that the client has; −1 unknown.
    pub last_fetched_epoch: i32,
}

/// One partition to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFetch {
    /// Its topic.
    pub topic: Topic,
    /// Its number.
    pub partition: i32,
    /// What of it.
    pub params: FetchParams,
    /// The name that the id had when the session first read it, to tell a recreated topic (103) from an unknown one (100).
    pub known_name: Option<StrBytes>,
}

/// What reading a partition gave, as far as sessions care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// Bytes of records.
    pub bytes: usize,
    /// As replied.
    pub high_watermark: i64,
    /// As replied.
    pub log_start_offset: i64,
    /// Whether it is an error or tells of a diverging epoch: always listed, and listed again once it is gone.
    pub noteworthy: bool,
    /// The topic's name, when it was found by id.
    pub name: Option<StrBytes>,
}

/// Why a request with a session is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// FETCH_SESSION_ID_NOT_FOUND(70).
    IdNotFound,
    /// INVALID_FETCH_SESSION_EPOCH(71).
    InvalidEpoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR(106): ids in a session of names or the reverse.
    TopicIdMixed,
}

/// The part of a Fetch request that concerns sessions.
#[derive(Debug)]
pub struct SessionRequest {
    /// As sent; 0 without a session.
    pub session_id: i32,
    /// As sent; −1 before version 7.
    pub session_epoch: i32,
    /// Version 13 and above.
    pub uses_topic_ids: bool,
    /// Partitions listed.
    pub partitions: Vec<PartitionFetch>,
    /// Partitions to forget.
    pub forgotten: Vec<(Topic, i32)>,
}

/// An admitted request: what to read, in this order.
#[derive(Debug)]
pub struct FetchContext {
    /// What to read.
    pub partitions: Vec<PartitionFetch>,
    kind: ContextKind,
}

#[derive(Debug)]
enum ContextKind {
    Sessionless,
    /// A session is wanted; made when the first reply is.
    Full {
        uses_topic_ids: bool,
    },
    /// `epoch` is what the session's epoch became with this request.
    Incremental {
        session: Arc<Mutex<FetchSession>>,
        epoch: i32,
    },
}

/// How to reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// Session id of the reply.
    pub session_id: i32,
    /// For each partition that was read, whether the reply lists it.
    pub listed: Vec<bool>,
}

#[derive(Debug)]
struct CachedPartition {
    fetch: PartitionFetch,
    /// As the client last heard; −1 makes the next reply list it.
    high_watermark: i64,
    log_start_offset: i64,
}

impl CachedPartition {
    fn new(fetch: PartitionFetch) -> CachedPartition {
        CachedPartition {
            fetch,
            high_watermark: -1,
            log_start_offset: -1,
        }
    }

    /// Takes over what the client is about to hear; whether there is anything to hear.
    fn update(&mut self, outcome: &PartitionOutcome) -> bool {
        let changed = outcome.bytes > 0
            || outcome.noteworthy
            || self.high_watermark != outcome.high_watermark
            || self.log_start_offset != outcome.log_start_offset;
        self.high_watermark = if outcome.noteworthy { -1 } else { outcome.high_watermark };
        self.log_start_offset = outcome.log_start_offset;
        if self.fetch.known_name.is_none() {
            self.fetch.known_name.clone_from(&outcome.name);
        }
        changed
    }
}

/// One consumer's session. Partitions lie in slots; `order` lists the slots as they are to be read.
#[derive(Debug)]
struct FetchSession {
    id: i32,
    /// Epoch that the next request must carry.
    epoch: i32,
    uses_topic_ids: bool,
    slots: Vec<Option<CachedPartition>>,
    free: Vec<usize>,
    index: HashMap<(Topic, i32), usize>,
    order: Vec<usize>,
    closed: bool,
}

impl FetchSession {
    fn add_or_update(&mut self, fetch: PartitionFetch) {
        let key = (fetch.topic.clone(), fetch.partition);
        match self.index.entry(key) {
            Entry::Occupied(at) => {
                if let Some(Some(cached)) = self.slots.get_mut(*at.get()) {
                    cached.fetch.params = fetch.params;
                }
            }
            Entry::Vacant(vacant) => {
                let slot = self.free.pop().unwrap_or(self.slots.len());
                if slot == self.slots.len() {
                    self.slots.push(None);
                }
                self.slots[slot] = Some(CachedPartition::new(fetch));
                self.order.push(slot);
                vacant.insert(slot);
            }
        }
    }

    fn forget(&mut self, partitions: &[(Topic, i32)]) {
        let mut removed = false;
        for key in partitions {
            if let Some(slot) = self.index.remove(key) {
                self.slots[slot] = None;
                self.free.push(slot);
                removed = true;
            }
        }
        if removed {
            let slots = &self.slots;
            self.order.retain(|slot| slots[*slot].is_some());
        }
    }

    fn to_read(&self) -> Vec<PartitionFetch> {
        self.order
            .iter()
            .filter_map(|slot| self.slots[*slot].as_ref())
            .map(|cached| cached.fetch.clone())
            .collect()
    }

    /// Updates what the client knows and moves partitions that returned data behind the others (contract 56).
    fn update(&mut self, read: &[PartitionFetch], outcomes: &[PartitionOutcome]) -> Vec<bool> {
        let mut with_data = Vec::new();
        let listed = read
            .iter()
            .zip(outcomes)
            .map(|(fetch, outcome)| {
                let Some(&slot) = self.index.get(&(fetch.topic.clone(), fetch.partition)) else {
                    return true;
                };
                if outcome.bytes > 0 {
                    with_data.push(slot);
                }
                self.slots[slot].as_mut().is_none_or(|cached| cached.update(outcome))
            })
            .collect();
        // Everything returned data, or nothing: the order is the same.
        if !with_data.is_empty() && with_data.len() < self.order.len() {
            let mut moved = vec![false; self.slots.len()];
            for slot in &with_data {
                moved[*slot] = true;
            }
            self.order.retain(|slot| !moved[*slot]);
            self.order.append(&mut with_data);
        }
        listed
    }
}

/// What the cache knows of a session without locking it.
#[derive(Debug)]
struct CacheEntry {
    session: Arc<Mutex<FetchSession>>,
    partitions: usize,
    last_used_ms: i64,
    created_ms: i64,
}

#[derive(Debug, Default)]
struct CacheState {
    sessions: HashMap<i32, CacheEntry>,
    partitions: usize,
}

impl CacheState {
    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.sessions.remove(&id) {
            self.partitions -= entry.partitions;
        }
    }
}

/// Limits of the cache.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// `max.incremental.fetch.session.cache.slots`.
    pub sessions_max: usize,
    /// Partitions over all sessions.
    pub partitions_max: usize,
    /// A session that nobody used for so long makes room for a new one, milliseconds.
    pub eviction_ms: i64,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            sessions_max: 1000,
            partitions_max: 1_000_000,
            eviction_ms: 120_000,
        }
    }
}

/// All sessions of a broker.
pub struct FetchSessionCache {
    limits: SessionLimits,
    /// Gives candidates for session ids.
    random: Box<dyn Fn() -> i32 + Send + Sync>,
    state: Mutex<CacheState>,
}

impl FetchSessionCache {
    /// An empty cache. `random` gives numbers that clients cannot guess.
    pub fn new(limits: SessionLimits, random: impl Fn() -> i32 + Send + Sync + 'static) -> FetchSessionCache {
        FetchSessionCache {
            limits,
            random: Box::new(random),
            state: Mutex::new(CacheState::default()),
        }
    }

    /// Sessions that live now.
    pub fn sessions(&self) -> usize {
        self.state.lock().sessions.len()
    }

    /// Partitions in all sessions.
    pub fn partitions(&self) -> usize {
        self.state.lock().partitions
    }

    /// Takes a request in: what it reads, in which order.
    pub fn begin(&self, request: SessionRequest, now_ms: i64) -> Result<FetchContext, SessionError> {
        let SessionRequest {
            session_id,
            session_epoch,
            uses_topic_ids,
            partitions,
            forgotten,
        } = request;
        if session_epoch == INITIAL_EPOCH || session_epoch == FINAL_EPOCH {
            if session_id != NO_SESSION {
                self.state.lock().remove(session_id);
            }
            let kind = if session_epoch == FINAL_EPOCH {
                ContextKind::Sessionless
            } else {
                ContextKind::Full { uses_topic_ids }
            };
            return Ok(FetchContext { partitions, kind });
        }
        let mut state = self.state.lock();
        let entry = state.sessions.get_mut(&session_id).ok_or(SessionError::IdNotFound)?;
        let session = Arc::clone(&entry.session);
        let mut locked = session.lock();
        if locked.epoch != session_epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if locked.uses_topic_ids != uses_topic_ids {
            return Err(SessionError::TopicIdMixed);
        }
        locked.forget(&forgotten);
        for fetch in partitions {
            locked.add_or_update(fetch);
        }
        locked.epoch = next_epoch(session_epoch);
        entry.last_used_ms = now_ms;
        let (before, after) = (entry.partitions, locked.order.len());
        entry.partitions = after;
        state.partitions = state.partitions - before + after;
        let to_read = locked.to_read();
        // A session that has nothing left is closed, and so is one that grew past what the cache may hold: the reply
        // says "no session" and lists everything, and the client starts anew.
        if after == 0 || state.partitions > self.limits.partitions_max {
            locked.closed = true;
            drop(locked);
            state.remove(session_id);
            return Ok(FetchContext {
                partitions: to_read,
                kind: ContextKind::Sessionless,
            });
        }
        let epoch = locked.epoch;
        drop(locked);
        Ok(FetchContext {
            partitions: to_read,
            kind: ContextKind::Incremental { session, epoch },
        })
    }

    /// Decides the reply. `read` are the partitions of `context`, `outcomes` what reading them gave, in their order.
    /// InvalidEpoch when another request used the session meanwhile.
    pub fn finish(
        &self,
        context: &FetchContext,
        read: &[PartitionFetch],
        outcomes: &[PartitionOutcome],
        now_ms: i64,
    ) -> Result<Finished, SessionError> {
        match &context.kind {
            ContextKind::Sessionless => Ok(Finished {
                session_id: NO_SESSION,
                listed: vec![true; read.len()],
            }),
            ContextKind::Full { uses_topic_ids } => {
                let session_id = self.create(*uses_topic_ids, read, outcomes, now_ms);
                Ok(Finished {
                    session_id,
                    listed: vec![true; read.len()],
                })
            }
            ContextKind::Incremental { session, epoch } => {
                let mut session = session.lock();
                if session.epoch != *epoch || session.closed {
                    return Err(SessionError::InvalidEpoch);
                }
                let listed = session.update(read, outcomes);
                Ok(Finished {
                    session_id: session.id,
                    listed,
                })
            }
        }
    }

    /// A new session, or 0 when there is no room.
    fn create(
        &self,
        uses_topic_ids: bool,
        partitions: &[PartitionFetch],
        outcomes: &[PartitionOutcome],
        now_ms: i64,
    ) -> i32 {
        let mut state = self.state.lock();
        if !self.make_room(&mut state, partitions.len(), now_ms) {
            return NO_SESSION;
        }
        let id = loop {
            let id = (self.random)() & i32::MAX;
            if id != NO_SESSION && !state.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = FetchSession {
            id,
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids,
            slots: Vec::with_capacity(partitions.len()),
            free: Vec::new(),
            index: HashMap::with_capacity(partitions.len()),
            order: Vec::with_capacity(partitions.len()),
            closed: false,
        };
        for fetch in partitions {
            session.add_or_update(fetch.clone());
        }
        session.update(partitions, outcomes);
        let count = session.order.len();
        state.partitions += count;
        state.sessions.insert(
            id,
            CacheEntry {
                session: Arc::new(Mutex::new(session)),
                partitions: count,
                last_used_ms: now_ms,
                created_ms: now_ms,
            },
        );
        id
    }

    /// Makes room for a session of `size` partitions: by evicting the one unused longest if it is stale, else the
    /// smallest one that had its time and is smaller. Large sessions save the most.
    fn make_room(&self, state: &mut CacheState, size: usize, now_ms: i64) -> bool {
        let fits = |state: &CacheState| {
            state.sessions.len() < self.limits.sessions_max && state.partitions + size <= self.limits.partitions_max
        };
        while !fits(state) {
            let old_enough = |since: i64| now_ms.saturating_sub(since) > self.limits.eviction_ms;
            let stale = state.sessions.iter().min_by_key(|(_, entry)| entry.last_used_ms);
            let victim = match stale {
                Some((id, entry)) if old_enough(entry.last_used_ms) => Some(*id),
                _ => state
                    .sessions
                    .iter()
                    .filter(|(_, entry)| old_enough(entry.created_ms) && entry.partitions < size)
                    .min_by_key(|(_, entry)| entry.partitions)
                    .map(|(id, _)| *id),
            };
            match victim {
                Some(id) => state.remove(id),
                None => return false,
            }
        }
        true
    }
}

/// The epoch after `epoch`: the largest is followed by 1 (contract 55).
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests;
