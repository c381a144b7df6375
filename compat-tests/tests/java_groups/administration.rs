//! Kafka's tools for administration, and calls of Admin that no tool makes.

use crate::tools::{CONFIGS, CONSUMER, OFFSETS, TOPICS, Tools, contains, start};

const API_VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";
const CLIENT_METRICS: &str = "org.apache.kafka.tools.ClientMetricsCommand";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const LEADER_ELECTION: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";

/// A group that has read `topic`, so that __consumer_offsets is there.
fn group(tools: &Tools, topic: &str, group: &str, records: u32) {
    let arguments =
        format!("--topic {topic} --group {group} --from-beginning --max-messages {records} --timeout-ms 60000");
    tools.out(CONSUMER, &arguments);
}

/// kafka-log-dirs, kafka-delete-records, kafka-reassign-partitions, kafka-leader-election.
#[test]
fn partitions() {
    let Some(tools) = start() else { return };
    log_dirs(&tools);
    delete_records(&tools);
    reassign_partitions(&tools);
    leader_election(&tools);
}

/// kafka-features, kafka-metadata-quorum, kafka-broker-api-versions.
#[test]
fn cluster() {
    let Some(tools) = start() else { return };
    features(&tools);
    metadata_quorum(&tools);
    broker_api_versions(&tools);
}

/// kafka-configs on groups and client metrics.
#[test]
fn configs() {
    let Some(tools) = start() else { return };
    group_configs(&tools);
    client_metrics_configs(&tools);
}

/// kafka-topics and kafka-get-offsets: __consumer_offsets is a topic that tools see, and know to be internal.
#[test]
fn the_offsets_topic_is_internal() {
    let Some(tools) = start() else { return };
    tools.topic("plain", 1, 10);
    group(&tools, "plain", "readers", 10);
    let topics = tools.out(TOPICS, "--list");
    assert_eq!(topics.lines().collect::<Vec<_>>(), ["__consumer_offsets", "plain"]);
    assert_eq!(tools.out(TOPICS, "--list --exclude-internal").trim(), "plain");
    let described = tools.out(TOPICS, "--describe --topic __consumer_offsets");
    contains(&described, &["PartitionCount: 4", "cleanup.policy=compact"]);
    let offsets = tools.out(OFFSETS, "--topic-partitions __consumer_offsets:0-4");
    let ends: u64 = offsets
        .lines()
        .filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok())
        .sum();
    assert!(ends > 0, "the group left records: {offsets}");
    let all = tools.out(OFFSETS, "--exclude-internal-topics");
    assert_eq!(all.trim(), "plain:0:10");
}

/// kafka-log-dirs.
fn log_dirs(tools: &Tools) {
    tools.topic("big", 2, 1_000);
    let described = tools.out(LOG_DIRS, "--describe --topic-list big --broker-list 0");
    let parts = [
        r#""broker":0,"logDirs":[{"#,
        r#""error":null"#,
        r#""partition":"big-0","size":"#,
        r#""offsetLag":0,"isFuture":false"#,
    ];
    contains(&described, &parts);
    let sizes = described.split(r#""size":"#).skip(1);
    let sizes = sizes.filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok());
    assert!(sizes.sum::<u64>() > 1_000, "1,000 records take room: {described}");
    let unknown = tools.fails(LOG_DIRS, "--describe --broker-list 7");
    contains(&unknown, &["The given brokers do not exist from --broker-list: 7"]);
}

