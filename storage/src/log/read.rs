//! Reading by offset: from the tail without a copy, else from a segment file, or both for a batch that spans them.
//!
//! Only what lies below the high watermark is served (contract 49). A segment file is read below its synced blocks alone
//! (engine rule 18): the tail always begins at or before the end of those.

use super::Log;
use super::boundaries::{WINDOW_ROWS, Window};
use super::state::{Condition, INDEX_INTERVAL_BYTES, LogState, Row};
use crate::api_types::{ReadRequest, ReadResult, RecordSlice};
use crate::disk::DiskFile;
use crate::error::{Error, ErrorKind, Result};
use crate::segments::Segment;
use crate::tail::LogPosition;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::types::Offset;
use std::sync::Arc;

/// Bytes read at once while looking for a batch in a file.
const SCAN_BYTES: usize = 16 << 10;
/// A stretch of at least so many bytes between two neighbouring rows of the index is a single batch: small ones would have
/// a row among them.
const SINGLE_BATCH_BYTES: u64 = 2 * INDEX_INTERVAL_BYTES;
/// Batches of at least so many bytes are walked to end a read at a batch boundary.
const WALK_BATCH_BYTES: usize = 32 << 10;

/// A batch found: where it starts, from the start of its segment, and how long it is.
#[derive(Clone, Copy, Debug)]
struct Found {
    position: u64,
    bytes: usize,
}

/// A segment as a reader sees it: `bytes` is what is visible of it.
struct View {
    base: Offset,
    start: Option<LogPosition>,
    /// Visible bytes.
    visible: u64,
    row: Option<(Offset, u64)>,
}

impl View {
    /// Where the part ends that is read from the file: the tail has the rest.
    fn file_end(&self, state: &LogState) -> u64 {
        self.start
            .map_or(u64::MAX, |start| state.tail.start().0.saturating_sub(start.0))
    }
}

impl Log {
    /// Reads durable records if that needs no waiting: from memory, or from an open segment file between known batch boundaries
    /// (sending those bytes may wait for the disk). `None` when a disk has to be asked where they are. Errors as [`Log::read`].
    pub fn read_tail(&self, request: &ReadRequest) -> Option<Result<ReadResult>> {
        let state = self.state.lock();
        match self.check_range(&state, request.offset) {
            Err(error) => return Some(Err(error)),
            Ok(false) => return Some(Ok(ReadResult::default())),
            Ok(true) => {}
        }
        let found = self.read_from_tail(&state, request);
        found.or_else(|| self.read_between_boundaries(&state, request)).map(Ok)
    }

    /// Reads from an open file when both ends are known.
    fn read_between_boundaries(&self, state: &LogState, request: &ReadRequest) -> Option<ReadResult> {
        let view = self.view_of(state, request.offset);
        let window = self.shared.boundaries.get(self.id, view.base);
        let known = view
            .row
            .filter(|(offset, _)| *offset == request.offset)
            .map(|(_, position)| position);
        let at = known.or_else(|| window.as_ref()?.position_of(request.offset))?;
        let readable = view.visible.min(view.file_end(state));
        let limit = (at + request.max_bytes as u64).min(readable);
        let end = match last_boundary(state, &view, window.as_deref(), at, limit) {
            Some(end) => end,
            None => {
                // What is so long and has no boundary inside is one batch.
                let end = next_boundary(state, &view, window.as_deref(), request.offset)?;
                if end > readable || end - at < SINGLE_BATCH_BYTES {
                    return None;
                }
                if !request.min_one_batch {
                    return Some(ReadResult::default());
                }
                end
            }
        };
        let file = self.shared.read_files.get_open(self.id, view.base)?;
        let len = (end - at) as usize;
        Some(ReadResult {
            slices: vec![RecordSlice::File {
                file,
                position: at,
                len,
            }],
            bytes: len,
        })
    }

