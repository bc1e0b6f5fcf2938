//! The upstream of a registry: another index whose files are offered here too, as a cache with rules.
//!
//! A project's page is looked up there (`cache`), what the registry's rules let through is put beside
//! what is here (`offer`), and a file is fetched when somebody takes it the first time (`fetch`): its
//! bytes go to whoever waits and into the engine at once, and it is kept as the artifact that an upload
//! would have made, marked with where it comes from.
//!
//! **Promises.** A name that is the registry's own is never looked up, whatever the upstream has, unless the
//! project says that it tracks it. No byte of a file is offered without its sha256, and none is taken for
//! whole before it has that. However many ask, one file and one page are fetched once. What was kept is
//! served when the upstream is away; a page that was seen is shown until it is there again. The upstream is
//! reached like a webhook's receiver ([`strongroom_outbound`]): only where it is public, or the operator allowed
//! it, in each redirect anew; the credentials for it leave to its own origin alone.
//!
//! **Never.** A credential is in a log, an error or a page. What the upstream says is believed of its own
//! files only, and none of it without a bound.

mod cache;
mod client;
mod fetch;
mod html;
mod offer;
mod page;
mod rules;
mod settings;

use std::sync::Arc;

use moka::sync::Cache;
use strongroom_engine::id::{OrganisationId, RegistryId};
use strongroom_outbound::{ConnectError, Resolver};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

pub(crate) use fetch::{Fetching, serve};
pub(crate) use offer::Seeing;
pub(crate) use page::RemoteFile;
pub use rules::{NewUpstream, Upstream, UpstreamError, Upstreams};
pub use settings::Settings;

/// The most registries, names or files of which something small is kept in mind.
const MAX_KEPT: u64 = 10_000;

/// A project of a registry.
type Key = ((OrganisationId, RegistryId), Arc<str>);

/// What the service needs to look names up and fetch files.
pub(crate) struct Source {
    pub(crate) upstreams: Upstreams,
    client: client::Client,
    pages: cache::Pages,
    offers: offer::Offers,
    flights: fetch::Flights,
    /// Names that were compared with those that are here.
    looked: Cache<Key, ()>,
    /// How much is fetched at once for each registry: one whose upstream is slow keeps nobody else waiting,
    /// and large files no page.
    permits: Cache<((OrganisationId, RegistryId), What), Arc<Semaphore>>,
    /// How much is fetched at once in all.
    all: Arc<Semaphore>,
}

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Page,
    File,
}

/// Leave to fetch something, given back when this is dropped.
struct Permit(#[expect(dead_code, reason = "it is held")] [OwnedSemaphorePermit; 2]);

impl Source {
    pub(crate) fn new(
        upstreams: Upstreams,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, ConnectError> {
        let settings = upstreams.settings();
        Ok(Self {
            client: client::Client::new(resolver, settings)?,
            pages: cache::Pages::new(settings.cache_bytes),
            offers: offer::Offers::new(settings.cache_bytes),
            flights: fetch::Flights::default(),
            looked: Cache::new(MAX_KEPT),
            permits: Cache::new(MAX_KEPT),
            all: Arc::new(Semaphore::new(settings.at_once_in_all.max(1))),
            upstreams,
        })
    }

    /// Leave to fetch something for a registry; waits for it a while.
    async fn permit(
        &self,
        tenant: (OrganisationId, RegistryId),
        what: What,
    ) -> Result<Permit, client::Fault> {
        let settings = self.upstreams.settings();
        let new = || Arc::new(Semaphore::new(settings.at_once.max(1)));
        let (own, all) = (self.permits.get_with((tenant, what), new), Arc::clone(&self.all));
        let both = async { Ok([own.acquire_owned().await?, all.acquire_owned().await?]) };
        let both = tokio::time::timeout(settings.turn_timeout, both).await;
        let both: Result<_, AcquireError> = both.map_err(|_| client::Fault::Busy)?;
        both.map(Permit).map_err(|_| client::Fault::Busy)
    }
}
