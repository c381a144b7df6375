//! What a log must be after crashes, checked against a recorded history. Pure: no sockets, no clock, no randomness.
//!
//! Clients record an [`Event`] before they send (invoke) and after an answer came (ok, failed) or will never come (unknown).
//! Events are applied in the order in which they happened, so an answer that is recorded before another request's
//! invoke really came first. Every batch of records is an *operation* with a number of its own, and every record carries
//! that number and its index: wherever a record turns up, it is known who sent it and where it belongs.
//!
//! Found are: an acknowledged record that is gone or elsewhere, a record that is there twice, an offset whose value changed,
//! gaps, records out of the order in which their producer sent them, refused records that are there nevertheless, sequence
//! state that was lost, a high watermark, log start or leader epoch that goes back, producer ids given out twice.

use std::collections::{BTreeMap, HashMap, HashSet};

mod fault;
mod history;

pub use fault::Fault;
pub use history::{Event, Produce, ReadBatch, RecordId};

#[derive(Clone, Debug)]
struct Operation {
    produce: Produce,
    invokes: u32,
    refused: Option<i16>,
    acked: Option<i64>,
    found: Option<i64>,
}

#[derive(Default)]
struct Partition {
    /// The record read at each offset.
    log: Vec<Option<RecordId>>,
    /// Epoch of the batch at each base offset that was read.
    epochs: BTreeMap<i64, i32>,
    /// Acknowledged batches by base offset.
    acked: BTreeMap<i64, u64>,
    /// No later answer may give a high watermark below this.
    high_watermark: i64,
    leader_epoch: i32,
    /// How far [`Checker::walk`] came, and each writer's next sequence there.
    walked: i64,
    sequences: HashMap<u64, u64>,
}

/// Applies events and collects faults.
#[derive(Default)]
pub struct Checker {
    operations: HashMap<u64, Operation>,
    partitions: Vec<Partition>,
    producer_ids: HashSet<i64>,
    /// By reader and partition: the high watermark that the answer must not be below.
    fetches: HashMap<(u64, usize), i64>,
    faults: Vec<Fault>,
}

/// Checks a whole history.
pub fn check(partitions: usize, history: &[Event]) -> Vec<Fault> {
    let mut checker = Checker::new(partitions);
    for event in history {
        checker.apply(event);
    }
    checker.faults
}

impl Checker {
    /// A checker of empty partitions.
    pub fn new(partitions: usize) -> Checker {
        Checker {
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            ..Checker::default()
        }
    }

    /// The faults found so far, in the order in which they came to light.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many operations were acknowledged.
    pub fn acked(&self) -> usize {
        self.partitions.iter().map(|p| p.acked.len()).sum()
    }

    /// How many records were read and known, over all partitions.
    pub fn records(&self) -> usize {
        self.partitions.iter().map(|p| p.log.iter().flatten().count()).sum()
    }

    /// What is known of an operation, for the report of a fault.
    pub fn describe(&self, op: u64) -> String {
        format!("{:?}", self.operations.get(&op))
    }

