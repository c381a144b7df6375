//! Idempotent producers: the state that recognises retries survives every kind of stop, and an ack means what it says.

use crate::support::batches::{Batch, NOW_MS, read_all};
use crate::support::harness::{Crash, Sim};
use streamhouse_storage::{Acks, Appended, ErrorKind, LogConfig, ProducerState, Result, Step};

const PRODUCER: i64 = 4711;

fn send(sim: &Sim, epoch: i16, sequence: i32, records: i32) -> Result<Appended> {
    sim.append(
        0,
        &Batch::of_producer(PRODUCER, epoch, sequence, records),
        Acks::Durable,
    )
}

/// What every stop must leave of seven batches of two records each.
fn check_state(sim: &Sim, base: i64, what: &str) {
    for i in 2..7 {
        let again = send(sim, 3, i * 2, 2).unwrap_or_else(|error| panic!("{what}: batch {i}: {error}"));
        assert!(
            again.duplicate,
            "{what}: contract 38, batch {i} is one of the last five"
        );
        assert_eq!(
            (again.base_offset.0, again.end_offset.0),
            (base + i64::from(i) * 2, base + i64::from(i) * 2 + 2),
            "{what}"
        );
    }
    let kind = |result: Result<Appended>| result.map(|appended| appended.duplicate).map_err(|error| error.kind);
    assert_eq!(
        kind(send(sim, 3, 0, 2)),
        Err(ErrorKind::OutOfOrderSequence),
        "{what}: contract 38, the sixth is not"
    );
    assert_eq!(
        kind(send(sim, 3, 15, 1)),
        Err(ErrorKind::OutOfOrderSequence),
        "{what}: contract 40"
    );
    assert_eq!(
        kind(send(sim, 3, 12, 1)),
        Err(ErrorKind::OutOfOrderSequence),
        "{what}: same first, other last"
    );
    assert_eq!(
        kind(send(sim, 2, 14, 1)),
        Err(ErrorKind::InvalidProducerEpoch),
        "{what}: contract 41"
    );
    assert_eq!(
        kind(send(sim, 4, 14, 1)),
        Err(ErrorKind::OutOfOrderSequence),
        "{what}: contract 41, a new epoch starts at 0"
    );
    assert_eq!(
        sim.log(0).offsets().log_end.0,
        base + 14,
        "{what}: nothing was appended"
    );
    assert_eq!(sim.log(0).producers(), 1);
    let states = sim.log(0).producer_states();
    let expected = ProducerState {
        producer_id: PRODUCER,
        producer_epoch: 3,
        last_sequence: 13,
        last_timestamp_ms: NOW_MS,
        coordinator_epoch: -1,
        current_txn_start_offset: None,
    };
    assert_eq!(states, [expected], "{what}");
}

fn seven(sim: &Sim) {
    for i in 0..7 {
        assert!(!send(sim, 3, i * 2, 2).expect("it follows").duplicate);
    }
    sim.settle();
}

#[test]
fn a_producers_state_survives_every_stop() {
    // contract 38, contract 40, contract 41, contract 43
    type Stop = fn(&mut Sim);
    let stops: [(&str, Stop); 7] = [
        ("nothing", |_| {}),
        ("an orderly stop", Sim::restart_cleanly),
        ("kill −9", |sim| sim.restart(Crash::Kill9)),
        ("power loss", |sim| sim.restart(Crash::PowerLoss(1))),
        ("a checkpoint and power loss", |sim| {
            sim.checkpoint();
            sim.restart(Crash::PowerLoss(2));
        }),
        ("two stops", |sim| {
            sim.restart(Crash::Kill9);
            sim.checkpoint();
            sim.restart(Crash::PowerLoss(3));
        }),
        ("a stop after another partition's many laps", |sim| {
            for i in 0..400 {
                sim.append(1, &Batch::of_bytes(9_000, i), Acks::Durable).expect("taken");
                if i % 20 == 19 {
                    sim.settle();
                    sim.checkpoint();
                }
            }
            sim.restart(Crash::PowerLoss(4));
        }),
    ];
    for (what, stop) in stops {
        let mut sim = Sim::new(1, 2);
        seven(&sim);
        stop(&mut sim);
        check_state(&sim, 0, what);
        // It goes on where it was.
        assert_eq!(send(&sim, 3, 14, 1).expect("it follows").base_offset.0, 14, "{what}");
    }
}

#[test]
fn half_of_the_state_in_the_index_and_half_in_the_journal() {
    // contract 43
    for batches_before in 1..7 {
        let mut sim = Sim::new(1, 1);
        for i in 0..7 {
            send(&sim, 3, i * 2, 2).expect("it follows");
            if i + 1 == batches_before {
                sim.settle();
                sim.checkpoint();
            }
        }
        sim.settle();
        sim.restart(Crash::PowerLoss(1));
        check_state(&sim, 0, &format!("a checkpoint after {batches_before}"));
    }
}

