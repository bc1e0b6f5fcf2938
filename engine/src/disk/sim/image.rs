//! The disk as it may be found after power came back.

use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::state::{DirNode, FileChange, FileNode, Inode, State, change_name};
use super::{SNAPSHOT_STEP, SimDisk};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What is left of one change that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    All,
    /// Nothing.
    Nothing,
    /// Of a write, so many sectors from its start; of anything else, all.
    Prefix(usize),
    /// Of a write, each sector by the toss of a coin from this seed; of anything else, all.
    Sectors(u64),
}

impl SimDisk {
    /// The disk after power was lost behind the first `at` effects. What was not synced is kept,
    /// torn or dropped as `seed` decides: the same for the same seed.
    pub fn image(&self, at: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Some crashes lose nearly all and some nearly nothing; a fair coin shows neither.
        let kept = 0.1 + 0.4 * f64::from(random.random_range(0..3_u8));
        self.image_of(at, |_, sectors| {
            if !random.random_bool(kept) {
                Keep::Nothing
            } else if sectors > 1 && random.random_bool(0.25) {
                if random.random_bool(0.5) {
                    Keep::Prefix(random.random_range(0..sectors))
                } else {
                    Keep::Sectors(random.random())
                }
            } else {
                Keep::All
            }
        })
    }

    /// The disk after power was lost behind the first `at` effects, and with it all that was not
    /// synced.
    pub fn image_strict(&self, at: usize) -> Self {
        self.image_of(at, |_, _| Keep::Nothing)
    }

    /// The disk after the process was killed behind the first `at` effects: nothing is lost, but
    /// what a failed sync lost.
    pub fn image_full(&self, at: usize) -> Self {
        self.image_of(at, |_, _| Keep::All)
    }

    /// How many changes were not synced behind the first `at` effects: what
    /// [`Self::image_of`] is asked about, so that few can be tried in all combinations.
    pub fn unsynced(&self, at: usize) -> usize {
        let state = self.state_at(at);
        let of = |inode: &Arc<Inode>| match &**inode {
            Inode::File(file) => file.unsynced.len(),
            Inode::Dir(dir) => dir.unsynced.len(),
        };
        state.inodes.values().map(of).sum()
    }

    /// The disk after power was lost behind the first `at` effects. `choose` is asked, for each
    /// change that was not synced (its index, and its length in sectors), what is left of it.
    pub fn image_of(&self, at: usize, mut choose: impl FnMut(usize, usize) -> Keep) -> Self {
        let mut state = self.state_at(at);
        let mut index = 0;
        let mut ask = |sectors| {
            index += 1;
            choose(index - 1, sectors)
        };
        for inode in state.inodes.values_mut() {
            *inode = Arc::new(match &**inode {
                Inode::File(file) => {
                    let mut content = file.durable.clone();
                    for change in &file.unsynced {
                        match change {
                            FileChange::Write { offset, data } => {
                                let keep = ask(data.len().div_ceil(SECTOR));
                                for (start, bytes) in kept(data, *offset, keep) {
                                    content.write(bytes, start);
                                }
                            }
                            FileChange::SetLen(len) if ask(0) != Keep::Nothing => {
                                content.set_len(*len);
                            }
                            FileChange::SetLen(_) => {}
                        }
                    }
                    Inode::File(FileNode::of(content))
                }
                Inode::Dir(dir) => {
                    let mut entries = dir.durable.clone();
                    for (name, inode) in &dir.unsynced {
                        if ask(0) != Keep::Nothing {
                            change_name(&mut entries, name, *inode);
                        }
                    }
                    Inode::Dir(DirNode::of(entries))
                }
            });
        }
        let found = state.reachable();
        state.inodes.retain(|inode, _| found.contains(inode));
        Self::of(state)
    }

    fn state_at(&self, at: usize) -> State {
        let inner = self.lock();
        let at = at.min(inner.log.len());
        let start = at / SNAPSHOT_STEP;
        let mut state = inner.snapshots.get(start).cloned().unwrap_or_default();
        for effect in inner.log.get(start * SNAPSHOT_STEP..at).unwrap_or_default() {
            state.apply(effect);
        }
        state
    }
}

/// The pieces of a write at `offset` that are left, and where each belongs. Sectors are the
/// disk's, not the write's: a write that begins in the middle of one has part of it.
fn kept(data: &Bytes, offset: u64, keep: Keep) -> Vec<(u64, Bytes)> {
    let mut random = match keep {
        Keep::Nothing => return Vec::new(),
        Keep::All => return vec![(offset, data.clone())],
        Keep::Sectors(seed) => Some(StdRng::seed_from_u64(seed)),
        Keep::Prefix(_) => None,
    };
    let (mut pieces, mut left, mut at, mut number) = (Vec::new(), data.clone(), offset, 0);
    while !left.is_empty() {
        let into = usize::try_from(at % SECTOR as u64).unwrap_or_default();
        let sector = left.split_to(left.len().min(SECTOR - into));
        let start = at;
        at += sector.len() as u64;
        let stays = match (&mut random, keep) {
            (Some(random), _) => random.random_bool(0.5),
            (None, Keep::Prefix(sectors)) => number < sectors,
            (None, _) => true,
        };
        if stays {
            pieces.push((start, sector));
        }
        number += 1;
    }
    pieces
}
