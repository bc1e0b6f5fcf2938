//! Reading the trail: all chains of an organisation merged by time.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize, Serializer};

use crate::Engine;
use crate::access::{Action, Caller};
use crate::audit::chains::{chains, gone, length};
use crate::audit::{Event, SYSTEM, decode_event};
use crate::core::Core;
use crate::error::Error;
use crate::graph::{MAX_PAGE, Page};
use crate::id::{ChainId, OrganisationId};
use crate::keys;
use crate::meta::log;
use crate::name::OrganisationName;
use crate::seam::Timestamp;
use crate::tenancy::{Tenant, demand, demand_operator, is_operator};

/// The most lines one page looks at: a filter that lets nothing pass ends its page too.
const LOOKED_AT: usize = 10_000;
/// How far clocks of the nodes are trusted: lines this much out of the order of their times may
/// be missed by a query that is bounded in time.
const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_hours(24);

/// Which lines of a trail to read. The default reads all of them, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrailQuery {
    /// Only what this principal did.
    pub principal: Option<String>,
    /// Only what happened in this repository: its path as it was then.
    pub repository: Option<String>,
    /// Only these kinds, by [`crate::audit::EventKind::name`]; all where empty.
    pub kinds: Vec<String>,
    /// Only from then on.
    pub from: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// From the oldest to the newest: such a reader misses nothing, since its cursor stands in each
    /// chain. Use it to follow the trail across restarts.
    pub oldest_first: bool,
}

impl TrailQuery {
    fn matches(&self, event: &Event) -> bool {
        let same = |want: &Option<String>, got: &str| want.as_deref().is_none_or(|w| w == got);
        let repository = event.kind.repository().map_or("", |repository| &repository.path);
        same(&self.principal, &event.principal)
            && same(&self.repository, repository)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.kind.name()))
            && self.from.is_none_or(|from| event.at >= from)
            && self.until.is_none_or(|until| event.at < until)
    }

    /// Whether nothing behind a line of this time is asked for.
    fn is_past(&self, at: Timestamp) -> bool {
        if self.oldest_first {
            self.until.is_some_and(|until| at >= until.plus(CLOCK_SLACK))
        } else {
            self.from.is_some_and(|from| at.plus(CLOCK_SLACK) < from)
        }
    }
}

/// A line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrailLine {
    /// The chain it stands in: that of one process.
    pub chain: ChainId,
    /// Its place there, from 0.
    pub sequence: u64,
    /// The chain's hash up to this line.
    #[serde(serialize_with = "hex")]
    pub hash: [u8; log::HASH_BYTES],
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

fn hex<S: Serializer>(hash: &[u8; log::HASH_BYTES], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&const_hex::encode(hash))
}

