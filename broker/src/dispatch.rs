//! From a request's bytes to its handler: the one place that ties API keys to the files of `api/`.
//!
//! What never lives here: what an API does, sockets. A request passes two stages (design decision 5): stage one fixes its
//! effects' order and ends when [`dispatch`] returns; stage two, the returned [`Staged`], gives the reply when the promise
//! of its acks holds. Produce, Fetch and what concerns groups have a stage two that waits.

use crate::api;
use crate::context::RequestContext;
use bytes::Bytes;
use kafka_protocol::protocol::{Encodable, Request};
use protocol::api::{Api, ApiKey};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

/// Stage two of a request. It must not hold the request's frame: the connection reuses that memory.
/// Deadlines are computed in stage one: a reply behind another is not polled before that one has left.
pub type Staged = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A part of a reply: bytes in memory, or records in a file that go out by sendfile.
pub type Piece = storage::RecordSlice;

/// How a request ends.
#[derive(Debug)]
pub enum Outcome {
    /// The whole response frame: length, header, body.
    Reply(Vec<Piece>),
    /// No bytes at all: acks=0 (contract 25).
    Silence,
    /// The connection closes.
    Close(CloseReason),
}

/// Why a connection closes; said once in the log.
#[derive(Debug)]
pub enum CloseReason {
    /// The client closed, between requests.
    PeerClosed,
    /// The client closed in the middle of a request.
    PeerClosedMidFrame,
    /// Nothing was asked for `connections.max.idle.ms` (contract 7).
    Idle,
    /// The broker stops.
    Stopping,
    /// Reading or writing the socket failed.
    Io(io::Error),
    /// Reading records for a reply failed after its head was sent.
    Disk(io::Error),
    /// The client did not take a reply in time.
    SlowReader,
    /// The client took its reply slowly while the memory that the reply holds was short.
    GaveWay,
    /// A request did not arrive in time.
    SlowFrame,
    /// The length field is negative or above `socket.request.max.bytes` (contract 3).
    FrameSize(i32),
    /// A body or header that does not parse (contract 4).
    Malformed {
        /// The API's number.
        api_key: i16,
        /// The version asked for.
        api_version: i16,
        /// What is wrong.
        reason: String,
    },
    /// An API or version that is not offered (contract 4).
    Unsupported {
        /// The API's number.
        api_key: i16,
        /// The version asked for.
        api_version: i16,
    },
    /// A produce with acks=0 failed: closing is the only way to tell (contract 25).
    AcksZeroFailed(String),
    /// A handler's answer could not be encoded: a mistake of ours.
    Encode(String),
}

impl CloseReason {
    /// A body that does not parse.
    pub fn malformed(ctx: &RequestContext, reason: impl fmt::Display) -> CloseReason {
        CloseReason::Malformed {
            api_key: ctx.api_key,
            api_version: ctx.api_version,
            reason: reason.to_string(),
        }
    }

    /// Whether it is part of a healthy day.
    pub fn is_normal(&self) -> bool {
        matches!(
            self,
            CloseReason::PeerClosed
                | CloseReason::PeerClosedMidFrame
                | CloseReason::Idle
                | CloseReason::Stopping
                | CloseReason::Io(_)
        )
    }

    /// A short name for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::PeerClosedMidFrame => "peer_closed_mid_frame",
            CloseReason::Idle => "idle",
            CloseReason::Stopping => "stopping",
            CloseReason::Io(_) => "io",
            CloseReason::Disk(_) => "disk",
            CloseReason::SlowReader => "slow_reader",
            CloseReason::GaveWay => "gave_way",
            CloseReason::SlowFrame => "slow_frame",
            CloseReason::FrameSize(_) => "frame_size",
            CloseReason::Malformed { .. } => "malformed",
            CloseReason::Unsupported { .. } => "unsupported",
            CloseReason::AcksZeroFailed(_) => "acks_zero_failed",
            CloseReason::Encode(_) => "encode",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::PeerClosed => f.write_str("the client closed it"),
            CloseReason::PeerClosedMidFrame => f.write_str("the client closed it in the middle of a request"),
            CloseReason::Idle => f.write_str("idle for connections.max.idle.ms"),
            CloseReason::Stopping => f.write_str("the broker stops"),
            CloseReason::Io(error) => write!(f, "socket: {error}"),
            CloseReason::Disk(error) => write!(f, "reading records for a reply: {error}"),
            CloseReason::SlowReader => f.write_str("the client did not take a reply within reply.write.timeout.ms"),
            CloseReason::GaveWay => f.write_str("the client took a reply slowly while tail memory was short"),
            CloseReason::SlowFrame => f.write_str("a request did not arrive within request.read.timeout.ms"),
            CloseReason::FrameSize(size) => {
                write!(
                    f,
                    "a request of {size} bytes: not between 0 and socket.request.max.bytes"
                )
            }
            CloseReason::Malformed {
                api_key,
                api_version,
                reason,
            } => {
                write!(
                    f,
                    "malformed request, {} version {api_version}: {reason}",
                    ApiName(*api_key)
                )
            }
            CloseReason::Unsupported { api_key, api_version } => {
                write!(f, "{} version {api_version} is not offered", ApiName(*api_key))
            }
            CloseReason::AcksZeroFailed(reason) => write!(f, "a produce with acks=0 failed: {reason}"),
            CloseReason::Encode(reason) => write!(f, "a reply could not be encoded: {reason}"),
        }
    }
}

