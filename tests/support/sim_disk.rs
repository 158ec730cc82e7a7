//! A simulated directory that remembers which writes, cuts and names have reached the platter, fails when told to, and
//! gives every state in which a loss of power could leave it. For the tests of the store and the simulation, which
//! include it by its path.

#![allow(clippy::disallowed_types)] // the one lock: handles of one directory share it, in one thread
#![allow(unreachable_pub, dead_code)] // included by several crates, each of which uses a part of it

use marshal::event_log::disk::{Disk, DiskFile, Facts, ReadAt, blank_lines};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// One thing that was done to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A write took place; how many newlines it held.
    Append(usize),
    /// There was no space for a write.
    NoSpace,
    /// A file was cut.
    Cut,
    /// A part of a file was overwritten.
    Blank,
    /// A file was synced.
    Sync,
    /// A sync failed.
    FailSync,
    /// A name was given to another file.
    Rename,
    /// A name was removed.
    Remove,
    /// The names were synced.
    SyncNames,
    /// Syncing the names failed.
    FailSyncNames,
}

/// A change of a file that has not surely reached the platter.
#[derive(Clone, Debug)]
pub enum Pending {
    /// Bytes at an offset.
    Write(u64, Vec<u8>),
    /// Everything behind a length is gone.
    Cut(u64),
    /// Blank lines at an offset, in the place of what was written there before.
    Blank(u64, u64),
}

/// A change of a name that has not surely reached the platter.
#[derive(Clone, Debug)]
pub enum PendingName {
    /// The name stands for a file.
    Set(String, usize),
    /// The first name's file took the second name's place.
    Rename(String, String),
    /// The two names have these files now.
    Exchange([(String, usize); 2]),
    /// The name is gone.
    Remove(String),
}

/// A file, as the system shows it and as it is on the platter.
#[derive(Clone, Debug, Default)]
pub struct Inode {
    /// What reading shows.
    pub cache: Vec<u8>,
    /// What is there after a loss of power if nothing that is pending arrives.
    pub platter: Vec<u8>,
    /// What may or may not arrive, in order.
    pub pending: Vec<Pending>,
    /// What a failed sync was to bring there: it may have arrived, in whole or in part, before anything that is
    /// pending, and no later sync will bring it, although reading goes on showing it.
    pub lost: Vec<Pending>,
    changed_ns: i128,
}

impl Inode {
    /// A file all of which is on the platter.
    pub fn on_platter(bytes: Vec<u8>) -> Self {
        Self { cache: bytes.clone(), platter: bytes, ..Self::default() }
    }
}

/// What fails, and how.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Bytes that still fit onto the disk; without bound if none.
    pub space: Option<u64>,
    /// Writes take at most so many bytes at a time, or a thirty-second of a large one: each piece is a moment at which
    /// everything is checked.
    pub short_writes: Option<usize>,
    /// The next sync of a file fails: so many of the pending changes arrive, and the rest is lost.
    pub fail_sync: Option<usize>,
    /// The next sync of the names fails: so many of the pending changes arrive, and the rest never will, although
    /// looking goes on showing them.
    pub fail_sync_names: Option<usize>,
    /// Cutting and overwriting fail.
    pub fail_cut: bool,
    /// What is overwritten is put elsewhere, for which a full disk has no room.
    pub copies: bool,
    /// Renaming fails.
    pub fail_rename: bool,
    /// Two names cannot change their files.
    pub no_exchange: bool,
    /// Somebody else appends these bytes right before the next write to the file of this name.
    pub race: Option<(String, Vec<u8>)>,
}

/// All of the directory.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The files, by inode number.
    pub inodes: Vec<Inode>,
    /// The names, as the system shows them.
    pub names: BTreeMap<String, usize>,
    /// The names on the platter.
    pub platter_names: BTreeMap<String, usize>,
    /// Changes of names that may or may not arrive, in order.
    pub pending_names: Vec<PendingName>,
    /// A sync of the names has failed: some of those that looking shows may never arrive.
    pub names_lost: bool,
    /// What fails.
    pub faults: Faults,
    clock_ns: i128,
}

