//! Profiles of people whom another provider vouches for, and the organisation that each begins with.
//!
//! **Promises.** [`ensure`] makes one profile and one organisation for one person, however often it is
//! called, by how many at once, and wherever a call before was killed. What it makes is found by
//! the person's unchanging id (`sub`); names and addresses are for display and invitations alone.
//!
//! **Never.** It decides what somebody may do, or believes an e-mail address that nobody verified.

mod names;
mod records;
#[cfg(test)]
mod tests;

use strongroom_engine::access::{Caller, Origin, PrincipalId};
use strongroom_engine::audit::{Event, EventKind, SYSTEM, TrailQuery};
use strongroom_engine::extension::{Batch, Extension, Version};
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::Timestamp;
use strongroom_engine::{Engine, Error};

use self::records::ProfileRecord;
use crate::account::{AccountId, AccountName, AccountNameError};
use crate::record::{self, Damaged};

/// The namespace of the engine's records that is ours.
pub const NAMESPACE: &str = "profiles";

/// How often a call that meets others looks again.
const ATTEMPTS: usize = 64;
/// The most people that one name or address finds.
const MAX_FOUND: usize = 100;
/// The longest user name or address that is kept, in bytes.
const MAX_TEXT: usize = 320;

/// Somebody whom their provider has vouched for, as it tells of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// What never changes: the pool's `sub`.
    pub sub: String,
    /// What they call themselves at sign-in.
    pub username: String,
    /// Their address, where it is known.
    pub email: Option<String>,
    /// Whether the provider has verified that the address is theirs.
    pub email_verified: bool,
}

/// Somebody's profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// As the engine knows them.
    pub principal: PrincipalId,
    /// What they call themselves at sign-in.
    pub username: String,
    /// Their address, where it is known.
    pub email: Option<String>,
    /// Whether the provider has verified that the address is theirs.
    pub email_verified: bool,
    /// What the organisation was called that was made for them.
    pub organisation: OrganisationName,
    /// When the profile was made.
    pub created_at: Timestamp,
}

/// How the organisations are made that people begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct First {
    /// The most bytes that each may store; no bound where absent.
    pub quota_bytes: Option<u64>,
}

