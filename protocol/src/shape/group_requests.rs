//! The shapes of the requests about groups and their offsets.

use super::Kind::{Array, Bytes, NullableArray, NullableStr, Str};
use super::notation::{BOOL, I32, I64, PARTITIONS, UUID, always, array_of, nullable_array_of, since, until};
use super::{Element, Struct};
use kafka_protocol::messages::{
    consumer_group_describe_request as consumer_describe, consumer_group_heartbeat_request as consumer_heartbeat,
    delete_groups_request as delete, describe_groups_request as describe, heartbeat_request as heartbeat,
    join_group_request as join, leave_group_request as leave, list_groups_request as list,
    offset_commit_request as commit, offset_delete_request as offset_delete, offset_fetch_request as fetch,
    sync_group_request as sync,
};

pub(super) static OFFSET_COMMIT: Struct = Struct {
    fields: &[
        always(Str),           // group_id
        always(I32),           // generation_id_or_member_epoch
        always(Str),           // member_id
        since(7, NullableStr), // group_instance_id
        until(4, I64),         // retention_time_ms
        always(array_of(&OFFSET_COMMIT_TOPIC)),
    ],
    tags: &[],
    bytes: size_of::<commit::OffsetCommitRequest>(),
};
static OFFSET_COMMIT_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&OFFSET_COMMIT_PARTITION))],
    tags: &[],
    bytes: size_of::<commit::OffsetCommitRequestTopic>(),
};
static OFFSET_COMMIT_PARTITION: Struct = Struct {
    fields: &[
        always(I32),         // partition_index
        always(I64),         // committed_offset
        since(6, I32),       // committed_leader_epoch
        always(NullableStr), // committed_metadata
    ],
    tags: &[],
    bytes: size_of::<commit::OffsetCommitRequestPartition>(),
};

