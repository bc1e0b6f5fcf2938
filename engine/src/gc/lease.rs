//! The right to collect, where several processes share one store: a row with an end.
//!
//! It is there so that nodes do not do the same work, not for safety: collection is safe however many
//! do it. So a holder that was stopped for longer than its lease harms nobody; it notices
//! at the next page, and stops.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::id::ChainId;
use crate::keys;
use crate::records::Record;
use crate::seam::Timestamp;
use crate::tasks::repeat;

/// How long it stands without being renewed: what a killed node keeps others from collecting.
const STANDS: Duration = Duration::from_mins(1);
/// How often it is renewed: twice may fail.
const RENEWED: Duration = Duration::from_secs(20);

/// The row [`keys::COLLECTOR`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CollectorRecord {
    /// Drawn for this collection alone, so that a process tells its own from an earlier one.
    pub(crate) nonce: u64,
    /// Which process, by its chain in the trail.
    pub(crate) holder: ChainId,
    /// By the store's clock.
    pub(crate) until: Timestamp,
}

impl Record for CollectorRecord {
    const KIND: &'static str = "collector";
}

/// The right, as long as it is not lost. Dropping it leaves the row to its end;
/// [`Lease::give_back`] takes it away.
#[derive(Debug)]
pub(super) struct Lease {
    core: Arc<Core>,
    nonce: u64,
    lost: Arc<AtomicBool>,
    /// Ends the renewing.
    ended: CancellationToken,
}

impl Lease {
    /// Takes the right to collect. Fails with [`Error::Collecting`] where another has it.
    pub(super) async fn take(core: &Arc<Core>) -> Result<Self, Error> {
        let seen: Seen<CollectorRecord> = core.read(keys::COLLECTOR.to_vec()).await?;
        let now = core.now().await?;
        if let Some(other) = seen.value.as_ref().filter(|other| now < other.until) {
            return Err(Error::Collecting { holder: other.holder, until: other.until });
        }
        let nonce = core.seams.random_u64();
        let until = now.plus(STANDS);
        let mut change = Change::new(core);
        change.replace(&seen, &CollectorRecord { nonce, holder: core.chain, until });
        match change.commit().await {
            Ok(()) => {}
            Err(Attempt::Lost) => return Err(Error::Contended { what: "the right to collect" }),
            Err(Attempt::Failed(error)) => return Err(error),
        }
        let lost = Arc::new(AtomicBool::new(false));
        let ended = CancellationToken::new();
        let (weak, told, end) = (Arc::downgrade(core), Arc::clone(&lost), ended.clone());
        repeat(core, "renewing the right to collect", move || {
            renew(weak.clone(), nonce, Arc::clone(&told), end.clone())
        });
        Ok(Self { core: Arc::clone(core), nonce, lost, ended })
    }

    /// What tells it from others.
    #[cfg(test)]
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Fails once another has it.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::Contended { what: "the right to collect" });
        }
        Ok(())
    }

    /// Lets the next one begin at once.
    pub(super) async fn give_back(self) -> Result<(), Error> {
        self.ended.cancel();
        let seen: Seen<CollectorRecord> = self.core.read(keys::COLLECTOR.to_vec()).await?;
        if seen.value.as_ref().is_none_or(|row| row.nonce != self.nonce) {
            return Ok(());
        }
        let mut change = Change::new(&self.core);
        change.remove(&seen);
        match change.commit().await {
            Ok(()) | Err(Attempt::Lost) => Ok(()),
            Err(Attempt::Failed(error)) => Err(error),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Waits and renews, until it is lost. A store that is away may be back before the lease ends.
async fn renew(
    core: Weak<Core>,
    nonce: u64,
    lost: Arc<AtomicBool>,
    ended: CancellationToken,
) -> ControlFlow<()> {
    tokio::select! {
        () = tokio::time::sleep(RENEWED) => {}
        () = ended.cancelled() => return ControlFlow::Break(()),
    }
    let Some(core) = core.upgrade() else { return ControlFlow::Break(()) };
    match renew_once(&core, nonce).await {
        Ok(true) => {}
        Ok(false) => {
            lost.store(true, Ordering::Relaxed);
            return ControlFlow::Break(());
        }
        Err(error) => tracing::warn!(%error, "the right to collect waits to be renewed"),
    }
    ControlFlow::Continue(())
}

/// Whether it is still ours.
pub(super) async fn renew_once(core: &Core, nonce: u64) -> Result<bool, Error> {
    let seen: Seen<CollectorRecord> = core.read(keys::COLLECTOR.to_vec()).await?;
    let Some(row) = seen.value.clone().filter(|row| row.nonce == nonce) else { return Ok(false) };
    let until = core.now().await?.plus(STANDS);
    let mut change = Change::new(core);
    change.replace(&seen, &CollectorRecord { until, ..row });
    match change.commit().await {
        Ok(()) => Ok(true),
        Err(Attempt::Lost) => Ok(false),
        Err(Attempt::Failed(error)) => Err(error),
    }
}
