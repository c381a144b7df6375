//! The clock: the only file of the broker that asks what time it is. Everybody else is told.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the broker gets the time from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0,
        }
    }

    /// A moment on the monotonic clock, for durations.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}
