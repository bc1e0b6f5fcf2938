//! Machine tokens: made and shown once, listed, revoked.
//!
//! Tokens that somebody makes are bounded in number, and more are refused. Refresh tokens come with
//! each sign-in of a client that asks for one, so there the oldest makes room: nobody is kept
//! from signing in by how often they did.

use std::time::Duration;

use strongroom_engine::access::{Caller, Grant};
use strongroom_engine::audit::SYSTEM;
use strongroom_engine::extension::Batch;
use strongroom_http::auth::Secret;

use super::accounts::account;
use super::records::{self, AccountRecord, TokenRecord};
use super::{AccountsError, Embedded, SignedIn, changed};
use crate::account::{AccountId, Kind, Reach, TokenInfo, TokenUse};
use crate::seal::SealError;
use crate::secret::{MachineToken, TokenHash};

/// The longest label, in bytes.
const MAX_LABEL: usize = 200;
/// The most grants of one token: each is looked at with each request.
const MAX_GRANTS: usize = 64;
/// The most live tokens of one account that somebody made.
const MAX_TOKENS: usize = 1_000;
/// The most refresh tokens of one account.
const MAX_REFRESH_TOKENS: usize = 1_000;
/// How many of the oldest refresh tokens are looked at with each new one: more than one, so that
/// those that are over get fewer.
const OLDEST: usize = 2;
/// The rows that one look reads.
const PAGE: usize = 500;
/// The hexadecimal digits of a token's id.
const ID_LENGTH: usize = 16;

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose.
    pub owner: AccountId,
    /// What it is for, in the owner's words.
    pub label: String,
    /// What it may do at most.
    pub reach: Reach,
    /// How long it lives; for ever where absent.
    pub lifetime: Option<Duration>,
}

