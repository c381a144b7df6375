//! Cuts a connection's bytes into frames: a length of 4 bytes, then so many bytes (contract 3).
//!
//! The length is checked before memory is taken for it, and memory is taken as bytes arrive: at most 8 times what has come.
//! A frame is a slice of the buffer that it was read into, never a copy; when the frame is dropped, the buffer is used again.
//! What never lives here: what a frame means, timeouts.

use super::memory::{MemoryBudget, Reservation};
use crate::dispatch::CloseReason;
use bytes::{BufMut, Bytes};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::ReadHalf;

const LENGTH_BYTES: usize = 4;
/// A read that may take in more than one frame asks for this at first ...
const READ_BYTES_FIRST: usize = 16 << 10;
/// ... and for this on connections that have filled it once. Frames above are read to their end exactly, so that what follows
/// them need not be moved.
const READ_BYTES: usize = 64 << 10;
/// Memory taken for a frame is at most this many times what has arrived of it.
const GROWTH: usize = 8;
/// A larger buffer is not kept for the next frame.
const KEEP_BYTES: usize = 2 << 20;

/// The memory that frames are read into, and its share of the budget.
#[derive(Debug)]
struct Chunk {
    data: Vec<u8>,
    reservation: Reservation,
}

/// A frame's hold on its chunk.
struct Lease(Arc<Chunk>);

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.0.data
    }
}

/// What [`FrameReader::next`] has to say.
#[derive(Debug)]
pub enum Arrival {
    /// A whole frame.
    Frame(Bytes),
    /// The first bytes of a frame: time to watch how long the rest takes.
    Begun,
}

/// Reads frames from one connection.
#[derive(Debug)]
pub struct FrameReader {
    frame_bytes_max: usize,
    budget: Arc<MemoryBudget>,
    chunk: Arc<Chunk>,
    /// Where the bytes start that belong to no frame given out yet.
    start: usize,
    /// The chunk's bytes while frames of it may be out.
    lent: Option<Bytes>,
    read_bytes: usize,
    /// The frame that is being read was announced as [`Arrival::Begun`].
    announced: bool,
    /// Bytes that came in, ever.
    received_bytes: u64,
}

impl FrameReader {
    /// A reader that takes frames up to `frame_bytes_max` (their length field not counted) and memory from `budget`.
    pub fn new(frame_bytes_max: usize, budget: Arc<MemoryBudget>) -> FrameReader {
        let chunk = Arc::new(Chunk {
            data: Vec::new(),
            reservation: budget.reserve_nothing(),
        });
        FrameReader {
            frame_bytes_max,
            budget,
            chunk,
            start: 0,
            lent: None,
            read_bytes: READ_BYTES_FIRST,
            announced: false,
            received_bytes: 0,
        }
    }

    /// Bytes of a frame that has begun to arrive and is not complete.
    pub fn partial_bytes(&self) -> usize {
        self.chunk.data.len() - self.start
    }

    /// Length of the frame that has begun to arrive, as far as it is known.
    pub fn partial_frame_bytes(&self) -> usize {
        self.peek_length()
            .map_or(0, |length| usize::try_from(length).unwrap_or(0))
    }

