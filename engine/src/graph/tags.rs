//! Tags: listed in pages whose cost is the page's, and removed.

use std::collections::HashSet;

use crate::access::Action;
use crate::audit::EventKind;
use crate::change::{Change, Seen, retry};
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page, Repository, Scope, tag_in};
use crate::keys;
use crate::manifest::Manifest;
use crate::meta::range_behind;
use crate::name::Tag;
use crate::pattern::Pattern;
use crate::records::{ManifestRecord, TagRecord};

impl Repository {
    /// The repository's tags in the order of their bytes, those after `after`, at most `limit` and
    /// at most [`MAX_PAGE`]. `after` need not exist. Needs [`Action::List`].
    pub async fn tags(&self, after: Option<&str>, limit: usize) -> Result<Page<Tag>, Error> {
        self.demand(Action::List)?;
        let id = self.id()?;
        let all = keys::tags(self.scope.organisation, id);
        let Some(range) = range_behind(&all, after) else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let limit = limit.min(MAX_PAGE);
        let rows = self.core.meta.scan(range, limit.saturating_add(1)).await?;
        let more = rows.len() > limit;
        let mut items = Vec::with_capacity(rows.len());
        for (key, _) in rows.into_iter().take(limit) {
            items.push(tag_in(&key, all.len())?);
        }
        let next = items.last().filter(|_| more).map(Tag::to_string);
        Ok(Page { items, next })
    }

    /// Fails with [`Error::TagImmutable`] where the registry's settings, as of when the handle was opened,
    /// keep a tag: for who does something else before it moves or goes.
    pub fn require_mutable(&self, tag: &Tag) -> Result<(), Error> {
        self.scope.immutable(tag).map_or(Ok(()), |pattern| Err(immutable(tag, pattern)))
    }

    /// Removes a tag; its manifest stays. Needs [`Action::Delete`].
    ///
    /// Fails with [`Error::TagImmutable`] where the registry's settings keep it.
    pub async fn delete_tag(&self, tag: &Tag) -> Result<(), Error> {
        self.demand(Action::Delete)?;
        retry!("a tag", attempt => {
            let scope = self.fresh_scope(attempt).await?;
            let id = scope.existing(&self.path)?;
            let seen: Seen<TagRecord> =
                self.core.read(keys::tag(scope.organisation, id, tag.as_str())).await?;
            let Some(old) = &seen.value else {
                return Err(Error::ManifestUnknown { reference: tag.to_string() }.into());
            };
            if let Some(pattern) = scope.immutable(tag) {
                return Err(immutable(tag, pattern).into());
            }
            let now = self.core.now().await?;
            let mut change = Change::freeing(&self.core);
            scope.write(self, &mut change, now);
            change.remove(&seen);
            change.delete(keys::tag_of(scope.organisation, id, old.number, tag.as_str()));
            change.touches_reference(id, tag.as_str());
            let repository = scope.reference(id, &self.path);
            let (tag, digest) = (tag.to_string(), old.digest);
            change.event(self.event(now, EventKind::TagDeleted { repository, tag, digest }));
            change.commit().await
        })
    }
}

impl Scope {
    /// The pattern that makes a tag immutable.
    pub(crate) fn immutable(&self, tag: &Tag) -> Option<&Pattern> {
        self.registry_row.value.as_ref().and_then(|row| row.immutable(tag.as_str()))
    }
}

/// Whether an index is one of the same kind as another, and names all that it names.
pub(crate) fn is_beyond(new: &Manifest, old: &ManifestRecord) -> bool {
    let named: HashSet<Digest> = new.children().map(|child| child.digest).collect();
    old.kind.is_index()
        && (new.kind, &new.artifact_type) == (old.kind, &old.artifact_type)
        && old.children.iter().all(|child| named.contains(&child.digest))
}

/// The refusal of what an immutable tag does not allow.
pub(crate) fn immutable(tag: &Tag, pattern: &Pattern) -> Error {
    Error::TagImmutable { tag: tag.to_string(), pattern: pattern.to_string() }
}
