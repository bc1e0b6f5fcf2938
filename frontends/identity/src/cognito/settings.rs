//! Which pool, and as which of its clients.

use http::Uri;
use strongroom_http::auth::Secret;

use crate::web::{self, AddressError};

/// What may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `https://cognito-idp.REGION.amazonaws.com/POOL`: what stands in the tokens' `iss`, exactly.
    pub issuer: String,
    /// The app clients whose tokens are good; passwords are exchanged as the first.
    pub client_ids: Vec<String>,
    /// The secret of the first client, where it has one.
    pub client_secret: Option<Secret>,
    /// Where passwords are exchanged; the host of the issuer where absent.
    pub endpoint: Option<String>,
    /// Where the pool's keys are; below the issuer where absent.
    pub jwks_url: Option<String>,
    /// The group of the pool whose members operate the installation; nobody of the pool where absent.
    pub operator_group: Option<String>,
}

/// The settings can't be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The issuer is no pool.
    #[error(
        "the issuer {issuer:?} names no user pool: write it as the pool's tokens have it, \
         https://cognito-idp.REGION.amazonaws.com/POOL, without a slash at the end"
    )]
    Issuer {
        /// What was given.
        issuer: String,
    },
    /// There is no client.
    #[error("an app client of the user pool is needed: set client_ids")]
    Clients,
    /// An address can't be asked.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Settings {
    /// Fails where they can't be right; asks nobody.
    pub fn check(&self) -> Result<(), SettingsError> {
        let issuer = web::address(&self.issuer)?;
        let pool = issuer.path().trim_start_matches('/');
        if pool.is_empty() || pool.contains('/') || issuer.query().is_some() {
            return Err(SettingsError::Issuer { issuer: self.issuer.clone() });
        }
        if self.client_ids.is_empty() || self.client_ids.iter().any(String::is_empty) {
            return Err(SettingsError::Clients);
        }
        web::address(&self.endpoint())?;
        web::address(&self.jwks_url())?;
        Ok(())
    }

    pub(super) fn jwks_url(&self) -> String {
        let below = || format!("{}/.well-known/jwks.json", self.issuer);
        self.jwks_url.clone().unwrap_or_else(below)
    }

    pub(super) fn endpoint(&self) -> String {
        let host = || {
            let issuer: Uri = self.issuer.parse().unwrap_or_default();
            let scheme = issuer.scheme_str().unwrap_or("https").to_owned();
            format!("{scheme}://{}/", issuer.authority().map_or("", |host| host.as_str()))
        };
        self.endpoint.clone().unwrap_or_else(host)
    }
}
