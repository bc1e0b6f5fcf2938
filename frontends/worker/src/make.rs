//! From a message to a profile, and what it means where there is none.

use std::time::Duration;

use strongroom_engine::{Engine, Error, Page};
use strongroom_identity::account::{Account, AccountId, AccountName};
use strongroom_identity::embedded::{self, AccountsError, set_barred};
use strongroom_identity::profiles::{self, First, NewUser, ProfilesError};
use strongroom_signup::{MessageError, SignUp};
use tokio::time::timeout;

/// How long the metadata may take: longer than each of their statements.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why there is no profile; each with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unmade {
    /// It never can be.
    Never(String),
    /// It may be done by another version of the program, or once somebody has seen to it.
    Later(String),
    /// The metadata are away: this one is not to blame, and others would fare the same.
    Away(String),
}

/// Does what a message asks for. A profile that is there stays as it is: the message may be older.
pub(crate) async fn from_message(engine: &Engine, body: &str, first: First) -> Result<(), Unmade> {
    let message = SignUp::parse(body).map_err(|error| match error {
        // In the middle of an upgrade the next to receive it may know it.
        MessageError::Version(_) => Unmade::Later(error.to_string()),
        error => Unmade::Never(error.to_string()),
    })?;
    let user = NewUser {
        sub: message.sub,
        username: message.username,
        email: message.email,
        email_verified: message.email_verified,
    };
    soon(async {
        match profiles::profile(engine, &user.sub).await? {
            Some(_) => Ok(()),
            None => profiles::ensure(engine, &user, first).await.map(drop),
        }
    })
    .await
}

/// Makes somebody's profile and organisation, or takes up what the pool says of them now: that it lets them
/// in among it.
pub(crate) async fn from_pool(engine: &Engine, user: &NewUser, first: First) -> Result<(), Unmade> {
    soon(async { profiles::ensure(engine, user, first).await.map(drop) }).await?;
    bar(engine, user, false).await
}

/// Shuts somebody out whom the pool does not let in any more.
pub(crate) async fn barred(engine: &Engine, user: &NewUser) -> Result<(), Unmade> {
    bar(engine, user, true).await
}

/// The same for an account whose person is not in the pool any more.
pub(crate) async fn barred_account(engine: &Engine, id: &AccountId) -> Result<(), Unmade> {
    soon(set_barred(engine, id, true)).await
}

/// Some of the accounts that the pool lets in, as far as is known here.
pub(crate) async fn let_in(engine: &Engine, after: Option<&str>) -> Result<Page<Account>, Unmade> {
    soon(embedded::let_in(engine, after)).await
}

async fn bar(engine: &Engine, user: &NewUser, barred: bool) -> Result<(), Unmade> {
    let name = user.sub.parse::<AccountName>();
    let id = AccountId::cognito(name.map_err(|error| Unmade::Never(error.to_string()))?);
    soon(set_barred(engine, &id, barred)).await
}

async fn soon<T, E: Into<Unmade>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Unmade> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Unmade::Away(format!("the metadata did not answer in {PATIENCE:?}"))),
    }
}

impl From<ProfilesError> for Unmade {
    fn from(error: ProfilesError) -> Self {
        let reason = error.to_string();
        match error {
            ProfilesError::Sub(_) | ProfilesError::Text { .. } | ProfilesError::NoName { .. } => {
                Self::Never(reason)
            }
            ProfilesError::Engine(error) if is_away(&error) => Self::Away(reason),
            _ => Self::Later(reason),
        }
    }
}

impl From<AccountsError> for Unmade {
    fn from(error: AccountsError) -> Self {
        let reason = error.to_string();
        match error {
            AccountsError::Engine(error) if is_away(&error) => Self::Away(reason),
            _ => Self::Later(reason),
        }
    }
}

fn is_away(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::StorageFull(_) | Error::Contended { .. })
}
