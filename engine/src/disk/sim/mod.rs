//! A file system in memory that can lose power at every effect and fail at every call.
//!
//! [`SimDisk`] writes every effect into one log, in the order in which they happened, whichever
//! file they touch: objects and the database (through [`SimBackend`]) share it. It keeps to what
//! [`Disk`] promises and no more. At any place of the log, [`SimDisk::image`] builds the disk as
//! it may be found after power came back:
//!
//! - what was synced is there;
//! - of what was not, any part may be: each write whole, as a prefix or as any of its sectors of
//!   512 bytes, or not at all; each change of a length; each name that came or went, on its own.
//!   File systems that keep an order lose less;
//! - after a sync that failed, what it should have kept is lost for ever, although reading still
//!   shows it: so does Linux.
//!
//! [`SimDisk::fail`] makes calls fail. [`SimDisk::calls`] counts them, so that a test can walk
//! through "every error at every call".
//!
//! An image costs what changed since the nearest snapshot; pages are shared, not copied.

mod backend;
mod fault;
mod image;
mod pages;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

pub use self::backend::SimBackend;
pub use self::fault::{Fault, FaultPlan};
pub use self::image::Keep;

use self::fault::{Call, Faults, Verdict};
use self::state::{Effect, InodeId, State};
use super::{DirEntry, Disk, DiskFile};

/// A snapshot is kept each so many effects: an image replays no more than these.
const SNAPSHOT_STEP: usize = 64;

/// A simulated disk. A clone is the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

struct Inner {
    state: State,
    log: Vec<Effect>,
    /// The state before each [`SNAPSHOT_STEP`] effects.
    snapshots: Vec<State>,
    faults: Faults,
    capacity: Option<u64>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk({} effects)", self.effects())
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk: there is a root, `/`, which relative paths begin at too.
    pub fn new() -> Self {
        Self::of(State::default())
    }

    fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            snapshots: vec![state.clone()],
            state,
            log: Vec::new(),
            faults: Faults::default(),
            capacity: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many effects there were: the places where the power can go are `0..=effects()`.
    pub fn effects(&self) -> usize {
        self.lock().log.len()
    }

    /// How many calls there were, failed ones too.
    pub fn calls(&self) -> u64 {
        self.lock().faults.calls
    }

    /// Makes calls fail from now on, in the place of what was planned before.
    pub fn fail(&self, plan: FaultPlan) {
        self.lock().faults.plan = Some(plan);
    }

    /// Lets all calls succeed again.
    pub fn heal(&self) {
        self.lock().faults.plan = None;
    }

    /// How many calls were made to fail.
    pub fn faults(&self) -> u64 {
        self.lock().faults.fired
    }

    /// Bounds the bytes of all files together: what would pass it finds the disk full. Holes take
    /// no room, as on most file systems: a file may be longer than the disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }
}

impl Inner {
    fn effect(&mut self, effect: Effect) {
        self.state.apply(&effect);
        self.log.push(effect);
        if self.log.len().is_multiple_of(SNAPSHOT_STEP) {
            self.snapshots.push(self.state.clone());
        }
    }

    /// Counts a call, and fails where it was planned to.
    fn call(&mut self, call: Call) -> io::Result<Verdict> {
        self.faults.call(call)
    }

