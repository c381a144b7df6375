//! What is written by hand against the codec: headers, the Produce decoder, the Produce and Fetch responses, byte for byte in
//! every version.

use crate::generate::{Gen, seed};
use crate::requests::{self, served};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response as fetch_codec;
use kafka_protocol::messages::produce_response as produce_codec;
use kafka_protocol::messages::{
    BrokerId, FetchResponse as CodecFetchResponse, ProduceResponse as CodecProduceResponse, ProducerId,
    RequestHeader as CodecRequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression as CodecCompression, Record as CodecRecord, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use rand::RngExt;
use std::borrow::Cow;
use std::sync::Arc;
use streamhouse_protocol::api::ApiKey;
use streamhouse_protocol::batch::{BatchHeader, HEADER_BYTES, crc_matches};
use streamhouse_protocol::error_code::ErrorCode;
use streamhouse_protocol::fetch::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData, Piece, Records,
    SnapshotId,
};
use streamhouse_protocol::header::{RequestHeader, encode_response};
use streamhouse_protocol::produce::{PartitionProduceResponse, ProduceResponse, RecordError, decode_produce_request};
use streamhouse_protocol::records::RecordIter;
use streamhouse_protocol::types::{LeaderIdAndEpoch, NodeEndpoint, Offset, Topic, TopicId, TopicRef};
use streamhouse_protocol::validate::{BatchRules, validate_batch};

const ROUNDS: u64 = 100;

fn error_code(g: &mut Gen) -> ErrorCode {
    let at = g.rng.random_range(0..ErrorCode::ALL.len());
    ErrorCode::ALL[at]
}

fn topic(g: &mut Gen, by_id: bool) -> (Topic, TopicName, String) {
    let (name, uuid) = (g.text(), g.uuid_text());
    let ours = if by_id {
        Topic::Id(TopicId(Gen::uuid_bytes(&uuid)))
    } else {
        Topic::Name(Arc::from(name.as_str()))
    };
    (ours, TopicName(StrBytes::from_string(name)), uuid)
}

fn leader(g: &mut Gen) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch {
        leader_id: g.rng.random_range(0..100),
        leader_epoch: g.i32(),
    }
}

fn endpoint(g: &mut Gen) -> NodeEndpoint {
    NodeEndpoint {
        node_id: g.i32(),
        host: g.text(),
        port: g.i32(),
        rack: g.option(Gen::text),
    }
}

fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn request_headers() {
    let seed = seed("request_headers");
    for (api, version) in served() {
        for round in 0..10 {
            let mut g = Gen::new(seed ^ round, api.is_flexible(version));
            let client_id = g.option(Gen::text);
            let theirs = CodecRequestHeader::default()
                .with_request_api_key(api.key as i16)
                .with_request_api_version(version)
                .with_correlation_id(g.i32())
                .with_client_id(client_id.as_deref().map(str_bytes))
                .with_unknown_tagged_fields(g.tags());
            let mut frame = BytesMut::new();
            theirs
                .encode(&mut frame, api.request_header_version(version))
                .expect("encodes");
            let body_at = frame.len();
            frame.extend_from_slice(b"body");
            let ours = RequestHeader::parse(&frame).expect("parses");
            assert_eq!((ours.api.key, ours.api_version), (api.key, version));
            assert_eq!(ours.correlation_id, theirs.correlation_id);
            assert_eq!(ours.client_id.as_deref(), client_id.as_deref());
            assert_eq!(ours.body_at, body_at, "{} {version}", api.name);
        }
    }
}

