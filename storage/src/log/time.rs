//! Reading by time: the first record at or after a timestamp, and the record with the largest one (contract 58, 59).

use super::Log;
use super::state::LogState;
use crate::api_types::{ReadRequest, RecordSlice, TimestampOffset};
use crate::error::{Error, ErrorKind, Result};
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::compression::DecompressLimits;
use protocol::records::{RecordsError, first_at_or_after, walk as walk_records};
use protocol::types::Offset;
use std::ops::ControlFlow;

/// Looks at a batch; stops the walk when it returns something.
type Visit<'a, R> = &'a mut dyn FnMut(&BatchHeader, &[u8]) -> Result<Option<R>>;

/// Bytes read at once while walking batches.
const WALK_BYTES: usize = 1 << 20;

/// The largest timestamp of a segment, with the batch that brought it, and the part of the segment that can be read.
struct Peak {
    from: Offset,
    end: Offset,
    timestamp: i64,
    offset: Offset,
}

fn peaks(state: &LogState) -> Vec<Peak> {
    let left = state
        .segments
        .iter()
        .filter(|s| s.bytes > 0 && s.end_offset > state.log_start);
    left.map(|s| Peak {
        from: s.base.max(state.log_start),
        end: s.end_offset,
        timestamp: s.max_timestamp,
        offset: s.max_timestamp_offset,
    })
    .collect()
}

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
        let (mut peaks, end) = {
            let state = self.state.lock();
            (peaks(&state), self.high_watermark(&state))
        };
        // What was deleted of the first segment may have been its maximum: look at what is left.
        if let Some(first) = peaks.first_mut()
            && first.offset < first.from
        {
            first.timestamp = self.largest_timestamp(first.from, first.end)?.unwrap_or(i64::MIN);
            first.offset = first.from;
        }
        let Some(best) = peaks.iter().max_by_key(|peak| (peak.timestamp, -peak.from.0)) else {
            return Ok(None);
        };
        if best.offset < end {
            return self.first_record(best.offset, best.timestamp);
        }
        // The newest maximum is not durable yet: look at what is.
        match self.largest_timestamp(best.from, end)? {
            Some(largest) => self.first_record(best.from, largest),
            None => Ok(None),
        }
    }

    /// The largest timestamp of visible records from `from` on, up to the batch that reaches `end`; reads them.
    fn largest_timestamp(&self, from: Offset, end: Offset) -> Result<Option<i64>> {
        let limits = DecompressLimits::default();
        let mut largest = None;
        self.walk(from, &mut |header, batch| {
            if header.base_offset >= end {
                return Ok(Some(()));
            }
            if header.base_offset >= from || header.is_log_append_time() {
                largest = largest.max(Some(header.max_timestamp));
                return Ok(None);
            }
            let body = batch.get(HEADER_BYTES..).unwrap_or_default();
            let walked = walk_records(header, body, &limits, |meta| {
                if header.base_offset + i64::from(meta.offset_delta) >= from {
                    largest = largest.max(Some(meta.timestamp(header)));
                }
                ControlFlow::Continue(())
            });
            walked.map(|_| None).map_err(|error| self.unreadable(header, &error))
        })?;
        Ok(largest)
    }

    fn unreadable(&self, header: &BatchHeader, error: &RecordsError) -> Error {
        Error::new(ErrorKind::Corrupt, format!("a stored batch cannot be read: {error}"))
            .with_log(self.id.topic_id, self.id.partition)
            .with_offset(header.base_offset)
    }

    /// Where to start looking for a timestamp: a batch at or before the first one that can hold it.
    fn time_scan_start(&self, timestamp_ms: i64) -> Result<Option<Offset>> {
        let (base, log_start) = {
            let state = self.state.lock();
            let Some(segment) = state
                .segments
                .iter()
                .find(|s| s.bytes > 0 && s.end_offset > state.log_start && s.max_timestamp >= timestamp_ms)
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
            let found = first_at_or_after(batch, header, target_ms, from, &limits)
                .map_err(|error| self.unreadable(header, &error))?;
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
