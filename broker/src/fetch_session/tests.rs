//! Fetch sessions, case by case and against a model.

use super::*;
use std::sync::atomic::{AtomicI32, Ordering};

fn cache(limits: SessionLimits) -> FetchSessionCache {
    let next = AtomicI32::new(0);
    FetchSessionCache::new(limits, move || next.fetch_add(1, Ordering::Relaxed))
}

fn fetch(topic: &str, partition: i32, fetch_offset: i64) -> PartitionFetch {
    PartitionFetch {
        topic: Topic::Name(Arc::from(topic)),
        partition,
        params: FetchParams {
            fetch_offset,
            max_bytes: 1000,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        },
        known_name: None,
    }
}

fn request(session_id: i32, session_epoch: i32, partitions: Vec<PartitionFetch>) -> SessionRequest {
    SessionRequest {
        session_id,
        session_epoch,
        uses_topic_ids: false,
        partitions,
        forgotten: Vec::new(),
    }
}

fn outcome(bytes: usize, high_watermark: i64) -> PartitionOutcome {
    PartitionOutcome {
        bytes,
        high_watermark,
        ..PartitionOutcome::default()
    }
}

fn quiet(count: usize) -> Vec<PartitionOutcome> {
    vec![outcome(0, 5); count]
}

fn partitions_of(context: &FetchContext) -> Vec<i32> {
    context.partitions.iter().map(|fetch| fetch.partition).collect()
}

/// A session over partitions 0..count of topic t with high watermark 5.
fn open(cache: &FetchSessionCache, count: i32) -> i32 {
    let context = cache
        .begin(request(0, 0, (0..count).map(|p| fetch("t", p, 0)).collect()), 0)
        .expect("full request");
    cache
        .finish(&context, &context.partitions, &quiet(count as usize), 0)
        .expect("full reply")
        .session_id
}

#[test]
fn sessionless_requests_leave_nothing_behind() {
    // contract 55
    let cache = cache(SessionLimits::default());
    let context = cache
        .begin(request(0, FINAL_EPOCH, vec![fetch("t", 0, 0)]), 0)
        .expect("sessionless");
    let finished = cache
        .finish(&context, &context.partitions, &quiet(1), 0)
        .expect("reply");
    assert_eq!(
        finished,
        Finished {
            session_id: NO_SESSION,
            listed: vec![true]
        }
    );
    assert_eq!(cache.sessions(), 0);
}

#[test]
fn incremental_replies_list_only_what_changed() {
    // contract 56
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 3);
    let context = cache.begin(request(id, 1, Vec::new()), 0).expect("epoch 1");
    let error = PartitionOutcome {
        noteworthy: true,
        ..outcome(0, -1)
    };
    let finished = cache
        .finish(&context, &context.partitions, &[outcome(0, 5), outcome(0, 6), error], 0)
        .expect("reply");
    assert_eq!(
        finished,
        Finished {
            session_id: id,
            listed: vec![false, true, true]
        }
    );
    // The error is gone: its partition is listed once more although nothing else changed.
    let context = cache.begin(request(id, 2, Vec::new()), 0).expect("epoch 2");
    let finished = cache
        .finish(
            &context,
            &context.partitions,
            &[outcome(0, 5), outcome(0, 6), outcome(0, 5)],
            0,
        )
        .expect("reply");
    assert_eq!(finished.listed, [false, false, true]);
    // A log start that moved is news too.
    let context = cache.begin(request(id, 3, Vec::new()), 0).expect("epoch 3");
    let moved = PartitionOutcome {
        log_start_offset: 1,
        ..outcome(0, 5)
    };
    let finished = cache
        .finish(&context, &context.partitions, &[moved, outcome(0, 6), outcome(0, 5)], 0)
        .expect("reply");
    assert_eq!(finished.listed, [true, false, false]);
}

#[test]
fn partitions_that_returned_data_go_to_the_tail() {
    // contract 56
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 4);
    let context = cache.begin(request(id, 1, Vec::new()), 0).expect("epoch 1");
    cache
        .finish(
            &context,
            &context.partitions,
            &[outcome(9, 5), outcome(0, 5), outcome(9, 5), outcome(0, 5)],
            0,
        )
        .expect("reply");
    let context = cache.begin(request(id, 2, Vec::new()), 0).expect("epoch 2");
    assert_eq!(partitions_of(&context), [1, 3, 0, 2]);
}

