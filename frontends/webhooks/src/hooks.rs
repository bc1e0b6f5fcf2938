//! The hooks of registries, for who may manage those: created, listed, changed, tried, deleted.
//!
//! Each change is one conditional commit of the registry's row with its line in the trail. The secret is
//! given out by the two calls that make one, and never again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_engine::access::{Action, Caller};
use strongroom_engine::audit::{Event, EventKind};
use strongroom_engine::extension::{Batch, Extension, Version};
use strongroom_engine::id::{OrganisationId, RegistryId};
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::seam::{Seams, Timestamp};
use strongroom_engine::{Engine, Error};
use strongroom_http::auth::Secret;
use strongroom_identity::seal::MasterKey;
use strongroom_outbound::{Resolver, SystemResolver, Target, TargetError};
use tokio::sync::Notify;

use crate::error::WebhookError;
use crate::event::{KINDS, Message, USUAL};
use crate::metrics;
use crate::records::{
    self, Delivery, HookRecord, NAMESPACE, Previous, Recent, RegistryHooks, Sealed, State,
};
use crate::send::Sender;
use crate::settings::Settings;
use crate::signature::SigningKey;

/// The most hooks of one registry.
const MAX_HOOKS: usize = 20;
/// How long a secret that was replaced signs beside the new one.
const OVERLAP: Duration = Duration::from_hours(24);
/// How often a change that lost a race is made again.
const ATTEMPTS: usize = 16;

/// What never changes about a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HookId(pub u64);

impl fmt::Display for HookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for HookId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u64::from_str_radix(text, 16) {
            Ok(id) if text.len() == 16 => Ok(Self(id)),
            _ => Err("a webhook is named by 16 hexadecimal digits".to_owned()),
        }
    }
}

impl TryFrom<String> for HookId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HookId> for String {
    fn from(id: HookId) -> Self {
        id.to_string()
    }
}

/// A hook as its registry's admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// What never changes about it.
    pub id: HookId,
    /// Where its events go.
    pub url: Target,
    /// Which events.
    pub events: Vec<String>,
    /// How it fares.
    pub standing: Standing,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When its receiver last took an event.
    pub delivered_at: Option<Timestamp>,
}

/// How a hook fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Standing {
    /// It delivers, or has nothing to deliver.
    Active,
    /// Its receiver has not taken an event for long; it is offered again.
    Failing {
        /// Since when.
        since: Timestamp,
        /// How often it was offered in vain.
        failures: u32,
        /// When it is offered next.
        next_at: Timestamp,
    },
    /// It delivers nothing. What happens meanwhile is delivered once it is switched on.
    Disabled {
        /// Why, where nobody switched it off.
        because: Option<String>,
    },
}

/// A hook to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHook {
    /// Where its events go.
    pub url: Target,
    /// Which, of [`KINDS`]; the usual ones where empty.
    pub events: Vec<String>,
}

/// What is to change of a hook; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Where its events go.
    pub url: Option<Target>,
    /// Which.
    pub events: Option<Vec<String>>,
    /// Whether it is on.
    pub enabled: Option<bool>,
}

/// The hooks of all registries. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Webhooks(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) records: Extension,
    pub(crate) seams: Seams,
    pub(crate) master: MasterKey,
    pub(crate) settings: Settings,
    pub(crate) sender: Sender,
    /// A hook was changed here: what [`Webhooks::run`] knows is old.
    pub(crate) changed: Notify,
}

impl Webhooks {
    /// Over an engine. `master` seals the secrets.
    pub fn new(
        engine: Engine,
        seams: Seams,
        master: MasterKey,
        settings: Settings,
    ) -> Result<Self, WebhookError> {
        Self::with_resolver(engine, seams, master, settings, Arc::new(SystemResolver))
    }

