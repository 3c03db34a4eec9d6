//! A disk in memory that fails on purpose.
//!
//! What was not synced may be lost, torn at sectors and kept out of order when the power goes;
//! names that the directory was not synced for may be forgotten. A sync may fail, and then the
//! writes before it may be lost for good although a later sync succeeds and the cache still shows
//! them, as Linux does. Bits rot, blocks become unreadable, and room runs out in the middle of a
//! write. All of it follows one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamesh_core::seam::Moment;
use datamesh_store::{Disk, DiskError, DiskFile, DiskLock, Space};

use crate::random::Dice;

/// A write is torn between sectors of this many bytes, never inside one.
pub const SECTOR_BYTES: usize = 512;

/// Reads fail in blocks of this many bytes.
const BLOCK_BYTES: u64 = 4096;

/// The disk itself: it survives crashes, and tests command its failures.
#[derive(Debug, Clone)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    dice: Dice,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the directory was synced. A crash keeps some first ones of them.
    name_changes: Vec<NameChange>,
    /// Mounts of an earlier generation are dead.
    generation: u64,
    locked: bool,
    powerless: bool,
    total: u64,
    crash_point: Option<CrashPoint>,
    /// The power goes in the middle of one of the next operations.
    tearing: bool,
    crash_after: Option<u64>,
    failing_syncs: u64,
    unreadable: BTreeSet<(usize, u64)>,
}

/// When the power goes, of a step that makes something durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crash {
    /// Nothing of it is done.
    Before,
    /// In the middle of one of its operations.
    Torn,
    /// All of it is done, and nobody knows.
    After,
}

impl Crash {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Torn, Self::After];
}

#[derive(Debug, Clone)]
struct CrashPoint {
    point: String,
    crash: Crash,
    /// Times that it is still to be reached.
    time: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, usize),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    /// What is on the platter.
    durable: Vec<u8>,
    /// What reads show.
    current: Vec<u8>,
    /// Room is reserved up to here.
    allocated: u64,
    /// Written since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// Written before a sync that failed: no later sync helps them.
    doomed: Vec<(usize, Vec<u8>)>,
}

fn write_into(bytes: &mut Vec<u8>, offset: usize, part: &[u8]) {
    let end = offset + part.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(part);
}

impl Inode {
    fn room(&self) -> u64 {
        self.allocated.max(self.current.len() as u64)
    }

    /// Puts on the platter what chance keeps of writes that were never synced.
    fn survive(&mut self, dice: &mut Dice, mut writes: Vec<(usize, Vec<u8>)>) {
        while !writes.is_empty() {
            let (offset, bytes) = writes.swap_remove(dice.below(writes.len() as u64) as usize);
            match dice.below(4) {
                0 => {}
                1 => write_into(&mut self.durable, offset, &bytes),
                2 => {
                    let sectors = dice.below(bytes.len().div_ceil(SECTOR_BYTES) as u64) as usize;
                    write_into(&mut self.durable, offset, &bytes[..sectors * SECTOR_BYTES]);
                }
                _ => {
                    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if dice.one_in(2) {
                            write_into(&mut self.durable, offset + number * SECTOR_BYTES, sector);
                        }
                    }
                }
            }
        }
    }

    fn show(&mut self) {
        self.current.clone_from(&self.durable);
        for (offset, bytes) in &self.pending {
            write_into(&mut self.current, *offset, bytes);
        }
    }
}

fn failed(operation: &'static str, name: &str, reason: &'static str) -> DiskError {
    DiskError::Io { operation, name: name.to_owned(), source: Arc::new(io::Error::other(reason)) }
}

impl State {
    fn live(&self, generation: u64, operation: &'static str, name: &str) -> Result<(), DiskError> {
        if self.powerless || generation != self.generation {
            return Err(failed(operation, name, "the power is gone"));
        }
        Ok(())
    }

    /// Whether the power goes in the middle of this operation.
    fn tears(&mut self) -> bool {
        // Not always in the first, so that each of a step's operations has its turn.
        let tears = self.tearing && self.dice.one_in(2);
        self.powerless |= tears;
        tears
    }