#[test]
fn requests_add_change_and_forget_partitions() {
    // contract 55
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 3);
    let mut change = request(id, 1, vec![fetch("t", 2, 77), fetch("u", 0, 1)]);
    change.forgotten = vec![(Topic::Name(Arc::from("t")), 1), (Topic::Name(Arc::from("nothing")), 0)];
    let context = cache.begin(change, 0).expect("epoch 1");
    let offsets: Vec<i64> = context
        .partitions
        .iter()
        .map(|fetch| fetch.params.fetch_offset)
        .collect();
    assert_eq!(offsets, [0, 77, 1]);
    let finished = cache
        .finish(&context, &context.partitions, &quiet(3), 0)
        .expect("reply");
    assert_eq!(
        finished.listed,
        [false, false, true],
        "a new partition is always listed"
    );
    assert_eq!(cache.partitions(), 3);
}

#[test]
fn wrong_ids_epochs_and_kinds_are_refused() {
    // contract 55
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 1);
    assert_eq!(
        cache.begin(request(id + 1, 1, Vec::new()), 0).err(),
        Some(SessionError::IdNotFound)
    );
    assert_eq!(
        cache.begin(request(0, 1, Vec::new()), 0).err(),
        Some(SessionError::IdNotFound)
    );
    assert_eq!(
        cache.begin(request(id, 2, Vec::new()), 0).err(),
        Some(SessionError::InvalidEpoch)
    );
    assert_eq!(
        cache.begin(request(id, -2, Vec::new()), 0).err(),
        Some(SessionError::InvalidEpoch)
    );
    let mixed = SessionRequest {
        uses_topic_ids: true,
        ..request(id, 1, Vec::new())
    };
    assert_eq!(cache.begin(mixed, 0).err(), Some(SessionError::TopicIdMixed));
    assert!(
        cache.begin(request(id, 1, Vec::new()), 0).is_ok(),
        "refusals change nothing"
    );
}

#[test]
fn epochs_wrap_to_one() {
    // contract 55
    assert_eq!(next_epoch(i32::MAX), 1);
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 1);
    cache.state.lock().sessions[&id].session.lock().epoch = i32::MAX;
    assert!(cache.begin(request(id, i32::MAX, Vec::new()), 0).is_ok());
    assert!(cache.begin(request(id, 1, Vec::new()), 0).is_ok());
}

#[test]
fn sessions_end_when_asked_replaced_or_empty() {
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 1);
    cache.begin(request(id, FINAL_EPOCH, Vec::new()), 0).expect("close");
    assert_eq!((cache.sessions(), cache.partitions()), (0, 0));
    let id = open(&cache, 1);
    let context = cache
        .begin(request(id, INITIAL_EPOCH, vec![fetch("t", 0, 0)]), 0)
        .expect("replace");
    let second = cache
        .finish(&context, &context.partitions, &quiet(1), 0)
        .expect("reply")
        .session_id;
    assert_ne!(second, id);
    assert_eq!(cache.sessions(), 1);
    let mut forget = request(second, 1, Vec::new());
    forget.forgotten = vec![(Topic::Name(Arc::from("t")), 0)];
    let context = cache.begin(forget, 0).expect("emptied");
    assert_eq!(
        cache
            .finish(&context, &context.partitions, &[], 0)
            .expect("reply")
            .session_id,
        NO_SESSION
    );
    assert_eq!((cache.sessions(), cache.partitions()), (0, 0));
}

#[test]
fn a_reply_that_a_newer_request_overtook_is_refused() {
    let cache = cache(SessionLimits::default());
    let id = open(&cache, 1);
    let first = cache.begin(request(id, 1, Vec::new()), 0).expect("epoch 1");
    cache.begin(request(id, 2, Vec::new()), 0).expect("epoch 2");
    assert_eq!(
        cache.finish(&first, &first.partitions, &quiet(1), 0),
        Err(SessionError::InvalidEpoch)
    );
}

#[test]
fn the_cache_is_bounded_and_evicts_the_stale() {
    // contract 55
    let limits = SessionLimits {
        sessions_max: 2,
        partitions_max: 100,
        eviction_ms: 10,
    };
    let cache = cache(limits);
    let make = |count: i32, now_ms: i64| {
        let partitions: Vec<_> = (0..count).map(|p| fetch("t", p, 0)).collect();
        let context = cache.begin(request(0, 0, partitions), now_ms).expect("full request");
        cache
            .finish(&context, &context.partitions, &quiet(count as usize), now_ms)
            .expect("reply")
            .session_id
    };
    let (first, second) = (make(1, 0), make(5, 1));
    assert_eq!(make(1, 2), NO_SESSION, "both are in use");
    cache.begin(request(first, 1, Vec::new()), 11).expect("touch");
    let third = make(1, 12);
    assert_ne!(third, NO_SESSION, "the second was unused for 11 ms");
    assert_eq!(
        cache.begin(request(second, 1, Vec::new()), 12).err(),
        Some(SessionError::IdNotFound)
    );
    // `first` is in use but had its time, and is smaller than what comes.
    cache.begin(request(third, 1, Vec::new()), 13).expect("touch");
    assert_ne!(make(6, 14), NO_SESSION);
    assert_eq!(
        cache.begin(request(first, 2, Vec::new()), 14).err(),
        Some(SessionError::IdNotFound)
    );
    assert_eq!(
        make(101, 15),
        NO_SESSION,
        "more partitions than the whole cache may hold"
    );
    assert_eq!((cache.sessions(), cache.partitions()), (2, 7));
}

