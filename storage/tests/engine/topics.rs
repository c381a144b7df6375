//! Topics that are deleted, made again, or unknown, with journal entries and segments that outlived them.

use crate::support::batches::{Batch, Expected, read_all};
use crate::support::harness::{Crash, Sim, TOPIC};
use protocol::types::TopicId;
use streamhouse_storage::{Acks, ErrorKind, Step};

const AGAIN: TopicId = TopicId([10; 16]);
const OTHER: TopicId = TopicId([11; 16]);

fn fill(sim: &Sim, id: TopicId, count: u64) {
    let log = sim.engine().log(id, 0).expect("there");
    for i in 0..count {
        // Both ways: through the journal, and straight to the segment.
        let bytes = if i % 2 == 0 { 500 } else { 100_000 };
        Batch::of_bytes(bytes, i).append(&log, Acks::Durable).expect("taken");
    }
    sim.settle();
}

#[test]
fn a_topic_made_again_is_empty_and_stays_so() {
    // engine 10
    for crash in [Crash::Kill9, Crash::PowerLoss(1), Crash::PowerLoss(2)] {
        for checkpointed in [false, true] {
            let mut sim = Sim::new(1, 1);
            fill(&sim, TOPIC, 6);
            if checkpointed {
                sim.checkpoint();
                fill(&sim, TOPIC, 2);
            }
            sim.engine().metadata().delete_topic(TOPIC).expect("it is there");
            sim.engine().delete_logs(TOPIC).expect("the disk works");
            sim.create_topic(AGAIN, "t", 1);
            assert!(sim.engine().log(TOPIC, 0).is_none());
            for start in 0..3 {
                println!("{crash:?}, checkpointed {checkpointed}, start {start}");
                sim.restart(crash);
                assert!(sim.engine().log(TOPIC, 0).is_none(), "the deleted one is gone");
                let log = sim.engine().log(AGAIN, 0).expect("the new one is there");
                assert_eq!((log.offsets().log_end.0, read_all(&log).len()), (0, 0), "and empty");
            }
            let left: Vec<_> = sim
                .disk
                .paths()
                .into_iter()
                .filter(|path| !path.starts_with("journal"))
                .collect();
            assert!(left.is_empty(), "no segments and nothing in quarantine: {left:?}");
            fill(&sim, AGAIN, 4);
            sim.checkpoint();
            fill(&sim, AGAIN, 2);
            sim.restart(crash);
            let log = sim.engine().log(AGAIN, 0).expect("there");
            assert_eq!(read_all(&log).len(), 6);
        }
    }
}

#[test]
fn a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start() {
    // engine 10: the tombstone is durable, the files are still there
    let mut sim = Sim::new(1, 1);
    sim.create_topic(OTHER, "other", 1);
    fill(&sim, TOPIC, 4);
    fill(&sim, OTHER, 4);
    sim.engine().metadata().delete_topic(TOPIC).expect("it is there");
    sim.restart(Crash::PowerLoss(1));
    assert!(sim.engine().log(TOPIC, 0).is_none());
    assert!(
        sim.disk
            .paths()
            .iter()
            .filter(|path| path.starts_with("segments"))
            .count()
            == 1,
        "{:?}",
        sim.disk.paths()
    );
    // Once nothing on disk names the topic, its id is forgotten, and entries of it would be unknown.
    fill(&sim, OTHER, 2);
    sim.checkpoint();
    for _ in 0..2 {
        sim.restart(Crash::PowerLoss(2));
        assert_eq!(read_all(&sim.engine().log(OTHER, 0).expect("there")).len(), 6);
    }
    assert!(!sim.disk.paths().iter().any(|path| path.starts_with("quarantine")));
}

#[test]
fn entries_and_segments_of_unknown_topics_are_kept_for_a_person() {
    // engine 10: the index was put back from before the topic was made
    let mut sim = Sim::new(1, 1);
    fill(&sim, TOPIC, 4);
    let before = sim.copy_index();
    sim.create_topic(OTHER, "other", 1);
    fill(&sim, OTHER, 5);
    sim.crash(Crash::PowerLoss(1));
    let segments: Vec<_> = sim
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("segments"))
        .collect();
    assert_eq!(segments.len(), 2);
    let contents: Vec<_> = segments.iter().map(|path| sim.disk.content(path)).collect();
    sim.restore_index(before.path());
    sim.open().expect("the known ones are well");
    assert_eq!(read_all(&sim.log(0)).len(), 4);
    let quarantined: Vec<_> = sim
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("quarantine"))
        .collect();
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
    let bytes = sim.disk.durable_content(&quarantined[0]);
    let first = Batch::of_bytes(500, 0);
    assert!(
        bytes.windows(first.body().len()).any(|window| window == first.body()),
        "the records are in there, durable"
    );
    for (path, content) in segments.iter().zip(&contents) {
        assert!(
            sim.disk.paths().contains(path),
            "{} stays: it may be all that is left of a topic",
            path.display()
        );
        assert!(&sim.disk.content(path) == content);
    }
    // A second start neither loses nor doubles it.
    sim.restart(Crash::PowerLoss(2));
    assert!(sim.disk.durable_content(&quarantined[0]) == bytes);
    assert_eq!(
        sim.disk
            .paths()
            .iter()
            .filter(|path| path.starts_with("quarantine"))
            .count(),
        1
    );
}

#[test]
fn waiters_and_readers_of_a_deleted_topic_are_told() {
    let sim = Sim::new(1, 1);
    let log = sim.log(0);
    let mut expected = Expected::default();
    sim.add(0, &Batch::of_bytes(100, 1), Acks::Durable, &mut expected);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let waiter = log.clone();
    let end = log.offsets().log_end;
    runtime.block_on(async {
        let waiting = tokio::spawn(async move { waiter.wait(Acks::Durable, end).await.map_err(|error| error.kind) });
        tokio::task::yield_now().await;
        sim.engine().metadata().delete_topic(TOPIC).expect("it is there");
        sim.engine().delete_logs(TOPIC).expect("the disk works");
        assert_eq!(waiting.await.expect("no panic"), Err(ErrorKind::Deleted));
    });
    let refused = Batch::of_bytes(100, 2)
        .append(&log, Acks::None)
        .expect_err("it is gone");
    assert_eq!(refused.kind, ErrorKind::Deleted);
    assert_eq!(try_read(&log), ErrorKind::Deleted);
    // What was queued for it does no harm.
    sim.step(Step::WriteJournal).expect("the disk works");
    sim.step(Step::SegmentIo).expect("the disk works");
    sim.checkpoint();
}

fn try_read(log: &streamhouse_storage::Log) -> ErrorKind {
    let request = streamhouse_storage::ReadRequest {
        offset: protocol::types::Offset(0),
        max_bytes: 100,
        min_one_batch: true,
    };
    log.read(&request).expect_err("it is gone").kind
}
