//! Pushing a manifest: everything it names must be here, and stays (I2).

use std::collections::HashMap;

use bytes::Bytes;

use crate::access::Action;
use crate::audit::EventKind;
use crate::change::{Attempt, Change, Seen, retry};
use crate::copies;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Missing};
use crate::graph::depth::Place;
use crate::graph::link::renumber;
use crate::graph::moments::is_stale;
use crate::graph::tags::{immutable, is_beyond};
use crate::graph::{Repository, Scope, keep_content};
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::manifest::{ChildKind, Manifest};
use crate::name::Tag;
use crate::records::{
    BlobRecord, BlobState, Body, ChildRecord, LinkRecord, LinkState, ManifestPlace, ManifestRecord,
    MomentRecord, ReferrerRecord, TagRecord,
};
use crate::seam::Timestamp;
use crate::upload::Placed;

/// The most tags one push may set.
const MAX_TAGS: usize = 100;

/// What is pushed.
#[derive(Debug, Clone)]
pub struct ManifestPush {
    /// The manifest, exactly as it is to be served.
    pub bytes: Bytes,
    /// The media type it was announced with (`Content-Type`).
    pub content_type: Option<String>,
    /// The digest it was announced with; sha256 of the bytes where absent.
    pub digest: Option<Digest>,
    /// The tags to point at it.
    pub tags: Vec<Tag>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest.
    pub digest: Digest,
    /// What it refers to: the referrers list of that digest shows it now.
    pub subject: Option<Digest>,
}

/// What the tags of a push must point at until then.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// Whatever.
    Any,
    /// This, or nothing.
    Is(Option<Digest>),
    /// The same; and what is pushed names all that it names.
    Less(Option<Digest>),
}

/// What all attempts at one push share.
struct Push<'a> {
    asked: &'a ManifestPush,
    manifest: Manifest,
    digest: Digest,
    /// Where the bytes were stored, for a manifest too large for the metadata.
    placed: Option<Placed>,
    expected: Before,
}

impl Push<'_> {
    fn record(&self, size: u64, children: Vec<ChildRecord>, now: Timestamp) -> ManifestRecord {
        let manifest = &self.manifest;
        ManifestRecord {
            digest: self.digest,
            media_type: manifest.media_type.as_str().into(),
            kind: manifest.kind,
            size,
            artifact_type: manifest.artifact_type.clone(),
            subject: manifest.subject.as_ref().map(|subject| subject.digest),
            children,
            pushed_at: now,
            body: match self.placed {
                Some(_) => Body::Stored,
                None => Body::Inline(self.asked.bytes.to_vec()),
            },
        }
    }
}

impl Repository {
    /// Pushes a manifest and points tags at it: all of it in one commit, durable when this
    /// returns. Needs [`Action::Push`]. Pushing the same again is harmless.
    ///
    /// Fails with [`Error::TagImmutable`] where a tag that would move is immutable, with
    /// [`Error::Manifest`] where it breaks a rule of the image specification, with
    /// [`Error::References`] where it names what this repository does not have (all at once).
    /// Dropping the future leaves nothing, or all of it.
    pub async fn push_manifest(&self, push: &ManifestPush) -> Result<PushedManifest, Error> {
        self.push_where(push, Before::Any).await
    }

    /// As [`Self::push_manifest`], where the tags point at `before` until then (or at nothing, where
    /// it is none); else [`Error::TagMoved`], and nothing is changed. `before` is removed behind it,
    /// where nothing tags or names it any more: whoever may push may put one state of a tag in place
    /// of another, and what only was that state goes with it. Needs [`Action::Push`].
    ///
    /// The removal is a commit of its own: where the call fails or the future is dropped between the
    /// two, `before` stays without a tag.
    pub async fn push_manifest_over(
        &self,
        push: &ManifestPush,
        before: Option<Digest>,
    ) -> Result<PushedManifest, Error> {
        let pushed = self.push_where(push, Before::Is(before)).await?;
        self.remove_before(before, &pushed).await?;
        Ok(pushed)
    }

    /// As [`Self::push_manifest_over`], for a tag that is a list of its frontend's own and only gets longer:
    /// an immutable tag takes it too, where this is an index of the same kind that names all that the index
    /// `before` does.
    pub async fn push_manifest_beyond(
        &self,
        push: &ManifestPush,
        before: Option<Digest>,
    ) -> Result<PushedManifest, Error> {
        let pushed = self.push_where(push, Before::Less(before)).await?;
        self.remove_before(before, &pushed).await?;
        Ok(pushed)
    }

