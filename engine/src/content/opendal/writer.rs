//! Writing parts.

use async_trait::async_trait;
use bytes::Bytes;
use opendal::{Buffer, Writer};

use super::super::{ObjectKey, ObjectWriter, StoreError, Then, WriteState};
use super::{OpendalStore, Part, failure, part_path};

/// A part that is being written.
struct OpenPart {
    writer: Writer,
    part: Part,
}

/// Writes an unfinished object on. See [`OpendalStore`].
pub(super) struct PartWriter {
    store: OpendalStore,
    key: ObjectKey,
    parts: Vec<Part>,
    stand: Stand,
}

/// Where a writer stands.
enum Stand {
    /// At a checkpoint.
    Between,
    /// In the middle of a part.
    In(OpenPart),
    /// After a call that failed or was dropped: nobody knows what the service has.
    Spent,
}

impl PartWriter {
    pub(super) fn new(store: OpendalStore, key: ObjectKey, parts: Vec<Part>) -> Self {
        Self { store, key, parts, stand: Stand::Between }
    }

    /// Takes the part, if one was begun. The writer is spent until its call puts it back.
    fn take(&mut self) -> Result<Option<OpenPart>, StoreError> {
        match std::mem::replace(&mut self.stand, Stand::Spent) {
            Stand::Between => Ok(None),
            Stand::In(open) => Ok(Some(open)),
            Stand::Spent => Err(StoreError::Failed {
                key: self.key.clone(),
                reason: "an earlier call on this writer failed or was dropped".into(),
                temporary: false,
            }),
        }
    }

    async fn begin(&self) -> Result<OpenPart, StoreError> {
        let mut nonce = [0; 4];
        self.store.entropy.fill(&mut nonce);
        let part = Part { nonce: u32::from_be_bytes(nonce), size: 0 };
        let path = part_path(&self.key, self.parts.len(), part);
        let writer = self.store.operator.writer(&path).await;
        Ok(OpenPart { writer: writer.map_err(|error| failure(&self.key, &error))?, part })
    }
}

#[async_trait]
impl ObjectWriter for PartWriter {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
        let open = self.take()?;
        let buffer: Buffer = batch.into_iter().filter(|bytes| !bytes.is_empty()).collect();
        if buffer.is_empty() {
            self.stand = open.map_or(Stand::Between, Stand::In);
            return Ok(());
        }
        let mut open = match open {
            Some(open) => open,
            None => self.begin().await?,
        };
        open.part.size += buffer.len() as u64;
        open.writer.write(buffer).await.map_err(|error| failure(&self.key, &error))?;
        self.stand = Stand::In(open);
        Ok(())
    }

    async fn checkpoint(&mut self, _then: Then) -> Result<WriteState, StoreError> {
        if let Some(mut open) = self.take()? {
            open.writer.close().await.map_err(|error| failure(&self.key, &error))?;
            let path = part_path(&self.key, self.parts.len(), open.part);
            self.store.require(&self.key, &path, open.part.size).await?;
            self.parts.push(open.part);
        }
        self.stand = Stand::Between;
        let state = postcard::to_stdvec(&self.parts).map_err(|error| StoreError::Failed {
            key: self.key.clone(),
            reason: format!("the upload's state can't be saved: {error}"),
            temporary: false,
        })?;
        let offset = self.parts.iter().map(|part| part.size).sum();
        Ok(WriteState { offset, state })
    }
}
