//! Accounts: created, listed, shut out, given up; and their passwords.

use strongroom_engine::access::Caller;
use strongroom_engine::extension::{Batch, Extension, Version};
use strongroom_engine::id::OrganisationId;
use strongroom_engine::seam::Timestamp;
use strongroom_engine::{Error, Page};

use super::records::{self, AccountRecord, State};
use super::{AccountsError, Embedded, changed};
use crate::account::{Account, AccountId, Kind};
use crate::record::Damaged;

/// The shortest password, in characters.
const MIN_PASSWORD: usize = 8;
/// How often a change that lost a race is tried anew.
const ATTEMPTS: usize = 8;
/// How many tokens go in the commit that deletes their account; more go behind it.
const TOKENS_AT_ONCE: usize = 200;
/// The accounts that one look reads at most.
const PAGE: usize = 1_000;

/// What everybody tries first (THREATS A14).
const KNOWN: [&str; 16] = [
    "password",
    "passw0rd",
    "password1",
    "password123",
    "12345678",
    "123456789",
    "1234567890",
    "changeme",
    "changeit",
    "adminadmin",
    "admin123",
    "administrator",
    "harbor12345",
    "strongroom",
    "letmein1",
    "qwertyui",
];

/// Fails where nobody should have such a password.
pub fn demand_strength(id: &AccountId, password: &str) -> Result<(), AccountsError> {
    let lower = password.to_lowercase();
    let weak = |reason| Err(AccountsError::WeakPassword { reason });
    if password.chars().count() < MIN_PASSWORD {
        weak("it has fewer than 8 characters")
    } else if KNOWN.contains(&lower.as_str()) {
        weak("it is one of those that are tried first")
    } else if lower == id.name.as_str() {
        weak("it is the name of the account")
    } else {
        Ok(())
    }
}

impl Embedded {
    /// Creates somebody with a password; for operators.
    pub async fn create_user(
        &self,
        by: &Caller,
        id: &AccountId,
        password: &str,
        operator: bool,
    ) -> Result<Account, AccountsError> {
        self.demand_operator(by)?;
        if id.kind != Kind::User {
            return Err(AccountsError::NoPassword { id: id.to_string() });
        }
        if id.name.is_within() {
            return Err(AccountsError::Invalid(format!("{id} is not the name of a person")));
        }
        demand_strength(id, password)?;
        let password = Some(self.0.passwords.hash(password).await?);
        let created_at = self.0.records.now().await?;
        let record = AccountRecord {
            state: State::Active,
            operator,
            password,
            alias: None,
            created_at,
            organisation: None,
            barred: false,
        };
        let change = if operator { "user created, as operator" } else { "user created" };
        self.create(by, id, record, change).await
    }

    /// Creates a machine's account, without any token yet; for operators.
    pub async fn create_robot(
        &self,
        by: &Caller,
        id: &AccountId,
    ) -> Result<Account, AccountsError> {
        self.demand_operator(by)?;
        if id.kind != Kind::Robot || id.name.is_within() {
            return Err(AccountsError::Invalid(format!(
                "{id} is not the name of a robot of the installation"
            )));
        }
        let created_at = self.0.records.now().await?;
        self.create(by, id, without_password(None, created_at, None), "robot created").await
    }

    /// The account of somebody whom another provider vouches for, made at their first sight; none where
    /// it is shut out here, or was deleted.
    pub(crate) async fn admit(
        &self,
        by: &Caller,
        id: &AccountId,
        alias: Option<&str>,
    ) -> Result<bool, AccountsError> {
        for _ in 0..ATTEMPTS {
            let Some(entry) = self.0.records.get(records::account(id)).await? else {
                let now = self.0.records.now().await?;
                let record = without_password(alias.map(str::to_owned), now, None);
                match self.create(by, id, record, "account of another provider made").await {
                    Ok(_) => return Ok(true),
                    Err(AccountsError::Taken { .. }) => continue,
                    Err(error) => return Err(error),
                }
            };
            let record: AccountRecord = records::decode(&entry.value)?;
            if !record.is_open() {
                return Ok(false);
            }
            if record.alias.as_deref() == alias {
                return Ok(true);
            }
            let alias = alias.map(str::to_owned);
            let renamed = |record| AccountRecord { alias: alias.clone(), ..record };
            self.change(by, id, "another provider's name for it set", renamed).await?;
        }
        Err(Error::Contended { what: "an account" }.into())
    }

    pub(super) async fn create(
        &self,
        by: &Caller,
        id: &AccountId,
        record: AccountRecord,
        change: &str,
    ) -> Result<Account, AccountsError> {
        let key = records::account(id);
        let line = changed(by, record.chain(), record.created_at, change, id.to_string());
        let mut batch = Batch::new()
            .absent(key.as_str())
            .put(key.as_str(), records::encode(&record))
            .event(line);
        if let Some(organisation) = record.organisation {
            batch = batch.put(records::robot_of(organisation, id), "");
        }
        match self.0.records.commit(batch).await {
            Ok(()) => Ok(shown(id, &record)),
            Err(Error::Contended { .. }) => Err(AccountsError::Taken { id: id.to_string() }),
            Err(error) => Err(error.into()),
        }
    }

