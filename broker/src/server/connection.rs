//! One connection: reads requests, lets each pass its first stage alone, and sends the replies in request order.
//!
//! The next request is read as soon as the one before has its place (contract 2); its reply may still be waiting. Requests
//! that wait are bounded in number and bytes. What never lives here: what a request means.

use super::frame::{Arrival, FrameReader};
use super::limits::ConnectionPermit;
use super::pipeline::{Entry, Pipeline};
use super::response::Sender;
use super::timer::{TimeLimits, Timer};
use crate::broker::Broker;
use crate::context::{ListenerInfo, Principal, RequestContext};
use crate::dispatch::{self, CloseReason, Outcome, Piece, Staged};
use bytes::Bytes;
use futures_util::future::{Fuse, FusedFuture, FutureExt};
use protocol::DecodeError;
use protocol::header::RequestHeader;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

/// Replies to earlier requests get so long to leave before a connection closes for a fault.
const DRAIN: Duration = Duration::from_secs(5);

/// A connection's fixed facts.
pub struct Connection {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The listener it came in by, as this client is told about it.
    pub listener: Arc<ListenerInfo>,
    /// The other end.
    pub peer: SocketAddr,
    /// Its place among the open connections.
    pub permit: ConnectionPermit,
}

impl Connection {
    /// Serves the connection to its end, and says why it ended.
    pub async fn run(self, mut socket: TcpStream) -> CloseReason {
        let config = &self.broker.config;
        let (mut read_half, write_half) = socket.split();
        let mut reader = FrameReader::new(config.socket_request_max_bytes, self.broker.request_memory.clone());
        let mut state = State::new(&self);
        let mut stage_one = pin!(Fuse::terminated());
        let mut stopping = pin!(self.broker.stopping());
        let mut armed = state.timer.next;
        let mut tick = pin!(sleep_until(armed.into()));
        loop {
            if let Some(reason) = state.ended(stage_one.is_terminated()) {
                return reason;
            }
            let reading = stage_one.is_terminated() && state.has_room();
            let step = tokio::select! {
                biased;
                () = poll_fn(|cx| state.pipeline.poll_ready(cx, &mut state.ready)) => {
                    state.reply(write_half.as_ref()).await
                }
                result = &mut stage_one => {
                    reader.frame_done();
                    state.place_fixed(result)
                }
                arrival = reader.next(&mut read_half), if reading => {
                    state.arrived(arrival, reader.received_bytes()).map(|begun| {
                        if let Some((ctx, body)) = begun {
                            stage_one.set(dispatch::dispatch(ctx, body).fuse());
                        }
                    })
                }
                () = tick.as_mut() => state.tick(&mut reader),
                () = stopping.as_mut(), if state.closing.is_none() => {
                    state.close_after_replies(CloseReason::Stopping, config.shutdown_timeout)
                }
            };
            if let Err(reason) = step {
                return reason;
            }
            if state.timer.next != armed {
                armed = state.timer.next;
                tick.as_mut().reset(armed.into());
            }
        }
    }
}

/// What changes while a connection is served, apart from its socket and the request in stage one.
struct State<'a> {
    connection: &'a Connection,
    pipeline: Pipeline,
    /// The request in stage one.
    placing: Option<Entry>,
    ready: Vec<(Outcome, Entry)>,
    pieces: VecDeque<Piece>,
    timer: Timer,
    /// Nothing is read any more; the connection ends when its replies have left, or at that moment.
    closing: Option<(CloseReason, Instant)>,
    client_id: Arc<str>,
    principal: Principal,
    received_bytes: u64,
}

/// A step of a connection; an error ends it at once.
type Step<T = ()> = Result<T, CloseReason>;

