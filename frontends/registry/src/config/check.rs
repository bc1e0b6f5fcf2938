//! What no single value shows by its form: bounds, and values that don't go together.

use std::time::Duration;

use strongroom_identity::workload::Issuer;

use super::{Cognito, Config, Encryption, WorkloadIssuer, keys};
use crate::failure::Failure;

/// The least and the most memory of a hash, in KiB: what costs less is soon guessed, and what costs
/// more can't be checked again ([`strongroom_identity::password`]).
const HASH_MEMORY: (u64, u64) = (8 << 10, 256 << 10);
/// The most passes of a hash: at the least memory it takes half a second.
const HASH_PASSES: u32 = 64;
/// The least and the most time between two looks for an issuer's keys.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// The most that an issuer's clock may be off.
const MAX_SKEW: Duration = Duration::from_mins(5);
/// A manifest is held in memory whole while it is pushed.
const MAX_MANIFEST: u64 = 64 << 20;

/// What no single value shows.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    if config.tls.certificate.is_some() != config.tls.key.is_some() {
        return Err(Failure::usage("TLS needs both tls.certificate and tls.key".to_owned()));
    }
    if config.s3.kms_key.is_some() && config.s3.encryption != Encryption::SseKms {
        return Err(Failure::usage("s3.kms_key needs s3.encryption = \"sse-kms\""));
    }
    if config.postgres.url.as_deref().is_some_and(has_password) {
        return Err(Failure::usage(format!(
            "postgres.url has a password in it, where everybody who sees the settings sees it: give it \
             by postgres.password_file or {}",
            keys::POSTGRES_PASSWORD
        )));
    }
    at_least_one(config)?;
    signups(config)?;
    hashing(config)?;
    issuers(config)?;
    if config.metrics.listen.is_some_and(|metrics| metrics == config.listen && metrics.port() != 0)
    {
        return Err(Failure::usage(format!(
            "metrics.listen is the address that listen has, {}: give it a port of its own",
            config.listen
        )));
    }
    let manifest = config.uploads.max_manifest;
    if !(1..=MAX_MANIFEST).contains(&manifest.bytes()) {
        return Err(Failure::usage(format!(
            "uploads.max_manifest must be 1B to {}MiB, not {manifest}",
            MAX_MANIFEST >> 20
        )));
    }
    let (expires, delay) = (config.redirects.expires, config.collection.delete_delay);
    if config.redirects.enabled && config.s3.bucket.is_some() && expires >= delay {
        return Err(Failure::usage(format!(
            "redirects.expires ({expires}) must be less than collection.delete_delay ({delay}), so that \
             no address outlives its object"
        )));
    }
    Ok(())
}

/// Whether an address of a database carries a password, before the host or among the parameters.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':'))
        || parameters.split('&').any(|pair| pair.starts_with("password="))
        // The other form: `host=… user=… password=…`.
        || url.split_whitespace().any(|pair| pair.starts_with("password"))
}

