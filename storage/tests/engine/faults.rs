//! Disks that fail: a sync that fails ends the process, a write that fails is tried again and loses nothing, a full disk is waited out.

use crate::support::batches::{Batch, Expected, read_all};
use crate::support::harness::{Crash, Sim};
use crate::support::sim_disk::{OpKind, SimError};
use std::path::Path;
use std::sync::atomic::Ordering;
use streamhouse_storage::{Acks, EngineState, ErrorKind, Result, Step};

const WAITERS: u64 = 64;

fn in_journal(path: &Path) -> bool {
    path.starts_with("journal")
}

fn in_segments(path: &Path) -> bool {
    path.starts_with("segments")
}

/// 64 appends wait for one sync, which fails. Returns what was appended.
fn fail_a_sync_under_waiters(sim: &mut Sim, bytes: usize, matching: fn(&Path) -> bool) -> Expected {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let mut expected = Expected::default();
    // Something that was promised before: the failure must not touch it.
    sim.add(0, &Batch::of_bytes(bytes, 1000), Acks::Durable, &mut expected);
    let first = sim.log(0);
    runtime
        .block_on(first.wait(Acks::Durable, expected.end().into_offset()))
        .expect("the disk works");
    expected.observe(&first);
    drop(first);

    sim.disk.hold_syncs();
    sim.disk.fail_next_sync_once(matching);
    let mut waiting = Vec::new();
    for i in 0..WAITERS {
        let batch = Batch::of_bytes(bytes, i);
        let log = sim.log(0);
        let appended = batch.append(&log, Acks::Durable).expect("the append is taken");
        expected.push(&batch, &appended);
        waiting.push(runtime.spawn(async move { log.wait(Acks::Durable, appended.end_offset).await }));
    }
    sim.disk.wait_for_held_syncs(1);
    sim.disk.release_syncs();
    let engine = sim.engine().clone();
    // In production the process ends here. In a test it has to be waited for: the callback counts.
    while sim.fatal.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    engine.shutdown();
    drop(engine);
    let answers: Vec<Result<()>> = waiting
        .into_iter()
        .map(|task| runtime.block_on(task).expect("no panic"))
        .collect();
    let ok = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(ok, 0, "no success is answered after a failed sync: engine 4, engine 5");
    assert_eq!(sim.fatal.load(Ordering::SeqCst), 1, "the process is told to end, once");
    let refused = sim
        .append(0, &Batch::of_bytes(100, 1), Acks::None)
        .expect_err("nothing is taken any more");
    assert_eq!(refused.kind, ErrorKind::Closed);
    expected
}

trait IntoOffset {
    fn into_offset(self) -> protocol::types::Offset;
}

impl IntoOffset for i64 {
    fn into_offset(self) -> protocol::types::Offset {
        protocol::types::Offset(self)
    }
}

#[test]
fn a_failed_sync_answers_nobody_and_the_next_start_believes_the_disk_alone() {
    // engine 4, engine 5
    for (seed, bytes, matching) in [
        (1, 500, in_journal as fn(&Path) -> bool),
        (2, 500, in_journal),
        (3, 70_000, in_segments),
        (4, 70_000, in_segments),
    ] {
        println!("seed {seed}, {bytes} bytes");
        let mut sim = Sim::with(seed, 1, |sim| {
            sim.threads = true;
            sim.config.journal_file_bytes = 2 << 20;
        });
        let mut expected = fail_a_sync_under_waiters(&mut sim, bytes, matching);
        let promised = expected.durable;
        // The machine goes on running: caches still show what the disk lacks.
        sim.drop_engine();
        sim.disk.power_off();
        sim.disk = sim.disk.reboot_kill9();
        sim.threads = false;
        sim.open().expect("it starts again");
        expected.check_recovered(&sim.log(0), promised);
        // What it accepted is really there.
        let accepted = expected.end();
        sim.restart(Crash::PowerLoss(seed));
        expected.check_recovered(&sim.log(0), accepted);
    }
}

