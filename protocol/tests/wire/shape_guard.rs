//! The shape guard against the codec, in both directions: whatever the codec encodes is consumed to its last byte, and
//! whatever the guard passes decodes without a panic, within the allocation that the guard announced.

use crate::allocator::peak_bytes;
use crate::generate::{Gen, seed};
use crate::requests::{self, served, with_request_type};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Message, Request, StrBytes};
use streamhouse_protocol::DecodeError;
use streamhouse_protocol::api::{APIS, ApiKey};
use streamhouse_protocol::frame::frame_bytes;
use streamhouse_protocol::header::RequestHeader;
use streamhouse_protocol::shape::{Checked, DECODE_MEMORY_LIMIT, check_request, decode_request, decode_request_within};

/// Bookkeeping of `Bytes` and of an error's text, whatever the request's size.
const SLACK_BYTES: usize = 1024;

fn check(key: ApiKey, version: i16, body: &[u8]) -> Result<Checked, DecodeError> {
    check_request(key as i16, version, body, DECODE_MEMORY_LIMIT)
}

fn decode_to_text<T: Request + std::fmt::Debug>(version: i16, body: Bytes) -> Result<String, DecodeError> {
    decode_request::<T>(version, body).map(|request| format!("{request:?}"))
}

fn codec_versions<T: Request>() -> (i16, i16, i16) {
    (T::KEY, <T as Message>::VERSIONS.min, <T as Message>::VERSIONS.max)
}

fn header_version<T: Request>(version: i16) -> (i16, i16) {
    (
        T::header_version(version),
        response_header_version::<T::Response>(version),
    )
}

fn response_header_version<T: kafka_protocol::protocol::HeaderVersion>(version: i16) -> i16 {
    T::header_version(version)
}

#[test]
fn the_table_is_the_codecs() {
    for api in APIS {
        let (key, min, max) = with_request_type!(api.key, codec_versions());
        assert_eq!(key, api.key as i16, "{}", api.name);
        assert!(
            min <= api.min_served && api.max_version <= max,
            "{}: the codec has {min} to {max}",
            api.name
        );
        for version in api.min_served..=api.max_version {
            let headers = with_request_type!(api.key, header_version(version));
            let ours = (
                api.request_header_version(version),
                api.response_header_version(version),
            );
            assert_eq!(ours, headers, "{} {version}", api.name);
        }
    }
}

#[test]
fn what_the_codec_encodes_is_consumed_to_the_last_byte() {
    let seed = seed("what_the_codec_encodes_is_consumed_to_the_last_byte");
    for (api, version) in served() {
        for round in 0..60 {
            let mut random = Gen::new(seed ^ round, api.is_flexible(version));
            random.elements_max = if round % 10 == 9 { 40 } else { 4 };
            let sample = requests::random(api.key, version, &mut random);
            let context = || format!("{} {version}, seed {}", api.name, seed ^ round);
            let checked = check(api.key, version, &sample.body).unwrap_or_else(|e| panic!("{e}: {}", context()));
            assert_eq!(
                (checked.body_bytes, checked.trailing_bytes),
                (sample.body.len(), 0),
                "{}",
                context()
            );
            let announced = checked.memory_bytes;
            let decoded = with_request_type!(api.key, decode_to_text(version, sample.body.clone()));
            assert_eq!(decoded, Ok(sample.text), "{}", context());
            let body = sample.body.clone();
            let allocated = with_request_type!(api.key, decode_peak(version, body));
            assert!(
                allocated <= announced + SLACK_BYTES,
                "{allocated} > {announced}: {}",
                context()
            );
            for cut in [0, 1, sample.body.len() / 2] {
                if cut < sample.body.len() {
                    assert!(
                        check(api.key, version, &sample.body[..cut]).is_err(),
                        "cut at {cut}: {}",
                        context()
                    );
                }
            }
            let longer = [&sample.body[..], &[0, 1, 2]].concat();
            let expected = Checked {
                trailing_bytes: 3,
                ..checked
            };
            assert_eq!(check(api.key, version, &longer), Ok(expected), "{}", context());
            let decoded = with_request_type!(api.key, decode_to_text(version, Bytes::from(longer)));
            assert!(decoded.is_ok(), "{}", context());
        }
    }
}

