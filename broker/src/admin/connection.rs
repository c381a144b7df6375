//! One connection to a broker: typed requests in the highest version that both sides speak.
//!
//! Blocking, one request at a time: a command line has nothing else to do meanwhile.

use super::error::{AdminError, Result};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Replies are small tables; more than this is no Kafka broker.
const REPLY_BYTES_MAX: usize = 256 << 20;

/// A connection whose broker's versions are known.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: String,
    correlation_id: i32,
    /// Lowest and highest version by API key.
    versions: HashMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects to `host:port` and asks what the broker speaks. `timeout` bounds each wait.
    pub(crate) fn open(address: &str, timeout: Duration) -> Result<Connection> {
        let stream = connect(address, timeout).map_err(|source| AdminError::Connect {
            address: address.to_owned(),
            source,
        })?;
        let mut connection = Connection {
            stream,
            address: address.to_owned(),
            correlation_id: 0,
            versions: HashMap::new(),
        };
        // Version 0 is understood by every broker and has no fields.
        let answer = connection.call_in("ApiVersions", 0, &ApiVersionsRequest::default())?;
        AdminError::check(|| format!("{address}: ApiVersions"), answer.error_code, None)?;
        let rows = answer.api_keys.iter();
        connection.versions = rows
            .map(|row| (row.api_key, (row.min_version, row.max_version)))
            .collect();
        Ok(connection)
    }

    /// The highest version of `R` that the broker and this program both speak, `most` at most.
    pub(crate) fn version<R: Request>(&self, api: &'static str, most: i16) -> Result<i16> {
        let ours = (R::VERSIONS.min, R::VERSIONS.max.min(most));
        let theirs = self.versions.get(&R::KEY).copied().unwrap_or((0, -1));
        let version = ours.1.min(theirs.1);
        if version < ours.0.max(theirs.0) {
            return Err(AdminError::Version {
                address: self.address.clone(),
                api,
                min: ours.0,
                max: ours.1,
            });
        }
        Ok(version)
    }

    /// Asks in the highest common version.
    pub(crate) fn call<R: Request>(&mut self, api: &'static str, request: &R) -> Result<R::Response> {
        let version = self.version::<R>(api, i16::MAX)?;
        self.call_in(api, version, request)
    }

    /// Asks in that version.
    pub(crate) fn call_in<R: Request>(&mut self, api: &'static str, version: i16, request: &R) -> Result<R::Response> {
        self.correlation_id += 1;
        let frame = encode(version, self.correlation_id, request)
            .map_err(|reason| AdminError::Usage(format!("{api} cannot be sent in version {version}: {reason}")))?;
        let reply = self.exchange(&frame).map_err(|source| AdminError::Io {
            address: self.address.clone(),
            api,
            source,
        })?;
        decode::<R>(version, self.correlation_id, reply).map_err(|reason| AdminError::Malformed {
            address: self.address.clone(),
            api,
            reason,
        })
    }

    fn exchange(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(frame)?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).map_err(explain)?;
        let size = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if size > REPLY_BYTES_MAX {
            return Err(io::Error::other("the reply is too large: is this a Kafka port?"));
        }
        let mut reply = Vec::new();
        // Grows as bytes arrive: a size that lies takes no memory.
        let got = (&mut self.stream)
            .take(size as u64)
            .read_to_end(&mut reply)
            .map_err(explain)?;
        if got < size {
            return Err(explain(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(reply.into())
    }
}

fn connect(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The kernel's words for a timeout ("Resource temporarily unavailable") help nobody.
fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "no answer within --timeout")
        }
        io::ErrorKind::UnexpectedEof => io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the broker closed the connection: TLS or SASL listener?",
        ),
        _ => error,
    }
}

fn encode<R: Request>(version: i16, correlation_id: i32, request: &R) -> std::result::Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("streamhouse-cli")));
    let mut frame = BytesMut::zeroed(4);
    header
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| error.to_string())?;
    let size = i32::try_from(frame.len() - 4).map_err(|_| "larger than 2 GiB".to_owned())?;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame)
}

fn decode<R: Request>(version: i16, correlation_id: i32, mut reply: Bytes) -> std::result::Result<R::Response, String> {
    let header_version = <R::Response as HeaderVersion>::header_version(version);
    let header = ResponseHeader::decode(&mut reply, header_version).map_err(|error| error.to_string())?;
    if header.correlation_id != correlation_id {
        return Err(format!(
            "it belongs to request {}, not {correlation_id}",
            header.correlation_id
        ));
    }
    R::Response::decode(&mut reply, version).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{DeleteTopicsRequest, ListGroupsRequest, ListGroupsResponse};
    use std::net::TcpListener;
    use std::thread;

    /// A broker that answers each frame with the next reply and then closes.
    fn broker(replies: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for reply in replies {
                let mut size = [0; 4];
                stream.read_exact(&mut size).expect("a size");
                let mut frame = vec![0; u32::from_be_bytes(size) as usize];
                stream.read_exact(&mut frame).expect("a frame");
                stream.write_all(&(reply.len() as u32).to_be_bytes()).expect("written");
                stream.write_all(&reply).expect("written");
            }
        });
        address
    }

    /// ApiVersions 0 with one row.
    fn versions(api_key: i16, min: i16, max: i16) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        [api_key, min, max].iter().for_each(|n| bytes.extend(n.to_be_bytes()));
        bytes
    }

    fn open(address: &str) -> Result<Connection> {
        Connection::open(address, Duration::from_secs(20))
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        let mut reply = BytesMut::new();
        reply.extend_from_slice(&[0, 0, 0, 2]);
        ListGroupsResponse::default().encode(&mut reply, 2).expect("encodes");
        let address = broker(vec![versions(16, 1, 2), reply.to_vec()]);
        let mut connection = open(&address).expect("opens");
        assert_eq!(
            connection
                .version::<ListGroupsRequest>("ListGroups", i16::MAX)
                .expect("common"),
            2
        );
        assert!(
            connection
                .call("ListGroups", &ListGroupsRequest::default())
                .expect("answers")
                .groups
                .is_empty()
        );
        let error = connection
            .call("DeleteTopics", &DeleteTopicsRequest::default())
            .expect_err("not offered");
        assert!(error.to_string().contains("does not offer DeleteTopics"), "{error}");
    }

    #[test]
    fn whoever_is_no_broker_is_named() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address")
            .to_string();
        let error = open(&closed).expect_err("nobody listens").to_string();
        assert!(error.contains(&closed) && error.contains("--bootstrap"), "{error}");
        let error = open(&broker(vec![])).expect_err("it closes").to_string();
        assert!(error.contains("ApiVersions"), "{error}");
        let error = open(&broker(vec![b"HTTP".to_vec()])).expect_err("garbage").to_string();
        assert!(error.contains("malformed"), "{error}");
    }
}
