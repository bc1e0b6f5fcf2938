//! Committing small manifests, durable; and whether a million tags slow it.

use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use strongroom_engine::Settings;
use strongroom_engine::access::Action;

use crate::figure::{Goal, Report, median};
use crate::world::{World, manifest};

const SEQUENTIAL: u64 = 2_000;
const CONCURRENT: u64 = 20_000;
const TASKS: u64 = 32;
const ROUNDS: usize = 3;
const TAGS: u64 = 1_000_000;
const TAGS_A_PUSH: u64 = 100;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let next = Arc::new(AtomicU64::new(0));
    let empty = Arc::new(runtime.block_on(World::new(Settings::default()))?);
    let full = Arc::new(runtime.block_on(World::new(Settings::default()))?);
    runtime.block_on(empty.push_config("many"))?;
    runtime.block_on(full.push_config("many"))?;
    runtime.block_on(fill(&full, &next))?;

    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (world, rates) in [&empty, &full].into_iter().zip(&mut rates) {
            let [sequential, concurrent] = rates;
            for (rates, tasks, count) in
                [(sequential, 1, SEQUENTIAL), (concurrent, TASKS, CONCURRENT)]
            {
                // Copies of what was pushed before are made first, in both: else who is measured pays for
                // what came before, and the larger repository for more of it.
                for world in [&empty, &full] {
                    runtime.block_on(world.engine.flush())?;
                }
                rates.push(runtime.block_on(push(world, &next, tasks, count))?);
            }
        }
    }
    let [[one, many], [one_full, many_full]] = rates.map(|rates| rates.map(median));
    let bound = "bound, 1/s";
    let name = "small manifests one after another, durable";
    report.figure(name, (one, "1/s"), (bound, 1_000.0), Goal::RatioAtLeast(1.0))?;
    let name = "the same against the two syncs that each costs on this disk";
    let against = ("two fdatasyncs of 16 KiB, 1/s", 1.0 / (2.0 * sync_seconds(&empty)?));
    report.figure(name, (one, "1/s"), against, Goal::RatioAtLeast(0.6))?;
    let name = "small manifests from 32 tasks, durable";
    report.figure(name, (many, "1/s"), (bound, 5_000.0), Goal::RatioAtLeast(1.0))?;
    let name = "one after another at 1,000,000 tags, cost of one";
    let against = ("the empty repository's, us", 1e6 / one);
    report.figure(name, (1e6 / one_full, "us"), against, Goal::RatioAtMost(1.3))?;
    let name = "from 32 tasks at 1,000,000 tags, cost of one";
    let against = ("the empty repository's, us", 1e6 / many);
    report.figure(name, (1e6 / many_full, "us"), against, Goal::RatioAtMost(1.3))
}

/// What making 16 KiB within a file durable takes on the disk of this world; the median.
fn sync_seconds(world: &World) -> Result<f64> {
    const BYTES: usize = 16 << 10;
    let mut file = tempfile::tempfile_in(world.folder.path())?;
    file.write_all(&vec![1; 64 * BYTES])?;
    file.sync_all()?;
    let mut took = Vec::new();
    for turn in 0..200_u64 {
        file.seek(SeekFrom::Start(turn % 64 * BYTES as u64))?;
        file.write_all(&vec![2; BYTES])?;
        let begin = Instant::now();
        file.sync_data()?;
        took.push(begin.elapsed().as_secs_f64());
    }
    Ok(median(took))
}

/// Gives the repository its million tags, many a push.
async fn fill(world: &World, next: &AtomicU64) -> Result<()> {
    for first in (0..TAGS).step_by(usize::try_from(TAGS_A_PUSH)?) {
        let repository = world.open("many", Action::Push).await?;
        let tags: Vec<_> = (first..first + TAGS_A_PUSH).map(|tag| format!("t{tag:07}")).collect();
        let number = next.fetch_add(1, Ordering::Relaxed);
        repository.push_manifest(&manifest(number, &tags)?).await?;
    }
    Ok(())
}

/// Pushes `count` manifests, a tag each, from `tasks` tasks; returns how many a second.
async fn push(world: &Arc<World>, next: &Arc<AtomicU64>, tasks: u64, count: u64) -> Result<f64> {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (world, next) = (Arc::clone(world), Arc::clone(next));
            tokio::spawn(async move {
                for _ in 0..count / tasks {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let repository = world.open("many", Action::Push).await?;
                    let push = manifest(number, &[format!("v{number:07}")])?;
                    repository.push_manifest(&push).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}