#[test]
fn a_session_that_outgrows_the_cache_ends() {
    let cache = cache(SessionLimits {
        sessions_max: 2,
        partitions_max: 3,
        eviction_ms: 10,
    });
    let id = open(&cache, 2);
    let more = (2..5).map(|p| fetch("t", p, 0)).collect();
    let context = cache.begin(request(id, 1, more), 0).expect("grown");
    assert_eq!(partitions_of(&context), [0, 1, 2, 3, 4]);
    let finished = cache
        .finish(&context, &context.partitions, &quiet(5), 0)
        .expect("reply");
    assert_eq!(
        finished,
        Finished {
            session_id: NO_SESSION,
            listed: vec![true; 5]
        }
    );
    assert_eq!(cache.partitions(), 0);
}

/// A session as a list, without cleverness: (topic, partition, offset, high watermark the client knows).
#[derive(Default)]
struct Model(Vec<(String, i32, i64, i64)>);

impl Model {
    fn set(&mut self, topic: &str, partition: i32, offset: i64) {
        match self.0.iter_mut().find(|line| line.0 == topic && line.1 == partition) {
            Some(line) => line.2 = offset,
            None => self.0.push((topic.to_owned(), partition, offset, -1)),
        }
    }
}

#[test]
fn sessions_behave_as_the_model_does() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0x5eed_u64);
    println!("replay with SEED={seed}");
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let cache = cache(SessionLimits::default());
    for _ in 0..200 {
        let mut model = Model::default();
        let name = |n: u64| ["a", "b", "c"][n as usize % 3];
        let mut first = Vec::new();
        for _ in 0..1 + random(6) {
            let (topic, partition, offset) = (name(random(3)), random(4) as i32, random(100) as i64);
            first.push(fetch(topic, partition, offset));
            model.set(topic, partition, offset);
        }
        let context = cache.begin(request(0, 0, first), 0).expect("full request");
        let outcomes = vec![outcome(0, 5); context.partitions.len()];
        let id = cache
            .finish(&context, &context.partitions, &outcomes, 0)
            .expect("full reply")
            .session_id;
        model.0.iter_mut().for_each(|line| line.3 = 5);
        for epoch in 1..40 {
            let mut change = request(id, epoch, Vec::new());
            for _ in 0..random(3) {
                let gone = (name(random(3)), random(4) as i32);
                change.forgotten.push((Topic::Name(Arc::from(gone.0)), gone.1));
                model.0.retain(|line| (line.0.as_str(), line.1) != gone);
            }
            for _ in 0..random(3) + u64::from(model.0.is_empty()) {
                let (topic, partition, offset) = (name(random(3)), random(4) as i32, random(100) as i64);
                change.partitions.push(fetch(topic, partition, offset));
                model.set(topic, partition, offset);
            }
            let context = cache.begin(change, 0).expect("incremental request");
            let read: Vec<_> = context
                .partitions
                .iter()
                .map(|fetch| match &fetch.topic {
                    Topic::Name(topic) => (topic.to_string(), fetch.partition, fetch.params.fetch_offset),
                    Topic::Id(_) => unreachable!("names only"),
                })
                .collect();
            let expected: Vec<_> = model.0.iter().map(|line| (line.0.clone(), line.1, line.2)).collect();
            assert_eq!(read, expected);
            let outcomes: Vec<_> = read
                .iter()
                .map(|_| outcome(random(2) as usize * 10, 5 + random(2) as i64))
                .collect();
            let listed = cache
                .finish(&context, &context.partitions, &outcomes, 0)
                .expect("reply")
                .listed;
            let (mut with_data, mut without) = (Vec::new(), Vec::new());
            for (at, mut line) in std::mem::take(&mut model.0).into_iter().enumerate() {
                assert_eq!(
                    listed[at],
                    outcomes[at].bytes > 0 || line.3 != outcomes[at].high_watermark
                );
                line.3 = outcomes[at].high_watermark;
                if outcomes[at].bytes > 0 {
                    with_data.push(line)
                } else {
                    without.push(line)
                }
            }
            model.0 = without;
            model.0.append(&mut with_data);
        }
    }
}