    fn room(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.state.used() + more > capacity => Err(fault::full()),
            _ => Ok(()),
        }
    }

    /// Enters a name that is free.
    fn enter(&mut self, path: &Path, inode: Option<InodeId>, is_dir: bool) -> io::Result<InodeId> {
        let (dir, name) = self.state.parent(path)?;
        if self.state.entry(dir, &name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (inode, new) = match inode {
            Some(inode) => (inode, None),
            None => (self.state.free_inode(), Some(is_dir)),
        };
        self.effect(Effect::Enter { dir, name, inode, new });
        Ok(inode)
    }

    fn sync(&mut self, inode: InodeId) -> io::Result<()> {
        let called = self.call(Call::Sync).map(|_| ());
        self.effect(match called {
            Ok(()) => Effect::Sync(inode),
            Err(_) => Effect::Lose(inode),
        });
        called
    }

    fn write(&mut self, file: InodeId, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let verdict = self.call(Call::Write)?;
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut data = BytesMut::with_capacity(length);
        for buffer in buffers {
            data.extend_from_slice(buffer);
        }
        if verdict == Verdict::Short && length > 1 {
            data.truncate(length / 2);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let data = data.freeze();
        self.room(self.state.file(file)?.view.growth(offset, data.len()))?;
        let taken = data.len();
        self.effect(Effect::Write { file, offset, data });
        Ok(taken)
    }
}

impl Disk for SimDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.call(Call::Allocate)?;
        inner.room(1)?;
        let inode = inner.enter(path, None, false)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.call(Call::Open)?;
        let inode = inner.state.find(path)?;
        inner.state.file(inode)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let mut inner = self.lock();
        inner.call(Call::Open)?;
        let inode = inner.state.find(path)?;
        Ok(inner.state.file(inode)?.view.len())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.call(Call::Allocate)?;
        let inode = inner.state.find(from)?;
        inner.state.file(inode)?;
        inner.enter(to, Some(inode), false)?;
        Ok(())
    }

    /// Two effects, the new name and then the old one's end, which power loss can part.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.call(Call::Allocate)?;
        let inode = inner.state.find(from)?;
        inner.state.file(inode)?;
        let (dir, name) = inner.state.parent(to)?;
        if let Some(there) = inner.state.entry(dir, &name)? {
            inner.state.file(there)?;
            if there == inode {
                return Ok(());
            }
        }
        inner.effect(Effect::Enter { dir, name, inode, new: None });
        let (dir, name) = inner.state.parent(from)?;
        inner.effect(Effect::Leave { dir, name });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.call(Call::Remove)?;
        let inode = inner.state.find(path)?;
        inner.state.file(inode)?;
        let (dir, name) = inner.state.parent(path)?;
        inner.effect(Effect::Leave { dir, name });
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.call(Call::Allocate)?;
        inner.room(1)?;
        inner.enter(path, None, true)?;
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.call(Call::Remove)?;
        let inode = inner.state.find(path)?;
        if !inner.state.dir(inode)?.view.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = inner.state.parent(path)?;
        inner.effect(Effect::Leave { dir, name });
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        let inode = inner.state.find(path)?;
        inner.state.dir(inode)?;
        inner.sync(inode)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut inner = self.lock();
        inner.call(Call::Open)?;
        let inode = inner.state.find(path)?;
        let entries = inner.state.dir(inode)?.view.iter();
        Ok(entries
            .map(|(name, inode)| DirEntry {
                name: name.to_string(),
                is_dir: inner.state.dir(*inode).is_ok(),
            })
            .collect())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let mut inner = self.lock();
        inner.call(Call::Open)?;
        let used = inner.state.used();
        Ok(inner.capacity.unwrap_or(u64::MAX).saturating_sub(used))
    }
}

/// An open file of a [`SimDisk`]; it stays whole where its name is taken away.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: InodeId,
}

impl DiskFile for SimFile {
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.disk.lock().write(self.inode, buffers, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.disk.lock();
        inner.call(Call::Read)?;
        Ok(inner.state.file(self.inode)?.view.read(buffer, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        inner.call(Call::Write)?;
        inner.effect(Effect::SetLen { file: self.inode, len });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut inner = self.disk.lock();
        inner.call(Call::Read)?;
        Ok(inner.state.file(self.inode)?.view.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.lock().sync(self.inode)
    }

    fn start_writeback(&self, _offset: u64, _length: u64) {}

    fn into_std(self: Box<Self>) -> Result<std::fs::File, Box<dyn DiskFile>> {
        Err(self)
    }
}

/// The whole content of the file at `path`: for tests that look at an image.
///
/// # Errors
/// Where there is no such file.
pub fn content(disk: &SimDisk, path: &Path) -> io::Result<Bytes> {
    let inner = disk.lock();
    let file = inner.state.file(inner.state.find(path)?)?;
    let mut bytes = vec![0; usize::try_from(file.view.len()).unwrap_or(usize::MAX)];
    file.view.read(&mut bytes, 0);
    Ok(bytes.into())
}