    /// Reads durable records, from disk where needed. Blocks. Empty between high watermark and log end (contract 48);
    /// `OffsetOutOfRange` below the log start or above the log end.
    pub fn read(&self, request: &ReadRequest) -> Result<ReadResult> {
        let view = {
            let state = self.state.lock();
            if !self.check_range(&state, request.offset)? {
                return Ok(ReadResult::default());
            }
            if let Some(found) = self.read_from_tail(&state, request) {
                return Ok(found);
            }
            self.view_of(&state, request.offset)
        };
        // The log's own rows reach from their first one to its end; only below them is the index asked.
        let window = match view.row {
            Some(_) => None,
            None => Some(self.window_at(&view, request.offset)?),
        };
        let window = window.as_deref();
        let floor = || window.and_then(|window| window.floor(request.offset));
        let row = view.row.or_else(floor).unwrap_or((view.base, 0));
        let found = self.find_batch(&view, row, request.offset)?;
        let len = self.read_length(&view, window, found, request)?;
        self.slices(&view, found.position, len)
    }

    /// Whether anything is visible at `offset`; an error when it is out of range (contract 48).
    fn check_range(&self, state: &LogState, offset: Offset) -> Result<bool> {
        if state.condition == Condition::Deleted {
            return Err(self.error(ErrorKind::Deleted, "the topic was deleted"));
        }
        if offset < state.log_start || offset > state.next_offset {
            if let (Condition::Damaged(what), true) = (&state.condition, offset > state.next_offset) {
                // Not out of range: readers would go on elsewhere and never know.
                return Err(self.error(ErrorKind::Corrupt, what.clone()).with_offset(offset));
            }
            let message = format!("only offsets {} to {} are there", state.log_start, state.next_offset);
            return Err(self.error(ErrorKind::OffsetOutOfRange, message).with_offset(offset));
        }
        Ok(offset < self.high_watermark(state))
    }

    /// Log position below which everything is visible.
    fn visible_position(&self, state: &LogState) -> LogPosition {
        if self.shared.fsyncs() {
            state.durable_position
        } else {
            state.written_position
        }
    }

    fn read_from_tail(&self, state: &LogState, request: &ReadRequest) -> Option<ReadResult> {
        let row = state.row_below(request.offset)?;
        if row.position < state.tail.start() {
            return None;
        }
        let segment = &state.segments[state.segment_at(row.position)];
        let visible = self.visible_position(state).min(segment.start? + segment.bytes);
        let (start, bytes) = find_in_tail(state, row, visible, request.offset)?;
        let first_end = start + bytes as u64;
        let limit = start + request.max_bytes as u64;
        let end = if first_end > limit {
            if !request.min_one_batch {
                return Some(ReadResult::default());
            }
            first_end
        } else if limit >= visible {
            visible
        } else {
            // End at a known batch boundary, so that nothing is sent twice.
            let after = state.rows.partition_point(|row| row.position <= limit);
            state.rows.get(after.checked_sub(1)?).map_or(limit, |row| {
                if row.position >= first_end {
                    row.position
                } else {
                    first_end
                }
            })
        };
        let slices = state
            .tail
            .slices(start, end)
            .into_iter()
            .map(|s| RecordSlice::Mem(s.into_bytes()))
            .collect();
        Some(ReadResult {
            slices,
            bytes: (end - start) as usize,
        })
    }

    fn view_of(&self, state: &LogState, offset: Offset) -> View {
        let after = state.segments.partition_point(|s| s.base <= offset);
        let segment: &Segment = &state.segments[after.saturating_sub(1)];
        let visible = match segment.start {
            Some(start) => {
                let upto = self.visible_position(state).min(start + segment.bytes);
                upto.0.saturating_sub(start.0)
            }
            None => segment.bytes,
        };
        let row = state
            .row_below(offset)
            .and_then(|row| Some((row.offset, row.position.0.checked_sub(segment.start?.0)?)));
        View {
            base: segment.base,
            start: segment.start,
            visible,
            row,
        }
    }

    /// Known boundaries around `offset`: the window in memory, or a new one from the index.
    fn window_at(&self, view: &View, offset: Offset) -> Result<Arc<Window>> {
        if let Some(window) = self.shared.boundaries.get(self.id, view.base)
            && window.spans(offset)
        {
            return Ok(window);
        }
        let rows = self
            .shared
            .index
            .segment_rows(self.id, view.base, offset, WINDOW_ROWS)?;
        let window = Arc::new(Window { rows });
        self.shared.boundaries.put(self.id, view.base, window.clone());
        Ok(window)
    }

