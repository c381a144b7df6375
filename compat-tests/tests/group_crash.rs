//! kill −9 at random moments during rebalances and commits: contract 69, 72–80, 84, 85, 87.
//!
//! Each round lets members of classic groups (dynamic and static), members of consumer groups and plain committers run until
//! a random number of steps (commits, joins, assignments) is acknowledged, kills the broker (now and then while it still
//! starts, or with SIGTERM), starts it again and reads all offsets: each must be the last one that was acknowledged, or a
//! later one of which nobody knows. In most rounds every group must become whole again before the unrest goes on; in the
//! others the kill comes into the midst of that. What must hold is in `group_checker.rs`.
//!
//! `GROUP_CRASH_ROUNDS` (100) and `GROUP_CRASH_SEED` (random) are the environment's; the seed is printed. The same seed gives
//! the same plan (kinds, moments), not the same interleaving. `GROUP_CRASH_KEEP=1` keeps the data of the last kill as it was
//! before any recovery, in `data-before` beside the failed broker's `data`. `GROUP_CRASH_AGAINST_KAFKA=1` runs it against
//! Apache Kafka (few rounds: each start takes seconds): what fails there is wrong in the test.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FindCoordinatorRequest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use streamhouse_compat_tests::apache_kafka::ApacheKafka;
use streamhouse_compat_tests::group_checker::{Event, Fault};
use streamhouse_compat_tests::group_workload::{
    ClassicMember, Committer, ConsumerMember, Kind, Shared, TOPICS, read_all,
};
use streamhouse_compat_tests::interrupted_start::{copy_before_recovery, start_and_kill};
use streamhouse_compat_tests::java::Java;
use streamhouse_compat_tests::ops::text;
use streamhouse_compat_tests::{Broker, RawClient, eventually};

/// A group each; members of each that has any.
const GROUPS: [Kind; 6] = [
    Kind::Classic,
    Kind::ClassicStatic,
    Kind::Consumer,
    Kind::Simple,
    Kind::Consumer,
    Kind::Simple,
];
const MEMBERS: usize = 3;
/// Few partitions of the internal topic, so that groups share them; small segments and checkpoints, so that they roll.
const SETTINGS: [(&str, &str); 3] = [
    ("group.min.session.timeout.ms", "500"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "4"),
];
/// What Kafka does not know.
const OUR_SETTINGS: [(&str, &str); 2] = [
    ("offsets.topic.segment.bytes", "1048576"),
    ("offsets.topic.checkpoint.min.records", "500"),
];
/// The number of the reader that looks at everything.
const READER: u64 = 0;

#[test]
fn acknowledged_commits_survive_kill_9() {
    let rounds = from_env("GROUP_CRASH_ROUNDS").unwrap_or(100);
    let seed = from_env("GROUP_CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(()));
    let keep_before = from_env("GROUP_CRASH_KEEP").is_some_and(|keep| keep == 1);
    println!("GROUP_CRASH_SEED={seed} GROUP_CRASH_ROUNDS={rounds}");
    let mut rng = StdRng::seed_from_u64(seed);

    // Not a temporary directory of the harness: it has to outlive a failure.
    let home = tempfile::Builder::new()
        .prefix("streamhouse-group-crash-")
        .tempdir()
        .expect("a temporary directory");
    let mut node = Node::start(home.path());
    let shared = Shared::new(prepare(node.addr()), &GROUPS, MEMBERS);
    let mut clients = Clients::new(&shared, &mut rng);
    let started = Instant::now();
    for round in 1..=rounds {
        let plan = Plan::random(&mut rng, round == rounds);
        let mut outcome = run_and_crash(&mut node, &shared, &mut clients, &plan);
        if keep_before {
            copy_before_recovery(home.path());
        }
        if outcome.is_ok() {
            node.interrupt_starts(home.path(), &plan.interrupted_starts);
            node.restart();
            outcome = read_all(&shared, node.addr(), READER).map_err(|e| e.to_string());
        }
        if outcome.is_err() || !shared.faults().is_empty() || !shared.surprises().is_empty() {
            let kept = home.keep();
            let _ = std::fs::write(kept.join("broker.log"), node.log());
            report(&shared, seed, round, &plan, &kept);
            panic!(
                "round {round} of {rounds}, GROUP_CRASH_SEED={seed}: {outcome:?}, {} faults",
                shared.faults().len()
            );
        }
        if round % 10 == 0 || round == rounds {
            let (checker, elapsed) = (shared.checker(), started.elapsed());
            let (acked, unknown) = (checker.acknowledged(), checker.unknown());
            let generations = checker.generations();
            println!(
                "round {round}: {acked} commits acknowledged, {unknown} unknown, generations {generations:?}, {elapsed:.1?}"
            );
        }
    }
    println!("members were told: {:?}", shared.notes());
}

fn from_env(key: &str) -> Option<u64> {
    let text = std::env::var(key).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{key}={text}: {e}")))
}

/// Creates the topics and waits until the coordinator is there. Gives the topics' ids.
fn prepare(addr: SocketAddr) -> [uuid::Uuid; 2] {
    let mut admin = RawClient::connect(addr);
    for (topic, partitions) in TOPICS {
        admin.create_topic(topic, partitions);
    }
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("any")]);
    eventually("the group coordinator", || {
        let answer = admin.call(4, &request);
        answer.coordinators.iter().all(|c| c.error_code == 0).then_some(())
    });
    TOPICS.map(|(topic, _)| {
        eventually("a topic's id", || {
            let described = admin.describe_topic(topic);
            (described.error_code == 0).then_some(described.topic_id)
        })
    })
}

