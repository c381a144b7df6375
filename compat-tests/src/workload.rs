//! The load of the crash test: producers of every kind and consumers, over raw sockets, each recording what it did and saw.
//!
//! A [`Producer`] lives through crashes: what was in flight when the connection broke is sent again under its old sequences
//! (if it is idempotent) before anything new. One thread drives one connection with up to five requests in flight.

mod consumer;
mod producer;
mod value;

use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::checker::{Checker, Event, Fault};
use crate::harness::PATIENCE;

pub use consumer::Consumer;
pub use producer::{KINDS, Producer, ProducerKind};
pub use value::{decode_value, encode_value};

/// A partition of the workload, by its index in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition's number in the topic.
    pub partition: i32,
}

/// What all clients share: the recorder, the numbers of operations, and the count of acknowledgements.
pub struct Shared {
    /// Partitions by index.
    pub places: Vec<Place>,
    checker: Mutex<Checker>,
    next_op: AtomicU64,
    next_writer: AtomicU64,
    progress: Mutex<Progress>,
    progressed: Condvar,
    refusals: Mutex<Vec<(u64, i16)>>,
}

#[derive(Default)]
struct Progress {
    acked: u64,
    stopped: bool,
}

impl Shared {
    /// Before the first request.
    pub fn new(places: Vec<Place>) -> Shared {
        Shared {
            checker: Mutex::new(Checker::new(places.len())),
            places,
            next_op: AtomicU64::new(1),
            next_writer: AtomicU64::new(1),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            refusals: Mutex::default(),
        }
    }

    /// Adds to the history.
    pub fn record(&self, event: &Event) {
        self.checker().apply(event);
    }

    /// The history's checker.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().expect("no client panics while it records")
    }

    /// Faults found so far.
    pub fn faults(&self) -> Vec<Fault> {
        self.checker().faults().to_vec()
    }

    /// Operations that were refused with an error, and its code.
    pub fn refusals(&self) -> Vec<(u64, i16)> {
        self.refusals.lock().expect("no client panics while it records").clone()
    }

    /// Waits until `count` more batches are acknowledged; false if that takes longer than [`PATIENCE`] or all are to stop.
    pub fn wait_for_acks(&self, count: u64) -> bool {
        let progress = self.progress();
        let target = progress.acked + count;
        let goes_on = |progress: &mut Progress| progress.acked < target && !progress.stopped;
        let (progress, waited) = self
            .progressed
            .wait_timeout_while(progress, PATIENCE, goes_on)
            .expect("nobody panics with it");
        !waited.timed_out() && !progress.stopped
    }

    /// Whether those who wait for acknowledgements are to stop, since there will be no more.
    pub fn set_stopped(&self, stopped: bool) {
        self.progress().stopped = stopped;
        self.progressed.notify_all();
    }

    fn count_ack(&self) {
        self.progress().acked += 1;
        self.progressed.notify_all();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics with it")
    }
}