fn decode_peak<T: Request>(version: i16, body: Bytes) -> usize {
    let (request, peak) = peak_bytes(|| decode_request::<T>(version, body));
    assert!(request.is_ok());
    peak
}

/// Bodies of nothing but counts and zeros: the cheapest way to make a decoder allocate.
#[test]
fn counts_that_lie_allocate_nothing() {
    // contract 3
    for (api, version) in served() {
        for filler in [0x00, 0x01, 0x02, 0x7f, 0xff] {
            for at in 0..24 {
                for count in [
                    [0x7f, 0xff, 0xff, 0xff, 0xff],
                    [0xff, 0xff, 0xff, 0xff, 0x0f],
                    [0x00, 0xff, 0xff, 0xff, 0],
                ] {
                    let mut body = vec![filler; 64];
                    body[at..at + 5].copy_from_slice(&count);
                    let body = Bytes::from(body);
                    let peak = with_request_type!(api.key, try_decode_peak(version, body));
                    assert!(
                        peak < 64 * 1024,
                        "{peak} bytes: {} {version}, {filler:#x} at {at}",
                        api.name
                    );
                }
            }
        }
    }
}

fn try_decode_peak<T: Request>(version: i16, body: Bytes) -> usize {
    peak_bytes(|| decode_request::<T>(version, body).is_ok()).1
}

#[test]
fn a_metadata_request_of_14_bytes_with_two_billion_topics_is_refused() {
    // contract 3: the codec alone asks for 154 GB here.
    let frame = [0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff];
    assert_eq!(frame_bytes([frame[0], frame[1], frame[2], frame[3]], 1 << 20), Ok(14));
    let header = RequestHeader::parse(&frame[4..]).expect("a header");
    let body = Bytes::copy_from_slice(header.body(&frame[4..]));
    let (result, peak) = peak_bytes(|| decode_request::<MetadataRequest>(header.api_version, body));
    assert_eq!(
        result,
        Err(DecodeError::Count {
            count: 0x7fff_ffff,
            left: 0
        })
    );
    assert!(peak < SLACK_BYTES, "{peak}");
}

#[test]
fn a_count_is_refused_before_its_elements_are_read() {
    // Metadata 1: a topic takes two bytes at least. CreateTopics 4: a broker id takes four.
    let topics = |count: u8, bytes: usize| [&[0, 0, 0, count][..], &vec![0; bytes]].concat();
    assert!(check(ApiKey::Metadata, 1, &topics(3, 6)).is_ok());
    assert_eq!(
        check(ApiKey::Metadata, 1, &topics(3, 5)),
        Err(DecodeError::Count { count: 3, left: 5 })
    );
    let brokers = |count: u8| {
        [
            &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0][..],
            &[0, 0, 0, count],
            &[0; 13],
        ]
        .concat()
    };
    assert!(check(ApiKey::CreateTopics, 4, &brokers(1)).is_ok());
    assert_eq!(
        check(ApiKey::CreateTopics, 4, &brokers(4)),
        Err(DecodeError::Count { count: 4, left: 13 })
    );
}

