#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use super::*;
use crate::meta::suite;
use crate::seam::SystemClock;

fn store_in(folder: &tempfile::TempDir) -> Arc<RedbStore> {
    Arc::new(RedbStore::open(folder.path().join("meta.redb"), Arc::new(SystemClock)).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redb_keeps_the_promises() {
    let folders = Mutex::new(Vec::new());
    suite::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let store = store_in(&folder);
        folders.lock().unwrap().push(folder);
        store
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_outlives_the_store() {
    let folder = tempfile::tempdir().unwrap();
    suite::survives_reopening(async || store_in(&folder)).await;
}
