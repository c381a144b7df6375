//! Rebuilding a log at start: from its mark, what its segments hold past it, and the journal's entries.
//!
//! The log's end is the longest contiguous run of whole batches: CRC right, offsets in sequence, leader epochs not falling (engine
//! rule 11). What was accepted is durable before anyone is served (engine rule 12); what follows a cut is made zero.

use super::Log;
use super::epochs::Epochs;
use super::state::{Condition, LogState, Row};
use crate::config::LogConfig;
use crate::disk::{BLOCK_BYTES, DiskFile};
use crate::error::{Error, Result};
use crate::index::{IndexBatch, LogId, Mark, OffsetRow, ProducerRow, SegmentRow, TimeRow};
use crate::journal::{EntryKind, RecoveredEntry};
use crate::recovery::{Image, cut_off, lay_over};
use crate::segments::{Segment, log_dir, parse_segment_name, segment_path};
use crate::shared::Shared;
use crate::tail::{LogPosition, Tail};
use bytes::Bytes;
use protocol::batch::{BatchHeader, HEADER_BYTES, crc_matches};
use protocol::types::Offset;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

/// A batch longer than this is not one.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// A recovered tail is journaled in entries of so many bytes, which fit into the smallest journal file.
const ENTRY_BYTES_MAX: usize = 64 << 10;
const BLOCK: u64 = BLOCK_BYTES as u64;

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

/// What remains to be done once what was carried is synced: make zero what follows the log's end in this file.
pub(crate) struct Cut {
    pub(crate) log: LogId,
    file: Arc<dyn DiskFile>,
    /// The block in which the log ends, filled up with zeros; none when it ends with a block.
    last_block: Option<(u64, Vec<u8>)>,
    from: u64,
    to: u64,
}

impl Cut {
    /// Zeroes and syncs (engine rule 11).
    pub(crate) fn apply(&self) -> Result<()> {
        let io = |source| Error::io(format!("clearing what follows the end of {} failed", self.log), source);
        if let Some((at, block)) = &self.last_block {
            let mut aligned = AlignedBlock([0; BLOCK_BYTES]);
            aligned.0.copy_from_slice(block);
            self.file.write_at(&[IoSlice::new(&aligned.0)], *at).map_err(io)?;
        }
        if self.to > self.from {
            self.file.zero(self.from, self.to).map_err(io)?;
        }
        self.file.sync_data().map_err(io)
    }
}

#[repr(align(4096))]
struct AlignedBlock([u8; BLOCK_BYTES]);

