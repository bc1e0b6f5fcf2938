//! The cache of names, tags and manifests: exact, not merely soon right.
//!
//! Each entry belongs to a *stripe* and carries the stripe's epoch of the moment before it was
//! loaded. A commit that changes something counts its stripe's epoch up after it is durable and
//! before it is acknowledged ([`Cache::forget`]), so an entry that was loaded before a change is
//! never served after that change was acknowledged. Loads of one key are made once at a time.
//!
//! It holds as long as all changes go through this process; where others write to the same store,
//! [`crate::graph::known`] stands in its place.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache as Quick, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter};

use crate::error::Error;
use crate::graph::{Scope, StoredManifest};
use crate::id::{OrganisationId, RepositoryId};

/// How many stripes there are: a change forgets this share of the cache besides its own entries.
const STRIPES: usize = 4096;
/// The most names of repositories kept.
pub(super) const MAX_SCOPES: usize = 10_000;
/// What a manifest takes about, with what is kept beside it.
const USUAL_MANIFEST: u64 = 2_048;
/// Each has a lock and its share of the memory, which the largest manifest must fit.
const SHARDS: usize = 8;
/// How often a load is made again because a change overtook it, before it goes past the cache.
const RELOADS: usize = 4;

/// A value, and the epoch of its stripe from before it was loaded.
#[derive(Debug, Clone)]
struct Stamped<V> {
    epoch: u64,
    value: V,
}

/// A repository and a digest or tag in it.
pub(crate) type ManifestKey = (RepositoryId, Arc<str>);

/// As a [`ManifestKey`], to look for one.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Named<'a>(pub(crate) RepositoryId, pub(crate) &'a str);

impl Equivalent<ManifestKey> for Named<'_> {
    fn equivalent(&self, (repository, reference): &ManifestKey) -> bool {
        self.0 == *repository && *self.1 == **reference
    }
}

/// See the page of this module.
#[derive(Debug)]
pub(crate) struct Cache {
    epochs: Box<[AtomicU64]>,
    scopes: Quick<Arc<str>, Stamped<Arc<Scope>>>,
    manifests: Manifests<Stamped<Arc<StoredManifest>>>,
}

/// Manifests in bounded memory.
pub(super) type Manifests<V> = Quick<ManifestKey, V, Weight<V>>;

/// How many bytes an entry takes.
#[derive(Debug, Clone)]
pub(crate) struct Weight<V>(fn(&V) -> usize);

impl<V> Weighter<ManifestKey, V> for Weight<V> {
    fn weight(&self, _: &ManifestKey, entry: &V) -> u64 {
        (self.0)(entry) as u64
    }
}

/// Keeps manifests in so much memory, as `weigh` tells what each takes.
pub(super) fn manifests<V: Clone>(bytes: u64, weigh: fn(&V) -> usize) -> Manifests<V> {
    let items = usize::try_from(bytes / USUAL_MANIFEST).unwrap_or(usize::MAX);
    let mut options = OptionsBuilder::new();
    options.shards(SHARDS).estimated_items_capacity(items).weight_capacity(bytes);
    let options = options.build().expect("both capacities are given");
    let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
    Quick::with_options(options, Weight(weigh), hasher, lifecycle)
}

/// The stripe of all names and settings of an organisation.
pub(crate) fn stripe_of_organisation(organisation: OrganisationId) -> u64 {
    stripe(&organisation)
}

/// The stripe of one tag or digest of a repository.
pub(crate) fn stripe_of_reference(repository: RepositoryId, reference: &str) -> u64 {
    stripe(&(repository, reference))
}

/// The stripe of all that is derived from a repository's tags and manifests together.
pub(crate) fn stripe_of_repository(repository: RepositoryId) -> u64 {
    stripe(&(repository, "all of it"))
}

