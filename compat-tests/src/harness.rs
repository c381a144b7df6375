//! Starts the real binary with its own ports and data directory, and stops it in every way a test needs.
//!
//! A [`Broker`] belongs to one test. It never outlives the test process, and its log is printed when the test fails.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::http_get;
use crate::process::wait_pid;
pub use crate::process::{free_port, spawn_with_us};

/// How long anything may take before a test gives up. Far above what is needed: slow machines are no failures.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `STREAMHOUSE_BIN`, else `streamhouse` beside the running test in the target directory.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STREAMHOUSE_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a running test has a path");
    let found = exe
        .ancestors()
        .skip(1)
        .map(|dir| dir.join("streamhouse"))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no streamhouse binary above {}: run `cargo build --release -p streamhouse`",
            exe.display()
        )
    })
}

/// A command that runs the binary without the settings that our own environment may hold (`STREAMHOUSE_…`).
pub fn binary_command() -> Command {
    let mut command = Command::new(binary());
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("STREAMHOUSE_") {
            command.env_remove(key);
        }
    }
    command
}

/// Options of a broker to start.
#[derive(Clone, Debug, Default)]
pub struct BrokerBuilder {
    settings: Vec<(String, String)>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    listen: Option<(SocketAddr, SocketAddr)>,
}

/// Why a broker did not become ready.
#[derive(Debug)]
pub struct StartFailure {
    /// How the process ended.
    pub status: ExitStatus,
    /// Everything it printed, both streams.
    pub output: String,
}

impl BrokerBuilder {
    /// Passes `--set key=value`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Passes one more argument to `serve`.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable of the broker.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Uses this data directory in place of a temporary one; it is not deleted.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Listens on these addresses (port 0: the broker picks) in place of ports that the harness picks.
    pub fn listen(mut self, kafka: SocketAddr, http: SocketAddr) -> Self {
        self.listen = Some((kafka, http));
        self
    }

    /// Starts the broker and waits until it is ready. Panics with its log if it does not get there.
    pub fn start(self) -> Broker {
        self.try_start()
            .unwrap_or_else(|e| panic!("the broker ended with {}:\n{}", e.status, e.output))
    }

    /// Starts the broker and waits until it is ready or has ended.
    pub fn try_start(self) -> Result<Broker, StartFailure> {
        let work_dir = tempfile::Builder::new()
            .prefix("streamhouse-test-")
            .tempdir()
            .expect("a temporary directory");
        let data_dir = self.data_dir.clone().unwrap_or_else(|| work_dir.path().join("data"));
        let log = Arc::new(Mutex::new(String::new()));
        let mut last = None;
        for _ in 0..20 {
            let (kafka, http) = self
                .listen
                .unwrap_or_else(|| (loopback(free_port()), loopback(free_port())));
            match Process::spawn(&self, &data_dir, kafka, http, &log) {
                Ok(process) => {
                    return Ok(Broker {
                        builder: self,
                        process: Some(process),
                        data_dir,
                        log,
                        _work_dir: work_dir,
                    });
                }
                // Another program took the port between our look and the broker's bind.
                Err(e) if self.listen.is_none() && e.output.contains("ddress already in use") => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.expect("the loop ends early otherwise"))
    }
}

/// A running (or killed, and to be restarted) broker.
#[derive(Debug)]
pub struct Broker {
    builder: BrokerBuilder,
    process: Option<Process>,
    data_dir: PathBuf,
    log: Arc<Mutex<String>>,
    _work_dir: TempDir,
}

impl Broker {
    /// A broker with default settings.
    pub fn start() -> Broker {
        Broker::builder().start()
    }

    /// Options to start a broker with.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Where Kafka clients connect to.
    pub fn kafka_addr(&self) -> SocketAddr {
        self.process().kafka
    }

    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub fn http_addr(&self) -> SocketAddr {
        self.process().http
    }

    /// `host:port` for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.kafka_addr().to_string()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The line that said that the broker is ready.
    pub fn ready_line(&self) -> &str {
        &self.process().ready_line
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process().child.id()
    }

    /// Kills with SIGKILL and reaps. The data directory stays.
    pub fn kill9(&mut self) {
        let process = self.process_mut();
        process.child.kill().expect("SIGKILL can be sent to a child");
        process.child.wait().expect("a killed child can be reaped");
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_exit()
    }

    /// Sends a signal and returns at once.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("process ids are positive i32");
        // SAFETY: kill takes plain numbers; the child is not reaped, so the id is its own.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "signal {signal}: {}", std::io::Error::last_os_error());
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.process_mut().wait_exit()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.process_mut()
            .child
            .try_wait()
            .expect("a child can be asked")
            .is_none()
    }

