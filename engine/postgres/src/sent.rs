//! The commits that this process sent lately: those it may still be asked about.
//!
//! The database forgets a commit after [`KEPT`]. One that is not there either never came, or is
//! forgotten; which, only whoever sent it can tell.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use strongroom_engine::meta::CommitId;
use tokio::time::Instant;

/// How long the database remembers a commit.
pub(crate) const KEPT: Duration = Duration::from_hours(1);
/// How long after sending it a commit can be asked about: well before the database forgets it.
const ASKED: Duration = Duration::from_mins(30);
/// The most commits remembered here: about 4 MiB.
const REMEMBERED: usize = 65_536;

/// See the page of this module.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    order: VecDeque<(Instant, CommitId)>,
    ids: HashSet<CommitId>,
    forgotten: bool,
}

impl Sent {
    /// Remembers that `id` is about to be sent.
    pub(crate) fn insert(&mut self, id: CommitId) {
        self.forget();
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back((Instant::now(), id));
        if self.order.len() > REMEMBERED
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
            self.forgotten = true;
        }
    }

    /// Whether a commit that the database does not have surely did not happen.
    pub(crate) fn is_sure_of(&mut self, id: CommitId) -> bool {
        self.forget();
        !self.forgotten || self.ids.contains(&id)
    }

    fn forget(&mut self) {
        while let Some((_, id)) = self.order.pop_front_if(|(at, _)| at.elapsed() > ASKED) {
            self.ids.remove(&id);
            self.forgotten = true;
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
        let mut sent = Sent::default();
        for number in 0..REMEMBERED {
            sent.insert(id(number));
        }
        assert!(sent.is_sure_of(id(REMEMBERED)), "nothing was forgotten yet");

        sent.insert(id(REMEMBERED));

        assert!(!sent.is_sure_of(id(0)));
        assert!(sent.is_sure_of(id(1)));
        assert!(!sent.is_sure_of(id(REMEMBERED + 1)), "it may have been sent long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_late_is_not_denied() {
        let mut sent = Sent::default();
        sent.insert(id(1));
        tokio::time::advance(Duration::from_mins(29)).await;
        sent.insert(id(2));
        assert!(sent.is_sure_of(id(1)));
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(!sent.is_sure_of(id(1)));
        assert!(sent.is_sure_of(id(2)));
    }
}
