//! The index: what RocksDB knows about the logs, so that a start need not read them and a read need not search.
//!
//! What lives here: marks, segment rows, offset and time rows, producers, leader epochs, and the key space of the
//! metadata store. What never does: records, and anything that is not in a synced segment or the journal: rows never
//! describe bytes past the durable end (engine rule 14). Formats: `rows`. All calls block.

mod batch;
mod options;
pub(crate) mod rows;

pub(crate) use batch::IndexBatch;
pub use rows::LogId;
pub(crate) use rows::{Mark, OffsetRow, ProducerBatch, ProducerRow, SegmentRow, TimeRow};

use crate::error::{Error, ErrorKind, Result};
use batch::Deletion;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use protocol::types::Offset;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, WriteBatch, WriteOptions};
use rows::RowError;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where the number of the last checkpoint is, in [`Cf::Metadata`].
const CHECKPOINT_SEQUENCE_KEY: &[u8] = b"checkpoint_sequence";

/// A cut or a deletion of at most so many rows names each; of more it is a range, which costs later reads a little.
const POINT_DELETIONS_MAX: usize = 256;

/// How long a write waits before it tries again, when memtables have to be written out first.
const STALL_PAUSE: Duration = Duration::from_millis(1);

/// The column families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cf {
    /// The metadata store's rows, and the checkpoint sequence.
    Metadata,
    /// One mark a log.
    Marks,
    /// One row a segment.
    Segments,
    /// Sparse: where batches lie, by offset.
    OffsetIndex,
    /// Sparse: where a segment's running maximum timestamp rose.
    TimeIndex,
    /// Producer state.
    Producers,
    /// Where leader epochs start.
    Epochs,
    /// Reserved for the aborted transactions; empty.
    Aborted,
}

impl Cf {
    /// Those with rows of logs, whose keys start with a [`LogId`].
    const OF_LOGS: [Cf; 7] = [
        Cf::Marks,
        Cf::Segments,
        Cf::OffsetIndex,
        Cf::TimeIndex,
        Cf::Producers,
        Cf::Epochs,
        Cf::Aborted,
    ];

    const fn name(self) -> &'static str {
        match self {
            Cf::Metadata => "metadata",
            Cf::Marks => "marks",
            Cf::Segments => "segments",
            Cf::OffsetIndex => "offset_index",
            Cf::TimeIndex => "time_index",
            Cf::Producers => "producers",
            Cf::Epochs => "epochs",
            Cf::Aborted => "aborted",
        }
    }
}

/// An open index. Shared between threads; dropping the last reference closes it.
pub(crate) struct Index {
    /// `None` after a reopen that failed, until the next one.
    db: RwLock<Option<DB>>,
    path: PathBuf,
    memory_bytes: usize,
    /// A write found the disk full. RocksDB then refuses every later one until it is opened again.
    refuses_writes: AtomicBool,
    #[cfg(test)]
    refuse_once: AtomicBool,
}

impl Index {
    /// Opens the index in directory `path`, or makes an empty one. `memory_bytes` bounds block cache and memtables together.
    pub(crate) fn open(path: &Path, memory_bytes: usize) -> Result<Index> {
        let db = open_database(path, memory_bytes)?;
        Ok(Index {
            db: RwLock::new(Some(db)),
            path: path.to_owned(),
            memory_bytes,
            refuses_writes: AtomicBool::new(false),
            #[cfg(test)]
            refuse_once: AtomicBool::new(false),
        })
    }

    /// Makes all changes of the batch, or none. With `sync` they survive power loss when it returns, and so does
    /// everything written before; without, they survive the end of the process. After `NoSpace` reads go on, and the
    /// first write after there is space again succeeds.
    pub(crate) fn write(&self, batch: IndexBatch, sync: bool) -> Result<()> {
        if self.refuses_writes.load(Ordering::Acquire) {
            self.reopen()?;
        }
        loop {
            let written = self.write_batch(&batch, sync);
            match written {
                Ok(true) => return Ok(()),
                Ok(false) if self.has_failed_in_background()? => {
                    self.refuses_writes.store(true, Ordering::Release);
                    self.reopen()?;
                }
                // RocksDB tells nobody when its memtables have been written out.
                Ok(false) => std::thread::sleep(STALL_PAUSE),
                Err(e) => {
                    if e.kind == ErrorKind::NoSpace {
                        self.refuses_writes.store(true, Ordering::Release);
                    }
                    return Err(e);
                }
            }
        }
    }