#[test]
fn a_journal_write_that_fails_is_tried_again_and_nothing_is_lost() {
    // engine 13, contract 44
    for (error, kind, state) in [
        (SimError::Eio, ErrorKind::Io, EngineState::WriteError),
        (SimError::Enospc, ErrorKind::NoSpace, EngineState::NoSpace),
    ] {
        let mut sim = Sim::new(7, 2);
        let mut expected = vec![Expected::default(); 2];
        for i in 0..5 {
            sim.add(0, &Batch::of_bytes(900, i), Acks::Durable, &mut expected[0]);
        }
        sim.settle();
        let producer = |sequence| Batch::of_producer(5, 0, sequence, 1);
        sim.add(1, &producer(0), Acks::Durable, &mut expected[1]);
        sim.disk.fail_next_write(error, in_journal);
        assert!(sim.step(Step::WriteJournal).is_err());
        assert_eq!(sim.disk.faults_left(), 0, "the fault struck");
        assert_eq!(sim.engine().state(), state);
        // Refused, for every partition, before anything changes; reads go on.
        for partition in 0..2 {
            let before = sim.log(partition).offsets();
            let refused = sim
                .append(partition, &Batch::of_bytes(100, 1), Acks::Durable)
                .expect_err("it is refused");
            assert_eq!(refused.kind, kind, "{refused}");
            assert_eq!(sim.log(partition).offsets(), before);
        }
        let refused = sim.append(1, &producer(1), Acks::Durable).expect_err("it is refused");
        assert_eq!(refused.kind, kind);
        assert_eq!(read_all(&sim.log(0)).len(), 5);
        assert_eq!(
            sim.log(1).offsets().high_watermark.0,
            0,
            "what was not written is not visible"
        );
        // It goes on without a restart: the first one is there once, the refused one left no trace in the sequence.
        sim.settle();
        assert_eq!(sim.engine().state(), EngineState::Healthy);
        let again = sim.append(1, &producer(0), Acks::Durable).expect("a retry");
        assert!(again.duplicate);
        sim.add(1, &producer(1), Acks::Durable, &mut expected[1]);
        sim.add(0, &Batch::of_bytes(900, 9), Acks::Durable, &mut expected[0]);
        sim.settle();
        for partition in 0..2 {
            expected[partition as usize].observe(&sim.log(partition));
            assert_eq!(expected[partition as usize].durable, expected[partition as usize].end());
        }
        sim.restart(Crash::PowerLoss(1));
        for partition in 0..2 {
            let promised = expected[partition as usize].end();
            expected[partition as usize].check_recovered(&sim.log(partition), promised);
        }
    }
}

#[test]
fn a_power_loss_between_a_failed_write_and_its_retry_loses_nothing_promised() {
    // engine 13: of a failed write a part may be on the disk
    for seed in 0..30 {
        let mut sim = Sim::new(seed, 1);
        let mut expected = Expected::default();
        for i in 0..3 {
            sim.add(0, &Batch::of_bytes(900, i), Acks::Durable, &mut expected);
            sim.settle();
        }
        expected.observe(&sim.log(0));
        for i in 0..4 {
            sim.add(0, &Batch::of_bytes(3000, 10 + i), Acks::Durable, &mut expected);
        }
        sim.disk.fail_next_write(SimError::Eio, in_journal);
        assert!(sim.step(Step::WriteJournal).is_err());
        if seed % 2 == 0 {
            sim.settle();
            expected.observe(&sim.log(0));
            assert_eq!(expected.durable, 7);
        }
        println!("seed {seed}");
        let promised = expected.durable;
        sim.restart(Crash::PowerLoss(seed));
        expected.check_recovered(&sim.log(0), promised);
    }
}

#[test]
fn a_segment_write_that_fails_fences_its_partition_alone() {
    // engine 13, contract 44
    for (kind, error, expected_kind) in [
        (OpKind::Write, SimError::Eio, ErrorKind::Io),
        (OpKind::Write, SimError::Enospc, ErrorKind::NoSpace),
        (OpKind::Allocate, SimError::Enospc, ErrorKind::NoSpace),
        (OpKind::Create, SimError::Eio, ErrorKind::Io),
        (OpKind::CreateDir, SimError::Enospc, ErrorKind::NoSpace),
        (OpKind::SyncDir, SimError::Eio, ErrorKind::Io),
    ] {
        println!("{kind:?} fails with {error:?}");
        let mut sim = Sim::new(7, 2);
        let mut expected = vec![Expected::default(); 2];
        // Partition 1 has its folder already; the fault is for partition 0.
        sim.add(1, &Batch::of_bytes(1 << 20, 50), Acks::Durable, &mut expected[1]);
        sim.settle();
        sim.add(0, &Batch::of_bytes(1000, 1), Acks::Durable, &mut expected[0]);
        sim.settle();
        sim.disk.fail_next(kind, error, |path| {
            path.starts_with("segments") && path.to_string_lossy().contains("-0")
        });
        sim.add(0, &Batch::of_bytes(2 << 20, 2), Acks::Durable, &mut expected[0]);
        sim.step(Step::WriteJournal).expect("the journal is well");
        sim.step(Step::SegmentIo)
            .expect("failures are remembered, not returned");
        sim.step(Step::SyncJournal).expect("the journal is well");
        assert_eq!(sim.disk.faults_left(), 0, "the fault struck");
        assert_eq!(sim.engine().state(), EngineState::WriteError);
        let refused = sim
            .append(0, &Batch::of_bytes(100, 1), Acks::Durable)
            .expect_err("fenced");
        assert_eq!(refused.kind, expected_kind, "{refused}");
        assert_eq!(sim.log(0).offsets().high_watermark.0, 1, "not durable, not visible");
        assert_eq!(read_all(&sim.log(0)).len(), 1, "reads go on");
        sim.add(1, &Batch::of_bytes(1 << 20, 51), Acks::Durable, &mut expected[1]);
        // A checkpoint meanwhile is put off, not wrong.
        sim.checkpoint();
        sim.settle();
        sim.settle();
        assert_eq!(sim.engine().state(), EngineState::Healthy, "tried again, it works");
        sim.add(0, &Batch::of_bytes(1000, 3), Acks::Durable, &mut expected[0]);
        sim.settle();
        sim.checkpoint();
        for partition in 0..2 {
            expected[partition as usize].observe(&sim.log(partition));
            assert_eq!(expected[partition as usize].durable, expected[partition as usize].end());
            expected[partition as usize].check_content(&sim.log(partition));
        }
        sim.restart(Crash::PowerLoss(1));
        for partition in 0..2 {
            let promised = expected[partition as usize].end();
            expected[partition as usize].check_recovered(&sim.log(partition), promised);
        }
    }
}

