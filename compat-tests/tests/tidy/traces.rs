//! Traces of machines, and links between the pages.

use std::path::Path;

use crate::files::{Complaints, files, root};

/// Nothing in the repository depends on, or tells of, the machine it was written on.
#[test]
fn no_machine_is_mentioned() {
    let words = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("repo1.mav", "en"),
        concat!("repo.mav", "en"),
        concat!("registry.npm", "js"),
        concat!("proxy.gol", "ang"),
        concat!("deb.deb", "ian"),
        concat!("crates.io-", "index"),
    ];
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.path != "Cargo.lock") {
        for (at, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                complaints.add(format_args!("{}:{}: {word}", file.path, at + 1));
            }
        }
    }
    complaints.none("no paths of a machine, no hosts of registries");
}

/// Links between the pages lead somewhere.
#[test]
fn links_between_pages_lead_somewhere() {
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let dir = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for link in file.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !root().join(dir).join(path).exists() {
                complaints.add(format_args!("{}: {path}", file.path));
            }
        }
    }
    complaints.none("links lead to files");
}
