//! ConsumerGroupHeartbeat (68): contract 82–87.

use super::connect;
use super::group_member::*;
use super::offset_commit::{commit_request, committed};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, IncrementalAlterConfigsRequest,
    UpdateFeaturesRequest,
};
use streamhouse_compat_tests::ops::{code, text};
use streamhouse_compat_tests::{Broker, RawClient};
use uuid::Uuid;

const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE_ID: i16 = 111;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const STALE_MEMBER_EPOCH: i16 = 113;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

fn start_with(partitions: i32) -> (Broker, RawClient, Uuid) {
    let (broker, mut client) = start_quick();
    client.create_topic("t", partitions);
    let id = client.topic_id("t");
    (broker, client, id)
}

/// A heartbeat that says what the member owns.
fn owning(group: &str, member: &str, epoch: i32, topic_id: Uuid, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let owned = TopicPartitions::default()
        .with_topic_id(topic_id)
        .with_partitions(partitions.to_vec());
    let owned = if partitions.is_empty() { Vec::new() } else { vec![owned] };
    modern_beat(group, member, epoch).with_topic_partitions(Some(owned))
}

/// Beats until the reply carries an assignment or the epoch moves.
fn until_news(client: &mut RawClient, group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatResponse {
    loop {
        let reply = client.call(1, &modern_beat(group, member, epoch));
        assert_eq!(reply.error_code, 0, "{reply:?}");
        if reply.assignment.is_some() || reply.member_epoch != epoch {
            return reply;
        }
    }
}

#[test]
fn a_member_joins_beats_and_leaves() {
    // contract 82, 83
    let (_broker, mut client, id) = start_with(3);
    let joined = modern_member(&mut client, "g", "m", &["t"]);
    assert_eq!((joined.member_id.as_deref(), joined.member_epoch), (Some("m"), 1));
    assert_eq!(joined.heartbeat_interval_ms, 5_000);
    assert_eq!(partitions(&joined.assignment), Some(vec![0, 1, 2]));
    assert_eq!(joined.assignment.expect("seen").topic_partitions[0].topic_id, id);
    let beat = client.call(1, &modern_beat("g", "m", 1));
    assert_eq!(
        (beat.error_code, beat.member_epoch, &beat.assignment),
        (0, 1, &None),
        "nothing new is not said"
    );
    let full = client.call(1, &modern_join("g", "m", &["t"]).with_member_epoch(1));
    assert_eq!(
        partitions(&full.assignment),
        Some(vec![0, 1, 2]),
        "a full request is answered in full"
    );
    let left = client.call(1, &modern_beat("g", "m", -1));
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    assert_eq!(client.call(1, &modern_beat("g", "m", 1)).error_code, UNKNOWN_MEMBER_ID);

    // Version 0: the coordinator makes the member id.
    let joined = client.call(0, &modern_join("g0", "", &["t"]));
    assert_eq!(joined.error_code, 0);
    assert!(joined.member_id.is_some_and(|id| !id.is_empty()));
}

#[test]
fn what_a_member_asks_for_must_make_sense() {
    // contract 69, 82, 84, 86
    let (_broker, mut client, id) = start_with(1);
    let mut code_of = |request: ConsumerGroupHeartbeatRequest| client.call(1, &request).error_code;
    let join = || modern_join("g", "m", &["t"]);
    let owned = vec![TopicPartitions::default().with_topic_id(id).with_partitions(vec![0])];
    assert_eq!(code_of(join().with_rebalance_timeout_ms(-1)), code::INVALID_REQUEST);
    assert_eq!(code_of(join().with_subscribed_topic_names(None)), code::INVALID_REQUEST);
    assert_eq!(code_of(join().with_topic_partitions(None)), code::INVALID_REQUEST);
    assert_eq!(
        code_of(join().with_topic_partitions(Some(owned))),
        code::INVALID_REQUEST
    );
    assert_eq!(code_of(join().with_member_id(text(""))), code::INVALID_REQUEST);
    assert_eq!(code_of(modern_join("", "m", &["t"])), code::INVALID_REQUEST);
    assert_eq!(
        code_of(join().with_server_assignor(Some(text("sticky")))),
        UNSUPPORTED_ASSIGNOR
    );
    let regex = |regex: &str| {
        join()
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text(regex)))
    };
    assert_eq!(code_of(regex("[")), INVALID_REGULAR_EXPRESSION);
    assert_eq!(
        code_of(modern_beat("g", "m", 1)),
        GROUP_ID_NOT_FOUND,
        "the group does not exist"
    );
    assert_eq!(code_of(join()), 0);
    assert_eq!(code_of(modern_beat("g", "stranger", 1)), UNKNOWN_MEMBER_ID);
    assert_eq!(code_of(modern_beat("g", "m", 2)), FENCED_MEMBER_EPOCH);
}

