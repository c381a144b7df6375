//! A disk in memory that forgets what was not synced.
//!
//! Every change (write, allocate, zero, set_len, sync, create, remove, rename, directory changes and syncs) is an
//! operation with a number, from 0. [`SimDisk::crash_at`] turns the machine off at one of them; [`SimDisk::reboot`] gives
//! the disk that the next start finds: what was synced, and of the rest a random part, reordered, torn in sectors.
//! [`SimDisk::reboot_kill9`] gives the one after kill −9: all of it, still unsynced.
//!
//! Two things that Linux does and tests forget: after a failed fdatasync the next one succeeds although the data is
//! gone ([`SimDisk::fail_next_sync_once`]), and reads show it all the while.

use super::sim_content::{FileContent, SECTOR_BYTES};
use super::sim_file::SimFile;
use super::sim_names::{Entry, NameChange, Names};
use super::sim_state::{Fate, Fault, InFlight, Shared, SimInode, State};
pub use super::sim_state::{OpKind, Operation, SimError};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use streamhouse_storage::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
}

impl SimDisk {
    /// An empty disk. `seed` decides what is left to chance before the first reboot (parts of failed writes and syncs).
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::with(Vec::new(), Names::default(), None, seed)
    }

    fn with(files: Vec<SimInode>, names: Names, capacity_bytes: Option<u64>, seed: u64) -> SimDisk {
        let state = State {
            files,
            names,
            operations: Vec::new(),
            crash_at: None,
            off: false,
            in_flight: InFlight::Nothing,
            faults: Vec::new(),
            capacity_bytes,
            hold_syncs: false,
            held_syncs: 0,
            lookups: 0,
            random: StdRng::seed_from_u64(seed),
        };
        SimDisk {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// The machine goes off at operation `number`: it may come some way, fails, and so does everything after it.
    pub fn crash_at(&self, number: u64) {
        self.state().crash_at = Some(number);
    }

    /// The machine goes off now.
    pub fn power_off(&self) {
        self.state().off = true;
        self.shared.changed.notify_all();
    }

    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// The disk that is found after power loss: what was synced, and what `seed` says of the rest. This one goes off.
    pub fn reboot(&self, seed: u64) -> SimDisk {
        self.power_off();
        let state = self.state();
        let mut random = StdRng::seed_from_u64(seed);
        let in_flight: &[NameChange] = match &state.in_flight {
            InFlight::Names(names) => names,
            _ => &[],
        };
        let names = state.names.after_power_loss(in_flight, &mut random);
        let survives = |(number, file): (usize, &SimInode)| {
            let in_flight = match &state.in_flight {
                InFlight::Content(at, change) if *at == number => Some(change),
                _ => None,
            };
            let content = file.content.after_power_loss(in_flight, &mut random);
            let removed = !names.values().any(|entry| *entry == Entry::File(number));
            let content = FileContent::rebooted(content);
            SimInode {
                content,
                reserved: file.reserved.clone(),
                removed,
                sync_broken: false,
            }
        };
        let files = state.files.iter().enumerate().map(survives).collect();
        SimDisk::with(files, Names::rebooted(names), state.capacity_bytes, seed)
    }

    /// The disk that is found after kill −9: everything written is there, and what was not synced still is not.
    /// Of the operation that [`SimDisk::crash_at`] cut short a part may be there.
    pub fn reboot_kill9(&self) -> SimDisk {
        self.power_off();
        let state = self.state();
        let seed = state.operations.len() as u64;
        let mut random = StdRng::seed_from_u64(seed);
        let mut names = state.names.clone();
        let mut files: Vec<SimInode> = state.files.clone();
        match &state.in_flight {
            InFlight::Nothing => {}
            InFlight::Content(number, change) => files[*number].content.finish_in_flight(change, &mut random),
            InFlight::Names(changes) => {
                let done = random.random_range(0..=changes.len());
                changes
                    .iter()
                    .take(done)
                    .for_each(|change| names.change(change.clone()));
            }
        }
        SimDisk::with(files, names, state.capacity_bytes, seed)
    }

    /// The next operation of that kind on a path that matches fails. Of a write a part may have been written.
    pub fn fail_next(&self, kind: OpKind, error: SimError, matching: impl Fn(&Path) -> bool + Send + 'static) {
        self.state().faults.push(Fault {
            kind,
            matching: Box::new(matching),
            error,
            sticky: false,
        });
    }

    /// The next write to a path that matches fails.
    pub fn fail_next_write(&self, error: SimError, matching: impl Fn(&Path) -> bool + Send + 'static) {
        self.fail_next(OpKind::Write, error, matching);
    }

    /// The next fdatasync of a path that matches fails with EIO, and every later one of that file.
    pub fn fail_next_sync(&self, matching: impl Fn(&Path) -> bool + Send + 'static) {
        let fault = Fault {
            kind: OpKind::Sync,
            matching: Box::new(matching),
            error: SimError::Eio,
            sticky: true,
        };
        self.state().faults.push(fault);
    }

    /// The next fdatasync of a path that matches fails with EIO; the one after it succeeds, although what the first was
    /// asked to sync will never be on the disk (engine rule 4).
    pub fn fail_next_sync_once(&self, matching: impl Fn(&Path) -> bool + Send + 'static) {
        self.fail_next(OpKind::Sync, SimError::Eio, matching);
    }

    /// Forgets faults that have not struck, and mends files whose syncs fail.
    pub fn clear_faults(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.files.iter_mut().for_each(|file| file.sync_broken = false);
    }

    /// Faults that have not struck yet.
    pub fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// The disk's size; `None` is without end. Smaller than what is used is a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// Bytes that files take, whole pages.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Operations done or tried so far; the next one has this number.
    pub fn operation_count(&self) -> u64 {
        self.state().operations.len() as u64
    }

    /// Files opened and directories listed so far, found or not; they are no operations.
    pub fn lookup_count(&self) -> u64 {
        self.state().lookups
    }

    /// All operations in order; the index is the number.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// fdatasyncs so far, of files whose path matches.
    pub fn sync_count(&self, matching: impl Fn(&Path) -> bool) -> usize {
        self.state()
            .operations
            .iter()
            .filter(|op| op.kind == OpKind::Sync && matching(&op.path))
            .count()
    }

    /// From now on fdatasyncs wait for [`SimDisk::release_syncs`].
    pub fn hold_syncs(&self) {
        self.state().hold_syncs = true;
    }

    /// Lets those that wait go on, and later ones pass. They sync what was written when they began.
    pub fn release_syncs(&self) {
        self.state().hold_syncs = false;
        self.shared.changed.notify_all();
    }

    /// Returns when so many fdatasyncs wait.
    pub fn wait_for_held_syncs(&self, count: usize) {
        let mut state = self.state();
        while state.held_syncs < count {
            self.shared.changed.wait(&mut state);
        }
    }

    /// All files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state
            .names
            .current
            .iter()
            .filter(|(_, entry)| **entry != Entry::Directory);
        files.map(|(path, _)| path.clone()).collect()
    }

    /// A file's bytes as reads see them. Works when the machine is off.
    pub fn content(&self, path: impl AsRef<Path>) -> Vec<u8> {
        self.state().existing(path.as_ref()).content.current.to_vec()
    }

    /// A file's bytes that are durable. Works when the machine is off.
    pub fn durable_content(&self, path: impl AsRef<Path>) -> Vec<u8> {
        self.state().existing(path.as_ref()).content.durable.to_vec()
    }

    /// Damages the medium: one bit (0 to 7) of the byte at `position`.
    pub fn flip_bit(&self, path: impl AsRef<Path>, position: u64, bit: u8) {
        let mut state = self.state();
        let content = &mut state.existing(path.as_ref()).content;
        let mut byte = [0];
        assert_eq!(
            content.current.read(&mut byte, position),
            1,
            "{position} is past the file's end"
        );
        content.damage(position, &[byte[0] ^ (1 << bit)]);
    }

    /// Damages the medium: other bytes from `position` on.
    pub fn overwrite(&self, path: impl AsRef<Path>, position: u64, bytes: &[u8]) {
        self.state().existing(path.as_ref()).content.damage(position, bytes);
    }

    /// Damages the medium: some of the sectors of the block at `position`, at least one and not all, are zero.
    pub fn tear_block(&self, path: impl AsRef<Path>, position: u64, seed: u64) {
        let sectors = BLOCK_BYTES as u64 / SECTOR_BYTES;
        let torn = StdRng::seed_from_u64(seed).random_range(1..(1u32 << sectors) - 1);
        let mut state = self.state();
        let content = &mut state.existing(path.as_ref()).content;
        assert!(
            position + BLOCK_BYTES as u64 <= content.current.len(),
            "the block at {position} is past the file's end"
        );
        for sector in (0..sectors).filter(|sector| torn >> sector & 1 == 1) {
            content.damage(position + sector * SECTOR_BYTES, &[0; SECTOR_BYTES as usize]);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    fn file(&self, number: usize, path: &Path, mode: OpenMode) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            number,
            path: path.to_owned(),
            mode,
        })
    }

    /// Changes names, or leaves them to chance when the machine goes off.
    fn change_names(
        &self,
        mut state: MutexGuard<'_, State>,
        op: Operation,
        changes: Vec<NameChange>,
    ) -> io::Result<()> {
        match state.begin(op)? {
            Fate::Go => {
                changes.into_iter().for_each(|change| state.names.change(change));
                Ok(())
            }
            Fate::Crash => {
                state.in_flight = InFlight::Names(changes);
                Err(self.crashed())
            }
            Fate::Fail { error, .. } => Err(error.error()),
        }
    }

    pub(super) fn crashed(&self) -> io::Error {
        self.shared.changed.notify_all();
        SimError::Eio.error()
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.check_on()?;
        let parent = parent(path);
        if !state.names.is_directory(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.names.current.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.files.len();
        state.files.push(SimInode::default());
        let change = NameChange::new(parent, vec![(path.to_owned(), Some(Entry::File(number)))]);
        self.change_names(state, operation(OpKind::Create, path), vec![change])?;
        Ok(self.file(number, path, mode))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.check_on()?;
        state.lookups += 1;
        match state.names.current.get(path) {
            Some(Entry::File(number)) => Ok(self.file(*number, path, mode)),
            Some(Entry::Directory) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let state = self.state();
        state.check_on()?;
        let mut made: Vec<&Path> = path
            .ancestors()
            .take_while(|path| !state.names.is_directory(path))
            .collect();
        made.reverse();
        let changes: Vec<NameChange> = made
            .iter()
            .map(|path| NameChange::new(parent(path), vec![((*path).to_owned(), Some(Entry::Directory))]))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.change_names(state, operation(OpKind::CreateDir, path), changes)?;
        let mut state = self.state();
        made.iter().for_each(|path| state.names.sync(parent(path)));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.begin(operation(OpKind::SyncDir, path))? {
            Fate::Go if !state.names.is_directory(path) => Err(io::ErrorKind::NotFound.into()),
            Fate::Go => {
                state.names.sync(path);
                Ok(())
            }
            Fate::Crash => Err(self.crashed()),
            Fate::Fail { error, .. } => Err(error.error()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.check_on()?;
        state.lookups += 1;
        let names = state.names.current.keys().filter(|name| parent(name) == path);
        Ok(names
            .filter_map(|name| name.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = self.state();
        state.check_on()?;
        let number = match state.names.current.get(path) {
            None => return Ok(()),
            Some(Entry::Directory) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            Some(Entry::File(number)) => *number,
        };
        let change = NameChange::new(parent(path), vec![(path.to_owned(), None)]);
        self.change_names(state, operation(OpKind::Remove, path), vec![change])?;
        self.state().files[number].removed = true;
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let state = self.state();
        state.check_on()?;
        let inside: Vec<(PathBuf, Entry)> = state
            .names
            .current
            .iter()
            .filter(|(name, _)| name.starts_with(path))
            .map(|(name, entry)| (name.clone(), *entry))
            .collect();
        if inside.is_empty() {
            return Ok(());
        }
        // From the leaves to the root, each by itself: what a crash leaves may be a part.
        let changes = inside
            .iter()
            .rev()
            .map(|(name, _)| NameChange::new(parent(path), vec![(name.clone(), None)]));
        self.change_names(state, operation(OpKind::RemoveDir, path), changes.collect())?;
        let mut state = self.state();
        for (_, entry) in inside {
            if let Entry::File(number) = entry {
                state.files[number].removed = true;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = self.state();
        state.check_on()?;
        let Some(Entry::File(number)) = state.names.current.get(from).copied() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let replaced = state.names.current.get(to).copied();
        // Between directories too it is one change, as in file systems with a journal.
        let names = vec![(from.to_owned(), None), (to.to_owned(), Some(Entry::File(number)))];
        self.change_names(
            state,
            operation(OpKind::Rename, from),
            vec![NameChange::new(parent(to), names)],
        )?;
        if let Some(Entry::File(replaced)) = replaced.filter(|entry| *entry != Entry::File(number)) {
            self.state().files[replaced].removed = true;
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_on()?;
        Ok(state.free_bytes())
    }
}

fn operation(kind: OpKind, path: &Path) -> Operation {
    Operation {
        kind,
        path: path.to_owned(),
        range: 0..0,
    }
}

/// The directory that holds a name; the data directory itself is the empty path.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
