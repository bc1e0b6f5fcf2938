//! The check at the start: that the bucket is there and does what the store leans on.

use bytes::Bytes;
use strongroom_engine::content::{ObjectKey, StoreError};

use crate::bucket::Head;
use crate::error::{Kind, Refusal};
use crate::piece::Piece;
use crate::store::S3Store;
use crate::writer::spool_failure;

/// Why a bucket can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It can't be reached, or not be used; the text says why and what to do.
    #[error("the bucket {bucket} can't be used: {reason}")]
    Unusable {
        /// The bucket.
        bucket: String,
        /// What was answered.
        reason: String,
    },
    /// The service does what it was asked not to.
    #[error(
        "the service of bucket {bucket} overwrites objects although `If-None-Match: *` was sent \
         with {request}: a node that stalled could change what another stored; use a service that \
         honours it"
    )]
    Overwrites {
        /// The bucket.
        bucket: String,
        /// The request.
        request: &'static str,
    },
    /// The service keeps no checksums.
    #[error(
        "the service of bucket {bucket} keeps no CRC-64/NVME checksum of an object after {request}: \
         use one that does, or switch checksums off"
    )]
    NoChecksums {
        /// The bucket.
        bucket: String,
        /// The request.
        request: &'static str,
    },
    /// The folder where parts wait can't be used.
    #[error(transparent)]
    Spool(StoreError),
}

impl S3Store {
    /// Writes, completes, reads and deletes small objects in the bucket, as pushes will, and says
    /// in a person's words what does not work. To be called once, at the start.
    pub async fn check(&self) -> Result<(), CheckError> {
        let name = format!("strongroom-check/{:016x}", self.random());
        let key = ObjectKey::new(name).ok_or_else(|| self.unusable("the name of its object"))?;
        let checked = self.try_out(&key).await;
        // What is left of it is no object of ours to any sweep, so it is taken away here.
        let removed = self.remove(&key, None).await;
        checked?;
        removed.map_err(|error| self.unusable(error.to_string()))
    }

    fn unusable(&self, reason: impl Into<String>) -> CheckError {
        CheckError::Unusable { bucket: self.inner().bucket.name.clone(), reason: reason.into() }
    }

    async fn try_out(&self, key: &ObjectKey) -> Result<(), CheckError> {
        let bucket = &self.inner().bucket;
        let refused = |refusal: Refusal| self.unusable(refusal.to_string());
        bucket.list_objects("", None, 1).await.map_err(refused)?;
        self.inner()
            .pool
            .take_disk(1)
            .await
            .map_err(|error| CheckError::Spool(spool_failure(key, &error)))?;
        let mut piece = Piece::new();
        let text = Bytes::from_static(b"Strongroom looks whether this bucket can be used.");
        let added = piece.add(&self.inner().pool, vec![text], 1 << 10).await;
        added.map_err(|error| CheckError::Spool(spool_failure(key, &error)))?;

        // One request after the other, as a small push has them.
        let object = key.as_str();
        bucket.put(object, &piece, true).await.map_err(refused)?;
        self.require_kept(bucket.head(object).await.map_err(refused)?, &piece, "PutObject")?;
        self.require_refused(bucket.put(object, &piece, true).await, "PutObject")?;
        let got = bucket.get(object, &(0..piece.length()), None).await.map_err(refused)?;
        got.body.collect().await.map_err(|error| self.unusable(error.to_string()))?;

        // As a large one has them.
        let object = format!("{key}.again-large");
        for first in [true, false] {
            let id = bucket.create_upload(&object, true).await.map_err(refused)?;
            let part = bucket.upload_part(&object, &id, 1, &piece, true).await.map_err(refused)?;
            let (size, crc) = (piece.length(), Some(piece.crc()));
            let completed = bucket.complete(&object, &id, &[part], size, crc).await;
            if first {
                completed.map_err(refused)?;
                let head = bucket.head(&object).await.map_err(refused)?;
                self.require_kept(head, &piece, "CompleteMultipartUpload")?;
            } else {
                self.require_refused(completed, "CompleteMultipartUpload")?;
                bucket.abort_upload(&object, &id).await.map_err(refused)?;
            }
        }
        bucket.copy(&object, &format!("{key}.again-copy"), piece.length()).await.map_err(refused)
    }

    fn require_kept(
        &self,
        head: Option<Head>,
        piece: &Piece,
        request: &'static str,
    ) -> Result<(), CheckError> {
        let bucket = &self.inner().bucket;
        match head {
            Some(head) if head.is(bucket, piece.length(), piece.crc()) => Ok(()),
            Some(head) if head.size == piece.length() => {
                Err(CheckError::NoChecksums { bucket: bucket.name.clone(), request })
            }
            _ => {
                Err(self
                    .unusable(format!("after {request} the object is not there as it was sent")))
            }
        }
    }

    fn require_refused(
        &self,
        answered: Result<(), Refusal>,
        request: &'static str,
    ) -> Result<(), CheckError> {
        let bucket = self.inner().bucket.name.clone();
        match answered {
            Err(refusal) if refusal.kind == Kind::Occupied => Ok(()),
            Err(refusal) => Err(self.unusable(refusal.to_string())),
            Ok(()) => Err(CheckError::Overwrites { bucket, request }),
        }
    }
}
