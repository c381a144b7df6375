//! Members of the classic protocol in a consumer group: contract 87, with 70, 71, 76–78 as far as they apply.

use super::*;
use crate::groups::MigrationPolicy;
use crate::groups::consumer::ConsumerState;
use crate::groups::consumer::member::MemberState;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;

fn join_request(id: &str, names: &[&str], owned: &BTreeSet<Part>) -> JoinGroupRequest {
    let metadata = classic_subscription(names, owned);
    let protocol = |name: &str| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(metadata.clone())
    };
    JoinGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range"), protocol("cooperative-sticky")])
}

fn sync_request(id: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_generation_id(generation_id)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
}

fn beat_request(id: &str, generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text(id))
        .with_generation_id(generation_id)
}

fn joined(bench: &mut Bench, request: &JoinGroupRequest) -> JoinGroupResponse {
    let waiter = bench.join(&client(9), request);
    bench.join_reply(waiter).expect("the reply comes at once")
}

fn join_code(bench: &mut Bench, request: &JoinGroupRequest) -> ErrorCode {
    let response = joined(bench, request);
    ErrorCode::from_code(response.error_code).expect("a code of Kafka's")
}

fn synced(bench: &mut Bench, request: &SyncGroupRequest) -> SyncGroupResponse {
    let waiter = bench.sync(request);
    bench.sync_reply(waiter).expect("the reply comes at once")
}

fn sync_code(bench: &mut Bench, request: &SyncGroupRequest) -> ErrorCode {
    ErrorCode::from_code(synced(bench, request).error_code).expect("a code of Kafka's")
}

/// The consumer-protocol member m reads a topic of four partitions alone; the classic member c is about to join.
fn group() -> Bench {
    let mut bench = Bench::new(&[("a", 4)]);
    // So that tests of single members are not tests of conversion.
    bench.config.group_consumer_migration_policy = MigrationPolicy::Upgrade;
    bench.joined(&[("m", &["a"])]);
    bench
}

