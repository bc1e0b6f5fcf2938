//! Who is this? Passwords, machine tokens and access tokens, each checked against what is kept now.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;
use strongroom_engine::Error;
use strongroom_engine::access::{Action, Caller, Ceiling, Grant, Origin, Principal, PrincipalId};
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::extension::Batch;
use strongroom_http::auth::{Credentials, Secret};

use super::accounts::account;
use super::records::{self, AccountRecord, State, TokenRecord};
use super::{AccountsError, Embedded, Inner, tokens};
use crate::account::{AccountId, AccountName, Reach, TokenUse};
use crate::challenge::{self, Refusal};
use crate::password::{PasswordError, StoredPassword, Verdict};
use crate::provider::{IdentityError, IdentityProvider, Sought, Vouched};
use crate::secret::MachineToken;
use crate::token::subject::Subject;

/// The user name that goes with any token, for clients that must send one.
const ANY_NAME: &str = "__token__";
/// What stands for whoever did not sign in, in access tokens.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Somebody who proved who they are, and how.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(super) account: AccountId,
    pub(super) operator: bool,
    /// The password that the account has; it was shown where no token was.
    pub(super) password: Option<StoredPassword>,
    /// The machine token it was.
    pub(super) token: Option<(String, TokenRecord)>,
}

impl SignedIn {
    /// Somebody whom another provider vouched for, and whose account is [admitted](Embedded::admit).
    pub(crate) fn elsewhere(account: AccountId, operator: bool) -> Self {
        Self { account, operator, password: None, token: None }
    }

    /// The most that it may do. A token's is never [`Ceiling::Unlimited`], which is what changing a
    /// password or making a token takes: whoever finds a token must not get more by it.
    pub(super) fn ceiling(&self) -> Ceiling {
        self.token.as_ref().map_or(Ceiling::Unlimited, |(_, record)| ceiling_by(record))
    }

    /// Which account.
    pub(crate) fn account(&self) -> &AccountId {
        &self.account
    }

    /// Whether another provider must vouch for it again before it is good.
    pub(crate) fn needs_upstream(&self) -> bool {
        self.token.as_ref().is_some_and(|(_, record)| record.upstream.is_some())
    }

    /// How an access token names it.
    pub(super) fn subject(&self) -> String {
        match (&self.token, &self.password) {
            (Some((id, _)), _) => Subject::by_token(&self.account, id),
            (None, Some(password)) => Subject::by_password(&self.account, password),
            (None, None) => Subject::by_provider(&self.account),
        }
    }

    pub(crate) fn caller(&self, origin: Origin) -> Caller {
        Caller {
            principal: Principal::Known(self.account.principal()),
            ceiling: self.ceiling(),
            origin,
            operator: self.operator && self.token.is_none(),
        }
    }
}

/// The most that may be done by a machine token.
fn ceiling_by(record: &TokenRecord) -> Ceiling {
    match &record.reach {
        Reach::Everything => Ceiling::Grants([everything()].into()),
        Reach::Only(grants) => Ceiling::Grants(grants.as_slice().into()),
    }
}

/// All that can be done with content and tenants.
fn everything() -> Grant {
    let actions = vec![Action::List, Action::Pull, Action::Push, Action::Delete, Action::Manage];
    Grant { organisation: None, registry: None, repository: None, below: false, actions }
}

