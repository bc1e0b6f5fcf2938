//! What figures do to a registry before and while they measure it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use strongroom_engine::digest::{Algorithm, Digest};

use super::child::{REPOSITORY, Strongroom};
use super::client::Client;
use crate::world;

/// As docker's client hands bytes on, more or less.
const PART: usize = 256 << 10;

/// Uploads `bytes` as clients that do not know the digest in advance do: start, stream, finish.
pub(crate) fn upload(client: &mut Client, bytes: &[u8], digest: &Digest) -> Result<()> {
    upload_and_time_finish(client, bytes, digest).map(drop)
}

/// The same; returns how long the last request took, which makes it a blob.
pub(crate) fn upload_and_time_finish(
    client: &mut Client,
    bytes: &[u8],
    digest: &Digest,
) -> Result<Duration> {
    upload_to(client, REPOSITORY, bytes, digest)
}

fn upload_to(
    client: &mut Client,
    repository: &str,
    bytes: &[u8],
    digest: &Digest,
) -> Result<Duration> {
    let start = format!("/v2/{repository}/blobs/uploads/");
    let started = client.send("POST", &start, "", b"")?.expect(202)?;
    let location = path_of(started.header("location").context("no location")?).to_owned();
    let streamed = client.stream("PATCH", &location, bytes.chunks(PART))?.expect(202)?;
    let location = path_of(streamed.header("location").context("no location")?);
    let more = if location.contains('?') { '&' } else { '?' };
    let finish = format!("{location}{more}digest={digest}");
    let last = Instant::now();
    client.send("PUT", &finish, "", b"")?.expect(201)?;
    Ok(last.elapsed())
}

/// The path of an address, which may name its server too.
fn path_of(location: &str) -> &str {
    let rest = location.split_once("://").map_or(location, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or(rest)
}

/// Pushes the config that the manifests of [`manifest`] name, into `repository`.
pub(crate) fn push_config(client: &mut Client, repository: &str) -> Result<()> {
    upload_to(client, repository, b"{}", &Digest::of(Algorithm::Sha256, b"{}")).map(drop)
}

/// Pushes the small manifest `number` with these tags.
pub(crate) fn push_manifest(
    client: &mut Client,
    repository: &str,
    number: u64,
    tags: &[String],
) -> Result<()> {
    let manifest = world::manifest(number, &[])?;
    let (first, rest) = tags.split_first().context("a manifest is pushed by a tag")?;
    let mut path = format!("/v2/{repository}/manifests/{first}");
    for (at, tag) in rest.iter().enumerate() {
        path.push_str(if at == 0 { "?tag=" } else { "&tag=" });
        path.push_str(tag);
    }
    let kind = manifest.content_type.unwrap_or_default();
    let fields = format!("Content-Type: {kind}\r\n");
    client.send("PUT", &path, &fields, &manifest.bytes)?.expect(201)?;
    Ok(())
}

/// Pushes one small manifest as `tag` of [`REPOSITORY`].
pub(crate) fn tag_manifest(client: &mut Client, tag: &str) -> Result<()> {
    push_config(client, REPOSITORY)?;
    push_manifest(client, REPOSITORY, 1, &[tag.to_owned()])
}

/// A registry with one small manifest, as `tag` of [`REPOSITORY`].
pub(crate) fn with_manifest(tag: &str) -> Result<Strongroom> {
    let server = Strongroom::start()?;
    tag_manifest(&mut server.client()?, tag)?;
    Ok(server)
}

/// How many GETs of a manifest a second wrk does over 16 connections that stay. It says what it takes,
/// as clients do: not every registry answers without.
pub(crate) fn manifests_per_second(
    address: SocketAddr,
    path: &str,
    authorization: Option<&str>,
) -> Result<f64> {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json".to_owned();
    let header = authorization.map(|value| format!("Authorization: {value}"));
    let headers: Vec<_> = std::iter::once(accept).chain(header).collect();
    requests_per_second(address, path, &headers)
}

/// How many GETs with these header lines a second wrk does over 16 connections that stay.
pub(crate) fn requests_per_second(
    address: SocketAddr,
    path: &str,
    headers: &[String],
) -> Result<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c16", "-d4s"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(format!("http://{address}{path}")).output().context(
        "wrk makes the load of small requests, and can't be started: install it \
         (Debian: apt-get install wrk)",
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !text.contains("Non-2xx"), "wrk says:\n{text}");
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(rate.with_context(|| format!("wrk says no rate:\n{text}"))?.trim().parse()?)
}
