//! A member of a group in raw frames, for the tests of all group APIs: it does exactly what a test says, and nothing by itself.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerProtocolAssignment,
    ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use streamhouse_compat_tests::ops::text;
use streamhouse_compat_tests::{Broker, RawClient};

use super::connect;

pub(super) const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
pub(super) const ILLEGAL_GENERATION: i16 = 22;
pub(super) const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
pub(super) const INVALID_GROUP_ID: i16 = 24;
pub(super) const UNKNOWN_MEMBER_ID: i16 = 25;
pub(super) const INVALID_SESSION_TIMEOUT: i16 = 26;
pub(super) const REBALANCE_IN_PROGRESS: i16 = 27;
pub(super) const NON_EMPTY_GROUP: i16 = 68;
pub(super) const GROUP_ID_NOT_FOUND: i16 = 69;
pub(super) const MEMBER_ID_REQUIRED: i16 = 79;
pub(super) const GROUP_MAX_SIZE_REACHED: i16 = 81;
pub(super) const FENCED_INSTANCE_ID: i16 = 82;

/// The version of JoinGroup and its like that the tests speak where the version does not matter.
pub(super) const JOIN: i16 = 9;
pub(super) const SYNC: i16 = 5;

/// A broker whose groups begin their first generation at once.
pub(super) fn start_quick() -> (Broker, RawClient) {
    let broker = Broker::builder().set("group.initial.rebalance.delay.ms", 0).start();
    let client = connect(&broker);
    (broker, client)
}

/// What a consumer of these topics sends with its join.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let subscription = ConsumerProtocolSubscription::default().with_topics(topics.iter().map(|t| text(t)).collect());
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    subscription.encode(&mut bytes, 0).expect("a subscription encodes");
    bytes.freeze()
}

/// What a leader gives a consumer: partitions of one topic.
pub(super) fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let topic = TopicPartition::default()
        .with_topic(text(topic).into())
        .with_partitions(partitions.to_vec());
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]);
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    assignment.encode(&mut bytes, 0).expect("an assignment encodes");
    bytes.freeze()
}

/// A protocol with opaque metadata.
pub(super) fn protocol(name: &str, metadata: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default()
        .with_name(text(name))
        .with_metadata(Bytes::copy_from_slice(metadata.as_bytes()))
}

/// A join of a consumer with protocol `range`.
pub(super) fn join_request(group: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range", "m")])
}

/// Joins with the member id that the coordinator gives; the reply must come without other members' help.
pub(super) fn join(client: &mut RawClient, request: &JoinGroupRequest) -> JoinGroupResponse {
    let request = with_id(client, request);
    client.call(JOIN, &request)
}

/// The same request with a member id, which the coordinator is asked for if there is none.
pub(super) fn with_id(client: &mut RawClient, request: &JoinGroupRequest) -> JoinGroupRequest {
    if !request.member_id.is_empty() || request.group_instance_id.is_some() {
        return request.clone();
    }
    let told = client.call(JOIN, request);
    assert_eq!(told.error_code, MEMBER_ID_REQUIRED, "{told:?}");
    assert!(!told.member_id.is_empty());
    request.clone().with_member_id(told.member_id)
}

/// A sync; the leader names assignments.
pub(super) fn sync_request(
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&StrBytes, &str)],
) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*member_id).clone())
            .with_assignment(Bytes::copy_from_slice(assignment.as_bytes()))
    });
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        // Mandatory from version 5 on.
        .with_protocol_type(joined.protocol_type.clone())
        .with_protocol_name(joined.protocol_name.clone())
        .with_assignments(assignments.collect())
}

/// Brings a group of one member to Stable; gives what the join said.
pub(super) fn stable(client: &mut RawClient, request: &JoinGroupRequest) -> JoinGroupResponse {
    let joined = join(client, request);
    assert_eq!(joined.error_code, 0, "{joined:?}");
    let sync = sync_request(&request.group_id, &joined, &[(&joined.member_id, "all")]);
    let synced: SyncGroupResponse = client.call(SYNC, &sync);
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    joined
}

/// Heartbeat; its error code.
pub(super) fn heartbeat(client: &mut RawClient, group: &str, generation_id: i32, member_id: &str) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(generation_id)
        .with_member_id(text(member_id));
    client.call(4, &request).error_code
}

/// A leave of one member by its id.
pub(super) fn leave(client: &mut RawClient, group: &str, member_id: &str) -> i16 {
    let request = LeaveGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_members(vec![MemberIdentity::default().with_member_id(text(member_id))]);
    let reply = client.call(5, &request);
    assert_eq!(reply.error_code, 0);
    reply.members[0].error_code
}

/// A ConsumerGroupHeartbeat that joins with subscriptions by name.
pub(super) fn modern_join(group: &str, member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member_id))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|t| text(t).into()).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

/// A heartbeat that changes nothing.
pub(super) fn modern_beat(group: &str, member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member_id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

/// Partitions of an assignment with one topic at most, sorted.
pub(super) fn partitions(assignment: &Option<Assignment>) -> Option<Vec<i32>> {
    let assignment = assignment.as_ref()?;
    let mut partitions: Vec<i32> = assignment
        .topic_partitions
        .iter()
        .flat_map(|t| t.partitions.clone())
        .collect();
    partitions.sort_unstable();
    Some(partitions)
}

/// Joins a consumer group; the reply must not be an error.
pub(super) fn modern_member(
    client: &mut RawClient,
    group: &str,
    member_id: &str,
    topics: &[&str],
) -> ConsumerGroupHeartbeatResponse {
    let reply = client.call(1, &modern_join(group, member_id, topics));
    assert_eq!(reply.error_code, 0, "{reply:?}");
    reply
}
