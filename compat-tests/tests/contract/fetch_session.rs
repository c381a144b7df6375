//! Fetch (1) with sessions (KIP-227): contract 54–56.

use std::collections::BTreeSet;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use streamhouse_compat_tests::ops::{code, fetch_partition, fetch_request, topic_name};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, RawClient};
use uuid::Uuid;

use super::{connect, start};

fn request(session: (i32, i32), partitions: Vec<FetchPartition>) -> FetchRequest {
    let mut request = fetch_request("t", partitions)
        .with_session_id(session.0)
        .with_session_epoch(session.1);
    if request.topics[0].partitions.is_empty() {
        request.topics.clear();
    }
    request
}

fn listed(reply: &FetchResponse) -> Vec<i32> {
    assert_eq!(reply.error_code, code::NONE);
    reply
        .responses
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|part| part.partition_index))
        .collect()
}

/// Opens a session over the first three partitions of `t` and returns its id.
fn open(client: &mut RawClient) -> i32 {
    let reply = client.call(12, &request((0, 0), (0..3).map(|p| fetch_partition(p, 0)).collect()));
    assert_eq!(listed(&reply), [0, 1, 2], "a full fetch lists everything");
    assert!(reply.session_id > 0, "a session was made");
    reply.session_id
}

#[test]
fn without_a_session() {
    // contract 55: epoch −1; the reply's id is 0 and nothing is remembered.
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    let reply = client.call(12, &request((0, -1), vec![fetch_partition(0, 0)]));
    assert_eq!((reply.session_id, listed(&reply)), (0, vec![0]));
}

#[test]
fn incremental_replies_list_what_changed() {
    // contract 55 and 56
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    let id = open(&mut client);
    let reply = client.call(12, &request((id, 1), vec![]));
    assert_eq!((reply.session_id, listed(&reply)), (id, vec![]), "nothing changed");
    client.produce_ok("t", 1, BatchSpec::of(&["x"]).encode());
    let reply = client.call(12, &request((id, 2), vec![]));
    assert_eq!(listed(&reply), [1]);
    // The session's fetch offset is still 0: there is data again. The client moves it on.
    let reply = client.call(12, &request((id, 3), vec![]));
    assert_eq!(listed(&reply), [1]);
    let reply = client.call(12, &request((id, 4), vec![fetch_partition(1, 1)]));
    assert_eq!(listed(&reply), [0; 0]);
    // Forgotten partitions are not listed any more.
    let forgotten = ForgottenTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(vec![1]);
    client.produce_ok("t", 1, BatchSpec::of(&["y"]).encode());
    let reply = client.call(
        12,
        &request((id, 5), vec![]).with_forgotten_topics_data(vec![forgotten]),
    );
    assert_eq!(listed(&reply), [0; 0]);
}

#[test]
fn an_incremental_fetch_waits_for_data() {
    // contract 46 and 56
    let (broker, mut client) = start();
    client.create_topic("t", 3);
    let id = open(&mut client);
    let waiting = client.send(12, &request((id, 1), vec![]).with_max_wait_ms(i32::MAX));
    connect(&broker).produce_ok("t", 2, BatchSpec::of(&["x"]).encode());
    assert_eq!(listed(&client.receive::<FetchRequest>(12, waiting)), [2]);
}

#[test]
fn errors_of_sessions() {
    // contract 55
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    let id = open(&mut client);
    let error = |client: &mut RawClient, session| client.call(12, &request(session, vec![])).error_code;
    assert_eq!(error(&mut client, (id ^ 1, 1)), code::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(error(&mut client, (id, 2)), code::INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(error(&mut client, (id, 1)), code::NONE, "the session is unharmed");
    assert_eq!(
        error(&mut client, (id, 1)),
        code::INVALID_FETCH_SESSION_EPOCH,
        "each epoch once"
    );
    // Epoch −1 with the id closes it.
    let last = client.call(12, &request((id, -1), vec![fetch_partition(0, 0)]));
    assert_eq!((last.error_code, last.session_id), (code::NONE, 0));
    assert_eq!(error(&mut client, (id, 2)), code::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn epoch_0_replaces_a_session() {
    // contract 55
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    let first = open(&mut client);
    let second = client.call(12, &request((first, 0), vec![fetch_partition(0, 0)]));
    assert_ne!(second.session_id, first);
    let old = client.call(12, &request((first, 1), vec![]));
    assert_eq!(old.error_code, code::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn the_cache_is_bounded() {
    // contract 55: no room answers with id 0, "no session", which is legal; or an older session goes.
    let broker = Broker::builder()
        .set("max.incremental.fetch.session.cache.slots", 3)
        .start();
    let mut client = connect(&broker);
    client.create_topic("t", 3);
    let mut ids = Vec::new();
    for _ in 0..20 {
        let reply = client.call(12, &request((0, 0), vec![fetch_partition(0, 0)]));
        assert_eq!(reply.error_code, code::NONE);
        ids.push(reply.session_id);
    }
    let given: Vec<i32> = ids.into_iter().filter(|id| *id != 0).collect();
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "ids differ");
    let alive = given
        .iter()
        .filter(|id| client.call(12, &request((**id, 1), vec![])).error_code == code::NONE)
        .count();
    assert!((1..=3).contains(&alive), "{alive} sessions live in three slots");
}

#[test]
fn names_and_ids_do_not_mix() {
    // contract 55: a session begun by name goes on by name.
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    let topic_id = client.topic_id("t");
    let id = open(&mut client);
    let mut by_id = request((id, 1), vec![]);
    by_id.topics.push(
        FetchTopic::default()
            .with_topic_id(topic_id)
            .with_partitions(vec![fetch_partition(0, 0)]),
    );
    assert_eq!(client.call(13, &by_id).error_code, code::FETCH_SESSION_TOPIC_ID_ERROR);
}

#[test]
fn a_recreated_topic_is_noticed() {
    // contract 54: the session's topic id is gone, another topic has its name.
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let topic_id: Uuid = client.topic_id("t");
    let mut full = request((0, 0), vec![fetch_partition(0, 0)]);
    full.topics[0].topic = topic_name("");
    full.topics[0].topic_id = topic_id;
    let reply = client.call(13, &full);
    let id = reply.session_id;
    assert!(id > 0);
    client.delete_topic("t");
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["of the new topic"]).encode());
    let mut reply = client.call(13, &request((id, 1), vec![]));
    assert_eq!(reply.error_code, code::NONE);
    let part = reply.responses.remove(0).partitions.remove(0);
    assert!(
        [code::UNKNOWN_TOPIC_ID, code::INCONSISTENT_TOPIC_ID].contains(&part.error_code),
        "{}",
        part.error_code
    );
    assert!(part.records.unwrap_or_default().is_empty());
}

#[test]
fn partitions_take_turns() {
    // contract 56: with room for one batch a reply, all partitions are served in turn.
    let (_broker, mut client) = start();
    client.create_topic("t", 3);
    for partition in 0..3 {
        client.produce_ok("t", partition, BatchSpec::of(&["x"]).encode());
    }
    let full = request((0, 0), (0..3).map(|p| fetch_partition(p, 0)).collect()).with_max_bytes(1);
    let mut reply = client.call(12, &full);
    let id = reply.session_id;
    let mut served = Vec::new();
    for epoch in 1..=6 {
        let with_data = reply.responses.iter().flat_map(|topic| &topic.partitions);
        let with_data = with_data.filter(|part| !part.records.as_ref().expect("never null").is_empty());
        served.extend(with_data.map(|part| part.partition_index));
        reply = client.call(12, &request((id, epoch), vec![]).with_max_bytes(1));
    }
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
}
