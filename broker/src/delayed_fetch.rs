//! Parking: a fetch that found too little waits until its logs have moved enough, or its time is up (contract 45, 46).
//!
//! Each partition of a parked fetch has a watcher of its own, so that a wake-up looks only at the partitions that moved,
//! not at all of them. What never lives here: reading records, deadlines.

use parking_lot::Mutex;
use protocol::types::Offset;
use std::sync::Arc;
use storage::{Log, Watcher};
use tokio::sync::Notify;

/// What parking needs of a log. [`Log`] has it; tests have one without a disk.
pub trait WatchedLog: Send + Sync {
    /// Calls `watcher.wake()` once when the high watermark moves, the log is deleted or cut.
    fn watch(&self, watcher: &Arc<dyn Watcher>);
    /// Takes a watcher back.
    fn unwatch(&self, watcher: &Arc<dyn Watcher>);
    /// End of what can be read, exclusive.
    fn high_watermark(&self) -> Offset;
    /// Bytes between `offset` and the high watermark; stops counting at `limit`.
    fn bytes_available(&self, offset: Offset, limit: usize) -> usize;
    /// If records are written and not yet durable, asks for them to be made so: somebody waits to read them.
    fn hurry(&self);
}

impl WatchedLog for Log {
    fn watch(&self, watcher: &Arc<dyn Watcher>) {
        Log::watch(self, watcher);
    }

    fn unwatch(&self, watcher: &Arc<dyn Watcher>) {
        Log::unwatch(self, watcher);
    }

    fn high_watermark(&self) -> Offset {
        self.offsets().high_watermark
    }

    fn bytes_available(&self, offset: Offset, limit: usize) -> usize {
        Log::bytes_available(self, offset, limit)
    }

    fn hurry(&self) {
        let offsets = self.offsets();
        if offsets.high_watermark < offsets.log_end {
            self.request_flush();
        }
    }
}

/// One partition to wait for.
pub struct Wanted<L> {
    /// Its log.
    pub log: Arc<L>,
    /// First offset wanted.
    pub offset: Offset,
    /// More bytes than these would not be read.
    pub max_bytes: usize,
    /// The high watermark up to which it was read.
    pub read_to: Offset,
}

/// Which partitions moved since the last look.
#[derive(Default)]
struct Moves {
    moved: Mutex<Vec<usize>>,
    wake: Notify,
}

struct PlaceWatcher {
    moves: Arc<Moves>,
    place: usize,
}

impl Watcher for PlaceWatcher {
    fn wake(&self) {
        self.moves.moved.lock().push(self.place);
        self.moves.wake.notify_one();
    }
}

struct Place<L> {
    wanted: Wanted<L>,
    watcher: Arc<dyn Watcher>,
    bytes: usize,
}

/// A parked fetch. Its watchers are taken back when it is dropped.
pub struct Parked<L: WatchedLog = Log> {
    moves: Arc<Moves>,
    places: Vec<Place<L>>,
    bytes: usize,
}

impl<L: WatchedLog> Parked<L> {
    /// Registers with every log. What moved between the reading and now counts as moved.
    pub fn new(wanted: impl IntoIterator<Item = Wanted<L>>) -> Parked<L> {
        let moves = Arc::new(Moves::default());
        let place = |(place, wanted): (usize, Wanted<L>)| {
            let watcher: Arc<dyn Watcher> = Arc::new(PlaceWatcher {
                moves: Arc::clone(&moves),
                place,
            });
            wanted.log.watch(&watcher);
            if wanted.log.high_watermark() != wanted.read_to {
                // It is looked at at once, and watched again then.
                wanted.log.unwatch(&watcher);
                watcher.wake();
            }
            wanted.log.hurry();
            Place {
                wanted,
                watcher,
                bytes: 0,
            }
        };
        let places = wanted.into_iter().enumerate().map(place).collect();
        Parked {
            moves,
            places,
            bytes: 0,
        }
    }

    /// Returns when reading again is worth it: `min_bytes` are there, or a log changed in another way than by growing
    /// (it was deleted or cut). Dropping the future loses nothing.
    pub async fn wait(&mut self, min_bytes: usize) {
        loop {
            // A permit that was left by a wake-up already looked at costs one more round, no more.
            let mut moved = std::mem::take(&mut *self.moves.moved.lock());
            moved.sort_unstable();
            moved.dedup();
            if moved.is_empty() {
                self.moves.wake.notified().await;
                continue;
            }
            let mut otherwise = false;
            for place in moved {
                otherwise |= self.look(place);
            }
            if otherwise || self.bytes >= min_bytes {
                return;
            }
        }
    }

