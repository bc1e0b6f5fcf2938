//! Where parts wait on their way: memory that all writers share, and then disk.
//!
//! Nothing here can wait for itself: memory is only taken where some is free; a part that gets
//! none takes all the disk that it can need at once, in its turn, and then waits for nothing but
//! its sender and S3. So whoever waits here waits for parts that end.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for, in bytes.
const UNIT: u64 = 1024;

/// The memory and the disk for parts.
#[derive(Debug)]
pub(crate) struct Pool {
    memory: Arc<Semaphore>,
    memory_bytes: u64,
    disk: Arc<Semaphore>,
    disk_units: u32,
    folder: PathBuf,
}

/// Memory or disk that was taken from the pool, given back when dropped.
#[derive(Debug)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// No room yet.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Pool {
    pub(crate) fn new(memory_bytes: u64, disk_bytes: u64, folder: PathBuf) -> Self {
        let permits = |bytes| {
            let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
            Arc::new(Semaphore::new(units(bytes).min(most) as usize))
        };
        Self {
            memory: permits(memory_bytes),
            memory_bytes,
            disk: permits(disk_bytes),
            disk_units: units(disk_bytes),
            folder,
        }
    }

    /// Takes memory for `bytes` more, where it is free now.
    pub(crate) fn take_memory(&self, room: &mut Room, bytes: u64) -> bool {
        match Arc::clone(&self.memory).try_acquire_many_owned(units(bytes)) {
            Ok(permit) => {
                room.add(permit);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether a part of `bytes` had better go to disk at once: it would leave others no memory.
    pub(crate) fn is_large(&self, bytes: u64) -> bool {
        bytes > self.memory_bytes / 2
    }

    /// Waits for disk for a part of up to `bytes`, or for all there is, and opens a file on it that
    /// has no name, so that nothing is left of it whatever happens.
    pub(crate) async fn take_disk(&self, bytes: u64) -> io::Result<(Room, Arc<File>)> {
        let wanted = units(bytes).min(self.disk_units);
        let permit = Arc::clone(&self.disk).acquire_many_owned(wanted).await;
        let permit = permit.map_err(io::Error::other)?;
        let folder = self.folder.clone();
        let opened = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder));
        let file = opened.await.map_err(io::Error::other)??;
        Ok((Room(Some(permit)), Arc::new(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool::new(8 << 10, 16 << 10, std::env::temp_dir())
    }

    #[tokio::test]
    async fn memory_is_taken_only_while_it_is_free_and_comes_back() {
        let pool = pool();
        let (mut one, mut other) = (Room::none(), Room::none());
        assert!(pool.take_memory(&mut one, 5 << 10));
        assert!(!pool.take_memory(&mut other, 5 << 10));
        assert!(pool.take_memory(&mut other, 3 << 10));
        drop(one);
        assert!(pool.take_memory(&mut other, 5 << 10));
        assert!(!pool.take_memory(&mut other, 1));
    }

    #[tokio::test]
    async fn who_finds_the_disk_full_waits_until_a_part_is_gone() {
        let pool = Arc::new(pool());
        let (first, _file) = pool.take_disk(1 << 40).await.unwrap();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.take_disk(1).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap().unwrap();
    }
}
