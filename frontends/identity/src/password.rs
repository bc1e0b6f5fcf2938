//! Passwords of people: argon2id, made slow on purpose, a bounded number at once.
//!
//! **Promises.** Hashing runs on the blocking pool, so many at once as were allowed, each with its
//! memory; a few more wait, and further ones are refused as busy, so that a flood of sign-ins costs
//! bounded memory and time. Checking the password of somebody unknown takes as long as of
//! somebody known.
//!
//! Dropping a future gives up its place in the queue; a hash under way is finished for nobody.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use strongroom_engine::seam::Entropy;
use tokio::sync::Semaphore;

/// The longest password, in bytes: there is no sense in more, and hashing it would take time.
const MAX_PASSWORD: usize = 1_024;

/// The most memory, in KiB, that a stored hash may ask for: 256 MiB.
const MAX_MEMORY: u32 = 256 * 1024;

/// How many may wait for each that is being worked on.
const WAITING: usize = 16;

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for Cost {
    /// 19 MiB and two passes: about 20 ms of one core.
    fn default() -> Self {
        Self { memory: 19 * 1024, passes: 2 }
    }
}

impl Cost {
    fn argon2(self) -> Result<Argon2<'static>, PasswordError> {
        let params = Params::new(self.memory, self.passes, 1, None);
        let params = params.map_err(|error| PasswordError::Cost(error.to_string()))?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Too many are being checked. Answer 503, and let the client try again.
    #[error("too many passwords are being checked; try again in a moment")]
    Busy,
    /// It is empty, or too long.
    #[error("a password has 1 to {MAX_PASSWORD} bytes")]
    Length,
    /// The cost is one that argon2 does not take.
    #[error("the cost of passwords is not possible: {0}")]
    Cost(String),
    /// What was stored is no hash that can be checked here.
    #[error("the stored password hash can't be used; set a new password")]
    BadHash,
    /// The task that hashed it died.
    #[error("checking the password failed")]
    Failed,
}

/// What is stored of a password: a PHC string, with its own parameters and salt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPassword(Arc<str>);

impl StoredPassword {
    /// What was stored.
    pub fn from_stored(phc: impl Into<Arc<str>>) -> Self {
        Self(phc.into())
    }

    /// What to store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword([redacted])")
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is another password.
    Wrong,
    /// It is this one.
    Right {
        /// The stored hash has another cost than is wanted now: hash the password again.
        outdated: bool,
    },
}

/// Hashes and checks passwords.
#[derive(Debug, Clone)]
pub struct Passwords {
    cost: Cost,
    entropy: Arc<dyn Entropy>,
    working: Arc<Semaphore>,
    /// How many were worked on.
    worked: Arc<AtomicU64>,
    queued: Arc<Semaphore>,
    /// What the passwords of unknown people are checked against.
    nobody: StoredPassword,
}

