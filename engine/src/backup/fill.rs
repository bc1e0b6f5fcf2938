//! Making empty stores into an installation, in steps that can be repeated.
//!
//! The row `!filling` is the first to come and `!format` the last, in the commit that takes the first
//! away; nothing opens a store in between. What is put in comes in the order of keys. A run that finds
//! what an earlier one left compares: a row that stands as it should is passed by, with its object, for
//! that was durable before it; another is written, and what the source has no more is removed. So a run
//! may be of a later moment than the one before it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::objects::{Bring, Brought, bring_all};
use super::rows::{Carried, has_object};
use super::work::Work;
use super::{BackupError, Stores, nobody_since, note};
use crate::Engine;
use crate::change::{Attempt, Change};
use crate::core::Settings;
use crate::error::Error;
use crate::gc::walk::{Pages, behind};
use crate::gc::{FsckOptions, FsckReport, Tally, Watch};
use crate::keys;
use crate::meta::{Commit, CommitId, Key, Require, commit_surely, prefix_range};
use crate::records::{FillKind, FillingRecord, PinsRecord, Record};
use crate::seam::Seams;

/// The most that one commit brings: rows, their bytes, and objects that are durable before it.
const STEP_ROWS: usize = 1000;
const STEP_BYTES: usize = 2 * 1024 * 1024;
const STEP_OBJECTS: usize = 64;
const STEP_OBJECT_BYTES: u64 = 256 * 1024 * 1024;

/// Stores that are being filled.
pub(super) struct Fill {
    stores: Stores,
    seams: Seams,
    /// The row `!filling`, which every commit requires.
    row: Bytes,
    pub(super) record: FillingRecord,
    /// Rows before this key are done.
    next: Key,
    pub(super) rows: u64,
    /// Objects brought by this run, and those that were there.
    pub(super) copied: Tally,
    pub(super) there: Tally,
    pub(super) problems: Vec<String>,
    pub(super) wrong: u64,
    /// Whether to go on where an object can't be had.
    lossy: bool,
    work: Work,
}

impl Fill {
    /// Takes the stores, which are empty or were begun by the same.
    pub(super) async fn begin(
        stores: &Stores,
        seams: &Seams,
        kind: FillKind,
        of: u64,
        lossy: bool,
        work: Work,
    ) -> Result<Self, BackupError> {
        let stores = stores.clone();
        // A node may have gone on over stores that were emptied beneath it.
        nobody_since(&stores, stores.meta.now().await?, "the stores to be filled").await?;
        let (row, record) = match stores.meta.get(keys::FILLING).await? {
            Some(row) => {
                let record = FillingRecord::decode(&row).map_err(Error::from)?;
                if (record.kind, record.of) != (kind, of) {
                    let kind = match record.kind {
                        FillKind::Restore => "restore",
                        FillKind::Copy => "copy",
                    };
                    return Err(BackupError::Unfinished { kind, of: record.of });
                }
                (row, record)
            }
            None => start(&stores, seams, kind, of).await?,
        };
        Ok(Self {
            stores,
            seams: seams.clone(),
            row,
            record,
            next: prefix_range(&keys::own()).end,
            rows: 0,
            copied: Tally::default(),
            there: Tally::default(),
            problems: Vec::new(),
            wrong: 0,
            lossy,
            work,
        })
    }

    /// Puts the next rows of the source in, their objects first.
    pub(super) async fn take(
        &mut self,
        rows: Vec<Carried>,
        bring: &Bring,
        watch: Watch<'_>,
    ) -> Result<(), BackupError> {
        for step in steps(rows) {
            let Some(last) = step.last() else { continue };
            let end = behind(&last.key);
            self.step(step, end, bring, watch).await?;
        }
        Ok(())
    }

    async fn step(
        &mut self,
        mut step: Vec<Carried>,
        end: Key,
        bring: &Bring,
        watch: Watch<'_>,
    ) -> Result<(), BackupError> {
        let by_key: HashMap<Key, usize> =
            step.iter().enumerate().map(|(at, row)| (row.key.clone(), at)).collect();
        let mut stands = vec![false; step.len()];
        let range = self.next.clone()..end.clone();
        let meta = Arc::clone(&self.stores.meta);
        let mut pages = Pages::new(&*meta, range);
        loop {
            let there = pages.next().await?;
            if there.is_empty() {
                break;
            }
            let mut gone = Vec::new();
            for (key, value) in there {
                let Some(at) = by_key.get(&key) else {
                    gone.push(key);
                    continue;
                };
                let (Some(row), Some(stands)) = (step.get_mut(*at), stands.get_mut(*at)) else {
                    continue;
                };
                *stands = row.value == value;
                if has_object(&value, row)
                    && let Some(object) = row.object.take()
                {
                    self.there.add(object.size);
                    self.work.object(object.size);
                }
            }
            if !gone.is_empty() {
                self.commit(Vec::new(), gone).await?;
            }
        }
        let needed: Vec<_> = step.iter_mut().filter_map(|row| row.object.take()).collect();
        bring_all(needed, bring, |object, brought| {
            match brought {
                Brought::Copied | Brought::Linked => self.copied.add(object.size),
                Brought::There => self.there.add(object.size),
                Brought::Not(why) => {
                    self.wrong += 1;
                    note(&mut self.problems, why.clone());
                }
            }
            let done = self.copied.count + self.there.count;
            self.work.object(object.size);
            watch(&self.work.progress("objects", done, self.copied.bytes));
        })
        .await?;
        if self.wrong > 0 && !self.lossy {
            return Err(BackupError::Objects {
                count: self.wrong,
                first: self.problems.first().cloned().unwrap_or_default(),
                next: "bring them back and run this again, or let it go on without them; `fsck` then \
                       lists what is lost",
            });
        }
        self.rows += step.len() as u64;
        self.work.rows(step.len());
        let put = step.into_iter().zip(stands).filter(|(_, stands)| !stands);
        let put: Vec<_> = put.map(|(row, _)| (row.key, row.value)).collect();
        if !put.is_empty() {
            self.commit(put, Vec::new()).await?;
        }
        self.next = end;
        watch(&self.work.progress("records", self.rows, 0));
        Ok(())
    }

