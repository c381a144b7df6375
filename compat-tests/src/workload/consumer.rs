//! Consumers: they keep their positions through crashes, and read everything again when a round is verified.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Shared;
use super::value::decode_value;
use crate::checker::{Event, ReadBatch};
use crate::harness::PATIENCE;
use crate::wire::{FetchFrom, FetchLimits, fetch_frame, read_fetch_reply, read_frame, values, whole_batches};

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
        let mut buffer = Vec::new();
        let reply = read_frame(stream, &mut buffer)?;
        let mut high_watermarks = Vec::new();
        read_fetch_reply(reply, |fetched| {
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
