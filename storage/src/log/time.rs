//! Reading by time: the first record at or after a timestamp, and the record with the largest one (contract 58, 59).

use super::Log;
use crate::api_types::{ReadRequest, RecordSlice, TimestampOffset};
use crate::error::{Error, ErrorKind, Result};
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::compression::DecompressLimits;
use protocol::records::first_at_or_after;
use protocol::types::Offset;

/// Looks at a batch; stops the walk when it returns something.
type Visit<'a, R> = &'a mut dyn FnMut(&BatchHeader, &[u8]) -> Result<Option<R>>;

/// Bytes read at once while walking batches.
const WALK_BYTES: usize = 1 << 20;

impl Log {
    /// First record below the high watermark with a timestamp of at least `timestamp_ms` (contract 59). Blocks.
    pub fn find_by_timestamp(&self, timestamp_ms: i64) -> Result<Option<TimestampOffset>> {
        let Some(from) = self.time_scan_start(timestamp_ms)? else {
            return Ok(None);
        };
        self.first_record(from, timestamp_ms)
    }

    /// The first record that has the largest timestamp below the high watermark. Blocks.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>> {
        let (best, end) = {
            let state = self.state.lock();
            let end = self.high_watermark(&state);
            let best = state
                .segments
                .iter()
                .filter(|s| s.bytes > 0)
                .max_by_key(|s| (s.max_timestamp, -s.base.0));
            (best.map(|s| (s.base, s.max_timestamp, s.max_timestamp_offset)), end)
        };
        let Some((base, timestamp, offset)) = best else {
            return Ok(None);
        };
        if offset < end {
            let from = offset.max(self.offsets().log_start);
            return self.first_record(from, timestamp);
        }
        // The newest maximum is not durable yet: look at what is.
        let mut max = i64::MIN;
        self.walk(base, &mut |header, _| {
            max = max.max(header.max_timestamp);
            Ok(None::<()>)
        })?;
        if max == i64::MIN {
            Ok(None)
        } else {
            self.first_record(base, max)
        }
    }

    /// Where to start looking for a timestamp: a batch at or before the first one that can hold it.
    fn time_scan_start(&self, timestamp_ms: i64) -> Result<Option<Offset>> {
        let (base, log_start) = {
            let state = self.state.lock();
            let Some(segment) = state
                .segments
                .iter()
                .find(|s| s.bytes > 0 && s.max_timestamp >= timestamp_ms)
            else {
                return Ok(None);
            };
            let start = segment.start;
            let rows = state.rows.iter().filter(|row| {
                start.is_some_and(|start| row.position >= start)
                    && row.offset >= segment.base
                    && row.offset < segment.end_offset
            });
            // Rows in memory are the newest of the segment; older ones are in the index.
            let known = rows
                .take_while(|row| row.max_timestamp < timestamp_ms)
                .last()
                .map(|row| row.offset);
            match known {
                Some(offset) => return Ok(Some(offset.max(state.log_start))),
                None => (segment.base, state.log_start),
            }
        };
        let row = self.shared.index.time_floor(self.id, base, timestamp_ms)?;
        Ok(Some(row.map_or(base, |(_, row)| row.offset).max(log_start)))
    }

    /// The first record at or after `from` with a timestamp of at least `target_ms`.
    fn first_record(&self, from: Offset, target_ms: i64) -> Result<Option<TimestampOffset>> {
        let limits = DecompressLimits::default();
        self.walk(from, &mut |header, batch| {
            let found = first_at_or_after(batch, header, target_ms, from, &limits).map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("a stored batch cannot be read: {error}"))
                    .with_log(self.id.topic_id, self.id.partition)
                    .with_offset(header.base_offset)
            })?;
            Ok(found.map(|found| TimestampOffset {
                timestamp: found.timestamp,
                offset: found.offset,
                leader_epoch: header.partition_leader_epoch,
            }))
        })
    }

    /// Calls `visit` with every visible batch from the one that holds `from` on, until it returns something.
    fn walk<R>(&self, from: Offset, visit: Visit<'_, R>) -> Result<Option<R>> {
        let mut next = from;
        loop {
            let request = ReadRequest {
                offset: next,
                max_bytes: WALK_BYTES,
                min_one_batch: true,
            };
            let bytes = self.materialize(&self.read(&request)?.slices)?;
            let mut rest = &bytes[..];
            while rest.len() >= HEADER_BYTES {
                let Ok(header) = BatchHeader::read(rest) else { break };
                let Some(batch) = rest.get(..header.total_bytes()) else {
                    break;
                };
                if let Some(found) = visit(&header, batch)? {
                    return Ok(Some(found));
                }
                next = header.last_offset() + 1;
                rest = &rest[header.total_bytes()..];
            }
            if rest.len() == bytes.len() {
                return Ok(None);
            }
        }
    }

    fn materialize(&self, slices: &[RecordSlice]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(slices.iter().map(RecordSlice::len).sum());
        for slice in slices {
            match slice {
                RecordSlice::Mem(bytes) => out.extend_from_slice(bytes),
                RecordSlice::File { file, position, len } => {
                    let at = out.len();
                    out.resize(at + len, 0);
                    let got = file.read_at(&mut out[at..], *position).map_err(|source| {
                        Error::io("reading a segment failed", source).with_log(self.id.topic_id, self.id.partition)
                    })?;
                    out.truncate(at + got);
                }
            }
        }
        Ok(out)
    }
}
