//! What a client sees of a store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_engine::access::Action;
use strongroom_engine::audit::{EventKind, TrailQuery};
use strongroom_engine::content::ObjectRead;
use strongroom_engine::digest::Digest;
use strongroom_engine::name::Reference;
use strongroom_engine::{Error, MAX_PAGE};

use crate::promise::{History, Item, Value};
use crate::world::{Told, World, told};

pub(crate) type Seen = BTreeMap<Item, Value>;

/// Looks at everything that `history` speaks of. What can be seen only in part is an error.
pub(crate) async fn look(world: &World, history: &History) -> Told<Seen> {
    let mut seen = Seen::new();
    for item in history.items() {
        let value = look_at(world, history, item).await?;
        seen.insert(item.clone(), value);
    }
    listings(world, history, &seen).await?;
    Ok(seen)
}

async fn look_at(world: &World, history: &History, item: &Item) -> Told<Value> {
    let (engine, caller) = (&world.engine, &world.caller);
    let looked = match item {
        Item::Blob(path, digest) => match read(world, path, digest).await {
            Ok(bytes) if history.contents[digest].bytes == bytes => Ok(Value::Present),
            Ok(bytes) => return Err(format!("{item:?} has {} wrong bytes", bytes.len())),
            Err(error) => Err(error),
        },
        Item::Manifest(path, digest) => manifest(world, history, path, &Reference::Digest(*digest))
            .await
            .map(|_| Value::Present),
        Item::Tag(path, tag) => {
            let reference = Reference::Tag(tag.parse().map_err(told("a tag"))?);
            manifest(world, history, path, &reference).await.map(Value::Points)
        }
        Item::Upload(path, id) => match world.repository(path, Action::Push).await {
            Ok(repository) => repository.upload(*id).await.map(|upload| {
                let of = history.deeds.iter().flat_map(|deed| &deed.sets);
                let content = of.filter(|(of, _)| of == item).find_map(|(_, value)| match value {
                    Value::At(content, _) => Some(*content),
                    _ => None,
                });
                Value::At(content.expect("an upload is of something"), upload.offset)
            }),
            Err(error) => Err(error),
        },
        Item::Organisation(name) => {
            let found = engine.organisation(caller, &name.parse().expect("a name")).await;
            found.map(|found| Value::Says(format!("{:?}", found.quota_bytes)))
        }
        Item::Registry(organisation, name) => {
            let (of, name) = (organisation.parse().expect("a name"), name.parse().expect("one"));
            engine.registry(caller, &of, &name).await.map(|_| Value::Present)
        }
        Item::Member(organisation, who) => {
            let of = organisation.parse().expect("a name");
            engine.members(caller, &of, None, MAX_PAGE).await.map(|members| {
                let member = members.items.iter().find(|member| member.principal.as_str() == who);
                let role = member.and_then(|member| member.role);
                role.map_or(Value::Absent, |role| Value::Says(format!("{role:?}")))
            })
        }
    };
    match looked {
        Err(
            Error::NameUnknown { .. }
            | Error::BlobUnknown { .. }
            | Error::ManifestUnknown { .. }
            | Error::UploadUnknown { .. },
        ) => Ok(Value::Absent),
        other => other.map_err(|error| format!("{item:?}: {error}")),
    }
}

async fn read(world: &World, path: &str, digest: &Digest) -> Result<Bytes, Error> {
    let blob = world.repository(path, Action::Pull).await?.blob(digest).await?;
    match blob.read(0..blob.info().size).await? {
        ObjectRead::Stream(stream) => Ok(stream.try_collect::<Vec<_>>().await?.concat().into()),
        ObjectRead::File { .. } => panic!("a simulated disk has no files"),
    }
}

async fn manifest(
    world: &World,
    history: &History,
    path: &str,
    reference: &Reference,
) -> Result<Digest, Error> {
    let found = world.repository(path, Action::Pull).await?.manifest(reference).await?;
    assert_eq!(found.bytes, history.contents[&found.digest].bytes, "the bytes of {reference}");
    Ok(found.digest)
}

