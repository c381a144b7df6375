//! Rows of the client matrix for JavaScript: kafkajs, and Confluent's client, which wraps librdkafka.
//!
//! npm installs both from `clients/javascript/package-lock.json`. Confluent's package would download a binary from its release
//! page; here it compiles the librdkafka that lies in it, against the system's libraries, as everything must come from npm.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ClientRow, Program, install};
use crate::crate_dir;

const PACKAGE: &str = include_str!("../../clients/javascript/package.json");
const LOCK: &str = include_str!("../../clients/javascript/package-lock.json");
const NPMRC: &str = include_str!("../../clients/javascript/.npmrc");

/// The rows.
pub(super) fn rows() -> Vec<ClientRow> {
    let confluent = |name, consume| ClientRow {
        name,
        library: "@confluentinc/kafka-javascript 1.10.1 (librdkafka 2.15.1)",
        language: "javascript",
        install: || program("confluent.js"),
        consume,
    };
    vec![
        ClientRow {
            name: "kafkajs_eager",
            library: "kafkajs 2.2.4",
            language: "javascript",
            install: || program("kafkajs.js"),
            consume: &[],
        },
        confluent("confluent_javascript_eager", &["--assignor", "eager"]),
        confluent("confluent_javascript_cooperative", &["--assignor", "cooperative"]),
        confluent("confluent_javascript_consumer", &["--protocol", "consumer"]),
    ]
}

fn program(script: &str) -> Result<Program, String> {
    let node = install::tool_version("node", "--version", "nodejs")?;
    install::tool_version("npm", "--version", "npm")?;
    let installed = install::installed("javascript", &[&node, PACKAGE, LOCK, NPMRC], npm_ci)?;
    let script = crate_dir().join("clients/javascript").join(script);
    Ok(Program {
        command_line: vec!["node".into(), script.into()],
        environment: vec![("NODE_PATH".into(), installed.join("node_modules").into())],
    })
}

/// Installs exactly what the lock file names into `dir`.
fn npm_ci(dir: &Path) -> Result<(), String> {
    for (tool, package) in [("g++", "g++"), ("make", "make"), ("python3", "python3")] {
        install::tool_version(tool, "--version", package)?;
    }
    let node_dir = node_dir()?;
    for (name, text) in [
        ("package.json", PACKAGE),
        ("package-lock.json", LOCK),
        (".npmrc", NPMRC),
    ] {
        std::fs::write(dir.join(name), text).map_err(|e| format!("{}: {e}", dir.join(name).display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--foreground-scripts"]).current_dir(dir);
    npm.env("npm_config_build_from_source", "true");
    // Else node-gyp downloads the headers. It has read both names over the years.
    npm.env("npm_config_nodedir", &node_dir)
        .env("npm_package_config_node_gyp_nodedir", &node_dir);
    // Static would download the sources of OpenSSL, zlib, zstd and curl.
    npm.env("CKJS_LINKING", "dynamic");
    // Its makefile does not say that librdkafka comes before what uses it.
    npm.env("JOBS", "1").env_remove("MAKEFLAGS");
    install::run(&mut npm)
}

/// The folder above `include/node/node.h` of the `node` that runs.
fn node_dir() -> Result<PathBuf, String> {
    let output = Command::new("node").args(["-p", "process.execPath"]).output();
    let path = output.map_err(|e| format!("node: {e}"))?.stdout;
    let path = PathBuf::from(String::from_utf8_lossy(&path).trim());
    let found = path
        .ancestors()
        .skip(2)
        .take(1)
        .find(|dir| dir.join("include/node/node.h").is_file());
    found.map(Path::to_path_buf).ok_or_else(|| {
        format!(
            "no include/node/node.h beside {}: apt-get install libnode-dev",
            path.display()
        )
    })
}
