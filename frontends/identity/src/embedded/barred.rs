//! Who is shut out here because their provider does not let them in any more.
//!
//! It stands beside what operators decide here ([`Embedded::set_disabled`](super::Embedded::set_disabled)), so
//! that a provider who lets somebody in again undoes nothing of that. It is for who walks through the
//! provider's people, which needs no key of the accounts.

use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::{Engine, Page};

use super::accounts::{change_and, list};
use super::records::{AccountRecord, State};
use super::{AccountsError, NAMESPACE};
use crate::account::{Account, AccountId, Kind};

/// Who says so in the trail.
const BY: &str = "system:user-pool";

/// How many accounts are read at a time.
const PAGE: usize = 1_000;

/// The accounts of people of the user pool whom it lets in, as far as was said here; those behind `after`, a
/// page's [`Page::next`].
pub async fn let_in(engine: &Engine, after: Option<&str>) -> Result<Page<Account>, AccountsError> {
    let wanted = |record: &AccountRecord| record.state != State::Deleted && !record.barred;
    list(&engine.extension(NAMESPACE), Kind::Cognito, (after, PAGE), wanted).await
}

/// Shuts an account out with all its tokens, or lets it in again as far as its provider is concerned. From the
/// commit on no request passes. Nothing happens where it is so already, and where there is no account: who has
/// none has no token either.
#[expect(clippy::missing_panics_doc, reason = "it never does")]
pub async fn set_barred(
    engine: &Engine,
    id: &AccountId,
    barred: bool,
) -> Result<(), AccountsError> {
    let change = if barred { "shut out by its provider" } else { "let in by its provider again" };
    let by = Caller::known(PrincipalId::new(BY).expect("it is short and printable"));
    let with = |record| AccountRecord { barred, ..record };
    let records = engine.extension(NAMESPACE);
    match change_and(&records, &by, id, change, with, |batch| batch).await {
        Ok(_) | Err(AccountsError::Unknown { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
