//! Snappy as Kafka's clients use it: the Java library's framing (a 16-byte header, then blocks with a big-endian length),
//! or one raw block, which librdkafka and others send.

use super::CompressionError;

/// The first 8 bytes of the framing. Two version numbers follow; writers disagree on their byte order, so nobody looks.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
/// Uncompressed bytes of a block, as the Java library writes it.
const BLOCK_BYTES: usize = 32 << 10;
/// A copy of 64 bytes takes three: no snappy data expands further.
const RATIO_MAX: usize = 22;

/// Decompresses block by block; a block is at most 22 times its compressed bytes.
pub(super) struct Reader<'a> {
    left: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    block_at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(compressed: &'a [u8]) -> Reader<'a> {
        let framed = compressed.len() >= HEADER_BYTES && compressed.starts_with(&MAGIC);
        Reader {
            left: compressed,
            framed,
            block: Vec::new(),
            block_at: 0,
        }
    }

    /// Fills the start of `out`; 0 is the end. A block larger than `expanded_left` bytes is refused before it is expanded.
    pub(super) fn read(&mut self, out: &mut [u8], expanded_left: usize) -> Result<usize, Refused> {
        while self.block_at == self.block.len() {
            if !self.next_block(expanded_left)? {
                return Ok(0);
            }
        }
        let rest = self.block.get(self.block_at..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.block_at += count;
        Ok(count)
    }

    fn next_block(&mut self, expanded_left: usize) -> Result<bool, Refused> {
        let compressed = match self.next_compressed()? {
            Some(compressed) => compressed,
            None => return Ok(false),
        };
        let expanded = snap::raw::decompress_len(compressed)?;
        if expanded > expanded_left {
            return Err(Refused::Bomb);
        }
        if expanded > compressed.len().saturating_mul(RATIO_MAX) {
            return Err(Refused::Corrupt(
                "a block announces more bytes than it can hold".to_owned(),
            ));
        }
        self.block.resize(expanded, 0);
        self.block_at = 0;
        snap::raw::Decoder::new().decompress(compressed, &mut self.block)?;
        Ok(true)
    }

    fn next_compressed(&mut self) -> Result<Option<&'a [u8]>, Refused> {
        if !self.framed {
            let all = std::mem::take(&mut self.left);
            return Ok((!all.is_empty()).then_some(all));
        }
        // Concatenated streams repeat the header.
        while self.left.starts_with(&MAGIC) {
            self.left = self.left.get(HEADER_BYTES..).ok_or_else(cut)?;
        }
        if self.left.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self.left.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| Refused::Corrupt("a block has a negative length".to_owned()))?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        self.left = rest;
        Ok(Some(block))
    }
}

fn cut() -> Refused {
    Refused::Corrupt("a block is cut".to_owned())
}

/// Why a block is refused.
pub(super) enum Refused {
    Bomb,
    Corrupt(String),
}

impl From<snap::Error> for Refused {
    fn from(error: snap::Error) -> Refused {
        Refused::Corrupt(error.to_string())
    }
}

/// Compresses with the framing: Java clients read nothing else.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::with_capacity(HEADER_BYTES + bytes.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(|e| CompressionError::Compress {
            codec: "snappy",
            reason: e.to_string(),
        })?;
        // A block of 32 KiB is at most 38 KiB compressed.
        out.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}
