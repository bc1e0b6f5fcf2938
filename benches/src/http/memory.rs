//! The memory of a registry that does nothing, and of one with many uploads.

use std::time::Duration;

use anyhow::{Result, anyhow};
use strongroom_engine::digest::{Algorithm, Digest};

use super::child::Strongroom;
use super::load;
use crate::figure::{Goal, Report};
use crate::world::random_bytes;

const UPLOADS: usize = 64;
const SIZE: usize = 100_000_000;
/// Until what starting took up was given back, if it ever is.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn run(report: &mut Report) -> Result<()> {
    let server = Strongroom::start()?;
    std::thread::sleep(SETTLE);
    let name = "resident after the start";
    let idle = server.resident_mib()?;
    report.figure(name, (idle, "MiB"), ("bound, MiB", 20.0), Goal::RatioAtMost(1.0))?;

    let bytes = random_bytes(SIZE);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    std::thread::scope(|scope| {
        let upload = || load::upload(&mut server.client()?, &bytes, &digest);
        let uploads: Vec<_> = (0..UPLOADS).map(|_| scope.spawn(upload)).collect();
        uploads.into_iter().try_for_each(|upload| match upload.join() {
            Ok(uploaded) => uploaded,
            Err(_) => Err(anyhow!("a client panicked")),
        })
    })?;
    let name = "the most resident with 64 uploads of 100 MB at once";
    let most = server.peak_mib()?;
    report.figure(name, (most, "MiB"), ("bound, MiB", 100.0), Goal::RatioAtMost(1.0))
}
