//! The engine's face, end to end over memory stores.

mod bucket;
mod catalog;
mod counted;
mod gate;
mod immutable;
mod lines;
mod listings;
mod numbers;
mod races;
mod revisions;
pub(crate) mod support;
mod told;
mod tree;
mod verified;
mod walk;
