//! Members of classic groups, thousands of them: one connection each, on one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::Request;
use streamhouse_compat_tests::RawClient;
use streamhouse_compat_tests::ops::text;
use streamhouse_compat_tests::raw::{decode_response, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PROTOCOL: &str = "range";
/// The coordinator loads, is elsewhere, or is not there yet.
const NOT_READY: [i16; 3] = [14, 15, 16];
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const ILLEGAL_GENERATION: i16 = 22;
const MEMBER_ID_REQUIRED: i16 = 79;
const BACKOFF: Duration = Duration::from_millis(2);
/// Nobody sends heartbeats between the phases of a row.
const SESSION_TIMEOUT_MS: i32 = 1_800_000;

/// One connection of many on one thread.
pub(crate) struct Connection {
    stream: TcpStream,
    next_correlation_id: i32,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            next_correlation_id: 1,
        })
    }

    /// Sends a request and reads its reply.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let body = encode_request(version, correlation_id, Some("bench"), request);
        let size = i32::try_from(body.len()).map_err(io::Error::other)?;
        self.stream
            .write_all(&[&size.to_be_bytes()[..], &body].concat())
            .await?;
        let size = self.stream.read_i32().await?;
        let mut reply = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        self.stream.read_exact(&mut reply).await?;
        Ok(decode_response::<R>(version, correlation_id, reply.into()))
    }
}

/// One group that so many members are about to join. Everybody gets an id before anybody joins: a coordinator waits for those
/// that it gave one to.
pub(crate) struct Party {
    group: String,
    size: usize,
    /// How often a member asks whether its generation still holds.
    heartbeat_interval: Duration,
    state: Mutex<PartyState>,
}

#[derive(Default)]
struct PartyState {
    last_join: Option<Instant>,
    /// The generation in which the leader saw all members.
    whole: Option<i32>,
    assigned: usize,
    all_assigned: Option<Instant>,
    leader: Option<(i32, String)>,
}

impl Party {
    pub(crate) fn new(group: String, size: usize, heartbeat_interval: Duration) -> Party {
        Party {
            group,
            size,
            heartbeat_interval,
            state: Mutex::default(),
        }
    }

    /// From the moment when the last member sent its first join to the moment when the last one had its assignment.
    pub(crate) fn took(&self) -> Option<Duration> {
        let state = self.state();
        Some(state.all_assigned?.duration_since(state.last_join?))
    }

    /// Generation and id of the leader of the whole group.
    pub(crate) fn leader(&self) -> Option<(i32, String)> {
        self.state().leader.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, PartyState> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Joins, and again whenever the group rebalances, until it has an assignment in the generation that all members are in.
    pub(crate) async fn take_part(&self, connection: &mut Connection, member_id: &str) -> io::Result<()> {
        self.state().last_join = Some(Instant::now());
        loop {
            let joined = connection.call(7, &join_request(&self.group, member_id)).await?;
            match joined.error_code {
                0 => {}
                REBALANCE_IN_PROGRESS => continue,
                code => return refused("JoinGroup", code),
            }
            if joined.leader == joined.member_id && joined.members.len() == self.size {
                let mut state = self.state();
                state.whole = Some(joined.generation_id);
                state.leader = Some((joined.generation_id, member_id.to_owned()));
            }
            let synced = connection.call(5, &sync_request(&self.group, &joined)).await?;
            match synced.error_code {
                0 if self.is_whole(joined.generation_id) => return Ok(()),
                0 => self.wait_for_a_rebalance(connection, &joined).await?,
                REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => {}
                code => return refused("SyncGroup", code),
            }
        }
    }

    /// Counts an assignment of the generation that all are in.
    fn is_whole(&self, generation: i32) -> bool {
        let mut state = self.state();
        if state.whole != Some(generation) {
            return false;
        }
        state.assigned += 1;
        if state.assigned == self.size {
            state.all_assigned = Some(Instant::now());
        }
        true
    }

    /// The id of one more member.
    pub(crate) async fn member_id(&self, connection: &mut Connection) -> io::Result<String> {
        loop {
            let answer = connection.call(7, &join_request(&self.group, "")).await?;
            match answer.error_code {
                MEMBER_ID_REQUIRED => return Ok(answer.member_id.to_string()),
                code if NOT_READY.contains(&code) => tokio::time::sleep(BACKOFF).await,
                code => return refused("JoinGroup without an id", code),
            }
        }
    }

    async fn wait_for_a_rebalance(&self, connection: &mut Connection, joined: &JoinGroupResponse) -> io::Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        loop {
            match connection.call(4, &request).await?.error_code {
                0 => tokio::time::sleep(self.heartbeat_interval).await,
                REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => return Ok(()),
                code => return refused("Heartbeat", code),
            }
        }
    }
}

fn refused<T>(api: &str, code: i16) -> io::Result<T> {
    let known = if code == UNKNOWN_MEMBER_ID {
        " (unknown member)"
    } else {
        ""
    };
    Err(io::Error::other(format!("{api} is answered with error {code}{known}")))
}

fn join_request(group: &str, member_id: &str) -> JoinGroupRequest {
    // ConsumerProtocolSubscription, version 0: one topic, no user data.
    let mut metadata = BytesMut::new();
    metadata.put_slice(&[0, 0, 0, 0, 0, 1, 0, 12]);
    metadata.put_slice(b"bench-groups");
    metadata.put_i32(-1);
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text(PROTOCOL))
        .with_metadata(metadata.freeze());
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(SESSION_TIMEOUT_MS)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn sync_request(group: &str, joined: &JoinGroupResponse) -> SyncGroupRequest {
    let assignments = joined.members.iter().zip(0..).map(|(member, index)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(member.member_id.clone())
            .with_assignment(assignment(index))
    });
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text(PROTOCOL)))
        .with_assignments(assignments.collect())
}

/// ConsumerProtocolAssignment, version 0: one partition of one topic, no user data.
fn assignment(partition: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_slice(&[0, 0, 0, 0, 0, 1, 0, 12]);
    bytes.put_slice(b"bench-groups");
    bytes.put_i32(1);
    bytes.put_i32(partition);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Joins a group as its only member: generation and member id.
pub(crate) fn join_alone(client: &mut RawClient, group: &str) -> io::Result<(i32, String)> {
    let mut member_id = String::new();
    let joined = loop {
        let answer = client.try_call(7, &join_request(group, &member_id))?;
        match answer.error_code {
            0 => break answer,
            MEMBER_ID_REQUIRED => member_id = answer.member_id.to_string(),
            code if NOT_READY.contains(&code) => std::thread::sleep(BACKOFF),
            code => return refused("JoinGroup", code),
        }
    };
    match client.try_call(5, &sync_request(group, &joined))?.error_code {
        0 => Ok((joined.generation_id, member_id)),
        code => refused("SyncGroup", code),
    }
}
