//! Where the database is, and how long it may take.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use crate::OpenError;
use crate::tls::{Tls, Trust};

/// Where the database is, and what it may take. The defaults are for a database nearby.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// `postgres://user:password@host[:port][,host…]/database?…`, with the parameters of libpq:
    /// `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert` (a PEM
    /// file, or the system's roots), `options` (as `-c search_path=…` for a schema of its own) …
    pub url: String,
    /// The most connections that commit, scan or look after things.
    pub connections: usize,
    /// The most connections that read by key: each carries what was asked while it was out.
    pub readers: usize,
    /// How long making a connection may take, and how long a call waits for a free one.
    pub connect_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// How long a commit may wait for others that hold its rows; then it is tried again.
    pub lock_timeout: Duration,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 16,
            readers: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
        }
    }

    /// What the driver is told, and how far the server's certificate is looked at.
    pub(crate) fn parse(&self) -> Result<(Config, Tls), OpenError> {
        let invalid = |reason: String| OpenError::Url { reason };
        let (address, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err(invalid("it does not begin with postgres://".to_owned()));
        }
        let (mut mode, mut roots) = ("prefer".to_owned(), None);
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let value = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            match pair.split_once('=') {
                Some(("sslmode", given)) => mode = value(given),
                Some(("sslrootcert", given)) => roots = Some(value(given)),
                _ => rest.push(pair),
            }
        }
        // The text of the driver's error does not repeat the URL, which may hold a password.
        let mut config: Config = format!("{address}?{}", rest.join("&"))
            .parse()
            .map_err(|error| invalid(crate::error::text(&error)))?;
        let roots = roots.filter(|path| path != "system").map(PathBuf::from);
        let (ssl_mode, trust) = match mode.as_str() {
            "disable" => (SslMode::Disable, Trust::Any),
            "prefer" => (SslMode::Prefer, Trust::Any),
            // As libpq: where roots are given, they count.
            "require" if roots.is_none() => (SslMode::Require, Trust::Any),
            "require" | "verify-ca" => (SslMode::Require, Trust::Chain),
            "verify-full" => (SslMode::Require, Trust::Name),
            other => return Err(invalid(format!("sslmode {other:?} is not known"))),
        };
        config
            .ssl_mode(ssl_mode)
            .connect_timeout(self.connect_timeout)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        if config.get_application_name().is_none() {
            config.application_name("strongroom");
        }
        // Of several hosts the one that takes writes: after a failover, the new primary.
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok((config, Tls::new(trust, roots.as_deref())?))
    }
}
