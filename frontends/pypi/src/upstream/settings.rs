//! What the operator may set.

use std::time::Duration;

use ipnet::IpNet;

/// How upstreams are reached; the defaults are a public service's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Networks that may be reached although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// Whether an upstream's address may be `http://`.
    pub allow_http: bool,
    /// How long something that is fetched may wait for its turn.
    pub turn_timeout: Duration,
    /// How long an answer may take to begin, from the name's look-up on.
    pub head_timeout: Duration,
    /// How long an answer may pause.
    pub idle_timeout: Duration,
    /// How long a page may take in all.
    pub page_timeout: Duration,
    /// How long a file may take in all.
    pub file_timeout: Duration,
    /// The largest page of a project, in bytes.
    pub page_max_bytes: u64,
    /// The memory that pages of upstreams, and again what is shown of them, may use, in bytes.
    pub cache_bytes: u64,
    /// How long an upstream that failed is left alone.
    pub retry_after: Duration,
    /// How many pages, and how many files, are fetched at once for one registry.
    pub at_once: usize,
    /// How many for all together: each has a connection, and a file a copy on the disk.
    pub at_once_in_all: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed_networks: Vec::new(),
            allow_http: false,
            turn_timeout: Duration::from_secs(20),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            page_timeout: Duration::from_mins(1),
            file_timeout: Duration::from_hours(1),
            page_max_bytes: 32 << 20,
            cache_bytes: 64 << 20,
            retry_after: Duration::from_secs(10),
            at_once: 16,
            at_once_in_all: 256,
        }
    }
}
