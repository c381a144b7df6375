//! A start of the broker that is killed before it is over, for crash tests: recovery must survive that, too.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::Broker;
use crate::harness::{binary_command, spawn_with_us};

/// Starts the binary on `data` and the ports of `broker` (which must have ended), with `settings`, and kills it after `delay`, most
/// often in the midst of its recovery. Panics if it ends by itself before.
pub fn start_and_kill(broker: &Broker, data: &Path, settings: &[(&str, &str)], delay: Duration) {
    let mut command = binary_command();
    command.arg("serve").arg("--data-dir").arg(data);
    command.arg("--listener").arg(broker.kafka_addr().to_string());
    command.arg("--http-listener").arg(broker.http_addr().to_string());
    for (key, value) in settings {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    let said = data.with_extension("interrupted-start.log");
    let output = File::create(&said).expect("a file beside the data");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let mut child = spawn_with_us(command).expect("the binary runs");
    std::thread::sleep(delay);
    child.kill().expect("SIGKILL can be sent to a child");
    let status = child.wait().expect("a killed child can be reaped");
    let said = std::fs::read_to_string(&said).unwrap_or_default();
    assert!(
        status.code().is_none(),
        "the start ended by itself with {status}:\n{said}"
    );
}
