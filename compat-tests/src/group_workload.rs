//! The load of the groups' crash test: members of classic groups, members of consumer groups, and committers that are no
//! members, over raw sockets, each recording what it did and saw.
//!
//! A member lives through crashes as a client does: it keeps its id, generation and partitions, and learns from the broker's
//! answers what of it still holds. One thread drives one member over one connection, with one request in flight. Between the
//! crashes members leave, come back and change their subscriptions, so that a rebalance is nearly always under way.

mod classic;
mod committer;
mod consumer;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use uuid::Uuid;

use crate::group_checker::{Event, Fault, GroupChecker};
use crate::harness::PATIENCE;
use crate::raw::RawClient;

pub use classic::ClassicMember;
pub use committer::{Committer, read_all};
pub use consumer::ConsumerMember;

/// Topics of the workload and their partitions. Members subscribe to the first one or to both.
pub const TOPICS: [(&str, i32); 2] = [("crash-groups-a", 4), ("crash-groups-b", 2)];
/// Partitions of all topics: the places of one group.
const PLACES: usize = 6;
/// How long a member waits before it repeats what the broker was not ready for.
const BACKOFF: Duration = Duration::from_millis(2);

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// The same with `group.instance.id`.
    ClassicStatic,
    /// ConsumerGroupHeartbeat.
    Consumer,
    /// Offsets only.
    Simple,
}

/// A group of the workload.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub name: String,
    /// Its protocol.
    pub kind: Kind,
    /// The slots of its members.
    pub slots: std::ops::Range<usize>,
}

/// Where a member stands, as the broker last confirmed it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    generation: i32,
    places: Vec<usize>,
}

#[derive(Default)]
struct Progress {
    steps: u64,
    stopped: bool,
    /// Members leave, come back and change their minds.
    unrest: bool,
    /// The broker is about to be killed: connections may break.
    dying: bool,
    views: BTreeMap<usize, View>,
}

/// What all clients share: the recorder, the numbers of operations, and what the main thread waits for.
pub struct Shared {
    /// All groups.
    pub groups: Vec<Group>,
    topic_ids: [Uuid; 2],
    checker: Mutex<GroupChecker>,
    next_op: AtomicI64,
    progress: Mutex<Progress>,
    progressed: Condvar,
    notes: Mutex<BTreeMap<String, u64>>,
    surprises: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    /// Before the first request; the topics exist and have these ids. `kinds` gives a group each, with `members` where it has any.
    pub fn new(topic_ids: [Uuid; 2], kinds: &[Kind], members: usize) -> Shared {
        let (mut groups, mut slots) = (Vec::new(), Vec::new());
        for (index, kind) in kinds.iter().enumerate() {
            let first = slots.len();
            let count = if *kind == Kind::Simple { 0 } else { members };
            slots.extend(std::iter::repeat_n(index, count));
            groups.push(Group {
                name: format!("crash-{index}-{kind:?}").to_lowercase(),
                kind: *kind,
                slots: first..slots.len(),
            });
        }
        Shared {
            checker: Mutex::new(GroupChecker::new(groups.len() * PLACES, &slots)),
            groups,
            topic_ids,
            next_op: AtomicI64::new(1),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            notes: Mutex::default(),
            surprises: Mutex::default(),
        }
    }

    /// Adds to the history.
    pub fn record(&self, event: &Event) {
        self.checker().apply(event);
    }