/// What one round does.
#[derive(Debug)]
struct Plan {
    /// All groups become whole before members disturb them.
    settle: bool,
    /// Acknowledged steps to wait for then.
    steps: u64,
    /// Then a moment more: between any two steps inside the broker.
    then: Duration,
    /// SIGTERM in place of SIGKILL.
    graceful: bool,
    /// Starts that are killed after so long, before the one that may live.
    interrupted_starts: Vec<Duration>,
}

impl Plan {
    fn random(rng: &mut StdRng, last: bool) -> Plan {
        let settle = rng.random_bool(0.7);
        // Spread evenly over the powers of two: soon after the start as often as later.
        let steps = rng.random_range(0.0..9.5f64).exp2() as u64;
        let then = Duration::from_micros(rng.random_range(0..4_000));
        let graceful = rng.random_bool(0.08);
        let interruptions = if rng.random_bool(0.2) {
            rng.random_range(1..=3)
        } else {
            0
        };
        let interrupted_starts = (0..interruptions)
            .map(|_| Duration::from_micros(rng.random_range(0..120_000)))
            .collect();
        Plan {
            settle: settle || last,
            steps,
            then,
            graceful,
            interrupted_starts,
        }
    }
}

/// All seats and committers.
struct Clients<'a> {
    classic: Vec<ClassicMember<'a>>,
    consumers: Vec<ConsumerMember<'a>>,
    committers: Vec<Committer<'a>>,
}

