//! Offset tracking: every delivery tells the partition and the offset at which its record lies.
//!
//! ```text
//! cargo run --release -p streamhouse-compat-tests --example e2e_offset_tracking -- --brokers 127.0.0.1:9092 [--restart]
//! ```
//! The program waits for one offset, for all, for a flush; it interleaves batches with waits, writes to many topics and, with
//! `--restart`, goes on sending while you kill the broker and start it again. At the end it reads back every record at
//! the offset that was acknowledged. It ends with a non-zero status as soon as anything is not as it should be.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// How long anything may take before the program gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;

/// The value that was acknowledged at each `(topic, partition, offset)`.
type Ledger = BTreeMap<(String, i32, i64), String>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let run = Run::start(&arguments.brokers).await;
    let mut ledger = Ledger::new();
    run.wait_for_one(&mut ledger).await;
    run.wait_for_all(&mut ledger).await;
    run.wait_for_a_flush(&mut ledger).await;
    run.interleave_batches_and_waits(&mut ledger).await;
    run.write_to_many_topics(&mut ledger).await;
    if arguments.restart {
        run.send_while_the_broker_restarts(&mut ledger).await;
    }
    run.read_everything_back(&ledger);
    run.delete_topics().await;
    println!("OK: {} records, each at the offset that was acknowledged", ledger.len());
}

/// The command line.
struct Arguments {
    brokers: String,
    restart: bool,
}

impl Arguments {
    fn parse() -> Arguments {
        let mut parsed = Arguments {
            brokers: "127.0.0.1:9092".to_owned(),
            restart: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--brokers" => parsed.brokers = arguments.next().expect("--brokers takes host:port"),
                "--restart" => parsed.restart = true,
                other => panic!("unknown argument {other}; known: --brokers host:port, --restart"),
            }
        }
        parsed
    }
}

/// A producer and the topics of this run, whose names no other run uses.
struct Run {
    brokers: String,
    producer: FutureProducer,
    admin: AdminClient<DefaultClientContext>,
    topics: Vec<String>,
}

