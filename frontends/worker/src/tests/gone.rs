//! Those who are in the pool no more.

use strongroom_identity::testing;

use super::reconciled::{Desk, Shown, pages_of_pool, walk};
use super::*;

/// Jo and Kim, who have been here for a while.
struct Scene {
    town: Town,
    desk: Desk,
    pool: testing::Pool,
    jo: Shown,
    kim: Shown,
}

impl Scene {
    async fn new() -> Self {
        let town = Town::new().await;
        let (desk, pool) = Desk::new(&town).await;
        let (jo, kim) = (desk.arrives(&pool, "jo").await, desk.arrives(&pool, "kim").await);
        let scene = Self { town, desk, pool, jo, kim };
        scene.walk(&[&["jo", "kim"]]).await;
        assert_eq!(scene.are_in().await, [true; 2]);
        scene
    }

    /// Walks through a pool with these people, an hour later.
    async fn walk(&self, names: &[&[&str]]) {
        self.town.pool.set(pages_of_pool(names));
        self.town.clock.advance(Duration::from_hours(1));
        walk(&self.town.worker()).await;
    }

    async fn are_in(&self) -> [bool; 2] {
        [self.desk.is_in(&self.jo).await, self.desk.is_in(&self.kim).await]
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_from_the_pool_is_out_with_all_tokens_until_they_are_there_again() {
    let scene = Scene::new().await;
    scene.walk(&[&["kim"], &["ann"]]).await;
    assert_eq!(scene.town.pool.asked_for(), ["sub-jo"], "nobody else was");
    assert_eq!(scene.are_in().await, [false, true]);
    // Who is out already is not asked for again.
    scene.walk(&[&["kim"], &["ann"]]).await;
    assert!(scene.town.pool.asked_for().is_empty());
    scene.walk(&[&["ann", "jo"], &["kim"]]).await;
    assert_eq!(scene.are_in().await, [true; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_all_may_be_gone() {
    let town = Town::new().await;
    let (desk, pool) = Desk::new(&town).await;
    let jo = desk.arrives(&pool, "jo").await;
    town.pool.set(pages_of_pool(&[&["ann"]]));
    town.clock.advance(Duration::from_hours(1));
    walk(&town.worker()).await;
    assert!(!desk.is_in(&jo).await);
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_proves_nothing_shuts_nobody_out() {
    let scene = Scene::new().await;
    let pool = &scene.town.pool;
    // An empty pool.
    scene.walk(&[&[]]).await;
    assert_eq!(scene.are_in().await, [true; 2]);
    // One that breaks off before it comes to Jo, and goes well in the end.
    pool.fail(1);
    scene.walk(&[&["kim"], &["jo"]]).await;
    assert_eq!(pool.asked().last(), Some(&1));
    assert_eq!(scene.are_in().await, [true; 2]);
    // Another pool, by the looks of it.
    scene.walk(&[&["ann", "bob"]]).await;
    assert_eq!(scene.are_in().await, [true; 2]);
    assert!(pool.asked_for().is_empty());
    // Somebody whom it knows, though the list does not have them.
    pool.leave_out("sub-jo");
    scene.walk(&[&["kim"]]).await;
    assert_eq!(pool.asked_for(), ["sub-jo"]);
    assert_eq!(scene.are_in().await, [true; 2]);
}

#[tokio::test(start_paused = true)]
async fn where_the_pool_does_not_answer_for_somebody_the_walk_is_made_up_for() {
    let scene = Scene::new().await;
    scene.town.pool.knows_nobody_now(true);
    scene.walk(&[&["kim"]]).await;
    assert_eq!(scene.are_in().await, [true; 2]);
    scene.town.pool.knows_nobody_now(false);
    // Not an hour later: the walk was taken back.
    walk(&scene.town.worker()).await;
    assert_eq!(scene.are_in().await, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn whose_account_is_younger_than_the_last_walk_waits_for_the_next() {
    let scene = Scene::new().await;
    scene.town.clock.advance(Duration::from_mins(1));
    let lee = scene.desk.arrives(&scene.pool, "lee").await;
    scene.town.clock.advance(Duration::from_mins(59));
    scene.town.pool.set(pages_of_pool(&[&["jo", "kim"]]));
    walk(&scene.town.worker()).await;
    assert!(scene.desk.is_in(&lee).await);
    scene.walk(&[&["jo", "kim"]]).await;
    assert!(!scene.desk.is_in(&lee).await);
    assert_eq!(scene.are_in().await, [true; 2]);
}
