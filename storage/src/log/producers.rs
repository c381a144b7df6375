//! What a partition remembers of idempotent producers (contract 38–44). Pure: checked and updated under the log's lock.

use crate::api_types::ProducerState;
use crate::index::{ProducerBatch, ProducerRow};
use protocol::batch::BatchHeader;
use protocol::types::Offset;
use std::collections::{HashMap, HashSet};

/// Batches of which a retry is recognised.
const BATCHES_MAX: usize = 5;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Appended {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Appended {
    fn records(&self) -> i64 {
        sequence_distance(self.first_sequence, self.last_sequence) + 1
    }
}

/// One producer on one partition.
#[derive(Clone, Copy, Debug)]
struct Producer {
    epoch: i16,
    len: u8,
    /// Changed since the last snapshot.
    dirty: bool,
    last_timestamp_ms: i64,
    /// Oldest first.
    batches: [Appended; BATCHES_MAX],
}

impl Producer {
    fn last(&self) -> Option<&Appended> {
        self.batches[..usize::from(self.len)].last()
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Append it.
    Append,
    /// It was appended before, at this place (end exclusive).
    Duplicate { base_offset: Offset, end_offset: Offset },
    /// Its sequence does not follow (contract 40); the one that would.
    OutOfOrder { expected: i32 },
    /// Its epoch is below the current one (contract 41).
    Fenced { current: i16 },
}

/// The producers of one partition.
#[derive(Default)]
pub(super) struct Producers {
    by_id: HashMap<i64, Producer>,
    removed: HashSet<i64>,
}

fn sequence_distance(from: i32, to: i32) -> i64 {
    (i64::from(to) - i64::from(from)).rem_euclid(i64::from(i32::MAX) + 1)
}

fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

impl Producers {
    /// Checks a batch of an idempotent producer; changes nothing.
    pub(super) fn check(&self, header: &BatchHeader) -> Check {
        // A producer that is not known here may start anywhere: its state expired, or the topic is new to it (contract 42).
        let Some(producer) = self.by_id.get(&header.producer_id) else {
            return Check::Append;
        };
        if header.producer_epoch < producer.epoch {
            return Check::Fenced {
                current: producer.epoch,
            };
        }
        if header.producer_epoch > producer.epoch {
            return if header.base_sequence == 0 {
                Check::Append
            } else {
                Check::OutOfOrder { expected: 0 }
            };
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        let known = &producer.batches[..usize::from(producer.len)];
        if let Some(batch) = known
            .iter()
            .rev()
            .find(|b| b.first_sequence == first && b.last_sequence == last)
        {
            let base_offset = Offset(batch.base_offset);
            return Check::Duplicate {
                base_offset,
                end_offset: base_offset + batch.records(),
            };
        }
        match producer.last() {
            Some(batch) if next_sequence(batch.last_sequence) != first => Check::OutOfOrder {
                expected: next_sequence(batch.last_sequence),
            },
            _ => Check::Append,
        }
    }

    /// Takes note of a batch that was appended at `base_offset`. Idempotent: a batch that is not newer than what is known (replay
    /// over a snapshot) changes nothing.
    pub(super) fn update(&mut self, header: &BatchHeader, base_offset: Offset, now_ms: i64) {
        let fresh = Producer {
            epoch: header.producer_epoch,
            len: 0,
            dirty: true,
            last_timestamp_ms: now_ms,
            batches: Default::default(),
        };
        let producer = self.by_id.entry(header.producer_id).or_insert(fresh);
        if producer.last().is_some_and(|last| base_offset.0 <= last.base_offset) {
            return;
        }
        if header.producer_epoch != producer.epoch {
            *producer = fresh;
        }
        if usize::from(producer.len) == BATCHES_MAX {
            producer.batches.rotate_left(1);
            producer.len -= 1;
        }
        producer.batches[usize::from(producer.len)] = Appended {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: base_offset.0,
        };
        producer.len += 1;
        producer.dirty = true;
        producer.last_timestamp_ms = now_ms;
        self.removed.remove(&header.producer_id);
    }

    /// Forgets producers of which nothing was heard since `before_ms`.
    pub(super) fn expire(&mut self, before_ms: i64) {
        let removed = &mut self.removed;
        self.by_id.retain(|id, producer| {
            let keep = producer.last_timestamp_ms >= before_ms;
            if !keep {
                removed.insert(*id);
            }
            keep
        });
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// What is known of each, in no particular order.
    pub(super) fn states(&self) -> Vec<ProducerState> {
        let state = |(id, producer): (&i64, &Producer)| ProducerState {
            producer_id: *id,
            producer_epoch: producer.epoch,
            last_sequence: producer.last().map_or(-1, |batch| batch.last_sequence),
            last_timestamp_ms: producer.last_timestamp_ms,
            coordinator_epoch: -1,
            current_txn_start_offset: None,
        };
        self.by_id.iter().map(state).collect()
    }

    /// Takes what changed since the last call: rows to write, `None` to delete.
    pub(super) fn take_changes(&mut self) -> Vec<(i64, Option<ProducerRow>)> {
        let mut changes: Vec<_> = self.removed.drain().map(|id| (id, None)).collect();
        for (id, producer) in self.by_id.iter_mut().filter(|(_, p)| p.dirty) {
            producer.dirty = false;
            let batches = producer.batches[..usize::from(producer.len)].iter();
            let row = ProducerRow {
                epoch: producer.epoch,
                last_timestamp_ms: producer.last_timestamp_ms,
                batches: batches
                    .map(|b| ProducerBatch {
                        first_sequence: b.first_sequence,
                        last_sequence: b.last_sequence,
                        base_offset: Offset(b.base_offset),
                        last_offset_delta: (b.records() - 1) as i32,
                        timestamp: producer.last_timestamp_ms,
                    })
                    .collect(),
                current_txn_first_offset: None,
            };
            changes.push((*id, Some(row)));
        }
        changes
    }

    /// Makes a failed snapshot's changes due again.
    pub(super) fn put_back(&mut self, changes: &[(i64, Option<ProducerRow>)]) {
        for (id, row) in changes {
            match (row, self.by_id.get_mut(id)) {
                (_, Some(producer)) => producer.dirty = true,
                (None, None) => {
                    self.removed.insert(*id);
                }
                (Some(_), None) => {}
            }
        }
    }

    /// Puts a row of the last snapshot back in memory.
    pub(super) fn load(&mut self, id: i64, row: &ProducerRow) {
        let mut producer = Producer {
            epoch: row.epoch,
            len: 0,
            dirty: false,
            last_timestamp_ms: row.last_timestamp_ms,
            batches: Default::default(),
        };
        for (slot, batch) in producer.batches.iter_mut().zip(&row.batches) {
            *slot = Appended {
                first_sequence: batch.first_sequence,
                last_sequence: batch.last_sequence,
                base_offset: batch.base_offset.0,
            };
            producer.len += 1;
        }
        self.by_id.insert(id, producer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(epoch: i16, base_sequence: i32, records: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(0),
            batch_length: 100,
            partition_leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: records - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            record_count: records,
        }
    }

    fn append(producers: &mut Producers, header: &BatchHeader, at: i64) {
        assert_eq!(producers.check(header), Check::Append);
        producers.update(header, Offset(at), 1);
    }

    #[test]
    fn the_last_five_batches_are_recognised_and_the_sixth_is_not() {
        // contract 38
        let mut producers = Producers::default();
        for i in 0..6 {
            append(&mut producers, &header(0, i * 2, 2), i64::from(i) * 2);
        }
        for i in 1..6 {
            let at = Offset(i64::from(i) * 2);
            let duplicate = Check::Duplicate {
                base_offset: at,
                end_offset: at + 2,
            };
            assert_eq!(producers.check(&header(0, i * 2, 2)), duplicate);
        }
        assert_eq!(producers.check(&header(0, 0, 2)), Check::OutOfOrder { expected: 12 });
        assert_eq!(
            producers.check(&header(0, 10, 1)),
            Check::OutOfOrder { expected: 12 },
            "same first, other last"
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        // contract 40
        let mut producers = Producers::default();
        append(&mut producers, &header(0, i32::MAX - 1, 2), 0);
        assert_eq!(
            producers.check(&header(0, i32::MAX, 1)),
            Check::OutOfOrder { expected: 0 }
        );
        append(&mut producers, &header(0, 0, 1), 2);
        let mut across = Producers::default();
        append(&mut across, &header(0, i32::MAX, 3), 0);
        assert_eq!(header(0, i32::MAX, 3).last_sequence(), 1);
        append(&mut across, &header(0, 2, 1), 3);
        let duplicate = Check::Duplicate {
            base_offset: Offset(0),
            end_offset: Offset(3),
        };
        assert_eq!(across.check(&header(0, i32::MAX, 3)), duplicate);
    }

    #[test]
    fn epochs_fence_and_start_at_zero() {
        // contract 41
        let mut producers = Producers::default();
        append(&mut producers, &header(3, 0, 1), 0);
        assert_eq!(producers.check(&header(2, 1, 1)), Check::Fenced { current: 3 });
        assert_eq!(producers.check(&header(4, 1, 1)), Check::OutOfOrder { expected: 0 });
        append(&mut producers, &header(4, 0, 1), 1);
        assert_eq!(producers.check(&header(3, 1, 1)), Check::Fenced { current: 4 });
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        // contract 42
        let mut producers = Producers::default();
        append(&mut producers, &header(0, 500, 1), 0);
        producers.expire(2);
        append(&mut producers, &header(0, 900, 1), 1);
    }

    #[test]
    fn a_snapshot_and_a_replay_over_it_restore_the_state() {
        // contract 43
        let mut producers = Producers::default();
        for i in 0..7 {
            append(&mut producers, &header(0, i, 1), i64::from(i));
        }
        let rows = producers.take_changes();
        assert!(producers.take_changes().is_empty());
        append(&mut producers, &header(0, 7, 1), 7);
        let mut restored = Producers::default();
        for (id, row) in &rows {
            restored.load(*id, row.as_ref().expect("a row"));
        }
        for i in 4..8 {
            restored.update(&header(0, i, 1), Offset(i64::from(i)), 1);
        }
        for i in 0..9 {
            assert_eq!(
                restored.check(&header(0, i, 1)),
                producers.check(&header(0, i, 1)),
                "sequence {i}"
            );
        }
        restored.expire(100);
        assert_eq!(restored.take_changes(), vec![(7, None)]);
    }
}