#[test]
fn produce_requests() {
    let seed = seed("produce_requests");
    for version in 3..=13 {
        for round in 0..ROUNDS {
            let mut g = Gen::new(seed ^ round, version >= 9);
            let theirs = requests::produce_request(version, &mut g);
            let mut body = BytesMut::new();
            theirs.encode(&mut body, version).expect("encodes");
            let ours = decode_produce_request(version, &body, 1 << 20).expect("decodes");
            assert_eq!(
                ours.transactional_id,
                theirs.transactional_id.as_ref().map(|id| id.as_str())
            );
            assert_eq!((ours.acks, ours.timeout_ms), (theirs.acks, theirs.timeout_ms));
            let flat: Vec<_> = theirs
                .topic_data
                .iter()
                .flat_map(|topic| topic.partition_data.iter().map(move |partition| (topic, partition)))
                .collect();
            assert_eq!(ours.partitions.len(), flat.len());
            for (ours, (topic, partition)) in ours.partitions.iter().zip(flat) {
                match ours.topic {
                    TopicRef::Name(name) => assert!(version <= 12 && name == topic.name.as_str()),
                    TopicRef::Id(id) => assert!(version >= 13 && id.0 == *topic.topic_id.as_bytes()),
                }
                assert_eq!(
                    (ours.index, ours.records),
                    (partition.index, partition.records.as_deref())
                );
            }
            for cut in 0..body.len() {
                assert!(
                    decode_produce_request(version, &body[..cut], 1 << 20).is_err(),
                    "{version}, cut at {cut}"
                );
            }
        }
    }
}

fn produce_partition(
    g: &mut Gen,
    topic: &Topic,
) -> (PartitionProduceResponse, produce_codec::PartitionProduceResponse) {
    let ours = PartitionProduceResponse {
        topic: topic.clone(),
        index: g.i32(),
        error: error_code(g),
        base_offset: Offset(g.i64()),
        log_append_time_ms: g.i64(),
        log_start_offset: Offset(g.i64()),
        record_errors: g.vec(|g| RecordError {
            batch_index: g.i32(),
            message: g.option(|g| Cow::Owned(g.text())),
        }),
        error_message: g.option(|g| Cow::Owned(g.text())),
        current_leader: g.option(leader),
    };
    let record_error = |e: &RecordError| {
        produce_codec::BatchIndexAndErrorMessage::default()
            .with_batch_index(e.batch_index)
            .with_batch_index_error_message(e.message.as_deref().map(str_bytes))
    };
    let mut theirs = produce_codec::PartitionProduceResponse::default()
        .with_index(ours.index)
        .with_error_code(ours.error.code())
        .with_base_offset(ours.base_offset.0)
        .with_log_append_time_ms(ours.log_append_time_ms)
        .with_log_start_offset(ours.log_start_offset.0)
        .with_record_errors(ours.record_errors.iter().map(record_error).collect())
        .with_error_message(ours.error_message.as_deref().map(str_bytes));
    if let Some(leader) = ours.current_leader {
        theirs.current_leader = produce_codec::LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(leader.leader_id))
            .with_leader_epoch(leader.leader_epoch);
    }
    (ours, theirs)
}

#[test]
fn produce_responses() {
    // contracts 34–36
    let seed = seed("produce_responses");
    for version in 3..=13 {
        for round in 0..ROUNDS {
            let mut g = Gen::new(seed ^ round, version >= 9);
            let mut ours = ProduceResponse {
                partitions: Vec::new(),
                throttle_time_ms: g.i32(),
                node_endpoints: g.vec(endpoint),
            };
            let mut theirs = CodecProduceResponse::default().with_throttle_time_ms(ours.throttle_time_ms);
            theirs.node_endpoints = ours.node_endpoints.iter().map(produce_endpoint).collect();
            for _ in 0..g.rng.random_range(0..4) {
                let (topic, name, uuid) = topic(&mut g, version >= 13);
                let mut topic_theirs = produce_codec::TopicProduceResponse::default();
                if version <= 12 {
                    topic_theirs.name = name;
                } else {
                    topic_theirs.topic_id = uuid.parse().expect("a UUID");
                }
                for _ in 0..g.rng.random_range(1..4) {
                    let (partition_ours, partition_theirs) = produce_partition(&mut g, &topic);
                    ours.partitions.push(partition_ours);
                    topic_theirs.partition_responses.push(partition_theirs);
                }
                match theirs.responses.last_mut() {
                    // Two empty names in a row are one topic to us.
                    Some(last) if last.name == topic_theirs.name && last.topic_id == topic_theirs.topic_id => {
                        last.partition_responses.append(&mut topic_theirs.partition_responses);
                    }
                    _ => theirs.responses.push(topic_theirs),
                }
            }
            let expected = encode_response(ApiKey::Produce.api(), version, 77, &theirs).expect("encodes");
            assert_eq!(
                ours.encode(version, 77).expect("encodes"),
                expected,
                "version {version}, seed {}",
                seed ^ round
            );
        }
    }
}

