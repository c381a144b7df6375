//! kafka-console-consumer with a group, and kafka-consumer-groups on groups without members.

use crate::tools::{CONSUMER, CONSUMER_GROUPS, Tools, contains, rows, start};

/// Reads all of `topic` in `group` and leaves.
fn read(tools: &Tools, topic: &str, group: &str, records: usize, properties: &str) -> Vec<String> {
    let arguments = format!(
        "--topic {topic} --group {group} --from-beginning --max-messages {records} --timeout-ms 60000 {properties}"
    );
    let output = tools.out(CONSUMER, &arguments);
    output.lines().map(str::to_owned).collect()
}

/// Current offset, end and lag of each partition as `--describe` says.
fn offsets(tools: &Tools, group: &str) -> Vec<[String; 4]> {
    let described = tools.out(CONSUMER_GROUPS, &format!("--describe --group {group}"));
    let row = |words: Vec<&str>| [2, 3, 4, 5].map(|at| words.get(at).copied().unwrap_or_default().to_owned());
    rows(&described, group).into_iter().map(row).collect()
}

fn expected(rows: &[[&str; 4]]) -> Vec<[String; 4]> {
    rows.iter().map(|row| row.map(str::to_owned)).collect()
}

/// What `--reset-offsets` says for the first partition.
fn reset(tools: &Tools, group: &str, arguments: &str) -> String {
    let printed = tools.out(
        CONSUMER_GROUPS,
        &format!("--reset-offsets --group {group} --topic resets {arguments}"),
    );
    let rows = rows(&printed, group);
    let partition_0 = rows.iter().find(|words| words.get(2) == Some(&"0"));
    let words = partition_0.unwrap_or_else(|| panic!("{arguments}: no row of partition 0 in:\n{printed}"));
    words.get(3).copied().unwrap_or_default().to_owned()
}

/// A group of the console consumer, both protocols: it reads once, goes on where it left, and is listed and described.
#[test]
fn a_group_reads_once_and_is_described() {
    let Some(tools) = start() else { return };
    tools.topic("read", 1, 30);
    for (group, properties, kind) in [
        (
            "classic-readers",
            "--command-property group.protocol=classic",
            "Classic",
        ),
        ("next-readers", "--command-property group.protocol=consumer", "Consumer"),
    ] {
        let all: Vec<String> = (1..=30).map(|i| i.to_string()).collect();
        assert_eq!(read(&tools, "read", group, 20, properties), all[..20], "{group}");
        assert_eq!(read(&tools, "read", group, 10, properties), all[20..], "{group}");
        assert_eq!(offsets(&tools, group), expected(&[["0", "30", "30", "0"]]), "{group}");
        let describe = format!("--describe --group {group}");
        let output = tools.run(CONSUMER_GROUPS, &describe, "");
        contains(&(output.stdout + &output.stderr), &["has no active members"]);
        let state = tools.out(CONSUMER_GROUPS, &format!("{describe} --state"));
        let state = rows(&state, group).concat();
        let address = tools.bootstrap.as_str();
        assert_eq!(state.get(1), Some(&address), "the coordinator: {state:?}");
        assert!(state.ends_with(&["Empty", "0"]), "state and members: {state:?}");
        let members = tools.out(CONSUMER_GROUPS, &format!("{describe} --members --verbose"));
        assert!(rows(&members, group).is_empty(), "{members}");
        let types = tools.out(CONSUMER_GROUPS, "--list --type");
        assert_eq!(rows(&types, group).concat(), [group, kind]);
    }
    let listed = tools.out(CONSUMER_GROUPS, "--list");
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["classic-readers", "next-readers"]);
    let empty = tools.out(CONSUMER_GROUPS, "--list --state Empty");
    assert_eq!(rows(&empty, "next-readers").concat(), ["next-readers", "Empty"]);
    let stable = tools.out(CONSUMER_GROUPS, "--list --state Stable");
    assert!(!stable.contains("readers"), "{stable}");
    let classic = tools.out(CONSUMER_GROUPS, "--list --type classic");
    assert!(
        classic.contains("classic-readers") && !classic.contains("next-readers"),
        "{classic}"
    );
    let everything = tools.out(CONSUMER_GROUPS, "--describe --all-groups --offsets");
    contains(&everything, &["classic-readers", "next-readers"]);
    // The tool ends with 0 all the same.
    let unknown = tools.run(CONSUMER_GROUPS, "--describe --group nobody", "");
    contains(
        &(unknown.stdout + &unknown.stderr),
        &["GroupIdNotFoundException", "nobody"],
    );
}

