//! Java's clients and command line tools against the real binary: what most Kafka users have at hand.
//!
//! The tools run as a user runs them, one virtual machine each, so there are few; `java/ClientChecks.java` has the broader
//! cases of AdminClient, KafkaProducer and KafkaConsumer in one. Groups are in `java_groups/`; here consumers are assigned.
//!
//! Needs `java`, `javac` and `mvn`. Without them these tests fail, unless `SKIP_JAVA_TESTS=1` says that they may be skipped.
//! `JAVA_TESTS_AGAINST_KAFKA=1` runs them against Apache Kafka: what fails there is wrong in the test.

use streamhouse_compat_tests::Broker;
use streamhouse_compat_tests::apache_kafka::ApacheKafka;
use streamhouse_compat_tests::java::{Java, ToolOutput};

const TOPICS: &str = "TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const OFFSETS: &str = "GetOffsetShell";
const PRODUCER: &str = "ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// A broker and the tools that talk to it.
struct Tools {
    java: Java,
    bootstrap: String,
    _broker: Under,
}

/// What is tested: it ends with the test.
enum Under {
    StreamHouse(#[allow(dead_code, reason = "held for its Drop")] Broker),
    Kafka(#[allow(dead_code, reason = "held for its Drop")] (ApacheKafka, tempfile::TempDir)),
}

/// `None` where Java is missing and may be.
fn start() -> Option<Tools> {
    let java = match Java::install() {
        Ok(java) => java,
        Err(e) if std::env::var_os("SKIP_JAVA_TESTS").is_some_and(|value| value == "1") => {
            eprintln!("SKIPPED, as SKIP_JAVA_TESTS=1 allows: {e}");
            return None;
        }
        Err(e) => panic!("{e}\n(SKIP_JAVA_TESTS=1 skips the tests with Java's clients)"),
    };
    let (bootstrap, broker) = if std::env::var_os("JAVA_TESTS_AGAINST_KAFKA").is_some() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let kafka = ApacheKafka::start(&java, &dir.path().join("kafka"), &[]).unwrap_or_else(|e| panic!("{e}"));
        (kafka.addr().to_string(), Under::Kafka((kafka, dir)))
    } else {
        let broker = Broker::start();
        (broker.bootstrap(), Under::StreamHouse(broker))
    };
    Some(Tools {
        java,
        bootstrap,
        _broker: broker,
    })
}

impl Tools {
    /// Runs a tool with `--bootstrap-server` and these arguments, separated by blanks.
    fn run(&self, tool: &str, arguments: &str, stdin: &str) -> ToolOutput {
        let mut all = vec!["--bootstrap-server", &self.bootstrap];
        all.extend(arguments.split_whitespace());
        self.java.tool(tool, &all, stdin.as_bytes())
    }

    /// Standard output of a tool that must succeed.
    fn out(&self, tool: &str, arguments: &str, stdin: &str) -> String {
        let output = self.run(tool, arguments, stdin);
        assert!(
            output.success,
            "{tool} {arguments}\n{}\n{}",
            output.stdout, output.stderr
        );
        output.stdout
    }

