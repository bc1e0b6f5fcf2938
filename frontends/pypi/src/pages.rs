//! The page of a project, rendered once and served until it is old.
//!
//! A page stands on two things: the revision of the project's repository, and the record of what is
//! no content. Both are asked for with every request (a load of a counter and a read of one row); where
//! they are what they were when the page was made, it is served from memory.

mod html;
mod json;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use strongroom_engine::extension::Version;
use strongroom_engine::{Error, Repository, Revision};
use strongroom_http::conditional::ETag;
use strongroom_python::ProjectName;

use crate::negotiate::Form;
use crate::project::Project;
use crate::records::{Of, ProjectRecord, Records, Seen};

pub(crate) use html::projects as html_projects;
pub(crate) use json::projects as json_projects;

/// The version of the Simple API that is served.
pub(crate) const API_VERSION: &str = "1.4";
/// How often a page is made again because a change overtook it, before it is served uncached.
const RELOADS: usize = 4;

/// One rendered page.
#[derive(Debug)]
pub(crate) struct Page {
    plain: Encoded,
    gzip: OnceLock<Encoded>,
}

/// A page's bytes in one encoding.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) etag: ETag,
}

impl Page {
    pub(crate) fn new(text: String) -> Self {
        let hash = const_hex::encode(Sha256::digest(text.as_bytes()));
        let etag = ETag::new(&hash).expect("hex digits are visible ASCII");
        Self { plain: Encoded { bytes: text.into(), etag }, gzip: OnceLock::new() }
    }

    pub(crate) fn encoded(&self, gzip: bool) -> Encoded {
        if !gzip {
            return self.plain.clone();
        }
        let compressed = self.gzip.get_or_init(|| {
            use std::io::Write;
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            let written = encoder.write_all(&self.plain.bytes).and_then(|()| encoder.finish());
            let bytes = written.expect("memory takes what is written to it");
            let tag = format!("{}-gzip", self.plain.etag.as_str().trim_matches('"'));
            let etag = ETag::new(&tag).expect("hex digits are visible ASCII");
            Encoded { bytes: bytes.into(), etag }
        });
        compressed.clone()
    }
}

/// The page in both forms.
#[derive(Debug)]
pub(crate) struct Both {
    json: Page,
    html: Page,
}

impl Both {
    pub(crate) fn new(json: String, html: String) -> Self {
        Self { json: Page::new(json), html: Page::new(html) }
    }

    pub(crate) fn form(&self, form: Form) -> &Page {
        match form {
            Form::Json => &self.json,
            Form::Html | Form::PlainHtml => &self.html,
        }
    }
}

/// A project as it is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    name: ProjectName,
    revision: Revision,
    version: Option<Version>,
    pub(crate) project: Project,
    pub(crate) record: ProjectRecord,
    /// The pages, and what the client called this server where they say it.
    rendered: Mutex<Option<(String, Arc<Both>)>>,
}

impl Shown {
    /// The pages, for who calls this server `base_url`.
    pub(crate) fn pages(&self, place: &str, base_url: Option<&str>) -> Arc<Both> {
        // Only the address of a provenance must be whole (PEP 740); without one, all get the same.
        let attested = self.project.files.iter().any(|file| file.provenance.is_some());
        let base = if attested { base_url.unwrap_or_default() } else { "" };
        let base = format!("{base}/pypi/{place}");
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, both)) = rendered.as_ref().filter(|(of, _)| !attested || *of == base) {
            return Arc::clone(both);
        }
        let view =
            View { name: &self.name, project: &self.project, record: &self.record, base: &base };
        let both = Arc::new(Both::new(json::project(&view), html::project(&view)));
        *rendered = Some((base, Arc::clone(&both)));
        both
    }
}

/// What a page is made of.
pub(crate) struct View<'a> {
    pub(crate) name: &'a ProjectName,
    pub(crate) project: &'a Project,
    pub(crate) record: &'a ProjectRecord,
    /// The address of the registry here, without a slash at the end.
    pub(crate) base: &'a str,
}

/// The projects that are kept in memory.
#[derive(Debug)]
pub(crate) struct Pages(moka::future::Cache<Arc<str>, Arc<Shown>>);

impl Pages {
    pub(crate) fn new(bytes: u64) -> Self {
        let weigh = |_: &Arc<str>, shown: &Arc<Shown>| {
            // A file takes some kilobytes in all: itself, and its lines in two pages, twice.
            const OF_A_FILE: usize = 3 << 10;
            u32::try_from(4096 + shown.project.files.len() * OF_A_FILE).unwrap_or(u32::MAX)
        };
        Self(moka::future::Cache::builder().weigher(weigh).max_capacity(bytes).build())
    }

    /// A project as it is now. `repository` was opened for a pull.
    pub(crate) async fn shown(
        &self,
        records: &Records,
        repository: &Repository,
        name: &ProjectName,
    ) -> Result<Arc<Shown>, Error> {
        let of = Of { tenant: repository.tenant(), project: name };
        let key: Arc<str> = repository.path().to_string().into();
        for _ in 0..RELOADS {
            let (revision, seen) = (repository.revision().await?, records.of(&of).await?);
            let is_now =
                |shown: &Shown| shown.revision == revision && shown.version == seen.version;
            if let Some(shown) = self.0.get(&key).await {
                if is_now(&shown) {
                    return Ok(shown);
                }
                self.0.invalidate(&key).await;
            }
            let load = load(repository, name, revision, seen.clone());
            match self.0.try_get_with_by_ref(&key, load).await {
                // Another request's load may have begun before a change that this one knows of.
                Ok(shown) if is_now(&shown) => return Ok(shown),
                Ok(_) => self.0.invalidate(&key).await,
                // The error is shared with others that waited; ask for one of our own.
                Err(_) => break,
            }
        }
        let (revision, seen) = (repository.revision().await?, records.of(&of).await?);
        load(repository, name, revision, seen).await
    }
}

async fn load(
    repository: &Repository,
    name: &ProjectName,
    revision: Revision,
    seen: Seen,
) -> Result<Arc<Shown>, Error> {
    let project = Project::load(repository).await?;
    let Seen { record, version } = seen;
    let (name, rendered) = (name.clone(), Mutex::new(None));
    Ok(Arc::new(Shown { name, revision, version, project, record, rendered }))
}

/// The address of a file, seen from its project's page.
pub(crate) fn file_url(sha256: &str, name: &str) -> String {
    format!("../../files/{sha256}/{}", escaped(name))
}

/// A file's name as it stands in an address.
pub(crate) fn escaped(name: &str) -> impl std::fmt::Display {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'+');
    percent_encoding::utf8_percent_encode(name, KEPT)
}

#[cfg(test)]
mod tests;
