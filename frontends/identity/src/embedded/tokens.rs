//! Machine tokens: made and shown once, listed, revoked.

use std::time::Duration;

use strongroom_engine::access::Caller;
use strongroom_engine::extension::Batch;
use strongroom_engine::seam::Timestamp;

use super::records::{self, TokenRecord, Use};
use super::{AccountsError, Embedded, changed, demand_own};
use crate::account::{AccountId, Reach, TokenInfo};
use crate::secret::{MachineToken, TokenHash};

/// The longest label, in bytes.
const MAX_LABEL: usize = 200;
/// The most grants of one token: each is looked at with each request.
const MAX_GRANTS: usize = 64;
/// The most live tokens of one account, of each use.
const MAX_TOKENS: usize = 1_000;
/// The rows that one look reads.
const PAGE: usize = 500;

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

impl Embedded {
    /// Makes a token, which is returned this once; for operators, and for whose it is.
    pub async fn create_token(
        &self,
        by: &Caller,
        new: NewToken,
    ) -> Result<(TokenInfo, MachineToken), AccountsError> {
        demand_own(by, &new.owner)?;
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
        self.make(by, new, Use::Access, None).await
    }

    /// Makes a token of either use.
    pub(super) async fn make(
        &self,
        by: &Caller,
        new: NewToken,
        used_for: Use,
        parent: Option<String>,
    ) -> Result<(TokenInfo, MachineToken), AccountsError> {
        let (_, version) = self.account(&new.owner).await?;
        let now = self.0.records.now().await?;
        let live = self.prune(by, &new.owner, now, used_for).await?;
        if live >= MAX_TOKENS {
            return Err(AccountsError::Invalid(format!(
                "{} has {live} tokens already; revoke some",
                new.owner
            )));
        }
        let token = MachineToken::generate(&*self.0.seams.entropy);
        let hash = token.hash();
        let id = id_of(&hash);
        let record = TokenRecord {
            hash,
            used_for,
            owner: new.owner,
            label: new.label,
            reach: new.reach,
            created_at: now,
            expires_at: new.lifetime.map(|lifetime| now.plus(lifetime)),
            parent,
        };
        let change = match used_for {
            Use::Access => "token made",
            Use::Refresh => "refresh token made",
        };
        let subject = format!("{} token {id}", record.owner);
        let batch = Batch::new()
            .unchanged(records::account(&record.owner), version)
            .absent(records::token(&id))
            .put(records::token(&id), records::encode(&record))
            .put(records::token_of(&record.owner, &id), "")
            .event(changed(by, now, change, subject));
        self.0.records.commit(batch).await?;
        Ok((info(id, record), token))
    }

    /// The tokens of an account that are not over, without refresh tokens; for operators, and for
    /// whose they are.
    pub async fn tokens(
        &self,
        by: &Caller,
        owner: &AccountId,
    ) -> Result<Vec<TokenInfo>, AccountsError> {
        demand_own(by, owner)?;
        self.account(owner).await?;
        let now = self.0.records.now().await?;
        let mut tokens = self.all_tokens(owner).await?;
        tokens.retain(|(_, record)| record.used_for == Use::Access && !record.is_over(now));
        Ok(tokens.into_iter().map(|(id, record)| info(id, record)).collect())
    }

    /// Ends a token at once; for operators, and for whose it is.
    pub async fn revoke_token(&self, by: &Caller, id: &str) -> Result<(), AccountsError> {
        let unknown = || AccountsError::UnknownToken { id: id.chars().take(64).collect() };
        let record = self.token(id).await?.ok_or_else(unknown)?;
        demand_own(by, &record.owner)?;
        self.forget(by, &record.owner, &[id.to_owned()], "token revoked").await
    }

    /// The record of a token.
    pub(super) async fn token(&self, id: &str) -> Result<Option<TokenRecord>, AccountsError> {
        let fits = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits {
            return Ok(None);
        }
        let entry = self.0.records.get(records::token(id)).await?;
        entry.map(|entry| records::decode(&entry.value)).transpose()
    }

    /// Removes all tokens of an account.
    pub(super) async fn forget_tokens(
        &self,
        by: &Caller,
        owner: &AccountId,
    ) -> Result<(), AccountsError> {
        let ids: Vec<_> = self.all_tokens(owner).await?.into_iter().map(|(id, _)| id).collect();
        self.forget(by, owner, &ids, "tokens of a deleted account removed").await
    }

    /// Removes the refresh tokens of an account.
    pub(super) async fn forget_refresh_tokens(
        &self,
        by: &Caller,
        owner: &AccountId,
    ) -> Result<(), AccountsError> {
        let all = self.all_tokens(owner).await?;
        let refresh = all.into_iter().filter(|(_, record)| record.used_for == Use::Refresh);
        let ids: Vec<_> = refresh.map(|(id, _)| id).collect();
        self.forget(by, owner, &ids, "refresh tokens ended with the old password").await
    }

    /// Removes the tokens of an account that are over, and returns how many of one use are left.
    async fn prune(
        &self,
        by: &Caller,
        owner: &AccountId,
        now: Timestamp,
        used_for: Use,
    ) -> Result<usize, AccountsError> {
        let all = self.all_tokens(owner).await?;
        let (over, live): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, record)| record.is_over(now));
        let over: Vec<_> = over.into_iter().map(|(id, _)| id).collect();
        self.forget(by, owner, &over, "tokens removed that were over").await?;
        Ok(live.iter().filter(|(_, record)| record.used_for == used_for).count())
    }

    async fn forget(
        &self,
        by: &Caller,
        owner: &AccountId,
        ids: &[String],
        change: &str,
    ) -> Result<(), AccountsError> {
        for ids in ids.chunks(PAGE) {
            let now = self.0.records.now().await?;
            let subject = match ids {
                [id] => format!("{owner} token {id}"),
                ids => format!("{owner} {} tokens", ids.len()),
            };
            let mut batch = Batch::new().event(changed(by, now, change, subject));
            for id in ids {
                batch = batch.delete(records::token(id)).delete(records::token_of(owner, id));
            }
            self.0.records.commit(batch).await?;
        }
        Ok(())
    }

    async fn all_tokens(
        &self,
        owner: &AccountId,
    ) -> Result<Vec<(String, TokenRecord)>, AccountsError> {
        let prefix = records::tokens_of(owner);
        let mut tokens = Vec::new();
        let mut after = None;
        loop {
            let page = self.0.records.scan(&prefix, after.as_deref(), PAGE).await?;
            for entry in page.items {
                let key = String::from_utf8_lossy(&entry.key).into_owned();
                let id = key.strip_prefix(&prefix).unwrap_or_default();
                if let Some(record) = self.token(id).await? {
                    tokens.push((id.to_owned(), record));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(tokens);
            }
        }
    }
}

fn info(id: String, record: TokenRecord) -> TokenInfo {
    TokenInfo {
        id,
        owner: record.owner,
        label: record.label,
        reach: record.reach,
        created_at: record.created_at,
        expires_at: record.expires_at,
    }
}
