//! Verbs on the webhooks of a registry.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_outbound::Target;
use strongroom_webhooks::{Change, Delivery, Hook, HookId, NewHook, Standing};

use super::Outcome;
use super::args::RegistryPath;
use super::table::{table, time};
use crate::app::{App, console};
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum WebhookVerb {
    /// Create a webhook, which gets what happens from now on; shows its secret, this once
    Create {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// Where its events go: `https://HOST/PATH`
        url: Target,
        /// Only these events, as `manifest_pushed` or `pulled`; may be given again [default: what changes
        /// manifests, tags and repositories]
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
    },
    /// List the webhooks of a registry
    List {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
    },
    /// Change a webhook; what is not named stays
    ///
    /// One that is switched on goes on where it stood.
    Update {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        id: HookId,
        /// Where its events go
        #[arg(long)]
        url: Option<Target>,
        /// Only these events; may be given again
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
        /// Whether it is on
        #[arg(long)]
        enabled: Option<bool>,
    },
    /// Give a webhook another secret, shown this once; for a day both sign
    RotateSecret {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        id: HookId,
    },
    /// Delete a webhook; what it did not deliver yet is not delivered
    Delete {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        id: HookId,
    },
    /// Send an event that only tells that it arrives; exits 1 where the receiver does not take it
    Test {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        id: HookId,
    },
    /// List the last deliveries of a webhook, the newest first
    Deliveries {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        id: HookId,
    },
}

pub(super) async fn webhook(app: &App, verb: WebhookVerb) -> Result<Outcome, Failure> {
    let (by, hooks) = (console(), &app.webhooks);
    match verb {
        WebhookVerb::Create { path: RegistryPath { organisation, registry }, url, events } => {
            let new = NewHook { url, events };
            let (hook, secret) = hooks.create(&by, &organisation, &registry, new).await?;
            let text =
                format!("webhook {}\nsecret  {}    (shown this once)\n", hook.id, secret.expose());
            let mut json = hook_json(&hook);
            if let Some(fields) = json.as_object_mut() {
                fields.insert("secret".to_owned(), secret.expose().into());
            }
            Ok(Outcome::new(text, json))
        }
        WebhookVerb::List { path: RegistryPath { organisation, registry } } => {
            let all = hooks.list(&by, &organisation, &registry).await?;
            let rows: Vec<_> = all.iter().map(row).collect();
            let text = table(&["ID", "URL", "STATE", "DELIVERED", "EVENTS"], &rows);
            Ok(Outcome::new(text, all.iter().map(hook_json).collect::<Vec<_>>().into()))
        }
        WebhookVerb::Update { path, id, url, events, enabled } => {
            let RegistryPath { organisation, registry } = path;
            let events = (!events.is_empty()).then_some(events);
            let change = Change { url, events, enabled };
            let hook = hooks.update(&by, &organisation, &registry, id, change).await?;
            Ok(Outcome::new(format!("webhook {id}: {}\n", standing(&hook)), hook_json(&hook)))
        }
        WebhookVerb::RotateSecret { path: RegistryPath { organisation, registry }, id } => {
            let secret = hooks.rotate_secret(&by, &organisation, &registry, id).await?;
            let text = format!("secret  {}    (shown this once)\n", secret.expose());
            Ok(Outcome::new(text, json!({ "id": id, "secret": secret.expose() })))
        }
        WebhookVerb::Delete { path: RegistryPath { organisation, registry }, id } => {
            hooks.delete(&by, &organisation, &registry, id).await?;
            Ok(Outcome::new(format!("webhook {id} is deleted\n"), json!({ "deleted": id })))
        }
        WebhookVerb::Test { path: RegistryPath { organisation, registry }, id } => {
            let trial = hooks.test(&by, &organisation, &registry, id).await?;
            let text = format!("its receiver {} in {} ms\n", trial.answer, trial.took_ms);
            let findings = !trial.answer.is_taken();
            Ok(Outcome { findings, ..Outcome::new(text, delivery_json(&trial)) })
        }
        WebhookVerb::Deliveries { path: RegistryPath { organisation, registry }, id } => {
            let all = hooks.deliveries(&by, &organisation, &registry, id).await?;
            let row = |delivery: &Delivery| {
                vec![
                    time(delivery.at),
                    delivery.kind.clone(),
                    delivery.event.clone(),
                    delivery.answer.to_string(),
                    format!("{} ms", delivery.took_ms),
                ]
            };
            let rows: Vec<_> = all.iter().map(row).collect();
            let text = table(&["AT", "EVENT", "ID", "RECEIVER", "TOOK"], &rows);
            Ok(Outcome::new(text, all.iter().map(delivery_json).collect::<Vec<_>>().into()))
        }
    }
}

fn row(hook: &Hook) -> Vec<String> {
    let delivered = hook.delivered_at.map_or_else(|| "-".to_owned(), time);
    let (id, url) = (hook.id.to_string(), hook.url.to_string());
    vec![id, url, standing(hook), delivered, hook.events.join(",")]
}

fn standing(hook: &Hook) -> String {
    match &hook.standing {
        Standing::Active => "active".to_owned(),
        Standing::Failing { since, failures, .. } => {
            format!("failing since {} ({failures} times)", time(*since))
        }
        Standing::Disabled { because: None } => "off".to_owned(),
        Standing::Disabled { because: Some(because) } => format!("off: {because}"),
    }
}

fn hook_json(hook: &Hook) -> Value {
    let mut json = json!({
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "created_at": time(hook.created_at),
        "created_by": hook.created_by,
        "delivered_at": hook.delivered_at.map(time),
        "state": "active",
    });
    if let Some(fields) = json.as_object_mut() {
        match &hook.standing {
            Standing::Active => {}
            Standing::Failing { since, failures, next_at } => {
                fields.insert("state".to_owned(), "failing".into());
                fields.insert("failing_since".to_owned(), time(*since).into());
                fields.insert("failures".to_owned(), (*failures).into());
                fields.insert("next_at".to_owned(), time(*next_at).into());
            }
            Standing::Disabled { because } => {
                fields.insert("state".to_owned(), "disabled".into());
                fields.insert("because".to_owned(), because.clone().into());
            }
        }
    }
    json
}

fn delivery_json(delivery: &Delivery) -> Value {
    let mut json = json!({
        "event": delivery.event,
        "kind": delivery.kind,
        "at": time(delivery.at),
        "took_ms": delivery.took_ms,
        "taken": delivery.answer.is_taken(),
    });
    if let (Some(fields), Ok(Value::Object(answer))) =
        (json.as_object_mut(), serde_json::to_value(delivery.answer))
    {
        fields.extend(answer);
    }
    json
}