    /// With another way to look names up.
    pub fn with_resolver(
        engine: Engine,
        seams: Seams,
        master: MasterKey,
        settings: Settings,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, WebhookError> {
        metrics::describe();
        let sender = Sender::new(resolver, &settings)?;
        let records = engine.extension(NAMESPACE);
        let changed = Notify::new();
        Ok(Self(Arc::new(Shared { engine, records, seams, master, settings, sender, changed })))
    }

    /// Creates a hook, which gets what happens from now on; with its secret, which is not shown again.
    pub async fn create(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        new: NewHook,
    ) -> Result<(Hook, Secret), WebhookError> {
        self.check_target(&new.url)?;
        let kinds = kinds(&new.events)?;
        let shared = &*self.0;
        let key = SigningKey::generate(&*shared.seams.entropy);
        let id = HookId(shared.seams.random_u64());
        let secret = shared.seal(id, &key)?;
        for _ in 0..ATTEMPTS {
            let mut seen = self.open(caller, organisation, registry).await?;
            if seen.row.hooks.len() >= MAX_HOOKS {
                return Err(WebhookError::TooMany { max: MAX_HOOKS });
            }
            let cursor = shared.engine.trail_end(seen.row.organisation).await?;
            let now = shared.records.now().await?;
            let record = HookRecord {
                id,
                target: new.url.clone(),
                kinds: kinds.clone(),
                enabled: true,
                disabled_because: None,
                secret: secret.clone(),
                previous: None,
                created_at: now,
                created_by: caller.principal.as_str().to_owned(),
            };
            seen.row.hooks.push(record.clone());
            let state = State::at(cursor);
            let what = format!("webhook {id} to {} created", record.target);
            let batch = Batch::new()
                .absent(records::state(id))
                .put(records::state(id), records::encode(&state));
            if shared.write(&seen, caller, what, now, batch).await? {
                return Ok((shared.shown(&record, &state), key.secret()));
            }
        }
        Err(contended())
    }

    /// The hooks of a registry, the oldest first.
    pub async fn list(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
    ) -> Result<Vec<Hook>, WebhookError> {
        let seen = self.open(caller, organisation, registry).await?;
        let mut hooks = Vec::new();
        for record in &seen.row.hooks {
            // Deleted a moment ago, where it has no state.
            if let Some((state, _)) = self.0.state(record.id).await? {
                hooks.push(self.0.shown(record, &state));
            }
        }
        Ok(hooks)
    }

    /// Changes a hook. One that is switched on, or gets another address, is tried at once, and goes on
    /// where it stood: what happened while it was off is delivered.
    pub async fn update(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        id: HookId,
        change: Change,
    ) -> Result<Hook, WebhookError> {
        if let Some(target) = &change.url {
            self.check_target(target)?;
        }
        let kinds = change.events.as_deref().map(kinds).transpose()?;
        let shared = &*self.0;
        for _ in 0..ATTEMPTS {
            let mut seen = self.open(caller, organisation, registry).await?;
            let (mut state, version) = shared.state(id).await?.ok_or_else(|| unknown(id))?;
            let record = seen.hook(id)?;
            if let Some(target) = &change.url {
                record.target = target.clone();
            }
            if let Some(kinds) = &kinds {
                record.kinds.clone_from(kinds);
            }
            if let Some(enabled) = change.enabled {
                record.enabled = enabled;
                record.disabled_because = None;
            }
            let record = record.clone();
            (state.failures, state.failing_since, state.next_at) = (0, None, Timestamp(0));
            let on = if record.enabled { "on" } else { "off" };
            let events = record.kinds.join(", ");
            let what = format!("webhook {id} is {on}, to {}, for {events}", record.target);
            let batch = Batch::new()
                .unchanged(records::state(id), version)
                .put(records::state(id), records::encode(&state));
            let now = shared.records.now().await?;
            if shared.write(&seen, caller, what, now, batch).await? {
                return Ok(shared.shown(&record, &state));
            }
        }
        Err(contended())
    }

    /// Gives a hook another secret, which is not shown again. For a day both sign.
    pub async fn rotate_secret(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        id: HookId,
    ) -> Result<Secret, WebhookError> {
        let shared = &*self.0;
        let key = SigningKey::generate(&*shared.seams.entropy);
        let sealed = shared.seal(id, &key)?;
        for _ in 0..ATTEMPTS {
            let mut seen = self.open(caller, organisation, registry).await?;
            let now = shared.records.now().await?;
            let record = seen.hook(id)?;
            let secret = std::mem::replace(&mut record.secret, sealed.clone());
            record.previous = Some(Previous { secret, until: now.plus(OVERLAP) });
            let what = format!("webhook {id} has another secret");
            if shared.write(&seen, caller, what, now, Batch::new()).await? {
                return Ok(key.secret());
            }
        }
        Err(contended())
    }

    /// Deletes a hook; what was not delivered is not.
    pub async fn delete(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        id: HookId,
    ) -> Result<(), WebhookError> {
        let shared = &*self.0;
        for _ in 0..ATTEMPTS {
            let mut seen = self.open(caller, organisation, registry).await?;
            let target = seen.hook(id)?.target.clone();
            seen.row.hooks.retain(|record| record.id != id);
            let now = shared.records.now().await?;
            let what = format!("webhook {id} to {target} deleted");
            let batch = Batch::new().delete(records::state(id)).delete(records::recent(id));
            if shared.write(&seen, caller, what, now, batch).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Sends an event that only tells that it arrives, now and once, also where the hook is off.
    pub async fn test(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        id: HookId,
    ) -> Result<Delivery, WebhookError> {
        let shared = &*self.0;
        let mut seen = self.open(caller, organisation, registry).await?;
        let source = seen.row.source.clone();
        let record = seen.hook(id)?.clone();
        let now = shared.records.now().await?;
        let random = shared.seams.random_u64();
        let message = Message::trial(random, &source, caller.principal.as_str(), now);
        Ok(shared.deliver(&record, &message, now).await?.0)
    }

    /// The last deliveries of a hook, the newest first.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
        id: HookId,
    ) -> Result<Vec<Delivery>, WebhookError> {
        self.open(caller, organisation, registry).await?.hook(id)?;
        let kept = self.0.records.get(records::recent(id)).await?;
        let recent: Recent =
            kept.map_or_else(|| Ok(Recent::default()), |e| records::decode(&e.value))?;
        Ok(recent.deliveries)
    }

    /// The hooks of a registry, where the caller may manage it.
    async fn open(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        registry: &RegistryName,
    ) -> Result<SeenHooks, WebhookError> {
        let engine = &self.0.engine;
        let found = engine.registry_for(caller, organisation, registry, Action::Manage).await?;
        let (organisation_id, found) = found;
        let source = records::source(organisation, &found.name);
        let mut seen = self.0.hooks(organisation_id, found.id).await?;
        seen.row.source = source;
        Ok(seen)
    }

    fn check_target(&self, target: &Target) -> Result<(), WebhookError> {
        if target.is_https() || self.0.settings.allow_http {
            return Ok(());
        }
        Err(TargetError::Plain.into())
    }
}

/// The row of a registry's hooks as it was read.
#[derive(Debug)]
pub(crate) struct SeenHooks {
    pub(crate) row: RegistryHooks,
    version: Option<Version>,
}

impl SeenHooks {
    pub(crate) fn hook(&mut self, id: HookId) -> Result<&mut HookRecord, WebhookError> {
        self.row.hooks.iter_mut().find(|record| record.id == id).ok_or_else(|| unknown(id))
    }
}

impl Shared {
    /// The hooks of a registry, whoever asks; none where there is no row.
    pub(crate) async fn hooks(
        &self,
        organisation: OrganisationId,
        registry: RegistryId,
    ) -> Result<SeenHooks, WebhookError> {
        let kept = self.records.get(records::hooks_of(organisation, registry)).await?;
        let Some(entry) = kept else {
            let (source, hooks) = (String::new(), Vec::new());
            let row = RegistryHooks { organisation, registry, source, hooks };
            return Ok(SeenHooks { row, version: None });
        };
        Ok(SeenHooks { row: records::decode(&entry.value)?, version: Some(entry.version) })
    }

    /// Where a hook stands.
    pub(crate) async fn state(&self, id: HookId) -> Result<Option<(State, Version)>, WebhookError> {
        let Some(entry) = self.records.get(records::state(id)).await? else { return Ok(None) };
        Ok(Some((records::decode(&entry.value)?, entry.version)))
    }

    /// Commits a registry's hooks with a line, and what `batch` has; false where somebody was faster.
    pub(crate) async fn write(
        &self,
        seen: &SeenHooks,
        by: &Caller,
        change: String,
        now: Timestamp,
        batch: Batch,
    ) -> Result<bool, WebhookError> {
        let RegistryHooks { organisation, registry, hooks, .. } = &seen.row;
        let key = records::hooks_of(*organisation, *registry);
        let batch = match &seen.version {
            Some(version) => batch.unchanged(key.clone(), version.clone()),
            None => batch.absent(key.clone()),
        };
        let batch = if hooks.is_empty() {
            batch.delete(key)
        } else {
            batch.put(key, records::encode(&seen.row))
        };
        let kind = EventKind::RegistryChanged { registry: *registry, change };
        match self.records.commit(batch.event(Event::by(by, *organisation, now, kind))).await {
            Ok(()) => {
                self.changed.notify_one();
                Ok(true)
            }
            Err(Error::Contended { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn seal(&self, id: HookId, key: &SigningKey) -> Result<Sealed, WebhookError> {
        Ok(Sealed(self.master.seal(&*self.seams.entropy, &context(id), key.expose())?))
    }

    /// The keys that sign for a hook now.
    pub(crate) fn keys(
        &self,
        record: &HookRecord,
        now: Timestamp,
    ) -> Result<Vec<SigningKey>, WebhookError> {
        let previous = record.previous.as_ref().filter(|previous| now < previous.until);
        let sealed =
            std::iter::once(&record.secret).chain(previous.map(|previous| &previous.secret));
        let open = |sealed: &Sealed| {
            let bytes = self.master.open(&context(record.id), &sealed.0)?;
            let short =
                || WebhookError::Damaged { reason: "a secret has another length".to_owned() };
            SigningKey::from_bytes(&bytes).ok_or_else(short)
        };
        sealed.map(open).collect()
    }

    fn shown(&self, record: &HookRecord, state: &State) -> Hook {
        let failing = state.failing_since.filter(|_| state.failures >= self.settings.attempts);
        let standing = match failing {
            _ if !record.enabled => Standing::Disabled { because: record.disabled_because.clone() },
            Some(since) => {
                Standing::Failing { since, failures: state.failures, next_at: state.next_at }
            }
            None => Standing::Active,
        };
        Hook {
            id: record.id,
            url: record.target.clone(),
            events: record.kinds.clone(),
            standing,
            created_at: record.created_at,
            created_by: record.created_by.clone(),
            delivered_at: state.taken_at,
        }
    }
}

/// What a hook's secret is sealed for: a key that was moved to another hook does not open.
fn context(id: HookId) -> String {
    format!("webhook:{id}")
}

/// The events that were asked for, each once and in our order.
fn kinds(asked: &[String]) -> Result<Vec<String>, WebhookError> {
    if let Some(name) = asked.iter().find(|name| !KINDS.contains(&name.as_str())) {
        return Err(WebhookError::Kind { name: name.clone() });
    }
    let wanted = |kind: &&str| {
        if asked.is_empty() { USUAL.contains(kind) } else { asked.iter().any(|name| name == kind) }
    };
    Ok(KINDS.into_iter().filter(wanted).map(str::to_owned).collect())
}

fn unknown(id: HookId) -> WebhookError {
    WebhookError::Unknown { id: id.to_string() }
}

fn contended() -> WebhookError {
    Error::Contended { what: "the webhooks of a registry" }.into()
}
