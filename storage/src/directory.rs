//! The data directory as a whole: who may use it, and which release wrote it.
//!
//! What lives here: the files `lock` and `format` at its top. What never does: anything that the engine keeps in it.

use crate::error::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The format that this release writes and the newest that it reads. One number for all files of the directory.
pub(crate) const FORMAT_VERSION: u32 = 1;

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";
const FORMAT_FILE_NEW: &str = "format.new";
/// Put into every new file system by mkfs; a data directory may be a mount point.
const LOST_AND_FOUND: &str = "lost+found";

/// A data directory that this process alone uses until the value is dropped.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    /// Holds the lock; the kernel gives it back when the process ends, however it ends.
    _lock: File,
}

impl DataDirectory {
    /// Takes the directory, creating it (mode 0700) if absent. `Locked` when another process has it, `NewerFormat` when a
    /// newer release wrote it: then nothing was touched. `AlreadyExists` when other files are in it.
    pub(crate) fn open(path: &Path) -> Result<DataDirectory> {
        create(path)?;
        // Looked at before the lock file is made: a directory that is not ours stays as it is.
        check(path)?;
        let lock = lock(path)?;
        // Looked at again: until here another process may have made it its own, or upgraded it.
        if check(path)? == Contents::Fresh {
            write_format(path)?;
        }
        Ok(DataDirectory { _lock: lock })
    }
}

/// What is in a directory that may be used.
#[derive(Debug, PartialEq, Eq)]
enum Contents {
    /// Nothing of value: it can become a data directory.
    Fresh,
    /// A data directory of a format that this release reads.
    Ours,
}

fn create(path: &Path) -> Result<()> {
    let failed = |e| Error::io(format!("creating the data directory {}", path.display()), e);
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    for parent in path.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        // Parents that may not be listed were not made by us.
        match sync(parent) {
            Err(e) if e.kind() != io::ErrorKind::PermissionDenied => return Err(failed(e)),
            _ => {}
        }
    }
    Ok(())
}

fn check(path: &Path) -> Result<Contents> {
    let format = path.join(FORMAT_FILE);
    let text = match fs::read(&format) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return check_fresh(path),
        Err(e) => return Err(Error::io(format!("reading {}", format.display()), e)),
    };
    let version = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim_end().parse::<u32>().ok());
    match version {
        Some(1..=FORMAT_VERSION) => Ok(Contents::Ours),
        Some(newer) if newer > FORMAT_VERSION => Err(Error::new(
            ErrorKind::NewerFormat,
            format!(
                "the data directory {} has format {newer}; this release reads up to {FORMAT_VERSION}. \
                 Nothing was touched: start the release that wrote it, or a newer one",
                path.display()
            ),
        )),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} does not hold a format number; nothing was touched",
                format.display()
            ),
        )),
    }
}

/// A directory without a format number must be empty, but for what a start that was cut short leaves.
fn check_fresh(path: &Path) -> Result<Contents> {
    let failed = |e| Error::io(format!("listing the data directory {}", path.display()), e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if ![LOCK_FILE, FORMAT_FILE_NEW, LOST_AND_FOUND]
            .iter()
            .any(|ours| name == *ours)
        {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "{} is not a data directory: it holds {} and has no file {FORMAT_FILE}. \
                     Nothing was touched: name an empty or a new directory",
                    path.display(),
                    name.display()
                ),
            ));
        }
    }
    Ok(Contents::Fresh)
}

fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK_FILE);
    let failed = |e| Error::io(format!("locking {}", name.display()), e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only for the message.
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(pid) => format!("process {pid}"),
                Err(_) => "another process".to_owned(),
            };
            return Err(Error::new(
                ErrorKind::Locked,
                format!(
                    "the data directory {} is in use by {holder}: stop it, or start this one with another directory",
                    path.display()
                ),
            ));
        }
        Err(e) => return Err(failed(e.into())),
    }
    // Whose it is, for the message above. Only the lock itself counts, so nothing depends on this being there.
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    match written {
        // A full disk must not keep a broker from starting: it serves reads, and retention makes room.
        Err(e) if e.kind() != io::ErrorKind::StorageFull => Err(failed(e)),
        _ => Ok(file),
    }
}

