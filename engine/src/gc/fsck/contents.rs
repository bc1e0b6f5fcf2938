//! Content, links to it, and what uploads reserve.

use super::{Check, Domain, Invariant};
use crate::content::ObjectKey;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::orphans::PAGE_OBJECTS;
use crate::id::{RepositoryId, SessionId};
use crate::keys;
use crate::meta::Row;
use crate::records::{BlobRecord, BlobState, LinkRecord, ManifestRecord, SessionRecord};
use crate::seam::Timestamp;

impl Check<'_> {
    pub(super) async fn content_row(
        &mut self,
        domain: &mut Domain,
        row: &Row,
    ) -> Result<(), Error> {
        match keys::parse_content(&row.0) {
            Some((digest, None)) => {
                let Some(blob) = self.decode::<BlobRecord>(Invariant::I1, domain.id, row) else {
                    return Ok(());
                };
                self.report.counts.contents.add(blob.size);
                domain.sum += i128::from(blob.size);
                self.object(domain.id, digest, blob).await
            }
            Some((digest, Some(repository))) => {
                self.report.counts.links += 1;
                let Some(link) = self.decode::<LinkRecord>(Invariant::I1, domain.id, row) else {
                    return Ok(());
                };
                self.link(domain, &digest, repository, &link).await
            }
            None => {
                let what = format!("row {} names no digest", const_hex::encode(&row.0));
                self.find(Invariant::I1, Some(domain.id), what);
                Ok(())
            }
        }
    }

    async fn link(
        &mut self,
        domain: &mut Domain,
        digest: &Digest,
        repository: RepositoryId,
        link: &LinkRecord,
    ) -> Result<(), Error> {
        // One whose repository is gone, or goes, is garbage and no promise.
        if domain.doomed.contains(&repository)
            || !self.has(&keys::repository(domain.id, repository)).await?
        {
            return Ok(());
        }
        if link.blob {
            // A number tells when it was given.
            let at = Timestamp(link.number.0 >> 20);
            domain.told.blob(repository, digest, at);
        }
        if link.needs_content() {
            let blob: Option<BlobRecord> = self.get(&keys::blob(domain.id, digest)).await?;
            let problem = match blob {
                None => Some("is not stored".to_owned()),
                Some(blob) => match blob.state {
                    BlobState::Deleting { .. } => Some("is being deleted".to_owned()),
                    BlobState::Quarantined { .. } => {
                        Some("is quarantined: its bytes are wrong".to_owned())
                    }
                    _ if blob.size != link.size => {
                        Some(format!("has {} bytes, its link says {}", blob.size, link.size))
                    }
                    _ => None,
                },
            };
            if let Some(problem) = problem {
                let what = format!("{digest}, linked in repository {repository}, {problem}");
                self.find(Invariant::I1, Some(domain.id), what);
            }
        }
        if link.manifest.is_some() {
            let key = keys::manifest(domain.id, repository, link.number);
            let record: Option<ManifestRecord> = self.get(&key).await?;
            if record.is_none_or(|record| record.digest != *digest) {
                let what = format!("manifest {digest} in repository {repository} has no record");
                self.find(Invariant::I1, Some(domain.id), what);
            }
        }
        Ok(())
    }

    pub(super) async fn session_row(
        &mut self,
        domain: &mut Domain,
        row: &Row,
    ) -> Result<(), Error> {
        let Some(session) = self.decode::<SessionRecord>(Invariant::I5, domain.id, row) else {
            return Ok(());
        };
        self.report.counts.uploads.add(session.reserved_bytes);
        domain.sum += i128::from(session.reserved_bytes);
        let (key, value) = row;
        let id = key.get(keys::sessions(domain.id).len()..).and_then(|id| id.try_into().ok());
        let Some(id) = id.map(SessionId) else {
            self.find(Invariant::I6, Some(domain.id), "the key of an upload is of another length");
            return Ok(());
        };
        let object = session.object(domain.id, id);
        let Some(found) = self.unfinished(&object, session.write.offset).await? else {
            return Ok(());
        };
        // It may have ended meanwhile.
        if self.core.meta.get(key).await?.as_ref() == Some(value) {
            let what = format!(
                "upload {id} says that {} bytes are durable, its object {object} has {found}",
                session.write.offset
            );
            self.find(Invariant::I1, Some(domain.id), what);
        }
        Ok(())
    }

    /// How many bytes an unfinished object has, where that is fewer than `offset`. A store that does
    /// not tell is believed.
    async fn unfinished(&self, object: &ObjectKey, offset: u64) -> Result<Option<u64>, Error> {
        let (mut found, mut after) = (0_u64, None::<ObjectKey>);
        while found < offset {
            let listed =
                self.core.blobs.list(object.as_str(), after.as_ref(), PAGE_OBJECTS).await?;
            let Some(last) = listed.last() else { return Ok(Some(found)) };
            after = Some(last.key.clone());
            if listed.iter().any(|entry| entry.unfinished.is_some()) {
                return Ok(None);
            }
            // Itself, or parts that a store keeps below it.
            found += listed.iter().map(|entry| entry.size).sum::<u64>();
        }
        Ok(None)
    }
}
