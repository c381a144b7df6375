//! The files of the repository, what of them ships and what is test, and the complaints about them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file that is text.
pub(crate) struct SourceFile {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Part of what ships: not a test, an example or a benchmark.
    pub(crate) fn is_product(&self) -> bool {
        let in_src = ["protocol/src/", "storage/src/", "broker/src/"]
            .iter()
            .any(|dir| self.path.starts_with(dir));
        self.is_rust() && in_src && !self.is_all_test()
    }

    /// A file that is compiled for tests only.
    pub(crate) fn is_all_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let test_name = name == "tests.rs" || name.ends_with("_tests.rs") || name.ends_with("_test.rs");
        test_name || self.path.contains("/tests/") || self.path.starts_with("compat-tests/")
    }

    /// Lines that ship, with their numbers: without comments, and without what follows `#[cfg(test)]`.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let (product, _) = split_tests(&self.text);
        let lines = product.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at, without_comment(line)))
    }

    /// The part of the text that is tests.
    pub(crate) fn test_text(&self) -> &str {
        if self.is_all_test() {
            &self.text
        } else {
            split_tests(&self.text).1
        }
    }
}

/// Cuts before a module of tests: `#[cfg(test)]` with `mod NAME {` after it. By convention it is the end of its file.
pub(crate) fn split_tests(text: &str) -> (&str, &str) {
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(test)]") {
        let start = from + at;
        let rest = text[start..].trim_start_matches("#[cfg(test)]").trim_start();
        let item = rest
            .lines()
            .find(|line| !line.trim_start().starts_with("#["))
            .unwrap_or_default();
        if item.contains("mod ") && item.trim_end().ends_with('{') {
            return text.split_at(start);
        }
        from = start + 1;
    }
    (text, "")
}

fn without_comment(line: &str) -> &str {
    match line.find(" // ") {
        Some(at) => &line[..at],
        None => line,
    }
}

pub(crate) fn root() -> PathBuf {
    streamhouse_compat_tests::crate_dir()
        .parent()
        .expect("compat-tests lies in the repository")
        .to_path_buf()
}

/// All files of the repository, tracked or about to be. Without git: all that lie there but build output and data.
pub(crate) fn files() -> Vec<SourceFile> {
    let root = root();
    let listed = Command::new("git")
        .args([
            "-C",
            &root.to_string_lossy(),
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output();
    let mut paths: Vec<String> = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
        _ => {
            let mut found = Vec::new();
            walk(&root, &root, &mut found);
            found
        }
    };
    paths.sort();
    paths.dedup();
    let read = |path: String| {
        // A file that is listed and deleted is on its way out; one that is not text is not ours to judge.
        let text = fs::read(root.join(&path))
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())?;
        Some(SourceFile { path, text })
    };
    let files: Vec<SourceFile> = paths.into_iter().filter_map(read).collect();
    assert!(
        files.iter().any(|file| file.path == "broker/src/main.rs"),
        "the sources were not found below {}",
        root.display()
    );
    files
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory of the repository").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if !["target", "data", ".git"].iter().any(|skipped| name == *skipped) {
                walk(root, &path, found);
            }
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
}

/// Gathers what is wrong, so that one run shows it all.
#[derive(Default)]
pub(crate) struct Complaints(String);

impl Complaints {
    pub(crate) fn add(&mut self, complaint: impl std::fmt::Display) {
        let _ = writeln!(self.0, "  {complaint}");
    }

    /// Exceptions that nothing needs any more.
    pub(crate) fn unneeded(&mut self, exceptions: impl Iterator<Item = String>, needed: &BTreeSet<String>) {
        for exception in exceptions.filter(|exception| !needed.contains(exception)) {
            self.add(format_args!("{exception}: the exception is not needed any more"));
        }
    }

    pub(crate) fn none(self, rule: &str) {
        assert!(self.0.is_empty(), "{rule}:\n{}", self.0);
    }
}

#[test]
fn tests_are_told_from_the_product() {
    let text =
        "a.unwrap(); // b\n// c.unwrap()\n#[cfg(test)]\nuse x;\n#[cfg(test)]\nmod tests {\n e.unwrap() }".to_owned();
    let file = SourceFile {
        path: "broker/src/x.rs".to_owned(),
        text,
    };
    let lines: Vec<_> = file.product_lines().collect();
    assert_eq!(lines, [(1, "a.unwrap();"), (3, "#[cfg(test)]"), (4, "use x;")]);
    assert!(file.is_product() && file.test_text().contains("e.unwrap()"));
    let file = SourceFile {
        path: "broker/src/x_tests.rs".to_owned(),
        text: String::new(),
    };
    assert!(file.is_all_test() && !file.is_product());
}
