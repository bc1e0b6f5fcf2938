//! Pushing a large blob, durable, against hashing alone and writing alone.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use strongroom_engine::digest::{Algorithm, Digest};

use super::child::Strongroom;
use super::{LARGE, load, peers};
use crate::figure::{Goal, Report, folder, hash_rate, median, rate};
use crate::world::random_bytes;

const ROUNDS: usize = 7;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let mut bytes = Vec::from(random_bytes(LARGE));
    let server = Strongroom::start()?;
    let work = tempfile::tempdir_in(folder()?)?;
    let (source, target) = (work.path().join("source"), work.path().join("target"));
    std::fs::write(&source, &bytes)?;
    let peers = peers::start_all()?;
    let mut theirs: Vec<_> = peers.iter().map(|peer| (peer.name, Vec::new())).collect();
    let dd = || -> Result<()> {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", source.display())).arg(format!("of={}", target.display()));
        let dd = dd.args(["bs=1M", "conv=fsync"]).stderr(Stdio::null()).status();
        ensure!(dd.context("dd can't be started")?.success(), "dd failed");
        Ok(std::fs::remove_file(&target)?)
    };
    let (mut hash, mut write, mut both) = (Vec::new(), Vec::new(), Vec::new());
    let mut push = Vec::new();
    for round in 0..ROUNDS {
        hash.push(hash_rate(&bytes)?);
        write.push(rate(LARGE, dd)?);
        both.push(rate(LARGE, || {
            std::thread::scope(|scope| {
                let hashing = scope.spawn(|| hash_rate(&bytes));
                dd()?;
                hashing.join().map_err(|_| anyhow!("hashing panicked"))?.map(drop)
            })
        })?);
        // What is there already would not be kept a second time.
        *bytes.first_mut().context("no bytes")? = u8::try_from(round)?;
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let mut client = server.client()?;
        push.push(rate(LARGE, || load::upload(&mut client, &bytes, &digest))?);
        for (peer, (_, rates)) in peers.iter().zip(&mut theirs) {
            let mut client = peer.client()?;
            rates.push(rate(LARGE, || load::upload(&mut client, &bytes, &digest))?);
        }
    }
    let ours = median(push.clone());
    report.figure(
        "push 512 MiB, durable",
        (median(push), "MB/s"),
        ("the slower of sha256 and dd conv=fsync, MB/s", median(hash).min(median(write))),
        Goal::RatioAtLeast(0.85),
    )?;
    report.figure(
        "push 512 MiB, durable, by what both leave each other",
        (ours, "MB/s"),
        ("sha256 and dd conv=fsync at once, MB/s", median(both)),
        Goal::RatioAtLeast(0.85),
    )?;
    for (peer, rates) in theirs {
        let against = (&*format!("{peer}, durable or not, MB/s"), median(rates));
        let name = format!("push 512 MiB, and to {peer}");
        report.figure(&name, (ours, "MB/s"), against, Goal::RatioAtLeast(1.0))?;
    }
    Ok(())
}
