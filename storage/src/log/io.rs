//! Carrying a log's bytes out to its segments. Runs on IO threads, for one log on one thread at a time.
//!
//! Segments are write-once: whole blocks, in order, from the first that is missing (engine rule 2). A sealed segment is
//! synced before the next one is written, so that what is synced is always a prefix.

use super::Log;
use super::state::{Condition, LogState, Writer, preallocation};
use crate::disk::{BLOCK_BYTES, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::segments::{log_dir, segment_path};
use crate::tail::{ChunkSlice, LogPosition};
use protocol::types::Offset;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of one write at most.
const WRITE_BYTES_MAX: u64 = 8 << 20;

/// The next thing to do for a log.
enum Job {
    Write(WriteJob),
    /// Sync the open segment file; everything below the position is then durable.
    Sync {
        file: Arc<dyn DiskFile>,
        upto: LogPosition,
        sealed_bytes: Option<u64>,
    },
}

struct WriteJob {
    base: Offset,
    /// Byte of the segment file.
    at: u64,
    slices: Vec<ChunkSlice>,
    /// Where the log's written part ends afterwards.
    upto: LogPosition,
    segment_bytes: u64,
}

impl Log {
    /// Does all segment writes and syncs that are asked for. Called for logs from the IO queue.
    pub(crate) fn run_io(&self) {
        loop {
            let job = {
                let mut state = self.state.lock();
                let job = if self.shared.is_dead() {
                    None
                } else {
                    self.next_job(&mut state)
                };
                if job.is_none() {
                    state.io_queued = false;
                }
                job
            };
            let done = match job {
                None => return,
                Some(Job::Write(job)) => self.write_segment(job),
                Some(Job::Sync {
                    file,
                    upto,
                    sealed_bytes,
                }) => self.sync_segment(&*file, upto, sealed_bytes),
            };
            if let Err(error) = done {
                self.refuse(&error);
                return;
            }
            self.advance();
        }
    }

    fn next_job(&self, state: &mut LogState) -> Option<Job> {
        if state.condition == Condition::Deleted {
            return None;
        }
        let segment = &state.segments[state.segment_at(state.written_to)];
        let start = segment.start.expect("unwritten bytes belong to a segment of this run");
        if let Some(writer) = &state.writer
            && writer.base != segment.base
        {
            // The segment before is complete: sync it before the first byte of the next one.
            return Some(self.sync_job(state, writer, true));
        }
        let end = if segment.sealed {
            (start + segment.bytes).block_end()
        } else {
            state.tail.end().block_start()
        };
        let upto = state.write_wanted.min(end);
        if upto > state.written_to {
            let upto = upto.min(state.written_to + WRITE_BYTES_MAX);
            return Some(Job::Write(WriteJob {
                base: segment.base,
                at: state.written_to - start,
                slices: state.tail.slices(state.written_to, upto),
                upto,
                segment_bytes: state.config.segment_bytes,
            }));
        }
        if state.synced_to == state.written_to {
            state.sync_wanted = false;
        } else if state.sync_wanted || self.shared.pool.is_tight() {
            state.sync_wanted = false;
            return state.writer.as_ref().map(|writer| self.sync_job(state, writer, false));
        }
        None
    }

    fn sync_job(&self, state: &LogState, writer: &Writer, sealed: bool) -> Job {
        let bytes = state.segments.iter().find(|s| s.base == writer.base).map(|s| s.bytes);
        Job::Sync {
            file: writer.file.clone(),
            upto: state.written_to,
            sealed_bytes: if sealed { bytes } else { None },
        }
    }

    fn write_segment(&self, job: WriteJob) -> Result<()> {
        let len: u64 = job.slices.iter().map(|slice| slice.as_ref().len() as u64).sum();
        let file = self.segment_file(job.base, job.at, job.at + len, job.segment_bytes)?;
        let bufs: Vec<IoSlice<'_>> = job.slices.iter().map(|slice| IoSlice::new(slice.as_ref())).collect();
        file.write_at(&bufs, job.at)
            .map_err(|source| self.io_error("writing", job.base, source))?;
        metrics::counter!("streamhouse_segment_bytes_total").increment(len);
        self.shared.count_unmarked(len);
        let mut state = self.state.lock();
        assert!(state.written_to < job.upto, "segments grow");
        state.written_to = job.upto;
        if matches!(state.condition, Condition::Refusing(_)) {
            state.condition = Condition::Open;
        }
        Ok(())
    }

    /// The open segment file, created and preallocated as needed for a write at `at..upto`.
    fn segment_file(&self, base: Offset, at: u64, upto: u64, segment_bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let open = {
            let state = self.state.lock();
            state
                .writer
                .as_ref()
                .filter(|w| w.base == base)
                .map(|w| (w.file.clone(), w.allocated))
        };
        let (file, allocated) = match open {
            Some(open) => open,
            None => self.open_segment(base, at)?,
        };
        let mut reserved = allocated;
        if upto > allocated {
            let free = self
                .shared
                .disk
                .free_bytes()
                .map_err(|source| self.io_error("measuring space for", base, source))?;
            reserved = preallocation(allocated, upto, segment_bytes, free);
            if reserved > upto {
                file.allocate(allocated, reserved)
                    .map_err(|source| self.io_error("allocating", base, source))?;
            }
        }
        self.state.lock().writer = Some(Writer {
            base,
            file: file.clone(),
            allocated: reserved,
        });
        Ok(file)
    }

    /// Opens or creates a segment file of which the first `at` bytes are in use.
    fn open_segment(&self, base: Offset, at: u64) -> Result<(Arc<dyn DiskFile>, u64)> {
        let (disk, path) = (&self.shared.disk, segment_path(self.id, base));
        match disk.open(&path, OpenMode::Direct) {
            Ok(file) => {
                // What a run before left behind the part in use was not accepted; it must not be found again (engine rule 11).
                let len = file.len().map_err(|source| self.io_error("measuring", base, source))?;
                if len > at {
                    file.set_len(at)
                        .map_err(|source| self.io_error("cutting", base, source))?;
                }
                if at == 0 {
                    disk.sync_dir(&log_dir(self.id))
                        .map_err(|source| self.io_error("syncing the folder of", base, source))?;
                }
                return Ok((file, at));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(self.io_error("opening", base, source)),
        }
        let dir = log_dir(self.id);
        disk.create_dir(&dir)
            .map_err(|source| self.io_error("creating the folder of", base, source))?;
        let file = disk
            .create(&path, OpenMode::Direct)
            .map_err(|source| self.io_error("creating", base, source))?;
        disk.sync_dir(&dir)
            .map_err(|source| self.io_error("syncing the folder of", base, source))?;
        Ok((file, 0))
    }

    fn sync_segment(&self, file: &dyn DiskFile, upto: LogPosition, sealed_bytes: Option<u64>) -> Result<()> {
        let started = std::time::Instant::now();
        if let Some(bytes) = sealed_bytes {
            // Gives back what was preallocated and not needed.
            let whole = bytes.div_ceil(BLOCK_BYTES as u64) * BLOCK_BYTES as u64;
            if let Err(error) = file.set_len(whole) {
                tracing::warn!(log = %self.id, %error, "cutting a sealed segment to its length failed; it keeps the space");
            }
        }
        if let Err(error) = file.sync_data() {
            self.shared
                .fatal(&format!("syncing a segment of {} failed: {error}", self.id));
            return Ok(());
        }
        metrics::histogram!("streamhouse_segment_fsync_seconds").record(started.elapsed().as_secs_f64());
        let mut state = self.state.lock();
        state.synced_to = state.synced_to.max(upto);
        if sealed_bytes.is_some() {
            state.writer = None;
        }
        state.trim_tail(&self.shared.pool, false);
        Ok(())
    }

    fn io_error(&self, doing: &str, base: Offset, source: std::io::Error) -> Error {
        Error::io(format!("{doing} the segment at offset {base} failed"), source)
            .with_log(self.id.topic_id, self.id.partition)
    }

    /// A write failed: nothing is lost, it stays in memory and is tried again; appends are refused until it succeeds.
    fn refuse(&self, error: &Error) {
        let mut state = self.state.lock();
        state.io_queued = false;
        let first = !matches!(state.condition, Condition::Refusing(_));
        if state.condition != Condition::Deleted {
            state.condition = Condition::Refusing(error.kind);
        }
        drop(state);
        if first && !self.shared.is_dead() {
            tracing::error!(%error, "a segment write failed; appends to the partition are refused until it succeeds");
            metrics::counter!("streamhouse_segment_write_errors_total").increment(1);
        }
        if first {
            self.shared.failed.lock().push(self.arc());
        }
    }

    /// Queues the log for IO again after a failure.
    pub(crate) fn retry_io(&self) {
        let mut state = self.state.lock();
        if state.condition != Condition::Deleted && !std::mem::replace(&mut state.io_queued, true) {
            drop(state);
            self.shared.io.push(self.arc());
        }
    }

    /// Asks for the segment to be synced; true when the caller has to queue the log.
    pub(super) fn want_sync(&self, state: &mut LogState) -> bool {
        if state.synced_to == state.written_to && state.write_wanted <= state.written_to {
            return false;
        }
        state.sync_wanted = true;
        !std::mem::replace(&mut state.io_queued, true)
    }

    /// The flush interval has passed for a large append that nobody waited for.
    pub(crate) fn late_sync(&self) {
        let mut state = self.state.lock();
        state.late_sync_queued = false;
        if self.want_sync(&mut state) {
            drop(state);
            self.shared.io.push(self.arc());
        }
    }

    /// Gives memory and the open file back when nothing was appended since `before_ms`. False when the log stays warm.
    pub(crate) fn cool_down(&self, before_ms: i64) -> bool {
        let mut state = self.state.lock();
        let busy = state.last_append_ms >= before_ms || state.io_queued || state.has_unsynced();
        if busy && state.condition != Condition::Deleted {
            return false;
        }
        if state.synced_to < state.tail.end().block_start() {
            state.write_wanted = state.tail.end().block_start();
            if self.want_sync(&mut state) {
                drop(state);
                self.shared.io.push(self.arc());
            }
            return false;
        }
        state.trim_tail(&self.shared.pool, true);
        state.warm = false;
        let writer = if state.synced_to == state.written_to {
            state.writer.take()
        } else {
            None
        };
        let used = state.written_to - state.active_start();
        if let Some(writer) = writer.filter(|w| w.base == state.active().base && w.allocated > used) {
            // Keeps IO threads away while the lock is not held.
            state.io_queued = true;
            drop(state);
            self.give_back(&writer, used);
        }
        true
    }

    /// Cuts preallocated space off, then lets IO threads at the log again.
    fn give_back(&self, writer: &Writer, used: u64) {
        if let Err(error) = writer.file.set_len(used) {
            tracing::warn!(log = %self.id, %error, "giving back preallocated space failed; the log keeps it");
        }
        let mut state = self.state.lock();
        state.io_queued = state.write_wanted > state.written_to || state.sync_wanted;
        if state.io_queued {
            drop(state);
            self.shared.io.push(self.arc());
        }
    }

    /// Whether segment writes of this log are still under way.
    pub(crate) fn is_io_idle(&self) -> bool {
        !self.state.lock().io_queued || self.shared.dead.load(Ordering::Acquire)
    }
}
