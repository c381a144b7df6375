//! The load of the crash test: producers of every kind and consumers, over raw sockets, each recording what it did and saw.
//!
//! A [`Producer`] lives through crashes: what was in flight when the connection broke is sent again under its old sequences
//! (if it is idempotent) before anything new. One thread drives one connection with up to five requests in flight.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use kafka_protocol::messages::InitProducerIdRequest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::checker::{Checker, Event, Fault, Produce, ReadBatch, RecordId};
use crate::harness::PATIENCE;
use crate::raw::RawClient;
use crate::records::now_ms;
use crate::wire::{
    FetchFrom, FetchLimits, ProducerStamp, encode_batch, fetch_frame, produce_frame, read_fetch_reply, read_frame,
    read_produce_reply, values, whole_batches,
};

/// Batches that a broker remembers of each producer and partition (contract 38).
const DEDUPLICATED_BATCHES: usize = 5;
/// A whole batch stays below the default `max.message.bytes` of 1 MiB + 12.
const LARGEST_BATCH_BYTES: usize = 1 << 20;

/// A partition of the workload, by its index in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition's number in the topic.
    pub partition: i32,
}

/// What all clients share: the recorder, the numbers of operations, and the count of acknowledgements.
pub struct Shared {
    /// Partitions by index.
    pub places: Vec<Place>,
    checker: Mutex<Checker>,
    next_op: AtomicU64,
    next_writer: AtomicU64,
    progress: Mutex<Progress>,
    progressed: Condvar,
    refusals: Mutex<Vec<(u64, i16)>>,
}

#[derive(Default)]
struct Progress {
    acked: u64,
    stopped: bool,
}

impl Shared {
    /// Before the first request.
    pub fn new(places: Vec<Place>) -> Shared {
        Shared {
            checker: Mutex::new(Checker::new(places.len())),
            places,
            next_op: AtomicU64::new(1),
            next_writer: AtomicU64::new(1),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            refusals: Mutex::default(),
        }
    }

    /// Adds to the history.
    pub fn record(&self, event: &Event) {
        self.checker().apply(event);
    }

    /// The history's checker.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().expect("no client panics while it records")
    }

    /// Faults found so far.
    pub fn faults(&self) -> Vec<Fault> {
        self.checker().faults().to_vec()
    }

    /// Operations that were refused with an error, and its code.
    pub fn refusals(&self) -> Vec<(u64, i16)> {
        self.refusals.lock().expect("no client panics while it records").clone()
    }

    /// Waits until `count` more batches are acknowledged; false if that takes longer than [`PATIENCE`] or all are to stop.
    pub fn wait_for_acks(&self, count: u64) -> bool {
        let progress = self.progress();
        let target = progress.acked + count;
        let goes_on = |progress: &mut Progress| progress.acked < target && !progress.stopped;
        let (progress, waited) = self
            .progressed
            .wait_timeout_while(progress, PATIENCE, goes_on)
            .expect("nobody panics with it");
        !waited.timed_out() && !progress.stopped
    }

    /// Whether those who wait for acknowledgements are to stop, since there will be no more.
    pub fn set_stopped(&self, stopped: bool) {
        self.progress().stopped = stopped;
        self.progressed.notify_all();
    }

    fn count_ack(&self) {
        self.progress().acked += 1;
        self.progressed.notify_all();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics with it")
    }
}

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
            read_frame(&mut reader, &mut frame)?;
            if !self.answered(&frame)? {
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

/// A value holds at least its record's identity and 8 bytes of fill.
const MIN_VALUE_BYTES: usize = 24;

fn fill(record: RecordId) -> impl FnMut() -> u64 {
    let mut state = (record.op() << 20 | u64::from(record.index())).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// A value that says which record it is: operation, index, and bytes that follow from both.
pub fn encode_value(record: RecordId, bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes + 8);
    value.extend_from_slice(&record.op().to_be_bytes());
    value.extend_from_slice(&u64::from(record.index()).to_be_bytes());
    let mut next = fill(record);
    while value.len() < bytes {
        value.extend_from_slice(&next().to_be_bytes());
    }
    value.truncate(bytes.max(16));
    value
}

/// Which record a value is; `None` if any byte of it is not as it was written.
pub fn decode_value(value: &[u8]) -> Option<RecordId> {
    let (op, rest) = value.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (op, index) = (u64::from_be_bytes(*op), u64::from_be_bytes(*index));
    if op == 0 || op >= 1 << 47 || index >= 1 << 16 {
        return None;
    }
    let record = RecordId::new(op, index as u32);
    let mut next = fill(record);
    let right = rest
        .chunks(8)
        .all(|chunk| next().to_be_bytes()[..chunk.len()] == *chunk);
    right.then_some(record)
}

/// A consumer of all partitions that outlives the broker's crashes and keeps its positions.
pub struct Consumer<'a> {
    shared: &'a Shared,
    reader: u64,
    /// Next offset by partition index.
    pub positions: Vec<i64>,
    correlation_id: i32,
}

