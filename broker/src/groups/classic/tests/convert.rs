//! Groups that come from a record or from a consumer group, and groups that end.

use super::super::ConvertedMember;
use super::*;
use protocol::group_records::GroupMember;

fn from_record(world: &mut World, value: &GroupMetadataValue) {
    let config = world.config.clone();
    let mut new_id = Uuid::nil;
    let mut env = Env {
        now_ms: world.now_ms,
        config: &config,
        cluster: &NoTopics,
        new_id: &mut new_id,
    };
    let (group, effects) = ClassicGroup::from_record(&mut env, Arc::from("g"), value);
    world.group = group;
    world.timers.clear();
    world.take(effects);
}

#[test]
fn a_group_is_what_its_record_says() {
    let mut world = World::new();
    let topics = subscription(&["t"]);
    let ids = world.stable(&[
        Ask {
            session_ms: 12_000,
            ..ask().protocols(&[("range", &topics)])
        },
        ask().instance("b").protocols(&[("range", &topics)]),
    ]);
    let (leader, follower) = world.leader_and_follower(&ids);
    let value = world.last_record().clone();
    from_record(&mut world, &value);
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Stable, 1));
    assert_eq!(world.group.leader().map(|leader| &**leader), Some(&*leader));
    assert_eq!(world.group.protocol_name().map(|name| &**name), Some("range"));
    assert!(world.group.is_subscribed("t") && !world.group.is_subscribed("other"));
    assert!(world.group.record().is_some());
    let waiter = world.follow(&follower);
    assert_eq!(world.synced(waiter).assignment, follower.as_bytes());
    ids.iter().for_each(|member_id| world.beat(member_id));
    // A member whose metadata is the same joins without a rebalance.
    let same = ask().protocols(&[("range", &topics)]);
    let same = if follower == ids[1] { same.instance("b") } else { same };
    let waiter = world.join(&same.member(&follower));
    assert_eq!((world.join_code(waiter), world.state()), (0, ClassicState::Stable));
    // Sessions are fresh, each its own.
    world.advance(10_000);
    assert_eq!(
        (world.group.member_count(), world.state()),
        (1, ClassicState::PreparingRebalance)
    );
    world.advance(2_000);
    assert_eq!(world.group.member_count(), 0);
}

#[test]
fn an_empty_record_is_an_empty_group() {
    let mut world = World::new();
    let ids = world.stable(&[ask()]);
    world.leave(4, &[(&ids[0], None)]);
    let value = world.last_record().clone();
    let since_ms = world.now_ms;
    world.now_ms += 1_000_000;
    from_record(&mut world, &value);
    assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Empty, 2));
    // contract 81
    assert_eq!(world.group.empty_since_ms(), Some(since_ms));
    from_record(
        &mut world,
        &GroupMetadataValue {
            current_state_timestamp: -1,
            ..value.clone()
        },
    );
    assert_eq!(world.group.empty_since_ms(), None);
    from_record(
        &mut world,
        &GroupMetadataValue {
            protocol_type: Arc::from(""),
            ..value
        },
    );
    assert_eq!(
        (world.group.empty_since_ms(), world.group.protocol_type()),
        (None, None)
    );
    world.stable(&[ask()]);
    assert_eq!(world.group.generation_id(), 3);
}

#[test]
fn a_record_may_hold_anything() {
    let mut world = World::new();
    world.stable(&[ask().instance("a")]);
    let good = world.last_record().clone();
    let member = good.members[0].clone();
    let strange = GroupMember {
        rebalance_timeout_ms: i32::MIN,
        session_timeout_ms: i32::MIN,
        ..member.clone()
    };
    let members = vec![
        member.clone(),
        strange.clone(),
        GroupMember {
            member_id: Arc::from("other"),
            ..member.clone()
        },
    ];
    from_record(
        &mut world,
        &GroupMetadataValue {
            members,
            ..good.clone()
        },
    );
    assert_eq!(world.group.member_count(), 1, "ids and instance ids are there once");
    let leader = Some(Arc::from("nobody"));
    let members = vec![strange];
    from_record(
        &mut world,
        &GroupMetadataValue {
            leader,
            members,
            protocol: None,
            generation: i32::MAX,
            ..good.clone()
        },
    );
    assert_eq!(world.group.leader(), Some(&member.member_id));
    world.advance(0);
    assert_eq!(
        (world.state(), world.group.generation_id()),
        (ClassicState::Empty, 1),
        "generations begin again"
    );
    let old = GroupMember {
        rebalance_timeout_ms: -1,
        ..member
    };
    from_record(
        &mut world,
        &GroupMetadataValue {
            members: vec![old],
            ..good
        },
    );
    assert_eq!(
        world.group.members().next().map(|member| member.rebalance_timeout_ms()),
        Some(SESSION_MS)
    );
}

