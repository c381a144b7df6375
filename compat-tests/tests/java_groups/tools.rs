//! A broker with groups, the tools that talk to it, and members that stay.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use streamhouse_compat_tests::apache_kafka::ApacheKafka;
use streamhouse_compat_tests::client_matrix::install;
use streamhouse_compat_tests::harness::{spawn_with_us, write_file};
use streamhouse_compat_tests::java::{Java, KAFKA_VERSION};
use streamhouse_compat_tests::{Broker, crate_dir};
use tempfile::TempDir;

use crate::runner::{Output, Runner};

pub(crate) const CONFIGS: &str = "kafka.admin.ConfigCommand";
pub(crate) const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
pub(crate) const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
pub(crate) const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
pub(crate) const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
pub(crate) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// Settings of both brokers: groups that do not wait long for more members, and few partitions to make for them.
const SETTINGS: [(&str, &str); 2] = [
    ("group.initial.rebalance.delay.ms", "100"),
    ("offsets.topic.num.partitions", "4"),
];

/// A broker and the tools that talk to it.
pub(crate) struct Tools {
    pub(crate) java: Java,
    pub(crate) bootstrap: String,
    runner: RefCell<Runner>,
    _broker: Under,
    /// For files of the test. Last, so that it goes when nobody writes there any more.
    pub(crate) dir: TempDir,
}

/// What is tested: it ends with the test.
enum Under {
    StreamHouse(#[allow(dead_code, reason = "held for its Drop")] Box<Broker>),
    Kafka(#[allow(dead_code, reason = "held for its Drop")] ApacheKafka),
}

/// `None` where Java is missing and may be.
pub(crate) fn start() -> Option<Tools> {
    let java = match Java::install() {
        Ok(java) => java,
        Err(e) if std::env::var_os("SKIP_JAVA_TESTS").is_some_and(|value| value == "1") => {
            eprintln!("SKIPPED, as SKIP_JAVA_TESTS=1 allows: {e}");
            return None;
        }
        Err(e) => panic!("{e}\n(SKIP_JAVA_TESTS=1 skips the tests with Java's clients)"),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (bootstrap, broker) = if std::env::var_os("JAVA_TESTS_AGAINST_KAFKA").is_some() {
        let kafka = ApacheKafka::start(&java, &dir.path().join("kafka"), &SETTINGS).unwrap_or_else(|e| panic!("{e}"));
        (kafka.addr().to_string(), Under::Kafka(kafka))
    } else {
        let builder = SETTINGS
            .iter()
            .fold(Broker::builder(), |builder, (key, value)| builder.set(key, value));
        let broker = builder.start();
        (broker.bootstrap(), Under::StreamHouse(Box::new(broker)))
    };
    let classes = programs(&java).unwrap_or_else(|e| panic!("{e}"));
    let runner = RefCell::new(Runner::start(&java, &classes));
    Some(Tools {
        java,
        bootstrap,
        runner,
        _broker: broker,
        dir,
    })
}

/// The folder of our programs' classes, compiled once.
fn programs(java: &Java) -> Result<PathBuf, String> {
    let javac = install::tool_version("javac", "-version", "default-jdk-headless")?;
    let sources = [
        include_str!("../../java/ToolRunner.java"),
        include_str!("../../java/GroupChecks.java"),
    ];
    let ingredients = [&javac, KAFKA_VERSION, sources[0], sources[1]];
    install::installed("java-tools", &ingredients, |dir| {
        ["ToolRunner.java", "GroupChecks.java"]
            .iter()
            .try_for_each(|source| java.compile(&crate_dir().join("java").join(source), dir))
    })
}

impl Tools {
    /// Runs a tool with `--bootstrap-server` and these arguments, separated by blanks.
    pub(crate) fn run(&self, tool: &str, arguments: &str, stdin: &str) -> Output {
        let mut words = vec![tool, "--bootstrap-server", &self.bootstrap];
        words.extend(arguments.split_whitespace());
        self.runner.borrow_mut().run(&words, stdin)
    }

    /// Runs the `main` of another class.
    pub(crate) fn program(&self, words: &[&str]) -> Output {
        self.runner.borrow_mut().run(words, "")
    }

    /// Standard output of a tool that must succeed.
    #[track_caller]
    pub(crate) fn out(&self, tool: &str, arguments: &str) -> String {
        self.out_with(tool, arguments, "")
    }

    /// The same for a tool that reads `stdin`.
    #[track_caller]
    pub(crate) fn out_with(&self, tool: &str, arguments: &str, stdin: &str) -> String {
        let output = self.run(tool, arguments, stdin);
        assert_eq!(
            output.status, 0,
            "{tool} {arguments}\n{}\n{}",
            output.stdout, output.stderr
        );
        output.stdout
    }

    /// Everything that a tool printed that must fail.
    #[track_caller]
    pub(crate) fn fails(&self, tool: &str, arguments: &str) -> String {
        let output = self.run(tool, arguments, "");
        assert_ne!(output.status, 0, "{tool} {arguments} succeeds\n{}", output.stdout);
        output.stdout + &output.stderr
    }

    /// A topic with the numbers `1..=records` as lines, all in one partition.
    pub(crate) fn topic(&self, name: &str, partitions: u32, records: u32) {
        self.out(TOPICS, &format!("--create --topic {name} --partitions {partitions}"));
        // One key, one partition.
        let lines: String = (1..=records).map(|i| format!("key\t{i}\n")).collect();
        let reader = "--reader-property parse.key=true";
        self.out_with(PRODUCER, &format!("--topic {name} {reader}"), &lines);
    }

    /// A file with that text.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        write_file(&path, text.as_bytes());
        path.to_string_lossy().into_owned()
    }

    /// A console consumer in a group that runs until it is dropped, with its own virtual machine, as a user's.
    pub(crate) fn member(&self, topic: &str, group: &str, properties: &[&str]) -> Member {
        let options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"];
        let mut command = self.java.command(&options, None, CONSUMER);
        command.args([
            "--bootstrap-server",
            &self.bootstrap,
            "--topic",
            topic,
            "--group",
            group,
        ]);
        command.arg("--from-beginning");
        for property in properties {
            command.args(["--command-property", property]);
        }
        let path = self.dir.path().join(format!("{group}.out"));
        let file = File::create(&path).expect("a file in a temporary directory");
        let errors = file.try_clone().expect("a descriptor");
        command.stdout(Stdio::from(file)).stderr(errors);
        let child = spawn_with_us(command).expect("java runs, it answered -version");
        Member { child, path }
    }
}

/// A member of a group that stays. Killed when dropped, unless it left before.
pub(crate) struct Member {
    child: Child,
    path: PathBuf,
}

impl Member {
    /// Everything that it printed so far, records and complaints.
    pub(crate) fn printed(&self) -> String {
        read(&self.path)
    }

    /// Asks it to leave, as Ctrl-C does, and waits until it has.
    pub(crate) fn leave(mut self) {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive i32");
        // SAFETY: kill takes plain numbers; the child is not reaped, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        self.child.wait().expect("a child can be reaped");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[track_caller]
pub(crate) fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// The rows of a tool's table that are about `first`, each as its words.
pub(crate) fn rows<'a>(text: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let mut rows: Vec<Vec<&str>> = rows.filter(|words| words.first() == Some(&first)).collect();
    rows.sort_unstable();
    rows
}
