//! All providers as one: what frontends ask, and what the token endpoint exchanges by.
//!
//! **Promises.** Each way to show who one is belongs to one provider, by its form and by names that are
//! the installation's own: no credentials are tried at one provider after the other refused them.
//! People of the user pool have an account here like everybody else, made at their first sight with
//! their [profile](crate::profiles), so that tokens can be theirs, and so that they can be shut out
//! here, too. Their passwords are remembered like the others, as long, and guessing is as slow.
//!
//! A refresh token of somebody of the pool holds the pool's own, sealed: with each use (but at most once in
//! [`Options::remembered_for`](crate::embedded::Options::remembered_for)) the pool is asked again, so that
//! who was disabled or deleted there is out here.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use moka::sync::Cache;
use serde::Deserialize;
use strongroom_engine::Engine;
use strongroom_engine::access::{Caller, Origin, PrincipalId};
use strongroom_engine::seam::Timestamp;
use strongroom_http::auth::{Credentials, Secret};

use crate::account::{AccountId, Kind};
use crate::challenge::Refusal;
use crate::cognito::{Cognito, Person, Session};
use crate::embedded::{
    ANONYMOUS, Embedded, ExchangeError, Exchanged, Grant, Renewal, SignedIn, away,
};
use crate::password::StoredPassword;
use crate::profiles::{self, First};
use crate::provider::{IdentityError, IdentityProvider, Vouched};
use crate::scope::Scope;
use crate::secret::MachineToken;
use crate::throttle::PasswordCache;
use crate::token::MAX_LENGTH;

/// How many people are remembered as seen, and refresh tokens as confirmed.
const SEEN: u64 = 10_000;

/// The providers of an installation. Clones share them.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    engine: Engine,
    embedded: Embedded,
    pool: Option<Pool>,
    first: First,
}

/// The user pool, with what is remembered of it.
struct Pool {
    cognito: Cognito,
    /// Those whose passwords were right, with the pool's refresh tokens.
    right: PasswordCache<Session>,
    /// Those who have their profile and account, as they were when it was seen to.
    seen: Cache<String, Person>,
    /// Our refresh tokens, by their accounts and hashes, and until when the pool need not be asked again.
    confirmed: Cache<[u8; 32], Timestamp>,
}

impl Identity {
    /// The embedded provider and, where there is one, a user pool, whose people begin with an organisation
    /// that is made as `first` says.
    pub fn new(engine: Engine, embedded: Embedded, cognito: Option<Cognito>, first: First) -> Self {
        let remembered_for = embedded.remembered_for();
        let pool = cognito.map(|cognito| Pool {
            cognito,
            right: PasswordCache::new(embedded.seams().clone(), remembered_for),
            seen: Cache::new(SEEN),
            confirmed: Cache::builder().max_capacity(SEEN).time_to_live(remembered_for).build(),
        });
        Self(Arc::new(Parts { engine, embedded, pool, first }))
    }

    /// Gives an access token for `scopes`; where `offline` is set, a refresh token labelled so, too.
    pub async fn exchange(
        &self,
        grant: &Grant,
        scopes: &[Scope],
        offline: Option<&str>,
        origin: &Origin,
    ) -> Result<Exchanged, ExchangeError> {
        let Parts { embedded, pool, .. } = &*self.0;
        match (grant, pool) {
            (Grant::Credentials(credentials), Some(pool)) => {
                let Some((user, password)) = self.for_pool(credentials).await? else {
                    return embedded.exchange(grant, scopes, offline, origin).await;
                };
                let session = self.by_pool_password(pool, user, password, origin).await?;
                let signed_in = self.admit(pool, &session.person, origin).await?;
                let renewal = match (offline, &session.refresh) {
                    (Some(label), Some(upstream)) => {
                        Renewal::New { label, upstream: Some(upstream) }
                    }
                    _ => Renewal::None,
                };
                embedded.give(&signed_in, scopes, renewal, origin).await
            }
            (Grant::Refresh(token), Some(pool)) => {
                let signed_in = embedded.by_refresh_token(token, origin).await?;
                if signed_in.needs_upstream() {
                    self.confirm(pool, &signed_in, token, origin).await?;
                }
                embedded.give(&signed_in, scopes, Renewal::Same(token), origin).await
            }
            (_, None) => embedded.exchange(grant, scopes, offline, origin).await,
        }
    }