/// Hears of everything that is done to the disk: of nothing before it is done, and of what was done after it.
pub type Listener = Box<dyn FnMut(&State, Option<&Op>) + Send>;

/// Hears of everything that was done, after it was done.
pub type AfterListener = Box<dyn FnMut(&State, &Op) + Send>;

/// A handle on the directory.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    listener: Arc<Mutex<Option<Listener>>>,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
    meanwhile_names: Arc<Mutex<Option<Meanwhile>>>,
    before_append: Arc<Mutex<Option<Meanwhile>>>,
    before_change: Arc<Mutex<Option<Meanwhile>>>,
}

/// What somebody else does while the next sync is waited for.
pub type Meanwhile = Box<dyn FnOnce(&SimDisk) + Send>;

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

/// An open file of the directory.
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl State {
    fn touch(&mut self, inode: usize) -> &mut Inode {
        self.clock_ns += 1;
        let file = &mut self.inodes[inode];
        file.changed_ns = self.clock_ns;
        file
    }

    /// Adds bytes behind the end of a file, as long as there is space.
    fn append(&mut self, inode: usize, bytes: &[u8]) -> io::Result<usize> {
        let piece = |short: usize| short.max(bytes.len() / 32);
        let mut count = bytes.len().min(self.faults.short_writes.map_or(usize::MAX, piece));
        if let Some(space) = self.faults.space {
            count = count.min(usize::try_from(space).unwrap());
            if count == 0 && !bytes.is_empty() {
                return Err(io::Error::from_raw_os_error(28)); // ENOSPC
            }
            self.faults.space = Some(space - count as u64);
        }
        let file = self.touch(inode);
        let at = file.cache.len() as u64;
        file.cache.extend_from_slice(&bytes[..count]);
        file.pending.push(Pending::Write(at, bytes[..count].to_vec()));
        Ok(count)
    }

    /// What stands at a name, as the system shows it.
    pub fn shown(&self, name: &str) -> Option<&Inode> {
        self.names.get(name).map(|inode| &self.inodes[*inode])
    }

    fn set_name(&mut self, name: &str, inode: usize) {
        self.names.insert(name.to_owned(), inode);
        self.pending_names.push(PendingName::Set(name.to_owned(), inode));
    }

    /// Somebody else appends to a file, by whatever name it goes, whether there is space or not.
    pub fn append_from_outside(&mut self, inode: usize, bytes: &[u8]) {
        let faults = std::mem::take(&mut self.faults);
        self.append(inode, bytes).unwrap();
        self.faults = faults;
    }

    /// Space comes back when a name goes.
    fn forget(&mut self, inode: usize) {
        let length = self.inodes[inode].cache.len() as u64;
        self.faults.space = self.faults.space.map(|space| space + length);
    }

    fn new_inode(&mut self) -> usize {
        self.inodes.push(Inode::default());
        self.touch(self.inodes.len() - 1);
        self.inodes.len() - 1
    }
}

/// Applies a change to the bytes on a platter. What was never written in between is zeros, as in a file with a hole.
pub fn apply(pending: &Pending, platter: &mut Vec<u8>) {
    match pending {
        Pending::Write(at, bytes) => {
            let (from, to) = (usize::try_from(*at).unwrap(), usize::try_from(*at).unwrap() + bytes.len());
            if platter.len() < to {
                platter.resize(to, 0);
            }
            platter[from..to].copy_from_slice(bytes);
        }
        Pending::Cut(length) => platter.truncate(usize::try_from(*length).unwrap()),
        Pending::Blank(at, count) => apply(&Pending::Write(*at, blank_lines(*count)), platter),
    }
}

/// Applies a change of a name.
pub fn apply_name(pending: &PendingName, names: &mut BTreeMap<String, usize>) {
    match pending {
        PendingName::Set(name, inode) => drop(names.insert(name.clone(), *inode)),
        PendingName::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        PendingName::Exchange(both) => names.extend(both.iter().cloned()),
        PendingName::Remove(name) => drop(names.remove(name)),
    }
}

impl SimDisk {
    /// An empty directory.
    pub fn new() -> Self {
        Self::of(State::default())
    }

