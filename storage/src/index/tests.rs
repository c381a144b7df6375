//! The index on a temporary directory.

use super::*;
use protocol::types::TopicId;
use tempfile::{TempDir, tempdir};

const MEMORY_BYTES: usize = 4 << 20;

fn log(topic: u8, partition: i32) -> LogId {
    LogId {
        topic_id: TopicId([topic; 16]),
        partition,
    }
}

fn open(dir: &TempDir) -> Index {
    Index::open(dir.path(), MEMORY_BYTES).expect("the index can be opened")
}

fn new() -> (TempDir, Index) {
    let dir = tempdir().expect("a temporary directory");
    let index = open(&dir);
    (dir, index)
}

fn write(index: &Index, fill: impl FnOnce(&mut IndexBatch)) {
    let mut batch = IndexBatch::new();
    fill(&mut batch);
    index.write(batch, false).expect("the batch can be written");
}

fn mark(end: i64) -> Mark {
    Mark {
        segment_base: Offset(0),
        synced_position: 4096,
        scan_position: 4000,
        scan_offset: Offset(3),
        log_start: Offset(0),
        end_offset: Offset(end),
        max_timestamp: 7,
        max_timestamp_offset: Offset(2),
        first_append_ms: 1,
    }
}

fn segment(end: i64) -> SegmentRow {
    SegmentRow {
        end_offset: Offset(end),
        bytes: 100,
        max_timestamp: 7,
        max_timestamp_offset: Offset(2),
        first_append_ms: 1,
        sealed: false,
    }
}

fn at(segment_base: i64, position: u64) -> OffsetRow {
    OffsetRow {
        segment_base: Offset(segment_base),
        position,
    }
}

fn time(offset: i64) -> TimeRow {
    TimeRow {
        offset: Offset(offset),
        position: offset as u64 * 10,
    }
}

/// Offset, time and segment rows of one log, as numbers.
fn rows(index: &Index, log: LogId) -> (Vec<i64>, Vec<(i64, i64)>, Vec<i64>) {
    let offsets = index
        .offset_rows(log, Offset(0), Offset(i64::MAX))
        .expect("they can be read");
    let mut times = Vec::new();
    for (key, value) in index
        .rows_with_prefix(Cf::TimeIndex, &log.key())
        .expect("they can be read")
    {
        let (_, suffix) = LogId::split_key(&key).expect("it is a key");
        let (base, max) = rows::decode_time_suffix(suffix).expect("it is a key");
        TimeRow::decode(&value).expect("it is a row");
        times.push((base.0, max));
    }
    let segments = index
        .segments()
        .expect("they can be read")
        .remove(&log)
        .unwrap_or_default();
    (
        offsets.iter().map(|(o, _)| o.0).collect(),
        times,
        segments.iter().map(|(o, _)| o.0).collect(),
    )
}

/// Segments 0..100 and 100..200 of a log, an offset and a time row every 20 offsets.
fn put_two_segments(batch: &mut IndexBatch, log: LogId) {
    for base in [0, 100] {
        batch.put_segment(log, Offset(base), &segment(base + 100));
        for offset in (base..base + 100).step_by(20) {
            batch.put_offset(log, Offset(offset), &at(base, offset as u64));
            batch.put_time(log, Offset(base), 1000 + offset, &time(offset));
        }
    }
}

#[test]
fn everything_is_there_after_a_reopen() {
    let (dir, index) = new();
    let producer = ProducerRow {
        epoch: 2,
        last_timestamp_ms: 5,
        ..ProducerRow::default()
    };
    write(&index, |batch| {
        for (topic, partition) in [(2, 0), (1, 1), (1, 0)] {
            let log = log(topic, partition);
            batch.put_mark(log, &mark(i64::from(topic) * 10 + i64::from(partition)));
            put_two_segments(batch, log);
            batch.put_epoch(log, 300, Offset(50));
            batch.put_epoch(log, 2, Offset(0));
            batch.put_producer(log, 4000, &producer);
        }
        batch.put_checkpoint_sequence(12);
    });
    drop(index);
    let index = open(&dir);
    let marks = index.marks().expect("they can be read");
    assert_eq!(
        marks,
        [(log(1, 0), mark(10)), (log(1, 1), mark(11)), (log(2, 0), mark(20))]
    );
    let segments = index.segments().expect("they can be read");
    assert_eq!(segments.len(), 3);
    assert_eq!(
        segments[&log(1, 1)],
        [(Offset(0), segment(100)), (Offset(100), segment(200))]
    );
    let epochs = index.epochs().expect("they can be read");
    assert_eq!(epochs[&log(2, 0)], [(2, Offset(0)), (300, Offset(50))]);
    let producers = index.producers().expect("they can be read");
    assert_eq!(producers[&log(1, 0)], [(4000, producer)]);
    assert_eq!(index.checkpoint_sequence().expect("it can be read"), Some(12));
}

