//! The page of a project, rendered once and served until it is old.
//!
//! A page stands on two things: the revision of the project's repository, and the record of what is
//! no content, which each deletion changes too. Both are asked for with every request (a load of a
//! counter and a read of one row); where they are what they were when the page was made, it is served from
//! memory.

mod html;
mod json;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use strongroom_engine::extension::Version;
use strongroom_engine::{Error, Repository, Revision};
use strongroom_http::conditional::ETag;
use strongroom_python::{FileName, ProjectName};
use tokio::sync::{Mutex, OnceCell};

use crate::error::{Failure, aside};
use crate::negotiate::Form;
use crate::project::{File, Project, hex};
use crate::records::{Of, ProjectRecord, Records, Seen, time};
use crate::upstream::RemoteFile;

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
    gzip: OnceCell<Encoded>,
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
        Self { plain: Encoded { bytes: text.into(), etag }, gzip: OnceCell::new() }
    }

    pub(crate) async fn encoded(&self, gzip: bool) -> Result<Encoded, Failure> {
        if !gzip {
            return Ok(self.plain.clone());
        }
        let compress = || {
            let plain = self.plain.clone();
            aside("compressing a page", move || plain.compressed())
        };
        self.gzip.get_or_try_init(compress).await.cloned()
    }
}

impl Encoded {
    fn compressed(&self) -> Self {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        let written = encoder.write_all(&self.bytes).and_then(|()| encoder.finish());
        let bytes = written.expect("memory takes what is written to it");
        let tag = format!("{}-gzip", self.etag.as_str().trim_matches('"'));
        let etag = ETag::new(&tag).expect("hex digits are visible ASCII");
        Self { bytes: bytes.into(), etag }
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
    /// The files that the upstream offers and that are not here; none where it is not asked.
    pub(crate) remote: Option<Vec<RemoteFile>>,
    /// The pages, and what the client called this server where they say it. Held while they are made.
    rendered: Mutex<Option<(String, Arc<Both>)>>,
}

/// A file on a page: here, or still at the upstream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listed<'a> {
    Here(&'a File),
    Remote(&'a RemoteFile),
}

impl<'a> Listed<'a> {
    pub(crate) fn name(self) -> &'a FileName {
        match self {
            Self::Here(file) => &file.name,
            Self::Remote(file) => &file.name,
        }
    }

    /// The hex digits of the sha256 digest.
    pub(crate) fn sha256(self) -> String {
        hex(match self {
            Self::Here(file) => &file.content,
            Self::Remote(file) => &file.sha256,
        })
    }

    /// In bytes; not every upstream says it.
    pub(crate) fn size(self) -> Option<u64> {
        match self {
            Self::Here(file) => Some(file.size),
            Self::Remote(file) => file.size,
        }
    }

    pub(crate) fn uploaded(self) -> Option<String> {
        match self {
            Self::Here(file) => Some(file.uploaded.clone()),
            Self::Remote(file) => file.uploaded.map(time),
        }
    }

    pub(crate) fn requires_python(self) -> Option<&'a str> {
        match self {
            Self::Here(file) => file.requires_python.as_deref(),
            Self::Remote(file) => file.requires_python.as_deref(),
        }
    }

    /// The file where it is here: what is made of its bytes is known only then.
    pub(crate) fn here(self) -> Option<&'a File> {
        match self {
            Self::Here(file) => Some(file),
            Self::Remote(_) => None,
        }
    }
}

impl Shown {
    /// A project with what the upstream has of it. It stands on more than a page from memory is asked
    /// for, so who makes it keeps it.
    pub(crate) fn beside(
        name: &ProjectName,
        (project, record): (Project, ProjectRecord),
        remote: Vec<RemoteFile>,
    ) -> Self {
        let (revision, version, remote) = (Revision::default(), None, Some(remote));
        let (name, rendered) = (name.clone(), Mutex::new(None));
        Self { name, revision, version, project, record, remote, rendered }
    }

    /// Whether there is such a project, here or at the upstream.
    pub(crate) fn exists(&self) -> bool {
        self.project.exists() || self.remote.is_some()
    }

    /// All files that are offered, by version and then by name.
    pub(crate) fn files(&self) -> Vec<Listed<'_>> {
        let here = self.project.files.iter().map(Listed::Here);
        let remote = self.remote.iter().flatten().map(Listed::Remote);
        let mut files: Vec<_> = here.chain(remote).collect();
        if self.remote.is_some() {
            files.sort_by(|a, b| {
                let names = || a.name().as_str().cmp(b.name().as_str());
                a.name().version().cmp(b.name().version()).then_with(names)
            });
        }
        files
    }

    /// A file that is not here, by its name.
    pub(crate) fn remote_file(&self, name: &str) -> Option<&RemoteFile> {
        self.remote.iter().flatten().find(|file| file.name.as_str() == name)
    }

    /// The pages, for who calls this server `base_url`.
    pub(crate) async fn pages(
        self: &Arc<Self>,
        place: &str,
        base_url: Option<&str>,
    ) -> Result<Arc<Both>, Failure> {
        // Only the address of a provenance must be whole (PEP 740); without one, all get the same.
        let attested = self.project.files.iter().any(|file| file.provenance.is_some());
        let base = if attested { base_url.unwrap_or_default() } else { "" };
        let base = format!("{base}/pypi/{place}");
        let mut rendered = self.rendered.lock().await;
        if let Some((_, both)) = rendered.as_ref().filter(|(of, _)| !attested || *of == base) {
            return Ok(Arc::clone(both));
        }
        let (shown, of) = (Arc::clone(self), base.clone());
        let both = aside("rendering a page", move || Arc::new(shown.render(&of))).await?;
        *rendered = Some((base, Arc::clone(&both)));
        Ok(both)
    }

    fn render(&self, base: &str) -> Both {
        let view = View {
            name: &self.name,
            versions: &self.project.versions,
            files: self.files(),
            record: &self.record,
            base,
        };
        Both::new(json::project(&view), html::project(&view))
    }
}

/// What a page is made of.
pub(crate) struct View<'a> {
    pub(crate) name: &'a ProjectName,
    /// In ascending order.
    pub(crate) versions: &'a [strongroom_python::Version],
    pub(crate) files: Vec<Listed<'a>>,
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
            let load = load(records, repository, name, (revision, seen.clone()));
            match self.0.try_get_with_by_ref(&key, load).await {
                // Another request's load may have begun before a change that this one knows of.
                Ok(shown) if is_now(&shown) => return Ok(shown),
                Ok(_) => self.0.invalidate(&key).await,
                // The error is shared with others that waited; ask for one of our own.
                Err(_) => break,
            }
        }
        let (revision, seen) = (repository.revision().await?, records.of(&of).await?);
        load(records, repository, name, (revision, seen)).await
    }
}

async fn load(
    records: &Records,
    repository: &Repository,
    name: &ProjectName,
    (revision, seen): (Revision, Seen),
) -> Result<Arc<Shown>, Error> {
    let project = Project::load(repository, records).await?;
    let Seen { record, version } = seen;
    let (name, remote, rendered) = (name.clone(), None, Mutex::new(None));
    Ok(Arc::new(Shown { name, revision, version, project, record, remote, rendered }))
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
