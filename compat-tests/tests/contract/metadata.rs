//! Metadata (3): contract 17–23.

use std::collections::BTreeSet;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use streamhouse_compat_tests::ops::{code, text, topic_name};
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, eventually};
use uuid::Uuid;

use super::{connect, start};

fn named(names: &[&str], create: bool) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(create)
}

fn by_id(id: Uuid) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true)
}

fn names(reply: &MetadataResponse) -> BTreeSet<String> {
    reply
        .topics
        .iter()
        .filter_map(|topic| topic.name.as_ref().map(|name| name.0.to_string()))
        .collect()
}

#[test]
fn null_is_all_and_empty_is_none() {
    // contract 17: except in v0, where empty is all.
    let (_broker, mut client) = start();
    client.create_topic("a", 1);
    client.create_topic("b", 2);
    let all = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!(names(&client.call(0, &named(&[], true))), all);
    for version in 1..=13 {
        assert_eq!(
            names(&client.call(version, &MetadataRequest::default().with_topics(None))),
            all,
            "v{version}"
        );
        assert_eq!(
            names(&client.call(version, &named(&[], true))),
            BTreeSet::new(),
            "v{version}"
        );
    }
}

#[test]
fn topics_are_created_when_all_three_agree() {
    // contract 18: config, flag and a name.
    let broker = Broker::builder().set("num.partitions", 3).start();
    let mut client = connect(&broker);
    let unwanted = client.call(12, &named(&["unwanted"], false));
    assert_eq!(unwanted.topics[0].error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
    let created = eventually("the created topic", || {
        let topic = client.call(12, &named(&["wanted"], true)).topics.remove(0);
        match topic.error_code {
            code::NONE => Some(topic),
            code::UNKNOWN_TOPIC_OR_PARTITION | code::LEADER_NOT_AVAILABLE => None,
            other => panic!("error {other}"),
        }
    });
    assert_eq!(created.partitions.len(), 3);
    assert_eq!(
        names(&client.call(12, &MetadataRequest::default().with_topics(None))),
        BTreeSet::from(["wanted".to_owned()])
    );

    let broker = Broker::builder().set("auto.create.topics.enable", false).start();
    let mut client = connect(&broker);
    for _ in 0..2 {
        let refused = client.call(12, &named(&["refused"], true));
        assert_eq!(refused.topics[0].error_code, code::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn invalid_names_are_named_as_such() {
    // contract 18
    let (_broker, mut client) = start();
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "ä", &long] {
        let topic = client.call(9, &named(&[name], true)).topics.remove(0);
        assert_eq!(topic.error_code, code::INVALID_TOPIC_EXCEPTION, "{name:?}");
        assert!(topic.partitions.is_empty());
    }
}

#[test]
fn many_clients_create_a_topic_once_and_never_see_it_half() {
    // contract 18 and 19: error 0 always comes with partitions, and all see one id.
    let (broker, mut client) = start();
    let addr = broker.kafka_addr();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = streamhouse_compat_tests::RawClient::connect(addr);
                eventually("the created topic", || {
                    let topic = client.call(12, &named(&["once"], true)).topics.remove(0);
                    assert!(
                        topic.error_code != code::NONE || !topic.partitions.is_empty(),
                        "contract 19"
                    );
                    (topic.error_code == code::NONE).then_some(topic.topic_id)
                })
            })
        })
        .collect();
    let ids: BTreeSet<Uuid> = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    assert_eq!(ids, BTreeSet::from([client.topic_id("once")]));
}

#[test]
fn topics_are_found_by_id() {
    // contract 20
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let id = client.topic_id("t");
    for version in 12..=13 {
        let topic = client.call(version, &by_id(id)).topics.remove(0);
        assert_eq!(
            (topic.error_code, topic.name, topic.topic_id),
            (code::NONE, Some(topic_name("t")), id)
        );
        let unknown = client.call(version, &by_id(Uuid::from_u128(77))).topics.remove(0);
        assert_eq!((unknown.error_code, unknown.name), (code::UNKNOWN_TOPIC_ID, None));
        assert_eq!(unknown.topic_id, Uuid::from_u128(77));
    }
    client.delete_topic("t");
    assert_eq!(client.call(12, &by_id(id)).topics[0].error_code, code::UNKNOWN_TOPIC_ID);
    client.create_topic("t", 1);
    assert_ne!(client.topic_id("t"), id, "created again, it is another topic");
}

