//! The engine's face, end to end over memory stores.

mod gate;
mod races;
mod support;
mod walk;
