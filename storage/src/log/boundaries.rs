//! Where batches of a segment begin, as far as the index knows: windows of offset rows in memory, for readers that go through a segment.
//!
//! A read that ends at a known boundary lets the next one start there without looking at the file, so that a consumer who
//! catches up is served without waiting for a disk.

use protocol::types::Offset;

/// Rows in a window at most: 64 MiB of small batches.
pub(crate) const WINDOW_ROWS: usize = 4096;
/// Windows kept at most, over all logs.
pub(crate) const WINDOWS_MAX: usize = 64;

/// Known boundaries of a part of one segment, ascending.
#[derive(Debug)]
pub(crate) struct Window {
    /// Base offset of a batch and its first byte, from the start of the segment.
    pub(super) rows: Vec<(Offset, u64)>,
}

impl Window {
    /// The last known boundary at or below `offset`.
    pub(super) fn floor(&self, offset: Offset) -> Option<(Offset, u64)> {
        let after = self.rows.partition_point(|(at, _)| *at <= offset);
        self.rows.get(after.checked_sub(1)?).copied()
    }

    /// Whether `offset` lies between two known boundaries.
    pub(super) fn spans(&self, offset: Offset) -> bool {
        let ends = self.rows.first().zip(self.rows.last());
        ends.is_some_and(|(first, last)| first.0 <= offset && offset < last.0)
    }

    /// The first byte of the batch at `offset`, when that is a known boundary.
    pub(super) fn position_of(&self, offset: Offset) -> Option<u64> {
        let found = self.rows.binary_search_by_key(&offset, |(at, _)| *at).ok()?;
        self.rows.get(found).map(|(_, position)| *position)
    }

    /// The first known boundary above `from`.
    pub(super) fn next_boundary(&self, from: u64) -> Option<u64> {
        let after = self.rows.partition_point(|(_, position)| *position <= from);
        self.rows.get(after).map(|(_, position)| *position)
    }

    /// The last known boundary above `from` and at or below `limit`.
    pub(super) fn last_boundary(&self, from: u64, limit: u64) -> Option<u64> {
        let after = self.rows.partition_point(|(_, position)| *position <= limit);
        let (_, position) = self.rows.get(after.checked_sub(1)?)?;
        (*position > from).then_some(*position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_answers_within_its_ends_alone() {
        let window = Window {
            rows: vec![(Offset(10), 0), (Offset(20), 5000), (Offset(35), 9000)],
        };
        assert_eq!(window.floor(Offset(9)), None);
        assert_eq!(window.floor(Offset(34)), Some((Offset(20), 5000)));
        assert!(window.spans(Offset(10)) && window.spans(Offset(34)));
        assert!(!window.spans(Offset(9)) && !window.spans(Offset(35)));
        assert_eq!(window.position_of(Offset(20)), Some(5000));
        assert_eq!(window.position_of(Offset(21)), None);
        assert_eq!(window.last_boundary(0, 8999), Some(5000));
        assert_eq!(window.last_boundary(5000, 8999), None);
        assert_eq!(
            [0, 4999, 5000, 9000].map(|at| window.next_boundary(at)),
            [Some(5000), Some(5000), Some(9000), None]
        );
    }
}
