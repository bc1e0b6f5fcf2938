//! A token of an issuer for one of ours.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::Error;
use strongroom_engine::access::{Caller, Origin};
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::extension::Batch;
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_http::auth::Secret;

use super::records::RuleRecord;
use super::rules::anchors;
use super::{Rule, WorkloadError, Workloads, records};
use crate::embedded::{ANONYMOUS, away};
use crate::jwks::{Claims, JwtError};
use crate::provider::IdentityError;
use crate::record;
use crate::secret::MachineToken;

/// The longest that an issuer's token may still be good for: so long it is kept that it was exchanged.
const MAX_REMAINING: Duration = Duration::from_hours(24);
/// How much longer than the token itself it is kept: more than clocks of two nodes are apart.
const MARGIN: u64 = 3_600;
/// How many of those that are over are removed with each exchange: more than one, so that they get fewer.
const SWEEP: usize = 4;
/// The rules that one claim finds at most.
const MAX_FOUND: usize = 200;
/// What failed exchanges are counted under.
const NAME: &str = "workload";
/// The longest text of a token that is kept on ours, in characters.
const MAX_LABEL: usize = 150;

/// A registry by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The organisation.
    pub organisation: OrganisationName,
    /// The registry in it.
    pub registry: RegistryName,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organisation, self.registry)
    }
}

/// What was given for a token.
#[derive(Debug)]
pub struct Exchanged {
    /// Good wherever a machine token is: as a password with any of the name it belongs to and
    /// `__token__`, and as a bearer.
    pub token: MachineToken,
    /// How many seconds it is good for.
    pub expires_in: u64,
    /// By which rule.
    pub rule: Rule,
}

impl Workloads {
    /// Gives a token of ours for one of a trusted issuer: for `place`, where it is given, else for the
    /// only registry that has a rule for it. Of several rules of one registry the one with the most
    /// claims decides.
    pub async fn exchange(
        &self,
        token: &Secret,
        place: Option<&Place>,
        origin: &Origin,
    ) -> Result<Exchanged, WorkloadError> {
        let claims = match self.0.verifier.verify(token.expose()).await {
            Ok(claims) => claims,
            Err(error @ JwtError::Away { .. }) => {
                return Err(IdentityError::Unavailable(error.to_string()).into());
            }
            Err(error) => {
                tracing::debug!(%error, "a workload's token is refused");
                return Err(self.refused(IdentityError::Wrong, origin).await);
            }
        };
        let rule = match self.rule_for(&claims, place).await {
            Ok(rule) => rule,
            Err(error @ WorkloadError::NoRule { .. }) => {
                return Err(self.refused(error, origin).await);
            }
            Err(error) => return Err(error),
        };
        let account = rule.account()?;
        let by = Caller { origin: origin.clone(), ..Caller::known(account.principal()) };
        self.spend(token, &claims, &by).await?;
        let label: String = format!("{} {}", claims.issuer, claims.subject)
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_LABEL)
            .collect();
        let lifetime = rule.grants.lifetime();
        let token = self
            .0
            .embedded
            .workload_token(&by, account, label, vec![rule.grants.grant()], lifetime)
            .await?;
        Ok(Exchanged { token, expires_in: lifetime.as_secs(), rule })
    }

    /// Counts a try, and writes its line as far as that goes.
    async fn refused(&self, error: impl Into<WorkloadError>, origin: &Origin) -> WorkloadError {
        let embedded = &self.0.embedded;
        let counted = match embedded.take_guess(NAME, origin) {
            Ok(()) => embedded.record(ANONYMOUS.to_owned(), origin, NAME, false).await,
            Err(error) => Err(error),
        };
        match counted {
            Ok(()) => error.into(),
            Err(error) => error.into(),
        }
    }

    async fn rule_for(
        &self,
        claims: &Arc<Claims>,
        place: Option<&Place>,
    ) -> Result<Rule, WorkloadError> {
        let mut found: Vec<Rule> = Vec::new();
        // What the operator says of an issuer counts for rules that were made before, too.
        let good = self.0.issuers.iter().any(|issuer| issuer.is_for(claims));
        for anchor in anchors(claims).into_iter().filter(|_| good) {
            for entry in self.0.records.scan(&anchor, None, MAX_FOUND).await?.items {
                let Some(kept) = self.0.records.get(&entry.value).await? else { continue };
                let kept: RuleRecord = record::decode(&kept.value)?;
                let named = self.0.engine.names_of(kept.organisation, kept.registry).await?;
                // Of a registry that is deleted.
                let Some((organisation, registry)) = named else { continue };
                let rule = kept.rule.at(Place { organisation, registry });
                let here = place.is_none_or(|place| rule.grants.place() == *place);
                if here && rule.grants.is_for(claims) {
                    found.push(rule);
                }
            }
        }
        let mut registries: Vec<_> =
            found.iter().map(|rule| rule.grants.place().to_string()).collect();
        registries.sort();
        registries.dedup();
        if registries.len() > 1 {
            return Err(WorkloadError::Ambiguous { registries });
        }
        let most = |rule: &Rule| (std::cmp::Reverse(rule.grants.claims.len()), rule.id.clone());
        found.into_iter().min_by_key(most).ok_or_else(|| WorkloadError::NoRule {
            issuer: claims.issuer.clone(),
            audience: claims.audience.clone(),
            subject: claims.subject.clone(),
        })
    }

    /// Writes that the token is exchanged, or fails where it was. What is written stays longer than
    /// the token could pass, the difference of clocks included.
    async fn spend(
        &self,
        token: &Secret,
        claims: &Claims,
        by: &Caller,
    ) -> Result<(), WorkloadError> {
        let records = &self.0.records;
        let now = records.now().await?;
        let seconds = now.0 / 1_000;
        if claims.expires_at.saturating_sub(seconds) > MAX_REMAINING.as_secs() {
            return Err(WorkloadError::Invalid(format!(
                "the token is good for more than {} hours; let its issuer make a shorter one",
                MAX_REMAINING.as_secs() / 3_600
            )));
        }
        // A token without a name of its own is named by what was signed: the signature itself
        // can be another over the same.
        let signed = token.expose().rsplit_once('.').map_or("", |(signed, _)| signed);
        let id = claims.id.as_deref().unwrap_or(signed);
        let until = claims.expires_at + self.0.verifier.clock_skew() + MARGIN;
        let key = records::spent(until, &claims.issuer, id);
        let method = format!("{NAME} of {}", claims.issuer);
        let kind = EventKind::SignedIn { method, success: true };
        let mut batch =
            Batch::new().absent(key.as_str()).put(key, "").event(Event::by(by, SYSTEM, now, kind));
        for entry in records.scan(records::SPENT, None, SWEEP).await?.items {
            if is_over(&entry.key, seconds) {
                batch = batch.delete(entry.key);
            }
        }
        match records.commit(batch).await {
            Ok(()) => Ok(()),
            Err(Error::Contended { .. }) => Err(WorkloadError::Used),
            Err(error) => Err(away(error).into()),
        }
    }
}

/// Whether what stands at this key of a spent token is over.
fn is_over(key: &[u8], now: u64) -> bool {
    let digits = records::SPENT.len()..records::SPENT.len() + records::TIME_DIGITS;
    let until = key.get(digits).and_then(|digits| std::str::from_utf8(digits).ok());
    let until = until.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    until.is_some_and(|until| until < now)
}