    /// Takes the next event of the history.
    ///
    /// # Panics
    /// If the history itself makes no sense (an answer without its request): that is a bug of the recorder.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::ProducerId(id) => {
                if !self.producer_ids.insert(*id) {
                    self.faults.push(Fault::ProducerIdReused(*id));
                }
            }
            Event::ProduceInvoke(produce) => self.produce_invoke(produce),
            Event::ProduceOk { op, base_offset } => self.produce_ok(*op, *base_offset),
            Event::ProduceRefused { op, code } => self.produce_refused(*op, *code),
            Event::ProduceUnknown { op } => assert!(self.operations.contains_key(op), "op {op} has no invoke"),
            Event::FetchInvoke { reader, partition } => {
                let floor = self.partitions[*partition].high_watermark;
                self.fetches.insert((*reader, *partition), floor);
            }
            Event::FetchOk {
                reader,
                partition,
                fetch_offset,
                high_watermark,
                log_start_offset,
                batches,
            } => {
                self.high_watermark(*reader, *partition, *high_watermark);
                if *log_start_offset != 0 {
                    let (partition, log_start_offset) = (*partition, *log_start_offset);
                    self.faults.push(Fault::LogStartMoved {
                        partition,
                        log_start_offset,
                    });
                }
                self.read(*partition, *fetch_offset, *high_watermark, batches);
            }
            Event::FetchOutOfRange {
                partition,
                fetch_offset,
                ..
            } => {
                self.faults.push(Fault::Disappeared {
                    partition: *partition,
                    fetch_offset: *fetch_offset,
                });
            }
            Event::LeaderEpoch { partition, epoch } => {
                let known = &mut self.partitions[*partition].leader_epoch;
                if *epoch < *known {
                    self.faults.push(Fault::EpochWentBack {
                        partition: *partition,
                        was: *known,
                        now: *epoch,
                    });
                }
                *known = (*known).max(*epoch);
            }
            Event::Verified { partition, from, end } => self.verified(*partition, *from, *end),
        }
    }

    fn produce_invoke(&mut self, produce: &Produce) {
        assert!(produce.partition < self.partitions.len() && produce.records > 0);
        match self.operations.get_mut(&produce.op) {
            Some(known) => {
                assert!(
                    known.produce == *produce && produce.idempotent,
                    "op {} is no retry",
                    produce.op
                );
                known.invokes += 1;
            }
            None => {
                let operation = Operation {
                    produce: produce.clone(),
                    invokes: 1,
                    refused: None,
                    acked: None,
                    found: None,
                };
                self.operations.insert(produce.op, operation);
            }
        }
    }

    fn produce_ok(&mut self, op: u64, base_offset: i64) {
        let operation = self.operations.get_mut(&op).expect("an answer has its invoke");
        let partition = operation.produce.partition;
        let end = base_offset + i64::from(operation.produce.records);
        for known in [operation.acked, operation.found].into_iter().flatten() {
            if known != base_offset {
                self.faults.push(Fault::Moved {
                    op,
                    partition,
                    acked: base_offset,
                    found: known,
                });
            }
        }
        let first_ack = operation.acked.is_none();
        operation.acked = operation.acked.or(Some(base_offset));
        let acks_all = operation.produce.acks == -1;

        let state = &mut self.partitions[partition];
        if first_ack {
            let overlap = state.acked.range(..end).next_back().filter(|(base, other)| {
                let records = self.operations.get(other).map_or(0, |o| i64::from(o.produce.records));
                *base + records > base_offset
            });
            if let Some((_, other)) = overlap {
                let other = *other;
                self.faults.push(Fault::OffsetGivenTwice {
                    partition,
                    base_offset,
                    op,
                    other,
                });
            }
            state.acked.insert(base_offset, op);
        }
        if let Some(Some(was)) = usize::try_from(base_offset).ok().and_then(|at| state.log.get(at))
            && was.op() != op
        {
            let (was, now) = (*was, RecordId::new(op, 0));
            self.faults.push(Fault::Changed {
                partition,
                offset: base_offset,
                was,
                now,
            });
        }
        // acks=all is answered when the batch is durable, and consumers see what is durable.
        if acks_all {
            state.high_watermark = state.high_watermark.max(end);
        }
    }

    fn produce_refused(&mut self, op: u64, code: i16) {
        let operation = self.operations.get_mut(&op).expect("an answer has its invoke");
        let partition = operation.produce.partition;
        if operation.invokes > 1 {
            // Whether the first try was appended is unknown, so the record itself may be there.
            self.faults.push(Fault::RetryRefused { op, partition, code });
            return;
        }
        operation.refused = Some(code);
        if let Some(offset) = operation.found {
            self.faults.push(Fault::RefusedButThere {
                op,
                partition,
                offset,
                code,
            });
        }
    }

    fn high_watermark(&mut self, reader: u64, partition: usize, now: i64) {
        let was = self
            .fetches
            .remove(&(reader, partition))
            .expect("an answer has its invoke");
        if now < was {
            self.faults.push(Fault::HighWatermarkWentBack { partition, was, now });
        }
        let state = &mut self.partitions[partition];
        state.high_watermark = state.high_watermark.max(now);
    }

    fn read(&mut self, partition: usize, fetch_offset: i64, high_watermark: i64, batches: &[ReadBatch]) {
        let mut expected = None;
        for batch in batches {
            let end = batch.base_offset + batch.records.len() as i64;
            let gap = match expected {
                // The first batch is the one that holds the offset asked for.
                None => batch.base_offset > fetch_offset || end <= fetch_offset,
                Some(expected) => batch.base_offset != expected,
            };
            if gap {
                let expected = expected.unwrap_or(fetch_offset);
                self.faults.push(Fault::Gap {
                    partition,
                    expected,
                    found: batch.base_offset,
                });
            }
            expected = Some(end);
            if end > high_watermark {
                self.faults.push(Fault::AboveHighWatermark {
                    partition,
                    high_watermark,
                    offset: end - 1,
                });
            }
            self.read_epoch(partition, batch);
            self.read_batch(partition, batch);
        }
    }

    fn read_epoch(&mut self, partition: usize, batch: &ReadBatch) {
        let epochs = &mut self.partitions[partition].epochs;
        let (base, now) = (batch.base_offset, batch.leader_epoch);
        let before = epochs.range(..=base).next_back().map(|(_, epoch)| *epoch);
        let after = epochs.range(base..).next().map(|(_, epoch)| *epoch);
        if let Some(was) = before.filter(|was| now < *was).or(after.filter(|after| now > *after)) {
            self.faults.push(Fault::EpochWentBack { partition, was, now });
        }
        // Runs of one epoch are kept by their ends only.
        if before != Some(now) || after != Some(now) {
            epochs.insert(base, now);
        }
    }

    fn read_batch(&mut self, partition: usize, batch: &ReadBatch) {
        let first = batch.records.iter().flatten().next().copied();
        let whole = first.is_some_and(|first| {
            let records = self.operations.get(&first.op()).map(|o| o.produce.records as usize);
            let expected = (0..batch.records.len() as u32).map(|i| Some(RecordId::new(first.op(), i)));
            records == Some(batch.records.len()) && batch.records.iter().copied().eq(expected)
        });
        for (offset, record) in (batch.base_offset..).zip(&batch.records) {
            match record {
                Some(record) => self.read_record(partition, offset, *record),
                None => self.faults.push(Fault::Garbled { partition, offset }),
            }
        }
        if let (Some(first), false) = (first, whole) {
            self.faults.push(Fault::Torn {
                partition,
                base_offset: batch.base_offset,
                op: first.op(),
            });
        }
    }

    fn read_record(&mut self, partition: usize, offset: i64, record: RecordId) {
        let state = &mut self.partitions[partition];
        let Ok(at) = usize::try_from(offset) else {
            self.faults.push(Fault::Foreign {
                partition,
                offset,
                record,
            });
            return;
        };
        if state.log.len() <= at {
            state.log.resize(at + 1, None);
        }
        match state.log[at] {
            Some(was) if was == record => return,
            Some(was) => self.faults.push(Fault::Changed {
                partition,
                offset,
                was,
                now: record,
            }),
            None => state.log[at] = Some(record),
        }
        let Some(operation) = self
            .operations
            .get_mut(&record.op())
            .filter(|o| o.produce.partition == partition)
        else {
            self.faults.push(Fault::Foreign {
                partition,
                offset,
                record,
            });
            return;
        };
        if record.index() >= operation.produce.records {
            self.faults.push(Fault::Foreign {
                partition,
                offset,
                record,
            });
            return;
        }
        let (op, base) = (record.op(), offset - i64::from(record.index()));
        match operation.found {
            None => operation.found = Some(base),
            Some(first) if first == base => return,
            Some(first) => {
                let first = first + i64::from(record.index());
                self.faults.push(Fault::Duplicate {
                    record,
                    partition,
                    first,
                    second: offset,
                });
            }
        }
        if let Some(acked) = operation.acked.filter(|acked| *acked != base) {
            self.faults.push(Fault::Moved {
                op,
                partition,
                acked,
                found: base,
            });
        }
        if let Some(code) = operation.refused {
            self.faults.push(Fault::RefusedButThere {
                op,
                partition,
                offset,
                code,
            });
        }
    }

    fn verified(&mut self, partition: usize, from: i64, end: i64) {
        let state = &mut self.partitions[partition];
        if end < state.high_watermark {
            let was = state.high_watermark;
            self.faults.push(Fault::HighWatermarkWentBack {
                partition,
                was,
                now: end,
            });
        }
        let at = |offset: i64| usize::try_from(offset).ok();
        let read = |offset: i64| at(offset).and_then(|at| state.log.get(at)).copied().flatten();
        if let Some(hole) = (from..end).find(|offset| read(*offset).is_none()) {
            let found = (hole..end).find(|offset| read(*offset).is_some()).unwrap_or(end);
            self.faults.push(Fault::Gap {
                partition,
                expected: hole,
                found,
            });
        }
        for (base_offset, op) in state.acked.range(from..) {
            let Some(operation) = self.operations.get(op) else {
                continue;
            };
            let records = (0..operation.produce.records).map(|i| RecordId::new(*op, i));
            let there = (*base_offset..)
                .zip(records)
                .all(|(offset, record)| read(offset) == Some(record));
            if !there || base_offset + i64::from(operation.produce.records) > end {
                let (op, base_offset, acks) = (*op, *base_offset, operation.produce.acks);
                self.faults.push(Fault::Lost {
                    op,
                    partition,
                    base_offset,
                    acks,
                    end,
                });
            }
        }
        if from < state.walked {
            state.walked = 0;
            state.sequences.clear();
        }
        if from <= state.walked {
            self.walk(partition, end);
        }
    }

    /// Goes through the log in offset order and compares every writer's order with that of its sequences.
    fn walk(&mut self, partition: usize, end: i64) {
        let state = &mut self.partitions[partition];
        while state.walked < end {
            let offset = state.walked;
            state.walked += 1;
            let record = usize::try_from(offset)
                .ok()
                .and_then(|at| state.log.get(at))
                .copied()
                .flatten();
            let Some(record) = record else { continue };
            let Some(operation) = self.operations.get(&record.op()) else {
                continue;
            };
            let Produce {
                writer,
                idempotent,
                sequence,
                ..
            } = operation.produce;
            let sequence = sequence + u64::from(record.index());
            let expected = state.sequences.insert(writer, sequence + 1);
            match expected {
                Some(expected) if sequence < expected => {
                    let after = expected - 1;
                    self.faults.push(Fault::Reordered {
                        partition,
                        writer,
                        offset,
                        sequence,
                        after,
                    });
                }
                // An idempotent writer starts at 0 and never leaves anything out.
                expected if idempotent && sequence != expected.unwrap_or(0) => {
                    let expected = expected.unwrap_or(0);
                    self.faults.push(Fault::SequenceHole {
                        partition,
                        writer,
                        offset,
                        expected,
                        sequence,
                    });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
