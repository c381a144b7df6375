//! The state of a simulated disk: its files and names, the operations so far, and what goes wrong next.

use super::sim_content::{Change, FileContent, PAGE_BYTES, Reserved};
use super::sim_names::{Entry, NameChange, Names};
use parking_lot::{Condvar, Mutex};
use rand::rngs::StdRng;
use std::io;
use std::path::{Path, PathBuf};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    Create,
    Write,
    Allocate,
    Zero,
    SetLen,
    Sync,
    SyncDir,
    CreateDir,
    Remove,
    RemoveDir,
    Rename,
}

/// One operation that was done or tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub kind: OpKind,
    /// The file or directory; for a rename the old name.
    pub path: PathBuf,
    /// Bytes concerned, for changes to content.
    pub range: std::ops::Range<u64>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimError {
    /// The device failed.
    Eio,
    /// The disk is full.
    Enospc,
}

impl SimError {
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            SimError::Eio => libc::EIO,
            SimError::Enospc => libc::ENOSPC,
        })
    }
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Something happened that a held sync or a waiting test waits for.
    pub(super) changed: Condvar,
}

pub(super) struct State {
    pub(super) files: Vec<SimInode>,
    pub(super) names: Names,
    pub(super) operations: Vec<Operation>,
    pub(super) crash_at: Option<u64>,
    pub(super) off: bool,
    pub(super) in_flight: InFlight,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) hold_syncs: bool,
    pub(super) held_syncs: usize,
    /// Files opened and directories listed.
    pub(super) lookups: u64,
    pub(super) random: StdRng,
}

#[derive(Clone, Default)]
pub(super) struct SimInode {
    pub(super) content: FileContent,
    pub(super) reserved: Reserved,
    /// Names that stand for it: none after a removal, then it takes no space.
    pub(super) removed: bool,
    pub(super) sync_broken: bool,
}

/// The operation that the crash cut short.
#[derive(Clone, Default)]
pub(super) enum InFlight {
    #[default]
    Nothing,
    Content(usize, Change),
    Names(Vec<NameChange>),
}

pub(super) struct Fault {
    pub(super) kind: OpKind,
    pub(super) matching: Box<dyn Fn(&Path) -> bool + Send>,
    pub(super) error: SimError,
    /// Of a sync: all later ones of the file fail too.
    pub(super) sticky: bool,
}

/// How an operation goes on.
pub(super) enum Fate {
    Go,
    /// The machine goes off in the middle of it.
    Crash,
    Fail {
        error: SimError,
        sticky: bool,
    },
}

impl State {
    pub(super) fn check_on(&self) -> io::Result<()> {
        if self.off { Err(SimError::Eio.error()) } else { Ok(()) }
    }

    /// Gives the operation its number and says how it ends.
    pub(super) fn begin(&mut self, op: Operation) -> io::Result<Fate> {
        self.check_on()?;
        let number = self.operations.len() as u64;
        let fault = self
            .faults
            .iter()
            .position(|fault| fault.kind == op.kind && (fault.matching)(&op.path));
        self.operations.push(op);
        if self.crash_at.is_some_and(|crash_at| number >= crash_at) {
            self.off = true;
            return Ok(Fate::Crash);
        }
        Ok(match fault.map(|at| self.faults.remove(at)) {
            Some(fault) => Fate::Fail {
                error: fault.error,
                sticky: fault.sticky,
            },
            None => Fate::Go,
        })
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.files
            .iter()
            .filter(|file| !file.removed)
            .map(|file| file.reserved.bytes())
            .sum()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        // Without a size: a large disk.
        self.capacity_bytes.unwrap_or(1 << 50).saturating_sub(self.used_bytes())
    }

    /// Whether there is space for all of `from..to` of a file.
    pub(super) fn fits(&self, number: usize, from: u64, to: u64) -> bool {
        let file = &self.files[number];
        self.capacity_bytes.is_none() || file.removed || file.reserved.missing(from, to) <= self.free_bytes()
    }

    /// Gives a file space for `from..to`, as far as there is some; returns where it ends.
    pub(super) fn reserve(&mut self, number: usize, from: u64, to: u64) -> u64 {
        let mut end = to;
        if !self.fits(number, from, to) {
            let (free, file) = (self.free_bytes(), &self.files[number]);
            end = from;
            let mut next = (from - from % PAGE_BYTES + PAGE_BYTES).min(to);
            while file.reserved.missing(from, next) <= free {
                end = next;
                next = (next + PAGE_BYTES).min(to);
            }
        }
        self.files[number].reserved.add(from, end);
        end
    }

    pub(super) fn existing(&mut self, path: &Path) -> &mut SimInode {
        match self.names.current.get(path) {
            Some(Entry::File(number)) => &mut self.files[*number],
            _ => panic!("there is no file {}", path.display()),
        }
    }
}
