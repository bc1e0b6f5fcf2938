//! Those of whom no message told.

use strongroom_engine::access::Origin;
use strongroom_http::auth::{Credentials, Secret};
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{Grant, NAMESPACE, NewToken, Options};
use strongroom_identity::seal::MasterKey;
use strongroom_identity::testing;
use strongroom_identity::{Embedded, Identity, IdentityError, IdentityProvider as _};

use super::*;
use crate::pool::{PoolUser, UserPage};

/// Pages with these people, all of whom are to have a profile.
pub(super) fn pages(names: &[&[&str]]) -> Vec<UserPage> {
    let vouched = |name: &&str| PoolUser { user: user(name), enabled: true, vouched: true };
    let page = |(number, page): (usize, &&[&str])| UserPage {
        users: page.iter().map(vouched).collect(),
        nameless: 0,
        next: (number + 1 < names.len()).then(|| (number + 1).to_string()),
    };
    names.iter().enumerate().map(page).collect()
}

/// The same with people as [`testing::Pool`] knows them.
pub(super) fn pages_of_pool(names: &[&[&str]]) -> Vec<UserPage> {
    let mut listed = pages(names);
    for (page, names) in listed.iter_mut().zip(names) {
        for (found, name) in page.users.iter_mut().zip(*names) {
            found.user = NewUser { sub: format!("sub-{name}"), ..user(name) };
        }
    }
    listed
}

/// Walks once, or finds that it is not time to.
pub(super) async fn walk(worker: &Worker) {
    let stop = CancellationToken::new();
    let end = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        stop.cancel();
    };
    futures::join!(worker.reconcile(&stop), end);
}

