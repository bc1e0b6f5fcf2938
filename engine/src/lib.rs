//! Strongroom's engine: content-addressed storage that verifies while it streams.

pub mod content;
pub mod digest;
pub mod disk;
pub mod manifest;
pub mod meta;
pub mod name;
pub mod seam;
