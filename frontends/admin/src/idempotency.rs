//! `Idempotency-Key`: a creation that is sent again is answered the same, and done once.
//!
//! A key is its sender's: the record stands under the hash of principal, route and key, with the hash
//! of what was asked. It is claimed by a commit before anything is made, so that of two requests at
//! once one goes on, and the other is told to come again (409). What was answered is kept for a day,
//! unless it holds a secret: then only that it was. What failed is forgotten, since nothing changed.
//! A claim that a kill left is anybody's with the same key after [`CLAIM`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_engine::Error;
use strongroom_engine::access::Caller;
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::extension::{Batch, Entry, Extension};
use strongroom_engine::seam::Timestamp;

use crate::problem::{Kind, Problem};
use crate::record::{self, encode};

/// How long a claim holds others off.
const CLAIM: Duration = Duration::from_mins(1);
/// How long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);
/// The longest key.
const MAX_KEY: usize = 255;
/// How many records one sweep looks at.
const SWEPT: usize = 500;

const PREFIX: &str = "idempotency/";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    asked: String,
    at: Timestamp,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Claimed,
    Answered(String),
    /// The answer held a secret.
    Secret,
}

/// A key that was claimed by a request.
#[derive(Debug)]
pub(crate) struct Claim {
    key: String,
    record: Record,
}

/// What comes of showing a key.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Go on.
    Claimed(Claim),
    /// It was done before, and answered this.
    Answered(Vec<u8>),
}

/// The text of the header, where it is one.
pub(crate) fn key(headers: &http::HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    if values.next().is_some() || text.is_none() {
        let detail = format!("an Idempotency-Key is 1 to {MAX_KEY} printable characters, once");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    Ok(text)
}

/// A text for these parts that no others have.
pub(crate) fn hash(parts: &[&[u8]]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        // Each with its length, so that no two lists of parts are the same bytes (threat B12).
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    let text = Digest::of(Algorithm::Sha256, &bytes).to_string();
    text.trim_start_matches("sha256:").to_owned()
}

fn decode(bytes: &[u8]) -> Result<Record, Error> {
    record::decode("an Idempotency-Key", bytes)
}

fn line(by: &Caller, at: Timestamp, change: &str, asked: &str) -> Event {
    let kind = EventKind::Identity { change: change.to_owned(), subject: asked.to_owned() };
    Event::by(by, SYSTEM, at, kind)
}

/// Claims a key for a request to `route` with `path` and `body`.
pub(crate) async fn claim(
    records: &Extension,
    by: &Caller,
    key: &str,
    route: &'static str,
    (path, body): (&str, &[u8]),
) -> Result<Shown, Problem> {
    let principal = by.principal.as_str();
    let row =
        format!("{PREFIX}{}", hash(&[principal.as_bytes(), route.as_bytes(), key.as_bytes()]));
    let asked = hash(&[path.as_bytes(), body]);
    let now = records.now().await?;
    let record = Record { asked: asked.clone(), at: now, state: State::Claimed };
    let mut batch = Batch::new().put(row.as_str(), encode(&record)).event(line(
        by,
        now,
        "idempotency key claimed",
        route,
    ));
    batch = match records.get(&row).await? {
        None => batch.absent(row.as_str()),
        Some(Entry { value, version, .. }) => {
            let found = decode(&value)?;
            let free = match found.state {
                State::Claimed => found.at.plus(CLAIM) <= now,
                _ => found.at.plus(KEPT) <= now,
            };
            if !free {
                return found_again(found, &asked);
            }
            batch.unchanged(row.as_str(), version)
        }
    };
    match records.commit(batch).await {
        Ok(()) => Ok(Shown::Claimed(Claim { key: row, record })),
        Err(Error::Contended { .. }) => Err(under_way()),
        Err(error) => Err(error.into()),
    }
}

fn found_again(found: Record, asked: &str) -> Result<Shown, Problem> {
    if found.asked != asked {
        let detail = "this Idempotency-Key was sent with another request; take a new one for each";
        return Err(Problem::new(Kind::KeyReused, detail));
    }
    match found.state {
        State::Claimed => Err(under_way()),
        State::Answered(body) => Ok(Shown::Answered(body.into_bytes())),
        State::Secret => {
            let detail = "this was done before, and what it made is shown once; list what there is, \
                          remove it, and make another one with a new key";
            Err(Problem::new(Kind::UnderWay, detail))
        }
    }
}

fn under_way() -> Problem {
    let detail = "a request with this Idempotency-Key is under way; ask again in a moment";
    Problem::new(Kind::UnderWay, detail).retry_after(Duration::from_secs(1))
}

impl Claim {
    /// Keeps what was answered; of a `secret` only that it was.
    pub(crate) async fn answered(
        self,
        records: &Extension,
        by: &Caller,
        body: &[u8],
        secret: bool,
    ) -> Result<(), Error> {
        let state = match std::str::from_utf8(body) {
            Ok(text) if !secret => State::Answered(text.to_owned()),
            _ => State::Secret,
        };
        let at = records.now().await?;
        let record = Record { at, state, ..self.record };
        let batch = Batch::new().put(self.key.as_str(), encode(&record)).event(line(
            by,
            at,
            "idempotency key answered",
            &record.asked,
        ));
        records.commit(batch).await
    }

    /// Forgets the claim of what failed.
    pub(crate) async fn failed(self, records: &Extension, by: &Caller) -> Result<(), Error> {
        let at = records.now().await?;
        let batch = Batch::new().delete(self.key.as_str()).event(line(
            by,
            at,
            "idempotency key let go",
            &self.record.asked,
        ));
        records.commit(batch).await
    }
}

/// Removes a batch of what is over; to be called now and then.
pub(crate) async fn sweep(records: &Extension, by: &Caller) -> Result<(), Error> {
    let mut after = None;
    loop {
        let now = records.now().await?;
        let page = records.scan(PREFIX, after.as_deref(), SWEPT).await?;
        let (mut batch, mut gone) = (Batch::new(), 0_u64);
        for Entry { key, value, version } in page.items {
            // What can't be read is over, too: nobody has a use for it.
            if decode(&value).is_ok_and(|record| record.at.plus(KEPT) > now) {
                continue;
            }
            batch = batch.unchanged(key.as_slice(), version).delete(key);
            gone += 1;
        }
        if gone > 0 {
            let what = "idempotency keys removed that were over".to_owned();
            let kind = EventKind::Maintained { what, objects: gone, bytes: 0 };
            match records.commit(batch.event(Event::by(by, SYSTEM, now, kind))).await {
                Ok(()) | Err(Error::Contended { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