    /// The number of the last change.
    pub(crate) fn sequence(&self) -> Result<u64> {
        Ok(self.db()?.latest_sequence_number())
    }

    /// The value of any row; for the metadata store.
    pub(crate) fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let db = self.db()?;
        db.get_cf(family(&db, cf), key).map_err(|e| self.error("reading", e))
    }

    /// All rows whose keys start with `prefix`, in key order; for the metadata store.
    pub(crate) fn rows_with_prefix(&self, cf: Cf, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        self.scan(cf, prefix, &rows::successor(prefix), |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(found)
    }

    /// The number of the last checkpoint, if there was one.
    pub(crate) fn checkpoint_sequence(&self) -> Result<Option<u64>> {
        let Some(value) = self.get(Cf::Metadata, CHECKPOINT_SEQUENCE_KEY)? else {
            return Ok(None);
        };
        rows::decode_counter(&value)
            .map(Some)
            .map_err(|e| self.corrupt(Cf::Metadata, CHECKPOINT_SEQUENCE_KEY, e))
    }

    /// Every log's mark, in key order.
    pub(crate) fn marks(&self) -> Result<Vec<(LogId, Mark)>> {
        let mut marks = Vec::new();
        self.scan(Cf::Marks, &[], &[], |key, value| {
            let (log, rest) = LogId::split_key(key)?;
            if !rest.is_empty() {
                return Err(RowError("the key of a mark is too long"));
            }
            marks.push((log, Mark::decode(value)?));
            Ok(())
        })?;
        Ok(marks)
    }

    /// One log's mark.
    pub(crate) fn mark(&self, log: LogId) -> Result<Option<Mark>> {
        let key = log.key();
        let Some(value) = self.get(Cf::Marks, &key)? else {
            return Ok(None);
        };
        Mark::decode(&value)
            .map(Some)
            .map_err(|e| self.corrupt(Cf::Marks, &key, e))
    }

    /// Every log's segments, each sorted by base offset.
    pub(crate) fn segments(&self) -> Result<HashMap<LogId, Vec<(Offset, SegmentRow)>>> {
        self.grouped(Cf::Segments, rows::decode_offset_suffix, SegmentRow::decode)
    }

    /// Every log's leader epochs with their start offsets, each sorted by epoch.
    pub(crate) fn epochs(&self) -> Result<HashMap<LogId, Vec<(i32, Offset)>>> {
        self.grouped(Cf::Epochs, rows::decode_epoch_suffix, rows::decode_epoch_start)
    }

    /// Every log's producers by id.
    pub(crate) fn producers(&self) -> Result<HashMap<LogId, Vec<(i64, ProducerRow)>>> {
        self.grouped(Cf::Producers, rows::decode_producer_suffix, ProducerRow::decode)
    }

    /// The offset row with the greatest offset at or below `offset`.
    #[cfg(test)]
    pub(crate) fn offset_floor(&self, log: LogId, offset: Offset) -> Result<Option<(Offset, OffsetRow)>> {
        if offset < Offset(0) {
            return Ok(None);
        }
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, Cf::OffsetIndex));
        iterator.seek_for_prev(log.key_with(&rows::offset_suffix(offset)));
        self.row_of(log, Cf::OffsetIndex, &iterator, |suffix, value| {
            Ok((rows::decode_offset_suffix(suffix)?, OffsetRow::decode(value)?))
        })
    }

    /// Offset rows with `from <= offset < to`, in order.
    #[cfg(test)]
    pub(crate) fn offset_rows(&self, log: LogId, from: Offset, to: Offset) -> Result<Vec<(Offset, OffsetRow)>> {
        let mut found = Vec::new();
        if from >= to {
            return Ok(found);
        }
        let first = log.key_with(&rows::offset_suffix(from));
        let end = log.key_with(&rows::offset_suffix(to));
        self.scan(Cf::OffsetIndex, &first, &end, |key, value| {
            let (_, suffix) = LogId::split_key(key)?;
            found.push((rows::decode_offset_suffix(suffix)?, OffsetRow::decode(value)?));
            Ok(())
        })?;
        Ok(found)
    }

    /// Offset rows of a segment from the last one at or below `offset` on, in order, at most `limit`.
    pub(crate) fn segment_rows(
        &self,
        log: LogId,
        segment_base: Offset,
        offset: Offset,
        limit: usize,
    ) -> Result<Vec<(Offset, u64)>> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, Cf::OffsetIndex));
        iterator.seek_for_prev(log.key_with(&rows::offset_suffix(offset.max(segment_base))));
        let mut found = Vec::new();
        while found.len() < limit {
            let row = self.row_of(log, Cf::OffsetIndex, &iterator, |suffix, value| {
                Ok((rows::decode_offset_suffix(suffix)?, OffsetRow::decode(value)?))
            })?;
            match row {
                Some((at, row)) if row.segment_base == segment_base => found.push((at, row.position)),
                // The last row of the segment before, in front of the first one of this segment.
                Some((at, _)) if at < segment_base && found.is_empty() => {}
                _ => break,
            }
            iterator.next();
        }
        Ok(found)
    }

    /// The last time row of a segment whose running maximum is below `timestamp`: the first record with at least
    /// that timestamp is in its batch's successors. `None`: look from the start of the segment.
    pub(crate) fn time_floor(
        &self,
        log: LogId,
        segment_base: Offset,
        timestamp: i64,
    ) -> Result<Option<(i64, TimeRow)>> {
        let Some(below) = timestamp.checked_sub(1) else {
            return Ok(None);
        };
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, Cf::TimeIndex));
        iterator.seek_for_prev(log.key_with(&rows::time_suffix(segment_base, below)));
        let found = self.row_of(log, Cf::TimeIndex, &iterator, |suffix, value| {
            Ok((rows::decode_time_suffix(suffix)?, TimeRow::decode(value)?))
        })?;
        Ok(found
            .filter(|((base, _), _)| *base == segment_base)
            .map(|((_, max), row)| (max, row)))
    }

    /// Removes every row of every log and the checkpoint sequence, durably, as if the index were new; the metadata
    /// store's rows stay. For rebuilding from the segments.
    #[cfg(test)]
    pub(crate) fn clear_log_rows(&self) -> Result<()> {
        let mut batch = IndexBatch::new();
        batch.deletions.push(Deletion::Range {
            from: Vec::new(),
            to: vec![u8::MAX; rows::LOG_KEY_BYTES + 17],
        });
        batch.delete(Cf::Metadata, CHECKPOINT_SEQUENCE_KEY.to_vec());
        self.write(batch, true)
    }

    fn db(&self) -> Result<MappedRwLockReadGuard<'_, DB>> {
        RwLockReadGuard::try_map(self.db.read(), Option::as_ref).map_err(|_| self.no_space())
    }

    /// Closes and opens. It needs some space itself, so that it waits until there is some; reads go on meanwhile.
    fn reopen(&self) -> Result<()> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|e| Error::io(format!("looking for space in {}", self.path.display()), e.into()))?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < self.memory_bytes as u64 {
            return Err(self.no_space());
        }
        let mut db = self.db.write();
        if !self.refuses_writes.load(Ordering::Acquire) {
            return Ok(());
        }
        close(db.take());
        match open_database(&self.path, self.memory_bytes) {
            Ok(opened) => {
                *db = Some(opened);
                self.refuses_writes.store(false, Ordering::Release);
                tracing::info!("the index {} takes writes again", self.path.display());
                Ok(())
            }
            Err(e) => {
                // Somebody took the space meanwhile.
                *db = open_read_only(&self.path, self.memory_bytes).ok();
                Err(e)
            }
        }
    }

    fn no_space(&self) -> Error {
        Error::new(
            ErrorKind::NoSpace,
            format!("the index {} waits for space on its disk", self.path.display()),
        )
    }

    /// The next write finds the disk full.
    #[cfg(test)]
    pub(crate) fn refuse_writes_once(&self) {
        self.refuse_once.store(true, Ordering::Release);
    }

    /// `false` when memtables have to be written out first. RocksDB would wait for that itself, and on a full disk
    /// it would wait without end.
    fn write_batch(&self, batch: &IndexBatch, sync: bool) -> Result<bool> {
        #[cfg(test)]
        if self.refuse_once.swap(false, Ordering::AcqRel) {
            return Err(self.no_space());
        }
        let db = self.db()?;
        let mut out = WriteBatch::default();
        for deletion in &batch.deletions {
            self.add_deletion(&db, &mut out, deletion)?;
        }
        for put in &batch.puts {
            out.put_cf(family(&db, put.cf), &put.key, &put.value);
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        options.set_no_slowdown(true);
        match db.write_opt(out, &options) {
            Err(e) if e.kind() == rocksdb::ErrorKind::Incomplete => Ok(false),
            written => written.map(|()| true).map_err(|e| self.error("writing", e)),
        }
    }

    fn has_failed_in_background(&self) -> Result<bool> {
        let db = self.db()?;
        let errors = db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS);
        Ok(errors.map_err(|e| self.error("looking after", e))?.unwrap_or(0) > 0)
    }

    fn add_deletion(&self, db: &DB, out: &mut WriteBatch, deletion: &Deletion) -> Result<()> {
        match deletion {
            Deletion::Key { cf, key } => out.delete_cf(family(db, *cf), key),
            Deletion::Range { from, to } => {
                for cf in Cf::OF_LOGS {
                    self.add_range(db, out, cf, from, to)?;
                }
            }
            Deletion::From { log, offset } => {
                let first = log.key_with(&rows::offset_suffix(*offset));
                for cf in [Cf::Segments, Cf::OffsetIndex] {
                    self.add_range(db, out, cf, &first, &log.key_end())?;
                }
                self.add_time_rows_from(db, out, *log, *offset)?;
            }
            Deletion::Below { log, offset } => {
                // A time row's key starts with its segment's base offset, so that one bound serves all three.
                let end = log.key_with(&rows::offset_suffix(*offset));
                for cf in [Cf::Segments, Cf::OffsetIndex, Cf::TimeIndex] {
                    self.add_range(db, out, cf, &log.key(), &end)?;
                }
            }
        }
        Ok(())
    }

    /// Removes keys in `from..to`; `to` empty: to the end. Mostly there are none or few: recovery asks this of every
    /// log that it scanned, and a range in the memtable slows all reads down until it is compacted away.
    fn add_range(&self, db: &DB, out: &mut WriteBatch, cf: Cf, from: &[u8], to: &[u8]) -> Result<()> {
        let family = family(db, cf);
        let mut keys = Vec::new();
        let mut iterator = db.raw_iterator_cf(family);
        iterator.seek(from);
        let mut many = None;
        while let Some(key) = iterator.key() {
            if !to.is_empty() && key >= to {
                break;
            }
            if keys.len() == POINT_DELETIONS_MAX {
                many = Some(key.to_vec());
                break;
            }
            keys.push(key.to_vec());
            iterator.next();
        }
        iterator.status().map_err(|e| self.error("reading", e))?;
        match many {
            None => keys.iter().for_each(|key| out.delete_cf(family, key)),
            Some(_) if !to.is_empty() => out.delete_range_cf(family, from, to),
            Some(_) => {
                // A topic id of 0xff bytes has no key after its last; there is always a last one before the end.
                iterator.seek_to_last();
                if let Some(last) = iterator.key() {
                    out.delete_range_cf(family, from, last);
                    out.delete_cf(family, last);
                }
                iterator.status().map_err(|e| self.error("reading", e))?;
            }
        }
        Ok(())
    }

    /// Within a log time rows are in the order of their offsets too: by segment, and within one the running maximum
    /// rises with the offset. So the rows to remove are the log's last ones.
    fn add_time_rows_from(&self, db: &DB, out: &mut WriteBatch, log: LogId, offset: Offset) -> Result<()> {
        let family = family(db, Cf::TimeIndex);
        let mut iterator = db.raw_iterator_cf(family);
        iterator.seek_for_prev(log.key_with(&[u8::MAX; 16]));
        while let Some((key, row_offset)) = self.row_of(log, Cf::TimeIndex, &iterator, |suffix, value| {
            rows::decode_time_suffix(suffix)?;
            Ok((log.key_with(suffix), TimeRow::decode(value)?.offset))
        })? {
            if row_offset < offset {
                break;
            }
            out.delete_cf(family, key);
            iterator.prev();
        }
        Ok(())
    }

    /// Calls `row` with every key in `from..to` (`to` empty: to the end) and its value.
    fn scan(
        &self,
        cf: Cf,
        from: &[u8],
        to: &[u8],
        mut row: impl FnMut(&[u8], &[u8]) -> std::result::Result<(), RowError>,
    ) -> Result<()> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, cf));
        iterator.seek(from);
        while let Some((key, value)) = iterator.item() {
            if !to.is_empty() && key >= to {
                break;
            }
            row(key, value).map_err(|e| self.corrupt(cf, key, e))?;
            iterator.next();
        }
        iterator.status().map_err(|e| self.error("reading", e))
    }

    /// All rows of a column family, by log.
    fn grouped<K, V>(
        &self,
        cf: Cf,
        decode_suffix: impl Fn(&[u8]) -> std::result::Result<K, RowError>,
        decode_value: impl Fn(&[u8]) -> std::result::Result<V, RowError>,
    ) -> Result<HashMap<LogId, Vec<(K, V)>>> {
        let mut logs: HashMap<LogId, Vec<(K, V)>> = HashMap::new();
        self.scan(cf, &[], &[], |key, value| {
            let (log, suffix) = LogId::split_key(key)?;
            logs.entry(log)
                .or_default()
                .push((decode_suffix(suffix)?, decode_value(value)?));
            Ok(())
        })?;
        Ok(logs)
    }

    /// What the iterator stands on, if that is a row of `log`.
    fn row_of<T>(
        &self,
        log: LogId,
        cf: Cf,
        iterator: &DBRawIterator<'_>,
        decode: impl Fn(&[u8], &[u8]) -> std::result::Result<T, RowError>,
    ) -> Result<Option<T>> {
        let Some((key, value)) = iterator.item() else {
            return iterator.status().map(|()| None).map_err(|e| self.error("reading", e));
        };
        match key.strip_prefix(log.key().as_slice()) {
            Some(suffix) => decode(suffix, value).map(Some).map_err(|e| self.corrupt(cf, key, e)),
            None => Ok(None),
        }
    }

    fn error(&self, doing: &str, error: rocksdb::Error) -> Error {
        rocksdb_error(&self.path, &format!("{doing} the index"), error)
    }

    fn corrupt(&self, cf: Cf, key: &[u8], error: RowError) -> Error {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let place = format!("row {key} of {} in the index {}", cf.name(), self.path.display());
        Error {
            source: Some(Box::new(error)),
            ..Error::new(ErrorKind::Corrupt, format!("{place} cannot be read"))
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        close(self.db.get_mut().take());
    }
}

