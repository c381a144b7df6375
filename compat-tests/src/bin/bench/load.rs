//! The load: requests encoded once, sent over blocking sockets, one thread a connection. The broker, not this, is what
//! should saturate.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamhouse_compat_tests::records::now_ms;
use streamhouse_compat_tests::wire::{
    FetchFrom, FetchLimits, encode_batch, fetch_frame, produce_frame, read_fetch_reply, read_frame, read_produce_reply,
    whole_batches,
};

use crate::process::cpu_seconds;

/// What to produce, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProduceLoad<'a> {
    pub(crate) addr: SocketAddr,
    /// The broker's process.
    pub(crate) pid: u32,
    pub(crate) topic: &'a str,
    pub(crate) partitions: i32,
    pub(crate) acks: i16,
    pub(crate) connections: usize,
    /// Requests in flight on each connection.
    pub(crate) in_flight: usize,
    /// Records in each request, which holds one batch.
    pub(crate) records: usize,
    pub(crate) record_bytes: usize,
    /// Not measured.
    pub(crate) warm_up: Duration,
    /// Measured; ends early after `most_bytes` of values.
    pub(crate) duration: Duration,
    pub(crate) most_bytes: u64,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) requests: f64,
    /// Bytes of values (produce) or of batches (fetch).
    pub(crate) bytes: f64,
    pub(crate) seconds: f64,
    pub(crate) broker_cpu_seconds: f64,
    /// Microseconds from the write to the reply, sorted.
    pub(crate) latencies_us: Vec<u32>,
}

impl Measured {
    pub(crate) fn mib_per_second(&self) -> f64 {
        self.bytes / 1_048_576.0 / self.seconds
    }

    pub(crate) fn cpu_seconds_per_gib(&self) -> f64 {
        self.broker_cpu_seconds / (self.bytes / 1_073_741_824.0)
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.requests / self.seconds
    }

    pub(crate) fn cpu_us_per_request(&self) -> f64 {
        self.broker_cpu_seconds * 1e6 / self.requests
    }

    /// A latency quantile in milliseconds.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * quantile).round() as usize;
        self.latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
    }
}

/// How long a load runs, and whose processor time is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The broker's process.
    pub(crate) pid: u32,
    /// Not measured.
    pub(crate) warm_up: Duration,
    /// Measured; ends early after `most_bytes`.
    pub(crate) duration: Duration,
    pub(crate) most_bytes: u64,
    /// How often the bytes are looked at.
    pub(crate) step: Duration,
}

