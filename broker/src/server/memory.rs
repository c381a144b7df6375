//! One memory budget for the requests of all connections while they are read (`queued.max.request.bytes`).
//!
//! Who finds the budget used up waits. Because connections take memory piece by piece, all of them could wait for each other
//! in the middle of their requests; so one at a time may go beyond the budget, finishes its request and gives way.
//! The bound is therefore the budget plus one largest request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The budget. Shared by all connections.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    released: Notify,
    overdraft: Arc<Semaphore>,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    pub fn new(limit_bytes: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            released: Notify::new(),
            overdraft: Arc::new(Semaphore::new(1)),
        })
    }

    /// Bytes taken.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Whether more than half is taken: then nobody keeps memory for later.
    pub fn is_tight(&self) -> bool {
        self.used_bytes() > self.limit_bytes / 2
    }

    /// A reservation of nothing.
    pub fn reserve_nothing(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: self.clone(),
            bytes: 0,
            overdraft: None,
        }
    }

    fn try_take(&self, bytes: usize) -> bool {
        self.used_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes)
            })
            .is_ok()
    }
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waits until it holds at least `bytes`. Dropping the future changes nothing.
    pub async fn grow_to(&mut self, bytes: usize) {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return;
        };
        if !self.budget.try_take(more) {
            self.wait_for(more).await;
        }
        self.bytes = bytes;
    }

    /// Waits until `more` bytes were taken, or the right to overdraw is held and they were taken regardless.
    async fn wait_for(&mut self, more: usize) {
        loop {
            // Listening begins before the attempt, so that a release in between is not missed.
            let mut released = std::pin::pin!(self.budget.released.notified());
            released.as_mut().enable();
            if self.budget.try_take(more) {
                return;
            }
            if self.overdraft.is_some() {
                self.budget.used_bytes.fetch_add(more, Ordering::AcqRel);
                return;
            }
            tokio::select! {
                () = released => {}
                permit = self.budget.overdraft.clone().acquire_owned() => self.overdraft = permit.ok(),
            }
        }
    }

    /// Whether it went beyond the budget: what it is for should end soon.
    pub fn is_overdrawn(&self) -> bool {
        self.overdraft.is_some()
    }

    /// Takes `bytes` regardless of the budget, for one who lets go of more than that at once.
    pub fn take_in_exchange(&mut self, bytes: usize) {
        self.budget.used_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
    }

    /// Keeps at most `bytes`. The right to overdraw is given back: a request has ended.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.overdraft = None;
        if let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) {
            self.bytes = bytes;
            self.budget.used_bytes.fetch_sub(less, Ordering::AcqRel);
            self.budget.released.notify_waiters();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_is_dropped_is_given_back() {
        let budget = MemoryBudget::new(100);
        let mut a = budget.reserve_nothing();
        a.grow_to(60).await;
        a.grow_to(40).await;
        assert_eq!(budget.used_bytes(), 60);
        assert!(budget.is_tight());
        a.shrink_to(10);
        assert_eq!((a.bytes(), budget.used_bytes()), (10, 10));
        drop(a);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn one_at_a_time_goes_beyond_the_budget() {
        let budget = MemoryBudget::new(100);
        let (mut a, mut b, mut c) = (
            budget.reserve_nothing(),
            budget.reserve_nothing(),
            budget.reserve_nothing(),
        );
        a.grow_to(50).await;
        b.grow_to(50).await;
        // Both need more in the middle of their requests. The first may overdraw, the second waits for it.
        a.grow_to(80).now_or_never().expect("the right to overdraw is free");
        assert_eq!(budget.used_bytes(), 130);
        a.grow_to(90).now_or_never().expect("its owner overdraws again");
        assert!(b.grow_to(60).now_or_never().is_none());
        assert!(c.grow_to(1).now_or_never().is_none());
        assert_eq!(budget.used_bytes(), 140, "waiting takes nothing");
        // The first request ends: the second goes on.
        drop(a);
        b.grow_to(60).now_or_never().expect("there is room again");
        c.grow_to(40).now_or_never().expect("there is room again");
        assert_eq!(budget.used_bytes(), 100);
    }

    #[tokio::test]
    async fn a_release_wakes_all_who_wait() {
        let budget = MemoryBudget::new(10);
        let mut a = budget.reserve_nothing();
        a.grow_to(10).await;
        let mut overdrawn = budget.reserve_nothing();
        overdrawn.grow_to(5).await;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let mut reservation = budget.reserve_nothing();
                tokio::spawn(async move {
                    reservation.grow_to(3).await;
                    reservation
                })
            })
            .collect();
        drop(a);
        drop(overdrawn);
        let mut held = Vec::new();
        for task in waiting {
            held.push(task.await.expect("no panic"));
        }
        assert_eq!(budget.used_bytes(), 9);
    }
}
