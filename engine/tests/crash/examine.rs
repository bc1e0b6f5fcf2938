//! What has to hold of a store that a crash left.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_engine::access::Action;
use strongroom_engine::digest::Digest;
use strongroom_engine::disk::sim::SimDisk;
use strongroom_engine::gc::{CollectOptions, FsckOptions};
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Chunk, ManifestPush};

use crate::client::{API, ORGANISATION, Recording, content, sha256};
use crate::look::{Seen, look, trail};
use crate::promise::{Item, Value};
use crate::world::{DELETE_DELAY, INLINE_BYTES, LEASE, Told, World, body, told};

/// How often a recovery is crashed again.
const CRASHES_AGAIN: u32 = 3;

/// Opens the store that a crash behind the first `at` effects left on `image`, and requires of it
/// all that was promised by then. Returns how many further images it took.
///
/// `seed` decides what is tried; with `again` the recovery and the collection after it are crashed
/// in turn.
pub(crate) async fn examine(
    recording: &Recording,
    at: usize,
    image: &SimDisk,
    seed: u64,
    again: bool,
) -> Told<usize> {
    let history = &recording.history;
    let world = World::open(image, recording.time(at), seed).await?;
    let mut seen = look(&world, history).await?;
    for (item, found) in &seen {
        let allowed = history.allowed(item, at);
        if !allowed.covers(found) {
            return Err(format!("{item:?} is {found:?}; it was promised to be one of {allowed}"));
        }
    }
    whole_or_absent(recording, at, &seen)?;
    trail(&world, history, at, &seen).await?;
    fsck(&world).await?;
    if again {
        collect_all(&world, recording, &seen).await?;
        return crash_again(recording, at, &world, &seen, seed).await;
    }
    if seed.is_multiple_of(2) {
        resume_uploads(&world, recording, &seen).await?;
    }
    if !seed.is_multiple_of(3) {
        retry(&world, recording, at).await?;
        let retried = look(&world, history).await?;
        for (item, before) in &seen {
            let gone = *before != Value::Absent && retried.get(item) == Some(&Value::Absent);
            if gone && !matches!(item, Item::Upload(..)) {
                return Err(format!("{item:?} went when something else was pushed"));
            }
        }
    }
    seen = look(&world, history).await?;
    collect_all(&world, recording, &seen).await?;
    push_again(&world, &seen).await?;
    fsck(&world).await?;
    Ok(0)
}

/// Requires that of what was under way all is there or nothing.
fn whole_or_absent(recording: &Recording, at: usize, seen: &Seen) -> Told<()> {
    let under_way: Vec<_> = recording.history.under_way(at).collect();
    for deed in under_way.iter().filter(|deed| deed.at_once) {
        let (mut done, mut undone) = (None, None);
        for (item, wanted) in &deed.sets {
            let found = seen.get(item).unwrap_or(&Value::Absent);
            let shared = under_way.iter().filter(|other| other.sets.iter().any(|(i, _)| i == item));
            let changes = !recording.history.before(item, deed).is_some_and(|old| old == wanted);
            if shared.count() > 1 || !changes {
                continue;
            }
            if wanted.covers(found) {
                done = Some(item);
            } else {
                undone = Some(item);
            }
        }
        if let (Some(done), Some(undone)) = (done, undone) {
            return Err(format!("{} is half done: {done:?} but not {undone:?}", deed.what));
        }
    }
    Ok(())
}

/// Goes on with each upload from where it stands.
async fn resume_uploads(world: &World, recording: &Recording, seen: &Seen) -> Told<()> {
    for (item, value) in seen {
        let (Item::Upload(path, id), Value::At(digest, offset)) = (item, value) else { continue };
        let bytes = &recording.history.contents[digest].bytes;
        let rest = usize::try_from(*offset).ok().filter(|offset| *offset <= bytes.len());
        let rest = rest.ok_or_else(|| format!("{item:?} stands at {offset} of {}", bytes.len()))?;
        let repository = world.writable(path).await;
        let chunk = Chunk { at: Some(*offset), length: None };
        let appended = repository.append(*id, chunk, body(&bytes.slice(rest..), 4096)).await;
        appended.map_err(|error| format!("{item:?} can't go on from {offset}: {error}"))?;
        let finished = repository.finish_upload(*id, digest).await;
        finished.map_err(|error| format!("{item:?}, from {offset}, can't finish: {error}"))?;
    }
    Ok(())
}

