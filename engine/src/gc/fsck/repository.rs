//! The graph of one repository: manifests, what they name, tags and referrers, both ways.

use std::collections::HashMap;

use bytes::Bytes;

use super::tenants::text;
use super::{Check, Domain, Invariant, number_at};
use crate::content::ObjectEntry;
use crate::copies::read_small;
use crate::digest::Digest;
use crate::error::Error;
use crate::id::{Number, OrganisationId, RepositoryId};
use crate::keys;
use crate::manifest::{Child, ChildKind, Manifest};
use crate::meta::Row;
use crate::records::{
    BlobRecord, Body, LinkRecord, ManifestPlace, ManifestRecord, MomentRecord, NameRecord,
    ReferrerRecord, RepositoryRecord, TagRecord,
};

/// Where a repository's kind of row stands in its key, and what comes behind.
const KIND: usize = 18;
const REST: usize = KIND + 1;

/// The repository a row is of.
#[derive(Clone, Copy)]
struct Home {
    organisation: OrganisationId,
    repository: RepositoryId,
}

impl Check<'_> {
    pub(super) async fn repository_rows(
        &mut self,
        domain: &mut Domain,
        row: &Row,
    ) -> Result<(), Error> {
        let (key, _) = row;
        let (Some(repository), Some(kind)) = (number_at(key, 10), key.get(KIND)) else {
            self.find(Invariant::I6, Some(domain.id), "a repository's key is too short");
            return Ok(());
        };
        let home = Home { organisation: domain.id, repository: RepositoryId(repository) };
        if domain.doomed.contains(&home.repository) {
            // Its manifests count until their rows are gone.
            if *kind == b'm'
                && let Some(manifest) = self.decode::<ManifestRecord>(Invariant::I1, domain.id, row)
                && matches!(manifest.body, Body::Inline(_))
            {
                domain.sum += i128::from(manifest.size);
            }
            return Ok(());
        }
        match kind {
            b'a' => self.repository_record(home, row).await,
            b'e' => self.edge(home, row).await,
            b'm' => self.manifest(domain, home, row).await,
            b'p' | b'q' => self.moment(home, row).await,
            b's' => self.referrer(home, row).await,
            b't' => self.tag(domain, home, row).await,
            b'v' => self.tag_of(home, row).await,
            b'w' => self.wanted(home, row).await,
            _ => {
                let what = format!("row {} is of no known kind", const_hex::encode(key));
                self.find(Invariant::I6, Some(domain.id), what);
                Ok(())
            }
        }
    }

    fn wrong(&mut self, invariant: Invariant, home: Home, what: &str) {
        let what = format!("repository {}: {what}", home.repository);
        self.find(invariant, Some(home.organisation), what);
    }

    async fn manifest_at(
        &self,
        home: Home,
        number: Option<u64>,
    ) -> Result<Option<ManifestRecord>, Error> {
        match number {
            Some(number) => {
                let number = Number(number);
                self.get(&keys::manifest(home.organisation, home.repository, number)).await
            }
            None => Ok(None),
        }
    }

    async fn repository_record(&mut self, home: Home, row: &Row) -> Result<(), Error> {
        self.report.counts.repositories += 1;
        let record = self.decode::<RepositoryRecord>(Invariant::I4, home.organisation, row);
        let Some(record) = record else { return Ok(()) };
        let key = keys::repository_name(home.organisation, record.registry, &record.name);
        if self.get(&key).await? != Some(NameRecord::Live(home.repository.0)) {
            self.wrong(Invariant::I4, home, &format!("its name {} leads elsewhere", record.name));
        }
        Ok(())
    }

    async fn edge(&mut self, home: Home, row: &Row) -> Result<(), Error> {
        let child = number_at(&row.0, REST).map(Number);
        let parent = self.manifest_at(home, number_at(&row.0, REST + 8)).await?;
        let named = parent.is_some_and(|parent| {
            child.is_some() && parent.children.iter().any(|named| named.number == child)
        });
        if !named {
            let what = format!("edge {} is of no manifest", const_hex::encode(&row.0));
            self.wrong(Invariant::I6, home, &what);
        }
        Ok(())
    }

    async fn moment(&mut self, home: Home, row: &Row) -> Result<(), Error> {
        self.decode::<MomentRecord>(Invariant::I6, home.organisation, row);
        if self.manifest_at(home, number_at(&row.0, REST)).await?.is_none() {
            let what = format!("row {} is about no manifest", const_hex::encode(&row.0));
            self.wrong(Invariant::I6, home, &what);
        }
        Ok(())
    }

    async fn wanted(&mut self, home: Home, row: &Row) -> Result<(), Error> {
        let digest = digest_of(&row.0);
        let parent = self.manifest_at(home, keys::last_number(&row.0)).await?;
        let named = parent.is_some_and(|parent| {
            parent.children.iter().any(|c| c.number.is_none() && Some(c.digest) == digest)
        });
        if !named {
            let what = format!("wanted row {} is of no manifest", const_hex::encode(&row.0));
            self.wrong(Invariant::I6, home, &what);
        }
        Ok(())
    }

    async fn manifest(&mut self, domain: &mut Domain, home: Home, row: &Row) -> Result<(), Error> {
        self.report.counts.manifests += 1;
        let Some(record) = self.decode::<ManifestRecord>(Invariant::I1, domain.id, row) else {
            return Ok(());
        };
        let Some(number) = keys::last_number(&row.0).map(Number) else { return Ok(()) };
        let digest = record.digest;
        domain.told.manifest(home.repository, &digest, record.pushed_at);
        let mut named: HashMap<Digest, Child> = HashMap::new();
        let place = match &record.body {
            Body::Inline(bytes) => {
                domain.sum += i128::from(record.size);
                self.report.counts.inline_manifests.add(record.size);
                if !self.is_copied(domain.id, &digest).await? {
                    self.report.counts.uncopied_manifests.add(record.size);
                }
                if Digest::of(digest.algorithm(), bytes) != digest {
                    let what = format!("the bytes of manifest {digest} are not its own");
                    self.wrong(Invariant::I1, home, &what);
                }
                named = self.named(bytes, &record);
                ManifestPlace::Record
            }
            Body::Stored => {
                if self.deep
                    && let Some(bytes) = self.stored(home, &record).await?
                {
                    named = self.named(&bytes, &record);
                }
                ManifestPlace::Blob
            }
        };
        let key = keys::link(domain.id, &digest, home.repository);
        let link: Option<LinkRecord> = self.get(&key).await?;
        if link.is_none_or(|link| link.number != number || link.manifest != Some(place)) {
            self.wrong(Invariant::I2, home, &format!("manifest {digest} is not linked"));
        }
        for child in &record.children {
            let problem = match child.number {
                Some(number) => {
                    let named = named.get(&child.digest);
                    self.child(home, &child.digest, number, named).await?
                }
                None => None,
            };
            if let Some(problem) = problem {
                let what = format!("{} named by manifest {digest} {problem}", child.digest);
                self.wrong(Invariant::I2, home, &what);
            }
            let edge = match child.number {
                Some(child) => keys::edge(domain.id, home.repository, child, number),
                None => keys::wanted_by(domain.id, home.repository, &child.digest, number),
            };
            if !self.has(&edge).await? {
                let what = format!("{} is not held by manifest {digest}", child.digest);
                self.wrong(Invariant::I2, home, &what);
            }
        }
        if let Some(subject) = &record.subject {
            let kind = record.artifact_type.as_deref().unwrap_or_default();
            let key = keys::referrer(domain.id, home.repository, subject, kind, number);
            if !self.has(&key).await? {
                let what = format!("{digest} is not among the referrers of {subject}");
                self.wrong(Invariant::I2, home, &what);
            }
        }
        Ok(())
    }

    /// What a manifest's bytes name, as far as they can be read.
    fn named(&self, bytes: &[u8], record: &ManifestRecord) -> HashMap<Digest, Child> {
        let limits = &self.core.settings.manifest;
        let Ok(manifest) = Manifest::parse(bytes, Some(&record.media_type), limits) else {
            return HashMap::new();
        };
        let own = manifest.children().filter(|child| !child.foreign);
        own.map(|child| (child.digest, child)).collect()
    }

    /// The bytes of a large manifest. What is wrong with its object is found at its content.
    async fn stored(&self, home: Home, record: &ManifestRecord) -> Result<Option<Bytes>, Error> {
        let most = u64::try_from(self.core.settings.manifest.max_bytes).unwrap_or(u64::MAX);
        let blob: Option<BlobRecord> =
            self.get(&keys::blob(home.organisation, &record.digest)).await?;
        let Some(blob) = blob.filter(|blob| blob.size <= most) else { return Ok(None) };
        let object = blob.object(home.organisation, &record.digest);
        let entry = ObjectEntry::object(object, blob.size);
        let bytes = read_small(self.core, &entry).await;
        let algorithm = record.digest.algorithm();
        Ok(bytes.filter(|bytes| Digest::of(algorithm, bytes) == record.digest))
    }

    /// What is wrong with something that a manifest names. Whether content that its link needs is
    /// there is asked at the link.
    async fn child(
        &self,
        home: Home,
        digest: &Digest,
        number: Number,
        named: Option<&Child>,
    ) -> Result<Option<String>, Error> {
        let key = keys::link(home.organisation, digest, home.repository);
        let Some(link) = self.get::<LinkRecord>(&key).await? else {
            return Ok(Some("is not linked".to_owned()));
        };
        if link.number != number {
            return Ok(Some("is linked anew, so that nothing holds it".to_owned()));
        }
        Ok(named.and_then(|named| match named.kind {
            _ if named.size != link.size => {
                Some(format!("has {} bytes, not {}", link.size, named.size))
            }
            ChildKind::Manifest if link.manifest.is_none() => {
                Some("is linked as a blob, not as a manifest".to_owned())
            }
            ChildKind::Blob if !link.blob => {
                Some("is linked as a manifest, not as a blob".to_owned())
            }
            _ => None,
        }))
    }

    async fn referrer(&mut self, home: Home, row: &Row) -> Result<(), Error> {
        let record = self.decode::<ReferrerRecord>(Invariant::I2, home.organisation, row);
        let Some(record) = record else { return Ok(()) };
        let manifest = self.manifest_at(home, keys::last_number(&row.0)).await?;
        let same = manifest.is_some_and(|manifest| {
            manifest.digest == record.digest && manifest.subject == digest_of(&row.0)
        });
        if !same {
            let what = format!("referrer {} is not here, or has another subject", record.digest);
            self.wrong(Invariant::I2, home, &what);
        }
        Ok(())
    }

    async fn tag(&mut self, domain: &mut Domain, home: Home, row: &Row) -> Result<(), Error> {
        self.report.counts.tags += 1;
        let record = self.decode::<TagRecord>(Invariant::I3, home.organisation, row);
        let Some(record) = record else { return Ok(()) };
        let tag = text(row.0.get(REST..));
        domain.told.tag(home.repository, &record.digest, &tag, record.pushed_at);
        let manifest = self.manifest_at(home, Some(record.number.0)).await?;
        if manifest.is_none_or(|manifest| manifest.digest != record.digest) {
            let what = format!("tag {tag} points at {}, which is not here", record.digest);
            self.wrong(Invariant::I3, home, &what);
        }
        let back = keys::tag_of(home.organisation, home.repository, record.number, &tag);
        if !self.has(&back).await? {
            let what = format!("{} does not know its tag {tag}", record.digest);
            self.wrong(Invariant::I3, home, &what);
        }
        Ok(())
    }

    async fn tag_of(&mut self, home: Home, row: &Row) -> Result<(), Error> {
        let number = number_at(&row.0, REST).map(Number);
        let tag = text(row.0.get(REST + 8..));
        let key = keys::tag(home.organisation, home.repository, &tag);
        let record: Option<TagRecord> = self.get(&key).await?;
        if record.map(|record| record.number) != number {
            let what = format!("a manifest claims tag {tag}, which points elsewhere");
            self.wrong(Invariant::I3, home, &what);
        }
        Ok(())
    }
}

/// The digest behind a row's kind: its algorithm says how long it is.
fn digest_of(key: &[u8]) -> Option<Digest> {
    let rest = key.get(REST..)?;
    let algorithm = crate::digest::Algorithm::from_tag(*rest.first()?)?;
    Digest::from_bytes(rest.get(..=algorithm.digest_len())?)
}
