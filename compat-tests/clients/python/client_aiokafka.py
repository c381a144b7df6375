"""aiokafka: Kafka for asyncio. Eager rebalances."""

import asyncio
import logging
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from common import BATCH, Progress, Stop, arguments, complain, records

logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)


async def produce(args):
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap, acks="all", linger_ms=5)
    await producer.start()
    try:
        sent = [await producer.send(args.topic, key=text, value=text, partition=p) for p, text in records(args)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    print("produced", args.count, flush=True)


class Member(ConsumerRebalanceListener):
    """Rebalances run in a task of the library's own: one lock lets commits happen one at a time."""

    def __init__(self, args):
        self.topic, self.progress, self.commits = args.topic, Progress(), asyncio.Lock()
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=args.bootstrap,
            group_id=args.group,
            client_id=args.name,
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
            max_poll_interval_ms=10000,
            rebalance_timeout_ms=10000,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            partition_assignment_strategy=[RangePartitionAssignor],
        )
        self.consumer.subscribe([args.topic], listener=self)

    async def on_partitions_revoked(self, revoked):
        await self.commit()
        self.progress.remove(p.partition for p in revoked)

    async def on_partitions_assigned(self, assigned):
        self.progress.assign(p.partition for p in assigned)

    async def commit(self):
        async with self.commits:
            offsets = self.progress.to_commit()
            if not offsets:
                return
            try:
                await self.consumer.commit({TopicPartition(self.topic, p): offset for p, offset in offsets.items()})
            except KafkaError as e:
                return complain("commit:", repr(e))
            self.progress.committed(offsets)

    async def run(self, stop):
        await self.consumer.start()
        while not stop:
            try:
                batches = await self.consumer.getmany(timeout_ms=100, max_records=BATCH)
            except KafkaError as e:
                complain("getmany:", repr(e))
                continue
            for batch in batches.values():
                for record in batch:
                    self.progress.record(record.partition, record.offset, record.value)
            await self.commit()
        await self.commit()
        await self.consumer.stop()
        print("closed", flush=True)


async def consume(args):
    await Member(args).run(Stop())


if __name__ == "__main__":
    ARGS = arguments()
    asyncio.run({"produce": produce, "consume": consume}[ARGS.command](ARGS))
