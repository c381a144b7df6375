//! Produce (key 0), versions 0–13: the request decoder and the response encoder.
//!
//! The decoder is flat: one entry a partition, records a slice of the frame, no work for a record. Versions 0–2 decode so
//! that they can be refused with an error code; they are not served (contract 15). What a batch must be: `validate.rs`.

use crate::api::ApiKey;
use crate::decode_error::DecodeError;
use crate::error_code::ErrorCode;
use crate::header::{EncodeError, close_frame, put_response_header};
use crate::types::{LeaderIdAndEpoch, NodeEndpoint, Offset, Topic, TopicId, TopicRef};
use crate::wire::{self, Reader};
use bytes::{BufMut, Bytes, BytesMut};
use std::borrow::Cow;

/// First version with compact types.
const FLEXIBLE: i16 = 9;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// A partition in a request: index, records and tags of one byte each.
const MIN_PARTITION_BYTES: usize = 6;

/// A request, borrowing its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// Set by transactional producers (v3+).
    pub transactional_id: Option<&'a str>,
    /// As sent; −1, 0 and 1 are valid (contract 24).
    pub acks: i16,
    /// How long acks=all may take.
    pub timeout_ms: i32,
    /// Every partition of every topic, in the order of the request.
    pub partitions: Vec<PartitionProduceData<'a>>,
}

/// One partition's part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProduceData<'a> {
    /// Name up to v12, id from v13.
    pub topic: TopicRef<'a>,
    /// The partition index as sent.
    pub index: i32,
    /// Record batches as sent: exactly one for v3+ (contract 28). Unchecked.
    pub records: Option<&'a [u8]>,
}

/// Decodes the body of a request; `memory_limit` bounds what the list of partitions may take, in bytes.
/// Bytes behind the request are ignored, as Kafka ignores them.
pub fn decode_produce_request(
    version: i16,
    body: &[u8],
    memory_limit: usize,
) -> Result<ProduceRequest<'_>, DecodeError> {
    if !ApiKey::Produce.api().advertises(version) {
        return Err(DecodeError::UnsupportedVersion {
            api_key: ApiKey::Produce as i16,
            api_version: version,
        });
    }
    let compact = version >= FLEXIBLE;
    let mut reader = Reader::new(body);
    let transactional_id = if version >= 3 {
        reader.nullable_str(compact, "the transactional id")?
    } else {
        None
    };
    let acks = reader.i16("acks")?;
    let timeout_ms = reader.i32("the timeout")?;
    let partitions = decode_topics(&mut reader, version, memory_limit)?;
    if compact {
        reader.skip_tags()?;
    }
    Ok(ProduceRequest {
        transactional_id,
        acks,
        timeout_ms,
        partitions,
    })
}

fn decode_topics<'a>(
    reader: &mut Reader<'a>,
    version: i16,
    memory_limit: usize,
) -> Result<Vec<PartitionProduceData<'a>>, DecodeError> {
    let compact = version >= FLEXIBLE;
    let partitions_max = memory_limit / size_of::<PartitionProduceData<'_>>();
    let mut partitions = Vec::new();
    for _ in 0..reader
        .count(compact, 2)?
        .ok_or(DecodeError::Null { what: "the topics" })?
    {
        let topic = if version >= TOPIC_IDS {
            TopicRef::Id(reader.topic_id("a topic id")?)
        } else {
            TopicRef::Name(reader.str(compact, "a topic name")?)
        };
        let count = reader
            .count(compact, MIN_PARTITION_BYTES)?
            .ok_or(DecodeError::Null { what: "the partitions" })?;
        if count > partitions_max - partitions.len() {
            return Err(DecodeError::Memory { limit: memory_limit });
        }
        partitions.reserve_exact(count);
        for _ in 0..count {
            let index = reader.i32("a partition index")?;
            let records = reader.nullable_bytes(compact, "the records")?;
            if compact {
                reader.skip_tags()?;
            }
            partitions.push(PartitionProduceData { topic, index, records });
        }
        if compact {
            reader.skip_tags()?;
        }
    }
    Ok(partitions)
}

