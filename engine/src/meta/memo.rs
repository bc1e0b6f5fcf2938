//! What was made of rows, for as long as no row changes.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are kept; where there are more, all are read anew.
const MOST: usize = 4_096;

/// Values that were read, or made of what was, in one state of a store ([`MetaStore::revision`]): what
/// each request asks for is not read and decoded for each. All are forgotten with the next commit, so it
/// never tells what a read would not.
///
/// [`MetaStore::revision`]: super::MetaStore::revision
#[derive(Debug)]
pub struct Memo<K, V>(Mutex<Kept<K, V>>);

#[derive(Debug)]
struct Kept<K, V> {
    revision: u64,
    values: HashMap<K, V>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Kept { revision: 0, values: HashMap::new() }))
    }
}

impl<K: Hash + Eq, V: Clone> Memo<K, V> {
    /// What is kept of the state that `revision` names, by the store as it is now.
    pub fn find<Q>(&self, revision: Option<u64>, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let kept = self.kept();
        (revision? == kept.revision).then(|| kept.values.get(key).cloned()).flatten()
    }

    /// Keeps what was read; `revision` is the store's from before that.
    pub fn keep(&self, revision: Option<u64>, key: K, value: V) {
        let Some(revision) = revision else { return };
        let mut kept = self.kept();
        if revision < kept.revision {
            return;
        }
        if revision > kept.revision || kept.values.len() >= MOST {
            kept.values.clear();
            kept.revision = revision;
        }
        kept.values.insert(key, value);
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_the_same_state_is_found() {
        let memo = Memo::<String, u8>::default();
        memo.keep(Some(3), "a".to_owned(), 1);
        assert_eq!(memo.find(Some(3), "a"), Some(1));
        assert_eq!(memo.find(Some(4), "a"), None);
        assert_eq!(memo.find(None, "a"), None);

        // What was read before a change and comes after another read.
        memo.keep(Some(4), "b".to_owned(), 2);
        memo.keep(Some(3), "a".to_owned(), 1);
        assert_eq!((memo.find(Some(4), "a"), memo.find(Some(4), "b")), (None, Some(2)));
        assert_eq!(memo.find(Some(3), "a"), None);

        memo.keep(None, "c".to_owned(), 3);
        assert_eq!(memo.find(Some(4), "c"), None);
    }

    #[test]
    fn no_more_are_kept_than_the_bound() {
        let memo = Memo::default();
        for number in 0..2 * MOST + 7 {
            memo.keep(Some(1), number, ());
            assert!(memo.kept().values.len() <= MOST);
            assert_eq!(memo.find(Some(1), &number), Some(()));
        }
    }
}
