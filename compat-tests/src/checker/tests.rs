//! The checker finds what is planted, and nothing in a history without faults.

use super::*;

/// A history under construction: one partition unless a test says otherwise, one reader.
#[derive(Default)]
struct History {
    events: Vec<Event>,
    sequences: HashMap<(u64, usize), u64>,
}

const READER: u64 = 1;

impl History {
    fn invoke_on(&mut self, op: u64, partition: usize, records: u32, writer: u64, idempotent: bool, acks: i16) {
        let sequence = self.sequences.entry((writer, partition)).or_default();
        let produce = Produce {
            op,
            partition,
            records,
            writer,
            idempotent,
            sequence: *sequence,
            acks,
        };
        *sequence += u64::from(records);
        self.events.push(Event::ProduceInvoke(produce));
    }

    fn invoke(&mut self, op: u64, records: u32) {
        self.invoke_on(op, 0, records, 1, true, 1);
    }

    fn invoke_again(&mut self, op: u64) {
        let again = self
            .events
            .iter()
            .find(|e| matches!(e, Event::ProduceInvoke(p) if p.op == op))
            .cloned();
        self.events.push(again.expect("a retry has an original"));
    }

    fn ok(&mut self, op: u64, base_offset: i64) {
        self.events.push(Event::ProduceOk { op, base_offset });
    }

    fn unknown(&mut self, op: u64) {
        self.events.push(Event::ProduceUnknown { op });
    }

    fn read(&mut self, fetch_offset: i64, high_watermark: i64, batches: Vec<ReadBatch>) {
        self.events.push(Event::FetchInvoke {
            reader: READER,
            partition: 0,
        });
        self.answer(fetch_offset, high_watermark, batches);
    }

    fn answer(&mut self, fetch_offset: i64, high_watermark: i64, batches: Vec<ReadBatch>) {
        let (reader, partition, log_start_offset) = (READER, 0, 0);
        let answer = Event::FetchOk {
            reader,
            partition,
            fetch_offset,
            high_watermark,
            log_start_offset,
            batches,
        };
        self.events.push(answer);
    }

    fn verified(&mut self, from: i64, end: i64) {
        self.events.push(Event::Verified {
            partition: 0,
            from,
            end,
        });
    }

    fn faults(&self) -> Vec<Fault> {
        check(2, &self.events)
    }
}

fn batch(base_offset: i64, op: u64, records: u32) -> ReadBatch {
    let records = (0..records).map(|i| Some(RecordId::new(op, i))).collect();
    ReadBatch {
        base_offset,
        leader_epoch: 3,
        records,
    }
}

/// Ops 1, 2, 3 with 2, 1 and 3 records at offsets 0, 2, 3, all acknowledged by an idempotent writer.
fn three_acked() -> History {
    let mut history = History::default();
    for (op, records, offset) in [(1, 2, 0), (2, 1, 2), (3, 3, 3)] {
        history.invoke(op, records);
        history.ok(op, offset);
    }
    history
}

fn three_batches() -> Vec<ReadBatch> {
    vec![batch(0, 1, 2), batch(2, 2, 1), batch(3, 3, 3)]
}

#[test]
fn a_right_history_has_no_faults() {
    let mut history = three_acked();
    // A crash: op 4 is there although nobody knows, op 5 is not; both come again, and 5 gets its place.
    history.invoke(4, 2);
    history.invoke(5, 1);
    history.unknown(4);
    history.unknown(5);
    let mut batches = three_batches();
    batches.push(ReadBatch {
        leader_epoch: 3,
        ..batch(6, 4, 2)
    });
    history.read(0, 8, batches.clone());
    history.verified(0, 8);
    history.events.push(Event::LeaderEpoch { partition: 0, epoch: 4 });
    history.invoke_again(4);
    history.invoke_again(5);
    history.ok(4, 6);
    history.ok(5, 8);
    // Two writers without idempotence; one record of the first is lost without an answer, which is allowed.
    history.invoke_on(6, 0, 1, 2, false, 1);
    history.invoke_on(7, 0, 1, 2, false, 1);
    history.unknown(6);
    history.ok(7, 9);
    history.invoke_on(8, 0, 1, 3, true, -1);
    history.ok(8, 10);
    batches.extend([(8, 5), (9, 7), (10, 8)].map(|(at, op)| ReadBatch {
        leader_epoch: 4,
        ..batch(at, op, 1)
    }));
    // From the middle of a batch, and twice.
    history.read(4, 11, batches[2..].to_vec());
    history.read(0, 11, batches);
    history.verified(8, 11);
    history.verified(0, 11);
    assert_eq!(history.faults(), []);
}

