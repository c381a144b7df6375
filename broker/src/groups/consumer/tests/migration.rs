//! A group goes from one protocol to the other while its members go on: contract 87.

use super::*;
use crate::groups::MigrationPolicy;
use crate::groups::classic::ClassicState;
use crate::groups::consumer::ConsumerState;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::consumer_protocol::{Assignment, OwnedPartitions};

fn join_request(id: &str, protocol_type: &str, metadata: Bytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(metadata);
    JoinGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_protocol_type(text(protocol_type))
        .with_protocols(vec![protocol])
}

fn consumer(id: &str) -> JoinGroupRequest {
    join_request(id, "consumer", classic_subscription(&["a"], &BTreeSet::new()))
}

fn beat_request(id: &str, generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_generation_id(generation_id)
}

fn sync_request(id: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_generation_id(generation_id)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
}

fn assignment(partitions: &[i32], user_data: Option<&'static [u8]>) -> Bytes {
    let assigned_partitions = vec![OwnedPartitions {
        topic: Arc::from("a"),
        partitions: partitions.to_vec(),
    }];
    let user_data = user_data.map(Bytes::from_static);
    Bytes::from(
        Assignment {
            assigned_partitions,
            user_data,
        }
        .encode(1),
    )
}

/// A classic group at rest: two members, the first leads and gives both what is told. Their ids.
fn classic_group(request: &dyn Fn(&str) -> JoinGroupRequest, given: [Bytes; 2]) -> (Bench, [String; 2]) {
    let mut bench = Bench::new(&[("a", 4)]);
    bench.config.group_initial_rebalance_delay_ms = 1_000;
    let ids = [(); 2].map(|()| {
        let waiter = bench.join(&client(9), &request(""));
        bench.join_reply(waiter).expect("a reply").member_id.to_string()
    });
    let waiters = [0, 1].map(|i| bench.join(&client(9), &request(&ids[i])));
    bench.advance(2_000);
    let joined = waiters.map(|waiter| bench.join_reply(waiter).expect("a generation"));
    assert_eq!(
        joined.each_ref().map(|reply| (reply.error_code, reply.generation_id)),
        [(0, 1); 2]
    );
    let assignments = ids.iter().zip(given).map(|(id, given)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(given)
    });
    let protocol_type = request("").protocol_type;
    let sync = |id: &str| sync_request(id, 1).with_protocol_type(Some(protocol_type.clone()));
    let mut lead = sync(&joined[0].leader);
    lead.assignments = assignments.collect();
    bench.sync(&lead);
    for id in &ids {
        let waiter = bench.sync(&sync(id));
        assert_eq!(bench.sync_reply(waiter).map(|reply| reply.error_code), Some(0));
    }
    assert_eq!(bench.classic().state(), ClassicState::Stable);
    (bench, ids)
}

fn consumers() -> (Bench, [String; 2]) {
    classic_group(&consumer, [assignment(&[0, 1], None), assignment(&[2, 3], None)])
}

/// contract 87, upgrade: members come along with what they have, and are asked to rejoin.
#[test]
fn a_classic_group_is_upgraded() {
    let (mut bench, ids) = consumers();
    let reply = bench.beat(&joining("n", &["a"]));
    assert_eq!(
        (reply.error_code, reply.member_epoch, bench.assigned(&reply)),
        (0, 2, Some(BTreeSet::new()))
    );
    let kinds = kinds(&bench.last);
    let taken_over = [
        "-classic",
        "member",
        "member",
        "epoch",
        "target",
        "target",
        "target epoch",
        "current",
        "current",
    ];
    assert_eq!(kinds[..9], taken_over);
    assert_eq!(
        kinds[9..],
        ["member", "epoch", "target", "target", "target epoch", "current"]
    );
    assert_eq!(bench.group().state(), ConsumerState::Reconciling);
    assert_eq!(bench.has(&ids[0]), parts(&[("a", 0), ("a", 1)]));
    for id in &ids {
        assert_eq!(
            bench.classic_beat(&beat_request(id, 1)).0,
            ErrorCode::RebalanceInProgress
        );
        let waiter = bench.join(&client(9), &consumer(id));
        assert_eq!(
            bench
                .join_reply(waiter)
                .map(|reply| (reply.error_code, reply.generation_id)),
            Some((0, 2))
        );
    }
    let reply = bench.beat(&living("n", 2));
    let has = bench.assigned(&reply).expect("an assignment");
    assert_eq!(has.len(), 1);
    let theirs = ids.each_ref().map(|id| {
        let waiter = bench.sync(&sync_request(id, 2));
        classic_assignment(&bench.sync_reply(waiter).expect("a reply").assignment)
    });
    assert_eq!(&(&theirs[0] | &theirs[1]) | &has, bench.topics.all(&["a"]));
    assert_eq!(bench.group().state(), ConsumerState::Stable);
    bench.assert_replayable();
}

