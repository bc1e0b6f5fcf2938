//! Getting a small manifest by its tag, against a server that only answers.

use anyhow::Result;

use super::child::{Bare, REPOSITORY, basic};
use super::load::{requests_per_second, with_manifest};
use crate::figure::{Goal, Report, median};

const ROUNDS: usize = 5;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let server = with_manifest("latest")?;
    let bare = Bare::start()?;
    let path = format!("/v2/{REPOSITORY}/manifests/latest");
    let by_password = basic();
    let by_token = format!("Bearer {}", server.token()?);
    let (mut limit, mut password, mut token) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(requests_per_second(bare.address, "/", None)?);
        password.push(requests_per_second(server.address, &path, Some(&by_password))?);
        limit.push(requests_per_second(bare.address, "/", None)?);
        token.push(requests_per_second(server.address, &path, Some(&by_token))?);
    }
    let limit = ("a bare hyper server, 1/s", median(limit));
    for (how, rates) in [("password", password), ("token", token)] {
        let name = format!("GET manifest by tag, 16 connections, signed in by {how}");
        report.figure(&name, (median(rates), "1/s"), limit, Goal::RatioAtLeast(0.5))?;
    }
    Ok(())
}