/// contract 87: a member of the classic protocol joins in two steps, and gets its share as others give it up.
#[test]
fn a_classic_member_joins() {
    let mut bench = group();
    let first = joined(&mut bench, &join_request("", &["a"], &BTreeSet::new()));
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    assert!(bench.last.is_empty());
    let id = first.member_id.to_string();
    let reply = joined(&mut bench, &join_request(&id, &["a"], &BTreeSet::new()));
    assert_eq!((reply.error_code, reply.generation_id, &*reply.member_id), (0, 2, &*id));
    assert_eq!(
        (reply.protocol_type.as_deref(), reply.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!(
        (&*reply.leader, reply.members.len(), reply.skip_assignment),
        ("", 0, false)
    );
    let sync = synced(&mut bench, &sync_request(&id, 2));
    assert_eq!((sync.error_code, sync.protocol_name.as_deref()), (0, Some("range")));
    assert_eq!(classic_assignment(&sync.assignment), BTreeSet::new());
    assert_eq!(sync.assignment[..2], [0, 1], "in the version of its subscription");
    assert_eq!(
        bench.classic_beat(&beat_request(&id, 2)).0,
        ErrorCode::None,
        "nothing is free yet"
    );
    let reply = bench.beat(&living("m", 1));
    let kept = bench.assigned(&reply).expect("an assignment");
    let report = living("m", 1).with_topic_partitions(Some(bench.owned(&kept)));
    bench.beat(&report);
    assert_eq!(
        bench.classic_beat(&beat_request(&id, 2)).0,
        ErrorCode::RebalanceInProgress
    );
    let reply = joined(&mut bench, &join_request(&id, &["a"], &BTreeSet::new()));
    assert_eq!(reply.generation_id, 2);
    let sync = synced(&mut bench, &sync_request(&id, 2));
    assert_eq!(&classic_assignment(&sync.assignment) | &kept, bench.topics.all(&["a"]));
    assert_eq!(bench.classic_beat(&beat_request(&id, 2)).0, ErrorCode::None);
    assert_eq!(bench.group().state(), ConsumerState::Stable);
    bench.assert_replayable();
}

/// A group of m and the classic member c, at rest in epoch 2.
fn both() -> Bench {
    let mut bench = group();
    joined(&mut bench, &join_request("c", &["a"], &BTreeSet::new()));
    synced(&mut bench, &sync_request("c", 2));
    let reply = bench.beat(&living("m", 1));
    let kept = bench.assigned(&reply).expect("an assignment");
    let report = living("m", 1).with_topic_partitions(Some(bench.owned(&kept)));
    bench.beat(&report);
    joined(&mut bench, &join_request("c", &["a"], &BTreeSet::new()));
    synced(&mut bench, &sync_request("c", 2));
    assert_eq!(bench.group().state(), ConsumerState::Stable);
    bench
}

/// contract 85, 87: a classic member gives up by joining again without it; until then nobody gets it.
#[test]
fn a_classic_member_gives_up() {
    let mut bench = both();
    bench.beat(&joining("n", &["a"]));
    bench.beat(&joining("o", &["a"]));
    bench.beat(&living("n", 3));
    assert_eq!(
        bench.classic_beat(&beat_request("c", 2)).0,
        ErrorCode::RebalanceInProgress
    );
    let had = bench.has("c");
    let reply = joined(&mut bench, &join_request("c", &["a"], &had));
    assert_eq!(reply.generation_id, 2, "it must give up first");
    assert_eq!(bench.group().members["c"].state, MemberState::UnrevokedPartitions);
    let sync = synced(&mut bench, &sync_request("c", 2));
    let keeps = classic_assignment(&sync.assignment);
    assert!(keeps.is_subset(&had) && keeps.len() < had.len());
    for id in ["n", "o"] {
        assert_eq!(bench.beat(&living(id, 4)).assignment, None);
    }
    assert_eq!(
        bench.classic_beat(&beat_request("c", 2)).0,
        ErrorCode::RebalanceInProgress,
        "it must say so"
    );
    let reply = joined(&mut bench, &join_request("c", &["a"], &keeps));
    assert_eq!(reply.generation_id, 4);
    assert_eq!(sync_code(&mut bench, &sync_request("c", 4)), ErrorCode::None);
    let gets = ["n", "o"].map(|id| {
        let reply = bench.beat(&living(id, 4));
        bench.assigned(&reply).unwrap_or_default()
    });
    assert_eq!(&gets[0] | &gets[1], &had - &keeps, "m has not given up its part yet");
    bench.assert_replayable();
}

/// contract 70, 71: what is wrong with a join.
#[test]
fn wrong_joins_are_refused() {
    let mut bench = both();
    let none = BTreeSet::new();
    let join = |id| join_request(id, &["a"], &none);
    let session = |ms| join("d").with_session_timeout_ms(ms);
    assert_eq!(join_code(&mut bench, &session(5_999)), ErrorCode::InvalidSessionTimeout);
    assert_eq!(
        join_code(&mut bench, &session(1_800_001)),
        ErrorCode::InvalidSessionTimeout
    );
    let other_type = join("d").with_protocol_type(text("connect"));
    assert_eq!(join_code(&mut bench, &other_type), ErrorCode::InconsistentGroupProtocol);
    let other_name = JoinGroupRequestProtocol::default().with_name(text("own"));
    let other_name = join("d").with_protocols(vec![other_name.with_metadata(classic_subscription(&["a"], &none))]);
    assert_eq!(join_code(&mut bench, &other_name), ErrorCode::InconsistentGroupProtocol);
    let no_protocols = join("d").with_protocols(Vec::new());
    assert_eq!(
        join_code(&mut bench, &no_protocols),
        ErrorCode::InconsistentGroupProtocol
    );
    let garbage = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0"));
    let garbage = join("d").with_protocols(vec![garbage]);
    assert_eq!(join_code(&mut bench, &garbage), ErrorCode::InconsistentGroupProtocol);
    let unknown = join("d").with_group_instance_id(Some(text("i")));
    assert_eq!(join_code(&mut bench, &unknown), ErrorCode::UnknownMemberId);
    bench.config.group_consumer_max_size = 2;
    assert_eq!(join_code(&mut bench, &join("d")), ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.group().len(), 2);
    assert_eq!(join_code(&mut bench, &join("c")), ErrorCode::None);
}

/// Old versions have no id to ask for, and no rebalance timeout but the session's.
#[test]
fn old_versions_join_at_once() {
    let mut bench = group();
    let waiter = bench.join(
        &client(0),
        &join_request("", &["a"], &BTreeSet::new()).with_rebalance_timeout_ms(-1),
    );
    let reply = bench.join_reply(waiter).expect("a reply");
    assert_eq!(reply.error_code, 0);
    assert_eq!(bench.group().members[&*reply.member_id].rebalance_timeout_ms, 10_000);
}

/// Ours: a member that was fenced and says that it still owns something is told so at once.
#[test]
fn a_fenced_classic_member_hears_of_it() {
    let mut bench = both();
    let had = bench.has("c");
    bench.advance(10_000);
    assert_eq!(
        join_code(&mut bench, &join_request("c", &["a"], &had)),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(
        join_code(&mut bench, &join_request("c", &["a"], &BTreeSet::new())),
        ErrorCode::None
    );
}

/// contract 76, 77: what is wrong with a sync or a heartbeat.
#[test]
fn wrong_syncs_and_heartbeats_are_refused() {
    let mut bench = both();
    assert_eq!(sync_code(&mut bench, &sync_request("d", 2)), ErrorCode::UnknownMemberId);
    assert_eq!(
        sync_code(&mut bench, &sync_request("m", 2)),
        ErrorCode::UnknownMemberId,
        "not a classic member"
    );
    assert_eq!(
        sync_code(&mut bench, &sync_request("c", 1)),
        ErrorCode::IllegalGeneration
    );
    let sync = sync_request("c", 2).with_protocol_type(Some(text("connect")));
    assert_eq!(sync_code(&mut bench, &sync), ErrorCode::InconsistentGroupProtocol);
    let sync = sync_request("c", 2).with_protocol_name(Some(text("cooperative-sticky")));
    assert_eq!(
        sync_code(&mut bench, &sync),
        ErrorCode::InconsistentGroupProtocol,
        "not the one it was told"
    );
    let sync = sync_request("c", 2).with_protocol_name(None);
    assert_eq!(
        sync_code(&mut bench, &sync),
        ErrorCode::InconsistentGroupProtocol,
        "it must say one"
    );
    let sync = sync_request("c", 2).with_group_instance_id(Some(text("i")));
    assert_eq!(sync_code(&mut bench, &sync), ErrorCode::UnknownMemberId);
    assert_eq!(bench.classic_beat(&beat_request("d", 2)).0, ErrorCode::UnknownMemberId);
    assert_eq!(bench.classic_beat(&beat_request("m", 2)).0, ErrorCode::UnknownMemberId);
    assert_eq!(
        bench.classic_beat(&beat_request("c", 1)).0,
        ErrorCode::IllegalGeneration
    );
    bench.beat(&joining("n", &["a"]));
    assert_eq!(
        sync_code(&mut bench, &sync_request("c", 2)),
        ErrorCode::RebalanceInProgress
    );
}

/// contract 87: commits of classic members use the generation, 22 when it is another.
#[test]
fn classic_members_commit_with_their_generation() {
    let bench = both();
    let by = |member_epoch, api_version| super::super::Committer {
        member_id: "c",
        group_instance_id: None,
        member_epoch,
        api_version,
        transactional: false,
    };
    assert!(bench.group().check_commit(&by(2, 2)).is_ok());
    assert_eq!(
        bench.group().check_commit(&by(3, 2)).err(),
        Some(ErrorCode::IllegalGeneration)
    );
    let check = bench
        .group()
        .check_commit(&by(1, 2))
        .expect("an older epoch is asked partition by partition");
    let topic_id = bench.topics.topic("a").expect("a topic").id;
    assert!((0..4).all(|partition| check.partition(topic_id, partition) == Err(ErrorCode::IllegalGeneration)));
    assert_eq!(
        bench.group().check_fetch(Some("c"), 1),
        Err(ErrorCode::IllegalGeneration)
    );
}

/// A classic member has its own session timeout.
#[test]
fn a_silent_classic_member_is_fenced() {
    let mut bench = both();
    bench.advance(9_999);
    assert_eq!(bench.classic_beat(&beat_request("c", 2)).0, ErrorCode::None);
    bench.advance(9_999);
    assert_eq!(bench.group().len(), 2);
    bench.advance(1);
    assert_eq!(bench.group().len(), 1);
    assert_eq!(bench.classic_beat(&beat_request("c", 2)).0, ErrorCode::UnknownMemberId);
}

/// A classic member that hears of a rebalance must join, and having joined must sync, within its rebalance timeout.
#[test]
fn classic_members_must_join_and_sync_in_time() {
    for syncs in [false, true] {
        let mut bench = both();
        bench.beat(&joining("n", &["a"]));
        for second in 0..19 {
            assert_eq!(
                bench.classic_beat(&beat_request("c", 2)).0,
                ErrorCode::RebalanceInProgress,
                "{second}"
            );
            bench.advance(1_000);
        }
        if syncs {
            joined(&mut bench, &join_request("c", &["a"], &BTreeSet::new()));
            for _ in 0..19 {
                bench.advance(1_000);
                assert_eq!(bench.classic_beat(&beat_request("c", 3)).0, ErrorCode::None);
            }
        }
        assert!(bench.group().members.contains_key("c"));
        bench.advance(1_000);
        assert!(!bench.group().members.contains_key("c"));
    }
    let mut bench = both();
    bench.beat(&joining("n", &["a"]));
    joined(&mut bench, &join_request("c", &["a"], &BTreeSet::new()));
    synced(&mut bench, &sync_request("c", 3));
    for _ in 0..30 {
        bench.advance(1_000);
        assert_ne!(bench.classic_beat(&beat_request("c", 3)).0, ErrorCode::UnknownMemberId);
    }
}

/// Static members of the classic protocol are replaced without having left.
#[test]
fn a_static_classic_member_is_replaced() {
    let mut bench = group();
    let none = BTreeSet::new();
    let of_i = |id: &str| join_request(id, &["a"], &none).with_group_instance_id(Some(text("i")));
    let c = joined(&mut bench, &of_i("")).member_id.to_string();
    synced(&mut bench, &sync_request(&c, 2).with_group_instance_id(Some(text("i"))));
    let epoch = bench.group().epoch();
    let reply = joined(&mut bench, &of_i(""));
    let d = reply.member_id.to_string();
    assert!(c != d && reply.error_code == 0 && reply.generation_id == epoch);
    assert_eq!((bench.group().epoch(), bench.group().len()), (epoch, 2));
    assert_eq!(join_code(&mut bench, &of_i(&c)), ErrorCode::FencedInstanceId);
    let old = beat_request(&c, epoch).with_group_instance_id(Some(text("i")));
    assert_eq!(bench.classic_beat(&old).0, ErrorCode::FencedInstanceId);
    assert_eq!(bench.classic_beat(&beat_request(&d, epoch)).0, ErrorCode::None);
    // The new protocol may take the place as well.
    let reply = bench.beat(&joining("k", &["a"]).with_instance_id(Some(text("i"))));
    assert_eq!((reply.error_code, reply.member_epoch), (0, epoch));
    assert_eq!(
        bench.classic_beat(&beat_request(&d, epoch)).0,
        ErrorCode::UnknownMemberId
    );
    bench.assert_replayable();
}

/// contract 78: members leave, by id or instance id, of either protocol; each gets its own code.
#[test]
fn leave_group_removes_members() {
    let mut bench = both();
    bench.beat(&joining("s", &["a"]).with_instance_id(Some(text("i"))));
    let identity = |id: &str, instance_id: Option<&str>| {
        MemberIdentity::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance_id.map(text))
    };
    let leave = LeaveGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_members(vec![
            identity("c", None),
            identity("nobody", None),
            identity("", Some("i")),
            identity("m", Some("i")),
            identity("", Some("j")),
            identity("c", None),
        ]);
    let epoch = bench.group().epoch();
    let (response, _) = bench.leave(3, &leave);
    let codes: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!((response.error_code, codes), (0, vec![0, 25, 0, 82, 25, 0]));
    assert_eq!(&*response.members[0].member_id, "c");
    assert_eq!(bench.group().members.keys().map(|id| &**id).collect::<Vec<_>>(), ["m"]);
    assert_eq!(bench.group().epoch(), epoch + 1, "one step for all of them");
    let one = LeaveGroupRequest::default()
        .with_group_id(text(GROUP).into())
        .with_member_id(text("m"));
    assert_eq!(bench.leave(2, &one).0.error_code, 0);
    assert_eq!(bench.leave(2, &one).0.error_code, ErrorCode::UnknownMemberId.code());
    let none = LeaveGroupRequest::default().with_group_id(text(GROUP).into());
    assert_eq!(bench.leave(3, &none).0.members.len(), 0);
    assert!(bench.last.is_empty());
    bench.assert_replayable();
}

/// A group in which only classic members are left, because it may not become a classic one: topics move it all the same.
#[test]
fn classic_members_alone_notice_topics() {
    let mut bench = both();
    bench.beat(&request("m", -1));
    assert_eq!(
        bench.classic_beat(&beat_request("c", 2)).0,
        ErrorCode::RebalanceInProgress
    );
    let had = bench.has("c");
    let reply = joined(&mut bench, &join_request("c", &["a"], &had));
    let sync = synced(&mut bench, &sync_request("c", reply.generation_id));
    assert_eq!(classic_assignment(&sync.assignment), bench.topics.all(&["a"]));
    bench.topics.grow("a", 6);
    assert_eq!(
        bench.classic_beat(&beat_request("c", 3)).0,
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(kinds(&bench.last), ["epoch"]);
    let had = bench.has("c");
    let reply = joined(&mut bench, &join_request("c", &["a"], &had));
    let sync = synced(&mut bench, &sync_request("c", reply.generation_id));
    assert_eq!(classic_assignment(&sync.assignment), bench.topics.all(&["a"]));
    bench.assert_replayable();
}

/// What the log refuses of a join is told, and changes nothing.
#[test]
fn a_join_that_the_log_refused_is_told() {
    let mut bench = group();
    bench.refuses = true;
    let code = join_code(&mut bench, &join_request("c", &["a"], &BTreeSet::new()));
    assert_eq!(code, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(bench.group().len(), 1);
    bench.refuses = false;
    assert_eq!(
        join_code(&mut bench, &join_request("c", &["a"], &BTreeSet::new())),
        ErrorCode::None
    );
    bench.assert_replayable();
}
