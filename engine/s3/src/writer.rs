//! Writing an unfinished object: bytes gather into parts, a few parts are sent at once, and what is
//! left at a checkpoint becomes a tail.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_engine::content::{ObjectKey, ObjectWriter, StoreError, Then, WriteState};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Kind, permanent};
use crate::piece::Piece;
use crate::sizes::{least, target};
use crate::state::{Part, Rest, Saved, TailName, Upload};
use crate::store::S3Store;

/// See the page of this module. After an error, or where a call's future was dropped, it is spent;
/// parts under way end with it, and their numbers are nobody else's.
pub(crate) struct S3Writer {
    store: S3Store,
    key: ObjectKey,
    /// As of the last checkpoint, with the parts that were confirmed since.
    saved: Saved,
    /// What is in no part yet.
    piece: Piece,
    /// Whether that is more than the tail holds.
    grown: bool,
    under_way: VecDeque<AbortOnDropHandle<Result<Part, StoreError>>>,
    /// How many parts the state has that was told last.
    told: usize,
    next: u16,
    /// Names its tails: the claim's, or one of its own where nobody claimed.
    nonce: u64,
    /// Whether something was finished in vain under the key, so that nothing else can be.
    occupied: bool,
    spent: bool,
}

impl S3Writer {
    /// A writer after `saved`, whose tail is in `piece`.
    pub(crate) fn new(
        store: S3Store,
        key: ObjectKey,
        saved: Saved,
        piece: Piece,
        occupied: bool,
    ) -> Self {
        let (next, under_way) = (saved.next, VecDeque::new());
        let nonce = if saved.claims == 0 { store.random() } else { saved.nonce };
        let (grown, spent, told) = (false, false, saved.parts.len());
        Self { store, key, saved, piece, grown, under_way, told, next, nonce, occupied, spent }
    }

    /// Begins a call: the writer is spent until it ends well.
    fn begin(&mut self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.spent, true) {
            return Err(permanent(
                &self.key,
                "an earlier call on this writer failed or was dropped",
            ));
        }
        Ok(())
    }

    /// Sends the piece off as the next part.
    async fn ship(&mut self) -> Result<(), StoreError> {
        if self.next >= self.saved.end {
            return Err(permanent(&self.key, "the upload has used up its 10,000 parts"));
        }
        let upload = self.upload().await?;
        while self.under_way.len() >= self.store.inner().parts_at_once {
            self.land_one().await?;
        }
        let piece = std::mem::replace(&mut self.piece, Piece::new());
        let (store, key, number) = (self.store.clone(), self.key.clone(), self.next);
        self.next += 1;
        self.under_way.push_back(AbortOnDropHandle::new(tokio::spawn(async move {
            let place = upload.place(&key);
            let sent = store
                .inner()
                .bucket
                .upload_part(&place, &upload.id, number, &piece, upload.is_checked())
                .await;
            sent.map_err(|refusal| refusal.at(&key))
        })));
        Ok(())
    }

    async fn upload(&mut self) -> Result<Upload, StoreError> {
        if let Some(upload) = &self.saved.upload {
            return Ok(upload.clone());
        }
        let again = self.occupied.then_some(self.saved.nonce);
        let mut upload = Upload { id: String::new(), again };
        let created = self
            .store
            .inner()
            .bucket
            .create_upload(&upload.place(&self.key), upload.is_checked())
            .await;
        upload.id = created.map_err(|refusal| refusal.at(&self.key))?;
        Ok(self.saved.upload.insert(upload).clone())
    }

    /// Waits for the part that was sent first.
    async fn land_one(&mut self) -> Result<(), StoreError> {
        let Some(sent) = self.under_way.pop_front() else { return Ok(()) };
        let landed = sent.await.map_err(|error| permanent(&self.key, error.to_string()))?;
        self.saved.parts.push(landed?);
        Ok(())
    }

    /// Keeps what is in no part as a tail.
    async fn keep_tail(&mut self) -> Result<(), StoreError> {
        let before = self.saved.rest.clone();
        if self.piece.length() == 0 {
            self.saved.rest = Rest::Nothing;
        } else if self.grown {
            // Whoever calls kept the state before, so nobody goes back to what that one doomed.
            let doomed = std::mem::take(&mut self.saved.doomed);
            let (rest, left) =
                tokio::join!(self.put_tail(), self.store.delete_tails(&self.key, &doomed));
            (self.saved.rest, self.saved.doomed) = (rest?, left);
            self.saved.tails += 1;
        }
        if let Rest::Tail { name, .. } = before
            && self.saved.rest != before
        {
            self.saved.doomed.push(name);
        }
        self.grown = false;
        Ok(())
    }

    async fn put_tail(&self) -> Result<Rest, StoreError> {
        let name = TailName { nonce: self.nonce, count: self.saved.tails + 1 };
        let object = name.beside(&self.key);
        let put = self.store.inner().bucket.put(&object, &self.piece, false).await;
        put.map_err(|refusal| refusal.at(&self.key))?;
        Ok(Rest::Tail { name, size: self.piece.length(), crc: self.piece.crc() })
    }

    /// Puts the whole object under its key: all of it is in the piece.
    async fn put_whole(&mut self) -> Result<(), StoreError> {
        let (size, crc) = (self.piece.length(), self.piece.crc());
        if let Rest::Tail { name, .. } = self.saved.rest {
            self.saved.doomed.push(name);
        }
        if self.store.put_new(&self.key, &self.piece).await? {
            self.saved.rest = Rest::Whole { size, crc };
            return Ok(());
        }
        // Something else was finished there in vain.
        self.saved.rest = self.put_tail().await?;
        self.saved.tails += 1;
        Ok(())
    }
}

