//! Random requests about groups and their offsets.

use crate::generate::Gen;
use crate::requests::{str_bytes, topic_name, uuid};
use kafka_protocol::messages::*;
use kafka_protocol::messages::{
    consumer_group_heartbeat_request as consumer_heartbeat, join_group_request as join, leave_group_request as leave,
    offset_commit_request as commit, offset_delete_request as offset_delete, offset_fetch_request as fetch,
    sync_group_request as sync,
};

fn group_id(g: &mut Gen) -> GroupId {
    GroupId(str_bytes(g))
}

pub(crate) fn offset_commit(v: i16, g: &mut Gen) -> OffsetCommitRequest {
    let mut request = OffsetCommitRequest::default()
        .with_group_id(group_id(g))
        .with_generation_id_or_member_epoch(g.i32())
        .with_member_id(str_bytes(g))
        .with_topics(g.vec(|g| {
            commit::OffsetCommitRequestTopic::default()
                .with_name(topic_name(g))
                .with_partitions(g.vec(|g| {
                    let epoch = if v >= 6 { g.i32() } else { -1 };
                    commit::OffsetCommitRequestPartition::default()
                        .with_partition_index(g.i32())
                        .with_committed_offset(g.i64())
                        .with_committed_leader_epoch(epoch)
                        .with_committed_metadata(g.option(str_bytes))
                        .with_unknown_tagged_fields(g.tags())
                }))
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v <= 4 {
        request.retention_time_ms = g.i64();
    }
    if v >= 7 {
        request.group_instance_id = g.option(str_bytes);
    }
    request
}

fn offset_fetch_group(v: i16, g: &mut Gen) -> fetch::OffsetFetchRequestGroup {
    let mut group = fetch::OffsetFetchRequestGroup::default()
        .with_group_id(group_id(g))
        .with_topics(g.option(|g| {
            g.vec(|g| {
                fetch::OffsetFetchRequestTopics::default()
                    .with_name(topic_name(g))
                    .with_partition_indexes(g.vec(Gen::i32))
                    .with_unknown_tagged_fields(g.tags())
            })
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 9 {
        group.member_id = g.option(str_bytes);
        group.member_epoch = g.i32();
    }
    group
}

pub(crate) fn offset_fetch(v: i16, g: &mut Gen) -> OffsetFetchRequest {
    let mut request = OffsetFetchRequest::default().with_unknown_tagged_fields(g.tags());
    if v <= 7 {
        request.group_id = group_id(g);
        request.topics = g.option(|g| {
            g.vec(|g| {
                fetch::OffsetFetchRequestTopic::default()
                    .with_name(topic_name(g))
                    .with_partition_indexes(g.vec(Gen::i32))
                    .with_unknown_tagged_fields(g.tags())
            })
        });
    } else {
        request.groups = g.vec(|g| offset_fetch_group(v, g));
    }
    if v >= 7 {
        request.require_stable = g.bool();
    }
    request
}

pub(crate) fn join_group(v: i16, g: &mut Gen) -> JoinGroupRequest {
    let mut request = JoinGroupRequest::default()
        .with_group_id(group_id(g))
        .with_session_timeout_ms(g.i32())
        .with_member_id(str_bytes(g))
        .with_protocol_type(str_bytes(g))
        .with_protocols(g.vec(|g| {
            join::JoinGroupRequestProtocol::default()
                .with_name(str_bytes(g))
                .with_metadata(g.bytes())
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.rebalance_timeout_ms = g.i32();
    }
    if v >= 5 {
        request.group_instance_id = g.option(str_bytes);
    }
    if v >= 8 {
        request.reason = g.option(str_bytes);
    }
    request
}

pub(crate) fn heartbeat(v: i16, g: &mut Gen) -> HeartbeatRequest {
    let mut request = HeartbeatRequest::default()
        .with_group_id(group_id(g))
        .with_generation_id(g.i32())
        .with_member_id(str_bytes(g))
        .with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.group_instance_id = g.option(str_bytes);
    }
    request
}

pub(crate) fn leave_group(v: i16, g: &mut Gen) -> LeaveGroupRequest {
    let mut request = LeaveGroupRequest::default()
        .with_group_id(group_id(g))
        .with_unknown_tagged_fields(g.tags());
    if v <= 2 {
        request.member_id = str_bytes(g);
        return request;
    }
    request.members = g.vec(|g| {
        let mut member = leave::MemberIdentity::default()
            .with_member_id(str_bytes(g))
            .with_group_instance_id(g.option(str_bytes))
            .with_unknown_tagged_fields(g.tags());
        if v >= 5 {
            member.reason = g.option(str_bytes);
        }
        member
    });
    request
}

pub(crate) fn sync_group(v: i16, g: &mut Gen) -> SyncGroupRequest {
    let mut request = SyncGroupRequest::default()
        .with_group_id(group_id(g))
        .with_generation_id(g.i32())
        .with_member_id(str_bytes(g))
        .with_assignments(g.vec(|g| {
            sync::SyncGroupRequestAssignment::default()
                .with_member_id(str_bytes(g))
                .with_assignment(g.bytes())
                .with_unknown_tagged_fields(g.tags())
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.group_instance_id = g.option(str_bytes);
    }
    if v >= 5 {
        request.protocol_type = g.option(str_bytes);
        request.protocol_name = g.option(str_bytes);
    }
    request
}

pub(crate) fn describe_groups(v: i16, g: &mut Gen) -> DescribeGroupsRequest {
    let mut request = DescribeGroupsRequest::default()
        .with_groups(g.vec(group_id))
        .with_unknown_tagged_fields(g.tags());
    if v >= 3 {
        request.include_authorized_operations = g.bool();
    }
    request
}

pub(crate) fn list_groups(v: i16, g: &mut Gen) -> ListGroupsRequest {
    let mut request = ListGroupsRequest::default().with_unknown_tagged_fields(g.tags());
    if v >= 4 {
        request.states_filter = g.vec(str_bytes);
    }
    if v >= 5 {
        request.types_filter = g.vec(str_bytes);
    }
    request
}

pub(crate) fn delete_groups(g: &mut Gen) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default()
        .with_groups_names(g.vec(group_id))
        .with_unknown_tagged_fields(g.tags())
}

pub(crate) fn offset_delete(g: &mut Gen) -> OffsetDeleteRequest {
    OffsetDeleteRequest::default()
        .with_group_id(group_id(g))
        .with_topics(g.vec(|g| {
            offset_delete::OffsetDeleteRequestTopic::default()
                .with_name(topic_name(g))
                .with_partitions(
                    g.vec(|g| offset_delete::OffsetDeleteRequestPartition::default().with_partition_index(g.i32())),
                )
        }))
}

pub(crate) fn consumer_group_heartbeat(v: i16, g: &mut Gen) -> ConsumerGroupHeartbeatRequest {
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(g))
        .with_member_id(str_bytes(g))
        .with_member_epoch(g.i32())
        .with_instance_id(g.option(str_bytes))
        .with_rack_id(g.option(str_bytes))
        .with_rebalance_timeout_ms(g.i32())
        .with_subscribed_topic_names(g.option(|g| g.vec(topic_name)))
        .with_server_assignor(g.option(str_bytes))
        .with_topic_partitions(g.option(|g| {
            g.vec(|g| {
                consumer_heartbeat::TopicPartitions::default()
                    .with_topic_id(uuid!(g))
                    .with_partitions(g.vec(Gen::i32))
                    .with_unknown_tagged_fields(g.tags())
            })
        }))
        .with_unknown_tagged_fields(g.tags());
    if v >= 1 {
        request.subscribed_topic_regex = g.option(str_bytes);
    }
    request
}

pub(crate) fn consumer_group_describe(g: &mut Gen) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default()
        .with_group_ids(g.vec(group_id))
        .with_include_authorized_operations(g.bool())
        .with_unknown_tagged_fields(g.tags())
}
