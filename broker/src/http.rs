//! HTTP for machines that watch the broker: `/metrics`, `/livez`, `/readyz`.
//!
//! Served from before the data directory is recovered until after it is closed, so that the two can be seen from outside.
//! Heads, connections and their lives are bounded. What never lives here: what is counted.

use crate::broker::{Broker, Phase};
use crate::metrics::{Metrics, resident_bytes};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::EngineState;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CONNECTIONS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection ends after so long whatever it does; Prometheus just opens another.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the pages are made of.
pub struct HttpState {
    /// How far the broker has come.
    pub phase: Phase,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The broker, once it exists.
    pub broker: OnceLock<Arc<Broker>>,
}

type Reply = Response<Full<Bytes>>;

/// Serves until dropped.
pub async fn serve(listener: TcpListener, state: Arc<HttpState>) {
    // Dropped with this future, and its tasks with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(tokio::time::timeout(CONNECTION_LIFE, connection(socket, state.clone())));
                }
                Err(error) => {
                    tracing::debug!(%error, "http accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(socket: TcpStream, state: Arc<HttpState>) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request, state).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "http connection");
    }
}

async fn answer(request: Request<Incoming>, state: Arc<HttpState>) -> Reply {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => match state.not_ready() {
            // The others are served: taking all of them out of service would make it worse.
            None => match state.damaged_partitions() {
                0 => text(StatusCode::OK, "ready\n"),
                count => text(
                    StatusCode::OK,
                    format!("ready, but {count} partitions are damaged; the log names them\n"),
                ),
            },
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => metrics(state).await,
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    reply
}

/// The page is made on a blocking thread: with many topics it takes milliseconds, and it reads /proc.
async fn metrics(state: Arc<HttpState>) -> Reply {
    match tokio::task::spawn_blocking(move || state.metrics.render(&state.gauges())).await {
        Ok(page) => text(StatusCode::OK, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Types and states of groups that can be counted: Dead ones are gone.
const GROUP_STATES: [(&str, &[&str]); 2] = [
    (
        "classic",
        &["Empty", "PreparingRebalance", "CompletingRebalance", "Stable"],
    ),
    ("consumer", &["Empty", "Assigning", "Reconciling", "Stable"]),
];

impl HttpState {
    /// Why the broker should get no new work, if there is a reason. Groups that are still read back are none: all else is
    /// served, and clients that meet one try again.
    fn not_ready(&self) -> Option<&'static str> {
        if let Some(reason) = self.phase.not_running() {
            return Some(reason);
        }
        match self.broker.get().map(|broker| broker.engine.state()) {
            None => Some("starting"),
            Some(EngineState::Healthy) => None,
            Some(EngineState::NoSpace) => Some("the disk is full: appends are refused, reads go on"),
            Some(EngineState::WriteError) => Some("a write failed: some partitions take no appends"),
        }
    }

    fn damaged_partitions(&self) -> usize {
        self.broker.get().map_or(0, |broker| broker.engine.damaged_partitions())
    }

    /// Groups that ended disappear by going to zero.
    fn group_gauges(&self, broker: &Broker, gauges: &mut Vec<(&'static str, f64)>) {
        let census = broker.groups.census();
        for (group_type, states) in GROUP_STATES {
            for state in states {
                let groups = census.groups.get(&(group_type, (*state).to_owned()));
                self.metrics.set_groups(group_type, state, groups.copied().unwrap_or(0));
            }
        }
        gauges.extend([
            ("streamhouse_group_members", census.members as f64),
            ("streamhouse_group_offsets", census.offsets as f64),
            ("streamhouse_group_timers", census.timers as f64),
            ("streamhouse_group_partitions_loading", census.loading as f64),
            ("streamhouse_group_partitions_failed", census.failed as f64),
        ]);
    }

    fn gauges(&self) -> Vec<(&'static str, f64)> {
        let mut gauges = vec![("process_resident_memory_bytes", resident_bytes() as f64)];
        if let Some(broker) = self.broker.get() {
            let (topics, partitions) = broker.partitions.counts();
            let healthy = broker.engine.state() == EngineState::Healthy;
            gauges.extend([
                ("streamhouse_connections_open", broker.connection_limits.open() as f64),
                (
                    "streamhouse_request_memory_bytes",
                    broker.request_memory.used_bytes() as f64,
                ),
                ("streamhouse_tail_memory_bytes", broker.engine.tail_bytes() as f64),
                ("streamhouse_topics", topics as f64),
                ("streamhouse_partitions", partitions as f64),
                ("streamhouse_fetch_sessions", broker.fetch_sessions.sessions() as f64),
                ("streamhouse_partitions_damaged", self.damaged_partitions() as f64),
                ("streamhouse_storage_healthy", f64::from(u8::from(healthy))),
            ]);
            self.group_gauges(broker, &mut gauges);
        }
        gauges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Recorder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn started() -> (std::net::SocketAddr, Arc<HttpState>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(HttpState {
            phase: Phase::default(),
            metrics: Metrics::new(Recorder::new(), 10),
            broker: OnceLock::new(),
        });
        tokio::spawn(serve(listener, state.clone()));
        (address, state)
    }

    async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut socket = TcpStream::connect(address).await.expect("connect");
        socket.write_all(request).await.expect("write");
        let mut reply = String::new();
        // The server may close while bytes of ours are unread: then the kernel resets, after the reply.
        let _ = socket.read_to_string(&mut reply).await;
        reply
    }

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        exchange(
            address,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await
    }

    #[tokio::test]
    async fn a_starting_broker_is_alive_and_not_ready() {
        let (address, state) = started().await;
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
        let ready = get(address, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("starting\n"),
            "{ready}"
        );
        state.phase.stopping();
        let ready = get(address, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("stopping\n"),
            "{ready}"
        );
    }

    #[tokio::test]
    async fn pages_have_their_status_and_metrics_their_values() {
        let (address, state) = started().await;
        state.metrics.bytes_in.increment(5);
        let page = get(address, "/metrics").await;
        assert!(
            page.starts_with("HTTP/1.1 200 ") && page.contains("\nstreamhouse_bytes_in_total 5\n"),
            "{page}"
        );
        assert!(page.contains("process_resident_memory_bytes "), "{page}");
        assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404 "));
        let post = exchange(
            address,
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (address, _state) = started().await;
        let mut request = b"GET /livez HTTP/1.1\r\nX: ".to_vec();
        request.resize(4 * HEAD_BYTES_MAX, b'x');
        let reply = exchange(address, &request).await;
        assert!(!reply.starts_with("HTTP/1.1 200 "), "{reply}");
        assert!(
            get(address, "/livez").await.starts_with("HTTP/1.1 200 "),
            "others are served"
        );
    }
}