    async fn commit(&self, put: Vec<(Key, Bytes)>, delete: Vec<Key>) -> Result<(), BackupError> {
        let mut commit = Commit::new(CommitId(self.seams.random_16()));
        commit.require.push(Require::Value(keys::FILLING.to_vec(), self.row.clone()));
        commit.put = put;
        commit.delete = delete;
        commit_surely(&*self.stores.meta, commit).await?;
        Ok(())
    }

    /// Removes what an earlier run left behind the source's last row, and makes the store one that
    /// opens: with the format `format`, and the pins where there are any. Then checks it.
    pub(super) async fn finish(
        mut self,
        format: Bytes,
        pins: Option<PinsRecord>,
        how: Finish<'_>,
    ) -> Result<(Self, FsckReport), BackupError> {
        let all = prefix_range(b"").end;
        let nothing: Bring =
            Arc::new(|object| Box::pin(async move { Ok(Brought::Not(object.key.to_string())) }));
        self.step(Vec::new(), all, &nothing, how.watch).await?;
        let mut put = vec![(keys::FORMAT.to_vec(), format)];
        put.extend(pins.map(|pins| (keys::PINS.to_vec(), pins.encode())));
        self.commit(put, vec![keys::FILLING.to_vec()]).await?;
        let (meta, blobs) = (Arc::clone(&self.stores.meta), Arc::clone(&self.stores.blobs));
        let engine = Engine::builder(meta, blobs).seams(self.seams.clone());
        let engine = engine.settings(how.settings.clone()).build().await?;
        let core = &engine.core;
        let mut change = Change::new(core);
        change.event(super::pins::line_of(core.now().await?, how.line));
        match change.commit().await {
            Ok(()) | Err(Attempt::Lost) => {}
            Err(Attempt::Failed(error)) => return Err(error.into()),
        }
        let options = FsckOptions { deep: how.deep };
        let report = engine.fsck(&options, how.watch).await?;
        engine.close().await?;
        Ok((self, report))
    }
}

/// How a fill ends.
pub(super) struct Finish<'a> {
    /// The settings of who will serve it.
    pub(super) settings: &'a Settings,
    /// What the trail says about it.
    pub(super) line: &'a str,
    /// Whether the closing check reads all bytes again.
    pub(super) deep: bool,
    pub(super) watch: Watch<'a>,
}

async fn start(
    stores: &Stores,
    seams: &Seams,
    kind: FillKind,
    of: u64,
) -> Result<(Bytes, FillingRecord), BackupError> {
    // What is left of processes that had them open once is nothing.
    let (all, open) = (prefix_range(b""), prefix_range(keys::OPEN));
    let before = stores.meta.scan(all.start..open.start, 1).await?;
    let behind = stores.meta.scan(open.end..all.end, 1).await?;
    if !before.is_empty() || !behind.is_empty() {
        return Err(BackupError::NotEmpty { what: "the metadata store has an installation in it" });
    }
    let occupied = !stores.blobs.list("", None, 1).await.map_err(Error::from)?.is_empty();
    let record = FillingRecord { kind, of, occupied, started_at: stores.meta.now().await? };
    let row = record.encode();
    let mut commit = Commit::new(CommitId(seams.random_16()));
    commit.require.push(Require::Absent(keys::FILLING.to_vec()));
    commit.require.push(Require::Absent(keys::FORMAT.to_vec()));
    commit.put.push((keys::FILLING.to_vec(), row.clone()));
    commit_surely(&*stores.meta, commit).await?;
    Ok((row, record))
}

/// Cuts rows into what one commit takes.
fn steps(rows: Vec<Carried>) -> Vec<Vec<Carried>> {
    let mut steps: Vec<Vec<Carried>> = Vec::new();
    let (mut bytes, mut objects, mut object_bytes) = (0, 0, 0_u64);
    for row in rows {
        let (more, size) = (row.key.len() + row.value.len(), row.object.as_ref().map(|o| o.size));
        let full = steps.last().is_none_or(|step| {
            step.len() >= STEP_ROWS
                || bytes + more > STEP_BYTES
                || size.is_some() && (objects >= STEP_OBJECTS || object_bytes >= STEP_OBJECT_BYTES)
        });
        if full {
            steps.push(Vec::new());
            (bytes, objects, object_bytes) = (0, 0, 0);
        }
        bytes += more;
        objects += usize::from(size.is_some());
        object_bytes = object_bytes.saturating_add(size.unwrap_or(0));
        if let Some(step) = steps.last_mut() {
            step.push(row);
        }
    }
    steps
}