#[test]
fn a_lost_record_at_the_end() {
    let mut history = three_acked();
    history.read(0, 3, three_batches()[..2].to_vec());
    history.verified(0, 3);
    assert_eq!(
        history.faults(),
        [Fault::Lost {
            op: 3,
            partition: 0,
            base_offset: 3,
            acks: 1,
            end: 3
        }]
    );
}

#[test]
fn a_lost_record_in_the_middle_whose_place_another_took() {
    let mut history = three_acked();
    history.read(0, 5, vec![batch(0, 1, 2), batch(2, 3, 3)]);
    history.verified(0, 5);
    let faults = history.faults();
    assert!(
        faults.contains(&Fault::Moved {
            op: 3,
            partition: 0,
            acked: 3,
            found: 2
        }),
        "{faults:?}"
    );
    assert!(
        faults.contains(&Fault::Lost {
            op: 2,
            partition: 0,
            base_offset: 2,
            acks: 1,
            end: 5
        }),
        "{faults:?}"
    );
    let hole = Fault::SequenceHole {
        partition: 0,
        writer: 1,
        offset: 2,
        expected: 2,
        sequence: 3,
    };
    assert!(faults.contains(&hole), "{faults:?}");
}

#[test]
fn a_lost_record_that_leaves_a_gap() {
    let mut history = three_acked();
    history.read(0, 6, vec![batch(0, 1, 2), batch(3, 3, 3)]);
    history.verified(0, 6);
    let faults = history.faults();
    assert!(
        faults.contains(&Fault::Gap {
            partition: 0,
            expected: 2,
            found: 3
        }),
        "{faults:?}"
    );
    assert!(
        faults.contains(&Fault::Lost {
            op: 2,
            partition: 0,
            base_offset: 2,
            acks: 1,
            end: 6
        }),
        "{faults:?}"
    );
}

#[test]
fn a_duplicate_of_an_idempotent_record() {
    let mut history = three_acked();
    let mut batches = three_batches();
    batches.push(batch(6, 2, 1));
    history.read(0, 7, batches);
    history.verified(0, 7);
    let faults = history.faults();
    let duplicate = Fault::Duplicate {
        record: RecordId::new(2, 0),
        partition: 0,
        first: 2,
        second: 6,
    };
    assert!(faults.contains(&duplicate), "{faults:?}");
    let again = Fault::Reordered {
        partition: 0,
        writer: 1,
        offset: 6,
        sequence: 2,
        after: 5,
    };
    assert!(faults.contains(&again), "{faults:?}");
}

#[test]
fn a_duplicate_of_a_record_that_was_sent_once_without_idempotence() {
    let mut history = History::default();
    history.invoke_on(1, 0, 1, 9, false, 0);
    history.unknown(1);
    history.read(0, 2, vec![batch(0, 1, 1), batch(1, 1, 1)]);
    let expected = Fault::Duplicate {
        record: RecordId::new(1, 0),
        partition: 0,
        first: 0,
        second: 1,
    };
    assert_eq!(history.faults(), [expected]);
}