    /// A password that is the pool's to check: of a name that is not, and was never, of a user of the
    /// installation's own.
    async fn for_pool<'a>(
        &self,
        credentials: &'a Credentials,
    ) -> Result<Option<(&'a str, &'a Secret)>, IdentityError> {
        let Credentials::Basic { user, password } = credentials else { return Ok(None) };
        if MachineToken::looks_like_one(password.expose()) || self.0.embedded.has_user(user).await?
        {
            return Ok(None);
        }
        Ok(Some((user, password)))
    }

    async fn by_pool_password(
        &self,
        pool: &Pool,
        user: &str,
        password: &Secret,
        origin: &Origin,
    ) -> Result<Session, IdentityError> {
        let embedded = &self.0.embedded;
        // No hash of the pool's is known here: a changed password counts when this one is forgotten.
        let stored = StoredPassword::from_stored("of the user pool");
        // Who was this a moment ago may be shut out, and the name somebody else's by now.
        let recall = async || match pool.right.recall(user, password.expose(), &stored) {
            Some(session) if !embedded.is_shut_out(&account(&session.person)).await? => {
                Ok::<_, IdentityError>(Some(session))
            }
            _ => Ok(None),
        };
        if let Some(session) = recall().await? {
            return Ok(session);
        }
        let _one_at_a_time = embedded.gate(user).lock().await;
        if let Some(session) = recall().await? {
            return Ok(session);
        }
        embedded.take_guess(user, origin)?;
        let answer = pool.cognito.password(user, password).await;
        let who = match &answer {
            Ok(session) => account(&session.person).to_string(),
            Err(IdentityError::Unavailable(_) | IdentityError::TooMany { .. }) => return answer,
            Err(_) => ANONYMOUS.to_owned(),
        };
        embedded.record(who, origin, "password at the user pool", answer.is_ok()).await?;
        let session = answer?;
        pool.right.remember(user, password.expose(), &stored, session.clone());
        Ok(session)
    }

    async fn by_pool_token(
        &self,
        pool: &Pool,
        token: &Secret,
        origin: Origin,
    ) -> Result<Vouched, IdentityError> {
        let person = pool.cognito.verify(token.expose()).await?;
        let signed_in = self.admit(pool, &person, &origin).await?;
        Ok(signed_in.caller(origin).into())
    }

    /// Lets somebody of the pool in: at their first sight here, and whenever what is told of them
    /// changed, their profile and account are seen to. Fails where they are shut out here.
    async fn admit(
        &self,
        pool: &Pool,
        person: &Person,
        origin: &Origin,
    ) -> Result<SignedIn, IdentityError> {
        let Parts { engine, embedded, first, .. } = &*self.0;
        let id = account(person);
        let key = person.sub.as_str();
        // An access token tells less than an id token: that is no change.
        let told = |seen: Person| {
            seen.username == person.username
                && (person.email.is_none()
                    || (&seen.email, seen.email_verified) == (&person.email, person.email_verified))
        };
        let known = pool.seen.get(key).is_some_and(told);
        let open = if known {
            embedded.is_active(&id).await?
        } else {
            let by = Caller { origin: origin.clone(), ..Caller::known(id.principal()) };
            let open = embedded.admit(&by, &id, Some(&person.username)).await.map_err(away)?;
            if open {
                profiles::ensure(engine, &person.new_user(), *first).await.map_err(away)?;
                pool.seen.insert(key.to_owned(), person.clone());
            }
            open
        };
        if !open {
            return Err(IdentityError::Wrong);
        }
        Ok(SignedIn::elsewhere(id, person.operator))
    }

    /// Asks the pool whether it would still renew the sign-in of a refresh token of ours.
    async fn confirm(
        &self,
        pool: &Pool,
        signed_in: &SignedIn,
        token: &Secret,
        origin: &Origin,
    ) -> Result<(), IdentityError> {
        let embedded = &self.0.embedded;
        let clock = &embedded.seams().clock;
        let Some(token) = MachineToken::parse(token.expose()) else {
            return Err(IdentityError::Wrong);
        };
        let tag = *token.hash().as_bytes();
        if pool.confirmed.get(&tag).is_some_and(|until| clock.now() < until) {
            return Ok(());
        }
        let upstream = embedded.upstream(signed_in).map_err(away)?.ok_or(IdentityError::Wrong)?;
        let account = signed_in.account();
        let name = embedded.alias(account).await?.ok_or(IdentityError::Wrong)?;
        let answer = pool.cognito.renew(&name, &upstream).await;
        if let Err(IdentityError::Wrong) = answer {
            let who = account.to_string();
            embedded.record(who, origin, "refresh token at the user pool", false).await?;
        }
        if answer?.person.sub != account.name {
            return Err(IdentityError::Wrong);
        }
        pool.confirmed.insert(tag, clock.now().plus(embedded.remembered_for()));
        Ok(())
    }
}

