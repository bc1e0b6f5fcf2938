//! Reads everything that can be read, and holds it against the reference.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_engine::access::{Action, Role};
use strongroom_engine::audit::TrailQuery;
use strongroom_engine::name::Reference;
use strongroom_engine::{Engine, Error, Repository};

use super::drive::{ADMINS, ORGANISATIONS, OTHERS, PATHS, VIEWERS, World, tag};
use super::pool::{FIRST_MANIFEST, Thing};
use super::reference::{Link, Model, Repo};
use super::tenants::KINDS;
use crate::support::{self, IMAGE, INDEX};

macro_rules! same {
    ($found:expr, $wanted:expr, $($what:tt)+) => {{
        let (found, wanted) = ($found, $wanted);
        if found != wanted {
            let what = format!($($what)+);
            return Err(format!("{what}: found {found:?}, should be {wanted:?}"));
        }
    }};
}

/// Fails with the first difference. What the reference can't know it learns.
pub async fn compare(world: &World, model: &mut Model) -> Result<(), String> {
    let engine = world.engine();
    for at in 0..4 {
        let opened = support::open(engine, VIEWERS[at / 2], PATHS[at], Action::Pull).await;
        let stranger = ADMINS[1 - at / 2];
        for action in [Action::List, Action::Pull, Action::Push, Action::Delete] {
            let told = support::open(engine, stranger, PATHS[at], action).await;
            same!(matches!(told, Err(Error::NameUnknown { .. })), true, "a stranger at {at}");
        }
        let opened = opened.map_err(|error| format!("{}: {error}", PATHS[at]))?;
        let Some(repo) = &mut model.repos[at] else {
            let told = opened.tags(None, 1).await;
            same!(matches!(told, Err(Error::NameUnknown { .. })), true, "{} not there", PATHS[at]);
            continue;
        };
        let same = of_repository(&opened, repo, &world.things).await;
        same.map_err(|difference| format!("{}: {difference}", PATHS[at]))?;
    }
    for organisation in 0..2 {
        catalog(engine, organisation, model).await?;
        let name = ORGANISATIONS[organisation].parse().unwrap();
        let usage = engine.usage(&support::caller(VIEWERS[organisation]), &name).await;
        let usage = usage.map_err(|error| format!("usage: {error}"))?;
        let (least, most) = model.usage(organisation);
        if !(least..=most).contains(&usage.used_bytes) {
            let used = usage.used_bytes;
            return Err(format!("{name} uses {used}, should be {least} to {most}"));
        }
        same!(usage.quota_bytes, model.quota[organisation], "quota of {name}");
        model.used[organisation] = usage.used_bytes;
        tenant(engine, organisation, model).await.map_err(|said| format!("{name}: {said}"))?;
    }
    sessions(world, model).await
}

async fn of_repository(
    repository: &Repository,
    repo: &mut Repo,
    things: &[Thing],
) -> Result<(), String> {
    for (at, thing) in things.iter().enumerate() {
        let link = repo.links.entry(at).or_default();
        blob(repository, thing, link).await.map_err(|said| format!("blob {at}: {said}"))?;
        if at >= FIRST_MANIFEST {
            let found = repository.manifest(&Reference::Digest(thing.digest)).await;
            match found {
                Ok(found) if link.manifest => {
                    same!(found.bytes.clone(), thing.bytes.clone(), "manifest {at}");
                }
                Err(Error::ManifestUnknown { .. }) if !link.manifest => {}
                other => {
                    let found = other.map(|found| found.digest);
                    return Err(format!("manifest {at}: {found:?} for {link:?}"));
                }
            }
        }
        if !link.blob && !link.manifest {
            repo.links.remove(&at);
        }
        referrers(repository, repo, at, things).await?;
    }
    tags(repository, repo, things).await
}