/// kafka-delete-records.
fn delete_records(tools: &Tools) {
    tools.topic("shortened", 1, 10);
    let file = |name: &str, offset: i64| {
        let json = format!(r#"{{"partitions":[{{"topic":"shortened","partition":0,"offset":{offset}}}],"version":1}}"#);
        tools.file(name, &json)
    };
    let deleted = tools.out(DELETE_RECORDS, &format!("--offset-json-file {}", file("4.json", 4)));
    contains(
        &deleted,
        &[
            "Records delete operation completed:",
            "partition: shortened-0\tlow_watermark: 4",
        ],
    );
    assert_eq!(
        tools.out(OFFSETS, "--topic shortened --time earliest").trim(),
        "shortened:0:4"
    );
    let first = tools.out(
        CONSUMER,
        "--topic shortened --partition 0 --offset earliest --max-messages 1",
    );
    assert_eq!(first.trim(), "5", "the record at offset 4");
    // The tool ends with 0 all the same.
    let beyond = tools.out(DELETE_RECORDS, &format!("--offset-json-file {}", file("500.json", 500)));
    contains(
        &beyond,
        &["partition: shortened-0\terror: ", "OffsetOutOfRangeException"],
    );
    let all = tools.out(DELETE_RECORDS, &format!("--offset-json-file {}", file("all.json", -1)));
    contains(&all, &["partition: shortened-0\tlow_watermark: 10"]);
}

/// kafka-features: the switch of the consumer protocol, down and up again.
fn features(tools: &Tools) {
    let level = |level: &str| {
        let described = tools.out(FEATURES, "describe");
        let line = described.lines().find(|line| line.contains("Feature: group.version"));
        contains(
            line.unwrap_or_else(|| panic!("no group.version in:\n{described}")),
            &["SupportedMaxVersion: 1", &format!("FinalizedVersionLevel: {level}")],
        );
    };
    level("1");
    for (arguments, printed, after) in [
        ("upgrade --feature group.version=1", "was upgraded to 1.", "1"),
        (
            "downgrade --feature group.version=0 --dry-run",
            "can be downgraded to 0.",
            "1",
        ),
        ("downgrade --feature group.version=0", "was downgraded to 0.", "0"),
        ("upgrade --feature group.version=1", "was upgraded to 1.", "1"),
    ] {
        contains(&tools.out(FEATURES, arguments), &[&format!("group.version {printed}")]);
        level(after);
    }
    let unknown = tools.fails(FEATURES, "upgrade --feature nope=1");
    contains(
        &unknown,
        &["Could not upgrade nope to 1.", "1 out of 1 operation(s) failed."],
    );
}

/// kafka-reassign-partitions: one broker has nothing to move, and says so as Kafka does.
fn reassign_partitions(tools: &Tools) {
    tools.topic("fixed", 2, 1);
    let topics = tools.file("topics.json", r#"{"topics":[{"topic":"fixed"}],"version":1}"#);
    let generated = tools.out(
        REASSIGN,
        &format!("--generate --topics-to-move-json-file {topics} --broker-list 0"),
    );
    let proposed = [
        "Current partition replica assignment",
        "Proposed partition reassignment configuration",
        r#"{"topic":"fixed","partition":1,"replicas":[0],"log_dirs":["any"]}"#,
    ];
    contains(&generated, &proposed);
    let plan = r#"{"version":1,"partitions":[{"topic":"fixed","partition":0,"replicas":[0],"log_dirs":["any"]}]}"#;
    let plan = tools.file("plan.json", plan);
    let executed = tools.out(REASSIGN, &format!("--execute --reassignment-json-file {plan}"));
    contains(&executed, &["Successfully started partition reassignment for fixed-0"]);
    let verified = tools.out(REASSIGN, &format!("--verify --reassignment-json-file {plan}"));
    contains(&verified, &["Reassignment of partition fixed-0 is completed."]);
    assert_eq!(
        tools.out(REASSIGN, "--list").trim(),
        "No partition reassignments found."
    );
    let cancelled = tools.out(REASSIGN, &format!("--cancel --reassignment-json-file {plan}"));
    contains(
        &cancelled,
        &["None of the specified partition reassignments are active."],
    );
}

/// kafka-leader-election: the only replica leads already.
fn leader_election(tools: &Tools) {
    tools.topic("led", 2, 1);
    tools.out(LEADER_ELECTION, "--election-type preferred --all-topic-partitions");
    let one = "--topic led --partition 0";
    for kind in ["preferred", "unclean"] {
        let elected = tools.out(LEADER_ELECTION, &format!("--election-type {kind} {one}"));
        contains(&elected, &["Valid replica already elected for partitions led-0"]);
    }
    let unknown = tools.fails(LEADER_ELECTION, "--election-type preferred --topic led --partition 9");
    contains(&unknown, &["UnknownTopicOrPartitionException"]);
}

/// kafka-metadata-quorum: one voter, which leads.
fn metadata_quorum(tools: &Tools) {
    let status = tools.out(QUORUM, "describe --status");
    for (key, value) in [
        ("LeaderId:", "0"),
        ("MaxFollowerLag:", "0"),
        ("CurrentObservers:", "[]"),
    ] {
        let found = status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        assert_eq!(found, Some(value), "{key} in:\n{status}");
    }
    contains(
        &status,
        &[
            "ClusterId: ",
            "LeaderEpoch: ",
            "HighWatermark: ",
            "CurrentVoters: ",
            r#""id": 0"#,
        ],
    );
    let replication = tools.out(QUORUM, "describe --replication");
    let leader = replication.lines().find(|line| line.trim_end().ends_with("Leader"));
    assert!(leader.is_some_and(|line| line.starts_with('0')), "{replication}");
}

/// kafka-broker-api-versions: what groups and administration need is there, and a client of this version can use the newest.
fn broker_api_versions(tools: &Tools) {
    let printed = tools.out(API_VERSIONS, "");
    for api in [
        "OffsetCommit(8)",
        "OffsetFetch(9)",
        "FindCoordinator(10)",
        "JoinGroup(11)",
        "Heartbeat(12)",
        "LeaveGroup(13)",
        "SyncGroup(14)",
        "DescribeGroups(15)",
        "ListGroups(16)",
        "DeleteRecords(21)",
        "DescribeLogDirs(35)",
        "DeleteGroups(42)",
        "ElectLeaders(43)",
        "AlterPartitionReassignments(45)",
        "ListPartitionReassignments(46)",
        "OffsetDelete(47)",
        "DescribeClientQuotas(48)",
        "DescribeQuorum(55)",
        "UpdateFeatures(57)",
        "DescribeProducers(61)",
        "ConsumerGroupHeartbeat(68)",
        "ConsumerGroupDescribe(69)",
        "ListConfigResources(74)",
    ] {
        let line = printed.lines().find(|line| line.contains(api));
        assert!(
            line.is_some_and(|line| line.contains("usable: ")),
            "{api} in:\n{printed}"
        );
    }
}

/// kafka-configs on groups.
fn group_configs(tools: &Tools) {
    let of_group = "--entity-type groups --entity-name tuned";
    let set = "--add-config consumer.heartbeat.interval.ms=6000,consumer.session.timeout.ms=46000";
    let done = "Completed updating config for group tuned.";
    contains(&tools.out(CONFIGS, &format!("--alter {of_group} {set}")), &[done]);
    let described = tools.out(CONFIGS, &format!("--describe {of_group}"));
    let expected = [
        "Dynamic configs for group tuned are:",
        "consumer.heartbeat.interval.ms=6000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG:consumer.heartbeat.interval.ms=6000",
        "consumer.session.timeout.ms=46000",
    ];
    contains(&described, &expected);
    contains(&tools.out(CONFIGS, "--describe --entity-type groups"), &expected);
    let unset = format!("--alter {of_group} --delete-config consumer.heartbeat.interval.ms");
    contains(&tools.out(CONFIGS, &unset), &[done]);
    let all = tools.out(CONFIGS, &format!("--describe {of_group} --all"));
    contains(
        &all,
        &[
            "consumer.heartbeat.interval.ms=5000",
            "consumer.session.timeout.ms=46000",
        ],
    );
    for (wrong, complaint) in [
        ("no.such=1", "InvalidConfigurationException"),
        ("consumer.session.timeout.ms=1", "InvalidConfigurationException"),
    ] {
        let failed = tools.fails(CONFIGS, &format!("--alter {of_group} --add-config {wrong}"));
        contains(&failed, &[complaint]);
    }
}

/// kafka-configs on client metrics, and kafka-client-metrics.
fn client_metrics_configs(tools: &Tools) {
    let of_subscription = "--entity-type client-metrics --entity-name watch";
    let set = "--add-config metrics=org.apache.kafka.,interval.ms=10000,match=[client_id=.*]";
    let done = "Completed updating config for client-metric watch.";
    contains(
        &tools.out(CONFIGS, &format!("--alter {of_subscription} {set}")),
        &[done],
    );
    let described = tools.out(CONFIGS, &format!("--describe {of_subscription}"));
    let expected = [
        "interval.ms=10000 sensitive=false synonyms={DYNAMIC_CLIENT_METRICS_CONFIG:interval.ms=10000",
        "match=client_id=.*",
        "metrics=org.apache.kafka.",
    ];
    contains(&described, &expected);
    assert_eq!(tools.out(CLIENT_METRICS, "--list").trim(), "watch");
    let failed = tools.fails(
        CONFIGS,
        &format!("--alter {of_subscription} --add-config interval.ms=1"),
    );
    contains(&failed, &["InvalidRequestException"]);
    let unset = format!("--alter {of_subscription} --delete-config interval.ms,metrics,match");
    contains(&tools.out(CONFIGS, &unset), &[done]);
    assert_eq!(tools.out(CLIENT_METRICS, "--list").trim(), "");
}

/// Admin.describeProducers, listConfigResources, describeClientQuotas: see `java/GroupChecks.java`.
#[test]
fn admin_calls() {
    let Some(tools) = start() else { return };
    let of_group = "--entity-type groups --entity-name tuned";
    tools.out(
        CONFIGS,
        &format!("--alter {of_group} --add-config consumer.session.timeout.ms=46000"),
    );
    let output = tools.program(&["GroupChecks", "admin", &tools.bootstrap]);
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let lines: Vec<&str> = output.stdout.lines().map(str::trim_end).collect();
    let expected = [
        "producer epoch 0 last sequence 2 transaction OptionalLong.empty",
        "config resources TOPIC produced",
        "config resources GROUP tuned",
        "config resources BROKER 0",
        "config resources CLIENT_METRICS",
        "quotas {}",
    ];
    assert_eq!(lines, expected, "{}", output.stderr);
}
