//! Produce and Fetch as bytes, for load: requests are built once and sent many times, replies are read where they lie.
//!
//! One version each, the last without flexible encoding (Produce 7, Fetch 11). What tests of the protocol send lives in
//! [`crate::raw`]; this never checks more of a reply than its reader needs.

use std::io::{self, Read};

use protocol::batch::{BatchHeader, HEADER_BYTES};

/// Version of the Produce requests.
pub const PRODUCE_VERSION: i16 = 7;
/// Version of the Fetch requests.
pub const FETCH_VERSION: i16 = 11;

/// What an idempotent batch carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// From InitProducerId.
    pub producer_id: i64,
    /// From InitProducerId.
    pub producer_epoch: i16,
    /// Sequence of the batch's first record.
    pub base_sequence: i32,
}

/// A record batch (magic 2, not compressed, no keys, no headers) of these values.
pub fn encode_batch<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    stamp: Option<ProducerStamp>,
    now_ms: i64,
) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    let mut count = 0i32;
    for value in values {
        let body = 1 + 1 + varint_bytes(i64::from(count)) + 1 + varint_bytes(value.len() as i64) + value.len() + 1;
        put_varint(&mut batch, body as i64);
        batch.push(0); // attributes
        batch.push(0); // timestamp delta
        put_varint(&mut batch, i64::from(count));
        put_varint(&mut batch, -1); // null key
        put_varint(&mut batch, value.len() as i64);
        batch.extend_from_slice(value);
        batch.push(0); // no headers
        count += 1;
    }
    let stamp = stamp.unwrap_or(ProducerStamp {
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
    });
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&now_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
    batch[43..51].copy_from_slice(&stamp.producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&stamp.producer_epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&stamp.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn varint_bytes(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - zigzag.leading_zeros() as usize).div_ceil(7).max(1)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn start_frame(api_key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    put_string(&mut frame, "load");
    frame
}

fn finish_frame(mut frame: Vec<u8>) -> Vec<u8> {
    let size = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

/// A whole Produce frame, size included, of batches for partitions of one topic.
pub fn produce_frame(correlation_id: i32, topic: &str, acks: i16, batches: &[(i32, &[u8])]) -> Vec<u8> {
    let mut frame = start_frame(0, PRODUCE_VERSION, correlation_id);
    frame.reserve(batches.iter().map(|(_, batch)| batch.len() + 8).sum::<usize>() + topic.len() + 32);
    frame.extend_from_slice(&(-1i16).to_be_bytes()); // no transactional id
    frame.extend_from_slice(&acks.to_be_bytes());
    frame.extend_from_slice(&30_000i32.to_be_bytes());
    frame.extend_from_slice(&1i32.to_be_bytes());
    put_string(&mut frame, topic);
    frame.extend_from_slice(&(batches.len() as i32).to_be_bytes());
    for (partition, batch) in batches {
        frame.extend_from_slice(&partition.to_be_bytes());
        frame.extend_from_slice(&(batch.len() as i32).to_be_bytes());
        frame.extend_from_slice(batch);
    }
    finish_frame(frame)
}

/// What to fetch of one partition.
#[derive(Clone, Copy, Debug)]
pub struct FetchFrom {
    /// The partition.
    pub partition: i32,
    /// First offset wanted.
    pub offset: i64,
    /// Bytes wanted of this partition.
    pub max_bytes: i32,
}

/// How long and how much a fetch waits for.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Longest wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Bytes to wait for.
    pub min_bytes: i32,
    /// Bytes over all partitions.
    pub max_bytes: i32,
}

/// A whole Fetch frame, size included, without a session.
pub fn fetch_frame(correlation_id: i32, topic: &str, limits: FetchLimits, partitions: &[FetchFrom]) -> Vec<u8> {
    let mut frame = start_frame(1, FETCH_VERSION, correlation_id);
    for number in [-1, limits.max_wait_ms, limits.min_bytes, limits.max_bytes] {
        frame.extend_from_slice(&number.to_be_bytes());
    }
    frame.push(0); // read_uncommitted
    for number in [0i32, -1, 1] {
        frame.extend_from_slice(&number.to_be_bytes()); // session 0, epoch −1, one topic
    }
    put_string(&mut frame, topic);
    frame.extend_from_slice(&(partitions.len() as i32).to_be_bytes());
    for from in partitions {
        frame.extend_from_slice(&from.partition.to_be_bytes());
        frame.extend_from_slice(&(-1i32).to_be_bytes()); // current leader epoch unknown
        frame.extend_from_slice(&from.offset.to_be_bytes());
        frame.extend_from_slice(&(-1i64).to_be_bytes()); // a consumer has no log start
        frame.extend_from_slice(&from.max_bytes.to_be_bytes());
    }
    frame.extend_from_slice(&0i32.to_be_bytes()); // no forgotten topics
    put_string(&mut frame, ""); // no rack
    finish_frame(frame)
}

/// Reads one frame and returns it without its size. `buffer` only grows, so that nothing is zeroed between large replies.
pub fn read_frame<'a>(stream: &mut impl Read, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size)).map_err(io::Error::other)?;
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
    let frame = &mut buffer[..size];
    stream.read_exact(frame)?;
    Ok(frame)
}

