//! What a repository has, told for people: manifests with their tags, tags with their manifests.
//!
//! A page costs what it shows. A large manifest's body is not read for it.

use crate::access::Action;
use crate::change::Seen;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page, Repository};
use crate::id::{Number, RepositoryId};
use crate::keys;
use crate::manifest::{Manifest, ManifestKind};
use crate::meta::{Key, prefix_range, range_behind};
use crate::name::{Reference, Tag};
use crate::records::{Body, LinkRecord, ManifestRecord, MomentRecord, Record, TagRecord};
use crate::seam::Timestamp;

/// The most manifests of one page: each row may have 64 KiB.
const MANIFESTS_PER_PAGE: usize = 100;
/// The most tags that are told of one manifest.
const TAGS_TOLD: usize = 100;

/// A manifest of a repository, as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Which of the kinds it is.
    pub kind: ManifestKind,
    /// The artifact type, as the referrers API shows it.
    pub artifact_type: Option<String>,
    /// The bytes of the manifest itself.
    pub size: u64,
    /// The bytes of all that it names (config and layers, or an index's entries themselves), each
    /// once; not known of a manifest that is too large for the metadata.
    pub content_bytes: Option<u64>,
    /// What the entries of an index run on: `os/architecture[/variant]`, each once.
    pub platforms: Vec<String>,
    /// The tags that point at it, in their order; at most 100.
    pub tags: Vec<Tag>,
    /// Whether more tags point at it than are told.
    pub more_tags: bool,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// When it was pushed first.
    pub pushed_at: Timestamp,
    /// When it was pulled last, to the hour; never, or before that was noted, where absent.
    pub pulled_at: Option<Timestamp>,
}

/// A tag of a repository, as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagInfo {
    /// Its name.
    pub tag: Tag,
    /// What it points at.
    pub digest: Digest,
    /// The media type of that.
    pub media_type: String,
    /// The bytes of that manifest itself.
    pub size: u64,
    /// When the tag was set, to this manifest or again to it.
    pub set_at: Timestamp,
    /// When the manifest was pushed first.
    pub pushed_at: Timestamp,
    /// When the manifest was pulled last, by whatever name, to the hour.
    pub pulled_at: Option<Timestamp>,
    /// Whether the registry's settings keep it from moving and going.
    pub immutable: bool,
}