/// kafka-consumer-groups --reset-offsets: every way to say where to, dry and executed.
#[test]
fn offsets_are_reset() {
    let Some(tools) = start() else { return };
    tools.topic("resets", 1, 30);
    resets(&tools, "classic-resets", "--command-property group.protocol=classic");
    resets(&tools, "next-resets", "--command-property group.protocol=consumer");

    let made = "--reset-offsets --group made-by-reset --topic resets --to-latest --execute";
    tools.out(CONSUMER_GROUPS, made);
    assert_eq!(
        offsets(&tools, "made-by-reset"),
        expected(&[["0", "30", "30", "0"]]),
        "a group can be made by setting offsets"
    );
}

fn resets(tools: &Tools, group: &str, protocol: &str) {
    read(tools, "resets", group, 30, protocol);
    let current = || offsets(tools, group).concat().get(1).cloned().unwrap_or_default();
    assert_eq!(current(), "30", "{group}");
    assert_eq!(reset(tools, group, "--to-earliest --dry-run"), "0");
    assert_eq!(current(), "30", "--dry-run changes nothing");
    assert_eq!(reset(tools, group, "--to-earliest"), "0");
    assert_eq!(current(), "30", "nothing changes without --execute");
    for (to, offset) in [
        ("--to-earliest", "0"),
        ("--to-latest", "30"),
        ("--to-offset 12", "12"),
        ("--shift-by -5", "7"),
        ("--shift-by 100", "30"),
        ("--shift-by -100", "0"),
        ("--to-datetime 2000-01-01T00:00:00.000", "0"),
        ("--to-datetime 2100-01-01T00:00:00.000", "30"),
        ("--by-duration P1D", "0"),
        ("--to-current", "0"),
    ] {
        assert_eq!(reset(tools, group, &format!("{to} --execute")), offset, "{group} {to}");
        assert_eq!(current(), offset, "{group} {to}");
    }
    let only = format!("--reset-offsets --group {group} --topic resets:0 --to-offset 3 --execute");
    tools.out(CONSUMER_GROUPS, &only);
    assert_eq!(
        read(tools, "resets", group, 2, protocol),
        ["4", "5"],
        "{group} reads on from there"
    );
    let export = format!("--reset-offsets --group {group} --topic resets --to-current --export --dry-run");
    assert_eq!(tools.out(CONSUMER_GROUPS, &export).trim(), "resets,0,5");
    let plan = tools.file("plan.csv", "resets,0,9\n");
    assert_eq!(reset(tools, group, &format!("--from-file {plan} --execute")), "9");
    assert_eq!(current(), "9", "{group}");
}

/// kafka-consumer-groups --delete-offsets and --delete.
#[test]
fn offsets_and_groups_are_deleted() {
    let Some(tools) = start() else { return };
    tools.topic("one", 1, 10);
    tools.topic("two", 1, 10);
    read(&tools, "one", "leavers", 10, "");
    read(&tools, "two", "leavers", 10, "");
    assert_eq!(offsets(&tools, "leavers").len(), 2);
    let deleted = tools.out(CONSUMER_GROUPS, "--delete-offsets --group leavers --topic one");
    contains(
        &deleted,
        &["Request succeeded for deleting offsets from group leavers."],
    );
    assert_eq!(rows(&deleted, "one").concat(), ["one", "0", "Successful"]);
    let left = tools.out(CONSUMER_GROUPS, "--describe --group leavers");
    assert_eq!(
        rows(&left, "leavers").concat().get(1),
        Some(&"two"),
        "the other topic's stay: {left}"
    );

    let deleted = tools.out(CONSUMER_GROUPS, "--delete --group leavers");
    contains(
        &deleted,
        &["Deletion of requested consumer groups ('leavers') was successful."],
    );
    let again = tools.run(CONSUMER_GROUPS, "--delete --group leavers", "");
    contains(
        &(again.stdout + &again.stderr),
        &["GroupIdNotFoundException", "The group id does not exist."],
    );
    assert_eq!(tools.out(CONSUMER_GROUPS, "--list").trim(), "");
    assert_eq!(
        read(&tools, "one", "leavers", 10, "").len(),
        10,
        "a deleted group begins anew"
    );
}
