//! The settings: defaults, then a TOML file, then `STRONGROOM_*` of the environment, then flags.
//!
//! **Promises.** What is not known is an error that names the nearest right key, never ignored: a
//! setting that was mistyped would otherwise be the default without a word. What a value must be is
//! said with its key and where it came from.
//!
//! **Never.** It holds a secret: `config check` shows all of it.

mod beside;
mod check;
mod issuers;
mod keys;
mod layers;
mod signups;
#[cfg(test)]
mod tests;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use strongroom_identity::embedded::Options;
use strongroom_identity::throttle::Allowances;

pub(crate) use beside::Webhooks;
pub(crate) use issuers::{Cognito, IssuerKeys, Organisations, WorkloadIssuer};
pub(crate) use keys::{BOOTSTRAP_PASSWORD, POSTGRES_PASSWORD};
pub(crate) use layers::{Flags, load};
pub(crate) use signups::Signups;
pub(crate) use units::{Size, Span};

/// All that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The folder that holds everything.
    pub(crate) data: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub(crate) listen: SocketAddr,
    /// The networks whose forwarding headers are believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Whose tokens are exchanged for ours, by rules of registries.
    pub(crate) workload_issuers: Vec<WorkloadIssuer>,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) tls: Tls,
    pub(crate) identity: Identity,
    pub(crate) cognito: Cognito,
    pub(crate) issuer_keys: IssuerKeys,
    pub(crate) organisations: Organisations,
    pub(crate) guesses: Guesses,
    pub(crate) storage: Storage,
    pub(crate) s3: S3,
    pub(crate) redirects: Redirects,
    pub(crate) postgres: Postgres,
    pub(crate) uploads: Uploads,
    pub(crate) collection: Collection,
    pub(crate) limits: Limits,
    pub(crate) webhooks: Webhooks,
    pub(crate) pypi: Pypi,
    pub(crate) signups: Signups,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "./strongroom-data".into(),
            listen: ([127, 0, 0, 1], 5000).into(),
            trusted_proxies: Vec::new(),
            workload_issuers: Vec::new(),
            metrics: Metrics::default(),
            log: Log::default(),
            tls: Tls::default(),
            identity: Identity::default(),
            cognito: Cognito::default(),
            issuer_keys: IssuerKeys::default(),
            organisations: Organisations::default(),
            guesses: Guesses::default(),
            storage: Storage::default(),
            s3: S3::default(),
            redirects: Redirects::default(),
            postgres: Postgres::default(),
            uploads: Uploads::default(),
            collection: Collection::default(),
            limits: Limits::default(),
            webhooks: Webhooks::default(),
            pypi: Pypi::default(),
            signups: Signups::default(),
        }
    }
}

/// What Prometheus reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// An address for `/metrics` alone, plain and open to whoever reaches it; without it `/metrics` is
    /// on the main port, for operators who sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
}

/// The log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// Like `info,strongroom=debug`.
    pub(crate) filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info".to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// TLS, where both are set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    /// PEM, the server's certificate first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Identity {
    /// Whether clients are sent to the token endpoint; else they send Basic with each request.
    pub(crate) token_endpoint: bool,
    pub(crate) token_lifetime: Span,
    pub(crate) refresh_lifetime: Span,
    /// How long a password that was right needs no hashing again.
    pub(crate) password_cache: Span,
    /// The file of the key that seals the signing keys: 32 bytes, the same for all nodes. In the data
    /// folder where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) master_key_file: Option<PathBuf>,
    /// The memory that hashing one password takes.
    pub(crate) hash_memory: Size,
    /// The passes over it.
    pub(crate) hash_passes: u32,
    /// How many passwords are hashed at once; each takes its memory.
    pub(crate) hashes_at_once: usize,
}