/// Asks again for what was pushed when the crash came, as a client does that got no answer.
async fn retry(world: &World, recording: &Recording, at: usize) -> Told<()> {
    for deed in recording.history.under_way(at) {
        for (item, value) in &deed.sets {
            match item {
                Item::Blob(path, digest) if *value == Value::Present => {
                    let bytes = recording.history.contents[digest].bytes.clone();
                    let Ok(repository) = world.repository(path, Action::Push).await else {
                        continue;
                    };
                    let pushed = repository.push_blob(digest, None, body(&bytes, 4096)).await;
                    pushed.map_err(|error| format!("{}, again: {error}", deed.what))?;
                }
                Item::Manifest(path, digest) if *value == Value::Present => {
                    let content = &recording.history.contents[digest];
                    let tags = deed.sets.iter().filter_map(|(item, _)| match item {
                        Item::Tag(_, tag) => Some(tag.parse().expect("a tag")),
                        _ => None,
                    });
                    let push = ManifestPush {
                        bytes: content.bytes.clone(),
                        content_type: content.media_type.map(str::to_owned),
                        digest: Some(*digest),
                        tags: tags.collect(),
                    };
                    let pushed = world.writable(path).await.push_manifest(&push).await;
                    pushed.map_err(|error| format!("{}, again: {error}", deed.what))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Requires that the store takes another image and serves it.
async fn push_again(world: &World, seen: &Seen) -> Told<()> {
    let (engine, caller) = (&world.engine, &world.caller);
    let organisation = ORGANISATION.parse().expect("a name");
    if seen.get(&Item::Organisation(ORGANISATION.to_owned())) == Some(&Value::Absent) {
        let created = engine.create_organisation(caller, &organisation, None, None).await;
        created.map_err(told("creating the organisation"))?;
    }
    let registry = Item::Registry(ORGANISATION.to_owned(), "main".to_owned());
    if seen.get(&registry) == Some(&Value::Absent) {
        let name = "main".parse().expect("a name");
        let created =
            engine.create_registry(caller, &organisation, &name, RegistrySettings::default());
        created.await.map_err(told("creating the registry"))?;
    }
    let bytes = content(999, 2000);
    let digest = sha256(&bytes);
    let repository = world.writable(API).await;
    let pushed = repository.push_blob(&digest, None, body(&bytes, 700)).await;
    pushed.map_err(told("pushing another blob"))?;
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2000}},"layers":[]}}"#
    );
    let tag: strongroom_engine::name::Tag = "another".parse().expect("a tag");
    let (content_type, digest) = (None, None);
    let push = ManifestPush { bytes: text.clone().into(), content_type, digest, tags: vec![tag] };
    repository.push_manifest(&push).await.map_err(told("pushing another manifest"))?;
    let pull = world.repository(API, Action::Pull).await;
    let pulled = pull.map_err(told("pulling"))?.manifest(&"another".parse().expect("a tag")).await;
    let pulled = pulled.map_err(told("pulling another manifest"))?;
    if pulled.bytes == text { Ok(()) } else { Err("another manifest has other bytes".to_owned()) }
}

/// Crashes the recovery, and the collection behind it, at a few of its effects.
async fn crash_again(
    recording: &Recording,
    at: usize,
    world: &World,
    seen: &Seen,
    seed: u64,
) -> Told<usize> {
    let (disk, now) = (world.disk.clone(), world.now());
    for round in 0..CRASHES_AGAIN {
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(7 * round);
        let place = usize::try_from(mixed % (disk.effects() as u64 + 1)).expect("it is small");
        let what = |error| format!("crashed again behind effect {place} of the recovery: {error}");
        let image = if round == 0 { disk.image_strict(place) } else { disk.image(place, mixed) };
        // An id that was drawn before is not drawn again.
        let world = World::open(&image, now, seed + 1 + u64::from(round)).await.map_err(what)?;
        let found = look(&world, &recording.history).await.map_err(what)?;
        for (item, before) in seen {
            let fleeting = matches!(item, Item::Blob(..) | Item::Upload(..));
            if !fleeting && found.get(item) != Some(before) {
                return Err(what(format!("{item:?} was {before:?}, is {:?}", found.get(item))));
            }
        }
        trail(&world, &recording.history, at, seen).await.map_err(what)?;
        fsck(&world).await.map_err(what)?;
        collect_all(&world, recording, &found).await.map_err(what)?;
        push_again(&world, &found).await.map_err(what)?;
    }
    Ok(CRASHES_AGAIN as usize)
}

