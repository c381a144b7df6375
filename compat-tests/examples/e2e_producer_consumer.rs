//! Producing and consuming: keys choose partitions; a consumer reads from both ends, seeks, and starts at a time; members of a
//! group share partitions, commit, and go on where the group has come to, in both group protocols.
//!
//! ```text
//! cargo run --release -p streamhouse-compat-tests --example e2e_producer_consumer -- --brokers 127.0.0.1:9092 [--restart]
//! ```
//! With `--restart` the program goes on consuming while you kill the broker and start it again. It ends with a non-zero
//! status as soon as anything is not as it should be.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

#[path = "e2e_producer_consumer/groups.rs"]
mod groups;

/// How long anything may take before the program gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
const KEYS: usize = 50;
const RECORDS: usize = 5_000;
/// Timestamp of record 0; each record is a second after the one before.
const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

/// What lies in each partition, in the order of offsets.
type Partitions = Vec<Vec<Record>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    key: String,
    value: String,
    timestamp: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (brokers, restart) = parse_arguments();
    let run = Run::start(&brokers).await;
    let written = run.produce_with_keys().await;
    run.consume_from_the_beginning(&written);
    run.seek_and_tell_the_position(&written);
    run.read_near_the_end(&written).await;
    run.read_from_a_timestamp(&written);
    if restart {
        run.consume_while_the_broker_restarts(&written);
    }
    for protocol in ["classic", "consumer"] {
        run.share_partitions_in_a_group(protocol, restart).await;
    }
    run.delete_topic().await;
    println!(
        "OK: {} records in {PARTITIONS} partitions",
        written.iter().map(Vec::len).sum::<usize>()
    );
}

fn parse_arguments() -> (String, bool) {
    let mut parsed = ("127.0.0.1:9092".to_owned(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--brokers" => parsed.0 = arguments.next().expect("--brokers takes host:port"),
            "--restart" => parsed.1 = true,
            other => panic!("unknown argument {other}; known: --brokers host:port, --restart"),
        }
    }
    parsed
}

/// A topic whose name no other run uses, and a producer.
struct Run {
    brokers: String,
    topic: String,
    producer: FutureProducer,
    admin: AdminClient<DefaultClientContext>,
}

