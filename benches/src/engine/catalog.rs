//! A page of the catalog, and whether a million repositories slow it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use strongroom_engine::Settings;
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Digest};

use crate::figure::{Goal, Report, median};
use crate::world::World;

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
const TASKS: u16 = 256;
const PAGE: usize = 100;
const PAGES: u64 = 500;
const ROUNDS: usize = 5;

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let few = runtime.block_on(filled(FEW))?;
    let many = runtime.block_on(filled(MANY))?;
    let mut costs: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        costs[0].push(runtime.block_on(pages(&few, FEW))?);
        costs[1].push(runtime.block_on(pages(&many, MANY))?);
    }
    let [few, many] = costs.map(median);
    let name = "a page of 100 of the catalog at 1,000,000 repositories";
    let against = ("the same at 1,000, us", few);
    report.figure(name, (many, "us"), against, Goal::RatioAtMost(1.5))
}

/// An engine with `count` repositories, each with one blob.
async fn filled(count: u64) -> Result<Arc<World>> {
    let world = Arc::new(World::new(Settings::default()).await?);
    world.push_config("r0000000").await?;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let world = Arc::clone(&world);
            let numbers = (u64::from(task)..count).step_by(usize::from(TASKS));
            tokio::spawn(async move {
                let digest = Digest::of(Algorithm::Sha256, b"{}");
                for number in numbers.filter(|number| *number > 0) {
                    let from = world.open("r0000000", Action::Pull).await?;
                    let to = world.open(&format!("r{number:07}"), Action::Push).await?;
                    ensure!(to.mount(&digest, &from).await?, "nothing to mount");
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(world)
}

/// Reads pages from places all over the catalog; what one costs in microseconds.
async fn pages(world: &World, count: u64) -> Result<f64> {
    let catalog = world.engine.catalog(&world.caller);
    let places = count - PAGE as u64 - 1;
    let begin = Instant::now();
    for page in 0..PAGES {
        let after = format!("bench/main/r{:07}", page * 7919 * 104_729 % places);
        let page = catalog.page(Some(&after), PAGE).await?;
        ensure!(page.items.len() == PAGE && page.next.is_some(), "a page is not full");
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / PAGES as f64)
}
