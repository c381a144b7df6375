//! Batches as producers make them, and what a log gives back of them.

use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::compression::Compression;
use protocol::records::BatchBuilder;
use protocol::types::Offset;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use streamhouse_storage::{Acks, AppendBatch, Appended, Log, ReadRequest, RecordSlice, Result};

/// The time that tests without a clock live at.
pub const NOW_MS: i64 = 1_700_000_000_000;
/// What appending stamps at the start of a batch.
pub const STAMPED_BYTES: usize = 16;

/// A batch that is to be appended.
#[derive(Clone, Debug)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub header: BatchHeader,
}

impl Batch {
    pub fn from_builder(builder: BatchBuilder) -> Batch {
        Batch::compressed(builder, Compression::None)
    }

    pub fn compressed(builder: BatchBuilder, codec: Compression) -> Batch {
        let bytes = builder.finish(codec, None).expect("the batch can be built");
        let header = BatchHeader::read(&bytes).expect("it is a batch");
        Batch { bytes, header }
    }

    /// One record with that value.
    pub fn of_value(value: &[u8]) -> Batch {
        Batch::at(NOW_MS, value)
    }

    /// One record with that timestamp and value.
    pub fn at(timestamp: i64, value: &[u8]) -> Batch {
        Batch::of_times(&[timestamp], value, Compression::None)
    }

    /// A record for each timestamp.
    pub fn of_times(timestamps: &[i64], value: &[u8], codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(timestamps[0]);
        for timestamp in timestamps {
            builder.push(*timestamp, None, Some(value), &[]);
        }
        Batch::compressed(builder, codec)
    }

    /// One record whose batch has `bytes` bytes in all, with content that `seed` decides.
    pub fn of_bytes(bytes: usize, seed: u64) -> Batch {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut value = vec![0; bytes.saturating_sub(HEADER_BYTES + 6).max(1)];
        rng.fill(&mut value[..]);
        for _ in 0..8 {
            let batch = Batch::of_value(&value);
            match batch.bytes.len().cmp(&bytes) {
                std::cmp::Ordering::Equal => return batch,
                std::cmp::Ordering::Less => value.resize(value.len() + bytes - batch.bytes.len(), 7),
                std::cmp::Ordering::Greater => value.truncate(value.len() - (batch.bytes.len() - bytes)),
            }
        }
        // Lengths are varints: a size right at a step may not exist.
        Batch::of_value(&value)
    }

    /// The batch of an idempotent producer: `records` records from `base_sequence` on.
    pub fn of_producer(producer_id: i64, producer_epoch: i16, base_sequence: i32, records: i32) -> Batch {
        let mut builder = BatchBuilder::new(NOW_MS).producer(producer_id, producer_epoch, base_sequence);
        for i in 0..records {
            builder.push(
                NOW_MS,
                None,
                Some(format!("{producer_id}:{}", base_sequence.wrapping_add(i)).as_bytes()),
                &[],
            );
        }
        Batch::from_builder(builder)
    }

    pub fn append_at(&self, log: &Log, acks: Acks, now_ms: i64) -> Result<Appended> {
        log.append(&AppendBatch {
            bytes: &self.bytes,
            header: &self.header,
            acks,
            now_ms,
        })
    }

    pub fn append(&self, log: &Log, acks: Acks) -> Result<Appended> {
        self.append_at(log, acks, NOW_MS)
    }

    /// What the log must give back: all but what appending stamps.
    pub fn body(&self) -> &[u8] {
        &self.bytes[STAMPED_BYTES..]
    }
}

/// A batch as a log gave it back.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes at {} (epoch {})",
            self.body.len(),
            self.base_offset,
            self.leader_epoch
        )
    }
}

/// All bytes of what was read.
pub fn flatten(slices: &[RecordSlice]) -> Vec<u8> {
    let mut out = Vec::new();
    for slice in slices {
        match slice {
            RecordSlice::Mem(bytes) => out.extend_from_slice(bytes),
            RecordSlice::File { file, position, len } => {
                let at = out.len();
                out.resize(at + len, 0);
                assert_eq!(
                    file.read_at(&mut out[at..], *position).expect("a segment can be read"),
                    *len
                );
            }
        }
    }
    out
}