/// A reply. Consecutive partitions of one topic are written as one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponse {
    /// One entry a partition, in the order of the request.
    pub partitions: Vec<PartitionProduceResponse>,
    /// Written from v1.
    pub throttle_time_ms: i32,
    /// Addresses of the leaders named in `partitions` (v10+); empty for none.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One partition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProduceResponse {
    /// Must be the name up to v12 and the id from v13.
    pub topic: Topic,
    /// The partition index.
    pub index: i32,
    /// What happened.
    pub error: ErrorCode,
    /// Offset of the first record; −1 on error (contract 35).
    pub base_offset: Offset,
    /// −1 unless the topic uses LogAppendTime (v2+).
    pub log_append_time_ms: i64,
    /// v5+; −1 on error.
    pub log_start_offset: Offset,
    /// The records that made the batch fail (v8+, contract 34).
    pub record_errors: Vec<RecordError>,
    /// Text for a human (v8+).
    pub error_message: Option<Cow<'static, str>>,
    /// On NOT_LEADER_OR_FOLLOWER (v10+, contract 36).
    pub current_leader: Option<LeaderIdAndEpoch>,
}

/// A record that made its batch fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's index in the batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: Option<Cow<'static, str>>,
}

impl PartitionProduceResponse {
    /// An accepted batch of a topic that keeps the producer's timestamps.
    pub fn ok(topic: Topic, index: i32, base_offset: Offset, log_start_offset: Offset) -> PartitionProduceResponse {
        PartitionProduceResponse {
            topic,
            index,
            error: ErrorCode::None,
            base_offset,
            log_append_time_ms: -1,
            log_start_offset,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }

    /// A refused batch: offsets are −1 (contract 35).
    pub fn error(
        topic: Topic,
        index: i32,
        error: ErrorCode,
        message: Option<Cow<'static, str>>,
    ) -> PartitionProduceResponse {
        PartitionProduceResponse {
            error,
            error_message: message,
            ..PartitionProduceResponse::ok(topic, index, Offset(-1), Offset(-1))
        }
    }
}

impl ProduceResponse {
    /// The whole frame: length, header, body.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<Bytes, EncodeError> {
        let api = ApiKey::Produce.api();
        let mut out = BytesMut::with_capacity(64 + self.partitions.len() * 64);
        out.put_i32(0);
        put_response_header(&mut out, api, version, correlation_id);
        self.put_body(&mut out, version);
        close_frame(&mut out).map_err(|bytes| EncodeError {
            api: api.name,
            api_version: version,
            reason: format!("{bytes} bytes are more than a frame can have"),
        })?;
        Ok(out.freeze())
    }

    fn put_body(&self, out: &mut BytesMut, version: i16) {
        let compact = version >= FLEXIBLE;
        let topics = || self.partitions.chunk_by(|a, b| a.topic == b.topic);
        wire::put_length(out, compact, topics().count());
        for partitions in topics() {
            let Some(first) = partitions.first() else { continue };
            put_topic(out, version, &first.topic);
            wire::put_length(out, compact, partitions.len());
            for partition in partitions {
                partition.put(out, version);
            }
            if compact {
                out.put_u8(0);
            }
        }
        if version >= 1 {
            out.put_i32(self.throttle_time_ms);
        }
        if compact {
            put_node_endpoints(out, if version >= 10 { &self.node_endpoints } else { &[] });
        }
    }
}

impl PartitionProduceResponse {
    fn put(&self, out: &mut BytesMut, version: i16) {
        let compact = version >= FLEXIBLE;
        out.put_i32(self.index);
        out.put_i16(self.error.code());
        out.put_i64(self.base_offset.0);
        if version >= 2 {
            out.put_i64(self.log_append_time_ms);
        }
        if version >= 5 {
            out.put_i64(self.log_start_offset.0);
        }
        if version >= 8 {
            wire::put_length(out, compact, self.record_errors.len());
            for error in &self.record_errors {
                out.put_i32(error.batch_index);
                wire::put_nullable_str(out, compact, error.message.as_deref());
                if compact {
                    out.put_u8(0);
                }
            }
            wire::put_nullable_str(out, compact, self.error_message.as_deref());
        }
        if compact {
            match self.current_leader.filter(|_| version >= 10) {
                Some(leader) => {
                    out.put_u8(1);
                    put_current_leader(out, 0, leader);
                }
                None => out.put_u8(0),
            }
        }
    }
}

/// A topic's name or id. The caller answers the way it was asked, so a mismatch can only be a mistake of ours; the reply
/// stays well-formed all the same.
pub(crate) fn put_topic(out: &mut BytesMut, version: i16, topic: &Topic) {
    put_topic_of(out, topic, version >= TOPIC_IDS, version >= FLEXIBLE);
}

pub(crate) fn put_topic_of(out: &mut BytesMut, topic: &Topic, by_id: bool, compact: bool) {
    match (topic, by_id) {
        (Topic::Id(id), true) => out.put_slice(&id.0),
        (Topic::Name(name), false) => wire::put_str(out, compact, name),
        (Topic::Name(_), true) => out.put_slice(&TopicId::ZERO.0),
        (Topic::Id(_), false) => wire::put_str(out, compact, ""),
    }
}

