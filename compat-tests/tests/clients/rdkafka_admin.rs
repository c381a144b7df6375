//! librdkafka's admin client.

use rdkafka::admin::{
    AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use streamhouse_compat_tests::Broker;

use super::{PATIENCE, admin, consumer, runtime};

/// Where groups are kept.
const OFFSETS: &str = "__consumer_offsets";

fn describe(broker: &Broker, resource: ResourceSpecifier<'_>) -> ConfigResource {
    let results = runtime().block_on(admin(broker).describe_configs([&resource], &AdminOptions::new()));
    results.expect("the broker answers").remove(0).expect("a description")
}

fn entry<'a>(resource: &'a ConfigResource, key: &str) -> (Option<&'a str>, &'a ConfigSource) {
    let entry = resource.get(key).unwrap_or_else(|| panic!("{key} is not described"));
    (entry.value.as_deref(), &entry.source)
}

#[test]
fn topics() {
    // contract 62–65
    let broker = Broker::start();
    let admin = admin(&broker);
    let options = AdminOptions::new();
    runtime().block_on(async {
        let three = NewTopic::new("three", 3, TopicReplication::Fixed(1)).set("retention.ms", "60000");
        let one = NewTopic::new("one", 1, TopicReplication::Fixed(1));
        let bad = NewTopic::new("bad name", 1, TopicReplication::Fixed(1));
        let results = admin
            .create_topics([&three, &one, &bad], &options)
            .await
            .expect("the broker answers");
        let invalid = Err(("bad name".to_owned(), RDKafkaErrorCode::InvalidTopic));
        assert_eq!(results, [Ok("three".to_owned()), Ok("one".to_owned()), invalid]);
        let again = admin.create_topics([&one], &options).await.expect("the broker answers");
        assert_eq!(again, [Err(("one".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))]);
        let dry = NewTopic::new("dry", 1, TopicReplication::Fixed(1));
        let dry = admin
            .create_topics([&dry], &AdminOptions::new().validate_only(true))
            .await
            .expect("an answer");
        assert_eq!(dry, [Ok("dry".to_owned())]);
        let grown = admin
            .create_partitions([&NewPartitions::new("three", 6)], &options)
            .await
            .expect("an answer");
        assert_eq!(grown, [Ok("three".to_owned())]);
    });
    let client = consumer(&broker, "three", &[], &[]);
    let metadata = client.fetch_metadata(None, PATIENCE).expect("metadata");
    let mut found: Vec<_> = metadata
        .topics()
        .iter()
        .map(|t| (t.name(), t.partitions().len()))
        .filter(|(name, _)| *name != OFFSETS)
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("one", 1), ("three", 6)]);
    runtime().block_on(async {
        let results = admin
            .delete_topics(&["one", "absent"], &options)
            .await
            .expect("the broker answers");
        let unknown = Err(("absent".to_owned(), RDKafkaErrorCode::UnknownTopicOrPartition));
        assert_eq!(results, [Ok("one".to_owned()), unknown]);
    });
    let metadata = client.fetch_metadata(None, PATIENCE).expect("metadata");
    // The consumer has a group id, so it may have asked for a coordinator, which makes the topic of groups.
    let names = metadata.topics().iter().map(|t| t.name());
    assert_eq!(names.filter(|name| *name != OFFSETS).collect::<Vec<_>>(), ["three"]);
}

#[test]
fn topic_configs() {
    // contract 66
    let broker = Broker::start();
    let topic = ResourceSpecifier::Topic("t");
    let options = AdminOptions::new();
    runtime().block_on(async {
        let new = NewTopic::new("t", 1, TopicReplication::Fixed(1)).set("segment.bytes", "2000000");
        admin(&broker)
            .create_topics([&new], &options)
            .await
            .expect("the broker answers")
            .remove(0)
            .expect("created");
    });
    let described = describe(&broker, ResourceSpecifier::Topic("t"));
    assert_eq!(
        entry(&described, "segment.bytes"),
        (Some("2000000"), &ConfigSource::DynamicTopic)
    );
    assert_eq!(
        entry(&described, "cleanup.policy"),
        (Some("delete"), &ConfigSource::Default)
    );
    runtime().block_on(async {
        // AlterConfigs replaces the whole set.
        let alter = AlterConfig::new(topic).set("retention.ms", "123456");
        admin(&broker)
            .alter_configs([&alter], &options)
            .await
            .expect("an answer")
            .remove(0)
            .expect("altered");
        let bad = AlterConfig::new(ResourceSpecifier::Topic("t")).set("retention.ms", "x");
        // The crate does not pass the error of a resource on; that nothing changed is seen below.
        let _ = admin(&broker).alter_configs([&bad], &options).await.expect("an answer");
    });
    let described = describe(&broker, ResourceSpecifier::Topic("t"));
    assert_eq!(
        entry(&described, "retention.ms"),
        (Some("123456"), &ConfigSource::DynamicTopic)
    );
    assert_eq!(entry(&described, "segment.bytes").1, &ConfigSource::Default);
}

#[test]
fn broker_configs() {
    // contract 66
    let broker = Broker::builder().set("num.partitions", 7).start();
    let described = describe(&broker, ResourceSpecifier::Broker(0));
    assert_eq!(
        entry(&described, "num.partitions"),
        (Some("7"), &ConfigSource::StaticBroker)
    );
    assert_eq!(entry(&described, "delete.topic.enable").1, &ConfigSource::Default);
}