    fn read_file(&self, base: Offset) -> Result<Arc<dyn DiskFile>> {
        self.shared
            .read_files
            .get(&self.shared.disk, self.id, base)
            .map_err(|source| {
                let gone = source.kind() == std::io::ErrorKind::NotFound && base < self.state.lock().log_start;
                if gone {
                    return self
                        .error(ErrorKind::OffsetOutOfRange, "the records were removed by retention")
                        .with_offset(base);
                }
                Error::io(format!("opening the segment at offset {base} failed"), source)
                    .with_log(self.id.topic_id, self.id.partition)
            })
    }

    /// Fills `buf` from the segment's bytes at `at`: from the file below the tail, from the tail above. Returns the bytes read.
    fn copy_bytes(&self, view: &View, at: u64, buf: &mut [u8]) -> Result<usize> {
        let want = buf.len().min(view.visible.saturating_sub(at) as usize);
        let buf = &mut buf[..want];
        let in_file = {
            let state = self.state.lock();
            match view.start {
                Some(start) => {
                    let tail_at = state.tail.start().0.saturating_sub(start.0);
                    let in_file = (tail_at.saturating_sub(at) as usize).min(want);
                    if in_file < want {
                        state.tail.peek(start + at + in_file as u64, &mut buf[in_file..]);
                    }
                    in_file
                }
                None => want,
            }
        };
        if in_file > 0 {
            let file = self.read_file(view.base)?;
            let got = file.read_at(&mut buf[..in_file], at).map_err(|source| {
                Error::io(format!("reading the segment at offset {} failed", view.base), source)
                    .with_log(self.id.topic_id, self.id.partition)
            })?;
            if got < in_file {
                return Err(self.corrupt(view, at, "the file is shorter than what was synced to it"));
            }
        }
        Ok(want)
    }

    fn corrupt(&self, view: &View, at: u64, what: &str) -> Error {
        let path = crate::segments::segment_path(self.id, view.base);
        self.error(ErrorKind::Corrupt, format!("{} at byte {at}: {what}", path.display()))
    }

    /// Walks from a known batch to the one that holds `offset`.
    fn find_batch(&self, view: &View, row: (Offset, u64), offset: Offset) -> Result<Found> {
        let mut window = vec![0; SCAN_BYTES];
        let (mut window_at, mut window_len) = (0, 0);
        let (mut expected, mut at) = row;
        loop {
            let inside = at >= window_at && at + HEADER_BYTES as u64 <= window_at + window_len as u64;
            if !inside {
                window_at = at;
                window_len = self.copy_bytes(view, at, &mut window)?;
            }
            let header = BatchHeader::read(&window[(at - window_at) as usize..window_len])
                .map_err(|error| self.corrupt(view, at, &error.to_string()).with_offset(expected))?;
            if header.base_offset != expected {
                let what = format!("a batch at offset {} where {expected} follows", header.base_offset);
                return Err(self.corrupt(view, at, &what).with_offset(expected));
            }
            if header.last_offset() >= offset {
                return Ok(Found {
                    position: at,
                    bytes: header.total_bytes(),
                });
            }
            expected = header.last_offset() + 1;
            at += header.total_bytes() as u64;
        }
    }

    /// How many bytes to return from a batch on.
    fn read_length(&self, view: &View, window: Option<&Window>, first: Found, request: &ReadRequest) -> Result<usize> {
        let available = view.visible.saturating_sub(first.position) as usize;
        if first.bytes > available {
            return Err(self.corrupt(view, first.position, "a batch is longer than its segment"));
        }
        if first.bytes > request.max_bytes {
            return Ok(if request.min_one_batch { first.bytes } else { 0 });
        }
        if available <= request.max_bytes {
            return Ok(available);
        }
        let first_end = first.position + first.bytes as u64;
        let limit = first.position + request.max_bytes as u64;
        if let Some(end) = last_boundary(&self.state.lock(), view, window, first_end - 1, limit) {
            return Ok((end - first.position) as usize);
        }
        if first.bytes < WALK_BATCH_BYTES {
            return Ok(request.max_bytes);
        }
        // Large batches: walk them, so that none is cut and sent twice.
        let mut len = first.bytes;
        let mut head = [0; HEADER_BYTES];
        loop {
            let at = first.position + len as u64;
            if self.copy_bytes(view, at, &mut head)? < HEADER_BYTES {
                return Ok(len);
            }
            let header = BatchHeader::read(&head).map_err(|error| self.corrupt(view, at, &error.to_string()))?;
            if len + header.total_bytes() > request.max_bytes {
                return Ok(len);
            }
            len += header.total_bytes();
        }
    }

