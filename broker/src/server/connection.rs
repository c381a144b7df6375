//! One connection: reads requests, lets each pass its first stage alone, and sends the replies in request order.
//!
//! The next request is read as soon as the one before has its place (contract 2); its reply may still be waiting. Requests
//! that wait are bounded in number and bytes. What never lives here: what a request means.

use super::frame::{Arrival, FrameReader};
use super::limits::ConnectionPermit;
use super::response;
use crate::broker::Broker;
use crate::context::{ListenerInfo, Principal, RequestContext};
use crate::dispatch::{self, CloseReason, Outcome, Piece, Staged};
use crate::metrics::ApiMetrics;
use bytes::Bytes;
use futures_util::future::{Fuse, FusedFuture, FutureExt};
use protocol::DecodeError;
use protocol::header::RequestHeader;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

/// A connection that was quiet for so long gives its read buffer back.
const KEEP_BUFFER: Duration = Duration::from_secs(5);
/// Replies to earlier requests get so long to leave before a connection closes for a fault.
const DRAIN: Duration = Duration::from_secs(5);
/// A request may take a second longer to arrive for each so many bytes of it.
const SLOWEST_BYTES_A_SECOND: u64 = 32 << 10;

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

/// A request whose place is fixed and whose reply has not left.
struct InFlight {
    staged: Staged,
    entry: Entry,
}

/// What is remembered of a request until its reply has left.
#[derive(Clone)]
struct Entry {
    metrics: Arc<ApiMetrics>,
    frame_bytes: usize,
    started: Instant,
}

/// Requests in flight, in order. Only the first is polled: the others' replies could not leave before it anyway, and their
/// promises come true without being watched.
#[derive(Default)]
struct Pipeline {
    requests: VecDeque<InFlight>,
    bytes: usize,
}

impl Pipeline {
    fn push(&mut self, staged: Staged, entry: Entry) {
        self.bytes += entry.frame_bytes;
        self.requests.push_back(InFlight { staged, entry });
    }

    /// Replies at the front that are ready: those that can leave in one write.
    fn poll_ready(&mut self, cx: &mut Context<'_>, ready: &mut Vec<(Outcome, Entry)>) -> Poll<()> {
        while let Some(first) = self.requests.front_mut() {
            let Poll::Ready(outcome) = first.staged.as_mut().poll(cx) else { break };
            if let Some(done) = self.requests.pop_front() {
                self.bytes -= done.entry.frame_bytes;
                ready.push((outcome, done.entry));
            }
        }
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
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
        if self.pipeline.requests.is_empty() && nothing_in_stage_one {
            self.closing.take().map(|(reason, _)| reason)
        } else {
            None
        }
    }

    /// Whether another request may be read.
    fn has_room(&self) -> bool {
        let config = &self.connection.broker.config;
        let waiting = self.pipeline.requests.len();
        self.closing.is_none()
            && waiting < config.connection_inflight_max_requests
            && (waiting == 0 || self.pipeline.bytes < config.connection_inflight_max_bytes)
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
                        self.placing = Some(Entry { metrics, frame_bytes, started: now });
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
        let sent = response::send(socket, &mut self.pieces, broker.config.reply_write_timeout).await?;
        broker.metrics.bytes_out.increment(sent);
        let now = self.now();
        for (_, entry) in self.ready.drain(..) {
            entry.metrics.seconds.record(now.duration_since(entry.started).as_secs_f64());
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
        let busy = self.placing.is_some() || !self.pipeline.requests.is_empty();
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
            let number = |at: usize| frame.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(-1, i16::from_be_bytes);
            CloseReason::Malformed { api_key: number(0), api_version: number(2), reason: other.to_string() }
        }
    }
}

/// When a connection must be looked at again: one timer for all its deadlines, moved rarely.
#[derive(Debug)]
struct Timer {
    /// When the connection will be looked at. Never later than the first deadline.
    next: Instant,
    last_active: Instant,
    frame_begun: Option<Instant>,
    limits: TimeLimits,
}

#[derive(Clone, Copy, Debug)]
struct TimeLimits {
    idle: Duration,
    request: Duration,
}

impl Timer {
    fn new(now: Instant, limits: TimeLimits) -> Timer {
        Timer { next: now + KEEP_BUFFER.min(limits.idle), last_active: now, frame_begun: None, limits }
    }

    fn wake_at(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }

    /// Something was asked or answered.
    fn active(&mut self, now: Instant) {
        self.last_active = now;
        self.wake_at(now + KEEP_BUFFER.min(self.limits.idle));
    }

    fn frame_begun(&mut self, now: Instant) {
        self.frame_begun = Some(now);
        self.wake_at(now + self.limits.request);
    }

    fn frame_complete(&mut self, now: Instant) {
        self.frame_begun = None;
        self.active(now);
    }

    /// A deadline that has passed; else the next look is set. `busy` while a request waits for its reply: then the
    /// connection is not idle (contract 7). `frame_bytes` is the length of the request that is arriving.
    fn check(&mut self, now: Instant, busy: bool, frame_bytes: usize) -> Option<CloseReason> {
        if busy {
            self.last_active = now;
        }
        let idle_at = self.last_active + self.limits.idle;
        if now >= idle_at && self.frame_begun.is_none() {
            return Some(CloseReason::Idle);
        }
        self.next = match self.frame_begun {
            Some(begun) => {
                let more = Duration::from_secs(frame_bytes as u64 / SLOWEST_BYTES_A_SECOND);
                let deadline = begun + self.limits.request + more;
                if now >= deadline {
                    return Some(CloseReason::SlowFrame);
                }
                deadline
            }
            None => idle_at,
        };
        None
    }

