//! Finishing, resuming and giving up: what becomes of an unfinished object.
//!
//! The rare case that shapes this: an object was finished and nobody learnt of it, since the
//! process ended or the database failed before the fact was committed. The upload is then gone, and
//! an object lies under the key that may not be overwritten, since another node may be about to
//! name it. So who goes on takes its bytes back from there, into an upload *again* beside the key,
//! and finishes that by a copy. Sending the same bytes once more simply finds them there.

use futures::{StreamExt, TryStreamExt, stream};
use strongroom_engine::content::{ObjectKey, StoreError};

use crate::bucket::Head;
use crate::error::{permanent, temporary};
use crate::piece::Piece;
use crate::state::{Rest, Saved, TailName, Upload, is_beside};
use crate::store::S3Store;
use crate::writer::{S3Writer, spool_failure};

impl S3Store {
    /// A writer that goes on from `saved`.
    pub(crate) async fn open(
        &self,
        key: &ObjectKey,
        mut saved: Saved,
    ) -> Result<S3Writer, StoreError> {
        // Before the second writer nothing can have been finished.
        let finished = if saved.claims > 1 {
            let head = self.inner().bucket.head(key.as_str()).await;
            head.map_err(|refusal| refusal.at(key))?
        } else {
            None
        };
        if let Some(head) = &finished
            && saved.upload.as_ref().is_some_and(|upload| upload.again.is_none())
        {
            self.take_back(key, &mut saved, head).await?;
        }
        let piece = match &saved.rest {
            Rest::Nothing => Piece::new(),
            Rest::Tail { name, size, crc } => self.tail(key, *name, *size, *crc).await?,
            Rest::Whole { .. } => {
                return Err(permanent(key, "it was sealed; go on from the checkpoint before"));
            }
        };
        Ok(S3Writer::new(self.clone(), key.clone(), saved, piece, finished.is_some()))
    }

    /// Makes the parts anew from the object that was finished of them.
    async fn take_back(
        &self,
        key: &ObjectKey,
        saved: &mut Saved,
        head: &Head,
    ) -> Result<(), StoreError> {
        let bucket = &self.inner().bucket;
        if head.size < saved.in_parts() {
            return Err(StoreError::NotFound(key.clone()));
        }
        let mut upload = Upload { id: String::new(), again: Some(saved.nonce) };
        let object = upload.place(key);
        upload.id = bucket
            .create_upload(&object, upload.is_checked())
            .await
            .map_err(|refusal| refusal.at(key))?;
        let mut at = 0;
        let copies: Vec<_> = saved
            .parts
            .iter()
            .map(|part| {
                let range = at..at + part.size;
                at = range.end;
                let from = (key.as_str(), head.etag.as_str(), range);
                bucket.copy_part(from, &object, &upload.id, (part.number, part.crc))
            })
            .collect();
        let copied = stream::iter(copies).buffered(self.inner().parts_at_once).try_collect().await;
        match copied {
            Ok(parts) => {
                (saved.parts, saved.upload) = (parts, Some(upload));
                Ok(())
            }
            Err(refusal) => {
                // Else it is swept.
                let _ = bucket.abort_upload(&object, &upload.id).await;
                Err(refusal.at(key))
            }
        }
    }

    /// Reads a tail back, all of it.
    async fn tail(
        &self,
        key: &ObjectKey,
        name: TailName,
        size: u64,
        crc: u64,
    ) -> Result<Piece, StoreError> {
        let object = name.beside(key);
        let place = ObjectKey::new(object.as_str());
        let place = place.ok_or_else(|| permanent(key, format!("{object} is no key")))?;
        let mut body = self.stream(&place, 0..size).await?;
        let mut piece = Piece::new();
        while let Some(bytes) = body.try_next().await? {
            let added = piece.add(&self.inner().pool, vec![bytes], size).await;
            added.map_err(|error| spool_failure(key, &error))?;
        }
        if piece.crc() != crc {
            return Err(permanent(key, format!("{object} is not what was written")));
        }
        Ok(piece)
    }

    /// See [`BlobStore::finish`](strongroom_engine::content::BlobStore::finish).
    pub(crate) async fn publish(
        &self,
        key: &ObjectKey,
        mut saved: Saved,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        if saved.upload.is_none() {
            return self.publish_small(key, &saved, finished).await;
        }
        if let Rest::Tail { name, size, crc } = saved.rest {
            // Not sealed: the tail becomes the last part here.
            let piece = self.tail(key, name, size, crc).await?;
            self.add_last(key, &mut saved, &piece).await?;
        }
        let Some(upload) = saved.upload.clone() else { return Ok(key.clone()) };
        let Some(again) = upload.again.map(|_| upload.place(key)) else {
            self.complete(key, &saved, &upload).await?;
            return Ok(key.clone());
        };
        let bucket = &self.inner().bucket;
        let head = bucket.head(key.as_str()).await.map_err(|refusal| refusal.at(key))?;
        if head.is_some_and(|head| head.is(bucket, saved.in_parts(), saved.crc_of_parts())) {
            // Else it is swept.
            let _ = bucket.abort_upload(&again, &upload.id).await;
            return Ok(key.clone());
        }
        if finished == key {
            return Err(permanent(key, "another object was finished there"));
        }
        self.complete(key, &saved, &upload).await?;
        self.copy(key, &again, finished).await?;
        let _ = bucket.delete(&again).await;
        Ok(finished.clone())
    }

