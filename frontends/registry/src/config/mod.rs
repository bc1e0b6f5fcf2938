//! The settings: defaults, then a TOML file, then `STRONGROOM_*` of the environment, then flags.
//!
//! **Promises.** What is not known is an error that names the nearest right key, never ignored: a
//! setting that was mistyped would otherwise be the default without a word. What a value must be is
//! said with its key and where it came from.
//!
//! **Never.** It holds a secret: `config check` shows all of it.

mod keys;
mod layers;
#[cfg(test)]
mod tests;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use keys::BOOTSTRAP_PASSWORD;
pub(crate) use layers::{Flags, load};
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
    pub(crate) log: Log,
    pub(crate) tls: Tls,
    pub(crate) identity: Identity,
    pub(crate) storage: Storage,
    pub(crate) uploads: Uploads,
    pub(crate) collection: Collection,
    pub(crate) limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "./strongroom-data".into(),
            listen: ([127, 0, 0, 1], 5000).into(),
            trusted_proxies: Vec::new(),
            log: Log::default(),
            tls: Tls::default(),
            identity: Identity::default(),
            storage: Storage::default(),
            uploads: Uploads::default(),
            collection: Collection::default(),
            limits: Limits::default(),
        }
    }
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
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            token_endpoint: true,
            token_lifetime: Span::minutes(5),
            refresh_lifetime: Span::hours(30 * 24),
            password_cache: Span::minutes(5),
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Uploads {
    /// How long what was uploaded, or was said to exist, stays without a manifest that names it.
    pub(crate) lease: Span,
    /// How long an upload may rest before it expires.
    pub(crate) idle: Span,
    pub(crate) max_blob: Size,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { lease: Span::hours(24), idle: Span::hours(24), max_blob: Size::mib(5 << 20) }
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) max_requests: usize,
    pub(crate) max_requests_per_address: usize,
    /// How long requests that run may go on when the server is asked to end.
    pub(crate) shutdown_grace: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = strongroom_http::Limits::default();
        Self {
            max_connections: limits.max_connections,
            max_connections_per_address: limits.max_connections_per_address,
            max_requests: limits.max_requests,
            max_requests_per_address: limits.max_requests_per_address,
            shutdown_grace: Span::seconds(30),
        }
    }
}

impl Config {
    /// The settings as a file that sets all of them.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).expect("the settings are tables of plain values, tables last")
    }
}
