//! The codecs of record batches: bounded streaming decompression, and compression.
//!
//! What is decompressed comes from clients, so every codec is read through [`Decompressor`], which stops at a limit of
//! expanded bytes and at a ratio (contract 32). What the bytes mean is `records.rs`.

mod snappy;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

/// A codec. The discriminant is bits 0–2 of a batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Records as they are.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Written in the framing of the Java library, read with and without it.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames; needs Produce 7 and Fetch 10.
    Zstd = 4,
}

impl Compression {
    /// The codec of attribute bits 0–2; `None` for ids that Kafka has not assigned (contract 33).
    pub fn from_id(id: u8) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The codec of a topic's `compression.type`; `None` for "producer" and for anything unknown. "uncompressed" is none.
    pub fn from_name(name: &str) -> Option<Compression> {
        match name {
            "uncompressed" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Attribute bits 0–2.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// How far bytes may expand. A batch beyond it is a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Expanded bytes of one batch.
    pub expanded_bytes_max: usize,
    /// Expanded bytes a compressed byte, looked at beyond the first [`DecompressLimits::RATIO_FREE_BYTES`].
    pub ratio_max: usize,
}

impl DecompressLimits {
    /// A megabyte of equal bytes is 50 bytes in zstd, and no danger: small batches have no ratio.
    pub const RATIO_FREE_BYTES: usize = 16 << 20;

    /// Expanded bytes allowed for so many compressed ones.
    fn allowed(&self, compressed_bytes: usize) -> usize {
        let by_ratio = compressed_bytes
            .saturating_mul(self.ratio_max)
            .max(Self::RATIO_FREE_BYTES);
        by_ratio.min(self.expanded_bytes_max)
    }
}

impl Default for DecompressLimits {
    /// 128 MiB, 1,000 to 1.
    fn default() -> DecompressLimits {
        DecompressLimits {
            expanded_bytes_max: 128 << 20,
            ratio_max: 1000,
        }
    }
}

/// Why bytes cannot be decompressed or compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// The bytes are not what their codec says.
    #[error("the {codec} data is corrupt: {reason}")]
    Corrupt {
        /// The codec's name.
        codec: &'static str,
        /// What it says.
        reason: String,
    },
    /// The bytes expand beyond the limit.
    #[error("the {codec} data expands to more than {limit} bytes")]
    Bomb {
        /// The codec's name.
        codec: &'static str,
        /// Expanded bytes that are allowed.
        limit: usize,
    },
    /// Compressing failed: a level that the codec does not have.
    #[error("cannot compress with {codec}: {reason}")]
    Compress {
        /// The codec's name.
        codec: &'static str,
        /// What it says.
        reason: String,
    },
}

/// Decompresses a batch's records piece by piece. Memory: the codec's window, at most some 16 MiB (zstd: at most what was
/// expanded so far, and a window of 128 MiB that is reserved and not touched).
pub struct Decompressor<'a> {
    codec: Compression,
    inner: Inner<'a>,
    left: usize,
    limit: usize,
}

enum Inner<'a> {
    None(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Reader<'a>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl<'a> Decompressor<'a> {
    /// Starts at the first byte behind the batch header.
    pub fn new(
        codec: Compression,
        compressed: &'a [u8],
        limits: &DecompressLimits,
    ) -> Result<Decompressor<'a>, CompressionError> {
        let limit = limits.allowed(compressed.len());
        let inner = match codec {
            Compression::None => Inner::None(compressed),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(compressed))),
            Compression::Snappy => Inner::Snappy(snappy::Reader::new(compressed)),
            Compression::Lz4 => Inner::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(compressed))),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(|e| corrupt(codec, e))?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Decompressor {
            codec,
            inner,
            left: limit,
            limit,
        })
    }

    /// Fills the start of `out`; 0 is the end. Never more than the limit in all.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, CompressionError> {
        let count = match &mut self.inner {
            Inner::None(bytes) => bytes.read(out),
            Inner::Gzip(decoder) => decoder.read(out),
            Inner::Snappy(reader) => match reader.read(out, self.left) {
                Ok(count) => Ok(count),
                Err(snappy::Refused::Bomb) => return Err(self.bomb()),
                Err(snappy::Refused::Corrupt(reason)) => Err(io::Error::other(reason)),
            },
            Inner::Lz4(decoder) => decoder.read(out),
            Inner::Zstd(decoder) => decoder.read(out),
        };
        let count = count.map_err(|e| corrupt(self.codec, e))?;
        self.spend(count)
    }

    fn spend(&mut self, count: usize) -> Result<usize, CompressionError> {
        self.left = self.left.checked_sub(count).ok_or_else(|| self.bomb())?;
        Ok(count)
    }

    fn bomb(&self) -> CompressionError {
        CompressionError::Bomb {
            codec: self.codec.name(),
            limit: self.limit,
        }
    }
}

fn corrupt(codec: Compression, error: io::Error) -> CompressionError {
    CompressionError::Corrupt {
        codec: codec.name(),
        reason: error.to_string(),
    }
}

/// Decompresses everything. `Vec` of at most the limit, grown as bytes come.
pub fn decompress(
    codec: Compression,
    compressed: &[u8],
    limits: &DecompressLimits,
) -> Result<Vec<u8>, CompressionError> {
    let mut decompressor = Decompressor::new(codec, compressed, limits)?;
    let mut out = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match decompressor.read(&mut piece)? {
            0 => return Ok(out),
            count => out.extend_from_slice(&piece[..count]),
        }
    }
}

/// Bytes that are expanded at a time.
pub(crate) const PIECE_BYTES: usize = 32 << 10;