    /// Bytes received since the connection was opened.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// The next frame, without its length field; or, once a frame, the news that one has begun and is not complete.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self, socket: &mut ReadHalf<'_>) -> Result<Arrival, CloseReason> {
        loop {
            if let Some(frame) = self.take_frame()? {
                self.announced = false;
                return Ok(Arrival::Frame(frame));
            }
            if self.partial_bytes() > 0 && !self.announced {
                self.announced = true;
                return Ok(Arrival::Begun);
            }
            self.fill(socket).await?;
        }
    }

    fn unread(&self) -> &[u8] {
        self.chunk.data.get(self.start..).unwrap_or_default()
    }

    fn peek_length(&self) -> Option<i32> {
        self.unread()
            .first_chunk::<LENGTH_BYTES>()
            .map(|bytes| i32::from_be_bytes(*bytes))
    }

    /// The length of the frame whose first bytes are there, checked.
    fn frame_length(&self) -> Result<Option<usize>, CloseReason> {
        let Some(length) = self.peek_length() else {
            return Ok(None);
        };
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.frame_bytes_max => Ok(Some(bytes)),
            _ => Err(CloseReason::FrameSize(length)),
        }
    }

    /// A complete frame that is already here.
    fn take_frame(&mut self) -> Result<Option<Bytes>, CloseReason> {
        let Some(length) = self.frame_length()? else {
            return Ok(None);
        };
        let from = self.start + LENGTH_BYTES;
        let to = from + length;
        if self.chunk.data.len() < to {
            return Ok(None);
        }
        let chunk = &self.chunk;
        let lent = self.lent.get_or_insert_with(|| Bytes::from_owner(Lease(chunk.clone())));
        self.start = to;
        Ok(Some(lent.slice(from..to)))
    }

    /// Reads once, into memory that it makes sure of first.
    async fn fill(&mut self, socket: &mut ReadHalf<'_>) -> Result<(), CloseReason> {
        let frame = self.frame_length()?.map(|length| LENGTH_BYTES + length);
        if self.partial_bytes() == 0 && self.chunk.data.capacity() == 0 {
            // An idle connection owns no buffer: the first byte is waited for without one.
            socket.readable().await.map_err(CloseReason::Io)?;
        }
        let have = self.partial_bytes();
        let (capacity, limit) = match frame {
            Some(total) if total > READ_BYTES => (total.min((have * GROWTH).max(READ_BYTES)), total - have),
            Some(total) => (total.max(self.read_bytes), self.read_bytes.max(total - have)),
            None => (self.read_bytes, self.read_bytes),
        };
        self.make_room(capacity).await;
        let chunk = Arc::get_mut(&mut self.chunk).expect("make_room leaves a chunk that nobody else holds");
        let limit = limit.min(chunk.data.capacity() - chunk.data.len());
        let read = socket
            .read_buf(&mut (&mut chunk.data).limit(limit))
            .await
            .map_err(CloseReason::Io)?;
        if read == 0 {
            return Err(if have == 0 {
                CloseReason::PeerClosed
            } else {
                CloseReason::PeerClosedMidFrame
            });
        }
        if read == limit && frame.is_none_or(|total| total <= READ_BYTES) {
            self.read_bytes = READ_BYTES;
        }
        self.received_bytes += read as u64;
        Ok(())
    }

    /// Leaves a chunk of our own that begins with the bytes of the frame that is being read and has room for `capacity` bytes
    /// from its start. The chunk at hand is used again unless a frame of it is still out.
    async fn make_room(&mut self, capacity: usize) {
        self.lent = None;
        let have = self.partial_bytes();
        if Arc::get_mut(&mut self.chunk).is_none() {
            let mut reservation = self.budget.reserve_nothing();
            reservation.grow_to(capacity.max(have)).await;
            let mut data = Vec::with_capacity(capacity.max(have));
            data.extend_from_slice(self.unread());
            // The old chunk gives its memory back to the budget when its last frame is dropped.
            self.chunk = Arc::new(Chunk { data, reservation });
            self.start = 0;
            return;
        }
        let start = self.start;
        let chunk = Arc::get_mut(&mut self.chunk).expect("looked at above");
        if start > 0 && (have == 0 || chunk.data.capacity() - start < capacity) {
            chunk.data.copy_within(start.., 0);
            chunk.data.truncate(have);
            self.start = 0;
        }
        if chunk.data.capacity() < self.start + capacity {
            chunk.reservation.grow_to(capacity).await;
            chunk.data.reserve_exact(capacity - chunk.data.len());
        }
    }

    /// To be called when a request's stage one is over: gives back memory that is not worth keeping.
    pub fn frame_done(&mut self) {
        let held = self.chunk.data.capacity();
        let have = self.partial_bytes();
        let overdrawn = self.chunk.reservation.is_overdrawn();
        let too_much = held > KEEP_BYTES || (held > READ_BYTES_FIRST && self.budget.is_tight());
        if overdrawn || (too_much && have <= held / 2) {
            self.release();
        }
    }

    /// Lets go of the buffer. Bytes of a frame that has begun to arrive move to one of just their size.
    pub fn release(&mut self) {
        let mut reservation = self.budget.reserve_nothing();
        reservation.take_in_exchange(self.partial_bytes());
        let data = self.unread().to_vec();
        self.lent = None;
        self.start = 0;
        self.read_bytes = READ_BYTES_FIRST;
        self.chunk = Arc::new(Chunk { data, reservation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("connect"), server.expect("accept").0)
    }

    /// The next whole frame.
    async fn whole(reader: &mut FrameReader, half: &mut ReadHalf<'_>) -> Result<Bytes, CloseReason> {
        loop {
            if let Arrival::Frame(frame) = reader.next(half).await? {
                return Ok(frame);
            }
        }
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn a_frame_may_come_byte_by_byte() {
        // contract 3
        let (mut client, mut server) = pair().await;
        let budget = MemoryBudget::new(1 << 20);
        let mut reader = FrameReader::new(1000, budget.clone());
        let (mut half, _) = server.split();
        let bytes = frame(b"hello");
        for byte in &bytes[..bytes.len() - 1] {
            client.write_all(&[*byte]).await.expect("write");
            let before = reader.received_bytes();
            while reader.received_bytes() == before {
                // Each fill is one read; a frame must not appear before its last byte.
                reader.fill(&mut half).await.expect("a read");
                assert!(reader.take_frame().expect("a good length").is_none());
            }
        }
        client.write_all(&bytes[bytes.len() - 1..]).await.expect("write");
        assert_eq!(&whole(&mut reader, &mut half).await.expect("a frame")[..], b"hello");
        assert_eq!(reader.partial_bytes(), 0);
        drop(client);
        assert!(matches!(
            whole(&mut reader, &mut half).await,
            Err(CloseReason::PeerClosed)
        ));
    }

    #[tokio::test]
    async fn the_beginning_of_a_frame_is_announced_once() {
        let (mut client, mut server) = pair().await;
        let mut reader = FrameReader::new(1000, MemoryBudget::new(1 << 20));
        let (mut half, _) = server.split();
        for _ in 0..2 {
            let bytes = frame(b"hello");
            client.write_all(&bytes[..6]).await.expect("write");
            assert!(matches!(reader.next(&mut half).await, Ok(Arrival::Begun)));
            client.write_all(&bytes[6..]).await.expect("write");
            assert!(matches!(reader.next(&mut half).await, Ok(Arrival::Frame(frame)) if frame == "hello"));
        }
    }

    #[tokio::test]
    async fn many_frames_in_one_read_keep_their_order_and_share_the_buffer() {
        let (mut client, mut server) = pair().await;
        let mut reader = FrameReader::new(1000, MemoryBudget::new(1 << 20));
        let (mut half, _) = server.split();
        let mut bytes = Vec::new();
        for i in 0..100u8 {
            bytes.extend(frame(&vec![i; usize::from(i)]));
        }
        client.write_all(&bytes).await.expect("write");
        let mut frames = Vec::new();
        for _ in 0..100 {
            frames.push(whole(&mut reader, &mut half).await.expect("a frame"));
        }
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame[..], vec![i as u8; i]);
        }
    }

    #[tokio::test]
    async fn impossible_lengths_close_before_memory_is_taken() {
        // contract 3
        for length in [-1, i32::MIN, i32::MAX, 1001] {
            let (mut client, mut server) = pair().await;
            let budget = MemoryBudget::new(1 << 20);
            let mut reader = FrameReader::new(1000, budget.clone());
            let (mut half, _) = server.split();
            client.write_all(&length.to_be_bytes()).await.expect("write");
            let result = whole(&mut reader, &mut half).await;
            assert!(
                matches!(result, Err(CloseReason::FrameSize(size)) if size == length),
                "{length}"
            );
            assert!(budget.used_bytes() <= READ_BYTES_FIRST);
        }
    }

    #[tokio::test]
    async fn memory_follows_what_has_arrived() {
        // contract 3: a frame of 100 MiB of which little comes
        let (mut client, mut server) = pair().await;
        let budget = MemoryBudget::new(1 << 30);
        let mut reader = FrameReader::new(100 << 20, budget.clone());
        let (mut half, _) = server.split();
        client.write_all(&(100i32 << 20).to_be_bytes()).await.expect("write");
        let mut sent = 0;
        for piece in [1000usize, 20_000, 200_000] {
            client.write_all(&vec![7; piece]).await.expect("write");
            sent += piece;
            while reader.partial_bytes() < LENGTH_BYTES + sent {
                reader.fill(&mut half).await.expect("a read");
            }
            assert!(
                budget.used_bytes() <= (GROWTH * (sent + LENGTH_BYTES)).max(READ_BYTES),
                "after {sent} bytes"
            );
        }
        drop(client);
        assert!(matches!(
            whole(&mut reader, &mut half).await,
            Err(CloseReason::PeerClosedMidFrame)
        ));
    }

    #[tokio::test]
    async fn large_frames_use_one_buffer_again_and_again() {
        let (mut client, mut server) = pair().await;
        let budget = MemoryBudget::new(64 << 20);
        let mut reader = FrameReader::new(100 << 20, budget.clone());
        let writer = tokio::spawn(async move {
            for i in 0..20u8 {
                client.write_all(&frame(&vec![i; 1 << 20])).await.expect("write");
            }
            client
        });
        let (mut half, _) = server.split();
        let mut address = None;
        for i in 0..20u8 {
            let frame = whole(&mut reader, &mut half).await.expect("a frame");
            assert_eq!((frame.len(), frame[0], frame[(1 << 20) - 1]), (1 << 20, i, i));
            if i > 0 {
                assert_eq!(*address.get_or_insert(frame.as_ptr() as usize), frame.as_ptr() as usize);
            }
            drop(frame);
            reader.frame_done();
        }
        assert!(budget.used_bytes() <= (1 << 20) + LENGTH_BYTES);
        reader.release();
        assert_eq!(budget.used_bytes(), 0);
        drop(writer.await);
    }

    #[tokio::test]
    async fn a_frame_that_is_kept_keeps_its_bytes_and_its_share_of_the_budget() {
        let (mut client, mut server) = pair().await;
        let budget = MemoryBudget::new(1 << 20);
        let mut reader = FrameReader::new(1 << 20, budget.clone());
        let (mut half, _) = server.split();
        client.write_all(&frame(&[1; 30_000])).await.expect("write");
        let kept = whole(&mut reader, &mut half).await.expect("a frame");
        client.write_all(&frame(&[2; 30_000])).await.expect("write");
        let other = whole(&mut reader, &mut half).await.expect("a frame");
        assert!(kept.iter().all(|byte| *byte == 1) && other.iter().all(|byte| *byte == 2));
        let with_both = budget.used_bytes();
        drop(kept);
        assert!(budget.used_bytes() < with_both);
        drop(other);
        drop(reader);
        assert_eq!(budget.used_bytes(), 0);
    }
}
