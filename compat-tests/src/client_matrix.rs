//! The client matrix: one scenario, played with every client library that people use.
//!
//! A library is a [`ClientRow`]: how to install it, and the program below `clients/` that speaks through it. All programs
//! have the same two commands (`clients/README.md`), so [`driver`] knows no languages. [`checker`] judges what they printed.
//! Rows live in one file a language, `rows_*.rs`; a row is a test of its own in `tests/client_matrix.rs`.

use std::ffi::OsString;
use std::process::Command;

pub mod checker;
pub mod driver;
pub mod install;
mod rows_go;
mod rows_java;
mod rows_javascript;
mod rows_python;
mod rows_rust;

/// One line of the table: a client library in one mode.
#[derive(Clone, Copy, Debug)]
pub struct ClientRow {
    /// Name of its test: library and mode, `kafka_python_eager`. Unique in the table.
    pub name: &'static str,
    /// The library and its pinned version, for people: `kafka-python 2.2.15`.
    pub library: &'static str,
    /// `python`, `go`, …: the folder below `clients/`.
    pub language: &'static str,
    /// Makes the program ready to run, once for all rows that share it: later calls find what the first one left. The error
    /// says what is missing and how to get it.
    pub install: fn() -> Result<Program, String>,
    /// What `consume` gets besides the arguments that all get: `["--protocol", "consumer"]`.
    pub consume: &'static [&'static str],
}

/// A program that can be run: the start of its command line and what it needs in its environment.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The executable, then the arguments before `produce` or `consume`.
    pub command_line: Vec<OsString>,
    /// Environment variables besides ours.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program that is started by these words.
    pub fn new(command_line: impl IntoIterator<Item = impl Into<OsString>>) -> Program {
        Program {
            command_line: command_line.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// The command up to (not including) `produce` or `consume`.
    pub fn command(&self) -> Command {
        let (program, arguments) = self.command_line.split_first().expect("a program has a name");
        let mut command = Command::new(program);
        command.args(arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// The table.
pub fn rows() -> Vec<ClientRow> {
    [
        rows_rust::rows(),
        rows_python::rows(),
        rows_go::rows(),
        rows_javascript::rows(),
        rows_java::rows(),
    ]
    .concat()
}

/// The row of that name.
///
/// # Panics
/// If there is none.
pub fn row(name: &str) -> ClientRow {
    let found = rows().into_iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("no client {name} in the table"))
}
