//! Joining, living, leaving: contract 82–84, 86, and the order of records.

use super::*;
use crate::groups::consumer::ConsumerState;

type Request = ConsumerGroupHeartbeatRequest;
/// A request made wrong.
type Change = fn(Request) -> Request;

/// contract 82: a member joins with epoch 0 and gets everything in one reply.
#[test]
fn a_member_joins_with_epoch_0() {
    let mut bench = Bench::new(&[("a", 3)]);
    let reply = bench.beat(&joining("m", &["a"]));
    assert_eq!(
        (reply.error_code, reply.member_epoch, reply.heartbeat_interval_ms),
        (0, 1, 5_000)
    );
    assert_eq!(reply.member_id, Some(text("m")));
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a"])));
    assert_eq!(
        kinds(&bench.last),
        ["member", "epoch", "target", "target epoch", "current"]
    );
    assert_eq!(bench.group().state(), ConsumerState::Stable);
    bench.assert_replayable();
}

/// contract 82: what is wrong with a request is 42, and changes nothing.
#[test]
fn wrong_requests_are_42() {
    let wrong: [(&str, Change); 10] = [
        ("no group", |request| request.with_group_id(text("").into())),
        ("no member id", |request| request.with_member_id(text(""))),
        ("empty instance id", |request| request.with_instance_id(Some(text("")))),
        ("empty rack", |request| request.with_rack_id(Some(text("")))),
        ("no rebalance timeout", |request| request.with_rebalance_timeout_ms(-1)),
        ("no owned partitions", |request| request.with_topic_partitions(None)),
        ("owned partitions", |request| {
            request.with_topic_partitions(Some(vec![TopicPartitions::default()]))
        }),
        ("no subscription", |request| request.with_subscribed_topic_names(None)),
        ("epoch -3", |request| request.with_member_epoch(-3)),
        ("dynamic, for a while", |request| request.with_member_epoch(-2)),
    ];
    let mut bench = Bench::new(&[("a", 3)]);
    bench.joined(&[("other", &["a"])]);
    for (what, change) in wrong {
        assert_eq!(
            bench.refused(&change(joining("m", &["a"]))),
            ErrorCode::InvalidRequest,
            "{what}"
        );
    }
    assert_eq!(bench.group().len(), 1);
}

/// contract 82: up to version 0 the broker makes the member id.
#[test]
fn version_0_gets_a_member_id() {
    let mut bench = Bench::new(&[("a", 3)]);
    let (reply, _) = bench.heartbeat_as(&client(0), &joining("", &["a"]));
    let id = reply.member_id.expect("an id");
    assert_eq!(id.len(), 22, "Kafka's form of an id");
    assert_eq!(bench.beat(&living(&id, 1)).error_code, 0);
}

/// contract 82: a member may subscribe to nothing, or to topics that do not exist.
#[test]
fn a_member_may_want_nothing() {
    let mut bench = Bench::new(&[]);
    let reply = bench.beat(&joining("m", &[]));
    assert_eq!((reply.error_code, bench.assigned(&reply)), (0, Some(BTreeSet::new())));
    let reply = bench.beat(&joining("n", &["later"]));
    assert_eq!((reply.error_code, bench.assigned(&reply)), (0, Some(BTreeSet::new())));
    assert_eq!(bench.group().metadata_hash, 0);
}

/// contract 82: epoch −1 leaves, for good; whoever is no member hears 25.
#[test]
fn epoch_minus_1_leaves() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.joined(&[("m", &["a"]), ("n", &["a"])]);
    let epoch = bench.group().epoch();
    let reply = bench.beat(&request("m", -1));
    assert_eq!((reply.error_code, reply.member_epoch, reply.assignment), (0, -1, None));
    assert_eq!(kinds(&bench.last), ["-current", "-target", "-member", "epoch"]);
    assert_eq!(bench.group().epoch(), epoch + 1);
    assert_eq!(bench.refused(&request("m", -1)), ErrorCode::UnknownMemberId);
    assert_eq!(bench.refused(&living("m", epoch)), ErrorCode::UnknownMemberId);
    bench.settle(["n"].into_iter());
    assert_eq!(bench.has("n"), bench.topics.all(&["a"]));
    bench.beat(&request("n", -1));
    assert_eq!(bench.group().state(), ConsumerState::Empty);
    bench.assert_replayable();
    let tombstones = bench.group().tombstones();
    assert_eq!(kinds(&tombstones), ["-target epoch", "-epoch"]);
}

