//! What the operator may set.

use std::time::Duration;

use strongroom_identity::profiles::First;
use strongroom_identity::web::{self, AddressError};

/// The longest that SQS lets a request wait for messages.
const MAX_POLL: Duration = Duration::from_secs(20);
/// The most messages that are worked on at once.
const MAX_CONCURRENCY: usize = 256;
/// The shortest time between two walks through the pool.
const MIN_RECONCILE: Duration = Duration::from_secs(1);

/// Where sign-ups are heard of, and how they are worked on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The address of the queue of sign-ups.
    pub queue_url: String,
    /// The address of the queue of dead letters; without one, what can't be done stays for the queue's own
    /// redrive policy.
    pub dead_letter_queue_url: Option<String>,
    /// The user pool that is walked through; none is where absent.
    pub user_pool_id: Option<String>,
    /// The region of both; as AWS's tools find it where absent.
    pub region: Option<String>,
    /// The address of what stands in for AWS.
    pub endpoint: Option<String>,
    /// How many messages are worked on at once.
    pub concurrency: usize,
    /// How long a request waits for messages where there are none.
    pub poll: Duration,
    /// How long between two walks through the pool; zero for none.
    pub reconcile_interval: Duration,
    /// How long others don't see a message that is held; renewed while it is.
    pub visibility: Duration,
    /// How often a message that fails by itself is received before it is a dead letter.
    pub max_receives: u32,
    /// How the organisations are made that people begin with.
    pub first: First,
}

/// A setting is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// An address is none that may be asked.
    #[error("{key}: {error}")]
    Address {
        /// Which setting.
        key: &'static str,
        /// What is wrong with it.
        error: AddressError,
    },
    /// The dead letters would come back.
    #[error("dead_letter_queue_url is queue_url: dead letters need a queue of their own")]
    SameQueue,
    /// What is given is no pool's id.
    #[error("user_pool_id is REGION_ID, as in eu-central-1_Ab12Cd34E, not {0:?}")]
    Pool(String),
    /// A number or a time is out of its bounds.
    #[error("{key} must be {bounds}")]
    Bounds {
        /// Which setting.
        key: &'static str,
        /// What it may be.
        bounds: String,
    },
}

impl Settings {
    /// A queue, and the defaults for all else.
    pub fn new(queue_url: impl Into<String>) -> Self {
        Self {
            queue_url: queue_url.into(),
            dead_letter_queue_url: None,
            user_pool_id: None,
            region: None,
            endpoint: None,
            concurrency: 8,
            poll: MAX_POLL,
            reconcile_interval: Duration::from_hours(1),
            visibility: Duration::from_mins(1),
            max_receives: 5,
            first: First::default(),
        }
    }

    /// Fails where a setting is no good, and names it.
    pub fn check(&self) -> Result<(), SettingsError> {
        let addresses = [
            ("queue_url", Some(&self.queue_url)),
            ("dead_letter_queue_url", self.dead_letter_queue_url.as_ref()),
            ("endpoint", self.endpoint.as_ref()),
        ];
        for (key, address) in addresses {
            let Some(address) = address else { continue };
            web::address(address).map_err(|error| SettingsError::Address { key, error })?;
        }
        if self.dead_letter_queue_url.as_ref() == Some(&self.queue_url) {
            return Err(SettingsError::SameQueue);
        }
        if let Some(pool) = &self.user_pool_id {
            let whole = pool.split_once('_').is_some_and(|(region, id)| {
                region.contains('-')
                    && !id.is_empty()
                    && id.bytes().all(|b| b.is_ascii_alphanumeric())
            });
            if !whole || pool.len() > 55 {
                return Err(SettingsError::Pool(pool.chars().take(55).collect()));
            }
        }
        let bounds = |key, bounds: String| Err(SettingsError::Bounds { key, bounds });
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return bounds("concurrency", format!("1 to {MAX_CONCURRENCY}"));
        }
        if !(Duration::from_secs(1)..=MAX_POLL).contains(&self.poll) {
            return bounds("poll", format!("1s to {}s", MAX_POLL.as_secs()));
        }
        if !self.reconcile_interval.is_zero() && self.reconcile_interval < MIN_RECONCILE {
            return bounds("reconcile_interval", "at least 1s, or 0s for never".to_owned());
        }
        if self.visibility < Duration::from_secs(10) {
            return bounds("visibility", "at least 10s".to_owned());
        }
        if self.max_receives == 0 {
            return bounds("max_receives", "at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Settings);

    #[test]
    fn a_setting_that_can_not_be_is_named() {
        let good = || Settings {
            dead_letter_queue_url: Some("http://127.0.0.1:1/1/dead".to_owned()),
            user_pool_id: Some("eu-central-1_Ab12Cd34E".to_owned()),
            endpoint: Some("http://localhost:1".to_owned()),
            ..Settings::new("https://sqs.example/1/sign-ups")
        };
        assert_eq!(good().check(), Ok(()));
        let refused = |change: Change| {
            let mut settings = good();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        let cases: [(Change, &str); 10] = [
            (|s| s.queue_url = "sign-ups".to_owned(), "queue_url: \"sign-ups\" is no address"),
            (|s| s.queue_url = "http://sqs.example/1/x".to_owned(), "queue_url"),
            (|s| s.endpoint = Some(String::new()), "endpoint"),
            (|s| s.dead_letter_queue_url = Some(s.queue_url.clone()), "a queue of their own"),
            (|s| s.user_pool_id = Some("pool".to_owned()), "REGION_ID"),
            (|s| s.user_pool_id = Some("eu-central-1_".to_owned()), "REGION_ID"),
            (|s| s.concurrency = 0, "concurrency must be 1 to 256"),
            (|s| s.poll = Duration::from_secs(21), "poll must be 1s to 20s"),
            (|s| s.reconcile_interval = Duration::from_millis(1), "reconcile_interval"),
            (|s| s.max_receives = 0, "max_receives"),
        ];
        for (change, says) in cases {
            let error = refused(change);
            assert!(error.contains(says), "{error}");
        }
    }
}
