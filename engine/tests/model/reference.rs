//! What the engine must do, said with maps and sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ops::{At, Collecting, Op};
use super::pool::Thing;
use super::tenants::Tenant;

pub const HOUR: u64 = 3_600_000;
pub const LEASE: u64 = 24 * HOUR;
pub const IDLE: u64 = 10 * HOUR;
pub const DELAY: u64 = HOUR;
/// What an append of unknown length reserves ahead.
const AHEAD: u64 = 64 << 20;

/// What the caller of an operation was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Done,
    Size(u64),
    Offset(u64),
    Mounted(bool),
    NameUnknown,
    BlobUnknown,
    ManifestUnknown,
    UploadUnknown,
    Busy,
    OutOfOrder(u64),
    Mismatch,
    Broken,
    Missing(BTreeSet<usize>),
    InUse,
    Immutable,
    Quota,
    Other(String),
}

/// A repository's hold on a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub blob: bool,
    pub manifest: bool,
    pub leased_until: u64,
    /// A collection that was not seen to end may have taken the blob away.
    pub doubtful: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repo {
    pub links: BTreeMap<usize, Link>,
    /// What each points at, and since when.
    pub tags: BTreeMap<u8, (usize, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub repo: usize,
    pub thing: usize,
    pub offset: u64,
    pub reserved: u64,
    /// What the last append had reserved when its bytes had come, before it gave back what was ahead.
    pub ahead: u64,
    pub expires: u64,
    pub doubtful: bool,
}

/// The two organisations, of two repositories each: 0 and 1, 2 and 3.
#[derive(Debug, Clone)]
pub struct Model {
    pub things: Arc<Vec<Thing>>,
    pub now: u64,
    pub quota: [Option<u64>; 2],
    pub tenants: [Tenant; 2],
    pub repos: [Option<Repo>; 4],
    /// By slot; those whose slot was used again are at higher numbers.
    pub sessions: BTreeMap<usize, Session>,
    /// What was uploaded last from each slot.
    pub begun: BTreeMap<usize, (usize, usize)>,
    /// What each organisation uses, as it was told last.
    pub used: [u64; 2],
    /// Content that may still be stored, though nobody has it.
    pub stored: [BTreeSet<usize>; 2],
    /// What a given-up operation may have left reserved or stored.
    pub leaked: [u64; 2],
    /// Whether operations run beside each other, and may stumble over each other's reservations.
    pub starved: bool,
}

impl Model {
    pub fn new(things: Arc<Vec<Thing>>, now: u64) -> Self {
        let (quota, repos, used, leaked) = ([None; 2], [const { None }; 4], [0; 2], [0; 2]);
        let (sessions, begun) = (BTreeMap::new(), BTreeMap::new());
        let stored = [BTreeSet::new(), BTreeSet::new()];
        let starved = false;
        // Made with a viewer, whose line is there.
        let lines = BTreeMap::from([("member_set", 1)]);
        let tenants = [(); 2].map(|()| Tenant { lines: lines.clone(), ..Tenant::default() });
        Self { things, now, quota, tenants, repos, sessions, begun, used, stored, leaked, starved }
    }

    /// Whether a collection removes more than links and uploads.
    pub fn has_rules(&self) -> bool {
        self.tenants.iter().any(|tenant| tenant.rules.expiring)
    }

    /// Does `op`, and says what its caller is told.
    pub fn apply(&mut self, op: &Op) -> Told {
        self.attempt(op).unwrap_or_else(|told| told)
    }

    fn attempt(&mut self, op: &Op) -> Result<Told, Told> {
        match *op {
            Op::PushBlob { repo, thing, wrong, known, pieces } => {
                let size = self.things[thing].size();
                let mut reserved = 0;
                self.reserve(repo, &mut reserved, if known { size } else { 0 })?;
                self.repo(repo);
                let taken = self.take(repo, &mut reserved, 0, size, known, pieces);
                self.used[repo / 2] -= reserved;
                taken?;
                if wrong {
                    return Err(Told::Mismatch);
                }
                self.link_blob(repo, thing);
                self.line(repo / 2, "blob_pushed");
                Ok(Told::Size(size))
            }
            Op::Start { slot, repo, thing, .. } => {
                self.repo(repo);
                if let Some(old) = self.sessions.remove(&slot) {
                    let at = 1000 + self.sessions.keys().last().copied().unwrap_or_default();
                    self.sessions.insert(at, old);
                }
                let expires = self.now + IDLE;
                let session = Session {
                    repo,
                    thing,
                    offset: 0,
                    reserved: 0,
                    ahead: 0,
                    expires,
                    doubtful: false,
                };
                self.sessions.insert(slot, session);
                self.begun.insert(slot, (repo, thing));
                Ok(Told::Done)
            }
            Op::Append { slot, elsewhere, at, length, known, pieces, broken } => {
                let mut session = self.session(slot)?.clone();
                if elsewhere {
                    return Err(Told::UploadUnknown);
                }
                let (begin, length) = match at {
                    At::Right | At::Unsaid => (session.offset, length),
                    At::Wrong => return Err(Told::OutOfOrder(session.offset)),
                    At::Again if session.offset > 0 => return Ok(Told::Offset(session.offset)),
                    At::Again => (0, 0),
                };
                let whole = self.things[session.thing].size();
                let length = length.min(whole - begin);
                let repo = session.repo;
                let sent = if broken { length / 2 } else { length };
                let known = known || at == At::Again;
                let mut reserved = session.reserved;
                let taken = if broken && known {
                    self.take_of(repo, &mut reserved, begin, sent, Some(length), pieces)
                } else {
                    self.take(repo, &mut reserved, begin, sent, known, pieces)
                };
                if reserved != session.reserved {
                    session.expires = self.now + IDLE;
                }
                let before = session.reserved;
                (session.reserved, session.ahead) = (reserved, reserved);
                if taken.is_ok() {
                    session.offset += sent;
                    session.expires = self.now + IDLE;
                    // What was reserved ahead of the stream is given back at its end.
                    session.reserved = before.max(session.offset);
                    self.used[repo / 2] -= reserved - session.reserved;
                }
                let told = Told::Offset(session.offset);
                self.sessions.insert(slot, session);
                taken.and(if broken { Err(Told::Broken) } else { Ok(told) })
            }
            Op::Finish { slot, wrong } => {
                let Ok(session) = self.session(slot).cloned() else {
                    return self.finished_before(slot, wrong);
                };
                self.sessions.remove(&slot);
                self.used[session.repo / 2] -= session.reserved;
                if wrong || session.offset != self.things[session.thing].size() {
                    return Err(Told::Mismatch);
                }
                self.link_blob(session.repo, session.thing);
                self.line(session.repo / 2, "blob_pushed");
                Ok(Told::Size(session.offset))
            }
            Op::Cancel { slot } => {
                let session = self.session(slot)?.clone();
                self.sessions.remove(&slot);
                self.used[session.repo / 2] -= session.reserved;
                Ok(Told::Done)
            }
            Op::Mount { to, from, thing } => {
                let has = |at: usize| self.has_blob(at, thing);
                let own = to / 2 * 2;
                let mounted = match from {
                    // Who may push here may not even see the other organisation.
                    Some(from) if from / 2 != to / 2 => return Err(Told::NameUnknown),
                    Some(from) => has(from),
                    None => has(own) || has(own + 1),
                };
                if mounted {
                    self.repo(to);
                    self.link_blob(to, thing);
                }
                Ok(Told::Mounted(mounted))
            }
            Op::Head { repo, thing } => {
                let now = self.now;
                let links = &mut self.repos[repo].as_mut().ok_or(Told::NameUnknown)?.links;
                let link = links.get_mut(&thing).filter(|link| link.blob);
                let link = link.ok_or(Told::BlobUnknown)?;
                if link.leased_until <= now + LEASE / 2 {
                    link.leased_until = link.leased_until.max(now + LEASE);
                }
                Ok(Told::Size(self.things[thing].size()))
            }
            Op::PushManifest { repo, thing, tags } => self.push_manifest(repo, thing, tags),
            Op::DeleteTag { repo, tag } => {
                let immutable = self.is_immutable(repo, tag);
                let tags = &mut self.repos[repo].as_mut().ok_or(Told::NameUnknown)?.tags;
                if tags.contains_key(&tag) && immutable {
                    return Err(Told::Immutable);
                }
                tags.remove(&tag).ok_or(Told::ManifestUnknown)?;
                self.line(repo / 2, "tag_deleted");
                Ok(Told::Done)
            }
            Op::DeleteManifest { repo, thing } => {
                let found = self.repos[repo].as_ref().ok_or(Told::NameUnknown)?;
                let link = found.links.get(&thing).filter(|link| link.manifest);
                link.ok_or(Told::ManifestUnknown)?;
                if self.is_held(repo, thing) {
                    return Err(Told::Immutable);
                }
                if self.named(repo, thing) {
                    return Err(Told::InUse);
                }
                self.remove_manifest(repo, thing);
                Ok(Told::Done)
            }
            Op::DeleteBlob { repo, thing } => {
                let named = self.named(repo, thing);
                let links = &mut self.repos[repo].as_mut().ok_or(Told::NameUnknown)?.links;
                let link = links.get_mut(&thing).filter(|link| link.blob);
                let link = link.ok_or(Told::BlobUnknown)?;
                if named {
                    return Err(Told::InUse);
                }
                link.blob = false;
                if !link.manifest {
                    links.remove(&thing);
                }
                self.line(repo / 2, "blob_deleted");
                Ok(Told::Done)
            }
            Op::Quota { organisation, bytes } => Ok(self.set_quota(organisation, bytes)),
            Op::Role { organisation, roles } => Ok(self.set_role(organisation, roles)),
            Op::Rules { organisation, rules } => Ok(self.set_rules(organisation, rules)),
            Op::Rot { organisation, thing } => Ok(self.rot(organisation, thing)),
            Op::Jump(by) => {
                self.now = self.now.saturating_add_signed(by);
                Ok(Told::Done)
            }
            Op::Collect(Collecting::Whole) => {
                self.expire();
                self.collect(false);
                Ok(Told::Done)
            }
            Op::Collect(Collecting::Dry) | Op::Restart(_) | Op::Scrub => Ok(Told::Done),
            Op::Both(..) | Op::GivenUp(..) => unreachable!("these are done in parts"),
        }
    }

    fn push_manifest(&mut self, repo: usize, thing: usize, tags: u8) -> Result<Told, Told> {
        let things = Arc::clone(&self.things);
        let manifest = &things[thing];
        let mut placed = 0;
        if !manifest.inline() {
            // Its bytes are stored first, as an upload would be.
            self.reserve(repo, &mut placed, manifest.size())?;
            self.repo(repo);
            self.used[repo / 2] -= placed;
        }
        let empty = Repo::default();
        let links = &self.repos[repo].as_ref().unwrap_or(&empty).links;
        let missing: BTreeSet<_> = manifest
            .children
            .iter()
            .filter(|(child, as_manifest)| {
                let link = links.get(child).cloned().unwrap_or_default();
                !if *as_manifest { link.manifest } else { link.blob }
            })
            .map(|(child, _)| *child)
            .collect();
        if !missing.is_empty() {
            return Err(Told::Missing(missing));
        }
        let known = links.get(&thing).is_some_and(|link| link.manifest);
        let tags: Vec<_> = (0..8).filter(|tag| tags & (1 << tag) != 0).collect();
        let held = &self.repos[repo].as_ref().unwrap_or(&empty).tags;
        let moves = |tag: &u8| held.get(tag).is_some_and(|(tagged, _)| *tagged != thing);
        if tags.iter().any(|tag| moves(tag) && self.is_immutable(repo, *tag)) {
            return Err(Told::Immutable);
        }
        if !known && manifest.inline() {
            let mut inline = 0;
            self.reserve(repo, &mut inline, manifest.size())?;
        }
        if !manifest.inline() {
            self.store(repo, thing);
        }
        self.line(repo / 2, "manifest_pushed");
        let now = self.now;
        let repo = self.repo(repo);
        repo.links.entry(thing).or_default().manifest = true;
        repo.tags.extend(tags.into_iter().map(|tag| (tag, (thing, now))));
        Ok(Told::Done)
    }

    /// Collects: for sure, or perhaps.
    pub fn collect(&mut self, perhaps: bool) {
        let now = self.now;
        for at in 0..4 {
            let named: Vec<_> = (0..self.things.len()).map(|thing| self.named(at, thing)).collect();
            let Some(repo) = &mut self.repos[at] else { continue };
            repo.links.retain(|thing, link| {
                let held = !link.blob || named[*thing] || link.leased_until > now;
                link.doubtful |= !held && perhaps;
                link.blob &= held || perhaps;
                link.blob || link.manifest
            });
        }
        let mut given_back = [0; 2];
        self.sessions.retain(|_, session| {
            let held = session.expires > now;
            session.doubtful |= !held && perhaps;
            if !held && !perhaps {
                given_back[session.repo / 2] += session.reserved;
            }
            held || perhaps
        });
        for (used, back) in self.used.iter_mut().zip(given_back) {
            *used = used.saturating_sub(back);
        }
    }

    /// The least and the most that an organisation may be said to use.
    pub fn usage(&self, organisation: usize) -> (u64, u64) {
        let (mut least, mut inline, mut held) = (0, 0, BTreeSet::new());
        for repo in self.repos[organisation * 2..organisation * 2 + 2].iter().flatten() {
            for (thing, link) in &repo.links {
                if link.manifest && self.things[*thing].inline() {
                    inline += self.things[*thing].size();
                }
                if link.blob || (link.manifest && !self.things[*thing].inline()) {
                    held.insert(*thing);
                }
            }
        }
        least += inline + held.iter().map(|thing| self.things[*thing].size()).sum::<u64>();
        let mut more = self.leaked[organisation];
        for session in self.sessions.values().filter(|session| session.repo / 2 == organisation) {
            *(if session.doubtful { &mut more } else { &mut least }) += session.reserved;
        }
        let garbage = self.stored[organisation].difference(&held);
        more += garbage.map(|thing| self.things[*thing].size()).sum::<u64>();
        (least, least + more)
    }

    /// How many small manifests an organisation has: each has one copy, wherever it is.
    pub fn copies(&self, organisation: usize) -> usize {
        let repos = self.repos[organisation * 2..organisation * 2 + 2].iter().flatten();
        let links = repos.flat_map(|repo| &repo.links);
        let small = links.filter(|(thing, link)| link.manifest && self.things[**thing].inline());
        small.map(|(thing, _)| thing).collect::<BTreeSet<_>>().len()
    }

    /// After everything that can be collected was.
    pub fn drained(&mut self) {
        for organisation in 0..2 {
            let held = self.repos[organisation * 2..organisation * 2 + 2]
                .iter()
                .flatten()
                .flat_map(|repo| &repo.links)
                .filter(|(thing, link)| {
                    link.blob || (link.manifest && !self.things[**thing].inline())
                });
            self.stored[organisation] = held.map(|(thing, _)| *thing).collect();
        }
        self.leaked = [0; 2];
    }

    /// Whether a manifest in the repository names the thing.
    pub fn named(&self, repo: usize, thing: usize) -> bool {
        let Some(repo) = &self.repos[repo] else { return false };
        let manifests = repo.links.iter().filter(|(_, link)| link.manifest);
        manifests.flat_map(|(at, _)| &self.things[*at].children).any(|(child, _)| *child == thing)
    }

    pub fn repo(&mut self, at: usize) -> &mut Repo {
        self.repos[at].get_or_insert_default()
    }

    fn session(&self, slot: usize) -> Result<&Session, Told> {
        let session = self.sessions.get(&slot).filter(|session| session.expires > self.now);
        session.ok_or(Told::UploadUnknown)
    }

    /// What is told of finishing what is not under way: that it is done, where the blob is here.
    fn finished_before(&self, slot: usize, wrong: bool) -> Result<Told, Told> {
        let (repo, thing) = self.begun.get(&slot).copied().ok_or(Told::UploadUnknown)?;
        let links = self.repos[repo].as_ref().map(|repo| &repo.links);
        let here = links.is_some_and(|links| links.get(&thing).is_some_and(|link| link.blob));
        let size = self.things[thing].size();
        if here && !wrong { Ok(Told::Size(size)) } else { Err(Told::UploadUnknown) }
    }

    fn reserve(&mut self, repo: usize, reserved: &mut u64, up_to: u64) -> Result<(), Told> {
        let (organisation, more) = (repo / 2, up_to.saturating_sub(*reserved));
        let room = self.quota[organisation].unwrap_or(u64::MAX);
        if more > 0 && (self.starved || self.used[organisation] + more > room) {
            return Err(Told::Quota);
        }
        self.used[organisation] += more;
        *reserved += more;
        Ok(())
    }

    fn take(
        &mut self,
        repo: usize,
        reserved: &mut u64,
        begin: u64,
        sent: u64,
        known: bool,
        pieces: u64,
    ) -> Result<(), Told> {
        self.take_of(repo, reserved, begin, sent, known.then_some(sent), pieces)
    }

    /// Takes `sent` bytes in pieces, reserving room as they come.
    fn take_of(
        &mut self,
        repo: usize,
        reserved: &mut u64,
        begin: u64,
        sent: u64,
        length: Option<u64>,
        pieces: u64,
    ) -> Result<(), Told> {
        let mut taken = 0;
        for piece in cut(sent, pieces) {
            taken += piece;
            let after = begin + taken;
            if after > *reserved {
                let rest = length.map_or(AHEAD, |length| length - taken);
                if rest == 0 || self.reserve(repo, reserved, after + rest).is_err() {
                    self.reserve(repo, reserved, after)?;
                }
            }
        }
        Ok(())
    }

    fn store(&mut self, repo: usize, thing: usize) {
        if self.stored[repo / 2].insert(thing) {
            self.used[repo / 2] += self.things[thing].size();
        }
    }

    pub fn link_blob(&mut self, repo: usize, thing: usize) {
        self.store(repo, thing);
        let until = self.now + LEASE;
        let link = self.repo(repo).links.entry(thing).or_default();
        link.blob = true;
        link.leased_until = link.leased_until.max(until);
    }
}

/// The lengths of the pieces in which so many bytes are sent.
pub fn cut(bytes: u64, pieces: u64) -> Vec<u64> {
    let step = (bytes / pieces.max(1)).max(1);
    let mut left = bytes;
    let mut cut = Vec::new();
    while left > 0 {
        let piece = if cut.len() as u64 + 1 >= pieces { left } else { step.min(left) };
        cut.push(piece);
        left -= piece;
    }
    cut
}
