//! Resolving a tag and reading its manifest, on one core: from the cache, past it, and as a request
//! does it, with roles asked and the pull noted.

use std::time::Instant;

use anyhow::Result;
use strongroom_engine::Settings;
use strongroom_engine::access::Action;
use strongroom_engine::name::Reference;

use crate::figure::{Goal, Report, median};
use crate::world::{World, manifest};

const TAGS: u64 = 20_000;
const READS: usize = 1_000_000;
const ROUNDS: usize = 3;

pub(super) fn run(report: &mut Report) -> Result<()> {
    // One thread: what one core does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut past = Settings::default();
    past.cache_bytes = 0;
    let bound = "bound, 1/s";
    let rate = runtime.block_on(measure(Settings::default()))?;
    let name = "a tag and its manifest from the cache";
    report.figure(name, (rate, "1/s"), (bound, 500_000.0), Goal::RatioAtLeast(1.0))?;
    let rate = runtime.block_on(measure(past))?;
    let name = "a tag and its manifest past the cache";
    report.figure(name, (rate, "1/s"), (bound, 100_000.0), Goal::RatioAtLeast(1.0))?;
    let rate = runtime.block_on(requests())?;
    let name = "the same as a request: opened by role, read, noted in the trail";
    report.figure(name, (rate, "1/s"), (bound, 100_000.0), Goal::RatioAtLeast(1.0))
}

/// What a pull by tag costs the engine, whoever speaks the protocol.
async fn requests() -> Result<f64> {
    let world = tagged(World::with_roles(Settings::default()).await?).await?;
    let references = references()?;
    let mut rates = Vec::new();
    for _ in 0..=ROUNDS {
        let begin = Instant::now();
        for reference in references.iter().cycle().step_by(7919).take(READS / 10) {
            let repository = world.open("tags", Action::Pull).await?;
            std::hint::black_box(repository.manifest(reference).await?);
        }
        rates.push((READS / 10) as f64 / begin.elapsed().as_secs_f64());
    }
    rates.remove(0);
    Ok(median(rates))
}

async fn tagged(world: World) -> Result<World> {
    world.push_config("tags").await?;
    for number in (0..TAGS).step_by(100) {
        let repository = world.open("tags", Action::Push).await?;
        let tags: Vec<_> = (number..number + 100).map(|tag| format!("t{tag}")).collect();
        repository.push_manifest(&manifest(number, &tags)?).await?;
    }
    Ok(world)
}

fn references() -> Result<Vec<Reference>> {
    (0..TAGS).map(|tag| Ok(format!("t{tag}").parse()?)).collect()
}

async fn measure(settings: Settings) -> Result<f64> {
    let world = tagged(World::new(settings).await?).await?;
    let references = references()?;
    let repository = world.open("tags", Action::Pull).await?;
    let mut rates = Vec::new();
    for _ in 0..=ROUNDS {
        let begin = Instant::now();
        // In an order that no page cache or prefetcher helps.
        for reference in references.iter().cycle().step_by(7919).take(READS) {
            std::hint::black_box(repository.stat_manifest(reference).await?);
        }
        rates.push(READS as f64 / begin.elapsed().as_secs_f64());
    }
    // The first round filled the cache.
    rates.remove(0);
    Ok(median(rates))
}
