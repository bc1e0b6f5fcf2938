//! Who hears of sign-ups: a server beside its requests, or a process of its own.

use strongroom_engine::Engine;
use strongroom_engine::seam::Seams;
use strongroom_http::metrics::Metrics;
use strongroom_worker::{SettingsError, Worker};

use crate::app;
use crate::config::Config;
use crate::console;
use crate::data::DataFolder;
use crate::failure::{Failure, Kind};
use crate::serve;
use crate::storage;
use crate::tasks::Tasks;

/// Hears of sign-ups in a server, where a queue is set.
pub(crate) async fn beside(config: &Config, engine: &Engine, tasks: &Tasks) -> Result<(), Failure> {
    let Some(settings) = config.signups.settings() else { return Ok(()) };
    let worker = Worker::new(engine.clone(), settings).await?;
    tasks.spawn_until("sign-ups", move |end| {
        let worker = worker.clone();
        async move { worker.run(end).await }
    });
    Ok(())
}

/// `strongroom worker`: does nothing else, until it is asked to end.
pub(crate) async fn alone(config: &Config) -> Result<(), Failure> {
    let end = serve::end()?;
    if config.signups.queue_url.is_none() {
        return Err(Failure::usage(
            "there is no queue to hear of sign-ups in: set signups.queue_url (docs/signups.md)",
        ));
    }
    if config.postgres.url.is_none() || config.s3.bucket.is_none() {
        return Err(Failure::usage(
            "a worker of its own needs stores that several processes may share: set postgres.url and \
             s3.bucket. Facts and bytes in a data folder are the one process's that serves them, so there \
             `strongroom serve` hears of sign-ups itself, where signups.queue_url is set",
        ));
    }
    let metrics = Metrics::install();
    let metrics = metrics.map_err(|error| Failure::failed(format!("no metrics: {error}")))?;
    let folder = DataFolder::open_or_make(&config.data)?;
    let _folder = folder.lock().map_err(|failure| match failure.kind {
        Kind::Away => Failure::away(format!(
            "{failure}; or give this worker a data folder of its own with --data"
        )),
        _ => failure,
    })?;
    let seams = Seams::default();
    let stores = storage::open(config, &folder, &seams).await?;
    let engine = app::engine(config, stores, &seams).await?;
    engine.announce().await?;
    let tasks = Tasks::new();
    let upkeep = metrics.clone();
    tasks.spawn("metrics", move || upkeep.clone().upkeep());
    serve::seals(&tasks, &engine);
    if let Some(address) = config.metrics.listen {
        let (listener, address) = serve::listen(address).await?;
        console::say(&format!("metrics on http://{address}/metrics\n"))?;
        serve::serve_metrics(&tasks, config, listener, metrics)?;
    }
    beside(config, &engine, &tasks).await?;
    console::say("hearing of sign-ups\n")?;
    end.await;
    tasks.end().await;
    engine.close().await?;
    engine.seal().await?;
    Ok(())
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::usage(format!("signups.{error}"))
    }
}
