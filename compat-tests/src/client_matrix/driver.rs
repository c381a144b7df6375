//! Plays the scenario with one row of the table, on a broker of its own.
//!
//! Members are child processes; a thread for each hands its lines to the checker. The scenario goes on when the checker
//! says that the members have settled and that every record was seen, and never waits for a time.
//! `CLIENT_TESTS_AGAINST_KAFKA=1` plays it on Apache Kafka: what fails there is wrong in a program or in the checker.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::checker::{Checker, Event, Line, PARTITIONS};
use super::{ClientRow, Program};
use crate::RawClient;
use crate::apache_kafka::ApacheKafka;
use crate::harness::{Broker, PATIENCE, spawn_with_us};
use crate::java::Java;
use crate::process::wait_pid;

const TOPIC: &str = "numbers";
const GROUP: &str = "readers";
/// A step of the scenario may take several rebalances, each as long as a session.
const STEP_MAX: Duration = PATIENCE.saturating_mul(3);
/// Scenarios that run at once in this process, whatever the number of test threads: each is four processes and a broker.
const SCENARIOS_MAX: usize = 4;

/// What a broker of the matrix is configured with: rebalances that do not wait long for more members, and sessions of the
/// consumer protocol as short as those that the programs ask for in the classic one.
const SETTINGS: [(&str, &str); 5] = [
    ("group.initial.rebalance.delay.ms", "500"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "1000"),
];

/// Plays the scenario. Panics with the story of all members if it does not end well.
pub fn play(row: &ClientRow) {
    let program = (row.install)().unwrap_or_else(|e| panic!("{} cannot be installed: {e}", row.library));
    let _permit = Permit::take();
    let mut scenario = Scenario::start(row, program);
    scenario.two_members_share();
    scenario.a_third_joins();
    scenario.one_is_killed();
    scenario.the_broker_is_killed();
    scenario.all_stop_and_start_again();
    let duplicates = scenario.story().checker.duplicates();
    println!(
        "{}: every record seen, {duplicates} read again as commits allow",
        row.name
    );
}

/// One of the scenarios that may run at once.
struct Permit;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Permit {
    fn take() -> Permit {
        let running = RUNNING.0.lock().expect("holders do not panic");
        let mut running = RUNNING
            .1
            .wait_while(running, |running| *running >= SCENARIOS_MAX)
            .expect("holders do not panic");
        *running += 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Ok(mut running) = RUNNING.0.lock() {
            *running -= 1;
        }
        RUNNING.1.notify_one();
    }
}

/// The broker that the clients talk to.
enum Under {
    StreamHouse(Box<Broker>),
    Kafka(ApacheKafka),
}

impl Under {
    fn start(dir: &TempDir) -> Under {
        if std::env::var_os("CLIENT_TESTS_AGAINST_KAFKA").is_none() {
            let builder = SETTINGS
                .iter()
                .fold(Broker::builder(), |builder, (key, value)| builder.set(key, value));
            return Under::StreamHouse(Box::new(builder.start()));
        }
        let java = Java::install().unwrap_or_else(|e| panic!("{e}"));
        // Kafka makes 50 partitions for its groups, one after the other, before the first member gets an answer.
        let settings = [&SETTINGS[..], &[("offsets.topic.num.partitions", "4")]].concat();
        let kafka = ApacheKafka::start(&java, &dir.path().join("kafka"), &settings);
        Under::Kafka(kafka.unwrap_or_else(|e| panic!("{e}")))
    }

    fn bootstrap(&self) -> String {
        match self {
            Under::StreamHouse(broker) => broker.bootstrap(),
            Under::Kafka(kafka) => kafka.addr().to_string(),
        }
    }