/// An API's name, or its number when nobody knows it.
struct ApiName(i16);

impl fmt::Display for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol::api::find(self.0) {
            Some(api) => f.write_str(api.name),
            None => write!(f, "API key {}", self.0),
        }
    }
}

/// A stage two that has nothing to wait for.
pub fn ready(outcome: Outcome) -> Staged {
    Box::pin(std::future::ready(outcome))
}

/// Runs a request's stage one. For every API but Produce, Fetch and those of groups that is the whole request.
/// Panics of handlers pass through; the connection's task ends with them and nothing else does.
pub async fn dispatch(ctx: RequestContext, body: Bytes) -> Result<Staged, CloseReason> {
    let row = api_row(&ctx)?;
    match row.key {
        ApiKey::Produce => api::produce::handle(ctx, body).await,
        ApiKey::Fetch => api::fetch::handle(ctx, body).await,
        // Above our versions too, which it answers in version 0 (contract 11).
        ApiKey::ApiVersions => api::api_versions::handle(ctx, body),
        _ if !row.serves(ctx.api_version) => Err(CloseReason::Unsupported {
            api_key: ctx.api_key,
            api_version: ctx.api_version,
        }),
        // Boxed, so that produces and fetches do not carry the largest of these futures around.
        ApiKey::ListOffsets => Box::pin(plain(ctx, body, api::list_offsets::handle)).await,
        ApiKey::Metadata => Box::pin(plain(ctx, body, api::metadata::handle)).await,
        ApiKey::FindCoordinator => Box::pin(plain(ctx, body, api::find_coordinator::handle)).await,
        ApiKey::CreateTopics => Box::pin(plain(ctx, body, api::create_topics::handle)).await,
        ApiKey::DeleteTopics => Box::pin(plain(ctx, body, api::delete_topics::handle)).await,
        ApiKey::InitProducerId => Box::pin(plain(ctx, body, api::init_producer_id::handle)).await,
        ApiKey::OffsetForLeaderEpoch => Box::pin(plain(ctx, body, api::offset_for_leader_epoch::handle)).await,
        ApiKey::DescribeConfigs => Box::pin(plain(ctx, body, api::describe_configs::handle)).await,
        ApiKey::AlterConfigs => Box::pin(plain(ctx, body, api::alter_configs::handle)).await,
        ApiKey::CreatePartitions => Box::pin(plain(ctx, body, api::create_partitions::handle)).await,
        ApiKey::IncrementalAlterConfigs => Box::pin(plain(ctx, body, api::incremental_alter_configs::handle)).await,
        ApiKey::DescribeCluster => Box::pin(plain(ctx, body, api::describe_cluster::handle)).await,
        ApiKey::DescribeTopicPartitions => Box::pin(plain(ctx, body, api::describe_topic_partitions::handle)).await,
        ApiKey::DeleteRecords => Box::pin(plain(ctx, body, api::delete_records::handle)).await,
        ApiKey::DescribeLogDirs => Box::pin(plain(ctx, body, api::describe_log_dirs::handle)).await,
        ApiKey::ElectLeaders => Box::pin(plain(ctx, body, api::elect_leaders::handle)).await,
        ApiKey::AlterPartitionReassignments => {
            Box::pin(plain(ctx, body, api::alter_partition_reassignments::handle)).await
        }
        ApiKey::ListPartitionReassignments => {
            Box::pin(plain(ctx, body, api::list_partition_reassignments::handle)).await
        }
        ApiKey::DescribeClientQuotas => Box::pin(plain(ctx, body, api::describe_client_quotas::handle)).await,
        ApiKey::DescribeQuorum => Box::pin(plain(ctx, body, api::describe_quorum::handle)).await,
        ApiKey::UpdateFeatures => Box::pin(plain(ctx, body, api::update_features::handle)).await,
        ApiKey::DescribeProducers => Box::pin(plain(ctx, body, api::describe_producers::handle)).await,
        ApiKey::ListConfigResources => Box::pin(plain(ctx, body, api::list_config_resources::handle)).await,
        ApiKey::OffsetCommit => Box::pin(grouped(ctx, body, api::offset_commit::handle)).await,
        ApiKey::OffsetFetch => Box::pin(grouped(ctx, body, api::offset_fetch::handle)).await,
        ApiKey::JoinGroup => Box::pin(grouped(ctx, body, api::join_group::handle)).await,
        ApiKey::Heartbeat => Box::pin(plain(ctx, body, api::heartbeat::handle)).await,
        ApiKey::LeaveGroup => Box::pin(grouped(ctx, body, api::leave_group::handle)).await,
        ApiKey::SyncGroup => Box::pin(grouped(ctx, body, api::sync_group::handle)).await,
        ApiKey::DescribeGroups => Box::pin(grouped(ctx, body, api::describe_groups::handle)).await,
        ApiKey::ListGroups => Box::pin(staged(ctx, body, api::list_groups::handle)).await,
        ApiKey::DeleteGroups => Box::pin(grouped(ctx, body, api::delete_groups::handle)).await,
        ApiKey::OffsetDelete => Box::pin(grouped(ctx, body, api::offset_delete::handle)).await,
        ApiKey::ConsumerGroupHeartbeat => Box::pin(grouped(ctx, body, api::consumer_group_heartbeat::handle)).await,
        ApiKey::ConsumerGroupDescribe => Box::pin(grouped(ctx, body, api::consumer_group_describe::handle)).await,
    }
}