#[test]
fn a_partition_moves_when_it_was_given_up() {
    // contract 84, 85
    let (_broker, mut client, id) = start_with(2);
    modern_member(&mut client, "g", "a", &["t"]);
    let second = modern_member(&mut client, "g", "b", &["t"]);
    assert_eq!(partitions(&second.assignment), Some(vec![]), "nothing is free yet");
    let told = until_news(&mut client, "g", "a", 1);
    let kept = partitions(&told.assignment).expect("one has to go");
    assert_eq!((kept.len(), told.member_epoch), (1, 1));
    // b waits as long as a has not said so.
    let waiting = client.call(1, &modern_beat("g", "b", second.member_epoch));
    assert_eq!(partitions(&waiting.assignment).unwrap_or_default(), Vec::<i32>::new());
    let gave_up = client.call(1, &owning("g", "a", 1, id, &kept));
    assert_eq!((gave_up.error_code, gave_up.member_epoch), (0, second.member_epoch));
    let got = until_news(&mut client, "g", "b", second.member_epoch);
    let moved = partitions(&got.assignment).expect("it is free now");
    assert_eq!(moved.len(), 1);
    assert_ne!(moved, kept);

    // The reply was lost: the member repeats itself under the epoch before (contract 84).
    let repeated = client.call(1, &owning("g", "a", 1, id, &kept));
    assert_eq!((repeated.error_code, repeated.member_epoch), (0, second.member_epoch));
    let wrong = client.call(1, &owning("g", "a", 1, id, &[0, 1]));
    assert_eq!(wrong.error_code, FENCED_MEMBER_EPOCH);
}

#[test]
fn a_pattern_matches_the_whole_name_and_new_topics() {
    // contract 82, 86
    let (_broker, mut client, _) = start_with(1);
    client.create_topic("t2", 1);
    client.create_topic("xt", 1);
    let mut joined = client.call(
        1,
        &modern_join("g", "m", &[])
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text("t.?"))),
    );
    assert_eq!(joined.error_code, 0);
    let topics =
        |reply: &ConsumerGroupHeartbeatResponse| reply.assignment.as_ref().map_or(0, |a| a.topic_partitions.len());
    while topics(&joined) < 2 {
        joined = until_news(&mut client, "g", "m", joined.member_epoch);
    }
    assert_eq!(topics(&joined), 2, "t and t2, not xt");
    // A topic that appears later is found (its look-up may be put off by the refresh interval; a join looks again).
    client.call(1, &modern_beat("g", "m", -1));
    client.create_topic("t3", 1);
    let mut joined = client.call(
        1,
        &modern_join("g", "m", &[])
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(Some(text("t.?"))),
    );
    while topics(&joined) < 3 {
        joined = until_news(&mut client, "g", "m", joined.member_epoch);
    }
}

#[test]
fn a_static_member_leaves_its_place_open() {
    // contract 82, 86
    let (_broker, mut client, _) = start_with(2);
    let join = |member: &str| modern_join("g", member, &["t"]).with_instance_id(Some(text("i1")));
    let joined = client.call(1, &join("m1"));
    assert_eq!(partitions(&joined.assignment), Some(vec![0, 1]));
    assert_eq!(client.call(1, &join("m2")).error_code, UNRELEASED_INSTANCE_ID);
    let left = client.call(1, &modern_beat("g", "m1", -2).with_instance_id(Some(text("i1"))));
    assert_eq!((left.error_code, left.member_epoch), (0, -2));
    let back = client.call(1, &join("m2"));
    assert_eq!((back.error_code, partitions(&back.assignment)), (0, Some(vec![0, 1])));
    assert_eq!(
        back.member_epoch, joined.member_epoch,
        "its place was kept: the group did not change"
    );
}

