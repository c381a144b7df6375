//! A client that sends what it is told: typed requests of any version through the `kafka-protocol` crate, or raw bytes.
//!
//! It retries nothing and hides nothing. Its timeouts are long: they end a hanging test, they prove nothing.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::harness::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    next_correlation_id: i32,
    client_id: Option<String>,
}

impl RawClient {
    /// Connects; panics if nobody listens.
    pub fn connect(addr: SocketAddr) -> RawClient {
        RawClient::try_connect(addr).unwrap_or_else(|e| panic!("connect to {addr}: {e}"))
    }

    /// Connects.
    pub fn try_connect(addr: SocketAddr) -> io::Result<RawClient> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(RawClient {
            stream,
            next_correlation_id: 1,
            client_id: Some("raw".to_owned()),
        })
    }

    /// Uses this client id in all requests from now on; `None` sends null.
    pub fn set_client_id(&mut self, client_id: Option<&str>) {
        self.client_id = client_id.map(str::to_owned);
    }

    /// The socket, for what the rest does not offer.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a request and reads its reply. Panics when the connection closes.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation_id = self.send(version, request);
        self.receive::<R>(version, correlation_id)
    }

    /// Like [`RawClient::call`], for tests in which the connection may break.
    pub fn try_call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame = encode_request(version, correlation_id, self.client_id.as_deref(), request);
        self.send_frame(&frame)?;
        let reply = self.read_frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(decode_response::<R>(version, correlation_id, reply))
    }

    /// Sends a request and returns its correlation id without waiting for the reply.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame = encode_request(version, correlation_id, self.client_id.as_deref(), request);
        self.send_frame(&frame).expect("the broker reads");
        correlation_id
    }

    /// Reads the next reply, which must carry `correlation_id` and be consumed to its last byte.
    pub fn receive<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        let reply = self.read_frame().expect("a reply").unwrap_or_else(|| {
            panic!(
                "the broker closed the connection in place of a reply to API {} v{version}",
                R::KEY
            )
        });
        decode_response::<R>(version, correlation_id, reply)
    }

    /// Sends a frame: its size, then `body`, which starts with the request header.
    pub fn send_frame(&mut self, body: &[u8]) -> io::Result<()> {
        let size = i32::try_from(body.len()).expect("test frames are below 2 GiB");
        let mut frame = Vec::with_capacity(4 + body.len());
        frame.extend_from_slice(&size.to_be_bytes());
        frame.extend_from_slice(body);
        self.stream.write_all(&frame)
    }

    /// Sends bytes as they are, without a size in front.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one frame without its size; `None` when the broker closed the connection between frames.
    pub fn read_frame(&mut self) -> io::Result<Option<Bytes>> {
        let mut size = [0; 4];
        let mut got = 0;
        while got < size.len() {
            match self.stream.read(&mut size[got..]) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset && got == 0 => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a broker's frame has a size ≥ 0");
        let mut frame = vec![0; size];
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame.into()))
    }

    /// Asserts that the broker closes this connection and sends nothing before.
    pub fn expect_close(&mut self) {
        match self.read_frame() {
            Ok(None) => {}
            Ok(Some(frame)) => panic!("a reply of {} bytes where the connection should close", frame.len()),
            Err(e) => panic!("no close but {e}"),
        }
    }
}

/// Header and body of a request, without the frame's size.
pub fn encode_request<R: Request>(version: i16, correlation_id: i32, client_id: Option<&str>, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(client_id.map(|id| StrBytes::from_string(id.to_owned())));
    let mut frame = BytesMut::new();
    header
        .encode(&mut frame, R::header_version(version))
        .expect("headers encode");
    request
        .encode(&mut frame, version)
        .unwrap_or_else(|e| panic!("API {} v{version} does not encode: {e}", R::KEY));
    frame.freeze()
}

/// Reads a reply; panics unless it has the correlation id and not a byte too many.
pub fn decode_response<R: Request>(version: i16, correlation_id: i32, mut reply: Bytes) -> R::Response {
    let whole = reply.clone();
    let explain = |e: &dyn std::fmt::Display| -> ! {
        panic!(
            "reply to API {} v{version}: {e}; bytes {:02x?}",
            R::KEY,
            &whole[..whole.len().min(400)]
        )
    };
    let header_version = <R::Response as HeaderVersion>::header_version(version);
    let header = ResponseHeader::decode(&mut reply, header_version).unwrap_or_else(|e| explain(&e));
    assert_eq!(header.correlation_id, correlation_id, "replies leave in request order");
    let response = R::Response::decode(&mut reply, version).unwrap_or_else(|e| explain(&e));
    if reply.has_remaining() {
        explain(&format!("{} bytes left over", reply.remaining()));
    }
    response
}

/// A request header by hand: key, version, correlation id, client id "raw"; flexible ones end in an empty tag section.
pub fn header_bytes(api_key: i16, version: i16, correlation_id: i32, flexible: bool) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_i16(api_key);
    bytes.put_i16(version);
    bytes.put_i32(correlation_id);
    bytes.put_i16(3);
    bytes.put_slice(b"raw");
    if flexible {
        bytes.put_u8(0);
    }
    bytes
}
