//! Sizes, headers, leftovers.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrows::complain_about;
use crate::files::{Complaints, files, split_tests};

/// Lines of a Rust file without its test module.
const FILE_LINES_MAX: usize = 600;
/// Lines of a file that is all test: a list of cases is longer than an idea.
const TEST_FILE_LINES_MAX: usize = 800;
/// Beyond this a file is named, no more.
const FILE_LINES_WARN: usize = 500;
const FUNCTION_LINES_MAX: usize = 100;

/// Files that are longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that are longer, and why: `(file, function, reason)`.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn files_are_short() {
    let (mut complaints, mut needed) = (Complaints::default(), BTreeSet::new());
    for file in files().iter().filter(|file| file.is_rust()) {
        let lines = split_tests(&file.text).0.lines().count();
        let most = if file.is_all_test() {
            TEST_FILE_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > most {
            needed.insert(file.path.clone());
            if !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
                complaints.add(format_args!("{}: {lines} lines without its test module", file.path));
            }
        } else if lines > FILE_LINES_WARN && !file.is_all_test() {
            println!("warning: {} has {lines} lines, more than {FILE_LINES_WARN}", file.path);
        }
    }
    complaints.unneeded(LONG_FILES.iter().map(|(path, _)| (*path).to_owned()), &needed);
    complaints.none(&format!(
        "a file has at most {FILE_LINES_MAX} lines, {TEST_FILE_LINES_MAX} if it is all test; cut it where the idea changes"
    ));
}

#[test]
fn functions_fit_on_a_screen() {
    let (mut complaints, mut needed) = (Complaints::default(), BTreeSet::new());
    for file in files().iter().filter(|file| file.is_rust()) {
        for (name, line, length) in functions(&file.text)
            .into_iter()
            .filter(|(.., length)| *length > FUNCTION_LINES_MAX)
        {
            needed.insert(format!("{} {name}", file.path));
            if !LONG_FUNCTIONS
                .iter()
                .any(|(path, function, _)| *path == file.path && *function == name)
            {
                complaints.add(format_args!("{}:{line}: {name} has {length} lines", file.path));
            }
        }
    }
    complaints.unneeded(
        LONG_FUNCTIONS.iter().map(|(path, name, _)| format!("{path} {name}")),
        &needed,
    );
    complaints.none(&format!("a function has at most {FUNCTION_LINES_MAX} lines"));
}

/// Functions with a body: name, first line, number of lines. Relies on rustfmt: a body ends with `}` below its `fn`.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        // The signature ends with the first line that opens a body, or with `;` when there is none.
        let opens = lines[at..]
            .iter()
            .position(|line| line.ends_with(['{', ';']) || line.ends_with('}'));
        let Some(opens) = opens.filter(|opens| lines[at + opens].ends_with('{')) else {
            continue;
        };
        if let Some(length) = lines[at + opens..].iter().position(|line| *line == end) {
            found.push((name.to_owned(), at + 1, opens + length + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let head = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "const",
        "async",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    let word = words.find(|word| !head.contains(word))?;
    let name = if word == "fn" { words.next()? } else { return None };
    Some(name.split(['(', '<']).next().unwrap_or(name))
}

#[test]
fn every_rust_file_opens_with_what_lives_there() {
    let mut complaints = Complaints::default();
    for file in files()
        .iter()
        .filter(|file| file.is_rust() && !file.text.starts_with("//!"))
    {
        complaints.add(&file.path);
    }
    complaints.none("a file opens with //!: what lives here, what never does");
}

/// A file that no `mod` names is not compiled, and rots.
#[test]
fn every_rust_file_is_part_of_its_crate() {
    let files = files();
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut complaints = Complaints::default();
    for file in files.iter().filter(|file| file.is_rust()) {
        let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let stem = name.trim_end_matches(".rs");
        let is_root = matches!(stem, "main" | "lib" | "build")
            || ["/tests", "/examples", "/bin", "/benches"]
                .iter()
                .any(|end| dir.ends_with(end));
        if is_root {
            continue;
        }
        let (module_dir, module) = if stem == "mod" {
            dir.rsplit_once('/').unwrap_or(("", dir))
        } else {
            (dir, stem)
        };
        let parents = [
            format!("{module_dir}/mod.rs"),
            format!("{module_dir}.rs"),
            format!("{module_dir}/lib.rs"),
            format!("{module_dir}/main.rs"),
        ];
        let declared = |text: &str| {
            text.lines()
                .any(|line| line.trim_end().ends_with(&format!("mod {module};")))
        };
        let mut parents = parents.iter().filter_map(|parent| texts.get(parent.as_str()));
        // #[path = "x_tests.rs"], as tests that are too long for their file use it.
        let by_path = format!("#[path = \"{name}\"]");
        let mut in_dir = files.iter().filter(|other| other.path.starts_with(dir));
        // Each file right in `tests/` is a crate of its own.
        let mut test_roots = files.iter().filter(|other| {
            module_dir.ends_with("/tests")
                && other
                    .path
                    .rsplit_once('/')
                    .is_some_and(|(in_dir, _)| in_dir == module_dir)
        });
        if !parents.any(|text| declared(text))
            && !test_roots.any(|other| declared(&other.text))
            && !in_dir.any(|other| other.text.contains(&by_path))
        {
            complaints.add(format_args!("{}: no `mod {module};`", file.path));
        }
    }
    complaints.none("every file is compiled");
}

#[test]
fn nothing_unwraps_in_the_product() {
    complain_about(
        &[
            ".unwrap()",
            ".unwrap_err()",
            "panic!(\"not implemented",
            "unreachable_unchecked",
        ],
        |file| file.is_product(),
    )
    .none("no unwrap outside tests: handle it, or expect(\"why it cannot fail\")");
}

#[test]
fn nothing_is_left_over() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("db", "g!("),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
    ];
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.path != "LICENSE") {
        for (at, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                complaints.add(format_args!("{}:{}: {word}", file.path, at + 1));
            }
        }
    }
    complaints.none("finish it, or leave it out");
}

/// A test that is never run says why.
#[test]
fn ignored_tests_say_why() {
    let mut complaints = Complaints::default();
    let bare = concat!("#[ig", "nore]");
    for file in files().iter().filter(|file| file.is_rust() && file.text.contains(bare)) {
        complaints.add(&file.path);
    }
    complaints.none("#[ignore = \"why\"]");
}

#[test]
fn functions_are_measured_with_their_signature() {
    let long = format!(
        "    pub(crate) async fn f<T>(\n        a: T,\n    ) {{\n{}    }}\n",
        "        g();\n".repeat(120)
    );
    assert_eq!(functions(&long), [("f".to_owned(), 1, 124)]);
    assert!(functions("trait T {\n    fn f();\n}\n").is_empty());
    assert_eq!(function_name("    pub const unsafe fn new(x: u8) -> u8 {"), Some("new"));
    assert_eq!(function_name("    let fn_name = 1;"), None);
}
