//! The engine's face, end to end over memory stores.

mod races;
mod support;
mod walk;
