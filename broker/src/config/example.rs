//! The table of keys as a commented TOML file: what `streamhouse config` prints and `config/streamhouse.toml` holds.

use super::{KeySpec, UpdateMode, ValueType, broker_keys, environment_name};

const LINE_CHARS: usize = 110;

const HEAD: &str = "\
# Configuration of StreamHouse: every key, commented out, with its default.
#
# Use it with `streamhouse serve --config FILE`. A setting is looked for in this order: flags of its own
# (--data-dir), --set key=value, the environment (the variable is named at each key), this file, the default.
# Keys may be written as here or in [tables]; those in quotes need them, because TOML takes one key for a part
# of another. A key that does not exist, or a value out of range, stops the start with a message that names it.
";

/// The file.
pub fn text() -> String {
    let mut text = HEAD.to_owned();
    for key in broker_keys() {
        text.push('\n');
        wrap(key.doc, &mut text);
        wrap(&facts(key), &mut text);
        text.push_str(&format!("# {} = {}\n", toml_key(key.name), value(key)));
    }
    text
}

/// In TOML a dotted key cannot be both a value and a table: where two of our keys would make one so, they are quoted.
fn toml_key(name: &str) -> String {
    let extends = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'));
    if broker_keys()
        .iter()
        .any(|other| extends(name, other.name) || extends(other.name, name))
    {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

fn facts(key: &KeySpec) -> String {
    let mut facts = format!("Takes {}", key.expected());
    if !key.unit.is_empty() {
        facts.push_str(&format!("; unit: {}", key.unit));
    }
    if key.default.is_none() {
        facts.push_str("; unset by default");
    }
    if key.update == UpdateMode::Dynamic {
        facts.push_str("; can be changed while the broker runs");
    }
    facts.push_str(&format!(". {}", environment_name(key.name)));
    facts
}

/// The default, or for a key without one a value that it takes, as TOML.
fn value(key: &KeySpec) -> String {
    let default = key.default.unwrap_or_else(|| example_value(key));
    match key.value_type {
        ValueType::Boolean | ValueType::Int | ValueType::Short | ValueType::Long | ValueType::Double => {
            default.to_owned()
        }
        ValueType::String | ValueType::List => toml::Value::String(default.to_owned()).to_string(),
    }
}

/// For keys that are unset by default.
fn example_value(key: &KeySpec) -> &'static str {
    match key.name {
        "advertised.listeners" => "PLAINTEXT://broker.example.com:9092",
        "broker.id" => "0",
        "log.retention.ms" | "log.roll.ms" => "604800000",
        "log.retention.minutes" => "10080",
        "log.roll.jitter.ms" => "0",
        _ => key.default.unwrap_or("1000"),
    }
}

fn wrap(text: &str, out: &mut String) {
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, Sources, flatten_toml};

    /// In the clone that the tests run for: cargo says which, while the path from the build may be another clone's.
    fn file() -> std::io::Result<String> {
        let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        std::fs::read_to_string(here + "/../config/streamhouse.toml")
    }

    #[test]
    fn the_file_in_the_repository_is_the_table() {
        let file = file().expect("config/streamhouse.toml is there");
        assert!(
            file == text(),
            "config/streamhouse.toml is old; write it anew with: streamhouse config"
        );
    }

    /// The lines that set something, with their comment sign taken away.
    fn uncommented() -> String {
        let text = text();
        let settings = text.lines().filter_map(|line| line.strip_prefix("# "));
        let is_setting = |line: &&str| {
            broker_keys()
                .iter()
                .any(|key| line.starts_with(&format!("{} = ", toml_key(key.name))))
        };
        settings.filter(is_setting).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_key_can_be_uncommented_and_then_says_what_the_default_says() {
        let settings = uncommented();
        let flat = flatten_toml(&settings).expect("is TOML");
        assert_eq!(flat.len(), broker_keys().len());
        for (key, value) in &flat {
            let spec = crate::config::broker_key(key).expect("a key of the table");
            assert!(spec.default.is_none_or(|default| default == value), "{key}: {value}");
        }
        let mut sources = Sources::default();
        sources.push_toml(&settings, "test").expect("is TOML");
        let config = BrokerConfig::new(sources).expect("all values pass");
        assert_eq!(config.num_partitions, 1);
    }

    #[test]
    fn no_line_is_long_and_the_file_as_it_is_sets_nothing() {
        assert!(text().lines().all(|line| line.chars().count() <= 120));
        assert_eq!(flatten_toml(&text()), Ok(Vec::new()));
    }
}
