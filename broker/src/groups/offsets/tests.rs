//! Offsets are put, found, replaced and forgotten; names are kept once.

use super::{GroupOffsets, OffsetTables};
use protocol::group_records::OffsetCommitValue;
use protocol::types::TopicId;
use std::sync::Arc;

fn value(offset: i64, id: u8, metadata: &str) -> OffsetCommitValue {
    OffsetCommitValue {
        offset,
        leader_epoch: 3,
        metadata: Arc::from(metadata),
        commit_timestamp: 1_000 + offset,
        expire_timestamp: -1,
        topic_id: TopicId([id; 16]),
    }
}

#[test]
fn an_offset_comes_back_as_it_was_committed() {
    let (mut tables, mut group) = (OffsetTables::default(), GroupOffsets::default());
    let topic: Arc<str> = Arc::from("t");
    let with_everything = OffsetCommitValue {
        expire_timestamp: 77,
        ..value(5, 1, "mine")
    };
    tables.put(&mut group, &topic, 0, &with_everything);
    tables.put(&mut group, &topic, 1, &value(6, 2, ""));
    let found = tables.get(&group, "t", 0).expect("was put");
    assert_eq!(found.to_value(), with_everything);
    let found = tables.get(&group, "t", 1).expect("was put");
    assert_eq!(found.to_value(), value(6, 2, ""));
    assert!(tables.get(&group, "t", 2).is_none());
    assert!(tables.get(&group, "u", 0).is_none());
}

#[test]
fn names_and_ids_are_kept_once_and_go_with_their_last_offset() {
    let (mut tables, mut one, mut two) = (
        OffsetTables::default(),
        GroupOffsets::default(),
        GroupOffsets::default(),
    );
    for partition in 0..100 {
        tables.put(&mut one, &Arc::from("t"), partition, &value(1, 1, ""));
        tables.put(&mut two, &Arc::from("t"), partition, &value(1, 1, ""));
    }
    assert_eq!((tables.topics.len(), tables.ids.len(), tables.total()), (1, 1, 200));
    // The topic was created again: one partition has the new id.
    tables.put(&mut one, &Arc::from("t"), 0, &value(2, 9, ""));
    assert_eq!((tables.topics.len(), tables.ids.len(), tables.total()), (1, 2, 200));
    tables.remove(&mut one, "t", 0);
    tables.remove(&mut one, "t", 0);
    tables.remove(&mut one, "nobody", 0);
    assert_eq!((tables.topics.len(), tables.ids.len(), tables.total()), (1, 1, 199));
    tables.clear(&mut two);
    assert_eq!((two.len(), tables.total()), (0, 99));
    for partition in 0..100 {
        tables.remove(&mut one, "t", partition);
    }
    assert!(one.is_empty());
    assert_eq!((tables.topics.len(), tables.ids.len(), tables.total()), (0, 0, 0));
}

#[test]
fn a_freed_number_is_taken_by_the_next_name() {
    let (mut tables, mut group) = (OffsetTables::default(), GroupOffsets::default());
    for round in 0..1_000 {
        let topic: Arc<str> = Arc::from(format!("t{round}"));
        tables.put(&mut group, &topic, 0, &value(round, 1, ""));
        assert_eq!(tables.get(&group, &topic, 0).expect("was put").offset, round);
        tables.remove(&mut group, &topic, 0);
    }
    assert_eq!(tables.topics.capacity(), 1);
}

#[test]
fn iteration_goes_on_behind_a_key_whatever_changed_before_it() {
    let (mut tables, mut group) = (OffsetTables::default(), GroupOffsets::default());
    for partition in 0..10 {
        for topic in ["a", "b"] {
            tables.put(
                &mut group,
                &Arc::from(topic),
                partition,
                &value(i64::from(partition), 1, ""),
            );
        }
    }
    let fifth = tables.iter(&group, None).nth(4).expect("there are 20").key;
    let rest: Vec<_> = tables.iter(&group, Some(fifth)).map(|offset| offset.key).collect();
    assert_eq!(rest.len(), 15);
    tables.remove(&mut group, "a", 0);
    tables.remove(&mut group, "a", 4);
    let again: Vec<_> = tables.iter(&group, Some(fifth)).map(|offset| offset.key).collect();
    assert_eq!(again, rest);
}

#[test]
fn a_stored_offset_takes_forty_bytes() {
    assert_eq!(size_of::<super::Stored>() + size_of::<super::OffsetKey>(), 40);
}
