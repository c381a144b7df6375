//! Which leader epoch began at which offset (contract 53, 61). Pure.

use crate::api_types::EpochEnd;
use protocol::types::Offset;

/// Epochs with their start offsets, both growing. An epoch is here once a batch was appended in it.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    entries: Vec<(i32, Offset)>,
    saved: usize,
}

impl Epochs {
    /// From saved rows, ascending.
    pub(super) fn load(entries: Vec<(i32, Offset)>) -> Epochs {
        Epochs {
            saved: entries.len(),
            entries,
        }
    }

    /// Notes that a batch of `epoch` starts at `offset`.
    pub(super) fn assign(&mut self, epoch: i32, offset: Offset) {
        if self.entries.last().is_none_or(|(last, _)| *last < epoch) {
            self.entries.push((epoch, offset));
        }
    }

    /// The newest epoch that has a batch.
    pub(super) fn latest(&self) -> Option<i32> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch of the batch that holds `offset`, or of the last one before it.
    pub(super) fn of(&self, offset: Offset) -> Option<i32> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        self.entries.get(after.checked_sub(1)?).map(|(epoch, _)| *epoch)
    }

    /// Where `epoch` ends. `current` is the epoch that the next batch would get, `log_end` where it would go.
    ///
    /// Worked example: epochs 2 from offset 0 and 5 from offset 100, log end 180, current 7.
    /// 2 and 3 → (2, 100), 5 and 6 → (5, 180), 7 → (7, 180), 8 → (−1, −1), 1 → (1, 0).
    pub(super) fn end_of(&self, epoch: i32, current: i32, log_end: Offset) -> EpochEnd {
        let unknown = EpochEnd {
            leader_epoch: -1,
            end_offset: Offset(-1),
        };
        if epoch == current {
            return EpochEnd {
                leader_epoch: epoch,
                end_offset: log_end,
            };
        }
        if epoch < 0 || epoch > current {
            return unknown;
        }
        let after = self.entries.partition_point(|(e, _)| *e <= epoch);
        let end_offset = self.entries.get(after).map_or(log_end, |(_, start)| *start);
        match after.checked_sub(1).and_then(|i| self.entries.get(i)) {
            Some((found, _)) => EpochEnd {
                leader_epoch: *found,
                end_offset,
            },
            // Below the first: the epoch asked about, and where the first one starts.
            None => EpochEnd {
                leader_epoch: epoch,
                end_offset,
            },
        }
    }

    /// Entries that are not saved yet and start below `end`; they count as saved from now on.
    pub(super) fn take_unsaved(&mut self, end: Offset) -> Vec<(i32, Offset)> {
        let upto = self.entries.partition_point(|(_, start)| *start < end).max(self.saved);
        let unsaved = self.entries[self.saved..upto].to_vec();
        self.saved = upto;
        unsaved
    }

    /// Everything is unsaved again, after a failed save.
    pub(super) fn put_back(&mut self) {
        self.saved = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_follow_the_worked_example() {
        // contract 61
        let mut epochs = Epochs::default();
        epochs.assign(2, Offset(0));
        epochs.assign(2, Offset(50));
        epochs.assign(5, Offset(100));
        let end = |epoch| {
            let found = epochs.end_of(epoch, 7, Offset(180));
            (found.leader_epoch, found.end_offset.0)
        };
        assert_eq!(
            [1, 2, 3, 5, 6, 7, 8, -1].map(end),
            [
                (1, 0),
                (2, 100),
                (2, 100),
                (5, 180),
                (5, 180),
                (7, 180),
                (-1, -1),
                (-1, -1)
            ]
        );
        assert_eq!(
            [0, 99, 100, 500].map(|o| epochs.of(Offset(o))),
            [Some(2), Some(2), Some(5), Some(5)]
        );
        assert_eq!(Epochs::default().of(Offset(5)), None);
    }

    #[test]
    fn only_what_lies_below_the_end_is_saved_and_once() {
        let mut epochs = Epochs::default();
        epochs.assign(0, Offset(0));
        epochs.assign(1, Offset(10));
        assert_eq!(epochs.take_unsaved(Offset(10)), vec![(0, Offset(0))]);
        assert_eq!(epochs.take_unsaved(Offset(20)), vec![(1, Offset(10))]);
        assert!(epochs.take_unsaved(Offset(20)).is_empty());
        epochs.put_back();
        assert_eq!(epochs.take_unsaved(Offset(20)).len(), 2);
    }
}
