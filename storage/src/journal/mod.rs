//! The journal: one stream of small appends of all logs, group-committed.
//!
//! Appends queue entries; a writer thread or the syncer writes what has queued, in one write; the syncer makes it durable with
//! one fdatasync for everybody who waits. acks=1 entries are written at once, others when the running sync has ended:
//! a batch is what queued during the last sync (engine rule 19).
//! Entry sequences are given in queue order. `written` and `synced` are the highest sequence of which that holds.

mod format;
mod recover;
mod ring;

pub(crate) use format::{ENTRY_HEADER_BYTES, EntryHeader, EntryKind};
pub(crate) use recover::{Recovered, RecoveredEntry, recover};
pub(crate) use ring::{JOURNAL_DIR, Ring};

use crate::api_types::Acks;
use crate::disk::DiskFile;
use crate::index::LogId;
use format::{BLOCK_HEADER_BYTES, Group};
use parking_lot::{Condvar, Mutex};
use protocol::types::Offset;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One entry to append; the journal adds its sequence.
pub(crate) struct NewEntry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) log: LogId,
    pub(crate) segment_base: Offset,
    pub(crate) position: u64,
    pub(crate) end_offset: Offset,
    pub(crate) pieces: &'a [&'a [u8]],
}

struct Queue<T> {
    groups: VecDeque<(Group, Vec<T>)>,
    spare: Vec<Group>,
    /// Grows with each group, so that a log is listed once in each.
    group_id: u64,
    next_sequence: u64,
    wants_write: bool,
    wants_sync: bool,
    /// When the oldest unsynced entry that nobody asks for is synced all the same.
    sync_due: Option<Instant>,
    stopping: bool,
}

/// Who has entries in the journal: a handle of a log.
pub(crate) trait JournalClient: Clone {
    /// Notes that entries went to the file of that sequence; true when it is the first time for this file.
    fn enter_file(&self, file: u64) -> bool;
}

/// The journal of one data directory. `T` is told when its entries were written and synced: a handle of a log.
pub(crate) struct Journal<T> {
    queue: Mutex<Queue<T>>,
    /// Who writes holds it. Taken before `queue`, never while holding it.
    ring: Mutex<Writing<T>>,
    /// Held during a sync: one sync at a time, and nobody overtakes it (engine rule 5).
    syncing: Mutex<()>,
    writer_wakes: Condvar,
    syncer_wakes: Condvar,
    written: AtomicU64,
    synced: AtomicU64,
    queued_bytes: AtomicUsize,
    group_bytes_max: usize,
    flush_interval: Duration,
}

struct Writing<T> {
    ring: Ring<T>,
    unsynced: Vec<T>,
}

/// What the sync thread is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncerTask {
    /// Write what has queued and sync.
    Sync,
    /// The engine stops.
    Stop,
}

impl<T: JournalClient> Journal<T> {
    pub(crate) fn new(ring: Ring<T>, next_sequence: u64, flush_interval: Duration) -> Journal<T> {
        Journal {
            group_bytes_max: ring.group_bytes_max(),
            queue: Mutex::new(Queue {
                groups: VecDeque::new(),
                spare: Vec::new(),
                group_id: 1,
                next_sequence,
                wants_write: false,
                wants_sync: false,
                sync_due: None,
                stopping: false,
            }),
            ring: Mutex::new(Writing {
                ring,
                unsynced: Vec::new(),
            }),
            syncing: Mutex::new(()),
            writer_wakes: Condvar::new(),
            syncer_wakes: Condvar::new(),
            written: AtomicU64::new(next_sequence - 1),
            synced: AtomicU64::new(next_sequence - 1),
            queued_bytes: AtomicUsize::new(0),
            flush_interval,
        }
    }

