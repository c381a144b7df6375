//! Names of a simulated disk: what is seen, what is durable, and the changes to directories that were not synced.

use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The file with that number.
    File(usize),
    Directory,
}

/// A change to a directory: names that stand for something else afterwards, all or none.
#[derive(Clone, Debug)]
pub struct NameChange {
    /// The directory whose sync makes it durable.
    pub directory: PathBuf,
    pub names: Vec<(PathBuf, Option<Entry>)>,
}

impl NameChange {
    pub fn new(directory: &Path, names: Vec<(PathBuf, Option<Entry>)>) -> NameChange {
        NameChange {
            directory: directory.to_owned(),
            names,
        }
    }
}

#[derive(Clone, Default, Debug)]
pub struct Names {
    pub current: BTreeMap<PathBuf, Entry>,
    pub durable: BTreeMap<PathBuf, Entry>,
    unsynced: Vec<NameChange>,
}

impl Names {
    pub fn is_directory(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.current.get(path) == Some(&Entry::Directory)
    }

    pub fn change(&mut self, change: NameChange) {
        apply(&mut self.current, &change);
        self.unsynced.push(change);
    }

    pub fn sync(&mut self, directory: &Path) {
        let mut left: Vec<NameChange> = Vec::new();
        for change in std::mem::take(&mut self.unsynced) {
            if change.directory != directory {
                left.push(change);
                continue;
            }
            apply(&mut self.durable, &change);
            // What other directories' older changes said of these names is over.
            for older in &mut left {
                older
                    .names
                    .retain(|(path, _)| !change.names.iter().any(|(newer, _)| newer == path));
            }
        }
        self.unsynced = left;
    }

    /// What is durable and a random part of what is not.
    pub fn after_power_loss(&self, in_flight: &[NameChange], random: &mut StdRng) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.durable.clone();
        let kept = [0.0, 1.0, 0.5][random.random_range(0..3usize)];
        for change in self.unsynced.iter().chain(in_flight) {
            if random.random_bool(kept) {
                apply(&mut names, change);
            }
        }
        // A file cannot be where no directory is.
        let with_parents = names.clone();
        names.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .filter(|parent| !parent.as_os_str().is_empty())
                .all(|parent| with_parents.get(parent) == Some(&Entry::Directory))
        });
        names
    }

    /// After a reboot.
    pub fn rebooted(names: BTreeMap<PathBuf, Entry>) -> Names {
        Names {
            current: names.clone(),
            durable: names,
            unsynced: Vec::new(),
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: &NameChange) {
    for (path, entry) in &change.names {
        match entry {
            Some(entry) => names.insert(path.clone(), *entry),
            None => names.remove(path),
        };
    }
}