impl Engine {
    /// A page of an organisation's trail, for its admins; of one that was deleted, by the name it had
    /// last, for operators; of what belongs to no organisation, for operators, where `organisation` is
    /// absent.
    ///
    /// `after` is [`Page::next`] of the page before. A page may have fewer lines than `limit`, or
    /// none, and not be the last. From the oldest on there is always a next page, which has what
    /// happens later; it may be asked for at any time, also after a restart.
    pub async fn trail(
        &self,
        caller: &Caller,
        organisation: Option<&OrganisationName>,
        query: &TrailQuery,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<TrailLine>, Error> {
        let organisation = trail_of(&self.core, caller, organisation).await?;
        let read = read(&self.core, organisation, query, after, limit).await?;
        let more = query.oldest_first || !read.ended;
        Ok(Page { items: read.lines, next: more.then_some(read.cursor) })
    }

    /// A page of an organisation's trail, the oldest lines first: the durable form of
    /// [`Engine::subscribe`], of all processes. As there nobody is asked who may: it is for whoever
    /// holds the engine, and passes on to others only what they may see.
    ///
    /// `after` is [`Page::next`] of the page before, or of [`Engine::trail_end`]; from the first line on
    /// where absent. There is always a next page. One with fewer lines than `limit` has the newest.
    pub async fn follow(
        &self,
        organisation: OrganisationId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<TrailLine>, Error> {
        let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };
        let read = read(&self.core, organisation, &query, after, limit).await?;
        Ok(Page { items: read.lines, next: Some(read.cursor) })
    }

    /// Where a reader stands who wants only what happens from now on, for [`Engine::follow`].
    pub async fn trail_end(&self, organisation: OrganisationId) -> Result<String, Error> {
        let mut ends = BTreeMap::new();
        for chain in chains(&self.core, organisation).await? {
            ends.insert(chain, length(&self.core, organisation, chain).await?);
        }
        Ok(Cursor { oldest_first: true, chains: ends }.encode())
    }

    /// A trail as a stream, for whoever may read it; it ends where the trail ends now. Each line is
    /// made to be written as one line of JSON.
    pub async fn export_trail(
        &self,
        caller: &Caller,
        organisation: Option<&OrganisationName>,
        query: TrailQuery,
    ) -> Result<BoxStream<'static, Result<TrailLine, Error>>, Error> {
        let organisation = trail_of(&self.core, caller, organisation).await?;
        let core = self.core.clone();
        let pages = stream::try_unfold(Some(None), move |state: Option<Option<String>>| {
            let (core, query) = (core.clone(), query.clone());
            async move {
                let Some(after) = state else { return Ok(None) };
                let read = read(&core, organisation, &query, after.as_deref(), MAX_PAGE).await?;
                let next = (!read.ended).then_some(Some(read.cursor));
                Ok::<_, Error>(Some((read.lines, next)))
            }
        });
        let lines = pages.map(|page| match page {
            Ok(lines) => stream::iter(lines.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(lines.flatten().boxed())
    }
}

/// The organisation whose trail the caller may read.
async fn trail_of(
    core: &Core,
    caller: &Caller,
    organisation: Option<&OrganisationName>,
) -> Result<OrganisationId, Error> {
    if let Some(name) = organisation {
        return match Tenant::read(core, name).await {
            Ok(tenant) => {
                demand(core, caller, Action::Manage, &tenant.target()).await?;
                Ok(tenant.id)
            }
            Err(error) => of_deleted(core, caller, name, error).await,
        };
    }
    demand_operator(core, caller)?;
    Ok(SYSTEM)
}

/// A deleted organisation has no admins any more: what is left of it, its trail, is for operators.
/// Where it is none, or the caller none, `error` stands.
pub(super) async fn of_deleted(
    core: &Core,
    caller: &Caller,
    name: &OrganisationName,
    error: Error,
) -> Result<OrganisationId, Error> {
    if !matches!(error, Error::NameUnknown { .. }) || !is_operator(caller) {
        return Err(error);
    }
    Tenant::deleted(core, name).await?.ok_or(error)
}

/// Where a reader stands: in each chain the next sequence to read (oldest first), or the one above
/// it (newest first).
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    oldest_first: bool,
    chains: BTreeMap<ChainId, u64>,
}

impl Cursor {
    fn encode(&self) -> String {
        let bytes = postcard::to_stdvec(self).expect("numbers have an encoding, and memory grows");
        const_hex::encode(bytes)
    }

    fn decode(text: &str, oldest_first: bool) -> Result<Self, Error> {
        let bytes = const_hex::decode(text).ok();
        let cursor = bytes.and_then(|bytes| postcard::from_bytes::<Self>(&bytes).ok());
        cursor
            .filter(|cursor| cursor.oldest_first == oldest_first)
            .ok_or_else(|| Error::Invalid(format!("{text:?} is no cursor of this trail")))
    }
}

struct Read {
    lines: Vec<TrailLine>,
    cursor: String,
    /// Nothing that matches is left, for now.
    ended: bool,
}

/// One chain on its way into the merge.
struct Lane {
    chain: ChainId,
    log: Vec<u8>,
    position: u64,
    waiting: VecDeque<TrailLine>,
    ended: bool,
}

async fn read(
    core: &Core,
    organisation: OrganisationId,
    query: &TrailQuery,
    after: Option<&str>,
    limit: usize,
) -> Result<Read, Error> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut lanes = open(core, organisation, query, after).await?;
    let mut lines = Vec::new();
    let mut ended = false;
    for _ in 0..LOOKED_AT {
        for lane in &mut lanes {
            lane.fill(core, query, limit).await?;
        }
        let order = |lane: &&mut Lane| {
            lane.waiting.front().map(|line| (line.event.at, line.chain, line.sequence))
        };
        let next = lanes.iter_mut().filter(|lane| !lane.waiting.is_empty());
        let next = if query.oldest_first { next.min_by_key(order) } else { next.max_by_key(order) };
        let Some(line) = next.and_then(|lane| lane.take(query.oldest_first)) else {
            ended = true;
            break;
        };
        if query.matches(&line.event) {
            lines.push(line);
        }
        if lines.len() == limit {
            break;
        }
    }
    let chains = lanes.iter().map(|lane| (lane.chain, lane.position)).collect();
    let cursor = Cursor { oldest_first: query.oldest_first, chains }.encode();
    Ok(Read { lines, cursor, ended })
}

/// The chains of the organisation, each from where the reader stands.
async fn open(
    core: &Core,
    organisation: OrganisationId,
    query: &TrailQuery,
    after: Option<&str>,
) -> Result<Vec<Lane>, Error> {
    let cursor = after.map(|after| Cursor::decode(after, query.oldest_first)).transpose()?;
    let mut lanes = Vec::new();
    for chain in chains(core, organisation).await? {
        let known = cursor.as_ref().and_then(|cursor| cursor.chains.get(&chain).copied());
        let position = match known {
            // What a reader had not come to when it was cut off, it does not see any more.
            Some(position) if query.oldest_first => {
                position.max(gone(core, organisation, chain).await?)
            }
            Some(position) => position,
            None if query.oldest_first => gone(core, organisation, chain).await?,
            // It began after the first page, so it is newer than all of this reading.
            None if cursor.is_some() => continue,
            None => length(core, organisation, chain).await?,
        };
        let log = keys::audit_chain(organisation, chain);
        lanes.push(Lane { chain, log, position, waiting: VecDeque::new(), ended: false });
    }
    Ok(lanes)
}

impl Lane {
    /// Reads on where nothing waits and something is left.
    async fn fill(&mut self, core: &Core, query: &TrailQuery, limit: usize) -> Result<(), Error> {
        if self.ended || !self.waiting.is_empty() {
            return Ok(());
        }
        let batch = limit.clamp(8, 128) as u64;
        let (start, end) = if query.oldest_first {
            (self.position, self.position.saturating_add(batch))
        } else {
            (self.position.saturating_sub(batch), self.position)
        };
        let range = log::entry_key(&self.log, start)..log::entry_key(&self.log, end);
        let rows = if start == end { Vec::new() } else { core.meta.scan(range, MAX_PAGE).await? };
        for (key, value) in rows {
            let line = self.line(&key, &value)?;
            if query.oldest_first {
                self.waiting.push_back(line);
            } else {
                self.waiting.push_front(line);
            }
        }
        self.ended = self.waiting.front().is_none_or(|first| query.is_past(first.event.at));
        if self.ended {
            self.waiting.clear();
        }
        Ok(())
    }

