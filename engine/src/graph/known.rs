//! What was read before, good as long as the rows it was read from say the same.
//!
//! Other processes change a shared store without telling this one, so here nothing is served from
//! memory alone: each answer keeps its rows, as they were *before* the rest was read, and is good
//! where one read of those rows, made for this request, finds each as it was. That read is small,
//! and joins others in the store; what it saves is everything behind it. So a push, a deletion or a
//! rename that was acknowledged anywhere shows in the next request here (DESIGN D12).
//!
//! Rows that are rewritten differ from what they were: tags, links and records carry a time or a
//! lease that moves on. Absence is not kept.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache as Quick;

use crate::core::Core;
use crate::error::Error;
use crate::graph::cache::{MAX_SCOPES, Manifests, manifests};
use crate::graph::{Scope, StoredManifest};
use crate::meta::Key;

/// A row as it was read.
pub(crate) type ReadRow = (Key, Option<Bytes>);

/// A value, and the rows it stands on.
#[derive(Debug)]
pub(crate) struct Standing<V> {
    pub(crate) rows: Vec<ReadRow>,
    pub(crate) value: Arc<V>,
}

/// See the page of this module.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) scopes: Quick<Arc<str>, Arc<Standing<Scope>>>,
    pub(crate) manifests: Manifests<Arc<Standing<StoredManifest>>>,
}

impl Known {
    /// Keeps manifests in so much memory.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            scopes: Quick::new(MAX_SCOPES),
            manifests: manifests(bytes, |entry: &Arc<Standing<StoredManifest>>| {
                // The entry itself, its rows and keys, and the maps around it.
                const OVERHEAD: usize = 1024;
                entry.value.bytes.len() + OVERHEAD
            }),
        }
    }
}

impl Core {
    /// Whether all these rows still say what they said, in one read.
    pub(crate) async fn still_stands(&self, rows: &[ReadRow]) -> Result<bool, Error> {
        let keys: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
        let now = self.meta.get_many(&keys).await?;
        Ok(rows.iter().map(|(_, was)| was).eq(now.iter()))
    }
}
