//! Each verb as requests to the API.

use std::time::Duration;

use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use strongroom_engine::name::OrganisationName;
use strongroom_engine::seam::SystemEntropy;
use strongroom_identity::account::{AccountId, AccountName, Kind};

use super::beside::{webhook, workload};
use super::client::{Refused, segment};
use super::login::Session;
use crate::config::{Size, Span};
use crate::console::{self, Bar};
use crate::failure::Failure;
use crate::ops::args::{Can, Place, RegistryPath};
use crate::ops::table::table;
use crate::ops::{
    AuditVerb, Command, Hidden, OrganisationVerb, Outcome, Part, RegistryVerb, RobotVerb,
    TokenVerb, UserVerb,
};
use crate::password;

/// The most items that a list shows.
pub(super) const MOST: usize = 100_000;
/// How often a job is asked how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a verb at the server; what takes long shows on `bar` how far it is.
pub(super) async fn run(
    session: &Session,
    command: Command,
    bar: &Bar,
) -> Result<Outcome, Failure> {
    match command {
        Command::Org(verb) => organisation(session, verb).await,
        Command::Registry(verb) => registry(session, verb).await,
        Command::User(verb) => user(session, verb).await,
        Command::Robot(verb) => robot(session, verb).await,
        Command::Token(verb) => token(session, verb).await,
        Command::Audit(verb) => audit(session, verb).await,
        Command::Webhook(verb) => webhook(session, verb).await,
        Command::Workload(verb) => workload(session, verb).await,
        Command::Python(verb) => super::python::python(session, verb).await,
        Command::Gc { despite_restore: false, organisation: None, budget: None, dry_run } => {
            job(session, &json!({ "kind": "collection", "dry_run": dry_run }), bar).await
        }
        Command::Gc { .. } => Err(here("gc with --despite-restore, --organisation or --budget")),
        Command::Scrub {
            subset: None,
            organisation,
            rate,
            missing_in_a_row: None,
            anew: false,
        } => {
            let rate = rate.map(Size::bytes);
            let new =
                json!({ "kind": "scrub", "organisation": organisation, "bytes_per_second": rate });
            job(session, &new, bar).await
        }
        Command::Scrub { .. } => Err(here("scrub with --subset, --missing-in-a-row or --anew")),
        _ => Err(here("this verb")),
    }
}

/// What can't be done from afar.
fn here(what: &str) -> Failure {
    Failure::usage(format!(
        "{what} works on the data itself: run it without --server, where the server runs"
    ))
}

pub(super) fn done(text: impl Into<String>, json: Value) -> Outcome {
    Outcome::new(text, json)
}