pub(super) static OFFSET_FETCH: Struct = Struct {
    fields: &[
        until(7, Str),                                    // group_id
        until(7, nullable_array_of(&OFFSET_FETCH_TOPIC)), // topics
        since(8, array_of(&OFFSET_FETCH_GROUP)),
        since(7, BOOL), // require_stable
    ],
    tags: &[],
    bytes: size_of::<fetch::OffsetFetchRequest>(),
};
static OFFSET_FETCH_TOPIC: Struct = Struct {
    fields: &[always(Str), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<fetch::OffsetFetchRequestTopic>(),
};
static OFFSET_FETCH_GROUP: Struct = Struct {
    fields: &[
        always(Str),           // group_id
        since(9, NullableStr), // member_id
        since(9, I32),         // member_epoch
        always(nullable_array_of(&OFFSET_FETCH_TOPICS)),
    ],
    tags: &[],
    bytes: size_of::<fetch::OffsetFetchRequestGroup>(),
};
static OFFSET_FETCH_TOPICS: Struct = Struct {
    fields: &[always(Str), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<fetch::OffsetFetchRequestTopics>(),
};

pub(super) static JOIN_GROUP: Struct = Struct {
    fields: &[
        always(Str),           // group_id
        always(I32),           // session_timeout_ms
        since(1, I32),         // rebalance_timeout_ms
        always(Str),           // member_id
        since(5, NullableStr), // group_instance_id
        always(Str),           // protocol_type
        always(array_of(&JOIN_GROUP_PROTOCOL)),
        since(8, NullableStr), // reason
    ],
    tags: &[],
    bytes: size_of::<join::JoinGroupRequest>(),
};
static JOIN_GROUP_PROTOCOL: Struct = Struct {
    fields: &[always(Str), always(Bytes)],
    tags: &[],
    bytes: size_of::<join::JoinGroupRequestProtocol>(),
};

pub(super) static HEARTBEAT: Struct = Struct {
    fields: &[
        always(Str),           // group_id
        always(I32),           // generation_id
        always(Str),           // member_id
        since(3, NullableStr), // group_instance_id
    ],
    tags: &[],
    bytes: size_of::<heartbeat::HeartbeatRequest>(),
};

pub(super) static LEAVE_GROUP: Struct = Struct {
    fields: &[
        always(Str),   // group_id
        until(2, Str), // member_id
        since(3, array_of(&MEMBER_IDENTITY)),
    ],
    tags: &[],
    bytes: size_of::<leave::LeaveGroupRequest>(),
};
static MEMBER_IDENTITY: Struct = Struct {
    fields: &[
        always(Str),           // member_id
        always(NullableStr),   // group_instance_id
        since(5, NullableStr), // reason
    ],
    tags: &[],
    bytes: size_of::<leave::MemberIdentity>(),
};

pub(super) static SYNC_GROUP: Struct = Struct {
    fields: &[
        always(Str),           // group_id
        always(I32),           // generation_id
        always(Str),           // member_id
        since(3, NullableStr), // group_instance_id
        since(5, NullableStr), // protocol_type
        since(5, NullableStr), // protocol_name
        always(array_of(&SYNC_GROUP_ASSIGNMENT)),
    ],
    tags: &[],
    bytes: size_of::<sync::SyncGroupRequest>(),
};
static SYNC_GROUP_ASSIGNMENT: Struct = Struct {
    fields: &[always(Str), always(Bytes)],
    tags: &[],
    bytes: size_of::<sync::SyncGroupRequestAssignment>(),
};

pub(super) static DESCRIBE_GROUPS: Struct = Struct {
    fields: &[always(Array(Element::Str)), since(3, BOOL)],
    tags: &[],
    bytes: size_of::<describe::DescribeGroupsRequest>(),
};

pub(super) static LIST_GROUPS: Struct = Struct {
    fields: &[
        since(4, Array(Element::Str)), // states_filter
        since(5, Array(Element::Str)), // types_filter
    ],
    tags: &[],
    bytes: size_of::<list::ListGroupsRequest>(),
};

pub(super) static DELETE_GROUPS: Struct = Struct {
    fields: &[always(Array(Element::Str))],
    tags: &[],
    bytes: size_of::<delete::DeleteGroupsRequest>(),
};

pub(super) static OFFSET_DELETE: Struct = Struct {
    fields: &[always(Str), always(array_of(&OFFSET_DELETE_TOPIC))],
    tags: &[],
    bytes: size_of::<offset_delete::OffsetDeleteRequest>(),
};
static OFFSET_DELETE_TOPIC: Struct = Struct {
    fields: &[always(Str), always(array_of(&OFFSET_DELETE_PARTITION))],
    tags: &[],
    bytes: size_of::<offset_delete::OffsetDeleteRequestTopic>(),
};
static OFFSET_DELETE_PARTITION: Struct = Struct {
    fields: &[always(I32)],
    tags: &[],
    bytes: size_of::<offset_delete::OffsetDeleteRequestPartition>(),
};

pub(super) static CONSUMER_GROUP_HEARTBEAT: Struct = Struct {
    fields: &[
        always(Str),                         // group_id
        always(Str),                         // member_id
        always(I32),                         // member_epoch
        always(NullableStr),                 // instance_id
        always(NullableStr),                 // rack_id
        always(I32),                         // rebalance_timeout_ms
        always(NullableArray(Element::Str)), // subscribed_topic_names
        since(1, NullableStr),               // subscribed_topic_regex
        always(NullableStr),                 // server_assignor
        always(nullable_array_of(&OWNED_TOPIC_PARTITIONS)),
    ],
    tags: &[],
    bytes: size_of::<consumer_heartbeat::ConsumerGroupHeartbeatRequest>(),
};
static OWNED_TOPIC_PARTITIONS: Struct = Struct {
    fields: &[always(UUID), always(PARTITIONS)],
    tags: &[],
    bytes: size_of::<consumer_heartbeat::TopicPartitions>(),
};

pub(super) static CONSUMER_GROUP_DESCRIBE: Struct = Struct {
    fields: &[always(Array(Element::Str)), always(BOOL)],
    tags: &[],
    bytes: size_of::<consumer_describe::ConsumerGroupDescribeRequest>(),
};