/// The tombstones of a group with members and patterns remove all of it.
#[test]
fn tombstones_remove_everything() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.joined(&[("m", &["a"])]);
    bench.beat(&joining("r", &[]).with_subscribed_topic_regex(Some(text("a.*"))));
    bench.advance(0);
    let tombstones = bench.group().tombstones();
    let expected = [
        "-current",
        "-current",
        "-target",
        "-target",
        "-target epoch",
        "-member",
        "-member",
        "-regex",
        "-epoch",
    ];
    assert_eq!(kinds(&tombstones), expected);
    tombstones.iter().for_each(|record| bench.replay(record));
    assert!(matches!(bench.machine, Machine::None));
}

/// contract 83: the assignment comes with a full request or a change, else not.
#[test]
fn an_assignment_comes_with_a_full_request_or_a_change() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    let quiet = bench.beat(&living("m", 1));
    assert_eq!((quiet.error_code, quiet.member_epoch, &quiet.assignment), (0, 1, &None));
    assert!(bench.last.is_empty(), "nothing changed: nothing is written");
    let owned = bench.owning("m", 1, &[("a", 0), ("a", 1)]).topic_partitions;
    let full = joining("m", &["a"]).with_member_epoch(1).with_topic_partitions(owned);
    let reply = bench.beat(&full);
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a"])));
    // Not full: the rebalance timeout is missing.
    assert_eq!(bench.beat(&full.with_rebalance_timeout_ms(-1)).assignment, None);
    bench.beat(&joining("n", &["a"]));
    let changed = bench.beat(&living("m", 1));
    assert_eq!(
        bench.assigned(&changed).map(|parts| parts.len()),
        Some(1),
        "it must give one up"
    );
}

/// contract 83: what a request leaves out stays as it was; what it has is written.
#[test]
fn requests_change_what_they_name() {
    let mut bench = Bench::new(&[("a", 2), ("b", 2)]);
    bench.beat(
        &joining("m", &["a"])
            .with_rack_id(Some(text("r1")))
            .with_server_assignor(Some(text("range"))),
    );
    bench.beat(&living("m", 1).with_rack_id(Some(text("r2"))));
    assert_eq!(kinds(&bench.last), ["member"]);
    let names = living("m", 1).with_subscribed_topic_names(Some(vec![text("b").into(), text("a").into()]));
    let reply = bench.beat(&names);
    assert_eq!(reply.member_epoch, 2);
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a", "b"])));
    let member = bench.group().members.get("m").expect("a member");
    assert_eq!(
        (member.rack_id.as_deref(), member.server_assignor.as_deref()),
        (Some("r2"), Some("range"))
    );
    assert_eq!(member.rebalance_timeout_ms, 30_000);
    // The same names in another order are the same subscription.
    let names = living("m", 2).with_subscribed_topic_names(Some(vec![text("a").into(), text("b").into()]));
    bench.beat(&names);
    assert!(bench.last.is_empty());
    let moved = Client {
        host: Arc::from("/10.0.0.7"),
        ..client(1)
    };
    bench.heartbeat_as(&moved, &living("m", 2));
    assert_eq!(kinds(&bench.last), ["member"]);
    bench.assert_replayable();
}

/// contract 84: a greater epoch is 110, and so is a smaller one that is no lost reply.
#[test]
fn other_epochs_are_110() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.joined(&[("m", &["a"]), ("n", &["a"])]);
    let epoch = bench.group().members["m"].epoch;
    assert_eq!((epoch, bench.group().members["m"].previous_epoch), (2, 1));
    assert_eq!(bench.refused(&living("m", epoch + 1)), ErrorCode::FencedMemberEpoch);
    assert_eq!(
        bench.refused(&living("m", epoch - 1)),
        ErrorCode::FencedMemberEpoch,
        "it says not what it owns"
    );
    let lost = bench.has("n").into_iter().next().expect("a partition of the other");
    let foreign = bench.owning("m", epoch - 1, &[(&lost.0, lost.1)]);
    assert_eq!(
        bench.refused(&foreign),
        ErrorCode::FencedMemberEpoch,
        "it owns what is not its own"
    );
}

