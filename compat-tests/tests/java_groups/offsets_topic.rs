//! What lies in __consumer_offsets, read by Kafka's own code: its console formatters and its coordinator's decoder.

use streamhouse_compat_tests::eventually;

use crate::tools::{CONSUMER, CONSUMER_GROUPS, OFFSETS, Tools, contains, rows, start};

const FORMATTERS: &str = "org.apache.kafka.tools.consumer";

/// Every record of the topic, in the order of its partitions, as this formatter prints them; one that is not for it
/// prints nothing.
fn formatted(tools: &Tools, formatter: &str) -> String {
    let of_topic = |time: &str| {
        let printed = tools.out(OFFSETS, &format!("--topic __consumer_offsets --time {time}"));
        let offsets = printed
            .lines()
            .filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok());
        offsets.collect::<Vec<u64>>()
    };
    let (earliest, latest) = (of_topic("earliest"), of_topic("latest"));
    assert_eq!(latest.len(), 4, "partitions of __consumer_offsets");
    let mut all = String::new();
    for (partition, (first, end)) in earliest
        .iter()
        .zip(&latest)
        .enumerate()
        .filter(|(_, (first, end))| end > first)
    {
        let count = end - first;
        // A rewritten log has fewer records than offsets: the timeout ends the tool then.
        let from = format!("--partition {partition} --offset earliest --max-messages {count} --timeout-ms 10000");
        let formatter = format!("--formatter {FORMATTERS}.{formatter}");
        let output = tools.run(CONSUMER, &format!("--topic __consumer_offsets {from} {formatter}"), "");
        contains(&output.stderr, &["Processed a total of"]);
        all.push_str(&output.stdout);
    }
    all
}

/// The records of a group, live ones only, as Kafka's coordinator decodes them: key and value of each.
fn records(tools: &Tools, group: &str) -> Vec<String> {
    let output = tools.program(&["GroupChecks", "records", &tools.bootstrap]);
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let quoted = format!("\"{group}\"");
    let lines = output.stdout.lines().filter(|line| line.contains(&quoted));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn has(records: &[String], key: &str, parts: &[&str]) {
    let found = records
        .iter()
        .any(|record| record.starts_with(key) && parts.iter().all(|part| record.contains(part)));
    assert!(found, "no {key} with {parts:?} in:\n{}", records.join("\n"));
}

/// Offsets and classic groups: kafka-console-consumer's formatters for __consumer_offsets print them.
#[test]
fn formatters_print_offsets_and_classic_groups() {
    let Some(tools) = start() else { return };
    tools.topic("formatted", 1, 10);
    let read = "--topic formatted --group formatted-readers --from-beginning --max-messages 7 --timeout-ms 60000";
    tools.out(CONSUMER, read);
    let offsets = formatted(&tools, "OffsetsMessageFormatter");
    let key = r#"{"key":{"type":1,"data":{"group":"formatted-readers","topic":"formatted","partition":0}}"#;
    let committed = format!(r#"{key},"value":{{"version":"#);
    contains(
        &offsets,
        &[
            &committed,
            r#""offset":7,"#,
            r#""metadata":"""#,
            r#""commitTimestamp":"#,
        ],
    );
    let groups = formatted(&tools, "GroupMetadataMessageFormatter");
    let group = r#"{"key":{"type":2,"data":{"group":"formatted-readers"}},"value":{"version":3,"data":{"protocolType":"consumer""#;
    contains(
        &groups,
        &[
            group,
            r#""protocol":"range""#,
            r#""clientId":"console-consumer""#,
            r#""members":[]"#,
        ],
    );

    tools.out(CONSUMER_GROUPS, "--delete --group formatted-readers");
    let deleted = format!(r#"{key},"value":null}}"#);
    contains(&formatted(&tools, "OffsetsMessageFormatter"), &[&deleted]);
    let no_group = r#"{"key":{"type":2,"data":{"group":"formatted-readers"}},"value":null}"#;
    contains(&formatted(&tools, "GroupMetadataMessageFormatter"), &[no_group]);
}

/// Groups of the consumer protocol: Kafka's coordinator decodes every record, and finds what it would have written.
#[test]
fn kafkas_coordinator_reads_the_records() {
    let Some(tools) = start() else { return };
    tools.topic("decoded", 3, 10);
    let member = tools.member(
        "decoded",
        "next-decoded",
        &["group.protocol=consumer", "client.id=only"],
    );
    eventually("the member owns all and has committed", || {
        let described = tools.run(CONSUMER_GROUPS, "--describe --group next-decoded", "").stdout;
        let read = rows(&described, "next-decoded");
        (read.len() == 3 && read.iter().all(|words| words.get(5) == Some(&"0"))).then_some(())
    });
    let found = records(&tools, "next-decoded");
    has(&found, "ConsumerGroupMetadataKey", &[r#""epoch":"#]);
    let subscribed = [
        r#""clientId":"only""#,
        r#""subscribedTopicNames":["decoded"]"#,
        r#""rebalanceTimeoutMs":300000"#,
    ];
    has(&found, "ConsumerGroupMemberMetadataKey", &subscribed);
    has(
        &found,
        "ConsumerGroupTargetAssignmentMetadataKey",
        &[r#""assignmentEpoch":"#],
    );
    has(
        &found,
        "ConsumerGroupTargetAssignmentMemberKey",
        &[r#""partitions":[0,1,2]"#],
    );
    has(
        &found,
        "ConsumerGroupCurrentMemberAssignmentKey",
        &[r#""partitions":[0,1,2]"#, r#""state":0"#],
    );
    has(&found, "OffsetCommitKey", &[r#""topic":"decoded""#, r#""offset":10,"#]);

    member.leave();
    let left = records(&tools, "next-decoded");
    has(&left, "ConsumerGroupMetadataKey", &[r#""epoch":"#]);
    has(&left, "OffsetCommitKey", &[r#""offset":10,"#]);
    assert!(
        !left.iter().any(|record| record.contains("Member")),
        "a member that left: {left:#?}"
    );
    tools.out(CONSUMER_GROUPS, "--delete --group next-decoded");
    assert_eq!(records(&tools, "next-decoded"), Vec::<String>::new());
}
