//! Collection, scrub and fsck over a small world.

mod checking;
mod collecting;
mod healing;
mod leasing;
mod measured;
mod racing;
mod scrubbing;

use std::time::Duration;

use crate::digest::Digest;
use crate::gc::{CollectOptions, CollectReport};
use crate::id::OrganisationId;
use crate::keys;
use crate::records::{BlobRecord, Record};
use crate::tests::support::World;

const ACME: OrganisationId = OrganisationId(1);
/// Past a lease, and past the delay.
const DAY: Duration = Duration::from_hours(25);

async fn collect(world: &World) -> CollectReport {
    world.engine.collect(&CollectOptions::default(), &|_| {}).await.unwrap()
}

/// A lease, the delay and two collections.
async fn collect_all(world: &World) {
    world.clock.advance(DAY);
    collect(world).await;
    world.clock.advance(DAY);
    collect(world).await;
}

async fn blob(world: &World, digest: &Digest) -> Option<BlobRecord> {
    let row = world.engine.core.meta.get(&keys::blob(ACME, digest)).await.unwrap();
    row.map(|row| BlobRecord::decode(&row).unwrap())
}

async fn objects(world: &World) -> usize {
    let listed = world.engine.core.blobs.list("", None, 1000).await.unwrap();
    // But for what says the epoch.
    listed.iter().filter(|entry| keys::object::parse_epoch(&entry.key).is_none()).count()
}

async fn used(world: &World) -> i64 {
    let row = world.engine.core.meta.get(&keys::usage(ACME)).await.unwrap();
    row.map_or(0, |row| i64::from_be_bytes(row.as_ref().try_into().unwrap()))
}
