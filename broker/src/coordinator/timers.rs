//! The timers of all groups: one queue, one task, one sleep. A member that does nothing costs nothing here.
//!
//! What never lives here: what a timer is for.

use crate::clock::Clock;
use crate::groups::{Timer, TimerKey};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Timers handed out at once, so that the lock is short.
const DUE_MAX: usize = 256;

/// The time as groups see it: that of the start plus what has passed since. A step of the machine's clock neither ends
/// sessions nor stretches them.
#[derive(Clone, Copy, Debug)]
pub struct GroupClock {
    clock: Clock,
    started: Instant,
    started_ms: i64,
}

impl GroupClock {
    /// A clock that starts now.
    pub fn start(clock: Clock) -> GroupClock {
        GroupClock {
            clock,
            started: clock.instant(),
            started_ms: clock.now_ms(),
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let passed = self.clock.instant().saturating_duration_since(self.started);
        self.started_ms
            .saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }

    /// The monotonic moment, for durations.
    pub fn instant(&self) -> Instant {
        self.clock.instant()
    }
}

/// Timers that were set and have not fired.
#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<Queue>,
    /// The earliest timer became an earlier one.
    earlier: Notify,
}

/// A timer's place: when, then the order of setting.
type At = (i64, u64);

#[derive(Default)]
struct Queue {
    by_time: BTreeMap<At, (usize, TimerKey)>,
    by_key: HashMap<(usize, TimerKey), At>,
    sequence: u64,
}

impl Timers {
    /// Sets a timer of a partition; one of the same key that is set already gets the new time.
    pub(super) fn set(&self, partition: usize, timer: Timer) {
        let mut queue = self.queue.lock();
        let first = queue.by_time.first_key_value().map(|(at, _)| at.0);
        queue.sequence += 1;
        let at = (timer.at_ms, queue.sequence);
        if let Some(before) = queue.by_key.insert((partition, timer.key.clone()), at) {
            queue.by_time.remove(&before);
        }
        queue.by_time.insert(at, (partition, timer.key));
        drop(queue);
        if first.is_none_or(|first| timer.at_ms < first) {
            self.earlier.notify_one();
        }
    }

    /// Takes out timers whose time has come, the earliest first, a bounded number.
    pub(super) fn take_due(&self, now_ms: i64) -> Vec<(usize, TimerKey)> {
        let mut queue = self.queue.lock();
        let mut due = Vec::new();
        while due.len() < DUE_MAX {
            match queue.by_time.first_entry() {
                Some(first) if first.key().0 <= now_ms => {
                    let timer = first.remove();
                    queue.by_key.remove(&timer);
                    due.push(timer);
                }
                _ => break,
            }
        }
        due
    }

    /// Forgets all timers.
    pub(super) fn clear(&self) {
        *self.queue.lock() = Queue::default();
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.queue.lock().by_time.len()
    }

    /// Waits until a timer may be due. Returns early when there is any doubt.
    pub(super) async fn wait(&self, clock: GroupClock) {
        let earlier = self.earlier.notified();
        let next = self.queue.lock().by_time.first_key_value().map(|(at, _)| at.0);
        match next {
            None => earlier.await,
            Some(at_ms) => {
                let left = u64::try_from(at_ms.saturating_sub(clock.now_ms())).unwrap_or(0);
                tokio::select! {
                    () = earlier => {}
                    () = tokio::time::sleep(Duration::from_millis(left)) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::TimerKind;
    use std::sync::Arc;

    fn timer(group: &str, kind: TimerKind, at_ms: i64) -> Timer {
        Timer {
            key: TimerKey {
                group_id: Arc::from(group),
                kind,
            },
            at_ms,
        }
    }

    fn due(timers: &Timers, now_ms: i64) -> Vec<String> {
        let due = timers.take_due(now_ms);
        due.iter()
            .map(|(partition, key)| format!("{partition} {} {:?}", key.group_id, key.kind))
            .collect()
    }

    #[test]
    fn timers_fire_once_in_the_order_of_their_times() {
        let timers = Timers::default();
        timers.set(0, timer("a", TimerKind::Join, 30));
        timers.set(1, timer("b", TimerKind::Sessions, 10));
        timers.set(1, timer("b", TimerKind::Join, 20));
        assert!(due(&timers, 9).is_empty());
        assert_eq!(due(&timers, 20), ["1 b Sessions", "1 b Join"]);
        assert_eq!(due(&timers, 30), ["0 a Join"]);
        assert!(due(&timers, i64::MAX).is_empty());
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn a_timer_that_is_set_again_moves() {
        let timers = Timers::default();
        timers.set(0, timer("a", TimerKind::Join, 10));
        timers.set(0, timer("a", TimerKind::Join, 50));
        timers.set(1, timer("a", TimerKind::Join, 40));
        assert!(due(&timers, 39).is_empty());
        assert_eq!(due(&timers, 100), ["1 a Join", "0 a Join"]);
        timers.set(0, timer("a", TimerKind::Join, 50));
        timers.set(0, timer("a", TimerKind::Join, 10));
        assert_eq!(due(&timers, 10), ["0 a Join"]);
        assert_eq!(timers.len(), 0);
    }

    #[tokio::test]
    async fn an_earlier_timer_ends_the_wait() {
        let timers = Arc::new(Timers::default());
        let clock = GroupClock::start(Clock);
        timers.set(0, timer("late", TimerKind::Join, i64::MAX));
        let waiting = {
            let timers = Arc::clone(&timers);
            // The first wait ends at once: the setting above was news.
            tokio::spawn(async move {
                timers.wait(clock).await;
                timers.wait(clock).await;
            })
        };
        tokio::task::yield_now().await;
        timers.set(0, timer("early", TimerKind::Join, 0));
        waiting.await.expect("the wait ends");
    }
}