#[test]
fn commits_go_by_the_members_epoch() {
    // contract 87
    let (_broker, mut client, _) = start_with(1);
    let joined = modern_member(&mut client, "g", "m", &["t"]);
    let mut ask = |version, member: &str, epoch| {
        let request = commit_request("g", "t", 0, 5)
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch);
        client.call(version, &request).topics[0].partitions[0].error_code
    };
    assert_eq!(ask(9, "m", joined.member_epoch), 0);
    assert_eq!(ask(8, "m", joined.member_epoch), code::UNSUPPORTED_VERSION);
    assert_eq!(ask(9, "m", joined.member_epoch + 1), STALE_MEMBER_EPOCH);
    assert_eq!(ask(9, "stranger", joined.member_epoch), UNKNOWN_MEMBER_ID);
    assert_eq!(committed(&mut client, "g", "t", 0), (0, 5));
}

#[test]
fn the_protocol_can_be_turned_off_and_tuned_for_a_group() {
    // contract 14, 66, 83
    let (_broker, mut client, _) = start_with(1);
    let config = AlterableConfig::default()
        .with_name(text("consumer.heartbeat.interval.ms"))
        .with_value(Some(text("7000")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(32)
        .with_resource_name(text("g"))
        .with_configs(vec![config]);
    let alter = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(client.call(1, &alter).responses[0].error_code, 0);
    let tuned = modern_member(&mut client, "g", "m", &["t"]);
    assert_eq!(tuned.heartbeat_interval_ms, 7_000);
    assert_eq!(
        modern_member(&mut client, "other", "m", &["t"]).heartbeat_interval_ms,
        5_000
    );

    let off = FeatureUpdateKey::default()
        .with_feature(text("group.version"))
        .with_max_version_level(0)
        .with_upgrade_type(2);
    let update = UpdateFeaturesRequest::default().with_feature_updates(vec![off]);
    assert_eq!(client.call(1, &update).error_code, 0);
    let refused = client.call(1, &modern_beat("g", "m", tuned.member_epoch));
    assert_eq!(refused.error_code, code::UNSUPPORTED_VERSION);
}

#[test]
fn a_crash_changes_nothing_for_members() {
    // contract 69, 83
    let (mut broker, mut client, _) = start_with(3);
    let joined = modern_member(&mut client, "g", "m", &["t"]);
    broker.kill9();
    broker.restart();
    let mut client = connect(&broker);
    let beat = loop {
        let reply = client.call(1, &modern_beat("g", "m", joined.member_epoch));
        if reply.error_code != COORDINATOR_LOAD_IN_PROGRESS {
            break reply;
        }
    };
    assert_eq!((beat.error_code, beat.member_epoch), (0, joined.member_epoch));
    let full = client.call(1, &modern_join("g", "m", &["t"]).with_member_epoch(joined.member_epoch));
    assert_eq!(partitions(&full.assignment), Some(vec![0, 1, 2]));
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_back() {
    // contract 87
    let (broker, mut client, _) = start_with(2);
    let mut request = join_request("g", "");
    request.protocols[0].metadata = subscription(&["t"]);
    let classic = join(&mut client, &request);
    let mut lead = sync_request("g", &classic, &[(&classic.member_id, "")]);
    lead.assignments[0].assignment = assignment("t", &[0, 1]);
    assert_eq!(client.call(SYNC, &lead).error_code, 0);
    let mut modern = connect(&broker);
    let joined = modern_member(&mut modern, "g", "m", &["t"]);
    let describe = |client: &mut RawClient| {
        let request = kafka_protocol::messages::ListGroupsRequest::default();
        client.call(5, &request).groups[0].group_type.to_string()
    };
    assert_eq!(describe(&mut modern), "consumer");
    // The classic member is told to join again, and gets a share.
    while heartbeat(&mut client, "g", classic.generation_id, &classic.member_id) != REBALANCE_IN_PROGRESS {}
    let request = request.with_member_id(classic.member_id.clone());
    let again = client.call(JOIN, &request);
    assert_eq!(again.error_code, 0, "{again:?}");
    let synced = client.call(SYNC, &sync_request("g", &again, &[]));
    assert_eq!(synced.error_code, 0);
    // The last member of the newer protocol goes: the group is classic again, its member stays.
    assert_eq!(modern.call(1, &modern_beat("g", "m", -1)).error_code, 0, "{joined:?}");
    assert_eq!(describe(&mut modern), "classic");
    let code = heartbeat(&mut client, "g", again.generation_id, &classic.member_id);
    assert!([0, REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION].contains(&code), "{code}");
}