/// contract 87: who waits for a classic rebalance when the group is upgraded hears of another one; sessions go on.
#[test]
fn who_waits_is_answered_at_an_upgrade() {
    let (mut bench, ids) = consumers();
    let waiter = bench.join(&client(9), &consumer(&ids[0]));
    assert!(bench.join_reply(waiter).is_none(), "it waits for the other");
    bench.beat(&joining("n", &["a"]));
    let reply = bench.join_reply(waiter).expect("an answer");
    assert_eq!(reply.error_code, ErrorCode::RebalanceInProgress.code());
    bench.advance(9_999);
    bench.classic_beat(&beat_request(&ids[0], 1));
    assert_eq!(bench.group().len(), 3);
    bench.advance(1);
    assert_eq!(
        bench.group().len(),
        2,
        "a silent member goes after its own session timeout"
    );
    bench.advance(20_000);
    assert_eq!(bench.group().len(), 1, "and one that does not rejoin");
    bench.advance(SESSION_MS);
    assert_eq!(bench.group().len(), 0);
}

/// contract 87: what the log refuses of an upgrade leaves the classic group as it was written.
#[test]
fn a_refused_upgrade_leaves_a_classic_group() {
    let (mut bench, ids) = consumers();
    bench.refuses = true;
    bench.beat(&joining("n", &["a"]));
    bench.refuses = false;
    assert_eq!(bench.classic().generation_id(), 1);
    assert_eq!(bench.classic_beat(&beat_request(&ids[0], 1)).0, ErrorCode::None);
}

/// contract 87: groups that cannot be upgraded say so with 69, and go on.
#[test]
fn some_groups_are_not_upgraded() {
    let refused = |bench: &mut Bench| {
        assert_eq!(bench.refused(&joining("n", &["a"])), ErrorCode::GroupIdNotFound);
        assert_eq!(bench.classic().state(), ClassicState::Stable);
    };
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let (mut bench, _) = consumers();
        bench.config.group_consumer_migration_policy = policy;
        refused(&mut bench);
    }
    let (mut bench, _) = consumers();
    bench.config.group_consumer_max_size = 1;
    refused(&mut bench);
    let none = || assignment(&[], None);
    let connect = |id: &str| join_request(id, "connect", Bytes::from_static(b"opaque"));
    refused(&mut classic_group(&connect, [none(), none()]).0);
    let garbage = |id: &str| join_request(id, "consumer", Bytes::from_static(b"opaque"));
    refused(&mut classic_group(&garbage, [none(), none()]).0);
    refused(&mut classic_group(&consumer, [Bytes::from_static(b"opaque"), none()]).0);
    refused(&mut classic_group(&consumer, [assignment(&[0], Some(b"own")), none()]).0);
    // A request that is refused anyway changes nothing either.
    let (mut bench, ids) = consumers();
    let bad = joining("n", &["a"]).with_subscribed_topic_regex(Some(text("(")));
    assert_eq!(bench.refused(&bad), ErrorCode::InvalidRegularExpression);
    assert_eq!(bench.classic_beat(&beat_request(&ids[0], 1)).0, ErrorCode::None);
}

