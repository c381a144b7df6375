//! Producers: what they send, what they record, and what they send again after a crash.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;

use kafka_protocol::messages::InitProducerIdRequest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Shared;
use super::value::{MIN_VALUE_BYTES, encode_value};
use crate::checker::{Event, Produce, RecordId};
use crate::harness::PATIENCE;
use crate::raw::RawClient;
use crate::records::now_ms;
use crate::wire::{ProducerStamp, encode_batch, produce_frame, read_frame, read_produce_reply};

/// Batches that a broker remembers of each producer and partition (contract 38).
const DEDUPLICATED_BATCHES: usize = 5;
/// A whole batch stays below the default `max.message.bytes` of 1 MiB + 12.
const LARGEST_BATCH_BYTES: usize = 1 << 20;

/// How a producer behaves.
#[derive(Clone, Copy, Debug)]
pub struct ProducerKind {
    /// 0, 1 or −1.
    pub acks: i16,
    /// Whether it asks for a producer id.
    pub idempotent: bool,
    /// Largest batch it sends, bytes; sizes are spread evenly over the powers of two from 100 B.
    pub largest_batch: usize,
    /// Most partitions in one request.
    pub partitions_per_request: usize,
}

/// The producers of the crash test: every mix of acks, size and idempotence.
pub const KINDS: [ProducerKind; 7] = {
    const SMALL: usize = 2_000;
    const fn kind(acks: i16, idempotent: bool, largest_batch: usize, partitions_per_request: usize) -> ProducerKind {
        ProducerKind {
            acks,
            idempotent,
            largest_batch,
            partitions_per_request,
        }
    }
    [
        kind(1, true, SMALL, 1),
        kind(-1, true, SMALL, 3),
        kind(-1, false, SMALL, 1),
        kind(1, false, LARGEST_BATCH_BYTES, 2),
        kind(-1, true, LARGEST_BATCH_BYTES, 1),
        kind(1, true, LARGEST_BATCH_BYTES, 2),
        kind(0, false, SMALL, 1),
    ]
};

#[derive(Clone)]
struct Sent {
    produce: Produce,
    batch: Vec<u8>,
}

/// A request whose answer is awaited: its batches by partition index.
struct InFlight {
    correlation_id: i32,
    batches: Vec<Sent>,
}

/// A producer that outlives the broker's crashes.
pub struct Producer<'a> {
    shared: &'a Shared,
    kind: ProducerKind,
    rng: StdRng,
    writer: u64,
    stamp: Option<ProducerStamp>,
    /// By partition index: records sent by this writer.
    sequences: Vec<u64>,
    /// By partition index: the last acknowledged batch, then those without an answer, oldest first.
    last_acked: Vec<Option<Sent>>,
    unanswered: Vec<VecDeque<Sent>>,
    /// What is to be sent again before anything new.
    again: VecDeque<Sent>,
    in_flight: VecDeque<InFlight>,
    correlation_id: i32,
}