    /// Without parts: the tail is all, or there is nothing.
    async fn publish_small(
        &self,
        key: &ObjectKey,
        saved: &Saved,
        finished: &ObjectKey,
    ) -> Result<ObjectKey, StoreError> {
        let piece = match &saved.rest {
            Rest::Whole { .. } => return Ok(key.clone()),
            Rest::Nothing => Piece::new(),
            Rest::Tail { name, size, crc } => self.tail(key, *name, *size, *crc).await?,
        };
        for place in [key, finished] {
            if self.put_new(place, &piece).await? {
                return Ok(place.clone());
            }
        }
        Err(permanent(key, "other objects were finished there"))
    }

    async fn add_last(
        &self,
        key: &ObjectKey,
        saved: &mut Saved,
        piece: &Piece,
    ) -> Result<(), StoreError> {
        let Some(upload) = &saved.upload else { return Ok(()) };
        let (object, number) = (upload.place(key), saved.next);
        let sent = self
            .inner()
            .bucket
            .upload_part(&object, &upload.id, number, piece, upload.is_checked())
            .await;
        match sent {
            Ok(part) => saved.parts.push(part),
            // It may have been completed before: then the object says so below.
            Err(refusal) if refusal.kind == crate::error::Kind::NoUpload => {
                let (size, crc) = (piece.length(), piece.crc());
                saved.parts.push(crate::state::Part { number, size, crc, etag: "-".to_owned() });
            }
            Err(refusal) => return Err(refusal.at(key)),
        }
        saved.rest = Rest::Nothing;
        Ok(())
    }

    /// Completes an upload; the object decides whether that worked.
    async fn complete(
        &self,
        key: &ObjectKey,
        saved: &Saved,
        upload: &Upload,
    ) -> Result<(), StoreError> {
        let bucket = &self.inner().bucket;
        let object = upload.place(key);
        let (expected, crc) = (saved.in_parts(), saved.crc_of_parts());
        let checked = upload.is_checked().then_some(crc);
        let completed = bucket.complete(&object, &upload.id, &saved.parts, expected, checked).await;
        let head = bucket.head(&object).await.map_err(|refusal| refusal.at(key))?;
        match (head, completed) {
            (Some(head), _) if head.is(bucket, expected, crc) => Ok(()),
            (Some(head), _) if checked.is_none() && head.may_be(expected, crc) => Ok(()),
            (None, Err(refusal)) => Err(refusal.at(key)),
            (None, Ok(())) => {
                Err(temporary(key, "the service confirmed the object and does not have it"))
            }
            (Some(_), Err(refusal)) => Err(permanent(
                key,
                format!("another object was finished there, and this one could not be: {refusal}"),
            )),
            (Some(head), Ok(())) => {
                let found = head.size;
                tracing::error!(%key, expected, found, "the service confirmed an object that is not what was sent");
                if found != expected {
                    return Err(StoreError::WrongSize { key: key.clone(), expected, found });
                }
                Err(permanent(key, "the service confirmed an object of another checksum"))
            }
        }
    }

    /// Takes away all that is, or may be, there of an object.
    pub(crate) async fn remove(
        &self,
        key: &ObjectKey,
        upload: Option<Upload>,
    ) -> Result<(), StoreError> {
        let bucket = &self.inner().bucket;
        let at = |refusal: crate::error::Refusal| refusal.at(key);
        if let Some(upload) = upload {
            bucket.abort_upload(&upload.place(key), &upload.id).await.map_err(at)?;
        }
        let beside = format!("{key}.");
        let mut after: Option<String> = None;
        loop {
            let page = bucket.list_uploads(key.as_str(), after.as_deref()).await.map_err(at)?;
            for (of, id) in &page.items {
                if of == key.as_str() || is_beside(of, key) {
                    bucket.abort_upload(of, id).await.map_err(at)?;
                }
            }
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = bucket.list_objects(&beside, after.as_deref(), 1000).await.map_err(at)?;
            for (object, _) in &page.items {
                if is_beside(object, key) {
                    bucket.delete(object).await.map_err(at)?;
                }
            }
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
        bucket.delete(key.as_str()).await.map_err(at)
    }

    /// Deletes tails that nobody needs; returns those that are still there.
    pub(crate) async fn delete_tails(&self, key: &ObjectKey, tails: &[TailName]) -> Vec<TailName> {
        let mut left = Vec::new();
        for tail in tails {
            if let Err(error) = self.inner().bucket.delete(&tail.beside(key)).await {
                tracing::debug!(%key, %error, "a tail stays for now");
                left.push(*tail);
            }
        }
        left
    }
}