/// A leader that gave a partition twice, or one that does not exist: one owner stays.
#[test]
fn wrong_assignments_are_put_right() {
    let (mut bench, ids) = classic_group(&consumer, [assignment(&[0, 1, 9], None), assignment(&[1, -1, 3], None)]);
    assert_eq!(bench.beat(&joining("n", &["a"])).error_code, 0);
    let (first, second) = (bench.has(&ids[0]), bench.has(&ids[1]));
    assert!(first.is_disjoint(&second));
    assert_eq!(&first | &second, parts(&[("a", 0), ("a", 1), ("a", 3)]));
}

/// A classic group without members is replaced, whatever the policy.
#[test]
fn an_empty_classic_group_is_replaced() {
    let (mut bench, ids) = consumers();
    bench.config.group_consumer_migration_policy = MigrationPolicy::Disabled;
    let member = |id: &String| MemberIdentity::default().with_member_id(text(id));
    let leave = LeaveGroupRequest::default().with_members(ids.iter().map(member).collect());
    bench.leave(5, &leave);
    assert_eq!(bench.classic().state(), ClassicState::Empty);
    let reply = bench.beat(&joining("n", &["a"]));
    assert_eq!((reply.error_code, reply.member_epoch), (0, 1));
    assert_eq!(
        kinds(&bench.last),
        ["-classic", "member", "epoch", "target", "target epoch", "current"]
    );
    assert_eq!(bench.assigned(&reply), Some(bench.topics.all(&["a"])));
}

/// A consumer group of one member of each protocol, at rest; the id of the classic one.
fn mixed() -> (Bench, String) {
    let (mut bench, ids) = consumers();
    let leave =
        LeaveGroupRequest::default().with_members(vec![MemberIdentity::default().with_member_id(text(&ids[1]))]);
    bench.leave(5, &leave);
    let waiter = bench.join(&client(9), &consumer(&ids[0]));
    bench.advance(2_000);
    let generation_id = bench.join_reply(waiter).expect("a generation").generation_id;
    let mut lead = sync_request(&ids[0], generation_id);
    let given = SyncGroupRequestAssignment::default().with_member_id(text(&ids[0]));
    lead.assignments = vec![given.with_assignment(assignment(&[0, 1, 2, 3], None))];
    bench.sync(&lead);
    bench.beat(&joining("n", &["a"]));
    let waiter = bench.join(&client(9), &consumer(&ids[0]));
    let generation_id = bench.join_reply(waiter).expect("a reply").generation_id;
    bench.sync(&sync_request(&ids[0], generation_id));
    bench.beat(&living("n", generation_id));
    assert_eq!(bench.group().state(), ConsumerState::Stable);
    let [id, _] = ids;
    (bench, id)
}

/// contract 87, downgrade: the last member of the new protocol leaves or falls silent; the others rebalance as they used to.
#[test]
fn a_consumer_group_is_downgraded() {
    for leaves in [true, false] {
        let (mut bench, id) = mixed();
        let epoch = bench.group().epoch();
        if leaves {
            bench.beat(&request("n", -1));
            let mut expected = vec!["-current"; 2];
            expected.extend([
                "-target",
                "-target",
                "-target epoch",
                "-member",
                "-member",
                "-epoch",
                "classic",
            ]);
            assert_eq!(kinds(&bench.last), expected);
        } else {
            for _ in 0..9 {
                bench.classic_beat(&beat_request(&id, epoch));
                bench.advance(5_000);
            }
        }
        assert_eq!(
            (bench.classic().state(), bench.classic().generation_id()),
            (ClassicState::PreparingRebalance, epoch)
        );
        assert_eq!(
            bench.classic_beat(&beat_request(&id, epoch)).0,
            ErrorCode::RebalanceInProgress
        );
        let waiter = bench.join(&client(9), &consumer(&id));
        let reply = bench.join_reply(waiter).expect("a generation");
        assert_eq!(
            (reply.error_code, reply.generation_id, &*reply.leader),
            (0, epoch + 1, &*id)
        );
        let written = bench.written.as_ref().expect("a record");
        assert_eq!(
            (written.generation, &*written.protocol_type, written.members.len()),
            (epoch, "consumer", 1)
        );
        assert_eq!(
            classic_assignment(&written.members[0].assignment).len(),
            2,
            "what the broker had given it"
        );
    }
}