/// What a token is called. Eight bytes of the hash of 256 random bits tell nothing of them.
pub(super) fn id_of(hash: &TokenHash) -> String {
    let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

/// What another provider's refresh token is sealed for: this token of ours and no other.
fn upstream_context(id: &str) -> String {
    format!("identity/upstream/{id}")
}

impl Embedded {
    /// Makes a token, which is returned this once; for operators, and for whose it is.
    pub async fn create_token(
        &self,
        by: &Caller,
        new: NewToken,
    ) -> Result<(TokenInfo, MachineToken), AccountsError> {
        self.demand_own(by, &new.owner)?;
        self.add_token(by, new).await
    }

    /// Makes a token for whose it is, or whose robot.
    pub(super) async fn add_token(
        &self,
        by: &Caller,
        new: NewToken,
    ) -> Result<(TokenInfo, MachineToken), AccountsError> {
        if new.owner.kind == Kind::Workload {
            return Err(AccountsError::Invalid(format!(
                "{} gets its tokens by exchange alone; a robot can have one that lasts",
                new.owner
            )));
        }
        if new.label.len() > MAX_LABEL || new.label.chars().any(char::is_control) {
            return Err(AccountsError::Invalid(format!(
                "a label is one line of at most {MAX_LABEL} bytes"
            )));
        }
        if let Reach::Only(grants) = &new.reach
            && (grants.is_empty() || grants.len() > MAX_GRANTS)
        {
            return Err(AccountsError::Invalid(format!(
                "a token that is bounded is for 1 to {MAX_GRANTS} places"
            )));
        }
        let live = self.prune(by, &new.owner).await?;
        if live >= MAX_TOKENS {
            return Err(AccountsError::Invalid(format!(
                "{} has {live} tokens already; revoke some",
                new.owner
            )));
        }
        self.make(by, new, TokenUse::Access, None, None).await
    }

    /// Makes the short token of a workload, for one that its issuer signed.
    pub(crate) async fn workload_token(
        &self,
        by: &Caller,
        owner: AccountId,
        label: String,
        reach: Vec<Grant>,
        lifetime: Duration,
    ) -> Result<MachineToken, AccountsError> {
        if self.prune(by, &owner).await? >= MAX_TOKENS {
            return Err(AccountsError::Invalid(format!(
                "{owner} has {MAX_TOKENS} live tokens; some must end first"
            )));
        }
        let new = NewToken { owner, label, reach: Reach::Only(reach), lifetime: Some(lifetime) };
        Ok(self.make(by, new, TokenUse::Access, None, None).await?.1)
    }

    /// Makes a refresh token; the oldest ones make room for it. It ends with its `parent`, the token
    /// that it was given for.
    pub(super) async fn create_refresh_token(
        &self,
        by: &Caller,
        new: NewToken,
        parent: Option<String>,
        upstream: Option<&Secret>,
    ) -> Result<MachineToken, AccountsError> {
        self.make_room(by, &new.owner).await?;
        Ok(self.make(by, new, TokenUse::Refresh, parent, upstream).await?.1)
    }

    /// What another provider gave for this refresh token, where it did.
    pub(crate) fn upstream(&self, signed_in: &SignedIn) -> Result<Option<Secret>, AccountsError> {
        let Some((id, record)) = &signed_in.token else { return Ok(None) };
        let Some(sealed) = &record.upstream else { return Ok(None) };
        let opened = self.0.master.open(&upstream_context(id), sealed)?;
        let text = String::from_utf8(opened).map_err(|_| SealError::Wrong)?;
        Ok(Some(Secret::new(text)))
    }

    async fn make(
        &self,
        by: &Caller,
        new: NewToken,
        used_for: TokenUse,
        parent: Option<String>,
        upstream: Option<&Secret>,
    ) -> Result<(TokenInfo, MachineToken), AccountsError> {
        let (account, version) = account(&self.0.records, &new.owner).await?;
        let now = self.0.records.now().await?;
        let token = MachineToken::generate(&*self.0.seams.entropy);
        let hash = token.hash();
        let id = id_of(&hash);
        let sealed = upstream.map(|secret| {
            let secret = secret.expose().as_bytes();
            self.0.master.seal(&*self.0.seams.entropy, &upstream_context(&id), secret)
        });
        let record = TokenRecord {
            hash,
            used_for,
            owner: new.owner,
            label: new.label,
            reach: new.reach,
            created_at: now,
            expires_at: new.lifetime.map(|lifetime| now.plus(lifetime)),
            parent,
            upstream: sealed.transpose()?,
        };
        let change = match used_for {
            TokenUse::Access => "token made",
            TokenUse::Refresh => "refresh token made",
        };
        let subject = format!("{} token {id}", record.owner);
        let batch = Batch::new()
            .unchanged(records::account(&record.owner), version)
            .absent(records::token(&id))
            .put(records::token(&id), records::encode(&record))
            .put(records::listing(&id, &record), "")
            .event(changed(by, account.chain(), now, change, subject));
        self.0.records.commit(batch).await?;
        Ok((info(id, record), token))
    }

    /// The tokens of an account that are of this use and not over, refresh tokens the oldest first; for
    /// operators, and for whose they are.
    pub async fn tokens(
        &self,
        by: &Caller,
        owner: &AccountId,
        used_for: TokenUse,
    ) -> Result<Vec<TokenInfo>, AccountsError> {
        self.demand_own(by, owner)?;
        self.live_tokens(owner, used_for).await
    }

    pub(super) async fn live_tokens(
        &self,
        owner: &AccountId,
        used_for: TokenUse,
    ) -> Result<Vec<TokenInfo>, AccountsError> {
        account(&self.0.records, owner).await?;
        let now = self.0.records.now().await?;
        let mut tokens = self.all_tokens(owner, used_for).await?;
        tokens.retain(|(_, record)| !record.is_over(now));
        Ok(tokens.into_iter().map(|(id, record)| info(id, record)).collect())
    }

    /// Ends a token at once, with the refresh tokens that were given for it; for operators, and for
    /// whose it is.
    pub async fn revoke_token(&self, by: &Caller, id: &str) -> Result<(), AccountsError> {
        let record = self.token(id).await?.ok_or_else(|| unknown(id))?;
        self.demand_own(by, &record.owner)?;
        self.end_token(by, id, record).await
    }

    /// Ends a token of `owner`; what is not there and what is somebody else's is
    /// [`AccountsError::UnknownToken`], for operators too. For whose it is.
    pub async fn revoke_token_of(
        &self,
        by: &Caller,
        owner: &AccountId,
        id: &str,
    ) -> Result<(), AccountsError> {
        self.demand_own(by, owner)?;
        self.end_token_of(by, owner, id).await
    }

    pub(super) async fn end_token_of(
        &self,
        by: &Caller,
        owner: &AccountId,
        id: &str,
    ) -> Result<(), AccountsError> {
        let record = self.token(id).await?.filter(|record| record.owner == *owner);
        self.end_token(by, id, record.ok_or_else(|| unknown(id))?).await
    }

    async fn end_token(
        &self,
        by: &Caller,
        id: &str,
        record: TokenRecord,
    ) -> Result<(), AccountsError> {
        let owner = record.owner.clone();
        // Without it they are worth nothing already; here they go from the list, too.
        let mut children = match record.used_for {
            TokenUse::Access => self.all_tokens(&owner, TokenUse::Refresh).await?,
            TokenUse::Refresh => Vec::new(),
        };
        children.retain(|(_, child)| child.parent.as_deref() == Some(id));
        self.forget(by, &owner, &[(id.to_owned(), record)], "token revoked").await?;
        self.forget(by, &owner, &children, "refresh tokens of a revoked token removed").await
    }

    /// The record of a token.
    pub(super) async fn token(&self, id: &str) -> Result<Option<TokenRecord>, AccountsError> {
        let fits = id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits {
            return Ok(None);
        }
        let entry = self.0.records.get(records::token(id)).await?;
        Ok(entry.map(|entry| records::decode(&entry.value)).transpose()?)
    }

    /// All tokens of an account, refresh tokens too.
    pub(super) async fn every_token(
        &self,
        owner: &AccountId,
    ) -> Result<Vec<(String, TokenRecord)>, AccountsError> {
        let mut all = self.all_tokens(owner, TokenUse::Access).await?;
        all.extend(self.all_tokens(owner, TokenUse::Refresh).await?);
        Ok(all)
    }

    /// Removes the refresh tokens of an account.
    pub(super) async fn forget_refresh_tokens(
        &self,
        by: &Caller,
        owner: &AccountId,
    ) -> Result<(), AccountsError> {
        let refresh = self.all_tokens(owner, TokenUse::Refresh).await?;
        self.forget(by, owner, &refresh, "refresh tokens ended with the old password").await
    }

    /// Removes the tokens of an account that are over, and returns how many are left.
    async fn prune(&self, by: &Caller, owner: &AccountId) -> Result<usize, AccountsError> {
        let now = self.0.records.now().await?;
        let all = self.all_tokens(owner, TokenUse::Access).await?;
        let (over, live): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, record)| record.is_over(now));
        self.forget(by, owner, &over, "tokens removed that were over").await?;
        Ok(live.len())
    }

    /// Removes the oldest refresh tokens where they are over, or where there are too many. Only the
    /// keys of the others are read.
    async fn make_room(&self, by: &Caller, owner: &AccountId) -> Result<(), AccountsError> {
        let now = self.0.records.now().await?;
        let listed = self.listed(&records::tokens_of(owner, TokenUse::Refresh)).await?;
        let excess = (listed.len() + 1).saturating_sub(MAX_REFRESH_TOKENS);
        let mut gone = Vec::new();
        for (at, id) in listed.iter().take(OLDEST.max(excess)).enumerate() {
            let Some(record) = self.token(id).await? else { continue };
            if at < excess || record.is_over(now) {
                gone.push((id.clone(), record));
            }
        }
        self.forget(by, owner, &gone, "oldest refresh tokens removed").await
    }

    pub(super) async fn forget(
        &self,
        by: &Caller,
        owner: &AccountId,
        tokens: &[(String, TokenRecord)],
        change: &str,
    ) -> Result<(), AccountsError> {
        if tokens.is_empty() {
            return Ok(());
        }
        // Also where the account was deleted a moment ago.
        let account = self.0.records.get(records::account(owner)).await?;
        let account: Option<AccountRecord> =
            account.map(|entry| records::decode(&entry.value)).transpose()?;
        let chain = account.map_or(SYSTEM, |account| account.chain());
        for tokens in tokens.chunks(PAGE) {
            let now = self.0.records.now().await?;
            let subject = match tokens {
                [(id, _)] => format!("{owner} token {id}"),
                tokens => format!("{owner} {} tokens", tokens.len()),
            };
            let mut batch = Batch::new().event(changed(by, chain, now, change, subject));
            for (id, record) in tokens {
                batch = batch.delete(records::token(id)).delete(records::listing(id, record));
            }
            self.0.records.commit(batch).await?;
        }
        Ok(())
    }

    async fn all_tokens(
        &self,
        owner: &AccountId,
        used_for: TokenUse,
    ) -> Result<Vec<(String, TokenRecord)>, AccountsError> {
        let mut tokens = Vec::new();
        for id in self.listed(&records::tokens_of(owner, used_for)).await? {
            if let Some(record) = self.token(&id).await? {
                tokens.push((id, record));
            }
        }
        Ok(tokens)
    }

    /// The ids that are listed under a prefix, in the order of their keys, which end in them.
    async fn listed(&self, prefix: &str) -> Result<Vec<String>, AccountsError> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let page = self.0.records.scan(prefix, after.as_deref(), PAGE).await?;
            for entry in page.items {
                let key = String::from_utf8_lossy(&entry.key);
                let rest = key.strip_prefix(prefix).unwrap_or_default();
                let id = rest.get(rest.len().saturating_sub(ID_LENGTH)..).unwrap_or_default();
                ids.push(id.to_owned());
            }
            after = page.next;
            if after.is_none() {
                return Ok(ids);
            }
        }
    }
}

fn unknown(id: &str) -> AccountsError {
    AccountsError::UnknownToken { id: id.chars().take(64).collect() }
}

fn info(id: String, record: TokenRecord) -> TokenInfo {
    TokenInfo {
        id,
        owner: record.owner,
        used_for: record.used_for,
        label: record.label,
        reach: record.reach,
        created_at: record.created_at,
        expires_at: record.expires_at,
    }
}