/// One segment while it is scanned.
struct Scan<'a> {
    image: &'a mut Image,
    segment: Segment,
    /// Where the next batch is expected.
    at: u64,
    /// The file holds what was accepted up to here.
    file_valid: u64,
    rows: Vec<Row>,
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
        if start.entries.is_empty() && !start.scan && !has_unmarked_data(shared, id, start)? {
            state.keep_epoch();
            return Ok((Log::with_state(shared.clone(), id, state), None));
        }
        let mut at = start.mark.map_or(0, |mark| mark.scan_position);
        if start.mark.is_none()
            && let Some(first) = first_segment(shared, id, &overlays)?
        {
            state = LogState::new(state.config, shared.leader_epoch, first);
        }
        let mut scan_base = state.active().base;
        let (cut, discarded) = loop {
            let io = |source| {
                Error::io(
                    format!("reading the segment of {id} at offset {scan_base} failed"),
                    source,
                )
            };
            let synced = start
                .mark
                .filter(|m| m.segment_base == scan_base)
                .map_or(0, |m| m.synced_position);
            let overlay = overlays.remove(&scan_base).unwrap_or_default();
            let mut image = Image::open(&shared.disk, id, scan_base, overlay).map_err(io)?;
            if image.file.is_some() && synced == 0 {
                // The run before may have made the file and not got to sync its folder.
                shared.disk.sync_dir(&log_dir(id)).map_err(io)?;
            }
            let mut segment = state.segments.pop().expect("a log has an active segment");
            segment.bytes = at;
            let mut scan = Scan {
                file_valid: if image.file.is_some() { at } else { 0 },
                image: &mut image,
                segment,
                at,
                rows: Vec::new(),
            };
            scan.run(&mut state, now_ms).map_err(io)?;
            let Scan {
                segment,
                file_valid,
                rows,
                ..
            } = scan;
            if file_valid > synced
                && let Some(file) = &image.file
            {
                file.sync_data().map_err(io)?;
            }
            let next_offset = segment.end_offset;
            let continues = next_offset > scan_base
                && (overlays.contains_key(&next_offset)
                    || (image.file.is_some()
                        && shared
                            .disk
                            .open(&segment_path(id, next_offset), crate::disk::OpenMode::Read)
                            .is_ok()));
            if !continues {
                let end = segment.bytes;
                let cut = finish(&mut state, shared, segment, rows, &mut image, file_valid, synced, id).map_err(io)?;
                if start.mark.is_some_and(|mark| next_offset < mark.end_offset) {
                    // Damage: what lies behind it may be all that is left, and stays as it is (engine rule 9).
                    break (None, false);
                }
                if image.file.is_some() {
                    remove_later_segments(shared, id, scan_base).map_err(io)?;
                }
                break (
                    cut,
                    image.journal_reaches_past(end)
                        || overlays.range(next_offset.max(scan_base + 1)..).next().is_some(),
                );
            }
            seal(shared, id, &segment, &mut image, file_valid, &rows, batch).map_err(io)?;
            state.segments.push(Segment {
                sealed: true,
                saved: true,
                start: None,
                ..segment
            });
            state.segments.push(Segment::new(next_offset, LogPosition(0)));
            state.rows.clear();
            state.rows_saved = 0;
            scan_base = next_offset;
            at = 0;
        };
        if let Some(mark) = start.mark.filter(|mark| state.next_offset < mark.end_offset) {
            let message = format!(
                "records {} to {} (exclusive) were durable and cannot be read back",
                state.next_offset, mark.end_offset
            );
            tracing::error!(log = %id, %message, "a partition is damaged; it takes no appends");
            state.condition = Condition::Damaged(message);
        }
        if cut.is_some() {
            // Rows never describe what is not there (engine rule 14).
            batch.delete_rows_from(id, state.next_offset);
        }
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

