//! Apache Kafka itself as a child process: a fresh KRaft node for the benchmark, and to prove a test right by its original.

use std::fs;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::harness::{PATIENCE, free_port, spawn_with_us};
use crate::java::Java;

/// A running node. Killed when dropped.
#[derive(Debug)]
pub struct ApacheKafka {
    java: Java,
    dir: PathBuf,
    addr: SocketAddr,
    child: Child,
    spawned: Instant,
}

/// Kafka's own defaults for a broker's virtual machine (`kafka-run-class`), with the heap that it has by default.
const OPTIONS: [&str; 7] = [
    "-Xms1G",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

impl ApacheKafka {
    /// Formats `dir` (which must not hold anything) and starts a node there, with `settings` after the necessary ones.
    /// Returns when it accepts connections.
    pub fn start(java: &Java, dir: &Path, settings: &[(&str, &str)]) -> Result<ApacheKafka, String> {
        let context = |e: io::Error| format!("{}: {e}", dir.display());
        fs::create_dir_all(dir).map_err(context)?;
        let (port, controller) = (free_port(), free_port());
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id=0\ncontroller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            dir.join("data").display(),
        );
        for (key, value) in settings {
            properties.push_str(&format!("{key}={value}\n"));
        }
        let file = dir.join("server.properties");
        File::create(&file)
            .and_then(|mut f| f.write_all(properties.as_bytes()))
            .map_err(context)?;
        let arguments = ["format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"].map(std::ffi::OsStr::new);
        let formatted = java.tool(
            "kafka.tools.StorageTool",
            &[&arguments[..], &[file.as_os_str()]].concat(),
            b"",
        );
        if !formatted.success {
            return Err(format!(
                "kafka.tools.StorageTool: {}{}",
                formatted.stdout, formatted.stderr
            ));
        }
        let spawned = Instant::now();
        let child = Self::spawn(java, dir)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut kafka = ApacheKafka {
            java: java.clone(),
            dir: dir.to_owned(),
            addr,
            child,
            spawned,
        };
        kafka.wait_until_it_listens()?;
        Ok(kafka)
    }

    fn spawn(java: &Java, dir: &Path) -> Result<Child, String> {
        let context = |e: io::Error| format!("{}: {e}", dir.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log.txt"))
            .map_err(context)?;
        let mut command: Command = java.command(&OPTIONS, None, "kafka.Kafka");
        command.arg(dir.join("server.properties"));
        command
            .stdout(Stdio::from(log.try_clone().map_err(context)?))
            .stderr(Stdio::from(log));
        spawn_with_us(command).map_err(|e| format!("java: {e}"))
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            if TcpStream::connect(self.addr).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.join("log.txt")).unwrap_or_default();
                return Err(format!("Apache Kafka did not start ({ended:?}):\n{log}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When the process was started (the directory was formatted before).
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// Kills with SIGKILL and reaps. The data stays.
    pub fn kill9(&mut self) {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .expect("a child can be killed and reaped");
    }

    /// Starts the killed node again on its data and port.
    pub fn restart(&mut self) -> Result<(), String> {
        self.spawned = Instant::now();
        self.child = Self::spawn(&self.java, &self.dir)?;
        self.wait_until_it_listens()
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