impl Repository {
    /// The manifests of the repository in the order of their first push, at most `limit` and at most
    /// 100, from [`Page::next`] of the page before. Needs [`Action::List`].
    pub async fn manifests(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ManifestInfo>, Error> {
        self.demand(Action::List)?;
        let id = self.id()?;
        let all = keys::manifests(self.scope.organisation, id);
        let mut range = prefix_range(&all);
        if let Some(after) = after {
            let number = u64::from_str_radix(after, 16).ok().and_then(|n| n.checked_add(1));
            let number = number.ok_or_else(|| {
                Error::Invalid(format!("{after:?} is no cursor of this list of manifests"))
            })?;
            range.start = keys::manifest(self.scope.organisation, id, Number(number));
        }
        let limit = limit.clamp(1, MANIFESTS_PER_PAGE);
        let rows = self.core.meta.scan(range, limit + 1).await?;
        let more = rows.len() > limit;
        let (mut items, mut last) = (Vec::new(), None);
        for (key, value) in rows.iter().take(limit) {
            let number = keys::last_number(key).map(Number);
            let number =
                number.ok_or_else(|| Error::Corrupted("a manifest's key is short".to_owned()))?;
            items.push(self.info(id, number, ManifestRecord::decode(value)?).await?);
            last = Some(format!("{:x}", number.0));
        }
        Ok(Page { items, next: last.filter(|_| more) })
    }

    /// One manifest, as [`Self::manifests`] tells of it; no pull. Needs [`Action::List`].
    pub async fn manifest_info(&self, reference: &Reference) -> Result<ManifestInfo, Error> {
        self.demand(Action::List)?;
        let (id, organisation) = (self.id()?, self.scope.organisation);
        let unknown = || Error::ManifestUnknown { reference: reference.to_string() };
        let number = match reference {
            Reference::Tag(tag) => {
                let key = keys::tag(organisation, id, tag.as_str());
                let seen: Seen<TagRecord> = self.core.read(key).await?;
                seen.value.ok_or_else(unknown)?.number
            }
            Reference::Digest(digest) => {
                let key = keys::link(organisation, digest, id);
                let seen: Seen<LinkRecord> = self.core.read(key).await?;
                let link = seen.value.filter(|link| link.manifest.is_some());
                link.ok_or_else(unknown)?.number
            }
        };
        let record = self.core.manifest_record(organisation, id, number).await?;
        self.info(id, number, record.ok_or_else(unknown)?).await
    }

    async fn info(
        &self,
        id: RepositoryId,
        number: Number,
        record: ManifestRecord,
    ) -> Result<ManifestInfo, Error> {
        let organisation = self.scope.organisation;
        let all = keys::tags_of(organisation, id, number);
        let mut tags = Vec::new();
        let rows = self.core.meta.scan(prefix_range(&all), TAGS_TOLD + 1).await?;
        for (key, _) in rows.iter().take(TAGS_TOLD) {
            tags.push(tag_in(key, all.len())?);
        }
        let pulled: Seen<MomentRecord> =
            self.core.read(keys::pulled(organisation, id, number)).await?;
        let (content_bytes, platforms) = match &record.body {
            Body::Inline(bytes) => self.contents(bytes, &record.media_type),
            Body::Stored => (None, Vec::new()),
        };
        Ok(ManifestInfo {
            digest: record.digest,
            media_type: record.media_type.to_string(),
            kind: record.kind,
            artifact_type: record.artifact_type,
            size: record.size,
            content_bytes,
            platforms,
            tags,
            more_tags: rows.len() > TAGS_TOLD,
            subject: record.subject,
            pushed_at: record.pushed_at,
            pulled_at: pulled.value.map(|pulled| pulled.at),
        })
    }

    /// How many bytes a manifest names, and what its entries run on.
    fn contents(&self, bytes: &[u8], media_type: &str) -> (Option<u64>, Vec<String>) {
        let limits = &self.core.settings.manifest;
        let Ok(manifest) = Manifest::parse(bytes, Some(media_type), limits) else {
            return (None, Vec::new());
        };
        let sizes: std::collections::BTreeMap<_, _> =
            manifest.children().map(|child| (child.digest, child.size)).collect();
        let sum = sizes.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
        let mut platforms: Vec<String> = Vec::new();
        for platform in manifest.manifests.iter().filter_map(|entry| entry.platform.as_ref()) {
            let variant = platform.variant.as_ref().map(|variant| format!("/{variant}"));
            let variant = variant.unwrap_or_default();
            let text = format!("{}/{}{variant}", platform.os, platform.architecture);
            if !platforms.contains(&text) && platforms.len() < TAGS_TOLD {
                platforms.push(text);
            }
        }
        (Some(sum), platforms)
    }

    /// The repository's tags with what they point at, as [`Self::tags`] pages them. Needs
    /// [`Action::List`].
    pub async fn tag_infos(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<TagInfo>, Error> {
        self.demand(Action::List)?;
        let id = self.id()?;
        let all = keys::tags(self.scope.organisation, id);
        let Some(range) = range_behind(&all, after) else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let limit = limit.clamp(1, MAX_PAGE.min(MANIFESTS_PER_PAGE));
        let rows = self.core.meta.scan(range, limit + 1).await?;
        let more = rows.len() > limit;
        let mut tags = Vec::new();
        for (key, value) in rows.iter().take(limit) {
            tags.push((tag_in(key, all.len())?, TagRecord::decode(value)?));
        }
        let next = tags.last().filter(|_| more).map(|(tag, _)| tag.to_string());
        Ok(Page { items: self.tag_facts(id, tags).await?, next })
    }

    /// One tag, as [`Self::tag_infos`] tells of it. Needs [`Action::List`].
    pub async fn tag_info(&self, tag: &Tag) -> Result<TagInfo, Error> {
        self.demand(Action::List)?;
        let id = self.id()?;
        let unknown = || Error::ManifestUnknown { reference: tag.to_string() };
        let key = keys::tag(self.scope.organisation, id, tag.as_str());
        let seen: Seen<TagRecord> = self.core.read(key).await?;
        let record = seen.value.ok_or_else(unknown)?;
        let found = self.tag_facts(id, vec![(tag.clone(), record)]).await?;
        found.into_iter().next().ok_or_else(unknown)
    }

    /// What tags point at; without those whose manifest went meanwhile.
    async fn tag_facts(
        &self,
        id: RepositoryId,
        tags: Vec<(Tag, TagRecord)>,
    ) -> Result<Vec<TagInfo>, Error> {
        let organisation = self.scope.organisation;
        let pulled = tags.iter().map(|(_, tag)| keys::pulled(organisation, id, tag.number));
        let pulled: Vec<Seen<MomentRecord>> = self.core.read_many(pulled.collect()).await?;
        let keys = tags.iter().map(|(_, tag)| keys::manifest(organisation, id, tag.number));
        let manifests: Vec<Seen<ManifestRecord>> = self.core.read_many(keys.collect()).await?;
        let registry = self.scope.registry_row.value.as_ref();
        let mut items = Vec::new();
        for (((tag, record), pulled), manifest) in tags.into_iter().zip(pulled).zip(manifests) {
            let Some(manifest) = manifest.value else { continue };
            let immutable = registry.and_then(|registry| registry.immutable(tag.as_str()));
            items.push(TagInfo {
                digest: record.digest,
                media_type: manifest.media_type.to_string(),
                size: manifest.size,
                set_at: record.pushed_at,
                pushed_at: manifest.pushed_at,
                pulled_at: pulled.value.map(|pulled| pulled.at),
                immutable: immutable.is_some(),
                tag,
            });
        }
        Ok(items)
    }
}

/// The tag at the end of a key, from `at` on.
pub(crate) fn tag_in(key: &Key, at: usize) -> Result<Tag, Error> {
    let tag = key.get(at..).and_then(|tag| std::str::from_utf8(tag).ok());
    let tag = tag.and_then(|tag| tag.parse().ok());
    tag.ok_or_else(|| Error::Corrupted("a tag's key is no tag".to_owned()))
}
