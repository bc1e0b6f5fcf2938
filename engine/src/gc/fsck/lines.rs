//! A line of the trail for what was pushed (I7): what the rows show, somebody was told to have done.
//!
//! The rows are of the snapshot; the trail is read after them, so it has all their lines. Each thing is
//! kept as a fingerprint of eight bytes until its line comes, so a million manifests cost 16 MB.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Check, Domain, Invariant};
use crate::audit::{EventKind, decode_event};
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::walk::Pages;
use crate::id::RepositoryId;
use crate::keys;
use crate::meta::{log, prefix_range};
use crate::seam::Timestamp;

/// The most things without a line that are named; all are counted.
const NAMED: usize = 20;

/// What must have a line.
#[derive(Debug, Default)]
pub(super) struct Told {
    wanted: HashMap<u64, Thing>,
    /// What was done before may have lost its line to a cut ([`crate::Engine::trim_trail`]).
    since: Timestamp,
}

/// For the finding.
#[derive(Debug, Clone, Copy)]
enum Thing {
    Blob,
    Manifest,
    Tag,
}

impl Told {
    pub(super) fn since(since: Timestamp) -> Self {
        Self { since, ..Self::default() }
    }

    pub(super) fn blob(&mut self, repository: RepositoryId, digest: &Digest, at: Timestamp) {
        if at < self.since {
            return;
        }
        self.wanted.insert(fingerprint(repository, digest, Some(false), ""), Thing::Blob);
    }

    pub(super) fn manifest(&mut self, repository: RepositoryId, digest: &Digest, at: Timestamp) {
        if at < self.since {
            return;
        }
        self.wanted.insert(fingerprint(repository, digest, Some(true), ""), Thing::Manifest);
    }

    pub(super) fn tag(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        tag: &str,
        at: Timestamp,
    ) {
        if at < self.since {
            return;
        }
        self.wanted.insert(fingerprint(repository, digest, None, tag), Thing::Tag);
    }

    /// Strikes out what a line tells of.
    fn line(&mut self, kind: &EventKind) {
        match kind {
            EventKind::BlobPushed { repository, digest, .. }
            | EventKind::BlobMounted { repository, digest, .. } => {
                self.wanted.remove(&fingerprint(repository.id, digest, Some(false), ""));
            }
            EventKind::ManifestPushed { repository, digest, tags, .. } => {
                self.wanted.remove(&fingerprint(repository.id, digest, Some(true), ""));
                for tag in tags {
                    self.wanted.remove(&fingerprint(repository.id, digest, None, tag));
                }
            }
            _ => {}
        }
    }
}

fn fingerprint(
    repository: RepositoryId,
    digest: &Digest,
    manifest: Option<bool>,
    tag: &str,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    (repository, digest, manifest, tag).hash(&mut hasher);
    hasher.finish()
}

impl Check<'_> {
    /// Reads the organisation's lines, and says what has none.
    pub(super) async fn lines(&mut self, mut domain: Domain) -> Result<(), Error> {
        if domain.told.wanted.is_empty() {
            return Ok(());
        }
        let mut pages = Pages::new(self.view, prefix_range(&keys::audit_chains(domain.id)));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() || domain.told.wanted.is_empty() {
                break;
            }
            for (_, value) in rows {
                // One that can't be read is found by the look at the trail itself.
                let event = log::decode(&value).and_then(|(_, entry)| decode_event(&entry).ok());
                if let Some(event) = event {
                    domain.told.line(&event.kind);
                }
            }
            self.progress("lines");
        }
        let mut left = domain.told.wanted.into_values().map(|thing| match thing {
            Thing::Blob => "a blob of a repository",
            Thing::Manifest => "a manifest",
            Thing::Tag => "a tag",
        });
        for thing in left.by_ref().take(NAMED) {
            let what = format!("{thing} is there of which no line of the trail tells");
            self.find(Invariant::I7, Some(domain.id), what);
        }
        self.report.wrong += left.count() as u64;
        Ok(())
    }
}
