//! Server-side copies: no byte comes through here.

use futures::{StreamExt, TryStreamExt, stream};
use strongroom_engine::content::{ObjectKey, StoreError};

use crate::bucket::Head;
use crate::error::temporary;
use crate::sizes::NUMBERS;
use crate::store::S3Store;

/// How much one request copies where an object is copied in parts.
const STEP: u64 = 512 << 20;

impl S3Store {
    /// Copies the object `from` to `to`. `key` is what errors name.
    pub(crate) async fn copy(
        &self,
        key: &ObjectKey,
        from: &str,
        to: &ObjectKey,
    ) -> Result<(), StoreError> {
        let bucket = &self.inner().bucket;
        let head = |object: &str| {
            let object = object.to_owned();
            async move { bucket.head(&object).await.map_err(|refusal| refusal.at(to)) }
        };
        let Some(source) = head(from).await? else {
            return Err(StoreError::NotFound(key.clone()));
        };
        // By whoever tried before.
        if head(to.as_str()).await?.is_some_and(|there| there.is_copy_of(&source)) {
            return Ok(());
        }
        let copied = if source.size <= self.inner().copy_bytes {
            bucket.copy(from, to.as_str(), source.size).await.map_err(|refusal| refusal.at(key))
        } else {
            self.copy_in_parts(key, from, &source, to).await
        };
        // Whatever was answered, the object decides.
        match head(to.as_str()).await? {
            Some(there) if there.is_copy_of(&source) => Ok(()),
            there => {
                copied?;
                let found = there.map_or(0, |there| there.size);
                if found == source.size {
                    return Err(temporary(key, "the copy has another checksum"));
                }
                Err(StoreError::WrongSize { key: to.clone(), expected: source.size, found })
            }
        }
    }

    async fn copy_in_parts(
        &self,
        key: &ObjectKey,
        from: &str,
        source: &Head,
        to: &ObjectKey,
    ) -> Result<(), StoreError> {
        let bucket = &self.inner().bucket;
        let upload =
            bucket.create_upload(to.as_str(), false).await.map_err(|refusal| refusal.at(key))?;
        let step = STEP.min(self.inner().copy_bytes).max(source.size.div_ceil(u64::from(NUMBERS)));
        let mut copies = Vec::new();
        for number in 1..=NUMBERS {
            let begin = u64::from(number - 1) * step;
            if begin >= source.size {
                break;
            }
            let range = begin..source.size.min(begin + step);
            let part = (from, source.etag.as_str(), range);
            copies.push(bucket.copy_part(part, to.as_str(), &upload, (number, 0)));
        }
        let copied = async {
            let parts: Vec<_> =
                stream::iter(copies).buffered(self.inner().parts_at_once).try_collect().await?;
            bucket.complete(to.as_str(), &upload, &parts, source.size, None).await
        };
        if let Err(refusal) = copied.await {
            // Else it is swept.
            let _ = bucket.abort_upload(to.as_str(), &upload).await;
            return Err(refusal.at(key));
        }
        Ok(())
    }
}
