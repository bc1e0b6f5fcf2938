//! The Python package API over the engine: uploads as twine sends them, the Simple repository API
//! (PEP 503, 691, 700, 708, 714, 740, 792) as pip and uv read it, and the JSON API.
//!
//! A Python package is an OCI artifact (see [`artifact`]): what the pages show is derived from the
//! tags and manifests of the project's repository, so what is pushed, untagged or deleted there by
//! OCI shows here with the next request. What is no content (yanks, a project's status, names of
//! deleted files) lies in records of this frontend ([`records`]).
//!
//! **Promises.** Every request goes one straight way: its path and method become an
//! [`Operation`], its credentials a caller, and the two a repository handle,
//! which only the engine's authorizer gives out. What an operation demands stands in one table
//! ([`Operation::access`]). What a caller may not see answers as what is not there. A file is seen
//! once it, its form and its name were found to agree, and not before; a name never stands for two
//! different files. A page is served from memory only where it was asked, for this request, whether
//! it is still right.
//!
//! A registry may have an upstream, whose files are offered beside its own ([`upstream`]).
//!
//! **Never.** It holds no file in memory, unpacks none to disk, sends nobody to another host than the
//! blob store's own.

#![forbid(unsafe_code)]

mod about;
pub mod artifact;
mod error;
mod files;
mod gate;
pub mod manage;
mod negotiate;
mod pages;
mod project;
mod projects;
mod read;
pub mod records;
pub mod routes;
mod simple;
mod trusted;
mod upload;
pub mod upstream;

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};
use strongroom_engine::Engine;
use strongroom_http::blob::Redirects;
use strongroom_http::server::Refusal;
use strongroom_http::{Body, Handler, RequestBody, RequestContext};
use strongroom_identity::IdentityProvider;
use strongroom_outbound::{ConnectError, Resolver, SystemResolver};
use strongroom_python::Limits as ArchiveLimits;

use crate::error::{Failure, Reply};
use crate::pages::Pages;
use crate::projects::Lists;
use crate::records::Records;
use crate::routes::{Operation, Step, Task};
use crate::upstream::{Source, Upstreams};

pub use crate::trusted::TrustedPublishing;

/// What may be set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The largest file, in bytes.
    pub file_max_bytes: u64,
    /// What an archive may cost to look at.
    pub archive: ArchiveLimits,
    /// The memory that rendered pages may use, in bytes.
    pub page_cache_bytes: u64,
    /// Whether downloads are sent on to the blob store, where that takes requests itself.
    pub redirects: Option<Redirects>,
    /// Uploads of more bytes stream into the store as they come; others wait in memory, and touch
    /// none before they are found right.
    pub in_memory_bytes: usize,
    /// Whether runs of continuous integration get tokens for those of their issuers.
    pub trusted_publishing: Option<TrustedPublishing>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file_max_bytes: 2 << 30,
            archive: ArchiveLimits::default(),
            page_cache_bytes: 64 << 20,
            redirects: None,
            in_memory_bytes: 1 << 20,
            trusted_publishing: None,
        }
    }
}

/// The service: a [`Handler`] of all paths under `/pypi/`. Cloning shares it.
#[derive(Clone)]
pub struct Pypi(Arc<Inner>);

struct Inner {
    engine: Engine,
    identity: Arc<dyn IdentityProvider>,
    settings: Settings,
    records: Records,
    pages: Pages,
    lists: Lists,
    source: Source,
}

impl fmt::Debug for Pypi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pypi").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// What the rooms read of a request, beside its path and body.
struct Input {
    headers: HeaderMap,
    /// `?format=`
    format: Option<String>,
    /// What the client calls this server, without a slash at the end.
    base_url: Option<String>,
    /// Whether only the head of the answer is wanted.
    head: bool,
}

impl Pypi {
    /// Serves `engine` to whoever `identity` vouches for, and what `upstreams` have beside it. Fails where
    /// no connection to an upstream could be trusted.
    pub fn new(
        engine: Engine,
        identity: Arc<dyn IdentityProvider>,
        settings: Settings,
        upstreams: Upstreams,
    ) -> Result<Self, ConnectError> {
        Self::with_resolver(engine, identity, settings, upstreams, Arc::new(SystemResolver))
    }

    /// With another way to look upstreams' names up.
    pub fn with_resolver(
        engine: Engine,
        identity: Arc<dyn IdentityProvider>,
        settings: Settings,
        upstreams: Upstreams,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, ConnectError> {
        let records = Records::new(&engine);
        let pages = Pages::new(settings.page_cache_bytes);
        let (lists, source) = (Lists::default(), Source::new(upstreams, resolver)?);
        Ok(Self(Arc::new(Inner { engine, identity, settings, records, pages, lists, source })))
    }

    /// Whether a path belongs to this API, for a router above.
    pub fn owns(path: &str) -> bool {
        Operation::owns(path)
    }

    async fn answer(
        &self,
        request: Request<RequestBody>,
        context: &RequestContext,
    ) -> Result<Reply, Failure> {
        let (parts, body) = request.into_parts();
        let operation = Operation::parse(&parts.method, parts.uri.path());
        context.set_route(operation.as_ref().map_or("pypi_none", Operation::label));
        let operation = operation?;
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let format = pairs.find(|(key, _)| key == "format").map(|(_, value)| value.into_owned());
        let base_url = context.origin().base_url();
        let head = parts.method == Method::HEAD;
        let input = Input { headers: parts.headers, format, base_url, head };
        let asked = self.0.authenticate(&operation, &input, context).await?;
        let (place, task) = match operation {
            Operation::In(place, task) => (place, task),
            Operation::Trusted(_, Step::Audience) => return trusted::audience(&self.0),
            Operation::Trusted(place, Step::Mint) => {
                let (place, headers) = (place.as_ref(), &input.headers);
                return Box::pin(trusted::mint(&self.0, place, headers, body, context)).await;
            }
        };
        match task {
            Task::Upload => Box::pin(upload::take(&self.0, &asked, &place, &input, body)).await,
            Task::Projects => simple::projects(&self.0, &asked, &place, &input).await,
            Task::Project(project) => {
                simple::project(&self.0, &asked, &place, &project, &input).await
            }
            Task::Elsewhere(to) => Ok(error::moved(&to)),
            Task::File(digest, name) => {
                files::file(&self.0, &asked, &place, &digest, &name, &input).await
            }
            Task::Metadata(digest, name) => {
                files::metadata(&self.0, &asked, &place, &digest, &name, &input).await
            }
            Task::Provenance(project, version, name) => {
                let of = (&project, &version, &name);
                files::provenance(&self.0, &asked, &place, of).await
            }
            Task::About(project, version) => {
                about::json(&self.0, &asked, &place, (&project, version.as_ref()), &input).await
            }
        }
    }
}

impl Handler for Pypi {
    fn refuse(&self, _: &str, refusal: Refusal) -> Response<Body> {
        Failure::new(refusal.status, refusal.why).into_reply()
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        let mut response = match self.answer(request, &context).await {
            Ok(reply) => reply,
            Err(failure) => failure.into_reply(),
        };
        if head {
            Body::leave_out(&mut response);
        }
        response
    }
}