impl Passwords {
    /// Works on at most `at_once` passwords at the same time. Hashes once, so it takes a moment.
    pub fn new(
        cost: Cost,
        at_once: usize,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, PasswordError> {
        let at_once = at_once.max(1);
        let mut nothing = [0; 32];
        entropy.fill(&mut nothing);
        let nobody = hash(cost, &nothing, &salt(&*entropy))?;
        Ok(Self {
            cost,
            entropy,
            working: Arc::new(Semaphore::new(at_once)),
            worked: Arc::default(),
            queued: Arc::new(Semaphore::new(at_once * (1 + WAITING))),
            nobody,
        })
    }

    /// What to store of a new password.
    pub async fn hash(&self, password: &str) -> Result<StoredPassword, PasswordError> {
        let (cost, salt, password) = (self.cost, salt(&*self.entropy), owned(password)?);
        self.work(move || hash(cost, password.as_bytes(), &salt)).await
    }

    /// Whether `password` is the one that `stored` is of.
    pub async fn verify(
        &self,
        password: &str,
        stored: &StoredPassword,
    ) -> Result<Verdict, PasswordError> {
        let (cost, stored, password) = (self.cost, stored.clone(), owned(password)?);
        self.work(move || verify(cost, password.as_bytes(), &stored)).await
    }

    /// How many passwords were hashed or checked since the start.
    pub fn worked(&self) -> u64 {
        self.worked.load(Ordering::Relaxed)
    }

    /// Takes as long as checking `password` for somebody does: for names that nobody has, so that
    /// the time tells nothing (THREATS A15).
    pub async fn verify_nobody(&self, password: &str) -> Result<(), PasswordError> {
        self.verify(password, &self.nobody).await.map(drop)
    }

    async fn work<T, F>(&self, work: F) -> Result<T, PasswordError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, PasswordError> + Send + 'static,
    {
        let queued = Arc::clone(&self.queued).try_acquire_owned();
        let queued = queued.map_err(|_full| PasswordError::Busy)?;
        let working = Arc::clone(&self.working).acquire_owned().await;
        let working = working.map_err(|_closed| PasswordError::Failed)?;
        self.worked.fetch_add(1, Ordering::Relaxed);
        // The places stay taken while the work runs, even when nobody waits for it any more.
        let task = tokio::task::spawn_blocking(move || {
            let _held = (queued, working);
            work()
        });
        task.await.map_err(|_died| PasswordError::Failed)?
    }
}

fn owned(password: &str) -> Result<String, PasswordError> {
    let fits = (1..=MAX_PASSWORD).contains(&password.len());
    fits.then(|| password.to_owned()).ok_or(PasswordError::Length)
}

fn salt(entropy: &dyn Entropy) -> [u8; 16] {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    salt
}

fn hash(cost: Cost, password: &[u8], salt: &[u8]) -> Result<StoredPassword, PasswordError> {
    let hash = cost.argon2()?.hash_password_with_salt(password, salt);
    let hash = hash.map_err(|error| PasswordError::Cost(error.to_string()))?;
    Ok(StoredPassword::from_stored(hash.to_string()))
}

fn verify(cost: Cost, password: &[u8], stored: &StoredPassword) -> Result<Verdict, PasswordError> {
    let hash = PasswordHash::new(&stored.0).map_err(|_| PasswordError::BadHash)?;
    let params = Params::try_from(&hash).map_err(|_| PasswordError::BadHash)?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || params.m_cost() > MAX_MEMORY
    {
        return Err(PasswordError::BadHash);
    }
    let outdated = (params.m_cost(), params.t_cost()) != (cost.memory, cost.passes);
    match cost.argon2()?.verify_password(password, &hash) {
        Ok(()) => Ok(Verdict::Right { outdated }),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(_) => Err(PasswordError::BadHash),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_engine::seam::SystemEntropy;

    use super::*;

    /// As cheap as argon2 gets.
    const CHEAP: Cost = Cost { memory: 8, passes: 1 };

    fn passwords(at_once: usize) -> Passwords {
        Passwords::new(CHEAP, at_once, Arc::new(SystemEntropy)).unwrap()
    }

    #[tokio::test]
    async fn the_right_password_is_right_and_every_other_one_wrong() {
        let passwords = passwords(2);
        let stored = passwords.hash("correct horse").await.unwrap();
        assert!(stored.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", stored.as_str());
        let right = passwords.verify("correct horse", &stored).await.unwrap();
        assert_eq!(right, Verdict::Right { outdated: false });
        for wrong in ["correct hors", "Correct horse", "correct horse ", "\0"] {
            assert_eq!(passwords.verify(wrong, &stored).await.unwrap(), Verdict::Wrong, "{wrong}");
        }
        assert_ne!(passwords.hash("correct horse").await.unwrap(), stored, "each has its salt");
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_right_and_outdated() {
        let stored = passwords(1).hash("p").await.unwrap();
        let dearer = Cost { memory: 16, passes: 1 };
        let dearer = Passwords::new(dearer, 1, Arc::new(SystemEntropy)).unwrap();
        assert_eq!(dearer.verify("p", &stored).await.unwrap(), Verdict::Right { outdated: true });
    }

    #[tokio::test]
    async fn what_is_no_good_hash_is_never_right() {
        let passwords = passwords(1);
        let good = passwords.hash("p").await.unwrap();
        for bad in [
            String::new(),
            "p".to_owned(),
            good.as_str().replace("argon2id", "argon2i"),
            good.as_str().replace("m=8", "m=4000000"),
            good.as_str().rsplit_once('$').unwrap().0.to_owned(),
        ] {
            let verdict = passwords.verify("p", &StoredPassword::from_stored(&*bad)).await;
            assert!(matches!(verdict, Err(PasswordError::BadHash)), "{bad}: {verdict:?}");
        }
    }

    #[tokio::test]
    async fn lengths_are_bounded_before_anything_is_hashed() {
        let passwords = passwords(1);
        for bad in [String::new(), "x".repeat(MAX_PASSWORD + 1)] {
            assert!(matches!(passwords.hash(&bad).await, Err(PasswordError::Length)));
            assert!(matches!(passwords.verify_nobody(&bad).await, Err(PasswordError::Length)));
        }
        passwords.verify_nobody(&"x".repeat(MAX_PASSWORD)).await.unwrap();
    }

    #[tokio::test]
    async fn a_flood_is_refused_beyond_a_bounded_queue_and_then_served_again() {
        let passwords = passwords(1);
        let held = Arc::clone(&passwords.working).acquire_owned().await.unwrap();
        let mut waiting: Vec<_> =
            (0..=WAITING).map(|_| Box::pin(passwords.verify_nobody("p"))).collect();
        for one in &mut waiting {
            tokio::select! {
                biased;
                done = one => panic!("{done:?} though none may work"),
                () = std::future::ready(()) => {}
            }
        }
        assert!(matches!(passwords.verify_nobody("p").await, Err(PasswordError::Busy)));
        drop(waiting);
        drop(held);
        passwords.verify_nobody("p").await.unwrap();
    }

    #[test]
    fn threat_c25_a_stored_hash_is_shown_by_no_debug() {
        let stored = StoredPassword::from_stored("$argon2id$canary");
        assert_eq!(format!("{stored:?}"), "StoredPassword([redacted])");
    }
}
