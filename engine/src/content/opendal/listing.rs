//! Pages of a listing, in the order of keys, at the cost of a page.
//!
//! A service that begins a listing behind a key does so in the order of keys: its listing ends with
//! the page. Others list in any order, so there the tree is walked, folder by folder: what lies before
//! the page, or beside its prefix, is not entered, and of one folder no more is kept than a page.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use opendal::{Error, Metadata, Operator};

use crate::content::ObjectKey;

/// A page being read.
pub(super) struct Page<'a> {
    operator: &'a Operator,
    prefix: &'a str,
    after: Option<&'a ObjectKey>,
    limit: usize,
    /// The keys so far, with their sizes where the service tells them.
    pub(super) found: Vec<(ObjectKey, Option<u64>)>,
    /// How many entries the service told for it.
    pub(super) read: u64,
}

impl<'a> Page<'a> {
    pub(super) fn new(
        operator: &'a Operator,
        prefix: &'a str,
        after: Option<&'a ObjectKey>,
        limit: usize,
    ) -> Self {
        Self { operator, prefix, after, limit, found: Vec::new(), read: 0 }
    }

    /// Reads it: the first keys with the prefix behind `after`.
    pub(super) async fn fill(&mut self) -> Result<(), Error> {
        if self.limit == 0 {
            return Ok(());
        }
        let base = self.prefix.rfind('/').and_then(|end| self.prefix.get(..=end)).unwrap_or("/");
        if self.operator.info().capability().list_with_start_after {
            self.in_order(base).await
        } else {
            self.walk(base.to_owned()).await
        }
    }

    async fn in_order(&mut self, base: &str) -> Result<(), Error> {
        let mut asked = self.operator.lister_with(base).recursive(true);
        if let Some(after) = self.after {
            asked = asked.start_after(after.as_str());
        }
        let mut lister = asked.await?;
        while self.found.len() < self.limit
            && let Some(entry) = lister.try_next().await?
        {
            self.read += 1;
            let (path, metadata) = entry.into_parts();
            self.take(path, &metadata);
        }
        Ok(())
    }

    /// What is in a folder and below, in the order of keys.
    pub(super) fn walk(&mut self, folder: String) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let mut behind: Option<String> = None;
            loop {
                let entries = self.entries(&folder, behind.as_deref()).await?;
                let full = entries.len() >= self.limit;
                for (path, metadata) in entries {
                    behind = Some(path.clone());
                    if path.ends_with('/') {
                        self.walk(path).await?;
                    } else {
                        self.take(path, &metadata);
                    }
                    if self.found.len() >= self.limit {
                        return Ok(());
                    }
                }
                // Folders may be empty: then a page needs more of them than it has keys.
                if !full {
                    return Ok(());
                }
            }
        }
        .boxed()
    }

    /// The first entries of one folder that may lead to keys of the page, as many as it may have.
    async fn entries(
        &mut self,
        folder: &str,
        behind: Option<&str>,
    ) -> Result<BTreeMap<String, Metadata>, Error> {
        let mut first = BTreeMap::new();
        let mut lister = self.operator.lister_with(folder).await?;
        while let Some(entry) = lister.try_next().await? {
            self.read += 1;
            let (path, metadata) = entry.into_parts();
            // A folder may list itself.
            if path == folder || behind.is_some_and(|behind| path.as_str() <= behind) {
                continue;
            }
            if self.may_have(&path) {
                first.insert(path, metadata);
                if first.len() > self.limit {
                    first.pop_last();
                }
            }
        }
        Ok(first)
    }

    /// Whether a path is, or leads to, a key of the page.
    fn may_have(&self, path: &str) -> bool {
        let after = self.after.map_or("", ObjectKey::as_str);
        if path.ends_with('/') {
            let prefixed = path.starts_with(self.prefix) || self.prefix.starts_with(path);
            prefixed && (path > after || after.starts_with(path))
        } else {
            path.starts_with(self.prefix) && path > after
        }
    }

    fn take(&mut self, path: String, metadata: &Metadata) {
        if metadata.is_dir() || !self.may_have(&path) {
            return;
        }
        // What is no key is not ours.
        if let Some(key) = ObjectKey::new(path) {
            self.found.push((key, metadata.is_file().then(|| metadata.content_length())));
        }
    }
}