    /// Whether nothing has happened for so long that buffers are not worth keeping.
    fn is_quiet(&self, now: Instant) -> bool {
        now >= self.last_active + KEEP_BUFFER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, Recorder};
    use futures_util::task::noop_waker_ref;
    use tokio::sync::oneshot;

    fn entry(frame_bytes: usize) -> Entry {
        Entry { metrics: Metrics::new(Recorder::new(), 0).api(0), frame_bytes, started: Instant::now() }
    }

    /// A stage two that ends when it is told to, with a reply of one byte.
    fn staged() -> (oneshot::Sender<u8>, Staged) {
        let (tell, told) = oneshot::channel::<u8>();
        let staged = Box::pin(async move {
            match told.await {
                Ok(byte) => Outcome::Reply(vec![Piece::Mem(Bytes::from(vec![byte]))]),
                Err(_) => Outcome::Silence,
            }
        });
        (tell, staged)
    }

    fn ready(pipeline: &mut Pipeline) -> Vec<u8> {
        let mut ready = Vec::new();
        let _ = pipeline.poll_ready(&mut Context::from_waker(noop_waker_ref()), &mut ready);
        let byte = |outcome| match outcome {
            Outcome::Reply(pieces) => match &pieces[..] {
                [Piece::Mem(bytes)] => bytes[0],
                other => panic!("{other:?}"),
            },
            Outcome::Silence => 0,
            Outcome::Close(reason) => panic!("{reason}"),
        };
        ready.into_iter().map(|(outcome, _)| byte(outcome)).collect()
    }

    #[test]
    fn replies_leave_in_request_order_whatever_is_ready_first() {
        // contract 1, 2
        let mut pipeline = Pipeline::default();
        let mut tell = Vec::new();
        for _ in 0..5 {
            let (sender, staged) = staged();
            pipeline.push(staged, entry(10));
            tell.push(Some(sender));
        }
        let mut answer = |i: usize| {
            let sender = tell[i].take().expect("answered once");
            sender.send(i as u8 + 1).expect("still waiting");
        };
        assert!(ready(&mut pipeline).is_empty());
        answer(3);
        answer(1);
        assert!(ready(&mut pipeline).is_empty(), "the first is not ready");
        answer(0);
        assert_eq!(ready(&mut pipeline), [1, 2]);
        assert_eq!((pipeline.requests.len(), pipeline.bytes), (3, 30));
        answer(4);
        answer(2);
        assert_eq!(ready(&mut pipeline), [3, 4, 5]);
        assert_eq!((pipeline.requests.len(), pipeline.bytes), (0, 0));
    }

    #[test]
    fn silence_takes_its_place_in_the_order() {
        // contract 25
        let mut pipeline = Pipeline::default();
        let (first, staged_first) = staged();
        let (second, staged_second) = staged();
        pipeline.push(staged_first, entry(1));
        pipeline.push(staged_second, entry(1));
        second.send(2).expect("waiting");
        drop(first);
        assert_eq!(ready(&mut pipeline), [0, 2]);
    }

    const LIMITS: TimeLimits = TimeLimits { idle: Duration::from_secs(600), request: Duration::from_secs(30) };

    #[test]
    fn a_quiet_connection_is_looked_at_early_and_closed_late() {
        // contract 7
        let start = Instant::now();
        let mut timer = Timer::new(start, LIMITS);
        assert_eq!(timer.next, start + KEEP_BUFFER);
        assert!(timer.check(start + KEEP_BUFFER, false, 0).is_none());
        assert!(timer.is_quiet(start + KEEP_BUFFER), "its buffer is given back");
        assert_eq!(timer.next, start + LIMITS.idle);
        assert!(matches!(timer.check(start + LIMITS.idle, false, 0), Some(CloseReason::Idle)));
    }

    #[test]
    fn a_parked_request_is_not_idle() {
        // contract 7
        let start = Instant::now();
        let mut timer = Timer::new(start, LIMITS);
        assert!(timer.check(start + LIMITS.idle, true, 0).is_none());
        assert!(timer.check(start + LIMITS.idle * 2 - Duration::from_millis(1), false, 0).is_none());
        assert!(matches!(timer.check(start + LIMITS.idle * 2, false, 0), Some(CloseReason::Idle)));
    }

    #[test]
    fn a_request_has_time_in_proportion_to_its_size() {
        let start = Instant::now();
        let mut timer = Timer::new(start, LIMITS);
        timer.frame_begun(start);
        let bytes = 10 * SLOWEST_BYTES_A_SECOND as usize;
        assert!(timer.check(start + LIMITS.request, false, bytes).is_none());
        let deadline = start + LIMITS.request + Duration::from_secs(10);
        assert_eq!(timer.next, deadline);
        assert!(matches!(timer.check(deadline, false, bytes), Some(CloseReason::SlowFrame)));
        timer.frame_complete(deadline);
        assert!(timer.check(deadline, false, 0).is_none());
    }
}
