//! Many clients, while a collection runs every 100 ms and time passes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_engine::access::Action;
use strongroom_engine::content::BlobStore;
use strongroom_engine::digest::Digest;
use strongroom_engine::meta::MetaStore;
use strongroom_engine::name::Reference;
use strongroom_engine::seam::{Clock, ManualClock, Seams, Timestamp};
use strongroom_engine::{Chunk, Engine, Error, Repository, Settings};

use crate::support::{self, IMAGE, body, image, index, sha256};

const CLIENTS: u64 = 16;
/// Enough that much is deleted and pushed again, few enough that clients meet.
const LAYERS: u64 = 300;
const IMAGES: u64 = 500;
const TAGS: u64 = 40;
const REPOSITORIES: [&str; 6] = [
    "acme/main/api",
    "acme/main/base",
    "acme/main/web",
    "beta/main/api",
    "beta/main/base",
    "beta/main/web",
];
const LEASE: Duration = Duration::from_mins(1);
/// So much time passes with each collection: a lease outlasts ten of them.
const STEP: Duration = Duration::from_secs(6);
const DELAY: Duration = Duration::from_secs(20);

/// What all clients share.
struct Fire {
    engine: Engine,
    clock: Arc<ManualClock>,
    over: AtomicBool,
    pushes: AtomicU64,
    wanted: u64,
    /// How often each thing in each repository was deleted on purpose: that ends a promise.
    deletions: Mutex<HashMap<(usize, Digest), u64>>,
    expired: AtomicU64,
    mounted: AtomicU64,
    promised: AtomicU64,
}

/// What a client was promised: until when, and how often the thing had been deleted by then.
struct Promise {
    until: Timestamp,
    deletions: u64,
}

fn layer(number: u64) -> Bytes {
    // Some of one byte, some of many, so that pieces and batches differ.
    let size = usize::try_from(number % 7 * 500 + 8).unwrap();
    number.to_be_bytes().into_iter().cycle().take(size).collect::<Vec<u8>>().into()
}

/// The layers of an image: its config first.
fn layers_of(number: u64) -> [u64; 3] {
    [number % 20, 20 + number * 7 % (LAYERS - 20), 20 + number * 13 % (LAYERS - 20)]
}

