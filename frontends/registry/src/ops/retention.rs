//! Verbs on what expires in a registry.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::retention::RetentionRule;

use super::Outcome;
use super::args::{RegistryPath, Rule};
use super::table::table;
use super::tenants::{PAGE, registry_json};
use crate::app::{App, console};
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RetentionVerb {
    /// Set all rules of a registry; without any, nothing expires
    ///
    /// A rule selects tags and says which of those it keeps: `tags=build-*,keep-last=10`,
    /// `keep-pushed-days=30,keep-pulled-days=30`, `tags=v*,keep-all`; or how long manifests without a
    /// tag stay: `untagged-days=7`. What at least one rule selects and none keeps expires.
    Set {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// One rule; may be given again
        #[arg(long = "rule", value_name = "RULE")]
        rules: Vec<Rule>,
    },
    /// Show the rules of a registry
    Show {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
    },
    /// List what the rules would let go now, and why; changes nothing
    Plan {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// By this rule instead of those that are set; may be given again
        #[arg(long = "rule", value_name = "RULE")]
        rules: Vec<Rule>,
    },
    /// Let go what the rules do, now; the collection does so by itself
    Apply {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
    },
}

/// The most things a plan lists.
const MAX_PLANNED: usize = 10_000;

pub(super) async fn retention(app: &App, verb: RetentionVerb) -> Result<Outcome, Failure> {
    match verb {
        RetentionVerb::Set { path, rules } => set(app, &path, rules).await,
        RetentionVerb::Show { path } => {
            let RegistryPath { organisation, registry } = &path;
            let rules = app.engine.registry(&console(), organisation, registry).await?;
            let rules = rules.settings.retention;
            let text = rules.iter().fold(String::new(), |text, rule| text + &shown(rule) + "\n");
            let text = if text.is_empty() { "nothing expires\n".to_owned() } else { text };
            Ok(Outcome::new(text, json!(rules)))
        }
        RetentionVerb::Plan { path, rules } => plan(app, &path, rules).await,
        RetentionVerb::Apply { path } => {
            let RegistryPath { organisation, registry } = &path;
            // What was pulled until now is among what the rules go by.
            app.engine.flush().await?;
            let by = console();
            let done = app.engine.apply_retention(&by, organisation, registry, None, None).await?;
            let text = format!(
                "{} tags and {} manifests of {path} expired; {} changed meanwhile and stay\n",
                done.tags, done.manifests, done.changed
            );
            let json = json!({
                "looked_at": done.looked_at,
                "tags": done.tags,
                "manifests": done.manifests,
                "changed": done.changed,
            });
            Ok(Outcome::new(text, json))
        }
    }
}

async fn set(app: &App, path: &RegistryPath, rules: Vec<Rule>) -> Result<Outcome, Failure> {
    let RegistryPath { organisation, registry } = path;
    let (by, engine) = (console(), &app.engine);
    let seen = engine.registry(&by, organisation, registry).await?;
    let mut settings = seen.settings;
    settings.retention = rules.into_iter().map(|Rule(rule)| rule).collect();
    let version = Some(seen.version.as_str());
    let set = engine.set_registry(&by, organisation, registry, &settings, version).await?;
    let text = format!("{path} has {} retention rules\n", settings.retention.len());
    Ok(Outcome::new(text, registry_json(&set)))
}

async fn plan(app: &App, path: &RegistryPath, rules: Vec<Rule>) -> Result<Outcome, Failure> {
    let RegistryPath { organisation, registry } = path;
    app.engine.flush().await?;
    let rules: Vec<RetentionRule> = rules.into_iter().map(|Rule(rule)| rule).collect();
    let rules = Some(rules.as_slice()).filter(|rules| !rules.is_empty());
    let (mut all, mut rows, mut after): (Vec<Value>, Vec<_>, _) = (Vec::new(), Vec::new(), None);
    loop {
        let (by, after_this) = (console(), after.as_deref());
        let page =
            app.engine.plan_retention(&by, organisation, registry, rules, after_this, PAGE).await?;
        for expiring in page.items {
            let tag = expiring.tag.as_ref().map(ToString::to_string);
            rows.push(vec![
                expiring.repository.to_string(),
                tag.clone().unwrap_or_else(|| "-".to_owned()),
                expiring.digest.to_string(),
                if expiring.manifest_too { "tag and manifest" } else { "tag" }.to_owned(),
                expiring.why.clone(),
            ]);
            all.push(json!({
                "repository": expiring.repository,
                "tag": tag,
                "digest": expiring.digest,
                "manifest_too": expiring.manifest_too,
                "why": expiring.why,
            }));
        }
        after = page.next;
        if after.is_none() || all.len() >= MAX_PLANNED {
            break;
        }
    }
    let complete = after.is_none();
    let mut text = table(&["REPOSITORY", "TAG", "DIGEST", "WHAT GOES", "WHY"], &rows);
    if !complete {
        text.push_str("and more\n");
    }
    Ok(Outcome::new(text, json!({ "complete": complete, "expiring": all })))
}

/// A rule as it is typed.
fn shown(rule: &RetentionRule) -> String {
    let mut words = Vec::new();
    let repositories = match rule {
        RetentionRule::Tags(rule) => &rule.repositories,
        RetentionRule::Untagged(rule) => &rule.repositories,
    };
    words.extend(repositories.iter().map(|pattern| format!("repositories={pattern}")));
    match rule {
        RetentionRule::Tags(rule) => {
            words.extend(rule.tags.iter().map(|pattern| format!("tags={pattern}")));
            words.extend(rule.keep_all.then(|| "keep-all".to_owned()));
            words.extend(rule.keep_last.map(|last| format!("keep-last={last}")));
            words.extend(rule.keep_pushed_days.map(|days| format!("keep-pushed-days={days}")));
            words.extend(rule.keep_pulled_days.map(|days| format!("keep-pulled-days={days}")));
        }
        RetentionRule::Untagged(rule) => words.push(format!("untagged-days={}", rule.keep_days)),
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_as_it_is_typed() {
        for text in [
            "tags=build-*,keep-last=10",
            "repositories=team/*,keep-pushed-days=30,keep-pulled-days=7",
            "tags=v*,keep-all",
            "untagged-days=7",
            "repositories=team/*,untagged-days=7",
        ] {
            assert_eq!(shown(&text.parse::<Rule>().unwrap().0), text);
        }
        for text in ["", "keep", "keep-last=x", "tags=[", "untagged-days=7,keep-last=1"] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