/// All batches from `from` to the high watermark, read `max_bytes` at a time.
pub fn try_read_from(log: &Log, from: i64, max_bytes: usize) -> Result<Vec<Stored>> {
    let end = log.offsets().high_watermark.0;
    let mut next = from;
    let mut found: Vec<Stored> = Vec::new();
    while next < end {
        let request = ReadRequest {
            offset: Offset(next),
            max_bytes,
            min_one_batch: true,
        };
        let result = log.read(&request)?;
        let bytes = flatten(&result.slices);
        assert_eq!(bytes.len(), result.bytes);
        let mut rest = &bytes[..];
        let before = found.len();
        while let Ok(header) = BatchHeader::read(rest) {
            let Some(batch) = rest.get(..header.total_bytes()) else {
                break;
            };
            assert!(
                header.base_offset.0 == next || found.len() == before,
                "offset {next} follows, not {}",
                header.base_offset
            );
            assert!(protocol::batch::crc_matches(batch), "the batch at {next} is whole");
            next = header.last_offset().0 + 1;
            found.push(Stored {
                base_offset: header.base_offset.0,
                leader_epoch: header.partition_leader_epoch,
                body: batch[STAMPED_BYTES..].to_vec(),
            });
            rest = &rest[header.total_bytes()..];
        }
        assert!(
            found.len() > before,
            "a read at {next} of {end} gives at least one batch"
        );
    }
    assert!(next <= end || from > end, "nothing above the high watermark");
    Ok(found)
}

/// As [`try_read_from`], from the log's start, with nothing going wrong.
pub fn read_all(log: &Log) -> Vec<Stored> {
    try_read_from(log, log.offsets().log_start.0, 1 << 20).expect("the log can be read")
}

/// What was appended to one partition, and what of it was promised.
#[derive(Clone, Default)]
pub struct Expected {
    /// Base offset, end offset, body.
    pub batches: Vec<(i64, i64, Vec<u8>)>,
    /// Everything below must survive power loss.
    pub durable: i64,
    /// Everything below must survive kill −9.
    pub written: i64,
}

impl Expected {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |(_, end, _)| *end)
    }

    pub fn push(&mut self, batch: &Batch, appended: &Appended) {
        assert_eq!(appended.base_offset.0, self.end(), "offsets have no gaps");
        self.batches
            .push((appended.base_offset.0, appended.end_offset.0, batch.body().to_vec()));
    }

    /// Takes note of what the log promises now.
    pub fn observe(&mut self, log: &Log) {
        let offsets = log.offsets();
        self.durable = self.durable.max(offsets.high_watermark.0);
        self.written = self.written.max(offsets.written_end.0).max(self.durable);
    }

    /// After a crash: what was promised is there, nothing that was not appended, byte for byte, no gaps.
    pub fn check_recovered(&mut self, log: &Log, promised: i64) {
        let offsets = log.offsets();
        assert!(
            offsets.log_end.0 >= promised,
            "lost {} to {promised} of {}",
            offsets.log_end,
            self.end()
        );
        assert!(
            offsets.log_end.0 <= self.end(),
            "more than was appended: {offsets:?}, {}",
            self.end()
        );
        assert_eq!(
            offsets.high_watermark, offsets.log_end,
            "everything that was accepted is durable: engine 12"
        );
        self.batches.retain(|(base, _, _)| *base < offsets.log_end.0);
        assert_eq!(self.end(), offsets.log_end.0, "the log ends between two batches");
        self.durable = offsets.log_end.0;
        self.written = offsets.log_end.0;
        self.check_content(log);
    }

    pub fn check_content(&self, log: &Log) {
        let start = log.offsets().log_start.0;
        let found = read_all(log);
        let visible = log.offsets().high_watermark.0;
        let expected: Vec<_> = self
            .batches
            .iter()
            .filter(|(base, _, _)| *base >= start && *base < visible)
            .collect();
        assert_eq!(found.len(), expected.len(), "as many batches as were appended");
        for (found, (base, _, body)) in found.iter().zip(expected) {
            assert_eq!(found.base_offset, *base);
            assert!(found.body == *body, "other bytes at {base}");
        }
    }
}