/// A place in a reply. Reading past the end is an error, not a panic: after a kill −9 nothing is sure.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = tail;
        Ok(*head)
    }

    fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn skip_string(&mut self) -> io::Result<()> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0)).map(|_| ())
    }
}

/// One partition of a Produce reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The partition.
    pub partition: i32,
    /// Kafka's error code.
    pub error_code: i16,
    /// Offset of the first record, −1 on errors.
    pub base_offset: i64,
}

/// Calls `each` for every partition of a Produce reply and returns its correlation id.
pub fn read_produce_reply(frame: &[u8], mut each: impl FnMut(Produced)) -> io::Result<i32> {
    let mut at = Cursor(frame);
    let correlation_id = at.i32()?;
    for _ in 0..at.i32()? {
        at.skip_string()?;
        for _ in 0..at.i32()? {
            let produced = Produced {
                partition: at.i32()?,
                error_code: at.i16()?,
                base_offset: at.i64()?,
            };
            at.take(16)?; // log append time, log start offset
            each(produced);
        }
    }
    Ok(correlation_id)
}

/// One partition of a Fetch reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// The partition.
    pub partition: i32,
    /// Kafka's error code.
    pub error_code: i16,
    /// End of what consumers see, exclusive.
    pub high_watermark: i64,
    /// First offset that is still there.
    pub log_start_offset: i64,
    /// Whole batches, and perhaps the start of one more.
    pub records: &'a [u8],
}

/// Calls `each` for every partition of a Fetch reply; an error code of the whole reply is an error.
pub fn read_fetch_reply<'a>(frame: &'a [u8], mut each: impl FnMut(Fetched<'a>)) -> io::Result<()> {
    let mut at = Cursor(frame);
    at.take(8)?; // correlation id, throttle time
    let error_code = at.i16()?;
    if error_code != 0 {
        return Err(io::Error::other(format!("fetch is answered with error {error_code}")));
    }
    at.i32()?; // session id
    for _ in 0..at.i32()? {
        at.skip_string()?;
        for _ in 0..at.i32()? {
            let (partition, error_code) = (at.i32()?, at.i16()?);
            let high_watermark = at.i64()?;
            at.i64()?; // last stable offset
            let log_start_offset = at.i64()?;
            let aborted = at.i32()?.max(0);
            at.take(16 * usize::try_from(aborted).unwrap_or(0))?;
            at.i32()?; // preferred replica
            let length = usize::try_from(at.i32()?).unwrap_or(0);
            let records = at.take(length)?;
            each(Fetched {
                partition,
                error_code,
                high_watermark,
                log_start_offset,
                records,
            });
        }
    }
    Ok(())
}

/// The whole batches at the start of `records`; a cut last one is left out.
pub fn whole_batches(mut records: &[u8]) -> impl Iterator<Item = (BatchHeader, &[u8])> {
    std::iter::from_fn(move || {
        let header = BatchHeader::read(records).ok()?;
        let (batch, rest) = records.split_at_checked(header.total_bytes())?;
        records = rest;
        Some((header, batch))
    })
}

/// The values of a batch that is not compressed; `None` where the framing does not hold.
pub fn values(batch: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = batch.get(HEADER_BYTES..).unwrap_or(&[]);
    let mut broken = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || broken {
            return None;
        }
        let value = take_value(&mut rest);
        broken = value.is_none();
        Some(value)
    })
}

fn take_value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (mut body, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    body = body.get(1..)?; // attributes
    take_varint(&mut body)?; // timestamp delta
    take_varint(&mut body)?; // offset delta
    let key = take_varint(&mut body)?.max(0);
    body = body.get(usize::try_from(key).ok()?..)?;
    let value = usize::try_from(take_varint(&mut body)?).ok()?;
    body.get(..value)
}

fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        raw |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(((raw >> 1) as i64) ^ -((raw & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::read_batches;

    #[test]
    fn batches_read_back_here_and_by_the_strict_reader() {
        let values_in: Vec<Vec<u8>> = [0, 1, 63, 64, 8_191, 8_192, 100_000].map(|n| vec![n as u8; n]).to_vec();
        let stamp = ProducerStamp {
            producer_id: 7,
            producer_epoch: 1,
            base_sequence: 40,
        };
        let batch = encode_batch(values_in.iter().map(Vec::as_slice), Some(stamp), 1_234);
        let strict = read_batches(&batch.clone().into());
        assert_eq!(strict.len(), 1);
        assert_eq!((strict[0].header.producer_id, strict[0].header.base_sequence), (7, 40));
        let strict: Vec<_> = strict[0].records.iter().filter_map(|r| r.value.as_deref()).collect();
        assert_eq!(strict, values_in);
        let mut cut = batch.clone();
        cut.extend_from_slice(&batch[..100]);
        let read: Vec<_> = whole_batches(&cut).flat_map(|(_, batch)| values(batch)).collect();
        assert_eq!(read, values_in.iter().map(|v| Some(v.as_slice())).collect::<Vec<_>>());
    }

    #[test]
    fn a_broken_record_ends_the_values() {
        let mut batch = encode_batch([&b"one"[..], b"two"], None, 0);
        let last = batch.len() - 5;
        batch[last] = 100; // the value's length
        assert_eq!(values(&batch).collect::<Vec<_>>(), [Some(&b"one"[..]), None]);
    }
}
