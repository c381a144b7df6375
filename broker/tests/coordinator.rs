//! The group coordinator over a real data directory: what is committed stays, what is deleted goes, history does not pile up.
//!
//! Every test starts a broker of its own in this process and asks its coordinator directly; the wire has its own tests.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{JoinGroupRequest, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::ErrorCode;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use streamhouse::broker::Running;
use streamhouse::config::{BrokerConfig, Sources};
use streamhouse::groups::{Client, Effects, Shard};
use streamhouse::metrics::Recorder;
use streamhouse::partitions::{CONSUMER_OFFSETS, NewTopic};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn start(dir: &Path, settings: &[&str]) -> Running {
    let mut sources = Sources::default();
    let data_dir = format!("data.dir={}", dir.display());
    // Small journals: a start writes them in full.
    let own = [
        "listeners=127.0.0.1:0",
        "http.listener=",
        "journal.file.bytes=1048576",
        "journal.files=4",
        &data_dir,
    ];
    for assignment in own.iter().chain(settings) {
        sources.push_assignment(assignment).expect("an assignment");
    }
    let config = BrokerConfig::new(sources).expect("a good configuration");
    let running = Running::start(config, Recorder::new()).await.expect("started");
    running
        .broker
        .groups
        .ready()
        .await
        .expect("__consumer_offsets is there");
    running
}

async fn create_topic(running: &Running, name: &str, partitions: i32) {
    let manager = Arc::clone(&running.broker.partitions);
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        configs: BTreeMap::new(),
    };
    let made = tokio::task::spawn_blocking(move || manager.create(vec![topic], false)).await;
    assert!(made.expect("created")[0].is_ok());
}

async fn delete_topic(running: &Running, name: &str) {
    let manager = Arc::clone(&running.broker.partitions);
    let id = manager.topic(name).expect("it exists").id;
    let deleted = tokio::task::spawn_blocking(move || manager.delete(id)).await;
    deleted.expect("ran").expect("deleted");
}

fn client() -> Client {
    Client {
        client_id: Arc::from("test"),
        host: Arc::from("/127.0.0.1"),
        api_version: 8,
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn commit_request(group: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::new()));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

async fn commit(running: &Running, group: &str, topic: &str, partition: i32, offset: i64) -> Result<i16, ErrorCode> {
    let request = commit_request(group, topic, partition, offset);
    let groups = &running.broker.groups;
    let answer = groups.change(group, |shard, env| shard.offset_commit(env, &client(), &request));
    let response = answer.given().await?;
    Ok(response.topics[0].partitions[0].error_code)
}

async fn committed(running: &Running, group: &str, topic: &str, partition: i32) -> Result<i64, ErrorCode> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(topic))
        .with_partition_indexes(vec![partition]);
    let request = OffsetFetchRequestGroup::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_topics(Some(vec![topic]));
    let groups = &running.broker.groups;
    let answer = groups.look(group, |shard, env| shard.offset_fetch(env, &request, false));
    Ok(answer.given().await?.topics[0].partitions[0].committed_offset)
}

