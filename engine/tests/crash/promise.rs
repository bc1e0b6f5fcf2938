//! What a client was promised, and what may therefore be found behind a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use strongroom_engine::digest::Digest;
use strongroom_engine::id::SessionId;

/// One thing that a client can look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// A blob of a repository.
    Blob(String, Digest),
    /// A manifest of a repository.
    Manifest(String, Digest),
    /// A tag of a repository.
    Tag(String, String),
    /// An upload to a repository.
    Upload(String, SessionId),
    /// An organisation.
    Organisation(String),
    /// A registry of an organisation.
    Registry(String, String),
    /// The role of somebody in an organisation.
    Member(String, String),
}

/// How a thing looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// It is not there.
    Absent,
    /// It is there, whole.
    Present,
    /// It is there or not.
    Either,
    /// A tag points to it.
    Points(Digest),
    /// An upload of this content, of which at least so many bytes are durable.
    At(Digest, u64),
    /// What it says of itself.
    Says(String),
}

impl Value {
    /// Whether `found` is what this promises.
    pub(crate) fn covers(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Either, _) => true,
            (Self::At(content, least), Self::At(of, found)) => content == of && least <= found,
            _ => self == found,
        }
    }
}

/// Something a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    /// What, in words.
    pub(crate) what: String,
    /// The effects before it was asked for.
    pub(crate) start: usize,
    /// The effects before it was acknowledged; none while it is under way.
    pub(crate) end: Option<usize>,
    /// What it changes.
    pub(crate) sets: Vec<(Item, Value)>,
    /// The organisation and line of the trail that tell of it.
    pub(crate) lines: Vec<(String, String)>,
    /// Whether all of `sets` come in one commit.
    pub(crate) at_once: bool,
}

/// What is pushed: known by its digest.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    /// Of a manifest, its media type.
    pub(crate) media_type: Option<&'static str>,
    /// What a manifest names, and whether that is a manifest too.
    pub(crate) children: Vec<(Digest, bool)>,
    /// What a manifest refers to.
    pub(crate) subject: Option<Digest>,
}

/// All that was asked for and acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) deeds: Vec<Deed>,
    pub(crate) contents: BTreeMap<Digest, Content>,
}

/// What may be found of one item.
#[derive(Debug)]
pub(crate) struct Allowed<'a>(pub(crate) Vec<&'a Value>);

impl Allowed<'_> {
    pub(crate) fn covers(&self, found: &Value) -> bool {
        self.0.iter().any(|value| value.covers(found))
    }
}

impl fmt::Display for Allowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl History {
    /// Every item that was ever spoken of.
    pub(crate) fn items(&self) -> BTreeSet<&Item> {
        self.deeds.iter().flat_map(|deed| deed.sets.iter().map(|(item, _)| item)).collect()
    }

    /// What may be found of `item` behind the first `at` effects: what was acknowledged last, and
    /// whatever was under way since before that.
    pub(crate) fn allowed(&self, item: &Item, at: usize) -> Allowed<'_> {
        let started: Vec<_> = self
            .deeds
            .iter()
            .filter(|deed| deed.start <= at)
            .flat_map(|deed| deed.sets.iter().map(move |set| (deed, set)))
            .filter(|(_, (of, _))| of == item)
            .map(|(deed, (_, value))| (deed.start, deed.end, value))
            .collect();
        // What ended before another began that was acknowledged is gone.
        let newest = started
            .iter()
            .filter(|(_, end, _)| end.is_some_and(|end| end <= at))
            .map(|(start, ..)| *start)
            .max();
        let mut allowed = Vec::new();
        if newest.is_none() {
            // The id of an upload is known only from the answer, the row is there before.
            let unknown = started.is_empty() && matches!(item, Item::Upload(..));
            allowed.push(if unknown { &Value::Either } else { &Value::Absent });
        }
        for (place, (_, end, value)) in started.iter().enumerate() {
            let later = started.get(place + 1..).unwrap_or_default();
            let replaced = end.filter(|end| *end <= at).is_some_and(|end| {
                later
                    .iter()
                    .any(|(start, done, _)| *start >= end && done.is_some_and(|done| done <= at))
            });
            if !replaced {
                allowed.push(*value);
            }
        }
        Allowed(allowed)
    }

    /// How `item` was acknowledged to look last before `deed` was asked for.
    pub(crate) fn before(&self, item: &Item, deed: &Deed) -> Option<&Value> {
        let acknowledged = self.deeds.iter().filter(|other| {
            !std::ptr::eq(*other, deed) && other.end.is_some_and(|end| end <= deed.start)
        });
        let mut values = acknowledged.flat_map(|other| &other.sets).filter(|(of, _)| of == item);
        values.next_back().map(|(_, value)| value)
    }

    /// The deeds under way behind the first `at` effects.
    pub(crate) fn under_way(&self, at: usize) -> impl Iterator<Item = &Deed> {
        self.deeds
            .iter()
            .filter(move |deed| deed.start <= at && deed.end.is_none_or(|end| end > at))
    }

    /// How often a line must stand in an organisation's trail, and how often it may.
    pub(crate) fn lines(&self, at: usize) -> BTreeMap<(String, String), (usize, usize)> {
        let mut lines = BTreeMap::new();
        for deed in self.deeds.iter().filter(|deed| deed.start <= at) {
            let done = deed.end.is_some_and(|end| end <= at);
            for line in &deed.lines {
                let count: &mut (usize, usize) = lines.entry(line.clone()).or_default();
                count.0 += usize::from(done);
                count.1 += 1;
            }
        }
        lines
    }
}