#[test]
fn leader_epochs_never_go_back() {
    // contract 21: they grow at every start.
    let (mut broker, mut client) = start();
    client.create_topic("t", 1);
    client.produce_ok("t", 0, BatchSpec::of(&["x"]).encode());
    let mut epochs = vec![client.describe_topic("t").partitions[0].leader_epoch];
    for round in 0..4 {
        match round % 2 {
            0 => broker.kill9(),
            _ => assert!(broker.terminate().success()),
        }
        broker.restart();
        client = connect(&broker);
        epochs.push(client.describe_topic("t").partitions[0].leader_epoch);
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[test]
fn the_cluster_is_one_live_broker_with_a_stable_id() {
    // contract 22
    let (mut broker, mut client) = start();
    client.create_topic_with("t", 2, &[]);
    let before = client.call(12, &named(&["t"], false));
    broker.kill9();
    broker.restart();
    let after = connect(&broker).call(12, &named(&["t"], false));
    assert_eq!(before.cluster_id, after.cluster_id);
    assert!(before.cluster_id.is_some_and(|id| !id.is_empty()));
    for reply in [&after] {
        let node = &reply.brokers[0];
        assert_eq!(reply.controller_id, node.node_id);
        assert_eq!(
            (&*node.host, node.port),
            ("127.0.0.1", i32::from(broker.kafka_addr().port()))
        );
        for partition in &reply.topics[0].partitions {
            assert_eq!(partition.leader_id, node.node_id);
            assert_eq!(
                (partition.replica_nodes.as_slice(), partition.isr_nodes.as_slice()),
                (&[node.node_id][..], &[node.node_id][..])
            );
            assert!(partition.offline_replicas.is_empty());
        }
    }
}

#[test]
fn the_broker_id_is_configured() {
    // contract 22
    for (key, id) in [("node.id", 7), ("broker.id", 8)] {
        let broker = Broker::builder().set(key, id).start();
        let mut client = connect(&broker);
        client.create_topic("t", 1);
        let reply = client.call(12, &named(&["t"], false));
        assert_eq!((reply.controller_id.0, reply.brokers[0].node_id.0), (id, id), "{key}");
        assert_eq!(reply.topics[0].partitions[0].leader_id.0, id, "{key}");
    }
}

#[test]
fn authorized_operations_are_absent_unless_asked_for() {
    // contract 23
    let (_broker, mut client) = start();
    client.create_topic("t", 1);
    let reply = client.call(10, &named(&["t"], false));
    assert_eq!(reply.cluster_authorized_operations, i32::MIN);
    assert_eq!(reply.topics[0].topic_authorized_operations, i32::MIN);
    let request = named(&["t"], false)
        .with_include_cluster_authorized_operations(true)
        .with_include_topic_authorized_operations(true);
    let reply = client.call(10, &request);
    // READ is bit 3 and WRITE bit 4 of a topic's operations; CREATE is bit 5 of the cluster's.
    assert_eq!(reply.topics[0].topic_authorized_operations & 0b1_1000, 0b1_1000);
    assert_eq!(reply.cluster_authorized_operations & 0b10_0000, 0b10_0000);
}

#[test]
fn an_unknown_topic_spoils_nothing() {
    let (_broker, mut client) = start();
    client.create_topic("known", 1);
    let mut reply = client.call(12, &named(&["absent", "known"], false));
    reply.topics.sort_by_key(|topic| topic.error_code);
    assert_eq!(reply.topics[0].name, Some(topic_name("known")));
    assert_eq!(
        (reply.topics[1].error_code, &reply.topics[1].name),
        (code::UNKNOWN_TOPIC_OR_PARTITION, &Some(topic_name("absent")))
    );
    assert!(reply.brokers[0].rack.as_ref().is_none_or(|rack| *rack != text("")));
}
