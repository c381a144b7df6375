//! How many connections may be open, in all and from one address (contract 8); and how often a warning is worth its line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counts open connections.
#[derive(Debug, Default)]
pub struct ConnectionLimits {
    open: parking_lot::Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// Which limit a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `max.connections`.
    Total,
    /// `max.connections.per.ip`.
    PerIp,
}

impl Refused {
    /// The key of the limit.
    pub fn key(self) -> &'static str {
        match self {
            Refused::Total => "max.connections",
            Refused::PerIp => "max.connections.per.ip",
        }
    }
}

/// One open connection; counted until dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    ip: IpAddr,
}

impl ConnectionLimits {
    /// Counts a connection from `ip`, unless there are `max` already, or `max_per_ip` from there.
    pub fn admit(self: &Arc<Self>, ip: IpAddr, max: usize, max_per_ip: usize) -> Result<ConnectionPermit, Refused> {
        let ip = ip.to_canonical();
        let mut open = self.open.lock();
        if open.total >= max {
            return Err(Refused::Total);
        }
        let from_ip = open.by_ip.entry(ip).or_insert(0);
        if *from_ip >= max_per_ip {
            return Err(Refused::PerIp);
        }
        *from_ip += 1;
        open.total += 1;
        Ok(ConnectionPermit {
            limits: self.clone(),
            ip,
        })
    }

    /// Open connections.
    pub fn open(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock();
        open.total -= 1;
        if let Some(from_ip) = open.by_ip.get_mut(&self.ip) {
            *from_ip -= 1;
            if *from_ip == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
    }
}

/// Lets a few lines a period through, and says how many were held back.
#[derive(Debug)]
pub struct LogRate {
    lines: u32,
    period: Duration,
    state: parking_lot::Mutex<(Option<Instant>, u32, u64)>,
}

impl LogRate {
    /// At most `lines` in each `period`.
    pub const fn new(lines: u32, period: Duration) -> LogRate {
        LogRate {
            lines,
            period,
            state: parking_lot::Mutex::new((None, 0, 0)),
        }
    }

    /// Whether a line may be written now.
    pub fn allow(&self, now: Instant) -> bool {
        self.pass(now).is_some()
    }

    /// Whether a line may be written now: then the number of lines held back since the last one.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let (start, passed, held) = &mut *state;
        if start.is_none_or(|start| now.duration_since(start) >= self.period) {
            *start = Some(now);
            *passed = 0;
        }
        if *passed < self.lines {
            *passed += 1;
            Some(std::mem::take(held))
        } else {
            *held += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        // contract 8
        let limits = Arc::new(ConnectionLimits::default());
        let a: IpAddr = "10.0.0.1".parse().expect("an address");
        let a_mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
        let b: IpAddr = "10.0.0.2".parse().expect("an address");
        let first = limits.admit(a, 3, 2).expect("free");
        let _second = limits.admit(a_mapped, 3, 2).expect("free");
        assert_eq!(limits.admit(a, 3, 2).err(), Some(Refused::PerIp));
        let _third = limits.admit(b, 3, 2).expect("free");
        assert_eq!(limits.admit(b, 3, 2).err(), Some(Refused::Total));
        assert_eq!(limits.open(), 3);
        drop(first);
        let _again = limits.admit(a, 3, 2).expect("free again");
        assert_eq!(limits.open(), 3);
    }

    #[test]
    fn a_refused_address_leaves_nothing_behind() {
        let limits = Arc::new(ConnectionLimits::default());
        let a: IpAddr = "10.0.0.1".parse().expect("an address");
        drop(limits.admit(a, 1, 1));
        assert!(limits.open.lock().by_ip.is_empty());
    }

    #[test]
    fn lines_are_held_back_and_counted() {
        let rate = LogRate::new(2, Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!((rate.pass(start), rate.pass(start)), (Some(0), Some(0)));
        for _ in 0..5 {
            assert_eq!(rate.pass(start + Duration::from_secs(9)), None);
        }
        assert_eq!(rate.pass(start + Duration::from_secs(10)), Some(5));
        assert_eq!(rate.pass(start + Duration::from_secs(10)), Some(0));
    }
}
