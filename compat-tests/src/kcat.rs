//! Runs Debian's `kcat` (librdkafka 2.0.2, an old client) as a user would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::raw::RawClient;

/// Runs `kcat -b BOOTSTRAP args…` with `input` on stdin; panics unless it exits with 0.
pub fn kcat(bootstrap: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let output = try_kcat(bootstrap, args, input);
    assert!(
        output.status.success(),
        "kcat {args:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs `kcat -b BOOTSTRAP args…` with `input` on stdin.
pub fn try_kcat(bootstrap: &str, args: &[&str], input: &[u8]) -> Output {
    let mut command = command(bootstrap, args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = crate::harness::spawn_with_us(command).unwrap_or_else(|e| panic!("{e}: is kcat installed?"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("kcat can be waited for");
    let _ = feeder.join().expect("writing does not panic");
    output
}

/// A `kcat` command, not yet started, that a test wires up itself.
pub fn command(bootstrap: &str, args: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.arg("-b").arg(bootstrap).args(args);
    command
}

/// `kcat -C` of a whole partition into a file.
pub fn read_partition_to(bootstrap: &str, topic: &str, partition: i32, file: &Path) {
    let partition = partition.to_string();
    let args = ["-C", "-q", "-e", "-o", "beginning", "-t", topic, "-p", &partition];
    let mut command = command(bootstrap, &args);
    command
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(file).expect("a file in a temporary directory"));
    let status = crate::harness::spawn_with_us(command).and_then(|mut child| child.wait());
    let status = status.expect("kcat is installed");
    assert!(status.success(), "kcat {args:?} ended with {status}");
}

/// An address in front of the broker that outlives restarts, as a load balancer's does: it passes one request after the
/// other on, and asks again when the broker was away.
///
/// `kcat` ends as soon as no broker that it knows is reachable (any other client just tries again). With this address beside
/// the real one there is always one; records go to the real one, because that is what metadata names.
pub fn steady_address(broker: SocketAddr) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass_on(client, broker));
        }
    });
    Ok(address)
}

/// Serves one connection until the client closes it.
fn pass_on(mut client: TcpStream, broker: SocketAddr) {
    let mut upstream: Option<RawClient> = None;
    while let Ok(request) = read_frame(&mut client) {
        let reply = loop {
            let Ok(connection) = upstream.take().map_or_else(|| RawClient::try_connect(broker), Ok) else {
                // Nothing tells when the broker is back.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let mut connection = connection;
            if connection.send_frame(&request).is_ok()
                && let Ok(Some(reply)) = connection.read_frame()
            {
                upstream = Some(connection);
                break reply;
            }
        };
        let size = i32::try_from(reply.len()).expect("a frame");
        if client
            .write_all(&size.to_be_bytes())
            .and_then(|()| client.write_all(&reply))
            .is_err()
        {
            return;
        }
    }
}

fn read_frame(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap_or(0)];
    from.read_exact(&mut frame)?;
    Ok(frame)
}