impl<'a> Consumer<'a> {
    /// A consumer that starts at offset 0. `reader` is its own number.
    pub fn new(shared: &'a Shared, reader: u64) -> Consumer<'a> {
        Consumer {
            shared,
            reader,
            positions: vec![0; shared.places.len()],
            correlation_id: 0,
        }
    }

    /// Consumes until the connection breaks, all topics in turn, waiting at the end of the log.
    pub fn run(&mut self, addr: SocketAddr) {
        // Every error means that the broker is gone; whoever killed it knows.
        let _ = self.consume(addr);
    }

    fn consume(&mut self, addr: SocketAddr) -> io::Result<()> {
        let mut stream = connect(addr)?;
        let limits = FetchLimits {
            max_wait_ms: 20,
            min_bytes: 1,
            max_bytes: 4 << 20,
        };
        loop {
            for indexes in self.topics() {
                self.fetch(&mut stream, limits, 1 << 20, &indexes)?;
            }
        }
    }

    fn topics(&self) -> Vec<Vec<usize>> {
        let places = &self.shared.places;
        let mut topics: Vec<Vec<usize>> = Vec::new();
        for (index, place) in places.iter().enumerate() {
            match topics.iter_mut().find(|topic| places[topic[0]].topic == place.topic) {
                Some(topic) => topic.push(index),
                None => topics.push(vec![index]),
            }
        }
        topics
    }

    /// One fetch of partitions of one topic; positions move behind what came. Gives each partition's high watermark.
    fn fetch(
        &mut self,
        stream: &mut BufReader<TcpStream>,
        limits: FetchLimits,
        partition_bytes: i32,
        indexes: &[usize],
    ) -> io::Result<Vec<(usize, i64)>> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let places = &self.shared.places;
        let from: Vec<FetchFrom> = indexes
            .iter()
            .map(|i| FetchFrom {
                partition: places[*i].partition,
                offset: self.positions[*i],
                max_bytes: partition_bytes,
            })
            .collect();
        let frame = fetch_frame(self.correlation_id, &places[indexes[0]].topic, limits, &from);
        for index in indexes {
            self.shared.record(&Event::FetchInvoke {
                reader: self.reader,
                partition: *index,
            });
        }
        stream.get_mut().write_all(&frame)?;
        let mut reply = Vec::new();
        read_frame(stream, &mut reply)?;
        let mut high_watermarks = Vec::new();
        read_fetch_reply(&reply, |fetched| {
            let index = indexes
                .iter()
                .copied()
                .find(|i| places[*i].partition == fetched.partition);
            let index = index.expect("only what was asked for is answered");
            let fetch_offset = self.positions[index];
            match fetched.error_code {
                0 => {
                    let batches = read_batches(fetched.records);
                    if let Some(last) = batches.last() {
                        self.positions[index] = last.base_offset + last.records.len() as i64;
                    }
                    let event = Event::FetchOk {
                        reader: self.reader,
                        partition: index,
                        fetch_offset,
                        high_watermark: fetched.high_watermark,
                        log_start_offset: fetched.log_start_offset,
                        batches,
                    };
                    self.shared.record(&event);
                    high_watermarks.push((index, fetched.high_watermark));
                }
                1 => {
                    let (reader, partition) = (self.reader, index);
                    self.shared.record(&Event::FetchOutOfRange {
                        reader,
                        partition,
                        fetch_offset,
                    });
                }
                code => panic!("fetch of partition {index} at {fetch_offset}: error {code}"),
            }
        })?;
        Ok(high_watermarks)
    }

