//! kill −9 at random moments under load, and nothing that was promised is gone: contract 26, 38–43, 21, engine 1, 12.
//!
//! Each round lets producers (acks 0, 1, all; 100 B to 1 MiB; idempotent or not; up to five in flight) and consumers run
//! until a random number of batches is acknowledged, kills the broker (now and then while it still starts, or with SIGTERM),
//! starts it again and reads what is new, and samples of what is old, before the next round. The last round reads it all.
//! What must hold is in `checker.rs`.
//!
//! `CRASH_ROUNDS` (100) and `CRASH_SEED` (random) are the environment's; the seed is printed. The same seed gives the same
//! plan (sizes, kinds, moments), not the same interleaving. `CRASH_KEEP=1` keeps the data of the last kill as it was before
//! any recovery, in `data-before` beside the failed broker's `data`: slower, and what one needs to understand a fault.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use streamhouse_compat_tests::checker::{Event, Fault};
use streamhouse_compat_tests::interrupted_start::{copy_before_recovery, start_and_kill};
use streamhouse_compat_tests::workload::{Consumer, KINDS, Place, Producer, Shared};
use streamhouse_compat_tests::{Broker, RawClient};

/// Topics, their partitions and segment sizes: small segments roll often, the default ones hardly.
const TOPICS: [(&str, i32, &str); 2] = [
    ("crash-small-segments", 3, "1048576"),
    ("crash-large-segments", 3, "1073741824"),
];