#[test]
fn a_retry_that_is_appended_again() {
    let mut history = three_acked();
    history.invoke_again(3);
    history.ok(3, 6);
    assert_eq!(
        history.faults(),
        [Fault::Moved {
            op: 3,
            partition: 0,
            acked: 6,
            found: 3
        }]
    );
}

#[test]
fn a_retry_that_is_refused() {
    let mut history = three_acked();
    history.invoke_again(3);
    history.events.push(Event::ProduceRefused { op: 3, code: 45 });
    assert_eq!(
        history.faults(),
        [Fault::RetryRefused {
            op: 3,
            partition: 0,
            code: 45
        }]
    );
}

#[test]
fn a_swap_of_two_acknowledged_batches() {
    let mut history = three_acked();
    history.read(0, 6, vec![batch(0, 1, 2), batch(2, 3, 3), batch(5, 2, 1)]);
    history.verified(0, 6);
    let faults = history.faults();
    assert!(
        faults.contains(&Fault::Moved {
            op: 3,
            partition: 0,
            acked: 3,
            found: 2
        }),
        "{faults:?}"
    );
    assert!(
        faults.contains(&Fault::Moved {
            op: 2,
            partition: 0,
            acked: 2,
            found: 5
        }),
        "{faults:?}"
    );
}

#[test]
fn a_swap_of_two_batches_that_nobody_acknowledged() {
    for idempotent in [true, false] {
        let mut history = History::default();
        for op in [1, 2] {
            history.invoke_on(op, 0, 1, 5, idempotent, 1);
        }
        history.unknown(1);
        history.unknown(2);
        history.read(0, 2, vec![batch(0, 2, 1), batch(1, 1, 1)]);
        history.verified(0, 2);
        let faults = history.faults();
        let reordered = Fault::Reordered {
            partition: 0,
            writer: 5,
            offset: 1,
            sequence: 0,
            after: 1,
        };
        assert!(faults.contains(&reordered), "{faults:?}");
    }
}

#[test]
fn a_swap_of_two_records_in_a_batch() {
    let mut history = three_acked();
    let mut batches = three_batches();
    batches[2].records.swap(0, 1);
    history.read(0, 6, batches);
    let faults = history.faults();
    assert!(
        faults.contains(&Fault::Torn {
            partition: 0,
            base_offset: 3,
            op: 3
        }),
        "{faults:?}"
    );
}

#[test]
fn half_a_batch() {
    let mut history = three_acked();
    let mut batches = three_batches();
    batches[2].records.truncate(2);
    history.read(0, 5, batches);
    history.verified(0, 5);
    let faults = history.faults();
    assert!(
        faults.contains(&Fault::Torn {
            partition: 0,
            base_offset: 3,
            op: 3
        }),
        "{faults:?}"
    );
    assert!(
        faults.contains(&Fault::Lost {
            op: 3,
            partition: 0,
            base_offset: 3,
            acks: 1,
            end: 5
        }),
        "{faults:?}"
    );
}

#[test]
fn a_high_watermark_that_goes_back() {
    let mut history = three_acked();
    history.read(0, 6, three_batches());
    history.read(0, 3, three_batches()[..2].to_vec());
    assert_eq!(
        history.faults(),
        [Fault::HighWatermarkWentBack {
            partition: 0,
            was: 6,
            now: 3
        }]
    );
    let mut history = three_acked();
    history.read(0, 6, three_batches());
    history.verified(0, 3);
    assert!(history.faults().contains(&Fault::HighWatermarkWentBack {
        partition: 0,
        was: 6,
        now: 3
    }));
}

#[test]
fn a_fetch_that_began_before_may_answer_with_less() {
    let mut history = three_acked();
    history.events.push(Event::FetchInvoke {
        reader: 2,
        partition: 0,
    });
    history.read(0, 6, three_batches());
    let (reader, partition, fetch_offset, high_watermark, log_start_offset) = (2, 0, 0, 3, 0);
    let batches = three_batches()[..2].to_vec();
    let late = Event::FetchOk {
        reader,
        partition,
        fetch_offset,
        high_watermark,
        log_start_offset,
        batches,
    };
    history.events.push(late);
    assert_eq!(history.faults(), []);
}

