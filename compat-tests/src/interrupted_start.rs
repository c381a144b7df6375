//! What crash tests do between two lives of the broker: a start that is killed before it is over, which recovery must survive
//! too, and a copy of the data as recovery will find it.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
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

/// Copies `home/data` to `home/data-before`, for whoever wants to see what a recovery that went wrong began with.
pub fn copy_before_recovery(home: &Path) {
    let before = home.join("data-before");
    let _ = std::fs::remove_dir_all(&before);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(home.join("data"))
        .arg(&before)
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cp -r to {}",
        before.display()
    );
}
