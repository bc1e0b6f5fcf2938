//! People who make organisations of their own: how many, and how large.
//!
//! **Promises.** Nobody makes more than [`Allowed::per_person`], however many requests they send at once and
//! to whichever node: the row of a person is claimed before their organisation is made. What they
//! made counts until it is deleted, whoever looks after it by then, so that handing one on makes
//! no room. The organisation that somebody begins with (see [`crate::profiles`]) does not count.
//!
//! **Never.** It lets a machine, a token or nobody at all make one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_engine::access::{Caller, Ceiling, Principal};
use strongroom_engine::extension::{Batch, Extension, Version};
use strongroom_engine::id::OrganisationId;
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::Timestamp;
use strongroom_engine::tenancy::Organisation;
use strongroom_engine::{Engine, Error};

use crate::account::{AccountId, Kind};
use crate::record::{self, Damaged};

/// The namespace of the engine's records that is ours.
pub const NAMESPACE: &str = "founders";

/// How long a claim that a kill left holds its person off.
const CLAIM: Duration = Duration::from_mins(1);
/// How often a row that others write meanwhile is read again.
const ATTEMPTS: usize = 8;

/// What people may make by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
    /// How many organisations each; none leaves them to operators.
    pub per_person: usize,
    /// The most bytes that each of those may store; no bound where absent.
    pub quota_bytes: Option<u64>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoundError {
    /// Not theirs to do. Answer 403.
    #[error("organisations are made by the operators of this installation alone")]
    Operators,
    /// They have made as many as they may. Answer 403.
    #[error("nobody makes more than {max} here, and you have: delete one, or ask an operator")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// Another request of the same person is making one. Answer 409.
    #[error("another organisation of yours is being made; ask again in a moment")]
    UnderWay,
    /// A record can't be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The engine failed, or the name is taken.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// What one person made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FounderRecord {
    /// Since when one is being made.
    under_way: Option<Timestamp>,
    /// Those that were made and not deleted.
    made: Vec<OrganisationId>,
}

/// Makes organisations for people. Clones share it.
#[derive(Debug, Clone)]
pub struct Founders {
    engine: Engine,
    records: Extension,
    allowed: Allowed,
}

impl Founders {
    /// For people who may make what is `allowed`.
    pub fn new(engine: Engine, allowed: Allowed) -> Self {
        let records = engine.extension(NAMESPACE);
        Self { engine, records, allowed }
    }

    /// Whether somebody is of those who may make some: a person, signed in without the bounds of a token,
    /// where people may.
    pub fn may(&self, by: &Caller) -> bool {
        let Principal::Known(id) = &by.principal else { return false };
        let account = id.as_str().parse::<AccountId>();
        let person = account.is_ok_and(|id| matches!(id.kind, Kind::User | Kind::Cognito));
        person && by.ceiling == Ceiling::Unlimited && self.allowed.per_person > 0
    }

    /// Makes an organisation with `by` as its admin.
    ///
    /// Dropping the future may leave it made, or the next one of the same person waiting for a minute.
    pub async fn found(
        &self,
        by: &Caller,
        name: &OrganisationName,
    ) -> Result<Organisation, FoundError> {
        if !self.may(by) {
            return Err(FoundError::Operators);
        }
        // By the installation's leave; the line names the person.
        let founder = Caller { operator: true, ..by.clone() };
        let claim = self.claim(&founder).await?;
        let quota = self.allowed.quota_bytes;
        let made = self.engine.create_organisation(&founder, name, quota, None).await;
        let id = made.as_ref().ok().map(|organisation| organisation.id);
        if let Err(error) = self.let_go(&founder, claim, id).await {
            // It is made, and counts for nobody: better than to say that it is not there.
            tracing::warn!(%error, "who made an organisation could not be kept");
        }
        Ok(made?)
    }

