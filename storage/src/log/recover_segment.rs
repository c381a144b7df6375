//! Recovery of one segment: which batches it holds, what its file lacks, what has to be cut off behind its end.

use super::recover::LogStart;
use super::state::{INDEX_INTERVAL_BYTES, LogState, Row};
use crate::disk::{BLOCK_BYTES, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::index::{IndexBatch, LogId, OffsetRow, TimeRow};
use crate::recovery::Image;
use crate::segments::{Segment, log_dir, segment_path};
use crate::shared::Shared;
use crate::tail::{LogPosition, Tail};
use bytes::Bytes;
use protocol::batch::{BatchHeader, HEADER_BYTES, crc_matches};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// A batch longer than this is not one.
const BATCH_BYTES_MAX: usize = 1 << 30;
const BLOCK: u64 = BLOCK_BYTES as u64;

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

/// A segment that was read to where its batches end.
pub(super) struct Scanned {
    pub(super) segment: Segment,
    rows: Vec<Row>,
    pub(super) image: Image,
    /// The file holds what was accepted up to here.
    file_valid: u64,
    /// The mark says that the file is synced up to here.
    synced: u64,
}

/// Takes the active segment from `state` and reads it from byte `at` on. What was accepted from the file is synced.
pub(super) fn scan_segment(
    shared: &Arc<Shared>,
    id: LogId,
    start: &LogStart,
    overlay: BTreeMap<u64, Bytes>,
    state: &mut LogState,
    at: u64,
    now_ms: i64,
) -> io::Result<Scanned> {
    let mut segment = state.segments.pop().expect("a log has an active segment");
    segment.bytes = at;
    let marked = start.mark.filter(|mark| mark.segment_base == segment.base);
    let synced = marked.map_or(0, |mark| mark.synced_position);
    let mut image = Image::open(&shared.disk, id, segment.base, overlay)?;
    if image.file.is_some() && synced == 0 {
        // The run before may have made the file and not got to sync its folder.
        shared.disk.sync_dir(&log_dir(id))?;
    }
    let mut scan = Scan {
        file_valid: if image.file.is_some() { at } else { 0 },
        image: &mut image,
        segment,
        at,
        rows: Vec::new(),
    };
    scan.run(state, now_ms)?;
    let Scan {
        segment,
        file_valid,
        rows,
        ..
    } = scan;
    if file_valid > synced
        && let Some(file) = &image.file
    {
        file.sync_data()?;
    }
    Ok(Scanned {
        segment,
        rows,
        image,
        file_valid,
        synced,
    })
}

impl Scan<'_> {
    /// Accepts batches until one is not as expected.
    fn run(&mut self, state: &mut LogState, now_ms: i64) -> io::Result<()> {
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
    fn compare(&mut self, accepted: &[u8], from_file: bool) -> io::Result<()> {
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
            .is_none_or(|row| self.at - row.position.0 >= INDEX_INTERVAL_BYTES || bytes >= INDEX_INTERVAL_BYTES);
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

/// Completes a segment that another one follows: its file gets what it lacks, the index its rows, `state` the next segment.
pub(super) fn seal(
    shared: &Arc<Shared>,
    id: LogId,
    scanned: Scanned,
    state: &mut LogState,
    batch: &mut IndexBatch,
) -> io::Result<()> {
    let Scanned {
        segment,
        rows,
        mut image,
        file_valid,
        ..
    } = scanned;
    if file_valid < segment.bytes {
        complete_file(shared, id, &segment, &mut image, file_valid)?;
    }
    let base = segment.base;
    for row in &rows {
        let position = row.position.0;
        batch.put_offset(
            id,
            row.offset,
            &OffsetRow {
                segment_base: base,
                position,
            },
        );
        batch.put_time(
            id,
            base,
            row.max_timestamp,
            &TimeRow {
                offset: row.offset,
                position,
            },
        );
    }
    let sealed = Segment {
        sealed: true,
        saved: true,
        start: None,
        ..segment
    };
    batch.put_segment(id, base, &sealed.row());
    let next = sealed.end_offset;
    state.segments.push(sealed);
    state.segments.push(Segment::new(next, LogPosition(0)));
    state.rows.clear();
    state.rows_saved = 0;
    Ok(())
}

/// Writes what the file of a complete segment lacks.
fn complete_file(
    shared: &Arc<Shared>,
    id: LogId,
    segment: &Segment,
    image: &mut Image,
    file_valid: u64,
) -> io::Result<()> {
    let file = match &image.file {
        Some(file) => file.clone(),
        None => {
            shared.disk.create_dir(&log_dir(id))?;
            let file = shared.disk.create(&segment_path(id, segment.base), OpenMode::Direct)?;
            shared.disk.sync_dir(&log_dir(id))?;
            file
        }
    };
    let whole = segment.bytes.div_ceil(BLOCK) * BLOCK;
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
    file.sync_data()
}

/// Makes the scanned segment the active one: its unfinished part becomes the tail.
pub(super) fn finish(
    state: &mut LogState,
    shared: &Arc<Shared>,
    id: LogId,
    scanned: &mut Scanned,
) -> io::Result<Option<Cut>> {
    let Scanned {
        segment,
        rows,
        image,
        file_valid,
        synced,
    } = scanned;
    let end = segment.bytes;
    let tail_at = (*file_valid).max(*synced).min(end) / BLOCK * BLOCK;
    let mut rest = vec![0; (end - tail_at) as usize];
    image.read(tail_at, &mut rest)?;
    state.tail = Tail::new(LogPosition(tail_at));
    state.tail.push(&shared.pool, &rest);
    let position = LogPosition(tail_at);
    (state.written_to, state.synced_to, state.write_wanted) = (position, position, position);
    let end_offset = segment.end_offset;
    state.segments.push(Segment {
        start: Some(LogPosition(0)),
        ..segment.clone()
    });
    state.set_end(end_offset, LogPosition(end));
    let known = state.rows.back().map(|row| row.position);
    state.rows.extend(
        rows.drain(..)
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
