//! Remembers good passwords for a moment, and slows down who guesses.
//!
//! **Promises.** A client that sends Basic with each request costs one argon2 in
//! [`PasswordCache::new`]'s time, not one a request; what is remembered is a keyed hash under a key
//! that only this process has, and with it the stored hash that it was right against, so that a changed
//! password is unknown at once. Guesses are limited per address, per person and address, and per person;
//! only what was not remembered counts, so an attacker doesn't lock out whoever is signed in already. A
//! name that somebody made up costs a few bytes, however long it is, and none where its address has no
//! guesses left.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use strongroom_engine::seam::{Seams, Timestamp};
use strongroom_http::limits::client_key;
use tokio::time::Instant;

use crate::password::StoredPassword;

/// How many passwords are remembered at most; each takes about 100 bytes.
const PASSWORDS: usize = 10_000;
/// How many pairs without a guess left are remembered.
const SPENT: u64 = 10_000;

/// What is remembered of a password that was right.
struct Right<T> {
    until: Timestamp,
    /// Against which hash it was.
    stored: StoredPassword,
    /// What was learnt by it.
    learnt: T,
}

/// Passwords that were right a moment ago, and what was learnt by it.
#[derive(Clone)]
pub struct PasswordCache<T = ()> {
    key: Arc<hmac::Key>,
    seams: Seams,
    remembered_for: Duration,
    right: Arc<Mutex<HashMap<[u8; 32], Right<T>>>>,
}

impl PasswordCache {
    /// Whether this password of this person was right a moment ago, against the same stored hash.
    pub fn knows(&self, user: &str, password: &str, stored: &StoredPassword) -> bool {
        self.recall(user, password, stored).is_some()
    }
}

impl<T: Clone + Send + Sync + 'static> PasswordCache<T> {
    /// Remembers each for `remembered_for`.
    pub fn new(seams: Seams, remembered_for: Duration) -> Self {
        let mut key = [0; 32];
        seams.entropy.fill(&mut key);
        Self {
            key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)),
            seams,
            remembered_for,
            right: Arc::default(),
        }
    }

    /// What was learnt when this password of this person was right, a moment ago, against the same
    /// stored hash.
    pub fn recall(&self, user: &str, password: &str, stored: &StoredPassword) -> Option<T> {
        let (now, tag) = (self.seams.clock.now(), self.tag(user, password));
        let right = self.right();
        let known = right.get(&tag).filter(|right| now < right.until && right.stored == *stored);
        known.map(|right| right.learnt.clone())
    }

    /// Remembers that it is right. Only to be called after it was checked.
    pub fn remember(&self, user: &str, password: &str, stored: &StoredPassword, learnt: T) {
        let (now, tag) = (self.seams.clock.now(), self.tag(user, password));
        let mut right = self.right();
        // Seldom, as a password was hashed for it; and nothing stays that is worth nothing.
        right.retain(|_, right| now < right.until);
        if right.len() >= PASSWORDS {
            let oldest = right.iter().min_by_key(|(_, right)| right.until).map(|(tag, _)| *tag);
            oldest.and_then(|tag| right.remove(&tag));
        }
        let (until, stored) = (now.plus(self.remembered_for), stored.clone());
        right.insert(tag, Right { until, stored, learnt });
    }

    fn right(&self) -> MutexGuard<'_, HashMap<[u8; 32], Right<T>>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag(&self, user: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, password] {
            // Lengths first: other parts never add up to the same bytes (THREATS B12).
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

impl<T> fmt::Debug for PasswordCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCache").finish_non_exhaustive()
    }
}

/// How many guesses somebody has: so many at once, and one more in each pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// At once.
    pub burst: NonZeroU32,
    /// Until there is one more.
    pub pause: Duration,
}

impl Allowance {
    /// `burst` at once, at least one.
    pub const fn new(burst: u32, pause: Duration) -> Self {
        match NonZeroU32::new(burst) {
            Some(burst) => Self { burst, pause },
            None => Self { burst: NonZeroU32::MIN, pause },
        }
    }

    fn quota(self) -> Quota {
        let pause = self.pause.max(Duration::from_nanos(1));
        Quota::with_period(pause)
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(self.burst)
    }
}

