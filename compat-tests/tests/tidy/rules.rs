//! Every numbered rule of `docs/` is named by a test: `// contract 39`, `// engine 7`.

use std::collections::BTreeSet;

use crate::files::{Complaints, files};

#[test]
fn every_contract_rule_has_a_test() {
    every_rule_is_named("docs/contract.md", "contract");
}

#[test]
fn every_engine_rule_has_a_test() {
    every_rule_is_named("docs/engine.md", "engine");
}

/// Each rule `N.` of the page is named `word N` in a test, unless it says that it comes later.
fn every_rule_is_named(page: &str, word: &str) {
    let files = files();
    let page_text = &files
        .iter()
        .find(|file| file.path == page)
        .unwrap_or_else(|| panic!("{page} is missing"))
        .text;
    let rules: Vec<(u32, &str)> = page_text
        .lines()
        .filter_map(|line| {
            let (number, text) = line.split_once(". ")?;
            Some((number.parse().ok()?, text))
        })
        .collect();
    assert!(rules.len() > 15, "{page} was not understood");
    let mut named = BTreeSet::new();
    for file in files
        .iter()
        .filter(|file| file.is_rust() && !file.path.contains("/tests/tidy/"))
    {
        for line in file.test_text().lines() {
            // A heading that gives a range says where to look; it proves nothing by itself.
            let heads = line.trim_start().starts_with("//!") && line.contains('–');
            if !heads {
                named.extend(numbers_after(line, word));
            }
        }
    }
    let mut complaints = Complaints::default();
    for (number, text) in &rules {
        // "later, the address": a part of the rule is there and tested, another is not.
        let later = text.contains("*(later:");
        match (named.contains(number), later) {
            (false, false) => complaints.add(format_args!("no test names `{word} {number}`: {text}")),
            (true, true) => complaints.add(format_args!(
                "{page} says that rule {number} comes later, but a test names it"
            )),
            _ => {}
        }
    }
    for number in named
        .iter()
        .filter(|number| !rules.iter().any(|(rule, _)| rule == *number))
    {
        complaints.add(format_args!(
            "a test names `{word} {number}`, which {page} does not have"
        ));
    }
    complaints.none(&format!("every rule of {page} has a test"));
}

/// Numbers in "contract 26, 38–43 and 21".
fn numbers_after(line: &str, word: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    let lower = line.to_lowercase();
    for (at, _) in lower.match_indices(word) {
        let rest = lower[at + word.len()..].trim_start_matches('s');
        let Some(mut rest) = rest.strip_prefix(' ') else {
            continue;
        };
        let mut from: Option<u32> = None;
        loop {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Ok(number) = rest[..digits].parse::<u32>() else {
                break;
            };
            rest = &rest[digits..];
            if let Some(after) = rest.strip_prefix('–').or_else(|| rest.strip_prefix('-')) {
                (from, rest) = (Some(from.unwrap_or(number)), after);
                continue;
            }
            numbers.extend(from.take().unwrap_or(number)..=number);
            let next = [", and ", ", ", " and "]
                .iter()
                .find_map(|joint| rest.strip_prefix(joint));
            match next {
                Some(after) => rest = after,
                None => break,
            }
        }
    }
    numbers
}

#[test]
fn numbers_are_read_as_people_write_them() {
    assert_eq!(
        numbers_after("// contract 26, 38–40 and 21", "contract"),
        [26, 38, 39, 40, 21]
    );
    assert_eq!(numbers_after("/// Contract 3: and 4", "contract"), [3]);
    assert_eq!(numbers_after("// engine 1, 12; contract 7", "engine"), [1, 12]);
    assert_eq!(numbers_after("the contract is 5", "contract"), Vec::<u32>::new());
}
