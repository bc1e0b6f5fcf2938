//! The one rule for a reply that was lost.

use super::{Commit, Committed, MetaError, MetaStore};

/// How often a commit is sent before its caller hears that the store is away.
const TRIES: usize = 3;

/// Commits `commit`, and doesn't take [`MetaError::Unavailable`] for an answer while it can find
/// out more: the commit is looked up by its id and, if it did not happen, sent again. It happens
/// once at most, since a store does not do a commit again whose id it remembers.
///
/// There is no pause between the tries: whoever can wait longer, waits outside.
///
/// # Errors
/// As [`MetaStore::commit`]. After [`MetaError::Unavailable`] it is not known whether the commit
/// happened. Dropping the future is dropping the commit's.
pub async fn commit_surely(store: &dyn MetaStore, commit: Commit) -> Result<Committed, MetaError> {
    let id = commit.id;
    for _ in 1..TRIES {
        match store.commit(commit.clone()).await {
            Err(MetaError::Unavailable(_)) => {}
            answer => return answer,
        }
        match store.was_committed(id).await {
            // Sent again it is not done again, but tells its sequences.
            Ok(Some(_)) | Err(MetaError::Unavailable(_)) => {}
            Ok(None) => {
                return Err(MetaError::Unavailable(
                    "a commit's reply was lost, and the commit is no longer remembered".into(),
                ));
            }
            Err(error) => return Err(error),
        }
    }
    store.commit(commit).await
}
