//! The robots of an organisation, which its admins look after: made, shut out, given up, and their
//! tokens.
//!
//! A robot is its organisation's by the organisation's id, whatever either is called. What it may
//! do is decided by its roles, as for everybody. Its lines are in the organisation's trail.
//!
//! Everything here is given the [`Organisation`] that the engine handed out to somebody who may
//! manage it ([`Engine::organisation_for`](strongroom_engine::Engine::organisation_for)): the caller's right is asked there, and not again.
//! A robot of another organisation is [`AccountsError::Unknown`], exactly as one that is not there.

use strongroom_engine::Page;
use strongroom_engine::access::Caller;
use strongroom_engine::tenancy::Organisation;

use super::accounts::{account, shown, without_password};
use super::tokens::NewToken;
use super::{AccountsError, Embedded, records};
use crate::account::{Account, AccountId, AccountName, Kind, TokenInfo, TokenUse};
use crate::secret::MachineToken;

/// The most robots of one organisation.
const MAX_ROBOTS: usize = 1_000;

impl Embedded {
    /// Makes a robot of an organisation, without any role or token yet. Its name is
    /// `robot:ORGANISATION+NAME`.
    pub async fn create_robot_of(
        &self,
        by: &Caller,
        organisation: &Organisation,
        name: &str,
    ) -> Result<Account, AccountsError> {
        let id = AccountId::robot(AccountName::within(&organisation.name, name)?);
        let prefix = records::robots_of(organisation.id);
        if self.0.records.scan(prefix, None, MAX_ROBOTS).await?.items.len() >= MAX_ROBOTS {
            return Err(AccountsError::Invalid(format!(
                "{} has {MAX_ROBOTS} robots already; delete some",
                organisation.name
            )));
        }
        let created_at = self.0.records.now().await?;
        let record = without_password(None, created_at, Some(organisation.id));
        self.create(by, &id, record, "robot created").await
    }

    /// The robots of an organisation, in the order of their names. The next page comes after
    /// [`Page::next`]; a page may have fewer than `limit` and not be the last.
    pub async fn robots_of(
        &self,
        organisation: &Organisation,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Account>, AccountsError> {
        let prefix = records::robots_of(organisation.id);
        let page = self.0.records.scan(&prefix, after, limit).await?;
        let mut items = Vec::new();
        for entry in page.items {
            let name = std::str::from_utf8(&entry.key).ok();
            let name = name.and_then(|key| key.strip_prefix(&prefix)?.parse().ok());
            let Some(name) = name else { continue };
            match self.robot_of(organisation, &AccountId::robot(name)).await {
                Ok(account) => items.push(account),
                // Deleted a moment ago.
                Err(AccountsError::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page { items, next: page.next })
    }

    /// One robot of an organisation.
    pub async fn robot_of(
        &self,
        organisation: &Organisation,
        id: &AccountId,
    ) -> Result<Account, AccountsError> {
        let (record, _) = account(&self.0.records, id).await?;
        if id.kind == Kind::Robot && record.organisation == Some(organisation.id) {
            return Ok(shown(id, &record));
        }
        Err(AccountsError::Unknown { id: id.to_string() })
    }

    /// Shuts a robot out, or lets it in again.
    pub async fn set_robot_disabled(
        &self,
        by: &Caller,
        organisation: &Organisation,
        id: &AccountId,
        disabled: bool,
    ) -> Result<Account, AccountsError> {
        self.robot_of(organisation, id).await?;
        self.shut_out(by, id, disabled).await
    }

    /// Gives a robot up, with its tokens. Its name stays reserved.
    pub async fn delete_robot_of(
        &self,
        by: &Caller,
        organisation: &Organisation,
        id: &AccountId,
    ) -> Result<(), AccountsError> {
        self.robot_of(organisation, id).await?;
        self.retire(by, id).await
    }

    /// The tokens of a robot that are not over.
    pub async fn robot_tokens(
        &self,
        organisation: &Organisation,
        id: &AccountId,
    ) -> Result<Vec<TokenInfo>, AccountsError> {
        self.robot_of(organisation, id).await?;
        self.live_tokens(id, TokenUse::Access).await
    }

    /// Makes a token for a robot, which is returned this once.
    pub async fn create_robot_token(
        &self,
        by: &Caller,
        organisation: &Organisation,
        new: NewToken,
    ) -> Result<(TokenInfo, MachineToken), AccountsError> {
        self.robot_of(organisation, &new.owner).await?;
        self.add_token(by, new).await
    }

    /// Ends a token of a robot at once.
    pub async fn revoke_robot_token(
        &self,
        by: &Caller,
        organisation: &Organisation,
        robot: &AccountId,
        id: &str,
    ) -> Result<(), AccountsError> {
        self.robot_of(organisation, robot).await?;
        self.end_token_of(by, robot, id).await
    }
}