fn stripe(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Cache {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            epochs: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            scopes: Quick::new(MAX_SCOPES),
            manifests: manifests(bytes, |entry: &Stamped<Arc<StoredManifest>>| {
                // The entry itself, its key and the maps around it.
                const OVERHEAD: usize = 512;
                entry.value.bytes.len() + OVERHEAD
            }),
        }
    }

    fn epoch(&self, stripe: u64) -> &AtomicU64 {
        let index = usize::try_from(stripe % STRIPES as u64).unwrap_or(0);
        self.epochs.get(index).expect("the index is below the number of stripes")
    }

    /// Makes every entry of the stripe old.
    pub(crate) fn forget(&self, stripe: u64) {
        self.epoch(stripe).fetch_add(1, Ordering::SeqCst);
    }

    /// Makes old what is cached of a tag or digest of a repository, and what is derived from all.
    pub(crate) fn forget_reference(&self, repository: RepositoryId, reference: &str) {
        self.forget(stripe_of_reference(repository, reference));
        self.forget(stripe_of_repository(repository));
    }

    /// How often any stripe was made old. Where it is equal at two moments nothing was, between them.
    pub(crate) fn epoch_of_all(&self) -> u64 {
        let epochs = self.epochs.iter().map(|epoch| epoch.load(Ordering::SeqCst));
        epochs.fold(0, u64::wrapping_add)
    }

    /// How often a stripe was made old.
    pub(crate) fn epoch_of(&self, stripe: u64) -> u64 {
        self.epoch(stripe).load(Ordering::SeqCst)
    }

    /// The scope of a repository's path, as `load` reads it. Absence is not cached.
    pub(crate) async fn scope<F>(
        &self,
        path: &str,
        load: impl Fn() -> F,
    ) -> Result<Arc<Scope>, Error>
    where
        F: Future<Output = Result<Scope, Error>>,
    {
        if let Some(entry) = self.scopes.get(path) {
            let stripe = stripe_of_organisation(entry.value.organisation);
            if entry.epoch == self.epoch(stripe).load(Ordering::SeqCst) {
                return Ok(entry.value);
            }
        }
        // The organisation's id is known only afterwards, so its epoch is looked at before a
        // second, equal load: names are few and seldom change.
        let first = Box::pin(load()).await?;
        let epoch = self.epoch(stripe_of_organisation(first.organisation)).load(Ordering::SeqCst);
        let scope = Arc::new(Box::pin(load()).await?);
        if scope.organisation == first.organisation {
            let entry = Stamped { epoch, value: Arc::clone(&scope) };
            self.scopes.insert(Arc::from(path), entry);
        }
        Ok(scope)
    }

    /// A manifest of a repository by tag or digest, as `load` reads it; one load of a key at a
    /// time. Absence is not cached.
    pub(crate) async fn manifest<F>(
        &self,
        repository: RepositoryId,
        reference: &str,
        load: impl Fn() -> F,
    ) -> Result<Arc<StoredManifest>, Error>
    where
        F: Future<Output = Result<Arc<StoredManifest>, Error>>,
    {
        let current = self.epoch(stripe_of_reference(repository, reference));
        let now = || current.load(Ordering::SeqCst);
        if let Some(entry) = self.manifests.get(&Named(repository, reference))
            && entry.epoch == now()
        {
            return Ok(entry.value);
        }
        let key = (repository, Arc::from(reference));
        for _ in 0..RELOADS {
            let loaded = self.manifests.get_or_insert_async(&key, async {
                let epoch = now();
                load().await.map(|value| Stamped { epoch, value })
            });
            let entry = Box::pin(loaded).await?;
            if entry.epoch == now() {
                return Ok(entry.value);
            }
            self.manifests.remove_if(&key, |old| old.epoch == entry.epoch);
        }
        Box::pin(load()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;

    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::manifest::ManifestKind;
    use crate::seam::Timestamp;

    fn stored(bytes: &'static [u8]) -> Arc<StoredManifest> {
        Arc::new(StoredManifest {
            digest: Digest::of(Algorithm::Sha256, bytes),
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            kind: ManifestKind::OciImage,
            bytes: Bytes::from_static(bytes),
            subject: None,
            artifact_type: None,
            children: Vec::new(),
            pushed_at: Timestamp(0),
        })
    }

    const REPOSITORY: RepositoryId = RepositoryId(1);

    #[tokio::test]
    async fn what_was_loaded_is_served_until_it_changes() {
        let cache = Cache::new(1 << 20);
        let tag: Arc<str> = "latest".into();
        let loads = AtomicUsize::new(0);
        let load = || async {
            let bytes = if loads.fetch_add(1, Ordering::SeqCst) == 0 { b"old" } else { b"new" };
            Ok(stored(bytes))
        };
        for _ in 0..3 {
            let found = cache.manifest(REPOSITORY, &tag, load).await.unwrap();
            assert_eq!(found.bytes, "old");
        }
        cache.forget(stripe_of_reference(REPOSITORY, "latest"));
        let found = cache.manifest(REPOSITORY, &tag, load).await.unwrap();
        assert_eq!(found.bytes, "new");
        assert_eq!(loads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_load_that_a_change_overtook_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let tag: Arc<str> = "latest".into();
        let loads = AtomicUsize::new(0);
        let load = || async {
            if loads.fetch_add(1, Ordering::SeqCst) > 0 {
                return Ok(stored(b"new"));
            }
            // Read before the change, returned after it was acknowledged.
            cache.forget(stripe_of_reference(REPOSITORY, "latest"));
            Ok(stored(b"old"))
        };
        for _ in 0..2 {
            let found = cache.manifest(REPOSITORY, &tag, load).await.unwrap();
            assert_eq!(found.bytes, "new");
        }
    }

    #[tokio::test]
    async fn many_that_miss_at_once_load_once() {
        let cache = Cache::new(1 << 20);
        let tag: Arc<str> = "latest".into();
        let loads = AtomicUsize::new(0);
        let load = || async {
            loads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(stored(b"one"))
        };
        let reads = (0..32).map(|_| cache.manifest(REPOSITORY, &tag, load));
        for found in futures::future::join_all(reads).await {
            assert_eq!(found.unwrap().bytes, "one");
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_loaded_each_time() {
        for bytes in [0, 1, 4_000] {
            let cache = Cache::new(bytes);
            let loads = AtomicUsize::new(0);
            let load = || async {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok(stored(&[7; 5_000]))
            };
            for _ in 0..3 {
                let found = cache.manifest(REPOSITORY, "latest", load).await.unwrap();
                assert_eq!(found.bytes.len(), 5_000);
            }
            assert_eq!(loads.load(Ordering::SeqCst), 3, "{bytes}");
        }
    }

    #[tokio::test]
    async fn absence_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let tag: Arc<str> = "latest".into();
        let absent = || async { Err(Error::ManifestUnknown { reference: "latest".to_owned() }) };
        cache.manifest(REPOSITORY, &tag, absent).await.unwrap_err();
        let there = || async { Ok(stored(b"one")) };
        cache.manifest(REPOSITORY, &tag, there).await.unwrap();
    }
}
