//! Rebuilding a log at start: from its mark, what its segments hold past it, and the journal's entries.
//!
//! The log's end is the longest contiguous run of whole batches: CRC right, offsets in sequence, leader epochs not falling (engine
//! rule 11). What was accepted is durable before anyone is served (engine rule 12); what follows a cut is made zero.

use super::Log;
use super::epochs::Epochs;
use super::recover_segment::{Cut, Scanned, finish, scan_segment, seal};
use super::state::{Condition, LogState, Row};
use crate::config::LogConfig;
use crate::disk::OpenMode;
use crate::error::{Error, Result};
use crate::index::{IndexBatch, LogId, Mark, ProducerRow, SegmentRow};
use crate::journal::{EntryKind, RecoveredEntry};
use crate::recovery::{cut_off, lay_over};
use crate::segments::{Segment, log_dir, parse_segment_name, segment_path};
use crate::shared::Shared;
use crate::tail::{LogPosition, Tail};
use bytes::Bytes;
use protocol::types::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A recovered tail is journaled in entries of so many bytes, which fit into the smallest journal file.
const ENTRY_BYTES_MAX: usize = 64 << 10;

/// What index and journal know of a log.
#[derive(Default)]
pub(crate) struct LogStart {
    pub(crate) mark: Option<Mark>,
    pub(crate) segments: Vec<(Offset, SegmentRow)>,
    pub(crate) epochs: Vec<(i32, Offset)>,
    pub(crate) producers: Vec<(i64, ProducerRow)>,
    pub(crate) entries: Vec<RecoveredEntry>,
    /// The log has a folder of segments.
    pub(crate) has_files: bool,
    /// Look at the segments even without journal entries: the mark may be older than they are.
    pub(crate) scan: bool,
}

impl Log {
    /// Rebuilds a log. Rows for segments that were sealed since the last checkpoint are added to `batch`.
    pub(crate) fn recover(
        shared: &Arc<Shared>,
        id: LogId,
        config: LogConfig,
        start: &LogStart,
        now_ms: i64,
        batch: &mut IndexBatch,
    ) -> Result<(Arc<Log>, Option<Cut>)> {
        let mut overlays = overlays_of(&start.entries);
        let mut state = initial_state(shared, config, start);
        let files = segment_files(shared, id, start)?;
        remove_leftovers(shared, id, &state, &files);
        if start.entries.is_empty() && !start.scan && !has_unmarked_data(shared, id, start, &files)? {
            keep_log_start(&mut state, id, batch);
            state.keep_epoch();
            return Ok((Log::with_state(shared.clone(), id, state), None));
        }
        let mut at = start.mark.map_or(0, |mark| mark.scan_position);
        if start.mark.is_none()
            && let Some(first) = files.iter().chain(overlays.keys()).min().copied()
        {
            state = LogState::new(state.config, shared.leader_epoch, first);
        }
        let (cut, discarded) = loop {
            let base = state.active().base;
            let io = |source| Error::io(format!("reading the segment of {id} at offset {base} failed"), source);
            let overlay = overlays.remove(&base).unwrap_or_default();
            let scanned = scan_segment(shared, id, start, overlay, &mut state, at, now_ms).map_err(io)?;
            let next = scanned.segment.end_offset;
            if !continues(shared, id, &scanned, &overlays) {
                let stale = overlays.range(next.max(base + 1)..).next().is_some();
                break end_log(&mut state, shared, id, start, scanned, stale).map_err(io)?;
            }
            seal(shared, id, scanned, &mut state, batch).map_err(io)?;
            at = 0;
        };
        if cut.is_some() {
            // Rows never describe what is not there (engine rule 14).
            batch.delete_rows_from(id, state.next_offset);
        }
        keep_log_start(&mut state, id, batch);
        state.keep_epoch();
        let log = Log::with_state(shared.clone(), id, state);
        if cut.is_some() || discarded {
            log.journal_restart();
        }
        Ok((log, cut))
    }

