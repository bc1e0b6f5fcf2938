//! Who has an installation open, where several processes may: a row for each, with an end.
//!
//! An installation must not be copied while somebody acknowledges things in it, and none be restored
//! into stores that somebody serves. Where one process owns the store, its lock sees to that. In a
//! shared one each process that opens an installation keeps a row `!open`, which stands for half a
//! minute and is renewed as long as the process lives. One that ends in order leaves the row behind,
//! with its end as the end; the next to come clears such rows away and leaves its own. So whoever copies
//! sees who is there, and, looking again when all is copied, who was there meanwhile.
//!
//! What it is not: a lock. A process that was stopped for longer than its row stands, and goes on after
//! a copy came to its end, serves stores that were left. What it acknowledges then is in them, and not
//! in the copy.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::id::ChainId;
use crate::keys;
use crate::meta::{MetaStore, prefix_range};
use crate::records::Record;
use crate::seam::Timestamp;
use crate::tasks::repeat;

/// How long a row stands without being renewed: what a killed process keeps a copy waiting.
const STANDS: Duration = Duration::from_secs(30);
/// How often it is renewed: twice may fail.
const RENEWED: Duration = Duration::from_secs(10);
/// How many rows are looked at. More of them are of processes that came and died within half a minute.
const ROWS: usize = 1000;

/// A row [`keys::open`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenRecord {
    pub(crate) since: Timestamp,
    /// By the store's clock: when it ended, or when it will count as ended unless it is renewed.
    pub(crate) until: Timestamp,
}

impl Record for OpenRecord {
    const KIND: &'static str = "open";
}

/// This process's row, as long as it keeps one.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    since: Timestamp,
    ending: CancellationToken,
    renewing: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Presence {
    /// Leaves the row behind, ended.
    pub(crate) async fn end(&self, core: &Core) -> Result<(), Error> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut kept) = kept else { return Ok(()) };
        kept.ending.cancel();
        // Else what it has under way might come after the end.
        if let Err(error) = (&mut kept.renewing).await {
            tracing::warn!(%error, "the row that says this process is here was not renewed to the end");
        }
        let until = core.now().await?;
        write(core, OpenRecord { since: kept.since, until }, Vec::new()).await
    }
}

impl Engine {
    /// Says in the store, until [`Self::close`], that this process has the installation open: to be
    /// called by whoever serves it, or works on it for others, where several processes share the store.
    /// [`crate::backup::copy_storage`] and [`crate::backup::restore`] wait for its end. In a store
    /// that one process owns there is nothing to say.
    pub async fn announce(&self) -> Result<(), Error> {
        let core = &self.core;
        if !core.meta.is_shared() {
            return Ok(());
        }
        let now = core.now().await?;
        let ended = rows(&*core.meta).await?.into_iter().filter(|row| row.record.until <= now);
        let ended = ended.map(|row| row.chain).collect();
        write(core, OpenRecord { since: now, until: now.plus(STANDS) }, ended).await?;
        let ending = CancellationToken::new();
        let (weak, ended) = (Arc::downgrade(core), ending.clone());
        let renewing = repeat(core, "renewing the row that says this process is here", move || {
            renew(weak.clone(), now, ended.clone())
        });
        let kept = Kept { since: now, ending, renewing };
        *core.presence.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(())
    }
}

/// Waits and renews, until it is to end. A store that is away may be back before the row ends.
async fn renew(core: Weak<Core>, since: Timestamp, ending: CancellationToken) -> ControlFlow<()> {
    tokio::select! {
        () = tokio::time::sleep(RENEWED) => {}
        () = ending.cancelled() => return ControlFlow::Break(()),
    }
    let Some(core) = core.upgrade() else { return ControlFlow::Break(()) };
    if let Err(error) = renew_once(&core, since).await {
        tracing::warn!(%error, "the row that says this process is here waits to be renewed");
    }
    ControlFlow::Continue(())
}

async fn renew_once(core: &Core, since: Timestamp) -> Result<(), Error> {
    let until = core.now().await?.plus(STANDS);
    write(core, OpenRecord { since, until }, Vec::new()).await
}

/// Writes this process's row, whatever there was, and clears those of `ended` away.
async fn write(core: &Core, record: OpenRecord, ended: Vec<ChainId>) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    for chain in ended {
        change.delete(keys::open(chain));
    }
    change.put(keys::open(core.chain), &record);
    match change.commit().await {
        // It leans on nothing that could be lost.
        Ok(()) | Err(Attempt::Lost) => Ok(()),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// A process that has, or had, the installation open.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) chain: ChainId,
    pub(crate) record: OpenRecord,
}

/// One who had the installation open at `since` or later, by the store's clock.
pub(crate) async fn anybody_since(
    meta: &dyn MetaStore,
    since: Timestamp,
) -> Result<Option<Present>, Error> {
    let rows = rows(meta).await?;
    Ok(rows.into_iter().filter(|row| row.record.until > since).max_by_key(|row| row.record.until))
}

async fn rows(meta: &dyn MetaStore) -> Result<Vec<Present>, Error> {
    let rows = meta.scan(prefix_range(keys::OPEN), ROWS).await?;
    let read = rows.into_iter().filter_map(|(key, value)| {
        let chain = keys::parse_open(&key)?;
        Some(OpenRecord::decode(&value).map(|record| Present { chain, record }))
    });
    Ok(read.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::World;

    async fn anybody(world: &World) -> Option<ChainId> {
        let core = &world.engine.core;
        let now = core.now().await.unwrap();
        anybody_since(&*core.meta, now).await.unwrap().map(|present| present.chain)
    }

    #[tokio::test]
    async fn a_process_is_there_until_it_ends_or_half_a_minute_after_it_was_killed() {
        let world = World::new().await;
        world.gate.share();
        assert_eq!(anybody(&world).await, None);
        world.engine.announce().await.unwrap();
        let since = world.engine.core.now().await.unwrap();
        for _ in 0..6 {
            world.clock.advance(RENEWED);
            renew_once(&world.engine.core, since).await.unwrap();
            assert_eq!(anybody(&world).await, Some(world.engine.core.chain));
        }
        world.engine.close().await.unwrap();
        assert_eq!(anybody(&world).await, None);

        world.engine.announce().await.unwrap();
        let kept = world.engine.core.presence.0.lock().unwrap().take();
        drop(kept);
        world.clock.advance(STANDS.checked_sub(Duration::from_secs(1)).unwrap());
        assert!(anybody(&world).await.is_some());
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(anybody(&world).await, None);
    }

    #[tokio::test]
    async fn who_comes_clears_away_who_went_and_nobody_who_is_there() {
        let world = World::new().await;
        world.gate.share();
        let core = &world.engine.core;
        let now = core.now().await.unwrap();
        let mut change = Change::new(core);
        for (chain, until) in [(ChainId(1), now), (ChainId(2), now.plus(STANDS))] {
            change.put(keys::open(chain), &OpenRecord { since: Timestamp(0), until });
        }
        change.commit().await.unwrap();
        world.engine.announce().await.unwrap();
        let mut there: Vec<_> = rows(&*core.meta).await.unwrap();
        there.sort_by_key(|row| row.chain.0);
        let mut chains = [ChainId(2), core.chain];
        chains.sort_by_key(|chain| chain.0);
        assert_eq!(there.iter().map(|row| row.chain).collect::<Vec<_>>(), chains);
    }

    #[tokio::test]
    async fn a_store_of_one_process_has_no_such_row() {
        let world = World::new().await;
        world.engine.announce().await.unwrap();
        assert!(rows(&*world.engine.core.meta).await.unwrap().is_empty());
    }
}
