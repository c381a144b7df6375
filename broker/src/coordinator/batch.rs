//! Records of groups as batches of the log, and back. What never lives here: the log.

use protocol::batch::{BatchHeader, HEADER_BYTES, crc_matches};
use protocol::compression::{Compression, DecompressLimits};
use protocol::group_records::GroupRecord;
use protocol::records::{BatchBuilder, RecordIter, decompressed};

/// Bytes that a record takes besides its key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// One batch of `records`, in their order; an error is a text for the log.
pub(super) fn encode(records: &[GroupRecord], now_ms: i64) -> Result<Vec<u8>, String> {
    let mut builder = BatchBuilder::new(now_ms);
    for record in records {
        let key = record.key_bytes().map_err(|error| error.to_string())?;
        let value = record.value_bytes().map_err(|error| error.to_string())?;
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
    }
    builder
        .finish(Compression::None, None)
        .map_err(|error| error.to_string())
}

/// A batch and how many records it has.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) records: usize,
}

/// `records` in as few batches as fit `bytes_max` each. A record that is too large by itself gets a batch of its own.
pub(super) fn encode_split(records: &[GroupRecord], bytes_max: usize, now_ms: i64) -> Result<Vec<Encoded>, String> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(now_ms);
    let (mut count, mut bytes) = (0, HEADER_BYTES);
    let finish = |builder: BatchBuilder, count: usize| {
        let bytes = builder.finish(Compression::None, None);
        bytes
            .map(|bytes| Encoded { bytes, records: count })
            .map_err(|error| error.to_string())
    };
    for record in records {
        let key = record.key_bytes().map_err(|error| error.to_string())?;
        let value = record.value_bytes().map_err(|error| error.to_string())?;
        let size = key.len() + value.as_ref().map_or(0, Vec::len) + RECORD_OVERHEAD_BYTES;
        if count > 0 && bytes + size > bytes_max {
            batches.push(finish(
                std::mem::replace(&mut builder, BatchBuilder::new(now_ms)),
                count,
            )?);
            (count, bytes) = (0, HEADER_BYTES);
        }
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
        count += 1;
        bytes += size;
    }
    if count > 0 {
        batches.push(finish(builder, count)?);
    }
    Ok(batches)
}

/// What [`decode`] made of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Records that were handed on.
    pub(super) records: u64,
    /// Records whose key or value could not be read.
    pub(super) corrupt: u64,
}

/// Hands the records of one whole batch to `visit`. A record that cannot be read is counted; a batch that cannot be is
/// an error.
pub(super) fn decode(
    header: &BatchHeader,
    batch: &[u8],
    mut visit: impl FnMut(&GroupRecord),
) -> Result<Decoded, String> {
    let mut decoded = Decoded::default();
    if header.is_control() {
        return Ok(decoded);
    }
    if !crc_matches(batch) {
        return Err(format!("the checksum of the batch at {} is wrong", header.base_offset));
    }
    let body = batch.get(HEADER_BYTES..).unwrap_or_default();
    let unreadable =
        |error: &dyn std::fmt::Display| format!("the batch at {} cannot be read: {error}", header.base_offset);
    let records = decompressed(header, body, &DecompressLimits::default()).map_err(|error| unreadable(&error))?;
    for record in RecordIter::new(&records) {
        let record = record.map_err(|error| unreadable(&error))?;
        match GroupRecord::decode(record.key.unwrap_or_default(), record.value) {
            Ok(group_record) => {
                decoded.records += 1;
                visit(&group_record);
            }
            Err(error) => {
                if decoded.corrupt == 0 {
                    tracing::error!(batch = %header.base_offset, delta = record.offset_delta, %error, "a record of a group cannot be read and is left out");
                }
                decoded.corrupt += 1;
            }
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::group_records::OffsetCommitValue;
    use protocol::types::TopicId;
    use std::sync::Arc;

    fn commit(partition: i32, metadata: &str) -> GroupRecord {
        GroupRecord::OffsetCommit {
            group_id: Arc::from("g"),
            topic: Arc::from("t"),
            partition,
            value: Some(OffsetCommitValue {
                offset: 7,
                leader_epoch: -1,
                metadata: Arc::from(metadata),
                commit_timestamp: 1,
                expire_timestamp: -1,
                topic_id: TopicId([3; 16]),
            }),
        }
    }

    fn read(bytes: &[u8]) -> Result<(Vec<GroupRecord>, Decoded), String> {
        let header = BatchHeader::read(bytes).expect("a header");
        let mut records = Vec::new();
        let decoded = decode(&header, bytes, |record| records.push(record.clone()))?;
        Ok((records, decoded))
    }

    #[test]
    fn records_come_back_in_their_order() {
        let tombstone = GroupRecord::GroupMetadata {
            group_id: Arc::from("g"),
            value: None,
        };
        let records = vec![commit(2, ""), tombstone, commit(1, "m")];
        let bytes = encode(&records, 1_000).expect("encodes");
        assert_eq!(read(&bytes).expect("reads").0, records);
    }

    #[test]
    fn splitting_keeps_order_and_size() {
        let records: Vec<_> = (0..100).map(|partition| commit(partition, &"m".repeat(100))).collect();
        let batches = encode_split(&records, 1_000, 5).expect("encodes");
        assert!(batches.len() > 10);
        let mut all = Vec::new();
        for batch in &batches {
            assert!(batch.bytes.len() <= 1_000, "{}", batch.bytes.len());
            let (found, decoded) = read(&batch.bytes).expect("reads");
            assert_eq!(decoded.records, batch.records as u64);
            all.extend(found);
        }
        assert_eq!(all, records);
        let large = encode_split(&[commit(0, &"m".repeat(5_000)), commit(1, "")], 1_000, 5).expect("encodes");
        assert_eq!(large.iter().map(|batch| batch.records).collect::<Vec<_>>(), [1, 1]);
        assert!(encode_split(&[], 1_000, 5).expect("encodes").is_empty());
    }

    #[test]
    fn damage_is_told_from_what_cannot_be_understood() {
        let mut builder = BatchBuilder::new(0);
        let good = commit(0, "");
        builder.push(0, Some(&[0]), None, &[]);
        builder.push(0, None, Some(b"x"), &[]);
        builder.push(
            0,
            Some(&good.key_bytes().expect("a key")),
            good.value_bytes().expect("a value").as_deref(),
            &[],
        );
        let mut bytes = builder.finish(Compression::Gzip, None).expect("builds");
        let (records, decoded) = read(&bytes).expect("reads");
        assert_eq!((records.len(), decoded.corrupt), (1, 2));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(read(&bytes).expect_err("damaged").contains("checksum"));
    }
}
