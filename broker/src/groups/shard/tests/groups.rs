//! Which group a request goes to, and when a group changes its kind.

use super::deletion::{delete_offsets, delete_request};
use super::world::{DAY_MS, World, client, commit_request, durable, fetch_request, name, replayed, text};
use crate::groups::{Env, ListFilter, Reply};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use protocol::ErrorCode;

/// A heartbeat of the new protocol: subscribed to `t`, owning nothing.
pub(super) fn beat(world: &mut World, group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatResponse {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![name("t")]))
        .with_topic_partitions(Some(Vec::new()));
    let client = client(1);
    world
        .event(|shard, env| shard.consumer_group_heartbeat(env, &client, &request))
        .0
}

pub(super) fn join_request(group: &str, member: &str, protocol_type: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text(protocol_type))
        .with_protocols(vec![protocol])
}

/// Joins without waiting for a member id (version 3), and waits as long as it takes.
pub(super) fn join(world: &mut World, request: &JoinGroupRequest) -> JoinGroupResponse {
    let waiter = world.waiter();
    let client = client(3);
    world.event(|shard, env| ((), shard.join_group(env, &client, waiter, request)));
    world.advance(10_000);
    let answers = world.replies.iter().filter(|(to, _)| *to == waiter);
    let answers: Vec<_> = answers.map(|(_, reply)| reply.clone()).collect();
    match answers.as_slice() {
        [Reply::Join(response)] => response.clone(),
        other => panic!("one answer to a join, not {other:?}"),
    }
}

fn leave(world: &mut World, version: i16, group: &str, member: &str) -> (i16, Vec<i16>) {
    let identity = MemberIdentity::default().with_member_id(text(member));
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_members(vec![identity]);
    let client = client(version);
    let (response, _) = world.event(|shard, env| shard.leave_group(env, &client, &request));
    (
        response.error_code,
        response.members.iter().map(|member| member.error_code).collect(),
    )
}

fn states(world: &World, filter: &ListFilter) -> Vec<String> {
    let mut listed = Vec::new();
    world.shard.list_groups(filter, &mut listed);
    let show = |group: &kafka_protocol::messages::list_groups_response::ListedGroup| {
        format!(
            "{} {} {} {}",
            &*group.group_id, &*group.protocol_type, &*group.group_state, &*group.group_type
        )
    };
    let mut listed: Vec<_> = listed.iter().map(show).collect();
    listed.sort();
    listed
}

// contract 70, 77, 78
#[test]
fn a_group_that_is_not_there_has_no_members() {
    let mut world = World::new();
    for group in ["nobody", "simple"] {
        if group == "simple" {
            world.commit(9, &commit_request(group, &[("t", 0, 1)]));
        }
        let id = GroupId(text(group));
        let request = HeartbeatRequest::default()
            .with_group_id(id.clone())
            .with_member_id(text("m"));
        let (response, _) = world.event(|shard, env| shard.heartbeat(env, &client(4), &request));
        assert_eq!(response.error_code, 25);
        let waiter = world.waiter();
        let request = SyncGroupRequest::default().with_group_id(id).with_member_id(text("m"));
        world.event(|shard, env| ((), shard.sync_group(env, &client(5), waiter, &request)));
        let Some((_, Reply::Sync(response))) = world.replies.last() else {
            panic!("an answer to a sync")
        };
        assert_eq!(response.error_code, 25);
        assert_eq!(join(&mut world, &join_request(group, "m", "consumer")).error_code, 25);
        assert_eq!(leave(&mut world, 2, group, "m").0, 25);
        assert_eq!(leave(&mut world, 3, group, "m"), (0, vec![25]));
        assert_eq!(beat(&mut world, group, "m", 4).error_code, 69);
    }
    assert!(world.shard.find("nobody").is_none());
}

// contract 69
#[test]
fn an_empty_group_id_is_refused() {
    let mut world = World::new();
    assert_eq!(join(&mut world, &join_request("", "", "consumer")).error_code, 24);
    assert_eq!(leave(&mut world, 3, "", "m").0, 24);
    let (response, _) = world.event(|shard, env| shard.heartbeat(env, &client(4), &HeartbeatRequest::default()));
    assert_eq!(response.error_code, 24);
    assert_eq!(beat(&mut world, "", "m", 0).error_code, 42);
}

// contract 82, 87
#[test]
fn a_consumer_group_is_made_by_its_first_member_and_comes_back() {
    let mut world = World::new();
    let response = beat(&mut world, "g", "m", 0);
    assert_eq!((response.error_code, response.member_epoch), (0, 1));
    assert_eq!(durable(&replayed(&world.log)), durable(&world.shard));
    world.crash();
    assert_eq!(beat(&mut world, "g", "m", 1).error_code, 0);
    assert_eq!(states(&world, &ListFilter::default()), ["g consumer Stable consumer"]);
    let shard = &world.shard;
    let described = world.outside.with(|env| shard.consumer_group_describe(env, "g"));
    assert_eq!((described.error_code, described.members.len()), (0, 1));
    let described = world.shard.describe_group(5, "g");
    assert_eq!((described.error_code, &*described.group_state), (0, "Dead"));
    let described = world.shard.describe_group(6, "g");
    assert_eq!((described.error_code, &*described.group_state), (69, "Dead"));
    assert!(described.error_message.is_some());
}

