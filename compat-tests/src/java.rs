//! Apache Kafka's Java clients, tools and broker: fetched once from Maven Central by name, run as child processes.
//!
//! The jars named by `java/pom.xml` live in `$XDG_CACHE_HOME/streamhouse/java/VERSION-HASH` (`~/.cache` by default), outside
//! the clone. The hash is the pom's: another clone that wants others does not take them away from running programs. `java`
//! (17 or later) and `mvn` must be installed, `javac` too for programs of our own.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client_matrix::install::hash;
use crate::harness::spawn_with_us;

/// The version of Apache Kafka whose jars are used.
pub const KAFKA_VERSION: &str = "4.3.0";

const POM: &str = include_str!("../java/pom.xml");
const LOG4J: &str = include_str!("../java/log4j2.xml");

/// The installed jars.
#[derive(Clone, Debug)]
pub struct Java {
    home: PathBuf,
}

/// What a tool printed and how it ended.
#[derive(Clone, Debug)]
pub struct ToolOutput {
    /// Whether it ended with status 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error: the clients' log, and the tools' complaints.
    pub stderr: String,
}

impl Java {
    /// Finds the jars or fetches them. The error says what is missing and how to get it.
    pub fn install() -> Result<Java, String> {
        assert!(
            POM.contains(&format!(">{KAFKA_VERSION}<")),
            "java/pom.xml names another version"
        );
        for tool in ["java", "mvn"] {
            let found = Command::new(tool)
                .arg("-version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if !found.is_ok_and(|status| status.success()) {
                return Err(format!(
                    "`{tool}` is missing: apt-get install default-jdk-headless maven"
                ));
            }
        }
        let java = Java {
            home: cache_dir().join(format!("{KAFKA_VERSION}-{:016x}", hash(&[POM]))),
        };
        fs::create_dir_all(&java.home).map_err(|e| format!("{}: {e}", java.home.display()))?;
        let _lock = java.lock()?;
        if fs::read_to_string(java.home.join("pom.xml")).ok().as_deref() != Some(POM) {
            java.fetch()?;
        }
        fs::write(java.home.join("log4j2.xml"), LOG4J).map_err(|e| format!("log4j2.xml: {e}"))?;
        Ok(java)
    }

    /// Test processes run side by side: one fetches, the others wait.
    fn lock(&self) -> Result<fs::File, String> {
        let path = self.home.join("lock");
        let file = fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        // SAFETY: the descriptor is open as long as `file` lives; closing it unlocks.
        match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
            0 => Ok(file),
            _ => Err(format!("{}: {}", path.display(), std::io::Error::last_os_error())),
        }
    }

    fn fetch(&self) -> Result<(), String> {
        let (jars, incoming, pom) = (
            self.home.join("jars"),
            self.home.join("incoming"),
            self.home.join("new-pom.xml"),
        );
        let context = |what: &str| format!("{what} in {}", self.home.display());
        eprintln!(
            "fetching the jars of Apache Kafka {KAFKA_VERSION} from Maven Central into {}",
            jars.display()
        );
        for old in [&jars, &incoming] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(|e| format!("{}: {e}", context("old jars")))?;
            }
        }
        fs::write(&pom, POM).map_err(|e| format!("{}: {e}", context("the pom")))?;
        let mut maven = Command::new("mvn");
        maven.args([
            "--quiet",
            "--batch-mode",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "--file",
        ]);
        maven
            .arg(&pom)
            .arg(format!("-DoutputDirectory={}", incoming.display()))
            .stdin(Stdio::null());
        let output = maven.output().map_err(|e| format!("mvn: {e}"))?;
        if !output.status.success() {
            return Err(format!("mvn failed:\n{}", String::from_utf8_lossy(&output.stdout)));
        }
        fs::rename(&incoming, &jars).map_err(|e| format!("{}: {e}", context("the jars")))?;
        fs::rename(&pom, self.home.join("pom.xml")).map_err(|e| format!("{}: {e}", context("the pom")))
    }

    /// A command that runs `class`; `options` are the virtual machine's.
    pub fn command(&self, options: &[&str], extra_classes: Option<&Path>, class: &str) -> Command {
        let mut classpath = self.home.join("jars/*").into_os_string();
        if let Some(classes) = extra_classes {
            classpath.push(":");
            classpath.push(classes);
        }
        let mut log4j = std::ffi::OsString::from("-Dlog4j2.configurationFile=");
        log4j.push(self.home.join("log4j2.xml"));
        let mut command = Command::new("java");
        command
            .args(options)
            .arg("-cp")
            .arg(classpath)
            .arg(log4j)
            .arg(class)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line tool to its end, with `stdin` as its input. `class` is relative to `org.apache.kafka.tools`
    /// unless it has a dot.
    pub fn tool(&self, class: &str, arguments: &[impl AsRef<OsStr>], stdin: &[u8]) -> ToolOutput {
        let class = if class.contains('.') {
            class.to_owned()
        } else {
            format!("org.apache.kafka.tools.{class}")
        };
        let mut command = self.command(&SHORT_LIVED, None, &class);
        command.args(arguments);
        run(command, stdin)
    }

    /// Compiles one source file into `classes` with these jars on the class path.
    pub fn compile(&self, source: &Path, classes: &Path) -> Result<(), String> {
        let mut javac = Command::new("javac");
        javac
            .arg("-cp")
            .arg(self.home.join("jars/*"))
            .arg("-d")
            .arg(classes)
            .arg(source)
            .stdin(Stdio::null());
        let output = javac
            .output()
            .map_err(|e| format!("javac: {e}: apt-get install default-jdk-headless"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "javac {}:\n{}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Runs a program that [`Java::compile`] made.
    pub fn program(&self, classes: &Path, class: &str, arguments: &[&str]) -> ToolOutput {
        let mut command = self.command(&SHORT_LIVED, Some(classes), class);
        command.args(arguments);
        run(command, b"")
    }
}

/// Options that make a virtual machine of a few seconds cheap: no second compiler, one collector thread.
pub(crate) const SHORT_LIVED: [&str; 4] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Xmx512m",
];

fn cache_dir() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
    cache.unwrap_or_else(home).join("streamhouse").join("java")
}

fn run(mut command: Command, stdin: &[u8]) -> ToolOutput {
    use std::io::{Read, Write};
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn_with_us(command).expect("java runs, it answered -version");
    let mut input = child.stdin.take().expect("piped");
    let mut errors = child.stderr.take().expect("piped");
    std::thread::scope(|scope| {
        // A tool that ends early closes its input: what it printed says why.
        scope.spawn(move || drop(input.write_all(stdin)));
        let stderr = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let output = child.wait_with_output().expect("a child can be waited for");
        ToolOutput {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: stderr.join().expect("the reader does not panic"),
        }
    })
}
