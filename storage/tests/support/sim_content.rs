//! What a simulated file holds: sparse bytes, the changes that were not synced, and what of them a power loss leaves.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const PAGE_BYTES: u64 = 4096;

/// A disk writes a sector whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// Bytes of a file; pages that were never written are not stored.
#[derive(Clone, Default, Debug)]
pub struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES as usize]>>,
}

impl Content {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads until `buf` is full or the file ends.
    pub fn read(&self, buf: &mut [u8], at: u64) -> usize {
        let bytes = self.len.saturating_sub(at).min(buf.len() as u64) as usize;
        for_each_page(at, at + bytes as u64, |page, in_page, in_range| {
            match self.pages.get(&page) {
                Some(content) => buf[in_range].copy_from_slice(&content[in_page]),
                None => buf[in_range].fill(0),
            };
        });
        bytes
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        let end = at + data.len() as u64;
        for_each_page(at, end, |page, in_page, in_range| {
            let content = self
                .pages
                .entry(page)
                .or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
            Arc::make_mut(content)[in_page].copy_from_slice(&data[in_range]);
        });
        if !data.is_empty() {
            self.len = self.len.max(end);
        }
    }

    /// Makes a range read as zero; the file grows to its end.
    pub fn zero(&mut self, from: u64, to: u64) {
        let whole = from.div_ceil(PAGE_BYTES)..(to / PAGE_BYTES).max(from.div_ceil(PAGE_BYTES));
        let gone: Vec<u64> = self.pages.range(whole).map(|(page, _)| *page).collect();
        gone.iter().for_each(|page| {
            self.pages.remove(page);
        });
        for_each_edge(from, to, |page, in_page| {
            if let Some(content) = self.pages.get_mut(&page) {
                Arc::make_mut(content)[in_page].fill(0);
            }
        });
        self.len = self.len.max(to);
    }

    pub fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let old = self.len;
            self.zero(len, old);
        }
        self.len = len;
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { at, data } => self.write(*at, data),
            Change::Zero { from, to } => self.zero(*from, *to),
            Change::Grow { len } => self.grow(*len),
            Change::SetLen { len } => self.set_len(*len),
        }
    }

    /// Some of the change's sectors.
    fn apply_torn(&mut self, change: &Change, random: &mut StdRng) {
        let (from, to) = match change {
            Change::Write { at, data } => (*at, at + data.len() as u64),
            Change::Zero { from, to } => (*from, *to),
            Change::Grow { .. } | Change::SetLen { .. } => return self.apply(change),
        };
        let mut at = from;
        while at < to {
            let end = (at - at % SECTOR_BYTES + SECTOR_BYTES).min(to);
            if random.random() {
                match change {
                    Change::Write { data, .. } => self.write(at, &data[(at - from) as usize..(end - from) as usize]),
                    _ => self.zero(at, end),
                }
            }
            at = end;
        }
        // The length is written apart from the data: there may be zeros up to where the data would have ended.
        if random.random() {
            self.grow(to);
        }
    }
}

/// A change to a file.
#[derive(Clone, Debug)]
pub enum Change {
    Write { at: u64, data: Arc<[u8]> },
    Zero { from: u64, to: u64 },
    Grow { len: u64 },
    SetLen { len: u64 },
}

/// A file: what reads see, what power loss leaves for certain, and the changes in between.
#[derive(Clone, Default, Debug)]
pub struct FileContent {
    pub current: Content,
    pub durable: Content,
    unsynced: Vec<Change>,
    /// Changes since the file was made, synced or not.
    changes: u64,
    /// Write-back failed: the page cache shows what the disk will never have.
    lost: bool,
}