/// contract 84: the epoch before, with what it owns among what it is to have, means that the last reply was lost; that may
/// happen twice in a row.
#[test]
fn lost_replies_may_follow_each_other() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a"])]);
    bench.beat(&joining("n", &["a"]));
    let told = bench.beat(&living("m", 1));
    let kept: Vec<Part> = bench.assigned(&told).expect("an assignment").into_iter().collect();
    let report = bench.owning("m", 1, &[("a", kept[0].1)]);
    let done = bench.beat(&report);
    assert_eq!((done.error_code, done.member_epoch), (0, 2));
    // The reply was lost: the member sends the same again, full, and again.
    let again = joining("m", &["a"])
        .with_member_epoch(1)
        .with_topic_partitions(report.topic_partitions);
    for _ in 0..2 {
        let reply = bench.beat(&again);
        assert_eq!((reply.error_code, reply.member_epoch), (0, 2));
        assert_eq!(bench.assigned(&reply), Some(kept.iter().cloned().collect()));
    }
    // n waits for its partition; its replies get lost as well.
    let got = bench.beat(&living("n", 2));
    assert_eq!(bench.assigned(&got).map(|parts| parts.len()), Some(1));
    let again = joining("n", &["a"]).with_member_epoch(2);
    let reply = bench.beat(&again);
    assert_eq!(bench.assigned(&reply).map(|parts| parts.len()), Some(1));
}

/// contract 84: a member that lost its way joins again with its id and keeps its place.
#[test]
fn a_member_may_join_again() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.joined(&[("m", &["a"]), ("n", &["a"])]);
    let epoch = bench.group().epoch();
    let reply = bench.beat(&joining("m", &["a"]));
    assert_eq!(
        (reply.error_code, reply.member_epoch),
        (0, epoch),
        "nothing changed for the group"
    );
    assert_eq!(bench.assigned(&reply), Some(bench.has("m")));
}

/// Error 81: the group has as many members as it may.
#[test]
fn a_full_group_takes_nobody() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.config.group_consumer_max_size = 2;
    bench.joined(&[("m", &["a"]), ("n", &["a"])]);
    assert_eq!(bench.refused(&joining("o", &["a"])), ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.beat(&joining("n", &["a"])).error_code, 0);
    assert_eq!(bench.beat(&living("m", 2)).error_code, 0);
}

/// contract 86: an assignor that the broker does not have is 112; the one that most ask for is taken.
#[test]
fn members_vote_for_the_assignor() {
    let mut bench = Bench::new(&[("a", 4)]);
    let ask = |id: &str, assignor: &str| joining(id, &["a"]).with_server_assignor(Some(text(assignor)));
    assert_eq!(bench.refused(&ask("m", "sticky")), ErrorCode::UnsupportedAssignor);
    let assignor = |bench: &mut Bench| {
        bench.event(|machine, env| match machine {
            Machine::Consumer(group) => (group.describe(env).assignor_name.to_string(), Effects::none()),
            _ => unreachable!(),
        })
    };
    bench.beat(&ask("m", "range"));
    assert_eq!(assignor(&mut bench).0, "range");
    bench.beat(&ask("n", "uniform"));
    assert_eq!(
        assignor(&mut bench).0,
        "uniform",
        "the first of the config among equals"
    );
    bench.beat(&ask("o", "range"));
    assert_eq!(assignor(&mut bench).0, "range");
    bench.config.group_consumer_assignors = vec![Arc::from("range")];
    assert_eq!(bench.refused(&ask("m", "uniform")), ErrorCode::UnsupportedAssignor);
}

/// A heartbeat interval of the group's own, within the limits.
#[test]
fn a_group_may_have_its_own_heartbeat_interval() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.topics.overrides.consumer_heartbeat_interval_ms = Some(7_000);
    assert_eq!(bench.beat(&joining("m", &["a"])).heartbeat_interval_ms, 7_000);
    bench.topics.overrides.consumer_heartbeat_interval_ms = Some(1);
    assert_eq!(bench.beat(&living("m", 1)).heartbeat_interval_ms, 5_000);
}

/// What the log refuses has not happened.
#[test]
fn refused_records_change_nothing() {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.joined(&[("m", &["a"])]);
    bench.refuses = true;
    bench.beat(&joining("n", &["a"]));
    bench.topics.grow("a", 6);
    bench.beat(&living("m", 1));
    bench.beat(&request("m", -1));
    assert_eq!((bench.group().len(), bench.group().epoch()), (1, 1));
    bench.refuses = false;
    let reply = bench.beat(&living("m", 1));
    assert_eq!(
        bench.assigned(&reply),
        Some(bench.topics.all(&["a"])),
        "the topic's growth is not forgotten"
    );
    bench.assert_replayable();
}

