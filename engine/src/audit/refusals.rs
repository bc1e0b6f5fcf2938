//! What was refused to somebody known, on its way into the trail: gathered, so that nobody fills the
//! trail, memory or the disk by asking for what they may not.
//!
//! What somebody is refused in one organisation is a line at once (with the next group of pulls), and
//! then a line a minute that says how often. Somebody who tries many organisations gets a line of their
//! own for the first few, and one for all the others together. Which organisation it is, if any, is
//! looked up when the line is written: the request itself waits for nothing, so its time tells nothing
//! of whether what was refused is there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::access::{Action, Caller, Origin, Principal};
use crate::audit::{Event, EventKind, SYSTEM};
use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::error::Error;
use crate::id::OrganisationId;
use crate::keys;
use crate::name::OrganisationName;
use crate::records::NameRecord;
use crate::seam::Timestamp;

/// The most entries in memory; who comes beyond them is counted in one line without a name.
const MAX_ENTRIES: usize = 1024;
/// The most organisations of one principal that have a line of their own.
const MAX_PLACES: usize = 8;
/// How often one entry becomes a line at most.
const PAUSE: Duration = Duration::from_mins(1);
/// Who stands in a line for those who are too many to be told apart.
const OTHERS: &str = "others";

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    principal: String,
    /// Absent for the installation, and for all the places that have no entry of their own.
    organisation: Option<OrganisationName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The first since the last line: what, from where and when.
    what: String,
    origin: Origin,
    at: Timestamp,
    /// How many since the last line.
    count: u64,
    written: Option<Timestamp>,
}

/// Gathers what was refused.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<HashMap<Key, Entry>>);

impl RefusalLog {
    /// Notes that `caller` was refused `action` on `name`, which is or would be in `organisation`, or is
    /// the whole installation's. Whoever is not known leaves nothing. `now` is by the clock of the seams.
    pub(crate) fn add(
        &self,
        caller: &Caller,
        action: Action,
        organisation: Option<&OrganisationName>,
        name: &str,
        now: Timestamp,
    ) {
        let Principal::Known(principal) = &caller.principal else { return };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key =
            Key { principal: principal.as_str().to_owned(), organisation: organisation.cloned() };
        let key = place(&entries, key);
        let entry = entries.entry(key).or_insert_with(|| Entry {
            what: String::new(),
            origin: Origin::default(),
            at: now,
            count: 0,
            written: None,
        });
        if entry.count == 0 {
            entry.what = format!("{action} {name}");
            entry.origin = caller.origin.clone();
            entry.at = now;
        }
        entry.count += 1;
    }

    /// Takes what becomes a line now; all that waits, where `all` says so. What is over is forgotten.
    fn take(&self, now: Timestamp, all: bool) -> Vec<(Key, Entry)> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |entry: &Entry| entry.written.is_some_and(|at| now.since(at) < PAUSE);
        entries.retain(|_, entry| entry.count > 0 || rests(entry));
        let due = entries.iter_mut().filter(|(_, entry)| entry.count > 0 && (all || !rests(entry)));
        due.map(|(key, entry)| {
            let taken = (key.clone(), entry.clone());
            (entry.count, entry.written) = (0, Some(now));
            taken
        })
        .collect()
    }

    /// What was taken and could not be written.
    fn put_back(&self, taken: Vec<(Key, Entry)>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, back) in taken {
            let since = entries.get(&key).map_or(0, |entry| entry.count);
            entries.insert(key, Entry { count: back.count + since, ..back });
        }
    }
}

/// Where one more is counted, so that neither one principal nor all of them have too many entries.
fn place(entries: &HashMap<Key, Entry>, key: Key) -> Key {
    if entries.contains_key(&key) {
        return key;
    }
    let own = entries.keys().filter(|other| other.principal == key.principal).count();
    let key = if own < MAX_PLACES { key } else { Key { organisation: None, ..key } };
    if entries.contains_key(&key) || entries.len() < MAX_ENTRIES {
        return key;
    }
    Key { principal: OTHERS.to_owned(), organisation: None }
}