    /// Queues an entry and returns its sequence. `last_group` is the caller's memory of the group it was last listed in;
    /// `who` is cloned once a group. Entries of one log must be appended in its order, that is, under its lock.
    pub(crate) fn append(&self, entry: &NewEntry<'_>, last_group: &mut u64, who: &dyn Fn() -> T) -> u64 {
        let payload_len: usize = entry.pieces.iter().map(|piece| piece.len()).sum();
        let mut queue = self.queue.lock();
        let sequence = queue.next_sequence;
        queue.next_sequence += 1;
        let blocks = (payload_len + ENTRY_HEADER_BYTES).div_ceil(crate::disk::BLOCK_BYTES - BLOCK_HEADER_BYTES) + 1;
        let bytes = blocks * crate::disk::BLOCK_BYTES;
        if queue
            .groups
            .back()
            .is_none_or(|(group, _)| group.len() + bytes > self.group_bytes_max)
        {
            let group = queue.spare.pop().unwrap_or_else(Group::new);
            queue.groups.push_back((group, Vec::new()));
            queue.group_id += 1;
        }
        let group_id = queue.group_id;
        let (group, touched) = queue.groups.back_mut().expect("pushed above");
        let before = group.len();
        group.push(
            &EntryHeader {
                kind: entry.kind,
                payload_len: payload_len as u32,
                sequence,
                log: entry.log,
                segment_base: entry.segment_base,
                position: entry.position,
                end_offset: entry.end_offset,
            },
            entry.pieces,
        );
        let grown = group.len() - before;
        if *last_group != group_id {
            *last_group = group_id;
            touched.push(who());
        }
        self.queued_bytes.fetch_add(grown, Ordering::Relaxed);
        sequence
    }

    /// Asks for what was appended to be written (and synced) as `acks` demands. Call without the log's lock.
    pub(crate) fn request(&self, acks: Acks) {
        let mut queue = self.queue.lock();
        match acks {
            Acks::Durable => {
                if !std::mem::replace(&mut queue.wants_sync, true) {
                    self.syncer_wakes.notify_one();
                }
            }
            Acks::Written => {
                if !std::mem::replace(&mut queue.wants_write, true) {
                    self.writer_wakes.notify_one();
                }
                self.schedule_sync(&mut queue);
            }
            Acks::None => self.schedule_sync(&mut queue),
        }
    }

    fn schedule_sync(&self, queue: &mut Queue<T>) {
        if queue.sync_due.is_none() {
            queue.sync_due = Some(Instant::now() + self.flush_interval);
            self.syncer_wakes.notify_one();
        }
    }

    /// Blocks the writer thread until there is something to write; false when the engine stops.
    pub(crate) fn wait_for_write(&self) -> bool {
        let mut queue = self.queue.lock();
        while !queue.wants_write && !queue.stopping {
            self.writer_wakes.wait(&mut queue);
        }
        queue.wants_write = false;
        !queue.stopping
    }