    /// The accounts of one kind, in the order of their names, without the deleted ones; for
    /// operators. The next page comes after [`Page::next`]; a page may have fewer than `limit` and
    /// not be the last.
    pub async fn accounts(
        &self,
        by: &Caller,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Account>, AccountsError> {
        self.demand_operator(by)?;
        let there = |record: &AccountRecord| record.state != State::Deleted;
        list(&self.0.records, kind, (after, limit), there).await
    }

    /// Whether nobody was ever created here: the first start.
    pub async fn is_new(&self) -> Result<bool, AccountsError> {
        Ok(self.0.records.scan(records::ACCOUNTS, None, 1).await?.items.is_empty())
    }

    /// Shuts an account out, or lets it in again; for operators. The last operator stays in.
    pub async fn set_disabled(
        &self,
        by: &Caller,
        id: &AccountId,
        disabled: bool,
    ) -> Result<Account, AccountsError> {
        self.demand_operator(by)?;
        self.shut_out(by, id, disabled).await
    }

    pub(super) async fn shut_out(
        &self,
        by: &Caller,
        id: &AccountId,
        disabled: bool,
    ) -> Result<Account, AccountsError> {
        let (state, change) = if disabled {
            (State::Disabled, "account disabled")
        } else {
            (State::Active, "account enabled")
        };
        self.change(by, id, change, |record| AccountRecord { state, ..record }).await
    }

    /// Gives an account up; for operators. Its name stays reserved, its tokens are worth nothing
    /// from here on. The last operator stays.
    pub async fn delete_account(&self, by: &Caller, id: &AccountId) -> Result<(), AccountsError> {
        self.demand_operator(by)?;
        self.retire(by, id).await
    }

    /// Gives an account up for whoever may end what it stands for, with its tokens: those of them that
    /// fit in one commit are in its.
    pub(crate) async fn retire(&self, by: &Caller, id: &AccountId) -> Result<(), AccountsError> {
        let gone = |record| AccountRecord {
            state: State::Deleted,
            operator: false,
            password: None,
            ..record
        };
        let tokens = self.every_token(id).await?;
        let (first, rest) = tokens.split_at(tokens.len().min(TOKENS_AT_ONCE));
        let also = |batch: Batch| {
            first.iter().fold(batch, |batch, (token, record)| {
                batch.delete(records::token(token)).delete(records::listing(token, record))
            })
        };
        change_and(&self.0.records, by, id, "account deleted", gone, also).await?;
        self.forget(by, id, rest, "tokens of a deleted account removed").await
    }

    /// An account as everybody sees it; for operators, and for who it is.
    pub async fn look_up(&self, by: &Caller, id: &AccountId) -> Result<Account, AccountsError> {
        self.demand_own(by, id)?;
        Ok(shown(id, &account(&self.0.records, id).await?.0))
    }

    /// Whether there is such an account now. The frontend that asks for somebody who invites them
    /// has made sure that they may invite.
    pub async fn is_known(&self, id: &AccountId) -> Result<bool, AccountsError> {
        match account(&self.0.records, id).await {
            Ok(_) => Ok(true),
            Err(AccountsError::Unknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the password of somebody; for operators, and for who it is. Access and
    /// refresh tokens that were given for the old one end.
    pub async fn set_password(
        &self,
        by: &Caller,
        id: &AccountId,
        password: &str,
    ) -> Result<Account, AccountsError> {
        self.demand_own(by, id)?;
        if id.kind != Kind::User {
            return Err(AccountsError::NoPassword { id: id.to_string() });
        }
        demand_strength(id, password)?;
        let password = self.0.passwords.hash(password).await?;
        let set = |record| AccountRecord { password: Some(password.clone()), ..record };
        let account = self.change(by, id, "password set", set).await?;
        self.forget_refresh_tokens(by, id).await?;
        Ok(account)
    }

    /// Stores the hash of a password, which was right a moment ago, as it is wanted now, unless the
    /// account changed since.
    pub(super) async fn hash_again(
        &self,
        by: &Caller,
        id: &AccountId,
        record: &AccountRecord,
        password: &str,
    ) -> Result<AccountRecord, AccountsError> {
        let password = Some(self.0.passwords.hash(password).await?);
        let (now, version) = account(&self.0.records, id).await?;
        if now != *record {
            return Err(Error::Contended { what: "an account" }.into());
        }
        let new = AccountRecord { password, ..now };
        let at = self.0.records.now().await?;
        let key = records::account(id);
        let batch = Batch::new()
            .unchanged(key.as_str(), version)
            .put(key, records::encode(&new))
            .event(changed(by, new.chain(), at, "password hashed anew", id.to_string()));
        self.0.records.commit(batch).await?;
        Ok(new)
    }

    /// Makes somebody an operator of the installation, or takes that away; for operators.
    pub async fn set_operator(
        &self,
        by: &Caller,
        id: &AccountId,
        operator: bool,
    ) -> Result<Account, AccountsError> {
        self.demand_operator(by)?;
        if id.kind != Kind::User {
            return Err(AccountsError::Invalid(format!(
                "{id} is no user of the installation's own; only those are made operators here"
            )));
        }
        let change = if operator { "made operator" } else { "operator no more" };
        self.change(by, id, change, |record| AccountRecord { operator, ..record }).await
    }

    /// Changes the record of an account that is there, with its line.
    async fn change(
        &self,
        by: &Caller,
        id: &AccountId,
        change: &str,
        with: impl Fn(AccountRecord) -> AccountRecord,
    ) -> Result<Account, AccountsError> {
        change_and(&self.0.records, by, id, change, with, |batch| batch).await
    }
}

/// Changes the record of an account that is there, with its line and with what `also` adds to the commit;
/// tries again where others change it at once.
pub(super) async fn change_and(
    records: &Extension,
    by: &Caller,
    id: &AccountId,
    change: &str,
    with: impl Fn(AccountRecord) -> AccountRecord,
    also: impl Fn(Batch) -> Batch,
) -> Result<Account, AccountsError> {
    let key = records::account(id);
    for _ in 0..ATTEMPTS {
        let (record, version) = account(records, id).await?;
        let new = with(record.clone());
        if new == record {
            return Ok(shown(id, &new));
        }
        let now = records.now().await?;
        let mut batch = Batch::new()
            .unchanged(key.as_str(), version)
            .put(key.as_str(), records::encode(&new))
            .event(changed(by, new.chain(), now, change, id.to_string()));
        if let Some(organisation) = new.organisation.filter(|_| new.state == State::Deleted) {
            batch = batch.delete(records::robot_of(organisation, id));
        }
        if is_operating(&record) && !is_operating(&new) {
            // Leaning on another operator: two who remove each other at once can't both win.
            let (other, version) = another_operator(records, id).await?;
            batch = batch.unchanged(other, version);
        }
        match records.commit(also(batch)).await {
            Ok(()) => return Ok(shown(id, &new)),
            Err(Error::Contended { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended { what: "an account" }.into())
}

/// The accounts of one kind whose records are wanted, in the order of their names.
pub(super) async fn list(
    records: &Extension,
    kind: Kind,
    (after, limit): (Option<&str>, usize),
    wanted: impl Fn(&AccountRecord) -> bool,
) -> Result<Page<Account>, AccountsError> {
    let prefix = format!("{}{}:", records::ACCOUNTS, kind.prefix());
    let page = records.scan(prefix, after, limit).await?;
    let mut items = Vec::new();
    for entry in page.items {
        let record: AccountRecord = records::decode(&entry.value)?;
        let name = std::str::from_utf8(&entry.key).ok();
        let id = name.and_then(|key| key.strip_prefix(records::ACCOUNTS)?.parse().ok());
        let id =
            id.ok_or_else(|| Damaged { reason: "the key of an account names none".to_owned() })?;
        if wanted(&record) {
            items.push(shown(&id, &record));
        }
    }
    Ok(Page { items, next: page.next })
}

/// An account that is there, also when it is shut out.
pub(super) async fn account(
    records: &Extension,
    id: &AccountId,
) -> Result<(AccountRecord, Version), AccountsError> {
    let unknown = || AccountsError::Unknown { id: id.to_string() };
    let entry = records.get(records::account(id)).await?.ok_or_else(unknown)?;
    let record: AccountRecord = records::decode(&entry.value)?;
    if record.state == State::Deleted { Err(unknown()) } else { Ok((record, entry.version)) }
}

/// Somebody else who operates the installation.
async fn another_operator(
    records: &Extension,
    id: &AccountId,
) -> Result<(Vec<u8>, Version), AccountsError> {
    let own = records::account(id);
    let mut after = None;
    loop {
        let page = records.scan(records::ACCOUNTS, after.as_deref(), PAGE).await?;
        for entry in page.items {
            let record: AccountRecord = records::decode(&entry.value)?;
            if is_operating(&record) && entry.key != own.as_bytes() {
                return Ok((entry.key, entry.version));
            }
        }
        after = page.next;
        if after.is_none() {
            return Err(AccountsError::LastOperator { id: id.to_string() });
        }
    }
}

fn is_operating(record: &AccountRecord) -> bool {
    record.operator && record.is_open()
}

/// The record of an account that signs in by tokens, or by another provider's word.
pub(super) fn without_password(
    alias: Option<String>,
    created_at: Timestamp,
    organisation: Option<OrganisationId>,
) -> AccountRecord {
    let (state, operator, password, barred) = (State::Active, false, None, false);
    AccountRecord { state, operator, password, alias, created_at, organisation, barred }
}

pub(super) fn shown(id: &AccountId, record: &AccountRecord) -> Account {
    Account {
        id: id.clone(),
        disabled: record.state == State::Disabled || record.barred,
        operator: record.operator,
        created_at: record.created_at,
    }
}
