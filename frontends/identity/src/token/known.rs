//! Tokens that were found good: a client shows the same one with each of its requests.
//!
//! What is kept is what a token says and its times, by a hash of it, and only for the keys that it was
//! checked with: with others, or one less, it is checked anew. Its times are looked at each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Granted, KeySet, Times};

/// The most that are kept; where there are more, all are checked anew.
const MAX_KNOWN: usize = 4_096;

/// A hash of a token: the token itself is not kept, and to look for it compares nothing secret. It is made for each
/// request, so it is the faster one where processors have no instructions for it.
pub(super) type Name = [u8; 32];

pub(super) fn name(token: &str) -> Name {
    let mut name = Name::default();
    name.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    name
}

/// A token that was good when it was checked with `keys`.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) keys: Arc<KeySet>,
    pub(super) times: Times,
    pub(super) granted: Arc<Granted>,
}

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Name, Arc<Good>>>);

impl Known {
    /// What was good with these keys.
    pub(super) fn find(&self, name: &Name, keys: &Arc<KeySet>) -> Option<Arc<Good>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|good| Arc::ptr_eq(&good.keys, keys)).cloned()
    }

    pub(super) fn add(&self, name: Name, good: Good) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name, Arc::new(good));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::super::TokenKey;
    use super::*;

    #[test]
    fn no_more_are_kept_than_the_bound_and_none_for_other_keys() {
        let keys = || Arc::new(KeySet::new(TokenKey::from_parts("id", [7; 32]), vec![]));
        let (ours, others) = (keys(), keys());
        let known = Known::default();
        for number in 0..2 * MAX_KNOWN {
            let granted = Granted {
                subject: String::new(),
                scopes: Vec::new(),
                sought: Arc::default(),
                id: String::new(),
                ceiling: OnceLock::new(),
                whom: OnceLock::new(),
            };
            let times = Times { begins: 0, ends: 1 };
            let good = Good { keys: Arc::clone(&ours), times, granted: Arc::new(granted) };
            known.add(name(&number.to_string()), good);
            assert!(known.0.lock().unwrap().len() <= MAX_KNOWN);
            assert!(known.find(&name(&number.to_string()), &ours).is_some());
            assert!(known.find(&name(&number.to_string()), &others).is_none());
        }
    }
}
