//! Mutated records of `__consumer_offsets` and mutated bytes of the consumer protocol: no panic, memory in proportion to
//! the bytes. What decodes is written and read again unchanged. `STREAMHOUSE_TEST_SEED` replays a run.

use crate::allocator::peak_bytes;
use crate::generate::{Gen, seed};
use crate::mutated_frames::mutate;
use bytes::Bytes;
use rand::RngExt;
use std::sync::Arc;
use streamhouse_protocol::consumer_protocol::{Assignment, OwnedPartitions, Subscription};
use streamhouse_protocol::group_records::*;
use streamhouse_protocol::types::TopicId;

const ROUNDS: u64 = 40_000;
/// An empty string is one byte on the wire, a pointer and two counters in memory, and the list that holds it doubles.
const BYTES_PER_BYTE: usize = 100;
const SLACK_BYTES: usize = 4 << 10;

fn text(g: &mut Gen) -> Arc<str> {
    g.text().into()
}

fn topics(g: &mut Gen, epochs: bool) -> Vec<TopicPartitions> {
    g.vec(|g| {
        let partitions = g.vec(Gen::i32);
        let epochs = epochs && g.bool();
        TopicPartitions {
            topic_id: TopicId(Gen::uuid_bytes(&g.uuid_text())),
            assignment_epochs: partitions.iter().filter(|_| epochs).map(|p| p ^ 1).collect(),
            partitions,
        }
    })
}

fn offset_commit(g: &mut Gen) -> GroupRecord {
    // An expiry of its own leaves no room for the other two.
    let expires = g.bool();
    GroupRecord::OffsetCommit {
        group_id: text(g),
        topic: text(g),
        partition: g.i32(),
        value: g.option(|g| OffsetCommitValue {
            offset: g.i64(),
            leader_epoch: if expires { -1 } else { g.i32() },
            metadata: text(g),
            commit_timestamp: g.i64(),
            expire_timestamp: if expires { g.i64().max(0) } else { -1 },
            topic_id: if expires {
                TopicId::ZERO
            } else {
                TopicId(Gen::uuid_bytes(&g.uuid_text()))
            },
        }),
    }
}

fn group_metadata(g: &mut Gen) -> GroupRecord {
    GroupRecord::GroupMetadata {
        group_id: text(g),
        value: g.option(|g| GroupMetadataValue {
            protocol_type: text(g),
            generation: g.i32(),
            protocol: g.option(text),
            leader: g.option(text),
            current_state_timestamp: g.i64(),
            members: g.vec(|g| GroupMember {
                member_id: text(g),
                group_instance_id: g.option(text),
                client_id: text(g),
                client_host: text(g),
                rebalance_timeout_ms: g.i32(),
                session_timeout_ms: g.i32(),
                subscription: g.bytes(),
                assignment: g.bytes(),
            }),
        }),
    }
}

fn member_metadata(g: &mut Gen) -> GroupRecord {
    GroupRecord::ConsumerGroupMemberMetadata {
        group_id: text(g),
        member_id: text(g),
        value: g.option(|g| ConsumerGroupMemberMetadataValue {
            instance_id: g.option(text),
            rack_id: g.option(text),
            client_id: text(g),
            client_host: text(g),
            subscribed_topic_names: g.vec(text),
            subscribed_topic_regex: g.option(text),
            rebalance_timeout_ms: g.i32(),
            server_assignor: g.option(text),
            classic_member_metadata: g.option(|g| ClassicMemberMetadata {
                session_timeout_ms: g.i32(),
                supported_protocols: g.vec(|g| (text(g), g.bytes())),
            }),
        }),
    }
}

fn record(g: &mut Gen) -> GroupRecord {
    match g.rng.random_range(0..8) {
        0 => offset_commit(g),
        1 => group_metadata(g),
        2 => member_metadata(g),
        3 => GroupRecord::ConsumerGroupMetadata {
            group_id: text(g),
            value: g.option(|g| ConsumerGroupMetadataValue {
                epoch: g.i32(),
                metadata_hash: g.i64(),
            }),
        },
        4 => GroupRecord::ConsumerGroupTargetAssignmentMetadata {
            group_id: text(g),
            value: g.option(|g| ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: g.i32(),
                assignment_timestamp: g.i64(),
            }),
        },
        5 => GroupRecord::ConsumerGroupTargetAssignmentMember {
            group_id: text(g),
            member_id: text(g),
            value: g.option(|g| topics(g, false)),
        },
        6 => GroupRecord::ConsumerGroupCurrentMemberAssignment {
            group_id: text(g),
            member_id: text(g),
            value: g.option(|g| ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: g.i32(),
                previous_member_epoch: g.i32(),
                state: g.i8(),
                assigned_partitions: topics(g, true),
                partitions_pending_revocation: topics(g, true),
            }),
        },
        _ => GroupRecord::ConsumerGroupRegularExpression {
            group_id: text(g),
            regular_expression: text(g),
            value: g.option(|g| ConsumerGroupRegularExpressionValue {
                topics: g.vec(text),
                version: g.i64(),
                timestamp: g.i64(),
            }),
        },
    }
}

