//! What is measured of Strongroom, and how.
//!
//! A figure is a claim: what was measured, what it is held against (a limit of the machine or a
//! peer, measured in the same run, in turn with it), the ratio, the goal, and whether it holds.
//! Machines are noisy, so a figure is the median of several rounds. Nothing here is a test: a
//! figure that falls short is printed, never asserted.

#![allow(clippy::cast_precision_loss, reason = "figures are rounded for people")]

pub mod auth;
pub mod engine;
pub mod figure;
pub mod http;
pub mod pypi;
pub mod s3;
pub mod world;

pub use figure::{Figure, Report};

/// A part of a group: its name, and what measures it.
pub type Part = (&'static str, fn(&mut Report) -> anyhow::Result<()>);