/// Why there is no profile. Nothing is half made that the next call does not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfilesError {
    /// The id of the person can't be one here.
    #[error("the provider's id of a person: {0}")]
    Sub(#[from] AccountNameError),
    /// A name or an address is too long, or has control characters.
    #[error("a {what} is one line of at most {MAX_TEXT} bytes")]
    Text {
        /// Which of them.
        what: &'static str,
    },
    /// All names that could be made of theirs are taken.
    #[error("no free name for an organisation of {principal} was found")]
    NoName {
        /// Whose.
        principal: String,
    },
    /// A record can't be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// How a person of the pool is known in the engine: `cognito:<sub>`.
pub fn principal(sub: &str) -> Result<PrincipalId, ProfilesError> {
    Ok(AccountId::cognito(sub.parse::<AccountName>()?).principal())
}

/// Makes the profile of `user` and their first organisation, with them as its admin, where they
/// are not there yet; takes up a new name or address where they are. To be called at a sign-up and at
/// the first sight of a verified token alike, in any order. `first` is for the organisation that is made
/// now: one that is there stays as it is.
pub async fn ensure(
    engine: &Engine,
    user: &NewUser,
    first: First,
) -> Result<Profile, ProfilesError> {
    check(user)?;
    let principal = principal(&user.sub)?;
    let by = founder(&principal);
    let records = engine.extension(NAMESPACE);
    for _ in 0..ATTEMPTS {
        let Some((record, version)) = read(&records, &user.sub).await? else {
            let now = records.now().await?;
            let name = names::candidate(user, 0).ok_or_else(|| no_name(&principal))?;
            let record = ProfileRecord::pending(user, &name, now);
            let batch = Batch::new().absent(records::user(&user.sub));
            commit(&records, batch, &by, user, &record, now, "profile made").await?;
            continue;
        };
        if record.complete {
            let renewed = record.renewed(user);
            if renewed == record {
                return Ok(record.into_profile(principal));
            }
            let now = records.now().await?;
            let mut batch = Batch::new().unchanged(records::user(&user.sub), version);
            for key in record.listings(&user.sub) {
                batch = batch.delete(key);
            }
            commit(&records, batch, &by, user, &renewed, now, "profile changed").await?;
            continue;
        }
        let next = match engine
            .create_organisation(&by, &record.organisation, first.quota_bytes, Some(&principal))
            .await
        {
            Ok(_) => ProfileRecord { complete: true, ..record },
            Err(Error::NameTaken { .. }) if founded(engine, &by, &record.organisation).await? => {
                ProfileRecord { complete: true, ..record }
            }
            Err(Error::NameTaken { .. }) => {
                let attempt = record.attempt + 1;
                let name = names::candidate(user, attempt).ok_or_else(|| no_name(&principal))?;
                ProfileRecord { attempt, organisation: name, ..record }
            }
            Err(error) => return Err(error.into()),
        };
        let now = records.now().await?;
        let batch = Batch::new().unchanged(records::user(&user.sub), version);
        let change = if next.complete { "first organisation made" } else { "profile renamed" };
        commit(&records, batch, &by, user, &next, now, change).await?;
    }
    Err(Error::Contended { what: "a profile" }.into())
}

/// The profile of the person with this `sub`, where it is whole.
pub async fn profile(engine: &Engine, sub: &str) -> Result<Option<Profile>, ProfilesError> {
    let principal = principal(sub)?;
    let found = read(&engine.extension(NAMESPACE), sub).await?;
    let whole = found.map(|(record, _)| record).filter(|record| record.complete);
    Ok(whole.map(|record| record.into_profile(principal)))
}

/// The people who have this user name or this verified e-mail address, whatever its case: whom an
/// invitation means. More than one is for the inviter to tell apart.
pub async fn find(engine: &Engine, name_or_email: &str) -> Result<Vec<Profile>, ProfilesError> {
    let records = engine.extension(NAMESPACE);
    let mut found: Vec<Profile> = Vec::new();
    for prefix in [records::by_name(name_or_email), records::by_email(name_or_email)] {
        let page = records.scan(&prefix, None, MAX_FOUND).await?;
        for entry in page.items {
            let key = String::from_utf8_lossy(&entry.key);
            let sub = key.strip_prefix(&prefix).unwrap_or_default();
            let known = |profile: &Profile| !found.contains(profile);
            found.extend(profile(engine, sub).await?.filter(known));
        }
    }
    Ok(found)
}

fn check(user: &NewUser) -> Result<(), ProfilesError> {
    let good = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    if user.username.is_empty() || !good(&user.username) {
        return Err(ProfilesError::Text { what: "user name" });
    }
    if !user.email.as_deref().is_none_or(good) {
        return Err(ProfilesError::Text { what: "e-mail address" });
    }
    Ok(())
}

/// Who makes it: the person, by the installation's leave. So the trail tells what was made for whom,
/// and nobody else can have made it.
fn founder(principal: &PrincipalId) -> Caller {
    let agent = Some("strongroom sign-up".to_owned());
    let origin = Origin { user_agent: agent, ..Origin::default() };
    Caller { operator: true, origin, ..Caller::known(principal.clone()) }
}

/// Whether the organisation of this name is one that an earlier call made: its first line says who did.
/// That the person is its member does not, since its admin might have invited them.
async fn founded(engine: &Engine, by: &Caller, name: &OrganisationName) -> Result<bool, Error> {
    let query = TrailQuery {
        principal: Some(by.principal.as_str().to_owned()),
        kinds: vec!["organisation_created".to_owned()],
        ..TrailQuery::default()
    };
    // As themselves: what they can't see they did not make.
    let by = Caller { operator: false, ..by.clone() };
    let mut after = None;
    loop {
        match engine.trail(&by, Some(name), &query, after.as_deref(), MAX_FOUND).await {
            Ok(page) if !page.items.is_empty() => return Ok(true),
            Ok(page) if page.next.is_none() => return Ok(false),
            Ok(page) => after = page.next,
            Err(Error::NameUnknown { .. } | Error::Denied { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

async fn read(
    records: &Extension,
    sub: &str,
) -> Result<Option<(ProfileRecord, Version)>, ProfilesError> {
    let Some(entry) = records.get(records::user(sub)).await? else { return Ok(None) };
    Ok(Some((record::decode(&entry.value)?, entry.version)))
}

/// Writes a record and where it is found. That somebody else was quicker is no error: the caller
/// reads again.
async fn commit(
    records: &Extension,
    batch: Batch,
    by: &Caller,
    user: &NewUser,
    record: &ProfileRecord,
    now: Timestamp,
    change: &str,
) -> Result<(), ProfilesError> {
    let kind = EventKind::Identity {
        change: change.to_owned(),
        subject: by.principal.as_str().to_owned(),
    };
    let mut batch = batch
        .put(records::user(&user.sub), record::encode(record))
        .event(Event::by(by, SYSTEM, now, kind));
    for key in record.listings(&user.sub) {
        batch = batch.put(key, "");
    }
    match records.commit(batch).await {
        Ok(()) | Err(Error::Contended { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn no_name(principal: &PrincipalId) -> ProfilesError {
    ProfilesError::NoName { principal: principal.as_str().to_owned() }
}