impl Run {
    async fn start(brokers: &str) -> Run {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is past 1970");
        let topic = format!("producer-consumer-{}", now.as_nanos());
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "60000");
        // Java's way to choose a partition, so that programs in both languages agree.
        config.set("partitioner", "murmur2_random");
        let producer: FutureProducer = config.create().expect("a producer");
        let admin: AdminClient<_> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create()
            .expect("an admin");
        // The timestamps of this example lie years back: they must not be reason to delete anything.
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        for result in admin
            .create_topics([&new], &AdminOptions::new())
            .await
            .expect("the broker answers")
        {
            result.expect("the topic is created");
        }
        Run {
            brokers: brokers.to_owned(),
            topic,
            producer,
            admin,
        }
    }

    async fn produce_with_keys(&self) -> Partitions {
        let mut sent = Vec::new();
        for i in 0..RECORDS {
            let record = Record {
                key: format!("key-{}", i % KEYS),
                value: format!("value-{i}"),
                timestamp: FIRST_TIMESTAMP + i as i64 * 1000,
            };
            let queued = FutureRecord::to(&self.topic)
                .key(&record.key)
                .payload(&record.value)
                .timestamp(record.timestamp);
            sent.push((
                self.producer
                    .send_result(queued)
                    .map_err(|(e, _)| e)
                    .expect("room in the queue"),
                record,
            ));
        }
        let mut partitions: Partitions = vec![Vec::new(); PARTITIONS as usize];
        let mut partition_of_key = BTreeMap::new();
        for (future, record) in sent {
            let delivery = future
                .await
                .expect("the producer lives")
                .map_err(|(e, _)| e)
                .expect("a delivery");
            let partition = *partition_of_key.entry(record.key.clone()).or_insert(delivery.partition);
            assert_eq!(delivery.partition, partition, "{} changed its partition", record.key);
            let records = &mut partitions[delivery.partition as usize];
            assert_eq!(
                delivery.offset,
                records.len() as i64,
                "offsets follow the order of sending"
            );
            records.push(record);
        }
        assert!(
            partitions.iter().all(|records| !records.is_empty()),
            "50 keys spread over 4 partitions"
        );
        println!(
            "produced: {:?} records in each partition",
            partitions.iter().map(Vec::len).collect::<Vec<_>>()
        );
        partitions
    }

    /// A consumer of all partitions from these offsets on.
    fn consumer(&self, offset: impl Fn(i32) -> Offset) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "unused")
            .set("enable.auto.commit", "false");
        // Small fetches, so that the restart comes in the middle of the data.
        config
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "4096");
        config.set("queued.min.messages", "100");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            assignment
                .add_partition_offset(&self.topic, partition, offset(partition))
                .expect("a valid offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        consumer
    }

    fn consume_from_the_beginning(&self, written: &Partitions) {
        let consumer = self.consumer(|_| Offset::Beginning);
        let found = read_to_the_end(&consumer, |_| {});
        for (partition, expected) in (0..).zip(written) {
            let got: Vec<_> = found
                .get(&partition)
                .into_iter()
                .flatten()
                .map(|(_, record)| record.clone())
                .collect();
            assert_eq!(&got, expected, "partition {partition}");
        }
        for (partition, expected) in (0..).zip(written) {
            let watermarks = consumer
                .fetch_watermarks(&self.topic, partition, PATIENCE)
                .expect("watermarks");
            assert_eq!(watermarks, (0, expected.len() as i64), "partition {partition}");
        }
        println!("from the beginning: everything in order");
    }

    fn seek_and_tell_the_position(&self, written: &Partitions) {
        let consumer = self.consumer(|_| Offset::Beginning);
        read_to_the_end(&consumer, |_| {});
        for (partition, expected) in (0..).zip(written) {
            let middle = expected.len() as i64 / 2;
            consumer
                .seek(&self.topic, partition, Offset::Offset(middle), PATIENCE)
                .expect("a seek");
        }
        let found = read_to_the_end(&consumer, |_| {});
        let position = consumer.position().expect("positions");
        for (partition, expected) in (0..).zip(written) {
            let middle = expected.len() / 2;
            let got: Vec<_> = found[&partition].iter().map(|(offset, _)| *offset).collect();
            assert_eq!(
                got,
                (middle as i64..expected.len() as i64).collect::<Vec<_>>(),
                "partition {partition}"
            );
            let position = position
                .find_partition(&self.topic, partition)
                .expect("assigned")
                .offset();
            assert_eq!(position, Offset::Offset(expected.len() as i64), "partition {partition}");
        }
        println!("seek: the second half of each partition, position at its end");
    }

    async fn read_near_the_end(&self, written: &Partitions) {
        let tail = read_to_the_end(&self.consumer(|_| Offset::OffsetTail(3)), |_| {});
        for (partition, expected) in (0..).zip(written) {
            let got: Vec<_> = tail[&partition].iter().map(|(_, record)| record).collect();
            assert_eq!(
                got,
                expected[expected.len() - 3..].iter().collect::<Vec<_>>(),
                "partition {partition}"
            );
        }
        // A consumer at the end sees what is written from now on, and only that.
        let consumer = self.consumer(|_| Offset::End);
        assert!(read_to_the_end(&consumer, |_| {}).is_empty());
        let other = FutureRecord::<(), str>::to(&self.topic)
            .partition(2)
            .payload("at the end");
        let delivery = self
            .producer
            .send(other, PATIENCE)
            .await
            .map_err(|(e, _)| e)
            .expect("a delivery");
        let message = loop {
            match consumer.poll(PATIENCE).expect("the new record") {
                Ok(message) => break message,
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(e) => panic!("{e}"),
            }
        };
        assert_eq!((message.partition(), message.offset()), (2, delivery.offset));
        assert_eq!(message.payload(), Some("at the end".as_bytes()));
        println!("from the end: the last three, and what came later");
    }

    fn read_from_a_timestamp(&self, written: &Partitions) {
        let consumer = self.consumer(|_| Offset::Beginning);
        let from = FIRST_TIMESTAMP + RECORDS as i64 * 1000 / 3;
        let starts = consumer
            .offsets_for_timestamp(from, PATIENCE)
            .expect("offsets for a timestamp");
        for (partition, expected) in (0..).zip(written) {
            let index = expected
                .iter()
                .position(|record| record.timestamp >= from)
                .expect("a later record");
            let start = starts
                .find_partition(&self.topic, partition)
                .expect("asked for")
                .offset();
            assert_eq!(start, Offset::Offset(index as i64), "partition {partition}");
        }
        consumer.assign(&starts).expect("an assignment");
        let found = read_to_the_end(&consumer, |_| {});
        for (partition, expected) in (0..).zip(written) {
            let expected: Vec<_> = expected.iter().filter(|record| record.timestamp >= from).collect();
            let got: Vec<_> = found[&partition]
                .iter()
                .map(|(_, record)| record)
                .take(expected.len())
                .collect();
            assert_eq!(got, expected, "partition {partition}");
        }
        println!("from a timestamp: exactly what was written at or after it");
    }

    /// Consumes half, waits until the broker was killed and started again, consumes the rest with the same consumer.
    fn consume_while_the_broker_restarts(&self, written: &Partitions) {
        let consumer = self.consumer(|_| Offset::Beginning);
        let mut count = 0;
        let found = read_to_the_end(&consumer, |_| {
            count += 1;
            if count == RECORDS / 2 {
                ask_for_a_restart();
            }
        });
        for (partition, expected) in (0..).zip(written) {
            let offsets: Vec<_> = found[&partition].iter().map(|(offset, _)| *offset).collect();
            assert_eq!(
                offsets,
                (0..offsets.len() as i64).collect::<Vec<_>>(),
                "none is left out or repeated"
            );
            let got: Vec<_> = found[&partition]
                .iter()
                .map(|(_, record)| record)
                .take(expected.len())
                .collect();
            assert_eq!(got, expected.iter().collect::<Vec<_>>(), "partition {partition}");
        }
        println!("restart: the consumer went on where it was");
    }

    async fn delete_topic(&self) {
        for result in self
            .admin
            .delete_topics(&[&self.topic], &AdminOptions::new())
            .await
            .expect("the broker answers")
        {
            result.expect("the topic is deleted");
        }
    }
}

/// Returns when the broker was killed and started again.
fn ask_for_a_restart() {
    println!("RESTART: kill the broker now, start it again on the same data, then press Enter");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("a terminal or a pipe");
}

/// Reads until each partition has reported its end once: offsets and records by partition.
fn read_to_the_end(consumer: &BaseConsumer, mut each: impl FnMut(i64)) -> BTreeMap<i32, Vec<(i64, Record)>> {
    let mut found: BTreeMap<i32, Vec<(i64, Record)>> = BTreeMap::new();
    let mut at_end = std::collections::BTreeSet::new();
    while at_end.len() < PARTITIONS as usize {
        let message = match consumer.poll(PATIENCE).expect("more records or an end") {
            Ok(message) => message,
            Err(KafkaError::PartitionEOF(partition)) => {
                at_end.insert(partition);
                continue;
            }
            // A broker that is away for a moment; the client connects again by itself.
            Err(KafkaError::MessageConsumption(_)) => continue,
            Err(e) => panic!("{e}"),
        };
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let record = Record {
            key: text(message.key()),
            value: text(message.payload()),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
        };
        found
            .entry(message.partition())
            .or_default()
            .push((message.offset(), record));
        each(message.offset());
    }
    found
}
