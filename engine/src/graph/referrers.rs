//! Referrers: the manifests that have a digest as their subject (distribution spec, "Listing
//! Referrers").

use std::collections::BTreeMap;

use crate::access::Action;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page, Repository};
use crate::keys;
use crate::meta::prefix_range;
use crate::records::{Record, ReferrerRecord};

/// A manifest that refers to a subject: what its descriptor in the listing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its artifact type: its own, else its config's media type.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Where a page that begins with it begins, in the listing it came in.
    pub place: String,
}

impl Repository {
    /// The manifests here whose subject is `subject` (which need not be here), of one artifact
    /// type where `artifact_type` is given; at most `limit` and at most [`MAX_PAGE`], from
    /// [`Page::next`] of the page before. An unknown subject has none. Needs [`Action::Pull`].
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        from: Option<&str>,
        limit: usize,
    ) -> Result<Page<Referrer>, Error> {
        self.demand(Action::Pull)?;
        let Some((id, _)) = &self.scope.repository else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let organisation = self.scope.organisation;
        let all = match artifact_type {
            Some(kind) => keys::referrers_of_type(organisation, *id, subject, kind),
            None => keys::referrers(organisation, *id, subject),
        };
        let mut range = prefix_range(&all);
        if let Some(from) = from {
            let bad = || Error::Invalid("this page of referrers does not exist".to_owned());
            let rest = const_hex::decode(from).map_err(|_| bad())?;
            range.start = [all.as_slice(), &rest].concat();
            if range.start >= range.end {
                return Err(bad());
            }
        }
        let limit = limit.min(MAX_PAGE);
        let mut rows = self.core.meta.scan(range, limit.saturating_add(1)).await?;
        let next = rows.get(limit).and_then(|(key, _)| key.get(all.len()..)).map(const_hex::encode);
        rows.truncate(limit);
        let mut items = Vec::with_capacity(rows.len());
        for (key, value) in &rows {
            let record = ReferrerRecord::decode(value)?;
            // Types whose short hashes agree lie together.
            if artifact_type.is_some_and(|kind| record.artifact_type.as_deref() != Some(kind)) {
                continue;
            }
            items.push(Referrer {
                digest: record.digest,
                media_type: record.media_type,
                size: record.size,
                artifact_type: record.artifact_type,
                annotations: record.annotations,
                place: const_hex::encode(key.get(all.len()..).unwrap_or_default()),
            });
        }
        Ok(Page { items, next })
    }
}
