//! StreamHouse and Apache Kafka in turn on this machine, in one run: throughput, processor time, latency, memory, start time.
//!
//! `cargo run --release -p streamhouse-compat-tests --bin bench -- [options]`, see `--help`. Each round starts both brokers
//! fresh, one after the other, in a directory of their own, with their defaults; medians of the rounds are printed as a
//! Markdown table. The load comes from this process over 127.0.0.1, so it shares the machine's cores with the broker.
//!
//! `load.rs` has the load generator, `rows.rs` what is measured (`commits.rs` and `groups.rs` of consumer groups),
//! `report.rs` the table and the budgets.

mod commits;
mod groups;
mod load;
mod members;
mod process;
mod report;
mod rows;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use streamhouse_compat_tests::java::{Java, KAFKA_VERSION};

use crate::report::Report;
use crate::rows::{ROWS, Settings};
use crate::target::Kind;

struct Options {
    rounds: usize,
    seconds: f64,
    warm_up_seconds: f64,
    most_gib: f64,
    rows: Vec<String>,
    dir: PathBuf,
    kafka: bool,
    streamhouse: bool,
}

const HELP: &str = "\
bench [--rounds 3] [--seconds 10] [--warm-up 5] [--max-gib 4] [--rows ROW,ROW,...] [--dir DIR]
      [--skip-kafka] [--skip-streamhouse]

--seconds     measured time of each load
--warm-up     seconds of the same load before that
--max-gib     a load ends early after so many GiB
--dir         where the brokers keep their data, on a real disk (the system's temporary directory)
rows:";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            ROWS.iter().for_each(|(name, what)| println!("  {name:14} {what}"));
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("bench: {e} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let java = if options.kafka { Some(Java::install()?) } else { None };
    let machine = process::describe_machine(&options.dir);
    if process::file_system(&options.dir).1 {
        eprintln!(
            "WARNING: {} is in memory: figures of fsynced rows mean nothing. --dir names another",
            options.dir.display()
        );
    }
    let settings = Settings {
        rows: &options.rows,
        warm_up: Duration::from_secs_f64(options.warm_up_seconds),
        duration: Duration::from_secs_f64(options.seconds),
        most_bytes: (options.most_gib * 1_073_741_824.0) as u64,
        java: java.as_ref(),
    };
    let wanted = |kind: &Kind| match kind {
        Kind::StreamHouse => options.streamhouse,
        Kind::Kafka => options.kafka,
    };
    let mut report = Report::default();
    let began = Instant::now();
    for round in 1..=options.rounds {
        for kind in [Kind::StreamHouse, Kind::Kafka].into_iter().filter(wanted) {
            let dir = tempfile::Builder::new()
                .prefix("streamhouse-bench-")
                .tempdir_in(&options.dir);
            let dir = dir.map_err(|e| format!("{}: {e}", options.dir.display()))?;
            let samples = rows::run(kind, dir.path(), &settings)?;
            for (_, label, unit, value) in &samples {
                eprintln!("round {round}, {kind:?}: {label}: {value:.3} {unit}");
            }
            report.add(kind, &samples);
        }
    }
    println!("{machine}.");
    println!(
        "StreamHouse {}; Apache Kafka {KAFKA_VERSION} (KRaft, one node, 1 GiB heap; fsynced: `flush.messages=1`). \
         {} rounds in turn, {} s each after {} s of warm-up: median (range). Took {:.0} minutes.\n",
        env!("CARGO_PKG_VERSION"),
        options.rounds,
        options.seconds,
        options.warm_up_seconds,
        began.elapsed().as_secs_f64() / 60.0,
    );
    println!("{}", report.table());
    Ok(())
}

/// `None` asks for help.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        rounds: 3,
        seconds: 10.0,
        warm_up_seconds: 5.0,
        most_gib: 4.0,
        rows: ROWS.iter().map(|(name, _)| (*name).to_owned()).collect(),
        dir: std::env::temp_dir(),
        kafka: true,
        streamhouse: true,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| {
            text.parse::<f64>()
                .ok()
                .filter(|n| *n >= 0.0)
                .ok_or(format!("{text:?} is no number"))
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--rounds" => options.rounds = number(value()?)?.max(1.0) as usize,
            "--seconds" => options.seconds = number(value()?)?,
            "--warm-up" => options.warm_up_seconds = number(value()?)?,
            "--max-gib" => options.most_gib = number(value()?)?,
            "--dir" => options.dir = value()?.into(),
            "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
            "--skip-kafka" => options.kafka = false,
            "--skip-streamhouse" => options.streamhouse = false,
            other => return Err(format!("unknown option {other}")),
        }
    }
    match options
        .rows
        .iter()
        .find(|row| !ROWS.iter().any(|(name, _)| name == row))
    {
        Some(unknown) => Err(format!("unknown row {unknown}")),
        None => Ok(Some(options)),
    }
}