fn manifest(number: u64) -> Bytes {
    let parts = layers_of(number).map(layer);
    let named = |at: usize| (sha256(&parts[at]), parts[at].len());
    let ((config, a), (one, b), (two, c)) = (named(0), named(1), named(2));
    let more = format!(r#","annotations":{{"number":"{number}"}}"#);
    image((&config, a), &[(&one, b), (&two, c)], &more)
}

impl Fire {
    async fn open(&self, at: usize, action: Action) -> Repository {
        let who = if at < 3 { "ann" } else { "bob" };
        support::open(&self.engine, who, REPOSITORIES[at], action).await.unwrap()
    }

    fn deletions(&self, at: usize, digest: &Digest) -> u64 {
        self.deletions.lock().unwrap().get(&(at, *digest)).copied().unwrap_or_default()
    }

    /// To be noted before the deletion begins.
    fn deleting(&self, at: usize, digest: Digest) {
        *self.deletions.lock().unwrap().entry((at, digest)).or_default() += 1;
    }

    /// A promise that is given from now on, for at least so long.
    fn promise(&self, at: usize, digest: &Digest, lasts: Duration) -> Promise {
        Promise { until: self.clock.now().plus(lasts), deletions: self.deletions(at, digest) }
    }

    /// Whether what was promised must hold still.
    fn holds(&self, at: usize, digest: &Digest, promise: &Promise) -> bool {
        self.clock.now() < promise.until && self.deletions(at, digest) == promise.deletions
    }

    /// Gets a layer into a repository in one of the ways that clients have.
    async fn upload(&self, chance: &mut StdRng, at: usize, number: u64) -> Promise {
        let bytes = layer(number);
        let digest = sha256(&bytes);
        let way = chance.random_range(0..4);
        if way == 0 {
            let repository = self.open(at, Action::Pull).await;
            let promise = self.promise(at, &digest, LEASE / 2);
            match repository.stat_blob(&digest).await {
                Ok(found) => {
                    assert_eq!(found.size, bytes.len() as u64);
                    self.promised.fetch_add(1, Ordering::Relaxed);
                    return promise;
                }
                Err(Error::BlobUnknown { .. } | Error::NameUnknown { .. }) => {}
                Err(error) => panic!("HEAD: {error:?}"),
            }
        }
        let repository = self.open(at, Action::Push).await;
        let promise = self.promise(at, &digest, LEASE);
        if way == 1 {
            let other = at / 3 * 3 + chance.random_range(0..3);
            let from = self.open(other, Action::Pull).await;
            let mounted = if chance.random_bool(0.5) {
                repository.mount(&digest, &from).await
            } else {
                repository.mount_from_any(&digest).await
            };
            if mounted.unwrap() {
                self.mounted.fetch_add(1, Ordering::Relaxed);
                return promise;
            }
        }
        if way == 2 {
            let upload = repository.start_upload(None, None).await.unwrap();
            if chance.random_bool(0.05) {
                // Left behind.
                return self.promise(at, &digest, Duration::ZERO);
            }
            let half = bytes.slice(..bytes.len() / 2);
            match repository.append(upload.id, Chunk::default(), body(&half)).await {
                Ok(upload) => assert_eq!(upload.offset, half.len() as u64),
                // It may rest no longer than time passed.
                Err(Error::UploadUnknown { .. }) => {
                    return self.promise(at, &digest, Duration::ZERO);
                }
                Err(error) => panic!("append: {error:?}"),
            }
            let rest = body(&bytes.slice(half.len()..));
            let promise = self.promise(at, &digest, LEASE);
            match repository.finish_upload_with(upload.id, Chunk::default(), rest, &digest).await {
                Ok(_) => return promise,
                Err(Error::UploadUnknown { .. }) => {
                    return self.promise(at, &digest, Duration::ZERO);
                }
                Err(error) => panic!("finish: {error:?}"),
            }
        }
        repository.push_blob(&digest, Some(bytes.len() as u64), body(&bytes)).await.unwrap();
        promise
    }

    /// Pushes an image; the layers it was promised must be there.
    async fn push(&self, chance: &mut StdRng, at: usize, number: u64) -> Result<Digest, Error> {
        let bytes = manifest(number);
        let tags: Vec<_> = (0..chance.random_range(0..3))
            .map(|_| format!("t{}", chance.random_range(0..TAGS)))
            .collect();
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        loop {
            let mut promises = Vec::new();
            for layer_number in layers_of(number) {
                let promise = self.upload(chance, at, layer_number).await;
                promises.push((sha256(&layer(layer_number)), promise));
            }
            let repository = self.open(at, Action::Push).await;
            let pushed = repository.push_manifest(&support::push_of(&bytes, None, &tags)).await;
            match pushed {
                Ok(pushed) => {
                    self.pushes.fetch_add(1, Ordering::Relaxed);
                    return Ok(pushed.digest);
                }
                Err(Error::References { missing }) => {
                    for missing in &missing {
                        for (digest, promise) in &promises {
                            let broken =
                                digest == &missing.digest && self.holds(at, digest, promise);
                            assert!(!broken, "blob unknown within its lease: {missing}");
                        }
                    }
                    self.expired.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads an image that was pushed: whole, or deleted meanwhile.
    async fn pull(&self, at: usize, digest: &Digest) {
        let deletions = self.deletions(at, digest);
        let repository = self.open(at, Action::Pull).await;
        let found = match repository.manifest(&Reference::Digest(*digest)).await {
            Ok(found) => found,
            Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) => {
                assert_ne!(self.deletions(at, digest), deletions, "{digest} is lost");
                return;
            }
            Err(error) => panic!("pull: {error:?}"),
        };
        for child in &found.children {
            match support::read_blob(&repository, child).await {
                Ok(bytes) => assert_eq!(sha256(&bytes), *child),
                Err(error) => {
                    let deleted = self.deletions(at, digest) != deletions;
                    assert!(deleted, "{digest} dangles: {child}: {error:?}");
                    return;
                }
            }
        }
    }

    async fn delete(&self, chance: &mut StdRng, at: usize) {
        let repository = self.open(at, Action::Delete).await;
        let told = match chance.random_range(0..4) {
            0 => {
                let tag = format!("t{}", chance.random_range(0..TAGS)).parse().unwrap();
                repository.delete_tag(&tag).await
            }
            1 => {
                let digest = sha256(&layer(chance.random_range(0..LAYERS)));
                self.deleting(at, digest);
                repository.delete_blob(&digest).await
            }
            _ => {
                let digest = sha256(&manifest(chance.random_range(0..IMAGES)));
                self.deleting(at, digest);
                repository.delete_manifest(&digest).await
            }
        };
        match told {
            Ok(())
            | Err(
                Error::InUse { .. }
                | Error::BlobUnknown { .. }
                | Error::ManifestUnknown { .. }
                | Error::NameUnknown { .. },
            ) => {}
            Err(error) => panic!("delete: {error:?}"),
        }
    }

    async fn index(&self, chance: &mut StdRng, at: usize) {
        let mut parts = Vec::new();
        for _ in 0..2 {
            let number = chance.random_range(0..IMAGES);
            let digest = self.push(chance, at, number).await.unwrap();
            parts.push((digest, manifest(number).len(), self.deletions(at, &digest)));
        }
        let named: Vec<_> = parts.iter().map(|(digest, size, _)| (IMAGE, digest, *size)).collect();
        let bytes = index(&named);
        let repository = self.open(at, Action::Push).await;
        // It is deleted before the images are, or else nobody could delete those.
        match repository.push_manifest(&support::push_of(&bytes, None, &["all"])).await {
            Ok(pushed) => {
                let repository = self.open(at, Action::Delete).await;
                match repository.delete_manifest(&pushed.digest).await {
                    Ok(()) | Err(Error::ManifestUnknown { .. }) => {}
                    Err(error) => panic!("delete an index: {error:?}"),
                }
            }
            Err(Error::References { missing }) => {
                for missing in missing {
                    let part = parts.iter().find(|part| part.0 == missing.digest).unwrap();
                    // Noted before we looked or since: then it was deleted.
                    let deletions = self.deletions(at, &part.0);
                    assert!(deletions > 0, "an image is lost: {missing}");
                }
            }
            Err(error) => panic!("index: {error:?}"),
        }
    }

    async fn client(self: Arc<Self>, seed: u64) {
        let mut chance = StdRng::seed_from_u64(seed);
        while !self.over.load(Ordering::Relaxed) {
            let at = chance.random_range(0..REPOSITORIES.len());
            let number = chance.random_range(0..IMAGES);
            match chance.random_range(0..20) {
                0..14 => {
                    let digest = sha256(&manifest(number));
                    let deletions = self.deletions(at, &digest);
                    self.push(&mut chance, at, number).await.unwrap();
                    if chance.random_bool(0.1) && self.deletions(at, &digest) == deletions {
                        self.pull(at, &digest).await;
                    }
                }
                14 => self.index(&mut chance, at).await,
                _ => self.delete(&mut chance, at).await,
            }
            if self.pushes.load(Ordering::Relaxed) >= self.wanted {
                self.over.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Collects every 100 ms; time passes with it.
    async fn collector(self: Arc<Self>) -> u64 {
        let mut every = tokio::time::interval(Duration::from_millis(100));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut runs = 0;
        while !self.over.load(Ordering::Relaxed) {
            every.tick().await;
            let report = support::gc::collect(&self.engine).await.unwrap();
            assert_eq!((report.failed, report.unreadable), (0, 0), "{report:?}");
            self.clock.advance(STEP);
            runs += 1;
        }
        runs
    }

    /// Deletes all, lets time pass, and requires that two collections leave nothing.
    async fn leaves_nothing(&self, blobs: &dyn BlobStore) {
        for at in 0..REPOSITORIES.len() {
            let repository = self.open(at, Action::Delete).await;
            for number in 0..IMAGES {
                match repository.delete_manifest(&sha256(&manifest(number))).await {
                    Ok(()) | Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        self.clock.advance(LEASE + DELAY);
        support::gc::collect(&self.engine).await.unwrap();
        self.clock.advance(DELAY);
        let last = support::gc::collect(&self.engine).await.unwrap();
        let left = support::gc::objects(blobs).await;
        assert!(left.is_empty(), "left after two collections: {left:?}, {last:?}");
        for (organisation, who) in [("acme", "ann"), ("beta", "bob")] {
            let organisation = organisation.parse().unwrap();
            let usage = self.engine.usage(&support::caller(who), &organisation).await.unwrap();
            assert_eq!(usage.used_bytes, 0, "{organisation}");
        }
        // Had an upload been left, it would be found now.
        self.clock.advance(Duration::from_hours(365 * 24));
        let dry = support::gc::dry_run(&self.engine).await.unwrap();
        assert_eq!((dry.uploads.count, dry.links.count, dry.deleted.count), (0, 0, 0), "{dry:?}");
    }
}

/// Pushes until so many are done; in a usual run, or until the time is over.
pub fn soak(
    within: Duration,
    pushes: u64,
    stores: impl FnOnce(&Seams) -> (Arc<dyn MetaStore>, Arc<dyn BlobStore>),
) {
    let seed = support::seed();
    println!("STRONGROOM_SEED={seed}");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (seams, clock) = support::seams(seed);
        let (meta, blobs) = stores(&seams);
        let mut settings = Settings::default();
        settings.lease = LEASE;
        settings.upload_idle = LEASE;
        settings.delete_delay = DELAY;
        settings.reserve_bytes = 0;
        let engine = support::engine(meta, blobs.clone(), &seams, settings).await.unwrap();
        support::found(&engine, "acme", "ann", "vic").await.unwrap();
        support::found(&engine, "beta", "bob", "wim").await.unwrap();
        let fire = Arc::new(Fire {
            engine,
            clock,
            over: false.into(),
            pushes: 0.into(),
            wanted: pushes,
            deletions: Mutex::default(),
            expired: 0.into(),
            mounted: 0.into(),
            promised: 0.into(),
        });
        let begun = Instant::now();
        let clients: Vec<_> =
            (0..CLIENTS).map(|n| tokio::spawn(Arc::clone(&fire).client(seed + n))).collect();
        let collector = tokio::spawn(Arc::clone(&fire).collector());
        if !support::long() {
            let fire = Arc::clone(&fire);
            tokio::spawn(async move {
                tokio::time::sleep(within).await;
                fire.over.store(true, Ordering::Relaxed);
            });
        }
        let mut failed = None;
        for client in clients {
            if let Err(error) = client.await {
                // The others end, too, and the first failure is told.
                fire.over.store(true, Ordering::Relaxed);
                failed.get_or_insert(error);
            }
        }
        let runs = collector.await.unwrap();
        println!(
            "{} pushes, {runs} collections, {} mounts, {} found by HEAD, {} leases ran out, {:?}",
            fire.pushes.load(Ordering::Relaxed),
            fire.mounted.load(Ordering::Relaxed),
            fire.promised.load(Ordering::Relaxed),
            fire.expired.load(Ordering::Relaxed),
            begun.elapsed(),
        );
        if let Some(failed) = failed {
            std::panic::resume_unwind(failed.into_panic());
        }
        assert!(runs > 1 && fire.pushes.load(Ordering::Relaxed) > 0, "there was no fire");
        let found = support::gc::fsck(&fire.engine).await.unwrap();
        assert!(found.is_empty(), "fsck: {found:?}");
        fire.leaves_nothing(&*blobs).await;
        let found = support::gc::fsck(&fire.engine).await.unwrap();
        assert!(found.is_empty(), "fsck at the end: {found:?}");
    });
}