    /// Counts a partition that moved, and watches it again; whether it changed otherwise than by growing.
    fn look(&mut self, place: usize) -> bool {
        let Some(Place { wanted, watcher, bytes }) = self.places.get_mut(place) else {
            return false;
        };
        // Registered before it is looked at: a move after the look wakes again.
        wanted.log.watch(watcher);
        let high_watermark = wanted.log.high_watermark();
        let grew = high_watermark > wanted.read_to;
        wanted.read_to = high_watermark;
        let now = wanted
            .log
            .bytes_available(wanted.offset, wanted.max_bytes)
            .min(wanted.max_bytes);
        self.bytes = self.bytes - *bytes + now;
        *bytes = now;
        wanted.log.hurry();
        !grew
    }
}

impl<L: WatchedLog> Drop for Parked<L> {
    fn drop(&mut self) {
        for place in &self.places {
            place.wanted.log.unwatch(&place.watcher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// A log of records of one byte.
    #[derive(Default)]
    struct FakeLog {
        state: Mutex<FakeState>,
    }

    #[derive(Default)]
    struct FakeState {
        written: i64,
        high_watermark: i64,
        watchers: Vec<Arc<dyn Watcher>>,
        hurried: usize,
    }

    impl FakeLog {
        /// Durable up to `high_watermark`; wakes everybody once.
        fn advance(&self, high_watermark: i64) {
            let mut state = self.state.lock();
            state.written = state.written.max(high_watermark);
            state.high_watermark = high_watermark;
            let watchers = std::mem::take(&mut state.watchers);
            drop(state);
            watchers.iter().for_each(|watcher| watcher.wake());
        }

        fn watchers(&self) -> usize {
            self.state.lock().watchers.len()
        }
    }

    impl WatchedLog for FakeLog {
        fn watch(&self, watcher: &Arc<dyn Watcher>) {
            let mut state = self.state.lock();
            if !state.watchers.iter().any(|have| Arc::ptr_eq(have, watcher)) {
                state.watchers.push(Arc::clone(watcher));
            }
        }
        fn unwatch(&self, watcher: &Arc<dyn Watcher>) {
            self.state.lock().watchers.retain(|have| !Arc::ptr_eq(have, watcher));
        }
        fn high_watermark(&self) -> Offset {
            Offset(self.state.lock().high_watermark)
        }
        fn bytes_available(&self, offset: Offset, limit: usize) -> usize {
            usize::try_from(self.state.lock().high_watermark - offset.0)
                .unwrap_or(0)
                .min(limit)
        }
        fn hurry(&self) {
            let mut state = self.state.lock();
            state.hurried += usize::from(state.written > state.high_watermark);
        }
    }

    fn wanted(log: &Arc<FakeLog>, max_bytes: usize) -> Wanted<FakeLog> {
        Wanted {
            log: Arc::clone(log),
            offset: Offset(0),
            max_bytes,
            read_to: Offset(0),
        }
    }

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        matches!(
            pin!(future).poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(())
        )
    }

    #[test]
    fn waits_until_all_partitions_together_have_enough() {
        // contract 45, 46
        let (a, b) = (Arc::new(FakeLog::default()), Arc::new(FakeLog::default()));
        let mut parked = Parked::new([wanted(&a, 100), wanted(&b, 100)]);
        assert!(!is_ready(parked.wait(10)));
        a.advance(4);
        assert!(!is_ready(parked.wait(10)));
        b.advance(5);
        assert!(!is_ready(parked.wait(10)));
        a.advance(5);
        assert!(is_ready(parked.wait(10)), "5 + 5 bytes");
    }

    #[test]
    fn a_partition_counts_no_more_than_would_be_read() {
        let log = Arc::new(FakeLog::default());
        let mut parked = Parked::new([wanted(&log, 3)]);
        log.advance(50);
        assert!(!is_ready(parked.wait(10)));
    }

    #[test]
    fn what_moved_before_parking_is_not_missed() {
        let log = Arc::new(FakeLog::default());
        log.advance(10);
        let mut parked = Parked::new([wanted(&log, 100)]);
        assert!(is_ready(parked.wait(10)));
    }

    #[test]
    fn a_wake_without_growth_means_reading_again() {
        // contract 46: deletion and truncation answer
        let log = Arc::new(FakeLog::default());
        let mut parked = Parked::new([wanted(&log, 100)]);
        log.advance(0);
        assert!(is_ready(parked.wait(10)));
    }

    #[test]
    fn written_records_are_hurried_to_disk() {
        let log = Arc::new(FakeLog::default());
        log.state.lock().written = 5;
        let _parked = Parked::new([wanted(&log, 100)]);
        assert_eq!(log.state.lock().hurried, 1);
    }

    #[test]
    fn leaving_takes_the_watchers_back() {
        let log = Arc::new(FakeLog::default());
        let mut parked = Parked::new([wanted(&log, 100), wanted(&log, 100)]);
        assert_eq!(log.watchers(), 2);
        log.advance(1);
        assert!(!is_ready(parked.wait(10)));
        assert_eq!(log.watchers(), 2, "watched again after the wake-up");
        drop(parked);
        assert_eq!(log.watchers(), 0);
    }
}