/// Requires that what lists show is what is there, and that a manifest has all it names.
async fn listings(world: &World, history: &History, seen: &Seen) -> Told<()> {
    let mut tags: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (item, value) in seen {
        match item {
            Item::Tag(path, tag) => {
                let of = tags.entry(path).or_default();
                if *value != Value::Absent {
                    of.insert(tag.clone());
                }
            }
            Item::Manifest(path, digest) if *value == Value::Present => {
                let content = &history.contents[digest];
                for (child, is_manifest) in &content.children {
                    let child = if *is_manifest {
                        Item::Manifest(path.clone(), *child)
                    } else {
                        Item::Blob(path.clone(), *child)
                    };
                    if seen.get(&child) != Some(&Value::Present) {
                        return Err(format!("{item:?} dangles: {child:?} is not there"));
                    }
                }
            }
            _ => {}
        }
        if let (Item::Manifest(path, digest), Some(subject)) = (item, subject_of(history, item)) {
            let referrers = match world.repository(path, Action::Pull).await {
                Ok(repository) => repository.referrers(&subject, None, None, MAX_PAGE).await,
                Err(error) => Err(error),
            };
            let listed = match referrers {
                Ok(page) => page.items.iter().any(|referrer| referrer.digest == *digest),
                Err(Error::NameUnknown { .. }) => false,
                Err(error) => return Err(format!("listing the referrers in {path}: {error}")),
            };
            if listed != (*value == Value::Present) {
                return Err(format!("{item:?} is {value:?}; listed as a referrer: {listed}"));
            }
        }
    }
    for (path, expected) in tags {
        let listed = match world.repository(path, Action::Pull).await {
            Ok(repository) => repository.tags(None, MAX_PAGE).await,
            Err(error) => Err(error),
        };
        let listed: BTreeSet<_> = match listed {
            Ok(page) => page.items.iter().map(ToString::to_string).collect(),
            Err(Error::NameUnknown { .. }) => BTreeSet::new(),
            Err(error) => return Err(format!("listing the tags of {path}: {error}")),
        };
        if listed != expected {
            return Err(format!("{path} lists the tags {listed:?}, but has {expected:?}"));
        }
    }
    Ok(())
}

fn subject_of(history: &History, item: &Item) -> Option<Digest> {
    match item {
        Item::Manifest(_, digest) => history.contents.get(digest)?.subject,
        _ => None,
    }
}

/// Requires that the trail is whole, and has a line for each change that was acknowledged and none
/// for what was never asked for.
pub(crate) async fn trail(world: &World, history: &History, at: usize, seen: &Seen) -> Told<()> {
    let (engine, caller) = (&world.engine, &world.caller);
    let mut expected: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for ((organisation, line), counts) in history.lines(at) {
        expected.entry(organisation).or_default().insert(line, counts);
    }
    for (organisation, mut lines) in expected {
        if seen.get(&Item::Organisation(organisation.clone())) == Some(&Value::Absent) {
            continue;
        }
        let of = organisation.parse().expect("a name");
        let verified = engine.verify_trail(caller, Some(&of)).await.map_err(told("verifying"))?;
        if !verified.is_good() {
            return Err(format!("the trail of {organisation}: {:?}", verified.problems));
        }
        let all = engine.export_trail(caller, Some(&of), TrailQuery::default()).await;
        let all = all.map_err(told("reading the trail"))?;
        let found: Vec<_> = all.try_collect().await.map_err(told("reading the trail"))?;
        for line in found {
            let text = describe(&line.event.kind);
            match lines.get_mut(&text) {
                Some((least, most)) => {
                    *least = least.saturating_sub(1);
                    *most = most.checked_sub(1).ok_or(format!("one line too many: {text}"))?;
                }
                None if follows(&line.event.kind) => {}
                None => return Err(format!("a line for what nobody did: {text}")),
            }
        }
        if let Some((line, (missing, _))) = lines.iter().find(|(_, (least, _))| *least > 0) {
            return Err(format!("the trail of {organisation} misses {missing} × {line}"));
        }
    }
    Ok(())
}

/// Whether a line tells of what follows from a deed by the engine's own rules, or belongs to an
/// upload whose end is the deed.
fn follows(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Maintained { .. }
            | EventKind::RepositoryCreated { .. }
            | EventKind::UploadStarted { .. }
            | EventKind::UploadEnded { .. }
            | EventKind::LinkCollected { .. }
            | EventKind::ContentGivenUp { .. }
            | EventKind::ContentDeleted { .. }
    )
}

/// A line of the trail as `client` expects it.
fn describe(kind: &EventKind) -> String {
    let name = kind.name();
    match kind {
        EventKind::OrganisationCreated { name: of }
        | EventKind::RegistryCreated { name: of, .. }
        | EventKind::RegistryDeleted { name: of, .. } => format!("{name} {of}"),
        EventKind::MemberSet { principal, role, .. } => format!("{name} {principal} {role:?}"),
        EventKind::BlobPushed { repository, digest, .. }
        | EventKind::BlobMounted { repository, digest, .. }
        | EventKind::BlobDeleted { repository, digest }
        | EventKind::ManifestDeleted { repository, digest } => {
            format!("{name} {} {digest}", repository.path)
        }
        EventKind::ManifestPushed { repository, digest, tags, .. } => {
            format!("{name} {} {digest} {tags:?}", repository.path)
        }
        EventKind::TagDeleted { repository, tag, .. } => {
            format!("{name} {} {tag}", repository.path)
        }
        _ => name.to_owned(),
    }
}