#[async_trait]
impl IdentityProvider for Embedded {
    async fn authenticate(
        &self,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<Vouched, IdentityError> {
        match credentials {
            Credentials::None => Ok(Caller { origin, ..Caller::anonymous() }.into()),
            Credentials::Bearer(token) if !MachineToken::looks_like_one(token.expose()) => {
                self.by_access_token(token, origin).await
            }
            Credentials::Basic { .. } | Credentials::Bearer(_) => {
                Ok(self.sign_in(credentials, &origin).await?.caller(origin).into())
            }
        }
    }

    async fn find(&self, text: &str) -> Result<Vec<PrincipalId>, IdentityError> {
        let id = match text.parse::<AccountId>() {
            Ok(id) => id,
            Err(_no_kind) => match text.parse::<AccountName>() {
                Ok(name) if !name.is_within() => AccountId::user(name),
                _ => return Ok(Vec::new()),
            },
        };
        let known = self.is_known(&id).await.map_err(away)?;
        Ok(known.then(|| id.principal()).into_iter().collect())
    }

    fn challenge(
        &self,
        base_url: Option<&str>,
        scope: Option<&str>,
        refusal: Refusal,
    ) -> Vec<HeaderValue> {
        let Some(base) = base_url.filter(|_| self.0.options.token_endpoint) else {
            return vec![challenge::basic("strongroom")];
        };
        let realm = format!("{base}{}", crate::endpoint::PATH);
        vec![challenge::bearer(&realm, &self.0.options.service, scope, refusal)]
    }
}

impl Embedded {
    /// Who shows a password or a machine token.
    pub(super) async fn sign_in(
        &self,
        credentials: &Credentials,
        origin: &Origin,
    ) -> Result<SignedIn, IdentityError> {
        match credentials {
            Credentials::None => Err(IdentityError::Wrong),
            Credentials::Bearer(token) => {
                self.by_machine_token(None, token, TokenUse::Access, origin).await
            }
            Credentials::Basic { user, password } => {
                if MachineToken::looks_like_one(password.expose()) {
                    Box::pin(self.by_machine_token(Some(user), password, TokenUse::Access, origin))
                        .await
                } else {
                    self.by_password(user, password, origin).await
                }
            }
        }
    }

    async fn by_password(
        &self,
        user: &str,
        password: &Secret,
        origin: &Origin,
    ) -> Result<SignedIn, IdentityError> {
        let id = user.parse::<AccountName>().ok().map(AccountId::user);
        let found = match id {
            Some(id) => self.active(&id).await?.map(|record| (id, record)),
            None => None,
        };
        match self.remembered(found.as_ref(), user, password) {
            Some(signed_in) => Ok(signed_in),
            None => Box::pin(self.by_verifying(found, user, password, origin)).await,
        }
    }

    /// The account, where this password of it was right a short while ago.
    fn remembered(
        &self,
        found: Option<&(AccountId, Arc<AccountRecord>)>,
        user: &str,
        password: &Secret,
    ) -> Option<SignedIn> {
        let (id, record) = found?;
        let stored = record.password.as_ref()?;
        self.knows(user, password, stored).then(|| by(id, record))
    }

    async fn by_verifying(
        &self,
        found: Option<(AccountId, Arc<AccountRecord>)>,
        user: &str,
        password: &Secret,
        origin: &Origin,
    ) -> Result<SignedIn, IdentityError> {
        let gate = self.gate(user);
        let _one_at_a_time = gate.lock().await;
        if let Some(signed_in) = self.remembered(found.as_ref(), user, password) {
            return Ok(signed_in);
        }
        self.take_guess(user, origin)?;
        let stored = found.as_ref().and_then(|(_, record)| record.password.as_ref());
        let right = match stored {
            Some(stored) => self.0.passwords.verify(password.expose(), stored).await,
            None => {
                self.0.passwords.verify_nobody(password.expose()).await.map(|()| Verdict::Wrong)
            }
        };
        let (right, outdated) = match right {
            Ok(Verdict::Right { outdated }) => (true, outdated),
            Ok(Verdict::Wrong) | Err(PasswordError::Length) => (false, false),
            Err(error) => return Err(IdentityError::Unavailable(error.to_string())),
        };
        let named = user.parse::<AccountName>().ok().map(AccountId::user);
        let who = named.map_or_else(|| ANONYMOUS.to_owned(), |id| id.to_string());
        self.record(who, origin, "password", right).await?;
        let (Some((id, record)), true) = (found, right) else { return Err(IdentityError::Wrong) };
        let record =
            if outdated { self.hashed_anew(&id, record, password, origin).await } else { record };
        if let Some(stored) = &record.password {
            self.0.cache.remember(user, password.expose(), stored, ());
        }
        Ok(by(&id, &record))
    }

    /// The record with its password hashed as is wanted now. Where that fails it is as it was, and
    /// the next sign-in tries again.
    async fn hashed_anew(
        &self,
        id: &AccountId,
        record: Arc<AccountRecord>,
        password: &Secret,
        origin: &Origin,
    ) -> Arc<AccountRecord> {
        let by = Caller { origin: origin.clone(), ..Caller::known(id.principal()) };
        match self.hash_again(&by, id, &record, password.expose()).await {
            Ok(renewed) => Arc::new(renewed),
            Err(error) => {
                tracing::warn!(account = %id, %error, "a password could not be hashed anew");
                record
            }
        }
    }

