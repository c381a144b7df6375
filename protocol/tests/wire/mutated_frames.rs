//! 200,000 mutated frames of every request and version, and mutated batches behind a good CRC: no panic, no abort, bounded
//! memory. `STREAMHOUSE_TEST_SEED` replays a run.

use crate::allocator::peak_bytes;
use crate::generate::{Gen, seed};
use crate::requests::{self, served, with_request_type};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::ControlFlow;
use std::time::Instant;
use streamhouse_protocol::api::{Api, ApiKey};
use streamhouse_protocol::batch::{self, BatchHeader, HEADER_BYTES};
use streamhouse_protocol::compression::{Compression, DecompressLimits};
use streamhouse_protocol::frame::frame_bytes;
use streamhouse_protocol::header::RequestHeader;
use streamhouse_protocol::produce::decode_produce_request;
use streamhouse_protocol::records::{self, BatchBuilder, RecordIter};
use streamhouse_protocol::shape::decode_request_within;
use streamhouse_protocol::validate::{BatchRules, CompressionType, RecordValidation, TimestampType, validate_batch};

const FRAMES: usize = 200_000;
const BATCHES: usize = 30_000;
/// What decoding one frame may take.
const MEMORY_LIMIT: usize = 256 << 10;
/// Error texts, and the codec's own bookkeeping.
const SLACK_BYTES: usize = 4 << 10;
/// Frames of the test are far below it.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Whole frames, length first: a few of every request and version. Produce 0–2, which the codec does not have, are made of 3.
fn corpus(seed: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (api, version) in served() {
        for round in 0..6 {
            let mut g = Gen::new(seed ^ round, api.is_flexible(version));
            let body = requests::random(api.key, version, &mut g).body;
            frames.push(frame(api, version, &body));
            if api.key == ApiKey::Produce && version == 3 && body.starts_with(&[0xff, 0xff]) {
                frames.extend((0..3).map(|old| frame(api, old, &body[2..])));
            }
        }
    }
    frames
}

fn frame(api: &Api, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i16(api.key as i16);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(4);
    frame.put_slice(b"test");
    if api.is_flexible(version) {
        frame.put_slice(&[1, 9, 2, 1, 2]);
    }
    frame.put_slice(body);
    set_length(frame.to_vec())
}

fn set_length(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() as i32 - 4).to_be_bytes();
    if let Some(field) = frame.first_chunk_mut::<4>() {
        *field = length;
    }
    frame
}

/// Values that break decoders.
const NASTY: [&[u8]; 12] = [
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0, 0xff, 0xff, 0xff],
    &[0, 0, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x7f, 0xff],
    &[0xff, 0xfe],
    &[0],
    &[0x80],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
];

/// One to four changes from byte `from` on.
pub(crate) fn mutate(rng: &mut StdRng, bytes: &mut Vec<u8>, from: usize, other: &[u8]) {
    for _ in 0..rng.random_range(1..=4) {
        if bytes.len() <= from {
            bytes.push(rng.random());
            continue;
        }
        let at = rng.random_range(from..bytes.len());
        match rng.random_range(0..8) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 | 3 => {
                let nasty = NASTY[rng.random_range(0..NASTY.len())];
                let end = bytes.len().min(at + nasty.len());
                bytes[at..end].copy_from_slice(&nasty[..end - at]);
            }
            4 => bytes.truncate(at),
            5 => {
                let nasty = NASTY[rng.random_range(0..NASTY.len())];
                bytes.splice(at..at, nasty.iter().copied());
            }
            6 => {
                let end = rng.random_range(at..=bytes.len().min(at + 20));
                bytes.drain(at..end);
            }
            _ => {
                let start = rng.random_range(0..=other.len());
                let end = rng.random_range(start..=other.len().min(start + 60));
                bytes.splice(at..at, other[start..end].iter().copied());
            }
        }
    }
}

fn try_decode<T: Request>(version: i16, body: Bytes) -> bool {
    decode_request_within::<T>(version, body, MEMORY_LIMIT).is_ok()
}

/// What a connection does with a frame, up to the handler. Returns whether there was a request in it.
fn serve(frame: &[u8]) -> bool {
    let Some((length, rest)) = frame.split_first_chunk::<4>() else {
        return false;
    };
    let Ok(length) = frame_bytes(*length, FRAME_BYTES_MAX) else {
        return false;
    };
    let Some(request) = rest.get(..length) else {
        return false;
    };
    let Ok(header) = RequestHeader::parse(request) else {
        return false;
    };
    let body = header.body(request);
    if header.api.key == ApiKey::Produce {
        let Ok(request) = decode_produce_request(header.api_version, body, MEMORY_LIMIT) else {
            return false;
        };
        for partition in &request.partitions {
            let _ = validate_batch(partition.records, header.api_version, &BatchRules::default(), 0);
        }
    }
    let (key, version) = (header.api.key, header.api_version);
    let body = Bytes::copy_from_slice(body);
    with_request_type!(key, try_decode(version, body)) || (key == ApiKey::Produce && version < 3)
}