/// 30 MB of real, minimal elements: every count is true, and decoding would take many times the bytes.
#[test]
fn true_counts_are_bounded_by_the_memory_limit() {
    let elements = 10_000_000u32;
    let mut body = Vec::new();
    body.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend([0; 8]);
    let mut count = elements + 1;
    while count >= 0x80 {
        body.push((count as u8) | 0x80);
        count >>= 7;
    }
    body.push(count as u8);
    // Topics of Fetch 12: empty name, no partitions, no tags.
    body.extend([1, 1, 0].repeat(elements as usize));
    body.extend([1, 1, 0]);
    assert_eq!(
        check(ApiKey::Fetch, 12, &body),
        Err(DecodeError::Memory {
            limit: DECODE_MEMORY_LIMIT
        }),
        "topics"
    );
    let unlimited = check_request(ApiKey::Fetch as i16, 12, &body, usize::MAX);
    assert!(unlimited.is_ok_and(|checked| checked.memory_bytes > 30 * elements as usize));

    // A million unknown tagged fields of ApiVersions 3, all different.
    let mut tags = vec![1, 1, 0xc0, 0x84, 0x3d];
    for tag in 0..1_000_000u32 {
        tags.extend([(tag as u8) | 0x80, ((tag >> 7) as u8) | 0x80, (tag >> 14) as u8, 0]);
    }
    let refused = check(ApiKey::ApiVersions, 3, &tags);
    assert_eq!(
        refused,
        Err(DecodeError::Memory {
            limit: DECODE_MEMORY_LIMIT
        }),
        "tags"
    );
}

/// A request of 100,000 members is decoded within the limit or refused; its assignments are slices of the frame.
#[test]
fn members_by_the_hundred_thousand_stay_within_the_limit() {
    let members = (0..100_000).map(|member| {
        let id = StrBytes::from_string(format!("member-{member:06}"));
        leave_group_request::MemberIdentity::default().with_member_id(id)
    });
    let leave = LeaveGroupRequest::default().with_members(members.collect());
    let assignments = (0..100_000).map(|member| {
        let id = StrBytes::from_string(format!("member-{member:06}"));
        sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(id)
            .with_assignment(Bytes::from_static(&[7; 100]))
    });
    let sync = SyncGroupRequest::default().with_assignments(assignments.collect());
    let large = Bytes::from(vec![7; 10 << 20]);
    let one = sync_group_request::SyncGroupRequestAssignment::default().with_assignment(large);
    let one = SyncGroupRequest::default().with_assignments(vec![one]);
    for version in 3..=5 {
        bounded(version, &leave, 20 << 20);
        bounded(version, &sync, 20 << 20);
        bounded(version, &one, SLACK_BYTES);
    }
}

/// Decodes to what it was, within `memory_max`; and is refused, without taking memory, when one byte less than it needs is
/// allowed.
fn bounded<T: Request + PartialEq + std::fmt::Debug>(version: i16, request: &T, memory_max: usize) {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("encodes");
    let body = body.freeze();
    let checked = check_request(T::KEY, version, &body, DECODE_MEMORY_LIMIT).expect("passes");
    assert!(checked.memory_bytes <= memory_max, "{} {version}", checked.memory_bytes);
    let (decoded, peak) = peak_bytes(|| decode_request::<T>(version, body.clone()));
    assert!(decoded.is_ok_and(|decoded| &decoded == request));
    assert!(peak <= checked.memory_bytes + SLACK_BYTES, "{peak}");
    let limit = checked.memory_bytes - 1;
    let (refused, peak) = peak_bytes(|| decode_request_within::<T>(version, body, limit));
    assert_eq!(refused, Err(DecodeError::Memory { limit }));
    assert!(peak <= SLACK_BYTES, "{peak}");
}

#[test]
fn a_null_byte_field_is_refused_where_the_protocol_has_none() {
    // JoinGroup 0: one protocol `r` whose metadata is null.
    let join = [
        &[0, 1, b'g', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'r'][..],
        &[0xff; 4],
    ]
    .concat();
    let null = DecodeError::Null { what: "a byte field" };
    assert_eq!(check(ApiKey::JoinGroup, 0, &join), Err(null));
    let empty = [&join[..join.len() - 4], &[0; 4]].concat();
    assert!(check(ApiKey::JoinGroup, 0, &empty).is_ok());
}

