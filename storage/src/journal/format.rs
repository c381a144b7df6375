//! The journal's bytes: file headers, blocks and entries. Pure; documented in `storage/FORMAT.md`.
//!
//! A journal file is a sequence of 4 KiB blocks. Block 0 is the file's header; every other block carries a header of its own
//! and payload. The payloads of consecutive blocks are one stream of entries. An entry never continues past the
//! blocks of the group that it was written with, so that a group's first block starts with an entry.

use crate::disk::BLOCK_BYTES;
use crate::index::LogId;
use protocol::types::{Offset, TopicId};

/// Bytes of a block's own header.
pub(crate) const BLOCK_HEADER_BYTES: usize = 32;
/// Payload bytes of a block.
pub(crate) const BLOCK_PAYLOAD_BYTES: usize = BLOCK_BYTES - BLOCK_HEADER_BYTES;
/// Bytes of an entry's header.
pub(crate) const ENTRY_HEADER_BYTES: usize = 64;
/// Payload of one entry at most; longer ones are refused when read.
pub(crate) const ENTRY_PAYLOAD_MAX: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"SHJOURNL";
const VERSION: u32 = 1;
const FILE_HEADER_BYTES: usize = 48;

/// Identity of a journal file's current use. A file that is reused gets a new one: higher sequence, other salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// Grows by at least one with each use of any file.
    pub(crate) file_sequence: u64,
    /// Goes into every block's CRC, so that blocks of an earlier lap never pass.
    pub(crate) salt: u64,
    /// Sequence of the file's first block after this header.
    pub(crate) first_block: u64,
    /// Files below this sequence were free when this one was begun.
    pub(crate) oldest_needed_file: u64,
}

impl FileHeader {
    /// The header block.
    pub(crate) fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_be_bytes());
        block[12..20].copy_from_slice(&self.file_sequence.to_be_bytes());
        block[20..28].copy_from_slice(&self.salt.to_be_bytes());
        block[28..36].copy_from_slice(&self.first_block.to_be_bytes());
        block[36..44].copy_from_slice(&self.oldest_needed_file.to_be_bytes());
        let crc = crc32c::crc32c(&block[..44]);
        block[44..FILE_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
        block
    }

    /// Reads a header block; `None` when it is none (never used, torn, or another version's).
    pub(crate) fn decode(block: &[u8]) -> Option<FileHeader> {
        let head = block.get(..FILE_HEADER_BYTES)?;
        let u64_at = |at: usize| head.get(at..at + 8)?.first_chunk::<8>().map(|b| u64::from_be_bytes(*b));
        let u32_at = |at: usize| head.get(at..at + 4)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        let whole = head.starts_with(MAGIC) && u32_at(8)? == VERSION && u32_at(44)? == crc32c::crc32c(&head[..44]);
        whole.then_some(())?;
        Some(FileHeader {
            file_sequence: u64_at(12)?,
            salt: u64_at(20)?,
            first_block: u64_at(28)?,
            oldest_needed_file: u64_at(36)?,
        })
    }
}

/// What stands in front of a block's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// Bytes of payload in use.
    pub(crate) payload_len: u16,
    /// The file's sequence.
    pub(crate) file_sequence: u64,
    /// Grows by one with each block of the journal.
    pub(crate) sequence: u64,
    /// All blocks below this sequence were synced when this block was written (engine rule 9).
    pub(crate) synced_below: u64,
}

fn block_crc(salt: u64, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_be_bytes()), covered)
}