#[async_trait]
impl IdentityProvider for Identity {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<Vouched, IdentityError> {
        let Parts { embedded, pool, .. } = &*self.0;
        let Some(pool) = pool else { return embedded.authenticate(credentials, origin).await };
        match credentials {
            Credentials::Bearer(token) if is_foreign(token.expose()) => {
                Box::pin(self.by_pool_token(pool, token, origin)).await
            }
            _ => match self.for_pool(credentials).await? {
                Some((user, password)) => {
                    let session = Box::pin(self.by_pool_password(pool, user, password, &origin));
                    let person = session.await?.person;
                    let signed_in = Box::pin(self.admit(pool, &person, &origin)).await?;
                    Ok(signed_in.caller(origin).into())
                }
                None => embedded.authenticate(credentials, origin).await,
            },
        }
    }

    /// Whoever has an account here, and whoever of the pool has a profile, by their name there or
    /// their verified address; but nobody who was deleted here.
    async fn find(&self, text: &str) -> Result<Vec<PrincipalId>, IdentityError> {
        let Parts { engine, embedded, pool, .. } = &*self.0;
        let mut found = embedded.find(text).await?;
        if pool.is_none() {
            return Ok(found);
        }
        let profiles = match text.parse::<AccountId>() {
            Ok(AccountId { kind: Kind::Cognito, name }) => {
                profiles::profile(engine, name.as_str()).await.map_err(away)?.into_iter().collect()
            }
            Ok(_) => Vec::new(),
            Err(_no_principal) => profiles::find(engine, text).await.map_err(away)?,
        };
        for profile in profiles {
            let new = !found.contains(&profile.principal);
            if new && !embedded.is_gone(&profile.principal).await? {
                found.push(profile.principal);
            }
        }
        Ok(found)
    }

    fn challenge(
        &self,
        base_url: Option<&str>,
        scope: Option<&str>,
        refusal: Refusal,
    ) -> Vec<HeaderValue> {
        self.0.embedded.challenge(base_url, scope, refusal)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.0.pool.as_ref().map(|pool| &pool.cognito);
        f.debug_struct("Identity")
            .field("embedded", &self.0.embedded)
            .field("cognito", &pool)
            .finish_non_exhaustive()
    }
}

fn account(person: &Person) -> AccountId {
    AccountId::cognito(person.sub.clone())
}

/// Whether a token is not of our own form, and so for the pool to look at. It decides who looks, not
/// how: each verifies by the algorithm of its own keys.
fn is_foreign(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    if token.len() > MAX_LENGTH || MachineToken::looks_like_one(token) {
        return false;
    }
    let Some((header, _)) = token.split_once('.') else { return false };
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let header = header.and_then(|bytes| serde_json::from_slice::<Header>(&bytes).ok());
    header.is_some_and(|header| header.alg != "HS256")
}

#[cfg(test)]
mod tests;