    /// Counts an operation that changes the disk; the power may go after it.
    fn step(&mut self) {
        if let Some(left) = &mut self.crash_after {
            *left = left.saturating_sub(1);
            self.powerless |= *left == 0;
        }
    }

    fn used(&self) -> u64 {
        let files: BTreeSet<&usize> = self.names.values().collect();
        files.iter().filter_map(|inode| self.inodes.get(**inode)).map(Inode::room).sum()
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn inode_of(&self, name: &str) -> Result<usize, DiskError> {
        self.names.get(name).copied().ok_or_else(|| DiskError::Missing { name: name.to_owned() })
    }
}

impl FaultyDisk {
    /// An empty disk of `total` bytes, whose chances follow `seed`.
    pub fn new(seed: u64, total: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            generation: 0,
            locked: false,
            powerless: false,
            total,
            crash_point: None,
            tearing: false,
            crash_after: None,
            failing_syncs: 0,
            unreadable: BTreeSet::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a store sees it until the next crash.
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mount { disk: self.clone(), generation: self.state().generation })
    }

    /// Cuts the power and restores it: unsynced writes and names are lost, torn or kept by chance.
    /// Earlier mounts are dead.
    pub fn crash(&self) {
        let state = &mut *self.state();
        for inode in &mut state.inodes {
            let mut writes = std::mem::take(&mut inode.doomed);
            writes.append(&mut inode.pending);
            inode.survive(&mut state.dice, writes);
            inode.show();
        }
        let kept = state.dice.below(state.name_changes.len() as u64 + 1) as usize;
        for change in state.name_changes.drain(..).take(kept) {
            change.apply(&mut state.durable_names);
        }
        state.names.clone_from(&state.durable_names);
        state.restart();
    }

    /// Kills the process and keeps the power: everything written stays readable, synced or not.
    pub fn kill(&self) {
        self.state().restart();
    }

    /// Lets the power go around the step `point` of the store, the `time`-th from now.
    pub fn crash_at(&self, point: &str, crash: Crash, time: u64) {
        self.state().crash_point =
            Some(CrashPoint { point: point.to_owned(), crash, time: time.max(1) });
    }

    /// Lets the power go after that many operations that change the disk.
    pub fn crash_after(&self, operations: u64) {
        self.state().crash_after = Some(operations.max(1));
    }

    /// Whether the power is gone.
    pub fn is_powerless(&self) -> bool {
        self.state().powerless
    }

    /// Another disk with what is durable on this one now: what a copy of it has.
    pub fn image(&self) -> Self {
        let state = self.state();
        let inodes = state.inodes.iter().map(|inode| Inode {
            durable: inode.durable.clone(),
            current: inode.durable.clone(),
            allocated: inode.allocated,
            ..Inode::default()
        });
        let image = Self::new(0, state.total);
        {
            let mut other = image.state();
            other.inodes = inodes.collect();
            other.names = state.durable_names.clone();
            other.durable_names = state.durable_names.clone();
            other.unreadable = state.unreadable.clone();
        }
        image
    }

    /// Puts an image back, as one does from a copy. Earlier mounts are dead.
    pub fn put_back(&self, image: &Self) {
        let copy = image.image();
        let (mut state, mut copied) = (self.state(), copy.state());
        state.inodes = std::mem::take(&mut copied.inodes);
        state.names = std::mem::take(&mut copied.names);
        state.durable_names = std::mem::take(&mut copied.durable_names);
        state.unreadable = std::mem::take(&mut copied.unreadable);
        state.name_changes.clear();
        state.restart();
    }

    /// Lets the next syncs of files fail.
    pub fn fail_syncs(&self, count: u64) {
        self.state().failing_syncs = count;
    }

    /// Changes the size of the disk.
    pub fn resize(&self, total: u64) {
        self.state().total = total;
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Names of the files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// A file's contents as reads show them; none where it is not there.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.inode_of(name).ok().map(|inode| state.inodes[inode].current.clone())
    }

    /// Changes a file's bytes behind the store's back, durably: rot, or a misdirected write.
    pub fn overwrite(&self, name: &str, offset: usize, bytes: &[u8]) {
        let mut state = self.state();
        if let Ok(inode) = state.inode_of(name) {
            write_into(&mut state.inodes[inode].durable, offset, bytes);
            write_into(&mut state.inodes[inode].current, offset, bytes);
        }
    }

