//! What is known of one request, beside its header and its body.
//!
//! One [`RequestContext`] is made when a request's header is whole, and shared by the handler, the
//! body on its way out and the log line at the end. Frontends add to it who asked
//! ([`set_principal`](RequestContext::set_principal)) and which route it was
//! ([`set_route`](RequestContext::set_route)).

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::forwarded::Origin;
use crate::request_id::RequestId;

/// What is known of one request.
#[derive(Debug)]
pub struct RequestContext {
    id: RequestId,
    origin: Origin,
    peer: SocketAddr,
    principal: OnceLock<String>,
    route: OnceLock<&'static str>,
    bytes_in: AtomicU64,
}

impl RequestContext {
    /// The context of a request from `origin` that came over a connection from `peer`.
    pub fn new(id: RequestId, origin: Origin, peer: SocketAddr) -> Self {
        Self {
            id,
            origin,
            peer,
            principal: OnceLock::new(),
            route: OnceLock::new(),
            bytes_in: AtomicU64::new(0),
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
    pub fn set_principal(&self, principal: impl Into<String>) {
        let _stands = self.principal.set(principal.into());
    }

    /// Who asked, if a frontend said so.
    pub fn principal(&self) -> Option<&str> {
        self.principal.get().map(String::as_str)
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

    pub(crate) fn add_bytes_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