    /// Blocks the sync thread until a sync is asked for or due.
    pub(crate) fn wait_for_sync(&self) -> SyncerTask {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopping {
                return SyncerTask::Stop;
            }
            let due = queue.sync_due.is_some_and(|due| due <= Instant::now());
            if queue.wants_sync || due {
                queue.wants_sync = false;
                queue.sync_due = None;
                return SyncerTask::Sync;
            }
            match queue.sync_due {
                Some(due) => {
                    self.syncer_wakes.wait_until(&mut queue, due);
                }
                None => self.syncer_wakes.wait(&mut queue),
            }
        }
    }

    /// Writes everything queued. Returns who had entries in it; on error the unwritten entries stay queued.
    pub(crate) fn write_queued(&self) -> io::Result<Vec<T>> {
        let mut writing = self.ring.lock();
        let mut told = Vec::new();
        loop {
            let Some((mut group, touched)) = self.queue.lock().groups.pop_front() else {
                return Ok(told);
            };
            if group.is_empty() {
                continue;
            }
            let started = Instant::now();
            let file = match writing.ring.write(&mut group) {
                Ok(file) => file,
                Err(error) => {
                    self.queue.lock().groups.push_front((group, touched));
                    return Err(error);
                }
            };
            metrics::histogram!("streamhouse_journal_write_seconds").record(started.elapsed().as_secs_f64());
            metrics::counter!("streamhouse_journal_bytes_total").increment(group.len() as u64);
            for who in touched.iter().filter(|who| who.enter_file(file)) {
                writing.ring.touch(file, who.clone());
            }
            let (_, last) = group.entries.expect("a group that is not empty has entries");
            self.written.store(last, Ordering::Release);
            self.queued_bytes.fetch_sub(group.len(), Ordering::Relaxed);
            group.clear();
            let mut queue = self.queue.lock();
            if queue.spare.len() < 2 {
                queue.spare.push(group);
            }
            drop(queue);
            writing.unsynced.extend(touched.iter().cloned());
            told.extend(touched);
        }
    }

    /// Syncs everything written so far. Returns who had entries in it. An error is final for the process (engine rule 4).
    pub(crate) fn sync_written(&self) -> io::Result<Vec<T>> {
        let _one_at_a_time = self.syncing.lock();
        let (dirty, block, told, upto): (Vec<Arc<dyn DiskFile>>, u64, Vec<T>, u64) = {
            let mut writing = self.ring.lock();
            let (dirty, block) = writing.ring.take_dirty();
            (
                dirty,
                block,
                std::mem::take(&mut writing.unsynced),
                self.written.load(Ordering::Acquire),
            )
        };
        if dirty.is_empty() {
            self.synced.fetch_max(upto, Ordering::AcqRel);
            return Ok(told);
        }
        let started = Instant::now();
        for file in &dirty {
            file.sync_data()?;
        }
        metrics::histogram!("streamhouse_journal_fsync_seconds").record(started.elapsed().as_secs_f64());
        self.ring.lock().ring.synced_below = block;
        self.synced.fetch_max(upto, Ordering::AcqRel);
        Ok(told)
    }

    /// All entries up to this sequence (inclusive) are in the page cache: they survive kill −9.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// All entries up to this sequence (inclusive) are on the disk.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Bytes queued and not yet written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Makes the next file ready before it is needed, filled with zeros: blocks that were written before cost fdatasync no metadata.
    pub(crate) fn prepare_ahead(&self, nominal_files: usize) -> io::Result<()> {
        const PIECE_BYTES: usize = 1 << 20;
        let Some(file) = self.ring.lock().ring.begin_ahead(nominal_files)? else {
            return Ok(());
        };
        let file_bytes = self.ring.lock().ring.file_bytes();
        let zeros = vec![0; PIECE_BYTES];
        let mut at = 0;
        let mut filled = Ok(());
        while at < file_bytes && filled.is_ok() {
            let len = (file_bytes - at).min(PIECE_BYTES as u64) as usize;
            filled = file.write_at(&[io::IoSlice::new(&zeros[..len])], at);
            at += len as u64;
        }
        let synced = filled.and_then(|()| file.sync_data());
        self.ring.lock().ring.finish_ahead();
        synced
    }

    /// Files in use, and the bytes of one.
    pub(crate) fn usage(&self) -> (usize, u64) {
        let writing = self.ring.lock();
        (writing.ring.used_files(), writing.ring.file_bytes())
    }

    /// Freezes a position for a checkpoint: the file being filled. Entries queued from now on go to it or to younger ones.
    /// With `close`, what is in it can be freed as well: later entries go to another file.
    pub(crate) fn freeze(&self, close: bool) -> (u64, Vec<T>) {
        let mut writing = self.ring.lock();
        if close {
            writing.ring.close_current();
        }
        let file = writing.ring.current_file();
        let touched = writing.ring.take_touched_below(file);
        (file, touched)
    }

    /// Puts logs back that a failed checkpoint took.
    pub(crate) fn unfreeze(&self, below: u64, touched: Vec<T>) {
        let mut writing = self.ring.lock();
        for who in touched {
            writing.ring.touch(below.saturating_sub(1), who);
        }
    }

    /// Notes at recovery that `who` has entries in a file in use.
    pub(crate) fn touch_recovered(&self, file: u64, who: &T) {
        if who.enter_file(file) {
            self.ring.lock().ring.touch(file, who.clone());
        }
    }

    /// Makes sure that the next checkpoint visits `who`, whatever it has in the journal.
    pub(crate) fn touch_for_checkpoint(&self, who: &T) {
        self.ring.lock().ring.touch(0, who.clone());
    }

    /// Frees the files below a frozen position, all entries of which are in synced segments or carried forward.
    pub(crate) fn release_below(&self, file: u64, nominal_files: usize) {
        self.ring.lock().ring.release_below(file, nominal_files);
    }

    /// Lets go of everybody: logs hold the journal, and the journal must not hold them for ever.
    pub(crate) fn forget_clients(&self) {
        let mut writing = self.ring.lock();
        writing.unsynced.clear();
        writing.ring.take_touched_below(u64::MAX);
        self.queue.lock().groups.clear();
    }

    /// Wakes the threads to end.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.writer_wakes.notify_all();
        self.syncer_wakes.notify_all();
    }
}
