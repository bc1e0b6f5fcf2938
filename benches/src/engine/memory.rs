//! What memory an upload costs, whatever the blob's size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use strongroom_engine::access::Action;
use strongroom_engine::{Chunk, Settings};

use crate::figure::{Goal, Report};
use crate::world::{World, random_bytes};

const UPLOADS: usize = 16;
const PART: usize = 64 << 10;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    for mib in [16, 256] {
        let world = Arc::new(runtime.block_on(World::new(Settings::default()))?);
        // The runtime's threads and the store's caches are not the uploads'.
        runtime.block_on(upload_all(&world, 4))?;
        let before = resident_mib()?;
        let done = Arc::new(AtomicBool::new(false));
        let watcher = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let mut most = 0.0_f64;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(resident_mib().unwrap_or(f64::MAX));
                    std::thread::sleep(Duration::from_millis(2));
                }
                most
            }
        });
        let uploaded = runtime.block_on(upload_all(&world, mib));
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap_or(f64::MAX);
        uploaded?;
        let each = (most - before).max(0.0) / UPLOADS as f64;
        let name = format!("memory of each of {UPLOADS} uploads of {mib} MiB at once");
        report.figure(&name, (each, "MiB"), ("bound, MiB", 8.0), Goal::RatioAtMost(1.0))?;
    }
    Ok(())
}

async fn upload_all(world: &Arc<World>, mib: usize) -> Result<()> {
    let part = random_bytes(PART);
    let uploads: Vec<_> = (0..UPLOADS)
        .map(|_| {
            let (world, part) = (Arc::clone(world), part.clone());
            tokio::spawn(async move {
                let repository = world.open("memory", Action::Push).await?;
                let upload = repository.start_upload(None, None).await?;
                let body = copies(part, mib * (1 << 20) / PART);
                repository.append(upload.id, Chunk::default(), body).await?;
                repository.cancel_upload(upload.id).await?;
                anyhow::Ok(())
            })
        })
        .collect();
    for upload in uploads {
        upload.await??;
    }
    Ok(())
}

/// `count` parts, each in memory of its own, as they come from a socket.
fn copies(part: Bytes, count: usize) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures::stream::iter(0..count).map(move |_| Ok(Bytes::copy_from_slice(&part)))
}

/// The memory this process holds.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
