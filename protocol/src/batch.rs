//! The header of a record batch, magic 2: 61 fixed bytes, read and stamped in place.
//!
//! Layout (big-endian), byte ranges from the start of the batch:
//! `0..8` base offset, `8..12` length of what follows byte 12, `12..16` partition leader epoch, `16` magic,
//! `17..21` CRC-32C of byte 21 to the end, `21..23` attributes, `23..27` last offset delta, `27..35` base timestamp,
//! `35..43` max timestamp, `43..51` producer id, `51..53` producer epoch, `53..57` base sequence, `57..61` record count.
//! Base offset and leader epoch lie outside the CRC, so a broker assigns them without touching the rest (contract 30).

use crate::types::Offset;

/// Bytes of a batch header.
pub const HEADER_BYTES: usize = 61;
/// Bytes in front of what `batch_length` counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the bytes that the CRC covers begin.
pub const CRC_START: usize = 21;

const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Why bytes are not a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchHeaderError {
    /// Fewer than 61 bytes.
    #[error("a batch header needs 61 bytes, {0} are there")]
    Short(usize),
    /// Magic 0 and 1 (message sets), or bytes that are no batch.
    #[error("record batch magic is {0}, only 2 is supported")]
    Magic(i8),
    /// The length field is below what a header needs, so no batch can have it.
    #[error("record batch length {0} is shorter than its header")]
    Length(i32),
}

/// A decoded header. Field names are those of Kafka's `DefaultRecordBatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 as producers send it.
    pub base_offset: Offset,
    /// Bytes after the first 12.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub partition_leader_epoch: i32,
    /// CRC-32C of byte 21 to the end.
    pub crc: u32,
    /// Bits 0–2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// Last record's offset minus the base offset.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 of the first record.
    pub base_timestamp: i64,
    /// Largest timestamp in the batch, milliseconds since 1970.
    pub max_timestamp: i64,
    /// −1 without idempotence.
    pub producer_id: i64,
    /// −1 without idempotence.
    pub producer_epoch: i16,
    /// −1 without idempotence.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