impl Run {
    async fn start(brokers: &str) -> Run {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("message.timeout.ms", "60000");
        // Retries then neither duplicate nor reorder, so offsets can be checked to the last one.
        config.set("enable.idempotence", "true");
        let producer: FutureProducer = config.create().expect("a producer");
        let admin: AdminClient<_> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create()
            .expect("an admin");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is past 1970");
        let topics: Vec<String> = (0..20)
            .map(|i| format!("offset-tracking-{}-{i}", now.as_nanos()))
            .collect();
        let new: Vec<_> = topics
            .iter()
            .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)))
            .collect();
        for result in admin
            .create_topics(&new, &AdminOptions::new())
            .await
            .expect("the broker answers")
        {
            result.expect("the topic is created");
        }
        Run {
            brokers: brokers.to_owned(),
            producer,
            admin,
            topics,
        }
    }

    /// Queues a record; what comes back resolves to its partition and offset.
    fn send(&self, topic: &str, partition: i32, value: &str) -> DeliveryFuture {
        let record: FutureRecord<'_, (), str> = FutureRecord::to(topic).partition(partition).payload(value);
        self.producer
            .send_result(record)
            .map_err(|(e, _)| e)
            .expect("there is room in the queue")
    }

    async fn wait_for_one(&self, ledger: &mut Ledger) {
        let topic = &self.topics[0];
        for expected in 0..3 {
            let value = format!("one {expected}");
            let delivery = delivered(self.send(topic, 1, &value)).await;
            assert_eq!((delivery.partition, delivery.offset), (1, expected));
            note(ledger, topic, &delivery, value);
        }
        println!("wait for one: offsets 0, 1, 2");
    }

    async fn wait_for_all(&self, ledger: &mut Ledger) {
        let topic = &self.topics[1];
        let sent: Vec<_> = (0..3_000)
            .map(|i| {
                let value = format!("all {i}");
                (self.send(topic, i % PARTITIONS, &value), value)
            })
            .collect();
        for (i, (future, value)) in (0..).zip(sent) {
            let delivery = delivered(future).await;
            assert_eq!(
                (delivery.partition, delivery.offset),
                (i % PARTITIONS, i64::from(i / PARTITIONS)),
                "record {i}"
            );
            note(ledger, topic, &delivery, value);
        }
        println!("wait for all: 3000 records, offsets in the order of sending");
    }

    async fn wait_for_a_flush(&self, ledger: &mut Ledger) {
        let topic = &self.topics[2];
        let values: Vec<String> = (0..1_000).map(|i| format!("flush {i}")).collect();
        let sent: Vec<_> = values.iter().map(|value| self.send(topic, 0, value)).collect();
        self.producer.flush(PATIENCE).expect("everything is delivered");
        assert_eq!(self.producer.in_flight_count(), 0);
        for ((expected, future), value) in (0..).zip(sent).zip(values) {
            let delivery = delivered(future).await;
            assert_eq!((delivery.partition, delivery.offset), (0, expected));
            note(ledger, topic, &delivery, value);
        }
        println!("wait for a flush: 1000 records");
    }

    async fn interleave_batches_and_waits(&self, ledger: &mut Ledger) {
        let topic = &self.topics[3];
        let mut waiting = Vec::new();
        let mut sent = 0;
        for round in 0..50 {
            for _ in 0..round {
                let value = format!("interleaved {sent}");
                waiting.push((self.send(topic, 0, &value), sent, value));
                sent += 1;
            }
            // Wait for one in the middle of what is under way; the others stay under way.
            if !waiting.is_empty() {
                let (future, expected, value) = waiting.remove(waiting.len() / 2);
                let delivery = delivered(future).await;
                assert_eq!(delivery.offset, expected, "round {round}");
                note(ledger, topic, &delivery, value);
            }
        }
        for (future, expected, value) in waiting {
            let delivery = delivered(future).await;
            assert_eq!(delivery.offset, expected);
            note(ledger, topic, &delivery, value);
        }
        println!("batches interleaved with waits: {sent} records");
    }

    async fn write_to_many_topics(&self, ledger: &mut Ledger) {
        let topics = &self.topics[4..19];
        let mut sent = Vec::new();
        for i in 0..100 {
            for topic in topics {
                for partition in 0..PARTITIONS {
                    let value = format!("many {topic} {partition} {i}");
                    sent.push((self.send(topic, partition, &value), topic, partition, i, value));
                }
            }
        }
        for (future, topic, partition, expected, value) in sent {
            let delivery = delivered(future).await;
            assert_eq!((delivery.partition, delivery.offset), (partition, expected), "{topic}");
            note(ledger, topic, &delivery, value);
        }
        println!("many topics: {} topics of {PARTITIONS} partitions", topics.len());
    }

    /// Sends without a pause while somebody kills the broker and starts it again; Enter says that this has happened.
    async fn send_while_the_broker_restarts(&self, ledger: &mut Ledger) {
        let topic = &self.topics[19];
        let restarted = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&restarted);
        std::thread::spawn(move || {
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .expect("a terminal or a pipe");
            seen.store(true, Ordering::SeqCst);
        });
        println!("RESTART: kill the broker now, start it again on the same data, then press Enter");
        let mut sent = Vec::new();
        let mut awaited = 0;
        let mut after_restart = 0;
        while after_restart < 100 {
            after_restart += i32::from(restarted.load(Ordering::SeqCst));
            let number = sent.len() as i64;
            let value = format!("restart {number}");
            sent.push((Some(self.send(topic, 0, &value)), number, value));
            // About a thousand a second, and at most 500 under way: the loop waits while the broker is away.
            tokio::time::sleep(Duration::from_millis(1)).await;
            if sent.len() - awaited > 500 || after_restart > 0 {
                let (future, expected, value) = &mut sent[awaited];
                let delivery = delivered(future.take().expect("each is awaited once")).await;
                assert_eq!(delivery.offset, *expected, "nothing is lost or repeated");
                note(ledger, topic, &delivery, value.clone());
                awaited += 1;
            }
        }
        for (future, expected, value) in sent.into_iter().skip(awaited) {
            let delivery = delivered(future.expect("each is awaited once")).await;
            assert_eq!(delivery.offset, expected, "nothing is lost or repeated");
            note(ledger, topic, &delivery, value);
        }
        println!("restart: records were retried, none is lost or repeated");
    }

    fn read_everything_back(&self, ledger: &Ledger) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "unused")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        for topic in &self.topics {
            for partition in 0..PARTITIONS {
                assignment
                    .add_partition_offset(topic, partition, Offset::Beginning)
                    .expect("a valid offset");
            }
        }
        consumer.assign(&assignment).expect("an assignment");
        let mut found = 0;
        while found < ledger.len() {
            let message = consumer.poll(PATIENCE).expect("more records").expect("no error");
            let at = (message.topic().to_owned(), message.partition(), message.offset());
            let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            assert_eq!(ledger.get(&at), Some(&value), "at {at:?}");
            found += 1;
        }
        println!("read back: {found} records");
    }

    async fn delete_topics(&self) {
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        for result in self
            .admin
            .delete_topics(&names, &AdminOptions::new())
            .await
            .expect("the broker answers")
        {
            result.expect("the topic is deleted");
        }
    }
}

async fn delivered(future: DeliveryFuture) -> Delivery {
    let delivery = tokio::time::timeout(PATIENCE * 2, future)
        .await
        .expect("a delivery in time");
    delivery
        .expect("the producer lives")
        .map_err(|(e, _)| e)
        .expect("the record is delivered")
}

fn note(ledger: &mut Ledger, topic: &str, delivery: &Delivery, value: String) {
    let before = ledger.insert((topic.to_owned(), delivery.partition, delivery.offset), value);
    assert_eq!(
        before, None,
        "two records at {topic}-{}@{}",
        delivery.partition, delivery.offset
    );
}
