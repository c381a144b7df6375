//! Requests of one connection whose place is fixed and whose replies have not left, in request order (contract 1, 2).
//!
//! What never lives here: reading requests, writing replies.

use crate::dispatch::{Outcome, Staged};
use crate::metrics::ApiMetrics;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A request whose place is fixed and whose reply has not left.
struct InFlight {
    staged: Staged,
    entry: Entry,
}

/// What is remembered of a request until its reply has left.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) metrics: Arc<ApiMetrics>,
    pub(super) frame_bytes: usize,
    /// When its last byte was read.
    pub(super) started: Instant,
}

/// Requests in flight, in order. Only the first is polled: the others' replies could not leave before it anyway, and their
/// promises come true without being watched.
#[derive(Default)]
pub(super) struct Pipeline {
    requests: VecDeque<InFlight>,
    bytes: usize,
}

impl Pipeline {
    /// Requests in flight.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether none is.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Bytes of their frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the next one.
    pub(super) fn push(&mut self, staged: Staged, entry: Entry) {
        self.bytes += entry.frame_bytes;
        self.requests.push_back(InFlight { staged, entry });
    }

    /// Replies at the front that are ready: those that can leave in one write.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>, ready: &mut Vec<(Outcome, Entry)>) -> Poll<()> {
        while let Some(first) = self.requests.front_mut() {
            let Poll::Ready(outcome) = first.staged.as_mut().poll(cx) else {
                break;
            };
            if let Some(done) = self.requests.pop_front() {
                self.bytes -= done.entry.frame_bytes;
                ready.push((outcome, done.entry));
            }
        }
        if ready.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Piece;
    use crate::metrics::{Metrics, Recorder};
    use bytes::Bytes;
    use futures_util::task::noop_waker_ref;
    use tokio::sync::oneshot;

    fn entry(frame_bytes: usize) -> Entry {
        Entry {
            metrics: Metrics::new(Recorder::new(), 0).api(0),
            frame_bytes,
            started: Instant::now(),
        }
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
}
