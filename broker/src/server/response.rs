//! Sends replies: memory by writev, files by sendfile, in order, with no wait for the disk on an async thread.
//!
//! What never lives here: the order of replies ([`super::connection`]), what is in them.

use super::page_cache;
use crate::clock::Clock;
use crate::dispatch::{CloseReason, Piece};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::disk::DiskFile;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A file is sent, and read ahead, in steps of this.
const FILE_STEP_BYTES: usize = 1 << 20;
/// Slices in one writev.
const SLICES_MAX: usize = 64;

/// A reply that holds memory of the log's tail may be under way for so long while that memory is short.
const GIVE_WAY: Duration = Duration::from_secs(5);
/// A client that takes nothing is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// Memory in a reply that is no burden to anybody.
const SMALL_BYTES: usize = 64 << 10;

/// Sends replies on one connection.
pub struct Sender<'a> {
    /// The connection.
    pub socket: &'a TcpStream,
    /// The time.
    pub clock: Clock,
    /// The client must take at least a byte each so long: `reply.write.timeout.ms`.
    pub timeout: Duration,
    /// Whether memory of the tail is short, so that replies that hold some must not wait for slow clients: their records
    /// can be read again from a segment, and producers wait for that memory.
    pub memory_is_short: &'a (dyn Fn() -> bool + Send + Sync),
}

