//! Rows of the client matrix for Go: franz-go, sarama, segmentio's kafka-go.

use std::process::Command;

use super::install::{installed, run, tool_version};
use super::{ClientRow, Program};
use crate::crate_dir;

/// All that decides what is built.
const SOURCES: [&str; 6] = [
    include_str!("../../clients/go/go.mod"),
    include_str!("../../clients/go/go.sum"),
    include_str!("../../clients/go/member/member.go"),
    include_str!("../../clients/go/franz-go/main.go"),
    include_str!("../../clients/go/sarama/main.go"),
    include_str!("../../clients/go/kafka-go/main.go"),
];

/// The rows.
pub(super) fn rows() -> Vec<ClientRow> {
    let row = |name, module, install, consume| ClientRow {
        name,
        library: required(module),
        language: "go",
        install,
        consume,
    };
    let (eager, cooperative) = (&["--assignor", "eager"][..], &["--assignor", "cooperative"][..]);
    vec![
        row("franz_go_eager", "twmb/franz-go", franz_go, eager),
        row("franz_go_cooperative", "twmb/franz-go", franz_go, cooperative),
        row(
            "franz_go_consumer",
            "twmb/franz-go",
            franz_go,
            &["--protocol", "consumer"],
        ),
        row("sarama_eager", "IBM/sarama", sarama, eager),
        row("kafka_go_eager", "segmentio/kafka-go", kafka_go, eager),
    ]
}

/// The line of go.mod that requires a module: its path and version.
fn required(module: &str) -> &'static str {
    let lines = SOURCES[0].lines().map(str::trim);
    lines
        .filter_map(|line| line.strip_prefix("github.com/"))
        .find(|line| line.split(' ').next() == Some(module))
        .unwrap_or_default()
}

fn franz_go() -> Result<Program, String> {
    program("franz-go")
}

fn sarama() -> Result<Program, String> {
    program("sarama")
}

fn kafka_go() -> Result<Program, String> {
    program("kafka-go")
}

/// One of the programs below `clients/go`; they are built together.
fn program(name: &str) -> Result<Program, String> {
    let version = tool_version("go", "version", "golang-go")?;
    let ingredients = [&[version.as_str()][..], &SOURCES].concat();
    let dir = installed("go", &ingredients, |dir| {
        // A Go that is older than go.mod asks for fetches the one it needs, as modules are fetched.
        let mut go = Command::new("go");
        go.env("GOTOOLCHAIN", "auto")
            .current_dir(crate_dir().join("clients/go"));
        run(go
            .args(["build", "-mod=readonly", "-buildvcs=false", "-o"])
            .arg(dir)
            .arg("./..."))
    })?;
    Ok(Program::new([dir.join(name)]))
}
