//! Pulls on their way into the trail: gathered, then written together.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::access::Origin;
use crate::audit::{Event, EventKind, RepositoryRef, refusals};
use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::{PulledFrom, note_pulls};
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::seam::Timestamp;

/// The most different pulls that wait at once; the next one writes them itself.
const MAX_WAITING: usize = 4096;
/// So many of them are written at once, beside the requests: those go on while the store is at it, and
/// seldom meet the bound.
const EARLY: usize = MAX_WAITING / 2;
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
    /// Whether a task writes those that came early.
    early: AtomicBool,
}

/// A pull, by what makes two of them the same. A request's own id does not: it would make every pull
/// another.
#[derive(Debug)]
pub(crate) struct Like<'a> {
    pub(crate) organisation: OrganisationId,
    pub(crate) principal: &'a str,
    pub(crate) origin: &'a Origin,
    /// As of the [`RepositoryRef`] that it makes.
    pub(crate) repository: (RepositoryId, RegistryId, &'a str),
    pub(crate) digest: Digest,
    pub(crate) tag: Option<&'a str>,
}

impl Like<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self { organisation, principal, origin, repository, digest, tag } = self;
        (organisation, principal, origin.address, &origin.user_agent, repository.0, digest, tag)
            .hash(&mut hasher);
        hasher.finish()
    }

    fn is(&self, pull: &Pull) -> bool {
        let repository = &pull.repository;
        pull.organisation == self.organisation
            && pull.principal == self.principal
            && pull.origin.address == self.origin.address
            && pull.origin.user_agent == self.origin.user_agent
            && (repository.id, repository.registry, &*repository.path) == self.repository
            && pull.digest == self.digest
            && pull.tag.as_deref() == self.tag
    }
}

impl Pull {
    fn of(like: &Like<'_>) -> Self {
        let (id, registry, path) = like.repository;
        Self {
            organisation: like.organisation,
            principal: like.principal.to_owned(),
            origin: Origin { request_id: None, ..like.origin.clone() },
            repository: RepositoryRef { id, registry, path: path.to_owned() },
            digest: like.digest,
            tag: like.tag.map(str::to_owned),
        }
    }

    fn like(&self) -> Like<'_> {
        let RepositoryRef { id, registry, path } = &self.repository;
        Like {
            organisation: self.organisation,
            principal: &self.principal,
            origin: &self.origin,
            repository: (*id, *registry, path),
            digest: self.digest,
            tag: self.tag.as_deref(),
        }
    }
}

impl PullLog {
    /// Adds a pull, and says how many different ones wait then; nothing where too many do: [`flush`]
    /// first. `now` is by the clock of the seams.
    pub(crate) fn add(&self, like: &Like<'_>, now: Timestamp) -> Option<usize> {
        let hash = like.hash();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let same_hash = waiting.get_mut(&hash);
        let same = same_hash.and_then(|pulls| pulls.iter_mut().find(|one| like.is(&one.pull)));
        if let Some(same) = same {
            same.count += 1;
            return Some(waiting.len());
        }
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let first = Waiting { pull: Pull::of(like), at: now, count: 1 };
        waiting.entry(hash).or_default().push(first);
        Some(waiting.len())
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain().flat_map(|(_, pulls)| pulls).collect()
    }

    /// What was taken and could not be written. Meanwhile as many again may have come: they are
    /// never more than twice the bound, for nothing is added while the bound is passed.
    fn put_back(&self, pulls: Vec<Waiting>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for back in pulls {
            let like = back.pull.like();
            let same_hash = waiting.entry(like.hash()).or_default();
            match same_hash.iter_mut().find(|one| like.is(&one.pull)) {
                Some(same) => {
                    same.count += back.count;
                    same.at = same.at.min(back.at);
                }
                None => same_hash.push(back),
            }
        }
    }
}

/// Has them written beside the requests where `waiting` are many, unless that is under way.
pub(crate) fn write_early(core: &Arc<Core>, waiting: usize) {
    if waiting < EARLY || core.pulls.early.swap(true, Ordering::Relaxed) {
        return;
    }
    let writing = Early(Arc::clone(core));
    tokio::spawn(async move {
        if let Err(error) = write_waiting(&writing.0, false).await {
            tracing::warn!(%error, "pulls wait to be written to the audit trail");
        }
    });
}