    fn kill9_and_restart(&mut self) {
        match self {
            Under::StreamHouse(broker) => {
                broker.kill9();
                broker.restart();
            }
            Under::Kafka(kafka) => {
                kafka.kill9();
                kafka.restart().unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
}

/// All that members said so far, and what follows from it.
#[derive(Default)]
struct Story {
    checker: Checker,
    /// For the report of a failure: when, and what.
    events: Vec<(Duration, Event)>,
    /// Members whose output ended, each with what it printed that is no line of a program.
    ended: Vec<(String, Vec<String>)>,
}

struct Shared {
    began: Instant,
    story: Mutex<Story>,
    changed: Condvar,
}

impl Shared {
    fn apply(&self, event: Event) {
        let mut story = self.story.lock().expect("the checker does not panic");
        story.checker.apply(&event);
        story.events.push((self.began.elapsed(), event));
        self.changed.notify_all();
    }
}

/// One life of a consumer.
struct Member {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run of `produce`.
struct Producer {
    name: String,
    first: i64,
    count: i64,
    child: Child,
}

struct Scenario {
    row: ClientRow,
    program: Program,
    members: Vec<Member>,
    shared: Arc<Shared>,
    under: Under,
    dir: TempDir,
}

impl Scenario {
    fn start(row: &ClientRow, program: Program) -> Scenario {
        let dir = tempfile::Builder::new()
            .prefix("streamhouse-matrix-")
            .tempdir()
            .expect("a temporary directory");
        let under = Under::start(&dir);
        let address = under.bootstrap().parse().expect("an address");
        RawClient::connect(address).create_topic(TOPIC, PARTITIONS);
        let shared = Arc::new(Shared {
            began: Instant::now(),
            story: Mutex::default(),
            changed: Condvar::new(),
        });
        Scenario {
            row: *row,
            program,
            members: Vec::new(),
            shared,
            under,
            dir,
        }
    }

    fn two_members_share(&mut self) {
        self.produce(0, 5_000);
        self.join("A");
        self.join("B");
        self.wait_until_settled(&["A", "B"]);
    }

    fn a_third_joins(&mut self) {
        self.join("C");
        self.produce(5_000, 2_500);
        self.wait_until_settled(&["A", "B", "C"]);
    }

    /// B dies while it reads, with records that it has printed and not committed, or not even printed.
    fn one_is_killed(&mut self) {
        let first = 7_500;
        let producer = self.start_producer(first, 2_500);
        self.wait_for("a new record for B", |checker| checker.largest_read("B") >= Some(first));
        self.kill9("B");
        self.finish_producer(producer);
        self.wait_until_settled(&["A", "C"]);
    }

    /// Commits prove that the members are known again: if the broker was away for longer than a session, they have to
    /// join anew before they may stop.
    fn the_broker_is_killed(&mut self) {
        self.under.kill9_and_restart();
        self.produce(10_000, 100);
        self.wait_until(&["A", "C"], Checker::is_committed);
    }

    /// One after the other, so that C's last commit does not fall into the rebalance that A's leaving causes.
    fn all_stop_and_start_again(&mut self) {
        self.stop("A");
        self.wait_until_settled(&["C"]);
        self.stop("C");
        self.join("A2");
        self.join("C2");
        self.produce(10_100, 100);
        self.wait_until_settled(&["A2", "C2"]);
        self.stop("A2");
        self.stop("C2");
        self.check();
    }

    fn command(&self, subcommand: &str, name: &str) -> Command {
        let mut command = self.program.command();
        command.args([subcommand, "--bootstrap", &self.under.bootstrap(), "--topic", TOPIC]);
        let errors = File::create(self.errors_of(name)).expect("a file in a temporary directory");
        command.stderr(errors).stdout(Stdio::piped());
        command
    }

    fn errors_of(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.stderr"))
    }

    fn produce(&self, first: i64, count: i64) {
        let producer = self.start_producer(first, count);
        self.finish_producer(producer);
    }

    fn start_producer(&self, first: i64, count: i64) -> Producer {
        let name = format!("producer of {first}");
        let mut command = self.command("produce", &name);
        command.args(["--first", &first.to_string(), "--count", &count.to_string()]);
        let child = spawn_with_us(command).unwrap_or_else(|e| panic!("{}: {e}", self.row.library));
        Producer {
            name,
            first,
            count,
            child,
        }
    }

    fn finish_producer(&self, mut producer: Producer) {
        let Producer { name, first, count, .. } = &producer;
        let (first, count) = (*first, *count);
        if !wait_pid(&producer.child, STEP_MAX) {
            let why = format!("the {name} does not end");
            let _ = producer.child.kill();
            let _ = producer.child.wait();
            self.fail(&why);
        }
        let name = producer.name;
        let output = producer.child.wait_with_output().expect("a child can be waited for");
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || printed.trim() != format!("produced {count}") {
            self.fail(&format!(
                "the {name} ended with {} and printed {printed:?}",
                output.status
            ));
        }
        self.shared.apply(Event::Produced { first, count });
    }

    fn join(&mut self, name: &str) {
        let mut command = self.command("consume", name);
        command.args(["--group", GROUP, "--name", name]).args(self.row.consume);
        command.stdin(Stdio::piped());
        let mut child = spawn_with_us(command).unwrap_or_else(|e| panic!("{}: {e}", self.row.library));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (shared, member) = (Arc::clone(&self.shared), name.to_owned());
        let reader = std::thread::spawn(move || follow(&shared, &member, BufReader::new(stdout)));
        self.members.push(Member {
            name: name.to_owned(),
            child,
            stdin,
            reader: Some(reader),
        });
    }

    fn take(&mut self, name: &str) -> Member {
        let at = self.members.iter().position(|member| member.name == name);
        self.members.remove(at.expect("the scenario knows who lives"))
    }

    fn kill9(&mut self, name: &str) {
        let mut member = self.take(name);
        member
            .child
            .kill()
            .and_then(|()| member.child.wait())
            .expect("a child can be killed and reaped");
        self.bury(&mut member);
        self.shared.apply(Event::Ended(name.to_owned()));
    }

    /// Ends its input and waits until it has left.
    fn stop(&mut self, name: &str) {
        let mut member = self.take(name);
        drop(member.stdin.take());
        if !wait_pid(&member.child, STEP_MAX) {
            self.fail(&format!("{name} was told to stop and does not end"));
        }
        let status = member.child.wait().expect("a child can be reaped");
        self.bury(&mut member);
        let closed = |(_, event): &(Duration, Event)| matches!(event, Event::Said(who, Line::Closed) if who == name);
        if !status.success() || !self.story().events.iter().any(closed) {
            self.fail(&format!("{name} was told to stop and ended with {status}"));
        }
    }

    /// Takes the last lines of a member that ended because we wanted it.
    fn bury(&self, member: &mut Member) {
        if let Some(reader) = member.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        let mut story = self.story();
        let at = story.ended.iter().position(|(name, _)| *name == member.name);
        let (name, strange) = story.ended.remove(at.expect("the reader says so last"));
        drop(story);
        if !strange.is_empty() {
            self.fail(&format!("{name} printed what is no line of a program: {strange:?}"));
        }
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.shared.story.lock().expect("the checker does not panic")
    }

    /// Waits until exactly these members share all partitions and every acknowledged record was seen.
    fn wait_until_settled(&self, members: &[&str]) {
        self.wait_until(members, |_| true);
    }

    /// Waits until they have settled and the checker says yes besides.
    fn wait_until(&self, members: &[&str], besides: impl Fn(&Checker) -> bool) {
        self.wait_for(&format!("{members:?} to settle"), |checker| {
            checker.is_settled(members) && checker.missing().is_empty() && besides(checker)
        });
        self.check();
    }

    /// Waits until the checker says yes. Fails when it finds a fault, a member ends, or it takes too long.
    fn wait_for(&self, what: &str, done: impl Fn(&Checker) -> bool) {
        let deadline = Instant::now() + STEP_MAX;
        let mut story = self.story();
        while story.checker.faults().is_empty() && !done(&story.checker) {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut why = None;
            if let Some((name, strange)) = story.ended.first() {
                why = Some(format!(
                    "{name} ended by itself; it printed besides its lines: {strange:?}"
                ));
            } else if left.is_zero() {
                why = Some(format!("waited {STEP_MAX:?} for {what}: {}", state(&story.checker)));
            }
            if let Some(why) = why {
                drop(story);
                self.fail(&why);
            }
            let waited = self.shared.changed.wait_timeout(story, left);
            story = waited.expect("the checker does not panic").0;
        }
        let is_faulty = !story.checker.faults().is_empty();
        drop(story);
        if is_faulty {
            self.check();
        }
    }

    /// Members are quiet: whatever happened so far was right, or never will be.
    fn check(&self) {
        let story = self.story();
        let found = [story.checker.faults(), &story.checker.gaps()].concat();
        drop(story);
        if !found.is_empty() {
            self.fail(&format!("found: {found:#?}"));
        }
    }

    fn fail(&self, why: &str) -> ! {
        let story = self.story();
        let mut report = format!(
            "{} ({}): {why}\n---- what happened ----\n",
            self.row.name, self.row.library
        );
        report.push_str(&told(&story.events));
        drop(story);
        let mut errors: Vec<PathBuf> = fs::read_dir(self.dir.path())
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        errors.retain(|path| path.extension().is_some_and(|extension| extension == "stderr"));
        errors.sort();
        for path in errors {
            let text = fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let _ = writeln!(
                report,
                "---- standard error of {name}, last of {} lines ----",
                lines.len()
            );
            for line in &lines[lines.len().saturating_sub(40)..] {
                let _ = writeln!(report, "{line}");
            }
        }
        panic!("{report}");
    }
}

/// Hands a member's lines to the checker until its output ends. A line that a kill cut short is none.
fn follow(shared: &Shared, member: &str, mut output: impl BufRead) {
    let (mut strange, mut line) = (Vec::new(), Vec::new());
    while output.read_until(b'\n', &mut line).is_ok() && line.ends_with(b"\n") {
        match Line::parse(&String::from_utf8_lossy(&line)) {
            Ok(line) => shared.apply(Event::Said(member.to_owned(), line)),
            Err(line) => strange.push(line),
        }
        line.clear();
    }
    let mut story = shared.story.lock().expect("the checker does not panic");
    story.ended.push((member.to_owned(), strange));
    shared.changed.notify_all();
}

/// What the checker waits for, as text.
fn state(checker: &Checker) -> String {
    let missing = checker.missing();
    let first: Vec<i64> = missing.iter().copied().take(10).collect();
    format!(
        "owners {:?}, everything read is committed: {}, {} records were not seen: {first:?}…",
        checker.owners(),
        checker.is_committed(),
        missing.len()
    )
}

/// The story as text: a member's contiguous records of one partition are one line.
fn told(events: &[(Duration, Event)]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut last: Option<(&str, i32, i64, i64)> = None;
    for (at, event) in events {
        let at = at.as_secs_f64();
        if let Event::Said(member, Line::Record { partition, offset, .. }) = event {
            let continued =
                last.filter(|(who, p, _, to)| (*who, *p, *to + 1) == (member.as_str(), *partition, *offset));
            let from = continued.map_or(*offset, |(_, _, from, _)| from);
            if continued.is_some() {
                lines.pop();
            }
            lines.push(format!("{at:8.3} {member} records of {partition}: {from}..={offset}"));
            last = Some((member, *partition, from, *offset));
            continue;
        }
        last = None;
        lines.push(match event {
            Event::Produced { first, count } => format!("{at:8.3} produced {first}..{}", first + count),
            Event::Ended(member) => format!("{at:8.3} {member} was killed"),
            Event::Said(member, line) => format!("{at:8.3} {member} {line:?}"),
        });
    }
    lines.join("\n") + "\n"
}
