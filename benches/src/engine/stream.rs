//! Streaming a large blob in, durable: against hashing alone and writing alone.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::{Chunk, Settings};

use crate::figure::{Goal, Report, folder, hash_rate, median, rate};
use crate::world::{World, parts, random_bytes};

const MIB: usize = 1 << 20;
const LARGE: usize = 512 * MIB;
/// As a frontend hands bytes on.
const PART: usize = 256 << 10;
const ROUNDS: usize = 5;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let bytes = random_bytes(LARGE);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let (mut hash, mut write, mut push) = (Vec::new(), Vec::new(), Vec::new());
    let mut finish = Vec::new();
    for _ in 0..ROUNDS {
        hash.push(hash_rate(&bytes)?);
        write.push(rate(LARGE, || write_and_sync(&bytes))?);
        let world = runtime.block_on(World::new(Settings::default()))?;
        let mut last = 0.0;
        push.push(rate(LARGE, || {
            last = runtime.block_on(chunked(&world, &bytes, &digest))?;
            Ok(())
        })?);
        finish.push(last);
    }
    let limit = median(hash).min(median(write));
    report.figure(
        "stream 512 MiB in, durable",
        (median(push), "MB/s"),
        ("the slower of sha256 and write+fsync, MB/s", limit),
        Goal::RatioAtLeast(0.9),
    )?;
    report.figure(
        "finish after the last of 512 MiB",
        (median(finish), "ms"),
        ("bound, ms", 10.0),
        Goal::RatioAtMost(1.0),
    )?;
    let mut finish = Vec::new();
    for _ in 0..ROUNDS {
        let world = runtime.block_on(World::new(Settings::default()))?;
        finish.push(runtime.block_on(monolithic(&world, &bytes, &digest))?);
    }
    report.figure(
        "from the last byte of one request of 512 MiB to its answer",
        (median(finish), "ms"),
        ("bound, ms", 10.0),
        Goal::RatioAtMost(1.0),
    )?;
    for size in [MIB, 64 * MIB] {
        let bytes = bytes.slice(..size);
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let mut finish = Vec::new();
        for _ in 0..ROUNDS {
            let world = runtime.block_on(World::new(Settings::default()))?;
            finish.push(runtime.block_on(chunked(&world, &bytes, &digest))?);
        }
        report.figure(
            &format!("finish after the last of {} MiB", size / MIB),
            (median(finish), "ms"),
            ("bound, ms", 10.0),
            Goal::RatioAtMost(1.0),
        )?;
    }
    Ok(())
}

/// Pushes `bytes` as a client that streams one chunk does; returns the milliseconds that the
/// finishing call took.
async fn chunked(world: &World, bytes: &Bytes, digest: &Digest) -> Result<f64> {
    let repository = world.open("large", Action::Push).await?;
    let upload = repository.start_upload(None, None).await?;
    repository.append(upload.id, Chunk::default(), parts(bytes, PART)).await?;
    let begin = Instant::now();
    repository.finish_upload(upload.id, digest).await?;
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}

/// Pushes `bytes` in the finishing request itself; returns the milliseconds from when its body had
/// given its last byte.
async fn monolithic(world: &World, bytes: &Bytes, digest: &Digest) -> Result<f64> {
    let repository = world.open("large", Action::Push).await?;
    let upload = repository.start_upload(None, None).await?;
    let (tell, told) = std::sync::mpsc::channel();
    let body = parts(bytes, PART).chain(futures::stream::poll_fn(move |_| {
        // Nobody asks twice for the end of a stream.
        let _ = tell.send(Instant::now());
        std::task::Poll::Ready(None)
    }));
    repository.finish_upload_with(upload.id, Chunk::default(), body, digest).await?;
    let end = Instant::now();
    Ok(end.duration_since(told.recv()?).as_secs_f64() * 1000.0)
}

fn write_and_sync(bytes: &[u8]) -> Result<()> {
    let path = folder()?.join("limit");
    let mut file = File::create(&path)?;
    for part in bytes.chunks(MIB) {
        file.write_all(part)?;
    }
    file.sync_all()?;
    std::fs::remove_file(path)?;
    Ok(())
}
