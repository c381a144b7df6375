//! The programs of `examples/`, run as a user runs them, restart included.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use streamhouse_compat_tests::Broker;
use streamhouse_compat_tests::harness::spawn_with_us;

/// The example's binary, built if cargo runs this test, because `cargo test --test clients` builds no examples.
fn example(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has a path");
    let profile_dir = exe.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args([
            "build",
            "--quiet",
            "--package",
            env!("CARGO_PKG_NAME"),
            "--example",
            name,
        ]);
        if profile_dir.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(streamhouse_compat_tests::crate_dir());
        assert!(build.status().expect("cargo runs").success(), "{name} does not build");
    }
    profile_dir.join("examples").join(name)
}

/// Runs an example to its end; when it asks for it, kills the broker and starts it again.
fn run(name: &str, expected_restarts: usize) {
    // Users wait some seconds until members know of each other; a test need not.
    let mut broker = Broker::builder()
        .set("group.initial.rebalance.delay.ms", 100)
        .set("group.consumer.min.heartbeat.interval.ms", 500)
        .set("group.consumer.heartbeat.interval.ms", 500)
        .start();
    let mut command = Command::new(example(name));
    command.args(["--brokers", &broker.bootstrap(), "--restart"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn_with_us(command).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut printed = String::new();
    let mut restarts = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("UTF-8");
        if line.starts_with("RESTART") {
            broker.kill9();
            broker.restart();
            stdin.write_all(b"\n").expect("the example reads");
            restarts += 1;
        }
        printed.push_str(&line);
        printed.push('\n');
    }
    let status = child.wait().expect("the example ends");
    let errors = stderr.join().expect("reading does not panic");
    assert!(
        status.success() && restarts == expected_restarts && printed.contains("OK: "),
        "{status}\n{printed}\n{errors}"
    );
}

#[test]
fn offset_tracking() {
    run("e2e_offset_tracking", 1);
}

#[test]
fn producer_consumer() {
    run("e2e_producer_consumer", 3);
}