    /// Reads partition `index` from `from` to the high watermark that the first answer gives, and says so in the history.
    /// Returns that high watermark. Nobody may produce meanwhile.
    pub fn verify(&mut self, addr: SocketAddr, index: usize, from: i64) -> io::Result<i64> {
        let mut stream = connect(addr)?;
        self.positions[index] = from;
        let mut empty = 0;
        loop {
            let limits = FetchLimits {
                max_wait_ms: 0,
                min_bytes: 0,
                max_bytes: 16 << 20,
            };
            let before = self.positions[index];
            let answers = self.fetch(&mut stream, limits, 16 << 20, &[index])?;
            let Some((_, high_watermark)) = answers.first().copied() else {
                return Err(io::Error::other(format!(
                    "partition {index} is not readable at {before}"
                )));
            };
            if self.positions[index] >= high_watermark {
                self.shared.record(&Event::Verified {
                    partition: index,
                    from,
                    end: high_watermark,
                });
                return Ok(high_watermark);
            }
            empty = if self.positions[index] == before { empty + 1 } else { 0 };
            if empty > 100 {
                let what = format!("partition {index} gives nothing at {before} below its end {high_watermark}");
                return Err(io::Error::other(what));
            }
        }
    }

    /// Reads up to `bytes` of partition `index` at `offset` once more.
    pub fn sample(&mut self, addr: SocketAddr, index: usize, offset: i64, bytes: i32) -> io::Result<()> {
        self.positions[index] = offset;
        let limits = FetchLimits {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: bytes,
        };
        self.fetch(&mut connect(addr)?, limits, bytes, &[index])?;
        if self.positions[index] == offset {
            return Err(io::Error::other(format!("partition {index} gives nothing at {offset}")));
        }
        Ok(())
    }
}

fn connect(addr: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(BufReader::with_capacity(256 << 10, stream))
}

fn read_batches(records: &[u8]) -> Vec<ReadBatch> {
    let whole = whole_batches(records);
    whole
        .map(|(header, batch)| {
            // A wrong checksum makes every value doubtful, its framing included.
            let right = protocol::batch::crc_matches(batch);
            let mut records: Vec<_> = values(batch)
                .map(|value| value.filter(|_| right).and_then(decode_value))
                .collect();
            records.resize(usize::try_from(header.record_count).unwrap_or(0), None);
            let (base_offset, leader_epoch) = (header.base_offset.0, header.partition_leader_epoch);
            ReadBatch {
                base_offset,
                leader_epoch,
                records,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_which_record_they_are_and_any_flipped_bit_shows() {
        for bytes in [16, 24, 31, 100, 4_096] {
            let record = RecordId::new(77, 3);
            let value = encode_value(record, bytes);
            assert_eq!(value.len(), bytes);
            assert_eq!(decode_value(&value), Some(record));
            for at in 0..value.len() {
                let mut flipped = value.clone();
                flipped[at] ^= 0x10;
                // Of 16 bytes nothing follows from the identity, so it is another one.
                assert_ne!(decode_value(&flipped), Some(record), "byte {at} of {bytes}");
            }
        }
        assert_eq!(decode_value(b"short"), None);
        assert_eq!(decode_value(&[0; 40]), None);
    }
}
