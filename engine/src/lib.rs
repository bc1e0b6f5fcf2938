//! Strongroom's engine: content-addressed storage that verifies while it streams and never loses
//! an acknowledged byte.
//!
//! - [`Engine`] is the whole of it: build one with [`Engine::builder`], open a [`Repository`] for
//!   a [`Caller`](access::Caller), and push and pull.
//! - Bytes live in a [`BlobStore`](content::BlobStore), facts in a
//!   [`MetaStore`](meta::MetaStore); both are traits, with implementations here.
//! - Who may do what is an [`Authorizer`](access::Authorizer)'s answer.
//!
//! The engine knows no HTTP, no terminal and no environment. Time and chance come through
//! [`seam::Seams`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use strongroom_engine::Engine;
//! use strongroom_engine::access::{Action, Caller, PrincipalId};
//! use strongroom_engine::content::opendal::OpendalStore;
//! use strongroom_engine::digest::{Algorithm, Digest};
//! use strongroom_engine::meta::MemoryStore;
//! use strongroom_engine::tenancy::RegistrySettings;
//!
//! // In memory here; `RedbStore` and `FsStore` keep the same in a folder.
//! let (meta, blobs) = (MemoryStore::default(), OpendalStore::memory()?);
//! let engine = Engine::builder(Arc::new(meta), Arc::new(blobs)).build().await?;
//!
//! let me = Caller::known(PrincipalId::new("user:me")?);
//! engine.create_organisation(&me, &"acme".parse()?, None, None).await?;
//! let settings = RegistrySettings::default();
//! engine.create_registry(&me, &"acme".parse()?, &"main".parse()?, settings).await?;
//!
//! // Bytes come as a stream; they are verified against the digest as they do.
//! let path = "acme/main/greetings".parse()?;
//! let digest = Digest::of(Algorithm::Sha256, b"hello");
//! let body = futures::stream::iter([Ok::<_, std::io::Error>("hello".into())]);
//! let repository = engine.repository(&me, &path, Action::Push).await?;
//! repository.push_blob(&digest, Some(5), body).await?;
//!
//! let repository = engine.repository(&me, &path, Action::Pull).await?;
//! assert_eq!(repository.stat_blob(&digest).await?.size, 5);
//! # Ok(())
//! # }
//! ```
//!
//! More to start from is in the repository's `examples/`.

pub mod access;
pub mod audit;
pub mod backup;
mod builder;
mod change;
pub mod content;
mod copies;
mod core;
pub mod digest;

pub mod disk;

mod epoch;
mod error;
pub mod extension;
pub mod gc;
mod graph;
pub mod id;
mod keys;
pub mod manifest;
pub mod meta;
mod migrate;
pub mod name;
pub mod pattern;
mod presence;
mod ready;
mod records;
pub mod retention;
mod room;
pub mod seam;
mod tasks;
pub mod tenancy;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod upload;

use std::sync::Arc;

use tokio::sync::broadcast;

pub use crate::builder::EngineBuilder;
pub use crate::core::Settings;
pub use crate::error::{Error, Missing};
pub use crate::graph::{
    Blob, BlobInfo, Catalog, MAX_PAGE, ManifestInfo, ManifestPush, Page, PushedManifest, Referrer,
    Repository, Revision, StoredManifest, TagInfo,
};
pub use crate::migrate::FORMAT_VERSION;
pub use crate::records::RecordError;
pub use crate::tenancy::{Listed, Listing};
pub use crate::upload::{Chunk, Upload};

/// The engine: content, names, graphs and tenants over two stores. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) core: Arc<core::Core>,
}

impl Engine {
    /// Opens a repository by its full name for one action: the only way to content. See
    /// [`Repository`].
    ///
    /// Fails with [`Error::NameUnknown`] where there is no such organisation or registry *and* for
    /// what the caller may not see, and with [`Error::Denied`] for what the caller may see but not
    /// do. The repository itself need not be there yet.
    pub async fn repository(
        &self,
        caller: &access::Caller,
        path: &name::RepositoryPath,
        action: access::Action,
    ) -> Result<Repository, Error> {
        self.core.open(caller, path, action).await
    }

    /// Notes in the trail what a frontend refused to somebody by itself: what its credentials are not for,
    /// or what takes an operator; in `organisation`, or in the whole installation. What the engine
    /// refuses it notes itself. Whoever is not known leaves nothing.
    pub fn note_refusal(
        &self,
        caller: &access::Caller,
        action: access::Action,
        organisation: Option<&name::OrganisationName>,
        name: &str,
    ) {
        self.core.note_refusal(caller, action, organisation, name);
    }

    /// The repositories that `caller` may list.
    pub fn catalog(&self, caller: &access::Caller) -> Catalog {
        Catalog::new(Arc::clone(&self.core), caller.clone())
    }

    /// Every change by this process from now on, as a typed event, once it is durable. A receiver
    /// that lags behind is told how many it missed; the audit trail has them all, and those of other
    /// processes that share the store.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<audit::Event>> {
        self.core.events.subscribe()
    }

    /// Writes what waits, durably: pulls and refusals on their way into the audit trail, small manifests on theirs
    /// into the blob store.
    pub async fn flush(&self) -> Result<(), Error> {
        if let Err(error) = copies::copy_waiting(&self.core).await {
            tracing::warn!(%error, "small manifests are left for the next collection to copy");
        }
        audit::flush(&self.core, true).await
    }

    /// Ends what goes on behind requests (content on its way to its place, which the next
    /// collection moves then), writes what waits, and takes back what [`Self::announce`] said. To be
    /// called before a process ends in order.
    pub async fn close(&self) -> Result<(), Error> {
        self.core.moves.end().await;
        let flushed = self.flush().await;
        self.core.presence.end(&self.core).await.and(flushed)
    }
}

#[cfg(test)]
mod tests;
