"""confluent-kafka: librdkafka below Python. All three ways of rebalancing."""

import logging
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from common import BATCH, Progress, Stop, arguments, complain, records

logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
LOG = logging.getLogger("confluent")


def produce(args):
    failures = []

    def delivered(error, _message):
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": args.bootstrap, "acks": "all", "linger.ms": 5}, logger=LOG)
    for partition, text in records(args):
        producer.produce(args.topic, key=text, value=text, partition=partition, on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(60)
    if left or failures:
        sys.exit(f"{left} records without an answer, {len(failures)} failed: {failures[:1]}")
    print("produced", args.count, flush=True)


def configuration(args):
    common = {
        "bootstrap.servers": args.bootstrap,
        "group.id": args.group,
        "client.id": args.name,
        "max.poll.interval.ms": 10000,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    if args.protocol == "consumer":
        return {**common, "group.protocol": "consumer"}
    strategy = {"eager": "range", "cooperative": "cooperative-sticky"}[args.assignor]
    return {
        **common,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1000,
        "partition.assignment.strategy": strategy,
    }


def consume(args):
    stop, progress = Stop(), Progress()
    consumer = Consumer(configuration(args), logger=LOG)
    eager = args.protocol == "classic" and args.assignor == "eager"

    def commit():
        offsets = [TopicPartition(args.topic, p, offset) for p, offset in progress.to_commit().items()]
        if not offsets:
            return
        try:
            answers = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as e:
            return complain("commit:", e)
        for answer in answers:
            if answer.error is not None:
                complain("commit:", answer, answer.error)
        progress.committed({answer.partition: answer.offset for answer in answers if answer.error is None})

    def assigned(_consumer, partitions):
        (progress.assign if eager else progress.add)(p.partition for p in partitions)

    def revoked(_consumer, partitions):
        commit()
        progress.remove(p.partition for p in partitions)

    def lost(_consumer, partitions):
        progress.remove(p.partition for p in partitions)

    consumer.subscribe([args.topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    while not stop:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            progress.record(message.partition(), message.offset(), message.value())
        elif message is not None:
            complain("poll:", message.error())
        if message is None or progress.uncommitted >= BATCH:
            commit()
    commit()
    consumer.close()
    print("closed", flush=True)


if __name__ == "__main__":
    ARGS = arguments()
    {"produce": produce, "consume": consume}[ARGS.command](ARGS)
