//! The client matrix's program for librdkafka through the rdkafka crate. Its commands and what it prints are described in
//! `clients/README.md`; like the programs there, it uses nothing of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

const PARTITIONS: i64 = 6;
/// Records after which a member commits.
const BATCH: usize = 200;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let mut arguments = BTreeMap::new();
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        arguments.insert(key, value);
    }
    let arguments = Arguments(arguments);
    let done = match command.as_str() {
        "produce" => produce(&arguments),
        "consume" => consume(&arguments),
        _ => Err("usage: rdkafka_client produce|consume --bootstrap HOST:PORT --topic T …".to_owned()),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn get(&self, key: &str) -> Result<&str, String> {
        self.0.get(key).map(String::as_str).ok_or(format!("{key} is missing"))
    }

    fn number(&self, key: &str) -> Result<i64, String> {
        self.get(key)?.parse().map_err(|e| format!("{key}: {e}"))
    }

    fn client(&self) -> Result<ClientConfig, String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.get("--bootstrap")?);
        // The crate's log goes to a logger that this program does not have; its contexts print instead.
        config.set_log_level(RDKafkaLogLevel::Info);
        Ok(config)
    }
}

/// Remembers the first record that was not acknowledged.
#[derive(Default)]
struct Deliveries(Mutex<Option<String>>);

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        eprintln!("{facility} {message}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((e, _)) = result {
            let mut failure = self.0.lock().expect("nobody panics");
            failure.get_or_insert(e.to_string());
        }
    }
}

fn produce(arguments: &Arguments) -> Result<String, String> {
    let (topic, first, count) = (
        arguments.get("--topic")?,
        arguments.number("--first")?,
        arguments.number("--count")?,
    );
    let mut config = arguments.client()?;
    config.set("acks", "all").set("linger.ms", "5");
    let producer: BaseProducer<Deliveries> = config
        .create_with_context(Deliveries::default())
        .map_err(|e| e.to_string())?;
    for i in first..first + count {
        let text = i.to_string();
        let partition = i32::try_from(i % PARTITIONS).map_err(|e| e.to_string())?;
        let record = BaseRecord::to(topic).partition(partition).key(&text).payload(&text);
        producer.send(record).map_err(|(e, _)| e.to_string())?;
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).map_err(|e| e.to_string())?;
    let failure = producer.context().0.lock().expect("nobody panics").take();
    failure.map_or_else(|| Ok(format!("produced {count}")), Err)
}

/// What this member owns, and what it was given and has not committed yet.
#[derive(Default)]
struct Progress {
    owned: BTreeSet<i32>,
    pending: BTreeMap<i32, i64>,
    uncommitted: usize,
}

/// Prints what happens in rebalances, and commits before partitions are given up.
struct Member {
    topic: String,
    eager: bool,
    progress: Mutex<Progress>,
}

impl Member {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics")
    }

    fn say_owned(&self) {
        let owned: Vec<String> = self.progress().owned.iter().map(i32::to_string).collect();
        say(&format!("assigned {}", owned.join(",")));
    }

    fn record(&self, partition: i32, offset: i64, value: &str) {
        let mut progress = self.progress();
        say(&format!("record {partition} {offset} {value}"));
        progress.pending.insert(partition, offset + 1);
        progress.uncommitted += 1;
    }

    fn commit(&self, consumer: &BaseConsumer<Member>) -> Result<(), KafkaError> {
        let pending = self.progress().pending.clone();
        if pending.is_empty() {
            return Ok(());
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in &pending {
            offsets.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        if let Err(e) = consumer.commit(&offsets, CommitMode::Sync) {
            eprintln!("commit: {e}");
            return Ok(());
        }
        for (partition, offset) in &pending {
            say(&format!("committed {partition} {offset}"));
        }
        let mut progress = self.progress();
        progress.pending.clear();
        progress.uncommitted = 0;
        Ok(())
    }
}

impl ClientContext for Member {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        eprintln!("{facility} {message}");
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Member>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(given) => {
                let mut progress = self.progress();
                if self.eager {
                    *progress = Progress::default();
                }
                progress.owned.extend(partitions(given));
                drop(progress);
                self.say_owned();
            }
            Rebalance::Revoke(taken) => {
                if !consumer.assignment_lost()
                    && let Err(e) = self.commit(consumer)
                {
                    eprintln!("commit: {e}");
                }
                let mut progress = self.progress();
                for partition in partitions(taken) {
                    progress.owned.remove(&partition);
                    progress.pending.remove(&partition);
                }
                drop(progress);
                self.say_owned();
            }
            Rebalance::Error(e) => eprintln!("rebalance: {e}"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the driver is gone, and so are we in a moment.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn consume(arguments: &Arguments) -> Result<String, String> {
    let mut config = arguments.client()?;
    config
        .set("group.id", arguments.get("--group")?)
        .set("client.id", arguments.get("--name")?)
        .set("max.poll.interval.ms", "10000")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    let eager = arguments.get("--assignor").is_ok_and(|assignor| assignor == "eager");
    if arguments.get("--protocol").is_ok_and(|protocol| protocol == "consumer") {
        config.set("group.protocol", "consumer");
    } else {
        let strategy = if eager { "range" } else { "cooperative-sticky" };
        config
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1000")
            .set("partition.assignment.strategy", strategy);
    }
    let topic = arguments.get("--topic")?;
    let member = Member {
        topic: topic.to_owned(),
        eager,
        progress: Mutex::default(),
    };
    let consumer: BaseConsumer<Member> = config.create_with_context(member).map_err(|e| e.to_string())?;
    consumer.subscribe(&[topic]).map_err(|e| e.to_string())?;
    let stopped = stopped();
    while !stopped.load(Ordering::Acquire) {
        let member = consumer.context();
        let polled = consumer.poll(Duration::from_millis(100));
        let idle = polled.is_none();
        match polled {
            Some(Ok(message)) => {
                let value = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
                member.record(message.partition(), message.offset(), &value);
            }
            Some(Err(e)) => eprintln!("poll: {e}"),
            None => {}
        }
        if idle || member.progress().uncommitted >= BATCH {
            member.commit(&consumer).map_err(|e| e.to_string())?;
        }
    }
    consumer.context().commit(&consumer).map_err(|e| e.to_string())?;
    // Leaves the group and gives its partitions up.
    drop(consumer);
    Ok("closed".to_owned())
}

/// Becomes true once standard input has ended or said `stop`.
fn stopped() -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines();
        let _ = lines.map_while(Result::ok).find(|line| line.trim() == "stop");
        flag.store(true, Ordering::Release);
    });
    stopped
}