impl Sender<'_> {
    /// Sends `pieces`, taking them from the front as they go out. Returns the bytes sent.
    pub async fn send(&self, pieces: &mut VecDeque<Piece>) -> Result<u64, CloseReason> {
        let started = self.clock.instant();
        let mut sent = 0;
        while let Some(front) = pieces.front() {
            match front {
                Piece::Mem(_) => sent += self.send_memory(pieces, started).await?,
                Piece::File { file, position, len } => {
                    sent += *len as u64;
                    let (file, position, len) = (file.clone(), *position, *len);
                    pieces.pop_front();
                    let waiting = Waiting {
                        started,
                        held_bytes: memory_bytes(pieces),
                    };
                    self.send_file(file, position, len, waiting).await?;
                }
            }
        }
        Ok(sent)
    }

    /// Sends the memory at the front, up to the first file.
    async fn send_memory(&self, pieces: &mut VecDeque<Piece>, started: Instant) -> Result<u64, CloseReason> {
        let mut sent = 0;
        loop {
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let (count, more) = gather(pieces, &mut slices);
                if count == 0 {
                    return Ok(sent);
                }
                match self.try_write(slices.get(..count).unwrap_or_default(), more) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(0),
                    other => Some(other.map_err(CloseReason::Io)?),
                }
            };
            match written {
                Some(written) => {
                    sent += written as u64;
                    take_written(pieces, written);
                }
                None => {
                    self.writable(Waiting {
                        started,
                        held_bytes: memory_bytes(pieces),
                    })
                    .await?
                }
            }
        }
    }

    /// Writes at least a byte, if there is one. `more` holds a last partial segment back for what follows.
    fn try_write(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        if more {
            self.socket
                .try_io(Interest::WRITABLE, || send_more(self.socket, slices))
        } else {
            self.socket.try_write_vectored(slices)
        }
    }

    /// Waits until the client takes something.
    async fn writable(&self, waiting: Waiting) -> Result<(), CloseReason> {
        let deadline = self.clock.instant() + self.timeout;
        loop {
            let now = self.clock.instant();
            if now >= deadline {
                return Err(CloseReason::SlowReader);
            }
            let long = now.duration_since(waiting.started) >= GIVE_WAY;
            if long && waiting.held_bytes > SMALL_BYTES && (self.memory_is_short)() {
                return Err(CloseReason::GaveWay);
            }
            let look = LOOK.min(deadline.duration_since(now));
            if let Ok(result) = tokio::time::timeout(look, self.socket.writable()).await {
                return result.map_err(CloseReason::Io);
            }
        }
    }

    /// Sends a range of a file, step by step. While one step goes out, the next is brought into the page cache.
    async fn send_file(
        &self,
        file: Arc<dyn DiskFile>,
        position: u64,
        len: usize,
        waiting: Waiting,
    ) -> Result<(), CloseReason> {
        let end = position + len as u64;
        let mut at = position;
        let mut reading = ensure_cached(&file, at, step(at, end));
        while at < end {
            let bytes = step(at, end);
            if let Some(reading) = reading {
                reading
                    .await
                    .map_err(|join| CloseReason::Disk(join.into()))?
                    .map_err(CloseReason::Disk)?;
            }
            let next = at + bytes as u64;
            reading = ensure_cached(&file, next, step(next, end));
            if file.fd().is_some() {
                self.send_step(&file, at, bytes, waiting).await?;
            } else {
                self.copy_step(file.clone(), at, bytes, waiting).await?;
            }
            at = next;
            if at < end {
                // A fast reader never makes this task wait; others want the thread too.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// One step by sendfile.
    async fn send_step(
        &self,
        file: &Arc<dyn DiskFile>,
        mut at: u64,
        bytes: usize,
        waiting: Waiting,
    ) -> Result<(), CloseReason> {
        let end = at + bytes as u64;
        while at < end {
            let result = self.socket.try_io(Interest::WRITABLE, || {
                let fd = file.fd().ok_or(io::ErrorKind::Unsupported)?;
                let left = (end - at) as usize;
                Ok(rustix::fs::sendfile(self.socket.as_fd(), fd, Some(&mut at), left)?)
            });
            match result {
                Ok(0) => return Err(CloseReason::Disk(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable(waiting).await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // EIO is the disk's; what the peer does has other numbers.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Err(CloseReason::Disk(error)),
                Err(error) => return Err(CloseReason::Io(error)),
            }
        }
        Ok(())
    }

    /// One step of a file without a descriptor: read on a blocking thread, then written.
    async fn copy_step(
        &self,
        file: Arc<dyn DiskFile>,
        at: u64,
        bytes: usize,
        waiting: Waiting,
    ) -> Result<(), CloseReason> {
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; bytes];
            match file.read_at(&mut buffer, at)? {
                read if read == bytes => Ok(buffer),
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            }
        });
        let buffer = read
            .await
            .map_err(|join| CloseReason::Disk(join.into()))?
            .map_err(CloseReason::Disk)?;
        let mut pieces = VecDeque::from([Piece::Mem(buffer.into())]);
        self.send_memory(&mut pieces, waiting.started).await?;
        Ok(())
    }
}

/// What a reply that waits for its client costs.
#[derive(Clone, Copy)]
struct Waiting {
    started: Instant,
    /// Bytes of memory in what is left to send.
    held_bytes: usize,
}

fn memory_bytes(pieces: &VecDeque<Piece>) -> usize {
    pieces
        .iter()
        .map(|piece| if let Piece::Mem(bytes) = piece { bytes.len() } else { 0 })
        .sum()
}

/// The memory at the front as slices: how many, and whether more follows.
fn gather<'p>(pieces: &'p VecDeque<Piece>, slices: &mut [IoSlice<'p>]) -> (usize, bool) {
    let mut count = 0;
    for piece in pieces {
        let (Piece::Mem(bytes), Some(slice)) = (piece, slices.get_mut(count)) else {
            return (count, true);
        };
        *slice = IoSlice::new(bytes);
        count += 1;
    }
    (count, false)
}

/// Removes `written` bytes from the front, and empty pieces with them.
fn take_written(pieces: &mut VecDeque<Piece>, mut written: usize) {
    while let Some(Piece::Mem(bytes)) = pieces.front_mut() {
        if bytes.len() > written {
            bytes::Buf::advance(bytes, written);
            return;
        }
        written -= bytes.len();
        pieces.pop_front();
    }
}

fn send_more(socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    Ok(sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?)
}

fn step(at: u64, end: u64) -> usize {
    usize::try_from(end - at).map_or(FILE_STEP_BYTES, |rest| rest.min(FILE_STEP_BYTES))
}

/// Starts reading a range into the page cache, unless it is there, or cannot be sent from there anyway.
fn ensure_cached(file: &Arc<dyn DiskFile>, at: u64, bytes: usize) -> Option<JoinHandle<io::Result<()>>> {
    let cached = bytes == 0 || file.fd().is_none_or(|fd| page_cache::is_cached(fd, at, bytes as u64));
    (!cached).then(|| {
        let file = file.clone();
        tokio::task::spawn_blocking(move || match file.fd() {
            Some(fd) => page_cache::populate(fd, at, bytes as u64),
            None => Ok(()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::fs::File;
    use std::os::fd::BorrowedFd;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// A file for reading only, with or without its descriptor shown.
    struct TestFile {
        file: File,
        show_fd: bool,
    }

    impl DiskFile for TestFile {
        fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
            self.file.read_at(buf, at)
        }
        fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn zero(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            self.file.metadata().map(|meta| meta.len())
        }
        fn fd(&self) -> Option<BorrowedFd<'_>> {
            self.show_fd.then(|| self.file.as_fd())
        }
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 + i % 251) as u8).collect()
    }

    fn file(dir: &Path, len: usize, show_fd: bool) -> Arc<dyn DiskFile> {
        let path = dir.join("file");
        std::fs::write(&path, content(len)).expect("written");
        Arc::new(TestFile {
            file: File::open(path).expect("opened"),
            show_fd,
        })
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("connect"), server.expect("accept").0)
    }

    async fn read_all(mut socket: TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.expect("read");
        all
    }

    const LONG: Duration = Duration::from_secs(60);

    fn sender<'a>(socket: &'a TcpStream, timeout: Duration, short: &'a (dyn Fn() -> bool + Send + Sync)) -> Sender<'a> {
        Sender {
            socket,
            clock: Clock,
            timeout,
            memory_is_short: short,
        }
    }

    #[tokio::test]
    async fn memory_and_files_arrive_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let len = 3 * FILE_STEP_BYTES + 12_345;
        for show_fd in [true, false] {
            let file = file(dir.path(), len, show_fd);
            let (client, server) = pair().await;
            let reader = tokio::spawn(read_all(client));
            let mut pieces = VecDeque::new();
            let mut expected = Vec::new();
            // More slices than one writev takes, empty ones among them, then a file, memory, and a file again.
            for i in 0..150usize {
                let bytes = vec![i as u8; i % 5];
                expected.extend_from_slice(&bytes);
                pieces.push_back(Piece::Mem(Bytes::from(bytes)));
            }
            for (from, to) in [(10, len), (0, 1), (5_000, 5_000)] {
                pieces.push_back(Piece::File {
                    file: file.clone(),
                    position: from as u64,
                    len: to - from,
                });
                pieces.push_back(Piece::Mem(Bytes::from_static(b"between")));
                expected.extend_from_slice(&content(len)[from..to]);
                expected.extend_from_slice(b"between");
            }
            let sent = sender(&server, LONG, &|| false).send(&mut pieces).await.expect("sent");
            drop(server);
            assert_eq!(sent, expected.len() as u64);
            assert!(reader.await.expect("read") == expected, "with a descriptor: {show_fd}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_closes_the_connection() {
        let dir = tempfile::tempdir().expect("a directory");
        for show_fd in [true, false] {
            let file = file(dir.path(), 100, show_fd);
            let (client, server) = pair().await;
            let reader = tokio::spawn(read_all(client));
            let mut pieces = VecDeque::from([Piece::File {
                file,
                position: 50,
                len: 100,
            }]);
            let error = sender(&server, LONG, &|| false)
                .send(&mut pieces)
                .await
                .expect_err("the file ends early");
            assert!(matches!(error, CloseReason::Disk(_)), "{error}");
            drop(server);
            reader.await.expect("read");
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (client, server) = pair().await;
        let mut pieces: VecDeque<Piece> = (0..256).map(|_| Piece::Mem(Bytes::from(vec![1; 1 << 20]))).collect();
        let error = sender(&server, Duration::from_millis(20), &|| false)
            .send(&mut pieces)
            .await
            .expect_err("nobody reads");
        assert!(matches!(error, CloseReason::SlowReader), "{error}");
        drop(client);
    }

    #[tokio::test]
    async fn a_slow_client_gives_way_only_where_it_holds_memory_that_is_short() {
        let (_client, server) = pair().await;
        // Filled, until the kernel moves nothing to the other side any more.
        while tokio::time::timeout(Duration::from_millis(50), server.writable())
            .await
            .is_ok()
        {
            while server.try_write(&[0; 1 << 16]).is_ok() {}
        }
        let long_ago = Clock.instant() - GIVE_WAY;
        let reason = async |started, held_bytes, short: bool| {
            let waiting = Waiting { started, held_bytes };
            let outcome = sender(&server, Duration::from_millis(20), &|| short)
                .writable(waiting)
                .await;
            outcome.expect_err("nobody reads").label()
        };
        assert_eq!(reason(long_ago, SMALL_BYTES + 1, true).await, "gave_way");
        assert_eq!(reason(long_ago, SMALL_BYTES + 1, false).await, "slow_reader");
        assert_eq!(reason(long_ago, SMALL_BYTES, true).await, "slow_reader");
        assert_eq!(reason(Clock.instant(), SMALL_BYTES + 1, true).await, "slow_reader");
    }
}
