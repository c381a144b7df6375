//! Golden bytes, made by the classes of Kafka 4.3.0 (`MessageUtil.toCoordinatorTypePrefixedBytes` for keys,
//! `toVersionPrefixedBytes` for values): what it writes is read, and what is written is what it writes.

use super::*;
use crate::decode_error::DecodeError;

const TOPIC: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const OTHER: TopicId = TopicId([17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32]);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn decode(key: &str, value: &str) -> GroupRecord {
    GroupRecord::decode(&hex(key), Some(&hex(value))).expect("decodes")
}

/// A record as Kafka 4.3.0 writes it, and its two halves.
struct Golden {
    record: GroupRecord,
    key: &'static str,
    value: Option<&'static str>,
}

fn offset_commit(value: Option<OffsetCommitValue>) -> GroupRecord {
    GroupRecord::OffsetCommit {
        group_id: "orders".into(),
        topic: "payments".into(),
        partition: 7,
        value,
    }
}

const OFFSET_COMMIT_KEY: &str = "0001 0006 6f7264657273 0008 7061796d656e7473 00000007";
const GROUP_METADATA_KEY: &str = "0002 0006 6f7264657273";

fn offset_value() -> OffsetCommitValue {
    OffsetCommitValue {
        offset: 42,
        leader_epoch: 5,
        metadata: "note".into(),
        commit_timestamp: 1_700_000_000_123,
        expire_timestamp: -1,
        topic_id: TOPIC,
    }
}

fn group_metadata(value: Option<GroupMetadataValue>) -> GroupRecord {
    GroupRecord::GroupMetadata {
        group_id: "orders".into(),
        value,
    }
}

fn group_value() -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        current_state_timestamp: 1_700_000_000_123,
        members: vec![GroupMember {
            member_id: "m-1".into(),
            group_instance_id: Some("static".into()),
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"as"),
        }],
    }
}

fn member_metadata(value: ConsumerGroupMemberMetadataValue) -> GroupRecord {
    GroupRecord::ConsumerGroupMemberMetadata {
        group_id: "orders".into(),
        member_id: "m-1".into(),
        value: Some(value),
    }
}

fn partitions(topic_id: TopicId, partitions: &[i32], epochs: &[i32]) -> TopicPartitions {
    TopicPartitions {
        topic_id,
        partitions: partitions.to_vec(),
        assignment_epochs: epochs.to_vec(),
    }
}

fn classic_golden() -> Vec<Golden> {
    let expiring = OffsetCommitValue {
        leader_epoch: -1,
        expire_timestamp: 1_700_000_060_123,
        topic_id: TopicId::ZERO,
        ..offset_value()
    };
    let plain = OffsetCommitValue {
        leader_epoch: -1,
        metadata: "".into(),
        topic_id: TopicId::ZERO,
        ..offset_value()
    };
    let empty = GroupMetadataValue {
        protocol_type: "".into(),
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp: -1,
        members: vec![],
    };
    vec![
        Golden {
            record: offset_commit(Some(offset_value())),
            key: OFFSET_COMMIT_KEY,
            value: Some(
                "0004 000000000000002a 00000005 05 6e6f7465 0000018bcfe5687b
                 01 00 10 0102030405060708090a0b0c0d0e0f10",
            ),
        },
        Golden {
            record: offset_commit(Some(plain)),
            key: OFFSET_COMMIT_KEY,
            value: Some("0004 000000000000002a ffffffff 01 0000018bcfe5687b 00"),
        },
        Golden {
            record: offset_commit(Some(expiring)),
            key: OFFSET_COMMIT_KEY,
            value: Some("0001 000000000000002a 0004 6e6f7465 0000018bcfe5687b 0000018bcfe652db"),
        },
        Golden {
            record: offset_commit(None),
            key: OFFSET_COMMIT_KEY,
            value: None,
        },
        Golden {
            record: group_metadata(Some(group_value())),
            key: GROUP_METADATA_KEY,
            value: Some(
                "0003 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31 0000018bcfe5687b 00000001
                 0003 6d2d31 0006 737461746963 0001 63 0009 2f31302e302e302e31 000493e0 0000afc8
                 00000003 737562 00000002 6173",
            ),
        },
        Golden {
            record: group_metadata(Some(empty)),
            key: GROUP_METADATA_KEY,
            value: Some("0003 0000 00000000 ffff ffff ffffffffffffffff 00000000"),
        },
        Golden {
            record: group_metadata(None),
            key: GROUP_METADATA_KEY,
            value: None,
        },
    ]
}

