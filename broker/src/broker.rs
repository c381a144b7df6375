//! The running broker: what every request can reach, wired together once at the start, taken apart once at the end.
//!
//! What never lives here: what a request does, how a socket is served.

use crate::clock::Clock;
use crate::config::BrokerConfig;
use crate::config::endpoint::{Endpoint, HostPort};
use crate::context::ListenerInfo;
use crate::coordinator::GroupCoordinator;
use crate::features::Features;
use crate::fetch_session::{FetchSessionCache, SessionLimits};
use crate::http::{self, HttpState};
use crate::metrics::{Metrics, Recorder};
use crate::partitions::PartitionManager;
use crate::producer_ids::ProducerIds;
use crate::resource_configs::ResourceConfigs;
use crate::server::limits::{ConnectionLimits, LogRate};
use crate::server::listener::{self, BoundListener};
use crate::server::memory::MemoryBudget;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use storage::Engine;
use storage::metadata::ConfigKind;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Histograms hand their samples over so often.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Lines about refused and faulty connections: so many in each so long.
const FAULT_LINES: (u32, Duration) = (10, Duration::from_secs(10));

/// Client metrics subscriptions that may be kept: each is some text that nothing here reads.
const CLIENT_METRICS_SUBSCRIPTIONS_MAX: usize = 1_000;

/// Everything that a request may need.
pub struct Broker {
    /// The configuration it started with: defaults, file, environment, flags. What AlterConfigs changed since is in
    /// [`PartitionManager::settings`].
    pub config: BrokerConfig,
    /// The data directory.
    pub engine: Arc<Engine>,
    /// Topics and their logs.
    pub partitions: Arc<PartitionManager>,
    /// Consumer groups and their offsets.
    pub groups: Arc<GroupCoordinator>,
    /// Configs of client metrics subscriptions.
    pub client_metrics: Arc<ResourceConfigs>,
    /// Cluster features.
    pub features: Arc<Features>,
    /// Ids for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Incremental fetch sessions.
    pub fetch_sessions: FetchSessionCache,
    /// The cluster's id, stable over restarts.
    pub cluster_id: String,
    /// This broker's id.
    pub node_id: i32,
    /// Listeners, in the order of the config.
    pub listeners: Vec<Arc<ListenerInfo>>,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Memory for requests of all connections while they are read.
    pub request_memory: Arc<MemoryBudget>,
    /// Connections that are open.
    pub connection_limits: Arc<ConnectionLimits>,
    /// Whether a line about a faulty client may be written.
    pub fault_lines: LogRate,
    stopping: watch::Receiver<bool>,
}

impl Broker {
    /// Resolves when the broker begins to stop: then whoever is parked answers with what there is.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.clone();
        async move {
            // An error means that the sender is gone, which ends the broker too.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// Whether the broker has begun to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// How far a broker has come: it starts, runs, stops.
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

impl Phase {
    /// The broker serves requests.
    pub fn running(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// The broker takes no more connections.
    pub fn stopping(&self) {
        self.0.store(2, Ordering::Release);
    }

    /// The phase, unless it is the one in which requests are served.
    pub fn not_running(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            0 => Some("starting"),
            1 => None,
            _ => Some("stopping"),
        }
    }
}

/// Why a broker did not start. Its text is for the person at the command line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be taken.
    #[error("cannot listen on {address}: {}", bind_reason(.source))]
    Bind {
        /// The address asked for.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The data directory could not be opened.
    #[error("cannot open the data directory {data_dir}: {source}")]
    Storage {
        /// The directory.
        data_dir: String,
        /// Why not.
        source: storage::Error,
    },
    /// A part of the start ended with a panic, which was logged.
    #[error("the start failed: {0}")]
    Panic(String),
}

fn bind_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process uses that port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 need the right to use them".to_owned(),
        _ => error.to_string(),
    }
}

/// A broker that serves requests, with the handles to stop it.
pub struct Running {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Where Kafka clients connect, in the order of the config.
    pub kafka_addresses: Vec<SocketAddr>,
    /// Where HTTP is served.
    pub http_address: Option<SocketAddr>,
    http: Arc<HttpState>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts a broker: takes its addresses, recovers the data directory, then lets clients in. Ready when it returns.
    pub async fn start(config: BrokerConfig, recorder: Recorder) -> Result<Running, StartError> {
        // Addresses first: a mistake in them shows before any data is touched.
        let bound = bind_all(&config)?;
        let http = Arc::new(HttpState {
            phase: Phase::default(),
            metrics: Metrics::new(recorder, config.metrics_topics_max),
            broker: Default::default(),
        });
        let mut background = Vec::new();
        let http_address = match bind_http(&config)? {
            Some((listener, address)) => {
                background.push(tokio::spawn(http::serve(listener, http.clone())));
                Some(address)
            }
            None => None,
        };
        let (stop, stopping) = watch::channel(false);
        let started = start_broker(config, &bound, &http, stopping).await;
        let (broker, kafka_addresses, listeners) = match started.and_then(|broker| let_in(broker, bound)) {
            Ok(started) => started,
            Err(error) => {
                background.iter().for_each(JoinHandle::abort);
                return Err(error);
            }
        };
        background.push(tokio::spawn(run_retention(broker.clone())));
        background.push(tokio::spawn(run_upkeep(broker.metrics.clone())));
        let _ = http.broker.set(broker.clone());
        http.phase.running();
        Ok(Running {
            broker,
            kafka_addresses,
            http_address,
            http,
            stop,
            listeners,
            background,
        })
    }

