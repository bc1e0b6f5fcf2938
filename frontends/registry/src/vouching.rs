//! Who else vouches, as the settings name them: the user pool for people, issuers for runs of CI.

use std::sync::Arc;

use strongroom_engine::Engine;
use strongroom_engine::seam::Seams;
use strongroom_identity::web::{HttpsWeb, NoWeb, Web};
use strongroom_identity::workload::{Issuer, Workloads};
use strongroom_identity::{Cognito, Embedded};

use crate::config::{Config, WorkloadIssuer};
use crate::failure::Failure;
use crate::storage::secret_in;

/// What asks issuers and the pool. Certificates are looked for only where there is somebody to ask.
pub(crate) fn web(config: &Config) -> Result<Arc<dyn Web>, Failure> {
    if config.cognito.issuer.is_none() && config.workload_issuers.is_empty() {
        return Ok(Arc::new(NoWeb));
    }
    let web = HttpsWeb::new().map_err(|error| Failure::failed(error.to_string()))?;
    Ok(Arc::new(web))
}

/// The user pool, where one is set.
pub(crate) fn pool(
    config: &Config,
    seams: Seams,
    web: Arc<dyn Web>,
) -> Result<Option<Cognito>, Failure> {
    let Some(mut settings) = config.cognito.settings() else { return Ok(None) };
    if let Some(file) = &config.cognito.client_secret_file {
        settings.client_secret = Some(secret_in(file, "cognito.client_secret_file")?);
    }
    let pool = Cognito::new(settings, config.issuer_keys.policy(), seams, web);
    pool.map(Some).map_err(|error| Failure::usage(format!("cognito: {error}")))
}

/// Rules for runs of CI, and the exchange of their tokens.
pub(crate) fn workloads(
    config: &Config,
    engine: Engine,
    embedded: Embedded,
    web: Arc<dyn Web>,
) -> Result<Workloads, Failure> {
    let issuers: Vec<Issuer> = config.workload_issuers.iter().map(WorkloadIssuer::issuer).collect();
    let workloads = Workloads::new(engine, embedded, issuers, config.issuer_keys.policy(), web);
    workloads.map_err(|error| Failure::usage(format!("workload_issuers: {error}")))
}
