//! The page of a project at the upstream, in either form, read into what may be offered of it.

use std::collections::{BTreeMap, HashSet};

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strongroom_engine::digest::Digest;
use strongroom_outbound::Target;
use strongroom_python::{FileName, ProjectName};

use super::client::{Fault, join};
use super::html::{self, Anchor};
use crate::records::Status;

/// What is asked for: both forms, rather JSON.
pub(super) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
     application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.1";
const JSON: &str = "application/vnd.pypi.simple.v1+json";
const HTML: [&str; 2] = ["application/vnd.pypi.simple.v1+html", "text/html"];
/// The most files of a project.
const MAX_FILES: usize = 50_000;
/// The longest text that is taken over: why something was yanked, which Python it takes.
const MAX_TEXT: usize = 1_024;
/// The most addresses of one kind.
const MAX_ADDRESSES: usize = 32;

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Page {
    pub(super) status: Status,
    pub(super) reason: Option<String>,
    pub(super) tracks: Vec<String>,
    pub(super) alternate_locations: Vec<String>,
    /// In the page's order, each name once.
    pub(super) files: Vec<RemoteFile>,
}

/// A file that the upstream offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub(crate) struct RemoteFile {
    pub(crate) name: FileName,
    pub(crate) sha256: Digest,
    pub(super) url: Target,
    pub(crate) size: Option<u64>,
    /// When it was uploaded there, in milliseconds.
    pub(crate) uploaded: Option<u64>,
    pub(crate) requires_python: Option<String>,
    /// Why it was yanked there, where it was.
    pub(crate) yanked: Option<String>,
    /// Where its provenance is (PEP 740), where it has one.
    pub(super) provenance: Option<Target>,
}

/// A file as it is kept in a record.
#[derive(Serialize, Deserialize)]
struct Wire {
    name: String,
    sha256: Digest,
    url: Target,
    size: Option<u64>,
    uploaded: Option<u64>,
    requires_python: Option<String>,
    yanked: Option<String>,
    #[serde(default)]
    provenance: Option<Target>,
}

impl From<RemoteFile> for Wire {
    fn from(of: RemoteFile) -> Self {
        let RemoteFile { name, sha256, url, size, uploaded, requires_python, yanked, provenance } =
            of;
        let name = name.to_string();
        Self { name, sha256, url, size, uploaded, requires_python, yanked, provenance }
    }
}

impl TryFrom<Wire> for RemoteFile {
    type Error = strongroom_python::FileNameError;