fn open_database(path: &Path, memory_bytes: usize) -> Result<DB> {
    DB::open_cf_descriptors(&options::database(memory_bytes), path, families(memory_bytes))
        .map_err(|e| rocksdb_error(path, "opening the index", e))
}

/// Needs no space: for a full disk.
fn open_read_only(path: &Path, memory_bytes: usize) -> Result<DB> {
    let options = options::database(memory_bytes);
    DB::open_cf_descriptors_read_only(&options, path, families(memory_bytes), false)
        .map_err(|e| rocksdb_error(path, "opening the index for reading", e))
}

fn close(db: Option<DB>) {
    if let Some(db) = db {
        // A compaction would be finished first otherwise; it starts again at the next open.
        db.cancel_all_background_work(true);
    }
}

fn families(memory_bytes: usize) -> Vec<ColumnFamilyDescriptor> {
    let names: Vec<&str> = std::iter::once(Cf::Metadata).chain(Cf::OF_LOGS).map(Cf::name).collect();
    options::column_families(&names, memory_bytes)
}

fn family(db: &DB, cf: Cf) -> &ColumnFamily {
    db.cf_handle(cf.name()).expect("every column family is opened")
}

/// RocksDB gives a kind and a text; of the operating system's error only the text is left.
fn rocksdb_error(path: &Path, doing: &str, error: rocksdb::Error) -> Error {
    let text = error.to_string();
    let kind = if text.contains("No space left") || text.contains("Disk quota exceeded") {
        ErrorKind::NoSpace
    } else if error.kind() == rocksdb::ErrorKind::Corruption {
        ErrorKind::Corrupt
    } else {
        ErrorKind::Io
    };
    Error {
        source: Some(Box::new(error)),
        ..Error::new(kind, format!("{doing} {}", path.display()))
    }
}

#[cfg(test)]
mod tests;
