//! The embedded provider: accounts, passwords and tokens in the engine's own stores.
//!
//! **Promises.** Every sign-in goes by the account as it is at that moment, so that who was disabled or
//! deleted, or whose token was revoked, is out at the next request. A name is used once: who is deleted
//! stays deleted, and nobody inherits a role. Every change has its audit line in the same commit;
//! sign-ins have one, too: the first of each [`Options::remembered_for`], and each failure as far as
//! guessing is let through.
//!
//! **Never.** It keeps a password or a machine token (argon2id and SHA-256 of them only), says which
//! part of credentials was wrong, or decides what somebody may do where.

mod accounts;
mod barred;
mod exchange;
#[cfg(test)]
pub(crate) mod house;
mod records;
mod robots;
mod sign_in;
mod signing;
#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use strongroom_engine::Error;
use strongroom_engine::access::{Caller, Ceiling};
use strongroom_engine::audit::{Event, EventKind};
use strongroom_engine::extension::Extension;
use strongroom_engine::id::OrganisationId;
use strongroom_engine::meta::Memo;
use strongroom_engine::seam::{Seams, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use accounts::demand_strength;
pub use barred::{let_in, set_barred};
pub(crate) use exchange::Renewal;
pub use exchange::{ExchangeError, Exchanged, Grant};
pub(crate) use sign_in::{ANONYMOUS, SignedIn, away};
pub use tokens::NewToken;

use self::records::AccountRecord;
use crate::account::{AccountId, AccountIdError, AccountNameError};
use crate::password::{Cost, PasswordError, Passwords};
use crate::record::Damaged;
use crate::seal::{MasterKey, SealError};
use crate::throttle::{Allowances, Guesses, PasswordCache};
use crate::token::{TokenError, Tokens};

/// The namespace of the engine's records that is ours.
pub const NAMESPACE: &str = "identity";

/// Sign-ins of so many different names are checked side by side; those of one name wait for each
/// other, so that a client that opens ten connections costs one hash.
const GATES: usize = 64;
/// How many token ids are remembered as seen lately, for the trail.
const SEEN: u64 = 10_000;

/// What may be set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How passwords are hashed.
    pub cost: Cost,
    /// How many passwords are hashed at once; each takes its memory.
    pub hashes_at_once: usize,
    /// How long a password that was right needs no hashing again. A changed one counts at once.
    pub remembered_for: Duration,
    /// How often somebody may guess.
    pub guesses: Allowances,
    /// How long an access token of the token endpoint lives; at most an hour.
    pub token_lifetime: Duration,
    /// How long a refresh token lives.
    pub refresh_lifetime: Duration,
    /// Who the tokens are for, as challenges and tokens name it.
    pub service: String,
    /// Whether challenges send clients to the token endpoint.
    pub token_endpoint: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cost: Cost::default(),
            hashes_at_once: 2,
            remembered_for: Duration::from_mins(5),
            guesses: Allowances::default(),
            token_lifetime: Duration::from_mins(5),
            refresh_lifetime: Duration::from_hours(30 * 24),
            service: "strongroom".to_owned(),
            token_endpoint: true,
        }
    }
}

