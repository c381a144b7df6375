//! Gathers settings from a TOML file, the environment and flags, in that order of strength, each with its source.
//!
//! Keys may be written flat (`num.partitions = 3`), quoted (`"num.partitions" = 3`) or as tables (`[num]` `partitions = 3`):
//! all name the same key. What never lives here: which keys exist.

use super::{ConfigError, KeySpec, Source};
use std::collections::BTreeMap;

/// Prefix of environment variables: `STREAMHOUSE_NUM_PARTITIONS` is `num.partitions`.
const ENVIRONMENT_PREFIX: &str = "STREAMHOUSE_";

/// Variables that Kubernetes sets for a service that is called `streamhouse`, and those that `serve` itself reads.
const FOREIGN_VARIABLES: [&str; 4] = [
    "STREAMHOUSE_SERVICE_",
    "STREAMHOUSE_PORT",
    "STREAMHOUSE_CONFIG",
    "STREAMHOUSE_LOG_FILTER",
];

/// Checked settings by key; the strongest value of a key first.
pub type Settings = BTreeMap<&'static str, Vec<(String, Source)>>;

/// Settings by key; the strongest value of a key first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    set: BTreeMap<String, Vec<(String, Source)>>,
}

impl Sources {
    /// Adds one setting, stronger than all that were added before.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>, source: Source) {
        self.set
            .entry(key.into())
            .or_default()
            .insert(0, (value.into(), source));
    }

    /// Adds what a TOML text sets.
    pub fn push_toml(&mut self, text: &str, path: &str) -> Result<(), ConfigError> {
        let source = Source::File(path.to_owned());
        for (key, value) in flatten_toml(text).map_err(|reason| ConfigError::Unreadable {
            source: source.clone(),
            reason,
        })? {
            self.push(key, value, source.clone());
        }
        Ok(())
    }

    /// Adds what the environment sets. Variables that name no key are refused like unknown keys.
    pub fn push_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
        keys: &[KeySpec],
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            if !variable.starts_with(ENVIRONMENT_PREFIX) || FOREIGN_VARIABLES.iter().any(|f| variable.starts_with(f)) {
                continue;
            }
            let source = Source::Environment(variable.clone());
            match keys.iter().find(|key| environment_name(key.name) == variable) {
                Some(key) => self.push(key.name, value, source),
                None => {
                    let key = variable
                        .trim_start_matches(ENVIRONMENT_PREFIX)
                        .to_ascii_lowercase()
                        .replace('_', ".");
                    return Err(ConfigError::UnknownKey {
                        similar: similar_key(&key, keys),
                        key,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Adds one `key=value` of the command line.
    pub fn push_assignment(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let source = Source::Flag("--set".to_owned());
        match assignment.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                self.push(key.trim(), value, source);
                Ok(())
            }
            _ => Err(ConfigError::Unreadable {
                source,
                reason: format!("{assignment:?} is not key=value"),
            }),
        }
    }

    /// The settings, checked against `keys` and in their usual form.
    pub fn checked(self, keys: &'static [KeySpec]) -> Result<Settings, ConfigError> {
        let mut checked = BTreeMap::new();
        for (key, values) in self.set {
            let Some(spec) = keys.iter().find(|spec| spec.name == key) else {
                let source = values.into_iter().next().map_or(Source::Default, |(_, source)| source);
                return Err(ConfigError::UnknownKey {
                    similar: similar_key(&key, keys),
                    key,
                    source,
                });
            };
            let mut normal = Vec::with_capacity(values.len());
            for (value, source) in values {
                match spec.normalize(&value) {
                    Some(value) => normal.push((value, source)),
                    None => {
                        return Err(ConfigError::BadValue {
                            key,
                            value,
                            expected: spec.expected(),
                            source,
                        });
                    }
                }
            }
            checked.insert(spec.name, normal);
        }
        Ok(checked)
    }
}

/// The environment variable of a key.
pub fn environment_name(key: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        key.to_ascii_uppercase().replace(['.', '-'], "_")
    )
}

/// Reads TOML into flat keys and values as text. Arrays become lists with commas.
pub fn flatten_toml(text: &str) -> Result<Vec<(String, String)>, String> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let mut flat = Vec::new();
    flatten_table("", &table, &mut flat)?;
    Ok(flat)
}

fn flatten_table(prefix: &str, table: &toml::Table, flat: &mut Vec<(String, String)>) -> Result<(), String> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => flatten_table(&key, inner, flat)?,
            toml::Value::Array(items) => {
                let items: Result<Vec<String>, String> = items.iter().map(|item| scalar(&key, item)).collect();
                flat.push((key, items?.join(",")));
            }
            other => flat.push((key.clone(), scalar(&key, other)?)),
        }
    }
    Ok(())
}

