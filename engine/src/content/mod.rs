//! The bytes: objects in a blob store, written resumably and published durably.
//!
//! [`BlobStore`] is all that the rest of the engine asks of a file system or a bucket. It
//! promises:
//!
//! - an object under a [`ObjectKey`] that [`BlobStore::finish`] or [`BlobStore::put`] returned
//!   `Ok` for is **durable** (file and directory fsynced, or confirmed by the store) and whole;
//! - what was checkpointed survives a crash, and writing can go on from it in another process;
//! - after a failed fsync the file is garbage: the upload is given up, never fsynced again.
//!
//! What it never does: know a tenant, a digest or a fact. Which object holds which content is
//! said by the metadata alone, which names an object only after it is durable. Every
//! implementation passes `suite` (feature `testing`).

#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub mod fs;
pub mod opendal;
#[cfg(any(test, feature = "testing"))]
pub mod suite;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// Where an object lies: `/`-separated segments of `[a-z0-9._-]`, made from ids and digests only,
/// never from a name that came from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Takes a key that the engine's own layout made (`keys::object`), or that a listing
    /// returned.
    ///
    /// Returns `None` where a segment is empty, is `.` or `..`, or has a character outside
    /// `[a-z0-9._-]`.
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = key.into();
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let good = key.split('/').all(|segment| {
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
        });
        (good && key.len() <= 512).then_some(Self(key))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store needs to go on with an unfinished object: kept in the upload session's record,
/// opaque to everybody else (an S3 store keeps the multipart upload's id and its parts here).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WriteState {
    /// How many bytes are durable.
    pub offset: u64,
    /// The store's own memory.
    pub state: Vec<u8>,
}

/// What a listing shows of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Where it lies.
    pub key: ObjectKey,
    /// Its size in bytes; zero where the store can't tell, as of what is `unfinished`.
    pub size: u64,
    /// Present where this is no object but a write under way that the store keeps apart from its
    /// objects (S3: a multipart upload): what [`BlobStore::abort`] takes to give up exactly that,
    /// and no object that may lie finished under the same key.
    pub unfinished: Option<WriteState>,
}

impl ObjectEntry {
    /// An object that lies there.
    pub fn object(key: ObjectKey, size: u64) -> Self {
        Self { key, size, unfinished: None }
    }
}

/// Bytes of an object on their way out.
pub enum ObjectRead {
    /// A local file, open for reading: send `length` bytes from `offset`. The open file stays
    /// whole even where the object is deleted meanwhile.
    File {
        /// The open file.
        file: std::fs::File,
        /// Where the range begins.
        offset: u64,
        /// How many bytes it has.
        length: u64,
    },
    /// A stream of exactly the range's bytes, or an error.
    Stream(BoxStream<'static, Result<Bytes, StoreError>>),
}

impl fmt::Debug for ObjectRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { offset, length, .. } => write!(f, "File({offset}+{length})"),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Why a call on a [`BlobStore`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object (or no such unfinished one).
    #[error("there is no object {0}")]
    NotFound(ObjectKey),
    /// The object, or what was written of it, is not as long as it must be. Nothing was
    /// published.
    #[error("object {key} has {found} bytes where {expected} were expected")]
    WrongSize {
        /// The object.
        key: ObjectKey,
        /// What should be there.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// No room left.
    #[error("the blob store has no room for {key}: {reason}")]
    Full {
        /// The object.
        key: ObjectKey,
        /// What the system said.
        reason: String,
    },
    /// The store refused or failed. What was not finished is not there.
    #[error("the blob store failed at {key}: {reason}")]
    Failed {
        /// The object.
        key: ObjectKey,
        /// What the system said.
        reason: String,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// The object has other bytes than it was stored with; the last of them were held back.
    #[error("the bytes of object {key} are not what was stored")]
    Rotten {
        /// The object.
        key: ObjectKey,
    },
    /// How much room is left could not be told.
    #[error("the blob store can't tell how much room it has: {reason}")]
    Unmeasured {
        /// What the system said.
        reason: String,
    },
    /// The objects could not be listed.
    #[error("the blob store could not list its objects: {reason}")]
    Unlisted {
        /// What the system said, and where.
        reason: String,
    },
}

/// Writes an unfinished object on, from where its [`WriteState`] says.
///
/// Dropping a writer leaves what was checkpointed; what came after may be there or not, and
/// [`BlobStore::resume`] takes it away.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Appends the parts of `batch` in order. On return they are on their way, not yet durable.
    /// After an error the writer is spent.
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError>;

    /// Makes all that was written durable and says how to go on from here; `then` says what the
    /// caller does next.
    ///
    /// The next call on the same writer tells that the caller has kept that state: what only
    /// earlier ones need may go. After an error that is temporary the last checkpoint still holds
    /// and can be resumed; after any other the object is garbage.
    async fn checkpoint(&mut self, then: Then) -> Result<WriteState, StoreError>;

    /// Says how to go on from what is durable already, while the rest is still on its way: a checkpoint
    /// that keeps nobody waiting, for a caller in the middle of a stream. Waits only as long as less than
    /// `least` bytes of the object are durable and more are on their way.
    ///
    /// `None` where that comes to nothing new: then only [`Self::checkpoint`] tells more. Otherwise the
    /// offset is that after all that was written, or one at which [`Self::is_edge`] was true, and the next
    /// call tells that the caller has kept the state. Errors mean what they mean there.
    async fn advance(&mut self, _least: u64) -> Result<Option<WriteState>, StoreError> {
        Ok(None)
    }

    /// Whether [`Self::advance`] may come to say, when more was written, that all that was written so far is
    /// durable, and nothing that comes later: whoever wants to go on from there notes what it knows at this offset.
    fn is_edge(&self) -> bool {
        false
    }
}

/// What follows a checkpoint: a store that knows may save itself work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Perhaps more writes, by the same writer.
    Writes,
    /// Nothing by this writer: the next one resumes from this state.
    Rests,
    /// [`BlobStore::finish`]. The state is for that call and for [`BlobStore::abort`] alone: nobody
    /// resumes it, who fails to finish goes on from the checkpoint before.
    Finishes,
}

/// The storage the engine needs. See the page of this module for its promises.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Begins an unfinished object. Nobody reads it before [`Self::finish`].
    async fn start(&self, unfinished: &ObjectKey) -> Result<WriteState, StoreError>;

