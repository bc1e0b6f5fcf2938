//! Pushing and pulling a large blob, and pushing it while one request of a hundred fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use strongroom_engine::Chunk;
use strongroom_engine::access::Action;
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::gc::CollectOptions;
use strongroom_s3::S3Store;
use strongroom_s3_testing::{Fault, FaultProxy, S3Kind, Server};

use super::bare::Bare;
use super::{LARGE, MIB, ROUNDS, flush_disk};
use crate::figure::{Goal, Report, median};
use crate::world::{World, parts, random_bytes};

/// As a frontend hands bytes on.
const PIECE: usize = 256 << 10;

pub(super) async fn run(report: &mut Report, server: &Server, name: &str) -> Result<()> {
    let bare = Bare::of(server);
    let mut content = Vec::from(random_bytes(LARGE));
    let blobs = Arc::new(S3Store::new(&server.options()).await);
    let world = World::with_bytes_in(blobs).await?;
    let mut took = Took::default();
    for round in 0..ROUNDS {
        let mut pushed = None;
        // Each comes first once: where all went to the same disk, the last would be held up most.
        for turn in 0..3 {
            let bytes = fresh(&mut content, 3 * round + turn)?;
            let digest = Digest::of(Algorithm::Sha256, &bytes);
            flush_disk()?;
            match (round + turn) % 3 {
                0 => {
                    let begin = Instant::now();
                    took.complete.push(milliseconds(bare.upload("bare", &bytes).await?));
                    took.plain.push(rate(begin));
                }
                1 => {
                    let begin = Instant::now();
                    push(&world, &bytes, &digest).await?;
                    took.whole.push(rate(begin));
                    pushed = Some(digest);
                }
                _ => {
                    let repository = world.open("large", Action::Push).await?;
                    let begin = Instant::now();
                    let upload = repository.start_upload(None, None).await?;
                    repository.append(upload.id, Chunk::default(), parts(&bytes, PIECE)).await?;
                    let last = Instant::now();
                    repository.finish_upload(upload.id, &digest).await?;
                    took.finish.push(milliseconds(last.elapsed()));
                    took.chunked.push(rate(begin));
                    // What is moved to its place behind the push must not slow what comes next.
                    let all = CollectOptions::everything();
                    world.engine.collect(&all, &|_| {}).await?;
                }
            }
        }
        let begin = Instant::now();
        ensure!(bare.download("bare").await? == LARGE, "other bytes came");
        took.get.push(rate(begin));
        let digest = pushed.context("each round pushes whole once")?;
        let begin = Instant::now();
        ensure!(download(&world, &digest).await? == LARGE, "other bytes came");
        took.pull.push(rate(begin));
        bare.delete("bare").await?;
    }
    took.report(report, server, name)?;
    faults(report, server, name, &mut content).await
}

/// What each round took: MB/s, and milliseconds of the two that end an upload.
#[derive(Default)]
struct Took {
    plain: Vec<f64>,
    complete: Vec<f64>,
    whole: Vec<f64>,
    chunked: Vec<f64>,
    finish: Vec<f64>,
    get: Vec<f64>,
    pull: Vec<f64>,
}

impl Took {
    fn report(self, report: &mut Report, server: &Server, name: &str) -> Result<()> {
        let against = ("a plain client, four parts at once, MB/s", median(self.plain));
        let goal = Goal::RatioAtLeast(0.85);
        let figure = format!("push 512 MiB to {name} in one request");
        report.figure(&figure, (median(self.whole), "MB/s"), against, goal)?;
        let figure = format!("push 512 MiB to {name} in one chunk and finish");
        report.figure(&figure, (median(self.chunked), "MB/s"), against, goal)?;
        let finish = (median(self.finish), "ms");
        let figure = format!("finish after the last of 512 MiB on {name}");
        match server.kind() {
            S3Kind::Minio => {
                let bound = ("bound, ms", 100.0);
                report.figure(&figure, finish, bound, Goal::RatioAtMost(1.0))?;
            }
            // It makes the object of its parts only then, byte by byte: nobody finishes sooner.
            S3Kind::Versity => {
                let complete = median(self.complete);
                let against = ("CompleteMultipartUpload of a plain client, ms", complete);
                report.figure(&figure, finish, against, Goal::RatioAtMost(1.3))?;
            }
        }
        report.figure(
            &format!("pull 512 MiB from {name} through the engine"),
            (median(self.pull), "MB/s"),
            ("one GET of a plain client, MB/s", median(self.get)),
            Goal::RatioAtLeast(0.85),
        )
    }
}

/// Through a proxy, with and without faults.
async fn faults(
    report: &mut Report,
    server: &Server,
    name: &str,
    content: &mut [u8],
) -> Result<()> {
    let proxy = FaultProxy::before(server.address).await;
    let mut options = server.options_at(proxy.address);
    "faults/".clone_into(&mut options.prefix);
    // Small parts, so that there are enough requests to fail.
    options.part_bytes = 5 << 20;
    let world = World::with_bytes_in(Arc::new(S3Store::new(&options).await)).await?;
    let (mut sound, mut failing) = (Vec::new(), Vec::new());
    let part = 128 * MIB;
    let count = Arc::new(AtomicU64::new(0));
    for round in 0..4 * ROUNDS {
        for fails in [false, true] {
            let bytes = fresh(content, 100 + 2 * round + usize::from(fails))?.slice(..part);
            let digest = Digest::of(Algorithm::Sha256, &bytes);
            if fails {
                let count = Arc::clone(&count);
                proxy.fail(move |_| match count.fetch_add(1, Ordering::Relaxed) % 200 {
                    50 => Some(Fault::Status(503, "SlowDown")),
                    150 => Some(Fault::LostReply),
                    _ => None,
                });
            } else {
                proxy.heal();
            }
            let begin = Instant::now();
            push(&world, &bytes, &digest).await?;
            let rate = part as f64 / 1e6 / begin.elapsed().as_secs_f64();
            if fails { failing.push(rate) } else { sound.push(rate) }
        }
    }
    // All of the rounds together: in most of them nothing fails.
    let mean =
        |rates: &[f64]| rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>();
    report.figure(
        &format!("push to {name} while one request of a hundred fails"),
        (mean(&failing), "MB/s"),
        ("while none does, MB/s", mean(&sound)),
        Goal::RatioAtLeast(0.7),
    )
}

/// Bytes that were never pushed: what is there already would not be kept a second time.
fn fresh(content: &mut [u8], round: usize) -> Result<Bytes> {
    if let Some(first) = content.first_mut() {
        *first = u8::try_from(round)?;
    }
    Ok(Bytes::copy_from_slice(content))
}

async fn push(world: &World, bytes: &Bytes, digest: &Digest) -> Result<()> {
    let repository = world.open("large", Action::Push).await?;
    let length = u64::try_from(bytes.len())?;
    repository.push_blob(digest, Some(length), parts(bytes, PIECE)).await?;
    Ok(())
}

async fn download(world: &World, digest: &Digest) -> Result<usize> {
    let repository = world.open("large", Action::Pull).await?;
    let blob = repository.blob(digest).await?;
    let mut length = 0;
    match blob.read(0..blob.info().size).await? {
        ObjectRead::Stream(mut stream) => {
            while let Some(bytes) = stream.next().await {
                length += bytes?.len();
            }
        }
        ObjectRead::File { .. } => anyhow::bail!("a bucket has no files"),
    }
    Ok(length)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How many MB/s of [`LARGE`] bytes since `begin`.
fn rate(begin: Instant) -> f64 {
    LARGE as f64 / 1e6 / begin.elapsed().as_secs_f64()
}