    /// Starts the broker again on the same ports and data. It must have ended.
    pub fn restart(&mut self) {
        let (kafka, http) = (self.process().kafka, self.process().http);
        assert!(!self.is_running(), "restart() of a broker that runs");
        // A client that reconnects all the time may hold the port for a moment (TCP connects to itself).
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Process::spawn(&self.builder, &self.data_dir, kafka, http, &self.log) {
                Ok(process) => break self.process = Some(process),
                Err(e) if e.output.contains("ddress already in use") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(e) => panic!("the broker did not restart, {}:\n{}", e.status, e.output),
            }
        }
    }

    /// Passes another `--set key=value` from the next [`Broker::restart`] on.
    pub fn set_for_restart(&mut self, key: &str, value: impl ToString) {
        self.builder.settings.retain(|(k, _)| k != key);
        self.builder.settings.push((key.to_owned(), value.to_string()));
    }

    /// Everything that the broker printed so far, over all its restarts.
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics").clone()
    }

    /// `GET path`: status code and body.
    pub fn http_get(&self, path: &str) -> (u16, String) {
        http_get(self.http_addr(), path).expect("the broker's HTTP answers")
    }

    /// Sum of a metric's series whose name and labels contain all of `parts`; `None` if there is none.
    pub fn metric(&self, parts: &[&str]) -> Option<f64> {
        let (_, page) = self.http_get("/metrics");
        let series = page
            .lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        series
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .reduce(|a, b| a + b)
    }

    /// Resident memory now, bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// The largest resident memory since the start, bytes.
    pub fn rss_peak_bytes(&self) -> u64 {
        self.memory_bytes("VmHWM:")
    }

    fn memory_bytes(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status
            .lines()
            .find(|line| line.starts_with(key))
            .expect("Linux reports it");
        let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        kib.expect("a number of KiB") * 1024
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("set by start and restart")
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("set by start and restart")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.len().saturating_sub(200);
            eprintln!("---- the broker's log, last {} lines ----", lines.len() - shown);
            for line in &lines[shown..] {
                eprintln!("{line}");
            }
            eprintln!("---- end of the broker's log ----");
        }
        if let Some(process) = &mut self.process {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// One life of the binary.
#[derive(Debug)]
struct Process {
    child: Child,
    kafka: SocketAddr,
    http: SocketAddr,
    ready_line: String,
}

impl Process {
    fn spawn(
        builder: &BrokerBuilder,
        data_dir: &Path,
        kafka: SocketAddr,
        http: SocketAddr,
        log: &Arc<Mutex<String>>,
    ) -> Result<Process, StartFailure> {
        let mut command = binary_command();
        command.arg("serve").arg("--data-dir").arg(data_dir);
        command
            .arg("--listener")
            .arg(kafka.to_string())
            .arg("--http-listener")
            .arg(http.to_string());
        for (key, value) in &builder.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.args(&builder.arguments);
        command.envs(builder.environment.iter().map(|(k, v)| (k, v)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn_with_us(command).unwrap_or_else(|e| panic!("cannot run {}: {e}", binary().display()));

        let printed_before = log.lock().expect("no reader panics").len();
        let (ready, when_ready) = channel();
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let readers = [
            follow(stdout, Arc::clone(log), Some(ready)),
            follow(stderr, Arc::clone(log), None),
        ];
        match when_ready.recv_timeout(PATIENCE) {
            Ok(ready_line) => {
                let kafka = address_after(&ready_line, "kafka ");
                let http = address_after(&ready_line, "http ");
                Ok(Process {
                    child,
                    kafka,
                    http,
                    ready_line,
                })
            }
            Err(_) => {
                // Its output ended, or it hangs: then the kill ends it.
                let status = match wait_pid(&child, Duration::from_secs(5)) {
                    true => child.wait(),
                    false => child.kill().and_then(|()| child.wait()),
                };
                for reader in readers {
                    let _ = reader.join();
                }
                let output = log.lock().expect("no reader panics")[printed_before..].to_owned();
                Err(StartFailure {
                    status: status.expect("a child can be reaped"),
                    output,
                })
            }
        }
    }

    fn wait_exit(&mut self) -> ExitStatus {
        assert!(
            wait_pid(&self.child, PATIENCE),
            "the broker did not end within {PATIENCE:?}"
        );
        self.child.wait().expect("a child can be reaped")
    }
}

/// Copies a stream into the log line by line; the first line that says "ready" goes to `ready`.
fn follow(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    mut ready: Option<Sender<String>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut log = log.lock().expect("no reader panics");
            log.push_str(&line);
            log.push('\n');
            drop(log);
            if line.contains(" ready: kafka ")
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(line);
            }
        }
    })
}

fn address_after(line: &str, word: &str) -> SocketAddr {
    let at = line
        .find(word)
        .unwrap_or_else(|| panic!("no {word:?} in the ready line {line:?}"));
    let rest = &line[at + word.len()..];
    let text = rest.split([',', ' ']).next().unwrap_or_default();
    text.parse()
        .unwrap_or_else(|e| panic!("{text:?} in the ready line {line:?}: {e}"))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Asks until `probe` gives a value, for what nothing announces (memory that shrinks, files that go). Panics after
/// [`PATIENCE`], naming what was waited for.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a file of the test, for tools that read files.
pub fn write_file(path: &Path, bytes: &[u8]) {
    File::create(path)
        .and_then(|mut file| file.write_all(bytes))
        .expect("a file in a temporary directory");
}

/// The seed of a random test: `SEED` from the environment, else a new one; printed, so that a failure can be replayed.
pub fn seed() -> u64 {
    let given = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse().expect("SEED is a number"));
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is past 1970");
        now.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32)
    });
    println!("SEED={seed} replays this test");
    seed
}