    /// Who shows a machine token. With Basic, the name beside it must be its owner's, or
    /// `__token__`: else the request says two things.
    pub(super) async fn by_machine_token(
        &self,
        user: Option<&str>,
        token: &Secret,
        used_for: TokenUse,
        origin: &Origin,
    ) -> Result<SignedIn, IdentityError> {
        let found = self.live_token(token, used_for).await?;
        let account = match &found {
            Some((_, record)) => self.active(&record.owner).await?.filter(|account| {
                user.is_none_or(|user| {
                    user == ANY_NAME
                        || user == record.owner.name.as_str()
                        || account.alias.as_deref() == Some(user)
                })
            }),
            None => None,
        };
        let (Some((id, record)), Some(account)) = (found, account) else {
            // 256 bits can't be guessed: what is limited is the filling of the trail.
            self.take_guess(ANY_NAME, origin)?;
            self.record(ANONYMOUS.to_owned(), origin, "token", false).await?;
            return Err(IdentityError::Wrong);
        };
        if self.0.seen.get(&id).is_none() {
            self.record(record.owner.to_string(), origin, &format!("token {id}"), true).await?;
            self.0.seen.insert(id.clone(), ());
        }
        let signed_in = by(&record.owner, &account);
        Ok(SignedIn { token: Some((id, record)), ..signed_in })
    }

    /// The record of a machine token that is good for this use now.
    async fn live_token(
        &self,
        token: &Secret,
        used_for: TokenUse,
    ) -> Result<Option<(String, TokenRecord)>, IdentityError> {
        let Some(token) = MachineToken::parse(token.expose()) else { return Ok(None) };
        let hash = token.hash();
        let id = tokens::id_of(&hash);
        let record = self.live(&id).await?;
        let record = record.filter(|r| r.hash == hash && r.used_for == used_for);
        Ok(record.map(|record| (id, record)))
    }

    /// The token of this id, where neither it nor what it was made from is over or revoked.
    async fn live(&self, id: &str) -> Result<Option<TokenRecord>, IdentityError> {
        let now = self.0.records.now().await.map_err(away)?;
        let alive = |record: Option<TokenRecord>| record.filter(|record| !record.is_over(now));
        let Some(record) = alive(self.token(id).await.map_err(away)?) else { return Ok(None) };
        if let Some(parent) = &record.parent
            && alive(self.token(parent).await.map_err(away)?).is_none()
        {
            return Ok(None);
        }
        Ok(Some(record))
    }

    /// Who shows an access token of ours, as far as its account and the machine token behind it
    /// still stand.
    async fn by_access_token(
        &self,
        token: &Secret,
        origin: Origin,
    ) -> Result<Vouched, IdentityError> {
        let granted = self.verify_access(token.expose()).await.map_err(away)?;
        let granted = granted.map_err(|error| {
            tracing::debug!(%error, "an access token is refused");
            IdentityError::Wrong
        })?;
        let vouched = |caller, credentials: &Ceiling| {
            let ceiling = granted.ceiling(credentials);
            let sought = Sought::Only(Arc::clone(&granted.sought));
            Vouched { caller: Caller { origin, ceiling, ..caller }, sought }
        };
        if granted.subject == ANONYMOUS {
            return Ok(vouched(Caller::anonymous(), &Ceiling::Unlimited));
        }
        let subject = granted.whom().ok_or(IdentityError::Wrong)?;
        let account = self.active(&subject.account).await?.ok_or(IdentityError::Wrong)?;
        if !subject.is_of(account.password.as_ref()) {
            return Err(IdentityError::Wrong);
        }
        let credentials = match subject.token() {
            Some(token) => ceiling_by(&self.live(token).await?.ok_or(IdentityError::Wrong)?),
            None => Ceiling::Unlimited,
        };
        Ok(vouched(Caller::known(subject.principal.clone()), &credentials))
    }

    /// Whether this account is there and not shut out.
    pub(crate) async fn is_active(&self, id: &AccountId) -> Result<bool, IdentityError> {
        Ok(self.active(id).await?.is_some())
    }