#[test]
fn a_new_index_is_empty() {
    let (_dir, index) = new();
    assert!(index.marks().expect("they can be read").is_empty());
    assert!(index.segments().expect("they can be read").is_empty());
    assert!(index.epochs().expect("they can be read").is_empty());
    assert!(index.producers().expect("they can be read").is_empty());
    assert_eq!(index.checkpoint_sequence().expect("it can be read"), None);
    assert_eq!(index.offset_floor(log(1, 0), Offset(5)).expect("it can be read"), None);
    assert_eq!(index.time_floor(log(1, 0), Offset(0), 5).expect("it can be read"), None);
    index
        .write(IndexBatch::new(), true)
        .expect("an empty batch can be written");
}

#[test]
fn the_offset_floor_stays_within_its_log() {
    let (_dir, index) = new();
    write(&index, |batch| {
        batch.put_offset(log(1, 0), Offset(900), &at(0, 9));
        for offset in [10, 20, 255, 256] {
            batch.put_offset(log(1, 1), Offset(offset), &at(0, offset as u64));
        }
        batch.put_offset(log(1, 2), Offset(0), &at(0, 0));
    });
    let floor = |offset| {
        index
            .offset_floor(log(1, 1), Offset(offset))
            .expect("it can be read")
            .map(|(o, _)| o.0)
    };
    assert_eq!(floor(-1), None);
    assert_eq!(floor(9), None);
    assert_eq!(floor(10), Some(10));
    assert_eq!(floor(19), Some(10));
    assert_eq!(floor(255), Some(255));
    assert_eq!(floor(256), Some(256));
    assert_eq!(floor(i64::MAX), Some(256));
    let row = index.offset_floor(log(1, 1), Offset(25)).expect("it can be read");
    assert_eq!(row, Some((Offset(20), at(0, 20))));
}

#[test]
fn offset_rows_have_an_exclusive_end() {
    let (_dir, index) = new();
    write(&index, |batch| put_two_segments(batch, log(1, 0)));
    let offsets = |from, to| -> Vec<i64> {
        let rows = index
            .offset_rows(log(1, 0), Offset(from), Offset(to))
            .expect("they can be read");
        rows.iter().map(|(offset, _)| offset.0).collect()
    };
    assert_eq!(offsets(20, 60), [20, 40]);
    assert_eq!(offsets(61, 101), [80, 100]);
    assert!(offsets(60, 60).is_empty());
    assert!(offsets(60, 20).is_empty());
}

// contract 59
#[test]
fn the_time_floor_is_the_last_row_below_the_timestamp_in_its_segment() {
    let (_dir, index) = new();
    let id = log(1, 0);
    write(&index, |batch| {
        batch.put_time(id, Offset(0), 500, &time(1));
        for (max, offset) in [(-50, 100), (-1, 120), (30, 140)] {
            batch.put_time(id, Offset(100), max, &time(offset));
        }
        batch.put_time(id, Offset(200), -99, &time(200));
    });
    let floor = |timestamp| index.time_floor(id, Offset(100), timestamp).expect("it can be read");
    assert_eq!(floor(i64::MIN), None);
    assert_eq!(floor(-50), None);
    assert_eq!(floor(-49), Some((-50, time(100))));
    assert_eq!(floor(-1), Some((-50, time(100))));
    assert_eq!(floor(0), Some((-1, time(120))));
    assert_eq!(floor(30), Some((-1, time(120))));
    assert_eq!(floor(31), Some((30, time(140))));
    assert_eq!(floor(i64::MAX), Some((30, time(140))));
    assert_eq!(index.time_floor(id, Offset(300), 5).expect("it can be read"), None);
}

