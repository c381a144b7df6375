//! Real clients against the real binary: `rdkafka` (current), Debian's `kcat` (librdkafka 2.0.2), and the two programs of
//! `examples/`, which users run by hand.

mod examples;
mod kcat;
mod rdkafka_admin;
mod rdkafka_consume;
mod rdkafka_produce;

use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use streamhouse_compat_tests::Broker;

/// How long a client may wait.
const PATIENCE: Duration = streamhouse_compat_tests::harness::PATIENCE;

/// librdkafka's names of the codecs.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn config(broker: &Broker, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap());
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

fn producer(broker: &Broker, settings: &[(&str, &str)]) -> FutureProducer {
    config(broker, settings).create().expect("a producer")
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    config(broker, &[]).create().expect("an admin client")
}

/// A consumer that is assigned these `(partition, offset)`s of a topic.
fn consumer(broker: &Broker, topic: &str, from: &[(i32, Offset)], settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = config(broker, &[("group.id", "unused"), ("enable.auto.commit", "false")]);
    config.set("enable.partition.eof", "true").set("check.crcs", "true");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.assign(&list(topic, from)).expect("an assignment");
    consumer
}

fn list(topic: &str, from: &[(i32, Offset)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from {
        list.add_partition_offset(topic, *partition, *offset)
            .expect("a valid offset");
    }
    list
}

/// Queues a record.
fn send(producer: &FutureProducer, record: FutureRecord<'_, [u8], [u8]>) -> DeliveryFuture {
    producer
        .send_result(record)
        .map_err(|(e, _)| e)
        .expect("room in the queue")
}

/// Waits for a delivery: `(partition, offset)`.
async fn delivered(future: DeliveryFuture) -> (i32, i64) {
    let delivery = future
        .await
        .expect("the producer lives")
        .map_err(|(e, _)| e)
        .expect("a delivery");
    (delivery.partition, delivery.offset)
}

/// The next `count` records; ends of partitions in between are passed over.
fn read(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut messages = Vec::with_capacity(count);
    while messages.len() < count {
        match consumer
            .poll(PATIENCE)
            .unwrap_or_else(|| panic!("record {} of {count} does not come", messages.len()))
        {
            Ok(message) => messages.push(message.detach()),
            Err(KafkaError::PartitionEOF(_)) => {}
            Err(e) => panic!("after {} of {count} records: {e}", messages.len()),
        }
    }
    messages
}

fn payload(message: &OwnedMessage) -> String {
    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
}