impl BlockHeader {
    /// Writes header and CRC into `block`, whose payload is in place.
    pub(crate) fn seal(&self, salt: u64, block: &mut [u8]) {
        block[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        block[6..8].copy_from_slice(&[0, 0]);
        block[8..16].copy_from_slice(&self.file_sequence.to_be_bytes());
        block[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        block[24..32].copy_from_slice(&self.synced_below.to_be_bytes());
        let crc = block_crc(salt, &block[4..BLOCK_HEADER_BYTES + usize::from(self.payload_len)]);
        block[..4].copy_from_slice(&crc.to_be_bytes());
    }

    /// Checks a block and returns its header and payload; `None` when it is not a whole block of this salt.
    pub(crate) fn open(salt: u64, block: &[u8]) -> Option<(BlockHeader, &[u8])> {
        let crc = u32::from_be_bytes(*block.first_chunk::<4>()?);
        let head = block.get(..BLOCK_HEADER_BYTES)?;
        let payload_len = u16::from_be_bytes([head[4], head[5]]);
        let covered = block.get(4..BLOCK_HEADER_BYTES + usize::from(payload_len))?;
        if block_crc(salt, covered) != crc {
            return None;
        }
        let u64_at = |at: usize| head.get(at..at + 8)?.first_chunk::<8>().map(|b| u64::from_be_bytes(*b));
        let header = BlockHeader {
            payload_len,
            file_sequence: u64_at(8)?,
            sequence: u64_at(16)?,
            synced_below: u64_at(24)?,
        };
        Some((header, &covered[BLOCK_HEADER_BYTES - 4..]))
    }
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// One whole small batch.
    Append,
    /// The unfinished last block of a large append; also the note that the segment holds more than its mark says.
    Remainder,
    /// Bytes of a quiet log brought along from a file that is to be reused.
    Carried,
    /// Recovery ended the log here: older entries for bytes from here on were not accepted and never come back.
    Restart,
}

impl EntryKind {
    fn code(self) -> u8 {
        match self {
            EntryKind::Append => 1,
            EntryKind::Remainder => 2,
            EntryKind::Carried => 3,
            EntryKind::Restart => 4,
        }
    }

    fn from_code(code: u8) -> Option<EntryKind> {
        let kinds = [
            EntryKind::Append,
            EntryKind::Remainder,
            EntryKind::Carried,
            EntryKind::Restart,
        ];
        kinds.into_iter().find(|kind| kind.code() == code)
    }
}

/// An entry's header: which bytes of which segment follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) kind: EntryKind,
    /// Bytes that follow.
    pub(crate) payload_len: u32,
    /// Grows with each entry; of two entries for the same bytes the higher one holds.
    pub(crate) sequence: u64,
    /// The partition.
    pub(crate) log: LogId,
    /// Base offset of the segment.
    pub(crate) segment_base: Offset,
    /// Where in the segment file the bytes belong.
    pub(crate) position: u64,
    /// The log's end offset after these bytes.
    pub(crate) end_offset: Offset,
}

impl EntryHeader {
    pub(crate) fn encode(&self) -> [u8; ENTRY_HEADER_BYTES] {
        let mut out = [0; ENTRY_HEADER_BYTES];
        out[0] = self.kind.code();
        out[4..8].copy_from_slice(&self.payload_len.to_be_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        out[16..32].copy_from_slice(&self.log.topic_id.0);
        out[32..36].copy_from_slice(&self.log.partition.to_be_bytes());
        out[36..44].copy_from_slice(&self.segment_base.0.to_be_bytes());
        out[44..52].copy_from_slice(&self.position.to_be_bytes());
        out[52..60].copy_from_slice(&self.end_offset.0.to_be_bytes());
        out
    }

    /// `None` when the bytes are not an entry header of this version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<EntryHeader> {
        let head = bytes.first_chunk::<ENTRY_HEADER_BYTES>()?;
        let u64_at = |at: usize| head.get(at..at + 8)?.first_chunk::<8>().map(|b| u64::from_be_bytes(*b));
        let u32_at = |at: usize| head.get(at..at + 4)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        let header = EntryHeader {
            kind: EntryKind::from_code(head[0])?,
            payload_len: u32_at(4)?,
            sequence: u64_at(8)?,
            log: LogId {
                topic_id: TopicId(*head.get(16..32)?.first_chunk::<16>()?),
                partition: u32_at(32)?.cast_signed(),
            },
            segment_base: Offset(u64_at(36)?.cast_signed()),
            position: u64_at(44)?,
            end_offset: Offset(u64_at(52)?.cast_signed()),
        };
        (header.payload_len as usize <= ENTRY_PAYLOAD_MAX).then_some(header)
    }
}

/// Entries on their way to the journal, already laid out in blocks; sequences and CRCs are filled in when the group is written.
pub(crate) struct Group {
    bytes: Vec<u8>,
    /// Payload bytes used in the last block; a full block when there is none.
    used: usize,
    /// First and last entry in the group (inclusive).
    pub(crate) entries: Option<(u64, u64)>,
}

impl Group {
    pub(crate) fn new() -> Group {
        Group {
            bytes: Vec::new(),
            used: BLOCK_PAYLOAD_BYTES,
            entries: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that writing the group takes; whole blocks.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends an entry of which the payload is given in pieces.
    pub(crate) fn push(&mut self, header: &EntryHeader, pieces: &[&[u8]]) {
        self.entries = Some((
            self.entries.map_or(header.sequence, |(first, _)| first),
            header.sequence,
        ));
        self.extend(&header.encode());
        for piece in pieces {
            self.extend(piece);
        }
    }

    fn extend(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.used == BLOCK_PAYLOAD_BYTES {
                self.bytes.resize(self.bytes.len() + BLOCK_BYTES, 0);
                self.used = 0;
            }
            let take = piece.len().min(BLOCK_PAYLOAD_BYTES - self.used);
            let at = self.bytes.len() - BLOCK_BYTES + BLOCK_HEADER_BYTES + self.used;
            self.bytes[at..at + take].copy_from_slice(&piece[..take]);
            self.used += take;
            piece = &piece[take..];
        }
    }

    /// Number of blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.bytes.len() / BLOCK_BYTES
    }