fn scalar(key: &str, value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        _ => Err(format!("{key}: dates, and tables within lists, are no values")),
    }
}

/// The key that differs least from a mistyped one, if it differs little.
fn similar_key(key: &str, keys: &[KeySpec]) -> Option<&'static str> {
    let nearest = keys
        .iter()
        .map(|spec| (edit_distance(key, spec.name), spec.name))
        .min()?;
    (nearest.0 <= 3.max(key.len() / 4)).then_some(nearest.1)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let substitute = diagonal + usize::from(from != *to);
            diagonal = *cell;
            *cell = substitute.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker_keys;

    #[test]
    fn toml_keys_may_be_flat_quoted_or_nested() {
        for text in [
            "num.partitions = 3",
            "\"num.partitions\" = 3",
            "[num]\npartitions = 3",
            "num = { partitions = 3 }",
        ] {
            assert_eq!(
                flatten_toml(text),
                Ok(vec![("num.partitions".to_owned(), "3".to_owned())]),
                "{text}"
            );
        }
        let listeners = flatten_toml("listeners = [\"PLAINTEXT://a:1\", \"EXTERNAL://b:2\"]");
        assert_eq!(
            listeners,
            Ok(vec![(
                "listeners".to_owned(),
                "PLAINTEXT://a:1,EXTERNAL://b:2".to_owned()
            )])
        );
        assert!(flatten_toml("num.partitions = 2026-01-01").is_err());
        assert!(flatten_toml("num.partitions =").is_err());
    }

    #[test]
    fn later_sources_are_stronger_and_all_are_remembered() {
        let mut sources = Sources::default();
        sources.push_toml("num.partitions = 2", "a.toml").expect("is TOML");
        let variables = [
            ("STREAMHOUSE_NUM_PARTITIONS", "3"),
            ("PATH", "/bin"),
            ("STREAMHOUSE_SERVICE_HOST", "10.0.0.1"),
        ];
        let variables = variables
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        sources.push_environment(variables, broker_keys()).expect("known keys");
        sources.push_assignment("num.partitions=4").expect("an assignment");
        let checked = sources.checked(broker_keys()).expect("good values");
        let values: Vec<&str> = checked["num.partitions"]
            .iter()
            .map(|(value, _)| value.as_str())
            .collect();
        assert_eq!(values, ["4", "3", "2"]);
        assert_eq!(
            checked["num.partitions"][1].1,
            Source::Environment("STREAMHOUSE_NUM_PARTITIONS".to_owned())
        );
    }

    #[test]
    fn every_key_has_an_environment_variable_of_its_own() {
        let names: std::collections::BTreeSet<String> =
            broker_keys().iter().map(|key| environment_name(key.name)).collect();
        assert_eq!(names.len(), broker_keys().len());
        assert!(
            names
                .iter()
                .all(|name| !FOREIGN_VARIABLES.iter().any(|foreign| name.starts_with(foreign)))
        );
    }

    #[test]
    fn mistakes_are_named_with_their_source() {
        let error = |sources: Sources| sources.checked(broker_keys()).expect_err("a mistake").to_string();
        let mut typo = Sources::default();
        typo.push_toml("num.partition = 2", "a.toml").expect("is TOML");
        assert_eq!(
            error(typo),
            "unknown key num.partition in the file a.toml; did you mean num.partitions?"
        );
        let mut range = Sources::default();
        range.push_assignment("num.partitions=0").expect("an assignment");
        assert_eq!(
            error(range),
            "num.partitions = \"0\" in --set: must be a whole number from 1 to 100000"
        );
        let mut weaker = Sources::default();
        weaker.push_toml("durability = \"never\"", "a.toml").expect("is TOML");
        weaker.push_assignment("durability=fsync").expect("an assignment");
        assert_eq!(
            error(weaker),
            "durability = \"never\" in the file a.toml: must be one of fsync, page-cache"
        );
        let variable = [("STREAMHOUSE_NUM_PARTITON".to_owned(), "1".to_owned())];
        let unknown = Sources::default()
            .push_environment(variable.into_iter(), broker_keys())
            .expect_err("unknown");
        assert_eq!(
            unknown.to_string(),
            "unknown key num.partiton in the environment variable STREAMHOUSE_NUM_PARTITON; did you mean num.partitions?"
        );
        let nothing = Sources::default()
            .push_assignment("num.partitions")
            .expect_err("no value");
        assert_eq!(nothing.to_string(), "--set: \"num.partitions\" is not key=value");
    }

    #[test]
    fn edit_distance_counts_changed_letters() {
        assert_eq!(edit_distance("", ""), 0);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("num.partition", "num.partitions"), 1);
    }
}