/// Complete or absent, whenever the power goes.
fn write_format(path: &Path) -> Result<()> {
    let new = path.join(FORMAT_FILE_NEW);
    let format = path.join(FORMAT_FILE);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(format!("{FORMAT_VERSION}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &format)?;
        sync(path)
    };
    write().map_err(|e| Error::io(format!("writing {}", format.display()), e))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    /// Names and contents of all files in a directory.
    fn snapshot(path: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(path)
            .expect("the directory is there")
            .map(|entry| {
                let entry = entry.expect("it can be listed");
                (entry.file_name(), fs::read(entry.path()).unwrap_or_default())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_new_directory_is_made_with_its_parents() {
        let root = tempdir().expect("a temporary directory");
        let path = root.path().join("a/b/data");
        let directory = DataDirectory::open(&path).expect("it can be made");
        assert_eq!(fs::read_to_string(path.join("format")).expect("it is written"), "1\n");
        drop(directory);
        DataDirectory::open(&path).expect("it can be opened again");
    }

    #[test]
    fn a_second_holder_is_told_who_has_it_and_what_to_do() {
        let root = tempdir().expect("a temporary directory");
        let first = DataDirectory::open(root.path()).expect("it can be opened");
        let error = DataDirectory::open(root.path()).expect_err("it is locked");
        assert_eq!(error.kind, ErrorKind::Locked);
        let text = error.to_string();
        assert!(text.contains(&root.path().display().to_string()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(
            text.contains("stop it, or start this one with another directory"),
            "{text}"
        );
        drop(first);
        DataDirectory::open(root.path()).expect("the lock is given back");
    }

    #[test]
    fn a_newer_format_is_refused_and_nothing_is_touched() {
        let root = tempdir().expect("a temporary directory");
        fs::write(root.path().join("format"), "2\n").expect("it can be written");
        fs::write(root.path().join("segments"), "unknown").expect("it can be written");
        let before = snapshot(root.path());
        let error = DataDirectory::open(root.path()).expect_err("it is newer");
        assert_eq!(error.kind, ErrorKind::NewerFormat);
        assert!(
            error.to_string().contains("format 2; this release reads up to 1"),
            "{error}"
        );
        assert_eq!(snapshot(root.path()), before);
    }

    #[test]
    fn a_format_that_is_no_number_is_refused_and_nothing_is_touched() {
        for text in ["", "0\n", "-1", "one", "99999999999", "1 2", "\u{fffd}"] {
            let root = tempdir().expect("a temporary directory");
            fs::write(root.path().join("format"), text).expect("it can be written");
            let before = snapshot(root.path());
            let error = DataDirectory::open(root.path()).expect_err("it is no number");
            assert_eq!(error.kind, ErrorKind::Corrupt, "{text:?}");
            assert_eq!(snapshot(root.path()), before);
        }
    }

    #[test]
    fn a_directory_of_someone_else_is_refused_and_nothing_is_touched() {
        let root = tempdir().expect("a temporary directory");
        fs::write(root.path().join("thesis.tex"), "years").expect("it can be written");
        let before = snapshot(root.path());
        let error = DataDirectory::open(root.path()).expect_err("it is foreign");
        assert_eq!(error.kind, ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert_eq!(snapshot(root.path()), before);
    }

    #[test]
    fn what_a_start_that_was_cut_short_leaves_is_no_hindrance() {
        let root = tempdir().expect("a temporary directory");
        fs::write(root.path().join("lock"), "").expect("it can be written");
        fs::write(root.path().join("format.new"), "").expect("it can be written");
        fs::create_dir(root.path().join("lost+found")).expect("it can be made");
        drop(DataDirectory::open(root.path()).expect("it can be opened"));
        assert_eq!(
            fs::read_to_string(root.path().join("format")).expect("it is written"),
            "1\n"
        );
        assert!(!root.path().join("format.new").exists());
    }

    #[test]
    fn a_file_in_its_place_is_an_error() {
        let root = tempdir().expect("a temporary directory");
        let path = root.path().join("data");
        fs::write(&path, "").expect("it can be written");
        let error = DataDirectory::open(&path).expect_err("it is a file");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