    /// Seals blocks `from..to` for a file and returns their bytes.
    pub(crate) fn seal(&mut self, from: usize, to: usize, salt: u64, first: BlockHeader) -> &[u8] {
        let blocks = self.blocks();
        for i in from..to {
            let last = i + 1 == blocks;
            let header = BlockHeader {
                payload_len: if last {
                    self.used as u16
                } else {
                    BLOCK_PAYLOAD_BYTES as u16
                },
                sequence: first.sequence + (i - from) as u64,
                ..first
            };
            header.seal(salt, &mut self.bytes[i * BLOCK_BYTES..(i + 1) * BLOCK_BYTES]);
        }
        &self.bytes[from * BLOCK_BYTES..to * BLOCK_BYTES]
    }

    /// Empties the group for reuse; keeps at most 4 MiB of its memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(4 << 20);
        self.used = BLOCK_PAYLOAD_BYTES;
        self.entries = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, payload_len: usize) -> EntryHeader {
        EntryHeader {
            kind: EntryKind::Append,
            payload_len: payload_len as u32,
            sequence,
            log: LogId {
                topic_id: TopicId([7; 16]),
                partition: 3,
            },
            segment_base: Offset(1000),
            position: 8192,
            end_offset: Offset(1010),
        }
    }

    #[test]
    fn golden_bytes_of_file_header() {
        let header = FileHeader {
            file_sequence: 1,
            salt: 2,
            first_block: 3,
            oldest_needed_file: 4,
        };
        let block = header.encode();
        assert_eq!(&block[..12], b"SHJOURNL\0\0\0\x01");
        assert_eq!(block[12..44].chunks(8).map(|c| c[7]).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(FileHeader::decode(&block), Some(header));
        let mut torn = block;
        torn[20] ^= 1;
        assert_eq!(FileHeader::decode(&torn), None);
        assert_eq!(FileHeader::decode(&[0; BLOCK_BYTES]), None);
    }

    #[test]
    fn golden_bytes_of_entry_header() {
        let header = entry(9, 5);
        let bytes = header.encode();
        assert_eq!(&bytes[..16], &[1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(
            &bytes[16..36],
            &[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 3]
        );
        assert_eq!(
            bytes[36..60]
                .chunks(8)
                .map(|c| u64::from_be_bytes(*c.first_chunk().expect("8")))
                .collect::<Vec<_>>(),
            [1000, 8192, 1010]
        );
        assert_eq!(EntryHeader::decode(&bytes), Some(header));
        assert_eq!(EntryHeader::decode(&[0; ENTRY_HEADER_BYTES]), None);
    }

    #[test]
    fn golden_bytes_of_a_block() {
        let header = BlockHeader {
            payload_len: 3,
            file_sequence: 5,
            sequence: 40,
            synced_below: 39,
        };
        let mut block = vec![0; BLOCK_BYTES];
        block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + 3].copy_from_slice(b"abc");
        header.seal(77, &mut block);
        let crc_of_salt_and_rest = [&77u64.to_be_bytes()[..], &block[4..BLOCK_HEADER_BYTES + 3]].concat();
        assert_eq!(block[..4], crc32c::crc32c(&crc_of_salt_and_rest).to_be_bytes());
        assert_eq!(block[..4], [0x8f, 0xbc, 0xbb, 0xc3]);
        assert_eq!(block[4..8], [0, 3, 0, 0], "payload length, zeros");
        assert_eq!(block[8..16], [0, 0, 0, 0, 0, 0, 0, 5], "file sequence");
        assert_eq!(block[16..24], [0, 0, 0, 0, 0, 0, 0, 40], "block sequence");
        assert_eq!(block[24..32], [0, 0, 0, 0, 0, 0, 0, 39], "synced below");
        assert_eq!(block[32..36], *b"abc\0");
        assert_eq!(BlockHeader::open(77, &block), Some((header, b"abc".as_slice())));
    }

    #[test]
    fn golden_codes_of_entry_kinds() {
        let kinds = [
            EntryKind::Append,
            EntryKind::Remainder,
            EntryKind::Carried,
            EntryKind::Restart,
        ];
        assert_eq!(kinds.map(EntryKind::code), [1, 2, 3, 4]);
        assert_eq!([0, 5, 255].map(EntryKind::from_code), [None; 3]);
    }

    #[test]
    fn a_block_of_another_lap_or_a_torn_block_is_refused() {
        // engine 8
        let mut group = Group::new();
        group.push(&entry(1, 3), &[b"abc"]);
        let first = BlockHeader {
            payload_len: 0,
            file_sequence: 5,
            sequence: 40,
            synced_below: 39,
        };
        let block = group.seal(0, 1, 77, first).to_vec();
        let (header, payload) = BlockHeader::open(77, &block).expect("whole");
        assert_eq!((header.sequence, header.synced_below, header.payload_len), (40, 39, 67));
        assert_eq!(&payload[ENTRY_HEADER_BYTES..], b"abc");
        assert!(BlockHeader::open(78, &block).is_none(), "another lap's salt");
        for byte in [0, 5, 20, 30, 60, 98] {
            let mut torn = block.clone();
            torn[byte] ^= 0x10;
            assert!(BlockHeader::open(77, &torn).is_none(), "flipped byte {byte}");
        }
    }

    #[test]
    fn entries_span_blocks() {
        let mut group = Group::new();
        let long = vec![3u8; 10_000];
        group.push(&entry(1, long.len()), &[&long[..1], &long[1..]]);
        group.push(&entry(2, 2), &[b"zz"]);
        assert_eq!(group.blocks(), 3);
        assert_eq!(group.entries, Some((1, 2)));
        let first = BlockHeader {
            payload_len: 0,
            file_sequence: 1,
            sequence: 0,
            synced_below: 0,
        };
        let bytes = group.seal(0, 3, 9, first).to_vec();
        let mut stream = Vec::new();
        for block in bytes.chunks(BLOCK_BYTES) {
            stream.extend_from_slice(BlockHeader::open(9, block).expect("whole").1);
        }
        assert_eq!(stream.len(), 2 * ENTRY_HEADER_BYTES + 10_002);
        assert_eq!(EntryHeader::decode(&stream).map(|e| e.sequence), Some(1));
        assert!(stream[ENTRY_HEADER_BYTES..ENTRY_HEADER_BYTES + 10_000] == long);
    }
}
