//! Rows of the client matrix for librdkafka through the rdkafka crate, the client of this crate's other tests.

use super::{ClientRow, Program};

/// The rows.
pub(super) fn rows() -> Vec<ClientRow> {
    let row = |name, consume| ClientRow {
        name,
        library: "rdkafka 0.39 (librdkafka 2.12.1)",
        language: "rust",
        install: program,
        consume,
    };
    vec![
        row("rdkafka_eager", &["--assignor", "eager"]),
        row("rdkafka_cooperative", &["--assignor", "cooperative"]),
        row("rdkafka_consumer", &["--protocol", "consumer"]),
    ]
}

/// `src/bin/rdkafka_client.rs`, which cargo builds with the tests: it lies beside the running test in the target directory.
fn program() -> Result<Program, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let found = exe
        .ancestors()
        .skip(1)
        .map(|dir| dir.join("rdkafka_client"))
        .find(|path| path.is_file());
    let missing = || {
        format!(
            "no rdkafka_client above {}: run `cargo build --release --workspace`",
            exe.display()
        )
    };
    found.map(|path| Program::new([path])).ok_or_else(missing)
}
