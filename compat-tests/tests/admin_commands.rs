//! `streamhouse topics | groups | configs | offsets` as a user runs them, against the real broker.
//!
//! They speak Kafka's protocol and nothing else: `ADMIN_TESTS_AGAINST_KAFKA=1` runs the same tests with Apache Kafka behind.

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use streamhouse_compat_tests::apache_kafka::ApacheKafka;
use streamhouse_compat_tests::harness::{PATIENCE, binary_command};
use streamhouse_compat_tests::java::Java;
use streamhouse_compat_tests::records::BatchSpec;
use streamhouse_compat_tests::{Broker, RawClient};

/// What the commands talk to: it ends with the test.
enum Under {
    StreamHouse(Broker),
    Kafka(
        ApacheKafka,
        #[allow(dead_code, reason = "held for its Drop")] tempfile::TempDir,
    ),
}

impl Under {
    fn start() -> Under {
        if std::env::var_os("ADMIN_TESTS_AGAINST_KAFKA").is_none() {
            let builder = Broker::builder().set("group.initial.rebalance.delay.ms", 0);
            return Under::StreamHouse(builder.start());
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let java = Java::install().unwrap_or_else(|e| panic!("{e}"));
        let settings = [("group.initial.rebalance.delay.ms", "0")];
        let kafka = ApacheKafka::start(&java, &dir.path().join("kafka"), &settings).unwrap_or_else(|e| panic!("{e}"));
        Under::Kafka(kafka, dir)
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Under::StreamHouse(broker) => broker.kafka_addr(),
            Under::Kafka(kafka, _) => kafka.addr(),
        }
    }