    /// Whether somebody had an account here that was deleted: nobody else gets its name, and they
    /// don't come back.
    pub(crate) async fn is_gone(&self, who: &PrincipalId) -> Result<bool, IdentityError> {
        let Ok(id) = who.as_str().parse::<AccountId>() else { return Ok(false) };
        Ok(self.record_of(&id).await?.is_some_and(|record| record.state == State::Deleted))
    }

    /// Whether this account was there and may not sign in, or no more. One that was never there is not.
    pub(crate) async fn is_shut_out(&self, id: &AccountId) -> Result<bool, IdentityError> {
        Ok(self.record_of(id).await?.is_some_and(|record| !record.is_open()))
    }

    async fn record_of(&self, id: &AccountId) -> Result<Option<AccountRecord>, IdentityError> {
        let entry = self.0.records.get(records::account(id)).await.map_err(away)?;
        entry.map(|entry| records::decode(&entry.value)).transpose().map_err(away)
    }

    /// What another provider calls this account.
    pub(crate) async fn alias(&self, id: &AccountId) -> Result<Option<String>, IdentityError> {
        Ok(self.active(id).await?.and_then(|account| account.alias.clone()))
    }

    /// The account, where it may sign in.
    async fn active(&self, id: &AccountId) -> Result<Option<Arc<AccountRecord>>, IdentityError> {
        let Inner { active, records, .. } = &*self.0;
        let revision = records.revision();
        if let Some(record) = active.find(revision, id) {
            return Ok(Some(record));
        }
        match Box::pin(account(records, id)).await {
            Ok((record, _)) if record.is_open() => {
                let record = Arc::new(record);
                active.keep(revision, id.clone(), Arc::clone(&record));
                Ok(Some(record))
            }
            Ok(_) | Err(AccountsError::Unknown { .. }) => Ok(None),
            Err(error) => Err(away(error)),
        }
    }

    fn knows(&self, user: &str, password: &Secret, stored: &StoredPassword) -> bool {
        self.0.cache.knows(user, password.expose(), stored)
    }

    /// Whether this is the name of a user of the installation's own, who may be shut out or deleted.
    pub(crate) async fn has_user(&self, user: &str) -> Result<bool, IdentityError> {
        let Ok(name) = user.parse::<AccountName>() else { return Ok(false) };
        let (id, Inner { active, records, .. }) = (AccountId::user(name), &*self.0);
        if active.find(records.revision(), &id).is_some() {
            return Ok(true);
        }
        Ok(records.get(records::account(&id)).await.map_err(away)?.is_some())
    }

    /// Sign-ins of one name wait here for each other.
    pub(crate) fn gate(&self, user: &str) -> &tokio::sync::Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(user);
        let at = usize::try_from(hash % self.0.gates.len() as u64).unwrap_or_default();
        self.0.gates.get(at).expect("the rest of a division by the length is below it")
    }

    /// Counts a try of a password that is not remembered.
    pub(crate) fn take_guess(&self, user: &str, origin: &Origin) -> Result<(), IdentityError> {
        // Who comes without an address shares one.
        let client = origin.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let taken = self.0.guesses.take(user, client);
        taken.map_err(|wait| IdentityError::TooMany { retry_after: wait.retry_after })
    }

    /// Writes the line of a sign-in. A store without room refuses the line, not who needs to
    /// sign in to make room.
    pub(crate) async fn record(
        &self,
        principal: String,
        origin: &Origin,
        method: &str,
        success: bool,
    ) -> Result<(), IdentityError> {
        let at = self.0.records.now().await.map_err(away)?;
        let kind = EventKind::SignedIn { method: method.to_owned(), success };
        let event = Event { organisation: SYSTEM, at, principal, origin: origin.clone(), kind };
        match self.0.records.commit(Batch::new().event(event)).await {
            Ok(()) => Ok(()),
            Err(error @ Error::StorageFull(_)) => {
                tracing::warn!(%error, "a sign-in has no line in the audit trail");
                Ok(())
            }
            Err(error) => Err(away(error)),
        }
    }
}

fn by(id: &AccountId, record: &AccountRecord) -> SignedIn {
    let password = record.password.clone();
    SignedIn { account: id.clone(), operator: record.operator, password, token: None }
}

pub(crate) fn away(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Unavailable(error.to_string())
}