impl Default for Identity {
    fn default() -> Self {
        let options = Options::default();
        Self {
            token_endpoint: true,
            token_lifetime: Span::minutes(5),
            refresh_lifetime: Span::hours(30 * 24),
            password_cache: Span::minutes(5),
            master_key_file: None,
            hash_memory: Size::kib(u64::from(options.cost.memory)),
            hash_passes: options.cost.passes,
            hashes_at_once: options.hashes_at_once,
        }
    }
}

/// How many wrong passwords may be tried at once; and the pause after which there is one more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Guesses {
    /// Of one person's password, from one address.
    pub(crate) person_and_address: u32,
    pub(crate) person_and_address_pause: Span,
    /// From one address, at anybody's.
    pub(crate) address: u32,
    pub(crate) address_pause: Span,
    /// Of one person's password, from anywhere.
    pub(crate) person: u32,
    pub(crate) person_pause: Span,
}

impl Default for Guesses {
    fn default() -> Self {
        let Allowances { pair, address, user } = Allowances::default();
        Self {
            person_and_address: pair.burst.get(),
            person_and_address_pause: pair.pause.into(),
            address: address.burst.get(),
            address_pause: address.pause.into(),
            person: user.burst.get(),
            person_pause: user.pause.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// Whether what was acknowledged survives power loss (`full`) or a kill only (`relaxed`).
    pub(crate) durability: Durability,
    /// What of the disk only collection and deletes may use.
    pub(crate) reserve: Size,
    /// The memory for pages of the metadata.
    pub(crate) metadata_cache: Size,
    /// The memory for tags and small manifests.
    pub(crate) manifest_cache: Size,
    /// Whether blobs that are pulled whole are hashed on their way out.
    pub(crate) verify_reads: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            reserve: Size::mib(256),
            metadata_cache: Size::mib(64),
            manifest_cache: Size::mib(32),
            verify_reads: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Full,
    Relaxed,
}

/// The bytes in a bucket, where one is named; else in the data folder. Credentials come the ways that
/// AWS's own tools take them (environment, profile, role of the machine).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct S3 {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<String>,
    /// What all keys in the bucket begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// The address of a service other than AWS's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Whether the bucket stands in the path of addresses; else in their host.
    pub(crate) path_style: bool,
    pub(crate) encryption: Encryption,
    /// The key of `sse-kms`; the account's own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kms_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_class: Option<String>,
    /// The memory that parts on their way to the bucket may take, of all uploads together.
    pub(crate) memory: Size,
    /// The room below the data folder for parts that find no memory.
    pub(crate) spool: Size,
    /// How many requests the service gets at once.
    pub(crate) max_requests: usize,
    /// How long a call may take, its repetitions included.
    pub(crate) deadline: Span,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            bucket: None,
            prefix: None,
            region: None,
            endpoint: None,
            path_style: false,
            encryption: Encryption::Bucket,
            kms_key: None,
            storage_class: None,
            memory: Size::mib(128),
            spool: Size::mib(2048),
            max_requests: 64,
            deadline: Span::minutes(2),
        }
    }
}

/// How the service encrypts what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Encryption {
    /// As the bucket says.
    Bucket,
    SseS3,
    SseKms,
}

/// Whether pulls of blobs are sent to the bucket itself, by an address that expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redirects {
    pub(crate) enabled: bool,
    /// Smaller blobs are served from here.
    pub(crate) min_size: Size,
    /// How long an address is good; less than `collection.delete_delay`.
    pub(crate) expires: Span,
    /// Clients that are served from here, by the beginning of their `User-Agent`.
    pub(crate) except: Vec<String>,
}

impl Default for Redirects {
    fn default() -> Self {
        Self {
            enabled: true,
            min_size: Size::mib(1),
            expires: Span::minutes(15),
            except: Vec::new(),
        }
    }
}

