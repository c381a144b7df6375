//! What readers keep of the segments that they went through lately: a bounded map, the least recently used given up first.

use crate::index::LogId;
use parking_lot::Mutex;
use protocol::types::Offset;
use std::collections::HashMap;

/// A value for each of at most `max` segments.
pub(crate) struct BySegment<V> {
    max: usize,
    entries: Mutex<Entries<V>>,
}

struct Entries<V> {
    /// By log and base offset: the value, and when it was last used.
    map: HashMap<(LogId, Offset), (V, u64)>,
    /// Counts uses.
    clock: u64,
}

impl<V: Clone> BySegment<V> {
    pub(crate) fn new(max: usize) -> BySegment<V> {
        let entries = Entries {
            map: HashMap::new(),
            clock: 0,
        };
        BySegment {
            max,
            entries: Mutex::new(entries),
        }
    }

    pub(crate) fn get(&self, log: LogId, base: Offset) -> Option<V> {
        let mut entries = self.entries.lock();
        entries.clock += 1;
        let now = entries.clock;
        let (value, used) = entries.map.get_mut(&(log, base))?;
        *used = now;
        Some(value.clone())
    }

    pub(crate) fn put(&self, log: LogId, base: Offset, value: V) {
        let mut entries = self.entries.lock();
        entries.clock += 1;
        let now = entries.clock;
        entries.map.insert((log, base), (value, now));
        if entries.map.len() > self.max {
            let oldest = entries
                .map
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                entries.map.remove(&oldest);
            }
        }
    }

    /// Drops what there is of a log's segments that start below `below`.
    pub(crate) fn forget(&self, log: LogId, below: Offset) {
        self.entries
            .lock()
            .map
            .retain(|(id, base), _| *id != log || *base >= below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::types::TopicId;

    #[test]
    fn the_least_recently_used_goes_first_and_a_log_forgets_its_own_alone() {
        let log = |n| LogId {
            topic_id: TopicId([n; 16]),
            partition: 0,
        };
        let cache = BySegment::new(2);
        cache.put(log(1), Offset(0), 'a');
        cache.put(log(1), Offset(10), 'b');
        assert_eq!(cache.get(log(1), Offset(0)), Some('a'));
        cache.put(log(2), Offset(0), 'c');
        assert_eq!(cache.get(log(1), Offset(10)), None, "not used for longest");
        cache.forget(log(1), Offset(1));
        assert_eq!(cache.get(log(1), Offset(0)), None);
        assert_eq!(cache.get(log(2), Offset(0)), Some('c'));
    }
}
