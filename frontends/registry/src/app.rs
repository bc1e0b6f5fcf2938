//! The engine and the identity provider over a data folder: what serves, and what verbs act on.

use std::sync::Arc;

use async_trait::async_trait;
use strongroom_engine::access::{
    Action, Authorizer, Caller, Decision, Origin, Principal, PrincipalId, Target,
};
use strongroom_engine::backup::Stores;
use strongroom_engine::seam::Seams;
use strongroom_engine::tenancy::RoleAuthorizer;
use strongroom_engine::{Engine, Error};
use strongroom_identity::embedded::{NAMESPACE, Options};
use strongroom_identity::password::Cost;
use strongroom_identity::throttle::{Allowance, Allowances};
use strongroom_identity::{Cognito, Embedded};

use strongroom_identity::seal::MasterKey;
use strongroom_identity::workload::Workloads;
use strongroom_pypi::upstream::Upstreams;
use strongroom_webhooks::Webhooks;

use crate::config::Config;
use crate::data::{DataFolder, master_key};
use crate::failure::Failure;
use crate::{storage, vouching};

/// Everything that is open. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) identity: Embedded,
    /// The user pool, where there is one.
    pub(crate) pool: Option<Cognito>,
    pub(crate) workloads: Workloads,
    pub(crate) webhooks: Webhooks,
    pub(crate) upstreams: Upstreams,
    pub(crate) seams: Seams,
    pub(crate) folder: DataFolder,
}

/// Who the command line is: no provider vouches for such a principal.
const CONSOLE: &str = "console:local";

/// Whoever may use the data folder: the owner of all in it, whatever we say. For the trail, and so
/// that verbs take the same way through the engine as everybody else's requests.
pub(crate) fn console() -> Caller {
    let id = PrincipalId::new(CONSOLE).expect("it is short and printable");
    let origin =
        Origin { user_agent: Some("strongroom command line".to_owned()), ..Origin::default() };
    Caller { operator: true, origin, ..Caller::known(id) }
}

/// Roles decide; but the console sees and manages every tenant. Content stays closed to it.
#[derive(Debug)]
struct ConsoleToo(RoleAuthorizer);

#[async_trait]
impl Authorizer for ConsoleToo {
    async fn decide(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Decision, Error> {
        let console = matches!(&caller.principal, Principal::Known(id) if id.as_str() == CONSOLE);
        match action {
            Action::List | Action::Manage if console => Ok(Decision::Allowed),
            _ => self.0.decide(caller, action, target).await,
        }
    }
}

impl App {
    /// Opens what is in the folder. Fails where another process has it open.
    pub(crate) async fn open(config: &Config, folder: DataFolder) -> Result<Self, Failure> {
        let seams = Seams::default();
        let stores = storage::open(config, &folder, &seams).await?;
        Self::over(config, folder, stores, seams).await
    }

    /// Over stores that are open.
    pub(crate) async fn over(
        config: &Config,
        folder: DataFolder,
        stores: Stores,
        seams: Seams,
    ) -> Result<Self, Failure> {
        let engine = engine(config, stores, &seams).await?;
        folder.migrated()?;
        let master = match &config.identity.master_key_file {
            Some(file) => master_key(file)?,
            None => folder.master_key(&*seams.entropy)?,
        };
        let webhooks = Webhooks::new(
            engine.clone(),
            seams.clone(),
            MasterKey::from_bytes(*master.expose()),
            config.webhooks.settings(),
        )?;
        let upstreams = Upstreams::new(
            &engine,
            seams.clone(),
            MasterKey::from_bytes(*master.expose()),
            upstreams(config),
        );
        let records = engine.extension(NAMESPACE);
        let identity = Embedded::open(records, seams.clone(), master, identity(config)).await?;
        let web = vouching::web(config)?;
        let pool = vouching::pool(config, seams.clone(), Arc::clone(&web))?;
        let workloads = vouching::workloads(config, engine.clone(), identity.clone(), web)?;
        // Where several share the stores, nobody copies them or fills them meanwhile.
        engine.announce().await?;
        Ok(Self { engine, identity, pool, workloads, webhooks, upstreams, seams, folder })
    }

    /// Writes what waits, before the process ends in order.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        self.engine.close().await?;
        self.engine.seal().await?;
        Ok(())
    }
}

/// The engine over stores that are open.
pub(crate) async fn engine(
    config: &Config,
    stores: Stores,
    seams: &Seams,
) -> Result<Engine, Failure> {
    let Stores { meta, blobs } = stores;
    let roles = ConsoleToo(RoleAuthorizer::new(Arc::clone(&meta)));
    let built = Engine::builder(meta, blobs)
        .authorizer(Arc::new(roles))
        .seams(seams.clone())
        .settings(storage::settings(config))
        .build();
    Ok(built.await?)
}

/// How upstreams are reached, as the configuration has it.
fn upstreams(config: &Config) -> strongroom_pypi::upstream::Settings {
    let mut settings = strongroom_pypi::upstream::Settings::default();
    settings.allowed_networks.clone_from(&config.pypi.upstream_allowed_networks);
    settings.allow_http = config.pypi.upstream_allow_http;
    settings
}

/// The identity provider's settings, as the configuration has them.
fn identity(config: &Config) -> Options {
    let (settings, guesses) = (&config.identity, &config.guesses);
    let mut options = Options::default();
    options.token_endpoint = settings.token_endpoint;
    options.token_lifetime = settings.token_lifetime.duration();
    options.refresh_lifetime = settings.refresh_lifetime.duration();
    options.remembered_for = settings.password_cache.duration();
    options.cost = Cost {
        memory: u32::try_from(settings.hash_memory.bytes() >> 10).unwrap_or(u32::MAX),
        passes: settings.hash_passes,
    };
    options.hashes_at_once = settings.hashes_at_once;
    let pause = guesses.person_and_address_pause.duration();
    options.guesses = Allowances {
        pair: Allowance::new(guesses.person_and_address, pause),
        address: Allowance::new(guesses.address, guesses.address_pause.duration()),
        user: Allowance::new(guesses.person, guesses.person_pause.duration()),
    };
    options
}
