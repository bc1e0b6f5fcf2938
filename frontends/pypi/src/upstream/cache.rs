//! Pages of the upstream, kept: asked for once however many wait, again by their ETag once they are not
//! fresh any more, and good for as long as the upstream is away.
//!
//! All are in memory; those of projects of which files were kept lie in a record too, so that they
//! are known after a restart. So what anybody who may read causes by asking for names is bounded by memory,
//! and what lasts is bounded by the quota that the kept files count against.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::ETAG;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use strongroom_engine::Error;
use strongroom_engine::extension::Entry;
use strongroom_python::ProjectName;
use tokio::sync::Mutex;

use super::client::{Answer, Ask, Fault};
use super::page::{self, Page};
use super::rules::Rules;
use super::{Key, MAX_KEPT, Source, What};
use crate::records::{FORMAT, Of, Records};

/// The largest page that is kept in a record, packed, in bytes: what a record takes.
const MAX_RECORD: usize = 1_000_000;
/// The largest that one unpacks to.
const MAX_UNPACKED: u64 = 64 << 20;
/// What a file takes in memory, roughly.
const OF_A_FILE: usize = 1 << 10;

/// A page as it was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// Where: a page of another upstream says nothing.
    url: String,
    etag: Option<String>,
    /// When it was asked for last, by the store's clock, in milliseconds.
    checked: u64,
    /// None where the upstream has no such project.
    page: Option<Arc<Page>>,
}

/// The pages of all registries.
pub(super) struct Pages {
    kept: Cache<Key, Arc<Kept>>,
    /// Who asks for a page holds its lock, so that others wait for what comes of it.
    locks: Cache<Key, Arc<Mutex<()>>>,
    failed: Cache<Key, (Instant, Fault)>,
}

/// What asking came to.
enum Asked {
    Same,
    Page(Option<String>, Page),
    Absent,
}

impl Pages {
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |_: &Key, kept: &Arc<Kept>| {
            let files = kept.page.as_ref().map_or(0, |page| page.files.len());
            u32::try_from(512 + files * OF_A_FILE).unwrap_or(u32::MAX)
        };
        Self {
            kept: Cache::builder().weigher(weigh).max_capacity(bytes).build(),
            locks: Cache::new(MAX_KEPT),
            failed: Cache::new(MAX_KEPT),
        }
    }
}

impl Source {
    /// The page of a project at the upstream, as fresh as the rules want it, or as it was seen last
    /// where the upstream is away; none where there is no such project.
    pub(super) async fn page(
        &self,
        records: &Records,
        rules: &Rules,
        of: &Of<'_>,
        is_kept: bool,
    ) -> Result<Option<Arc<Page>>, Failed> {
        let target = rules.project(of.project).map_err(|error| Fault::Page(error.to_string()))?;
        let url = target.to_string();
        let key = key(of);
        let now = records.milliseconds().await?;
        let fresh = |kept: &Kept| now < kept.checked.saturating_add(rules.fresh());
        let known = || self.pages.kept.get(&key).filter(|kept| kept.url == url);
        if let Some(kept) = known().filter(|kept| fresh(kept)) {
            return Ok(kept.page.clone());
        }
        let lock = self.pages.locks.get_with(key.clone(), Arc::default);
        let _alone = lock.lock().await;
        let mut known = known();
        if known.is_none() && is_kept {
            known = read(records, of).await?.filter(|kept| kept.url == url).map(Arc::new);
        }
        // Others may have asked while this one waited.
        if let Some(kept) = known.as_ref().filter(|kept| fresh(kept)) {
            self.pages.kept.insert(key, Arc::clone(kept));
            return Ok(kept.page.clone());
        }
        let retry = self.upstreams.settings().retry_after;
        let resting = self.pages.failed.get(&key).filter(|(at, _)| at.elapsed() < retry);
        let asked = if let Some((_, fault)) = resting {
            Err(Fault::Resting(Box::new(fault)))
        } else {
            let asked = self.ask(rules, of, known.as_deref()).await;
            if let Err(fault) = &asked {
                tracing::warn!(url, error = %fault, "an upstream's page could not be had");
                self.pages.failed.insert(key.clone(), (Instant::now(), fault.clone()));
            }
            asked
        };
        let before = known.as_ref().and_then(|kept| kept.page.clone());
        let (etag, page) = match asked {
            Ok(Asked::Same) => (known.as_ref().and_then(|kept| kept.etag.clone()), before.clone()),
            Ok(Asked::Page(etag, page)) => {
                // The same content is the same page, and what was made of it stays.
                let page = Arc::new(page);
                let same = before.clone().filter(|before| **before == *page);
                (etag, Some(same.unwrap_or(page)))
            }
            Ok(Asked::Absent) => (None, None),
            Err(fault) => {
                let Some(kept) = known else { return Err(fault.into()) };
                self.pages.kept.insert(key, Arc::clone(&kept));
                return Ok(kept.page.clone());
            }
        };
        let changed = match (&before, &page) {
            (Some(before), Some(page)) => !Arc::ptr_eq(before, page),
            (None, None) => false,
            _ => true,
        };
        let kept = Arc::new(Kept { format: FORMAT, url, etag, checked: now, page: page.clone() });
        self.pages.kept.insert(key, Arc::clone(&kept));
        if is_kept && changed {
            write(records, of, &kept).await?;
        }
        Ok(page)
    }

