//! The registry over a bucket against `distribution` over the same one: a large blob, the PUT that ends
//! its upload, and a manifest by tag, this also where metadata lies in PostgreSQL.

use std::time::Instant;

use anyhow::{Context, Result};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_s3::S3Options;
use strongroom_s3_testing::Server;

use super::{LARGE, ROUNDS, flush_disk};
use crate::figure::{Goal, Report, median};
use crate::http::child::{REPOSITORY, Strongroom};
use crate::http::load::{manifests_per_second, tag_manifest, upload_and_time_finish};
use crate::http::peers::Peer;
use crate::world::random_bytes;

/// An empty database of this run's own.
const DATABASE: &str = "STRONGROOM_BENCH_POSTGRES";

pub(super) fn run(report: &mut Report, bucket: &Server) -> Result<()> {
    let options = bucket.options();
    let ours = Strongroom::start_with(&settings(&options, "ours/"))?;
    let peer = Peer::distribution_on(&options)?;
    push(report, &ours, &peer)?;
    manifest(report, &options, &ours, &peer)
}

fn push(report: &mut Report, ours: &Strongroom, peer: &Peer) -> Result<()> {
    let mut bytes = Vec::from(random_bytes(LARGE));
    let (mut rates, mut finishes) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..ROUNDS {
        *bytes.first_mut().context("no bytes")? = u8::try_from(round)?;
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        for turn in 0..2 {
            let whose = (round + turn) % 2;
            let mut client = if whose == 0 { ours.client()? } else { peer.client()? };
            flush_disk()?;
            let begin = Instant::now();
            let finish = upload_and_time_finish(&mut client, &bytes, &digest)?;
            let rate = LARGE as f64 / 1e6 / begin.elapsed().as_secs_f64();
            rates.get_mut(whose).context("one of two")?.push(rate);
            finishes.get_mut(whose).context("one of two")?.push(finish.as_secs_f64() * 1000.0);
        }
    }
    let [ours, theirs] = rates.map(median);
    report.figure(
        "push 512 MiB to a registry on MinIO",
        (ours, "MB/s"),
        ("distribution on the same, MB/s", theirs),
        Goal::RatioAtLeast(1.0),
    )?;
    let [ours, theirs] = finishes.map(median);
    for against in [("distribution, ms", theirs), ("bound, ms", 100.0)] {
        let name = "the PUT that ends an upload of 512 MiB to a registry on MinIO";
        report.figure(name, (ours, "ms"), against, Goal::RatioAtMost(1.0))?;
    }
    Ok(())
}

fn manifest(
    report: &mut Report,
    options: &S3Options,
    ours: &Strongroom,
    peer: &Peer,
) -> Result<()> {
    let database = std::env::var(DATABASE).with_context(|| {
        format!("{DATABASE} does not say where PostgreSQL is: run `cargo xtask bench s3`")
    })?;
    let mut shared = settings(options, "shared/");
    shared.push(("STRONGROOM_POSTGRES_URL", database));
    let shared = Strongroom::start_with(&shared)?;
    for server in [ours, &shared] {
        tag_manifest(&mut server.client()?, "latest")?;
    }
    tag_manifest(&mut peer.client()?, "latest")?;
    let path = format!("/v2/{REPOSITORY}/manifests/latest");
    let tokens = [ours.token()?, shared.token()?].map(|token| format!("Bearer {token}"));
    let [by_ours, by_shared] = &tokens;
    let (mut alone, mut many, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(manifests_per_second(ours.address, &path, Some(by_ours))?);
        many.push(manifests_per_second(shared.address, &path, Some(by_shared))?);
        theirs.push(manifests_per_second(peer.address, &path, None)?);
    }
    let theirs = ("distribution on the same, anybody, 1/s", median(theirs));
    let many = (median(many), "1/s");
    let name = "GET manifest by tag, by token, on MinIO";
    report.figure(name, (median(alone), "1/s"), theirs, Goal::RatioAtLeast(1.0))?;
    let name = "GET manifest by tag, by token, on MinIO and PostgreSQL";
    report.figure(name, many, theirs, Goal::RatioAtLeast(1.0))?;
    report.figure(name, many, ("bound, 1/s", 10_000.0), Goal::RatioAtLeast(1.0))
}

/// What a registry is told of a bucket, below a prefix.
fn settings(options: &S3Options, prefix: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("STRONGROOM_S3_BUCKET", options.bucket.clone()),
        ("STRONGROOM_S3_PREFIX", prefix.to_owned()),
        ("STRONGROOM_S3_PATH_STYLE", "true".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    let region = options.region.clone().map(|region| ("STRONGROOM_S3_REGION", region));
    let endpoint = options.endpoint.clone().map(|endpoint| ("STRONGROOM_S3_ENDPOINT", endpoint));
    settings.extend(region.into_iter().chain(endpoint));
    if let Some(keys) = options.keys.clone() {
        settings.push(("AWS_ACCESS_KEY_ID", keys.id));
        settings.push(("AWS_SECRET_ACCESS_KEY", keys.secret));
    }
    settings
}
