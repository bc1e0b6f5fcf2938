//! The rules of a registry for its upstream, for who may manage it: set, shown, removed.
//!
//! One row a registry; each change is one conditional commit with its line in the trail. The password for
//! the upstream is sealed for this registry and this origin: whoever changes the address has to give
//! it again, so that nobody learns it by pointing the registry at a server of their own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use strongroom_engine::access::{Action, Caller};
use strongroom_engine::audit::{Event, EventKind};
use strongroom_engine::extension::{Batch, Entry, Extension, Version};
use strongroom_engine::id::{OrganisationId, RegistryId};
use strongroom_engine::pattern::Pattern;
use strongroom_engine::seam::Seams;
use strongroom_engine::{Engine, Error};
use strongroom_http::auth::Secret;
use strongroom_identity::seal::{MasterKey, SealError};
use strongroom_outbound::{Target, TargetError};
use strongroom_python::ProjectName;

use super::settings::Settings;
use crate::records::{ATTEMPTS, FORMAT, NAMESPACE};
use crate::routes::Place;

/// The most patterns of one kind.
const MAX_PATTERNS: usize = 64;
/// The longest cool-down, in days.
const MAX_COOL_DOWN_DAYS: u32 = 3_650;
/// The longest time that a page counts as fresh, in seconds.
const MAX_FRESH_SECONDS: u32 = 7 * 24 * 3_600;
/// How long a page counts as fresh where nobody says it, in seconds.
const FRESH_SECONDS: u32 = 600;
/// The longest user name and password, in bytes.
const MAX_CREDENTIAL: usize = 4_096;

/// The upstream of a registry, as its managers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upstream {
    /// The index: what stands before the names of projects in their addresses.
    pub url: Target,
    /// Only names like one of these are looked up; all where there is none.
    pub allow: Vec<Pattern>,
    /// Names like one of these are not.
    pub deny: Vec<Pattern>,
    /// Files are offered once they are so many days old; at once where 0.
    pub cool_down_days: u32,
    /// How long a page counts as fresh, in seconds.
    pub fresh_seconds: u32,
    /// Who we are there, where it asks.
    pub username: Option<String>,
}

/// An upstream to be set.
#[derive(Debug, Clone)]
pub struct NewUpstream {
    /// The index.
    pub url: Target,
    /// Only names like one of these; all where there is none.
    pub allow: Vec<Pattern>,
    /// Not names like one of these.
    pub deny: Vec<Pattern>,
    /// How many days old files have to be.
    pub cool_down_days: u32,
    /// How long a page counts as fresh, in seconds; ten minutes where absent.
    pub fresh_seconds: Option<u32>,
    /// Who we are there; nobody where absent.
    pub username: Option<String>,
    /// The password or token for it; the one that is set where absent.
    pub password: Option<Secret>,
}

/// A failed call. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The engine says no, or is away; also where the caller may not see or manage the registry.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The registry has no upstream.
    #[error("the registry has no upstream")]
    None,
    /// A value is none that may be set.
    #[error("{field}: {why}")]
    Field {
        /// Which, as [`NewUpstream`] calls it.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The password could not be sealed.
    #[error("the password for the upstream: {0}")]
    Secret(#[from] SealError),
}

/// The rules as they are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    format: u32,
    pub(super) url: Target,
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    cool_down_days: u32,
    fresh_seconds: u32,
    credentials: Option<Sealed>,
}

/// Credentials; the password is sealed by the master key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    username: String,
    password: Vec<u8>,
}

impl Rules {
    fn shown(&self) -> Upstream {
        Upstream {
            url: self.url.clone(),
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            cool_down_days: self.cool_down_days,
            fresh_seconds: self.fresh_seconds,
            username: self.credentials.as_ref().map(|sealed| sealed.username.clone()),
        }
    }

    /// The page of a project there.
    pub(super) fn project(&self, name: &ProjectName) -> Result<Target, TargetError> {
        format!("{}{}/", self.url, name.normalised()).parse()
    }

    /// Whether a name is looked up at all.
    pub(super) fn let_in(&self, name: &ProjectName) -> bool {
        let name = name.normalised();
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }

    /// How old files have to be, in milliseconds.
    pub(super) fn cool_down(&self) -> u64 {
        u64::from(self.cool_down_days) * 24 * 3_600_000
    }

    /// How long a page counts as fresh, in milliseconds.
    pub(super) fn fresh(&self) -> u64 {
        u64::from(self.fresh_seconds) * 1_000
    }
}

/// The upstreams of all registries. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Upstreams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    records: Extension,
    seams: Seams,
    master: MasterKey,
    settings: Settings,
}