#[async_trait]
impl ObjectWriter for S3Writer {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
        self.begin()?;
        let inner = self.store.inner();
        let wanted = target(self.next, inner.part_bytes);
        self.grown |= batch.iter().any(|bytes| !bytes.is_empty());
        let added = self.piece.add(&inner.pool, batch, wanted).await;
        added.map_err(|error| spool_failure(&self.key, &error))?;
        // The last number of the window is for the checkpoint.
        if self.piece.length() >= wanted && self.next + 1 < self.saved.end {
            self.ship().await?;
        }
        self.spent = false;
        Ok(())
    }

    async fn checkpoint(&mut self, then: Then) -> Result<WriteState, StoreError> {
        self.begin()?;
        let finishes = then == Then::Finishes;
        if finishes && self.saved.upload.is_none() {
            self.put_whole().await?;
            return Ok(self.saved.encode());
        }
        let length = self.piece.length();
        let is_part = if finishes { length > 0 } else { length >= least(self.next) };
        if is_part && (finishes || self.next < self.saved.end) {
            self.ship().await?;
        }
        while !self.under_way.is_empty() {
            self.land_one().await?;
        }
        self.keep_tail().await?;
        self.told = self.saved.parts.len();
        self.saved.moved_on(self.next, then == Then::Writes);
        self.spent = then != Then::Writes;
        Ok(self.saved.encode())
    }

    /// The parts that landed, in order and without a gap. The numbers of those on their way count as
    /// used, so whoever claims the object next writes other ones.
    async fn advance(&mut self, least: u64) -> Result<Option<WriteState>, StoreError> {
        self.begin()?;
        while let Some(first) = self.under_way.front()
            && (first.is_finished() || self.saved.in_parts() < least)
        {
            self.land_one().await?;
        }
        self.spent = false;
        if self.saved.parts.len() == self.told {
            return Ok(None);
        }
        // The first part that this writer sent begins with the tail.
        if let Rest::Tail { name, .. } = std::mem::replace(&mut self.saved.rest, Rest::Nothing) {
            self.saved.doomed.push(name);
        }
        self.told = self.saved.parts.len();
        self.saved.moved_on(self.next, true);
        Ok(Some(self.saved.encode()))
    }

    fn is_edge(&self) -> bool {
        self.piece.length() == 0
    }
}

/// A failure of the local disk where parts wait.
pub(crate) fn spool_failure(key: &ObjectKey, error: &std::io::Error) -> StoreError {
    let (key, reason) = (key.clone(), format!("the folder where parts wait: {error}"));
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            StoreError::Full { key, reason }
        }
        _ => StoreError::Failed { key, reason, temporary: true },
    }
}

impl S3Store {
    /// Puts a piece under a key where no object is; true where it lies there now, false where
    /// another one does. Whatever S3 answers, the object decides.
    pub(crate) async fn put_new(&self, key: &ObjectKey, piece: &Piece) -> Result<bool, StoreError> {
        let bucket = &self.inner().bucket;
        let put = bucket.put(key.as_str(), piece, true).await;
        if put.is_ok() && bucket.has_checksums() {
            // S3 compared the checksum before it said so.
            return Ok(true);
        }
        let head = bucket.head(key.as_str()).await.map_err(|refusal| refusal.at(key))?;
        match (head, put) {
            (Some(head), _) if head.is(bucket, piece.length(), piece.crc()) => Ok(true),
            (Some(_), Err(refusal)) if refusal.kind == Kind::Occupied => Ok(false),
            (_, Err(refusal)) => Err(refusal.at(key)),
            (head, Ok(())) => {
                let found = head.map_or(0, |head| head.size);
                Err(StoreError::WrongSize { key: key.clone(), expected: piece.length(), found })
            }
        }
    }
}
