//! The engine and the identity provider over a data folder: what serves, and what verbs act on.

use std::sync::Arc;

use async_trait::async_trait;
use strongroom_engine::access::{
    Action, Authorizer, Caller, Decision, Origin, Principal, PrincipalId, Target,
};
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::{MetaError, RedbOptions, RedbStore};
use strongroom_engine::seam::Seams;
use strongroom_engine::tenancy::RoleAuthorizer;
use strongroom_engine::{Engine, Error, Settings};
use strongroom_identity::Embedded;
use strongroom_identity::embedded::{NAMESPACE, Options};

use crate::config::{self, Config};
use crate::data::DataFolder;
use crate::failure::Failure;

/// Everything that is open. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) identity: Embedded,
    pub(crate) seams: Seams,
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
        let (meta, blobs) = {
            let (folder, clock, config) =
                (folder.clone(), Arc::clone(&seams.clock), config.clone());
            let open = move || {
                let options = RedbOptions {
                    cache_bytes: memory(config.storage.metadata_cache),
                    // Uploads stop first: what is under way then can still be finished.
                    reserve_bytes: config.storage.reserve.bytes() / 4,
                };
                // The facts first: who has them open owns the folder, and may tidy the objects.
                let open = || {
                    let meta = RedbStore::open_with(options, folder.meta(), Arc::clone(&clock));
                    meta.map_err(|error| not_open(&folder, &error))
                };
                if folder.is_older() {
                    // Nobody has them open, and they are whole: closed again, they can be copied.
                    drop(open()?);
                    folder.keep_before_migration()?;
                }
                let meta = open()?;
                let durability = match config.storage.durability {
                    config::Durability::Full => Durability::Full,
                    config::Durability::Relaxed => Durability::Relaxed,
                };
                let blobs = FsStore::open(Arc::new(RealDisk), folder.objects(), durability);
                let blobs = blobs.map_err(|error| {
                    Failure::failed(format!("can't open {}: {error}", folder.objects().display()))
                })?;
                Ok::<_, Failure>((meta, blobs))
            };
            let opened = tokio::task::spawn_blocking(open).await;
            opened
                .map_err(|error| Failure::failed(format!("opening the data failed: {error}")))??
        };
        let meta = Arc::new(meta);
        let roles = ConsoleToo(RoleAuthorizer::new(Arc::clone(&meta) as _));
        let engine = Engine::builder(meta, Arc::new(blobs))
            .authorizer(Arc::new(roles))
            .seams(seams.clone())
            .settings(settings(config))
            .build()
            .await?;
        folder.migrated()?;
        let master = folder.master_key(&*seams.entropy)?;
        let mut options = Options::default();
        options.token_endpoint = config.identity.token_endpoint;
        options.token_lifetime = config.identity.token_lifetime.duration();
        options.refresh_lifetime = config.identity.refresh_lifetime.duration();
        options.remembered_for = config.identity.password_cache.duration();
        let records = engine.extension(NAMESPACE);
        let identity = Embedded::open(records, seams.clone(), master, options).await?;
        Ok(Self { engine, identity, seams })
    }

    /// Writes what waits, before the process ends in order.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        self.engine.close().await?;
        self.engine.seal().await?;
        Ok(())
    }
}

fn memory(size: config::Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

fn settings(config: &Config) -> Settings {
    let mut settings = Settings::default();
    settings.lease = config.uploads.lease.duration();
    settings.upload_idle = config.uploads.idle.duration();
    settings.delete_delay = config.collection.delete_delay.duration();
    settings.max_blob_bytes = config.uploads.max_blob.bytes();
    settings.reserve_bytes = config.storage.reserve.bytes();
    settings.verify_reads = config.storage.verify_reads;
    settings.cache_bytes = config.storage.manifest_cache.bytes();
    settings
}

fn not_open(folder: &DataFolder, error: &MetaError) -> Failure {
    let path = folder.meta();
    match error {
        MetaError::Unavailable(why) => Failure::away(format!(
            "can't open {}: {why}. If another strongroom is using it, let that end, or wait until it \
             serves",
            path.display()
        )),
        error => Failure::failed(format!("can't open {}: {error}", path.display())),
    }
}