/// Whether segment files hold more than the mark says: writes of which the journal lost the note. They are accepted or made
/// zero now, or they would come back in a later recovery (engine rule 11).
fn has_unmarked_data(shared: &Arc<Shared>, id: LogId, start: &LogStart) -> Result<bool> {
    if !start.has_files {
        return Ok(false);
    }
    let dir = log_dir(id);
    let io = |source| Error::io(format!("looking at {} failed", dir.display()), source);
    let (active, synced) = start
        .mark
        .map_or((Offset(0), 0), |mark| (mark.segment_base, mark.synced_position));
    let names = shared.disk.list(&dir).map_err(io)?;
    let bases = || names.iter().filter_map(|name| parse_segment_name(name));
    if bases().any(|base| base > active) {
        return Ok(true);
    }
    if !bases().any(|base| base == active) {
        return Ok(false);
    }
    let file = shared
        .disk
        .open(&segment_path(id, active), crate::disk::OpenMode::Read)
        .map_err(io)?;
    Ok(file.len().map_err(io)? > synced)
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

/// Removes files of segments behind the one in which the log ends: their data was not accepted.
fn remove_later_segments(shared: &Arc<Shared>, id: LogId, last: Offset) -> std::io::Result<()> {
    let dir = log_dir(id);
    let mut removed = false;
    for base in shared
        .disk
        .list(&dir)?
        .iter()
        .filter_map(|name| parse_segment_name(name))
        .filter(|base| *base > last)
    {
        shared.disk.remove(&segment_path(id, base))?;
        removed = true;
    }
    if removed { shared.disk.sync_dir(&dir) } else { Ok(()) }
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
    let sealed = start
        .segments
        .iter()
        .filter(|(base, row)| *base < mark.segment_base && row.end_offset > mark.log_start);
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
    set_end(&mut state, mark.end_offset, position);
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

fn set_end(state: &mut LogState, end: Offset, position: LogPosition) {
    state.next_offset = end;
    state.written_end = end;
    state.durable_end = end;
    state.durable_position = position;
    state.written_position = position;
}

/// The lowest segment that there is, for a log without a mark.
fn first_segment(
    shared: &Arc<Shared>,
    id: LogId,
    overlays: &BTreeMap<Offset, BTreeMap<u64, Bytes>>,
) -> Result<Option<Offset>> {
    let dir = log_dir(id);
    let names = shared
        .disk
        .list(&dir)
        .map_err(|source| Error::io(format!("listing {} failed", dir.display()), source))?;
    let files = names.iter().filter_map(|name| parse_segment_name(name));
    Ok(files.chain(overlays.keys().copied()).min())
}

impl Scan<'_> {
    /// Accepts batches until one is not as expected.
    fn run(&mut self, state: &mut LogState, now_ms: i64) -> std::io::Result<()> {
        let mut expected = match state.rows.back() {
            Some(row) if self.at > 0 || row.offset == self.segment.base => row.offset,
            _ => self.segment.base,
        };
        let mut last_epoch = state.epochs.of(expected).unwrap_or(-1);
        let mut buf = Vec::new();
        loop {
            let mut head = [0; HEADER_BYTES];
            let (got, _) = self.image.read(self.at, &mut head)?;
            let header = match BatchHeader::read(&head[..got]) {
                Ok(header) if header.total_bytes() <= BATCH_BYTES_MAX => header,
                _ => break,
            };
            let contiguous = header.base_offset == expected && header.partition_leader_epoch >= last_epoch;
            if !contiguous || header.last_offset_delta < 0 {
                break;
            }
            buf.resize(header.total_bytes(), 0);
            let (got, from_file) = self.image.read(self.at, &mut buf)?;
            if got < buf.len() || !crc_matches(&buf) {
                break;
            }
            self.compare(&buf, from_file)?;
            self.accept(state, &header, now_ms);
            expected = header.last_offset() + 1;
            last_epoch = header.partition_leader_epoch;
        }
        self.segment.end_offset = expected;
        state.next_offset = expected;
        Ok(())
    }

    /// Notes how far the file has what was accepted.
    fn compare(&mut self, accepted: &[u8], from_file: bool) -> std::io::Result<()> {
        if self.file_valid != self.at {
            return Ok(());
        }
        if from_file {
            self.file_valid += accepted.len() as u64;
            return Ok(());
        }
        let mut there = vec![0; accepted.len()];
        let got = self.image.read_file(self.at, &mut there)?;
        let same = there[..got].iter().zip(accepted).take_while(|(a, b)| a == b).count();
        self.file_valid += same as u64;
        Ok(())
    }

    fn accept(&mut self, state: &mut LogState, header: &BatchHeader, now_ms: i64) {
        let (base_offset, end_offset) = (header.base_offset, header.last_offset() + 1);
        let bytes = header.total_bytes() as u64;
        self.segment.bytes = self.at;
        self.segment
            .add(bytes, base_offset, end_offset, header.max_timestamp, now_ms);
        let due = self
            .rows
            .last()
            .is_none_or(|row| self.at - row.position.0 >= super::state::INDEX_INTERVAL_BYTES);
        if due {
            self.rows.push(Row {
                offset: base_offset,
                position: LogPosition(self.at),
                max_timestamp: self.segment.max_timestamp,
                max_timestamp_offset: self.segment.max_timestamp_offset,
            });
        }
        state.epochs.assign(header.partition_leader_epoch, base_offset);
        if header.has_producer() && !header.is_control() {
            state.producers.update(header, base_offset, now_ms);
        }
        self.at += bytes;
    }
}

/// Completes a segment that another one follows: its file gets what it lacks, the index its rows.
fn seal(
    shared: &Arc<Shared>,
    id: LogId,
    segment: &Segment,
    image: &mut Image,
    file_valid: u64,
    rows: &[Row],
    batch: &mut IndexBatch,
) -> std::io::Result<()> {
    let whole = segment.bytes.div_ceil(BLOCK) * BLOCK;
    if file_valid < segment.bytes {
        let file = match &image.file {
            Some(file) => file.clone(),
            None => {
                shared.disk.create_dir(&log_dir(id))?;
                let file = shared
                    .disk
                    .create(&segment_path(id, segment.base), crate::disk::OpenMode::Direct)?;
                shared.disk.sync_dir(&log_dir(id))?;
                file
            }
        };
        let mut at = file_valid / BLOCK * BLOCK;
        let mut block = AlignedBlock([0; BLOCK_BYTES]);
        while at < whole {
            block.0.fill(0);
            let want = ((segment.bytes - at) as usize).min(BLOCK_BYTES);
            image.read(at, &mut block.0[..want])?;
            file.write_at(&[IoSlice::new(&block.0)], at)?;
            at += BLOCK;
        }
        file.set_len(whole)?;
        file.sync_data()?;
    }
    for row in rows {
        let position = row.position.0;
        batch.put_offset(
            id,
            row.offset,
            &OffsetRow {
                segment_base: segment.base,
                position,
            },
        );
        batch.put_time(
            id,
            segment.base,
            row.max_timestamp,
            &TimeRow {
                offset: row.offset,
                position,
            },
        );
    }
    batch.put_segment(
        id,
        segment.base,
        &Segment {
            sealed: true,
            ..segment.clone()
        }
        .row(),
    );
    Ok(())
}

/// Makes the scanned segment the active one: its unfinished part becomes the tail.
#[expect(clippy::too_many_arguments, reason = "the end of one long recipe, called once")]
fn finish(
    state: &mut LogState,
    shared: &Arc<Shared>,
    segment: Segment,
    rows: Vec<Row>,
    image: &mut Image,
    file_valid: u64,
    synced: u64,
    id: LogId,
) -> std::io::Result<Option<Cut>> {
    let end = segment.bytes;
    let tail_at = file_valid.max(synced).min(end) / BLOCK * BLOCK;
    let mut rest = vec![0; (end - tail_at) as usize];
    image.read(tail_at, &mut rest)?;
    state.tail = Tail::new(LogPosition(tail_at));
    state.tail.push(&shared.pool, &rest);
    let position = LogPosition(tail_at);
    (state.written_to, state.synced_to, state.write_wanted) = (position, position, position);
    let end_offset = segment.end_offset;
    state.segments.push(Segment {
        start: Some(LogPosition(0)),
        ..segment
    });
    set_end(state, end_offset, LogPosition(end));
    let known = state.rows.back().map(|row| row.position);
    state.rows.extend(
        rows.into_iter()
            .filter(|row| known.is_none_or(|known| row.position > known)),
    );
    let covered = image.journal_covers(tail_at, end);
    let Some(file) = image.file.clone() else {
        return Ok(None);
    };
    if covered && image.file_len <= tail_at {
        return Ok(None);
    }
    let partial = !end.is_multiple_of(BLOCK) && image.file_len > end / BLOCK * BLOCK;
    let last_block = partial.then(|| {
        let at = end / BLOCK * BLOCK;
        let mut block = rest[(at - tail_at) as usize..].to_vec();
        block.resize(BLOCK_BYTES, 0);
        (at, block)
    });
    let from = end.div_ceil(BLOCK) * BLOCK;
    Ok(Some(Cut {
        log: id,
        file,
        last_block,
        from,
        to: image.file_len.max(from),
    }))
}