fn be<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`. Checks magic and that the length covers a header, nothing else:
    /// whether `bytes` holds the whole batch is the caller's question ([`BatchHeader::total_bytes`]).
    pub fn read(bytes: &[u8]) -> Result<BatchHeader, BatchHeaderError> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(BatchHeaderError::Short(bytes.len()))?;
        let magic = i8::from_be_bytes(be(head, 16));
        if magic != 2 {
            return Err(BatchHeaderError::Magic(magic));
        }
        let batch_length = i32::from_be_bytes(be(head, 8));
        if batch_length < (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32 {
            return Err(BatchHeaderError::Length(batch_length));
        }
        Ok(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(be(head, 0))),
            batch_length,
            partition_leader_epoch: i32::from_be_bytes(be(head, 12)),
            crc: u32::from_be_bytes(be(head, 17)),
            attributes: i16::from_be_bytes(be(head, 21)),
            last_offset_delta: i32::from_be_bytes(be(head, 23)),
            base_timestamp: i64::from_be_bytes(be(head, 27)),
            max_timestamp: i64::from_be_bytes(be(head, 35)),
            producer_id: i64::from_be_bytes(be(head, 43)),
            producer_epoch: i16::from_be_bytes(be(head, 51)),
            base_sequence: i32::from_be_bytes(be(head, 53)),
            record_count: i32::from_be_bytes(be(head, 57)),
        })
    }

    /// Bytes of the whole batch, header included; at least 61.
    pub fn total_bytes(&self) -> usize {
        self.batch_length as usize + LENGTH_PREFIX_BYTES
    }

    /// Offset of the last record (inclusive).
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// Sequence of the last record; 2147483647 is followed by 0 (contract 40).
    pub fn last_sequence(&self) -> i32 {
        let sum = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (sum % (i64::from(i32::MAX) + 1)) as i32
    }

    /// Codec id of attribute bits 0–2: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd, others unknown.
    pub fn compression_id(&self) -> u8 {
        (self.attributes & COMPRESSION_MASK) as u8
    }

    /// Whether timestamps are the broker's (attribute bit 3).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether the batch belongs to a transaction (attribute bit 4).
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch is a control batch: a transaction marker (attribute bit 5).
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether the compactor stamped a delete horizon, which is then in `base_timestamp` (attribute bit 6).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Whether the producer is idempotent.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// The same header with another codec id in its attributes.
    #[must_use]
    pub fn with_compression_id(&self, id: u8) -> BatchHeader {
        let attributes = (self.attributes & !COMPRESSION_MASK) | (i16::from(id) & COMPRESSION_MASK);
        BatchHeader { attributes, ..*self }
    }

    /// Appends the 61 bytes. Length and CRC are right once [`seal`] has been called on the whole batch.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base_offset.0.to_be_bytes());
        out.extend_from_slice(&self.batch_length.to_be_bytes());
        out.extend_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out.push(2);
        out.extend_from_slice(&self.crc.to_be_bytes());
        out.extend_from_slice(&self.attributes.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.record_count.to_be_bytes());
    }
}

/// Writes base offset and leader epoch in place. `batch` must hold a header; the CRC stays valid.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Turns the batch to `LogAppendTime`: attribute bit 3, `max_timestamp`, a new CRC. `batch` must be a whole batch.
pub fn stamp_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | LOG_APPEND_TIME_BIT;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    stamp_max_timestamp(batch, now_ms);
}

/// Writes length and CRC. `batch` must be exactly one whole batch, of less than 2 GiB.
pub fn seal(batch: &mut [u8]) {
    let length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("a batch is smaller than a frame");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    stamp_crc(batch);
}

/// Sets `max_timestamp`, with a new CRC. `batch` must be a whole batch.
pub fn stamp_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    stamp_crc(batch);
}

fn stamp_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
}

/// Whether the CRC in the header matches the bytes. `batch` must be exactly one whole batch.
pub fn crc_matches(batch: &[u8]) -> bool {
    let Some(stored) = batch.get(17..CRC_START).and_then(|b| b.first_chunk::<4>()) else {
        return false;
    };
    u32::from_be_bytes(*stored) == crc32c::crc32c(&batch[CRC_START..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field has a value of its own.
    const HEADER: BatchHeader = BatchHeader {
        base_offset: Offset(0x0102_0304_0506_0708),
        batch_length: 53,
        partition_leader_epoch: 0x1112_1314,
        crc: 0x2122_2324,
        attributes: 0x0019,
        last_offset_delta: 4,
        base_timestamp: 0x3132_3334_3536_3738,
        max_timestamp: 0x3132_3334_3536_3739,
        producer_id: 0x4142_4344_4546_4748,
        producer_epoch: 0x5152,
        base_sequence: 0x6162_6364,
        record_count: 5,
    };

    fn batch() -> Vec<u8> {
        let mut bytes = Vec::new();
        HEADER.put(&mut bytes);
        bytes.extend_from_slice(b"body");
        bytes
    }

    #[test]
    fn golden_bytes() {
        let golden = [
            1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 53, 0x11, 0x12, 0x13, 0x14, 2, 0x21, 0x22, 0x23, 0x24, 0, 0x19, 0, 0, 0,
            4, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x39, 0x41,
            0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x51, 0x52, 0x61, 0x62, 0x63, 0x64, 0, 0, 0, 5,
        ];
        assert_eq!(batch()[..HEADER_BYTES], golden);
        assert_eq!(BatchHeader::read(&batch()), Ok(HEADER));
        assert_eq!(HEADER.total_bytes(), 65);
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        for cut in 0..HEADER_BYTES {
            assert_eq!(BatchHeader::read(&batch()[..cut]), Err(BatchHeaderError::Short(cut)));
        }
        let mut old = batch();
        old[16] = 1;
        assert_eq!(BatchHeader::read(&old), Err(BatchHeaderError::Magic(1)));
        for length in [-1, 0, 48] {
            let mut short = batch();
            short[8..12].copy_from_slice(&i32::to_be_bytes(length));
            assert_eq!(BatchHeader::read(&short), Err(BatchHeaderError::Length(length)));
        }
    }

    #[test]
    fn attribute_bits() {
        let with = |attributes| BatchHeader { attributes, ..HEADER };
        for id in 0..8 {
            assert_eq!(with(i16::from(id)).compression_id(), id);
        }
        assert!(with(0x08).is_log_append_time() && !with(!0x08).is_log_append_time());
        assert!(with(0x10).is_transactional() && !with(!0x10).is_transactional());
        assert!(with(0x20).is_control() && !with(!0x20).is_control());
        assert!(with(0x40).has_delete_horizon() && !with(!0x40).has_delete_horizon());
        assert_eq!(with(0x1f).with_compression_id(4).attributes, 0x1c);
    }

    #[test]
    fn offset_and_epoch_lie_outside_the_crc() {
        // contract 30
        let mut bytes = batch();
        seal(&mut bytes);
        assert!(crc_matches(&bytes));
        stamp(&mut bytes, Offset(77), 3);
        assert!(crc_matches(&bytes));
        let header = BatchHeader::read(&bytes).expect("a header");
        assert_eq!((header.base_offset, header.partition_leader_epoch), (Offset(77), 3));
        assert_eq!(header.last_offset(), Offset(81));
        for at in 17..bytes.len() {
            bytes[at] ^= 1;
            assert!(!crc_matches(&bytes), "byte {at}");
            bytes[at] ^= 1;
        }
        assert!(!crc_matches(&bytes[..20]));
    }

    #[test]
    fn log_append_time_has_a_new_crc() {
        // contract 30
        let mut bytes = batch();
        bytes[22] = 0x11;
        seal(&mut bytes);
        stamp_log_append_time(&mut bytes, 99);
        let header = BatchHeader::read(&bytes).expect("a header");
        assert!(crc_matches(&bytes) && header.is_log_append_time() && header.is_transactional());
        assert_eq!(
            (header.max_timestamp, header.base_timestamp),
            (99, HEADER.base_timestamp)
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        // contract 40: MAX is followed by 0
        let with = |base_sequence, last_offset_delta| BatchHeader {
            base_sequence,
            last_offset_delta,
            ..HEADER
        };
        assert_eq!(with(5, 2).last_sequence(), 7);
        assert_eq!(with(i32::MAX, 0).last_sequence(), i32::MAX);
        assert_eq!(with(i32::MAX, 1).last_sequence(), 0);
        assert_eq!(with(i32::MAX - 1, 4).last_sequence(), 2);
    }
}
