//! Configuration keys as data: what a key is called, which values it takes, why; and where values come from.
//!
//! The broker's keys are in [`broker`], a topic's in [`topic`], a group's in [`group`], a client metrics subscription's in [`client_metrics`]. What never lives here: what a setting does.

pub mod broker;
mod broker_config;
pub mod client_metrics;
pub mod endpoint;
pub mod example;
pub mod group;
mod sources;
pub mod topic;

pub use broker::{broker_key, broker_keys};
pub use broker_config::{BrokerConfig, LogFormat, RecordValidation};
pub use sources::{Settings, Sources, environment_name, flatten_toml};

use std::fmt;

/// A value's type, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits, signed.
    Int = 3,
    /// 16 bits, signed.
    Short = 4,
    /// 64 bits, signed.
    Long = 5,
    /// A number with a fraction.
    Double = 6,
    /// Texts with commas between them.
    List = 7,
}

impl ValueType {
    /// The number of this type in DescribeConfigs responses.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// Which values of its type a key takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// All.
    Any,
    /// Whole numbers between the two.
    Range(i64, i64),
    /// Fractions between the two.
    DoubleRange(f64, f64),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any of these, with commas between them, none twice.
    ListOf(&'static [&'static str]),
    /// As this function says; the text names what is allowed.
    Custom(fn(&str) -> bool, &'static str),
}

/// Whether and where a key can change while the broker runs (AlterConfigs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Read at the start only.
    ReadOnly,
    /// For one broker or all of them.
    Dynamic,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Kafka's name where Kafka has one.
    pub name: &'static str,
    /// Its type.
    pub value_type: ValueType,
    /// Its default as text; `None` when it is unset by default.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub check: Check,
    /// The unit of a number, else `""`.
    pub unit: &'static str,
    /// What it does, and the reason for the default.
    pub doc: &'static str,
    /// Whether it can change while the broker runs.
    pub update: UpdateMode,
    /// Never shown to anybody.
    pub sensitive: bool,
}

impl KeySpec {
    /// What the key takes, in words: the right side of an error.
    pub fn expected(&self) -> String {
        let list = |options: &[&str]| options.join(", ");
        match self.check {
            Check::Custom(_, text) => text.to_string(),
            Check::OneOf(options) => format!("one of {}", list(options)),
            Check::ListOf(options) => format!("a list of {}, each at most once", list(options)),
            Check::Range(min, max) => format!("a whole number from {min} to {max}"),
            Check::DoubleRange(min, max) => format!("a number from {min} to {max}"),
            Check::Any => match self.value_type {
                ValueType::Boolean => "true or false".to_string(),
                ValueType::Int => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
                ValueType::Short => format!("a whole number from {} to {}", i16::MIN, i16::MAX),
                ValueType::Long => format!("a whole number from {} to {}", i64::MIN, i64::MAX),
                ValueType::Double => "a number".to_string(),
                ValueType::String => "a text".to_string(),
                ValueType::List => "a list with commas".to_string(),
            },
        }
    }

    /// The value in its usual form (no blanks around it, booleans in lower case), or `None` when the key does not take it.
    pub fn normalize(&self, value: &str) -> Option<String> {
        let value = value.trim();
        let fits_type = match self.value_type {
            ValueType::Boolean => return parse_bool(value).map(|b| b.to_string()),
            ValueType::Int => value.parse::<i32>().is_ok(),
            ValueType::Short => value.parse::<i16>().is_ok(),
            ValueType::Long => value.parse::<i64>().is_ok(),
            ValueType::Double => value.parse::<f64>().is_ok_and(f64::is_finite),
            ValueType::String | ValueType::List => true,
        };
        let fits_check = match self.check {
            Check::Any => true,
            Check::Range(min, max) => value.parse::<i64>().is_ok_and(|v| (min..=max).contains(&v)),
            Check::DoubleRange(min, max) => value.parse::<f64>().is_ok_and(|v| (min..=max).contains(&v)),
            Check::OneOf(options) => options.contains(&value),
            Check::ListOf(options) => list_of(value, options),
            Check::Custom(check, _) => check(value),
        };
        (fits_type && fits_check).then(|| value.to_string())
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn list_of(value: &str, options: &[&str]) -> bool {
    let items: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    let known = items.iter().all(|item| options.contains(item));
    let distinct = items
        .iter()
        .enumerate()
        .all(|(i, item)| !items.iter().take(i).any(|other| other == item));
    known && distinct
}

/// Where a value comes from. Later ones win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file of that path.
    File(String),
    /// The environment variable of that name.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
    /// AlterConfigs for all brokers (resource name `""`).
    DynamicDefaultBroker,
    /// AlterConfigs for this broker.
    DynamicBroker,
}

impl Source {
    /// Kafka's `ConfigSource` number in DescribeConfigs responses.
    pub fn code(&self) -> i8 {
        match self {
            Source::DynamicBroker => 2,
            Source::DynamicDefaultBroker => 3,
            Source::File(_) | Source::Environment(_) | Source::Flag(_) => 4,
            Source::Default => 5,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("the default"),
            Source::File(path) => write!(f, "the file {path}"),
            Source::Environment(name) => write!(f, "the environment variable {name}"),
            Source::Flag(flag) => write!(f, "{flag}"),
            Source::DynamicDefaultBroker => f.write_str("the configs of all brokers"),
            Source::DynamicBroker => f.write_str("the configs of this broker"),
        }
    }
}

/// A configuration that cannot be used. Its text names key, value, what is allowed, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No key of that name.
    UnknownKey {
        /// The name.
        key: String,
        /// Where it came from.
        source: Source,
        /// A key that looks like it.
        similar: Option<&'static str>,
    },
    /// A value that the key does not take.
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it takes.
        expected: String,
        /// Where the value came from.
        source: Source,
    },
    /// Two settings that do not go together.
    Conflict(String),
    /// A source that cannot be read.
    Unreadable {
        /// Which.
        source: Source,
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::UnknownKey { key, source, similar } => {
                write!(f, "unknown key {key} in {source}")?;
                match similar {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => Ok(()),
                }
            }
            ConfigError::BadValue {
                key,
                value,
                expected,
                source,
            } => {
                write!(f, "{key} = {value:?} in {source}: must be {expected}")
            }
            ConfigError::Conflict(text) => f.write_str(text),
            ConfigError::Unreadable { source, reason } => write!(f, "{source}: {reason}"),
        }
    }
}

impl std::error::Error for ConfigError {}
