//! Small blobs, sixteen at once: each an object, and a commit of its record.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_s3::S3Store;
use strongroom_s3_testing::Server;

use super::ROUNDS;
use super::bare::Bare;
use crate::figure::{Goal, Report, median};
use crate::world::{World, parts, random_bytes};

const BLOBS: usize = 400;
const SIZE: usize = 4 << 10;
const AT_ONCE: usize = 16;

pub(super) async fn run(report: &mut Report, server: &Server, name: &str) -> Result<()> {
    let bare = Bare::of(server);
    let mut options = server.options();
    "small/".clone_into(&mut options.prefix);
    let world = World::with_bytes_in(Arc::new(S3Store::new(&options).await)).await?;
    let content = random_bytes(SIZE * BLOBS * ROUNDS);
    let (mut puts, mut pushes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let blob = |number: usize| {
            let at = (round * BLOBS + number) * SIZE;
            content.slice(at..at + SIZE)
        };
        let bare = &bare;
        let begin = Instant::now();
        at_once((0..BLOBS).map(|number| {
            let bytes = blob(number);
            async move { bare.put(&format!("bare/{number}"), bytes).await }
        }))
        .await?;
        puts.push(rate(begin));
        let world = &world;
        let begin = Instant::now();
        at_once((0..BLOBS).map(|number| {
            let bytes: Bytes = blob(number);
            async move {
                let digest = Digest::of(Algorithm::Sha256, &bytes);
                let repository = world.open("small", Action::Push).await?;
                let length = u64::try_from(SIZE)?;
                repository.push_blob(&digest, Some(length), parts(&bytes, SIZE)).await?;
                Ok(())
            }
        }))
        .await?;
        pushes.push(rate(begin));
    }
    report.figure(
        &format!("push blobs of 4 KiB to {name}, sixteen at once"),
        (median(pushes), "/s"),
        ("PutObject of a plain client, /s", median(puts)),
        Goal::RatioAtLeast(0.5),
    )
}

async fn at_once(work: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    futures::stream::iter(work).buffer_unordered(AT_ONCE).try_collect().await
}

fn rate(begin: Instant) -> f64 {
    BLOBS as f64 / begin.elapsed().as_secs_f64()
}
