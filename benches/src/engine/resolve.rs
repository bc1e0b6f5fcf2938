//! Resolving a tag and reading its manifest, on one core: from the cache, and past it.

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
    report.figure(name, (rate, "1/s"), (bound, 100_000.0), Goal::RatioAtLeast(1.0))
}

async fn measure(settings: Settings) -> Result<f64> {
    let world = World::new(settings).await?;
    world.push_config("tags").await?;
    for number in (0..TAGS).step_by(100) {
        let repository = world.open("tags", Action::Push).await?;
        let tags: Vec<_> = (number..number + 100).map(|tag| format!("t{tag}")).collect();
        repository.push_manifest(&manifest(number, &tags)?).await?;
    }
    let references = (0..TAGS).map(|tag| Ok(format!("t{tag}").parse()?));
    let references: Vec<Reference> = references.collect::<Result<_>>()?;
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