#[test]
fn a_group_that_is_too_large_when_it_is_loaded_rebalances() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask(), ask()]);
    let value = world.last_record().clone();
    world.config.group_max_size = 2;
    from_record(&mut world, &value);
    assert_eq!(world.state(), ClassicState::PreparingRebalance);
    let joins: Vec<Waiter> = ids
        .iter()
        .map(|member_id| world.join(&ask().member(member_id)))
        .collect();
    let codes: Vec<i16> = joins.iter().map(|waiter| world.join_code(*waiter)).collect();
    assert_eq!(codes, [0, 0, ErrorCode::GroupMaxSizeReached.code()]);
}

#[test]
fn a_group_that_ends_answers_everybody() {
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    let (leader, follower) = world.leader_and_follower(&ids);
    let parked = world.join(&ask().member(&leader));
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    assert_eq!(world.join_code(parked), ErrorCode::RebalanceInProgress.code());
    assert_eq!(*world.joined(parked).member_id, *leader);
    world.advance(10_000_000);
    assert_eq!(world.state(), ClassicState::Dead);
    let waiter = world.join(&ask().member(&follower));
    assert_eq!(world.join_code(waiter), ErrorCode::CoordinatorNotAvailable.code());
    let mut world = World::new();
    let ids = world.stable(&[ask(), ask()]);
    for member_id in &ids {
        world.join(&ask().member(member_id).protocols(&[("range", b"new")]));
    }
    let (_, follower) = world.leader_and_follower(&ids);
    let syncs = world.follow(&follower);
    world.with(|group, _| ((), group.dissolve(ErrorCode::RebalanceInProgress)));
    assert_eq!(world.sync_code(syncs), ErrorCode::RebalanceInProgress.code());
}

fn converted(world: &mut World, rebalance: bool) -> Effects {
    let member = |id: &str, instance: Option<&str>, protocols: &[&str]| ConvertedMember {
        member_id: Arc::from(id),
        group_instance_id: instance.map(Arc::from),
        client_id: Arc::from("c"),
        client_host: Arc::from("/h"),
        rebalance_timeout_ms: REBALANCE_MS,
        session_timeout_ms: SESSION_MS,
        protocols: protocols
            .iter()
            .map(|name| (Arc::from(*name), Bytes::from(subscription(&["t"]))))
            .collect(),
    };
    let members = vec![
        member("m1", None, &["sticky", "range"]),
        member("m2", Some("i"), &["range"]),
    ];
    let config = world.config.clone();
    let mut new_id = Uuid::nil;
    let mut env = Env {
        now_ms: world.now_ms,
        config: &config,
        cluster: &NoTopics,
        new_id: &mut new_id,
    };
    let mut assignment = |member: &ConvertedMember, protocol: &str, metadata: &Bytes| {
        assert_eq!(
            (protocol, metadata),
            ("range", &member.protocols.last().expect("one").1)
        );
        Bytes::copy_from_slice(member.member_id.as_bytes())
    };
    let (group, effects) = ClassicGroup::converted(&mut env, Arc::from("g"), 7, members, &mut assignment, rebalance);
    world.group = group;
    effects
}

#[test]
fn a_consumer_group_goes_on_as_a_classic_one() {
    for rebalance in [false, true] {
        let mut world = World::new();
        let mut effects = converted(&mut world, rebalance);
        assert!(effects.completion.is_none());
        let records = std::mem::take(&mut effects.records);
        let [GroupRecord::GroupMetadata { value: Some(value), .. }] = &records[..] else {
            panic!("{records:?}")
        };
        assert_eq!(
            (value.generation, value.protocol.as_deref(), value.members.len()),
            (7, Some("range"), 2)
        );
        assert!(
            value
                .members
                .iter()
                .all(|member| *member.assignment == *member.member_id.as_bytes())
        );
        world.take(effects);
        assert!(world.group.is_subscribed("t"));
        if rebalance {
            assert_eq!(world.heartbeat("m1", 7), ErrorCode::RebalanceInProgress);
        } else {
            world.beat("m1");
            let waiter = world.follow("m2");
            assert_eq!(world.synced(waiter).assignment, b"m2"[..]);
        }
        world.advance(i64::from(SESSION_MS));
        assert_eq!((world.state(), world.group.generation_id()), (ClassicState::Empty, 8));
    }
}
