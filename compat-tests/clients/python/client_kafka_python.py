"""kafka-python, in its three major shapes: 2.0, 2.3 and 3.0. Cooperative rebalancing came with 3.0."""

import logging
import sys

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from common import BATCH, Progress, Stop, arguments, complain, records

logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)


def produce(args):
    producer = KafkaProducer(bootstrap_servers=args.bootstrap, acks="all", retries=10, linger_ms=5)
    sent = [producer.send(args.topic, key=text, value=text, partition=p) for p, text in records(args)]
    for future in sent:
        future.get(timeout=60)
    producer.close()
    print("produced", args.count, flush=True)


def strategies(args):
    if args.assignor == "eager":
        return [RangePartitionAssignor]
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    return [CooperativeStickyAssignor]


def at(offset):
    """Versions differ in whether there is a leader epoch; -1 is "unknown"."""
    return OffsetAndMetadata(*[offset, "", -1][: len(OffsetAndMetadata._fields)])


class Listener(ConsumerRebalanceListener):
    def __init__(self, args, progress, commit):
        self.eager, self.progress, self.commit = args.assignor == "eager", progress, commit

    def on_partitions_assigned(self, assigned):
        (self.progress.assign if self.eager else self.progress.add)(p.partition for p in assigned)

    def on_partitions_revoked(self, revoked):
        self.commit()
        self.progress.remove(p.partition for p in revoked)

    def on_partitions_lost(self, lost):
        self.progress.remove(p.partition for p in lost)


def consume(args):
    stop, progress = Stop(), Progress()
    consumer = KafkaConsumer(
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        client_id=args.name,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
        max_poll_interval_ms=10000,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=BATCH,
        partition_assignment_strategy=strategies(args),
    )

    def commit():
        offsets = progress.to_commit()
        if not offsets:
            return
        try:
            consumer.commit({TopicPartition(args.topic, p): at(offset) for p, offset in offsets.items()})
        except KafkaError as e:
            return complain("commit:", repr(e))
        progress.committed(offsets)

    consumer.subscribe([args.topic], listener=Listener(args, progress, commit))
    while not stop:
        try:
            batches = consumer.poll(timeout_ms=100)
        except KafkaError as e:
            complain("poll:", repr(e))
            continue
        for batch in batches.values():
            for record in batch:
                progress.record(record.partition, record.offset, record.value)
        commit()
    commit()
    consumer.close()
    print("closed", flush=True)


if __name__ == "__main__":
    ARGS = arguments()
    {"produce": produce, "consume": consume}[ARGS.command](ARGS)