async fn blob(repository: &Repository, thing: &Thing, link: &mut Link) -> Result<(), String> {
    match repository.stat_blob(&thing.digest).await {
        Ok(found) if link.blob => {
            same!(found.size, thing.size(), "size");
            let read = support::read_blob(repository, &thing.digest).await;
            same!(read.map_err(|error| format!("{error:?}"))?, thing.bytes.clone(), "bytes");
        }
        Err(Error::BlobUnknown { .. }) if !link.blob || link.doubtful => link.blob = false,
        other => return Err(format!("{other:?} for {link:?}")),
    }
    link.doubtful = false;
    Ok(())
}

/// Tags in pages of three, in the order of their bytes, and what each names.
async fn tags(repository: &Repository, repo: &Repo, things: &[Thing]) -> Result<(), String> {
    let mut wanted: Vec<_> =
        repo.tags.iter().map(|(number, (at, _))| (tag(*number), *at)).collect();
    wanted.sort();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = repository.tags(after.as_deref(), 3).await;
        let page = page.map_err(|error| format!("tags: {error}"))?;
        found.extend(page.items.iter().map(ToString::to_string));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let names: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
    same!(found, names, "tags");
    for (name, at) in wanted {
        let stat = repository.stat_manifest(&name.parse().unwrap()).await;
        same!(
            stat.map(|m| m.digest).map_err(|e| format!("{name}: {e}"))?,
            things[at].digest,
            "tag"
        );
    }
    Ok(())
}