fn written(record: &GroupRecord) -> (Vec<u8>, Option<Vec<u8>>) {
    let key = record.key_bytes().expect("a key");
    (key, record.value_bytes().expect("a value"))
}

#[test]
fn mutated_group_records_never_panic_and_never_take_memory() {
    let seed = seed("mutated_group_records_never_panic_and_never_take_memory");
    let (mut good, mut bad) = (0, 0);
    for round in 0..ROUNDS {
        let mut g = Gen::new(seed.wrapping_add(round), true);
        let record = record(&mut g);
        let (mut key, mut value) = written(&record);
        let read = GroupRecord::decode(&key, value.as_deref());
        assert_eq!(read, Ok(record), "seed {seed}, round {round}");
        match &mut value {
            Some(value) if g.rng.random_ratio(9, 10) => mutate(&mut g.rng, value, 0, &key),
            _ => mutate(&mut g.rng, &mut key, 0, &[]),
        }
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        let (read, peak) = peak_bytes(|| GroupRecord::decode(&key, value.as_deref()));
        assert!(
            peak <= bytes * BYTES_PER_BYTE + SLACK_BYTES,
            "{peak} bytes for {bytes}: seed {seed}, round {round}"
        );
        match read {
            Ok(GroupRecord::Unknown { .. }) | Err(_) => bad += 1,
            Ok(read) => {
                let (key, value) = written(&read);
                // Only a classic expiry makes a record lose what its version has no room for.
                if !matches!(&read, GroupRecord::OffsetCommit { value: Some(value), .. } if value.expire_timestamp != -1)
                {
                    assert_eq!(
                        GroupRecord::decode(&key, value.as_deref()),
                        Ok(read),
                        "seed {seed}, round {round}"
                    );
                }
                good += 1;
            }
        }
    }
    assert!(good > ROUNDS / 20 && bad > ROUNDS / 20, "{good} good, {bad} bad");
}

/// Nothing but counts: megabytes of the smallest elements.
#[test]
fn group_records_of_millions_of_elements_take_memory_in_proportion() {
    let count = |count: u32| {
        let count = count + 1;
        [0, 7, 14, 21].map(|shift| (count >> shift) as u8 & 0x7f | if shift < 21 { 0x80 } else { 0 })
    };
    let elements = 1_000_000;
    let key = [&[0, 16, 0, 1, b'g', 0, 1, b'.'][..]].concat();
    let mut value = [&[0, 0][..], &count(elements)].concat();
    value.extend(vec![1; elements as usize]);
    value.extend([0; 17]);
    let (read, peak) = peak_bytes(|| GroupRecord::decode(&key, Some(&value)));
    assert!(read.is_ok());
    assert!(peak <= value.len() * BYTES_PER_BYTE + SLACK_BYTES, "{peak}");
    let lie = [&[0, 0][..], &count((1 << 28) - 2), &[1; 100]].concat();
    let (read, peak) = peak_bytes(|| GroupRecord::decode(&key, Some(&lie)));
    assert!(read.is_err());
    assert!(peak <= SLACK_BYTES, "{peak}");
}

fn owned(g: &mut Gen) -> Vec<OwnedPartitions> {
    g.vec(|g| OwnedPartitions {
        topic: text(g),
        partitions: g.vec(Gen::i32),
    })
}

#[test]
fn mutated_consumer_protocol_never_panics_and_never_takes_memory() {
    let seed = seed("mutated_consumer_protocol_never_panics_and_never_takes_memory");
    let (mut good, mut bad) = (0, 0);
    for round in 0..ROUNDS {
        let mut g = Gen::new(seed.wrapping_add(round), false);
        let assignment = Assignment {
            assigned_partitions: owned(&mut g),
            user_data: g.option(Gen::bytes),
        };
        let version = g.rng.random_range(0..4);
        let mut bytes = assignment.encode(version);
        assert_eq!(Assignment::decode(&bytes), Ok(assignment), "seed {seed}, round {round}");
        let other = Bytes::from(bytes.clone());
        mutate(&mut g.rng, &mut bytes, 0, &other);
        let ((assignment, subscription), peak) =
            peak_bytes(|| (Assignment::decode(&bytes), Subscription::decode(&bytes).is_ok()));
        assert!(
            peak <= bytes.len() * BYTES_PER_BYTE + SLACK_BYTES,
            "{peak}: seed {seed}, round {round}"
        );
        match assignment {
            Ok(read) => {
                assert_eq!(
                    Assignment::decode(&read.encode(version)),
                    Ok(read),
                    "seed {seed}, round {round}"
                );
                good += 1;
            }
            Err(_) => bad += 1,
        }
        bad += u64::from(!subscription);
    }
    assert!(good > ROUNDS / 20 && bad > ROUNDS / 20, "{good} good, {bad} bad");
}