impl<'a> Producer<'a> {
    /// A producer that has sent nothing yet.
    pub fn new(shared: &'a Shared, kind: ProducerKind, seed: u64) -> Producer<'a> {
        let mut producer = Producer {
            shared,
            kind,
            rng: StdRng::seed_from_u64(seed),
            writer: 0,
            stamp: None,
            sequences: Vec::new(),
            last_acked: Vec::new(),
            unanswered: Vec::new(),
            again: VecDeque::new(),
            in_flight: VecDeque::new(),
            correlation_id: 0,
        };
        producer.forget();
        producer
    }

    /// Becomes a new writer: without producer id, sequences or anything to send again.
    fn forget(&mut self) {
        let partitions = self.shared.places.len();
        self.writer = self.shared.next_writer.fetch_add(1, Ordering::Relaxed);
        self.stamp = None;
        self.sequences = vec![0; partitions];
        self.last_acked = vec![None; partitions];
        self.unanswered = vec![VecDeque::new(); partitions];
    }

    /// Produces until the connection breaks. Afterwards nothing is in flight: it is acknowledged, refused or unknown.
    pub fn run(&mut self, addr: SocketAddr) {
        // A connection without idempotence has nothing that would order it after the one before.
        if !self.kind.idempotent || self.rng.random_bool(0.1) {
            self.forget();
        }
        // Every error means that the broker is gone; whoever killed it knows.
        let _ = self.produce(addr);
        let in_flight = std::mem::take(&mut self.in_flight)
            .into_iter()
            .flat_map(|request| request.batches);
        let open: Vec<Sent> = in_flight.chain(std::mem::take(&mut self.again)).collect();
        open.into_iter().for_each(|sent| self.unknown(sent));
    }

    fn produce(&mut self, addr: SocketAddr) -> io::Result<()> {
        self.send_again_first();
        self.ask_for_producer_id(addr)?;
        let mut writer = TcpStream::connect(addr)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::with_capacity(16 << 10, writer.try_clone()?);
        let mut frame = Vec::new();
        let depth = self.rng.random_range(1..=5);
        loop {
            if self.kind.acks == 0 {
                let batches = self.next_batches();
                self.send(&mut writer, batches)?;
                // No answer limits this producer: it goes on when others get theirs.
                if !self.shared.wait_for_acks(1) {
                    return Ok(());
                }
                continue;
            }
            while self.in_flight.len() < depth {
                let batches = self
                    .again
                    .pop_front()
                    .map_or_else(|| self.next_batches(), |sent| vec![sent]);
                self.send(&mut writer, batches)?;
            }
            if !self.answered(read_frame(&mut reader, &mut frame)?)? {
                return Ok(());
            }
        }
    }

    fn ask_for_producer_id(&mut self, addr: SocketAddr) -> io::Result<()> {
        if !self.kind.idempotent || self.stamp.is_some() {
            return Ok(());
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        let reply = RawClient::try_connect(addr)?.try_call(4, &request)?;
        if reply.error_code != 0 {
            return Err(io::Error::other(format!("InitProducerId: error {}", reply.error_code)));
        }
        let producer_id = reply.producer_id.0;
        self.shared.record(&Event::ProducerId(producer_id));
        // Any first sequence is accepted (contract 42): some begin just below where sequences wrap to 0.
        let base_sequence = if self.rng.random_bool(0.5) {
            0
        } else {
            i32::MAX - self.rng.random_range(0..2_000)
        };
        self.stamp = Some(ProducerStamp {
            producer_id,
            producer_epoch: reply.producer_epoch,
            base_sequence,
        });
        Ok(())
    }

    /// After a crash come, for each partition, the last acknowledged batch (a duplicate for sure, if the broker still has
    /// to know it) and all whose fate is unknown, in their order.
    fn send_again_first(&mut self) {
        for (unanswered, acked) in self.unanswered.iter_mut().zip(&self.last_acked) {
            if let Some(acked) = acked.as_ref().filter(|_| unanswered.len() < DEDUPLICATED_BATCHES) {
                self.again.push_back(acked.clone());
            }
            self.again.extend(unanswered.drain(..));
        }
    }

    fn next_batches(&mut self) -> Vec<Sent> {
        let partitions = self.shared.places.len();
        let first = self.rng.random_range(0..partitions);
        let topic = &self.shared.places[first].topic;
        let of_topic: Vec<usize> = (0..partitions)
            .filter(|i| self.shared.places[*i].topic == *topic)
            .collect();
        let count = self
            .rng
            .random_range(1..=self.kind.partitions_per_request.min(of_topic.len()));
        let start = of_topic.iter().position(|i| *i == first).unwrap_or(0);
        (0..count)
            .map(|i| self.next_batch(of_topic[(start + i) % of_topic.len()]))
            .collect()
    }

    fn next_batch(&mut self, partition: usize) -> Sent {
        let power = self
            .rng
            .random_range(100f64.log2()..=(self.kind.largest_batch as f64).log2());
        let bytes = power.exp2() as usize;
        let most_records = (bytes / 100).clamp(1, 50) as u32;
        let records = self.rng.random_range(1..=most_records);
        // 16 bytes a record and 61 a batch are framing.
        let value_bytes = (bytes.saturating_sub(128) / records as usize)
            .saturating_sub(16)
            .max(MIN_VALUE_BYTES);
        let op = self.shared.next_op.fetch_add(1, Ordering::Relaxed);
        let values: Vec<Vec<u8>> = (0..records)
            .map(|i| encode_value(RecordId::new(op, i), value_bytes))
            .collect();

        let sequence = self.sequences[partition];
        self.sequences[partition] += u64::from(records);
        let stamp = self.stamp.map(|stamp| {
            let wire = (stamp.base_sequence as u64 + sequence) % (1 << 31);
            ProducerStamp {
                base_sequence: wire as i32,
                ..stamp
            }
        });
        let batch = encode_batch(values.iter().map(Vec::as_slice), stamp, now_ms());
        let (writer, idempotent, acks) = (self.writer, self.kind.idempotent, self.kind.acks);
        Sent {
            produce: Produce {
                op,
                partition,
                records,
                writer,
                idempotent,
                sequence,
                acks,
            },
            batch,
        }
    }

    fn send(&mut self, to: &mut TcpStream, batches: Vec<Sent>) -> io::Result<()> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let places = &self.shared.places;
        let topic = &places[batches[0].produce.partition].topic;
        let parts: Vec<(i32, &[u8])> = batches
            .iter()
            .map(|sent| (places[sent.produce.partition].partition, sent.batch.as_slice()))
            .collect();
        let frame = produce_frame(self.correlation_id, topic, self.kind.acks, &parts);
        for sent in &batches {
            self.shared.record(&Event::ProduceInvoke(sent.produce.clone()));
        }
        if self.kind.acks == 0 {
            batches.into_iter().for_each(|sent| self.unknown(sent));
        } else {
            self.in_flight.push_back(InFlight {
                correlation_id: self.correlation_id,
                batches,
            });
        }
        to.write_all(&frame)
    }

    /// Records an answer. False if something was refused: then this writer ends and another begins.
    fn answered(&mut self, frame: &[u8]) -> io::Result<bool> {
        let mut answers = Vec::new();
        let correlation_id = read_produce_reply(frame, |produced| answers.push(produced))?;
        let request = self
            .in_flight
            .pop_front()
            .filter(|request| request.correlation_id == correlation_id);
        let request = request.expect("replies leave in request order");
        assert_eq!(answers.len(), request.batches.len(), "every partition is answered");
        let mut refused = false;
        for sent in request.batches {
            let partition = sent.produce.partition;
            let number = self.shared.places[partition].partition;
            let answer = answers
                .iter()
                .find(|answer| answer.partition == number)
                .expect("every partition is answered");
            let op = sent.produce.op;
            match answer.error_code {
                0 => {
                    self.shared.record(&Event::ProduceOk {
                        op,
                        base_offset: answer.base_offset,
                    });
                    self.shared.count_ack();
                    self.last_acked[partition] = Some(sent);
                }
                // REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND promise nothing (contract 27).
                7 | 20 => self.unknown(sent),
                code => {
                    self.shared.record(&Event::ProduceRefused { op, code });
                    self.shared
                        .refusals
                        .lock()
                        .expect("nobody panics with it")
                        .push((op, code));
                    refused = true;
                }
            }
        }
        if refused {
            for sent in std::mem::take(&mut self.in_flight)
                .into_iter()
                .flat_map(|request| request.batches)
            {
                self.shared.record(&Event::ProduceUnknown { op: sent.produce.op });
            }
            self.again.clear();
            self.forget();
        }
        Ok(!refused)
    }

    fn unknown(&mut self, sent: Sent) {
        self.shared.record(&Event::ProduceUnknown { op: sent.produce.op });
        if self.kind.idempotent {
            let unanswered = &mut self.unanswered[sent.produce.partition];
            // An acknowledged batch that was sent again is not the newest: it keeps its place as the last acknowledged.
            if self.last_acked[sent.produce.partition]
                .as_ref()
                .is_none_or(|acked| acked.produce != sent.produce)
            {
                unanswered.push_back(sent);
            }
        }
    }
}