/// The facts in a PostgreSQL database, where one is named; else in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Postgres {
    /// `postgresql://USER@HOST/DATABASE?sslmode=require`, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The file that holds the password; `STRONGROOM_POSTGRES_PASSWORD` gives it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// How many connections a node has open.
    pub(crate) connections: usize,
    /// How long a statement may take.
    pub(crate) statement_timeout: Span,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: None,
            password_file: None,
            connections: 16,
            statement_timeout: Span::seconds(30),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Uploads {
    /// How long what was uploaded, or was said to exist, stays without a manifest that names it.
    pub(crate) lease: Span,
    /// How long an upload may rest before it expires.
    pub(crate) idle: Span,
    pub(crate) max_blob: Size,
    pub(crate) max_manifest: Size,
    /// The smallest chunk that clients should cut an upload into; smaller ones are taken.
    pub(crate) min_chunk: Size,
}

/// Python packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pypi {
    pub(crate) max_file: Size,
    /// The memory for pages that were rendered.
    pub(crate) page_cache: Size,
    /// Networks that upstreams of registries may be in although they are not public.
    pub(crate) upstream_allowed_networks: Vec<IpNet>,
    /// Whether addresses of upstreams may begin with `http://`.
    pub(crate) upstream_allow_http: bool,
}

impl Default for Pypi {
    fn default() -> Self {
        let upstreams = strongroom_pypi::upstream::Settings::default();
        Self {
            max_file: Size::mib(2 << 10),
            page_cache: Size::mib(64),
            upstream_allowed_networks: upstreams.allowed_networks,
            upstream_allow_http: upstreams.allow_http,
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            lease: Span::hours(24),
            idle: Span::hours(24),
            max_blob: Size::mib(5 << 20),
            max_manifest: Size::mib(4),
            min_chunk: Size::mib(1),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Collection {
    /// How long between two collections of a running server; `0s` leaves them to `strongroom gc`.
    pub(crate) interval: Span,
    /// How long an object stays after its content was given up: longer than a slow pull.
    pub(crate) delete_delay: Span,
}

impl Default for Collection {
    fn default() -> Self {
        Self { interval: Span::hours(1), delete_delay: Span::hours(1) }
    }
}

/// How much of the server one client may hold; `strongroom_http::Limits` says why each is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) first_byte_timeout: Span,
    pub(crate) header_timeout: Span,
    pub(crate) idle_timeout: Span,
    pub(crate) stall_timeout: Span,
    pub(crate) body_idle_timeout: Span,
    pub(crate) linger_timeout: Span,
    pub(crate) max_header_size: Size,
    pub(crate) max_headers: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) max_requests: usize,
    pub(crate) max_requests_per_address: usize,
    pub(crate) max_requests_per_principal: usize,
    pub(crate) max_streams: u32,
    pub(crate) max_pending_resets: usize,
    /// How long requests that run may go on when the server is asked to end.
    pub(crate) shutdown_grace: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = strongroom_http::Limits::default();
        Self {
            first_byte_timeout: limits.first_byte_timeout.into(),
            header_timeout: limits.header_timeout.into(),
            idle_timeout: limits.idle_timeout.into(),
            stall_timeout: limits.stall_timeout.into(),
            body_idle_timeout: limits.body_idle_timeout.into(),
            linger_timeout: limits.linger_timeout.into(),
            max_header_size: Size::kib(limits.max_header_size as u64 / 1024),
            max_headers: limits.max_headers,
            max_connections: limits.max_connections,
            max_connections_per_address: limits.max_connections_per_address,
            max_requests: limits.max_requests,
            max_requests_per_address: limits.max_requests_per_address,
            max_requests_per_principal: limits.max_requests_per_principal,
            max_streams: limits.max_streams,
            max_pending_resets: limits.max_pending_resets,
            shutdown_grace: Span::seconds(30),
        }
    }
}

impl Config {
    /// The settings as a file that sets all of them.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("the settings are tables of plain values, tables last")
    }

    /// The same for scripts.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("the settings are tables of plain values")
    }
}