    /// The history's checker.
    pub fn checker(&self) -> MutexGuard<'_, GroupChecker> {
        self.checker.lock().expect("no client panics while it records")
    }

    /// Faults found so far.
    pub fn faults(&self) -> Vec<Fault> {
        self.checker().faults().to_vec()
    }

    /// How often members were told what is no fault, but worth a look: they had to begin anew, say.
    pub fn notes(&self) -> BTreeMap<String, u64> {
        self.notes.lock().expect("no client panics with it").clone()
    }

    /// Answers that a healthy broker does not give, and how often they came.
    pub fn surprises(&self) -> BTreeMap<String, u64> {
        self.surprises.lock().expect("no client panics with it").clone()
    }

    /// The next life of the broker begins: nothing is confirmed in it yet.
    pub fn begin_life(&self) {
        let mut progress = self.progress();
        *progress = Progress {
            steps: progress.steps,
            ..Progress::default()
        };
    }

    /// From now on members disturb their groups.
    pub fn begin_unrest(&self) {
        self.progress().unrest = true;
    }

    /// From now on connections may break.
    pub fn begin_to_die(&self) {
        self.progress().dying = true;
    }

    /// All clients end after their current request.
    pub fn stop(&self) {
        self.progress().stopped = true;
    }

    /// Waits for so many more acknowledged commits, joins and assignments; what is known if that takes longer than [`PATIENCE`].
    pub fn wait_for_steps(&self, count: u64) -> Result<(), String> {
        let target = self.progress().steps + count;
        self.wait_until(|progress| progress.steps >= target)
    }

    /// Waits until every group is whole: all members in one generation, and every partition has one owner.
    pub fn wait_until_settled(&self) -> Result<(), String> {
        let all_places: BTreeSet<usize> = (0..PLACES).collect();
        let settled = |progress: &Progress, group: &Group| {
            let views: Vec<_> = group
                .slots
                .clone()
                .filter_map(|slot| progress.views.get(&slot))
                .collect();
            let owned: Vec<usize> = views
                .iter()
                .flat_map(|view| view.places.iter().map(|p| p % PLACES))
                .collect();
            views.len() == group.slots.len()
                && views.windows(2).all(|pair| pair[0].generation == pair[1].generation)
                && owned.len() == PLACES
                && owned.into_iter().collect::<BTreeSet<_>>() == all_places
        };
        let members = |group: &&Group| group.kind != Kind::Simple;
        self.wait_until(|progress| self.groups.iter().filter(members).all(|group| settled(progress, group)))
    }

    fn wait_until(&self, reached: impl Fn(&Progress) -> bool) -> Result<(), String> {
        let waiting = |progress: &mut Progress| !reached(progress);
        let (progress, waited) = self
            .progressed
            .wait_timeout_while(self.progress(), PATIENCE, waiting)
            .expect("nobody panics with it");
        match waited.timed_out() {
            true => Err(format!("after {PATIENCE:?} members stand at {:?}", progress.views)),
            false => Ok(()),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics with it")
    }

    fn stopped(&self) -> bool {
        self.progress().stopped
    }

    fn unrest(&self) -> bool {
        self.progress().unrest
    }

    fn count_step(&self) {
        self.progress().steps += 1;
        self.progressed.notify_all();
    }

    /// The broker confirmed where this member stands; `None`: it is on the move.
    fn set_view(&self, slot: usize, view: Option<View>) {
        let mut progress = self.progress();
        match view {
            Some(view) => progress.views.insert(slot, view),
            None => progress.views.remove(&slot),
        };
        drop(progress);
        self.progressed.notify_all();
    }

    fn note(&self, note: String) {
        *self
            .notes
            .lock()
            .expect("no client panics with it")
            .entry(note)
            .or_default() += 1;
    }

    /// An answer that a healthy broker does not give.
    fn surprise(&self, surprise: String) {
        *self
            .surprises
            .lock()
            .expect("no client panics with it")
            .entry(surprise)
            .or_default() += 1;
    }

    fn next_op(&self) -> i64 {
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs `step` until it is told to stop or the connection breaks, which only a kill may do.
    fn drive(&self, addr: std::net::SocketAddr, who: &str, mut step: impl FnMut(&mut RawClient) -> io::Result<()>) {
        let mut client = match RawClient::try_connect(addr) {
            Ok(client) => client,
            Err(e) => return self.broken(who, &e),
        };
        while !self.stopped() {
            if let Err(e) = step(&mut client) {
                return self.broken(who, &e);
            }
        }
    }

    fn broken(&self, who: &str, e: &io::Error) {
        if !self.progress().dying {
            self.surprise(format!(
                "{who}: the connection broke although nobody killed the broker: {e}"
            ));
        }
    }
}

/// The place of a partition (counted over all topics) in a group.
fn place(group: usize, partition: usize) -> usize {
    group * PLACES + partition
}

/// A place's topic, by its index, and its partition there.
fn topic_partition(place: usize) -> (usize, i32) {
    let first = TOPICS[0].1;
    let partition = (place % PLACES) as i32;
    if partition < first {
        (0, partition)
    } else {
        (1, partition - first)
    }
}

/// The place of a topic's partition in a group; `None` for one that the workload does not have.
fn place_of(group: usize, topic: usize, partition: i32) -> Option<usize> {
    let (_, partitions) = TOPICS.get(topic)?;
    let before = if topic == 0 { 0 } else { TOPICS[0].1 };
    (0..*partitions)
        .contains(&partition)
        .then(|| place(group, (before + partition) as usize))
}
