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
use strongroom_identity::embedded::AccountsError;

use crate::app::{App, console};
use crate::failure::Failure;
use crate::password;

/// The first administrator's name.
pub(crate) const ADMIN: &str = "admin";
/// The first organisation.
pub(crate) const ORGANISATION: &str = "default";
/// Its registry.
pub(crate) const REGISTRY: &str = "main";

/// What the first start made.
#[derive(Debug)]
pub(crate) struct FirstStart {
    /// The administrator's password, where nobody chose one: to be shown once.
    pub(crate) generated: Option<Secret>,
}

/// Makes what a first start makes, where this is one.
pub(crate) async fn bootstrap(
    app: &App,
    chosen: Option<Secret>,
) -> Result<Option<FirstStart>, Failure> {
    if !app.identity.is_new().await? {
        return Ok(None);
    }
    let by = console();
    let admin = AccountId::user(
        ADMIN.parse::<AccountName>().map_err(|error| Failure::failed(format!("{error}")))?,
    );
    let organisation: OrganisationName =
        ORGANISATION.parse().map_err(|error| Failure::failed(format!("{error}")))?;
    let registry: RegistryName =
        REGISTRY.parse().map_err(|error| Failure::failed(format!("{error}")))?;
    let principal = admin.principal();
    made(app.engine.create_organisation(&by, &organisation, None, Some(&principal)).await)?;
    let settings = RegistrySettings::default();
    made(app.engine.create_registry(&by, &organisation, &registry, settings).await)?;
    let generated = chosen.is_none().then(|| password::generate(&*app.seams.entropy));
    let password = chosen.as_ref().or(generated.as_ref());
    let password = password.expect("it was chosen or else generated");
    match app.identity.create_user(&by, &admin, password.expose(), true).await {
        Ok(_) => Ok(Some(FirstStart { generated })),
        // Another node's first start was a moment before.
        Err(AccountsError::Taken { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an earlier start made before it was killed is there.
fn made<T>(created: Result<T, Error>) -> Result<(), Error> {
    match created {
        Ok(_) | Err(Error::NameTaken { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
