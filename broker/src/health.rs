//! `streamhouse health`: asks a running broker whether it works, for containers, which have no HTTP client.
//!
//! It works when it answers `/livez` and takes Kafka connections. It is not asked for `/readyz`: who restarts what is unhealthy
//! must not restart a broker because its disk is full. What never lives here: what makes a broker alive (`http.rs`).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For connecting and for each read; a broker that is slower than this is not well.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A status line and a few headers.
const REPLY_BYTES_MAX: u64 = 4 << 10;

/// Succeeds when `/livez` of the broker whose `http.listener` is `host:port` answers 200. A wildcard host is asked on this
/// machine's loopback.
pub fn alive(host: &str, port: u16) -> io::Result<()> {
    ask(connect(host, port)?)
}

/// Succeeds when the Kafka listener `host:port` takes a connection, which it does once the broker is ready.
pub fn listening(host: &str, port: u16) -> io::Result<()> {
    connect(host, port).map(drop)
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, format!("{host}: no such host"));
    for mut address in (host, port).to_socket_addrs()? {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => refused = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(refused)
}

fn ask(mut socket: TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    socket.take(REPLY_BYTES_MAX).read_to_end(&mut reply)?;
    if reply.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let first = reply.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(io::Error::other(format!(
        "/livez answered {:?}",
        String::from_utf8_lossy(first)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that gives one answer to one connection; its port.
    fn serve_once(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("accept");
            let mut request = vec![0; 1024];
            let length = socket.read(&mut request).expect("read");
            socket.write_all(answer.as_bytes()).expect("write");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (port, server)
    }

    #[test]
    fn two_hundred_is_alive() {
        let (port, server) = serve_once("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalive\n");
        alive("127.0.0.1", port).expect("alive");
        assert!(server.join().expect("server").starts_with("GET /livez HTTP/1.1\r\n"));
    }

    #[test]
    fn the_wildcard_is_asked_on_loopback() {
        let (port, server) = serve_once("HTTP/1.1 200 OK\r\n\r\n");
        alive("0.0.0.0", port).expect("alive");
        server.join().expect("server");
    }

    #[test]
    fn a_listener_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        listening("0.0.0.0", port).expect("listens");
    }

    #[test]
    fn anything_else_is_not() {
        for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "SSH-2.0-x\r\n", ""] {
            let (port, server) = serve_once(answer);
            alive("127.0.0.1", port).expect_err(answer);
            server.join().expect("server");
        }
    }

    #[test]
    fn nobody_there_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        for asked in [alive, listening] {
            let error = asked("127.0.0.1", port).expect_err("nothing listens");
            assert!(error.to_string().contains(&port.to_string()), "{error}");
        }
    }
}
