//! Rows of the client matrix for Python: confluent-kafka, kafka-python, aiokafka.
//!
//! Each library has a virtual environment of its own: three versions of kafka-python cannot share one.

use std::process::Command;

use super::install::{installed, run, tool_version};
use super::{ClientRow, Program};
use crate::crate_dir;

const CONFLUENT: &str = include_str!("../../clients/python/requirements-confluent.txt");
const KAFKA_PYTHON_2_0: &str = include_str!("../../clients/python/requirements-kafka-python-2_0.txt");
const KAFKA_PYTHON_2: &str = include_str!("../../clients/python/requirements-kafka-python-2.txt");
const KAFKA_PYTHON_3: &str = include_str!("../../clients/python/requirements-kafka-python-3.txt");
const AIOKAFKA: &str = include_str!("../../clients/python/requirements-aiokafka.txt");

/// The rows.
pub(super) fn rows() -> Vec<ClientRow> {
    let row = |name, requirements: &'static str, install, consume| ClientRow {
        name,
        // The library comes first, what it needs after it.
        library: requirements.lines().next().unwrap_or_default(),
        language: "python",
        install,
        consume,
    };
    let (eager, cooperative) = (&["--assignor", "eager"][..], &["--assignor", "cooperative"][..]);
    vec![
        row("confluent_kafka_python_eager", CONFLUENT, confluent, eager),
        row("confluent_kafka_python_cooperative", CONFLUENT, confluent, cooperative),
        row(
            "confluent_kafka_python_consumer",
            CONFLUENT,
            confluent,
            &["--protocol", "consumer"],
        ),
        row("kafka_python_2_0_eager", KAFKA_PYTHON_2_0, kafka_python_2_0, eager),
        row("kafka_python_2_eager", KAFKA_PYTHON_2, kafka_python_2, eager),
        row("kafka_python_3_eager", KAFKA_PYTHON_3, kafka_python_3, eager),
        row(
            "kafka_python_3_cooperative",
            KAFKA_PYTHON_3,
            kafka_python_3,
            cooperative,
        ),
        row("aiokafka_eager", AIOKAFKA, aiokafka, eager),
    ]
}

fn confluent() -> Result<Program, String> {
    program(CONFLUENT, "client_confluent.py")
}

fn kafka_python_2_0() -> Result<Program, String> {
    program(KAFKA_PYTHON_2_0, "client_kafka_python.py")
}

fn kafka_python_2() -> Result<Program, String> {
    program(KAFKA_PYTHON_2, "client_kafka_python.py")
}

fn kafka_python_3() -> Result<Program, String> {
    program(KAFKA_PYTHON_3, "client_kafka_python.py")
}

fn aiokafka() -> Result<Program, String> {
    program(AIOKAFKA, "client_aiokafka.py")
}

/// A script below `clients/python`, run by an environment that has what `requirements` pins.
fn program(requirements: &str, script: &str) -> Result<Program, String> {
    let version = tool_version("python3", "--version", "python3 python3-venv")?;
    let dir = installed("python", &[&version, requirements], |dir| {
        let file = dir.join("requirements.txt");
        std::fs::write(&file, requirements).map_err(|e| format!("{}: {e}", file.display()))?;
        run(Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")))
            .map_err(|e| format!("{e}\n(apt-get install python3-venv)"))?;
        let mut pip = Command::new(dir.join("venv/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]);
        run(pip.arg(&file))
    })?;
    let script = crate_dir().join("clients/python").join(script);
    let mut program = Program::new([dir.join("venv/bin/python"), script]);
    program.environment = vec![("PYTHONDONTWRITEBYTECODE".into(), "1".into())];
    Ok(program)
}