fn produce_endpoint(endpoint: &NodeEndpoint) -> produce_codec::NodeEndpoint {
    produce_codec::NodeEndpoint::default()
        .with_node_id(BrokerId(endpoint.node_id))
        .with_host(str_bytes(&endpoint.host))
        .with_port(endpoint.port)
        .with_rack(endpoint.rack.as_deref().map(str_bytes))
}

fn fetch_partition(g: &mut Gen, version: i16) -> (PartitionData<Bytes>, fetch_codec::PartitionData) {
    let segments = g.vec(Gen::bytes);
    let all: Vec<u8> = segments.concat();
    let ours = PartitionData {
        index: g.i32(),
        error: error_code(g),
        high_watermark: Offset(g.i64()),
        last_stable_offset: Offset(g.i64()),
        log_start_offset: Offset(g.i64()),
        aborted_transactions: g.option(|g| {
            g.vec(|g| AbortedTransaction {
                producer_id: g.i64(),
                first_offset: Offset(g.i64()),
            })
        }),
        preferred_read_replica: if version >= 11 { g.i32() } else { -1 },
        diverging_epoch: g.option(|g| EpochEndOffset {
            epoch: g.rng.random_range(0..9),
            end_offset: Offset(g.i64()),
        }),
        current_leader: g.option(leader),
        snapshot_id: g.option(|g| SnapshotId {
            end_offset: Offset(g.rng.random_range(0..9)),
            epoch: g.i32(),
        }),
        records: Records {
            bytes: all.len(),
            segments,
        },
    };
    let aborted = |t: &AbortedTransaction| {
        fetch_codec::AbortedTransaction::default()
            .with_producer_id(ProducerId(t.producer_id))
            .with_first_offset(t.first_offset.0)
    };
    let mut theirs = fetch_codec::PartitionData::default()
        .with_partition_index(ours.index)
        .with_error_code(ours.error.code())
        .with_high_watermark(ours.high_watermark.0)
        .with_last_stable_offset(ours.last_stable_offset.0)
        .with_log_start_offset(ours.log_start_offset.0)
        .with_aborted_transactions(
            ours.aborted_transactions
                .as_ref()
                .map(|all| all.iter().map(aborted).collect()),
        )
        .with_preferred_read_replica(BrokerId(ours.preferred_read_replica))
        .with_records(Some(Bytes::from(all)));
    if let Some(diverging) = ours.diverging_epoch {
        theirs.diverging_epoch = fetch_codec::EpochEndOffset::default()
            .with_epoch(diverging.epoch)
            .with_end_offset(diverging.end_offset.0);
    }
    if let Some(leader) = ours.current_leader {
        theirs.current_leader = fetch_codec::LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(leader.leader_id))
            .with_leader_epoch(leader.leader_epoch);
    }
    if let Some(snapshot) = ours.snapshot_id {
        theirs.snapshot_id = fetch_codec::SnapshotId::default()
            .with_end_offset(snapshot.end_offset.0)
            .with_epoch(snapshot.epoch);
    }
    (ours, theirs)
}

fn join(pieces: Vec<Piece<Bytes>>) -> Vec<u8> {
    let bytes = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) | Piece::Records(bytes) => bytes,
    });
    bytes.collect::<Vec<_>>().concat()
}

#[test]
fn fetch_responses() {
    let seed = seed("fetch_responses");
    for version in 4..=18 {
        for round in 0..ROUNDS {
            let mut g = Gen::new(seed ^ round, version >= 12);
            let mut ours = FetchResponse {
                throttle_time_ms: g.i32(),
                error: error_code(&mut g),
                session_id: if version >= 7 { g.i32() } else { 0 },
                topics: Vec::new(),
                node_endpoints: g.vec(endpoint),
            };
            let mut theirs = CodecFetchResponse::default()
                .with_throttle_time_ms(ours.throttle_time_ms)
                .with_error_code(ours.error.code())
                .with_session_id(ours.session_id);
            theirs.node_endpoints = ours.node_endpoints.iter().map(fetch_endpoint).collect();
            for _ in 0..g.rng.random_range(0..4) {
                let (topic, name, uuid) = topic(&mut g, version >= 13);
                let (partitions, partitions_theirs) = g.vec(|g| fetch_partition(g, version)).into_iter().unzip();
                ours.topics.push(FetchableTopicResponse { topic, partitions });
                let mut topic_theirs =
                    fetch_codec::FetchableTopicResponse::default().with_partitions(partitions_theirs);
                if version <= 12 {
                    topic_theirs.topic = name;
                } else {
                    topic_theirs.topic_id = uuid.parse().expect("a UUID");
                }
                theirs.responses.push(topic_theirs);
            }
            let expected = encode_response(ApiKey::Fetch.api(), version, 77, &theirs).expect("encodes");
            let frame = ours.into_frame(version, 77).expect("encodes");
            assert_eq!(frame.bytes, expected.len());
            assert!(
                join(frame.pieces) == expected,
                "version {version}, seed {}",
                seed ^ round
            );
        }
    }
}