#[test]
fn a_high_watermark_below_an_acks_all_acknowledgement() {
    let mut history = History::default();
    history.invoke_on(1, 0, 2, 1, true, -1);
    history.ok(1, 0);
    history.read(0, 1, vec![]);
    assert_eq!(
        history.faults(),
        [Fault::HighWatermarkWentBack {
            partition: 0,
            was: 2,
            now: 1
        }]
    );
}

#[test]
fn a_value_that_changes_between_reads() {
    let mut history = History::default();
    for op in [1, 2] {
        history.invoke_on(op, 0, 1, op, false, 1);
        history.unknown(op);
    }
    history.read(0, 1, vec![batch(0, 1, 1)]);
    history.read(0, 1, vec![batch(0, 2, 1)]);
    let (was, now) = (RecordId::new(1, 0), RecordId::new(2, 0));
    assert!(history.faults().contains(&Fault::Changed {
        partition: 0,
        offset: 0,
        was,
        now
    }));
}

#[test]
fn an_acknowledgement_of_an_offset_at_which_another_was_read() {
    let mut history = History::default();
    for op in [1, 2] {
        history.invoke_on(op, 0, 1, op, false, 1);
    }
    history.read(0, 1, vec![batch(0, 1, 1)]);
    history.ok(2, 0);
    let (was, now) = (RecordId::new(1, 0), RecordId::new(2, 0));
    assert_eq!(
        history.faults(),
        [Fault::Changed {
            partition: 0,
            offset: 0,
            was,
            now
        }]
    );
}

#[test]
fn one_offset_for_two_batches() {
    let mut history = three_acked();
    history.invoke(4, 4);
    history.ok(4, 1);
    let faults = history.faults();
    assert_eq!(
        faults,
        [Fault::OffsetGivenTwice {
            partition: 0,
            base_offset: 1,
            op: 4,
            other: 3
        }]
    );
}

#[test]
fn garbled_and_foreign_values() {
    let mut history = three_acked();
    let mut batches = three_batches();
    batches[1].records[0] = None;
    history.read(0, 6, batches);
    assert!(history.faults().contains(&Fault::Garbled {
        partition: 0,
        offset: 2
    }));

    let mut history = three_acked();
    history.invoke_on(4, 1, 1, 1, true, 1);
    let mut batches = three_batches();
    batches.push(batch(6, 4, 1));
    batches.push(batch(7, 99, 1));
    history.read(0, 8, batches);
    let faults = history.faults();
    let of_another_partition = Fault::Foreign {
        partition: 0,
        offset: 6,
        record: RecordId::new(4, 0),
    };
    assert!(faults.contains(&of_another_partition), "{faults:?}");
    let never_sent = Fault::Foreign {
        partition: 0,
        offset: 7,
        record: RecordId::new(99, 0),
    };
    assert!(faults.contains(&never_sent), "{faults:?}");
}

#[test]
fn what_was_refused_is_not_there() {
    let mut history = History::default();
    history.invoke(1, 1);
    history.events.push(Event::ProduceRefused { op: 1, code: 56 });
    history.read(0, 1, vec![batch(0, 1, 1)]);
    let expected = Fault::RefusedButThere {
        op: 1,
        partition: 0,
        offset: 0,
        code: 56,
    };
    assert_eq!(history.faults(), [expected]);
}

#[test]
fn epochs_that_go_back() {
    let mut history = three_acked();
    let mut batches = three_batches();
    batches[2].leader_epoch = 2;
    history.read(0, 6, batches);
    assert_eq!(
        history.faults(),
        [Fault::EpochWentBack {
            partition: 0,
            was: 3,
            now: 2
        }]
    );

    let mut history = History::default();
    history.events.push(Event::LeaderEpoch { partition: 0, epoch: 5 });
    history.events.push(Event::LeaderEpoch { partition: 0, epoch: 4 });
    assert_eq!(
        history.faults(),
        [Fault::EpochWentBack {
            partition: 0,
            was: 5,
            now: 4
        }]
    );
}