/// Why accounts or tokens could not be read or changed. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountsError {
    /// There is no such account.
    #[error("there is no account {id}")]
    Unknown {
        /// Which.
        id: String,
    },
    /// There is no such token.
    #[error("there is no token {id}")]
    UnknownToken {
        /// Which.
        id: String,
    },
    /// The name is, or was, somebody's. Take another one.
    #[error("{id} is taken, or was deleted and stays reserved; choose another name")]
    Taken {
        /// Which.
        id: String,
    },
    /// Only operators, and for their own account its owner, may do this.
    #[error("{principal} may not do this; it takes an operator, signed in with the password")]
    Denied {
        /// Who asked.
        principal: String,
    },
    /// The last operator would be gone.
    #[error("{id} is the last operator; make somebody else one first")]
    LastOperator {
        /// Which.
        id: String,
    },
    /// Only users of the installation's own have a password here.
    #[error("{id} has no password here; give it a token")]
    NoPassword {
        /// Which.
        id: String,
    },
    /// The password is one that everybody tries first, or too short.
    #[error("this password is no good: {reason}")]
    WeakPassword {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something given is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// The name can't be one.
    #[error(transparent)]
    Name(#[from] AccountNameError),
    /// The text names no account.
    #[error(transparent)]
    Id(#[from] AccountIdError),
    /// The password could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A record can't be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The signing keys can't be opened.
    #[error("the keys that sign tokens can't be opened: {0}")]
    Sealed(#[from] SealError),
    /// A token could not be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// The provider. Clones share it.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    records: Extension,
    /// The accounts that may sign in, as they are asked for with each request.
    active: Memo<AccountId, Arc<AccountRecord>>,
    seams: Seams,
    options: Options,
    master: MasterKey,
    passwords: Passwords,
    cache: PasswordCache,
    guesses: Guesses,
    gates: Vec<Mutex<()>>,
    /// The tokens that were used lately, and so have their line in the trail.
    seen: Cache<String, ()>,
    access: Tokens,
    /// When the keys were last looked for because a token's was not known.
    looked: Mutex<Option<Instant>>,
}

impl Embedded {
    /// Opens the provider over its records, [`NAMESPACE`] of an engine. Makes its first signing key
    /// where there is none. Hashes once, so it takes a moment.
    pub async fn open(
        records: Extension,
        seams: Seams,
        master: MasterKey,
        options: Options,
    ) -> Result<Self, AccountsError> {
        let keys = signing::load(&records, &seams, &master).await?;
        let entropy = Arc::clone(&seams.entropy);
        let access = Tokens::new(
            options.service.clone(),
            options.service.clone(),
            options.token_lifetime,
            keys,
            seams.clone(),
        );
        Ok(Self(Arc::new(Inner {
            passwords: Passwords::new(options.cost, options.hashes_at_once, entropy)?,
            cache: PasswordCache::new(seams.clone(), options.remembered_for),
            guesses: Guesses::new(options.guesses),
            gates: (0..GATES).map(|_| Mutex::new(())).collect(),
            seen: Cache::builder().max_capacity(SEEN).time_to_live(options.remembered_for).build(),
            access,
            looked: Mutex::new(None),
            active: Memo::default(),
            records,
            seams,
            options,
            master,
        })))
    }
}

impl Embedded {
    /// How long a password that was right is remembered.
    pub(crate) fn remembered_for(&self) -> Duration {
        self.0.options.remembered_for
    }

    /// Fails unless `by` operates the installation, without the bounds of a token.
    fn demand_operator(&self, by: &Caller) -> Result<(), AccountsError> {
        if by.operator && by.ceiling == Ceiling::Unlimited {
            return Ok(());
        }
        self.0.records.note_refusal(by, "accounts");
        Err(AccountsError::Denied { principal: by.principal.as_str().to_owned() })
    }

    /// Fails unless `by` is an operator, or the account itself without the bounds of a token.
    fn demand_own(&self, by: &Caller, id: &AccountId) -> Result<(), AccountsError> {
        if by.principal.as_str() == id.to_string() && by.ceiling == Ceiling::Unlimited {
            return Ok(());
        }
        self.demand_operator(by)
    }

    /// Time and chance.
    pub(crate) fn seams(&self) -> &Seams {
        &self.0.seams
    }

    /// How many passwords were hashed or checked since it was opened: what sign-ins cost.
    pub fn hashes(&self) -> u64 {
        self.0.passwords.worked()
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// The line of a change of an account or a token, in the trail of whose it is.
fn changed(
    by: &Caller,
    organisation: OrganisationId,
    at: Timestamp,
    change: &str,
    subject: impl Into<String>,
) -> Event {
    let kind = EventKind::Identity { change: change.to_owned(), subject: subject.into() };
    Event::by(by, organisation, at, kind)
}
