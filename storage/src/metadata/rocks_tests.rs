//! The metadata store on a temporary directory, opened again and again.

use super::*;
use tempfile::{TempDir, tempdir};

fn open(dir: &TempDir) -> RocksMetadata {
    let index = Index::open(dir.path(), 4 << 20).expect("the index can be opened");
    RocksMetadata::new(Arc::new(index)).expect("the store can be opened")
}

fn new() -> (TempDir, RocksMetadata) {
    let dir = tempdir().expect("a temporary directory");
    let store = open(&dir);
    (dir, store)
}

/// Closes and opens.
fn reopen(dir: &TempDir, store: RocksMetadata) -> RocksMetadata {
    drop(store);
    open(dir)
}

fn topic(id: u8, name: &str) -> TopicRecord {
    TopicRecord {
        id: TopicId([id; 16]),
        name: name.to_owned(),
        partitions: 3,
        replication_factor: 1,
        configs: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
    }
}

fn names(store: &RocksMetadata) -> Vec<String> {
    let mut names: Vec<String> = store
        .topics()
        .expect("they can be read")
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    names.sort();
    names
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.map(|_| ()).expect_err("it fails").kind
}

// contract 22
#[test]
fn the_cluster_id_is_made_once() {
    let (dir, store) = new();
    let id = store.cluster_id();
    assert_eq!(id.len(), 22);
    assert!(
        id.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
        "{id}"
    );
    let store = reopen(&dir, store);
    assert_eq!(store.cluster_id(), id);
    assert_ne!(new().1.cluster_id(), id);
}

#[test]
fn ids_are_random_uuids_that_no_command_line_takes_for_a_flag() {
    for _ in 0..1000 {
        let id = random_id().expect("there is randomness");
        assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2));
        assert!(!id.to_string().starts_with('-'), "{id}");
    }
}

#[test]
fn topics_survive_a_reopen() {
    let (dir, store) = new();
    store
        .create_topics(&[topic(1, "a"), topic(2, "b")])
        .expect("they can be created");
    let store = reopen(&dir, store);
    assert_eq!(names(&store), ["a", "b"]);
    let mut changed = topic(1, "a");
    changed.partitions = 9;
    changed.configs.clear();
    store.update_topic(&changed).expect("it can be updated");
    let store = reopen(&dir, store);
    let topics = store.topics().expect("they can be read");
    assert!(
        topics.contains(&changed) && topics.contains(&topic(2, "b")),
        "{topics:?}"
    );
}

// contract 62
#[test]
fn a_name_is_given_once_and_all_or_no_topics_are_created() {
    let (dir, store) = new();
    store.create_topics(&[topic(1, "a")]).expect("it can be created");
    assert_eq!(
        kind(store.create_topics(&[topic(2, "b"), topic(3, "a")])),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(store.create_topics(&[topic(2, "b"), topic(3, "b")])),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(store.create_topics(&[topic(2, "b"), topic(2, "c")])),
        ErrorKind::AlreadyExists
    );
    assert_eq!(kind(store.create_topics(&[topic(1, "b")])), ErrorKind::AlreadyExists);
    store.create_topics(&[]).expect("none can be created");
    assert_eq!(names(&store), ["a"]);
    let store = reopen(&dir, store);
    assert_eq!(names(&store), ["a"]);
    assert_eq!(kind(store.create_topics(&[topic(5, "a")])), ErrorKind::AlreadyExists);
}

