//! Who asks, from where, for what: the context that every handler gets, and the question whether it may.
//!
//! What never lives here: protocol decoding, sockets.

use crate::broker::Broker;
use std::net::SocketAddr;
use std::sync::Arc;

/// An authenticated identity, `User:ANONYMOUS` without authentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Kafka's principal type; `User` for all that exist so far.
    pub kind: &'static str,
    /// The name within its type.
    pub name: Arc<str>,
}

impl Principal {
    /// The principal of a connection that did not authenticate.
    pub fn anonymous() -> Principal {
        Principal {
            kind: "User",
            name: Arc::from("ANONYMOUS"),
        }
    }
}

/// The listener that a connection came in by, as clients are told about it (contract 22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Kafka's listener name, e.g. `PLAINTEXT`.
    pub name: String,
    /// Host that clients are told to connect to.
    pub advertised_host: String,
    /// Port that clients are told to connect to.
    pub advertised_port: u16,
}

/// What a principal wants to do: Kafka's `AclOperation`, with its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Operation {
    /// Read records, group membership.
    Read = 3,
    /// Write records.
    Write = 4,
    /// Create topics.
    Create = 5,
    /// Delete topics, groups, records.
    Delete = 6,
    /// Change what is not a config: add partitions.
    Alter = 7,
    /// See that it exists.
    Describe = 8,
    /// Between brokers.
    ClusterAction = 9,
    /// See configs.
    DescribeConfigs = 10,
    /// Change configs.
    AlterConfigs = 11,
    /// Idempotent produce; implied by `Write` on any topic.
    IdempotentWrite = 12,
}

/// What it wants to do it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A topic by name.
    Topic(&'a str),
    /// A consumer group by id.
    Group(&'a str),
    /// The cluster itself.
    Cluster,
    /// A transactional id.
    TransactionalId(&'a str),
}

/// One request's context. Built by the connection before the body is looked at.
#[derive(Clone)]
pub struct RequestContext {
    /// The broker that serves it.
    pub broker: Arc<Broker>,
    /// Who asks.
    pub principal: Principal,
    /// By which listener.
    pub listener: Arc<ListenerInfo>,
    /// The client's own name; `""` when it sent null (contract 6).
    pub client_id: Arc<str>,
    /// From where.
    pub peer: SocketAddr,
    /// Kafka's number of the API.
    pub api_key: i16,
    /// Version of the API; one that the API table offers (ApiVersions aside, contract 11).
    pub api_version: i16,
    /// Returned to the client in the response header.
    pub correlation_id: i32,
    /// When the request was read, milliseconds since 1970.
    pub now_ms: i64,
}

impl RequestContext {
    /// Whether the principal may do `operation` to `resource`. Everybody may, until there are ACLs.
    pub fn authorize(&self, operation: Operation, resource: &Resource<'_>) -> bool {
        let _ = (operation, resource);
        true
    }

    /// Counts one error code of a reply under this request's API. 0 counts nothing.
    pub fn count_error(&self, code: i16) {
        self.broker.metrics.count_error(self.api_key, code);
    }
}
