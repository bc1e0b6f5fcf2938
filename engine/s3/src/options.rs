//! What may be set.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::sizes::MOST;

/// Which bucket, and how it is spoken to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct S3Options {
    /// The bucket; it must be there.
    pub bucket: String,
    /// What all keys begin with: empty, or ending in `/`.
    pub prefix: String,
    /// The region; where absent, what the environment says.
    pub region: Option<String>,
    /// The address of a service that is not AWS's own: `https://host:port`.
    pub endpoint: Option<String>,
    /// How the bucket is named in requests.
    pub addressing: Addressing,
    /// Keys given here; where absent, the AWS SDK's chain finds some (environment, profile, web
    /// identity, container, instance).
    pub keys: Option<Keys>,
    /// How objects are encrypted at rest.
    pub encryption: Encryption,
    /// The storage class of objects; the bucket's own where absent.
    pub storage_class: Option<String>,
    /// Which checksums the service verifies.
    pub checksums: Checksums,
    /// Bounds on time and concurrency.
    pub limits: Limits,
    /// The memory that all parts on their way share, in bytes.
    pub pool_bytes: u64,
    /// The disk that parts share which do not fit into memory, in bytes.
    pub spool_bytes: u64,
    /// Where they lie; the system's folder for temporary files where absent.
    pub spool_folder: Option<PathBuf>,
    /// How large each of an upload's first 64 parts is made, in bytes. Later ones have twice as
    /// much, and more where the numbers of parts run out.
    pub part_bytes: u64,
    /// How many parts of one upload are sent at once.
    pub parts_at_once: usize,
    /// The most bytes that one request has the service copy; a larger object is copied in parts, side by
    /// side. S3 itself takes no more than 5 GiB.
    pub copy_bytes: u64,
}

/// Bounds on time and concurrency.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// How many requests to the bucket are under way at once; more wait.
    pub requests_at_once: usize,
    /// How long it may take to connect.
    pub connect: Duration,
    /// How long one attempt of a request may take; each MiB that it moves adds a second.
    pub attempt: Duration,
    /// How long a request may take with all its attempts; moved bytes add as above.
    pub deadline: Duration,
    /// How often a request is tried.
    pub attempts: u32,
    /// The wait before the second attempt is up to this; it doubles for each further one …
    pub back_off: Duration,
    /// … up to this.
    pub max_back_off: Duration,
}

impl S3Options {
    /// The defaults, for `bucket`.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            addressing: Addressing::default(),
            keys: None,
            encryption: Encryption::default(),
            storage_class: None,
            checksums: Checksums::default(),
            limits: Limits::default(),
            pool_bytes: 128 << 20,
            spool_bytes: 4 << 30,
            spool_folder: None,
            part_bytes: 16 << 20,
            parts_at_once: 4,
            copy_bytes: MOST,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_at_once: 64,
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(20),
            deadline: Duration::from_mins(1),
            attempts: 8,
            back_off: Duration::from_millis(100),
            max_back_off: Duration::from_secs(5),
        }
    }
}

/// How a bucket is named in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// `https://bucket.host/key`: AWS's own.
    #[default]
    VirtualHost,
    /// `https://host/bucket/key`: most other services'.
    Path,
}

/// How objects are encrypted at rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// As the bucket does by itself.
    #[default]
    Bucket,
    /// With keys that S3 keeps (SSE-S3).
    S3,
    /// With a key of KMS (SSE-KMS).
    Kms {
        /// The key's id or ARN; the account's own S3 key where absent.
        key: Option<String>,
    },
}

/// Which checksums the service verifies and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// CRC-64/NVME of each part and of the whole object.
    #[default]
    Crc64Nvme,
    /// None, for a service that does not know them: sizes alone are compared then.
    Off,
}

/// An access key. Its secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The key's id.
    pub id: String,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, …)", self.id)
    }
}