impl<'a> Clients<'a> {
    fn new(shared: &'a Shared, rng: &mut StdRng) -> Clients<'a> {
        let mut clients = Clients {
            classic: Vec::new(),
            consumers: Vec::new(),
            committers: Vec::new(),
        };
        for (index, group) in shared.groups.iter().enumerate() {
            for slot in group.slots.clone() {
                match group.kind {
                    Kind::Classic | Kind::ClassicStatic => {
                        clients
                            .classic
                            .push(ClassicMember::new(shared, index, slot, rng.random()));
                    }
                    Kind::Consumer => clients
                        .consumers
                        .push(ConsumerMember::new(shared, index, slot, rng.random())),
                    Kind::Simple => {}
                }
            }
            if group.kind == Kind::Simple {
                let reader = READER + 1 + index as u64;
                clients
                    .committers
                    .push(Committer::new(shared, index, reader, rng.random()));
            }
        }
        clients
    }
}

fn run_and_crash(node: &mut Node, shared: &Shared, clients: &mut Clients<'_>, plan: &Plan) -> Result<(), String> {
    let addr = node.addr();
    shared.begin_life();
    let reached = std::thread::scope(|scope| {
        for member in &mut clients.classic {
            scope.spawn(move || member.run(addr));
        }
        for member in &mut clients.consumers {
            scope.spawn(move || member.run(addr));
        }
        for committer in &mut clients.committers {
            scope.spawn(move || committer.run(addr));
        }
        let settled = if plan.settle {
            shared.wait_until_settled()
        } else {
            Ok(())
        };
        shared.begin_unrest();
        let reached = settled.and_then(|()| shared.wait_for_steps(plan.steps));
        std::thread::sleep(plan.then);
        shared.begin_to_die();
        let ended = node.end(plan.graceful);
        shared.stop();
        reached.and(ended)
    });
    shared.record(&Event::Killed);
    reached
}

fn report(shared: &Shared, seed: u64, round: u64, plan: &Plan, kept: &Path) {
    eprintln!(
        "GROUP_CRASH_SEED={seed}, round {round}, {plan:?}; data and broker.log are kept in {}",
        kept.display()
    );
    let faults = shared.faults();
    for fault in faults.iter().take(20) {
        eprintln!("  {fault}");
        let ops = match fault {
            Fault::WentBack { op, newest, .. } => vec![*op, *newest],
            Fault::Forgotten { newest, .. } => vec![*newest],
            Fault::RefusedButThere { op, .. } | Fault::OldGenerationCommitted { op, .. } => vec![*op],
            _ => Vec::new(),
        };
        for op in ops {
            eprintln!("    op {op}: {}", shared.checker().describe(op));
        }
    }
    if faults.len() > 20 {
        eprintln!("  and {} more", faults.len() - 20);
    }
    let told: [(&str, BTreeMap<String, u64>); 2] = [("surprises", shared.surprises()), ("notes", shared.notes())];
    for (what, told) in told {
        told.iter()
            .for_each(|(text, times)| eprintln!("  {what}: {times} × {text}"));
    }
    for (index, group) in shared.groups.iter().enumerate() {
        eprintln!(
            "  group {index} is {}, its slots {:?}, its places from {}",
            group.name,
            group.slots,
            6 * index
        );
    }
}

/// What is tested.
enum Node {
    StreamHouse(Box<Broker>),
    Kafka(Box<ApacheKafka>),
}

impl Node {
    fn start(home: &Path) -> Node {
        if std::env::var_os("GROUP_CRASH_AGAINST_KAFKA").is_some_and(|value| value == "1") {
            let java = Java::install().unwrap_or_else(|e| panic!("{e}"));
            let kafka = ApacheKafka::start(&java, &home.join("data"), &SETTINGS).unwrap_or_else(|e| panic!("{e}"));
            return Node::Kafka(Box::new(kafka));
        }
        let builder = SETTINGS
            .iter()
            .chain(&OUR_SETTINGS)
            .fold(Broker::builder(), |builder, (key, value)| builder.set(key, value));
        Node::StreamHouse(Box::new(builder.data_dir(home.join("data")).start()))
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Node::StreamHouse(broker) => broker.kafka_addr(),
            Node::Kafka(kafka) => kafka.addr(),
        }
    }

    /// Kills, or (StreamHouse only) asks to end.
    fn end(&mut self, graceful: bool) -> Result<(), String> {
        match self {
            Node::StreamHouse(broker) if graceful => {
                let status = broker.terminate();
                let how = format!("SIGTERM ends with {status}");
                return status.success().then_some(()).ok_or(how);
            }
            Node::StreamHouse(broker) => broker.kill9(),
            Node::Kafka(kafka) => kafka.kill9(),
        }
        Ok(())
    }

    fn interrupt_starts(&self, home: &Path, delays: &[Duration]) {
        if let Node::StreamHouse(broker) = self {
            let settings = [&SETTINGS[..], &OUR_SETTINGS].concat();
            for delay in delays {
                start_and_kill(broker, &home.join("data"), &settings, *delay);
            }
        }
    }

    fn restart(&mut self) {
        match self {
            Node::StreamHouse(broker) => broker.restart(),
            Node::Kafka(kafka) => kafka.restart().unwrap_or_else(|e| panic!("{e}")),
        }
    }

    fn log(&self) -> String {
        match self {
            Node::StreamHouse(broker) => broker.log(),
            Node::Kafka(_) => "in data/log.txt".to_owned(),
        }
    }
}