    async fn remove_before(
        &self,
        before: Option<Digest>,
        pushed: &PushedManifest,
    ) -> Result<(), Error> {
        let Some(before) = before.filter(|before| *before != pushed.digest) else { return Ok(()) };
        match self.delete_one(&before, true).await {
            Ok(_) | Err(Error::ManifestUnknown { .. } | Error::InUse { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Pushes, where the tags point at what is expected, if anything is.
    async fn push_where(
        &self,
        push: &ManifestPush,
        expected: Before,
    ) -> Result<PushedManifest, Error> {
        self.demand(Action::Push)?;
        if push.tags.len() > MAX_TAGS {
            return Err(Error::Invalid(format!(
                "{} tags were asked for; one push sets at most {MAX_TAGS}",
                push.tags.len()
            )));
        }
        self.core.require_room().await?;
        let limits = &self.core.settings.manifest;
        let manifest = Manifest::parse(&push.bytes, push.content_type.as_deref(), limits)?;
        let algorithm = push.digest.map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let found = Digest::of(algorithm, &push.bytes);
        if let Some(wanted) = push.digest.filter(|wanted| *wanted != found) {
            return Err(Error::DigestMismatch { wanted, found });
        }
        let placed = if push.bytes.len() > self.core.settings.inline_manifest_bytes {
            Some(self.place(&found, push.bytes.clone()).await?)
        } else {
            None
        };
        let push = Push { asked: push, manifest, digest: found, placed, expected };
        let result = retry!("a manifest", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            self.try_push(&scope, &push).await
        });
        if let Some(placed) = push.placed {
            // The bytes were there already, or the push failed: this copy is nobody's.
            placed.discard_unused().await;
        }
        result
    }

    async fn try_push(&self, scope: &Scope, push: &Push<'_>) -> Result<PushedManifest, Attempt> {
        let now = self.core.now().await?;
        let mut change = Change::new(&self.core);
        let id = scope.write(self, &mut change, now);
        let rows = self.rows(scope, id, &push.digest).await?;
        let children = self.children(scope, id, push, &mut change).await?;

        let place = match push.placed {
            None => ManifestPlace::Record,
            Some(_) => ManifestPlace::Blob,
        };
        let size = u64::try_from(push.asked.bytes.len()).unwrap_or(u64::MAX);
        let (number, known) = match &rows.link.value {
            Some(link) if link.manifest.is_some() => (link.number, true),
            Some(link) => (self.own_number(scope, id, push, link, now, &mut change).await?, false),
            None => (self.core.next_number(now), false),
        };
        if known {
            // Pushed before: only the tags may be new. The link is leaned on, so that nobody
            // deletes the manifest under the new tags; a condemned one is wanted again.
            match rows.link.value.as_ref().map(|link| (link, link.state)) {
                Some((link, LinkState::Condemned { .. })) => {
                    let live = LinkRecord { state: LinkState::Live, ..link.clone() };
                    change.replace(&rows.link, &live);
                }
                _ => change.lean(&rows.link),
            }
            self.note_repush(scope, id, number, now, &mut change).await?;
            if place == ManifestPlace::Blob {
                hold_body(scope, &rows.blob, push, &mut change, now)?;
            }
        } else {
            if place == ManifestPlace::Blob {
                hold_body(scope, &rows.blob, push, &mut change, now)?;
            } else {
                let delta = i64::try_from(size).unwrap_or(i64::MAX);
                change.use_bytes(scope.organisation, delta, scope.quota_bytes);
            }
            let link = match &rows.link.value {
                Some(link) => {
                    let (manifest, state) = (Some(place), LinkState::Live);
                    LinkRecord { number, manifest, state, ..link.clone() }
                }
                None => LinkRecord {
                    number,
                    size,
                    blob: false,
                    manifest: Some(place),
                    state: LinkState::Live,
                    leased_until: Timestamp::default(),
                },
            };
            change.replace(&rows.link, &link);
            self.check_depth(scope, id, push, &children).await?;
            let record = push.record(size, children, now);
            change.absent(keys::manifest(scope.organisation, id, number));
            let organisation = scope.organisation;
            put_manifest(&mut change, organisation, id, number, &push.manifest, &record);
        }
        let new_and_small = !known && place == ManifestPlace::Record;
        self.write_tags(scope, id, push, number, now, &mut change).await?;
        change.touches_reference(id, &push.digest.to_string());
        let subject = push.manifest.subject.as_ref().map(|subject| subject.digest);
        change.event(self.event(
            now,
            EventKind::ManifestPushed {
                repository: scope.reference(id, &self.path),
                digest: push.digest,
                media_type: push.manifest.media_type.clone(),
                tags: push.asked.tags.iter().map(Tag::to_string).collect(),
                subject,
            },
        ));
        change.commit().await?;
        if new_and_small {
            let place = copies::Place { repository: id, number };
            self.core.copies.note(scope.organisation, push.digest, place);
        }
        Ok(PushedManifest { digest: push.digest, subject })
    }

    /// The number of what is here as a blob and becomes a manifest: its link's, unless another manifest
    /// has the same.
    async fn own_number(
        &self,
        scope: &Scope,
        id: RepositoryId,
        push: &Push<'_>,
        link: &LinkRecord,
        now: Timestamp,
        change: &mut Change<'_>,
    ) -> Result<Number, Error> {
        let (core, organisation) = (&*self.core, scope.organisation);
        if core.manifest_record(organisation, id, link.number).await?.is_none() {
            return Ok(link.number);
        }
        let new = core.next_number(now);
        renumber(change, core, organisation, id, &push.digest, (link.number, new)).await?;
        Ok(new)
    }

    /// Notes that a manifest was pushed again: an index that is about to name it may come next.
    async fn note_repush(
        &self,
        scope: &Scope,
        id: RepositoryId,
        number: Number,
        now: Timestamp,
        change: &mut Change<'_>,
    ) -> Result<(), Error> {
        let key = keys::repushed(scope.organisation, id, number);
        let seen: Seen<MomentRecord> = self.core.read(key).await?;
        if is_stale(seen.value.as_ref(), now) {
            // Whatever it says meanwhile: nobody contends for it.
            change.put(seen.key, &MomentRecord { at: now });
        }
        Ok(())
    }

    /// Fails where the manifest makes indexes nest, or subjects chain, further than is taken.
    async fn check_depth(
        &self,
        scope: &Scope,
        id: RepositoryId,
        push: &Push<'_>,
        children: &[ChildRecord],
    ) -> Result<(), Error> {
        let (core, organisation, limits) =
            (&*self.core, scope.organisation, &self.core.settings.manifest);
        let place = Place { core, organisation, repository: id, digest: &push.digest };
        if push.manifest.kind.is_index() {
            place.check_index(children, limits).await?;
        }
        match &push.manifest.subject {
            Some(subject) => place.check_subject(&subject.digest, limits).await,
            None => Ok(()),
        }
    }

    /// Makes `change` lean on the link of everything the manifest names.
    async fn children(
        &self,
        scope: &Scope,
        id: RepositoryId,
        push: &Push<'_>,
        change: &mut Change<'_>,
    ) -> Result<Vec<ChildRecord>, Attempt> {
        let named: Vec<_> = push.manifest.children().filter(|child| !child.foreign).collect();
        let mut digests = Vec::with_capacity(named.len());
        let mut place: HashMap<Digest, usize> = HashMap::with_capacity(named.len());
        for child in &named {
            place.entry(child.digest).or_insert_with(|| {
                digests.push(child.digest);
                digests.len() - 1
            });
        }
        let organisation = scope.organisation;
        let link_keys = digests.iter().map(|digest| keys::link(organisation, digest, id));
        let blob_keys = digests.iter().map(|digest| keys::blob(organisation, digest));
        let links: Vec<Seen<LinkRecord>> = self.core.read_many(link_keys.collect()).await?;
        let blobs: Vec<Seen<BlobRecord>> = self.core.read_many(blob_keys.collect()).await?;

        let mut missing = Vec::new();
        let mut children: Vec<Option<ChildRecord>> = vec![None; digests.len()];
        for child in named {
            let Some(index) = place.get(&child.digest).copied() else { continue };
            let (Some(link), Some(blob), Some(record)) =
                (links.get(index), blobs.get(index), children.get_mut(index))
            else {
                continue;
            };
            let rotten = matches!(
                blob.value.as_ref().map(|blob| blob.state),
                Some(BlobState::Quarantined { .. })
            );
            let reason = match &link.value {
                _ if rotten => "it is not here".to_owned(),
                None => "it is not here".to_owned(),
                Some(link) if link.size != child.size => {
                    format!("it has {} bytes, not {}", link.size, child.size)
                }
                Some(link) if child.kind == ChildKind::Manifest && link.manifest.is_none() => {
                    "it is here as a blob, not as a manifest".to_owned()
                }
                Some(link) if child.kind == ChildKind::Blob && !link.blob => {
                    "it is here as a manifest, not as a blob".to_owned()
                }
                Some(found) => {
                    if record.is_none() {
                        if found.state == LinkState::Live {
                            change.lean(link);
                        } else {
                            let live = LinkRecord { state: LinkState::Live, ..found.clone() };
                            change.replace(link, &live);
                        }
                        let number = Some(found.number);
                        *record = Some(ChildRecord { digest: child.digest, number });
                    }
                    continue;
                }
            };
            if scope.sparse_indexes && link.value.is_none() {
                change.lean(link);
                *record = Some(ChildRecord { digest: child.digest, number: None });
            } else {
                missing.push(Missing { path: child.path, digest: child.digest, reason });
            }
        }
        if missing.is_empty() {
            Ok(children.into_iter().flatten().collect())
        } else {
            Err(Error::References { missing }.into())
        }
    }

    async fn write_tags(
        &self,
        scope: &Scope,
        id: RepositoryId,
        push: &Push<'_>,
        number: Number,
        now: Timestamp,
        change: &mut Change<'_>,
    ) -> Result<(), Attempt> {
        let organisation = scope.organisation;
        for tag in &push.asked.tags {
            let seen: Seen<TagRecord> =
                self.core.read(keys::tag(organisation, id, tag.as_str())).await?;
            let found = seen.value.as_ref().map(|old| old.digest);
            if let Before::Is(expected) | Before::Less(expected) = push.expected
                && expected != found
            {
                return Err(Error::TagMoved { tag: tag.to_string(), found }.into());
            }
            if let Some(old) = seen.value.as_ref().filter(|old| old.number != number) {
                // The settings and the tag are among what the commit requires.
                if let Some(pattern) = scope.immutable(tag) {
                    let before = match push.expected {
                        Before::Less(_) => {
                            self.core.manifest_record(organisation, id, old.number).await?
                        }
                        Before::Any | Before::Is(_) => None,
                    };
                    if !before.is_some_and(|before| is_beyond(&push.manifest, &before)) {
                        return Err(immutable(tag, pattern).into());
                    }
                }
                change.delete(keys::tag_of(organisation, id, old.number, tag.as_str()));
            }
            let tag_of = keys::tag_of(organisation, id, number, tag.as_str());
            change.put_raw(tag_of, Bytes::new());
            change.replace(&seen, &TagRecord { digest: push.digest, number, pushed_at: now });
            change.touches_reference(id, tag.as_str());
        }
        Ok(())
    }
}

/// Makes `change` hold the stored bytes of a large manifest: those the organisation has, or
/// those just placed.
fn hold_body(
    scope: &Scope,
    blob: &Seen<BlobRecord>,
    push: &Push<'_>,
    change: &mut Change<'_>,
    now: Timestamp,
) -> Result<(), Attempt> {
    if keep_content(change, blob) {
        return Ok(());
    }
    let Some(placed) = &push.placed else {
        return Err(Error::Corrupted("a large manifest was not stored".to_owned()).into());
    };
    placed.publish(scope, blob, change, now);
    Ok(())
}

/// Makes `change` hold a new manifest's record and all that hangs on it; `record` is what
/// `manifest` says.
pub(crate) fn put_manifest(
    change: &mut Change<'_>,
    organisation: OrganisationId,
    id: RepositoryId,
    number: Number,
    manifest: &Manifest,
    record: &ManifestRecord,
) {
    for child in &record.children {
        let key = match child.number {
            Some(child) => keys::edge(organisation, id, child, number),
            None => keys::wanted_by(organisation, id, &child.digest, number),
        };
        change.put_raw(key, Bytes::new());
    }
    if let Some(subject) = &record.subject {
        let artifact_type = record.artifact_type.as_deref().unwrap_or_default();
        let key = keys::referrer(organisation, id, subject, artifact_type, number);
        let entry = ReferrerRecord {
            digest: record.digest,
            media_type: manifest.media_type.clone(),
            size: record.size,
            artifact_type: record.artifact_type.clone(),
            annotations: manifest.annotations.clone(),
        };
        change.put(key, &entry);
    }
    change.put(keys::manifest(organisation, id, number), record);
}
