//! What is on the disk: as it reads, as it is durable, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use bytes::Bytes;

use super::pages::Pages;

pub(super) type InodeId = u64;
pub(super) type Name = Arc<str>;

const ROOT: InodeId = 0;

/// What happened to the disk.
#[derive(Clone)]
pub(super) enum Effect {
    /// A name came, of a new inode (`Some(is_dir)`) or of one that has others.
    Enter { dir: InodeId, name: Name, inode: InodeId, new: Option<bool> },
    /// A name went.
    Leave { dir: InodeId, name: Name },
    /// Bytes were written.
    Write { file: InodeId, offset: u64, data: Bytes },
    /// A file got another length.
    SetLen { file: InodeId, len: u64 },
    /// A file or directory was synced.
    Sync(InodeId),
    /// A sync failed, and took with it what it should have kept.
    Lose(InodeId),
}

/// A file: `view` is what reading shows.
#[derive(Clone, Default)]
pub(super) struct FileNode {
    pub(super) view: Pages,
    pub(super) durable: Pages,
    pub(super) unsynced: Vec<FileChange>,
    /// A failed sync parted `view` from what can become durable.
    lost: bool,
}

#[derive(Clone)]
pub(super) enum FileChange {
    Write { offset: u64, data: Bytes },
    SetLen(u64),
}

/// A directory.
#[derive(Clone, Default)]
pub(super) struct DirNode {
    pub(super) view: BTreeMap<Name, InodeId>,
    pub(super) durable: BTreeMap<Name, InodeId>,
    /// Names that came, and (`None`) went.
    pub(super) unsynced: Vec<(Name, Option<InodeId>)>,
}

#[derive(Clone)]
pub(super) enum Inode {
    File(FileNode),
    Dir(DirNode),
}

/// A disk. A clone shares all that neither changes.
#[derive(Clone)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<InodeId, Arc<Inode>>,
}

impl Default for State {
    fn default() -> Self {
        let root = Arc::new(Inode::Dir(DirNode::default()));
        Self { inodes: BTreeMap::from([(ROOT, root)]) }
    }
}

impl FileNode {
    pub(super) fn of(content: Pages) -> Self {
        Self { view: content.clone(), durable: content, ..Self::default() }
    }

    fn change(&mut self, change: FileChange) {
        change.apply(&mut self.view);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        if self.lost {
            for change in unsynced {
                change.apply(&mut self.durable);
            }
        } else {
            self.durable = self.view.clone();
        }
    }
}

impl FileChange {
    pub(super) fn apply(&self, to: &mut Pages) {
        match self {
            Self::Write { offset, data } => to.write(data.clone(), *offset),
            Self::SetLen(len) => to.set_len(*len),
        }
    }
}

/// Lets a name come or go.
pub(super) fn change_name(
    entries: &mut BTreeMap<Name, InodeId>,
    name: &Name,
    inode: Option<InodeId>,
) {
    match inode {
        Some(inode) => entries.insert(Arc::clone(name), inode),
        None => entries.remove(name),
    };
}

impl DirNode {
    pub(super) fn of(entries: BTreeMap<Name, InodeId>) -> Self {
        Self { view: entries.clone(), durable: entries, unsynced: Vec::new() }
    }

    fn change(&mut self, name: &Name, inode: Option<InodeId>) {
        change_name(&mut self.view, name, inode);
        self.unsynced.push((Arc::clone(name), inode));
    }

    fn sync(&mut self) {
        for (name, inode) in std::mem::take(&mut self.unsynced) {
            change_name(&mut self.durable, &name, inode);
        }
    }
}

impl State {
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Enter { dir, name, inode, new } => {
                if let Some(is_dir) = new {
                    let node = if *is_dir {
                        Inode::Dir(DirNode::default())
                    } else {
                        Inode::File(FileNode::default())
                    };
                    self.inodes.insert(*inode, Arc::new(node));
                }
                self.dir_mut(*dir, |node| node.change(name, Some(*inode)));
            }
            Effect::Leave { dir, name } => self.dir_mut(*dir, |node| node.change(name, None)),
            Effect::Write { file, offset, data } => {
                let change = FileChange::Write { offset: *offset, data: data.clone() };
                self.file_mut(*file, |node| node.change(change));
            }
            Effect::SetLen { file, len } => {
                self.file_mut(*file, |node| node.change(FileChange::SetLen(*len)));
            }
            Effect::Sync(inode) => {
                self.file_mut(*inode, FileNode::sync);
                self.dir_mut(*inode, DirNode::sync);
            }
            Effect::Lose(inode) => {
                self.file_mut(*inode, |node| {
                    node.lost = true;
                    node.unsynced.clear();
                });
                self.dir_mut(*inode, |node| node.unsynced.clear());
            }
        }
    }

    fn file_mut(&mut self, inode: InodeId, change: impl FnOnce(&mut FileNode)) {
        if let Some(Inode::File(node)) = self.inodes.get_mut(&inode).map(Arc::make_mut) {
            change(node);
        }
    }

    fn dir_mut(&mut self, inode: InodeId, change: impl FnOnce(&mut DirNode)) {
        if let Some(Inode::Dir(node)) = self.inodes.get_mut(&inode).map(Arc::make_mut) {
            change(node);
        }
    }

    pub(super) fn file(&self, inode: InodeId) -> io::Result<&FileNode> {
        match self.inodes.get(&inode).map(|inode| &**inode) {
            Some(Inode::File(node)) => Ok(node),
            Some(Inode::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&self, inode: InodeId) -> io::Result<&DirNode> {
        match self.inodes.get(&inode).map(|inode| &**inode) {
            Some(Inode::Dir(node)) => Ok(node),
            Some(Inode::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn entry(&self, dir: InodeId, name: &str) -> io::Result<Option<InodeId>> {
        Ok(self.dir(dir)?.view.get(name).copied())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<InodeId> {
        let mut at = ROOT;
        for name in names(path) {
            at = self.entry(at, name?)?.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory that holds `path`, and the last name of it.
    pub(super) fn parent(&self, path: &Path) -> io::Result<(InodeId, Name)> {
        let mut names: Vec<&str> = names(path).collect::<io::Result<_>>()?;
        // The root, which is in no directory, is always there.
        let last = names.pop().ok_or(io::ErrorKind::AlreadyExists)?;
        let above: std::path::PathBuf = names.into_iter().collect();
        let dir = self.find(&above)?;
        self.dir(dir)?;
        Ok((dir, last.into()))
    }

    pub(super) fn free_inode(&self) -> InodeId {
        self.inodes.keys().next_back().map_or(ROOT, |last| last + 1)
    }

    /// The bytes that all files which have a name take.
    pub(super) fn used(&self) -> u64 {
        let named = self.reachable();
        named.iter().filter_map(|inode| Some(self.file(*inode).ok()?.view.used())).sum()
    }

    /// All that can be found from the root.
    pub(super) fn reachable(&self) -> BTreeSet<InodeId> {
        let (mut found, mut to_look) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(inode) = to_look.pop() {
            let Ok(dir) = self.dir(inode) else { continue };
            to_look.extend(dir.view.values().filter(|inode| found.insert(**inode)));
        }
        found
    }
}

fn names(path: &Path) -> impl Iterator<Item = io::Result<&str>> {
    path.components().filter_map(|component| match component {
        Component::RootDir | Component::CurDir => None,
        Component::Normal(name) => {
            Some(name.to_str().ok_or_else(|| io::ErrorKind::InvalidFilename.into()))
        }
        Component::ParentDir | Component::Prefix(_) => {
            Some(Err(io::ErrorKind::InvalidFilename.into()))
        }
    })
}