/// Counters and signals that the threads of one load share.
#[derive(Default)]
pub(crate) struct Shared {
    requests: AtomicU64,
    bytes: AtomicU64,
    measuring: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    /// Whether latencies count now.
    pub(crate) fn measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    /// Whether nothing more is to be sent.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A request was answered.
    pub(crate) fn count(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Produces until the time or the bytes are over. An error code in any reply is an error.
pub(crate) fn produce(load: &ProduceLoad<'_>) -> io::Result<Measured> {
    // Bytes are looked at so often that no load goes far beyond its share of the disk.
    let large = load.records * load.record_bytes >= 1 << 16;
    let timing = Timing {
        pid: load.pid,
        warm_up: load.warm_up,
        duration: load.duration,
        most_bytes: load.most_bytes,
        step: Duration::from_millis(if large { 5 } else { 50 }),
    };
    measure(&timing, load.connections, |index, shared| {
        connection(load, index, shared)
    })
}

/// Runs `connection` in a thread for each of them, and measures. A connection gives its latencies in microseconds when the
/// others are stopped, or its error.
pub(crate) fn measure(
    timing: &Timing,
    connections: usize,
    connection: impl Fn(usize, &Shared) -> io::Result<Vec<u32>> + Sync,
) -> io::Result<Measured> {
    let shared = Shared::default();
    std::thread::scope(|scope| {
        let (shared, connection) = (&shared, &connection);
        let threads: Vec<_> = (0..connections)
            .map(|index| scope.spawn(move || connection(index, shared)))
            .collect();
        let failed = || threads.iter().any(|t| t.is_finished());
        wait(shared, timing, Instant::now() + timing.warm_up, u64::MAX, failed);
        let (started, cpu) = (Instant::now(), cpu_seconds(timing.pid));
        let before = (
            shared.requests.load(Ordering::Relaxed),
            shared.bytes.load(Ordering::Relaxed),
        );
        shared.measuring.store(true, Ordering::Relaxed);
        let enough = before.1.saturating_add(timing.most_bytes);
        wait(shared, timing, started + timing.duration, enough, failed);
        let requests = shared.requests.load(Ordering::Relaxed) - before.0;
        let bytes = shared.bytes.load(Ordering::Relaxed) - before.1;
        let (seconds, broker_cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds(timing.pid) - cpu);
        shared.stop.store(true, Ordering::Relaxed);
        let mut latencies_us = Vec::new();
        for thread in threads {
            latencies_us.extend(thread.join().expect("load threads return errors")?);
        }
        latencies_us.sort_unstable();
        Ok(Measured {
            requests: requests as f64,
            bytes: bytes as f64,
            seconds,
            broker_cpu_seconds,
            latencies_us,
        })
    })
}

/// Until the deadline, until there are enough bytes, or until a thread gave up.
fn wait(shared: &Shared, timing: &Timing, deadline: Instant, enough_bytes: u64, failed: impl Fn() -> bool) {
    while Instant::now() < deadline && shared.bytes.load(Ordering::Relaxed) < enough_bytes && !failed() {
        std::thread::sleep(timing.step.min(deadline.saturating_duration_since(Instant::now())));
    }
}

fn connection(load: &ProduceLoad<'_>, index: usize, shared: &Shared) -> io::Result<Vec<u32>> {
    let requests = encode_requests(load, index);
    let mut writer = TcpStream::connect(load.addr)?;
    writer.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, writer.try_clone()?);
    let (mut sent, mut latencies_us, mut next) = (VecDeque::new(), Vec::new(), 0);
    let (mut out, mut frame) = (Vec::new(), Vec::new());
    let request_bytes = (load.records * load.record_bytes) as u64;
    loop {
        let stop = shared.stopped();
        while sent.len() < load.in_flight && !stop {
            let request = &requests[next % requests.len()];
            next += 1;
            sent.push_back(Instant::now());
            // Small requests that may go now go in one write.
            if request.len() < 16 << 10 {
                out.extend_from_slice(request);
            } else {
                writer.write_all(request)?;
            }
        }
        if !out.is_empty() {
            writer.write_all(&out)?;
            out.clear();
        }
        // One reply is awaited; more are taken as long as they are here.
        loop {
            let Some(at) = sent.pop_front() else {
                return Ok(latencies_us);
            };
            let reply = read_frame(&mut reader, &mut frame)?;
            if shared.measuring() {
                latencies_us.push(at.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
            }
            let mut error = 0;
            read_produce_reply(reply, |produced| error = produced.error_code)?;
            if error != 0 {
                return Err(io::Error::other(format!(
                    "produce to {} is answered with error {error}",
                    load.topic
                )));
            }
            shared.count(request_bytes);
            if !holds_frame(reader.buffer()) {
                break;
            }
        }
    }
}

fn holds_frame(buffer: &[u8]) -> bool {
    buffer
        .split_first_chunk::<4>()
        .is_some_and(|(size, rest)| rest.len() >= u32::from_be_bytes(*size) as usize)
}

/// A connection's requests, one for each partition it sends to, starting at its own.
fn encode_requests(load: &ProduceLoad<'_>, index: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64 ^ (index as u64 + 1);
    let mut value = || -> Vec<u8> {
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        bytes.take(load.record_bytes).collect()
    };
    let values: Vec<Vec<u8>> = (0..load.records).map(|_| value()).collect();
    let batch = encode_batch(values.iter().map(Vec::as_slice), None, now_ms());
    // Large requests repeat for a few partitions only: their bytes shall not fill the machine.
    let partitions = load.partitions.min(1_000);
    (0..partitions)
        .map(|i| {
            let partition = (i + index as i32) % load.partitions;
            produce_frame(i, load.topic, load.acks, &[(partition, &batch)])
        })
        .collect()
}

/// What to fetch, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchLoad<'a> {
    pub(crate) addr: SocketAddr,
    /// The broker's process.
    pub(crate) pid: u32,
    pub(crate) topic: &'a str,
    pub(crate) partitions: i32,
    pub(crate) connections: i32,
}

/// Reads every partition once from its start to its end.
pub(crate) fn fetch_all(load: &FetchLoad<'_>) -> io::Result<Measured> {
    let (started, cpu) = (Instant::now(), cpu_seconds(load.pid));
    let (requests, bytes) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections)
            .map(|connection| {
                let mine: Vec<i32> = (0..load.partitions)
                    .filter(|p| p % load.connections == connection)
                    .collect();
                scope.spawn(move || fetch_partitions(load, &mine))
            })
            .collect();
        threads.into_iter().try_fold((0, 0), |sum: (u64, u64), thread| {
            let (requests, bytes) = thread.join().expect("load threads return errors")?;
            io::Result::Ok((sum.0 + requests, sum.1 + bytes))
        })
    })?;
    Ok(Measured {
        requests: requests as f64,
        bytes: bytes as f64,
        seconds: started.elapsed().as_secs_f64(),
        broker_cpu_seconds: cpu_seconds(load.pid) - cpu,
        latencies_us: Vec::new(),
    })
}

fn fetch_partitions(load: &FetchLoad<'_>, partitions: &[i32]) -> io::Result<(u64, u64)> {
    let mut stream = TcpStream::connect(load.addr)?;
    stream.set_nodelay(true)?;
    // What the Java consumer asks for by default: 1 MiB a partition, 50 MiB in all.
    let limits = FetchLimits {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
    };
    let from = |partition: &i32| FetchFrom {
        partition: *partition,
        offset: 0,
        max_bytes: 1 << 20,
    };
    let mut wanted: Vec<FetchFrom> = partitions.iter().map(from).collect();
    let (mut requests, mut bytes, mut frame) = (0, 0, Vec::new());
    while !wanted.is_empty() {
        stream.write_all(&fetch_frame(requests as i32, load.topic, limits, &wanted))?;
        let reply = read_frame(&mut stream, &mut frame)?;
        requests += 1;
        let mut error = 0;
        read_fetch_reply(reply, |fetched| {
            error = if fetched.error_code == 0 {
                error
            } else {
                fetched.error_code
            };
            bytes += fetched.records.len() as u64;
            let last = whole_batches(fetched.records)
                .last()
                .map(|(header, _)| header.last_offset().0 + 1);
            wanted.retain_mut(|from| {
                let this = from.partition == fetched.partition;
                if let (true, Some(next)) = (this, last) {
                    from.offset = next;
                }
                !(this && from.offset >= fetched.high_watermark)
            });
        })?;
        if error != 0 {
            return Err(io::Error::other(format!(
                "fetch of {} is answered with error {error}",
                load.topic
            )));
        }
    }
    Ok((requests, bytes))
}
