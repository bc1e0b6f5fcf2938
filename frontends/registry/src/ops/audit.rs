//! Verbs on the audit trail.

use clap::Subcommand;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::audit::{TrailLine, TrailQuery, Verification};
use strongroom_engine::gc::Progress;
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::Timestamp;

use super::table::{table, time};
use super::tenants::every_organisation;
use super::{Outcome, Teller};
use crate::app::{App, console};
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AuditVerb {
    /// List the newest lines
    List {
        /// Of this organisation; of what belongs to none (sign-ins, accounts) where absent
        organisation: Option<OrganisationName>,
        /// Only what this principal did: user:NAME or robot:NAME
        #[arg(long)]
        principal: Option<String>,
        /// Only what happened in this repository: ORGANISATION/REGISTRY/REPOSITORY
        #[arg(long)]
        repository: Option<String>,
        /// Only this kind, as `manifest_pushed` or `signed_in`; may be given again
        #[arg(long)]
        kind: Vec<String>,
        /// Only from this moment on, as 2026-01-31T00:00:00Z
        #[arg(long, value_parser = moment, value_name = "TIME")]
        from: Option<Timestamp>,
        /// Only before this moment
        #[arg(long, value_parser = moment, value_name = "TIME")]
        until: Option<Timestamp>,
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Write all lines, the oldest first, as JSON, one a line
    Export {
        /// Of this organisation; of what belongs to none (sign-ins, accounts) where absent
        organisation: Option<OrganisationName>,
    },
    /// Check that every line is what was written, where it was written, and still there
    Verify {
        /// Of this organisation; of all, and of what belongs to none, where absent
        organisation: Option<OrganisationName>,
    },
    /// Cut old lines off for ever, as far as seals cover them; what is left verifies as before
    Trim {
        /// Of this organisation; of what belongs to none where absent
        organisation: Option<OrganisationName>,
        /// What was written before this moment, as 2026-01-31T00:00:00Z
        #[arg(long, value_parser = moment, value_name = "TIME")]
        before: Timestamp,
    },
}

/// A moment as RFC 3339 writes it.
fn moment(text: &str) -> Result<Timestamp, String> {
    let at: jiff::Timestamp = text.parse().map_err(|error| format!("{error}"))?;
    let millis = u64::try_from(at.as_millisecond()).map_err(|_| "it is before 1970".to_owned())?;
    Ok(Timestamp(millis))
}

/// The most lines that are listed; more are exported.
const MAX_LINES: usize = 10_000;

pub(super) async fn audit(app: &App, verb: AuditVerb, teller: &Teller) -> Result<Outcome, Failure> {
    // What was pulled until now shall be in it.
    app.engine.flush().await?;
    match verb {
        AuditVerb::List { organisation, principal, repository, kind, from, until, limit } => {
            let kinds = kind;
            let query =
                TrailQuery { principal, repository, kinds, from, until, oldest_first: false };
            list(app, organisation.as_ref(), &query, limit.min(MAX_LINES)).await
        }
        AuditVerb::Export { organisation } => {
            let query = TrailQuery { oldest_first: true, ..TrailQuery::default() };
            let (by, of) = (console(), organisation.as_ref());
            let mut lines = app.engine.export_trail(&by, of, query).await?;
            let mut count: u64 = 0;
            while let Some(line) = lines.next().await {
                teller.line(json!(line?).to_string()).await;
                count += 1;
            }
            Ok(Outcome::new(String::new(), json!({ "lines": count })))
        }
        AuditVerb::Verify { organisation } => verify(app, organisation).await,
        AuditVerb::Trim { organisation, before } => {
            let mut lines: u64 = 0;
            loop {
                let of = organisation.as_ref();
                let done = app.engine.trim_trail(&console(), of, before).await?;
                lines += done.lines;
                if done.complete {
                    break;
                }
                // Until when is a time: how many lines that is nobody counts.
                let (phase, bytes) = ("trail", 0);
                teller.progress(&Progress { phase, done: lines, bytes, extent: None });
            }
            Ok(Outcome::new(format!("{lines} lines were cut off\n"), json!({ "lines": lines })))
        }
    }
}

async fn list(
    app: &App,
    organisation: Option<&OrganisationName>,
    query: &TrailQuery,
    limit: usize,
) -> Result<Outcome, Failure> {
    let mut lines: Vec<TrailLine> = Vec::new();
    let mut after = None;
    while lines.len() < limit {
        let rest = limit - lines.len();
        let page =
            app.engine.trail(&console(), organisation, query, after.as_deref(), rest).await?;
        lines.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let rows: Vec<_> = lines.iter().map(row).collect();
    let text = table(&["AT", "WHO", "FROM", "WHAT", ""], &rows);
    Ok(Outcome::new(text, json!(lines)))
}

fn row(line: &TrailLine) -> Vec<String> {
    let event = &line.event;
    let from = event.origin.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let detail = match serde_json::to_value(&event.kind) {
        Ok(Value::Object(kind)) => kind.into_values().next().map(|fields| short(&fields)),
        Ok(_) | Err(_) => None,
    };
    vec![
        time(event.at),
        // Principals of other providers, and what clients send, are not ours to trust on a terminal.
        strongroom_http::log::clean(&event.principal).into_owned(),
        from,
        event.kind.name().to_owned(),
        strongroom_http::log::clean(&detail.unwrap_or_default()).into_owned(),
    ]
}

/// The facts of an event on one line.
fn short(fields: &Value) -> String {
    let Some(fields) = fields.as_object() else { return fields.to_string() };
    let words = fields.iter().filter_map(|(name, value)| match (name.as_str(), value) {
        (_, Value::Null) | ("heads", _) => None,
        ("repository", repository) => repository.get("path")?.as_str().map(str::to_owned),
        (_, Value::String(text)) => Some(text.clone()),
        (name, value) => Some(format!("{name}={value}")),
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn verify(app: &App, organisation: Option<OrganisationName>) -> Result<Outcome, Failure> {
    let trails = if organisation.is_some() {
        vec![organisation]
    } else {
        let all = every_organisation(app).await?.into_iter();
        std::iter::once(None).chain(all.map(|organisation| Some(organisation.name))).collect()
    };
    let (mut text, mut json, mut findings) = (String::new(), Vec::new(), false);
    for trail in trails {
        let found = app.engine.verify_trail(&console(), trail.as_ref()).await?;
        let name = trail.map_or_else(|| "(system)".to_owned(), |name| name.to_string());
        findings |= !found.is_good();
        text.push_str(&told(&name, &found));
        json.push(json!({
            "trail": name,
            "good": found.is_good(),
            "lines": found.lines,
            "seals": found.seals,
            "heads": found.heads.iter().map(|head| json!({
                "chain": head.chain,
                "length": head.length,
                "hash": head.hash.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat(),
            })).collect::<Vec<_>>(),
            "problems": found.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    }
    Ok(Outcome { text, json: json.into(), findings })
}

fn told(name: &str, found: &Verification) -> String {
    let verdict = if found.is_good() { "good" } else { "NOT GOOD" };
    let mut text = format!(
        "{name}: {verdict}; {} lines in {} chains, {} seals\n",
        found.lines,
        found.heads.len(),
        found.seals
    );
    for problem in &found.problems {
        text.extend(["    ", &problem.to_string(), "\n"]);
    }
    text
}
