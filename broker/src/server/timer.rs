//! When a connection must be looked at again: idle, a request that does not arrive, a buffer not worth keeping.
//!
//! Pure: it is told the time. What never lives here: sockets, what happens to the connection.

use crate::dispatch::CloseReason;
use std::time::{Duration, Instant};

/// A connection that was quiet for so long gives its read buffer back.
const KEEP_BUFFER: Duration = Duration::from_secs(5);
/// A request may take a second longer to arrive for each so many bytes of it.
const SLOWEST_BYTES_A_SECOND: u64 = 32 << 10;

/// When a connection must be looked at again: one timer for all its deadlines, moved rarely.
#[derive(Debug)]
pub(super) struct Timer {
    /// When the connection will be looked at. Never later than the first deadline.
    pub(super) next: Instant,
    last_active: Instant,
    frame_begun: Option<Instant>,
    limits: TimeLimits,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimits {
    /// `connections.max.idle.ms`.
    pub(super) idle: Duration,
    /// `request.read.timeout.ms`.
    pub(super) request: Duration,
}

impl Timer {
    pub(super) fn new(now: Instant, limits: TimeLimits) -> Timer {
        Timer {
            next: now + KEEP_BUFFER.min(limits.idle),
            last_active: now,
            frame_begun: None,
            limits,
        }
    }

    /// Looks no later than then.
    pub(super) fn wake_at(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }

    /// Something was asked or answered.
    pub(super) fn active(&mut self, now: Instant) {
        self.last_active = now;
        self.wake_at(now + KEEP_BUFFER.min(self.limits.idle));
    }

    /// A request has begun to arrive.
    pub(super) fn frame_begun(&mut self, now: Instant) {
        self.frame_begun = Some(now);
        self.wake_at(now + self.limits.request);
    }

    /// It is here.
    pub(super) fn frame_complete(&mut self, now: Instant) {
        self.frame_begun = None;
        self.active(now);
    }

    /// A deadline that has passed; else the next look is set. `busy` while a request waits for its reply: then the
    /// connection is not idle (contract 7). `frame_bytes` is the length of the request that is arriving.
    pub(super) fn check(&mut self, now: Instant, busy: bool, frame_bytes: usize) -> Option<CloseReason> {
        if busy {
            self.last_active = now;
        }
        let idle_at = self.last_active + self.limits.idle;
        if now >= idle_at && self.frame_begun.is_none() {
            return Some(CloseReason::Idle);
        }
        self.next = match self.frame_begun {
            Some(begun) => {
                let more = Duration::from_secs(frame_bytes as u64 / SLOWEST_BYTES_A_SECOND);
                let deadline = begun + self.limits.request + more;
                if now >= deadline {
                    return Some(CloseReason::SlowFrame);
                }
                deadline
            }
            None => idle_at,
        };
        None
    }

    /// Whether nothing has happened for so long that buffers are not worth keeping.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.last_active + KEEP_BUFFER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TimeLimits = TimeLimits {
        idle: Duration::from_secs(600),
        request: Duration::from_secs(30),
    };

    #[test]
    fn a_quiet_connection_is_looked_at_early_and_closed_late() {
        // contract 7
        let start = Instant::now();
        let mut timer = Timer::new(start, LIMITS);
        assert_eq!(timer.next, start + KEEP_BUFFER);
        assert!(timer.check(start + KEEP_BUFFER, false, 0).is_none());
        assert!(timer.is_quiet(start + KEEP_BUFFER), "its buffer is given back");
        assert_eq!(timer.next, start + LIMITS.idle);
        assert!(matches!(
            timer.check(start + LIMITS.idle, false, 0),
            Some(CloseReason::Idle)
        ));
    }

    #[test]
    fn a_parked_request_is_not_idle() {
        // contract 7
        let start = Instant::now();
        let mut timer = Timer::new(start, LIMITS);
        assert!(timer.check(start + LIMITS.idle, true, 0).is_none());
        assert!(
            timer
                .check(start + LIMITS.idle * 2 - Duration::from_millis(1), false, 0)
                .is_none()
        );
        assert!(matches!(
            timer.check(start + LIMITS.idle * 2, false, 0),
            Some(CloseReason::Idle)
        ));
    }

    #[test]
    fn a_request_has_time_in_proportion_to_its_size() {
        let start = Instant::now();
        let mut timer = Timer::new(start, LIMITS);
        timer.frame_begun(start);
        let bytes = 10 * SLOWEST_BYTES_A_SECOND as usize;
        assert!(timer.check(start + LIMITS.request, false, bytes).is_none());
        let deadline = start + LIMITS.request + Duration::from_secs(10);
        assert_eq!(timer.next, deadline);
        assert!(matches!(
            timer.check(deadline, false, bytes),
            Some(CloseReason::SlowFrame)
        ));
        timer.frame_complete(deadline);
        assert!(timer.check(deadline, false, 0).is_none());
    }
}
