//! The journal's files: a ring of fixed-size files that are used again and again, each time under a higher sequence.
//!
//! A group is written to one file, never across two. A file is free when everything in it is in synced segments or was
//! carried into a younger file; the checkpoint says so. When no file is free the ring grows, so that a checkpoint
//! can always make progress.

use super::format::{BlockHeader, FileHeader, Group};
use crate::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of journal files in the data directory.
pub(crate) const JOURNAL_DIR: &str = "journal";

/// Stands for the sequence of a file that is being filled with zeros.
const PREPARING: u64 = u64::MAX;

/// One file of the ring.
pub(crate) struct Slot {
    pub(crate) name: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The file's size; files of another size than the configured one leave the ring once they are free.
    pub(crate) bytes: u64,
    /// Sequence of the file's current use; `None` when it is free.
    pub(crate) sequence: Option<u64>,
}

/// The name of the ring's `n`th file.
pub(crate) fn slot_name(n: usize) -> PathBuf {
    Path::new(JOURNAL_DIR).join(format!("{n:06}.journal"))
}

/// Where the next group goes.
struct Cursor {
    slot: usize,
    header: FileHeader,
    header_written: bool,
    /// Bytes of the file in use, header included.
    used: u64,
}

/// The ring and its writer's state. `T` is whoever wants to know that its entries were written and synced.
pub(crate) struct Ring<T> {
    disk: Arc<dyn Disk>,
    file_bytes: u64,
    slots: Vec<Slot>,
    cursor: Option<Cursor>,
    next_file: u64,
    next_block: u64,
    salt_seed: u64,
    pub(crate) synced_below: u64,
    dirty: Vec<Arc<dyn DiskFile>>,
    touched: BTreeMap<u64, Vec<T>>,
}

/// What a recovered journal hands to its ring.
#[derive(Default)]
pub(crate) struct RingStart {
    pub(crate) slots: Vec<Slot>,
    /// Higher than any sequence in use.
    pub(crate) next_file: u64,
    pub(crate) next_block: u64,
}

impl<T> Ring<T> {
    pub(crate) fn new(disk: Arc<dyn Disk>, file_bytes: u64, salt_seed: u64, start: RingStart) -> Ring<T> {
        // The largest entry, a carried tail of 64 KiB and a block, fits into the smallest file.
        assert!(file_bytes.is_multiple_of(BLOCK_BYTES as u64) && file_bytes >= 128 << 10);
        Ring {
            disk,
            file_bytes,
            slots: start.slots,
            cursor: None,
            next_file: start.next_file,
            next_block: start.next_block,
            salt_seed,
            synced_below: start.next_block,
            dirty: Vec::new(),
            touched: BTreeMap::new(),
        }
    }

    /// The largest group that fits into a file.
    pub(crate) fn group_bytes_max(&self) -> usize {
        ((self.file_bytes as usize) - BLOCK_BYTES).min(4 << 20)
    }