    /// Everything that a tool printed that must fail.
    fn fails(&self, tool: &str, arguments: &str) -> String {
        let output = self.run(tool, arguments, "");
        assert!(!output.success, "{tool} {arguments} succeeds\n{}", output.stdout);
        output.stdout + &output.stderr
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// kafka-topics and kafka-get-offsets; contract 62, 65, 58.
#[test]
fn topics_and_offsets() {
    let Some(tools) = start() else { return };
    let created = tools.out(
        TOPICS,
        "--create --topic one --partitions 2 --config retention.ms=5000000",
        "",
    );
    contains(&created, &["Created topic one."]);
    contains(
        &tools.fails(TOPICS, "--create --topic one --partitions 2"),
        &["already exists"],
    );
    tools.out(
        TOPICS,
        "--create --topic two --partitions 1 --replication-factor 1 --if-not-exists",
        "",
    );
    assert_eq!(
        sorted_lines(&tools.out(TOPICS, "--list --exclude-internal", "")),
        ["one", "two"]
    );

    tools.out(TOPICS, "--alter --topic one --partitions 3", "");
    let described = tools.out(TOPICS, "--describe --topic one", "");
    let expected = [
        "PartitionCount: 3",
        "ReplicationFactor: 1",
        "retention.ms=5000000",
        "Partition: 2",
        "Isr: 0",
    ];
    contains(&described, &expected);

    let lines = (1..=5).map(|i| format!("line {i}\n")).collect::<String>();
    tools.out(PRODUCER, "--topic two", &lines);
    let earliest = tools.out(OFFSETS, "--topic-partitions one:0-2,two:0 --time earliest", "");
    assert_eq!(
        sorted_lines(&earliest),
        ["one:0:0", "one:1:0", "two:0:0"],
        "ranges exclude their end"
    );
    for (time, expected) in [
        ("latest", "two:0:5\n"),
        ("0", "two:0:0\n"),
        ("max-timestamp", "two:0:4\n"),
    ] {
        let found = tools.out(OFFSETS, &format!("--topic two --time {time}"), "");
        if time == "max-timestamp" {
            // Several records may share the largest timestamp: any of them is right.
            assert!(
                found.starts_with("two:0:") && found != "two:0:5\n",
                "max-timestamp: {found}"
            );
        } else {
            assert_eq!(found, expected, "--time {time}");
        }
    }

    tools.out(TOPICS, "--delete --topic one", "");
    contains(&tools.fails(TOPICS, "--describe --topic one"), &["does not exist"]);
}

/// kafka-configs on topics and the broker, kafka-broker-api-versions; contract 66, 11, 16.
#[test]
fn configs_and_api_versions() {
    let Some(tools) = start() else { return };
    tools.out(TOPICS, "--create --topic configured --partitions 1", "");
    let alter = "--alter --entity-type topics --entity-name configured";
    let set = tools.out(
        CONFIGS,
        &format!("{alter} --add-config retention.ms=777000,cleanup.policy=[compact,delete]"),
        "",
    );
    contains(&set, &["Completed updating config for topic configured."]);
    let describe = "--describe --entity-type topics --entity-name configured";
    contains(
        &tools.out(CONFIGS, describe, ""),
        &["retention.ms=777000", "cleanup.policy=compact,delete"],
    );
    tools.out(CONFIGS, &format!("{alter} --delete-config retention.ms"), "");
    let all = tools.out(CONFIGS, &format!("{describe} --all"), "");
    contains(
        &all,
        &[
            "retention.ms=604800000",
            "segment.bytes=1073741824",
            "max.message.bytes=1048588",
        ],
    );
    contains(
        &tools.fails(CONFIGS, &format!("{alter} --add-config no.such.key=1")),
        &["no.such.key"],
    );

    let broker = tools.out(CONFIGS, "--describe --entity-type brokers --entity-name 0 --all", "");
    contains(
        &broker,
        &[
            "num.partitions=",
            "auto.create.topics.enable=",
            "default.replication.factor=",
        ],
    );

    let versions = tools.out("BrokerApiVersionsCommand", "", "");
    contains(
        &versions,
        &[
            "Produce(0)",
            "Fetch(1)",
            "ListOffsets(2)",
            "Metadata(3)",
            "ApiVersions(18)",
            "CreateTopics(19)",
        ],
    );
    assert!(!versions.contains("UNSUPPORTED: Produce"), "{versions}");
}

/// The console clients with keys, headers and every codec; contract 15, 33.
#[test]
fn console_producer_and_consumer() {
    let Some(tools) = start() else { return };
    tools.out(TOPICS, "--create --topic console --partitions 1", "");
    let mut expected = String::new();
    // The producer's default is idempotent with acks=all; one codec each, one of them with acks=1.
    for (codec, options) in [
        ("none", ""),
        ("gzip", ""),
        ("snappy", "--request-required-acks 1"),
        ("lz4", "--batch-size 2000"),
        ("zstd", "--max-block-ms 30000"),
    ] {
        let lines: Vec<String> = (0..500)
            .map(|i| format!("{codec}-{i}\tvalue {i} {}", "x".repeat(i % 90)))
            .collect();
        let reader = "--property parse.key=true";
        let arguments = format!("--topic console --compression-codec {codec} {reader} {options}");
        tools.out(PRODUCER, &arguments, &(lines.join("\n") + "\n"));
        for line in lines {
            let (key, value) = line.split_once('\t').expect("made with a tab");
            expected.push_str(&format!("Partition:0\t{key}\t{value}\n"));
        }
    }
    // Without a group: a partition and an offset.
    let printed = "--property print.key=true --property print.partition=true";
    let from = "--topic console --partition 0 --timeout-ms 60000";
    let read = tools.out(
        CONSUMER,
        &format!("{from} --offset earliest --max-messages 2500 {printed}"),
        "",
    );
    // Kafka's tools say on stdout that --property is deprecated, and everybody still uses it.
    let read: String = read
        .split_inclusive('\n')
        .filter(|line| !line.contains("--property"))
        .collect();
    assert!(read == expected, "read {} bytes, sent {}", read.len(), expected.len());
    let last = "--property print.offset=true --property print.timestamp=true --property print.headers=true";
    let last = tools.out(CONSUMER, &format!("{from} --offset 2499 --max-messages 1 {last}"), "");
    contains(&last, &["CreateTime:", "Offset:2499", "NO_HEADERS", "value 499"]);
}

/// AdminClient, KafkaProducer and KafkaConsumer in every broader case: see `java/ClientChecks.java`.
#[test]
fn client_library() {
    let Some(tools) = start() else { return };
    let classes = tempfile::tempdir().expect("a temporary directory");
    let source = streamhouse_compat_tests::crate_dir().join("java/ClientChecks.java");
    tools
        .java
        .compile(&source, classes.path())
        .unwrap_or_else(|e| panic!("{e}"));
    let listed = tools.java.program(classes.path(), "ClientChecks", &["list"]);
    let expected: Vec<String> = listed.stdout.lines().map(|name| format!("ok {name}")).collect();
    assert!(expected.len() > 15, "{}{}", listed.stdout, listed.stderr);
    let output = tools.java.program(classes.path(), "ClientChecks", &[&tools.bootstrap]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines, expected, "{}", output.stderr);
    assert!(output.success);
}