fn epoch_golden() -> Vec<Golden> {
    let epoch = |metadata_hash| GroupRecord::ConsumerGroupMetadata {
        group_id: "orders".into(),
        value: Some(ConsumerGroupMetadataValue {
            epoch: 9,
            metadata_hash,
        }),
    };
    let target = |assignment_timestamp| GroupRecord::ConsumerGroupTargetAssignmentMetadata {
        group_id: "orders".into(),
        value: Some(ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: 9,
            assignment_timestamp,
        }),
    };
    vec![
        Golden {
            record: epoch(0x1122_3344_5566_7788),
            key: "0003 0006 6f7264657273",
            value: Some("0000 00000009 01 00 08 1122334455667788"),
        },
        Golden {
            record: epoch(0),
            key: "0003 0006 6f7264657273",
            value: Some("0000 00000009 00"),
        },
        Golden {
            record: GroupRecord::ConsumerGroupPartitionMetadata {
                group_id: "orders".into(),
            },
            key: "0004 0006 6f7264657273",
            value: None,
        },
        Golden {
            record: target(1_700_000_000_123),
            key: "0006 0006 6f7264657273",
            value: Some("0000 00000009 01 00 08 0000018bcfe5687b"),
        },
        Golden {
            record: target(0),
            key: "0006 0006 6f7264657273",
            value: Some("0000 00000009 00"),
        },
        Golden {
            record: GroupRecord::ConsumerGroupRegularExpression {
                group_id: "orders".into(),
                regular_expression: "pay.*".into(),
                value: Some(ConsumerGroupRegularExpressionValue {
                    topics: vec!["payments".into(), "payrolls".into()],
                    version: 12,
                    timestamp: 1_700_000_000_123,
                }),
            },
            key: "0010 0006 6f7264657273 0005 7061792e2a",
            value: Some("0000 03 09 7061796d656e7473 09 706179726f6c6c73 000000000000000c 0000018bcfe5687b 00"),
        },
    ]
}

fn member_golden() -> Vec<Golden> {
    let member_key = "0005 0006 6f7264657273 0003 6d2d31";
    let whole = ConsumerGroupMemberMetadataValue {
        instance_id: Some("static".into()),
        rack_id: Some("r1".into()),
        client_id: "c".into(),
        client_host: "/10.0.0.1".into(),
        subscribed_topic_names: vec!["audit".into(), "payments".into()],
        subscribed_topic_regex: Some("pay.*".into()),
        rebalance_timeout_ms: 300_000,
        server_assignor: Some("uniform".into()),
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 45_000,
            supported_protocols: vec![("range".into(), Bytes::from_static(b"sub"))],
        }),
    };
    vec![
        Golden {
            record: member_metadata(whole),
            key: member_key,
            value: Some(
                "0000 07 737461746963 03 7231 02 63 0a 2f31302e302e302e31 03 06 6175646974 09 7061796d656e7473
                 06 7061792e2a 000493e0 08 756e69666f726d
                 01 00 12 01 0000afc8 02 06 72616e6765 04 737562 00 00",
            ),
        },
        Golden {
            record: GroupRecord::ConsumerGroupTargetAssignmentMember {
                group_id: "orders".into(),
                member_id: "m-1".into(),
                value: Some(vec![partitions(TOPIC, &[0, 1, 2], &[])]),
            },
            key: "0007 0006 6f7264657273 0003 6d2d31",
            value: Some("0000 02 0102030405060708090a0b0c0d0e0f10 04 00000000 00000001 00000002 00 00"),
        },
        Golden {
            record: GroupRecord::ConsumerGroupCurrentMemberAssignment {
                group_id: "orders".into(),
                member_id: "m-1".into(),
                value: Some(ConsumerGroupCurrentMemberAssignmentValue {
                    member_epoch: 9,
                    previous_member_epoch: 8,
                    state: 1,
                    assigned_partitions: vec![partitions(TOPIC, &[0, 1], &[9, 7])],
                    partitions_pending_revocation: vec![partitions(OTHER, &[4], &[])],
                }),
            },
            key: "0008 0006 6f7264657273 0003 6d2d31",
            value: Some(
                "0000 00000009 00000008 01
                 02 0102030405060708090a0b0c0d0e0f10 03 00000000 00000001 01 00 09 03 00000009 00000007
                 02 1112131415161718191a1b1c1d1e1f20 02 00000004 00 00",
            ),
        },
    ]
}

