//! Who may open a data directory, and what grows with each start.

use crate::support::batches::{Batch, read_all};
use crate::support::harness::{Crash, Sim, scratch_dir};
use streamhouse_storage::{Acks, Engine, EngineConfig, EngineState, ErrorKind};

#[test]
fn a_directory_in_use_is_locked_until_its_engine_is_gone() {
    let dir = scratch_dir();
    let open = || Engine::open(EngineConfig::new(dir.path()));
    let first = open().expect("a new directory");
    assert_eq!(open().err().map(|error| error.kind), Some(ErrorKind::Locked));
    assert_eq!(first.state(), EngineState::Healthy);
    first.shutdown();
    assert_eq!(
        open().err().map(|error| error.kind),
        Some(ErrorKind::Locked),
        "the value still holds it"
    );
    drop(first);
    open().expect("free again").shutdown();
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_touched() {
    let dir = scratch_dir();
    Engine::open(EngineConfig::new(dir.path()))
        .expect("a new directory")
        .shutdown();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).expect("it can be listed");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    std::fs::write(dir.path().join("format"), "2\n").expect("it can be written");
    let before = names();
    let error = Engine::open(EngineConfig::new(dir.path()))
        .err()
        .expect("it is refused");
    assert_eq!(error.kind, ErrorKind::NewerFormat, "{error}");
    assert_eq!(names(), before);
    std::fs::write(dir.path().join("format"), "1\n").expect("it can be written");
    Engine::open(EngineConfig::new(dir.path()))
        .expect("this release's format")
        .shutdown();
}

#[test]
fn the_leader_epoch_grows_with_every_start() {
    // contract 21
    let mut sim = Sim::new(1, 1);
    let mut last = sim.engine().leader_epoch();
    for (start, crash) in [Crash::Kill9, Crash::PowerLoss(1), Crash::Kill9, Crash::PowerLoss(2)]
        .into_iter()
        .enumerate()
    {
        sim.append(0, &Batch::of_bytes(100, start as u64), Acks::Durable)
            .expect("taken");
        sim.settle();
        sim.restart(crash);
        assert!(sim.engine().leader_epoch() > last, "{crash:?}");
        assert_eq!(sim.log(0).leader_epoch(), sim.engine().leader_epoch());
        last = sim.engine().leader_epoch();
    }
    sim.restart_cleanly();
    assert!(sim.engine().leader_epoch() > last);
    // Also when recovery itself is cut short by a crash.
    let last = sim.engine().leader_epoch();
    sim.crash(Crash::PowerLoss(9));
    sim.disk.crash_at(0);
    assert!(sim.open().is_err(), "the disk is off");
    sim.disk = sim.disk.reboot(4);
    sim.open().expect("it starts");
    assert!(
        sim.engine().leader_epoch() > last + 1,
        "the start that failed had its own"
    );
    let epochs: Vec<i32> = read_all(&sim.log(0)).iter().map(|batch| batch.leader_epoch).collect();
    assert_eq!(epochs, [0, 1, 2, 3]);
}

#[test]
fn epochs_end_where_the_next_begins_over_restarts() {
    // contract 61
    for crash in [Crash::Kill9, Crash::PowerLoss(3)] {
        for checkpointed in [false, true] {
            let mut sim = Sim::new(1, 1);
            for life in 0..3 {
                for i in 0..=life {
                    sim.append(0, &Batch::of_bytes(100, i), Acks::Durable).expect("taken");
                }
                sim.settle();
                if checkpointed {
                    sim.checkpoint();
                }
                sim.restart(crash);
            }
            // Epoch 0: offset 0; epoch 1: 1 and 2; epoch 2: 3 to 5; now epoch 3, nothing yet.
            let log = sim.log(0);
            let ends: Vec<(i32, i64)> = [0, 1, 2, 3, 4, -1]
                .map(|epoch| log.epoch_end(epoch))
                .map(|end| (end.leader_epoch, end.end_offset.0))
                .to_vec();
            assert_eq!(
                ends,
                [(0, 1), (1, 3), (2, 6), (3, 6), (-1, -1), (-1, -1)],
                "{crash:?}, {checkpointed}"
            );
            let of = |offset| log.epoch_of(protocol::types::Offset(offset));
            assert_eq!([0, 1, 2, 3, 5].map(of), [Some(0), Some(1), Some(1), Some(2), Some(2)]);
        }
    }
}