    /// Flips one bit of a file. Does nothing beyond its end.
    pub fn flip(&self, name: &str, bit: u64) {
        let at = (bit / 8) as usize;
        if let Some(byte) = self.contents(name).and_then(|bytes| bytes.get(at).copied()) {
            self.overwrite(name, at, &[byte ^ (1 << (bit % 8))]);
        }
    }

    /// Puts a file there, durably.
    pub fn place(&self, name: &str, contents: &[u8]) {
        let mut state = self.state();
        let inode = state.inodes.len();
        let contents = contents.to_vec();
        state.inodes.push(Inode {
            durable: contents.clone(),
            current: contents,
            ..Inode::default()
        });
        state.names.insert(name.to_owned(), inode);
        state.durable_names.insert(name.to_owned(), inode);
    }

    /// Takes a file away, durably.
    pub fn lose(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// Makes the block at `offset` of a file unreadable for ever.
    pub fn break_block(&self, name: &str, offset: u64) {
        let mut state = self.state();
        if let Ok(inode) = state.inode_of(name) {
            state.unreadable.insert((inode, offset / BLOCK_BYTES));
        }
    }
}

impl State {
    fn restart(&mut self) {
        self.generation += 1;
        self.locked = false;
        self.powerless = false;
        self.crash_point = None;
        self.tearing = false;
        self.crash_after = None;
        self.failing_syncs = 0;
    }
}

#[derive(Debug)]
struct Mount {
    disk: FaultyDisk,
    generation: u64,
}

impl Mount {
    fn file(&self, name: &str, inode: usize) -> Arc<dyn DiskFile> {
        Arc::new(OpenFile {
            disk: self.disk.clone(),
            generation: self.generation,
            name: name.to_owned(),
            inode,
        })
    }

    fn live(
        &self,
        operation: &'static str,
        name: &str,
    ) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.disk.state();
        state.live(self.generation, operation, name)?;
        Ok(state)
    }
}

impl Disk for Mount {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.live("list", "directory")?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let inode = self.live("open", name)?.inode_of(name)?;
        Ok(self.file(name, inode))
    }

    fn open_append(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open(name)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut state = self.live("create", name)?;
        if state.names.contains_key(name) {
            return Err(DiskError::Exists { name: name.to_owned() });
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_names(NameChange::Set(name.to_owned(), inode));
        if state.tears() {
            return Err(failed("create", name, "the power is gone"));
        }
        state.step();
        Ok(self.file(name, inode))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.live("remove", name)?;
        state.inode_of(name)?;
        state.change_names(NameChange::Remove(name.to_owned()));
        if state.tears() {
            return Err(failed("remove", name, "the power is gone"));
        }
        state.step();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.live("rename", from)?;
        state.inode_of(from)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        if state.tears() {
            return Err(failed("rename", from, "the power is gone"));
        }
        state.step();
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let mut state = self.live("sync", "directory")?;
        if state.tears() {
            return Err(failed("sync", "directory", "the power is gone"));
        }
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        state.step();
        Ok(())
    }

    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, DiskError> {
        let mut state = self.live("lock", name)?;
        if state.locked {
            return Err(DiskError::Locked { name: name.to_owned() });
        }
        state.locked = true;
        Ok(Box::new(Lock { disk: self.disk.clone(), generation: self.generation }))
    }

    fn space(&self) -> Result<Space, DiskError> {
        let state = self.live("measure", "directory")?;
        Ok(Space { total: state.total, free: state.total.saturating_sub(state.used()) })
    }

    fn reached(&self, point: &'static str, moment: Moment) -> Result<(), DiskError> {
        let mut state = self.live("reach", point)?;
        let Some(armed) = &mut state.crash_point else { return Ok(()) };
        if armed.point != point {
            return Ok(());
        }
        let crash = armed.crash;
        if moment == Moment::Before {
            armed.time = armed.time.saturating_sub(1);
        }
        if armed.time > 0 {
            return Ok(());
        }
        match (crash, moment) {
            (Crash::After, Moment::Before) => Ok(()),
            (Crash::Torn, Moment::Before) => {
                state.tearing = true;
                Ok(())
            }
            _ => {
                state.powerless = true;
                Err(failed("reach", point, "the power is gone"))
            }
        }
    }
}

