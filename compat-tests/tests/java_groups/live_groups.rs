//! kafka-consumer-groups on groups with members, which it may look at but not change.

use streamhouse_compat_tests::eventually;

use crate::tools::{CONSUMER_GROUPS, Tools, contains, rows, start};

const GROUPS: &str = "org.apache.kafka.tools.GroupsCommand";

/// Waits until `count` members own something each and together everything; the rows of `--members --verbose`.
fn members(tools: &Tools, group: &str, count: usize) -> Vec<Vec<String>> {
    let describe = format!("--describe --group {group} --members --verbose");
    eventually(&format!("{count} members of {group} with partitions"), || {
        let printed = tools.run(CONSUMER_GROUPS, &describe, "").stdout;
        let rows = rows(&printed, group);
        let owned = rows.iter().filter_map(|words| words.get(4)?.parse::<usize>().ok());
        let owned: Vec<usize> = owned.filter(|count| *count > 0).collect();
        let found = owned.len() == count && owned.iter().sum::<usize>() == 3;
        found.then(|| {
            rows.iter()
                .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
                .collect()
        })
    })
}

/// What the tools refuse for a group with members, and say so.
fn refusals(tools: &Tools, group: &str) {
    let reset = format!("--reset-offsets --group {group} --topic live --to-earliest --execute");
    let reset = tools.run(CONSUMER_GROUPS, &reset, "");
    contains(
        &(reset.stdout + &reset.stderr),
        &["Assignments can only be reset if the group", "is Stable"],
    );
    let delete = tools.run(CONSUMER_GROUPS, &format!("--delete --group {group}"), "");
    contains(&(delete.stdout + &delete.stderr), &["GroupNotEmptyException"]);
    let offsets = tools.run(
        CONSUMER_GROUPS,
        &format!("--delete-offsets --group {group} --topic live"),
        "",
    );
    contains(
        &(offsets.stdout + &offsets.stderr),
        &["GroupSubscribedToTopicException"],
    );
}

/// A classic group: members, assignment, state; then it is empty.
#[test]
fn a_classic_group_with_members() {
    let Some(tools) = start() else { return };
    tools.topic("live", 3, 10);
    let (first, second) = (
        tools.member("live", "classic-live", &["group.protocol=classic", "client.id=first"]),
        tools.member("live", "classic-live", &["group.protocol=classic", "client.id=second"]),
    );
    let rows_of_members = members(&tools, "classic-live", 2);
    for row in &rows_of_members {
        // GROUP CONSUMER-ID HOST CLIENT-ID #PARTITIONS CURRENT-EPOCH CURRENT-ASSIGNMENT TARGET-EPOCH TARGET-ASSIGNMENT
        let [_, id, host, client, _, epoch, assignment, ..] = &row[..] else {
            panic!("{row:?}")
        };
        assert!(
            id.starts_with(client.as_str()),
            "a member id begins with its client's: {row:?}"
        );
        assert!(host.ends_with("127.0.0.1") && client != "-", "{row:?}");
        assert_eq!(epoch, "-", "classic members have no epoch");
        assert!(assignment.starts_with("live:"), "{row:?}");
    }
    let state = tools.out(CONSUMER_GROUPS, "--describe --group classic-live --state");
    assert!(
        rows(&state, "classic-live")
            .concat()
            .ends_with(&["range", "Stable", "2"]),
        "{state}"
    );
    let offsets = tools.out(CONSUMER_GROUPS, "--describe --group classic-live");
    let owners = rows(&offsets, "classic-live");
    assert_eq!(owners.len(), 3, "{offsets}");
    assert!(
        owners.iter().all(|words| words.len() == 9 && words[6] != "-"),
        "{offsets}"
    );
    let listed = tools.out(GROUPS, "--list");
    assert_eq!(
        rows(&listed, "classic-live").concat(),
        ["classic-live", "Classic", "consumer"]
    );
    refusals(&tools, "classic-live");

    first.leave();
    members(&tools, "classic-live", 1);
    second.leave();
    let state = tools.out(CONSUMER_GROUPS, "--describe --group classic-live --state");
    assert!(
        rows(&state, "classic-live").concat().ends_with(&["Empty", "0"]),
        "members who leave are gone at once: {state}"
    );
}

/// A group of the consumer protocol: epochs and assignments, current and target.
#[test]
fn a_consumer_group_with_members() {
    let Some(tools) = start() else { return };
    tools.topic("live", 3, 10);
    let member = tools.member("live", "next-live", &["group.protocol=consumer", "client.id=only"]);
    let row = members(&tools, "next-live", 1).concat();
    let [_, id, _, client, count, epoch, current, target_epoch, target] = &row[..] else {
        panic!("{row:?}")
    };
    assert_eq!([client.as_str(), count], ["only", "3"], "{row:?}");
    assert!(
        !id.is_empty() && epoch.parse::<u32>().is_ok_and(|epoch| epoch > 0),
        "{row:?}"
    );
    assert_eq!((epoch, current), (target_epoch, target), "it has reached its target");
    assert_eq!(current, "live:0,1,2");
    let state = tools.out(CONSUMER_GROUPS, "--describe --group next-live --state");
    assert!(
        rows(&state, "next-live")
            .concat()
            .ends_with(&["uniform", "Stable", "1"]),
        "{state}"
    );
    let stable = tools.out(CONSUMER_GROUPS, "--list --state Stable");
    assert_eq!(rows(&stable, "next-live").concat(), ["next-live", "Stable"]);
    let listed = tools.out(GROUPS, "--list");
    assert_eq!(
        rows(&listed, "next-live").concat(),
        ["next-live", "Consumer", "consumer"]
    );
    refusals(&tools, "next-live");
    eventually("the member printed all records", || {
        (1..=10)
            .all(|i| member.printed().lines().any(|line| line == i.to_string()))
            .then_some(())
    });
    member.leave();
    let state = tools.out(CONSUMER_GROUPS, "--describe --group next-live --state");
    assert!(rows(&state, "next-live").concat().ends_with(&["Empty", "0"]), "{state}");
}

/// Members of both protocols in one group while it changes over: the group is of the consumer protocol from the first such
/// member on, and classic again when the last has left.
#[test]
fn a_group_changes_its_protocol_with_members() {
    let Some(tools) = start() else { return };
    tools.topic("live", 3, 10);
    let kind = || {
        let types = tools.out(CONSUMER_GROUPS, "--list --type");
        rows(&types, "changing")
            .concat()
            .get(1)
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    // An assignor that the other protocol can serve, as Kafka's documentation of the upgrade demands.
    let classic = tools.member("live", "changing", &["group.protocol=classic", "client.id=old"]);
    members(&tools, "changing", 1);
    assert_eq!(kind(), "Classic");
    let next = tools.member("live", "changing", &["group.protocol=consumer", "client.id=new"]);
    let both = members(&tools, "changing", 2);
    assert_eq!(kind(), "Consumer", "{both:?}");
    next.leave();
    members(&tools, "changing", 1);
    assert_eq!(kind(), "Classic");
    classic.leave();
}
