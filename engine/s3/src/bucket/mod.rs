//! The bucket: one method for each request that is made of S3, with its settings, its time and its
//! turn. Nothing here decides anything.

mod lists;
mod objects;
mod uploads;

pub(crate) use self::objects::Head;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Kind, Refusal};
use crate::options::{Addressing, Checksums, Encryption, Limits, S3Options};

/// A request that moves bytes has a second more for each of these …
const BYTES_PER_SECOND: u64 = 1 << 20;
/// … and one that lets S3 copy them, for each of these.
const COPIED_PER_SECOND: u64 = 32 << 20;

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    client: Client,
    turns: Semaphore,
    pub(crate) name: String,
    prefix: String,
    limits: Limits,
    encryption: Option<ServerSideEncryption>,
    kms_key: Option<String>,
    storage_class: Option<StorageClass>,
    checksums: Checksums,
}

impl Bucket {
    pub(crate) async fn new(options: &S3Options) -> Self {
        let limits = options.limits.clone();
        let retries = RetryConfig::standard()
            .with_max_attempts(limits.attempts.max(1))
            .with_initial_backoff(limits.back_off)
            .with_max_backoff(limits.max_back_off);
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries);
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &options.keys {
            let (id, secret) = (keys.id.clone(), keys.secret.clone());
            loader =
                loader.credentials_provider(Credentials::new(id, secret, None, None, "settings"));
        }
        let shared = loader.load().await;
        let config = Builder::from(&shared)
            .force_path_style(options.addressing == Addressing::Path)
            // Checksums are ours to compute, over pieces, and go with the request as a header.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_partition(retry_partition())
            .build();
        let (encryption, kms_key) = match &options.encryption {
            Encryption::Bucket => (None, None),
            Encryption::S3 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key } => (Some(ServerSideEncryption::AwsKms), key.clone()),
        };
        Self {
            client: Client::from_conf(config),
            turns: Semaphore::new(limits.requests_at_once.max(1)),
            name: options.bucket.clone(),
            prefix: options.prefix.clone(),
            limits,
            encryption,
            kms_key,
            storage_class: options.storage_class.as_deref().map(StorageClass::from),
            checksums: options.checksums,
        }
    }

    /// The key in the bucket of an object of the store.
    fn path(&self, object: &str) -> String {
        format!("{}{object}", self.prefix)
    }

    /// The object of the store that a key in the bucket is.
    fn object<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.prefix)
    }

    /// A turn among the requests to the bucket.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let turn = self.turns.acquire().await;
        turn.map_err(|_| Refusal::new(Kind::Temporary, "the store is closed"))
    }

    /// The time for a request that moves `bytes`.
    fn time_for(&self, bytes: u64) -> Builder {
        self.time(Duration::from_secs(bytes / BYTES_PER_SECOND))
    }

    /// The time for a request that has S3 copy `bytes`.
    fn time_to_copy(&self, bytes: u64) -> Builder {
        self.time(Duration::from_secs(bytes / COPIED_PER_SECOND))
    }

    fn time(&self, more: Duration) -> Builder {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.limits.connect)
            .operation_attempt_timeout(self.limits.attempt + more)
            .operation_timeout(self.limits.deadline + 2 * more)
            .build();
        aws_sdk_s3::Config::builder().timeout_config(timeouts)
    }

    /// What the SDK's error of the request `what` means.
    fn refused<E>(&self, what: &str) -> impl Fn(SdkError<E, HttpResponse>) -> Refusal
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        move |error| Refusal::of(what, &self.name, &error)
    }

    /// Whether checksums are verified.
    pub(crate) fn has_checksums(&self) -> bool {
        self.checksums == Checksums::Crc64Nvme
    }

    /// The checksum of a request's bytes, where the service verifies it.
    fn checksum(&self, crc: u64) -> Option<String> {
        self.has_checksums().then(|| crate::state::crc_text(crc))
    }
}

/// Retries are bounded by their number and by the deadline. The SDK's own budget, shared by all
/// requests, would end them all together just when a service is busy: they have back-off and
/// turns instead.
fn retry_partition() -> aws_smithy_runtime::client::retries::RetryPartition {
    use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
    RetryPartition::custom("strongroom").token_bucket(TokenBucket::unlimited()).build()
}

/// A size as the SDK wants it.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A size as the SDK tells it.
fn unsigned(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}
