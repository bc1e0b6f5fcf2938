//! Referrers: what points at a digest, as an image index (distribution spec, "Listing Referrers").
//!
//! What a client without this API wrote into an index under the fallback tag is listed too, after the
//! rest, so that nothing is lost when content is copied here. A page ends by its bytes, or by how
//! many entries of that index it looked at; the next one goes on from there.

use std::collections::{BTreeMap, HashSet};

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LINK};
use serde::{Deserialize, Serialize};
use strongroom_engine::digest::Digest;
use strongroom_engine::manifest::ManifestKind;
use strongroom_engine::name::Reference;
use strongroom_engine::{Error, Referrer, Repository};

use crate::Input;
use crate::error::Failure;
use crate::lists::limit;
use crate::query::escaped;
use crate::reply::Reply;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The largest page, in bytes: clients read no larger manifest.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// How many referrers are read at a time: the engine lets each have 256 KiB of annotations.
const BATCH: usize = 32;
/// How many entries of a fallback index one page looks at: each costs a look into the store, and who
/// wrote the index chose how many there are.
const MAX_FALLBACK_LOOKS: usize = 256;
/// What begins a page's place in a fallback index; others are the engine's, in hexadecimal.
const IN_FALLBACK: &str = "fallback-";
/// The most hexadecimal digits of a digest in a fallback tag.
const FALLBACK_HEX: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// A page that is being filled: descriptors as JSON, with commas.
struct Page {
    json: Vec<u8>,
    listed: HashSet<Digest>,
    /// The most descriptors.
    most: usize,
}

impl Page {
    fn new(most: usize) -> Self {
        let head = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":["#);
        Self { json: head.into_bytes(), listed: HashSet::new(), most }
    }

    /// Adds a descriptor, unless the page would be too large then. One always fits where any may.
    fn push(&mut self, descriptor: &Descriptor) -> bool {
        if self.listed.len() >= self.most {
            return false;
        }
        let json = serde_json::to_vec(descriptor).expect("its keys are strings");
        if !self.listed.is_empty() {
            if self.json.len() + json.len() + 3 > MAX_PAGE_BYTES {
                return false;
            }
            self.json.push(b',');
        }
        self.json.extend_from_slice(&json);
        self.listed.insert(descriptor.digest);
        true
    }

    fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(b"]}");
        self.json
    }
}

impl From<Referrer> for Descriptor {
    fn from(referrer: Referrer) -> Self {
        Self {
            media_type: referrer.media_type,
            digest: referrer.digest,
            size: referrer.size,
            artifact_type: referrer.artifact_type,
            annotations: referrer.annotations,
        }
    }
}

/// `GET referrers/DIGEST`
pub(crate) async fn list(
    repository: &Repository,
    subject: &Digest,
    input: &Input,
) -> Result<Reply, Failure> {
    let filter = input.query.get("artifactType").filter(|filter| !filter.is_empty());
    let most = limit(&input.query)?;
    let mut page = Page::new(most);
    let from = input.query.get("from");
    let in_fallback = from.and_then(|from| from.strip_prefix(IN_FALLBACK)?.parse::<usize>().ok());
    let next = match in_fallback {
        Some(at) => add_fallback(&mut page, repository, subject, filter, at).await?,
        None => match add_referrers(&mut page, repository, subject, filter, from).await? {
            None => add_fallback(&mut page, repository, subject, filter, 0).await?,
            next => next,
        },
    };
    // A page of none leads nowhere.
    let next = next.filter(|_| most > 0);

    let mut reply = Reply::new(StatusCode::OK)
        .with_static(CONTENT_TYPE, INDEX)
        .with_static(CACHE_CONTROL, "private, no-cache");
    if filter.is_some() {
        reply = reply.with_static(FILTERS, "artifactType");
    }
    if let Some(next) = next {
        let link = format!("/v2/{}/referrers/{subject}?from={next}", repository.path());
        let link = match filter {
            Some(filter) => format!("{link}&artifactType={}", escaped(filter)),
            None => link,
        };
        let link = match input.query.get("n") {
            Some(_) => format!("{link}&n={most}"),
            None => link,
        };
        reply = reply.with(LINK, format_args!("<{link}>; rel=\"next\""));
    }
    Ok(reply.body(page.finish()))
}

/// Adds what the engine knows, from a place on; gives the place of the next page.
async fn add_referrers(
    page: &mut Page,
    repository: &Repository,
    subject: &Digest,
    filter: Option<&str>,
    from: Option<&str>,
) -> Result<Option<String>, Failure> {
    let mut next = from.map(str::to_owned);
    loop {
        let batch = repository.referrers(subject, filter, next.as_deref(), BATCH).await?;
        // What this page has no room for comes after the last that it has.
        for referrer in batch.items {
            let place = referrer.place.clone();
            if !page.push(&referrer.into()) {
                return Ok(Some(place));
            }
        }
        if batch.next.is_none() {
            return Ok(None);
        }
        next = batch.next;
    }
}

/// Adds what the index under the fallback tag lists and the API does not know, from one of its entries
/// on; gives the place of the next page.
async fn add_fallback(
    page: &mut Page,
    repository: &Repository,
    subject: &Digest,
    filter: Option<&str>,
    from: usize,
) -> Result<Option<String>, Failure> {
    let Some(index) = fallback(repository, subject).await? else { return Ok(None) };
    let mut looks = 0;
    for (at, entry) in index.manifests.iter().enumerate().skip(from) {
        let wanted = filter.is_none_or(|filter| entry.artifact_type.as_deref() == Some(filter));
        if !wanted || page.listed.contains(&entry.digest) {
            continue;
        }
        if looks == MAX_FALLBACK_LOOKS {
            return Ok(Some(format!("{IN_FALLBACK}{at}")));
        }
        looks += 1;
        let known = match repository.stat_manifest(&Reference::Digest(entry.digest)).await {
            // On an earlier page.
            Ok(manifest) => manifest.subject.as_ref() == Some(subject),
            // Named by an index that may lack its entries.
            Err(Error::ManifestUnknown { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        if !known && !page.push(entry) {
            return Ok(Some(format!("{IN_FALLBACK}{at}")));
        }
    }
    Ok(None)
}

/// The index under the tag that clients use where a registry has no referrers API.
async fn fallback(repository: &Repository, subject: &Digest) -> Result<Option<Index>, Failure> {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or_default();
    let hex = hex.get(..FALLBACK_HEX).unwrap_or(hex);
    let Ok(tag) = format!("{algorithm}-{hex}").parse() else { return Ok(None) };
    let manifest = match repository.stat_manifest(&Reference::Tag(tag)).await {
        Ok(manifest) => manifest,
        Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if manifest.kind != ManifestKind::OciIndex {
        return Ok(None);
    }
    // It was judged when it was pushed; what does not fit here is somebody's own index.
    Ok(serde_json::from_slice(&manifest.bytes).ok())
}
