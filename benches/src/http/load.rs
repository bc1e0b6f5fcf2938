//! What figures do to a registry before and while they measure it.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use strongroom_engine::digest::{Algorithm, Digest};

use super::child::{REPOSITORY, Strongroom};
use super::client::Client;
use crate::world;

/// As docker's client hands bytes on, more or less.
const PART: usize = 256 << 10;

/// Uploads `bytes` as clients that do not know the digest in advance do: start, stream, finish.
pub(super) fn upload(client: &mut Client, bytes: &[u8], digest: &Digest) -> Result<()> {
    let start = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let started = client.send("POST", &start, "", b"")?.expect(202)?;
    let location = started.header("location").context("no location")?.to_owned();
    let streamed = client.stream("PATCH", &location, bytes.chunks(PART))?.expect(202)?;
    let location = streamed.header("location").context("no location")?;
    let finish = format!("{location}?digest={digest}");
    client.send("PUT", &finish, "", b"")?.expect(201)?;
    Ok(())
}

/// Pushes the config that the manifests of [`manifest`] name, into `repository`.
pub(super) fn push_config(client: &mut Client, repository: &str) -> Result<()> {
    let digest = Digest::of(Algorithm::Sha256, b"{}");
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    client.send("POST", &path, "", b"{}")?.expect(201)?;
    Ok(())
}

/// Pushes the small manifest `number` with these tags.
pub(super) fn push_manifest(
    client: &mut Client,
    repository: &str,
    number: u64,
    tags: &[String],
) -> Result<()> {
    let manifest = world::manifest(number, &[])?;
    let (first, rest) = tags.split_first().context("a manifest is pushed by a tag")?;
    let mut path = format!("/v2/{repository}/manifests/{first}?tag={first}");
    for tag in rest {
        path.push_str("&tag=");
        path.push_str(tag);
    }
    let kind = manifest.content_type.unwrap_or_default();
    let fields = format!("Content-Type: {kind}\r\n");
    client.send("PUT", &path, &fields, &manifest.bytes)?.expect(201)?;
    Ok(())
}

/// A registry with one small manifest, as `tag` of [`REPOSITORY`].
pub(super) fn with_manifest(tag: &str) -> Result<Strongroom> {
    let server = Strongroom::start()?;
    let mut client = server.client()?;
    push_config(&mut client, REPOSITORY)?;
    push_manifest(&mut client, REPOSITORY, 1, &[tag.to_owned()])?;
    Ok(server)
}

/// How many GETs a second wrk does over 16 connections that stay.
pub(super) fn requests_per_second(
    address: SocketAddr,
    path: &str,
    authorization: Option<&str>,
) -> Result<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c16", "-d4s"]);
    if let Some(value) = authorization {
        command.args(["-H", &format!("Authorization: {value}")]);
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