/// The tagged field that holds a leader: 4 + 4 bytes and an empty tag list.
pub(crate) fn put_current_leader(out: &mut BytesMut, tag: u8, leader: LeaderIdAndEpoch) {
    out.put_u8(tag);
    out.put_u8(9);
    out.put_i32(leader.leader_id);
    out.put_i32(leader.leader_epoch);
    out.put_u8(0);
}

/// The tagged fields at a reply's end: tag 0 with the addresses, or none.
pub(crate) fn put_node_endpoints(out: &mut BytesMut, endpoints: &[NodeEndpoint]) {
    if endpoints.is_empty() {
        out.put_u8(0);
        return;
    }
    let mut field = BytesMut::new();
    wire::put_length(&mut field, true, endpoints.len());
    for endpoint in endpoints {
        field.put_i32(endpoint.node_id);
        wire::put_str(&mut field, true, &endpoint.host);
        field.put_i32(endpoint.port);
        wire::put_nullable_str(&mut field, true, endpoint.rack.as_deref());
        field.put_u8(0);
    }
    out.put_u8(1);
    out.put_u8(0);
    wire::put_unsigned_varint(out, field.len() as u32);
    out.put_slice(&field);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// acks −1, timeout 30000, one topic "t", partition 3, records of two bytes: as version 0 writes it.
    const OLD: [u8; 31] = [
        0xff, 0xff, 0, 0, 0x75, 0x30, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 8, 9, 0, 0, 0, 0,
    ];

    #[test]
    fn old_versions_decode_so_that_they_can_be_refused() {
        // contract 15
        let body = &OLD[..27];
        for version in 0..3 {
            let request = decode_produce_request(version, body, 1 << 20).expect("decodes");
            assert_eq!(
                (request.transactional_id, request.acks, request.timeout_ms),
                (None, -1, 30_000)
            );
            let partition = PartitionProduceData {
                topic: TopicRef::Name("t"),
                index: 3,
                records: Some(&[8, 9]),
            };
            assert_eq!(request.partitions, [partition]);
        }
        // Bytes behind the request are nobody's business.
        assert_eq!(
            decode_produce_request(0, &OLD, 1 << 20),
            decode_produce_request(0, body, 1 << 20)
        );
        assert_eq!(
            decode_produce_request(14, body, 1 << 20),
            Err(DecodeError::UnsupportedVersion {
                api_key: 0,
                api_version: 14
            })
        );
    }

    #[test]
    fn records_are_slices_of_the_frame() {
        let request = decode_produce_request(0, &OLD[..27], 1 << 20).expect("decodes");
        let records = request.partitions[0].records.expect("records");
        assert!(std::ptr::eq(records, &OLD[25..27]));
    }

    #[test]
    fn the_list_of_partitions_is_bounded() {
        // contract 3: 10,000 partitions without records
        let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't'];
        body.extend(10_000i32.to_be_bytes());
        body.extend([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].repeat(10_000));
        let needed = 10_000 * size_of::<PartitionProduceData<'_>>();
        assert!(decode_produce_request(3, &body, needed).is_ok());
        assert_eq!(
            decode_produce_request(3, &body, needed - 1),
            Err(DecodeError::Memory { limit: needed - 1 })
        );
        body[15] = 0x7f;
        assert!(matches!(
            decode_produce_request(3, &body, needed),
            Err(DecodeError::Count { .. })
        ));
    }

    #[test]
    fn old_versions_get_a_reply_of_their_own_shape() {
        let topic = Topic::Name(Arc::from("t"));
        let refused = PartitionProduceResponse::error(topic, 3, ErrorCode::UnsupportedVersion, None);
        let response = ProduceResponse {
            partitions: vec![refused],
            throttle_time_ms: 5,
            node_endpoints: Vec::new(),
        };
        let head = [0, 0, 0, 7, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, 0, 35];
        let (minus_one, throttle) = ([0xff; 8], [0, 0, 0, 5]);
        let bodies = [
            [&head[..], &minus_one].concat(),
            [&head[..], &minus_one, &throttle].concat(),
            [&head[..], &minus_one, &minus_one, &throttle].concat(),
        ];
        for (version, body) in bodies.iter().enumerate() {
            let frame = response.encode(version as i16, 7).expect("encodes");
            assert_eq!(frame[..4], (body.len() as i32).to_be_bytes());
            assert_eq!(frame[4..], body[..], "version {version}");
        }
    }
}
