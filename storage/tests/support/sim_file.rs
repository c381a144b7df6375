//! An open file of a simulated disk.

use super::sim_content::Change;
use super::sim_disk::SimDisk;
use super::sim_state::{Fate, InFlight, OpKind, Operation, SimError};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use streamhouse_storage::disk::{BLOCK_BYTES, DiskFile, OpenMode};

/// An open file.
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) number: usize,
    /// Its name when it was opened.
    pub(super) path: PathBuf,
    pub(super) mode: OpenMode,
}

impl SimFile {
    fn operation(&self, kind: OpKind, from: u64, to: u64) -> Operation {
        Operation {
            kind,
            path: self.path.clone(),
            range: from..to,
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.mode {
            OpenMode::Read => Err(io::Error::from_raw_os_error(libc::EBADF)),
            _ => Ok(()),
        }
    }

    /// A change of `from..to` that takes space there when `reserves`.
    fn change(&self, kind: OpKind, from: u64, to: u64, reserves: bool, change: Change) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.state();
        match state.begin(self.operation(kind, from, to))? {
            Fate::Go if reserves && !state.fits(self.number, from, to) => Err(SimError::Enospc.error()),
            Fate::Go => {
                if reserves {
                    state.files[self.number].reserved.add(from, to);
                }
                state.files[self.number].content.change(change);
                Ok(())
            }
            Fate::Crash => {
                state.in_flight = InFlight::Content(self.number, change);
                Err(self.disk.crashed())
            }
            Fate::Fail { error, .. } => Err(error.error()),
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.state();
        state.check_on()?;
        let content = &state.files[self.number].content;
        Ok(match self.mode {
            OpenMode::Direct => content.direct().read(buf, at),
            _ => content.current.read(buf, at),
        })
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.check_writable()?;
        let is_aligned =
            |buf: &[u8]| buf.len().is_multiple_of(BLOCK_BYTES) && buf.as_ptr().addr().is_multiple_of(BLOCK_BYTES);
        if self.mode == OpenMode::Direct
            && !(at.is_multiple_of(BLOCK_BYTES as u64) && bufs.iter().all(|buf| is_aligned(buf)))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a direct write is not made of aligned blocks",
            ));
        }
        let data: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let end = at + data.len() as u64;
        let mut guard = self.disk.state();
        let state = &mut *guard;
        match state.begin(self.operation(OpKind::Write, at, end))? {
            Fate::Go => {
                let fits = state.reserve(self.number, at, end);
                let data = &data[..(fits - at) as usize];
                if !data.is_empty() {
                    state.files[self.number]
                        .content
                        .change(Change::Write { at, data: data.into() });
                }
                if fits < end {
                    Err(SimError::Enospc.error())
                } else {
                    Ok(())
                }
            }
            Fate::Crash => {
                state.in_flight = InFlight::Content(self.number, Change::Write { at, data: data.into() });
                Err(self.disk.crashed())
            }
            Fate::Fail { error, .. } => {
                let fits = state.reserve(self.number, at, end);
                let content = &mut state.files[self.number].content;
                content.change_in_part(at, &data[..(fits - at) as usize], &mut state.random);
                Err(error.error())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut guard = self.disk.state();
        let fate = guard.begin(self.operation(OpKind::Sync, 0, 0))?;
        let covered = guard.files[self.number].content.changes();
        guard.held_syncs += 1;
        self.disk.shared.changed.notify_all();
        while guard.hold_syncs && !guard.off {
            self.disk.shared.changed.wait(&mut guard);
        }
        guard.held_syncs -= 1;
        let state = &mut *guard;
        let file = &mut state.files[self.number];
        match fate {
            // It was held when the machine went off.
            Fate::Go if state.off => Err(SimError::Eio.error()),
            Fate::Go if file.sync_broken => Err(SimError::Eio.error()),
            Fate::Go => {
                file.content.sync(covered);
                Ok(())
            }
            Fate::Crash => Err(self.disk.crashed()),
            Fate::Fail { error, sticky } => {
                file.sync_broken = sticky;
                file.content.fail_sync(&mut state.random);
                Err(error.error())
            }
        }
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        self.change(OpKind::Allocate, from, to, true, Change::Grow { len: to })
    }

    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        self.change(OpKind::Zero, from, to, true, Change::Zero { from, to })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.change(OpKind::SetLen, bytes, bytes, false, Change::SetLen { len: bytes })?;
        self.disk.state().files[self.number].reserved.cut(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_on()?;
        Ok(state.files[self.number].content.current.len())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
