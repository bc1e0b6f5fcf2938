//! What the queue and the pool have in common: how AWS is reached, and what its errors say.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use strongroom_http::log;

use crate::settings::Settings;

/// How often a request is made, where it fails in a way that may pass.
const ATTEMPTS: u32 = 3;
const CONNECT: Duration = Duration::from_secs(3);
/// How long one attempt may take …
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);
/// … and a request with all of them.
pub(crate) const REQUEST: Duration = Duration::from_secs(15);

/// Why AWS did not do what it was asked. The text is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AwsError(pub(crate) String);

/// Finds region and credentials. The SDK sees to retries with jitter.
pub(crate) async fn load(settings: &Settings) -> SdkConfig {
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(retries)
        .timeout_config(timeouts(Duration::ZERO));
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

/// The time for a request that the service answers after `waiting`.
pub(crate) fn timeouts(waiting: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT + waiting)
        .operation_timeout(REQUEST + waiting)
        .build()
}

/// What the SDK's error of the request `what` to the queue or pool `whom` means.
pub(crate) fn refused<E>(what: &str, whom: &str, error: &SdkError<E, HttpResponse>) -> AwsError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code().unwrap_or_default();
    // JSON's codes have their namespace before them, and the older ones are longer.
    let short = code.rsplit(['#', '.']).next().unwrap_or_default();
    AwsError(match (short, status) {
        ("QueueDoesNotExist" | "NonExistentQueue" | "ResourceNotFoundException", _) => {
            format!("{what}: there is no {whom}; create it, or correct its name or the region")
        }
        (
            "AccessDenied"
            | "AccessDeniedException"
            | "NotAuthorizedException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch",
            _,
        )
        | (_, Some(403)) => format!(
            "{what}: access to {whom} is denied ({}); check the credentials and the policy of their role",
            if short.is_empty() { "403" } else { short }
        ),
        (_, Some(status)) => {
            let said = error.message().unwrap_or("it does not say why");
            format!("{what}: {whom} answered {code} (status {status}): {said}")
        }
        _ => format!("{what}: no answer of {whom}: {}", log::chain(error)),
    })
}