    /// Claims the row of a person who may make one more.
    async fn claim(&self, by: &Caller) -> Result<Timestamp, FoundError> {
        let (record, version) = self.read(by).await?;
        let now = self.records.now().await?;
        if record.under_way.is_some_and(|since| now < since.plus(CLAIM)) {
            return Err(FoundError::UnderWay);
        }
        let there = self.engine.organisations_by_id(by, &record.made).await?;
        let max = self.allowed.per_person;
        if there.len() >= max {
            return Err(FoundError::TooMany { max });
        }
        let made = there.into_iter().map(|organisation| organisation.id).collect();
        let claimed = FounderRecord { under_way: Some(now), made };
        match self.write(by, &claimed, version).await {
            Ok(()) => Ok(now),
            Err(Error::Contended { .. }) => Err(FoundError::UnderWay),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a claim, and counts what was made by it.
    async fn let_go(
        &self,
        by: &Caller,
        claim: Timestamp,
        made: Option<OrganisationId>,
    ) -> Result<(), FoundError> {
        for _ in 0..ATTEMPTS {
            let (mut record, version) = self.read(by).await?;
            // Unless it was over, and is somebody else's by now.
            record.under_way = record.under_way.filter(|since| *since != claim);
            record.made.extend(made);
            match self.write(by, &record, version).await {
                Err(Error::Contended { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(Error::Contended { what: "the organisations of a person" }.into())
    }

    async fn read(&self, by: &Caller) -> Result<(FounderRecord, Option<Version>), FoundError> {
        match self.records.get(key(by)).await? {
            Some(entry) => Ok((record::decode(&entry.value)?, Some(entry.version))),
            None => Ok((FounderRecord::default(), None)),
        }
    }

    async fn write(
        &self,
        by: &Caller,
        record: &FounderRecord,
        version: Option<Version>,
    ) -> Result<(), Error> {
        // The organisation's own line says what was made, and by whom.
        let batch = Batch::new().put(key(by), record::encode(record)).bookkeeping();
        self.records
            .commit(match version {
                Some(version) => batch.unchanged(key(by), version),
                None => batch.absent(key(by)),
            })
            .await
    }
}

fn key(by: &Caller) -> String {
    format!("person/{}", by.principal.as_str())
}

#[cfg(test)]
mod tests {
    use strongroom_engine::access::PrincipalId;

    use super::*;
    use crate::embedded::house::{House, operator};

    fn person(text: &str) -> Caller {
        Caller::known(PrincipalId::new(text).unwrap())
    }

    async fn founders(per_person: usize) -> (House, Founders) {
        let house = House::new().await;
        let allowed = Allowed { per_person, quota_bytes: Some(1_000) };
        let founders = Founders::new(house.engine.clone(), allowed);
        (house, founders)
    }

    fn name(text: &str) -> OrganisationName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_person_makes_as_many_as_they_may_and_handing_one_on_makes_no_room() {
        let (house, founders) = founders(2).await;
        let (ann, ben) = (person("user:ann"), person("cognito:ben"));
        let first = founders.found(&ann, &name("one")).await.unwrap();
        assert_eq!(first.quota_bytes, Some(1_000));
        founders.found(&ann, &name("two")).await.unwrap();
        let full = founders.found(&ann, &name("three")).await;
        assert!(matches!(full, Err(FoundError::TooMany { max: 2 })), "{full:?}");
        // A name that is taken counts for nothing.
        let taken = founders.found(&ben, &name("one")).await;
        assert!(matches!(taken, Err(FoundError::Engine(Error::NameTaken { .. }))), "{taken:?}");

        let engine = &house.engine;
        let principal = PrincipalId::new("cognito:ben").unwrap();
        let admin = strongroom_engine::access::Role::Admin;
        engine.set_role(&ann, &name("one"), &principal, None, admin).await.unwrap();
        let own = PrincipalId::new("user:ann").unwrap();
        engine.remove_role(&ann, &name("one"), &own, None).await.unwrap();
        engine.rename_organisation(&ben, &name("one"), &name("uno")).await.unwrap();
        assert!(founders.found(&ann, &name("three")).await.is_err());
        engine.delete_organisation(&ben, &name("uno"), false).await.unwrap();
        founders.found(&ann, &name("three")).await.unwrap();
        founders.found(&ben, &name("four")).await.unwrap();
    }

    #[tokio::test]
    async fn of_many_at_once_no_more_are_made_than_one_may() {
        let (house, founders) = founders(3).await;
        let ann = person("user:ann");
        let names: Vec<_> = (0..20).map(|n| name(&format!("o{n}"))).collect();
        let all = names.iter().map(|name| founders.found(&ann, name));
        let made = futures::future::join_all(all).await.iter().filter(|made| made.is_ok()).count();
        assert!((1..=3).contains(&made), "{made}");
        let there = house.engine.organisations(&operator(), None, 100).await.unwrap().items;
        assert_eq!(there.len(), made);
    }

    #[tokio::test]
    async fn machines_tokens_and_nobody_make_none_nor_people_where_none_may() {
        let (_house, founders) = founders(3).await;
        let bounded = Caller { ceiling: Ceiling::Grants([].into()), ..person("user:ann") };
        let others = ["robot:ci", "robot:acme+ci", "workload:0f", "console:local"].map(person);
        for by in others.into_iter().chain([bounded, Caller::anonymous()]) {
            let refused = founders.found(&by, &name("one")).await;
            assert!(matches!(refused, Err(FoundError::Operators)), "{by:?}: {refused:?}");
        }
        let none = Founders { allowed: Allowed::default(), ..founders };
        let refused = none.found(&person("user:ann"), &name("one")).await;
        assert!(matches!(refused, Err(FoundError::Operators)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_claim_that_a_kill_left_is_over_after_a_minute() {
        let (house, founders) = founders(1).await;
        let ann = person("user:ann");
        let by = Caller { operator: true, ..ann.clone() };
        founders.claim(&by).await.unwrap();
        let waits = founders.found(&ann, &name("one")).await;
        assert!(matches!(waits, Err(FoundError::UnderWay)), "{waits:?}");
        house.clock.advance(CLAIM);
        founders.found(&ann, &name("one")).await.unwrap();
    }
}