impl<'a> State<'a> {
    fn new(connection: &'a Connection) -> State<'a> {
        State {
            connection,
            pipeline: Pipeline::default(),
            placing: None,
            ready: Vec::new(),
            pieces: VecDeque::new(),
            timer: Timer::new(
                connection.broker.clock.instant(),
                TimeLimits {
                    idle: connection.broker.config.connections_max_idle,
                    request: connection.broker.config.request_read_timeout,
                },
            ),
            closing: None,
            client_id: Arc::from(""),
            principal: Principal::anonymous(),
            received_bytes: 0,
        }
    }

    fn now(&self) -> Instant {
        self.connection.broker.clock.instant()
    }

    /// The reason to end, once it is there and all replies have left.
    fn ended(&mut self, nothing_in_stage_one: bool) -> Option<CloseReason> {
        if self.pipeline.is_empty() && nothing_in_stage_one {
            self.closing.take().map(|(reason, _)| reason)
        } else {
            None
        }
    }

    /// Whether another request may be read.
    fn has_room(&self) -> bool {
        let config = &self.connection.broker.config;
        let waiting = self.pipeline.len();
        self.closing.is_none()
            && waiting < config.connection_inflight_max_requests
            && (waiting == 0 || self.pipeline.bytes() < config.connection_inflight_max_bytes)
    }

    /// Reads no more, and ends when the replies to what was read have left.
    fn close_after_replies(&mut self, reason: CloseReason, within: Duration) -> Step {
        let until = self.now() + within;
        self.timer.wake_at(until);
        self.closing = Some((reason, until));
        Ok(())
    }

    /// Takes in what the reader found. Gives the request whose first stage begins.
    fn arrived(
        &mut self,
        arrival: Result<Arrival, CloseReason>,
        received_bytes: u64,
    ) -> Step<Option<(RequestContext, Bytes)>> {
        let now = self.now();
        let broker = &self.connection.broker;
        broker.metrics.bytes_in.increment(received_bytes - self.received_bytes);
        self.received_bytes = received_bytes;
        match arrival {
            Ok(Arrival::Begun) => {
                self.timer.frame_begun(now);
                Ok(None)
            }
            Ok(Arrival::Frame(frame)) => {
                self.timer.frame_complete(now);
                let frame_bytes = frame.len();
                match self.open(frame) {
                    Ok((ctx, body)) => {
                        let metrics = broker.metrics.api(ctx.api_key);
                        metrics.requests.increment(1);
                        self.placing = Some(Entry {
                            metrics,
                            frame_bytes,
                            started: now,
                        });
                        Ok(Some((ctx, body)))
                    }
                    Err(reason) => self.close_after_replies(reason, DRAIN).map(|()| None),
                }
            }
            Err(reason @ CloseReason::FrameSize(_)) => self.close_after_replies(reason, DRAIN).map(|()| None),
            Err(reason) => Err(reason),
        }
    }

    /// Reads the header: what is asked for, by whom.
    fn open(&mut self, frame: Bytes) -> Step<(RequestContext, Bytes)> {
        let broker = &self.connection.broker;
        let header = RequestHeader::parse(&frame).map_err(|error| refused(&frame, error))?;
        if *self.client_id != *header.client_id_or_empty() {
            self.client_id = Arc::from(header.client_id_or_empty());
        }
        let ctx = RequestContext {
            broker: broker.clone(),
            principal: self.principal.clone(),
            listener: self.connection.listener.clone(),
            client_id: self.client_id.clone(),
            peer: self.connection.peer,
            api_key: header.api.key as i16,
            api_version: header.api_version,
            correlation_id: header.correlation_id,
            now_ms: broker.clock.now_ms(),
        };
        let body_at = header.body_at;
        drop(header);
        Ok((ctx, frame.slice(body_at..)))
    }

    /// A first stage is over: the request has its place, or was refused.
    fn place_fixed(&mut self, result: Result<Staged, CloseReason>) -> Step {
        match (result, self.placing.take()) {
            (Ok(staged), Some(entry)) => self.pipeline.push(staged, entry),
            (Ok(_), None) => unreachable!("arrived() made an entry for every request in stage one"),
            (Err(reason), _) => self.close_after_replies(reason, DRAIN)?,
        }
        Ok(())
    }

    /// Sends the replies that are ready, in one write where they fit.
    async fn reply(&mut self, socket: &TcpStream) -> Step {
        let broker = &self.connection.broker;
        let mut close = None;
        for (outcome, _) in &mut self.ready {
            match std::mem::replace(outcome, Outcome::Silence) {
                Outcome::Reply(pieces) => self.pieces.extend(pieces),
                Outcome::Silence => {}
                Outcome::Close(reason) => {
                    close = Some(reason);
                    break;
                }
            }
        }
        let memory_is_short = || broker.engine.tail_bytes() > broker.config.tail_memory_bytes / 2;
        let sender = Sender {
            socket,
            clock: broker.clock,
            timeout: broker.config.reply_write_timeout,
            memory_is_short: &memory_is_short,
        };
        let sent = sender.send(&mut self.pieces).await?;
        broker.metrics.bytes_out.increment(sent);
        let now = self.now();
        for (_, entry) in self.ready.drain(..) {
            entry
                .metrics
                .seconds
                .record(now.duration_since(entry.started).as_secs_f64());
        }
        self.timer.active(now);
        close.map_or(Ok(()), Err)
    }

    /// Time has passed: looks for what should have happened by now.
    fn tick(&mut self, reader: &mut FrameReader) -> Step {
        let now = self.now();
        if let Some((reason, until)) = self.closing.take() {
            if now >= until {
                return Err(reason);
            }
            self.timer.next = until;
            self.closing = Some((reason, until));
            return Ok(());
        }
        let busy = self.placing.is_some() || !self.pipeline.is_empty();
        if let Some(reason) = self.timer.check(now, busy, reader.partial_frame_bytes()) {
            return Err(reason);
        }
        if !busy && self.timer.is_quiet(now) && reader.partial_bytes() == 0 {
            reader.release();
        }
        Ok(())
    }
}

/// The reason to close for a header that is not one of ours.
fn refused(frame: &[u8], error: DecodeError) -> CloseReason {
    match error {
        DecodeError::UnknownApi { api_key, api_version } | DecodeError::UnsupportedVersion { api_key, api_version } => {
            CloseReason::Unsupported { api_key, api_version }
        }
        other => {
            let number = |at: usize| {
                frame
                    .get(at..at + 2)
                    .and_then(|b| b.try_into().ok())
                    .map_or(-1, i16::from_be_bytes)
            };
            CloseReason::Malformed {
                api_key: number(0),
                api_version: number(2),
                reason: other.to_string(),
            }
        }
    }
}
