//! Webhooks, as JSON.

use serde::{Deserialize, Serialize};
use strongroom_outbound::Target;
use strongroom_webhooks::{self as webhooks, Standing};
use utoipa::ToSchema;

use super::Time;

/// How a webhook fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WebhookState {
    /// It delivers, or has nothing to deliver.
    Active,
    /// Its receiver has not taken an event for long; it is offered again.
    Failing,
    /// It delivers nothing. What happens meanwhile is delivered once it is switched on.
    Disabled,
}

/// An address that is told what happens in a registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Webhook {
    /// What never changes about it.
    pub(crate) id: String,
    /// Where its events go.
    pub(crate) url: String,
    /// Which events.
    pub(crate) events: Vec<String>,
    pub(crate) state: WebhookState,
    /// Since when its receiver takes nothing, where that is so.
    pub(crate) failing_since: Option<Time>,
    /// How often an event was offered in vain since then.
    pub(crate) failures: u32,
    /// When it is offered next, where it is failing.
    pub(crate) next_at: Option<Time>,
    /// Why it is disabled, where nobody switched it off.
    pub(crate) because: Option<String>,
    pub(crate) created_at: Time,
    /// By whom.
    pub(crate) created_by: String,
    /// When its receiver last took an event.
    pub(crate) delivered_at: Option<Time>,
}

impl From<webhooks::Hook> for Webhook {
    fn from(of: webhooks::Hook) -> Self {
        let mut shown = Self {
            id: of.id.to_string(),
            url: of.url.to_string(),
            events: of.events,
            state: WebhookState::Active,
            failing_since: None,
            failures: 0,
            next_at: None,
            because: None,
            created_at: Time(of.created_at),
            created_by: of.created_by,
            delivered_at: of.delivered_at.map(Time),
        };
        match of.standing {
            Standing::Active => {}
            Standing::Failing { since, failures, next_at } => {
                shown.state = WebhookState::Failing;
                shown.failing_since = Some(Time(since));
                shown.failures = failures;
                shown.next_at = Some(Time(next_at));
            }
            Standing::Disabled { because } => {
                shown.state = WebhookState::Disabled;
                shown.because = because;
            }
        }
        shown
    }
}

/// A webhook to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Where its events go: `https://HOST/PATH`.
    #[schema(value_type = String, min_length = 1, max_length = 2048)]
    pub(crate) url: Target,
    /// Only these events; what changes manifests, tags and repositories where empty or absent.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub(crate) events: Vec<String>,
}

/// A webhook that was made, with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeWebhook {
    /// What proves to its receiver that an event is ours; shown this once.
    pub(crate) secret: String,
    pub(crate) info: Webhook,
}

/// What is to change of a webhook; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookChange {
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2048)]
    pub(crate) url: Option<Target>,
    #[serde(default)]
    #[schema(max_items = 32)]
    pub(crate) events: Option<Vec<String>>,
    /// Whether it is on.
    #[serde(default)]
    pub(crate) enabled: Option<bool>,
}

/// Another secret of a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookSecret {
    /// Shown this once.
    pub(crate) secret: String,
}

/// One attempt to deliver one event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    /// The event's id, as its receiver sees it.
    pub(crate) event: String,
    /// What happened, as the trail names it.
    pub(crate) kind: String,
    pub(crate) at: Time,
    pub(crate) took_ms: u64,
    /// Whether the receiver has it.
    pub(crate) taken: bool,
    /// What came of it, in words.
    pub(crate) receiver: String,
}

impl From<webhooks::Delivery> for Delivery {
    fn from(of: webhooks::Delivery) -> Self {
        Self {
            event: of.event,
            kind: of.kind,
            at: Time(of.at),
            took_ms: of.took_ms,
            taken: of.answer.is_taken(),
            receiver: of.answer.to_string(),
        }
    }
}