// engine 14
#[test]
fn a_cut_removes_rows_at_and_past_the_offset() {
    let (_dir, index) = new();
    let (before, id, after) = (log(1, 0), log(1, 1), log(1, 2));
    write(&index, |batch| {
        for log in [before, id, after] {
            put_two_segments(batch, log);
            batch.put_mark(log, &mark(200));
        }
    });
    let others = rows(&index, before);
    write(&index, |batch| batch.delete_rows_from(id, Offset(140)));
    let (offsets, times, segments) = rows(&index, id);
    assert_eq!(offsets, [0, 20, 40, 60, 80, 100, 120]);
    assert_eq!(
        times,
        [
            (0, 1000),
            (0, 1020),
            (0, 1040),
            (0, 1060),
            (0, 1080),
            (100, 1100),
            (100, 1120)
        ]
    );
    assert_eq!(segments, [0, 100]);
    write(&index, |batch| batch.delete_rows_from(id, Offset(95)));
    let (offsets, times, segments) = rows(&index, id);
    assert_eq!(offsets, [0, 20, 40, 60, 80]);
    assert_eq!(times.last(), Some(&(0, 1080)));
    assert_eq!(segments, [0]);
    write(&index, |batch| batch.delete_rows_from(id, Offset(0)));
    assert_eq!(rows(&index, id), (vec![], vec![], vec![]));
    assert_eq!(rows(&index, before), others);
    assert_eq!(rows(&index, after), others);
    assert_eq!(index.marks().expect("they can be read").len(), 3);
}

#[test]
fn rows_of_removed_segments_go() {
    let (_dir, index) = new();
    write(&index, |batch| {
        put_two_segments(batch, log(1, 0));
        put_two_segments(batch, log(1, 1));
    });
    let others = rows(&index, log(1, 0));
    write(&index, |batch| batch.delete_rows_below(log(1, 1), Offset(100)));
    let (offsets, times, segments) = rows(&index, log(1, 1));
    assert_eq!(offsets, [100, 120, 140, 160, 180]);
    assert_eq!(times.first(), Some(&(100, 1100)));
    assert_eq!(times.len(), 5);
    assert_eq!(segments, [100]);
    assert_eq!(rows(&index, log(1, 0)), others);
    write(&index, |batch| batch.delete_segment(log(1, 1), Offset(100)));
    assert!(rows(&index, log(1, 1)).2.is_empty());
}

#[test]
fn puts_of_a_batch_survive_its_deletions() {
    let (_dir, index) = new();
    let id = log(1, 0);
    write(&index, |batch| put_two_segments(batch, id));
    write(&index, |batch| {
        batch.put_segment(id, Offset(120), &segment(130));
        batch.put_mark(id, &mark(130));
        batch.put_producer(id, 1, &ProducerRow::default());
        batch.delete_producer(id, 1);
        batch.delete_rows_from(id, Offset(100));
        batch.delete_log(id);
    });
    assert_eq!(rows(&index, id), (vec![], vec![], vec![120]));
    assert_eq!(index.marks().expect("they can be read").len(), 1);
    assert_eq!(index.producers().expect("they can be read").len(), 1);
}

/// More rows than are deleted one by one.
#[test]
fn many_rows_are_removed_as_a_range() {
    for last_topic in [1, 0xff] {
        let (_dir, index) = new();
        let id = log(last_topic, 3);
        let many = 3 * POINT_DELETIONS_MAX as i64;
        let fill = |batch: &mut IndexBatch| {
            for offset in 0..many {
                batch.put_offset(id, Offset(offset), &at(0, 0));
                batch.put_time(id, Offset(0), offset, &time(offset));
            }
            put_two_segments(batch, log(0, 3));
        };
        write(&index, fill);
        write(&index, |batch| batch.delete_rows_from(id, Offset(10)));
        let (offsets, times, _) = rows(&index, id);
        assert_eq!((offsets.len(), times.len()), (10, 10));
        write(&index, fill);
        write(&index, |batch| batch.delete_rows_below(id, Offset(many - 1)));
        assert_eq!(rows(&index, id).0, [many - 1]);
        write(&index, fill);
        write(&index, |batch| batch.delete_topic_logs(id.topic_id));
        assert_eq!(rows(&index, id), (vec![], vec![], vec![]));
        assert_eq!(rows(&index, log(0, 3)).2, [0, 100]);
    }
}

