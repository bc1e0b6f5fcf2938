//! The engine's face, end to end over memory stores.

mod support;
mod walk;
