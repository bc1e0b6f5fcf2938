//! The steps from written bytes to a durable name.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::{ObjectKey, StoreError};
use super::slot::{Slot, Unfinished};
use super::{Inner, expect_size, failure};
use crate::disk::{DiskFile, write_all_at};

impl Inner {
    /// Opens the file of an unfinished object, creating it where it is not there.
    pub(super) fn open_or_create(&self, key: &ObjectKey) -> Result<Box<dyn DiskFile>, StoreError> {
        let path = self.path(key);
        self.ensure_parent(key, &path)?;
        match self.disk.create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(&path),
            other => other,
        }
        .map_err(|error| failure(key, &error))
    }

    /// Opens an unfinished object at exactly `offset` bytes.
    pub(super) fn open_at(
        &self,
        key: &ObjectKey,
        offset: u64,
        unfinished: &mut Unfinished,
    ) -> Result<Box<dyn DiskFile>, StoreError> {
        let file = if offset == 0 {
            // A crash may have taken the file's name: nothing was in it.
            self.open_or_create(key)?
        } else {
            self.disk.open(&self.path(key)).map_err(|error| failure(key, &error))?
        };
        let found = file.len().map_err(|error| failure(key, &error))?;
        if found < offset {
            return Err(StoreError::WrongSize { key: key.clone(), expected: offset, found });
        }
        if found > offset {
            unfinished.durable = None;
            file.set_len(offset).map_err(|error| failure(key, &error))?;
        }
        Ok(file)
    }

    /// Makes the `offset` bytes of an unfinished object durable, where this process does not know
    /// them to be.
    pub(super) fn keep_bytes(
        &self,
        key: &ObjectKey,
        file: &dyn DiskFile,
        offset: u64,
        slot: &Slot,
        unfinished: &mut Unfinished,
    ) -> Result<(), StoreError> {
        if unfinished.durable != Some(offset) {
            self.sync_file(file).map_err(|error| slot.spoil(key, &error))?;
            // A disk that took fewer bytes than it said is found here, before anybody is told.
            let found = file.len().map_err(|error| failure(key, &error))?;
            expect_size(key, offset, found)?;
            unfinished.durable = Some(offset);
        }
        Ok(())
    }

    /// Makes the name of an unfinished object durable, where this process does not know it to be.
    pub(super) fn keep_name(
        &self,
        key: &ObjectKey,
        slot: &Slot,
        unfinished: &mut Unfinished,
    ) -> Result<(), StoreError> {
        if !unfinished.named {
            self.sync_parent(&self.path(key)).map_err(|error| slot.spoil(key, &error))?;
            unfinished.named = true;
        }
        Ok(())
    }

    pub(super) fn finish(
        &self,
        key: &ObjectKey,
        offset: u64,
        finished: &ObjectKey,
        slot: &Slot,
        unfinished: &mut Unfinished,
    ) -> Result<(), StoreError> {
        slot.refuse_spoiled(key)?;
        if key != finished && self.len(key)?.is_none() {
            self.take_back_doubtful(finished)?;
            // Finished before, and aborted since.
            if let Some(found) = self.len(finished)? {
                expect_size(finished, offset, found)?;
                let path = self.path(finished);
                return self.sync_parent(&path).map_err(|error| slot.spoil(key, &error));
            }
        }
        let file = self.open_at(key, offset, unfinished)?;
        self.keep_bytes(key, &*file, offset, slot, unfinished)?;
        if key == finished {
            return self.keep_name(key, slot, unfinished);
        }
        self.publish(key, offset, finished, slot)
    }

    /// Gives the durable file of `key` the name `to` as well, durably.
    pub(super) fn publish(
        &self,
        key: &ObjectKey,
        len: u64,
        to: &ObjectKey,
        slot: &Slot,
    ) -> Result<(), StoreError> {
        let path = self.path(to);
        self.ensure_parent(to, &path)?;
        self.take_back_doubtful(to)?;
        let linked = match self.disk.link(&self.path(key), &path) {
            Ok(()) => true,
            // Keys are used once: this is the same file, from a call that did not get further.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = self.disk.file_len(&path).map_err(|error| failure(to, &error))?;
                expect_size(to, len, found)?;
                false
            }
            Err(error) => return Err(failure(key, &error)),
        };
        self.sync_parent(&path).map_err(|error| {
            if linked {
                self.take_back(to);
            }
            slot.spoil(key, &error)
        })
    }

    /// Gives somebody else's file, of `size` bytes, the name `key` as well, durably; false where the
    /// system can't.
    pub(super) fn link(&self, file: &Path, size: u64, key: &ObjectKey) -> Result<bool, StoreError> {
        use io::ErrorKind as Kind;

        let path = self.path(key);
        let open = self.disk.open_read(file).map_err(|error| failure(key, &error))?;
        expect_size(key, size, open.len().map_err(|error| failure(key, &error))?)?;
        // Its store may promise less than this one.
        self.sync_file(&*open).map_err(|error| failure(key, &error))?;
        self.ensure_parent(key, &path)?;
        self.take_back_doubtful(key)?;
        match self.disk.link(file, &path) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    Kind::CrossesDevices
                        | Kind::Unsupported
                        | Kind::PermissionDenied
                        | Kind::TooManyLinks
                        | Kind::AlreadyExists
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(failure(key, &error)),
        }
        self.sync_parent(&path).map_err(|error| {
            self.take_back(key);
            failure(key, &error)
        })?;
        Ok(true)
    }

    /// Takes a name back whose fsync failed: nobody was told of it.
    pub(super) fn take_back(&self, key: &ObjectKey) {
        if self.remove(key).is_err() {
            self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        }
    }

    /// Takes a name back that an earlier call could not: an fsync of it as it stands would lie.
    pub(super) fn take_back_doubtful(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        if doubtful.contains(key) {
            self.remove(key)?;
            doubtful.remove(key);
        }
        Ok(())
    }

    pub(super) fn put(&self, key: &ObjectKey, bytes: &Bytes) -> Result<(), StoreError> {
        let (path, number) = (self.path(key), self.puts.fetch_add(1, Ordering::Relaxed));
        let temporary = self.incoming.join(number.to_string());
        self.ensure_parent(key, &path)?;
        self.take_back_doubtful(key)?;
        let written = || {
            let file = self.disk.create_new(&temporary)?;
            write_all_at(&*file, &mut [IoSlice::new(bytes)], 0)?;
            self.sync_file(&*file)?;
            if file.len()? != bytes.len() as u64 {
                return Err(io::Error::other("the file is not as long as what was written"));
            }
            self.disk.rename(&temporary, &path)
        };
        if let Err(error) = written() {
            let _ = self.disk.remove(&temporary);
            return Err(match failure(key, &error) {
                StoreError::NotFound(key) => {
                    let reason = "a directory of the store is gone".into();
                    StoreError::Failed { key, reason, temporary: false }
                }
                other => other,
            });
        }
        self.sync_parent(&path).map_err(|error| {
            self.take_back(key);
            failure(key, &error)
        })
    }
}
