//! Verbs on what goes with a registry, as requests to the API: webhooks, and rules for runs of CI.

use http::Method;
use serde_json::{Map, Value, json};

use super::client::segment;
use super::login::Session;
use super::verbs::{MOST, done, listed, registry_at, text};
use crate::failure::Failure;
use crate::ops::args::RegistryPath;
use crate::ops::{AskedRule, Outcome, WebhookVerb, WorkloadVerb};

/// Where the webhooks of a registry are.
fn hooks(path: &RegistryPath) -> String {
    format!("{}/webhooks", registry_at(path))
}

pub(super) async fn webhook(session: &Session, verb: WebhookVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let at = |path: &RegistryPath, id: &dyn std::fmt::Display| {
        format!("{}/{}", hooks(path), segment(id))
    };
    match verb {
        WebhookVerb::Create { path, url, events } => {
            let new = json!({ "url": url, "events": events });
            let made = client.send(Method::POST, &hooks(&path), Some(&new)).await?;
            let mut json = made.get("info").cloned().unwrap_or_default();
            let shown = format!(
                "webhook {}\nsecret  {}    (shown this once)\n",
                text(&json, "id"),
                text(&made, "secret")
            );
            // As on local data.
            if let (Some(fields), Some(secret)) = (json.as_object_mut(), made.get("secret")) {
                fields.insert("secret".to_owned(), secret.clone());
            }
            Ok(done(shown, json))
        }
        WebhookVerb::List { path } => {
            let columns = [
                ("ID", "id"),
                ("URL", "url"),
                ("STATE", "state"),
                ("DELIVERED", "delivered_at"),
                ("EVENTS", "events"),
            ];
            Ok(listed(client.all(&hooks(&path), MOST).await?, &columns))
        }
        WebhookVerb::Update { path, id, url, events, enabled } => {
            let mut change = Map::new();
            if let Some(url) = url {
                change.insert("url".to_owned(), json!(url));
            }
            if !events.is_empty() {
                change.insert("events".to_owned(), events.into());
            }
            if let Some(enabled) = enabled {
                change.insert("enabled".to_owned(), enabled.into());
            }
            let body = Value::from(change);
            let set = client.send(Method::PATCH, &at(&path, &id), Some(&body)).await?;
            Ok(done(format!("webhook {id}: {}\n", text(&set, "state")), set))
        }
        WebhookVerb::RotateSecret { path, id } => {
            let path = format!("{}/secret", at(&path, &id));
            let made = client.send(Method::PUT, &path, None).await?;
            let shown = format!("secret  {}    (shown this once)\n", text(&made, "secret"));
            Ok(done(shown, json!({ "id": id, "secret": made.get("secret") })))
        }
        WebhookVerb::Delete { path, id } => {
            client.send(Method::DELETE, &at(&path, &id), None).await?;
            Ok(done(format!("webhook {id} is deleted\n"), json!({ "deleted": id })))
        }
        WebhookVerb::Test { path, id } => {
            let path = format!("{}/test", at(&path, &id));
            let tried = client.send(Method::POST, &path, None).await?;
            let (receiver, took) = (text(&tried, "receiver"), text(&tried, "took_ms"));
            let findings = tried.get("taken") != Some(&Value::Bool(true));
            let shown = format!("its receiver {receiver} in {took} ms\n");
            Ok(Outcome { findings, ..done(shown, tried) })
        }
        WebhookVerb::Deliveries { path, id } => {
            let path = format!("{}/deliveries", at(&path, &id));
            let page = client.get(&path).await?;
            let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let columns = [
                ("AT", "at"),
                ("EVENT", "kind"),
                ("ID", "event"),
                ("RECEIVER", "receiver"),
                ("TOOK MS", "took_ms"),
            ];
            Ok(listed(items, &columns))
        }
    }
}

/// Where the rules of a registry are.
fn rules(path: &RegistryPath) -> String {
    format!("{}/workload-rules", registry_at(path))
}

pub(super) async fn workload(session: &Session, verb: WorkloadVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    match verb {
        WorkloadVerb::Issuers => {
            let items = client.all("/workload-issuers", MOST).await?;
            let columns = [("NAME", "name"), ("ISSUER", "issuer"), ("AUDIENCE", "audience")];
            Ok(listed(items, &columns))
        }
        WorkloadVerb::Add { path, rule } => {
            let made = client.send(Method::POST, &rules(&path), Some(&asked(&rule)?)).await?;
            Ok(done(format!("rule {} is made\n", text(&made, "id")), made))
        }
        WorkloadVerb::List { path } => {
            let columns = [
                ("ID", "id"),
                ("ISSUER", "issuer"),
                ("AUDIENCE", "audience"),
                ("CLAIMS", "claims"),
                ("WHERE", "repository"),
                ("CAN", "actions"),
            ];
            Ok(listed(client.all(&rules(&path), MOST).await?, &columns))
        }
        WorkloadVerb::Remove { path, id } => {
            let one = format!("{}/{}", rules(&path), segment(&id));
            client.send(Method::DELETE, &one, None).await?;
            Ok(done(format!("rule {id} is removed\n"), json!({ "removed": id })))
        }
    }
}

fn asked(rule: &AskedRule) -> Result<Value, Failure> {
    let (actions, claims) = (rule.actions(), rule.claims()?);
    Ok(json!({
        "issuer": rule.issuer,
        "audience": rule.audience,
        "claims": claims,
        "repository": rule.repository,
        "actions": actions,
        "lifetime_seconds": rule.lifetime.duration().as_secs(),
    }))
}
