//! The page of a project with 500 files, in both forms, as installers ask for it: pip, uv and poetry
//! take gzip, and the goal is of that. Without it an answer is ten times as long, and the limit is how fast
//! bytes travel: a bare server's answer of as many.

use anyhow::{Context, Result, ensure};

use super::dist::{Wheel, upload};
use super::peers::{Devpi, Pypiserver};
use super::{AS_HTML, AS_PIP, VERSIONS, WHEELS};
use crate::figure::{Goal, Report, median};
use crate::http::child::{Bare, Strongroom, basic};
use crate::http::load::requests_per_second;

/// What is asked for at least, in requests a second, by who takes gzip.
const GOAL: f64 = 20_000.0;
const ROUNDS: usize = 3;

/// The address of the project's page.
pub(super) const PAGE: &str = "/pypi/default/main/simple/bench-project/";
const LEGACY: &str = "/pypi/default/main/legacy/";

/// All wheels of the project.
pub(super) fn wheels() -> Result<Vec<Wheel>> {
    let mut wheels = Vec::new();
    for version in 0..VERSIONS {
        for system in 0..WHEELS {
            let tags = format!("cp311-abi3-manylinux_2_{}_x86_64", 17 + system);
            let payload = format!("{version} {system}");
            let version = format!("1.{version}");
            wheels.push(Wheel::new("bench-project", &version, &tags, payload.as_bytes())?);
        }
    }
    Ok(wheels)
}

/// Uploads them.
pub(super) fn fill(server: &Strongroom, wheels: &[Wheel]) -> Result<()> {
    let mut client = server.client()?;
    for wheel in wheels {
        upload(&mut client, LEGACY, &wheel.form())?.expect(200)?;
    }
    Ok(())
}

pub(super) fn run(report: &mut Report) -> Result<()> {
    let wheels = wheels()?;
    let server = Strongroom::start()?;
    fill(&server, &wheels)?;
    let sign_in = format!("Authorization: {}", basic());
    let gzip = "Accept-Encoding: gzip";
    let (mut kinds, mut limits) = (Vec::new(), Vec::new());
    for (form, accept) in [("JSON", AS_PIP), ("HTML", AS_HTML)] {
        let mut client = server.client()?;
        let lines = format!("{accept}\r\n{gzip}\r\n");
        let page = client.send("GET", PAGE, &lines, b"")?.expect(200)?;
        let etag = page.header("etag").context("a page without an ETag")?;
        let known = format!("If-None-Match: {etag}");
        let whole = client.send("GET", PAGE, &format!("{accept}\r\n"), b"")?.expect(200)?;
        ensure!(
            whole.body.windows(4).filter(|part| part == b".whl").count() >= 500,
            "no 500 files"
        );
        let compressed = format!("whole in gzip, {} KiB", page.body.len() >> 10);
        kinds.push((form, "unchanged (304)".to_owned(), vec![accept, gzip], Some(known)));
        kinds.push((form, compressed, vec![accept, gzip], None));
        limits.push((form, accept, whole.body.len(), Bare::start(whole.body.len())?));
    }
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
    let mut plain = vec![(Vec::new(), Vec::new()); limits.len()];
    for _ in 0..ROUNDS {
        for (rates, (_, _, lines, known)) in rates.iter_mut().zip(&kinds) {
            let lines = lines.iter().map(|line| (*line).to_owned());
            let lines: Vec<_> = lines.chain(known.clone()).chain([sign_in.clone()]).collect();
            rates.push(requests_per_second(server.address, PAGE, &lines)?);
        }
        for ((ours, bare), (_, accept, _, limit)) in plain.iter_mut().zip(&limits) {
            let lines = [(*accept).to_owned(), sign_in.clone()];
            ours.push(requests_per_second(server.address, PAGE, &lines)?);
            bare.push(requests_per_second(limit.address, "/", &lines)?);
        }
    }
    for ((form, how, ..), rates) in kinds.iter().zip(rates) {
        let name = format!("page of 500 files, {form}, {how}");
        let against = ("the goal, 1/s", GOAL);
        report.figure(&name, (median(rates), "1/s"), against, Goal::RatioAtLeast(1.0))?;
    }
    for ((form, _, size, _), (ours, bare)) in limits.iter().zip(plain) {
        let name = format!("page of 500 files, {form}, whole, {} KiB, not compressed", size >> 10);
        let against = ("a bare hyper server with as many bytes, 1/s", median(bare));
        report.figure(&name, (median(ours), "1/s"), against, Goal::RatioAtLeast(0.8))?;
    }
    // They are no part of what is measured next.
    drop(limits);
    peers(report, &server, &wheels, &sign_in)
}

/// How many files devpi gets: it takes them one in a tenth of a second.
const DEVPI_FILES: usize = 100;

/// The page at other indexes, HTML, whole: each as its own defaults have it.
fn peers(report: &mut Report, server: &Strongroom, wheels: &[Wheel], sign_in: &str) -> Result<()> {
    let lines = [AS_HTML.to_owned()];
    let ours = [AS_HTML.to_owned(), sign_in.to_owned()];
    let devpi = Devpi::start(wheels.get(..DEVPI_FILES).context("too few wheels")?)?;
    let pypiserver = Pypiserver::start(wheels)?;
    for (name, address, path) in [
        ("devpi with 100 files", devpi.address(), Devpi::page()),
        ("pypiserver", pypiserver.address(), Pypiserver::PAGE.to_owned()),
    ] {
        let us = requests_per_second(server.address, PAGE, &ours)?;
        let them = requests_per_second(address, &path, &lines)?;
        let against = format!("{name}, 1/s");
        let figure = format!("page of 500 files, HTML, whole, against {name}");
        let against = (against.as_str(), them);
        report.figure(&figure, (us, "1/s"), against, Goal::RatioAtLeast(10.0))?;
    }
    Ok(())
}