/// Compresses. `level` is the codec's own (`compression.gzip.level` 1–9, `compression.zstd.level`); lz4 and snappy have none
/// here, so it is not looked at. `None` is the codec's default.
pub fn compress(codec: Compression, level: Option<i32>, bytes: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let failed = |e: &dyn std::fmt::Display| CompressionError::Compress {
        codec: codec.name(),
        reason: e.to_string(),
    };
    match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let level = match level.map(u32::try_from) {
                Some(Ok(level @ 0..=9)) => flate2::Compression::new(level),
                None | Some(Err(_)) => flate2::Compression::default(),
                Some(Ok(level)) => return Err(failed(&format!("no level {level}"))),
            };
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder
                .write_all(bytes)
                .and_then(|()| encoder.finish())
                .map_err(|e| failed(&e))
        }
        Compression::Snappy => snappy::compress(bytes),
        Compression::Lz4 => {
            // Java's reader knows independent blocks only.
            let info = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Independent)
                .block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).map_err(|e| failed(&e))?;
            encoder.finish().map_err(|e| failed(&e))
        }
        Compression::Zstd => zstd::bulk::compress(bytes, level.unwrap_or(3)).map_err(|e| failed(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes)
            .map(|i| b"a line of text, "[i % 16].wrapping_add((i / 4096) as u8 & 3))
            .collect()
    }

    #[test]
    fn every_codec_comes_back() {
        for codec in CODECS {
            for bytes in [0, 1, 100, 40_000, 300_000] {
                let plain = text(bytes);
                let compressed = compress(codec, None, &plain).expect("compresses");
                let back = decompress(codec, &compressed, &DecompressLimits::default()).expect("decompresses");
                assert!(back == plain, "{} {bytes}", codec.name());
            }
        }
    }

    #[test]
    fn levels_are_obeyed_and_wrong_ones_refused() {
        let plain = text(200_000);
        for codec in [Compression::Gzip, Compression::Zstd] {
            let low = compress(codec, Some(1), &plain).expect("compresses");
            let high = compress(codec, Some(9), &plain).expect("compresses");
            assert_ne!(low, high, "{}", codec.name());
        }
        assert!(compress(Compression::Gzip, Some(10), &plain).is_err());
    }

    #[test]
    fn raw_snappy_is_read() {
        let plain = text(100_000);
        let raw = snap::raw::Encoder::new().compress_vec(&plain).expect("compresses");
        assert!(decompress(Compression::Snappy, &raw, &DecompressLimits::default()) == Ok(plain));
    }

    #[test]
    fn framed_snappy_is_read_whatever_its_version_and_when_concatenated() {
        let plain = text(50_000);
        let mut framed = compress(Compression::Snappy, None, &plain).expect("compresses");
        framed[8..16].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
        let twice = [framed.clone(), framed].concat();
        let back = decompress(Compression::Snappy, &twice, &DecompressLimits::default());
        assert!(back == Ok([plain.clone(), plain].concat()));
    }

    #[test]
    fn bombs_are_stopped() {
        // contract 32
        let limits = DecompressLimits {
            expanded_bytes_max: 1 << 20,
            ratio_max: 1000,
        };
        let zeros = vec![0; 64 << 20];
        for codec in CODECS {
            let bomb = compress(codec, None, &zeros).expect("compresses");
            assert_eq!(
                decompress(codec, &bomb, &limits),
                Err(CompressionError::Bomb {
                    codec: codec.name(),
                    limit: 1 << 20
                })
            );
        }
        let by_ratio = DecompressLimits {
            expanded_bytes_max: 1 << 30,
            ratio_max: 10,
        };
        let bomb = compress(Compression::Zstd, None, &zeros).expect("compresses");
        assert!(matches!(
            decompress(Compression::Zstd, &bomb, &by_ratio),
            Err(CompressionError::Bomb { .. })
        ));
    }

    #[test]
    fn a_snappy_block_that_announces_too_much_allocates_nothing() {
        // 4 GiB announced in five bytes.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let limits = DecompressLimits {
            expanded_bytes_max: usize::MAX,
            ratio_max: usize::MAX,
        };
        assert!(matches!(
            decompress(Compression::Snappy, &lie, &limits),
            Err(CompressionError::Corrupt { .. })
        ));
    }

    #[test]
    fn corrupt_bytes_are_an_error() {
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let result = decompress(codec, b"this is no compressed data", &DecompressLimits::default());
            assert!(
                matches!(result, Err(CompressionError::Corrupt { .. })),
                "{} {result:?}",
                codec.name()
            );
        }
    }

    /// Linked blocks, as some clients write them: the window reaches from block to block.
    #[test]
    fn linked_lz4_blocks_are_read_and_changed_ones_never_panic() {
        let plain = text(400_000);
        let info = lz4_flex::frame::FrameInfo::new()
            .block_mode(lz4_flex::frame::BlockMode::Linked)
            .block_size(lz4_flex::frame::BlockSize::Max64KB);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain).expect("compresses");
        let linked = encoder.finish().expect("compresses");
        let limits = DecompressLimits {
            expanded_bytes_max: 1 << 20,
            ratio_max: 1000,
        };
        assert!(decompress(Compression::Lz4, &linked, &limits) == Ok(plain));
        // Every byte behind the frame's header, which has a checksum.
        for at in 7..linked.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = linked.clone();
                changed[at] = value;
                if let Ok(bytes) = decompress(Compression::Lz4, &changed, &limits) {
                    assert!(bytes.len() <= 1 << 20);
                }
            }
        }
    }

    #[test]
    fn ids_and_names_are_kafkas() {
        for codec in CODECS {
            assert_eq!(Compression::from_id(codec.id()), Some(codec));
        }
        assert_eq!(Compression::from_id(5), None);
        assert_eq!(Compression::from_name("zstd"), Some(Compression::Zstd));
        assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
        assert_eq!(Compression::from_name("producer"), None);
    }
}