fn fetch_endpoint(endpoint: &NodeEndpoint) -> fetch_codec::NodeEndpoint {
    fetch_codec::NodeEndpoint::default()
        .with_node_id(BrokerId(endpoint.node_id))
        .with_host(str_bytes(&endpoint.host))
        .with_port(endpoint.port)
        .with_rack(endpoint.rack.as_deref().map(str_bytes))
}

#[test]
fn empty_records_have_zero_length() {
    // contract 50
    for version in 4..=18 {
        let topic = if version <= 12 {
            Topic::Name(Arc::from("t"))
        } else {
            Topic::Id(TopicId([7; 16]))
        };
        let mut response: FetchResponse<Bytes> = FetchResponse::empty(ErrorCode::None, 0, 0);
        let partitions = vec![PartitionData::error(0, ErrorCode::OffsetOutOfRange)];
        response.topics.push(FetchableTopicResponse { topic, partitions });
        let frame = response.into_frame(version, 1).expect("encodes");
        let mut body = Bytes::from(join(frame.pieces)).split_off(if version >= 12 { 9 } else { 8 });
        let decoded = CodecFetchResponse::decode(&mut body, version).expect("decodes");
        let partition = &decoded.responses[0].partitions[0];
        assert_eq!(partition.records, Some(Bytes::new()), "{version}");
        assert_eq!(partition.aborted_transactions, None, "{version}");
    }
}

#[test]
fn record_batches_of_the_codec_are_valid() {
    let seed = seed("record_batches_of_the_codec_are_valid");
    for round in 0..ROUNDS {
        let mut g = Gen::new(seed ^ round, false);
        let count = g.rng.random_range(1..20);
        let records: Vec<CodecRecord> = (0..count).map(|offset| codec_record(&mut g, offset)).collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions {
            version: 2,
            compression: CodecCompression::None,
        };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("encodes");
        assert!(crc_matches(&bytes));
        let rules = BatchRules {
            timestamp_after_max_ms: i64::MAX,
            ..BatchRules::default()
        };
        let valid = validate_batch(Some(&bytes), 9, &rules, 0).unwrap_or_else(|e| panic!("{e}, seed {}", seed ^ round));
        let header = BatchHeader::read(&bytes).expect("a header");
        assert_eq!(
            (valid.header.record_count, header.last_offset_delta),
            (count as i32, count as i32 - 1)
        );
        for (ours, theirs) in RecordIter::new(&bytes[HEADER_BYTES..]).zip(&records) {
            let ours = ours.expect("reads");
            assert_eq!((ours.key, ours.value), (theirs.key.as_deref(), theirs.value.as_deref()));
            assert_eq!(header.base_timestamp + ours.timestamp_delta, theirs.timestamp);
            assert_eq!(i64::from(ours.offset_delta), theirs.offset);
            let headers: Vec<_> = theirs
                .headers
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_deref()))
                .collect();
            assert_eq!(ours.headers, headers);
        }
    }
}

fn codec_record(g: &mut Gen, offset: i64) -> CodecRecord {
    CodecRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: if offset == 0 { -1 } else { offset as i32 - 1 },
        timestamp: g.rng.random_range(0..i64::from(i32::MAX)),
        key: g.option(Gen::bytes),
        value: g.option(Gen::bytes),
        headers: g
            .vec(|g| (str_bytes(&g.text()), g.option(Gen::bytes)))
            .into_iter()
            .collect(),
    }
}