// contract 87: the first member may never be heard of again.
#[test]
fn the_first_member_of_a_consumer_group_has_a_session() {
    let mut world = World::new();
    beat(&mut world, "g", "m", 0);
    world.advance(100_000);
    assert_eq!(states(&world, &ListFilter::default()), ["g consumer Empty consumer"]);
}

// contract 87
#[test]
fn groups_of_the_other_kind_are_not_found() {
    let mut world = World::new();
    world.commit(9, &commit_request("simple", &[("t", 0, 1)]));
    for group in ["simple", "nobody"] {
        let shard = &world.shard;
        let described = world.outside.with(|env| shard.consumer_group_describe(env, group));
        assert_eq!(described.error_code, 69);
        assert!(described.error_message.is_some());
    }
    let described = world.shard.describe_group(5, "nobody");
    assert_eq!((described.error_code, &*described.group_state), (0, "Dead"));
    assert_eq!(world.shard.describe_group(6, "nobody").error_code, 69);
}

// contract 87
#[test]
fn members_commit_and_fetch_with_their_epoch() {
    let mut world = World::new();
    assert_eq!(beat(&mut world, "g", "m", 0).member_epoch, 1);
    let commit = |epoch, member: &str| {
        commit_request("g", &[("t", 0, 5)])
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch)
    };
    assert_eq!(world.commit(9, &commit(1, "m")), [ErrorCode::None]);
    assert_eq!(world.commit(9, &commit(2, "m")), [ErrorCode::StaleMemberEpoch]);
    assert_eq!(world.commit(8, &commit(1, "m")), [ErrorCode::UnsupportedVersion]);
    assert_eq!(world.commit(9, &commit(1, "stranger")), [ErrorCode::UnknownMemberId]);
    assert_eq!(world.commit(9, &commit(-1, "")), [ErrorCode::UnknownMemberId]);
    let fetch = |world: &mut World, member, epoch| {
        let request = fetch_request("g")
            .with_member_id(Some(text(member)))
            .with_member_epoch(epoch)
            .with_topics(None);
        let shard = &world.shard;
        let response = world
            .outside
            .with(|env: &mut Env| shard.offset_fetch(env, &request, true));
        (response.error_code, response.topics.len())
    };
    assert_eq!(fetch(&mut world, "m", 1), (0, 1));
    assert_eq!(fetch(&mut world, "m", 7), (113, 0));
    assert_eq!(fetch(&mut world, "stranger", 1), (25, 0));
}

// contract 81
#[test]
fn a_consumer_group_with_members_stays_and_keeps_what_it_reads() {
    let mut world = World::new();
    world.commit(9, &commit_request("g", &[("t", 0, 5), ("u", 0, 6)]));
    beat(&mut world, "g", "m", 0);
    let (code, _) = world.event(|shard, _| shard.delete_group("g"));
    assert_eq!(code, ErrorCode::NonEmptyGroup);
    assert_eq!(
        delete_offsets(&mut world, &delete_request("g", "t", &[0, 1])),
        (0, vec![86, 86])
    );
    world.timers.clear();
    world.advance(7 * DAY_MS);
    world.expire();
    assert_eq!(
        world.fetch_all("g").into_keys().collect::<Vec<_>>(),
        [("t".to_owned(), 0)]
    );
    assert_eq!(beat(&mut world, "g", "m", -1).error_code, 0);
    world.expire();
    assert!(world.shard.find("g").is_none(), "empty and without offsets");
    world.crash();
    assert!(world.shard.find("g").is_none());
}

// contract 81
#[test]
fn an_empty_consumer_group_is_deleted() {
    let mut world = World::new();
    beat(&mut world, "g", "m", 0);
    beat(&mut world, "g", "m", -1);
    world.commit(9, &commit_request("g", &[("t", 0, 5)]));
    let (code, _) = world.event(|shard, _| shard.delete_group("g"));
    assert_eq!(code, ErrorCode::None);
    world.crash();
    assert_eq!(states(&world, &ListFilter::default()), Vec::<String>::new());
    assert_eq!(world.fetch("g", "t", 0), -1);
}

#[test]
fn lists_are_filtered_by_state_and_type() {
    let mut world = World::new();
    world.commit(9, &commit_request("simple", &[("t", 0, 1)]));
    beat(&mut world, "new", "m", 0);
    beat(&mut world, "left", "m", 0);
    beat(&mut world, "left", "m", -1);
    let list = |states_: &[&str], types: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let filter = ListFilter {
            states: own(states_),
            types: own(types),
        };
        states(&world, &filter)
    };
    assert_eq!(list(&[], &[]).len(), 3);
    assert_eq!(
        list(&["empty"], &[]),
        ["left consumer Empty consumer", "simple  Empty classic"]
    );
    assert_eq!(list(&["Stable", "Dead"], &[]), ["new consumer Stable consumer"]);
    assert_eq!(list(&["Empty"], &["CLASSIC"]), ["simple  Empty classic"]);
    assert!(list(&[], &["share"]).is_empty());
    assert!(list(&["nonsense"], &[]).is_empty());
}
