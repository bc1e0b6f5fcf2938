//! Reading: a range as a stream that gives all of it or fails, and is taken up again where it broke.

use std::ops::Range;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use strongroom_engine::content::{ObjectKey, StoreError};

use crate::error::{Kind, Refusal, permanent, temporary};
use crate::store::S3Store;

/// How often one read is taken up again without a byte in between.
const TAKEN_UP: u32 = 3;

/// A read under way.
struct Reading {
    store: S3Store,
    key: ObjectKey,
    body: ByteStream,
    etag: String,
    at: u64,
    end: u64,
    broken: u32,
}

impl S3Store {
    /// The bytes of a range.
    pub(crate) async fn stream(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        if range.is_empty() {
            self.require(key, range.end).await?;
            return Ok(stream::empty().boxed());
        }
        let got = match self.inner().bucket.get(key.as_str(), &range, None).await {
            Ok(got) => got,
            Err(refusal) if refusal.kind == Kind::Unsuitable => {
                self.require(key, range.end).await?;
                return Err(refusal.at(key));
            }
            Err(refusal) => return Err(refusal.at(key)),
        };
        let wanted = range.end - range.start;
        if got.content_length().and_then(|length| u64::try_from(length).ok()) != Some(wanted) {
            // S3 cuts a range to the object's end.
            self.require(key, range.end).await?;
            return Err(permanent(key, "the service answered another range than was asked for"));
        }
        let etag = got.e_tag().unwrap_or_default().to_owned();
        let (store, key, body) = (self.clone(), key.clone(), got.body);
        let (at, end, broken) = (range.start, range.end, 0);
        let reading = Reading { store, key, body, etag, at, end, broken };
        Ok(stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })
        .into_stream()
        .boxed())
    }

    /// Fails where there is no object, or one that ends before `end`.
    async fn require(&self, key: &ObjectKey, end: u64) -> Result<(), StoreError> {
        let head = self.inner().bucket.head(key.as_str()).await;
        match head.map_err(|refusal| refusal.at(key))? {
            None => Err(StoreError::NotFound(key.clone())),
            Some(head) if head.size < end => {
                Err(StoreError::WrongSize { key: key.clone(), expected: end, found: head.size })
            }
            Some(_) => Ok(()),
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let broke = match self.body.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => continue,
                Some(Ok(bytes)) => {
                    self.at += bytes.len() as u64;
                    self.broken = 0;
                    if self.at > self.end {
                        return Err(permanent(&self.key, "more bytes came than were asked for"));
                    }
                    return Ok(Some(bytes));
                }
                None if self.at == self.end => return Ok(None),
                None => "it ended early".to_owned(),
                Some(Err(error)) => error.to_string(),
            };
            self.broken += 1;
            if self.broken > TAKEN_UP || self.etag.is_empty() {
                return Err(temporary(&self.key, format!("a read broke off: {broke}")));
            }
            self.take_up().await.map_err(|refusal| refusal.at(&self.key))?;
        }
    }

    /// Reads on from where it broke, of the same object or not at all.
    async fn take_up(&mut self) -> Result<(), Refusal> {
        let range = self.at..self.end;
        let bucket = &self.store.inner().bucket;
        let got = bucket.get(self.key.as_str(), &range, Some(&self.etag)).await?;
        self.body = got.body;
        Ok(())
    }
}