/// A field of an answer, as text.
pub(super) fn text(of: &Value, name: &str) -> String {
    match of.get(name) {
        Some(Value::String(text)) => strongroom_http::log::clean(text).into_owned(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A list, with these fields of each item as columns.
pub(super) fn listed(items: Vec<Value>, columns: &[(&str, &str)]) -> Outcome {
    let head: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
    let rows: Vec<Vec<_>> = items
        .iter()
        .map(|item| columns.iter().map(|(_, field)| text(item, field)).collect())
        .collect();
    done(table(&head, &rows), items.into())
}

async fn organisation(session: &Session, verb: OrganisationVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let at = |name: &dyn std::fmt::Display| format!("/organisations/{}", segment(name));
    match verb {
        OrganisationVerb::Create { name, admin, quota } => {
            let quota = quota.map(Size::bytes);
            let new = json!({ "name": name, "admin": admin, "quota_bytes": quota });
            let made = client.send(Method::POST, "/organisations", Some(&new)).await?;
            Ok(done(format!("{name} is created\n"), made))
        }
        OrganisationVerb::List => {
            let items = client.all("/organisations", MOST).await?;
            let columns = [("NAME", "name"), ("QUOTA", "quota_bytes"), ("CREATED", "created_at")];
            Ok(listed(items, &columns))
        }
        OrganisationVerb::Rename { name, new } => {
            let (path, body) = (format!("{}/name", at(&name)), json!({ "name": new }));
            let renamed = client.send(Method::PUT, &path, Some(&body)).await?;
            Ok(done(format!("{name} is {new} now\n"), renamed))
        }
        OrganisationVerb::Quota { name, quota } => {
            let body = json!({ "quota_bytes": quota.map(Size::bytes) });
            let path = format!("{}/quota", at(&name));
            let set = client.send(Method::PUT, &path, Some(&body)).await?;
            Ok(done(format!("the quota of {name} is set\n"), set))
        }
        OrganisationVerb::Delete { name, force } => {
            let path = format!("{}?force={force}", at(&name));
            client.send(Method::DELETE, &path, None).await?;
            Ok(done(format!("{name} is deleted\n"), json!({ "deleted": name })))
        }
        OrganisationVerb::Members { name } => {
            let items = client.all(&format!("{}/members", at(&name)), MOST).await?;
            Ok(listed(
                items,
                &[("PRINCIPAL", "principal"), ("ROLE", "role"), ("SINCE", "added_at")],
            ))
        }
        OrganisationVerb::Grant { place, who, role } => {
            let body = json!({ "role": role });
            let text = format!("{who} has the role at {place} now\n");
            let path = members(&place)?;
            let one = format!("{path}/{}", segment(&who));
            if place.registry.is_some() {
                let set = client.send(Method::PUT, &one, Some(&body)).await?;
                return Ok(done(text, set));
            }
            match client.send(Method::PUT, &format!("{one}/role"), Some(&body)).await {
                Ok(set) => Ok(done(text, set)),
                // No member yet.
                Err(Refused { status: Some(StatusCode::NOT_FOUND), .. }) => {
                    let body = json!({ "user": who, "role": role });
                    Ok(done(text, client.send(Method::POST, &path, Some(&body)).await?))
                }
                Err(refused) => Err(refused.into()),
            }
        }
        OrganisationVerb::Ungrant { place, who } => {
            let path = format!("{}/{}", members(&place)?, segment(&who));
            client.send(Method::DELETE, &path, None).await?;
            let json = json!({ "place": place, "principal": who });
            Ok(done(format!("{who} has no role of {place}\n"), json))
        }
    }
}

/// Where the members of a place are.
fn members(place: &Place) -> Result<String, Failure> {
    if place.repository.is_some() {
        return Err(Failure::usage("roles are given for an organisation or a registry"));
    }
    let organisation = segment(&place.organisation);
    Ok(match &place.registry {
        Some(registry) => {
            format!("/organisations/{organisation}/registries/{}/members", segment(registry))
        }
        None => format!("/organisations/{organisation}/members"),
    })
}

/// Where a registry is.
pub(super) fn registry_at(path: &RegistryPath) -> String {
    let (organisation, registry) = (segment(&path.organisation), segment(&path.registry));
    format!("/organisations/{organisation}/registries/{registry}")
}

async fn registry(session: &Session, verb: RegistryVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let all = |organisation: &dyn std::fmt::Display| {
        format!("/organisations/{}/registries", segment(organisation))
    };
    let at = registry_at;
    match verb {
        RegistryVerb::Create { path, public, sparse_indexes, .. } => {
            let new = json!({
                "name": path.registry, "public": public, "sparse_indexes": sparse_indexes
            });
            let made = client.send(Method::POST, &all(&path.organisation), Some(&new)).await?;
            Ok(done(format!("{path} is created\n"), made))
        }
        RegistryVerb::List { organisation } => {
            let items = client.all(&all(&organisation), MOST).await?;
            Ok(listed(items, &[("NAME", "name"), ("PUBLIC", "public"), ("CREATED", "created_at")]))
        }
        RegistryVerb::Set { path, public, sparse_indexes, immutable_tags } => {
            let mut body = Map::new();
            for (name, value) in [("public", public), ("sparse_indexes", sparse_indexes)] {
                if let Some(value) = value {
                    body.insert(name.to_owned(), value.into());
                }
            }
            if let Some(patterns) = immutable_tags {
                body.insert("immutable_tags".to_owned(), json!(patterns));
            }
            let set = client.send(Method::PATCH, &at(&path), Some(&body.into())).await?;
            Ok(done(format!("{path} is set\n"), set))
        }
        RegistryVerb::Retention(_) => Err(here("registry retention")),
        RegistryVerb::Rename { path, new } => {
            let body = json!({ "name": new });
            let renamed =
                client.send(Method::PUT, &format!("{}/name", at(&path)), Some(&body)).await?;
            Ok(done(format!("{path} is {}/{new} now\n", path.organisation), renamed))
        }
        RegistryVerb::Delete { path, force } => {
            client.send(Method::DELETE, &format!("{}?force={force}", at(&path)), None).await?;
            Ok(done(format!("{path} is deleted\n"), json!({ "deleted": path })))
        }
    }
}

/// The password somebody chose, or a new one with what to show of it.
fn chosen(password: Option<Hidden>) -> (String, Option<String>) {
    if let Some(Hidden(password)) = password {
        return (password, None);
    }
    let new = password::generate(&SystemEntropy).expose().to_owned();
    (new.clone(), Some(new))
}

fn with_password(text: String, mut json: Value, generated: Option<String>) -> Outcome {
    let Some(password) = generated else { return done(text, json) };
    let text = format!("{text}password: {password}    (shown this once)\n");
    if let Some(fields) = json.as_object_mut() {
        fields.insert("password".to_owned(), password.into());
    }
    done(text, json)
}

async fn user(session: &Session, verb: UserVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let set = async |name: &AccountName, what: &str, body: Value| {
        let path = format!("/users/{}/{what}", segment(name));
        client.send(Method::PUT, &path, Some(&body)).await
    };
    match verb {
        UserVerb::Create { name, operator, password, .. } => {
            let (password, generated) = chosen(password);
            let new = json!({ "name": name, "password": password, "operator": operator });
            let made = client.send(Method::POST, "/users", Some(&new)).await?;
            Ok(with_password(format!("user:{name} is created\n"), made, generated))
        }
        UserVerb::ResetPassword { name, password, .. } => {
            let (password, generated) = chosen(password);
            let made = set(&name, "password", json!({ "password": password })).await?;
            Ok(with_password(format!("user:{name} has a new password\n"), made, generated))
        }
        UserVerb::List => {
            let items = client.all("/users", MOST).await?;
            let columns = [
                ("NAME", "name"),
                ("DISABLED", "disabled"),
                ("OPERATOR", "operator"),
                ("CREATED", "created_at"),
            ];
            Ok(listed(items, &columns))
        }
        UserVerb::Disable { name } => {
            let json = set(&name, "disabled", json!({ "disabled": true })).await?;
            Ok(done(format!("user:{name} is disabled\n"), json))
        }
        UserVerb::Enable { name } => {
            let json = set(&name, "disabled", json!({ "disabled": false })).await?;
            Ok(done(format!("user:{name} is enabled\n"), json))
        }
        UserVerb::Promote { name } => {
            let json = set(&name, "operator", json!({ "operator": true })).await?;
            Ok(done(format!("user:{name} is an operator\n"), json))
        }
        UserVerb::Demote { name } => {
            let json = set(&name, "operator", json!({ "operator": false })).await?;
            Ok(done(format!("user:{name} is no operator\n"), json))
        }
        UserVerb::Delete { name } => {
            client.send(Method::DELETE, &format!("/users/{}", segment(&name)), None).await?;
            Ok(done(
                format!("user:{name} is deleted\n"),
                json!({ "deleted": format!("user:{name}") }),
            ))
        }
    }
}

/// A robot's organisation and its name there.
fn within(name: &AccountName) -> Result<(&str, &str), Failure> {
    name.as_str().split_once('+').ok_or_else(|| {
        Failure::usage(format!(
            "from afar robots are an organisation's: write {name} as ORGANISATION+{name}"
        ))
    })
}

/// Where a robot is.
fn robot_at(name: &AccountName) -> Result<String, Failure> {
    let (organisation, _) = within(name)?;
    Ok(format!("/organisations/{}/robots/{}", segment(organisation), segment(name)))
}

async fn robot(session: &Session, verb: RobotVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let disable = async |name: &AccountName, disabled: bool| -> Result<Value, Failure> {
        let path = format!("{}/disabled", robot_at(name)?);
        let body = json!({ "disabled": disabled });
        Ok(client.send(Method::PUT, &path, Some(&body)).await?)
    };
    match verb {
        RobotVerb::Create { name } => {
            let (organisation, own) = within(&name)?;
            let path = format!("/organisations/{}/robots", segment(organisation));
            let made = client.send(Method::POST, &path, Some(&json!({ "name": own }))).await?;
            Ok(done(format!("robot:{name} is created\n"), made))
        }
        RobotVerb::List => {
            let mut robots = Vec::new();
            for organisation in client.all("/organisations", MOST).await? {
                let path =
                    format!("/organisations/{}/robots", segment(text(&organisation, "name")));
                match client.all(&path, MOST).await {
                    Ok(more) => robots.extend(more),
                    // Those are not ours to look after.
                    Err(Refused { status: Some(StatusCode::FORBIDDEN), .. }) => {}
                    Err(refused) => return Err(refused.into()),
                }
            }
            let columns = [("NAME", "name"), ("DISABLED", "disabled"), ("CREATED", "created_at")];
            Ok(listed(robots, &columns))
        }
        RobotVerb::Disable { name } => {
            let json = disable(&name, true).await?;
            Ok(done(format!("robot:{name} is disabled\n"), json))
        }
        RobotVerb::Enable { name } => {
            let json = disable(&name, false).await?;
            Ok(done(format!("robot:{name} is enabled\n"), json))
        }
        RobotVerb::Delete { name } => {
            client.send(Method::DELETE, &robot_at(&name)?, None).await?;
            let json = json!({ "deleted": format!("robot:{name}") });
            Ok(done(format!("robot:{name} is deleted\n"), json))
        }
    }
}

/// Where the tokens of an account are: one's own, or those of a robot one looks after.
fn tokens_of(session: &Session, owner: &AccountId) -> Result<String, Failure> {
    match owner.kind {
        Kind::Robot => Ok(format!("{}/tokens", robot_at(&owner.name)?)),
        Kind::User if owner.name.as_str() == session.username => Ok("/tokens".to_owned()),
        Kind::User | Kind::Cognito | Kind::Workload => Err(Failure::usage(format!(
            "from afar you make and list tokens of user:{} and of robots, not of {owner}",
            session.username
        ))),
    }
}

async fn token(session: &Session, verb: TokenVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    match verb {
        TokenVerb::Create { owner, label, places, can, expires_in } => {
            let path = tokens_of(session, &owner)?;
            let mut new = json!({ "label": label });
            if let Some(fields) = new.as_object_mut() {
                if let Some(span) = expires_in.map(Span::duration) {
                    fields.insert("expires_in_seconds".to_owned(), span.as_secs().into());
                }
                if !places.is_empty() {
                    fields.insert("grants".to_owned(), grants(&places, &can));
                }
            }
            let made = client.send(Method::POST, &path, Some(&new)).await?;
            let id = made.pointer("/info/id").and_then(Value::as_str).unwrap_or_default();
            let shown = text(&made, "token");
            Ok(done(format!("{shown}    (shown this once; revoke it as {id})\n"), made))
        }
        TokenVerb::List { owner, .. } => {
            let items = client.all(&tokens_of(session, &owner)?, MOST).await?;
            let columns = [
                ("ID", "id"),
                ("LABEL", "label"),
                ("REACH", "grants"),
                ("CREATED", "created_at"),
                ("EXPIRES", "expires_at"),
            ];
            Ok(listed(items, &columns))
        }
        TokenVerb::Revoke { id } => {
            client.send(Method::DELETE, &format!("/tokens/{}", segment(&id)), None).await?;
            Ok(done(format!("token {id} is revoked\n"), json!({ "revoked": id })))
        }
    }
}

fn grants(places: &[Place], can: &[Can]) -> Value {
    let can = if can.is_empty() { &[Can::Pull] } else { can };
    let actions: Vec<_> = can.iter().flat_map(|can| can.actions()).copied().collect();
    let one = |place: &Place| {
        json!({
            "organisation": place.organisation,
            "registry": place.registry,
            "repository": place.repository,
            "actions": actions,
        })
    };
    places.iter().map(one).collect()
}

async fn audit(session: &Session, verb: AuditVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let whose = |organisation: Option<OrganisationName>| match organisation {
        Some(name) => format!("/organisations/{}/audit", segment(name)),
        None => "/audit".to_owned(),
    };
    match verb {
        AuditVerb::List { from: Some(_), .. } | AuditVerb::List { until: Some(_), .. } => {
            Err(here("audit list with --from or --until"))
        }
        AuditVerb::Trim { .. } => Err(here("audit trim")),
        AuditVerb::List { organisation, principal, repository, kind, limit, .. } => {
            if kind.len() > 1 {
                return Err(Failure::usage("from afar one --kind is asked for at a time"));
            }
            let filters = [
                ("principal", principal.as_ref()),
                ("repository", repository.as_ref()),
                ("kind", kind.first()),
            ];
            let path = filtered(&whose(organisation), filters);
            Ok(lines(client.all(&path, limit).await?))
        }
        AuditVerb::Export { organisation, .. } => {
            let path = format!("{}/export", whose(organisation));
            let (mut count, mut rest) = (0_u64, Vec::new());
            client
                .stream(&path, |bytes| {
                    rest.extend_from_slice(bytes);
                    // Whole lines only: a piece may end within a letter.
                    let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let lines: Vec<u8> = rest.drain(..whole).collect();
                    count += lines.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
                    console::say(&String::from_utf8_lossy(&lines))
                })
                .await?;
            Ok(done(String::new(), json!({ "lines": count })))
        }
        AuditVerb::Verify { .. } => Err(here("verifying the trail")),
    }
}

/// A path with the filters that were given.
fn filtered(path: &str, filters: [(&str, Option<&String>); 3]) -> String {
    let given = filters.into_iter().filter_map(|(name, value)| {
        Some(format!("{name}={}", utf8_percent_encode(value?, NON_ALPHANUMERIC)))
    });
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn lines(items: Vec<Value>) -> Outcome {
    listed(
        items,
        &[("TIME", "at"), ("PRINCIPAL", "principal"), ("KIND", "kind"), ("WHAT", "event")],
    )
}

/// Starts a job, and follows it to its end.
async fn job(session: &Session, new: &Value, bar: &Bar) -> Result<Outcome, Failure> {
    let started = session.client.send(Method::POST, "/jobs", Some(new)).await?;
    let followed = follow(session, started, bar).await;
    bar.clear();
    let job = followed?;
    let report = job.get("report").cloned().unwrap_or_default();
    match text(&job, "state").as_str() {
        "done" => {
            let wrong = report.get("wrong").and_then(Value::as_u64).unwrap_or_default() > 0
                || report.get("refused").and_then(Value::as_bool).unwrap_or_default();
            let shown = serde_json::to_string_pretty(&report).unwrap_or_default();
            Ok(Outcome { text: format!("done\n{shown}\n"), json: report, findings: wrong })
        }
        "stopped" => Err(Failure::failed("somebody stopped it; what it did stays done")),
        _ => Err(Failure::failed(text(&job, "error"))),
    }
}

/// Asks for a job until it has ended, and shows how far it is.
async fn follow(session: &Session, mut job: Value, bar: &Bar) -> Result<Value, Failure> {
    let path = format!("/jobs/{}", segment(text(&job, "id")));
    while text(&job, "state") == "running" {
        let number = |name| job.get(name).and_then(Value::as_u64).unwrap_or_default();
        let part = job.get("part").and_then(|part| Part::deserialize(part).ok());
        if job.get("phase").is_some_and(Value::is_string) {
            bar.show(&text(&job, "phase"), number("done"), number("bytes"), part);
        }
        tokio::time::sleep(LOOK).await;
        job = session.client.get(&path).await?;
    }
    Ok(job)
}