#[test]
fn a_known_tag_must_have_the_size_of_its_content() {
    // Fetch 17: a partition's tag 0 is a UUID. The codec does not look at the size.
    let partition = |tag: &[u8]| {
        let mut body = vec![0; 4 + 4 + 4 + 1 + 4 + 4];
        body.push(2);
        body.extend([7; 16]);
        body.push(2);
        body.extend([0; 4 + 4 + 8 + 4 + 8 + 4]);
        body.push(1);
        body.extend(tag);
        body.extend([0, 1, 1, 0]);
        body
    };
    let uuid = [&[0, 16][..], &[9; 16]].concat();
    assert!(check(ApiKey::Fetch, 17, &partition(&uuid)).is_ok());
    let short = [&[0, 15][..], &[9; 16]].concat();
    assert_eq!(
        check(ApiKey::Fetch, 17, &partition(&short)),
        Err(DecodeError::TagSize {
            tag: 0,
            announced: 15,
            found: 16
        })
    );
    let later = [&[1, 8][..], &[9; 8]].concat();
    assert_eq!(
        check(ApiKey::Fetch, 17, &partition(&later)),
        Err(DecodeError::TagVersion { tag: 1 })
    );
    // contract 6: what nobody knows is skipped.
    let unknown = [&[0x20, 3][..], &[9; 3]].concat();
    assert!(check(ApiKey::Fetch, 17, &partition(&unknown)).is_ok());
}

#[test]
fn an_optional_struct_is_there_or_not() {
    let body = |presence: u8| [&[1, 0, 0, 0, 5, presence][..], &[1, 0, 0, 0, 0, 0], &[0]].concat();
    assert!(check(ApiKey::DescribeTopicPartitions, 0, &body(1)).is_ok());
    assert!(check(ApiKey::DescribeTopicPartitions, 0, &[1, 0, 0, 0, 5, 0xff, 0]).is_ok());
    assert_eq!(
        check(ApiKey::DescribeTopicPartitions, 0, &body(0)),
        Err(DecodeError::Presence(0))
    );
}

#[test]
fn versions_that_are_not_served_are_refused() {
    // contract 4
    for (key, version) in [
        (ApiKey::Produce, 2),
        (ApiKey::Fetch, 3),
        (ApiKey::Fetch, 19),
        (ApiKey::Metadata, -1),
    ] {
        let expected = DecodeError::UnsupportedVersion {
            api_key: key as i16,
            api_version: version,
        };
        assert_eq!(check(key, version, &[]), Err(expected));
    }
    assert_eq!(
        check_request(999, 0, &[], DECODE_MEMORY_LIMIT),
        Err(DecodeError::UnknownApi {
            api_key: 999,
            api_version: 0
        })
    );
}

#[test]
fn a_null_list_of_topics_is_no_error_in_any_version() {
    // contract 17
    for version in 0..=8 {
        let flags = [0; 3];
        let fields = if version >= 8 { 3 } else { usize::from(version >= 4) };
        let body = [&[0xff; 4][..], &flags[..fields]].concat();
        let decoded = decode_request::<MetadataRequest>(version, Bytes::from(body)).expect("decodes");
        assert_eq!(decoded.topics, None, "{version}");
    }
}

/// librdkafka 2.12 asks for all topics with a null list in a place of four bytes: what follows moves by three, and the last
/// three are left over.
#[test]
fn bytes_behind_a_request_are_ignored() {
    let body = [0, 0, 0, 0, 1, 0, 0];
    assert_eq!(
        check(ApiKey::Metadata, 12, &body).map(|c| (c.body_bytes, c.trailing_bytes)),
        Ok((4, 3))
    );
    let decoded = decode_request::<MetadataRequest>(12, Bytes::copy_from_slice(&body)).expect("decodes");
    assert_eq!(decoded.topics, None);
}
