//! Referrers: what points at a digest, as an image index (distribution spec, "Listing Referrers").
//!
//! What a client without this API wrote into an index under the fallback tag is listed too, so that
//! nothing is lost when content is copied here.

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
use crate::query::escaped;
use crate::reply::Reply;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The largest page, in bytes: clients read no larger manifest.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// How many referrers are read at a time: the engine lets each have 256 KiB of annotations.
const BATCH: usize = 32;
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
}

impl Page {
    fn new() -> Self {
        let head = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":["#);
        Self { json: head.into_bytes(), listed: HashSet::new() }
    }

    /// Adds a descriptor, unless the page would be too large then. One always fits.
    fn push(&mut self, descriptor: &Descriptor) -> bool {
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
    let mut page = Page::new();
    let mut next = input.query.get("from").map(str::to_owned);
    next = 'filled: loop {
        let batch = repository.referrers(subject, filter, next.as_deref(), BATCH).await?;
        for referrer in batch.items {
            let place = referrer.place.clone();
            if !page.push(&referrer.into()) {
                break 'filled Some(place);
            }
        }
        if batch.next.is_none() {
            break None;
        }
        next = batch.next;
    };
    if next.is_none() {
        add_fallback(&mut page, repository, subject, filter).await?;
    }

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
        reply = reply.with(LINK, format_args!("<{link}>; rel=\"next\""));
    }
    Ok(reply.body(page.finish()))
}

/// Adds what the index under the fallback tag lists and the API does not know, as far as it fits.
async fn add_fallback(
    page: &mut Page,
    repository: &Repository,
    subject: &Digest,
    filter: Option<&str>,
) -> Result<(), Failure> {
    let Some(index) = fallback(repository, subject).await? else { return Ok(()) };
    for entry in index.manifests {
        let wanted = filter.is_none_or(|filter| entry.artifact_type.as_deref() == Some(filter));
        if !wanted || page.listed.contains(&entry.digest) {
            continue;
        }
        let known = match repository.stat_manifest(&Reference::Digest(entry.digest)).await {
            // On an earlier page.
            Ok(manifest) => manifest.subject.as_ref() == Some(subject),
            // Named by an index that may lack its entries.
            Err(Error::ManifestUnknown { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        if !known && !page.push(&entry) {
            break;
        }
    }
    Ok(())
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
