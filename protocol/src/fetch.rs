//! Fetch (key 1), versions 4–18: the response writer. Requests are decoded by the codec, behind the shape guard.
//!
//! The writer gives a list of pieces, heads in memory and record segments as the caller handed them in, so that records go
//! from the page cache to the socket without being copied here.

use crate::api::ApiKey;
use crate::error_code::ErrorCode;
use crate::header::{EncodeError, put_response_header};
use crate::produce::{put_current_leader, put_node_endpoints, put_topic_of};
use crate::types::{LeaderIdAndEpoch, NodeEndpoint, Offset, Topic};
use crate::wire;
use bytes::{BufMut, Bytes, BytesMut};

/// First version with compact types.
const FLEXIBLE: i16 = 12;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;

/// A part of a response frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<R> {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Records, as the caller handed them in.
    Records(R),
}

/// A reply; `R` is a record segment: bytes in memory or a range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse<R> {
    /// How long the client should wait.
    pub throttle_time_ms: i32,
    /// The session's error (v7+).
    pub error: ErrorCode,
    /// 0 is "no session" (v7+, contract 55).
    pub session_id: i32,
    /// Topics, each once.
    pub topics: Vec<FetchableTopicResponse<R>>,
    /// Addresses of the leaders named in `topics` (v16+); empty for none.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic's part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchableTopicResponse<R> {
    /// Must be the name up to v12 and the id from v13.
    pub topic: Topic,
    /// Its partitions, in the order in which they were asked.
    pub partitions: Vec<PartitionData<R>>,
}

/// One partition's part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionData<R> {
    /// The partition index.
    pub index: i32,
    /// What happened.
    pub error: ErrorCode,
    /// End of what is readable, exclusive; −1 on error.
    pub high_watermark: Offset,
    /// End of what read_committed may see, exclusive; −1 on error.
    pub last_stable_offset: Offset,
    /// First offset that is kept (v5+); −1 on error.
    pub log_start_offset: Offset,
    /// `None` for read_uncommitted, a list for read_committed (contract 50).
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// −1 for none (v11+).
    pub preferred_read_replica: i32,
    /// Where the client's log diverges (v12+, contract 53).
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The leader, when this broker is not (v12+).
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// For followers of the metadata log (v12+).
    pub snapshot_id: Option<SnapshotId>,
    /// Whole batches, in offset order. Empty is written as zero length, never as null (contract 50).
    pub records: Records<R>,
}

/// An aborted transaction that overlaps the records of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer that aborted.
    pub producer_id: i64,
    /// Its first offset in the transaction.
    pub first_offset: Offset,
}

/// The end of an epoch in the leader's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The largest epoch that is not above the one asked for.
    pub epoch: i32,
    /// Its end, exclusive.
    pub end_offset: Offset,
}

/// A snapshot of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    /// Its end, exclusive.
    pub end_offset: Offset,
    /// The epoch of its last record.
    pub epoch: i32,
}

/// Record segments and the sum of their lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<R> {
    /// In the order in which they are sent.
    pub segments: Vec<R>,
    /// Bytes of all segments together; must be exact, or the frame is broken.
    pub bytes: usize,
}

impl<R> Records<R> {
    /// No records.
    pub fn empty() -> Records<R> {
        Records {
            segments: Vec::new(),
            bytes: 0,
        }
    }
}

impl<R> PartitionData<R> {
    /// A partition that cannot be read: no offsets, no records.
    pub fn error(index: i32, error: ErrorCode) -> PartitionData<R> {
        PartitionData {
            index,
            error,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            aborted_transactions: None,
            preferred_read_replica: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            records: Records::empty(),
        }
    }
}

impl<R> FetchResponse<R> {
    /// An error of the session, or an empty reply: no topics.
    pub fn empty(error: ErrorCode, session_id: i32, throttle_time_ms: i32) -> FetchResponse<R> {
        FetchResponse {
            throttle_time_ms,
            error,
            session_id,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        }
    }