#[test]
fn acknowledged_records_survive_kill_9() {
    let rounds = from_env("CRASH_ROUNDS").unwrap_or(100);
    let seed = from_env("CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(()));
    let keep_before = from_env("CRASH_KEEP").is_some_and(|keep| keep == 1);
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut rng = StdRng::seed_from_u64(seed);

    // Not a temporary directory of the harness: it has to outlive a failure.
    let home = tempfile::Builder::new()
        .prefix("streamhouse-crash-")
        .tempdir()
        .expect("a temporary directory");
    let mut broker = Broker::builder().data_dir(home.path().join("data")).start();
    let mut admin = RawClient::connect(broker.kafka_addr());
    let mut places = Vec::new();
    for (topic, partitions, segment_bytes) in TOPICS {
        let configs = [
            ("segment.bytes", segment_bytes),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
        ];
        admin.create_topic_with(topic, partitions, &configs);
        places.extend((0..partitions).map(|partition| Place {
            topic: topic.to_owned(),
            partition,
        }));
    }
    drop(admin);

    let shared = Shared::new(places);
    let mut producers: Vec<_> = KINDS
        .iter()
        .map(|kind| Producer::new(&shared, *kind, rng.random()))
        .collect();
    let mut consumers = [Consumer::new(&shared, 1), Consumer::new(&shared, 2)];
    let mut verified = vec![0; shared.places.len()];
    let started = Instant::now();
    for round in 1..=rounds {
        let plan = Plan::random(&mut rng);
        run_and_crash(&mut broker, &shared, &mut producers, &mut consumers, &plan);
        if keep_before {
            copy_before_recovery(home.path());
        }
        for delay in &plan.interrupted_starts {
            start_and_kill(&broker, &home.path().join("data"), &[], *delay);
        }
        broker.restart();
        let outcome = verify_round(&shared, broker.kafka_addr(), &mut verified, round == rounds, &mut rng);
        // The second consumer follows the end of the log, the first one reads everything.
        consumers[1].positions.clone_from(&verified);
        if outcome.is_err() || !shared.faults().is_empty() {
            let kept = home.keep();
            let log = broker.log();
            let _ = std::fs::write(kept.join("broker.log"), log);
            report(&shared, seed, round, &plan, &kept);
            panic!(
                "round {round} of {rounds}, CRASH_SEED={seed}: {outcome:?}, {} faults",
                shared.faults().len()
            );
        }
        if round % 10 == 0 || round == rounds {
            let checker = shared.checker();
            let (acked, records, elapsed) = (checker.acked(), checker.records(), started.elapsed());
            println!("round {round}: {acked} batches acknowledged, {records} records read, {elapsed:.1?}");
        }
    }
    let refusals = shared.refusals();
    assert!(
        refusals.is_empty(),
        "CRASH_SEED={seed}: a healthy broker refused (operation, error code): {refusals:?}"
    );
}

fn from_env(key: &str) -> Option<u64> {
    let text = std::env::var(key).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{key}={text}: {e}")))
}

/// What one round does.
#[derive(Debug)]
struct Plan {
    /// Acknowledgements to wait for.
    acks: u64,
    /// Then a moment more: between any two steps inside the broker.
    then: Duration,
    /// SIGTERM in place of SIGKILL.
    graceful: bool,
    /// Starts that are killed after so long, before the one that may live.
    interrupted_starts: Vec<Duration>,
}

impl Plan {
    fn random(rng: &mut StdRng) -> Plan {
        // Spread evenly over the powers of two: soon after the start as often as later.
        let acks = rng.random_range(0.0..8.7f64).exp2() as u64;
        let then = Duration::from_micros(rng.random_range(0..4_000));
        let graceful = rng.random_bool(0.08);
        let interruptions = if rng.random_bool(0.2) {
            rng.random_range(1..=3)
        } else {
            0
        };
        let interrupted_starts = (0..interruptions)
            .map(|_| Duration::from_micros(rng.random_range(0..80_000)))
            .collect();
        Plan {
            acks,
            then,
            graceful,
            interrupted_starts,
        }
    }
}

fn run_and_crash(
    broker: &mut Broker,
    shared: &Shared,
    producers: &mut [Producer<'_>],
    consumers: &mut [Consumer<'_>],
    plan: &Plan,
) {
    let addr = broker.kafka_addr();
    shared.set_stopped(false);
    let progressed = std::thread::scope(|scope| {
        for producer in producers {
            scope.spawn(move || producer.run(addr));
        }
        for consumer in consumers {
            scope.spawn(move || consumer.run(addr));
        }
        let progressed = shared.wait_for_acks(plan.acks);
        std::thread::sleep(plan.then);
        if plan.graceful {
            let status = broker.terminate();
            assert!(status.success(), "SIGTERM ends with {status}");
        } else {
            broker.kill9();
        }
        shared.set_stopped(true);
        progressed
    });
    assert!(progressed, "{} acknowledgements did not come: {plan:?}", plan.acks);
}

/// Reads what is new in every partition and samples of what is old; at the end everything.
fn verify_round(
    shared: &Shared,
    addr: SocketAddr,
    verified: &mut [i64],
    everything: bool,
    rng: &mut StdRng,
) -> std::io::Result<()> {
    let mut reader = Consumer::new(shared, 3);
    for (index, end) in verified.iter_mut().enumerate() {
        if *end > 0 {
            reader.sample(addr, index, rng.random_range(0..*end), 128 << 10)?;
        }
        let from = if everything { 0 } else { *end };
        *end = reader.verify(addr, index, from)?;
    }
    let mut admin = RawClient::try_connect(addr)?;
    for (topic, partitions, _) in TOPICS {
        let described = admin.describe_topic(topic);
        assert_eq!(
            described.partitions.len(),
            partitions as usize,
            "{topic} has all its partitions"
        );
        for partition in described.partitions {
            let place = Place {
                topic: topic.to_owned(),
                partition: partition.partition_index,
            };
            let index = shared
                .places
                .iter()
                .position(|known| *known == place)
                .expect("only what was created");
            shared.record(&Event::LeaderEpoch {
                partition: index,
                epoch: partition.leader_epoch,
            });
        }
    }
    Ok(())
}

fn report(shared: &Shared, seed: u64, round: u64, plan: &Plan, kept: &Path) {
    eprintln!(
        "CRASH_SEED={seed}, round {round}, {plan:?}; data and broker.log are kept in {}",
        kept.display()
    );
    let faults = shared.faults();
    for fault in faults.iter().take(20) {
        eprintln!("  {fault}");
        if let Fault::Lost { op, .. }
        | Fault::Moved { op, .. }
        | Fault::Torn { op, .. }
        | Fault::RetryRefused { op, .. }
        | Fault::RefusedButThere { op, .. } = fault
        {
            eprintln!("    {}", shared.checker().describe(*op));
        }
    }
    if faults.len() > 20 {
        eprintln!("  and {} more", faults.len() - 20);
    }
    for (index, place) in shared.places.iter().enumerate() {
        eprintln!("  partition {index} is {} {}", place.topic, place.partition);
    }
}
