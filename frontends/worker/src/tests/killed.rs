//! A worker that is killed at every point at which it waits.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::*;

/// Goes on with `work` so many times, then drops it as a kill would.
struct Killed<F> {
    work: Pin<Box<F>>,
    left: usize,
}

impl<F: Future<Output = ()>> Future for Killed<F> {
    /// Whether it came to its end before.
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        if self.left == 0 {
            return Poll::Ready(false);
        }
        self.left -= 1;
        self.work.as_mut().poll(context).map(|()| true)
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_every_point_leaves_one_profile_and_one_organisation() {
    let mut ended = false;
    let mut kills = 0;
    while !ended {
        let town = Town::new().await;
        for name in ["jo", "jo"] {
            town.queue.send(&sign_up(name).to_text());
        }
        // The name is taken, so that there is more to do.
        let operator =
            Caller { operator: true, ..Caller::known(PrincipalId::new("console:test").unwrap()) };
        town.engine
            .create_organisation(&operator, &"jo".parse().unwrap(), None, None)
            .await
            .unwrap();
        let worker = town.worker();
        let work = Box::pin(town.drain(&worker));
        ended = Killed { work, left: kills }.await;
        kills += 1;
        town.drain(&town.worker()).await;
        town.check(["jo"]).await;
        assert_eq!(town.queue.dead(), []);
        assert!(kills < 1000, "it never comes to its end");
    }
    assert!(kills > 5, "it was killed at {kills} points only");
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_every_point_of_a_walk_leaves_one_profile_and_one_organisation() {
    let mut ended = false;
    let mut kills = 0;
    while !ended {
        let town = Town::new().await;
        town.pool.set(reconciled::pages(&[&["ann", "jo"], &["kim"]]));
        let worker = town.worker();
        ended = Killed { work: Box::pin(reconciled::walk(&worker)), left: kills }.await;
        kills += 1;
        // A kill leaves the walk for an interval later.
        town.clock.advance(Duration::from_hours(1));
        reconciled::walk(&town.worker()).await;
        town.check(["ann", "jo", "kim"]).await;
        assert!(kills < 1000, "it never comes to its end");
    }
    assert!(kills > 5, "it was killed at {kills} points only");
}