    /// Bytes of all records.
    pub fn record_bytes(&self) -> usize {
        self.topics
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| p.records.bytes)
            .sum()
    }

    /// The whole frame: length, header, body. Heads are slices of one allocation.
    pub fn into_frame(self, version: i16, correlation_id: i32) -> Result<ResponseFrame<R>, EncodeError> {
        let api = ApiKey::Fetch.api();
        let partitions: usize = self.topics.iter().map(|t| t.partitions.len()).sum();
        let mut out = Assembly {
            head: BytesMut::with_capacity(64 + partitions * 64),
            records: Vec::new(),
            record_bytes: 0,
        };
        out.head.put_i32(0);
        put_response_header(&mut out.head, api, version, correlation_id);
        self.put_body(&mut out, version);
        out.finish().map_err(|bytes| EncodeError {
            api: api.name,
            api_version: version,
            reason: format!("{bytes} bytes are more than a frame can have"),
        })
    }

    fn put_body(self, out: &mut Assembly<R>, version: i16) {
        let compact = version >= FLEXIBLE;
        out.head.put_i32(self.throttle_time_ms);
        if version >= 7 {
            out.head.put_i16(self.error.code());
            out.head.put_i32(self.session_id);
        }
        wire::put_length(&mut out.head, compact, self.topics.len());
        for topic in self.topics {
            put_topic_of(&mut out.head, &topic.topic, version >= TOPIC_IDS, compact);
            wire::put_length(&mut out.head, compact, topic.partitions.len());
            for partition in topic.partitions {
                partition.put(out, version);
            }
            if compact {
                out.head.put_u8(0);
            }
        }
        if compact {
            put_node_endpoints(&mut out.head, if version >= 16 { &self.node_endpoints } else { &[] });
        }
    }
}

impl<R> PartitionData<R> {
    fn put(self, out: &mut Assembly<R>, version: i16) {
        let compact = version >= FLEXIBLE;
        let head = &mut out.head;
        head.put_i32(self.index);
        head.put_i16(self.error.code());
        head.put_i64(self.high_watermark.0);
        head.put_i64(self.last_stable_offset.0);
        if version >= 5 {
            head.put_i64(self.log_start_offset.0);
        }
        put_aborted_transactions(head, compact, self.aborted_transactions.as_deref());
        if version >= 11 {
            head.put_i32(self.preferred_read_replica);
        }
        wire::put_length(head, compact, self.records.bytes);
        let tags = (self.diverging_epoch, self.current_leader, self.snapshot_id);
        out.put_records(self.records);
        if compact {
            put_partition_tags(&mut out.head, tags);
        }
    }
}

fn put_aborted_transactions(head: &mut BytesMut, compact: bool, aborted: Option<&[AbortedTransaction]>) {
    let Some(aborted) = aborted else {
        if compact {
            head.put_u8(0);
        } else {
            head.put_i32(-1);
        }
        return;
    };
    wire::put_length(head, compact, aborted.len());
    for transaction in aborted {
        head.put_i64(transaction.producer_id);
        head.put_i64(transaction.first_offset.0);
        if compact {
            head.put_u8(0);
        }
    }
}

type PartitionTags = (Option<EpochEndOffset>, Option<LeaderIdAndEpoch>, Option<SnapshotId>);

/// Each of the three is 13 or 9 bytes with its own empty tag list.
fn put_partition_tags(head: &mut BytesMut, (diverging, leader, snapshot): PartitionTags) {
    head.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()) + u8::from(snapshot.is_some()));
    if let Some(diverging) = diverging {
        head.put_slice(&[0, 13]);
        head.put_i32(diverging.epoch);
        head.put_i64(diverging.end_offset.0);
        head.put_u8(0);
    }
    if let Some(leader) = leader {
        put_current_leader(head, 1, leader);
    }
    if let Some(snapshot) = snapshot {
        head.put_slice(&[2, 13]);
        head.put_i64(snapshot.end_offset.0);
        head.put_i32(snapshot.epoch);
        head.put_u8(0);
    }
}

/// A response frame, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseFrame<R> {
    /// What to send, in order.
    pub pieces: Vec<Piece<R>>,
    /// Bytes of all pieces together, the length field included.
    pub bytes: usize,
}

/// All heads one behind the other, and where record segments go between them.
struct Assembly<R> {
    head: BytesMut,
    /// Segments, each list with the head bytes that come before it.
    records: Vec<(usize, Vec<R>)>,
    record_bytes: usize,
}

impl<R> Assembly<R> {
    fn put_records(&mut self, records: Records<R>) {
        if !records.segments.is_empty() {
            self.records.push((self.head.len(), records.segments));
            self.record_bytes += records.bytes;
        }
    }

    /// An error gives the bytes that are too many.
    fn finish(mut self) -> Result<ResponseFrame<R>, usize> {
        let bytes = self.head.len() + self.record_bytes;
        let length = i32::try_from(bytes - crate::frame::LENGTH_BYTES).map_err(|_| bytes)?;
        self.head[..crate::frame::LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        let mut head = self.head.freeze();
        let mut pieces = Vec::with_capacity(
            1 + self
                .records
                .iter()
                .map(|(_, segments)| segments.len() + 1)
                .sum::<usize>(),
        );
        let mut sent = 0;
        for (at, segments) in self.records {
            pieces.push(Piece::Bytes(head.split_to(at - sent)));
            sent = at;
            pieces.extend(segments.into_iter().map(Piece::Records));
        }
        if !head.is_empty() {
            pieces.push(Piece::Bytes(head));
        }
        Ok(ResponseFrame { pieces, bytes })
    }
}