impl FileContent {
    pub fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.unsynced.push(change);
        self.changes += 1;
    }

    /// What a sync that begins now makes durable.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes the first `changes` durable: those that were there when the sync began.
    pub fn sync(&mut self, changes: u64) {
        let synced = self.changes - self.unsynced.len() as u64;
        for change in self.unsynced.drain(..changes.saturating_sub(synced) as usize) {
            self.durable.apply(&change);
        }
    }

    /// What Linux does when write-back fails: some sectors came to the disk, the rest never will, and reads show them all.
    pub fn fail_sync(&mut self, random: &mut StdRng) {
        self.durable = self.after_power_loss(None, random);
        self.unsynced.clear();
        self.lost = true;
    }

    /// What a direct read sees: the kernel writes dirty pages back first and passes the clean ones by.
    pub fn direct(&self) -> Cow<'_, Content> {
        if !self.lost {
            return Cow::Borrowed(&self.current);
        }
        let mut content = self.durable.clone();
        self.unsynced.iter().for_each(|change| content.apply(change));
        Cow::Owned(content)
    }

    /// Both contents are changed, as if it had always been so: for damage to the medium.
    pub fn damage(&mut self, at: u64, data: &[u8]) {
        self.current.write(at, data);
        self.durable.write(at, data);
    }

    /// What was synced, and a random part of what was not, in any order, torn in sectors. `in_flight` was being
    /// written when the power went.
    pub fn after_power_loss(&self, in_flight: Option<&Change>, random: &mut StdRng) -> Content {
        let mut content = self.durable.clone();
        let mut changes: Vec<&Change> = self.unsynced.iter().chain(in_flight).collect();
        match random.random_range(0..6) {
            // Nothing of it, all of it, the oldest of it: what a disk with an orderly cache does.
            0 => return content,
            1 => {}
            2 => {
                changes.truncate(random.random_range(0..=changes.len()));
                if let Some(last) = changes.pop() {
                    changes.iter().for_each(|change| content.apply(change));
                    content.apply_torn(last, random);
                }
                return content;
            }
            _ => {
                changes.shuffle(random);
                let (kept, torn) = (random.random_range(0.0..1.0), random.random_range(0.0..1.0));
                for change in changes {
                    match random.random_bool(kept) {
                        true => content.apply(change),
                        false if random.random_bool(torn) => content.apply_torn(change, random),
                        false => {}
                    }
                }
                return content;
            }
        }
        changes.iter().for_each(|change| content.apply(change));
        content
    }

    /// Kill −9 in the middle of a write: the kernel keeps what was written, and may have come some way with the last.
    pub fn finish_in_flight(&mut self, in_flight: &Change, random: &mut StdRng) {
        let part = match in_flight {
            Change::Write { at, data } => {
                let pages = random.random_range(0..=data.len() as u64 / PAGE_BYTES + 1);
                let end = ((at / PAGE_BYTES + pages) * PAGE_BYTES).clamp(*at, at + data.len() as u64);
                Change::Write {
                    at: *at,
                    data: data[..(end - at) as usize].into(),
                }
            }
            whole if random.random() => whole.clone(),
            _ => return,
        };
        self.change(part);
    }

    /// A part of a write that failed may be there.
    pub fn change_in_part(&mut self, at: u64, data: &[u8], random: &mut StdRng) {
        let sectors = random.random_range(0..data.len() as u64 / SECTOR_BYTES + 1);
        let bytes = (sectors * SECTOR_BYTES) as usize;
        self.change(Change::Write {
            at,
            data: data[..bytes].into(),
        });
    }

    /// A file whose content is all durable: after a reboot.
    pub fn rebooted(content: Content) -> FileContent {
        FileContent {
            current: content.clone(),
            durable: content,
            unsynced: Vec::new(),
            changes: 0,
            lost: false,
        }
    }
}

/// Pages of a file for which the disk has given space, by start and end.
#[derive(Clone, Default, Debug)]
pub struct Reserved(BTreeMap<u64, u64>);

impl Reserved {
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Bytes of `from..to`, widened to pages, that have no space yet.
    pub fn missing(&self, from: u64, to: u64) -> u64 {
        let (from, to) = (from - from % PAGE_BYTES, to.next_multiple_of(PAGE_BYTES));
        let had: u64 = self
            .0
            .range(..to)
            .rev()
            .take_while(|(_, end)| **end > from)
            .map(|(start, end)| (*end).min(to) - (*start).max(from))
            .sum();
        to - from - had
    }

    pub fn add(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (mut from, mut to) = (from - from % PAGE_BYTES, to.next_multiple_of(PAGE_BYTES));
        while let Some((&start, &end)) = self.0.range(..=to).next_back().filter(|(_, end)| **end >= from) {
            self.0.remove(&start);
            from = from.min(start);
            to = to.max(end);
        }
        self.0.insert(from, to);
    }

    /// Gives back what is past the file's end.
    pub fn cut(&mut self, len: u64) {
        let len = len.next_multiple_of(PAGE_BYTES);
        self.0.split_off(&len);
        if let Some(mut last) = self.0.last_entry() {
            let end = (*last.get()).min(len);
            last.insert(end);
        }
    }
}

/// Calls with each page of `from..to`: its number, the part of the page, the part of the range.
fn for_each_page(from: u64, to: u64, mut page: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>)) {
    let mut at = from;
    while at < to {
        let start = at - at % PAGE_BYTES;
        let end = (start + PAGE_BYTES).min(to);
        page(
            at / PAGE_BYTES,
            (at - start) as usize..(end - start) as usize,
            (at - from) as usize..(end - from) as usize,
        );
        at = end;
    }
}

/// Calls with the at most two pages of which `from..to` covers only a part.
fn for_each_edge(from: u64, to: u64, mut page: impl FnMut(u64, std::ops::Range<usize>)) {
    if from >= to {
        return;
    }
    let first_end = (from - from % PAGE_BYTES + PAGE_BYTES).min(to);
    for_each_page(from, first_end, |number, in_page, _| page(number, in_page));
    let last_start = to - to % PAGE_BYTES;
    if last_start >= first_end {
        for_each_page(last_start, to, |number, in_page, _| page(number, in_page));
    }
}