    /// Writes a group through the page cache. On error nothing has happened: the same group may be written again, to the
    /// same place. Returns the sequence of the file it went to.
    pub(crate) fn write(&mut self, group: &mut Group) -> io::Result<u64> {
        let len = group.len() as u64;
        assert!(
            len + BLOCK_BYTES as u64 <= self.file_bytes,
            "groups are bounded by their makers"
        );
        if self.cursor.as_ref().is_none_or(|c| c.used + len > self.file_bytes) {
            self.next_slot()?;
        }
        let cursor = self.cursor.as_mut().expect("set above");
        let blocks = group.blocks();
        let first = BlockHeader {
            payload_len: 0,
            file_sequence: cursor.header.file_sequence,
            sequence: self.next_block,
            synced_below: self.synced_below,
        };
        let bytes = group.seal(0, blocks, cursor.header.salt, first);
        let file = &self.slots[cursor.slot].file;
        if cursor.header_written {
            file.write_at(&[IoSlice::new(bytes)], cursor.used)?;
        } else {
            file.write_at(&[IoSlice::new(&cursor.header.encode()), IoSlice::new(bytes)], 0)?;
            cursor.header_written = true;
        }
        cursor.used += len;
        self.next_block += blocks as u64;
        if !self.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, file)) {
            self.dirty.push(file.clone());
        }
        Ok(cursor.header.file_sequence)
    }

    fn next_slot(&mut self) -> io::Result<()> {
        let slot = match self
            .slots
            .iter()
            .position(|slot| slot.sequence.is_none() && slot.bytes == self.file_bytes)
        {
            Some(free) => free,
            None => self.add_slot()?,
        };
        let file_sequence = self.next_file;
        let oldest = self
            .slots
            .iter()
            .filter_map(|s| s.sequence)
            .min()
            .unwrap_or(file_sequence);
        let header = FileHeader {
            file_sequence,
            salt: self.salt_seed ^ file_sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            first_block: self.next_block,
            oldest_needed_file: oldest,
        };
        self.next_file += 1;
        self.slots[slot].sequence = Some(file_sequence);
        self.cursor = Some(Cursor {
            slot,
            header,
            header_written: false,
            used: BLOCK_BYTES as u64,
        });
        Ok(())
    }

    fn add_slot(&mut self) -> io::Result<usize> {
        let taken = |name: &PathBuf| self.slots.iter().any(|slot| slot.name == *name);
        let name = (0..)
            .map(slot_name)
            .find(|name| !taken(name))
            .expect("numbers do not end");
        self.disk.create_dir(Path::new(JOURNAL_DIR))?;
        // A leftover of a growth that did not finish is no part of the ring.
        self.disk.remove(&name)?;
        let file = self.disk.create(&name, OpenMode::Buffered)?;
        if let Err(error) = file.allocate(0, self.file_bytes) {
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        file.sync_data()?;
        self.disk.sync_dir(Path::new(JOURNAL_DIR))?;
        self.slots.push(Slot {
            name,
            file,
            bytes: self.file_bytes,
            sequence: None,
        });
        Ok(self.slots.len() - 1)
    }

    /// Begins a file ahead of need: when none is free and a quarter of the current one is used. It belongs to nobody until
    /// [`Ring::finish_ahead`].
    pub(crate) fn begin_ahead(&mut self, nominal_files: usize) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let used = self.cursor.as_ref().map_or(0, |cursor| cursor.used);
        if self.slots.len() >= nominal_files || self.free_files() > 0 || used < self.file_bytes / 4 {
            return Ok(None);
        }
        let slot = self.add_slot()?;
        self.slots[slot].sequence = Some(PREPARING);
        Ok(Some(self.slots[slot].file.clone()))
    }

    /// The file begun ahead is free from now on.
    pub(crate) fn finish_ahead(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.sequence == Some(PREPARING)) {
            slot.sequence = None;
        }
    }

    /// Notes that `who` has entries in the file of that sequence.
    pub(crate) fn touch(&mut self, file_sequence: u64, who: T) {
        self.touched.entry(file_sequence).or_default().push(who);
    }

    /// Takes what a sync has to cover: the files and the block sequence below which all is synced when they are.
    pub(crate) fn take_dirty(&mut self) -> (Vec<Arc<dyn DiskFile>>, u64) {
        (std::mem::take(&mut self.dirty), self.next_block)
    }

    /// The file that is being filled; files below it can be freed by a checkpoint.
    pub(crate) fn current_file(&self) -> u64 {
        self.cursor.as_ref().map_or(self.next_file, |c| c.header.file_sequence)
    }

    /// Goes on in another file with the next group.
    pub(crate) fn close_current(&mut self) {
        self.cursor = None;
    }

    /// Everybody with entries in files below `file_sequence`; a second call finds nobody.
    pub(crate) fn take_touched_below(&mut self, file_sequence: u64) -> Vec<T> {
        let rest = self.touched.split_off(&file_sequence);
        std::mem::replace(&mut self.touched, rest)
            .into_values()
            .flatten()
            .collect()
    }

    /// Frees the files below `file_sequence` and removes what the ring has grown by beyond need.
    pub(crate) fn release_below(&mut self, file_sequence: u64, nominal_files: usize) {
        for slot in &mut self.slots {
            if slot.sequence.is_some_and(|s| s < file_sequence) {
                slot.sequence = None;
            }
        }
        while self.slots.len() > nominal_files && self.free_files() > nominal_files / 2 {
            let Some(last_free) = self.slots.iter().rposition(|slot| slot.sequence.is_none()) else {
                break;
            };
            let slot = self.slots.remove(last_free);
            if let Some(cursor) = self.cursor.as_mut()
                && cursor.slot > last_free
            {
                cursor.slot -= 1;
            }
            if let Err(error) = self.disk.remove(&slot.name) {
                tracing::warn!(file = %slot.name.display(), %error, "removing a spare journal file failed; it stays unused");
            }
        }
    }

    /// Files in use.
    pub(crate) fn used_files(&self) -> usize {
        self.slots.iter().filter(|slot| slot.sequence.is_some()).count()
    }

    /// Files that can be filled without growing, up to the nominal size of the ring.
    pub(crate) fn free_files(&self) -> usize {
        self.slots.iter().filter(|slot| slot.sequence.is_none()).count()
    }

    /// Bytes of the ring's files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}
