//! The first start: an administrator, an organisation and a registry, so that there is something to
//! push to.
//!
//! It is over when the administrator is there: a start that was killed before is made up for by the
//! next, and one that finds any account does nothing.

use strongroom_engine::Error;
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_http::auth::Secret;
use strongroom_identity::account::{AccountId, AccountName};
use strongroom_identity::embedded::{AccountsError, demand_strength};

use crate::app::{App, console};
use crate::config::BOOTSTRAP_PASSWORD;
use crate::failure::Failure;
use crate::password;

/// The first administrator's name.
pub(crate) const ADMIN: &str = "admin";
/// The first organisation.
pub(crate) const ORGANISATION: &str = "default";
/// Its registry.
pub(crate) const REGISTRY: &str = "main";

/// A first start that is to be made.
pub(crate) struct FirstStart {
    admin: AccountId,
    password: Secret,
    generated: bool,
}

impl FirstStart {
    /// The administrator's password, where nobody chose one: to be shown once.
    pub(crate) fn generated(&self) -> Option<&Secret> {
        self.generated.then_some(&self.password)
    }
}

/// Whether this is the first start, and with which password. Fails where the chosen one is no good:
/// before anything is made, and before anybody is told that it serves.
pub(crate) async fn first_start(
    app: &App,
    chosen: Option<Secret>,
) -> Result<Option<FirstStart>, Failure> {
    if !app.identity.is_new().await? {
        return Ok(None);
    }
    let name = ADMIN.parse::<AccountName>();
    let admin = AccountId::user(name.map_err(|error| Failure::failed(error.to_string()))?);
    if let Some(chosen) = &chosen {
        demand_strength(&admin, chosen.expose()).map_err(|error| {
            Failure::usage(format!(
                "{BOOTSTRAP_PASSWORD}: {error}; choose another, or leave it out and one is generated"
            ))
        })?;
    }
    let generated = chosen.is_none();
    let password = chosen.unwrap_or_else(|| password::generate(&*app.seams.entropy));
    Ok(Some(FirstStart { admin, password, generated }))
}

/// Makes what a first start makes. To be called after the password was shown: who was told one that
/// then came to nothing starts it again and is told another, but an account whose password nobody
/// saw would be nobody's for ever.
pub(crate) async fn bootstrap(app: &App, first: &FirstStart) -> Result<Made, Failure> {
    let by = console();
    let organisation: OrganisationName =
        ORGANISATION.parse().map_err(|error| Failure::failed(format!("{error}")))?;
    let registry: RegistryName =
        REGISTRY.parse().map_err(|error| Failure::failed(format!("{error}")))?;
    let principal = first.admin.principal();
    made(app.engine.create_organisation(&by, &organisation, None, Some(&principal)).await)?;
    let settings = RegistrySettings::default();
    made(app.engine.create_registry(&by, &organisation, &registry, settings).await)?;
    match app.identity.create_user(&by, &first.admin, first.password.expose(), true).await {
        Ok(_) => Ok(Made::Now),
        Err(AccountsError::Taken { .. }) => Ok(Made::Elsewhere),
        Err(error) => Err(error.into()),
    }
}

/// Who made the administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// This start.
    Now,
    /// Another node's first start, a moment before: its password is the one that counts.
    Elsewhere,
}

/// What an earlier start made before it was killed is there.
fn made<T>(created: Result<T, Error>) -> Result<(), Error> {
    match created {
        Ok(_) | Err(Error::NameTaken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
