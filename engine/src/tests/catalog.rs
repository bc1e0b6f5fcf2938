//! The catalog: what a page lists, and what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::access::{Action, AllowAll, Authorizer, Caller, Decision, PrincipalId, Target};
use crate::change::Change;
use crate::content::opendal::OpendalStore;
use crate::id::{OrganisationId, RegistryId};
use crate::keys;
use crate::meta::MemoryStore;
use crate::records::{Life, NameRecord, OrganisationRecord, RegistryRecord};
use crate::seam::{Seams, Timestamp};
use crate::{Engine, Error};

/// Lets everybody do everything, and counts how often it is asked.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Authorizer for Counting {
    async fn decide(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Decision, Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        AllowAll.decide(caller, action, target).await
    }
}

const ME: &str = "user:me";

pub(super) struct City {
    engine: Engine,
    asked: Arc<Counting>,
}

impl City {
    /// Organisations by their names, of all of which the caller is a member; in each the registries
    /// with the repositories given.
    pub(super) async fn new(organisations: &[&str], registries: &[(&str, &[&str])]) -> Self {
        let seams = Seams::default();
        let asked = Arc::new(Counting::default());
        let meta = Arc::new(MemoryStore::new(&seams));
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let engine = Engine::builder(meta, blobs).seams(seams).authorizer(asked.clone());
        let engine = engine.build().await.unwrap();
        for chunk in organisations.iter().zip(1..).collect::<Vec<_>>().chunks(500) {
            let mut change = Change::new(&engine.core);
            for (name, id) in chunk {
                // Ids are not in the order of names.
                write(&mut change, name, OrganisationId(u64::MAX - id), registries);
            }
            change.commit().await.unwrap();
        }
        Self { engine, asked }
    }

    /// All of the catalog in pages of `limit`, and the most often that a page asked for.
    pub(super) async fn list(&self, limit: usize) -> (Vec<String>, usize) {
        let catalog = self.engine.catalog(&Caller::known(PrincipalId::new(ME).unwrap()));
        let (mut names, mut after, mut most) = (Vec::new(), None, 0);
        loop {
            self.asked.0.store(0, Ordering::SeqCst);
            let page = catalog.page(after.as_deref(), limit).await.unwrap();
            most = most.max(self.asked.0.load(Ordering::SeqCst));
            assert!(page.items.len() <= limit);
            names.extend(page.items.iter().map(ToString::to_string));
            after = page.next;
            if after.is_none() {
                return (names, most);
            }
        }
    }
}

fn write(change: &mut Change<'_>, name: &str, id: OrganisationId, registries: &[(&str, &[&str])]) {
    let (created_at, life) = (Timestamp(0), Life::Live);
    let record = OrganisationRecord {
        name: name.to_owned(),
        life,
        created_at,
        quota_bytes: None,
        admins: 0,
    };
    change.put(keys::organisation(id), &record);
    change.put_raw(keys::membership(ME, id), Bytes::new());
    for ((name, repositories), place) in registries.iter().zip(1..) {
        let registry = RegistryId(u64::MAX - place);
        let (name, public) = ((*name).to_owned(), false);
        let (immutable_tags, retention) = (Vec::new(), Vec::new());
        let sparse_indexes = false;
        let record = RegistryRecord {
            name,
            life,
            created_at,
            public,
            sparse_indexes,
            immutable_tags,
            retention,
        };
        change.put(keys::registry(id, registry), &record);
        for (name, place) in repositories.iter().zip(1..) {
            change.put(keys::repository_name(id, registry, name), &NameRecord::Live(place));
        }
    }
}

#[tokio::test]
async fn every_repository_is_listed_once_in_the_order_of_full_names_in_pages_of_any_size() {
    let organisations = ["a", "a-b", "a.b", "b", "a0", "a_b"];
    let registries: &[(&str, &[&str])] =
        &[("main", &["x", "x-y", "x/y", "z"]), ("main-2", &["q"]), ("empty", &[]), ("m", &["q"])];
    let city = City::new(&organisations, registries).await;
    let mut expected = Vec::new();
    for organisation in organisations {
        for (registry, repositories) in registries {
            let full = |name: &&str| format!("{organisation}/{registry}/{name}");
            expected.extend(repositories.iter().map(full));
        }
    }
    expected.sort();
    for limit in [1, 2, 3, 7, 1000] {
        assert_eq!(city.list(limit).await.0, expected, "in pages of {limit}");
    }
}

#[tokio::test]
async fn a_page_asks_only_for_the_registries_that_it_lists() {
    let organisations: Vec<_> = (0..200).map(|n| format!("org-{n:03}")).collect();
    let organisations: Vec<_> = organisations.iter().map(String::as_str).collect();
    let registries: &[(&str, &[&str])] = &[("one", &["x", "y"]), ("two", &["x", "y"])];
    let city = City::new(&organisations, registries).await;
    let (names, most) = city.list(4).await;
    assert_eq!(names.len(), 800);
    assert!(most <= 4, "a page of four asked {most} times");
}

#[tokio::test]
async fn no_membership_is_too_many_and_a_page_of_empty_registries_ends() {
    let organisations: Vec<_> = (0..12_000).map(|n| format!("org-{n:05}")).collect();
    let organisations: Vec<_> = organisations.iter().map(String::as_str).collect();
    let city = City::new(&organisations, &[("empty", &[])]).await;
    let mut change = Change::new(&city.engine.core);
    write(&mut change, "zoo", OrganisationId(1), &[("main", &["x"])]);
    change.commit().await.unwrap();
    let (names, most) = city.list(100).await;
    assert_eq!(names, ["zoo/main/x"]);
    assert_eq!(most, 1000);
}
