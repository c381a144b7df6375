//! Runs Debian's `kcat` (librdkafka 2.0.2, an old client) as a user would.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