    fn slices(&self, view: &View, at: u64, len: usize) -> Result<ReadResult> {
        let mut slices = Vec::new();
        if len == 0 {
            return Ok(ReadResult::default());
        }
        let in_file = {
            let state = self.state.lock();
            match view.start {
                Some(start) => {
                    let tail_at = state.tail.start().0.saturating_sub(start.0);
                    let in_file = (tail_at.saturating_sub(at) as usize).min(len);
                    if in_file < len {
                        let rest = state.tail.slices(start + at + in_file as u64, start + at + len as u64);
                        slices.extend(rest.into_iter().map(|s| RecordSlice::Mem(s.into_bytes())));
                    }
                    in_file
                }
                None => len,
            }
        };
        if in_file > 0 {
            let file = self.read_file(view.base)?;
            slices.insert(
                0,
                RecordSlice::File {
                    file,
                    position: at,
                    len: in_file,
                },
            );
        }
        Ok(ReadResult { slices, bytes: len })
    }

    /// Bytes between `offset` and the high watermark, an estimate that is never too small unless it is at least `limit`:
    /// what a parked fetch compares with min_bytes. Never blocks.
    pub fn bytes_available(&self, offset: Offset, limit: usize) -> usize {
        let state = self.state.lock();
        if offset >= self.high_watermark(&state) {
            return 0;
        }
        let visible = self.visible_position(&state);
        match state.row_below(offset) {
            Some(row) if row.position < visible => {
                let exact = find_in_tail(&state, row, visible, offset).map(|(start, _)| start);
                ((visible - exact.unwrap_or(row.position)) as usize).min(limit)
            }
            _ => limit,
        }
    }
}

/// The last known batch boundary above `from` and at or below `limit`, both from the start of the segment: newer ones are with the
/// log, older ones in the window.
fn last_boundary(state: &LogState, view: &View, window: Option<&Window>, from: u64, limit: u64) -> Option<u64> {
    let newer = view.start.and_then(|start| {
        let after = state.rows.partition_point(|row| row.position <= start + limit);
        let row = state.rows.get(after.checked_sub(1)?)?;
        row.position.0.checked_sub(start.0).filter(|position| *position > from)
    });
    newer.or_else(|| window?.last_boundary(from, limit))
}

/// The row after the one at `offset`. Both have to be with the log, or both in the window: between the two may be rows that
/// neither has.
fn next_boundary(state: &LogState, view: &View, window: Option<&Window>, offset: Offset) -> Option<u64> {
    if let Ok(row) = state.rows.binary_search_by_key(&offset, |row| row.offset) {
        return state.rows.get(row + 1)?.position.0.checked_sub(view.start?.0);
    }
    let window = window?;
    window.next_boundary(window.position_of(offset)?)
}

/// Walks the tail from a known batch to the one that holds `offset`; its position and length. `None` when it is not in memory.
fn find_in_tail(state: &LogState, row: Row, visible: LogPosition, offset: Offset) -> Option<(LogPosition, usize)> {
    if row.position < state.tail.start() {
        return None;
    }
    let mut at = row.position;
    let mut head = [0; HEADER_BYTES];
    while at < visible {
        if state.tail.peek(at, &mut head) < HEADER_BYTES {
            return None;
        }
        let header = BatchHeader::read(&head).ok()?;
        if header.last_offset() >= offset {
            return Some((at, header.total_bytes()));
        }
        at = at + header.total_bytes() as u64;
    }
    None
}
