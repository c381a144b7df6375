//! Reads the journal back after a stop or a crash: which entries are there, where the journal ends, what was cut.
//!
//! Files are read in the order of their sequences, blocks in order, and nothing is searched for (engine rule 8). The first
//! block that is not as expected ends the journal. If a later block says that this one had been synced, it is
//! damage and not a torn write: recovery refuses (engine rule 9).

use super::format::{BlockHeader, ENTRY_HEADER_BYTES, EntryHeader, FileHeader};
use super::ring::{JOURNAL_DIR, RingStart, Slot};
use crate::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

/// An entry as found, with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct RecoveredEntry {
    pub(crate) header: EntryHeader,
    pub(crate) payload: Bytes,
    /// Sequence of the file that holds it.
    pub(crate) file: u64,
}

/// What the journal holds.
pub(crate) struct Recovered {
    /// In the order they were written.
    pub(crate) entries: Vec<RecoveredEntry>,
    pub(crate) ring: RingStart,
    /// Higher than any entry's sequence.
    pub(crate) next_sequence: u64,
    /// The journal says that a younger checkpoint was made than the index knows of: marks are too old to be trusted as complete.
    pub(crate) index_is_stale: bool,
    /// Files with entries; what was read may exist in the page cache alone (engine rule 12).
    pub(crate) unsynced: Vec<Arc<dyn DiskFile>>,
}

struct Live {
    slot: usize,
    header: FileHeader,
}

/// Reads all journal files. `checkpoint_sequence` is the index's: files below it are free whatever they hold.
pub(crate) fn recover(disk: &Arc<dyn Disk>, checkpoint_sequence: u64) -> Result<Recovered> {
    let io = |what: &str, name: &Path| {
        let message = format!("{what} journal file {} failed", name.display());
        move |source| Error::io(message, source)
    };
    let dir = Path::new(JOURNAL_DIR);
    let mut names = disk.list(dir).map_err(io("listing", dir))?;
    names.retain(|name| name.ends_with(".journal"));
    names.sort();
    let mut slots = Vec::new();
    let mut live: Vec<Live> = Vec::new();
    let mut next_file = checkpoint_sequence.max(1);
    for name in names {
        let name = dir.join(name);
        let mut block = vec![0; BLOCK_BYTES];
        let direct = disk.open(&name, OpenMode::Direct).map_err(io("opening", &name))?;
        direct.read_at(&mut block, 0).map_err(io("reading", &name))?;
        if let Some(header) = FileHeader::decode(&block) {
            next_file = next_file.max(header.file_sequence + 1);
            live.push(Live {
                slot: slots.len(),
                header,
            });
        }
        let file = disk.open(&name, OpenMode::Buffered).map_err(io("opening", &name))?;
        let bytes = file.len().map_err(io("measuring", &name))?;
        slots.push(Slot {
            name,
            file,
            bytes,
            sequence: None,
        });
    }
    let oldest_needed = live.iter().map(|f| f.header.oldest_needed_file).max().unwrap_or(0);
    let index_is_stale = oldest_needed > checkpoint_sequence.max(1);
    let floor = oldest_needed.max(checkpoint_sequence);
    live.retain(|f| f.header.file_sequence >= floor);
    live.sort_by_key(|f| f.header.file_sequence);

    let mut entries: Vec<RecoveredEntry> = Vec::new();
    let mut unsynced = Vec::new();
    let mut expected = live.first().map_or(0, |f| f.header.first_block);
    let mut kept = 0;
    for (i, file) in live.iter().enumerate() {
        if file.header.first_block != expected {
            // Blocks are missing between the file before and this one.
            refuse_if_synced(disk, &slots, &live[i..], expected, None)?;
            break;
        }
        kept = i + 1;
        let slot = &slots[file.slot];
        let bytes = read_file(disk, &slot.name)?;
        let (payload, blocks) = read_blocks(&file.header, &bytes);
        expected += blocks;
        parse_entries(&payload, file.header.file_sequence, &mut entries);
        unsynced.push(slot.file.clone());
        slots[file.slot].sequence = Some(file.header.file_sequence);
        let continues = live.get(i + 1).is_some_and(|next| next.header.first_block == expected);
        if !continues {
            refuse_if_synced(
                disk,
                &slots,
                &live[i + 1..],
                expected,
                Some((&file.header, &bytes, blocks)),
            )?;
            break;
        }
    }
    for discarded in &live[kept..] {
        // What follows a cut must never be read again (engine rule 11).
        let slot = &slots[discarded.slot];
        slot.file
            .write_at(&[IoSlice::new(&[0; BLOCK_BYTES])], 0)
            .map_err(io("clearing", &slot.name))?;
        slot.file.sync_data().map_err(io("syncing", &slot.name))?;
    }
    let next_sequence = entries.iter().map(|e| e.header.sequence + 1).max().unwrap_or(1);
    Ok(Recovered {
        entries,
        ring: RingStart {
            slots,
            next_file,
            next_block: expected,
        },
        next_sequence,
        index_is_stale,
        unsynced,
    })
}

