//! What is known of one request, beside its header and its body.
//!
//! One [`RequestContext`] is made when a request's header is whole, and shared by the handler, the
//! body on its way out and the log line at the end. Frontends add to it who asked
//! ([`set_principal`](RequestContext::set_principal)) and which route it was
//! ([`set_route`](RequestContext::set_route)).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::forwarded::Origin;
use crate::limits::{Share, ShareError, Shares};
use crate::request_id::RequestId;

/// What is known of one request.
#[derive(Debug)]
pub struct RequestContext {
    id: RequestId,
    origin: Origin,
    peer: SocketAddr,
    principal: OnceLock<Arc<str>>,
    route: OnceLock<&'static str>,
    bytes_in: AtomicU64,
    /// Whether nothing more of the request's body is to come.
    body_ended: AtomicBool,
    /// Those of all requests under way, and how many one principal may hold.
    principals: (Shares<Arc<str>>, usize),
    share: OnceLock<Share<Arc<str>>>,
}

impl RequestContext {
    /// The context of a request from `origin` that came over a connection from `peer`.
    pub fn new(id: RequestId, origin: Origin, peer: SocketAddr) -> Self {
        Self::among(id, origin, peer, (Shares::default(), usize::MAX))
    }

    /// The same for one of the requests that share `principals`, of which one principal may hold so
    /// many.
    pub(crate) fn among(
        id: RequestId,
        origin: Origin,
        peer: SocketAddr,
        principals: (Shares<Arc<str>>, usize),
    ) -> Self {
        Self {
            id,
            origin,
            peer,
            principal: OnceLock::new(),
            route: OnceLock::new(),
            bytes_in: AtomicU64::new(0),
            body_ended: AtomicBool::new(false),
            principals,
            share: OnceLock::new(),
        }
    }

    /// The id that the response carries and that finds the log line.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The client's address and what it called this server, as seen past trusted proxies.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The other end of the connection: the client, or the last proxy.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Says who asked, for the log. The first one said stands.
    pub fn set_principal(&self, principal: impl Into<Arc<str>>) {
        let _stands = self.principal.set(principal.into());
    }

    /// Takes one of the places that a principal has, until the request is over. Answer 429 where
    /// there is none: to be called once it is known who asks, before any work is done for them.
    pub fn hold_share(&self, principal: impl Into<Arc<str>>) -> Result<(), ShareError> {
        let (shares, most) = &self.principals;
        let share = shares.take(principal.into(), usize::MAX, *most)?;
        // A request has one principal: a second share would be given back at once.
        let _stands = self.share.set(share);
        Ok(())
    }

    /// Who asked, if a frontend said so.
    pub fn principal(&self) -> Option<&str> {
        self.principal.get().map(AsRef::as_ref)
    }

    /// Says which route it was, for log and metrics: a name from the code, never text of the
    /// request, since each one is a label that is kept for ever. The first one said stands.
    pub fn set_route(&self, route: &'static str) {
        let _stands = self.route.set(route);
    }

    /// The route, or `other` where no frontend said one.
    pub fn route(&self) -> &'static str {
        self.route.get().copied().unwrap_or("other")
    }

    /// How many bytes of the request's body were taken so far.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    pub(crate) fn end_body(&self) {
        self.body_ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn body_ended(&self) -> bool {
        self.body_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