    /// Runs a command line, words separated by blanks: whether it ended with 0, stdout, stderr.
    fn run(&self, words: &str) -> (bool, String, String) {
        let mut command = binary_command();
        command
            .args(words.split_whitespace())
            .args(["--bootstrap", &self.addr().to_string()]);
        let output = command.output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Rows of a command that must succeed.
    fn rows(&self, words: &str) -> Vec<Value> {
        let (success, stdout, stderr) = self.run(&format!("{words} --json"));
        assert!(success, "{words}: {stderr}{stdout}");
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{words}: {e} in {stdout}"))
    }

    /// The complaint of a command that must fail.
    fn complaint(&self, words: &str) -> String {
        let (success, stdout, stderr) = self.run(words);
        assert!(!success, "{words} succeeded: {stdout}");
        assert!(stderr.starts_with("streamhouse: "), "{words}: {stderr}");
        stdout + &stderr
    }
}

/// One column of rows.
fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[test]
fn topics_are_made_shown_grown_and_deleted() {
    let broker = Under::start();
    assert_eq!(broker.rows("topics list"), Vec::<Value>::new());
    let made = broker.rows("topics create b a --partitions 3 --config retention.ms=5000 --dry-run");
    assert_eq!(column(&made, "result"), ["would be created", "would be created"]);
    assert_eq!(
        broker.rows("topics list"),
        Vec::<Value>::new(),
        "a dry run makes nothing"
    );
    broker.rows("topics create b a --partitions 3 --config retention.ms=5000");
    let listed = broker.rows("topics list");
    assert_eq!(
        (column(&listed, "topic"), column(&listed, "partitions")),
        (vec![json!("a"), json!("b")], vec![json!(3); 2])
    );

    let again = broker.complaint("topics create b");
    assert!(again.contains("already exists") && again.contains("36"), "{again}");
    assert_eq!(
        column(&broker.rows("topics create b --if-not-exists"), "result"),
        ["exists"]
    );

    let described = broker.rows("topics describe b");
    assert_eq!(column(&described, "partition"), [0, 1, 2]);
    assert_eq!(described[0]["leader"], described[0]["replicas"][0]);
    let configs = broker.rows("topics describe b --configs");
    let retention = configs
        .iter()
        .find(|row| row["key"] == "retention.ms")
        .expect("it was set");
    assert_eq!(
        (&retention["value"], &retention["source"]),
        (&json!("5000"), &json!("topic"))
    );

    broker.rows("topics alter b --partitions 5 --dry-run");
    assert_eq!(broker.rows("topics describe b").len(), 3);
    broker.rows("topics alter b --partitions 5");
    assert_eq!(broker.rows("topics describe b").len(), 5);
    assert!(
        broker
            .complaint("topics alter b --partitions 2")
            .contains("(InvalidPartitions, 37)")
    );

    broker.rows("topics delete a --dry-run");
    let deleted = broker.complaint("topics delete a nope");
    assert!(
        deleted.contains("a      deleted") && deleted.contains("(UnknownTopicOrPartition, 3)"),
        "{deleted}"
    );
    assert_eq!(column(&broker.rows("topics list"), "topic"), ["b"]);
    assert!(broker.complaint("topics describe a").contains("topic a"));
}

#[test]
fn configs_are_shown_and_altered() {
    let broker = Under::start();
    broker.rows("topics create t --partitions 1");
    let value = |broker: &Under, key: &str| {
        let rows = broker.rows("configs describe topic t --all");
        rows.into_iter()
            .find(|row| row["key"] == key)
            .map(|row| (row["value"].clone(), row["source"].clone()))
    };
    let default = value(&broker, "retention.ms").expect("it is shown");
    assert_eq!(default.1, "default");
    broker.rows("configs alter topic t --set retention.ms=7000 --dry-run");
    assert_eq!(value(&broker, "retention.ms"), Some(default.clone()));
    broker.rows("configs alter topic t --set retention.ms=7000 --set max.message.bytes=2000");
    assert_eq!(value(&broker, "retention.ms"), Some((json!("7000"), json!("topic"))));
    let own = broker.rows("configs describe topic t");
    assert!(column(&own, "key").contains(&json!("max.message.bytes")), "{own:?}");
    broker.rows("configs alter topic t --delete retention.ms");
    assert_eq!(value(&broker, "retention.ms"), Some(default));

    assert!(broker.complaint("configs alter topic t --set nope=1").contains("40"));
    assert!(
        broker
            .complaint("configs alter topic t --set nope")
            .contains("no KEY=VALUE")
    );
    assert!(broker.complaint("configs alter topic t").contains("nothing to alter"));
    let node = broker.rows("topics describe t")[0]["leader"].clone();
    let broker_rows = broker.rows(&format!("configs describe broker {node} --all"));
    assert!(column(&broker_rows, "key").contains(&json!("num.partitions")));
    broker.rows("configs alter group g --set consumer.session.timeout.ms=50000");
    let group = broker.rows("configs describe group g");
    assert_eq!(
        (&group[0]["key"], &group[0]["value"]),
        (&json!("consumer.session.timeout.ms"), &json!("50000"))
    );
    let resources = broker.rows("configs list");
    assert!(
        resources.contains(&json!({"kind": "topic", "name": "t"})),
        "{resources:?}"
    );
    assert!(
        resources.contains(&json!({"kind": "group", "name": "g"})),
        "{resources:?}"
    );
}

/// A topic `t` of two partitions; partition 1 has 100 records, a second apart from a known time on.
fn fill(broker: &Under) -> i64 {
    broker.rows("topics create t --partitions 2 --config retention.ms=-1");
    let mut raw = RawClient::connect(broker.addr());
    let first_ms = 1_700_000_000_000;
    for i in 0..100 {
        let batch = BatchSpec::of(&[&i.to_string()])
            .base_timestamp(first_ms + i * 1000)
            .encode();
        assert_eq!(raw.produce("t", 1, -1, batch).error_code, 0);
    }
    first_ms
}

#[test]
fn offsets_are_listed_found_by_time_and_deleted() {
    // contract 67
    let broker = Under::start();
    let first_ms = fill(&broker);
    let rows = broker.rows("offsets list t");
    assert_eq!(
        (column(&rows, "earliest"), column(&rows, "latest")),
        (vec![json!(0); 2], vec![json!(0), json!(100)])
    );
    let rows = broker.rows(&format!("offsets list --at {}", first_ms + 41_500));
    assert_eq!(
        (&rows[1]["at_time"], &rows[1]["timestamp"]),
        (&json!(42), &json!(first_ms + 42_000))
    );
    assert_eq!(rows[0]["at_time"], Value::Null);
    let rows = broker.rows("offsets list t --at 2023-11-14T22:13:20Z");
    assert_eq!(rows[1]["at_time"], 0, "that is 1,700,000,000 s");

    broker.rows("offsets delete t:1 --before 10 --dry-run");
    assert_eq!(broker.rows("offsets list t")[1]["earliest"], 0);
    assert_eq!(broker.rows("offsets delete t:1 --before 10")[0]["new_earliest"], 10);
    assert_eq!(broker.rows("offsets list t")[1]["earliest"], 10);
    assert!(
        broker
            .complaint("offsets delete t:1 --before 101")
            .contains("(OffsetOutOfRange, 1)")
    );
    broker.rows("offsets delete t --before end");
    assert_eq!(broker.rows("offsets list t")[1]["earliest"], 100);
    assert!(broker.complaint("offsets list nope").contains("topic nope"));
    assert!(
        broker
            .complaint("offsets list t --at yesterday")
            .contains("`yesterday` is no time")
    );
}

/// A member of group `g` that owns all of topic `t`.
fn member(broker: &Under) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.addr().to_string())
        .set("group.id", "g")
        .set("client.id", "tester")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    consumer.subscribe(&["t"]).expect("subscribed");
    let deadline = Instant::now() + PATIENCE;
    while consumer.assignment().expect("known").count() < 2 {
        assert!(Instant::now() < deadline, "no assignment");
        let _ = consumer.poll(Duration::from_millis(50));
    }
    consumer
}