    /// What must be kept in the place of `state` before a new writer resumes it, so that nothing
    /// an earlier one does late (a node that stalled, and was given up) can hit what the new one
    /// writes. `None` where there is nothing to keep. `nonce` is random.
    ///
    /// Where nobody else can know of the object nothing need be claimed.
    fn claim(&self, _state: &WriteState, _nonce: u64) -> Result<Option<WriteState>, StoreError> {
        Ok(None)
    }

    /// Opens an unfinished object to write on from `state`; bytes past its offset are dropped.
    /// At most one writer at a time: the caller sees to it, with [`Self::claim`] across processes.
    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError>;

    /// Publishes an unfinished object, of exactly `state.offset` bytes, all checkpointed, under
    /// `finished`, durably; returns the key where it lies now (`finished`, or `unfinished` where
    /// a store would have to copy: [`Self::settle`] then moves it behind the request).
    /// May be called again after an error or a crash.
    ///
    /// Under another key than `finished`, the unfinished object stays until [`Self::abort`] takes
    /// it away: where the fact that names the finished one is never committed, the upload goes on
    /// from `state` or any earlier one. So nobody may [`Self::resume`] it once that fact may be
    /// there.
    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError>;

    /// Takes away what only the unfinished object needed, once the fact that names the object
    /// finished *under the same key* is committed. `state` is what it was finished from.
    async fn tidy(&self, _finished: &ObjectKey, _state: &WriteState) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives an unfinished object up, and what [`Self::finish`] made of it under its own key; with
    /// a state from a listing ([`ObjectEntry::unfinished`]), that one write under way alone. What
    /// is absent is given up already.
    async fn abort(&self, unfinished: &ObjectKey, state: &WriteState) -> Result<(), StoreError>;

    /// Copies (or links) a finished object to another key, durably; the old key stays until it
    /// is deleted.
    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError>;

    /// Writes a small object whole, durably.
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError>;

    /// Reads the bytes `range` (start included, end not) of a finished object. A range past its
    /// end is [`StoreError::WrongSize`].
    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError>;

    /// The size of a finished object, as the store has it.
    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError>;

    /// Deletes an object, finished or not. What is absent is deleted already.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// The objects, finished or not, whose keys begin with `prefix` and come after `after`, in
    /// the order of their keys, at most `limit` keys. A key that has both a finished object and a
    /// write under way has two entries, in one page.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError>;

    /// The bytes still free; `None` where the store has no bound that it could know of. An error
    /// means that they are not known now, which nobody may take for room.
    async fn free_bytes(&self) -> Result<Option<u64>, StoreError>;

    /// The store's ability to let others read an object by a URL, where it has it.
    fn presigner(&self) -> Option<&dyn Presigner> {
        None
    }

    /// What a store besides can do whose objects are files of this machine.
    fn local_files(&self) -> Option<&dyn LocalFiles> {
        None
    }
}

/// Makes URLs by which anybody may read one object for a while, ranges too: an ability that only
/// some stores have.
#[async_trait]
pub trait Presigner: Send + Sync {
    /// A URL that answers a GET with the bytes of `key` and `content_type` until `expires` from
    /// now. It says nothing on whether the object is there.
    async fn presign(
        &self,
        key: &ObjectKey,
        expires: Duration,
        content_type: &str,
    ) -> Result<String, StoreError>;
}

/// What a store can do whose objects are files of this machine: share them, without a copy, with
/// another such store.
#[async_trait]
pub trait LocalFiles: Send + Sync {
    /// The file of a finished object. It is never written to again, so a second name of it is as good
    /// as a copy until the disk fails.
    fn path(&self, key: &ObjectKey) -> PathBuf;

    /// Makes `file`, of `size` bytes, the finished object `key` too, durably. False where that can't be
    /// (it lies on another file system, or the system refuses): nothing happened, copy it.
    async fn link(&self, file: &Path, size: u64, key: &ObjectKey) -> Result<bool, StoreError>;
}