#[derive(Debug)]
struct Lock {
    disk: FaultyDisk,
    generation: u64,
}

impl DiskLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locked = false;
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: FaultyDisk,
    generation: u64,
    name: String,
    inode: usize,
}

impl OpenFile {
    fn live(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.disk.state();
        state.live(self.generation, operation, &self.name)?;
        Ok(state)
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.live("read")?;
        let blocks = offset / BLOCK_BYTES..(offset + out.len() as u64).div_ceil(BLOCK_BYTES);
        for block in blocks {
            if state.unreadable.contains(&(self.inode, block)) {
                return Err(failed("read", &self.name, "a block is unreadable"));
            }
        }
        let current = &state.inodes[self.inode].current;
        let from = (offset as usize).min(current.len());
        let count = out.len().min(current.len() - from);
        out[..count].copy_from_slice(&current[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.live("write")?;
        if state.tears() {
            // Some first sectors of it came as far as the page cache.
            let sectors = state.dice.below(bytes.len().div_ceil(SECTOR_BYTES) as u64) as usize;
            let written = bytes[..sectors * SECTOR_BYTES].to_vec();
            let inode = &mut state.inodes[self.inode];
            write_into(&mut inode.current, offset as usize, &written);
            inode.pending.push((offset as usize, written));
            return Err(failed("write", &self.name, "the power is gone"));
        }
        let length = state.inodes[self.inode].room();
        let grows = (offset + bytes.len() as u64).saturating_sub(length);
        let free = state.total.saturating_sub(state.used());
        let fits = grows <= free;
        // Where room runs out, the first sectors are written.
        let lacking = if fits { 0 } else { (grows - free) as usize };
        let written = &bytes[..bytes.len().saturating_sub(lacking) / SECTOR_BYTES * SECTOR_BYTES];
        let written = if fits { bytes } else { written };
        let inode = &mut state.inodes[self.inode];
        write_into(&mut inode.current, offset as usize, written);
        inode.pending.push((offset as usize, written.to_vec()));
        state.step();
        if fits {
            Ok(())
        } else {
            Err(DiskError::Full { operation: "write", name: self.name.clone() })
        }
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let mut state = self.live("sync")?;
        if state.tears() {
            return Err(failed("sync", &self.name, "the power is gone"));
        }
        let fails = state.failing_syncs > 0;
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            inode.doomed.extend(pending);
            state.failing_syncs -= 1;
            return Err(failed("sync", &self.name, "the device reports an error"));
        }
        for (offset, bytes) in &pending {
            write_into(&mut inode.durable, *offset, bytes);
        }
        state.step();
        Ok(())
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<bool, DiskError> {
        let mut state = self.live("allocate")?;
        if state.tears() {
            return Err(failed("allocate", &self.name, "the power is gone"));
        }
        let grows = (offset + length).saturating_sub(state.inodes[self.inode].room());
        if grows > state.total.saturating_sub(state.used()) {
            return Err(DiskError::Full { operation: "allocate", name: self.name.clone() });
        }
        let inode = &mut state.inodes[self.inode];
        inode.allocated = inode.allocated.max(offset + length);
        Ok(true)
    }

    fn release_allocated(&self) -> Result<(), DiskError> {
        let mut state = self.live("release")?;
        if state.tears() {
            return Err(failed("release", &self.name, "the power is gone"));
        }
        state.inodes[self.inode].allocated = 0;
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.live("measure")?.inodes[self.inode].current.len() as u64)
    }

    fn discard_cached(&self, _offset: u64, _length: u64) {
        let state = &mut *self.disk.state();
        let inode = &mut state.inodes[self.inode];
        let doomed = std::mem::take(&mut inode.doomed);
        // Most often nothing is, and the file is what it was.
        if !doomed.is_empty() {
            inode.survive(&mut state.dice, doomed);
            inode.show();
        }
    }
}
