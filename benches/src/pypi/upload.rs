//! Uploading a wheel, against pushing the same bytes as a blob and a manifest by OCI.

use std::time::Instant;

use anyhow::{Context, Result};
use strongroom_engine::digest::{Algorithm, Digest};

use super::dist::{Wheel, upload};
use crate::figure::{Goal, Report, median};
use crate::http::child::{REPOSITORY, Strongroom};
use crate::http::client::Client;
use crate::http::load::{push_config, upload as push_blob};
use crate::world::random_bytes;

const ROUNDS: usize = 7;
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

pub(super) fn run(report: &mut Report) -> Result<()> {
    let server = Strongroom::start()?;
    let mut client = server.client()?;
    push_config(&mut client, REPOSITORY)?;
    for (size, shown, count) in [(64 << 10, "64 KiB", 50), (16 << 20, "16 MiB", 4)] {
        let (mut uploads, mut pushes) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut wheels = Vec::new();
            for number in 0..count {
                let mut payload = Vec::from(random_bytes(size));
                // Each time other bytes: what is there already is not stored again.
                let mark = format!("{size} {round} {number} ");
                overwrite(&mut payload, mark.as_bytes());
                let version = format!("{size}.{round}.{number}");
                wheels.push(Wheel::new("upload", &version, "py3-none-any", &payload)?);
                overwrite(&mut payload, b"#");
                wheels.push(Wheel::new("push", &version, "py3-none-any", &payload)?);
            }
            let (mut by_form, mut by_oci) = (0.0, 0.0);
            for pair in wheels.chunks(2) {
                let [wheel, other] = pair else { continue };
                let form = wheel.form();
                by_form += timed(|| {
                    let sent = upload(&mut client, "/pypi/default/main/legacy/", &form)?;
                    sent.expect(200).map(drop)
                })?;
                by_oci += timed(|| push(&mut client, other))?;
            }
            let each = 1e3 / f64::from(u32::try_from(count)?);
            uploads.push(by_form * each);
            pushes.push(by_oci * each);
        }
        let name = format!("upload of a wheel of {shown}");
        let against = ("the same bytes as OCI blob and manifest, ms", median(pushes));
        report.figure(&name, (median(uploads), "ms"), against, Goal::RatioAtMost(1.3))?;
    }
    Ok(())
}

fn overwrite(payload: &mut [u8], head: &[u8]) {
    if let Some(begin) = payload.get_mut(..head.len()) {
        begin.copy_from_slice(head);
    }
}

/// As a client of OCI pushes an artifact of one layer.
fn push(client: &mut Client, wheel: &Wheel) -> Result<()> {
    let digest = Digest::of(Algorithm::Sha256, &wheel.bytes);
    push_blob(client, &wheel.bytes, &digest)?;
    let config = Digest::of(Algorithm::Sha256, b"{}");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "artifactType": "application/vnd.example.wheel.v1",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.python.wheel",
            "digest": digest,
            "size": wheel.bytes.len(),
        }],
    })
    .to_string();
    let tag = wheel.name.split('-').nth(1).context("a wheel's name has a version")?;
    let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
    let field = format!("Content-Type: {IMAGE}\r\n");
    client.send("PUT", &path, &field, manifest.as_bytes())?.expect(201).map(drop)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}
