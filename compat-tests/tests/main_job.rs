//! The main job on real input: a file of more than a million lines goes in with `kcat -P` and comes back with `kcat -C`,
//! byte for byte, with every codec and across kill −9.
//!
//! The text is the source code of this workspace's dependencies, as cargo keeps it; one partition keeps its order.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use streamhouse_compat_tests::harness::{PATIENCE, spawn_with_us};
use streamhouse_compat_tests::kcat::{command, read_partition_to};
use streamhouse_compat_tests::ops::{LATEST, code};
use streamhouse_compat_tests::{Broker, RawClient, eventually};
use tempfile::TempDir;

/// Lines that the input has at least.
const LINES: usize = 1_000_000;

/// The input: lines of UTF-8 without empty ones, because `kcat -P` skips those.
struct Input {
    _dir: TempDir,
    path: PathBuf,
    lines: usize,
    bytes: u64,
}

fn input() -> &'static Input {
    static INPUT: OnceLock<Input> = OnceLock::new();
    INPUT.get_or_init(|| {
        let dir = tempfile::Builder::new()
            .prefix("streamhouse-input-")
            .tempdir()
            .expect("a temporary directory");
        let path = dir.path().join("input");
        let mut out = BufWriter::new(File::create(&path).expect("a file in a temporary directory"));
        let mut files = Vec::new();
        sources(&cargo_home().join("registry/src"), &mut files);
        files.sort();
        let (mut lines, mut bytes) = (0, 0);
        for file in files {
            let text = std::fs::read(&file).unwrap_or_default();
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                out.write_all(line)
                    .and_then(|()| out.write_all(b"\n"))
                    .expect("space for the input");
                lines += 1;
                bytes += line.len() as u64 + 1;
            }
            if lines >= LINES {
                break;
            }
        }
        out.flush().expect("space for the input");
        assert!(
            lines >= LINES,
            "only {lines} lines of source code under {}",
            cargo_home().display()
        );
        println!("input: {lines} lines, {} MiB", bytes >> 20);
        Input {
            _dir: dir,
            path,
            lines,
            bytes,
        }
    })
}

fn cargo_home() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").expect("HOME is set")).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => sources(&path, files),
            Ok(_) if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            _ => {}
        }
    }
}

/// A running `kcat -P`, to be fed line by line. It retries across restarts; idempotence keeps order and count.
struct Producer {
    child: std::process::Child,
    stdin: BufWriter<ChildStdin>,
}

impl Producer {
    fn start(bootstrap: &str, topic: &str, codec: &str) -> Producer {
        let args = [
            "-P",
            "-E",
            "-t",
            topic,
            "-p",
            "0",
            "-z",
            codec,
            "-X",
            "enable.idempotence=true",
            "-X",
            "acks=all",
            "-X",
            "message.timeout.ms=120000",
            "-X",
            "reconnect.backoff.max.ms=200",
            "-X",
            "linger.ms=20",
        ];
        let mut command = command(bootstrap, &args);
        command.stdin(Stdio::piped());
        let mut child = spawn_with_us(command).expect("kcat is installed");
        let stdin = BufWriter::new(child.stdin.take().expect("piped"));
        Producer { child, stdin }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).expect("kcat reads");
    }

    /// Ends the input and waits until everything is acknowledged.
    fn finish(mut self) {
        self.stdin.flush().expect("kcat reads");
        drop(self.stdin);
        let status = self.child.wait().expect("kcat ends");
        assert!(status.success(), "kcat -P ended with {status}");
    }
}

/// Panics unless both files have the same bytes; tells where they differ.
fn assert_same(left: &Path, right: &Path) {
    let open = |path: &Path| BufReader::with_capacity(1 << 20, File::open(path).expect("a file of this test"));
    let (mut left_file, mut right_file) = (open(left), open(right));
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0u64;
    loop {
        let (n, m) = (fill(&mut left_file, &mut a), fill(&mut right_file, &mut b));
        if let Some(i) = (0..n.min(m)).find(|i| a[*i] != b[*i]) {
            let around = |bytes: &[u8], n: usize| {
                String::from_utf8_lossy(&bytes[i.saturating_sub(80)..(i + 80).min(n)]).into_owned()
            };
            panic!(
                "byte {} differs:\n{:?}\n{:?}",
                at + i as u64,
                around(&a, n),
                around(&b, m)
            );
        }
        assert_eq!(n, m, "one is longer, after {at} equal bytes");
        if n == 0 {
            return;
        }
        at += n as u64;
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]).expect("a file of this test") {
            0 => break,
            n => filled += n,
        }
    }
    filled
}