fn read_file(disk: &Arc<dyn Disk>, name: &Path) -> Result<Vec<u8>> {
    let io = |source| Error::io(format!("reading journal file {} failed", name.display()), source);
    let file = disk.open(name, OpenMode::Direct).map_err(io)?;
    let len = usize::try_from(file.len().map_err(io)?).unwrap_or(usize::MAX);
    if len > (1 << 30) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("journal file {} has {len} bytes", name.display()),
        ));
    }
    let mut bytes = vec![0; len];
    let got = file.read_at(&mut bytes, 0).map_err(io)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// The payload of the file's blocks up to the first that is not as expected, and how many they are.
fn read_blocks(header: &FileHeader, bytes: &[u8]) -> (Vec<u8>, u64) {
    let mut payload = Vec::new();
    let mut count = 0;
    for block in bytes.chunks_exact(BLOCK_BYTES).skip(1) {
        match BlockHeader::open(header.salt, block) {
            Some((found, data))
                if found.file_sequence == header.file_sequence && found.sequence == header.first_block + count =>
            {
                payload.extend_from_slice(data);
                count += 1;
            }
            _ => break,
        }
    }
    (payload, count)
}

/// Refuses when a block after the end says that the journal had been synced past `end`.
fn refuse_if_synced(
    disk: &Arc<dyn Disk>,
    slots: &[Slot],
    later: &[Live],
    end: u64,
    rest: Option<(&FileHeader, &[u8], u64)>,
) -> Result<()> {
    let synced_past = |header: &FileHeader, bytes: &[u8], from: u64| {
        let blocks = bytes.chunks_exact(BLOCK_BYTES).skip(1).enumerate().skip(from as usize);
        blocks
            .filter_map(|(i, block)| BlockHeader::open(header.salt, block).map(|(found, _)| (i as u64, found)))
            .filter(|(i, found)| {
                found.file_sequence == header.file_sequence && found.sequence == header.first_block + i
            })
            .any(|(_, found)| found.synced_below > end)
    };
    let refused = |name: &str| {
        let message = format!(
            "journal block {end} is damaged: a later block in {name} shows that it had been synced; nothing was changed. \
             Restore the data directory from a copy, or move its journal folder away to start without the records that only it holds"
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    };
    if let Some((header, bytes, from)) = rest
        && synced_past(header, bytes, from)
    {
        return refused("the same file");
    }
    for file in later {
        let name = &slots[file.slot].name;
        if synced_past(&file.header, &read_file(disk, name)?, 0) {
            return refused(&name.display().to_string());
        }
    }
    Ok(())
}

fn parse_entries(payload: &[u8], file: u64, entries: &mut Vec<RecoveredEntry>) {
    let shared = Bytes::copy_from_slice(payload);
    let mut at = 0;
    while let Some(header) = payload.get(at..).and_then(EntryHeader::decode) {
        let begin = at + ENTRY_HEADER_BYTES;
        let end = begin + header.payload_len as usize;
        if end > payload.len() {
            return;
        }
        entries.push(RecoveredEntry {
            header,
            payload: shared.slice(begin..end),
            file,
        });
        at = end;
    }
}