/// The row of the API table for a request.
pub fn api_row(ctx: &RequestContext) -> Result<&'static Api, CloseReason> {
    let row = protocol::api::find(ctx.api_key);
    row.ok_or(CloseReason::Unsupported {
        api_key: ctx.api_key,
        api_version: ctx.api_version,
    })
}

/// Decodes behind the shape guard, runs the handler, encodes with header.
async fn plain<Q, S, H>(ctx: RequestContext, body: Bytes, handler: H) -> Result<Staged, CloseReason>
where
    Q: Request,
    S: Encodable,
    H: AsyncFn(&RequestContext, Q) -> S,
{
    let request = protocol::shape::decode_request::<Q>(ctx.api_version, body)
        .map_err(|error| CloseReason::malformed(&ctx, error))?;
    let response = handler(&ctx, request).await;
    reply(&ctx, ctx.api_version, &response)
}

/// As [`staged`], for what needs groups: waits until the log has room for it and `__consumer_offsets` is there.
async fn grouped<Q, S, F, H>(ctx: RequestContext, body: Bytes, handler: H) -> Result<Staged, CloseReason>
where
    Q: Request,
    S: Encodable,
    F: Future<Output = S> + Send + 'static,
    H: FnOnce(&RequestContext, Q) -> F,
{
    ctx.broker.groups.admit(body.len()).await;
    if let Err(error) = ctx.broker.groups.ready().await
        && ctx.broker.fault_lines.allow(ctx.broker.clock.instant())
    {
        // The handler says it in its reply's own way: it finds no coordinator.
        tracing::warn!(code = ?error.code, message = error.message, "__consumer_offsets could not be made");
    }
    staged(ctx, body, handler).await
}

/// As [`plain`], with a stage two: what orders requests has happened when `handler` returns, its future gives the response.
async fn staged<Q, S, F, H>(ctx: RequestContext, body: Bytes, handler: H) -> Result<Staged, CloseReason>
where
    Q: Request,
    S: Encodable,
    F: Future<Output = S> + Send + 'static,
    H: FnOnce(&RequestContext, Q) -> F,
{
    let request = protocol::shape::decode_request::<Q>(ctx.api_version, body)
        .map_err(|error| CloseReason::malformed(&ctx, error))?;
    let row = api_row(&ctx)?;
    let (version, correlation_id) = (ctx.api_version, ctx.correlation_id);
    let response = handler(&ctx, request);
    Ok(Box::pin(async move {
        let response = response.await;
        match protocol::header::encode_response(row, version, correlation_id, &response) {
            Ok(frame) => Outcome::Reply(vec![Piece::Mem(frame)]),
            Err(error) => Outcome::Close(CloseReason::Encode(error.to_string())),
        }
    }))
}

/// A stage two that answers with `response`, in `api_version`.
pub fn reply<S: Encodable>(ctx: &RequestContext, api_version: i16, response: &S) -> Result<Staged, CloseReason> {
    let frame = protocol::header::encode_response(api_row(ctx)?, api_version, ctx.correlation_id, response)
        .map_err(|error| CloseReason::Encode(error.to_string()))?;
    Ok(ready(Outcome::Reply(vec![Piece::Mem(frame)])))
}