#[test]
fn a_crash_while_a_partition_is_fenced_keeps_what_was_promised() {
    // engine 13
    for seed in 0..20 {
        println!("seed {seed}");
        let mut sim = Sim::new(seed, 1);
        let mut expected = Expected::default();
        for i in 0..5 {
            sim.add(0, &Batch::of_bytes(100_000, i), Acks::Durable, &mut expected);
            sim.settle();
        }
        expected.observe(&sim.log(0));
        sim.disk.fail_next_write(SimError::Eio, in_segments);
        sim.add(0, &Batch::of_bytes(300_000, 9), Acks::Durable, &mut expected);
        sim.settle();
        assert!(sim.append(0, &Batch::of_bytes(100, 1), Acks::Durable).is_err());
        let crash = if seed % 2 == 0 {
            Crash::Kill9
        } else {
            Crash::PowerLoss(seed)
        };
        sim.restart(crash);
        expected.check_recovered(&sim.log(0), 5);
        sim.add(0, &Batch::of_bytes(100_000, 10), Acks::Durable, &mut expected);
        sim.settle();
        let promised = expected.end();
        sim.restart(Crash::PowerLoss(seed + 1));
        expected.check_recovered(&sim.log(0), promised);
    }
}

#[test]
fn a_full_disk_is_waited_out_without_a_restart() {
    // engine 13
    for bytes in [800, 100_000] {
        let mut sim = Sim::new(3, 1);
        let mut expected = Expected::default();
        for i in 0..4 {
            sim.add(0, &Batch::of_bytes(bytes, i), Acks::Durable, &mut expected);
            sim.settle();
        }
        sim.disk.set_capacity(Some(sim.disk.used_bytes()));
        // Until something is refused: journal files and preallocated segments have some room left.
        let mut refused = None;
        for i in 0..3000 {
            match sim.append(0, &Batch::of_bytes(bytes, 100 + i), Acks::Durable) {
                Ok(appended) => expected.push(&Batch::of_bytes(bytes, 100 + i), &appended),
                Err(error) => {
                    refused = Some(error.kind);
                    break;
                }
            }
            let _ = sim.step(Step::WriteJournal);
            sim.step(Step::SegmentIo).expect("failures are remembered");
            sim.step(Step::SyncJournal).expect("syncs need no space");
        }
        assert_eq!(refused, Some(ErrorKind::NoSpace), "{bytes}");
        expected.observe(&sim.log(0));
        assert!(expected.durable >= 4);
        let visible = read_all(&sim.log(0)).len() as i64;
        assert_eq!(visible, expected.durable, "reads go on");
        sim.disk.set_capacity(None);
        sim.settle();
        sim.settle();
        assert_eq!(sim.engine().state(), EngineState::Healthy);
        sim.add(0, &Batch::of_bytes(bytes, 9000), Acks::Durable, &mut expected);
        sim.settle();
        expected.observe(&sim.log(0));
        assert_eq!(expected.durable, expected.end(), "nothing was lost");
        let promised = expected.end();
        sim.restart(Crash::PowerLoss(1));
        expected.check_recovered(&sim.log(0), promised);
    }
}