/// Lets all grace pass, collects twice, and requires that nothing is left but what manifests need.
async fn collect_all(world: &World, recording: &Recording, seen: &Seen) -> Told<()> {
    for _ in 0..2 {
        world.clock.advance(LEASE + DELETE_DELAY);
        collect(world).await?;
    }
    fsck(world).await?;
    let found = look(world, &recording.history).await?;
    let mut objects = BTreeMap::new();
    let mut linked = BTreeSet::new();
    // By organisation: each content once, and each manifest that has no object of its own.
    let mut stored: BTreeMap<&str, BTreeMap<(Digest, &str), u64>> = BTreeMap::new();
    for (item, value) in &found {
        let organisation = match item {
            Item::Manifest(path, _) => path.split('/').next().unwrap_or_default(),
            Item::Organisation(name) => name,
            _ => continue,
        };
        if *value == Value::Absent {
            continue;
        }
        let stored = stored.entry(organisation).or_default();
        let Item::Manifest(path, digest) = item else { continue };
        let content = &recording.history.contents[digest];
        let size = content.bytes.len() as u64;
        // A small one has a copy.
        objects.insert(*digest, size);
        if content.bytes.len() > INLINE_BYTES {
            stored.insert((*digest, ""), size);
        } else {
            stored.insert((*digest, path), size);
        }
        for (child, _) in content.children.iter().filter(|(_, is_manifest)| !is_manifest) {
            let size = recording.history.contents[child].bytes.len() as u64;
            objects.insert(*child, size);
            stored.insert((*child, ""), size);
            linked.insert(Item::Blob(path.clone(), *child));
        }
    }
    for (item, before) in seen {
        let now = found.get(item).unwrap_or(&Value::Absent);
        let wanted = match item {
            Item::Blob(..) if linked.contains(item) => &Value::Present,
            Item::Blob(..) | Item::Upload(..) => &Value::Absent,
            _ => before,
        };
        if now != wanted {
            return Err(format!("after the collection {item:?} is {now:?}, not {wanted:?}"));
        }
    }
    only_these(world, &objects).await?;
    for (organisation, stored) in stored {
        let of = organisation.parse().expect("a name");
        let used = world.engine.usage(&world.caller, &of).await.map_err(told("usage"))?.used_bytes;
        let stored: u64 = stored.values().sum();
        if used != stored {
            return Err(format!("{organisation}: {used} bytes are counted, {stored} are stored"));
        }
    }
    Ok(())
}

/// Requires that each of these contents, blobs and manifests, has one object, and that there are no
/// others.
async fn only_these(world: &World, wanted: &BTreeMap<Digest, u64>) -> Told<()> {
    let listed = world.blobs.list("", None, 10_000).await.map_err(told("listing objects"))?;
    let mut missing = wanted.clone();
    for object in listed {
        if object.key.as_str().starts_with("epoch/") {
            continue;
        }
        let of = missing.keys().find(|digest| object.key.as_str().contains(&digest.hex())).copied();
        match of.and_then(|of| missing.remove(&of)) {
            Some(size) if size == object.size => {}
            Some(size) => return Err(format!("{} has {} of {size}", object.key, object.size)),
            None => return Err(format!("{} is left behind", object.key)),
        }
    }
    match missing.first_key_value() {
        Some((digest, _)) => Err(format!("{digest} has no object")),
        None => Ok(()),
    }
}

/// Requires that every invariant holds, both ways between rows and objects, all bytes read.
async fn fsck(world: &World) -> Told<()> {
    let checked = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await;
    let report = checked.map_err(told("checking"))?;
    match report.findings.first() {
        Some(finding) => Err(format!("fsck finds {} wrong: {finding}", report.wrong)),
        None => Ok(()),
    }
}

async fn collect(world: &World) -> Told<()> {
    let collected = world.engine.collect(&CollectOptions::everything(), &|_| {}).await;
    let report = collected.map_err(told("collecting"))?;
    let failed = report.failed + report.unreadable + report.foreign.count;
    if report.complete && !report.refused && failed == 0 {
        Ok(())
    } else {
        Err(format!("a collection went wrong: {report:?}"))
    }
}
