//! Getting a small manifest by its tag, against a server that only answers.

use anyhow::Result;

use super::child::{Bare, REPOSITORY, basic};
use super::load::{manifests_per_second, requests_per_second, tag_manifest, with_manifest};
use super::peers;
use crate::figure::{Goal, Report, median};

const ROUNDS: usize = 5;
/// About what a small manifest has, in bytes.
const SMALL: usize = 500;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let server = with_manifest("latest")?;
    let bare = Bare::start(SMALL)?;
    let path = format!("/v2/{REPOSITORY}/manifests/latest");
    let by_password = basic();
    let by_token = format!("Bearer {}", server.token()?);
    let peers = peers::start_all()?;
    for peer in &peers {
        tag_manifest(&mut peer.client()?, "latest")?;
    }
    let (mut limit, mut password, mut token) = (Vec::new(), Vec::new(), Vec::new());
    let mut theirs: Vec<_> = peers.iter().map(|peer| (peer.name, Vec::new())).collect();
    for _ in 0..ROUNDS {
        limit.push(requests_per_second(bare.address, "/", &[])?);
        password.push(manifests_per_second(server.address, &path, Some(&by_password))?);
        limit.push(requests_per_second(bare.address, "/", &[])?);
        token.push(manifests_per_second(server.address, &path, Some(&by_token))?);
        for (peer, (_, rates)) in peers.iter().zip(&mut theirs) {
            rates.push(manifests_per_second(peer.address, &path, None)?);
        }
    }
    let ours = median(token.clone());
    let limit = ("a bare hyper server, 1/s", median(limit));
    for (how, rates) in [("password", password), ("token", token)] {
        let name = format!("GET manifest by tag, 16 connections, signed in by {how}");
        report.figure(&name, (median(rates), "1/s"), limit, Goal::RatioAtLeast(0.5))?;
    }
    for (peer, rates) in theirs {
        let against = (&*format!("{peer}, anybody, 1/s"), median(rates));
        let name = format!("GET manifest by tag, by token, and of {peer}");
        report.figure(&name, (ours, "1/s"), against, Goal::RatioAtLeast(1.0))?;
    }
    Ok(())
}
