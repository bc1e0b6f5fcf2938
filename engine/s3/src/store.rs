//! The store: how its promises are made of requests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_engine::content::{
    BlobStore, ObjectEntry, ObjectKey, ObjectRead, ObjectWriter, Presigner, StoreError, WriteState,
};
use strongroom_engine::seam::{Entropy, Seams};

use crate::bucket::Bucket;
use crate::error::Refusal;
use crate::options::S3Options;
use crate::piece::Piece;
use crate::pool::Pool;
use crate::sizes::{LEAST, MOST};
use crate::state::{Rest, Saved, listed, listed_ids};
use crate::writer::spool_failure;

/// A [`BlobStore`] in an S3 bucket. See the page of this crate. Cloning shares it.
#[derive(Debug, Clone)]
pub struct S3Store(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) bucket: Bucket,
    pub(crate) pool: Pool,
    pub(crate) part_bytes: u64,
    pub(crate) parts_at_once: usize,
    pub(crate) copy_bytes: u64,
    entropy: Arc<dyn Entropy>,
}

impl S3Store {
    /// A store over a bucket. Asks the bucket nothing yet: [`Self::check`] does.
    pub async fn new(options: &S3Options) -> Self {
        Self::with_entropy(options, Seams::default().entropy).await
    }

    /// The same, with its names drawn from `entropy`.
    pub async fn with_entropy(options: &S3Options, entropy: Arc<dyn Entropy>) -> Self {
        let folder = options.spool_folder.clone().unwrap_or_else(std::env::temp_dir);
        Self(Arc::new(Inner {
            bucket: Bucket::new(options).await,
            pool: Pool::new(options.pool_bytes, options.spool_bytes, folder),
            part_bytes: options.part_bytes.max(LEAST),
            parts_at_once: options.parts_at_once.max(1),
            copy_bytes: options.copy_bytes.clamp(LEAST, MOST),
            entropy,
        }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

#[async_trait]
impl BlobStore for S3Store {
    /// Nothing is there before the first part is full.
    async fn start(&self, _unfinished: &ObjectKey) -> Result<WriteState, StoreError> {
        Ok(Saved::default().encode())
    }

    fn claim(&self, state: &WriteState, nonce: u64) -> Result<Option<WriteState>, StoreError> {
        let saved = Saved::decode(&state.state);
        // What can't be read is refused by `resume`, which knows the key.
        Ok(saved.map(|saved| WriteState { offset: state.offset, ..saved.claimed(nonce).encode() }))
    }

    async fn resume(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        Ok(Box::new(self.open(unfinished, Saved::of(unfinished, state)?).await?))
    }

    async fn finish(
        &self,
        unfinished: &ObjectKey,
        state: &WriteState,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        self.publish(unfinished, Saved::of(unfinished, state)?, finished).await
    }

    async fn tidy(&self, finished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        let saved = Saved::of(finished, state)?;
        let mut tails = saved.doomed;
        if let Rest::Tail { name, .. } = saved.rest {
            tails.push(name);
        }
        // What stays is swept.
        self.delete_tails(finished, &tails).await;
        Ok(())
    }

    async fn abort(&self, unfinished: &ObjectKey, state: &WriteState) -> Result<(), StoreError> {
        if let Some(ids) = listed_ids(state) {
            for id in ids {
                let aborted = self.0.bucket.abort_upload(unfinished.as_str(), &id).await;
                aborted.map_err(|refusal| refusal.at(unfinished))?;
            }
            return Ok(());
        }
        // A state that can't be read names no upload: a listing does.
        let upload = Saved::decode(&state.state).and_then(|saved| saved.upload);
        self.remove(unfinished, upload).await
    }

    async fn settle(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        if from == to {
            return Ok(());
        }
        self.copy(from, from.as_str(), to).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let mut piece = Piece::new();
        let length = bytes.len() as u64;
        let added = piece.add(&self.0.pool, vec![bytes], length).await;
        added.map_err(|error| spool_failure(key, &error))?;
        match self.0.bucket.put(key.as_str(), &piece, false).await {
            Ok(()) if self.0.bucket.has_checksums() => Ok(()),
            put => {
                // The object decides.
                let head = self.0.bucket.head(key.as_str()).await;
                let head = head.map_err(|refusal| refusal.at(key))?;
                if head.as_ref().is_some_and(|h| h.is(&self.0.bucket, length, piece.crc())) {
                    return Ok(());
                }
                put.map_err(|refusal| refusal.at(key))?;
                let found = head.map_or(0, |head| head.size);
                Err(StoreError::WrongSize { key: key.clone(), expected: length, found })
            }
        }
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<ObjectRead, StoreError> {
        Ok(ObjectRead::Stream(self.stream(key, range).await?))
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let head = self.0.bucket.head(key.as_str()).await.map_err(|refusal| refusal.at(key))?;
        Ok(head.map(|head| head.size))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.remove(key, None).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, StoreError> {
        if limit == 0 || !begins_a_key(prefix) {
            return Ok(Vec::new());
        }
        let listed = self.entries(prefix, after.map(ObjectKey::as_str), limit).await;
        listed.map_err(|refusal| StoreError::Unlisted { reason: refusal.to_string() })
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    fn presigner(&self) -> Option<&dyn Presigner> {
        Some(self)
    }
}

#[async_trait]
impl Presigner for S3Store {
    async fn presign(
        &self,
        key: &ObjectKey,
        expires: Duration,
        content_type: &str,
    ) -> Result<String, StoreError> {
        let signed = self.0.bucket.presign(key.as_str(), expires, content_type).await;
        signed.map_err(|refusal| refusal.at(key))
    }
}

/// What lies under one key.
#[derive(Default)]
struct Found {
    size: Option<u64>,
    uploads: Vec<String>,
}

impl S3Store {
    async fn entries(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectEntry>, Refusal> {
        let mut found: BTreeMap<ObjectKey, Found> = BTreeMap::new();
        // Some services take no prefix that ends as a path must not.
        let asked = match prefix.rsplit_once('/') {
            Some((_, "." | "..")) => prefix.trim_end_matches('.'),
            None if matches!(prefix, "." | "..") => "",
            _ => prefix,
        };
        let begins = |key: &ObjectKey| key.as_str().starts_with(prefix);
        // Some services take only a key below the prefix to begin behind.
        let after = match after {
            Some(after) if after.starts_with(prefix) => Some(after),
            Some(after) if after > prefix => return Ok(Vec::new()),
            _ => None,
        };
        // The objects first: up to where they are known, uploads matter.
        let mut from = after.map(str::to_owned);
        let known = loop {
            let page = self.0.bucket.list_objects(asked, from.as_deref(), limit).await?;
            for (key, size) in page.items {
                if let Some(key) = ObjectKey::new(key).filter(|key| begins(key)) {
                    found.entry(key).or_default().size = Some(size);
                }
            }
            from = page.more_after;
            if from.is_none() || found.len() >= limit {
                break from;
            }
        };
        let mut from = after.map(str::to_owned);
        loop {
            let page = self.0.bucket.list_uploads(asked, from.as_deref()).await?;
            for (key, id) in page.items {
                let is_known = known.as_ref().is_none_or(|known| key <= *known);
                if let Some(key) = ObjectKey::new(key).filter(|key| begins(key))
                    && is_known
                    && after.is_none_or(|after| key.as_str() > after)
                {
                    found.entry(key).or_default().uploads.push(id);
                }
            }
            from = page.more_after;
            let done = from.as_ref().is_none_or(|from| known.as_ref().is_some_and(|k| from > k));
            if done {
                break;
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for (key, Found { size, uploads }) in found.into_iter().take(limit) {
            entries.extend(size.map(|size| ObjectEntry::object(key.clone(), size)));
            if !uploads.is_empty() {
                entries.push(ObjectEntry { key, size: 0, unfinished: Some(listed(&uploads)) });
            }
        }
        Ok(entries)
    }
}

/// Whether any key may begin so; a service may refuse to list what none can.
fn begins_a_key(prefix: &str) -> bool {
    prefix.is_empty() || ObjectKey::new(format!("{prefix}x")).is_some()
}
