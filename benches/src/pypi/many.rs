//! Whether a hundred thousand projects in the registry slow it.

use std::time::Instant;

use anyhow::{Result, ensure};
use strongroom_engine::digest::{Algorithm, Digest};

use super::AS_PIP;
use super::dist::{Wheel, upload};
use super::page::{PAGE, fill, wheels};
use crate::figure::{Goal, Report, median};
use crate::http::child::{Strongroom, basic};
use crate::http::client::Client;
use crate::http::load::requests_per_second;

const FEW: usize = 100;
const MANY: usize = 100_000;
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
/// How many new projects are uploaded in a round.
const UPLOADS: usize = 100;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(super) fn run(report: &mut Report) -> Result<()> {
    let wheels = wheels()?;
    let servers = [FEW, MANY].map(|count| filled(count, &wheels));
    let [few, many] = servers;
    let servers = [few?, many?];
    let lines = [
        AS_PIP.to_owned(),
        "Accept-Encoding: gzip".to_owned(),
        format!("Authorization: {}", basic()),
    ];
    let mut pages: [Vec<f64>; 2] = Default::default();
    let mut uploads: [Vec<f64>; 2] = Default::default();
    for round in 0..ROUNDS {
        for ((server, pages), uploads) in servers.iter().zip(&mut pages).zip(&mut uploads) {
            pages.push(requests_per_second(server.address, PAGE, &lines)?);
            uploads.push(upload_new(server, round)?);
        }
    }
    let [few, many] = pages.map(median);
    let name = "page of 500 files, JSON in gzip, at 100,000 projects in the registry";
    report.figure(name, (many, "1/s"), ("at 100, 1/s", few), Goal::RatioAtLeast(0.9))?;
    let [few, many] = uploads.map(median);
    let name = "upload of a new project at 100,000 projects in the registry";
    report.figure(name, (many, "us"), ("at 100, us", few), Goal::RatioAtMost(1.3))
}

/// A registry with `count` projects, and the one with many files.
fn filled(count: usize, wheels: &[Wheel]) -> Result<Strongroom> {
    let server = Strongroom::start()?;
    std::thread::scope(|scope| {
        let fillers: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                let client = server.client();
                scope.spawn(move || {
                    let mut client = client?;
                    (first..count).step_by(CONNECTIONS).try_for_each(|at| project(&mut client, at))
                })
            })
            .collect();
        for filler in fillers {
            filler.join().map_err(|_| anyhow::anyhow!("a filler panicked"))??;
        }
        anyhow::Ok(())
    })?;
    fill(&server, wheels)?;
    let mut client = server.client()?;
    let list = client.send("GET", "/pypi/default/main/simple/", "Accept: text/html\r\n", b"")?;
    let listed = list.expect(200)?.body.windows(3).filter(|part| part == b"<a ").count();
    ensure!(listed == count + 1, "{listed} projects are listed");
    Ok(server)
}

/// A project by OCI, of one version without files.
fn project(client: &mut Client, number: usize) -> Result<()> {
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","artifactType":"application/vnd.strongroom.python.release.v1","manifests":[]}}"#
    );
    let path = format!("/v2/default/main/project-{number:06}/manifests/1.0");
    let field = format!("Content-Type: {INDEX}\r\n");
    client.send("PUT", &path, &field, index.as_bytes())?.expect(201).map(drop)
}

/// The microseconds that the upload of a new project's first file takes.
fn upload_new(server: &Strongroom, round: usize) -> Result<f64> {
    let mut client = server.client()?;
    let mut forms = Vec::new();
    for number in 0..UPLOADS {
        let payload = Digest::of(Algorithm::Sha256, format!("{round} {number}").as_bytes());
        let project = format!("new-{round}-{number}");
        let wheel = Wheel::new(&project, "1.0", "py3-none-any", payload.to_string().as_bytes())?;
        forms.push(wheel.form());
    }
    let begin = Instant::now();
    for form in &forms {
        upload(&mut client, "/pypi/default/main/legacy/", form)?.expect(200)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / UPLOADS as f64)
}
