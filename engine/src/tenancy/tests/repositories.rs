//! Repositories listed, searched and given up; settings changed only as they were seen.

use super::{Town, caller, organisation, registry};
use crate::Error;
use crate::access::{Action, Role};
use crate::gc::{CollectOptions, FsckOptions};
use crate::pattern::Pattern;
use crate::tenancy::{RegistrySettings, RepositoryFilter};

async fn names(town: &Town, filter: &RepositoryFilter) -> Vec<String> {
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
    let (mut names, mut after) = (Vec::new(), None);
    let listing = town.engine.listing(&ann, &acme, &main).await.unwrap();
    loop {
        let page = listing.infos(filter, after.as_deref(), 2).await.unwrap();
        names.extend(page.items.iter().map(|item| item.name.to_string()));
        after = page.next;
        if after.is_none() {
            return names;
        }
    }
}

#[tokio::test]
async fn repositories_are_listed_and_searched() {
    let town = Town::new().await;
    for name in ["api", "team/api", "team/web", "web", "worker"] {
        town.push(&format!("acme/main/{name}"), b"x").await.unwrap();
    }
    let all = ["api", "team/api", "team/web", "web", "worker"];
    assert_eq!(names(&town, &RepositoryFilter::default()).await, all);
    let prefix = Some("team/".to_owned());
    let filter = RepositoryFilter { prefix: prefix.clone(), contains: None };
    assert_eq!(names(&town, &filter).await, ["team/api", "team/web"]);
    let filter = RepositoryFilter { prefix, contains: Some("web".to_owned()) };
    assert_eq!(names(&town, &filter).await, ["team/web"]);
    let filter = RepositoryFilter { prefix: None, contains: Some("api".to_owned()) };
    assert_eq!(names(&town, &filter).await, ["api", "team/api"]);
    let (acme, main) = (organisation("acme"), registry("main"));
    let hidden = town.engine.listing(&caller("eve"), &acme, &main).await;
    assert!(matches!(hidden, Err(Error::NameUnknown { .. })));
    let listing = town.engine.listing(&caller("ann"), &acme, &main).await.unwrap();
    let told = listing.infos(&RepositoryFilter::default(), None, 5).await.unwrap();
    let listed = listing.page(None, 5).await.unwrap();
    assert_eq!((told.next, listed.next), (None, None), "a page that is full may be the last");
    let told: Vec<_> = told.items.iter().map(|item| (&item.name, item.id)).collect();
    let listed: Vec<_> = listed.items.iter().map(|item| (&item.name, item.id)).collect();
    assert_eq!(told, listed, "both are one list");
}

#[tokio::test]
async fn a_repository_that_is_given_up_answers_as_absent_at_once_and_leaves_nothing() {
    let town = Town::new().await;
    let (ann, acme) = (caller("ann"), organisation("acme"));
    let writer = super::principal("wil");
    town.engine.set_role(&ann, &acme, &writer, None, Role::Writer).await.unwrap();
    let path = "acme/main/api".parse().unwrap();
    let shared = town.push("acme/main/web", b"shared").await.unwrap();
    town.push("acme/main/api", b"shared").await.unwrap();
    let own = town.push("acme/main/api", b"its own").await.unwrap();
    let upload = town.engine.repository(&ann, &path, Action::Push).await.unwrap();
    upload.start_upload(None, None).await.unwrap();
    let denied = town.engine.delete_repository(&caller("wil"), &path).await;
    assert!(matches!(denied, Err(Error::Denied { .. })));

    town.engine.delete_repository(&ann, &path).await.unwrap();

    let pull = town.engine.repository(&ann, &path, Action::Pull).await.unwrap();
    assert!(matches!(pull.stat_blob(&own).await, Err(Error::NameUnknown { .. })));
    let again = town.engine.delete_repository(&ann, &path).await;
    assert!(matches!(again, Err(Error::NameUnknown { .. })));
    assert_eq!(names(&town, &RepositoryFilter::default()).await, ["web"]);
    let check = async || {
        let report = town.engine.fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    };
    check().await;
    // The name is free: what is pushed there is another repository's.
    let new = town.push("acme/main/api", b"new").await.unwrap();
    for _ in 0..3 {
        town.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
        check().await;
        town.clock.advance(std::time::Duration::from_hours(2));
    }
    let pull = town.engine.repository(&ann, &path, Action::Pull).await.unwrap();
    assert_eq!(pull.stat_blob(&new).await.unwrap().size, 3);
    assert!(matches!(pull.stat_blob(&own).await, Err(Error::BlobUnknown { .. })));
    let web = "acme/main/web".parse().unwrap();
    let web = town.engine.repository(&ann, &web, Action::Pull).await.unwrap();
    assert_eq!(web.stat_blob(&shared).await.unwrap().size, 6);
    let used = town.engine.usage(&ann, &acme).await.unwrap().used_bytes;
    assert_eq!(used, 6 + 3, "what only the given up one had is given back");
}

#[tokio::test]
async fn settings_are_set_only_on_what_was_seen() {
    let town = Town::new().await;
    let (ann, acme, main) = (caller("ann"), organisation("acme"), registry("main"));
    let seen = town.engine.registry(&ann, &acme, &main).await.unwrap();
    let immutable_tags: Vec<Pattern> = vec!["v*".parse().unwrap()];
    let settings = RegistrySettings { immutable_tags, ..seen.settings.clone() };
    let version = Some(seen.version.as_str());
    let set = town.engine.set_registry(&ann, &acme, &main, &settings, version).await.unwrap();
    assert_eq!(set.settings, settings);
    assert_ne!(set.version, seen.version);
    let lost = town.engine.set_registry(&ann, &acme, &main, &seen.settings, version).await;
    assert!(matches!(lost, Err(Error::Changed { version, .. }) if version == set.version));
    let found = town.engine.registry(&ann, &acme, &main).await.unwrap();
    assert_eq!((found.settings, found.version), (settings, set.version));
}
