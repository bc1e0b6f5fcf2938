//! The one rule for a reply that was lost.

use super::{Commit, Committed, MetaError, MetaStore};

/// How often a commit is sent before its caller hears that the store is away.
const TRIES: usize = 3;

/// Commits `commit`, and doesn't take [`MetaError::Unavailable`] for an answer while it can send it
/// again. It happens once at most: a store does not do a commit again whose id it remembers, but
/// answers as it did, and it remembers for longer than this takes.
///
/// It is not asked about between the tries: "it did not happen" would be said for good. There is no
/// pause either: whoever can wait longer, waits outside.
///
/// # Errors
/// As [`MetaStore::commit`]. After [`MetaError::Unavailable`] it is not known whether the commit
/// happened. Dropping the future is dropping the commit's.
pub async fn commit_surely(store: &dyn MetaStore, commit: Commit) -> Result<Committed, MetaError> {
    for _ in 1..TRIES {
        match store.commit(commit.clone()).await {
            Err(MetaError::Unavailable(_)) => {}
            answer => return answer,
        }
    }
    store.commit(commit).await
}