/// contract 87: a group that may not be downgraded stays what it is; so does one that the log refused to change.
#[test]
fn some_groups_are_not_downgraded() {
    for change in [
        |bench: &mut Bench| bench.config.group_consumer_migration_policy = MigrationPolicy::Upgrade,
        |bench: &mut Bench| bench.config.group_max_size = 0,
    ] {
        let (mut bench, _) = mixed();
        change(&mut bench);
        bench.beat(&request("n", -1));
        assert_eq!(bench.group().len(), 1);
    }
    let (mut bench, id) = mixed();
    bench.refuses = true;
    bench.beat(&request("n", -1));
    bench.refuses = false;
    assert_eq!(bench.group().len(), 2);
    // A member of the classic protocol that leaves changes nothing about the protocol.
    let leave = LeaveGroupRequest::default().with_members(vec![MemberIdentity::default().with_member_id(text(&id))]);
    bench.leave(5, &leave);
    assert_eq!(bench.group().len(), 1);
}

/// contract 87: a static member goes back to the classic protocol and was the last of the new one: no rebalance.
#[test]
fn a_static_member_that_goes_back_downgrades() {
    for wants_more in [false, true] {
        let mut bench = Bench::new(&[("a", 4), ("b", 1)]);
        bench.beat(&joining("m", &["a"]).with_instance_id(Some(text("i"))));
        let epoch = bench.group().epoch();
        let names: &[&str] = if wants_more { &["a", "b"] } else { &["a"] };
        let join = join_request("", "consumer", classic_subscription(names, &BTreeSet::new()));
        let waiter = bench.join(&client(9), &join.with_group_instance_id(Some(text("i"))));
        let reply = bench.join_reply(waiter).expect("a reply");
        assert_eq!(
            (reply.error_code, reply.generation_id),
            (0, epoch + i32::from(wants_more))
        );
        let expected = if wants_more {
            ClassicState::PreparingRebalance
        } else {
            ClassicState::Stable
        };
        assert_eq!((bench.classic().state(), bench.classic().member_count()), (expected, 1));
        let sync = sync_request(&reply.member_id, reply.generation_id).with_group_instance_id(Some(text("i")));
        let waiter = bench.sync(&sync);
        let sync = bench.sync_reply(waiter).expect("a reply");
        if wants_more {
            assert_eq!(sync.error_code, ErrorCode::RebalanceInProgress.code());
        } else {
            assert_eq!(
                (sync.error_code, classic_assignment(&sync.assignment)),
                (0, bench.topics.all(&["a"]))
            );
        }
        // The log leaves nothing of the consumer group behind.
        let mut loaded = Bench::default();
        bench.log.iter().for_each(|record| loaded.replay(record));
        assert!(matches!(loaded.machine, Machine::None) && loaded.written.is_some());
    }
}

/// The assignment of a group whose epochs were loaded is as good as before.
#[test]
fn an_upgraded_group_is_loaded() {
    let (bench, _) = mixed();
    let mut loaded = Bench::new(&[("a", 4)]);
    bench.log.iter().for_each(|record| loaded.replay(record));
    loaded.event(|machine, env| match machine {
        Machine::Consumer(group) => ((), group.loaded(env)),
        _ => unreachable!(),
    });
    loaded.advance(9_999);
    assert_eq!(loaded.group().len(), 2);
    loaded.advance(1);
    assert_eq!(loaded.group().len(), 1, "the classic member's own session timeout");
}