#[tokio::test(start_paused = true)]
async fn those_whom_an_administrator_created_get_theirs() {
    let town = Town::new().await;
    town.pool.set(pages(&[&["ann", "jo"], &["kim"]]));
    walk(&town.worker()).await;
    town.check(["ann", "jo", "kim"]).await;
    assert_eq!(town.pool.asked(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_is_disabled_or_not_confirmed_gets_nothing_and_who_has_a_profile_keeps_it() {
    let town = Town::new().await;
    let kim = profiles::ensure(&town.engine, &user("kim"), First::default()).await.unwrap();
    let mut listed = pages(&[&["disabled", "unconfirmed", "kim", "jo"]]);
    listed[0].users[0].enabled = false;
    listed[0].users[1].vouched = false;
    listed[0].users[2].enabled = false;
    town.pool.set(listed);
    walk(&town.worker()).await;
    assert_eq!(town.profile(&sub("disabled")).await, None);
    assert_eq!(town.profile(&sub("unconfirmed")).await, None);
    assert_eq!(town.profile(&sub("kim")).await, Some(kim));
    town.check(["jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_walk_takes_up_what_the_pool_says_now() {
    let town = Town::new().await;
    let unknown = NewUser { email: None, email_verified: false, ..user("jo") };
    profiles::ensure(&town.engine, &unknown, First::default()).await.unwrap();
    town.pool.set(pages(&[&["jo"]]));
    walk(&town.worker()).await;
    assert_eq!(profiles::find(&town.engine, "jo@acme.example").await.unwrap().len(), 1);
    town.check(["jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn of_several_workers_one_walks_an_interval() {
    let town = Town::new().await;
    town.pool.set(pages(&[&["jo"]]));
    let (one, two) = (town.worker(), town.worker());
    futures::join!(walk(&one), walk(&two));
    assert_eq!(town.pool.asked(), [0]);
    // A restart is no reason to walk again.
    walk(&town.worker()).await;
    assert_eq!(town.pool.asked(), [0]);
    town.clock.advance(Duration::from_hours(1));
    walk(&town.worker()).await;
    assert_eq!(town.pool.asked(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_walk_that_broke_off_is_begun_anew_soon() {
    let town = Town::new().await;
    town.pool.set(pages(&[&["ann"], &["jo"]]));
    town.pool.fail(1);
    let worker = town.worker();
    let stop = CancellationToken::new();
    let end = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        stop.cancel();
    };
    futures::join!(worker.reconcile(&stop), end);
    assert_eq!(town.pool.asked(), [0, 1, 0, 1]);
    town.check(["ann", "jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_walk_while_the_metadata_are_away_is_made_up_for() {
    let town = Town::new().await;
    town.pool.set(pages(&[&["jo"]]));
    town.away();
    let worker = town.worker();
    let stop = CancellationToken::new();
    let end = async {
        tokio::time::sleep(Duration::from_mins(10)).await;
        town.back();
        tokio::time::sleep(Duration::from_secs(90)).await;
        stop.cancel();
    };
    futures::join!(worker.reconcile(&stop), end);
    town.check(["jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_can_have_no_profile_keeps_nobody_from_theirs() {
    let town = Town::new().await;
    let mut listed = pages(&[&["bad", "jo"]]);
    listed[0].users[0].user.sub = "NO ID".to_owned();
    listed[0].nameless = 1;
    town.pool.set(listed);
    walk(&town.worker()).await;
    town.check(["jo"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_gives_one_page_for_ever_is_left() {
    let town = Town::new().await;
    let mut listed = pages(&[&["jo"], &["ann"]]);
    listed[1].next = Some("1".to_owned());
    town.pool.set(listed);
    walk(&town.worker()).await;
    assert_eq!(town.pool.asked(), [0, 1]);
}

/// A registry that somebody of the pool has a machine token for, beside the walk.
pub(super) struct Desk {
    identity: Identity,
    embedded: Embedded,
}

/// What somebody has to show.
pub(super) struct Shown {
    /// A token of the pool, and one of ours that needs no pool.
    pub(super) credentials: [Credentials; 2],
    refresh: Secret,
}

fn console() -> Caller {
    Caller { operator: true, ..Caller::known(PrincipalId::new("console:test").unwrap()) }
}

impl Desk {
    pub(super) async fn new(town: &Town) -> (Self, testing::Pool) {
        let seams = Seams { clock: Arc::clone(&town.clock) as _, entropy: Arc::new(SystemEntropy) };
        let (records, master) = (town.engine.extension(NAMESPACE), MasterKey::from_bytes([7; 32]));
        let options = Options::default();
        let embedded = Embedded::open(records, seams.clone(), master, options).await.unwrap();
        let pool = testing::Pool::new(seams);
        let cognito = Some(pool.cognito());
        let identity =
            Identity::new(town.engine.clone(), embedded.clone(), cognito, First::default());
        (Self { identity, embedded }, pool)
    }

    /// Somebody of the pool comes for the first time, and makes themselves a token.
    pub(super) async fn arrives(&self, pool: &testing::Pool, name: &str) -> Shown {
        let own = Credentials::Bearer(Secret::new(pool.access(name)));
        self.identity.authenticate(&own, Origin::default()).await.unwrap();
        let owner: AccountId = format!("cognito:sub-{name}").parse().unwrap();
        let (label, reach) = ("ci".to_owned(), Reach::Everything);
        let new = NewToken { owner, label, reach, lifetime: None };
        let token = self.embedded.create_token(&console(), new).await.unwrap().1;
        let token = Credentials::Bearer(Secret::new(token.expose()));
        let (grant, origin) = (Grant::Credentials(token.clone()), Origin::default());
        let given = self.identity.exchange(&grant, &[], Some("docker"), &origin).await.unwrap();
        Shown { credentials: [own, token], refresh: given.refresh.unwrap() }
    }

    /// Whether all that somebody has to show is good; fails where one is and another is not.
    pub(super) async fn is_in(&self, shown: &Shown) -> bool {
        let mut good = self.lets_in(&shown.credentials).await;
        good.push(self.refreshes(&shown.refresh).await);
        assert!(good.iter().all(|one| *one == good[0]), "{good:?}");
        good[0]
    }

    /// Whether each of these is let in.
    async fn lets_in(&self, shown: &[Credentials]) -> Vec<bool> {
        let mut let_in = Vec::new();
        for credentials in shown {
            let vouched = self.identity.authenticate(credentials, Origin::default()).await;
            let_in.push(match vouched {
                Ok(_) => true,
                Err(IdentityError::Wrong) => false,
                Err(error) => panic!("{error}"),
            });
        }
        let_in
    }

    async fn refreshes(&self, token: &Secret) -> bool {
        let grant = Grant::Refresh(token.clone());
        self.identity.exchange(&grant, &[], None, &Origin::default()).await.is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_disabled_in_the_pool_is_out_here_with_all_tokens_until_the_pool_lets_them_in() {
    let town = Town::new().await;
    let (desk, pool) = Desk::new(&town).await;
    let (jo, kim) = (desk.arrives(&pool, "jo").await, desk.arrives(&pool, "kim").await);

    let walk_with = async |enabled| {
        let mut listed = pages_of_pool(&[&["jo", "kim"]]);
        listed[0].users[0].enabled = enabled;
        town.pool.set(listed);
        town.clock.advance(Duration::from_hours(1));
        walk(&town.worker()).await;
    };
    walk_with(true).await;
    assert!(desk.is_in(&jo).await);

    let account: AccountId = "cognito:sub-jo".parse().unwrap();
    walk_with(false).await;
    assert!(!desk.is_in(&jo).await);
    assert!(desk.embedded.look_up(&console(), &account).await.unwrap().disabled);
    assert!(desk.is_in(&kim).await);

    // An operator here can't overrule the pool, nor the pool an operator.
    desk.embedded.set_disabled(&console(), &account, false).await.unwrap();
    assert!(!desk.is_in(&jo).await);
    desk.embedded.set_disabled(&console(), &account, true).await.unwrap();
    walk_with(true).await;
    assert!(!desk.is_in(&jo).await);
    desk.embedded.set_disabled(&console(), &account, false).await.unwrap();
    assert!(desk.is_in(&jo).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_exchange_ends_with_the_walk_too() {
    let town = Town::new().await;
    let (desk, pool) = Desk::new(&town).await;
    let own = Credentials::Bearer(Secret::new(pool.access("jo")));
    let grant = Grant::Credentials(Credentials::Basic {
        user: "jo".to_owned(),
        password: Secret::new(testing::PASSWORD),
    });
    let given = desk.identity.exchange(&grant, &[], None, &Origin::default()).await.unwrap();
    let shown = [own, Credentials::Bearer(Secret::new(given.issued.token))];
    assert_eq!(desk.lets_in(&shown).await, [true; 2]);
    let mut listed = pages_of_pool(&[&["jo"]]);
    listed[0].users[0].enabled = false;
    town.pool.set(listed);
    walk(&town.worker()).await;
    assert_eq!(desk.lets_in(&shown).await, [false; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_first_organisation_has_the_bound_that_is_set_whoever_makes_it() {
    let town = Town::new().await;
    let first = First { quota_bytes: Some(1_000) };
    town.pool.set(pages(&[&["ann"]]));
    town.queue.send(&sign_up("jo").to_text());
    let worker = town.worker_with(Settings { first, ..Town::settings() });
    town.drain(&worker).await;
    walk(&worker).await;
    for name in ["ann", "jo"] {
        let profile = town.profile(&sub(name)).await.unwrap();
        let by = Caller::known(profile.principal);
        let usage = town.engine.usage(&by, &profile.organisation).await.unwrap();
        assert_eq!(usage.quota_bytes, Some(1_000), "{name}");
    }
}