    /// Journals the tail again, since a cut is about to touch its block on disk (engine rule 3), and that the log ends here.
    fn journal_restart(&self) {
        let mut state = self.state.lock();
        let (mut at, end) = (state.tail.start(), state.tail.end());
        let end_offset = state.next_offset;
        for slice in state.tail.slices(at, end) {
            for bytes in slice.as_ref().chunks(ENTRY_BYTES_MAX) {
                self.journal_entry(&mut state, EntryKind::Carried, at, end_offset, &[bytes]);
                at = at + bytes.len() as u64;
            }
        }
        self.journal_entry(&mut state, EntryKind::Restart, end, end_offset, &[]);
    }
}

/// The base offsets of the segment files that there are.
fn segment_files(shared: &Arc<Shared>, id: LogId, start: &LogStart) -> Result<Vec<Offset>> {
    if !start.has_files {
        return Ok(Vec::new());
    }
    let dir = log_dir(id);
    let names = shared
        .disk
        .list(&dir)
        .map_err(|source| Error::io(format!("listing {} failed", dir.display()), source))?;
    Ok(names.iter().filter_map(|name| parse_segment_name(name)).collect())
}

/// Removes files of segments that the log let go: their rows went with the mark that moved its start on, and the run before did not get
/// to the files.
fn remove_leftovers(shared: &Arc<Shared>, id: LogId, state: &LogState, files: &[Offset]) {
    let first = state.segments.first().expect("a log has an active segment").base;
    if state.mark.is_none() || first > state.log_start {
        return;
    }
    for base in files.iter().filter(|base| **base < first) {
        let path = segment_path(id, *base);
        match shared.disk.remove(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed a segment below the log's start"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "removing a segment below the log's start failed")
            }
        }
    }
}

/// A power cut can take records back that only the page cache had (`durability = "page-cache"`), and with them offsets below a start
/// that was moved over them. The log then starts where it ends: what is appended next has to be visible.
fn keep_log_start(state: &mut LogState, id: LogId, batch: &mut IndexBatch) {
    if state.log_start <= state.next_offset {
        return;
    }
    tracing::warn!(log = %id, log_start = %state.log_start, log_end = %state.next_offset, "the records up to the log's start were lost");
    state.log_start = state.next_offset;
    if let (Condition::Open, Some(mark)) = (&state.condition, state.mark.as_mut()) {
        mark.log_start = state.log_start;
        batch.put_mark(id, mark);
    }
}

/// Whether segment files hold more than the mark says: writes of which the journal lost the note. They are accepted or made
/// zero now, or they would come back in a later recovery (engine rule 11).
fn has_unmarked_data(shared: &Arc<Shared>, id: LogId, start: &LogStart, files: &[Offset]) -> Result<bool> {
    let (active, synced) = start
        .mark
        .map_or((Offset(0), 0), |mark| (mark.segment_base, mark.synced_position));
    if files.iter().any(|base| *base > active) {
        return Ok(true);
    }
    if !files.contains(&active) {
        return Ok(false);
    }
    let io = |source| {
        Error::io(
            format!("looking at the segment of {id} at offset {active} failed"),
            source,
        )
    };
    let file = shared
        .disk
        .open(&segment_path(id, active), OpenMode::Read)
        .map_err(io)?;
    Ok(file.len().map_err(io)? > synced)
}

/// Whether another segment follows the one that was read.
fn continues(
    shared: &Arc<Shared>,
    id: LogId,
    scanned: &Scanned,
    overlays: &BTreeMap<Offset, BTreeMap<u64, Bytes>>,
) -> bool {
    let next = scanned.segment.end_offset;
    let exists = || shared.disk.open(&segment_path(id, next), OpenMode::Read).is_ok();
    next > scanned.segment.base && (overlays.contains_key(&next) || (scanned.image.file.is_some() && exists()))
}

