//! Whether a million tags in one repository slow it.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::child::Strongroom;
use super::client::Client;
use super::load::{push_config, push_manifest};
use crate::figure::{Goal, Report, median};

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
const TAGS_A_PUSH: u64 = 100;
const PUSHES: u64 = 200;
const PAGES: u64 = 300;
/// As many as there are in the smaller repository, so that the cache helps both alike.
const GETS: u64 = FEW;
const ROUNDS: u64 = 5;

struct Repository {
    name: &'static str,
    tags: u64,
    /// Microseconds each, a row per kind: push, page, get.
    times: [Vec<f64>; 3],
}

pub(super) fn run(report: &mut Report) -> Result<()> {
    let server = Strongroom::start()?;
    let mut client = server.client()?;
    let mut repositories = [("default/main/few", FEW), ("default/main/many", MANY)]
        .map(|(name, tags)| Repository { name, tags, times: Default::default() });
    for repository in &repositories {
        push_config(&mut client, repository.name)?;
        repository.fill(&mut client)?;
    }
    for round in 0..ROUNDS {
        for repository in &mut repositories {
            repository.measure(&mut client, round)?;
        }
    }
    let [few, many] = repositories.map(|repository| repository.times.map(median));
    for ((what, few), many) in ["push", "page of 100", "get"].iter().zip(few).zip(many) {
        let name = format!("{what} at 1,000,000 tags in the repository");
        let against = ("at 1,000, us", few);
        report.figure(&name, (many, "us"), against, Goal::RatioAtMost(1.3))?;
    }
    Ok(())
}

fn tag(number: u64) -> String {
    format!("t{number:07}")
}

impl Repository {
    fn fill(&self, client: &mut Client) -> Result<()> {
        for first in (0..self.tags).step_by(usize::try_from(TAGS_A_PUSH)?) {
            let tags: Vec<_> = (first..first + TAGS_A_PUSH).map(tag).collect();
            push_manifest(client, self.name, first, &tags)?;
        }
        Ok(())
    }

    fn measure(&mut self, client: &mut Client, round: u64) -> Result<()> {
        let (name, tags) = (self.name, self.tags);
        let push = each(PUSHES, |at| {
            let number = MANY + round * PUSHES + at;
            push_manifest(client, name, number, &[format!("new{number}")])
        })?;
        let page = each(PAGES, |at| {
            let last = tag(tags / 2 + at);
            let reply = client.get(&format!("/v2/{name}/tags/list?n=100&last={last}"))?;
            let link = reply.header("link").is_some();
            ensure!(link, "a page in the middle is followed by another");
            reply.expect(200).map(drop)
        })?;
        let get = each(GETS, |at| {
            let tag = tag(at * (tags / GETS));
            client.get(&format!("/v2/{name}/manifests/{tag}"))?.expect(200).map(drop)
        })?;
        for (times, time) in self.times.iter_mut().zip([push, page, get]) {
            times.push(time);
        }
        Ok(())
    }
}

/// The microseconds that one of `count` takes.
fn each(count: u64, mut work: impl FnMut(u64) -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    for at in 0..count {
        work(at)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / count as f64)
}