/// Lets the next ones be written early, however this ended.
struct Early(Arc<Core>);

impl Drop for Early {
    fn drop(&mut self) {
        self.0.pulls.early.store(false, Ordering::Relaxed);
    }
}

/// Writes all pulls that wait, durably, and what of refusals is due or, where `all` says so, waits. What
/// can't be written waits on.
///
/// In a task of its own: a request that is given up must not take along what it wrote for others.
pub(crate) async fn flush(core: &Arc<Core>, all: bool) -> Result<(), Error> {
    let core = Arc::clone(core);
    let flushed = tokio::spawn(async move { write_waiting(&core, all).await });
    flushed.await.unwrap_or_else(|error| Err(Error::Unavailable(format!("the trail: {error}"))))
}

/// As [`flush`], for whoever is not given up in the middle.
pub(crate) async fn write_waiting(core: &Core, all: bool) -> Result<(), Error> {
    flush_pulls(core).await?;
    refusals::write(core, all).await
}

async fn flush_pulls(core: &Core) -> Result<(), Error> {
    let _one_at_a_time = core.pulls.flushing.lock().await;
    // Asked once for all, so that a pull from the cache asks no database for the time.
    let (now, here) = (core.now().await?, core.seams.clock.now());
    let mut pulls = core.pulls.take();
    while !pulls.is_empty() {
        let rest = pulls.split_off(pulls.len().min(LINES_PER_COMMIT));
        let at = |waiting: &Waiting| now.minus(here.since(waiting.at));
        let mut change = lines(core, &pulls, at);
        let noted = note(core, &mut change, &pulls, at).await;
        let mut committed = change.commit().await;
        if noted > 0 && matches!(committed, Err(Attempt::Lost)) {
            // A manifest went meanwhile: the lines do not wait for it.
            committed = lines(core, &pulls, at).commit().await;
        }
        if let Err(failed) = committed {
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

/// The lines of pulls.
fn lines<'a>(core: &'a Core, pulls: &[Waiting], at: impl Fn(&Waiting) -> Timestamp) -> Change<'a> {
    let mut change = Change::of_lines(core);
    for waiting in pulls {
        let pull = &waiting.pull;
        change.event(Event {
            organisation: pull.organisation,
            at: at(waiting),
            principal: pull.principal.clone(),
            origin: pull.origin.clone(),
            kind: EventKind::Pulled {
                repository: pull.repository.clone(),
                digest: pull.digest,
                tag: pull.tag.clone(),
                count: waiting.count,
            },
        });
    }
    change
}

/// Notes with the lines when the manifests among them were pulled; says how many it notes.
async fn note(
    core: &Core,
    change: &mut Change<'_>,
    pulls: &[Waiting],
    at: impl Fn(&Waiting) -> Timestamp,
) -> usize {
    let mut last: HashMap<PulledFrom, Timestamp> = HashMap::new();
    for waiting in pulls {
        let pull = &waiting.pull;
        let moment = last.entry((pull.organisation, pull.repository.id, pull.digest)).or_default();
        *moment = at(waiting).max(*moment);
    }
    match note_pulls(core, change, &last).await {
        Ok(noted) => noted,
        // What can't be read keeps no line from being written.
        Err(error) => {
            tracing::warn!(%error, "when manifests were pulled is not noted");
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::decode_event;
    use crate::keys;
    use crate::meta::{log, prefix_range};
    use crate::tests::support::{World, sha256};

    const ACME: OrganisationId = OrganisationId(1);

    /// Adds a pull that is another one for each number.
    fn add(world: &World, number: usize) -> bool {
        let like = Like {
            organisation: ACME,
            principal: world.caller.principal.as_str(),
            origin: &world.caller.origin,
            repository: (RepositoryId(3), RegistryId(2), "acme/main/api"),
            digest: sha256(&number.to_be_bytes()),
            tag: None,
        };
        let core = &world.engine.core;
        core.pulls.add(&like, core.seams.clock.now()).is_some()
    }

    async fn pulls(world: &World) -> Vec<Event> {
        let core = &world.engine.core;
        let range = prefix_range(&keys::audit_chain(ACME, core.chain));
        let rows = core.meta.scan(range, 10_000).await.unwrap();
        let entries = rows.iter().map(|(_, row)| log::decode(row).unwrap().1);
        let events = entries.map(|entry| decode_event(&entry).unwrap());
        events.filter(|event| matches!(event.kind, EventKind::Pulled { .. })).collect()
    }

    #[tokio::test]
    async fn a_request_given_up_while_it_writes_pulls_loses_none() {
        let world = Arc::new(World::new().await);
        for number in 0..3 * LINES_PER_COMMIT {
            assert!(add(&world, number));
        }
        world.gate.arm_commit();
        let flushing = tokio::spawn({
            let world = Arc::clone(&world);
            async move { world.engine.flush().await }
        });
        world.gate.reached().await;
        flushing.abort();
        flushing.await.unwrap_err();
        world.gate.open();
        world.engine.flush().await.unwrap();
        assert_eq!(pulls(&world).await.len(), 3 * LINES_PER_COMMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_written_beside_the_requests_before_the_bound_is_met() {
        let world = World::new().await;
        let digest = world.push_image("api", b"layer", "v1").await;
        for number in 0..EARLY - 1 {
            assert!(add(&world, number));
        }
        let pull = async |by: &str| {
            let id = crate::access::PrincipalId::new(by).unwrap();
            let path = "acme/main/api".parse().unwrap();
            let caller = crate::access::Caller::known(id);
            let action = crate::access::Action::Pull;
            let opened = world.engine.repository(&caller, &path, action).await.unwrap();
            opened.manifest(&crate::name::Reference::Digest(digest)).await.unwrap();
        };
        pull("user:one").await;
        // No timer writes them: the clock of the runtime stands where it is.
        while pulls(&world).await.len() < EARLY {
            tokio::task::yield_now().await;
        }
        while world.engine.core.pulls.early.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        assert!(world.engine.core.pulls.take().is_empty());
    }

    #[tokio::test]
    async fn no_more_wait_than_the_bound_and_what_is_put_back_is_joined() {
        let world = World::new().await;
        for number in 0..MAX_WAITING {
            assert!(add(&world, number));
        }
        assert!(!add(&world, MAX_WAITING), "one too many");
        assert!(add(&world, 0), "one like it waits already");
        let log = &world.engine.core.pulls;
        let taken = log.take();
        for number in 0..MAX_WAITING {
            assert!(add(&world, number));
        }
        log.put_back(taken);
        assert!(!add(&world, MAX_WAITING));
        world.engine.flush().await.unwrap();
        let lines = pulls(&world).await;
        assert_eq!(lines.len(), MAX_WAITING);
        let counted = lines.iter().map(|event| match event.kind {
            EventKind::Pulled { count, .. } => count,
            _ => 0,
        });
        assert_eq!(counted.sum::<u64>(), 2 * MAX_WAITING as u64 + 1);
    }

    #[tokio::test]
    async fn pulls_are_dated_by_the_clock_of_the_store() {
        use std::time::Duration;

        use crate::Engine;
        use crate::meta::{MemoryStore, MetaStore};
        use crate::seam::{ManualClock, Seams, SeededEntropy};

        let clock = |at| Arc::new(ManualClock::at(Timestamp(at)));
        let (here, there) = (clock(5_000_000), clock(1_700_000_000_000));
        let seams = |clock: &Arc<ManualClock>| Seams {
            clock: Arc::clone(clock) as _,
            entropy: Arc::new(SeededEntropy::new(1)),
        };
        let world = World::new().await;
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryStore::new(&seams(&there)));
        let blobs = Arc::clone(&world.engine.core.blobs);
        let engine = Engine::builder(meta, blobs).seams(seams(&here)).build().await.unwrap();
        let world = World { engine, ..world };
        assert!(add(&world, 1));
        for clock in [&here, &there] {
            clock.advance(Duration::from_secs(7));
        }
        world.engine.flush().await.unwrap();
        assert_eq!(pulls(&world).await[0].at, Timestamp(1_700_000_000_000));
    }
}