#[test]
fn two_threads_cannot_both_create_a_name() {
    let (_dir, store) = new();
    let created = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|id| {
                scope.spawn({
                    let store = &store;
                    move || store.create_topics(&[topic(id, "a")]).is_ok()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .filter(|created| *created)
            .count()
    });
    assert_eq!(created, 1);
    assert_eq!(names(&store), ["a"]);
}

// engine 10
#[test]
fn a_deleted_topic_leaves_a_tombstone_and_its_name_is_free() {
    let (dir, store) = new();
    store
        .create_topics(&[topic(1, "a"), topic(2, "b")])
        .expect("they can be created");
    store.delete_topic(TopicId([1; 16])).expect("it can be deleted");
    assert_eq!(kind(store.delete_topic(TopicId([1; 16]))), ErrorKind::NotFound);
    assert_eq!(kind(store.update_topic(&topic(1, "a"))), ErrorKind::NotFound);
    assert_eq!(kind(store.create_topics(&[topic(1, "a")])), ErrorKind::AlreadyExists);
    store.create_topics(&[topic(3, "a")]).expect("the name is free");
    let store = reopen(&dir, store);
    assert_eq!(names(&store), ["a", "b"]);
    assert_eq!(store.tombstones(), [TopicId([1; 16])]);
    store.forget_tombstone(TopicId([1; 16])).expect("it can be forgotten");
    store.forget_tombstone(TopicId([9; 16])).expect("none can be forgotten");
    assert!(store.tombstones().is_empty());
    let store = reopen(&dir, store);
    assert!(store.tombstones().is_empty());
    assert_eq!(names(&store), ["a", "b"]);
}

#[test]
fn an_update_does_not_rename() {
    let (_dir, store) = new();
    store.create_topics(&[topic(1, "a")]).expect("it can be created");
    assert_eq!(kind(store.update_topic(&topic(1, "b"))), ErrorKind::NotFound);
    assert_eq!(names(&store), ["a"]);
}

#[test]
fn broker_configs_survive_a_reopen() {
    let (dir, store) = new();
    let configs = BTreeMap::from([("log.retention.ms".to_owned(), "1".to_owned())]);
    store.set_broker_configs("", &configs).expect("they can be set");
    store.set_broker_configs("0", &configs).expect("they can be set");
    store
        .set_broker_configs("0", &BTreeMap::new())
        .expect("they can be removed");
    assert_eq!(
        store.broker_configs().expect("they can be read"),
        BTreeMap::from([(String::new(), configs.clone())])
    );
    let store = reopen(&dir, store);
    assert_eq!(
        store.broker_configs().expect("they can be read"),
        BTreeMap::from([(String::new(), configs)])
    );
}

#[test]
fn configs_of_groups_and_client_metrics_survive_a_reopen() {
    let (dir, store) = new();
    let configs = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    for kind in [ConfigKind::Group, ConfigKind::ClientMetrics] {
        // Any text may be an id, that of another kind included.
        for name in ["a", "", "b/ä", "gone"] {
            store
                .set_resource_configs(kind, name, &configs)
                .expect("they can be set");
        }
        store
            .set_resource_configs(kind, "gone", &BTreeMap::new())
            .expect("they can be removed");
    }
    store
        .set_resource_configs(ConfigKind::Group, "a", &BTreeMap::new())
        .expect("they can be removed");
    let mut store = store;
    for _ in 0..2 {
        store = reopen(&dir, store);
        let names = |kind| {
            let all = store.resource_configs(kind).expect("they can be read");
            assert!(all.values().all(|found| *found == configs));
            all.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(names(ConfigKind::Group), ["", "b/ä"]);
        assert_eq!(names(ConfigKind::ClientMetrics), ["", "a", "b/ä"]);
        assert!(store.broker_configs().expect("they can be read").is_empty());
    }
}

// contract 14
#[test]
fn the_features_epoch_grows_with_each_change_and_survives_a_reopen() {
    let (dir, mut store) = new();
    assert_eq!(store.features().expect("they can be read"), None);
    for (epoch, level) in [(0, 1), (1, 0), (2, 1), (3, 1)] {
        let levels = BTreeMap::from([("group.version".to_owned(), level)]);
        let expected = FinalizedFeatures {
            epoch,
            levels: levels.clone(),
        };
        assert_eq!(store.set_features(&levels).expect("they can be set"), expected);
        store = reopen(&dir, store);
        assert_eq!(store.features().expect("they can be read"), Some(expected));
    }
    store.index.refuse_writes_once();
    assert_eq!(kind(store.set_features(&BTreeMap::new())), ErrorKind::NoSpace);
    assert_eq!(
        store.features().expect("they can be read").map(|found| found.epoch),
        Some(3),
        "a failed change changes nothing"
    );
}

// contract 89
#[test]
fn producer_ids_are_given_out_once() {
    let (dir, store) = new();
    assert_eq!(store.allocate_producer_ids(1000).expect("there are some"), 0..1000);
    assert_eq!(store.allocate_producer_ids(1).expect("there are some"), 1000..1001);
    let store = reopen(&dir, store);
    assert_eq!(store.allocate_producer_ids(10).expect("there are some"), 1001..1011);
    assert_eq!(kind(store.allocate_producer_ids(i64::MAX)), ErrorKind::Corrupt);
    assert_eq!(store.allocate_producer_ids(1).expect("there are some"), 1011..1012);
}

// contract 21
#[test]
fn the_leader_epoch_grows_with_every_start() {
    let (dir, mut store) = new();
    for epoch in 0..3 {
        assert_eq!(store.next_leader_epoch().expect("there is one"), epoch);
        store = reopen(&dir, store);
    }
    let used_up = i32::MAX as u64 + 1;
    store
        .put_counter(&mut store.state.lock(), NEXT_LEADER_EPOCH_KEY, used_up)
        .expect("it can be written");
    let store = reopen(&dir, store);
    assert_eq!(kind(store.next_leader_epoch()), ErrorKind::Corrupt);
}

#[test]
fn golden_rows() {
    let (_dir, store) = new();
    store
        .create_topics(&[topic(1, "a"), topic(2, "b")])
        .expect("they can be created");
    store.delete_topic(TopicId([2; 16])).expect("it can be deleted");
    store
        .set_broker_configs("0", &BTreeMap::from([("k".to_owned(), "v".to_owned())]))
        .expect("they can be set");
    for kind in [ConfigKind::Group, ConfigKind::ClientMetrics] {
        store
            .set_resource_configs(kind, "n", &BTreeMap::from([("k".to_owned(), "v".to_owned())]))
            .expect("they can be set");
    }
    store
        .set_features(&BTreeMap::from([("group.version".to_owned(), 1)]))
        .expect("they can be set");
    store.allocate_producer_ids(256).expect("there are some");
    store.next_leader_epoch().expect("there is one");
    let rows = store
        .index
        .rows_with_prefix(Cf::Metadata, b"")
        .expect("they can be read");
    let text: Vec<(String, String)> = rows
        .iter()
        .filter(|(key, _)| key != CLUSTER_ID_KEY)
        .map(|(key, value)| (key.escape_ascii().to_string(), value.escape_ascii().to_string()))
        .collect();
    let text: Vec<(&str, &str)> = text.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        text,
        [
            ("broker_config/0", r#"\x01{\"k\":\"v\"}"#),
            ("client_metrics_config/n", r#"\x01{\"k\":\"v\"}"#),
            ("features", r#"\x01{\"epoch\":0,\"levels\":{\"group.version\":1}}"#),
            ("group_config/n", r#"\x01{\"k\":\"v\"}"#),
            ("next_leader_epoch", r"\x01\x00\x00\x00\x00\x00\x00\x00\x01"),
            ("next_producer_id", r"\x01\x00\x00\x00\x00\x00\x00\x01\x00"),
            (
                r"tombstone/\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02",
                r"\x01"
            ),
            (
                r"topic/\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01",
                concat!(
                    r#"\x01{\"id\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"name\":\"a\",\"partitions\":3,"#,
                    r#"\"replication_factor\":1,\"configs\":{\"retention.ms\":\"-1\"}}"#
                ),
            ),
        ]
    );
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let topic_key = key_of(TOPIC_PREFIX, &[1; 16]);
    let other_topic = encode_json(&topic(2, "a")).expect("it is JSON");
    let cases: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (CLUSTER_ID_KEY.to_vec(), vec![1, 2, 3]),
        (CLUSTER_ID_KEY.to_vec(), vec![2; 17]),
        (topic_key.clone(), vec![]),
        (topic_key.clone(), vec![1, b'{']),
        (topic_key.clone(), vec![2, b'{', b'}']),
        (topic_key, other_topic),
        (b"tombstone/short".to_vec(), vec![1]),
        (key_of(TOMBSTONE_PREFIX, &[1; 16]), vec![2]),
        (key_of(BROKER_CONFIG_PREFIX, &[0xff]), vec![1, b'{', b'}']),
        (key_of(GROUP_CONFIG_PREFIX, &[0xff]), vec![1, b'{', b'}']),
        (key_of(CLIENT_METRICS_CONFIG_PREFIX, b"a"), vec![2, b'{', b'}']),
        (FEATURES_KEY.to_vec(), vec![1, b'{', b'}']),
        (NEXT_PRODUCER_ID_KEY.to_vec(), vec![1, 0]),
        (NEXT_LEADER_EPOCH_KEY.to_vec(), vec![3; 9]),
    ];
    for (key, value) in cases {
        let dir = tempdir().expect("a temporary directory");
        let index = Arc::new(Index::open(dir.path(), 4 << 20).expect("the index can be opened"));
        let mut batch = IndexBatch::new();
        batch.put(Cf::Metadata, key.clone(), value);
        index.write(batch, true).expect("it can be written");
        let error = RocksMetadata::new(index).map(|_| ()).expect_err("it cannot be read");
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.to_string().contains(&key.escape_ascii().to_string()), "{error}");
    }
}

/// A write that failed although RocksDB logged it is taken back by the next one.
#[test]
fn a_failed_write_does_not_come_back() {
    let (dir, store) = new();
    store.create_topics(&[topic(1, "a")]).expect("it can be created");
    let key = |id: u8| key_of(TOPIC_PREFIX, &[id; 16]);
    let before = store.index.get(Cf::Metadata, &key(1)).expect("it can be read");
    let mut batch = IndexBatch::new();
    batch.put(Cf::Metadata, key(2), encode_json(&topic(2, "b")).expect("it is JSON"));
    batch.delete(Cf::Metadata, key(1));
    store.index.write(batch, true).expect("it can be written");
    store.state.lock().undo = Rows::from([(key(1), before), (key(2), None)]);
    // The same name again, under another id, as a client that tries again does.
    store.create_topics(&[topic(3, "b")]).expect("it can be created");
    assert!(store.state.lock().undo.is_empty());
    let store = reopen(&dir, store);
    assert_eq!(names(&store), ["a", "b"]);
    assert!(store.topics().expect("they can be read").contains(&topic(3, "b")));
}

#[test]
fn a_failed_write_changes_nothing_and_the_next_one_succeeds() {
    let (dir, store) = new();
    store.create_topics(&[topic(1, "a")]).expect("it can be created");
    store.index.refuse_writes_once();
    assert_eq!(kind(store.create_topics(&[topic(2, "b")])), ErrorKind::NoSpace);
    store.index.refuse_writes_once();
    assert_eq!(kind(store.delete_topic(TopicId([1; 16]))), ErrorKind::NoSpace);
    assert_eq!(store.state.lock().undo.len(), 3);
    assert_eq!(names(&store), ["a"]);
    store.create_topics(&[topic(4, "b")]).expect("it can be created");
    let store = reopen(&dir, store);
    assert_eq!(names(&store), ["a", "b"]);
    assert!(store.tombstones().is_empty());
}