/// Topics that are created, grow, are deleted or made anew move the group epoch.
#[test]
fn topics_move_the_group_epoch() {
    let mut bench = Bench::new(&[("a", 2)]);
    bench.joined(&[("m", &["a", "b"])]);
    let step = |bench: &mut Bench| {
        let epoch = bench.group().epoch();
        let reply = bench.beat(&living("m", epoch));
        assert_eq!(kinds(&bench.last).first(), Some(&"epoch"));
        (reply.member_epoch - epoch, bench.assigned(&reply))
    };
    bench.topics.create("b", 1);
    let created = step(&mut bench);
    assert_eq!(created, (1, Some(bench.topics.all(&["a", "b"]))));
    bench.topics.grow("b", 3);
    let grown = step(&mut bench);
    assert_eq!(grown, (1, Some(bench.topics.all(&["a", "b"]))));
    // Partitions that are gone are to be given up like any others.
    bench.topics.delete("a");
    assert_eq!(step(&mut bench), (0, Some(bench.topics.all(&["b"]))));
    bench.settle(["m"].into_iter());
    assert_eq!(bench.has("m"), bench.topics.all(&["b"]));
    // The same name, another topic.
    bench.topics.create("b", 3);
    let epoch = bench.group().epoch();
    bench.beat(&living("m", epoch));
    bench.settle(["m"].into_iter());
    assert_eq!(
        (bench.group().epoch(), bench.has("m")),
        (epoch + 1, bench.topics.all(&["b"]))
    );
    // Somebody else's topic.
    bench.topics.create("z", 1);
    bench.beat(&living("m", epoch + 1));
    assert!(bench.last.is_empty());
    bench.assert_replayable();
}

/// contract 87, ConsumerGroupDescribe: states, epochs, assignments, targets, types.
#[test]
fn describe_shows_the_group() {
    let mut bench = Bench::new(&[("a", 2), ("b", 1)]);
    bench.joined(&[("m", &["a", "b"])]);
    bench.beat(
        &joining("n", &["a"])
            .with_instance_id(Some(text("i")))
            .with_rack_id(Some(text("r"))),
    );
    bench.beat(&living("m", 1));
    bench.topics.delete("b");
    let describe = |bench: &mut Bench| {
        let (described, _) = bench.event(|machine, env| match machine {
            Machine::Consumer(group) => (group.describe(env), Effects::none()),
            _ => unreachable!(),
        });
        described
    };
    let group = describe(&mut bench);
    assert_eq!(
        (&*group.group_state, group.group_epoch, group.assignment_epoch),
        ("Reconciling", 2, 2)
    );
    assert_eq!(
        (&*group.assignor_name, group.error_code, group.members.len()),
        ("uniform", 0, 2)
    );
    let (m, n) = (&group.members[0], &group.members[1]);
    assert_eq!((&*m.member_id, m.member_epoch, m.member_type), ("m", 1, 1));
    assert_eq!((&*m.client_id, &*m.client_host), ("client", "/127.0.0.1"));
    assert_eq!(m.subscribed_topic_names.len(), 2);
    let of = |assignment: &kafka_protocol::messages::consumer_group_describe_response::Assignment| -> BTreeSet<Part> {
        let topics = assignment.topic_partitions.iter();
        topics
            .flat_map(|t| t.partitions.iter().map(|p| (t.topic_name.to_string(), *p)))
            .collect()
    };
    assert_eq!(of(&m.assignment), of(&m.target_assignment));
    assert_eq!((n.instance_id.as_deref(), n.rack_id.as_deref()), (Some("i"), Some("r")));
    assert_eq!(
        (of(&n.assignment).len(), of(&n.target_assignment).len(), n.member_epoch),
        (0, 1, 2)
    );
    bench.beat(&request("m", -1));
    assert_eq!(&*describe(&mut bench).group_state, "Assigning");
    bench.beat(&request("n", -1).with_instance_id(Some(text("i"))));
    assert_eq!(&*describe(&mut bench).group_state, "Empty");
}

/// contract 81, 86: whether somebody is subscribed, by name or pattern.
#[test]
fn subscriptions_are_known() {
    let mut bench = Bench::new(&[("a", 2), ("bee", 1)]);
    bench.joined(&[("m", &["a", "later"])]);
    bench.beat(&joining("r", &[]).with_subscribed_topic_regex(Some(text("b.*"))));
    bench.advance(0);
    let subscribed: Vec<bool> = ["a", "later", "bee", "b"]
        .iter()
        .map(|t| bench.group().is_subscribed(t))
        .collect();
    assert_eq!(subscribed, [true, true, true, false]);
    bench.beat(&request("m", -1));
    assert!(!bench.group().is_subscribed("a"));
}