    fn try_from(of: Wire) -> Result<Self, Self::Error> {
        let Wire { name, sha256, url, size, uploaded, requires_python, yanked, provenance } = of;
        let name = FileName::parse_published(&name)?;
        Ok(Self { name, sha256, url, size, uploaded, requires_python, yanked, provenance })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonPage<'a> {
    #[serde(default)]
    meta: Meta,
    name: String,
    #[serde(borrow)]
    files: Vec<&'a RawValue>,
    #[serde(default)]
    project_status: Option<JsonStatus>,
    #[serde(default)]
    alternate_locations: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Meta {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    tracks: Vec<String>,
}

#[derive(Deserialize)]
struct JsonStatus {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile {
    filename: String,
    url: String,
    hashes: BTreeMap<String, String>,
    #[serde(default)]
    requires_python: Option<String>,
    #[serde(default)]
    yanked: Yanked,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    upload_time: Option<String>,
    #[serde(default)]
    provenance: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Yanked {
    Whether(bool),
    Because(String),
}

impl Default for Yanked {
    fn default() -> Self {
        Self::Whether(false)
    }
}

/// Reads a page of `project` that came from `at`.
pub(super) fn parse(
    headers: &HeaderMap,
    bytes: &[u8],
    at: &Target,
    project: &ProjectName,
) -> Result<Page, Fault> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    if media_type == JSON {
        return json(bytes, at, project);
    }
    if HTML.contains(&media_type.as_str()) {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        return self::html(text, at, project);
    }
    Err(wrong("it is neither of the forms of the Simple API"))
}

fn wrong(why: &str) -> Fault {
    Fault::Page(why.to_owned())
}

/// Fails where a page is of a version that means something else.
fn version(version: Option<&str>) -> Result<(), Fault> {
    match version.and_then(|version| version.split('.').next()) {
        None | Some("1") => Ok(()),
        Some(_) => Err(wrong("its version is not 1")),
    }
}

fn json(bytes: &[u8], at: &Target, project: &ProjectName) -> Result<Page, Fault> {
    // The place alone: what stands there is not ours to repeat.
    let bad = |error: serde_json::Error| {
        Fault::Page(format!("its JSON, line {} column {}", error.line(), error.column()))
    };
    let page: JsonPage<'_> = serde_json::from_slice(bytes).map_err(bad)?;
    version(page.meta.api_version.as_deref())?;
    if ProjectName::parse(&page.name).ok().as_ref() != Some(project) {
        return Err(wrong("it is of another project"));
    }
    // One that is not understood is not offered; the others are.
    let files =
        page.files.iter().filter_map(|raw| serde_json::from_str::<JsonFile>(raw.get()).ok());
    let files = files.filter_map(|file| {
        let yanked = match file.yanked {
            Yanked::Whether(false) => None,
            Yanked::Whether(true) => Some(String::new()),
            Yanked::Because(why) => Some(why),
        };
        let sha256 = file.hashes.get("sha256")?;
        let mut offered = offered(project, &file.filename, sha256, join(at, &file.url)?)?;
        offered.size = file.size;
        let time = file.upload_time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        offered.uploaded = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        offered.requires_python = file.requires_python.filter(|text| !text.is_empty());
        offered.yanked = yanked;
        offered.provenance = file.provenance.and_then(|url| join(at, &url));
        Some(offered)
    });
    let (said, reason) = match page.project_status {
        Some(JsonStatus { status, reason }) => (status, reason),
        None => (None, None),
    };
    Ok(Page {
        status: status(said.as_deref()),
        reason: reason.map(cut),
        tracks: addresses(page.meta.tracks),
        alternate_locations: addresses(page.alternate_locations),
        files: unique(files),
    })
}

fn html(text: &str, at: &Target, project: &ProjectName) -> Result<Page, Fault> {
    let document = html::parse(text);
    let metas = |wanted: &str| {
        let wanted = wanted.to_owned();
        document.metas.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value)
    };
    version(metas("pypi:repository-version").next().map(String::as_str))?;
    let base = match &document.base {
        Some(base) => join(at, base).ok_or_else(|| wrong("its base is no address"))?,
        None => at.clone(),
    };
    Ok(Page {
        status: status(metas("pypi:project-status").next().map(String::as_str)),
        reason: metas("pypi:project-status-reason").next().cloned().map(cut),
        tracks: addresses(metas("pypi:tracks").cloned().collect()),
        alternate_locations: addresses(metas("pypi:alternate-locations").cloned().collect()),
        files: unique(document.anchors.iter().filter_map(|one| anchor(one, &base, project))),
    })
}

fn anchor(anchor: &Anchor, base: &Target, project: &ProjectName) -> Option<RemoteFile> {
    let href = anchor.attribute("href")?;
    let (_, fragment) = href.split_once('#')?;
    let sha256 = fragment.split('&').find_map(|part| part.strip_prefix("sha256="))?;
    let mut file = offered(project, &anchor.text, sha256, join(base, href)?)?;
    let requires = anchor.attribute("data-requires-python").filter(|text| !text.is_empty());
    file.requires_python = requires.map(str::to_owned);
    file.yanked = anchor.attribute("data-yanked").map(str::to_owned);
    file.provenance = anchor.attribute("data-provenance").and_then(|url| join(base, url));
    Some(file)
}

/// A file, where it can be one of the project's. Without a sha256 nothing says what it is.
fn offered(project: &ProjectName, name: &str, sha256: &str, url: Target) -> Option<RemoteFile> {
    let name = FileName::parse_published(name).ok().filter(|name| name.project() == project)?;
    let sha256 = format!("sha256:{}", sha256.to_ascii_lowercase()).parse().ok()?;
    let (size, uploaded, requires_python, yanked, provenance) = (None, None, None, None, None);
    Some(RemoteFile { name, sha256, url, size, uploaded, requires_python, yanked, provenance })
}

/// The files, each name once, with texts of a length that may be shown.
fn unique(files: impl Iterator<Item = RemoteFile>) -> Vec<RemoteFile> {
    let mut seen = HashSet::new();
    let files = files.filter(|file| seen.insert(file.name.canonical()));
    // Without it a file would be offered to who can't run it; so one with an endless one is not.
    let files =
        files.filter(|file| file.requires_python.as_ref().is_none_or(|r| r.len() <= MAX_TEXT));
    let cut = |file: RemoteFile| RemoteFile { yanked: file.yanked.map(cut), ..file };
    files.map(cut).take(MAX_FILES).collect()
}

/// The status of that name; one that is not known says nothing.
fn status(name: Option<&str>) -> Status {
    let known = [Status::Archived, Status::Quarantined, Status::Deprecated];
    known.into_iter().find(|known| Some(known.as_str()) == name).unwrap_or_default()
}

fn cut(text: String) -> String {
    if text.len() <= MAX_TEXT { text } else { text.chars().take(MAX_TEXT / 4).collect() }
}

fn addresses(all: Vec<String>) -> Vec<String> {
    let good = |address: &String| address.parse::<Target>().is_ok();
    all.into_iter().filter(good).take(MAX_ADDRESSES).collect()
}
