//! Accepts connections, within the limits, and runs each as a task of its own.
//!
//! A connection's end is logged here, once, with its reason. What never lives here: requests.

use super::connection::Connection;
use super::limits::ConnectionPermit;
use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::config::endpoint::Endpoint;
use crate::context::ListenerInfo;
use crate::dispatch::CloseReason;
use crate::logging;
use futures_util::FutureExt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Pause after an accept that failed for lack of descriptors or memory; doubled up to the second.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A socket that has its address and does not listen yet: a second broker on the same port learns of it before it touches
/// any data, and clients cannot connect before the broker is ready.
pub struct BoundListener {
    endpoint: Endpoint,
    address: SocketAddr,
    socket: Socket,
}

impl BoundListener {
    /// Takes the address. An empty host is every address of the machine.
    pub fn bind(endpoint: &Endpoint, config: &BrokerConfig) -> io::Result<BoundListener> {
        let socket = bind(&endpoint.host, endpoint.port)?;
        if let Some(bytes) = config.socket_receive_buffer_bytes {
            // Accepted sockets inherit it; set before the handshake it also sizes the window.
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = config.socket_send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        let address = socket
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(BoundListener {
            endpoint: endpoint.clone(),
            address,
            socket,
        })
    }

    /// The address, with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients are told, for a listener of this name and address.
    pub fn info(&self, config: &BrokerConfig) -> ListenerInfo {
        let advertised = config
            .advertised_listeners
            .iter()
            .find(|advertised| advertised.name == self.endpoint.name);
        let (advertised_host, advertised_port) = match advertised {
            Some(advertised) => (advertised.host.clone(), advertised.port),
            None if self.endpoint.host.is_empty() => (self.address.ip().to_string(), self.address.port()),
            None => (self.endpoint.host.clone(), self.address.port()),
        };
        ListenerInfo {
            name: self.endpoint.name.clone(),
            advertised_host,
            advertised_port,
        }
    }

    /// Lets clients in.
    pub fn listen(self, info: Arc<ListenerInfo>, config: &BrokerConfig) -> io::Result<Listener> {
        self.socket.listen(config.socket_listen_backlog_size)?;
        let is_advertised = config.advertised_listeners.iter().any(|other| other.name == info.name);
        Ok(Listener {
            // Told to connect to 0.0.0.0, a client on another machine would reach itself: it is told the address that it
            // has reached us by.
            advertise_local: !is_advertised && self.address.ip().is_unspecified(),
            socket: TcpListener::from_std(self.socket.into())?,
            info,
        })
    }
}

/// Binds a TCP socket to the first address of `host` that works.
pub fn bind(host: &str, port: u16) -> io::Result<Socket> {
    let any = [SocketAddr::from(([0, 0, 0, 0], port))];
    let addresses: Vec<SocketAddr> = if host.is_empty() {
        any.to_vec()
    } else {
        (host, port).to_socket_addrs()?.collect()
    };
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match bind_address(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn bind_address(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted broker takes its port back although connections of the old one linger in the kernel.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener that clients can connect to.
pub struct Listener {
    socket: TcpListener,
    info: Arc<ListenerInfo>,
    advertise_local: bool,
}

impl Listener {
    /// Accepts until the broker stops, then waits for the connections to end; at most `shutdown.timeout.ms`.
    pub async fn run(self, broker: Arc<Broker>) {
        let mut connections = JoinSet::new();
        let mut stopping = std::pin::pin!(broker.stopping());
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            tokio::select! {
                () = stopping.as_mut() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, peer)) => {
                        pause = ACCEPT_PAUSE.0;
                        if let Some(connection) = self.admit(&broker, &socket, peer) {
                            connections.spawn(serve(connection, socket));
                        }
                    }
                    Err(error) if is_exhausted(&error) => {
                        if broker.fault_lines.pass(broker.clock.instant()).is_some() {
                            tracing::warn!(%error, "no connections can be accepted; trying again in {pause:?}");
                        }
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(ACCEPT_PAUSE.1);
                    }
                    // The client was gone before it was accepted.
                    Err(error) => tracing::debug!(%error, "accept"),
                },
                // Ended tasks are taken out, so that the set does not grow.
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.socket);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(broker.config.shutdown_timeout, all_ended)
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "closing connections that did not finish in time"
            );
            connections.shutdown().await;
        }
    }

    /// A connection within the limits; `None` closes it.
    fn admit(&self, broker: &Arc<Broker>, socket: &TcpStream, peer: SocketAddr) -> Option<Connection> {
        let settings = broker.partitions.settings();
        let (max, max_per_ip) = (settings.config.max_connections, settings.config.max_connections_per_ip);
        match broker.connection_limits.admit(peer.ip(), max, max_per_ip) {
            Ok(permit) => {
                broker.metrics.connections_accepted.increment(1);
                Some(self.connection(broker, socket, peer, permit))
            }
            Err(refused) => {
                broker.metrics.count_refused(refused.key());
                if let Some(held) = broker.fault_lines.pass(broker.clock.instant()) {
                    tracing::warn!(%peer, limit = refused.key(), lines_held_back = held, "connection refused");
                }
                None
            }
        }
    }

    fn connection(
        &self,
        broker: &Arc<Broker>,
        socket: &TcpStream,
        peer: SocketAddr,
        permit: ConnectionPermit,
    ) -> Connection {
        // Replies are whole when they are written: waiting for more only delays them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY");
        }
        // Finds out about clients that vanished without a word, sooner than connections.max.idle.ms where a fetch waits.
        if let Err(error) = SockRef::from(socket).set_keepalive(true) {
            tracing::debug!(%peer, %error, "SO_KEEPALIVE");
        }
        let mut listener = self.info.clone();
        if self.advertise_local
            && let Ok(local) = socket.local_addr()
        {
            listener = Arc::new(ListenerInfo {
                advertised_host: local.ip().to_canonical().to_string(),
                ..ListenerInfo::clone(&self.info)
            });
        }
        Connection {
            broker: broker.clone(),
            listener,
            peer,
            permit,
        }
    }
}

/// Whether an accept failed for lack of something that comes back (contract 8).
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Runs a connection to its end and says why it ended. A panic ends this connection only.
async fn serve(connection: Connection, socket: TcpStream) {
    let (broker, peer) = (connection.broker.clone(), connection.peer);
    tracing::debug!(%peer, listener = connection.listener.name, "connection accepted");
    match AssertUnwindSafe(connection.run(socket)).catch_unwind().await {
        Ok(reason) => {
            broker.metrics.count_closed(reason.label());
            log_end(&broker, peer, &reason);
        }
        Err(panic) => {
            broker.metrics.panics.increment(1);
            broker.metrics.count_closed("panic");
            tracing::error!(%peer, "connection closed: a handler panicked: {}", logging::message(&*panic));
        }
    }
}

fn log_end(broker: &Broker, peer: SocketAddr, reason: &CloseReason) {
    if reason.is_normal() {
        tracing::debug!(%peer, "connection closed: {reason}");
    } else if let Some(held) = broker.fault_lines.pass(broker.clock.instant()) {
        tracing::warn!(%peer, lines_held_back = held, "connection closed: {reason}");
    }
}
