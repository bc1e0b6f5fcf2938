//! The keys that can be set, for the environment and for who mistyped one.

/// How the text of an environment variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    /// With commas between.
    List,
    /// Tables, which a file alone can hold.
    Tables,
}

/// Each key with its kind. A test holds it to the settings themselves.
pub(super) const KEYS: [(&str, Kind); 103] = [
    ("data", Kind::Text),
    ("listen", Kind::Text),
    ("trusted_proxies", Kind::List),
    ("workload_issuers", Kind::Tables),
    ("metrics.listen", Kind::Text),
    ("log.format", Kind::Text),
    ("log.filter", Kind::Text),
    ("tls.certificate", Kind::Text),
    ("tls.key", Kind::Text),
    ("identity.token_endpoint", Kind::Flag),
    ("identity.token_lifetime", Kind::Text),
    ("identity.refresh_lifetime", Kind::Text),
    ("identity.password_cache", Kind::Text),
    ("identity.master_key_file", Kind::Text),
    ("identity.hash_memory", Kind::Text),
    ("identity.hash_passes", Kind::Number),
    ("identity.hashes_at_once", Kind::Number),
    ("cognito.issuer", Kind::Text),
    ("cognito.client_ids", Kind::List),
    ("cognito.client_secret_file", Kind::Text),
    ("cognito.endpoint", Kind::Text),
    ("cognito.jwks_url", Kind::Text),
    ("cognito.operator_group", Kind::Text),
    ("issuer_keys.refresh_after", Kind::Text),
    ("issuer_keys.look_each", Kind::Text),
    ("issuer_keys.max_age", Kind::Text),
    ("issuer_keys.clock_skew", Kind::Text),
    ("organisations.per_person", Kind::Number),
    ("organisations.quota", Kind::Text),
    ("guesses.person_and_address", Kind::Number),
    ("guesses.person_and_address_pause", Kind::Text),
    ("guesses.address", Kind::Number),
    ("guesses.address_pause", Kind::Text),
    ("guesses.person", Kind::Number),
    ("guesses.person_pause", Kind::Text),
    ("storage.durability", Kind::Text),
    ("storage.reserve", Kind::Text),
    ("storage.metadata_cache", Kind::Text),
    ("storage.manifest_cache", Kind::Text),
    ("storage.verify_reads", Kind::Flag),
    ("s3.bucket", Kind::Text),
    ("s3.prefix", Kind::Text),
    ("s3.region", Kind::Text),
    ("s3.endpoint", Kind::Text),
    ("s3.path_style", Kind::Flag),
    ("s3.encryption", Kind::Text),
    ("s3.kms_key", Kind::Text),
    ("s3.storage_class", Kind::Text),
    ("s3.memory", Kind::Text),
    ("s3.spool", Kind::Text),
    ("s3.max_requests", Kind::Number),
    ("s3.deadline", Kind::Text),
    ("redirects.enabled", Kind::Flag),
    ("redirects.min_size", Kind::Text),
    ("redirects.expires", Kind::Text),
    ("redirects.except", Kind::List),
    ("postgres.url", Kind::Text),
    ("postgres.password_file", Kind::Text),
    ("postgres.connections", Kind::Number),
    ("postgres.statement_timeout", Kind::Text),
    ("uploads.lease", Kind::Text),
    ("uploads.idle", Kind::Text),
    ("uploads.max_blob", Kind::Text),
    ("uploads.max_manifest", Kind::Text),
    ("pypi.max_file", Kind::Text),
    ("pypi.page_cache", Kind::Text),
    ("pypi.upstream_allowed_networks", Kind::List),
    ("pypi.upstream_allow_http", Kind::Flag),
    ("uploads.min_chunk", Kind::Text),
    ("collection.interval", Kind::Text),
    ("collection.delete_delay", Kind::Text),
    ("limits.first_byte_timeout", Kind::Text),
    ("limits.header_timeout", Kind::Text),
    ("limits.idle_timeout", Kind::Text),
    ("limits.stall_timeout", Kind::Text),
    ("limits.body_idle_timeout", Kind::Text),
    ("limits.linger_timeout", Kind::Text),
    ("limits.max_header_size", Kind::Text),
    ("limits.max_headers", Kind::Number),
    ("limits.max_connections", Kind::Number),
    ("limits.max_connections_per_address", Kind::Number),
    ("limits.max_requests", Kind::Number),
    ("limits.max_requests_per_address", Kind::Number),
    ("limits.max_requests_per_principal", Kind::Number),
    ("limits.max_streams", Kind::Number),
    ("limits.max_pending_resets", Kind::Number),
    ("limits.shutdown_grace", Kind::Text),
    ("webhooks.allowed_networks", Kind::List),
    ("webhooks.allow_http", Kind::Flag),
    ("webhooks.timeout", Kind::Text),
    ("webhooks.concurrency", Kind::Number),
    ("webhooks.attempts", Kind::Number),
    ("webhooks.max_back_off", Kind::Text),
    ("webhooks.disable_after", Kind::Text),
    ("signups.queue_url", Kind::Text),
    ("signups.dead_letter_queue_url", Kind::Text),
    ("signups.user_pool_id", Kind::Text),
    ("signups.region", Kind::Text),
    ("signups.endpoint", Kind::Text),
    ("signups.concurrency", Kind::Number),
    ("signups.poll", Kind::Text),
    ("signups.reconcile_interval", Kind::Text),
    ("signups.quota", Kind::Text),
];

/// What begins our variables of the environment.
pub(super) const PREFIX: &str = "STRONGROOM_";

/// Variables that are ours and no settings.
pub(super) const OTHERS: [&str; 3] = [CONFIG, BOOTSTRAP_PASSWORD, POSTGRES_PASSWORD];
/// The file of the settings, as `--config` names it.
pub(crate) const CONFIG: &str = "STRONGROOM_CONFIG";
/// The first administrator's password.
pub(crate) const BOOTSTRAP_PASSWORD: &str = "STRONGROOM_BOOTSTRAP_PASSWORD";
/// The password of the database.
pub(crate) const POSTGRES_PASSWORD: &str = "STRONGROOM_POSTGRES_PASSWORD";

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Whether Kubernetes made the variable: it gives each pod some for each service, so a service
/// called `strongroom` must not keep its own pods from starting.
pub(super) fn is_kubernetes(variable: &str) -> bool {
    let rest = variable.strip_prefix(PREFIX).unwrap_or_default();
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

/// The one of `right` that is the most like `wrong`, if any is.
pub(super) fn nearest(wrong: &str, right: impl Iterator<Item = String>) -> Option<String> {
    let near = right.map(|right| (strsim::damerau_levenshtein(wrong, &right), right));
    let (distance, right) = near.min()?;
    let close = distance <= (wrong.len() / 3).max(2);
    close.then_some(right)
}