/// Referrers one by one, all of them and by type.
async fn referrers(
    repository: &Repository,
    repo: &Repo,
    subject: usize,
    things: &[Thing],
) -> Result<(), String> {
    let of = |at: &usize| things[*at].subject == Some(subject);
    let here = |at: &usize| repo.links.get(at).is_some_and(|link| link.manifest);
    let all: Vec<_> = (0..things.len()).filter(of).filter(here).collect();
    for kind in [None, Some("text/one"), Some("text/none")] {
        let mut found = BTreeSet::new();
        let mut from: Option<String> = None;
        loop {
            let digest = &things[subject].digest;
            let page = repository.referrers(digest, kind, from.as_deref(), 1).await;
            let page = page.map_err(|error| format!("referrers: {error}"))?;
            for item in page.items {
                same!([IMAGE, INDEX].contains(&item.media_type.as_str()), true, "media type");
                same!(found.insert(item.digest), true, "a referrer is listed twice");
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let wanted =
            all.iter().filter(|at| kind.is_none_or(|kind| things[**at].artifact_type == kind));
        let wanted: BTreeSet<_> = wanted.map(|at| things[*at].digest).collect();
        same!(found, wanted, "referrers of {subject} of type {kind:?}");
    }
    Ok(())
}

async fn catalog(engine: &Engine, organisation: usize, model: &Model) -> Result<(), String> {
    let own = organisation * 2..organisation * 2 + 2;
    let wanted: Vec<_> =
        own.filter(|at| model.repos[*at].is_some()).map(|at| PATHS[at].to_owned()).collect();
    let catalog = engine.catalog(&support::caller(VIEWERS[organisation]));
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = catalog.page(after.as_deref(), 1).await;
        let page = page.map_err(|error| format!("catalog: {error}"))?;
        found.extend(page.items.iter().map(ToString::to_string));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    same!(found, wanted, "catalog");
    Ok(())
}

/// Members and what each may do, settings, what the registry links, and the trail.
async fn tenant(engine: &Engine, organisation: usize, model: &Model) -> Result<(), String> {
    let admin = support::caller(ADMINS[organisation]);
    let name = ORGANISATIONS[organisation].parse().unwrap();
    let main = "main".parse().unwrap();
    let wanted = &model.tenants[organisation];
    let shown = |error: Error| error.to_string();
    let registry = engine.registry(&admin, &name, &main).await.map_err(shown)?;
    let settings = &registry.settings;
    let rules = (!settings.immutable_tags.is_empty(), !settings.retention.is_empty());
    same!(rules, (wanted.rules.immutable, wanted.rules.expiring), "settings");

    let mut members: BTreeMap<_, _> = wanted
        .members
        .iter()
        .map(|(who, roles)| (format!("user:{}", OTHERS[*who]), *roles))
        .collect();
    members.insert(format!("user:{}", ADMINS[organisation]), (Some(Role::Admin), None));
    members.insert(format!("user:{}", VIEWERS[organisation]), (Some(Role::Viewer), None));
    let found = engine.members(&admin, &name, None, 10).await.map_err(shown)?.items;
    let found: BTreeMap<_, _> = found
        .into_iter()
        .map(|member| {
            let of_registry = member.registries.get(&registry.id).copied();
            (member.principal.to_string(), (member.role, of_registry))
        })
        .collect();
    same!(found, members, "members");
    let path = PATHS[organisation * 2];
    for (at, who) in OTHERS.into_iter().enumerate() {
        let (all, one) = wanted.members.get(&at).copied().unwrap_or_default();
        let pushes = |role| matches!(role, Some(Role::Writer | Role::Admin));
        for (action, may) in [
            (Action::Pull, all.is_some() || one.is_some()),
            (Action::Push, pushes(all) || pushes(one)),
        ] {
            let told = support::open(engine, who, path, action).await;
            let hidden = matches!(told, Err(Error::NameUnknown { .. }));
            same!(told.is_ok(), may, "{who} may {action:?}");
            same!(hidden, all.is_none() && one.is_none(), "{path} is hidden from {who}");
        }
    }

    let mut linked = BTreeSet::new();
    for repo in model.repos[organisation * 2..organisation * 2 + 2].iter().flatten() {
        linked.extend(repo.links.keys().copied());
    }
    let usage = engine.registry_usage(&admin, &name, &main).await.map_err(shown)?;
    let bytes = linked.iter().map(|at| model.things[*at].size()).sum::<u64>();
    same!((usage.contents, usage.linked_bytes), (linked.len() as u64, bytes), "what is linked");
    lines(engine, organisation, model).await
}

/// The lines of the kinds that each thing done leaves one of.
async fn lines(engine: &Engine, organisation: usize, model: &Model) -> Result<(), String> {
    let admin = support::caller(ADMINS[organisation]);
    let name = ORGANISATIONS[organisation].parse().unwrap();
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let query = TrailQuery::default();
        let page = engine.trail(&admin, Some(&name), &query, after.as_deref(), 1000).await;
        let page = page.map_err(|error| format!("the trail: {error}"))?;
        for line in page.items {
            if let Some(kind) = KINDS.into_iter().find(|kind| *kind == line.event.kind.name()) {
                *found.entry(kind).or_default() += 1;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    same!(&found, &model.tenants[organisation].lines, "lines in the trail");
    Ok(())
}

async fn sessions(world: &World, model: &mut Model) -> Result<(), String> {
    let slots = world.slots.lock().unwrap().clone();
    for (slot, (id, repo, _)) in slots {
        let (who, path) = (ADMINS[repo / 2], PATHS[repo]);
        let repository = support::open(world.engine(), who, path, Action::Push).await;
        let repository = repository.map_err(|error| format!("{path}: {error}"))?;
        let now = model.now;
        let session = model.sessions.get(&slot).filter(|session| session.expires > now);
        let doubtful = session.is_some_and(|session| session.doubtful);
        match (repository.upload(id).await, session) {
            (Ok(found), Some(session)) => {
                same!(found.offset, session.offset, "offset of upload {slot}");
            }
            (Err(Error::UploadUnknown { .. }), None) => {}
            (Err(Error::UploadUnknown { .. }), Some(_)) if doubtful => {
                model.sessions.remove(&slot);
            }
            (found, wanted) => return Err(format!("upload {slot}: {found:?} for {wanted:?}")),
        }
        // Another than who began it, and another repository, do not see it.
        let elsewhere = support::open(world.engine(), who, PATHS[repo ^ 1], Action::Push).await;
        let elsewhere = elsewhere.map_err(|error| format!("{path}: {error}"))?.upload(id).await;
        same!(
            matches!(elsewhere, Err(Error::UploadUnknown { .. })),
            true,
            "upload {slot} elsewhere"
        );
    }
    Ok(())
}