impl Upstreams {
    /// Over an engine. `master` seals the passwords.
    pub fn new(engine: &Engine, seams: Seams, master: MasterKey, settings: Settings) -> Self {
        let (engine, records) = (engine.clone(), engine.extension(NAMESPACE));
        Self(Arc::new(Shared { engine, records, seams, master, settings }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The upstream of a registry. Needs [`Action::Manage`].
    pub async fn get(&self, caller: &Caller, place: &Place) -> Result<Upstream, UpstreamError> {
        let tenant = self.tenant(caller, place).await?;
        let (rules, _) = self.rules(tenant).await?.ok_or(UpstreamError::None)?;
        Ok(rules.shown())
    }

    /// Sets the upstream of a registry, all of it; where `expected` is given, only if it is that still
    /// ([`Error::Changed`]). Needs [`Action::Manage`].
    pub async fn set(
        &self,
        caller: &Caller,
        place: &Place,
        new: &NewUpstream,
        expected: Option<&Upstream>,
    ) -> Result<Upstream, UpstreamError> {
        let tenant = self.tenant(caller, place).await?;
        let url = self.index(&new.url)?;
        check(new)?;
        for _ in 0..ATTEMPTS {
            let seen = self.rules(tenant).await?;
            demand(seen.as_ref(), expected, place)?;
            let rules = Rules {
                format: FORMAT,
                url: url.clone(),
                allow: new.allow.clone(),
                deny: new.deny.clone(),
                cool_down_days: new.cool_down_days,
                fresh_seconds: new.fresh_seconds.unwrap_or(FRESH_SECONDS),
                credentials: self.sealed(tenant, &url, new, seen.as_ref())?,
            };
            let shown = rules.shown();
            let who = shown.username.as_deref().map(|name| format!(", as {name:?}"));
            let line = format!(
                "python upstream is {url}{}; allow {:?}, deny {:?}, cool-down {} days",
                who.unwrap_or_default(),
                rules.allow,
                rules.deny,
                rules.cool_down_days,
            );
            let value = serde_json::to_vec(&rules)
                .map_err(|error| Error::Invalid(format!("rules have no JSON: {error}")))?;
            let batch = Batch::new().put(key(tenant), value);
            let version = seen.map(|(_, version)| version);
            if self.write(caller, tenant, version, line, batch).await? {
                return Ok(shown);
            }
        }
        Err(contended())
    }

    /// Takes the upstream of a registry away; what was kept stays. Needs [`Action::Manage`].
    pub async fn remove(
        &self,
        caller: &Caller,
        place: &Place,
        expected: Option<&Upstream>,
    ) -> Result<(), UpstreamError> {
        let tenant = self.tenant(caller, place).await?;
        for _ in 0..ATTEMPTS {
            let seen = self.rules(tenant).await?;
            demand(seen.as_ref(), expected, place)?;
            let (rules, version) = seen.ok_or(UpstreamError::None)?;
            let line = format!("python upstream {} is removed", rules.url);
            let batch = Batch::new().delete(key(tenant));
            if self.write(caller, tenant, Some(version), line, batch).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The rules of a registry, whoever asks.
    pub(super) async fn rules(
        &self,
        tenant: (OrganisationId, RegistryId),
    ) -> Result<Option<(Rules, Version)>, Error> {
        let Some(Entry { value, version, .. }) = self.0.records.get(key(tenant)).await? else {
            return Ok(None);
        };
        let damaged = |why: String| Error::Corrupted(format!("a registry's upstream: {why}"));
        let rules: Rules =
            serde_json::from_slice(&value).map_err(|error| damaged(error.to_string()))?;
        if rules.format > FORMAT {
            return Err(damaged("it was written by a later version of Strongroom".to_owned()));
        }
        Ok(Some((rules, version)))
    }

    /// What proves to the upstream who we are.
    pub(super) fn authorization(
        &self,
        tenant: (OrganisationId, RegistryId),
        rules: &Rules,
    ) -> Result<Option<HeaderValue>, SealError> {
        let Some(sealed) = &rules.credentials else { return Ok(None) };
        let password = self.0.master.open(&context(tenant, &rules.url), &sealed.password)?;
        let pair = [sealed.username.as_bytes(), b":", &password].concat();
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
        let mut value = value.map_err(|_| SealError::Wrong)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn tenant(
        &self,
        caller: &Caller,
        place: &Place,
    ) -> Result<(OrganisationId, RegistryId), Error> {
        let (organisation, registry) = (&place.organisation, &place.registry);
        let found =
            self.0.engine.registry_for(caller, organisation, registry, Action::Manage).await?;
        Ok((found.0, found.1.id))
    }

    /// The address of an index, in one spelling.
    fn index(&self, url: &Target) -> Result<Target, UpstreamError> {
        let wrong = |why: String| UpstreamError::Field { field: "url", why };
        if !url.is_https() && !self.0.settings.allow_http {
            return Err(wrong(TargetError::Plain.to_string()));
        }
        let text = url.to_string();
        if text.contains('?') {
            return Err(wrong("the address of an index has no query".to_owned()));
        }
        let slash = if text.ends_with('/') { "" } else { "/" };
        let with_slash = format!("{text}{slash}").parse();
        with_slash.map_err(|error: TargetError| wrong(error.to_string()))
    }

    /// The credentials that are set, or stay.
    fn sealed(
        &self,
        tenant: (OrganisationId, RegistryId),
        url: &Target,
        new: &NewUpstream,
        seen: Option<&(Rules, Version)>,
    ) -> Result<Option<Sealed>, UpstreamError> {
        let wrong = |field, why: &str| UpstreamError::Field { field, why: why.to_owned() };
        let Some(username) = &new.username else {
            return match new.password {
                Some(_) => Err(wrong("username", "a password needs one; `__token__` for a token")),
                None => Ok(None),
            };
        };
        let Some(password) = &new.password else {
            let kept = seen.map(|(rules, _)| rules).filter(|rules| rules.url.same_origin(url));
            let kept = kept.and_then(|rules| rules.credentials.clone());
            let kept = kept.filter(|sealed| sealed.username == *username);
            let why = "it has to be given again where the user or the address is another one";
            return kept.ok_or_else(|| wrong("password", why)).map(Some);
        };
        let entropy = &*self.0.seams.entropy;
        let secret = password.expose().as_bytes();
        let password = self.0.master.seal(entropy, &context(tenant, url), secret)?;
        Ok(Some(Sealed { username: username.clone(), password }))
    }

    async fn write(
        &self,
        caller: &Caller,
        tenant: (OrganisationId, RegistryId),
        version: Option<Version>,
        change: String,
        batch: Batch,
    ) -> Result<bool, Error> {
        let (organisation, registry) = tenant;
        let batch = match version {
            Some(version) => batch.unchanged(key(tenant), version),
            None => batch.absent(key(tenant)),
        };
        let now = self.0.records.now().await?;
        let kind = EventKind::RegistryChanged { registry, change };
        let event = Event::by(caller, organisation, now, kind);
        match self.0.records.commit(batch.event(event)).await {
            Ok(()) => Ok(true),
            Err(Error::Contended { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn key((organisation, registry): (OrganisationId, RegistryId)) -> Vec<u8> {
    format!("upstream/{:016x}/{:016x}", organisation.0, registry.0).into_bytes()
}

/// What a password is sealed for.
fn context((organisation, registry): (OrganisationId, RegistryId), url: &Target) -> String {
    let scheme = if url.is_https() { "https" } else { "http" };
    let host = url.host().to_ascii_lowercase();
    format!("pypi-upstream:{organisation}/{registry}:{scheme}://{host}:{}", url.port())
}

fn check(new: &NewUpstream) -> Result<(), UpstreamError> {
    let wrong = |field, why: String| Err(UpstreamError::Field { field, why });
    for (field, patterns) in [("allow", &new.allow), ("deny", &new.deny)] {
        if patterns.len() > MAX_PATTERNS {
            return wrong(field, format!("there are at most {MAX_PATTERNS} patterns"));
        }
    }
    if new.cool_down_days > MAX_COOL_DOWN_DAYS {
        return wrong("cool_down_days", format!("it is at most {MAX_COOL_DOWN_DAYS}"));
    }
    if new.fresh_seconds.is_some_and(|seconds| seconds > MAX_FRESH_SECONDS) {
        return wrong("fresh_seconds", format!("it is at most {MAX_FRESH_SECONDS}"));
    }
    let good = |text: &str, colon: bool| {
        let fits = (1..=MAX_CREDENTIAL).contains(&text.len());
        fits && !text.chars().any(char::is_control) && (colon || !text.contains(':'))
    };
    if new.username.as_deref().is_some_and(|name| !good(name, false)) {
        let why = format!("it has 1 to {MAX_CREDENTIAL} bytes, no control character and no ':'");
        return wrong("username", why);
    }
    if new.password.as_ref().is_some_and(|password| !good(password.expose(), true)) {
        let why = format!("it has 1 to {MAX_CREDENTIAL} bytes and no control character");
        return wrong("password", why);
    }
    Ok(())
}

/// Fails where something is expected and something else is there.
fn demand(
    seen: Option<&(Rules, Version)>,
    expected: Option<&Upstream>,
    place: &Place,
) -> Result<(), Error> {
    let Some(expected) = expected else { return Ok(()) };
    if seen.is_some_and(|(rules, _)| rules.shown() == *expected) {
        return Ok(());
    }
    let name = format!("the python upstream of {}/{}", place.organisation, place.registry);
    Err(Error::Changed { name, version: "another one".to_owned() })
}

fn contended() -> UpstreamError {
    Error::Contended { what: "the upstream of a registry" }.into()
}