fn golden() -> Vec<Golden> {
    [classic_golden(), epoch_golden(), member_golden()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn records_are_kafkas_bytes_in_both_directions() {
    for Golden { record, key, value } in golden() {
        let value = value.map(hex);
        assert_eq!(record.key_bytes(), Ok(hex(key)), "{record:?}");
        assert_eq!(record.value_bytes(), Ok(value.clone()), "{record:?}");
        assert_eq!(GroupRecord::decode(&hex(key), value.as_deref()), Ok(record));
    }
}

#[test]
fn offsets_of_every_version_are_read() {
    let without = OffsetCommitValue {
        leader_epoch: -1,
        topic_id: TopicId::ZERO,
        ..offset_value()
    };
    for value in [
        "0000 000000000000002a 0004 6e6f7465 0000018bcfe5687b",
        "0002 000000000000002a 0004 6e6f7465 0000018bcfe5687b",
    ] {
        assert_eq!(decode(OFFSET_COMMIT_KEY, value), offset_commit(Some(without.clone())));
    }
    let with_epoch = OffsetCommitValue {
        leader_epoch: 5,
        ..without
    };
    let value = "0003 000000000000002a 00000005 0004 6e6f7465 0000018bcfe5687b";
    assert_eq!(decode(OFFSET_COMMIT_KEY, value), offset_commit(Some(with_epoch)));
    // The key of releases before 0.9.
    let legacy = GroupRecord::decode(&hex("0000 0001 67 0001 74 00000007"), None);
    let expected = GroupRecord::OffsetCommit {
        group_id: "g".into(),
        topic: "t".into(),
        partition: 7,
        value: None,
    };
    assert_eq!(legacy, Ok(expected));
}

#[test]
fn classic_groups_of_every_version_are_read() {
    let group = |version: i16| {
        let mut group = group_value();
        let member = group.members.first_mut().expect("a member");
        if version < 3 {
            member.group_instance_id = None;
        }
        if version < 2 {
            group.current_state_timestamp = -1;
        }
        if version < 1 {
            member.rebalance_timeout_ms = member.session_timeout_ms;
        }
        group_metadata(Some(group))
    };
    let values = [
        "0000 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31 00000001
         0003 6d2d31 0001 63 0009 2f31302e302e302e31 0000afc8 00000003 737562 00000002 6173",
        "0001 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31 00000001
         0003 6d2d31 0001 63 0009 2f31302e302e302e31 000493e0 0000afc8 00000003 737562 00000002 6173",
        "0002 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31 0000018bcfe5687b 00000001
         0003 6d2d31 0001 63 0009 2f31302e302e302e31 000493e0 0000afc8 00000003 737562 00000002 6173",
        "0003 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31 0000018bcfe5687b 00000001
         0003 6d2d31 0006 737461746963 0001 63 0009 2f31302e302e302e31 000493e0 0000afc8
         00000003 737562 00000002 6173",
        "0004 09 636f6e73756d6572 00000003 06 72616e6765 04 6d2d31 0000018bcfe5687b 02
         04 6d2d31 07 737461746963 02 63 0a 2f31302e302e302e31 000493e0 0000afc8 04 737562 03 6173 00 00",
    ];
    for (version, value) in (0..).zip(values) {
        assert_eq!(decode(GROUP_METADATA_KEY, value), group(version), "{version}");
    }
}

#[test]
fn a_member_with_defaults_and_the_partitions_of_older_releases_are_read() {
    // Strings are empty there, not null.
    let empty: Option<Arc<str>> = Some("".into());
    let expected = ConsumerGroupMemberMetadataValue {
        instance_id: empty.clone(),
        rack_id: empty.clone(),
        subscribed_topic_regex: empty.clone(),
        server_assignor: empty,
        rebalance_timeout_ms: -1,
        ..ConsumerGroupMemberMetadataValue::default()
    };
    let member_key = "0005 0006 6f7264657273 0003 6d2d31";
    let value = "0000 01 01 01 01 01 01 ffffffff 01 00";
    assert_eq!(decode(member_key, value), member_metadata(expected));
    let value = "0000 02 0102030405060708090a0b0c0d0e0f10 09 7061796d656e7473 00000002 01 00 00";
    let record = decode("0004 0006 6f7264657273", value);
    let expected = GroupRecord::ConsumerGroupPartitionMetadata {
        group_id: "orders".into(),
    };
    assert_eq!(record, expected);
}

#[test]
fn epochs_that_do_not_match_the_partitions_are_none() {
    let key = "0008 0006 6f7264657273 0003 6d2d31";
    let topic = "0102030405060708090a0b0c0d0e0f10 02 00000000";
    // Null, as Kafka 4.3.0 writes it; and two epochs for one partition.
    for tag in ["01 00 01 00", "01 00 09 03 00000009 00000007"] {
        let record = decode(key, &format!("0000 00000009 00000008 00 02 {topic} {tag} 01 00"));
        let GroupRecord::ConsumerGroupCurrentMemberAssignment { value: Some(value), .. } = record else {
            panic!("{record:?}");
        };
        assert_eq!(value.assigned_partitions, [partitions(TOPIC, &[0], &[])]);
    }
}

#[test]
fn unknown_keys_are_no_error_and_unknown_values_are() {
    // Key 17 is a streams group's; Kafka's share groups have 9 to 15.
    for key_version in [-1, 9, 15, 17, i16::MAX] {
        let key = [&key_version.to_be_bytes()[..], &hex("0006 6f7264657273")].concat();
        let record = GroupRecord::decode(&key, Some(b"anything"));
        assert_eq!(record, Ok(GroupRecord::Unknown { key_version }));
    }
    for Golden { key, value, .. } in golden() {
        let Some(value) = value else { continue };
        for version in [-1i16, 5] {
            let value = [&version.to_be_bytes()[..], &hex(value)[2..]].concat();
            let refused = GroupRecord::decode(&hex(key), Some(&value));
            assert!(matches!(refused, Err(DecodeError::RecordVersion { version: v, .. }) if v == version));
        }
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let value = "0004 000000000000002a 00000005 05 6e6f7465 0000018bcfe5687b
        02 00 10 0102030405060708090a0b0c0d0e0f10 07 02 beef";
    assert_eq!(decode(OFFSET_COMMIT_KEY, value), offset_commit(Some(offset_value())));
}

#[test]
fn every_cut_is_an_error() {
    for Golden { key, value, .. } in golden() {
        let (key, value) = (hex(key), value.map(hex));
        for cut in 0..key.len() {
            assert!(GroupRecord::decode(&key[..cut], value.as_deref()).is_err(), "key {cut}");
        }
        let value = value.unwrap_or_default();
        for cut in 0..value.len() {
            let record = GroupRecord::decode(&key, Some(&value[..cut]));
            assert!(record.is_err(), "{cut}: {record:?}");
        }
    }
}

/// Every byte of every record, replaced by those that break decoders: an error or a record, never a panic. Counts cannot
/// make it allocate, or this test would not end.
#[test]
fn changed_bytes_never_panic() {
    let mut decoded = 0;
    for Golden { key, value, .. } in golden() {
        let (key, value) = (hex(key), value.map(hex).unwrap_or_default());
        for at in 0..key.len() + value.len() {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
                for run in 1..=5 {
                    let mut bytes = [&key[..], &value].concat();
                    let end = bytes.len().min(at + run);
                    bytes[at..end].fill(byte);
                    let (key, value) = bytes.split_at(key.len());
                    decoded += usize::from(GroupRecord::decode(key, Some(value)).is_ok());
                }
            }
        }
    }
    assert!(decoded > 0);
}

#[test]
fn a_string_that_kafka_cannot_read_is_not_written() {
    let long: Arc<str> = "g".repeat(0x8000).into();
    let too_long = |what| Some(EncodeError::TooLong { what, bytes: 0x8000 });
    let record = GroupRecord::GroupMetadata {
        group_id: long.clone(),
        value: None,
    };
    assert_eq!(record.key_bytes().err(), too_long("a group id"));
    let metadata = OffsetCommitValue {
        metadata: long.clone(),
        ..offset_value()
    };
    let refused = offset_commit(Some(metadata)).value_bytes();
    assert_eq!(refused.err(), too_long("the metadata of an offset"));
    let classic = ConsumerGroupMemberMetadataValue {
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 0,
            supported_protocols: vec![(long, Bytes::new())],
        }),
        ..ConsumerGroupMemberMetadataValue::default()
    };
    let refused = member_metadata(classic).value_bytes();
    assert_eq!(refused.err(), too_long("a protocol"));
}