#[test]
fn a_log_or_a_topic_goes_with_all_its_rows() {
    let (_dir, index) = new();
    let all = [log(1, 0), log(1, 1), log(0xff, 0), log(0xff, i32::MAX)];
    write(&index, |batch| {
        for log in all {
            batch.put_mark(log, &mark(1));
            put_two_segments(batch, log);
            batch.put_epoch(log, 0, Offset(0));
            batch.put_producer(log, i64::MAX, &ProducerRow::default());
        }
    });
    let left = || -> Vec<LogId> {
        let marks: Vec<LogId> = index
            .marks()
            .expect("they can be read")
            .into_iter()
            .map(|(log, _)| log)
            .collect();
        assert_eq!(index.epochs().expect("they can be read").len(), marks.len());
        assert_eq!(index.producers().expect("they can be read").len(), marks.len());
        assert_eq!(index.segments().expect("they can be read").len(), marks.len());
        let with_offsets = all.iter().filter(|log| !rows(&index, **log).0.is_empty()).count();
        let with_times = all.iter().filter(|log| !rows(&index, **log).1.is_empty()).count();
        assert_eq!((with_offsets, with_times), (marks.len(), marks.len()));
        marks
    };
    write(&index, |batch| batch.delete_log(log(1, 0)));
    assert_eq!(left(), [log(1, 1), log(0xff, 0), log(0xff, i32::MAX)]);
    write(&index, |batch| batch.delete_topic_logs(TopicId([0xff; 16])));
    assert_eq!(left(), [log(1, 1)]);
    write(&index, |batch| batch.delete_epoch(log(1, 1), 0));
    assert!(index.epochs().expect("they can be read").is_empty());
}

#[test]
fn clearing_leaves_the_metadata() {
    let (dir, index) = new();
    write(&index, |batch| {
        for log in [log(0, 0), log(0xff, i32::MAX)] {
            batch.put_mark(log, &mark(1));
            put_two_segments(batch, log);
            batch.put_producer(log, -1, &ProducerRow::default());
        }
        batch.put_checkpoint_sequence(3);
        batch.put(Cf::Metadata, b"cluster_id".to_vec(), vec![1]);
    });
    index.clear_log_rows().expect("it can be cleared");
    drop(index);
    let index = open(&dir);
    assert!(index.marks().expect("they can be read").is_empty());
    assert!(index.segments().expect("they can be read").is_empty());
    assert!(index.producers().expect("they can be read").is_empty());
    assert_eq!(index.checkpoint_sequence().expect("it can be read"), None);
    assert_eq!(
        index.get(Cf::Metadata, b"cluster_id").expect("it can be read"),
        Some(vec![1])
    );
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let (_dir, index) = new();
    write(&index, |batch| {
        batch.put(Cf::Marks, log(0xab, 1).key().to_vec(), vec![1, 2, 3])
    });
    let error = index.marks().expect_err("it is no mark");
    assert_eq!(error.kind, ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains("row abababababababababababababababab00000001 of marks"),
        "{text}"
    );
    assert!(text.contains("the row is too short"), "{text}");

    write(&index, |batch| {
        batch.put(Cf::OffsetIndex, log(1, 1).key_with(&[0; 7]), at(0, 0).encode())
    });
    assert_eq!(
        index.offset_floor(log(1, 1), Offset(5)).map_err(|e| e.kind),
        Err(ErrorKind::Corrupt)
    );
}

#[test]
fn the_index_of_another_process_is_not_opened() {
    let (dir, _index) = new();
    let error = Index::open(dir.path(), MEMORY_BYTES)
        .map(|_| ())
        .expect_err("it is in use");
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
}

#[test]
fn errors_of_rocksdb_have_kinds() {
    let dir = tempdir().expect("a temporary directory");
    let index = open(&dir);
    write(&index, |batch| batch.put_mark(log(1, 0), &mark(1)));
    let db = index.db().expect("it is open");
    db.flush_cf(family(&db, Cf::Marks)).expect("it can be flushed");
    drop(db);
    drop(index);
    for entry in std::fs::read_dir(dir.path()).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = std::fs::read(&path).expect("it can be read");
            bytes[5] ^= 0xff;
            std::fs::write(&path, bytes).expect("it can be written");
        }
    }
    let error = open(&dir).marks().expect_err("the block's checksum is wrong");
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

