//! Kafka Connect: two distributed workers, as `connect-distributed` starts them, share a connector, and one takes over.
//!
//! Workers are members of a group of protocol type `connect`, which the broker must carry without knowing it, and keep
//! everything else in three compacted topics.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use streamhouse_compat_tests::harness::{PATIENCE, eventually, free_port, spawn_with_us};

use crate::tools::{CONSUMER, Tools, rows, start};

const WORKER: &str = "org.apache.kafka.connect.cli.ConnectDistributed";
const GROUPS: &str = "org.apache.kafka.tools.GroupsCommand";

/// One worker. Killed when dropped.
struct Worker {
    child: Child,
    rest: SocketAddr,
    log: PathBuf,
}

impl Worker {
    fn start(tools: &Tools, name: &str, protocol: &str) -> Worker {
        let rest = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let settings = format!(
            "bootstrap.servers={}\ngroup.id=connect-cluster\nconnect.protocol={protocol}\nlisteners=HTTP://{rest}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             config.storage.topic=connect-configs\nconfig.storage.replication.factor=1\n\
             offset.storage.topic=connect-offsets\noffset.storage.replication.factor=1\noffset.storage.partitions=2\n\
             status.storage.topic=connect-status\nstatus.storage.replication.factor=1\nstatus.storage.partitions=1\n\
             offset.flush.interval.ms=200\nsession.timeout.ms=6000\nheartbeat.interval.ms=1000\n\
             rebalance.timeout.ms=10000\nscheduled.rebalance.max.delay.ms=500\nplugin.discovery=service_load\n",
            tools.bootstrap
        );
        let file = tools.file(&format!("{name}.properties"), &settings);
        let options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"];
        let mut command = tools.java.command(&options, None, WORKER);
        let log = tools.dir.path().join(format!("{name}.log"));
        let output = File::create(&log).expect("a file in a temporary directory");
        let errors = output.try_clone().expect("a descriptor");
        command.arg(file).stdout(Stdio::from(output)).stderr(errors);
        let child = spawn_with_us(command).expect("java runs, it answered -version");
        Worker { child, rest, log }
    }

    /// Its name in the cluster.
    fn id(&self) -> String {
        self.rest.to_string()
    }

    /// Asks its REST interface. `None` while it is not up, or answers that the group is rebalancing.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.rest).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.rest,
            body.len()
        )
        .ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        let reply = String::from_utf8_lossy(&reply).into_owned();
        reply.starts_with("HTTP/1.1 2").then_some(reply)
    }

    /// Waits until the connector and its task run on the worker of that name, as this one says.
    fn wait_until_runs_on(&self, owner: &str) {
        let running = format!(r#""state":"RUNNING","worker_id":"{owner}""#);
        let what = format!("connector and task on {owner}, as {} says", self.id());
        self.wait(&what, || {
            let status = self.ask("GET", "/connectors/lines/status", "")?;
            (status.matches(&running).count() == 2).then_some(())
        });
    }

    /// Waits with what the worker logged in the failure's message.
    fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + PATIENCE;
        eventually(what, || {
            let found = probe();
            if found.is_none() && std::time::Instant::now() > deadline - std::time::Duration::from_secs(1) {
                panic!("waited for {what}; {} logged:\n{}", self.id(), tail(&self.log));
            }
            found
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The lines of the topic, once it has the last one.
fn lines(tools: &Tools, worker: &Worker, last: u32) -> Vec<u32> {
    worker.wait(&format!("line {last} in the topic"), || {
        let read = "--topic lines --partition 0 --offset earliest --timeout-ms 1000";
        let printed = tools.run(CONSUMER, read, "").stdout;
        let numbers: Vec<u32> = printed.lines().filter_map(|line| line.parse().ok()).collect();
        numbers.contains(&last).then_some(numbers)
    })
}

fn append(file: &Path, lines: std::ops::RangeInclusive<u32>) {
    let text: String = lines.map(|i| format!("{i}\n")).collect();
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(file)
        .expect("a file in a temporary directory");
    file.write_all(text.as_bytes())
        .expect("a file in a temporary directory");
}

/// A pair of workers runs a connector; its owner is killed; the other goes on where it was.
fn one_takes_over(protocol: &str) {
    let Some(tools) = start() else { return };
    let workers = ["one", "two"].map(|name| Worker::start(&tools, name, protocol));
    for worker in &workers {
        worker.wait("the worker's REST interface", || worker.ask("GET", "/connectors", ""));
    }
    let input = tools.dir.path().join("input.txt");
    append(&input, 1..=50);
    let connector = format!(
        r#"{{"connector.class":"org.apache.kafka.connect.file.FileStreamSourceConnector","tasks.max":"1","file":"{}","topic":"lines"}}"#,
        input.display()
    );
    workers[0].wait("a connector", || {
        workers[0].ask("PUT", "/connectors/lines/config", &connector)
    });
    let owner = workers[0].wait("a task that runs", || {
        let status = workers[0].ask("GET", "/connectors/lines/status", "")?;
        let task = status.split(r#""tasks":["#).nth(1)?;
        let at = workers.iter().position(|worker| task.contains(&worker.id()))?;
        task.contains("RUNNING").then_some(at)
    });
    assert_eq!(lines(&tools, &workers[0], 50), (1..=50).collect::<Vec<u32>>());
    let listed = tools.out(GROUPS, "--list");
    assert_eq!(
        rows(&listed, "connect-cluster").concat(),
        ["connect-cluster", "Classic", "connect"]
    );

    let [one, two] = workers;
    let (killed, other) = if owner == 0 { (one, two) } else { (two, one) };
    drop(killed);
    append(&input, 51..=100);
    other.wait_until_runs_on(&other.id());
    let read = lines(&tools, &other, 100);
    // Lines whose position was not yet stored when the owner was killed come again, none is missing or out of order.
    let mut seen: Vec<u32> = read.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (1..=100).collect::<Vec<u32>>(), "read {read:?}");
}

/// The protocol of today: incremental and with session keys.
#[test]
fn sessioned_workers_take_over() {
    one_takes_over("sessioned");
}

/// The protocol of the first versions: everybody gives up everything in each rebalance.
#[test]
fn eager_workers_take_over() {
    one_takes_over("eager");
}