    /// A directory in a given state.
    pub fn of(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            listener: Arc::new(Mutex::new(None)),
            meanwhile: Arc::new(Mutex::new(None)),
            meanwhile_names: Arc::new(Mutex::new(None)),
            before_append: Arc::new(Mutex::new(None)),
            before_change: Arc::new(Mutex::new(None)),
        }
    }

    /// Everything that is done from now on is told to `listener`, after it was done.
    pub fn listen(&self, mut listener: AfterListener) {
        self.listen_to_all(Box::new(move |state, op| {
            if let Some(op) = op {
                listener(state, op);
            }
        }));
    }

    /// Everything that is done from now on is told to `listener`, before and after.
    pub fn listen_to_all(&self, listener: Listener) {
        *self.listener.lock().unwrap() = Some(listener);
    }

    /// While the next sync of a file is waited for, somebody else does this.
    pub fn during_next_sync(&self, meanwhile: Meanwhile) {
        *self.meanwhile.lock().unwrap() = Some(meanwhile);
    }

    /// While the next sync of the names is waited for, somebody else does this.
    pub fn during_next_sync_names(&self, meanwhile: Meanwhile) {
        *self.meanwhile_names.lock().unwrap() = Some(meanwhile);
    }

    /// Right before the next write, somebody else does this.
    pub fn before_next_append(&self, meanwhile: Meanwhile) {
        *self.before_append.lock().unwrap() = Some(meanwhile);
    }

    /// Right before the next cut, overwriting or renaming, somebody else does this.
    pub fn before_next_change(&self, meanwhile: Meanwhile) {
        *self.before_change.lock().unwrap() = Some(meanwhile);
    }

    fn run_before_change(&self) {
        let meanwhile = self.before_change.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(self);
        }
    }

    /// Looks at the directory, or changes it behind everybody's back.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What reading a file shows; nothing if it is not there.
    pub fn read(&self, name: &str) -> Vec<u8> {
        self.state().shown(name).map(|file| file.cache.clone()).unwrap_or_default()
    }

    /// Somebody else appends, whether there is space or not.
    pub fn append_from_outside(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.names[name];
        state.append_from_outside(inode, bytes);
    }

    /// Somebody else puts a file of their own in the place of another, as editors do.
    pub fn replace_from_outside(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.new_inode();
        let file = state.touch(inode);
        file.cache = bytes.to_vec();
        file.platter = bytes.to_vec();
        state.set_name(name, inode);
    }

    /// Somebody else writes a file anew without making a new one.
    pub fn rewrite_from_outside(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.names[name];
        let file = state.touch(inode);
        file.pending.push(Pending::Cut(0));
        file.pending.push(Pending::Write(0, bytes.to_vec()));
        file.cache = bytes.to_vec();
    }

    /// Somebody else cuts a file.
    pub fn cut_from_outside(&self, name: &str, length: u64) {
        let mut state = self.state();
        let inode = state.names[name];
        let file = state.touch(inode);
        file.pending.push(Pending::Cut(length));
        file.cache.truncate(usize::try_from(length).unwrap());
    }

    fn tell(&self, op: &Op) {
        self.tell_all(Some(op));
    }

    fn tell_before(&self) {
        self.tell_all(None);
    }

    fn tell_all(&self, op: Option<&Op>) {
        if let Some(listener) = &mut *self.listener.lock().unwrap() {
            listener(&self.state(), op);
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode = match state.names.get(name) {
            Some(inode) => *inode,
            None => {
                let inode = state.new_inode();
                state.set_name(name, inode);
                inode
            }
        };
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn facts(&self, name: &str) -> io::Result<Option<Facts>> {
        let inode = self.state().names.get(name).copied();
        inode.map(|inode| SimFile { disk: self.clone(), inode }.facts()).transpose()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.run_before_change();
        self.tell_before();
        let mut state = self.state();
        if state.faults.fail_rename {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        if let Some(old) = state.names.insert(to.to_owned(), inode) {
            state.forget(old);
        }
        state.pending_names.push(PendingName::Rename(from.to_owned(), to.to_owned()));
        drop(state);
        self.tell(&Op::Rename);
        Ok(())
    }

    fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        self.run_before_change();
        self.tell_before();
        let mut state = self.state();
        if state.faults.fail_rename {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        if state.faults.no_exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (Some(first), Some(second)) = (state.names.get(one).copied(), state.names.get(other).copied()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let pending = PendingName::Exchange([(one.to_owned(), second), (other.to_owned(), first)]);
        apply_name(&pending, &mut state.names);
        state.pending_names.push(pending);
        drop(state);
        self.tell(&Op::Rename);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.tell_before();
        let mut state = self.state();
        if let Some(inode) = state.names.remove(name) {
            state.forget(inode);
            state.pending_names.push(PendingName::Remove(name.to_owned()));
            drop(state);
            self.tell(&Op::Remove);
        }
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let meanwhile = self.meanwhile_names.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(self);
        }
        self.tell_before();
        let mut state = self.state();
        let fails = state.faults.fail_sync_names.take();
        state.names_lost |= fails.is_some();
        for pending in std::mem::take(&mut state.pending_names).iter().take(fails.unwrap_or(usize::MAX)) {
            apply_name(pending, &mut state.platter_names);
        }
        drop(state);
        self.tell(if fails.is_some() { &Op::FailSyncNames } else { &Op::SyncNames });
        if fails.is_some() { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl DiskFile for SimFile {
    fn append(&self, bytes: &[u8]) -> io::Result<(usize, u64)> {
        let meanwhile = self.disk.before_append.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(&self.disk);
        }
        self.disk.tell_before();
        let mut state = self.disk.state();
        if let Some((name, theirs)) = state.faults.race.take() {
            if state.names.get(&name) == Some(&self.inode) {
                state.append_from_outside(self.inode, &theirs);
            } else {
                state.faults.race = Some((name, theirs));
            }
        }
        let written = state.append(self.inode, bytes);
        let end = state.inodes[self.inode].cache.len() as u64;
        drop(state);
        self.disk.tell(&match &written {
            Ok(count) => Op::Append(bytes[..*count].iter().filter(|byte| **byte == b'\n').count()),
            Err(_) => Op::NoSpace,
        });
        Ok((written?, end))
    }

    fn facts(&self) -> io::Result<Facts> {
        let state = self.disk.state();
        let file = &state.inodes[self.inode];
        Ok(Facts { identity: (1, self.inode as u64), length: file.cache.len() as u64, changed_ns: file.changed_ns })
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.disk.run_before_change();
        self.disk.tell_before();
        let mut state = self.disk.state();
        if state.faults.fail_cut {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        let file = state.touch(self.inode);
        let gone = file.cache.len() as u64 - length;
        file.cache.truncate(usize::try_from(length).unwrap());
        file.pending.push(Pending::Cut(length));
        state.faults.space = state.faults.space.map(|space| space + gone);
        drop(state);
        self.disk.tell(&Op::Cut);
        Ok(())
    }

    fn blank(&self, range: Range<u64>) -> io::Result<()> {
        self.disk.run_before_change();
        self.disk.tell_before();
        let mut state = self.disk.state();
        if state.faults.fail_cut {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        if state.faults.copies && state.faults.space.is_some() {
            return Err(io::Error::from_raw_os_error(28)); // ENOSPC
        }
        let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        let file = state.touch(self.inode);
        file.cache[from..to].copy_from_slice(&blank_lines(range.end - range.start));
        file.pending.push(Pending::Blank(range.start, range.end - range.start));
        drop(state);
        self.disk.tell(&Op::Blank);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let meanwhile = self.disk.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(&self.disk);
        }
        self.disk.tell_before();
        let mut state = self.disk.state();
        let fails = state.faults.fail_sync.take();
        let file = &mut state.inodes[self.inode];
        let arriving = fails.unwrap_or(usize::MAX).min(file.pending.len());
        let mut pending = std::mem::take(&mut file.pending);
        file.lost.extend(pending.split_off(arriving));
        for pending in &pending {
            apply(pending, &mut file.platter);
        }
        drop(state);
        self.disk.tell(if fails.is_some() { &Op::FailSync } else { &Op::Sync });
        if fails.is_some() { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl ReadAt for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.inodes[self.inode].cache;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
}