/// How many guesses there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowances {
    /// Of one person's password from one address.
    pub pair: Allowance,
    /// From one address, at anybody's.
    pub address: Allowance,
    /// Of one person's password, from anywhere: wide, since it is also what an attacker can use up
    /// for somebody else.
    pub user: Allowance,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            pair: Allowance::new(10, Duration::from_secs(10)),
            address: Allowance::new(50, Duration::from_secs(2)),
            user: Allowance::new(200, Duration::from_secs(2)),
        }
    }
}

/// Too many guesses. Answer 429 with Retry-After.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins were tried; try again in {} s", .retry_after.as_secs())]
pub struct TooManyGuesses {
    /// When there is one more guess; at least a second, whole seconds.
    pub retry_after: Duration,
}

/// Time that only goes on: a clock that is set back must not lock anybody out.
#[derive(Debug, Clone)]
struct Monotonic(Instant);

impl governor::clock::Clock for Monotonic {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Monotonic, NoOpMiddleware<Nanos>>;

/// Limits guesses. Names are kept as hashes: what they are is the client's to choose.
pub struct Guesses {
    pairs: Limiter<u64>,
    addresses: Limiter<IpAddr>,
    users: Limiter<u64>,
    /// The pairs that have no guess left, until when: those are refused before they cost others of
    /// their address anything.
    spent: Cache<u64, Nanos>,
    hasher: RandomState,
    clock: Monotonic,
    since_sweep: AtomicU32,
}

/// After how many guesses those who have their whole allowance again are forgotten.
const SWEEP: u32 = 1_024;

impl Guesses {
    /// Limits guesses to these allowances.
    pub fn new(allowances: Allowances) -> Self {
        let clock = Monotonic(Instant::now());
        Self {
            pairs: RateLimiter::dashmap_with_clock(allowances.pair.quota(), clock.clone()),
            addresses: RateLimiter::dashmap_with_clock(allowances.address.quota(), clock.clone()),
            users: RateLimiter::dashmap_with_clock(allowances.user.quota(), clock.clone()),
            spent: Cache::new(SPENT),
            hasher: RandomState::new(),
            clock,
            since_sweep: AtomicU32::new(0),
        }
    }

    /// Takes one guess: to be called before a password is checked that was not remembered. A
    /// whole IPv6 /64 is one client.
    pub fn take(&self, user: &str, client: IpAddr) -> Result<(), TooManyGuesses> {
        self.sweep();
        let client = client_key(client);
        let now = self.clock.now();
        let refused = |wait: Duration| TooManyGuesses {
            retry_after: Duration::from_secs(wait.as_secs() + 1),
        };
        let wait = |not_until: governor::NotUntil<Nanos>| not_until.wait_time_from(now);
        let pair = self.hasher.hash_one((user, client));
        if let Some(until) = self.spent.get(&pair).filter(|until| *until > now) {
            return Err(refused(until.saturating_sub(now).into()));
        }
        // The address before anything that is kept by name: else each name of a flood would be.
        self.addresses.check_key(&client).map_err(wait).map_err(refused)?;
        self.pairs.check_key(&pair).map_err(|not_until| {
            let wait = wait(not_until);
            self.spent.insert(pair, now + Nanos::from(wait));
            refused(wait)
        })?;
        self.users.check_key(&self.hasher.hash_one(user)).map_err(wait).map_err(refused)
    }

    /// Names that attackers make up must not stay in memory for ever.
    fn sweep(&self) {
        if self.since_sweep.fetch_add(1, Ordering::Relaxed) >= SWEEP {
            self.since_sweep.store(0, Ordering::Relaxed);
            self.pairs.retain_recent();
            self.addresses.retain_recent();
            self.users.retain_recent();
        }
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guesses")
    }
}

#[cfg(test)]
mod tests {
    use strongroom_engine::seam::{ManualClock, SeededEntropy};

    use super::*;

    fn stored(text: &str) -> StoredPassword {
        StoredPassword::from_stored(text)
    }