/// Writes the lines that are due; all that waits, where `all` says so.
pub(super) async fn write(core: &Core, all: bool) -> Result<(), Error> {
    let here = core.seams.clock.now();
    let taken = core.refusals.take(here, all);
    if taken.is_empty() {
        return Ok(());
    }
    let written = write_taken(core, &taken, here).await;
    if written.is_err() {
        core.refusals.put_back(taken);
    }
    written
}

async fn write_taken(core: &Core, taken: &[(Key, Entry)], here: Timestamp) -> Result<(), Error> {
    let now = core.now().await?;
    let mut change = Change::of_lines(core);
    for (key, entry) in taken {
        let what = match entry.count {
            1 => entry.what.clone(),
            count => format!("{}, and {} more", entry.what, count - 1),
        };
        change.event(Event {
            organisation: whose(core, key).await?,
            at: now.minus(here.since(entry.at)),
            principal: key.principal.clone(),
            origin: entry.origin.clone(),
            kind: EventKind::Refused { what },
        });
    }
    change.commit().await.map_err(|failed| match failed {
        Attempt::Failed(error) => error,
        Attempt::Lost => Error::Contended { what: "the audit trail" },
    })
}

/// In whose trail the line belongs: the organisation's where there is one.
async fn whose(core: &Core, key: &Key) -> Result<OrganisationId, Error> {
    let Some(name) = &key.organisation else { return Ok(SYSTEM) };
    let row: Seen<NameRecord> = core.read(keys::organisation_name(name.as_str())).await?;
    Ok(match row.value {
        Some(NameRecord::Live(id)) => OrganisationId(id),
        _ => SYSTEM,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::PrincipalId;
    use crate::audit::TrailQuery;
    use crate::tenancy::tests::{Town, caller, operator, organisation};

    fn known(name: &str) -> Caller {
        Caller::known(PrincipalId::new(format!("user:{name}")).unwrap())
    }

    async fn refused(town: &Town, of: Option<&str>) -> Vec<(String, String)> {
        let query = TrailQuery {
            kinds: vec!["refused".to_owned()],
            oldest_first: true,
            ..TrailQuery::default()
        };
        let (reader, name) = match of {
            Some(name) => (caller("ann"), Some(organisation(name))),
            None => (operator(), None),
        };
        let page = town.engine.trail(&reader, name.as_ref(), &query, None, 1000).await.unwrap();
        let line = |event: Event| match event.kind {
            EventKind::Refused { what } => (event.principal, what),
            other => panic!("{other:?} was not asked for"),
        };
        page.items.into_iter().map(|item| line(item.event)).collect()
    }

    async fn ask(town: &Town, caller: &Caller, path: &str, action: Action) {
        let path = path.parse().unwrap();
        town.engine.repository(caller, &path, action).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_is_refused_to_somebody_known_is_a_line_where_it_was_asked_for() {
        let town = Town::new().await;
        let bob = known("bob");
        for _ in 0..3 {
            ask(&town, &bob, "acme/main/api", Action::Pull).await;
        }
        ask(&town, &bob, "nobody/main/api", Action::Push).await;
        ask(&town, &Caller::anonymous(), "acme/main/api", Action::Pull).await;
        town.engine
            .create_registry(
                &bob,
                &organisation("acme"),
                &"more".parse().unwrap(),
                crate::tenancy::RegistrySettings::default(),
            )
            .await
            .unwrap_err();
        town.engine.flush().await.unwrap();
        let bobs = |what: &str| ("user:bob".to_owned(), what.to_owned());
        let ours = refused(&town, Some("acme")).await;
        assert_eq!(ours, [bobs("pull from acme/main/api, and 3 more")]);
        assert_eq!(refused(&town, None).await, [bobs("push to nobody/main/api")]);
    }

    #[tokio::test]
    async fn what_takes_an_operator_is_a_line_of_the_system() {
        let town = Town::new().await;
        let bob = known("bob");
        town.engine.organisations(&bob, None, 10).await.unwrap_err();
        town.engine.verify_trail(&bob, None).await.unwrap_err();
        town.engine.organisations(&Caller::anonymous(), None, 10).await.unwrap_err();
        // What somebody names that is gone: they asked for that, and not to operate.
        let gone = organisation("gone");
        town.engine.verify_trail(&bob, Some(&gone)).await.unwrap_err();
        town.engine.flush().await.unwrap();
        let line = ("user:bob".to_owned(), "manage the installation, and 1 more".to_owned());
        assert_eq!(refused(&town, None).await, [line]);
    }

    #[tokio::test]
    async fn what_a_frontend_refuses_is_a_line_where_it_was_asked_for() {
        let town = Town::new().await;
        let (bob, acme) = (known("bob"), organisation("acme"));
        town.engine.note_refusal(&bob, Action::Push, Some(&acme), "acme/main/api");
        town.engine.note_refusal(&bob, Action::Manage, None, "the installation");
        town.engine.note_refusal(&Caller::anonymous(), Action::Pull, Some(&acme), "acme/main");
        town.engine.flush().await.unwrap();
        let bobs = |what: &str| ("user:bob".to_owned(), what.to_owned());
        assert_eq!(refused(&town, Some("acme")).await, [bobs("push to acme/main/api")]);
        assert_eq!(refused(&town, None).await, [bobs("manage the installation")]);
    }

    #[tokio::test]
    async fn whoever_goes_on_gets_one_line_a_minute_that_counts() {
        let town = Town::new().await;
        let (core, bob) = (&town.engine.core, known("bob"));
        for minute in 0..3 {
            for _ in 0..60 {
                ask(&town, &bob, "acme/main/api", Action::Pull).await;
                write(core, false).await.unwrap();
                town.clock.advance(Duration::from_secs(1));
            }
            assert_eq!(refused(&town, Some("acme")).await.len(), minute + 1);
        }
        town.engine.flush().await.unwrap();
        let told = refused(&town, Some("acme")).await;
        let count = |what: &str| {
            let more = what.rsplit_once("and ").map(|(_, more)| more.trim_end_matches(" more"));
            1 + more.map_or(0, |more| more.parse::<u64>().unwrap())
        };
        assert_eq!(told.iter().map(|(_, what)| count(what)).sum::<u64>(), 180, "{told:?}");
        town.clock.advance(PAUSE);
        write(core, false).await.unwrap();
        assert!(core.refusals.0.lock().unwrap().is_empty(), "what is over is forgotten");
    }

    #[tokio::test]
    async fn neither_many_places_nor_many_people_fill_memory_or_the_trail() {
        let town = Town::new().await;
        let log = &town.engine.core.refusals;
        let add = |principal: &str, place: usize| {
            let (caller, name) = (known(principal), organisation(&format!("org{place}")));
            log.add(&caller, Action::Pull, Some(&name), "x", Timestamp(0));
        };
        for place in 0..1000 {
            add("bob", place);
        }
        assert_eq!(log.0.lock().unwrap().len(), MAX_PLACES + 1);
        for person in 0..10 * MAX_ENTRIES {
            add(&format!("p{person}"), 0);
        }
        let entries = log.0.lock().unwrap().len();
        assert!(entries <= MAX_ENTRIES + 1, "{entries}");
        let counted = log.take(Timestamp(0), true);
        let all = counted.iter().map(|(_, entry)| entry.count).sum::<u64>();
        assert_eq!(all, 1000 + 10 * MAX_ENTRIES as u64);
        log.put_back(counted.clone());
        add("bob", 0);
        let again = log.take(Timestamp(1), true);
        let all_again = again.iter().map(|(_, entry)| entry.count).sum::<u64>();
        assert_eq!(all_again, all + 1, "what could not be written is counted still");
    }
}
