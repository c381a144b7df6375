// kafkajs in the client matrix: the commands and lines are those of clients/README.md. Its groups are classic and eager.
'use strict';

const { setTimeout } = require('node:timers/promises');
const { Kafka, PartitionAssigners, logLevel } = require('kafkajs');
const { say, sayAssigned, messages, endOfInput, main } = require('./member');

function kafka(bootstrap, clientId) {
  return new Kafka({
    clientId,
    brokers: [bootstrap],
    logLevel: logLevel.INFO,
    // Its own logger writes to standard output.
    logCreator: () => ({ label, log }) => console.error(label, JSON.stringify(log)),
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 20 },
  });
}

async function produce(options) {
  const producer = kafka(options.bootstrap, 'producer').producer();
  await producer.connect();
  for (const batch of messages(options)) {
    await producer.send({ topic: options.topic, acks: -1, messages: batch });
  }
  await producer.disconnect();
  say(`produced ${options.count}`);
}

async function consume({ bootstrap, topic, group, name }) {
  const consumer = kafka(bootstrap, name).consumer({
    groupId: group,
    partitionAssigners: [PartitionAssigners.roundRobin],
    sessionTimeout: 6000,
    rebalanceTimeout: 10000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 500,
  });
  const member = { joined: false, pending: new Map() };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => joined(member, payload.memberAssignment[topic] ?? []));
  // Eager: whoever joins anew gives up everything first. A crash is followed by a restart as another member.
  for (const event of [consumer.events.REBALANCING, consumer.events.CRASH]) {
    consumer.on(event, () => {
      member.joined = false;
      sayAssigned([]);
    });
  }

  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: payload => process200AtATime(topic, member.pending, payload),
  });
  await endOfInput();
  while (!member.joined || member.pending.size > 0) {
    await commitPending(consumer, topic, member.pending).catch(error => console.error('not committed:', error.message));
    await setTimeout(100);
  }
  await consumer.disconnect();
  say('closed');
}

/**
 * What is pending was printed and is not known to be committed: the offset to be read next of each partition. A new generation
 * reads it again, from what is committed, unless somebody else does.
 */
function joined(member, partitions) {
  for (const [partition, { next }] of member.pending) {
    if (partitions.includes(partition)) member.pending.set(partition, { next, readAgain: true });
    else member.pending.delete(partition);
  }
  member.joined = true;
  sayAssigned(partitions);
}

async function commitPending(consumer, topic, pending) {
  const now = [...pending].filter(([, { readAgain }]) => !readAgain);
  if (now.length === 0) return;
  await consumer.commitOffsets(now.map(([partition, { next }]) => ({ topic, partition, offset: String(next) })));
  now.forEach(([partition, { next }]) => committed(pending, partition, next));
}

function committed(pending, partition, next) {
  say(`committed ${partition} ${next}`);
  if (pending.get(partition)?.next <= next) pending.delete(partition);
}

/**
 * An error that a commit throws goes to the library, which joins anew if it is about a rebalance, and otherwise goes on after
 * what is resolved.
 */
async function process200AtATime(topic, pending, payload) {
  const { partition, messages: records } = payload.batch;
  for (let start = 0; start < records.length && payload.isRunning() && !payload.isStale(); start += 200) {
    const some = records.slice(start, start + 200);
    for (const { offset, value } of some) {
      say(`record ${partition} ${offset} ${value}`);
    }
    const last = some[some.length - 1].offset;
    const next = BigInt(last) + 1n;
    if (!(pending.get(partition)?.next > next)) pending.set(partition, { next, readAgain: false });
    payload.resolveOffset(last);
    const offset = String(next);
    await payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] });
    committed(pending, partition, next);
    await payload.heartbeat();
  }
}

main({ produce, consume });