/// Makes the last segment the active one. Returns what is to be cut off behind it, and whether the journal has entries that
/// were not accepted (`stale`: it has some for later segments).
fn end_log(
    state: &mut LogState,
    shared: &Arc<Shared>,
    id: LogId,
    start: &LogStart,
    mut scanned: Scanned,
    stale: bool,
) -> std::io::Result<(Option<Cut>, bool)> {
    let (base, end) = (scanned.segment.base, scanned.segment.bytes);
    let end_offset = scanned.segment.end_offset;
    let cut = finish(state, shared, id, &mut scanned)?;
    let marked_end = start.mark.map_or(Offset(0), |mark| mark.end_offset);
    if end_offset < marked_end || has_later_segments(shared, id, base)? {
        // What lies behind the damage may be all that is left: it stays as it is (engine rule 9).
        let message = format!("records from offset {end_offset} on were durable and cannot be read back");
        tracing::error!(log = %id, %message, "a partition is damaged; it takes no appends");
        state.condition = Condition::Damaged(message);
        return Ok((None, false));
    }
    Ok((cut, stale || scanned.image.journal_reaches_past(end)))
}

/// What the journal has of each segment; younger entries over older ones.
fn overlays_of(entries: &[RecoveredEntry]) -> BTreeMap<Offset, BTreeMap<u64, Bytes>> {
    let mut overlays: BTreeMap<Offset, BTreeMap<u64, Bytes>> = BTreeMap::new();
    for entry in entries {
        let header = &entry.header;
        let overlay = overlays.entry(header.segment_base).or_default();
        if header.kind == EntryKind::Restart {
            cut_off(overlay, header.position);
            overlays.split_off(&(header.segment_base + 1));
        } else {
            lay_over(overlay, header.position, entry.payload.clone());
        }
    }
    overlays
}

/// Whether there are files of segments behind the one in which the log ends. A segment is synced before the next one is made, so
/// that they say: this one was complete.
fn has_later_segments(shared: &Arc<Shared>, id: LogId, last: Offset) -> std::io::Result<bool> {
    let names = shared.disk.list(&log_dir(id))?;
    Ok(names
        .iter()
        .filter_map(|name| parse_segment_name(name))
        .any(|base| base > last))
}

fn initial_state(shared: &Arc<Shared>, config: LogConfig, start: &LogStart) -> LogState {
    let mut state = LogState::new(config, shared.leader_epoch, Offset(0));
    state.epochs = Epochs::load(start.epochs.clone());
    for (id, row) in &start.producers {
        state.producers.load(*id, row);
    }
    let Some(mark) = start.mark else { return state };
    let position = LogPosition(mark.synced_position);
    state.mark = Some(mark);
    state.log_start = mark.log_start;
    // Some may lie below the log's start: rows go together with their segments, so that the next retention pass finds them.
    let sealed = start.segments.iter().filter(|(base, _)| *base < mark.segment_base);
    state.segments = sealed.map(|(base, row)| Segment::from_row(*base, row)).collect();
    let mut active = Segment::new(mark.segment_base, LogPosition(0));
    active.bytes = mark.synced_position;
    active.end_offset = mark.end_offset;
    active.max_timestamp = mark.max_timestamp;
    active.max_timestamp_offset = mark.max_timestamp_offset;
    active.first_append_ms = mark.first_append_ms;
    state.segments.push(active);
    state.tail = Tail::new(position);
    (state.written_to, state.synced_to, state.write_wanted) = (position, position, position);
    state.set_end(mark.end_offset, position);
    if mark.scan_offset < mark.end_offset {
        let row = Row {
            offset: mark.scan_offset,
            position: LogPosition(mark.scan_position),
            max_timestamp: mark.max_timestamp,
            max_timestamp_offset: mark.max_timestamp_offset,
        };
        state.rows.push_back(row);
        state.rows_saved = 1;
    }
    state
}