    /// Keeps what is known of a project beyond this process's life: a file of it was kept.
    pub(super) async fn keep_page(&self, records: &Records, of: &Of<'_>) -> Result<(), Error> {
        match self.pages.kept.get(&key(of)) {
            Some(kept) => write(records, of, &kept).await,
            None => Ok(()),
        }
    }

    async fn ask(&self, rules: &Rules, of: &Of<'_>, known: Option<&Kept>) -> Result<Asked, Fault> {
        let _permit = self.permit(of.tenant, What::Page).await?;
        let settings = self.upstreams.settings();
        let work = async {
            // An ETag is of what we have only where we have it.
            let etag = known.filter(|kept| kept.page.is_some());
            let etag = etag.and_then(|kept| kept.etag.as_deref());
            let answer = self.get(rules, of, etag).await?;
            match answer.status {
                StatusCode::NOT_MODIFIED if etag.is_some() => Ok(Asked::Same),
                StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Asked::Absent),
                StatusCode::OK => {
                    let etag = answer.header(ETAG).filter(|etag| etag.len() <= 1_024);
                    let etag = etag.map(str::to_owned);
                    let Answer { headers, at, body, .. } = answer;
                    let bytes = body.whole(settings.page_max_bytes).await?;
                    let project = of.project.clone();
                    let parse = move || page::parse(&headers, &bytes, &at, &project);
                    let page = tokio::task::spawn_blocking(parse).await;
                    Ok(Asked::Page(etag, page.map_err(|_| Fault::Broken)??))
                }
                status => Err(Fault::Status(status.as_u16())),
            }
        };
        tokio::time::timeout(settings.page_timeout, work).await.map_err(|_| Fault::TimedOut)?
    }

    async fn get(&self, rules: &Rules, of: &Of<'_>, etag: Option<&str>) -> Result<Answer, Fault> {
        let target = rules.project(of.project).map_err(|error| Fault::Page(error.to_string()))?;
        let authorization = self.authorization(rules, of.tenant)?;
        self.client.get(Ask { target, accept: page::ACCEPT, etag, authorization }).await
    }

    /// What proves who we are, and where it may go.
    pub(super) fn authorization<'a>(
        &self,
        rules: &'a Rules,
        tenant: (strongroom_engine::id::OrganisationId, strongroom_engine::id::RegistryId),
    ) -> Result<Option<(&'a strongroom_outbound::Target, http::HeaderValue)>, Fault> {
        let value = self.upstreams.authorization(tenant, rules).map_err(|error| {
            tracing::error!(%error, "the password for an upstream can't be opened");
            Fault::Page("its password can't be opened; set it again".to_owned())
        })?;
        Ok(value.map(|value| (&rules.url, value)))
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Failed {
    Upstream(Fault),
    Engine(Error),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Upstream(fault)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

pub(super) fn key(of: &Of<'_>) -> Key {
    (of.tenant, name(of.project))
}

fn name(project: &ProjectName) -> Arc<str> {
    project.normalised().into()
}

async fn read(records: &Records, of: &Of<'_>) -> Result<Option<Kept>, Error> {
    let Some(Entry { value, .. }) = records.upstream_page(of).await? else { return Ok(None) };
    let unpack = move || {
        let mut json = Vec::new();
        GzDecoder::new(&*value).take(MAX_UNPACKED).read_to_end(&mut json).ok()?;
        serde_json::from_slice::<Kept>(&json).ok().filter(|kept| kept.format <= FORMAT)
    };
    // What can't be read, perhaps of a later version, is asked for again.
    Ok(tokio::task::spawn_blocking(unpack).await.ok().flatten())
}

async fn write(records: &Records, of: &Of<'_>, kept: &Arc<Kept>) -> Result<(), Error> {
    let of_page = Arc::clone(kept);
    let pack = move || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        let json = serde_json::to_vec(&*of_page).ok()?;
        encoder.write_all(&json).ok()?;
        encoder.finish().ok()
    };
    let packed = tokio::task::spawn_blocking(pack).await.ok().flatten();
    if let Some(packed) = packed.filter(|packed| packed.len() <= MAX_RECORD) {
        return records.keep_upstream_page(of, packed).await;
    }
    let project = of.project.normalised();
    tracing::warn!(project, "an upstream's page is too large to outlive this process");
    Ok(())
}
