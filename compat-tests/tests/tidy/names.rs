//! One name, many rooms: APIs and configuration keys are found under the same name everywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{Complaints, files};

/// APIs whose tests are in the file of another, because the two change the same thing.
const PROVEN_ELSEWHERE: &[(&str, &str)] = &[("incremental_alter_configs", "alter_configs")];

/// One name, many rooms: wire, behaviour and proof of an API share its name.
#[test]
fn every_api_has_its_row_its_handler_and_its_test() {
    let files = files();
    let text = |path: &str| {
        files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    };
    let table = text("protocol/src/api.rs").expect("the table of APIs");
    let rows: BTreeMap<&str, i16> = table
        .lines()
        .filter_map(|line| {
            let (name, key) = line.trim().strip_suffix(',')?.split_once(" = ")?;
            Some((name, key.parse().ok()?))
        })
        .collect();
    assert!(rows.len() > 10, "the table of APIs was not understood: {rows:?}");
    let mut complaints = Complaints::default();
    for (name, key) in &rows {
        let file = snake_case(name);
        match text(&format!("broker/src/api/{file}.rs")) {
            None => complaints.add(format_args!("{name}: no handler broker/src/api/{file}.rs")),
            Some(handler) => {
                let header: String = handler.lines().take_while(|line| line.starts_with("//!")).collect();
                if !header.contains(&format!("({key})")) || !header.contains("ersion") {
                    complaints.add(format_args!(
                        "broker/src/api/{file}.rs: its header does not say \"{name} ({key}), versions …\""
                    ));
                }
            }
        }
        let test = PROVEN_ELSEWHERE
            .iter()
            .find(|(api, _)| *api == file)
            .map_or(file.as_str(), |(_, test)| test);
        let test = format!("compat-tests/tests/contract/{test}.rs");
        if text(&test).is_none_or(|test| !test.contains("#[test]")) {
            complaints.add(format_args!("{name}: no tests in {test}"));
        }
    }
    for file in files
        .iter()
        .filter_map(|file| file.path.strip_prefix("broker/src/api/"))
    {
        let known = rows.keys().any(|name| file == format!("{}.rs", snake_case(name)));
        let header = text(&format!("broker/src/api/{file}"))
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        if !known && file.ends_with(".rs") && header.contains("), version") {
            complaints.add(format_args!(
                "broker/src/api/{file}: speaks an API that has no row in protocol/src/api.rs"
            ));
        }
    }
    complaints.none("an API is one change: row, handler, test");
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// What users are told about versions is what clients are told.
#[test]
fn the_readme_has_the_table_of_apis() {
    let files = files();
    let text = |path: &str| {
        files
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| file.text.as_str())
    };
    let rows: Vec<[&str; 3]> = text("protocol/src/api.rs")
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once("row(ApiKey::")?;
            let (name, rest) = rest.split_once(", ")?;
            let (min, max) = rest.split_once('(')?.1.split_once(')')?.0.split_once(", ")?;
            Some([name, min, max])
        })
        .collect();
    assert!(rows.len() > 10, "the table of APIs was not understood");
    let mut complaints = Complaints::default();
    for [name, min, max] in rows {
        // Produce is advertised from 0 and served from 3.
        let min = if name == "Produce" { "3" } else { min };
        let versions = if min == max {
            min.to_owned()
        } else {
            format!("{min}–{max}")
        };
        let line = format!("| {name} | {versions} |");
        if !text("README.md").contains(&line) {
            complaints.add(format_args!("README.md has no line {line}"));
        }
    }
    complaints.none("README.md lists every API with its versions");
}

/// Every key that the broker knows is explained in `config/`, and every key there exists.
#[test]
fn every_config_key_is_in_the_commented_file() {
    let files = files();
    let text = |path: &str| {
        files
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| file.text.as_str())
    };
    let keys: BTreeSet<&str> = text("broker/src/config/broker.rs")
        .lines()
        .filter_map(|line| {
            let (key, kind) = line.trim().strip_prefix('"')?.split_once("\" ")?;
            let kind = kind.split(' ').next()?;
            ["Int", "Long", "String", "Boolean", "List", "Double", "Short"]
                .contains(&kind)
                .then_some(key)
        })
        .collect();
    assert!(keys.len() > 20, "the table of keys was not understood: {keys:?}");
    let commented = text("config/streamhouse.toml");
    let mut complaints = Complaints::default();
    for key in &keys {
        let explained = commented.lines().any(|line| {
            line.trim_start_matches(['#', ' ', '"'])
                .starts_with(&format!("{key} ="))
                || line.trim_start_matches(['#', ' ']).starts_with(&format!("\"{key}\" ="))
        });
        if !explained {
            complaints.add(format_args!("{key} is not in config/streamhouse.toml"));
        }
    }
    for line in text("config/container.toml")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        if let Some((key, _)) = line.split_once(" = ")
            && !keys.contains(key)
        {
            complaints.add(format_args!("config/container.toml: {key} is no key"));
        }
    }
    complaints.none("config/streamhouse.toml has every key (`streamhouse config` prints it)");
}

#[test]
fn names_become_file_names() {
    assert_eq!(snake_case("OffsetForLeaderEpoch"), "offset_for_leader_epoch");
}
