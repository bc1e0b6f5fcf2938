//! Collection under fire, and a process that is killed under load.
//!
//! Each run does all that is counted here, however long it takes; a long one (`STRONGROOM_LONG=1`)
//! does ten times as much. Seeds are printed; `STRONGROOM_SEED` gives one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "soak/fire.rs"]
mod fire;
#[path = "soak/killed.rs"]
mod killed;
mod support;

use std::sync::Arc;

use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::{MemoryStore, RedbStore};

/// How often a run does what a usual one does once.
fn times() -> u64 {
    if support::long() { 10 } else { 1 }
}

#[test]
fn nothing_promised_is_collected_under_fire_in_memory() {
    fire::soak(100_000 * times(), |seams| {
        let blobs = OpendalStore::memory().unwrap().with_entropy(seams.entropy.clone());
        (Arc::new(MemoryStore::new(seams)), Arc::new(blobs))
    });
}

#[test]
fn nothing_promised_is_collected_under_fire_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    fire::soak(10_000 * times(), |seams| {
        let meta = RedbStore::open(folder.path().join("meta"), seams.clock.clone()).unwrap();
        let root = folder.path().join("objects");
        let blobs = FsStore::open(Arc::new(RealDisk), root, Durability::Full).unwrap();
        (Arc::new(meta), Arc::new(blobs))
    });
}

#[test]
fn a_process_killed_under_load_has_lost_nothing_that_it_acknowledged() {
    killed::parent(100 * times());
}

/// Not a test: what the one above starts, and kills.
#[test]
#[ignore = "it is the child of another test, and runs until it is killed"]
fn child() {
    killed::child();
}