// engine g: 10,000 partitions.
#[test]
fn ten_thousand_logs_are_loaded_in_order() {
    let (dir, index) = new();
    write(&index, |batch| {
        for partition in 0..10_000 {
            batch.put_mark(log(1, partition), &mark(i64::from(partition)));
            batch.put_segment(log(1, partition), Offset(0), &segment(10));
            batch.put_segment(log(1, partition), Offset(10), &segment(20));
        }
    });
    drop(index);
    let index = open(&dir);
    let marks = index.marks().expect("they can be read");
    assert!(
        marks
            .iter()
            .enumerate()
            .all(|(i, (log, mark))| log.partition == i as i32 && mark.end_offset.0 == i as i64)
    );
    assert_eq!(marks.len(), 10_000);
    let segments = index.segments().expect("they can be read");
    assert_eq!(segments.len(), 10_000);
    assert!(segments.values().all(|rows| rows.len() == 2 && rows[0].0 < rows[1].0));
}

#[test]
fn a_reopen_keeps_what_was_written_and_readers_wait_for_it() {
    let (_dir, index) = new();
    write(&index, |batch| put_two_segments(batch, log(1, 0)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let floor = index.offset_floor(log(1, 0), Offset(45)).expect("it can be read");
                    assert_eq!(floor.map(|(offset, _)| offset), Some(Offset(40)));
                }
            });
        }
        for end in 0..5 {
            index.refuses_writes.store(true, Ordering::Release);
            write(&index, |batch| batch.put_mark(log(1, end), &mark(1)));
            assert!(!index.refuses_writes.load(Ordering::Acquire));
        }
    });
    assert_eq!(index.marks().expect("they can be read").len(), 5);
    assert_eq!(rows(&index, log(1, 0)).0.len(), 10);
}

#[test]
fn a_read_only_index_can_be_read() {
    let (dir, index) = new();
    write(&index, |batch| batch.put_mark(log(1, 0), &mark(1)));
    close(index.db.write().take());
    assert_eq!(index.marks().map_err(|e| e.kind), Err(ErrorKind::NoSpace));
    *index.db.write() = Some(open_read_only(dir.path(), MEMORY_BYTES).expect("it can be opened"));
    assert_eq!(index.marks().expect("they can be read").len(), 1);
    index.refuses_writes.store(true, Ordering::Release);
    write(&index, |batch| batch.put_mark(log(1, 1), &mark(1)));
    assert_eq!(index.marks().expect("they can be read").len(), 2);
}

/// A small file system; needs root.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<SmallDisk> {
        let dir = tempdir().expect("a temporary directory");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then(|| SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space_again() {
    let Some(disk) = SmallDisk::mount(24 << 20) else {
        eprintln!("NOT TESTED: a full disk: mounting a tmpfs needs root");
        return;
    };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).expect("there is space for it");
    let index = Index::open(&disk.0.path().join("index"), MEMORY_BYTES).expect("it can be opened");
    let mut written = Vec::new();
    let mut offset = 0;
    let mut put_some = |written: &mut Vec<i64>| {
        let mut batch = IndexBatch::new();
        let rows: Vec<i64> = (offset..offset + 1000).collect();
        rows.iter()
            .for_each(|offset| batch.put_offset(log(1, 0), Offset(*offset), &at(0, 7)));
        offset += 1000;
        index.write(batch, true).map(|()| written.extend(rows))
    };
    let error = (0..100_000)
        .find_map(|_| put_some(&mut written).err())
        .expect("the disk becomes full");
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    let offsets = |index: &Index| -> Vec<i64> {
        let rows = index
            .offset_rows(log(1, 0), Offset(0), Offset(i64::MAX))
            .expect("reads go on");
        rows.iter().map(|(offset, _)| offset.0).collect()
    };
    for _ in 0..3 {
        assert_eq!(put_some(&mut written).map_err(|e| e.kind), Err(ErrorKind::NoSpace));
        assert!(offsets(&index) == written);
    }
    std::fs::remove_file(ballast).expect("it can be removed");
    put_some(&mut written).expect("there is space again");
    // What failed may be there after a crash, never a part of it; what succeeded is.
    let found = offsets(&index);
    assert!(written.iter().all(|offset| found.binary_search(offset).is_ok()));
    assert_eq!(found.len() % 1000, 0);
}