#[test]
fn mutated_frames_never_panic_and_never_take_memory() {
    let seed = seed("mutated_frames_never_panic_and_never_take_memory");
    let started = Instant::now();
    let corpus = corpus(seed);
    assert!(
        corpus.iter().all(|frame| serve(frame)),
        "every frame is good before it is changed"
    );
    let (mut good, mut largest) = (0, 0);
    for round in 0..FRAMES as u64 {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(round));
        let mut frame = corpus[round as usize % corpus.len()].clone();
        let other = &corpus[rng.random_range(0..corpus.len())];
        // Mostly the length stays right, or every other mutation would end there.
        let from = if rng.random_ratio(1, 20) { 0 } else { 4 };
        mutate(&mut rng, &mut frame, from, other);
        if from == 4 {
            frame = set_length(frame);
        }
        let (is_request, peak) = peak_bytes(|| serve(&frame));
        let allowed = MEMORY_LIMIT + frame.len() + SLACK_BYTES;
        assert!(
            peak <= allowed,
            "{peak} bytes for a frame of {}: seed {seed}, round {round}",
            frame.len()
        );
        good += usize::from(is_request);
        largest = largest.max(peak);
    }
    println!(
        "{FRAMES} frames in {:?}, {good} still good, at most {largest} bytes",
        started.elapsed()
    );
    // Neither everything nor nothing survives a mutation: the walk goes deep.
    assert!(good > FRAMES / 100 && good < FRAMES * 9 / 10, "{good}");
}

#[test]
fn two_frames_of_the_length_of_nothing() {
    for frame in [
        &[][..],
        &[0],
        &[0, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 1, 0],
        &[0xff; 4],
        &[0x7f, 0xff, 0xff, 0xff, 0],
    ] {
        assert!(!serve(frame), "{frame:?}");
    }
}

fn good_batch(rng: &mut StdRng, codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1000);
    for i in 0..rng.random_range(1..60) {
        let key: Option<Vec<u8>> = rng
            .random_bool(0.7)
            .then(|| vec![rng.random(); rng.random_range(0..20)]);
        let value: Vec<u8> = (0..rng.random_range(0..200)).map(|j| (i * j) as u8).collect();
        let headers: &[(&str, Option<&[u8]>)] = if i % 3 == 0 {
            &[("h", None), ("h", Some(b"v"))]
        } else {
            &[]
        };
        builder.push(1000 + i, key.as_deref(), Some(&value), headers);
    }
    builder.finish(codec, None).expect("builds")
}

/// A batch whose header or body is changed, with a length and a CRC that match again.
fn bad_batch(rng: &mut StdRng, mut bytes: Vec<u8>) -> Vec<u8> {
    let from = if rng.random_ratio(1, 4) { 21 } else { HEADER_BYTES };
    let other = bytes.clone();
    mutate(rng, &mut bytes, from, &other);
    bytes.resize(bytes.len().max(HEADER_BYTES), 0);
    batch::seal(&mut bytes);
    bytes
}

#[test]
fn mutated_batches_never_panic_and_never_take_memory() {
    // contract 32
    let seed = seed("mutated_batches_never_panic_and_never_take_memory");
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    let limits = DecompressLimits {
        expanded_bytes_max: 1 << 20,
        ratio_max: 1000,
    };
    // The codecs' windows: 4 MiB blocks of lz4, twice and once more, are the largest.
    let memory_max = 3 * (4 << 20) + 4 * limits.expanded_bytes_max;
    let (mut good, mut largest) = (0, 0);
    for round in 0..BATCHES as u64 {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(round));
        let codec = codecs[round as usize % codecs.len()];
        let source = good_batch(&mut rng, codec);
        let bytes = bad_batch(&mut rng, source);
        let rules = BatchRules {
            validation: RecordValidation::Full,
            compacted: rng.random(),
            timestamp_type: if rng.random() {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max_ms: 5,
            compression: match rng.random_range(0..10) {
                to @ 0..5 => CompressionType::Codec(codecs[to], None),
                _ => CompressionType::Producer,
            },
            decompress: limits,
            ..BatchRules::default()
        };
        let (valid, peak) = peak_bytes(|| {
            let valid = validate_batch(Some(&bytes), 9, &rules, 1000);
            if let Ok(valid) = &valid {
                read_back(&valid.bytes, &limits);
            }
            let header = BatchHeader::read(&bytes);
            if let Ok(header) = header {
                let _ = records::walk(&header, &bytes[HEADER_BYTES..], &limits, |_| ControlFlow::Continue(()));
            }
            for record in RecordIter::new(bytes.get(HEADER_BYTES..).unwrap_or_default()) {
                let _ = record;
            }
            valid.is_ok()
        });
        assert!(
            peak <= memory_max,
            "{peak} bytes: seed {seed}, round {round}, {}",
            codec.name()
        );
        good += usize::from(valid);
        largest = largest.max(peak);
    }
    println!("{BATCHES} batches, {good} still good, at most {largest} bytes");
    assert!(good > 0 && good < BATCHES / 2, "{good}");
}

/// What is valid can be read: the promise that storage and consumers build on.
fn read_back(bytes: &[u8], limits: &DecompressLimits) {
    assert!(batch::crc_matches(bytes));
    let header = BatchHeader::read(bytes).expect("a header");
    let body = records::decompressed(&header, &bytes[HEADER_BYTES..], limits).expect("decompresses");
    let mut count = 0;
    for record in RecordIter::new(&body) {
        assert_eq!(record.expect("reads").offset_delta, count);
        count += 1;
    }
    assert_eq!(count, header.record_count);
}
