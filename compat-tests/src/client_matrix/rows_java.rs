//! Rows of the client matrix for Java's own client, `org.apache.kafka:kafka-clients`.

use super::{ClientRow, Program, install};
use crate::crate_dir;
use crate::java::{Java, KAFKA_VERSION, SHORT_LIVED};

const SOURCE: &str = include_str!("../../clients/java/MatrixClient.java");

/// The rows.
pub(super) fn rows() -> Vec<ClientRow> {
    let row = |name, consume| ClientRow {
        name,
        library: "kafka-clients 4.3.0 (Java)",
        language: "java",
        install: program,
        consume,
    };
    vec![
        row("java_eager", &["--assignor", "eager"]),
        row("java_cooperative", &["--assignor", "cooperative"]),
        row("java_consumer", &["--protocol", "consumer"]),
    ]
}

fn program() -> Result<Program, String> {
    let java = Java::install()?;
    let javac = install::tool_version("javac", "-version", "default-jdk-headless")?;
    let classes = install::installed("java", &[&javac, KAFKA_VERSION, SOURCE], |dir| {
        java.compile(&crate_dir().join("clients/java/MatrixClient.java"), dir)
    })?;
    let command = java.command(&SHORT_LIVED, Some(&classes), "MatrixClient");
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    Ok(Program::new(words))
}