#[test]
fn groups_are_shown_reset_and_deleted() {
    let broker = Under::start();
    let first_ms = fill(&broker);
    let consumer = member(&broker);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("t", 1, Offset::Offset(40)).expect("good");
    consumer.commit(&offsets, CommitMode::Sync).expect("committed");

    let listed = broker.rows("groups list --state stable --type classic");
    assert_eq!(column(&listed, "group"), ["g"]);
    assert_eq!(
        (&listed[0]["state"], &listed[0]["protocol_type"]),
        (&json!("Stable"), &json!("consumer"))
    );
    assert_eq!(broker.rows("groups list --state empty"), Vec::<Value>::new());
    let described = broker.rows("groups describe g");
    assert_eq!(column(&described, "owns"), ["t:0,1"]);
    assert_eq!(
        (&described[0]["client"], &described[0]["state"]),
        (&json!("tester"), &json!("Stable"))
    );
    let lag = broker.rows("groups lag g");
    assert_eq!(column(&lag, "committed"), [Value::Null, json!(40)]);
    assert_eq!(
        (column(&lag, "lag"), &lag[0]["client"]),
        (vec![Value::Null, json!(60)], &json!("tester"))
    );
    let refused = broker.complaint("groups reset-offsets g --topic t --to-earliest");
    assert!(refused.contains("the group has members"), "{refused}");
    assert!(broker.complaint("groups delete g").contains("(NonEmptyGroup, 68)"));
    drop(consumer);

    let committed = |broker: &Under| -> Vec<(i64, i64)> {
        let rows = broker.rows("groups lag g");
        let number = |row: &Value, key: &str| row[key].as_i64().expect("a number");
        rows.iter()
            .map(|row| (number(row, "partition"), number(row, "committed")))
            .collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while broker.rows("groups list")[0]["state"] != "Empty" {
        assert!(Instant::now() < deadline, "the member left");
    }
    let planned = broker.rows("groups reset-offsets g --topic t:1 --shift-by -15 --dry-run");
    assert_eq!((&planned[0]["committed"], &planned[0]["new"]), (&json!(40), &json!(25)));
    assert_eq!(committed(&broker), [(1, 40)], "a dry run changes nothing");
    broker.rows("groups reset-offsets g --topic t:1 --shift-by -15");
    assert_eq!(committed(&broker), [(1, 25)]);
    broker.rows("groups reset-offsets g --topic t --to-latest");
    assert_eq!(committed(&broker), [(0, 0), (1, 100)]);
    broker.rows(&format!(
        "groups reset-offsets g --all-topics --to-time {}",
        first_ms + 41_500
    ));
    assert_eq!(committed(&broker), [(0, 0), (1, 42)]);
    broker.rows("groups reset-offsets g --topic t:1 --to-offset 1000");
    assert_eq!(committed(&broker), [(0, 0), (1, 100)], "not beyond the end");
    broker.rows("groups reset-offsets g --all-topics --to-earliest");
    assert_eq!(committed(&broker), [(0, 0), (1, 0)]);

    broker.rows("groups delete-offsets g --topic t:0");
    assert_eq!(committed(&broker), [(1, 0)]);
    assert_eq!(
        column(&broker.rows("groups delete g --dry-run"), "result"),
        ["would be deleted"]
    );
    broker.rows("groups delete g");
    assert_eq!(broker.rows("groups list"), Vec::<Value>::new());
    assert!(broker.complaint("groups delete g").contains("(GroupIdNotFound, 69)"));
}

#[test]
fn a_table_is_for_people_and_mistakes_are_explained() {
    let broker = Under::start();
    broker.rows("topics create t --partitions 2");
    let (_, stdout, _) = broker.run("topics describe t");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("TOPIC  PARTITION  LEADER"), "{stdout}");
    assert_eq!(lines.len(), 3);
    let nobody = streamhouse_compat_tests::harness::free_port();
    let output = binary_command()
        .args(["topics", "list", "--bootstrap", &format!("127.0.0.1:{nobody}")])
        .output()
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("cannot connect to 127.0.0.1") && stderr.contains("--bootstrap"),
        "{stderr}"
    );
    for usage in [
        "groups reset-offsets g --topic t",
        "groups reset-offsets g --to-latest",
        "topics create",
        "groups reset-offsets g --topic t --to-latest --to-earliest",
    ] {
        let output = binary_command()
            .args(usage.split_whitespace())
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{usage}");
    }
}
