//! Putting an engine together.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use tokio::sync::broadcast;

use crate::Engine;
use crate::access::{AllowAll, Authorizer};
use crate::audit::{PullLog, RefusalLog, write_waiting};
use crate::content::BlobStore;
use crate::copies::{Copies, copy_pushed};
use crate::core::{Core, Settings};
use crate::error::Error;
use crate::graph::{Cache, Known};
use crate::id::ChainId;
use crate::meta::MetaStore;
use crate::migrate::migrate;
use crate::presence::Presence;
use crate::room::Room;
use crate::seam::Seams;
use crate::tasks::{Tasks, repeat};
use crate::tenancy::purge::reopen_all;
use crate::upload::{Moves, Writers};

/// How many events a slow subscriber may lag behind.
const EVENTS_KEPT: usize = 1024;

/// Puts an [`Engine`] together from its two stores and, where the defaults do not serve, an
/// authorizer, seams and settings.
#[derive(Debug)]
pub struct EngineBuilder {
    meta: Arc<dyn MetaStore>,
    blobs: Arc<dyn BlobStore>,
    authorizer: Arc<dyn Authorizer>,
    seams: Seams,
    settings: Settings,
}

impl Engine {
    /// Begins an engine over two stores. Without more it lets everybody do everything
    /// ([`AllowAll`]): an embedder that is its own only user needs no more.
    pub fn builder(meta: Arc<dyn MetaStore>, blobs: Arc<dyn BlobStore>) -> EngineBuilder {
        EngineBuilder {
            meta,
            blobs,
            authorizer: Arc::new(AllowAll),
            seams: Seams::default(),
            settings: Settings::default(),
        }
    }
}

impl EngineBuilder {
    /// Who decides what callers may do.
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// Where time and chance come from.
    pub fn seams(mut self, seams: Seams) -> Self {
        self.seams = seams;
        self
    }

    /// Leases, limits and sizes.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Opens the store: makes a new one, or migrates one that an older program wrote. There is no way
    /// back from that: whoever may want one keeps a copy of the metadata before.
    ///
    /// Must be called within a tokio runtime; tasks of it write pulls to the trail and small
    /// manifests to the blob store, and end with the last clone of the engine. Fails with [`Error::Invalid`] where a newer program
    /// wrote the store.
    pub async fn build(self) -> Result<Engine, Error> {
        let chain = ChainId(self.seams.random_u64());
        let core = Core {
            meta: self.meta,
            blobs: self.blobs,
            authorizer: self.authorizer,
            chain,
            cache: Arc::new(Cache::new(self.settings.cache_bytes)),
            known: Known::new(self.settings.cache_bytes),
            writers: Writers::default(),
            moves: Moves::default(),
            room: Room::default(),
            pulls: PullLog::default(),
            refusals: RefusalLog::default(),
            copies: Copies::default(),
            presence: Presence::default(),
            tasks: Tasks::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            last_number: 0.into(),
            seams: self.seams,
            settings: self.settings,
        };
        migrate(&core).await?;
        reopen_all(&core).await?;
        let core = Arc::new(core);
        let writer = Arc::downgrade(&core);
        repeat(&core, "writing pulls to the trail", move || write_pulls(writer.clone()));
        copy_pushed(&core);
        Ok(Engine { core })
    }
}

/// Waits, and writes what pulls came meanwhile to the trail.
async fn write_pulls(core: Weak<Core>) -> ControlFlow<()> {
    let Some(wait) = core.upgrade().map(|core| core.settings.pull_group) else {
        return ControlFlow::Break(());
    };
    tokio::time::sleep(wait).await;
    let Some(core) = core.upgrade() else { return ControlFlow::Break(()) };
    if let Err(error) = write_waiting(&core, false).await {
        tracing::warn!(%error, "pulls wait to be written to the audit trail");
    }
    ControlFlow::Continue(())
}