#[test]
fn batches_that_power_loss_took_are_forgotten_with_their_state() {
    // contract 44: the producer's retry is appended, once, and in order
    for seed in 0..30 {
        println!("seed {seed}");
        let mut sim = Sim::new(seed, 1);
        for i in 0..3 {
            send(&sim, 0, i, 1).expect("it follows");
        }
        sim.settle();
        if seed % 3 == 0 {
            sim.checkpoint();
        }
        for i in 3..6 {
            send(&sim, 0, i, 1).expect("it follows");
            sim.step(Step::WriteJournal).expect("the disk works");
        }
        sim.restart(Crash::PowerLoss(seed));
        let kept = sim.log(0).offsets().log_end.0;
        // The last five are recognised, the one before them is not any more.
        for i in (kept as i32 - 5).max(0)..6 {
            let again = send(&sim, 0, i, 1).expect("every one is a retry or follows");
            assert_eq!(
                (again.duplicate, again.base_offset.0),
                (i64::from(i) < kept, i64::from(i))
            );
        }
        sim.settle();
        let values = read_all(&sim.log(0));
        for (i, stored) in values.iter().enumerate() {
            assert!(
                stored.body == Batch::of_producer(PRODUCER, 0, i as i32, 1).body(),
                "record {i} once and in its place"
            );
        }
        assert_eq!(values.len(), 6);
    }
}

#[test]
fn state_outlives_the_records_that_retention_removed() {
    // contract 43
    let mut sim = Sim::with(1, 1, |sim| {
        sim.log_config = LogConfig {
            segment_bytes: 1 << 20,
            retention_bytes: 0,
            retention_ms: -1,
            ..LogConfig::default()
        };
    });
    seven(&sim);
    for i in 0..8 {
        sim.append(0, &Batch::of_bytes(300_000, i), Acks::Durable)
            .expect("taken");
        sim.settle();
    }
    sim.engine().run_retention(NOW_MS);
    assert!(
        sim.log(0).offsets().log_start.0 >= 14,
        "their records are gone: {:?}",
        sim.log(0).offsets()
    );
    for start in 0..2 {
        for i in 2..7 {
            let again = send(&sim, 3, i * 2, 2).expect("a retry");
            assert!(
                again.duplicate && again.base_offset.0 == i64::from(i) * 2,
                "start {start}"
            );
            assert_eq!(again.log_start_offset, sim.log(0).offsets().log_start);
        }
        sim.restart(Crash::PowerLoss(1));
    }
}

#[test]
fn idle_producers_are_forgotten_after_a_day_restarts_included() {
    // contract 42, contract 43
    let mut sim = Sim::new(1, 1);
    seven(&sim);
    sim.checkpoint();
    let day = sim.config.producer_id_expiration_ms;
    sim.engine().run_retention(NOW_MS + day);
    assert_eq!(sim.log(0).producers(), 1, "not a moment too early");
    sim.engine().run_retention(NOW_MS + day + 1);
    assert_eq!(sim.log(0).producers(), 0);
    assert!(
        !send(&sim, 3, 500, 1)
            .expect("an unknown producer may start anywhere")
            .duplicate
    );
    sim.settle();
    sim.restart(Crash::PowerLoss(1));
    assert_eq!(sim.log(0).producers(), 1);
    assert!(send(&sim, 3, 500, 1).expect("a retry").duplicate);
}

#[test]
fn a_retrys_ack_waits_for_the_original_to_be_durable() {
    // contract 39
    let sim = Sim::new(1, 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for bytes in [100, 100_000] {
        let sequence = if bytes == 100 { 0 } else { 1 };
        let mut builder = protocol::records::BatchBuilder::new(NOW_MS).producer(PRODUCER, 0, sequence);
        builder.push(NOW_MS, None, Some(&vec![7; bytes]), &[]);
        let batch = Batch::from_builder(builder);
        sim.append(0, &batch, Acks::Durable).expect("it follows");
        let again = sim.append(0, &batch, Acks::Durable).expect("a retry");
        assert!(again.duplicate);
        let log = sim.log(0);
        runtime.block_on(async {
            let waiting = tokio::spawn(async move { log.wait(Acks::Durable, again.end_offset).await });
            for step in [Step::WriteJournal, Step::SegmentIo] {
                sim.step(step).expect("the disk works");
                tokio::task::yield_now().await;
                assert!(!waiting.is_finished(), "the journal is written, and not synced");
            }
            sim.step(Step::SyncJournal).expect("the disk works");
            waiting.await.expect("no panic").expect("it is durable");
        });
        assert_eq!(sim.log(0).offsets().high_watermark, again.end_offset);
    }
}