    /// Stops: no new connections, parked fetches answered, requests in flight finished within `shutdown.timeout.ms`,
    /// everything on disk. When it returns the data directory is free.
    pub async fn stop(self) {
        self.http.phase.stopping();
        let _ = self.stop.send(true);
        for listener in self.listeners {
            if let Err(error) = listener.await {
                tracing::error!(%error, "a listener ended badly");
            }
        }
        self.broker.groups.stop().await;
        let engine = self.broker.engine.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || engine.shutdown()).await {
            tracing::error!(%error, "closing the data directory failed; the next start recovers it");
        }
        for task in self.background {
            task.abort();
            // It ends with the news that it was aborted; after that it holds nothing of the broker.
            let _ = task.await;
        }
    }
}

fn bind_all(config: &BrokerConfig) -> Result<Vec<BoundListener>, StartError> {
    let bind = |endpoint: &Endpoint| {
        BoundListener::bind(endpoint, config).map_err(|source| StartError::Bind {
            address: HostPort(&endpoint.host, endpoint.port).to_string(),
            source,
        })
    };
    config.listeners.iter().map(bind).collect()
}

fn bind_http(config: &BrokerConfig) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some((host, port)) = &config.http_listener else {
        return Ok(None);
    };
    let bind = || {
        let socket = listener::bind(host, *port)?;
        socket.listen(128)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Some((listener, address)))
    };
    bind().map_err(|source| StartError::Bind {
        address: HostPort(host, *port).to_string(),
        source,
    })
}

/// Opens the data directory and puts the broker together.
async fn start_broker(
    config: BrokerConfig,
    bound: &[BoundListener],
    http: &HttpState,
    stopping: watch::Receiver<bool>,
) -> Result<Arc<Broker>, StartError> {
    let listeners = bound.iter().map(|listener| Arc::new(listener.info(&config))).collect();
    let metrics = http.metrics.clone();
    let open = move || {
        let storage = |source| StartError::Storage {
            data_dir: config.data_dir.display().to_string(),
            source,
        };
        let engine = Engine::open(config.engine_config()).map_err(storage)?;
        let partitions = Arc::new(PartitionManager::open(engine.clone(), &config).map_err(storage)?);
        let metadata = engine.metadata().clone();
        let client_metrics = ResourceConfigs::open(
            ConfigKind::ClientMetrics,
            metadata.clone(),
            CLIENT_METRICS_SUBSCRIPTIONS_MAX,
        )
        .map_err(storage)?;
        let features = Features::open(metadata.clone()).map_err(storage)?;
        let groups = GroupCoordinator::start(&engine, &partitions, &config, &metrics, stopping.clone());
        let session_limits = SessionLimits {
            sessions_max: config.max_incremental_fetch_session_cache_slots,
            ..SessionLimits::default()
        };
        Ok(Arc::new(Broker {
            cluster_id: metadata.cluster_id(),
            node_id: config.node_id,
            partitions,
            groups,
            client_metrics: Arc::new(client_metrics),
            features: Arc::new(features),
            producer_ids: ProducerIds::new(metadata),
            fetch_sessions: FetchSessionCache::new(session_limits, random_i32),
            request_memory: MemoryBudget::new(config.queued_max_request_bytes),
            connection_limits: Arc::default(),
            fault_lines: LogRate::new(FAULT_LINES.0, FAULT_LINES.1),
            clock: Clock,
            listeners,
            metrics,
            stopping,
            engine,
            config,
        }))
    };
    tokio::task::spawn_blocking(open)
        .await
        .unwrap_or_else(|error| Err(StartError::Panic(error.to_string())))
}

type LetIn = (Arc<Broker>, Vec<SocketAddr>, Vec<JoinHandle<()>>);

/// Opens the listeners to clients.
fn let_in(broker: Arc<Broker>, bound: Vec<BoundListener>) -> Result<LetIn, StartError> {
    let mut addresses = Vec::new();
    let mut tasks = Vec::new();
    for (listener, info) in bound.into_iter().zip(&broker.listeners) {
        let address = listener.address();
        let listener = listener
            .listen(info.clone(), &broker.config)
            .map_err(|source| StartError::Bind {
                address: address.to_string(),
                source,
            })?;
        addresses.push(address);
        tasks.push(tokio::spawn(listener.run(broker.clone())));
    }
    Ok((broker, addresses, tasks))
}

/// Applies retention again and again (contract 101).
async fn run_retention(broker: Arc<Broker>) {
    loop {
        tokio::time::sleep(broker.config.log_retention_check_interval).await;
        let (engine, now_ms) = (broker.engine.clone(), broker.clock.now_ms());
        if let Err(error) = tokio::task::spawn_blocking(move || engine.run_retention(now_ms)).await {
            tracing::error!(%error, "retention failed; it is tried again at the next interval");
        }
    }
}

async fn run_upkeep(metrics: Arc<Metrics>) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.upkeep();
    }
}

/// A number that nobody can guess.
fn random_i32() -> i32 {
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
