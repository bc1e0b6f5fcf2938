//! Settings of the worker that makes profiles of those who signed up.

use serde::{Deserialize, Serialize};
use strongroom_identity::profiles::First;
use strongroom_worker as worker;

use super::{Size, Span};

/// Where sign-ups are heard of, where a queue is named. Credentials come the ways that AWS's own tools
/// take them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Signups {
    /// The address of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_url: Option<String>,
    /// The address of the queue for what can't be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter_queue_url: Option<String>,
    /// The user pool that is walked through for those of whom no message tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_pool_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// The address of what stands in for AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// How many messages are worked on at once.
    pub(crate) concurrency: usize,
    /// How long a request waits for messages.
    pub(crate) poll: Span,
    /// How long between two walks through the pool; `0s` for none.
    pub(crate) reconcile_interval: Span,
    /// The most bytes that the organisation may store which each person of the pool begins with, whoever
    /// hears of them first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<Size>,
}

impl Default for Signups {
    fn default() -> Self {
        let settings = worker::Settings::new("");
        Self {
            queue_url: None,
            dead_letter_queue_url: None,
            user_pool_id: None,
            region: None,
            endpoint: None,
            concurrency: settings.concurrency,
            poll: settings.poll.into(),
            reconcile_interval: settings.reconcile_interval.into(),
            quota: None,
        }
    }
}

impl Signups {
    /// As the crate takes them; none where there is no queue.
    pub(crate) fn settings(&self) -> Option<worker::Settings> {
        let mut settings = worker::Settings::new(self.queue_url.clone()?);
        settings.dead_letter_queue_url.clone_from(&self.dead_letter_queue_url);
        settings.user_pool_id.clone_from(&self.user_pool_id);
        settings.region.clone_from(&self.region);
        settings.endpoint.clone_from(&self.endpoint);
        settings.concurrency = self.concurrency;
        settings.poll = self.poll.duration();
        settings.reconcile_interval = self.reconcile_interval.duration();
        settings.first = self.first();
        Some(settings)
    }

    /// How the organisations are made that people begin with.
    pub(crate) fn first(&self) -> First {
        First { quota_bytes: self.quota.map(Size::bytes) }
    }
}
