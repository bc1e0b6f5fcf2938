//! What every frontend shares on its way between a socket and the engine.
//!
//! **Promises.** A [`Server`] serves HTTP/1.1 and HTTP/2, plain or over TLS, to one [`Handler`]:
//! nobody can hold a connection, a task or memory for longer than the [`Limits`] say; every
//! request has an id, one log line and its share of the metrics; a panic in a handler is a 500, and
//! nothing else; a shutdown lets running requests finish.
//!
//! **Never.** It buffers no body whole, believes no forwarding header from a peer that was not named
//! as a proxy, writes no credential or query to the log, and knows no protocol of a registry.
//!
//! Read on in [`server`] (accepting and driving connections), [`body`] (what flows), [`context`]
//! (what is known of a request), and the small rooms that parse one header each.

#![forbid(unsafe_code)]

pub mod auth;
pub mod blob;
pub mod body;
pub mod conditional;
pub mod context;
pub mod forwarded;
mod framing;
pub mod health;
pub mod limits;
pub mod log;
pub mod metrics;
mod pipeline;
pub mod range;
pub mod request_id;
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;

pub use body::{Body, RequestBody, RequestBodyError};
pub use context::RequestContext;
pub use limits::Limits;
pub use server::{Handler, Server};