#[test]
fn visible_things_stay() {
    let mut history = three_acked();
    history.events.push(Event::FetchOutOfRange {
        reader: READER,
        partition: 0,
        fetch_offset: 6,
    });
    assert_eq!(
        history.faults(),
        [Fault::Disappeared {
            partition: 0,
            fetch_offset: 6
        }]
    );

    let mut history = three_acked();
    history.read(0, 5, three_batches());
    assert_eq!(
        history.faults(),
        [Fault::AboveHighWatermark {
            partition: 0,
            high_watermark: 5,
            offset: 5
        }]
    );

    let mut history = three_acked();
    history.read(1, 6, three_batches()[1..].to_vec());
    assert_eq!(
        history.faults(),
        [Fault::Gap {
            partition: 0,
            expected: 1,
            found: 2
        }]
    );
}

#[test]
fn a_log_start_that_moves_and_a_producer_id_given_twice() {
    let mut history = History::default();
    history.events.push(Event::FetchInvoke {
        reader: READER,
        partition: 0,
    });
    let (reader, partition, fetch_offset, high_watermark, log_start_offset) = (READER, 0, 0, 0, 4);
    let batches = vec![];
    let answer = Event::FetchOk {
        reader,
        partition,
        fetch_offset,
        high_watermark,
        log_start_offset,
        batches,
    };
    history.events.push(answer);
    history.events.push(Event::ProducerId(7));
    history.events.push(Event::ProducerId(8));
    history.events.push(Event::ProducerId(7));
    let expected = [
        Fault::LogStartMoved {
            partition: 0,
            log_start_offset: 4,
        },
        Fault::ProducerIdReused(7),
    ];
    assert_eq!(history.faults(), expected);
}

/// Seeded histories without faults have none, and every fault planted into one of them is found.
#[test]
fn planted_faults_in_random_histories_are_found() {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let ops: Vec<(u64, u32)> = (1..=rng.random_range(4..12))
            .map(|op| (op, rng.random_range(1..4)))
            .collect();
        let mut history = History::default();
        let (mut batches, mut end) = (Vec::new(), 0i64);
        for (op, records) in &ops {
            history.invoke(*op, *records);
            batches.push(batch(end, *op, *records));
            if rng.random_bool(0.7) {
                history.ok(*op, end);
            } else {
                history.unknown(*op);
            }
            end += i64::from(*records);
        }
        let mut clean = History {
            events: history.events.clone(),
            ..History::default()
        };
        clean.read(0, end, batches.clone());
        clean.verified(0, end);
        assert_eq!(clean.faults(), [], "seed {seed}");

        // The last one may go without anybody's notice if it was not acknowledged: the faults are planted before it.
        let at = rng.random_range(0..batches.len() - 2);
        match rng.random_range(0..4) {
            0 => {
                let gone = batches.remove(at).records.len() as i64;
                batches[at..].iter_mut().for_each(|batch| batch.base_offset -= gone);
                end -= gone;
            }
            1 => {
                let again = ReadBatch {
                    base_offset: end,
                    ..batches[at].clone()
                };
                end += again.records.len() as i64;
                batches.push(again);
            }
            2 => {
                let base = batches[at].base_offset;
                batches.swap(at, at + 1);
                batches[at].base_offset = base;
                batches[at + 1].base_offset = base + batches[at].records.len() as i64;
            }
            _ => batches[at].records[0] = Some(RecordId::new(1_000, 0)),
        }
        history.read(0, end, batches);
        history.verified(0, end);
        assert_ne!(history.faults(), [], "seed {seed}");
    }
}
