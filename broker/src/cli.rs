//! The command line: `streamhouse serve`, its flags, its signals, and all exit codes. What the other commands do lives in
//! `admin`.
//!
//! Exit codes: 0 after a graceful stop or a command that did all it was asked, 1 when the broker could not start (or is not
//! alive, for `health`) or a command failed, 2 for a command line or configuration that cannot be used, 128 + the signal's
//! number when a second signal cut the stop short.

use crate::admin::{Admin, Configs, Groups, Offsets, Topics};
use crate::broker::Running;
use crate::clock::Clock;
use crate::config::{BrokerConfig, ConfigError, Source, Sources, broker_keys, example};
use crate::health;
use crate::logging;
use crate::metrics::Recorder;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// Idle threads for blocking work end after this.
const BLOCKING_THREAD_LIFE: Duration = Duration::from_secs(5);

/// A Kafka-compatible broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "streamhouse", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a broker. It runs until SIGTERM or SIGINT; a second signal stops it at once.
    Serve(Serve),
    /// Asks a running broker whether it is alive and takes connections; takes the settings that the broker was started with.
    Health(Serve),
    /// Prints every configuration key with its default, range and reason, as a file for --config.
    Config,
    /// Lists, describes, creates, deletes and alters topics of any Kafka cluster.
    Topics(Admin<Topics>),
    /// Lists, describes and deletes consumer groups; shows their lag; resets their offsets.
    Groups(Admin<Groups>),
    /// Shows and alters configs of topics, brokers, groups and client metrics.
    Configs(Admin<Configs>),
    /// Shows where partitions begin and end, and deletes records below an offset.
    Offsets(Admin<Offsets>),
}

/// Settings come from, the later the stronger: defaults, the file, environment variables (STREAMHOUSE_NUM_PARTITIONS is
/// num.partitions), --set, the flags with names of their own.
#[derive(Debug, Args)]
struct Serve {
    /// Directory of everything that survives a restart [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where Kafka clients connect; port 0 takes a free port [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listener: Option<String>,
    /// What Kafka clients are told to connect to [default: the listener]
    #[arg(long, value_name = "HOST:PORT")]
    advertised_listener: Option<String>,
    /// Where /metrics, /livez and /readyz are served [default: 127.0.0.1:9464]
    #[arg(long, value_name = "HOST:PORT")]
    http_listener: Option<String>,
    /// A TOML file of settings
    #[arg(long, value_name = "FILE", env = "STREAMHOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// One setting; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Health(serve) => serve.health(),
        Command::Config => {
            print_line(example::text().trim_end());
            ExitCode::SUCCESS
        }
        Command::Topics(topics) => ended(topics.run(|command, cluster| command.run(cluster))),
        Command::Groups(groups) => ended(groups.run(|command, cluster| command.run(cluster, Clock.now_ms()))),
        Command::Configs(configs) => ended(configs.run(|command, cluster| command.run(cluster))),
        Command::Offsets(offsets) => ended(offsets.run(|command, cluster| command.run(cluster, Clock.now_ms()))),
    }
}

/// How a command of the other half ends.
fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

impl Serve {
    fn run(self) -> ExitCode {
        let config = match self.configuration(std::env::vars_os()) {
            Ok(config) => config,
            Err(error) => return fail(EXIT_USAGE, &error),
        };
        logging::install(config.log_format, &config.log_level);
        raise_open_files_limit();
        let runtime = match runtime(&config) {
            Ok(runtime) => runtime,
            Err(error) => return fail(EXIT_FAILED, &format!("cannot start threads: {error}")),
        };
        let code = runtime.block_on(serve(config));
        // Whatever still blocks must not hold up the end: everything worth waiting for was waited for.
        runtime.shutdown_background();
        code
    }

    fn health(self) -> ExitCode {
        let config = match self.configuration(std::env::vars_os()) {
            Ok(config) => config,
            Err(error) => return fail(EXIT_USAGE, &error),
        };
        let Some((host, port)) = &config.http_listener else {
            return fail(EXIT_USAGE, &"http.listener is empty: there is nobody to ask");
        };
        let alive = health::alive(host, *port);
        let listening = || {
            config
                .listeners
                .iter()
                .try_for_each(|listener| health::listening(&listener.host, listener.port))
        };
        match alive.and_then(|()| listening()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(EXIT_FAILED, &error),
        }
    }

    /// The configuration that flags, environment and file make together.
    fn configuration(
        &self,
        environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<BrokerConfig, ConfigError> {
        let mut sources = Sources::default();
        if let Some(path) = &self.config {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
                source: Source::File(name.clone()),
                reason: error.to_string(),
            })?;
            sources.push_toml(&text, &name)?;
        }
        let environment =
            environment.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        sources.push_environment(environment, broker_keys())?;
        for assignment in &self.set {
            sources.push_assignment(assignment)?;
        }
        let flags = [
            ("data.dir", "--data-dir", &self.data_dir),
            ("listeners", "--listener", &self.listener),
            (
                "advertised.listeners",
                "--advertised-listener",
                &self.advertised_listener,
            ),
            ("http.listener", "--http-listener", &self.http_listener),
        ];
        for (key, flag, value) in flags {
            if let Some(value) = value {
                sources.push(key, value, Source::Flag(flag.to_owned()));
            }
        }
        BrokerConfig::new(sources)
    }
}

