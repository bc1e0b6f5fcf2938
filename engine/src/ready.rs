//! Whether both stores answer, and soon.

use std::time::Duration;

use tokio::time::timeout;

use crate::Engine;
use crate::error::Error;
use crate::keys;

/// Below this nothing lies, for no organisation has the id 0: listing it costs the least that asks a
/// store at all.
const NOBODY: &str = "0000000000000000/";

impl Engine {
    /// Asks both stores, side by side, and waits so long for each. Cheap enough to be asked each second:
    /// one row, one page of nothing, and the room on the disk where there is one.
    ///
    /// Fails with [`Error::Unavailable`], which names the store: what it serves now would fail too.
    /// It names the engine's own work, too, where a piece of it broke down and has not gone well since:
    /// requests are served then, but what they leave to it waits.
    pub async fn ready(&self, patience: Duration) -> Result<(), Error> {
        if let Some(broken) = self.core.tasks.broken() {
            return Err(Error::Unavailable(format!(
                "work behind the requests broke down: {broken}"
            )));
        }
        let facts = answers("the metadata", patience, async {
            self.core.meta.is_serving()?;
            self.core.meta.get(keys::FORMAT).await
        });
        let bytes = answers("the blob store", patience, async {
            self.core.blobs.list(NOBODY, None, 1).await?;
            // A disk that is gone has nothing to list, either.
            self.core.blobs.free_bytes().await
        });
        let (facts, bytes) = futures::join!(facts, bytes);
        facts.and(bytes)
    }
}

async fn answers<T, E: Into<Error>>(
    store: &str,
    patience: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<(), Error> {
    let why = match timeout(patience, asked).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.into().to_string(),
        Err(_) => format!("no answer in {patience:?}"),
    };
    tracing::warn!(store, why, "not ready");
    Err(Error::Unavailable(format!("{store} does not answer")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::content::fault::{BlobFault, FaultBlobs, How, When};
    use crate::content::fs::{Durability, FsStore};
    use crate::content::opendal::OpendalStore;
    use crate::disk::RealDisk;
    use crate::meta::MemoryStore;
    use crate::meta::fault::{FaultMeta, FaultPlan};
    use crate::tests::support::World;

    const SOON: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn metadata_that_does_not_answer_is_named() {
        let meta = Arc::new(FaultMeta::new(MemoryStore::default(), FaultPlan::None));
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let engine = Engine::builder(Arc::clone(&meta) as _, blobs).build().await.unwrap();
        engine.ready(SOON).await.unwrap();
        meta.set_plan(FaultPlan::seeded(1, 1000));
        let error = engine.ready(SOON).await.unwrap_err().to_string();
        assert!(error.contains("the metadata does not answer"), "{error}");
        meta.set_plan(FaultPlan::None);
        engine.ready(SOON).await.unwrap();
    }

    #[tokio::test]
    async fn a_blob_store_that_does_not_answer_is_named() {
        let blobs = Arc::new(FaultBlobs::new(OpendalStore::memory().unwrap()));
        let world = World::over(Arc::clone(&blobs) as _).await;
        world.engine.ready(SOON).await.unwrap();
        let how = How::Failed { temporary: true };
        blobs.fail(BlobFault { call: blobs.calls(), when: When::Before, how, lasting: true });
        let error = world.engine.ready(SOON).await.unwrap_err().to_string();
        assert!(error.contains("the blob store does not answer"), "{error}");
        blobs.heal();
        world.engine.ready(SOON).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_no_empty_store() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("objects");
        let blobs = FsStore::open(Arc::new(RealDisk), path.clone(), Durability::Relaxed).unwrap();
        let world = World::over(Arc::new(blobs)).await;
        world.engine.ready(SOON).await.unwrap();
        std::fs::remove_dir_all(path).unwrap();
        world.engine.ready(SOON).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_waited_for_so_long_and_no_longer() {
        let started = tokio::time::Instant::now();
        let hangs = std::future::pending::<Result<(), Error>>();
        let error = answers("the metadata", SOON, hangs).await.unwrap_err().to_string();
        assert_eq!(started.elapsed(), SOON);
        assert!(error.contains("the metadata does not answer"), "{error}");
    }
}
