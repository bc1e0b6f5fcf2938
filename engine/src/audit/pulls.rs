//! Pulls on their way into the trail: gathered, then written together.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::access::{Caller, Origin};
use crate::audit::{Event, EventKind, RepositoryRef};
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::id::OrganisationId;
use crate::seam::Timestamp;

/// The most different pulls that wait at once; the next one writes them itself.
const MAX_WAITING: usize = 4096;
/// The most lines one commit takes.
const LINES_PER_COMMIT: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pull {
    organisation: OrganisationId,
    principal: String,
    origin: Origin,
    repository: RepositoryRef,
    digest: Digest,
    tag: Option<String>,
}

/// A pull, when it came first and how often since.
#[derive(Debug)]
struct Waiting {
    pull: Pull,
    at: Timestamp,
    count: u64,
}

/// Gathers pulls: the same pull by the same caller within one group is one line with a count.
#[derive(Debug, Default)]
pub(crate) struct PullLog {
    /// By a hash of the pull, so that the next like it costs no copy of its texts.
    waiting: Mutex<HashMap<u64, Vec<Waiting>>>,
    /// One flush at a time, so that [`flush`] returns only when what waited before is durable.
    flushing: tokio::sync::Mutex<()>,
}

impl PullLog {
    /// Adds a pull; true where it is time to [`flush`].
    pub(crate) fn add(
        &self,
        caller: &Caller,
        organisation: OrganisationId,
        repository: &RepositoryRef,
        digest: Digest,
        tag: Option<&str>,
        now: Timestamp,
    ) -> bool {
        let principal = caller.principal.as_str();
        // A request's own id would make every pull another one.
        let origin = &caller.origin;
        let mut hasher = DefaultHasher::new();
        (organisation, principal, origin.address, &origin.user_agent, repository.id, digest, tag)
            .hash(&mut hasher);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let same_hash = waiting.entry(hasher.finish()).or_default();
        let same = same_hash.iter_mut().find(|Waiting { pull, .. }| {
            pull.organisation == organisation
                && pull.principal == principal
                && pull.origin.address == origin.address
                && pull.origin.user_agent == origin.user_agent
                && pull.repository == *repository
                && pull.digest == digest
                && pull.tag.as_deref() == tag
        });
        if let Some(same) = same {
            same.count += 1;
        } else {
            let pull = Pull {
                organisation,
                principal: principal.to_owned(),
                origin: Origin { request_id: None, ..origin.clone() },
                repository: repository.clone(),
                digest,
                tag: tag.map(str::to_owned),
            };
            same_hash.push(Waiting { pull, at: now, count: 1 });
        }
        waiting.len() >= MAX_WAITING
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain().flat_map(|(_, pulls)| pulls).collect()
    }

    fn put_back(&self, pulls: Vec<Waiting>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for Waiting { pull, at, count } in pulls {
            let mut hasher = DefaultHasher::new();
            (
                pull.organisation,
                pull.principal.as_str(),
                pull.origin.address,
                &pull.origin.user_agent,
                pull.repository.id,
                pull.digest,
                pull.tag.as_deref(),
            )
                .hash(&mut hasher);
            waiting.entry(hasher.finish()).or_default().push(Waiting { pull, at, count });
        }
    }
}

/// Writes all pulls that wait, durably. What can't be written waits on.
pub(crate) async fn flush(core: &Core) -> Result<(), Error> {
    let _one_at_a_time = core.pulls.flushing.lock().await;
    let mut pulls = core.pulls.take();
    while !pulls.is_empty() {
        let rest = pulls.split_off(pulls.len().min(LINES_PER_COMMIT));
        let mut change = Change::of_lines(core);
        for Waiting { pull, at, count } in &pulls {
            change.event(Event {
                organisation: pull.organisation,
                at: *at,
                principal: pull.principal.clone(),
                origin: pull.origin.clone(),
                kind: EventKind::Pulled {
                    repository: pull.repository.clone(),
                    digest: pull.digest,
                    tag: pull.tag.clone(),
                    count: *count,
                },
            });
        }
        if let Err(failed) = change.commit().await {
            pulls.extend(rest);
            core.pulls.put_back(pulls);
            return Err(match failed {
                Attempt::Failed(error) => error,
                Attempt::Lost => Error::Contended { what: "the audit trail" },
            });
        }
        pulls = rest;
    }
    Ok(())
}