fn runtime(config: &BrokerConfig) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if config.worker_threads > 0 {
        builder.worker_threads(config.worker_threads);
    }
    builder
        .max_blocking_threads(config.blocking_threads_max)
        .thread_keep_alive(BLOCKING_THREAD_LIFE)
        .thread_name("streamhouse")
        .enable_all()
        .build()
}

/// The broker's life: start, serve until a signal, stop.
async fn serve(config: BrokerConfig) -> ExitCode {
    // Before the start: a signal during a long recovery is not lost.
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return fail(EXIT_FAILED, &format!("cannot listen to signals: {error}")),
    };
    let recorder = Recorder::new();
    recorder.install();
    let data_dir = config.data_dir.display().to_string();
    let starting = Running::start(config, recorder);
    let running = tokio::select! {
        started = starting => match started {
            Ok(running) => running,
            Err(error) => return fail(EXIT_FAILED, &error),
        },
        // Recovery is safe to cut off: the next start does it again.
        number = next_signal(&mut term, &mut int) => return ExitCode::from(128 + number),
    };
    print_line(&ready_line(&running, &data_dir));
    let number = next_signal(&mut term, &mut int).await;
    tracing::info!(signal = number, "stopping; a second signal stops at once");
    tokio::select! {
        () = running.stop() => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        number = next_signal(&mut term, &mut int) => {
            tracing::warn!(signal = number, "stopped at once; the next start recovers");
            ExitCode::from(128 + number)
        }
    }
}

async fn next_signal(term: &mut Signal, int: &mut Signal) -> u8 {
    tokio::select! {
        _ = term.recv() => 15,
        _ = int.recv() => 2,
    }
}

fn ready_line(running: &Running, data_dir: &str) -> String {
    let kafka: Vec<String> = running.kafka_addresses.iter().map(ToString::to_string).collect();
    let http = running
        .http_address
        .map_or("off".to_owned(), |address| address.to_string());
    format!(
        "StreamHouse {} ready: kafka {}, http {http}, data {data_dir}",
        env!("CARGO_PKG_VERSION"),
        kafka.join(" ")
    )
}

/// One line on stdout, out at once. Whoever started us may have closed it, which is no reason to stop.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "streamhouse: {error}");
    ExitCode::from(code)
}

/// Connections and segments need descriptors; the usual soft limit of 1024 is for programs that use select().
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn serve(arguments: &[&str]) -> Serve {
        let all = ["streamhouse", "serve"].iter().chain(arguments);
        match Cli::try_parse_from(all).expect("a good command line").command {
            Command::Serve(serve) => serve,
            other => panic!("{other:?}"),
        }
    }

    fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| (OsString::from(key), OsString::from(value)))
            .collect();
        pairs.into_iter()
    }

    #[test]
    fn the_command_line_is_what_the_readme_says() {
        let arguments = [
            "--data-dir",
            "/d",
            "--listener",
            "127.0.0.1:1",
            "--http-listener",
            "127.0.0.1:2",
            "--advertised-listener",
            "a.example:3",
            "--set",
            "num.partitions=2",
            "--set",
            "log.retention.ms=5000",
        ];
        let config = serve(&arguments).configuration(variables(&[])).expect("good");
        assert_eq!(config.data_dir, PathBuf::from("/d"));
        assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:1");
        assert_eq!(config.advertised_listeners[0].to_string(), "PLAINTEXT://a.example:3");
        assert_eq!(config.http_listener, Some(("127.0.0.1".to_owned(), 2)));
        assert_eq!(
            (config.num_partitions, config.value("log.retention.ms")),
            (2, Some("5000"))
        );
    }

    #[test]
    fn flags_are_stronger_than_the_environment_and_that_than_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(
            file.path(),
            "num.partitions = 2\n[fetch.max]\nbytes = 2000\n[data]\ndir = \"/file\"\n",
        )
        .expect("written");
        let path = file.path().display().to_string();
        let environment = [
            ("STREAMHOUSE_NUM_PARTITIONS", "3"),
            ("STREAMHOUSE_FETCH_MAX_BYTES", "3000"),
            ("HOME", "/root"),
        ];
        let arguments = [
            "--config",
            &path,
            "--set",
            "num.partitions=4",
            "--set",
            "data.dir=/set",
            "--data-dir",
            "/flag",
        ];
        let config = serve(&arguments).configuration(variables(&environment)).expect("good");
        assert_eq!((config.num_partitions, config.fetch_max_bytes), (4, 3000));
        assert_eq!(config.data_dir, PathBuf::from("/flag"));
        let sources: Vec<String> = config
            .set_values_of("num.partitions")
            .iter()
            .map(|(_, s)| s.to_string())
            .collect();
        let expected = [
            "--set".to_owned(),
            "the environment variable STREAMHOUSE_NUM_PARTITIONS".to_owned(),
            format!("the file {path}"),
        ];
        assert_eq!(sources, expected);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = serve(&["--config", "/no/such/file"])
            .configuration(variables(&[]))
            .expect_err("no file");
        assert_eq!(
            error.to_string(),
            "the file /no/such/file: No such file or directory (os error 2)"
        );
    }
}
