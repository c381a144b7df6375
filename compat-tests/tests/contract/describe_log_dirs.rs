//! DescribeLogDirs (35).

use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::{code, topic_name};
use streamhouse_compat_tests::records::BatchSpec;

use super::start;

fn describe(client: &mut RawClient, version: i16, topics: Option<&[(&str, &[i32])]>) -> DescribeLogDirsResult {
    let topics = topics.map(|topics| {
        let topic = |(name, partitions): &(&str, &[i32])| {
            DescribableLogDirTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions.to_vec())
        };
        topics.iter().map(topic).collect()
    });
    let mut reply = client.call(version, &DescribeLogDirsRequest::default().with_topics(topics));
    assert_eq!(
        (reply.error_code, reply.results.len()),
        (code::NONE, 1),
        "one directory"
    );
    reply.results.remove(0)
}

/// `(topic, partition, bytes)`.
fn sizes(result: &DescribeLogDirsResult) -> Vec<(String, i32, i64)> {
    let of_topic = result.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            assert!(partition.offset_lag == 0 && !partition.is_future_key);
            (
                topic.name.to_string(),
                partition.partition_index,
                partition.partition_size,
            )
        })
    });
    of_topic.collect()
}

#[test]
fn sizes_of_the_partitions_that_are_asked_for() {
    let (broker, mut client) = start();
    client.create_topic("a", 2);
    client.create_topic("b", 1);
    let batch = BatchSpec::of(&["some", "records"]).encode();
    let bytes = batch.len() as i64;
    client.produce_ok("a", 1, batch.clone());
    client.produce_ok("a", 1, batch);
    for version in 1..=4 {
        let all = describe(&mut client, version, None);
        assert_eq!(all.error_code, code::NONE);
        let expected = [("a", 0, 0), ("a", 1, 2 * bytes), ("b", 0, 0)].map(|(t, p, s)| (t.to_owned(), p, s));
        assert_eq!(sizes(&all), expected, "version {version}: null means all");
        let dir = broker.data_dir().canonicalize().expect("it is there");
        assert_eq!(std::path::Path::new(&*all.log_dir).canonicalize().expect("a path"), dir);
        if version >= 4 {
            assert!(all.total_bytes > 0 && all.usable_bytes > 0 && all.usable_bytes <= all.total_bytes);
        }
        assert!(
            sizes(&describe(&mut client, version, Some(&[]))).is_empty(),
            "empty means none"
        );
        let some: &[(&str, &[i32])] = &[("a", &[1, 1, 7, -1]), ("absent", &[0]), ("b", &[])];
        let some = describe(&mut client, version, Some(some));
        assert_eq!(
            sizes(&some),
            [("a".to_owned(), 1, 2 * bytes)],
            "what is not there is left out"
        );
    }
}