/// The whole job for one codec: kill −9 while records are under way, kill −9 while they are read, compare.
fn main_job(codec: &str) {
    let input = input();
    let mut broker = Broker::start();
    RawClient::connect(broker.kafka_addr()).create_topic("lines", 1);
    produce_across_kills(&mut broker, input, codec);
    let output = tempfile::Builder::new().prefix("streamhouse-output-").tempdir();
    let output = output.expect("a temporary directory");
    let across = output.path().join("across-a-kill");
    consume_across_a_kill(&mut broker, input, &across);
    assert_same(&input.path, &across);
    // And once more undisturbed, from the segments of a broker that has just started.
    kill_and_restart(&mut broker, input);
    let plain = output.path().join("plain");
    read_partition_to(&broker.bootstrap(), "lines", 0, &plain);
    assert_same(&input.path, &plain);
}

/// Feeds `kcat -P`; at a third and at two thirds the broker is killed, with batches in flight: some answered, some
/// written, some on the wire.
fn produce_across_kills(broker: &mut Broker, input: &Input, codec: &str) {
    let mut producer = Producer::start(&broker.bootstrap(), "lines", codec);
    let mut source = File::open(&input.path).expect("the input is there");
    let mut buffer = vec![0; 1 << 20];
    let (mut sent, mut kills) = (0, 0);
    loop {
        let n = fill(&mut source, &mut buffer);
        if n == 0 {
            break;
        }
        producer.write(&buffer[..n]);
        sent += n as u64;
        if kills < 2 && sent > input.bytes * (kills + 1) / 3 {
            let mut client = RawClient::connect(broker.kafka_addr());
            eventually("some records", || {
                (client.list_offset("lines", 0, LATEST).2 > 0).then_some(())
            });
            broker.kill9();
            broker.restart();
            kills += 1;
        }
    }
    producer.finish();
    assert_eq!(kills, 2);
    assert_whole(broker, input);
}

/// Every line is there once.
fn assert_whole(broker: &Broker, input: &Input) {
    let end = RawClient::connect(broker.kafka_addr()).list_offset("lines", 0, LATEST);
    assert_eq!(end, (code::NONE, -1, input.lines as i64), "every line once");
}

fn kill_and_restart(broker: &mut Broker, input: &Input) {
    broker.kill9();
    broker.restart();
    assert_whole(broker, input);
}

/// Reads everything with one `kcat -C`; when half of it has come, the broker is killed and started again.
fn consume_across_a_kill(broker: &mut Broker, input: &Input, file: &Path) {
    // -c: with -e alone it would end when it sees an end for the first time. It reads 100,000 records ahead.
    let count = input.lines.to_string();
    let what = [
        "-C",
        "-E",
        "-q",
        "-u",
        "-t",
        "lines",
        "-p",
        "0",
        "-o",
        "beginning",
        "-c",
        &count,
    ];
    let how = ["-X", "check.crcs=true", "-X", "reconnect.backoff.max.ms=200"];
    let mut command = command(&broker.bootstrap(), &[&what[..], &how].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut consumer = spawn_with_us(command).expect("kcat is installed");
    let chunks = read_in_background(consumer.stdout.take().expect("piped"));
    let mut out = BufWriter::new(File::create(file).expect("a file in a temporary directory"));
    let (mut received, mut killed) = (0, false);
    loop {
        let chunk = match chunks.recv_timeout(PATIENCE) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = consumer.kill();
                panic!("nothing comes any more after {received} of {} bytes", input.bytes);
            }
        };
        out.write_all(&chunk).expect("space for the output");
        received += chunk.len() as u64;
        if !killed && received > input.bytes / 2 {
            kill_and_restart(broker, input);
            killed = true;
        }
    }
    out.flush().expect("space for the output");
    let status = consumer.wait().expect("kcat ends");
    assert!(status.success() && killed, "kcat -C ended with {status}");
}

/// What comes out of a pipe, a few chunks ahead.
fn read_in_background(mut pipe: ChildStdout) -> Receiver<Vec<u8>> {
    let (chunks, received) = sync_channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            if chunks.send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    received
}

#[test]
fn a_million_lines_uncompressed() {
    main_job("none");
}

#[test]
fn a_million_lines_gzip() {
    main_job("gzip");
}

#[test]
fn a_million_lines_snappy() {
    main_job("snappy");
}

#[test]
fn a_million_lines_lz4() {
    main_job("lz4");
}

#[test]
fn a_million_lines_zstd() {
    main_job("zstd");
}