/// With nothing of these, nobody would be served at all.
fn at_least_one(config: &Config) -> Result<(), Failure> {
    let (limits, guesses) = (&config.limits, &config.guesses);
    let numbers = [
        ("limits.max_headers", limits.max_headers),
        ("limits.max_connections", limits.max_connections),
        ("limits.max_connections_per_address", limits.max_connections_per_address),
        ("limits.max_requests", limits.max_requests),
        ("limits.max_requests_per_address", limits.max_requests_per_address),
        ("limits.max_requests_per_principal", limits.max_requests_per_principal),
        ("limits.max_streams", limits.max_streams as usize),
        ("limits.max_pending_resets", limits.max_pending_resets),
        ("guesses.person_and_address", guesses.person_and_address as usize),
        ("guesses.address", guesses.address as usize),
        ("guesses.person", guesses.person as usize),
        ("identity.hashes_at_once", config.identity.hashes_at_once),
    ];
    if let Some((key, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
        return Err(Failure::usage(format!("{key} must be at least 1")));
    }
    let times = [
        ("limits.first_byte_timeout", limits.first_byte_timeout),
        ("limits.header_timeout", limits.header_timeout),
        ("limits.idle_timeout", limits.idle_timeout),
        ("limits.stall_timeout", limits.stall_timeout),
        ("limits.body_idle_timeout", limits.body_idle_timeout),
        ("guesses.person_and_address_pause", guesses.person_and_address_pause),
        ("guesses.address_pause", guesses.address_pause),
        ("guesses.person_pause", guesses.person_pause),
    ];
    let short = Duration::from_millis(100);
    if let Some((key, time)) = times.into_iter().find(|(_, time)| time.duration() < short) {
        return Err(Failure::usage(format!("{key} must be at least 100ms, not {time}")));
    }
    // hyper's own floor.
    let header = limits.max_header_size;
    if !(8 << 10..=1 << 20).contains(&header.bytes()) {
        return Err(Failure::usage(format!(
            "limits.max_header_size must be 8KiB to 1MiB, not {header}"
        )));
    }
    Ok(())
}

fn signups(config: &Config) -> Result<(), Failure> {
    let signups = &config.signups;
    if let Some(settings) = signups.settings() {
        settings.check().map_err(|error| Failure::usage(format!("signups.{error}")))?;
        // A walk through another pool would find that everybody is gone.
        let issuer = config.cognito.issuer.as_deref().zip(settings.user_pool_id.as_deref());
        return match issuer {
            Some((issuer, pool))
                if !issuer.trim_end_matches('/').ends_with(&format!("/{pool}")) =>
            {
                Err(Failure::usage(format!(
                    "signups.user_pool_id is {pool}, but cognito.issuer {issuer} is another pool's"
                )))
            }
            _ => Ok(()),
        };
    }
    let alone = [
        ("dead_letter_queue_url", &signups.dead_letter_queue_url),
        ("user_pool_id", &signups.user_pool_id),
    ];
    match alone.into_iter().find(|(_, value)| value.is_some()) {
        Some((key, _)) => Err(Failure::usage(format!("signups.{key} needs signups.queue_url"))),
        None => Ok(()),
    }
}

/// Who else vouches for people and for runs of CI.
fn issuers(config: &Config) -> Result<(), Failure> {
    let cognito = &config.cognito;
    match cognito.settings() {
        Some(settings) => {
            settings.check().map_err(|error| Failure::usage(format!("cognito: {error}")))?;
        }
        None if *cognito != Cognito::default() => {
            return Err(Failure::usage(
                "cognito has settings and no cognito.issuer: write the pool's address as its tokens have \
                 it, https://cognito-idp.REGION.amazonaws.com/POOL",
            ));
        }
        None => {}
    }
    let all: Vec<_> = config.workload_issuers.iter().map(WorkloadIssuer::issuer).collect();
    Issuer::check(&all).map_err(|error| Failure::usage(format!("workload_issuers: {error}")))?;
    let keys = &config.issuer_keys;
    let (least, most) = LOOKS;
    if !(least..=most).contains(&keys.look_each.duration()) {
        return Err(Failure::usage(format!(
            "issuer_keys.look_each must be 1s to 10m, not {}: tokens with made-up keys would cost \
             their issuer a request each, or a new key be unknown for long",
            keys.look_each
        )));
    }
    if keys.refresh_after > keys.max_age {
        return Err(Failure::usage(format!(
            "issuer_keys.refresh_after ({}) must be at most issuer_keys.max_age ({}), or good keys are \
             forgotten before they are looked for anew",
            keys.refresh_after, keys.max_age
        )));
    }
    if keys.clock_skew.duration() > MAX_SKEW {
        return Err(Failure::usage(format!(
            "issuer_keys.clock_skew must be at most 5m, not {}: so much longer a token is good",
            keys.clock_skew
        )));
    }
    Ok(())
}

fn hashing(config: &Config) -> Result<(), Failure> {
    let (memory, passes) = (config.identity.hash_memory, config.identity.hash_passes);
    let (least, most) = HASH_MEMORY;
    if !(least..=most).contains(&(memory.bytes() >> 10)) {
        return Err(Failure::usage(format!(
            "identity.hash_memory must be {}MiB to {}MiB, not {memory}: less is soon guessed",
            least >> 10,
            most >> 10
        )));
    }
    if !(1..=HASH_PASSES).contains(&passes) {
        return Err(Failure::usage(format!(
            "identity.hash_passes must be 1 to {HASH_PASSES}, not {passes}"
        )));
    }
    Ok(())
}
