// Confluent's client (librdkafka, in the API that it calls promisified) in the client matrix: the commands and lines are
// those of clients/README.md.
'use strict';

const { setTimeout } = require('node:timers/promises');
const { KafkaJS, CODES } = require('@confluentinc/kafka-javascript');
const { say, sayAssigned, messages, endOfInput, main } = require('./member');

// Its own logger writes to standard output.
const logger = {
  setLogLevel() {},
  namespace: () => logger,
  debug() {},
  ...Object.fromEntries(['info', 'warn', 'error'].map(level => [level, text => console.error(level, text)])),
};

async function produce(options) {
  const kafka = new KafkaJS.Kafka({ kafkaJS: { brokers: [options.bootstrap], logger } });
  const producer = kafka.producer({ kafkaJS: { acks: -1 } });
  await producer.connect();
  for (const batch of messages(options)) {
    await producer.send({ topic: options.topic, messages: batch });
  }
  await producer.disconnect();
  say(`produced ${options.count}`);
}

/** Settings of librdkafka for the group: the next generation's are the broker's. */
function groupSettings({ protocol = 'classic', assignor = 'eager' }) {
  if (protocol === 'consumer') return { 'group.protocol': 'consumer' };
  return {
    'group.protocol': 'classic',
    'partition.assignment.strategy': assignor === 'eager' ? 'range' : 'cooperative-sticky',
    'session.timeout.ms': 6000,
    'heartbeat.interval.ms': 500,
  };
}

async function consume(options) {
  const { bootstrap, topic, group, name } = options;
  const owned = new Set();
  let processing = Promise.resolve();
  const kafka = new KafkaJS.Kafka({ kafkaJS: { brokers: [bootstrap], clientId: name, logger } });
  const consumer = kafka.consumer({
    'group.id': group,
    'auto.offset.reset': 'earliest',
    'enable.auto.commit': false,
    'max.poll.interval.ms': 10000,
    'js.consumer.max.batch.size': 200,
    // The default of ten seconds is longer than a session: a broker that comes back would miss this member.
    'reconnect.backoff.max.ms': 500,
    ...groupSettings(options),
    rebalance_cb: async (error, partitions, assignmentFns) => {
      if (error.code === CODES.ERRORS.ERR__ASSIGN_PARTITIONS) {
        partitions.forEach(({ partition }) => owned.add(partition));
        sayAssigned(owned);
        return;
      }
      // No further batch is begun once this is said; the one that is being processed ends before the partitions go.
      assignmentFns.unassign(partitions);
      await processing;
      partitions.forEach(({ partition }) => owned.delete(partition));
      committer.forget(partitions);
      sayAssigned(owned);
    },
  });

  await consumer.connect();
  const committer = new Committer(consumer, topic, owned);
  await consumer.subscribe({ topics: [topic] });
  const processBatch = async ({ partition, messages: records }) => {
    for (const { offset, value } of records) {
      say(`record ${partition} ${offset} ${value}`);
    }
    committer.commit(partition, BigInt(records[records.length - 1].offset) + 1n);
  };
  await consumer.run({ eachBatch: ({ batch }) => (processing = processBatch(batch)) });
  await endOfInput();
  await processing;
  await committer.finish();
  await consumer.disconnect();
  say('closed');
}

/**
 * Commits, one request at a time: librdkafka sends a failed one again after those that followed it, which would set the
 * offset back. `commitOffsets` resolves when the request is queued; only an event of the client below tells of the reply,
 * and it comes while the consumer polls, so that no batch can wait for it.
 */
class Committer {
  /** What was printed and is not known to be committed: the offset to be read next of each partition. */
  #pending = new Map();
  #outstanding = false;

  constructor(consumer, topic, owned) {
    Object.assign(this, { consumer, topic, owned });
    consumer._getInternalClient().on('offset.commit', (error, offsets) => this.#replied(error, offsets));
  }

  commit(partition, next) {
    this.#pending.set(partition, next);
    this.#send();
  }

  forget(partitions) {
    partitions.forEach(({ partition }) => this.#pending.delete(partition));
  }

  /** Resolves when nothing is pending, or after ten seconds. */
  async finish() {
    for (let i = 0; i < 100 && (this.#outstanding || this.#pending.size > 0); i++) {
      this.#send();
      await setTimeout(100);
    }
  }

  #send() {
    if (this.#outstanding || this.#pending.size === 0) return;
    this.#outstanding = true;
    const { topic } = this;
    const offsets = [...this.#pending].map(([partition, next]) => ({ topic, partition, offset: String(next) }));
    this.consumer.commitOffsets(offsets).catch(error => this.#replied(error, []));
  }

  #replied(error, offsets) {
    this.#outstanding = false;
    if (error) {
      console.error('not committed:', error.message);
      return;
    }
    for (const { partition, offset } of offsets) {
      if (!this.owned.has(partition)) continue;
      say(`committed ${partition} ${offset}`);
      if (this.#pending.get(partition) <= BigInt(offset)) this.#pending.delete(partition);
    }
    this.#send();
  }
}

main({ produce, consume });