    fn cache() -> (PasswordCache, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000)));
        let entropy = Arc::new(SeededEntropy::new(1));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy };
        (PasswordCache::new(seams, Duration::from_mins(1)), clock)
    }

    #[test]
    fn a_password_is_remembered_until_its_time_is_over() {
        let (cache, clock) = cache();
        assert!(!cache.knows("jo", "p", &stored("h")));
        cache.remember("jo", "p", &stored("h"), ());
        clock.advance(Duration::from_secs(59));
        assert!(cache.knows("jo", "p", &stored("h")));
        clock.advance(Duration::from_secs(1));
        assert!(!cache.knows("jo", "p", &stored("h")));
    }

    #[test]
    fn where_too_many_are_remembered_the_oldest_is_forgotten() {
        let (cache, clock) = cache();
        for number in 0..=PASSWORDS {
            cache.remember(&number.to_string(), "p", &stored("h"), ());
            clock.advance(Duration::from_millis(1));
        }
        assert!(!cache.knows("0", "p", &stored("h")));
        assert!((1..=PASSWORDS).all(|number| cache.knows(&number.to_string(), "p", &stored("h"))));
    }

    #[test]
    fn threat_b12_no_other_password_person_or_stored_hash_is_known() {
        let (cache, _clock) = cache();
        cache.remember("jo", "ab", &stored("h"), ());
        for (user, password, hash) in [
            ("joa", "b", "h"),
            ("j", "oab", "h"),
            ("jo", "a", "bh"),
            ("jo", "ab", "h2"),
            ("jo", "", "abh"),
        ] {
            assert!(!cache.knows(user, password, &stored(hash)), "{user} {password} {hash}");
        }
    }

    fn client(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn guesses() -> Guesses {
        Guesses::new(Allowances {
            pair: Allowance::new(2, Duration::from_secs(10)),
            address: Allowance::new(3, Duration::from_secs(10)),
            user: Allowance::new(4, Duration::from_secs(10)),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_has_to_wait_and_then_has_one_more() {
        let guesses = guesses();
        guesses.take("jo", client(1)).unwrap();
        guesses.take("jo", client(1)).unwrap();
        let wait = guesses.take("jo", client(1)).unwrap_err().retry_after;
        assert!(wait >= Duration::from_secs(10) && wait <= Duration::from_secs(11), "{wait:?}");
        tokio::time::advance(wait).await;
        guesses.take("jo", client(1)).unwrap();
        guesses.take("jo", client(1)).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_at_many_people_from_one_address_is_limited() {
        let guesses = guesses();
        for user in ["a", "b", "c"] {
            guesses.take(user, client(1)).unwrap();
        }
        guesses.take("d", client(1)).unwrap_err();
        guesses.take("d", client(2)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_at_one_person_from_many_addresses_is_limited() {
        let guesses = guesses();
        for last in 1..=4 {
            guesses.take("jo", client(last)).unwrap();
        }
        guesses.take("jo", client(5)).unwrap_err();
        guesses.take("al", client(5)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_guessing_uses_up_nothing_of_others_at_the_address() {
        let hour = Duration::from_hours(1);
        let guesses = Guesses::new(Allowances {
            pair: Allowance::new(2, hour),
            address: Allowance::new(5, hour),
            user: Allowance::new(100, hour),
        });
        let taken = (0..100).filter(|_| guesses.take("jo", client(1)).is_ok()).count();
        assert_eq!(taken, 2);
        // The third was looked at, and those after it cost nothing.
        for other in ["al", "bo"] {
            guesses.take(other, client(1)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_from_one_address_is_kept_by_none_of_them() {
        let guesses = guesses();
        let long = "x".repeat(60_000);
        for n in 0..10_000 {
            guesses.take(&format!("{n}{long}"), client(1)).ok();
        }
        assert!(guesses.pairs.len() <= 3, "{}", guesses.pairs.len());
        assert!(guesses.users.len() <= 3, "{}", guesses.users.len());
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_names_do_not_stay_in_memory() {
        let guesses = guesses();
        for n in 0..SWEEP {
            guesses.take(&format!("user{n}"), client(u8::try_from(n % 250).unwrap())).ok();
        }
        tokio::time::advance(Duration::from_hours(1)).await;
        for _ in 0..2 {
            guesses.take("jo", client(1)).unwrap();
        }
        assert!(
            guesses.pairs.len() <= 2 && guesses.users.len() <= 2 && guesses.addresses.len() <= 2
        );
    }
}