    fn line(&self, key: &[u8], value: &Bytes) -> Result<TrailLine, Error> {
        let sequence = log::entry_sequence(&self.log, key);
        let (Some(sequence), Some((hash, entry))) = (sequence, log::decode(value)) else {
            return Err(Error::Corrupted(format!(
                "a line of audit chain {} can't be read; `verify` tells more",
                self.chain
            )));
        };
        Ok(TrailLine { chain: self.chain, sequence, hash, event: decode_event(&entry)? })
    }

    /// Takes the line that waits, and moves past it.
    fn take(&mut self, oldest_first: bool) -> Option<TrailLine> {
        let line = self.waiting.pop_front()?;
        self.position = if oldest_first { line.sequence + 1 } else { line.sequence };
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_a_reader_kept_over_a_restart_is_as_its_golden_file() {
        for (sample, oldest_first) in [("newest-first", false), ("oldest-first", true)] {
            let chains = BTreeMap::from([(ChainId(7), 300), (ChainId(u64::MAX), 0)]);
            let text = Cursor { oldest_first, chains }.encode();
            let name = format!("trail-cursor.v1.{sample}");
            crate::records::golden::compare(&name, text.as_bytes());
            let read = Cursor::decode(&text, oldest_first).unwrap();
            assert_eq!(read.encode(), text);
            assert!(Cursor::decode(&text, !oldest_first).is_err());
        }
    }
}
