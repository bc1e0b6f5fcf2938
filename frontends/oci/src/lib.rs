//! The OCI distribution API (specification 1.1.1, and what its development version adds) over the
//! engine.
//!
//! **Promises.** Every request goes one straight way: its path and method become an
//! [`Operation`], its credentials a caller, and the two a repository handle,
//! which only the engine's authorizer gives out; then one call on it, and its result is rendered.
//! What an operation demands of its caller stands in one table ([`Operation::access`]); what lacks
//! an entry does not compile. What a caller may not see answers as what is not there.
//!
//! **Never.** It holds no body whole but manifests (bounded), decides no authorisation itself, and
//! sends no client to another host than the blob store's own.

#![forbid(unsafe_code)]

mod blobs;
mod error;
mod gate;
mod lists;
mod manifests;
mod query;
mod referrers;
mod reply;
pub mod routes;
mod uploads;
mod warnings;

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use http::{Method, Request, Response};
use strongroom_engine::Engine;
use strongroom_http::blob::Redirects;
use strongroom_http::server::Refusal;
use strongroom_http::{Body, Handler, RequestBody, RequestContext};
use strongroom_identity::IdentityProvider;

use crate::error::Failure;
use crate::query::Query;
use crate::reply::Reply;
use crate::routes::{Operation, Task};

/// What may be set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The largest manifest, in bytes; a larger one is 413 before it is read whole. The engine has
    /// a bound of its own.
    pub manifest_max_bytes: usize,
    /// The smallest chunk that clients should cut an upload into, in bytes: each one costs a sync of
    /// the disk and a commit. Advice (`OCI-Chunk-Min-Length`); smaller ones are taken.
    pub chunk_min_bytes: u64,
    /// Whether pulls of blobs are sent on to the blob store, where that takes requests itself.
    pub redirects: Option<Redirects>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { manifest_max_bytes: 4 << 20, chunk_min_bytes: 1 << 20, redirects: None }
    }
}

/// The service: a [`Handler`] of all paths under `/v2`.
#[derive(Clone)]
pub struct Oci {
    engine: Engine,
    identity: Arc<dyn IdentityProvider>,
    settings: Settings,
}

impl fmt::Debug for Oci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oci").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the rooms read of a request, beside its path and body.
struct Input {
    query: Query,
    headers: http::HeaderMap,
}

impl Oci {
    /// Serves `engine` to whoever `identity` vouches for.
    pub fn new(engine: Engine, identity: Arc<dyn IdentityProvider>, settings: Settings) -> Self {
        Self { engine, identity, settings }
    }

    /// Whether a path belongs to this API, for a router above.
    pub fn owns(path: &str) -> bool {
        path == "/v2" || path.starts_with("/v2/")
    }

    async fn answer(
        &self,
        request: Request<RequestBody>,
        context: &RequestContext,
    ) -> Result<Reply, Failure> {
        let (parts, body) = request.into_parts();
        let operation = Operation::parse(&parts.method, parts.uri.path());
        context.set_route(operation.as_ref().map_or("oci_none", Operation::label));
        let operation = operation?;
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let input = Input { query, headers: parts.headers };
        let asked = self.authenticate(&operation, &input, context).await?;
        // Each request has room for the largest of these, and is moved with it: what is seldom asked, or
        // takes long by itself, has a room of its own.
        match &operation {
            Operation::Ping => Ok(lists::ping()),
            Operation::Catalog => lists::catalog(&self.engine, &asked.caller, &input).boxed().await,
            Operation::In(path, task) => {
                let repository = self.open(&asked, path, task.action()).await?;
                match task {
                    Task::ListTags => lists::tags(&repository, &input).boxed().await,
                    Task::ListReferrers(subject) => {
                        referrers::list(&repository, subject, &input).boxed().await
                    }
                    Task::GetManifest(reference) => {
                        manifests::get(&repository, reference, &input).await
                    }
                    Task::HeadManifest(reference) => {
                        manifests::head(&repository, reference, &input).await
                    }
                    Task::PutManifest(reference) => {
                        let most = self.settings.manifest_max_bytes;
                        manifests::put(&repository, reference, &input, body, most).boxed().await
                    }
                    Task::DeleteManifest(reference) => {
                        manifests::delete(&repository, reference).boxed().await
                    }
                    Task::GetBlob(digest) => {
                        let redirects = self.settings.redirects.as_ref();
                        blobs::get(&repository, digest, &input, redirects).boxed().await
                    }
                    Task::HeadBlob(digest) => {
                        blobs::head(&repository, digest, &input).boxed().await
                    }
                    Task::DeleteBlob(digest) => blobs::delete(&repository, digest).boxed().await,
                    Task::StartUpload => {
                        uploads::start(self, &asked, &repository, &input, body).boxed().await
                    }
                    Task::UploadStatus(id) => uploads::status(&repository, *id).boxed().await,
                    Task::AppendUpload(id) => {
                        uploads::append(&repository, *id, &input, body).boxed().await
                    }
                    Task::FinishUpload(id) => {
                        uploads::finish(&repository, *id, &input, body).boxed().await
                    }
                    Task::CancelUpload(id) => uploads::cancel(&repository, *id).boxed().await,
                }
            }
        }
    }
}

impl Handler for Oci {
    fn refuse(&self, _: &str, refusal: Refusal) -> Response<Body> {
        Failure::from(refusal).into_reply().into_response()
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        let reply = match self.answer(request, &context).await {
            Ok(reply) => reply,
            Err(failure) => failure.into_reply(),
        };
        let mut response = reply.into_response();
        if head {
            Body::leave_out(&mut response);
        }
        response
    }
}
