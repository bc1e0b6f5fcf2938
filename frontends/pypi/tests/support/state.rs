//! All that the two stores hold, to be compared with what they held before.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::audit::{EventKind, TrailQuery};
use strongroom_engine::content::BlobStore as _;
use strongroom_engine::gc::CollectOptions;
use strongroom_engine::meta::{MAX_SCAN_ROWS, MetaRead as _};

use super::{World, known};

/// Rows that only say how far somebody came, and the trail, which grows with whatever is tried.
const NOT_CONTENT: [&[u8]; 5] = [b"l", b"!sealed", b"!collection", b"!retention", b"!epoch"];
/// Where it is told in the bucket how often it was swept.
const EPOCH: &str = "epoch/";

/// Rows by their keys, and the keys of objects.
pub(crate) type State = (BTreeMap<Vec<u8>, Bytes>, Vec<String>);

impl World {
    /// What is there now.
    pub(crate) async fn state(&self) -> State {
        let mut rows = BTreeMap::new();
        let mut from = Vec::new();
        loop {
            let page = self.meta.scan(from.clone()..vec![0xFF; 64], MAX_SCAN_ROWS).await.unwrap();
            let Some(last) = page.last() else { break };
            from = [&last.0[..], &[0]].concat();
            rows.extend(page.into_iter().map(|row| (row.0, row.1)));
        }
        rows.retain(|key, _| !NOT_CONTENT.iter().any(|prefix| key.starts_with(prefix)));
        let objects = self.blobs.list("", None, 10_000).await.unwrap();
        let objects = objects.iter().filter(|object| !object.key.as_str().starts_with(EPOCH));
        (rows, objects.map(|object| format!("{object:?}")).collect())
    }

    /// Collects until what is of no use is gone, long after its leases are over.
    pub(crate) async fn collect(&self) {
        for _ in 0..4 {
            self.clock.advance(Duration::from_hours(24 * 30));
            let options = CollectOptions::everything();
            self.engine.collect(&options, &|_| ()).await.unwrap();
        }
    }

    /// What the trail of an organisation says of changes of its registries.
    pub(crate) async fn changes(&self, organisation: &str) -> Vec<String> {
        let organisation = organisation.parse().unwrap();
        let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };
        let admin = known("admin");
        let trail = self.engine.trail(&admin, Some(&organisation), &query, None, 1_000);
        let changes = trail.await.unwrap().items.into_iter().filter_map(|line| {
            let EventKind::RegistryChanged { change, .. } = line.event.kind else { return None };
            Some(change)
        });
        changes.collect()
    }
}
