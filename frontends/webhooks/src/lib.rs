//! Webhooks: what happens in a registry, told to addresses that its admins chose.
//!
//! The audit trail is the outbox: a hook is a reader of its organisation's trail that keeps its place
//! (`dispatch`), so there is no queue beside the facts that could differ from them. Each event is one
//! POST of a CloudEvent ([`event`]), signed by the hook's secret ([`signature`]).
//!
//! **Promises.** What happened while a hook was on is delivered at least once, whatever is killed, and in
//! order within a repository; what a receiver does not take is offered again, ever more seldom, until the
//! hook is switched off with a line in the trail, and from there again once it is switched on. No request
//! goes to an address that is not public, unless the operator allowed it ([`strongroom_outbound`]): the
//! address that was checked is the one that is connected to, and redirects are not followed. A secret is sealed where
//! it is kept and shown once. Whoever asks about a hook must be allowed to manage its registry; to others
//! it answers as what is not there.
//!
//! **Never.** It tells one registry's events to another's hook, shows what a receiver answered but for its
//! status, or sends twice the same where the first was taken and nothing was killed.

#![forbid(unsafe_code)]

mod dispatch;
mod error;
pub mod event;
mod hooks;
mod metrics;
mod records;
mod schedule;
mod send;
mod settings;
pub mod signature;
#[cfg(test)]
mod tests;

pub use error::WebhookError;
pub use hooks::{Change, Hook, HookId, NewHook, Standing, Webhooks};
pub use records::Delivery;
pub use send::Answer;
pub use settings::Settings;