/// The same, once the groups are loaded.
async fn loaded(running: &Running, group: &str, topic: &str, partition: i32) -> i64 {
    loop {
        match committed(running, group, topic, partition).await {
            Ok(offset) => return offset,
            Err(code) => assert_eq!(code, ErrorCode::CoordinatorLoadInProgress),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_first_needs_share_one_creation() {
    // contract 17
    let dir = tempfile::tempdir().expect("a directory");
    let running = start(dir.path(), &["offsets.topic.num.partitions=7"]).await;
    let topic = running.broker.partitions.topic(CONSUMER_OFFSETS).expect("it exists");
    delete_topic(&running, CONSUMER_OFFSETS).await;
    let needs: Vec<_> = (0..20)
        .map(|_| {
            let groups = Arc::clone(&running.broker.groups);
            tokio::spawn(async move { groups.ready().await })
        })
        .collect();
    for need in needs {
        need.await.expect("ran").expect("ready");
    }
    let again = running.broker.partitions.topic(CONSUMER_OFFSETS).expect("it exists");
    assert_ne!(again.id, topic.id);
    assert_eq!(again.partitions(), 7);
    assert_eq!(again.configs.get("cleanup.policy").map(String::as_str), Some("compact"));
    create_topic(&running, "t", 1).await;
    assert_eq!(commit(&running, "g", "t", 0, 3).await, Ok(0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_partitions_is_as_found() {
    // contract 17
    let dir = tempfile::tempdir().expect("a directory");
    let running = start(dir.path(), &["offsets.topic.num.partitions=3"]).await;
    create_topic(&running, "t", 1).await;
    for group in 0..20 {
        assert_eq!(commit(&running, &format!("g{group}"), "t", 0, group).await, Ok(0));
    }
    running.stop().await;
    let running = start(dir.path(), &["offsets.topic.num.partitions=11"]).await;
    for group in 0..20 {
        assert_eq!(loaded(&running, &format!("g{group}"), "t", 0).await, group);
    }
    let census = running.broker.groups.census();
    assert_eq!((census.offsets, census.groups.values().sum::<usize>()), (20, 20));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_of_a_deleted_topic_are_gone() {
    // contract 65
    let dir = tempfile::tempdir().expect("a directory");
    let running = start(dir.path(), &["offsets.topic.num.partitions=2"]).await;
    create_topic(&running, "t", 1).await;
    create_topic(&running, "kept", 1).await;
    for group in ["a", "b", "c"] {
        assert_eq!(commit(&running, group, "t", 0, 5).await, Ok(0));
        assert_eq!(commit(&running, group, "kept", 0, 6).await, Ok(0));
    }
    delete_topic(&running, "t").await;
    assert_eq!(running.broker.groups.census().offsets, 3);
    assert_eq!(
        commit(&running, "a", "t", 0, 5).await,
        Ok(ErrorCode::UnknownTopicOrPartition.code())
    );
    create_topic(&running, "t", 1).await;
    assert_eq!(committed(&running, "a", "t", 0).await, Ok(-1));
    running.stop().await;
    let running = start(dir.path(), &[]).await;
    assert_eq!(loaded(&running, "a", "t", 0).await, -1);
    assert_eq!(loaded(&running, "c", "kept", 0).await, 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_lets_go_of_history_and_keeps_what_is_live() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = [
        "offsets.topic.num.partitions=1",
        "offsets.topic.checkpoint.min.records=500",
    ];
    let running = start(dir.path(), &settings).await;
    create_topic(&running, "t", 10).await;
    for group in ["quiet", "gone"] {
        assert_eq!(commit(&running, group, "t", 9, 77).await, Ok(0));
    }
    let log = {
        let topic = running.broker.partitions.topic(CONSUMER_OFFSETS).expect("it exists");
        Arc::clone(topic.log(0).expect("it has one partition"))
    };
    let mut offset = 0;
    // History is made until a checkpoint has moved the log's start, twice, so that the second rewrites the first.
    for _ in 0..2 {
        let start = log.offsets().log_start;
        while log.offsets().log_start == start {
            offset += 1;
            for partition in 0..9 {
                assert_eq!(commit(&running, "busy", "t", partition, offset).await, Ok(0));
            }
            if offset == 3 {
                let groups = &running.broker.groups;
                let deleted = groups.change_in_parts("gone", |shard, _| shard.delete_group("gone"));
                assert_eq!(deleted.given().await, Ok(ErrorCode::None));
            }
        }
    }
    // It would keep the data directory open.
    drop(log);
    running.stop().await;

    let running = start(dir.path(), &settings).await;
    for partition in 0..9 {
        assert_eq!(loaded(&running, "busy", "t", partition).await, offset);
    }
    assert_eq!(loaded(&running, "quiet", "t", 9).await, 77);
    assert_eq!(loaded(&running, "gone", "t", 9).await, -1);
    let census = running.broker.groups.census();
    assert_eq!(census.offsets, 10);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_past_their_retention_expire() {
    // contract 81
    let dir = tempfile::tempdir().expect("a directory");
    let settings = [
        "offsets.retention.check.interval.ms=5",
        "offsets.topic.num.partitions=3",
    ];
    let running = start(dir.path(), &settings).await;
    create_topic(&running, "t", 1).await;
    // Old clients say themselves how long an offset is kept.
    let mut request = commit_request("g", "t", 0, 5);
    request.retention_time_ms = 1;
    let old = Client {
        api_version: 4,
        ..client()
    };
    let groups = &running.broker.groups;
    let answer = groups.change("g", |shard, env| shard.offset_commit(env, &old, &request));
    assert_eq!(
        answer.given().await.expect("committed").topics[0].partitions[0].error_code,
        0
    );
    assert_eq!(commit(&running, "kept", "t", 0, 6).await, Ok(0));
    while groups.census().offsets == 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(committed(&running, "g", "t", 0).await, Ok(-1));
    assert_eq!(committed(&running, "kept", "t", 0).await, Ok(6));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_a_batch_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = ["offsets.topic.num.partitions=1", "offset.metadata.max.bytes=30000"];
    let running = start(dir.path(), &settings).await;
    create_topic(&running, "t", 100).await;
    assert_eq!(commit(&running, "g", "t", 0, 1).await, Ok(0));
    let mut request = commit_request("g", "t", 0, 2);
    let first = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..100)
        .map(|partition| {
            first
                .clone()
                .with_partition_index(partition)
                .with_committed_metadata(Some(StrBytes::from_string("m".repeat(30_000))))
        })
        .collect();
    let groups = &running.broker.groups;
    let answer = groups.change("g", |shard, env| shard.offset_commit(env, &client(), &request));
    assert_eq!(answer.given().await, Err(ErrorCode::UnknownServerError));
    assert_eq!(committed(&running, "g", "t", 0).await, Ok(1));
    assert_eq!(committed(&running, "g", "t", 99).await, Ok(-1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_a_panic_left_is_read_back() {
    // contract 69
    let dir = tempfile::tempdir().expect("a directory");
    let running = start(dir.path(), &["offsets.topic.num.partitions=1"]).await;
    create_topic(&running, "t", 1).await;
    assert_eq!(commit(&running, "g", "t", 0, 7).await, Ok(0));
    let groups = Arc::clone(&running.broker.groups);
    let panicked = tokio::spawn(async move {
        let _ = groups.change_at_once("g", |shard, _| -> ((), Effects) {
            // What no record says.
            *shard = Shard::new();
            panic!("planted");
        });
    });
    assert!(panicked.await.is_err_and(|error| error.is_panic()));
    // From now on it is an error or what was committed, never "no offset"; and it comes back.
    let offset = loop {
        match committed(&running, "g", "t", 0).await {
            Ok(offset) => break offset,
            Err(ErrorCode::NotCoordinator | ErrorCode::CoordinatorLoadInProgress) => {}
            Err(code) => panic!("{code:?}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(offset, 7);
    assert_eq!(commit(&running, "g", "t", 0, 8).await, Ok(0));
    assert_eq!(committed(&running, "g", "t", 0).await, Ok(8));
    assert_eq!(running.broker.groups.census().failed, 0);
    running.stop().await;
}

/// A JoinGroup that waits: the group's first rebalance is far away.
const LATE: &str = "group.initial.rebalance.delay.ms=600000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_answers_parked_joins() {
    let dir = tempfile::tempdir().expect("a directory");
    let running = start(dir.path(), &[LATE]).await;
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(StrBytes::from_static_str("g").into())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let old = Client {
        api_version: 3,
        ..client()
    };
    let groups = &running.broker.groups;
    let parked = groups.park("g", |shard, env, waiter| shard.join_group(env, &old, waiter, &request));
    let census = groups.census();
    assert_eq!(
        census.groups.get(&("classic", "PreparingRebalance".to_owned())),
        Some(&1)
    );
    let waiting = tokio::spawn(parked.given());
    running.stop().await;
    assert_eq!(waiting.await.expect("answered"), Err(ErrorCode::NotCoordinator));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_join_does_not_hide_that_its_client_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let running = start(dir.path(), &[LATE]).await;
    let mut socket = TcpStream::connect(running.kafka_addresses[0]).await.expect("connect");
    // JoinGroup version 1 of group "g": session and rebalance timeout of 10 s, no member id, protocol "range".
    let mut body: Vec<u8> = Vec::new();
    body.extend([0, 11, 0, 1, 0, 0, 0, 7, 0xff, 0xff]);
    body.extend([0, 1, b'g', 0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10, 0, 0]);
    body.extend([0, 8]);
    body.extend(b"consumer");
    body.extend([0, 0, 0, 1, 0, 5]);
    body.extend(b"range");
    body.extend([0, 0, 0, 0]);
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    socket.write_all(&frame).await.expect("write");
    while running.broker.groups.census().members == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(running.broker.connection_limits.open(), 1);
    drop(socket);
    while running.broker.connection_limits.open() > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The member stays until its time is up (contract 74).
    assert_eq!(running.broker.groups.census().members, 1);
    running.stop().await;
}
