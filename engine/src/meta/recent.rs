//! The commits that happened lately, so that a lost reply can be looked up.

use std::collections::{HashMap, VecDeque};

use super::{CommitId, Committed};

/// How many commits are remembered: seconds at full speed, hours otherwise, in about 2 MiB.
const REMEMBERED: usize = 16_384;

/// A bounded window over the commits that happened.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<CommitId>,
    sequences: HashMap<CommitId, Box<[u64]>>,
    forgotten: bool,
}

impl Recent {
    /// Remembers that a commit happened; the oldest is forgotten for it where the window is full.
    pub(super) fn insert(&mut self, id: CommitId, committed: &Committed) {
        if self.sequences.insert(id, committed.sequences.clone().into()).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.sequences.remove(&oldest);
            self.forgotten = true;
        }
    }

    /// What the commit told, where it is remembered.
    pub(super) fn get(&self, id: CommitId) -> Option<Committed> {
        self.sequences.get(&id).map(|sequences| Committed { sequences: sequences.to_vec() })
    }

    /// Whether the commit happened; `None` where it may have been forgotten.
    pub(super) fn contains(&self, id: CommitId) -> Option<bool> {
        match self.sequences.contains_key(&id) {
            false if self.forgotten => None,
            known => Some(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> CommitId {
        CommitId((number as u128).to_be_bytes())
    }

    #[test]
    fn what_may_have_been_forgotten_is_not_denied() {
        let mut recent = Recent::default();
        for number in 0..REMEMBERED {
            recent.insert(id(number), &Committed { sequences: vec![7] });
        }
        assert_eq!(recent.contains(id(0)), Some(true));
        assert_eq!(recent.contains(id(REMEMBERED)), Some(false));

        recent.insert(id(REMEMBERED), &Committed::default());

        assert_eq!(recent.contains(id(0)), None);
        assert_eq!(recent.contains(id(1)), Some(true));
        assert_eq!(recent.get(id(1)), Some(Committed { sequences: vec![7] }));
        assert_eq!(recent.contains(id(REMEMBERED + 1)), None);
    }
}
