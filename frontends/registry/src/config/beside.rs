//! Settings of what goes on beside the requests: webhooks.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use strongroom_webhooks as webhooks;

use super::Span;

/// How events reach their receivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Webhooks {
    /// Networks that may be reached although they are not public.
    pub(crate) allowed_networks: Vec<IpNet>,
    /// Whether addresses may begin with `http://`.
    pub(crate) allow_http: bool,
    /// How long one delivery may take.
    pub(crate) timeout: Span,
    /// How many are under way at once.
    pub(crate) concurrency: usize,
    /// After how many failures on end a hook counts as failing.
    pub(crate) attempts: u32,
    /// The longest wait between two of them.
    pub(crate) max_back_off: Span,
    /// How long a hook may fail before it is switched off.
    pub(crate) disable_after: Span,
}

impl Default for Webhooks {
    fn default() -> Self {
        let settings = webhooks::Settings::default();
        Self {
            allowed_networks: settings.allowed_networks,
            allow_http: settings.allow_http,
            timeout: Span::seconds(10),
            concurrency: settings.concurrency,
            attempts: settings.attempts,
            max_back_off: Span::hours(1),
            disable_after: Span::hours(5 * 24),
        }
    }
}

impl Webhooks {
    /// As the crate takes them.
    pub(crate) fn settings(&self) -> webhooks::Settings {
        let mut settings = webhooks::Settings::default();
        settings.allowed_networks.clone_from(&self.allowed_networks);
        settings.allow_http = self.allow_http;
        settings.timeout = self.timeout.duration();
        settings.concurrency = self.concurrency;
        settings.attempts = self.attempts;
        settings.max_back_off = self.max_back_off.duration();
        settings.disable_after = self.disable_after.duration();
        settings
    }
}
