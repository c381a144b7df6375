//! The command line's other half: `streamhouse topics | groups | configs | offsets`.
//!
//! Speaks Kafka's protocol to `--bootstrap`, so that it works against any Kafka. Prints a table, or JSON with `--json`;
//! complaints go to stderr. What never lives here: the broker's own state; a running broker is reached by its socket only.

mod cluster;
mod configs;
mod connection;
mod error;
mod groups;
mod offsets;
mod output;
mod reset;
mod times;
mod topics;

use clap::Args;
use cluster::Cluster;
use error::Result;
use output::Table;
use std::time::Duration;

/// What all these commands take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the cluster is
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT,…",
        env = "STREAMHOUSE_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_delimiter = ','
    )]
    bootstrap: Vec<String>,
    /// Prints JSON: an array of objects
    #[arg(long, global = true)]
    json: bool,
    /// How long a broker may take to answer, milliseconds
    #[arg(long, global = true, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// A command with its options.
#[derive(Debug, Args)]
pub(crate) struct Admin<C: clap::Subcommand> {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: C,
}

pub(crate) use configs::Configs;
pub(crate) use groups::Groups;
pub(crate) use offsets::Offsets;
pub(crate) use topics::Topics;

impl<C: clap::Subcommand> Admin<C> {
    /// Connects, does it, prints the result. The error is for the person at the terminal.
    pub(crate) fn run(self, act: impl FnOnce(&C, &mut Cluster) -> Result<Table>) -> std::result::Result<(), String> {
        let timeout = Duration::from_millis(self.options.timeout);
        let done =
            Cluster::connect(&self.options.bootstrap, timeout).and_then(|mut cluster| act(&self.command, &mut cluster));
        match done {
            Ok(table) => {
                output::print(&table, self.options.json);
                match table.failed() {
                    true => Err("not all of it was done; each line says what became of it".to_owned()),
                    false => Ok(()),
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
